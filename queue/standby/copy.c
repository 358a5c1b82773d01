/* A copy of a gateway's journal, record by record under the same numbers, and of its control.db.
 *
 * A request for the records after N tells the gateway that all up to N are on this disk: so N is
 * what was committed here, never what was only received. It also names the revision of the
 * control.db here, and each answer that of the gateway's: control.db is asked for as soon as it has
 * changed. control.db may have a sale's opening that
 * only later records of the journal show; so it is put in place when the journal here has reached
 * the record that the gateway's had when control.db was copied.
 *
 * Before anything is written after a start or an error, the last record here is compared with the
 * gateway's record of that number: a gateway with another history is not followed. */
#include "queue/standby/copy.h"

#include "common/clock.h"
#include "common/db/db_file.h"
#include "common/program/private_file.h"
#include "common/program/secret.h"
#include "queue/event.h"
#include "queue/journal_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONTROL_SHARE 4 /* a copy may take one part of so many of the time between two of them */
#define TOKEN_MAX     256
#define CONNECT_MS    2000
#define ANSWER_MS     10000
#define ANSWER_MAX    ((size_t)300 << 20)

struct sb_copy {
    char path[PATH_MAX - PS_DB_FILE_SUFFIX_MAX]; /* of journal.db */
    char control_path[PATH_MAX];
    int lock;
    struct ps_db_file *file; /* NULL: to be opened again */
    int64_t seq;
    bool compared; /* the last record is the gateway's */
    bool at_end;
    int64_t revision; /* of control.db here; -1: of before the start */
    int64_t newest;   /* the gateway's revision, as it last said */
    int64_t again_ns; /* control.db is not asked for before this time */
    char *control;    /* received; waits until the journal reaches control_seq */
    size_t control_len;
    int64_t control_seq, control_revision;
};

static int64_t now_ns(void)
{
    return ps_clock_mono_ns(&ps_clock_system);
}

static int open_file(struct sb_copy *copy, struct ps_fault *fault)
{
    const struct ps_db_file_settings settings = {
        .kind = &oq_journal_kind, .path = copy->path, .lock = copy->lock};
    int err = ps_db_file_open(&settings, &copy->file, fault);

    copy->compared = copy->at_end = false;
    if (err == 0)
        err = oq_journal_file_upgrade(copy->file, fault);
    if (err == 0)
        err = ps_db_number(ps_db_file_db(copy->file), "SELECT coalesce(max(seq), 0) FROM records",
                           &copy->seq, fault);
    return err;
}

static void close_file(struct sb_copy *copy)
{
    ps_db_file_close(copy->file);
    copy->file = NULL;
}

int sb_copy_open(const char *state_dir, struct sb_copy **ret_copy, struct ps_fault *fault)
{
    struct sb_copy *copy = calloc(1, sizeof *copy);

    if (copy == NULL)
        return ps_fault(fault, PS_E_NOMEM, "--state-dir", "out of memory");
    copy->lock = -1;
    copy->revision = copy->newest = -1;
    int len = snprintf(copy->path, sizeof copy->path, "%s/journal.db", state_dir);
    int err = 0;
    if (len < 0 || (size_t)len >= sizeof copy->path)
        err = ps_fault(fault, PS_E_INVALID, "--state-dir", "the path is too long");
    (void)snprintf(copy->control_path, sizeof copy->control_path, "%s/control.db", state_dir);
    if (err == 0)
        err = ps_db_file_lock(&oq_journal_kind, copy->path, &copy->lock, fault);
    if (err == 0)
        err = ps_db_file_create(&oq_journal_kind, copy->path, NULL, fault);
    if (err == 0)
        err = open_file(copy, fault);
    if (err < 0)
        sb_copy_close(copy);
    else
        *ret_copy = copy;
    return err;
}

void sb_copy_close(struct sb_copy *copy)
{
    if (copy == NULL)
        return;
    close_file(copy);
    if (copy->lock >= 0)
        close(copy->lock);
    free(copy->control);
    free(copy);
}

int64_t sb_copy_seq(const struct sb_copy *copy)
{
    return copy->seq;
}

bool sb_copy_is_whole(const struct sb_copy *copy)
{
    return copy->at_end && copy->revision >= 0 && copy->revision == copy->newest;
}

/* --- Asking --- */

/* 200, or 204 if the answer's status says that there is nothing new. */
static enum sb_turn ask(const struct sb_source *from, const char *path,
                        struct ps_answer **ret_answer, struct ps_fault *fault)
{
    char token[TOKEN_MAX];
    const struct ps_call call = {.admin = from->gateway,
                                 .path = path,
                                 .token = token,
                                 .connect_ms = CONNECT_MS,
                                 .answer_ms = ANSWER_MS,
                                 .answer_max = ANSWER_MAX};

