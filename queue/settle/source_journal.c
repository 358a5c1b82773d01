/* A journal as a source: one partition, 0, read by seq beside the gateway that writes it.
 *
 * Readers of the file see committed transactions only. The numbers have a gap only where records
 * were deleted with their sale, long after it was over: behind the position such a gap is a loss,
 * and the hook decides. At the position nothing is left to be compared then. An operator who
 * restores a backup puts another file in the place of the one whose position was checked. Each read
 * opens the path anew, so after each read the path is compared with the file that was found first,
 * which is held so that no other file gets its number; what was read of another file is thrown
 * away. */
#include "queue/log_journal.h"
#include "queue/settle/settle_source.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct journal {
    struct st_source source;
    const char *path;
    struct oq_reader *reader; /* NULL: to be opened again */
    int held;                 /* the file that was found first, never read; -1 = none */
    bool placed;              /* `last` is known */
    bool at_end;
    int64_t last;
};

/* What oq_reader_read gives to its function. */
struct reading {
    struct st_batch *batch;           /* records go in here, or */
    const struct st_position *expect; /* the one record is compared with this */
    const char *path;
    bool found;
    int64_t last;           /* that was taken; a gap behind it is kept in `gap` */
    int64_t gap;            /* the first record behind a gap; 0 = none */
    struct ps_fault *fault; /* of the record on which it ended */
};

static struct journal *journal_of(struct st_source *source)
{
    return (struct journal *)(void *)source;
}

static void close_file(struct journal *journal)
{
    oq_reader_free(journal->reader);
    journal->reader = NULL;
    if (journal->held >= 0)
        close(journal->held);
    journal->held = -1;
    journal->placed = journal->at_end = false;
}

/* O_PATH: to close it drops none of the locks that SQLite has in this process. */
static int open_file(struct journal *journal, struct ps_fault *fault)
{
    int err = oq_journal_reader_open(journal->path, &journal->reader, fault);
    if (err != 0)
        return err;
    journal->held = open(journal->path, O_PATH | O_CLOEXEC);
    if (journal->held < 0) {
        err = ps_fault(fault, PS_E_IO, journal->path, "%s", strerror(errno));
        close_file(journal);
    }
    return err;
}

static int take_record(int64_t place, struct ps_str json, void *ctx)
{
    struct reading *reading = ctx;
    if (reading->batch->count == reading->batch->capacity)
        return 1;
    if (oq_place_seq(place) != reading->last + 1) {
        reading->gap = oq_place_seq(place);
        return 1;
    }
    int err =
        st_batch_add(reading->batch, 0, oq_place_seq(place), json, reading->path, reading->fault);
    if (err == PS_E_NEWER && reading->batch->count > 0)
        return 1; /* records before it are settled first */
    if (err == 0)
        reading->last++;
    return err;
}

static int compare_record(int64_t place, struct ps_str json, void *ctx)
{
    struct reading *reading = ctx;
    char where[32];
    if (oq_place_seq(place) > reading->expect->seq) /* it was deleted, or was never there */
        return 1;
    reading->found = true;
    snprintf(where, sizeof where, "seq %" PRId64, reading->expect->seq);
    return st_position_check(reading->expect, oq_place_seq(place), json, reading->path, where,
                             reading->fault);
}

static int reading_failed(const struct journal *journal, int err, struct ps_fault *fault)
{
    return ps_fault(fault, err, journal->path, "reading: %s", ps_err_text(err));
}

/* Asks where to begin, and checks that this is the log that the database knows. */
static int find_place(struct journal *journal, struct ps_fault *fault)
{
    struct st_position position;
    struct st_source_hooks *hooks = &journal->source.hooks;
    int err = hooks->position(0, &position, hooks->ctx, fault);
    if (err != 0)
        return err;
    struct reading reading = {.expect = &position, .path = journal->path, .fault = fault};
    int64_t last;
    if (position.seq > 0) {
        fault->text[0] = '\0';
        err = oq_reader_read(journal->reader,
                             &(struct oq_read){position.seq - 1, 1, NULL, compare_record, &reading},
                             &last);
        if (err != 0)
            return fault->text[0] != '\0' ? err : reading_failed(journal, err, fault);
        int64_t dropped = 0;
        if (!reading.found && (err = oq_journal_reader_dropped(journal->reader, &dropped)) != 0)
            return reading_failed(journal, err, fault);
        if (!reading.found && position.seq > dropped)
            return ps_fault(
                fault, PS_E_CORRUPT, journal->path,
                "it ends before record %" PRId64 ", which the database has: the journal "
                "was restored from a backup or replaced; connect the database to its own "
                "log, or give this log another name (\"name\")",
                position.seq);
    }
    journal->last = position.seq;
    journal->placed = true;
    return 0;
}