    if (ps_secret_read(from->token_file, "--token-file", sizeof token - 1, token, fault) < 0 ||
        ps_caller_ask(from->caller, &call, ret_answer, fault) < 0)
        return SB_GATEWAY_AWAY;
    const struct ps_answer *answer = *ret_answer;
    if (answer->status == 200 || answer->status == 204)
        return SB_MORE;
    ps_fault(fault, 0, "--gateway", "GET %s returned %d: %.300s", path, answer->status,
             answer->text);
    return answer->status == 409 ? SB_REFUSED : SB_GATEWAY_AWAY;
}

/* A whole number in quotes; -1: it is none. */
static int64_t version_of(const struct ps_answer *answer)
{
    const char *at = answer->etag + strspn(answer->etag, "\"");

    return *at >= '0' && *at <= '9' ? strtoll(at, NULL, 10) : -1;
}

/* --- Records --- */

struct line {
    int64_t seq; /* -1: the line is malformed */
    int err;     /* then PS_E_NEWER: `why` names a critical record of a later version */
    struct ps_fault why;
    struct oq_event event;
    void *owner; /* for oq_event_release */
    struct ps_str json;
    char text[OQ_EVENT_LONG_MAX]; /* of json */
};

/* The line at *at. False: no more. */
static bool next_line(const char **at, struct line *line)
{
    const char *end = strchr(*at, '\n');
    struct ps_buf buf;

    if (end == NULL)
        return false;
    line->owner = NULL;
    ps_buf_init(&buf, line->text, sizeof line->text);
    line->err = oq_event_decode_line(*at, (size_t)(end - *at), &line->seq, &line->event,
                                     &line->owner, &line->why);
    if (line->err < 0 || oq_event_encode(&line->event, &buf) < 0)
        line->seq = -1;
    line->json = (struct ps_str){buf.at, buf.len};
    *at = end + 1;
    return true;
}

/* NULL in place of a text that is another one. */
static int compare_record(int64_t seq, struct ps_str json, struct ps_fault *fault, void *ctx)
{
    struct ps_str *text = ctx;

    (void)seq, (void)fault;
    if (!ps_str_same(json, *text))
        text->at = NULL;
    return 0;
}

/* Is the last record here the gateway's of that number? If the gateway has deleted it with its
 * sale, an earlier one is compared, and so on. */
static enum sb_turn compare(struct sb_copy *copy, const struct sb_source *from,
                            struct ps_fault *fault)
{
    int64_t seq = copy->seq, step = 1;
    struct ps_answer *answer;
    struct line line;
    char path[96];

    while (seq > 0) {
        (void)snprintf(path, sizeof path, "/admin/v1/standby/journal?after=%lld&limit=1",
                       (long long)seq - 1);
        enum sb_turn turn = ask(from, path, &answer, fault);
        if (turn != SB_MORE)
            return turn;
        const char *at = answer->text;
        bool there = next_line(&at, &line);
        int err = there && line.seq == seq
                      ? oq_journal_file_record(copy->file, seq, compare_record, &line.json, fault)
                      : 0;
        bool same = there && line.seq == seq && line.json.at != NULL;
        if (there)
            oq_event_release(line.owner);
        if (err < 0)
            return SB_DISK_FAILED;
        if (same)
            return SB_MORE;
        if (!there || line.seq <= seq) {
            ps_fault(fault, 0, copy->path, "record %lld differs from the gateway's",
                     (long long)seq);
            return SB_REFUSED;
        }
        if (oq_journal_file_below(copy->file, seq - step, &seq, fault) < 0)
            return SB_DISK_FAILED;
        step *= 2;
    }
    return SB_MORE;
}

/* Missing numbers were deleted with their sales. */
static int write_line(struct sb_copy *copy, const struct line *line, int64_t last,
                      struct ps_fault *fault)
{
    int err = 0;

    if (line->err == PS_E_NEWER)
        return ps_fault(fault, PS_E_NEWER, "--gateway", "the record after %lld: %s",
                        (long long)last, line->why.text);
    if (line->seq <= last)
        return ps_fault(fault, PS_E_CORRUPT, "--gateway",
                        "the data after record %lld is not a record", (long long)last);
    if (line->seq > last + 1)
        err = oq_journal_file_skip(copy->file, line->seq - 1 - last, line->seq - 1, fault);
    if (err == 0)
        err = oq_journal_file_insert(copy->file, line->seq, line->event.sale, line->json, fault);
    if (err == 0 && line->event.type == OQ_ARCHIVED)
        err = oq_journal_file_archive(copy->file, line->event.sale, line->seq - 1, fault);
    return err;
}

/* All lines in one transaction. */
static int write_lines(struct sb_copy *copy, const char *lines, struct ps_fault *fault)
{
    int64_t last = copy->seq;
    bool unknown = false;
    struct line line;
    int err = oq_journal_file_begin(copy->file, OQ_JOURNAL_NO_NOTE, fault);

    while (err == 0 && next_line(&lines, &line)) {
        err = write_line(copy, &line, last, fault);
        oq_event_release(line.owner);
        last = line.seq;
    }
    if (err < 0) {
        ps_db_file_rollback(copy->file);
        return err;
    }
    err = ps_db_file_commit(copy->file, &unknown, fault);
    if (err == 0) {
        copy->seq = last;
        err = ps_db_file_tidy(copy->file, fault);
    }
    return err;
}

static enum sb_turn follow(struct sb_copy *copy, const struct sb_source *from,
                           struct ps_fault *fault)
{
    struct ps_answer *answer;
    char path[96];

    int len =
        snprintf(path, sizeof path, "/admin/v1/standby/journal?after=%lld", (long long)copy->seq);
    if (copy->revision >= 0)
        (void)snprintf(path + len, sizeof path - (size_t)len, "&control=%lld",
                       (long long)copy->revision);
    enum sb_turn turn = ask(from, path, &answer, fault);
    if (turn != SB_MORE)
        return turn;
    copy->newest = version_of(answer);
    copy->at_end = answer->len == 0;
    if (copy->at_end)
        return SB_WAIT;
    int err = write_lines(copy, answer->text, fault);
    return err == PS_E_NEWER ? SB_REFUSED : err < 0 ? SB_DISK_FAILED : SB_MORE;
}

/* --- control.db --- */

static enum sb_turn fetch_control(struct sb_copy *copy, const struct sb_source *from,
                                  struct ps_fault *fault)
{
    static const char magic[] = "SQLite format 3";
    struct ps_answer *answer;
    char path[96] = "/admin/v1/standby/control";
    int64_t began_ns = now_ns();

    if (copy->revision >= 0)
        (void)snprintf(path, sizeof path, "/admin/v1/standby/control?revision=%lld",
                       (long long)copy->revision);
    enum sb_turn turn = ask(from, path, &answer, fault);
    if (turn != SB_MORE || answer->status == 204)
        return turn;
    copy->again_ns = now_ns() + CONTROL_SHARE * (now_ns() - began_ns);
    if (answer->len < sizeof magic || memcmp(answer->text, magic, sizeof magic) != 0 ||
        version_of(answer) < 0) {
        ps_fault(fault, 0, "--gateway", "its copy of control.db is not a database");
        return SB_GATEWAY_AWAY;
    }
    copy->control = answer->text;
    answer->text = NULL;
    copy->control_len = answer->len;
    copy->control_seq = answer->last_seq;
    copy->control_revision = version_of(answer);
    return SB_MORE;
}

/* SQLite's files of an older file do not belong to this one. */
static int replace_control(struct sb_copy *copy, struct ps_fault *fault)
{
    static const char *const beside[] = {"-wal", "-shm"};
    char path[PATH_MAX + 8];

    for (size_t i = 0; i < PS_ARRAY_LEN(beside); i++) {
        (void)snprintf(path, sizeof path, "%s%s", copy->control_path, beside[i]);
        (void)unlink(path);
    }
    int err = ps_private_replace(copy->control_path, copy->control, copy->control_len, fault);
    if (err == 0)
        copy->revision = copy->control_revision;
    free(copy->control);
    copy->control = NULL;
    return err;
}

enum sb_turn sb_copy_turn(struct sb_copy *copy, const struct sb_source *from,
                          struct ps_fault *fault)
{
    enum sb_turn turn = SB_MORE;

    if (copy->file == NULL && open_file(copy, fault) < 0) {
        close_file(copy);
        return SB_DISK_FAILED;
    }
    if (!copy->compared && copy->seq > 0)
        turn = compare(copy, from, fault);
    copy->compared = turn == SB_MORE;
    if (turn == SB_MORE && copy->control == NULL && copy->revision != copy->newest &&
        now_ns() >= copy->again_ns)
        turn = fetch_control(copy, from, fault);
    if (turn == SB_MORE)
        turn = follow(copy, from, fault);
    if ((turn == SB_MORE || turn == SB_WAIT) && copy->control != NULL &&
        copy->seq >= copy->control_seq && replace_control(copy, fault) < 0)
        turn = SB_DISK_FAILED;
    if (turn == SB_DISK_FAILED)
        close_file(copy); /* opening it again shows the outcome of a failed commit */
    if (turn == SB_GATEWAY_AWAY)
        copy->compared = false;
    return turn;
}