static bool was_replaced(const struct journal *journal)
{
    struct stat now, found;
    return stat(journal->path, &now) != 0 || fstat(journal->held, &found) != 0 ||
           now.st_ino != found.st_ino || now.st_dev != found.st_dev;
}

/* Until the batch is full or the end is reached. */
static int fill_batch(struct journal *journal, struct st_batch *batch, struct ps_fault *fault)
{
    struct st_source_hooks *hooks = &journal->source.hooks;
    journal->at_end = false;
    while (!st_batch_is_full(batch) && !journal->at_end) {
        struct reading reading = {
            .batch = batch, .last = journal->last, .path = journal->path, .fault = fault};
        int64_t last;
        fault->text[0] = '\0';
        size_t room = batch->capacity - batch->count;
        int err =
            oq_reader_read(journal->reader,
                           &(struct oq_read){oq_place(0, journal->last), room < 1000 ? room : 1000,
                                             NULL, take_record, &reading},
                           &last);
        if (err == PS_E_NEWER && fault->text[0] != '\0')
            return err;
        if (err != 0)
            return reading_failed(journal, err, fault);
        if (reading.gap > 0 && batch->count > 0)
            return 0; /* records before it are settled first */
        if (reading.gap > 0) {
            journal->placed = false; /* the database knows where to continue */
            return hooks->lost(0, journal->last, reading.gap - 1, hooks->ctx, fault);
        }
        journal->at_end = oq_place_seq(last) == journal->last;
        journal->last = oq_place_seq(last);
    }
    return 0;
}

static int read_some(struct journal *journal, struct st_batch *batch, struct ps_fault *fault)
{
    int err = journal->reader == NULL ? open_file(journal, fault) : 0;
    if (err == 0 && !journal->placed)
        err = find_place(journal, fault);
    if (err == 0)
        err = fill_batch(journal, batch, fault);
    if (journal->reader == NULL || !was_replaced(journal))
        return err;
    st_batch_clear(batch);
    close_file(journal);
    return 0;
}

static int journal_read(struct st_source *source, struct st_batch *batch, int64_t wait_ms,
                        struct ps_fault *fault)
{
    struct journal *journal = journal_of(source);
    int err = read_some(journal, batch, fault);
    if (err == 0 && batch->count == 0 && wait_ms > 0) {
        (void)poll(NULL, 0, (int)wait_ms); /* a signal ends it */
        if (journal->reader != NULL)
            err = read_some(journal, batch, fault);
    }
    if (err != 0) {
        st_batch_clear(batch);
        close_file(journal);
    }
    return err;
}

static void journal_rewind(struct st_source *source)
{
    journal_of(source)->placed = false;
    journal_of(source)->at_end = false;
}

static bool journal_caught_up(const struct st_source *source)
{
    return ((const struct journal *)(const void *)source)->at_end;
}

static int64_t journal_lag(struct st_source *source)
{
    struct journal *journal = journal_of(source);
    int64_t end;
    if (journal->reader == NULL || !journal->placed ||
        oq_journal_reader_end(journal->reader, &end) != 0)
        return -1;
    return end - journal->last;
}

static void journal_close(struct st_source *source)
{
    close_file(journal_of(source));
    free(source);
}

static const struct st_source_ops journal_ops = {.read = journal_read,
                                                 .rewind = journal_rewind,
                                                 .caught_up = journal_caught_up,
                                                 .lag = journal_lag,
                                                 .close = journal_close};

int st_source_journal_open(const char *path, const struct st_source_hooks *hooks,
                           struct st_source **ret_source, struct ps_fault *fault)
{
    struct journal *journal = calloc(1, sizeof *journal);
    if (journal == NULL)
        return ps_fault(fault, PS_E_NOMEM, path, "out of memory");
    journal->source.ops = &journal_ops;
    journal->source.hooks = *hooks;
    journal->path = path;
    journal->held = -1;
    int err = open_file(journal, fault);
    if (err != 0) {
        free(journal);
        return err;
    }
    *ret_source = &journal->source;
    return 0;
}
