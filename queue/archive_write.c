/* Writes an archive. Each record is decoded and encoded anew, so a foreign record is no longer than
 * one of ours, and the file has nothing that a reader does not know. */
#include "queue/archive.h"
#include "queue/archive_internal.h"
#include "common/clock.h"
#include "common/program/private_file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LEVEL 3 /* zstd's own default */

struct oq_archive {
    char path[PATH_MAX]; /* of the .new */
    char sale[PS_NAME_MAX + 1];
    uint8_t key[OQ_ARCHIVE_KEY];
    int fd;
    bool finished;
    ZSTD_CCtx *zstd;
    struct oq_archive_chain chain;
    bool has_ids;
    struct ps_uuid ids_from, ids_to;
    char line[OQ_ARCHIVE_LINE_MAX];
    char json[OQ_EVENT_LONG_MAX];
    char out[65536];
};

/* --- The key, and hashed texts --- */

int oq_archive_key(const char *path, uint8_t ret_key[OQ_ARCHIVE_KEY], struct ps_fault *fault)
{
    char made[2 * OQ_ARCHIVE_KEY + 2], *text = NULL;
    size_t len, bytes = 0;
    int err = ps_private_read(path, sizeof made, &text, &len, fault);
    if (err == PS_E_NOT_FOUND) {
        randombytes_buf(ret_key, OQ_ARCHIVE_KEY);
        sodium_bin2hex(made, sizeof made - 1, ret_key, OQ_ARCHIVE_KEY);
        made[sizeof made - 2] = '\n';
        return ps_private_replace(path, made, sizeof made - 1, fault);
    }
    if (err != 0)
        return err;
    if (sodium_hex2bin(ret_key, OQ_ARCHIVE_KEY, text, len, "\n", &bytes, NULL) != 0 ||
        bytes != OQ_ARCHIVE_KEY)
        err =
            ps_fault(fault, PS_E_INVALID, path,
                     "is not a key of 64 hexadecimal digits; restore it, because with another key "
                     "nobody can find a buyer in two archives");
    sodium_memzero(text, len);
    free(text);
    return err;
}

/* `kind` keeps a user and an idempotency key with the same text apart; names have no line feed. */
static void hide(const uint8_t key[OQ_ARCHIVE_KEY], const char *kind, struct ps_str sale,
                 struct ps_str a, struct ps_str b, char ret_text[OQ_HASH_LEN + 1])
{
    uint8_t hash[OQ_ARCHIVE_KEY];
    crypto_generichash_state state;
    const struct ps_str parts[] = {ps_str(kind), sale, a, b};
    (void)crypto_generichash_init(&state, key, OQ_ARCHIVE_KEY, sizeof hash);
    for (size_t i = 0; i < PS_ARRAY_LEN(parts); i++) {
        (void)crypto_generichash_update(&state, (const uint8_t *)parts[i].at, parts[i].len);
        (void)crypto_generichash_update(&state, (const uint8_t *)"\n", 1);
    }
    (void)crypto_generichash_final(&state, hash, sizeof hash);
    sodium_bin2hex(ret_text, OQ_HASH_LEN + 1, hash, sizeof hash);
}

void oq_archive_user(const uint8_t key[OQ_ARCHIVE_KEY], struct ps_str sale, struct ps_str user,
                     char ret_user[OQ_HASH_LEN + 1])
{
    hide(key, "user", sale, user, PS_STR(""), ret_user);
}

/* Enough to tell two keys apart, but not to find one. */
static void fingerprint(const uint8_t key[OQ_ARCHIVE_KEY], char ret_text[17])
{
    char text[OQ_HASH_LEN + 1];
    hide(key, "fingerprint", PS_STR(""), PS_STR(""), PS_STR(""), text);
    memcpy(ret_text, text, 16);
    ret_text[16] = '\0';
}

/* --- Writing --- */

static int failed(const struct oq_archive *archive, int error, const char *doing,
                  struct ps_fault *fault)
{
    return ps_fault(fault, ps_file_err(error), archive->path, "%s: %s", doing, strerror(error));
}

int oq_archive_new(const char *path, const char *sale, const uint8_t key[OQ_ARCHIVE_KEY],
                   struct oq_archive **ret_archive, struct ps_fault *fault)
{
    struct oq_archive *archive = calloc(1, sizeof *archive);
    if (archive == NULL)
        return ps_fault(fault, PS_E_NOMEM, path, "out of memory");
    archive->fd = -1;
    memcpy(archive->key, key, sizeof archive->key);
    snprintf(archive->sale, sizeof archive->sale, "%s", sale);
    oq_archive_chain_init(&archive->chain);
    int len = snprintf(archive->path, sizeof archive->path, "%s.new", path);
    int err = 0;
    if (len < 0 || (size_t)len >= sizeof archive->path) {
        archive->path[0] = '\0';
        err = ps_fault(fault, PS_E_INVALID, path, "the path is too long");
    } else if ((archive->zstd = ZSTD_createCCtx()) == NULL) {
        err = ps_fault(fault, PS_E_NOMEM, path, "out of memory");
    } else {
        (void)unlink(archive->path);
        archive->fd = open(archive->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (archive->fd < 0)
            err = failed(archive, errno, "creating", fault);
    }
    if (err != 0) {
        oq_archive_free(archive);
        return err;
    }
    (void)ZSTD_CCtx_setParameter(archive->zstd, ZSTD_c_compressionLevel, LEVEL);
    (void)ZSTD_CCtx_setParameter(archive->zstd, ZSTD_c_checksumFlag, 1);
    *ret_archive = archive;
    return 0;
}

static int write_out(struct oq_archive *archive, const char *text, size_t len,
                     ZSTD_EndDirective directive, struct ps_fault *fault)
{
    ZSTD_inBuffer in = {text, len, 0};
    size_t left = 1;
    while (in.pos < in.size || (directive == ZSTD_e_end && left > 0)) {
        ZSTD_outBuffer out = {archive->out, sizeof archive->out, 0};
        left = ZSTD_compressStream2(archive->zstd, &out, &in, directive);
        if (ZSTD_isError(left))
            return ps_fault(fault, PS_E_NOMEM, archive->path, "compressing: %s",
                            ZSTD_getErrorName(left));
        for (size_t at = 0; at < out.pos;) {
            ssize_t written = write(archive->fd, archive->out + at, out.pos - at);
            if (written < 0 && errno != EINTR)
                return failed(archive, errno, "writing", fault);
            at += written > 0 ? (size_t)written : 0;
        }
    }
    return 0;
}

/* `buf` has the line but for its line feed. */
static int write_line(struct oq_archive *archive, struct ps_buf *buf, struct ps_fault *fault)
{
    oq_archive_chain_add(&archive->chain, (struct ps_str){buf->at, buf->len});
    ps_buf_puts(buf, "\n");
    if (buf->overflow)
        return ps_fault(fault, PS_E_FULL, archive->path, "a line is too long");
    return write_out(archive, buf->at, buf->len, ZSTD_e_continue, fault);
}

static void begin_line(struct oq_archive *archive, struct ps_buf *ret_buf)
{
    ps_buf_init(ret_buf, archive->line, sizeof archive->line);
    ps_buf_printf(ret_buf, "{\"prev\":\"%s\",", archive->chain.prev);
}

static void note_id(struct oq_archive *archive, const struct ps_uuid *id)
{
    if (!archive->has_ids || memcmp(id, &archive->ids_from, sizeof *id) < 0)
        archive->ids_from = *id;
    if (!archive->has_ids || memcmp(id, &archive->ids_to, sizeof *id) > 0)
        archive->ids_to = *id;
    archive->has_ids = true;
}

int oq_archive_add(struct oq_archive *archive, int64_t place, const struct oq_event *event,
                   struct ps_fault *fault)
{
    char user[OQ_HASH_LEN + 1], key[OQ_HASH_LEN + 1];
    struct oq_event hidden = *event;
    struct ps_buf json, line;
    if (event->type == OQ_ACCEPTED) {
        oq_archive_user(archive->key, event->sale, event->user, user);
        hidden.user = ps_str(user);
        if (event->key.len > 0) {
            hide(archive->key, "key", event->sale, event->user, event->key, key);
            hidden.key = ps_str(key);
        }
        note_id(archive, &event->order_id);
    }
    ps_buf_init(&json, archive->json, sizeof archive->json);
    int err = oq_event_encode(&hidden, &json);
    if (err != 0)
        return ps_fault(fault, err, archive->path, "record %lld: %s", (long long)place,
                        ps_err_text(err));
    begin_line(archive, &line);
    ps_buf_printf(&line, "\"seq\":%lld,", (long long)place);
    ps_buf_put(&line, json.at + 1, json.len - 1);
    return write_line(archive, &line, fault);
}

static void put_id(struct ps_buf *buf, const char *name, bool has, const struct ps_uuid *id)
{
    char text[PS_UUID_LEN + 1] = "";
    if (has)
        ps_uuid_format(id, text);
    ps_buf_printf(buf, ",\"%s\":\"%s\"", name, text);
}

int oq_archive_finish(struct oq_archive *archive, struct oq_archive_end *end,
                      struct ps_fault *fault)
{
    char time[PS_TIME_LEN + 1];
    struct ps_buf line;
    end->lines = archive->chain.lines + 1;
    memcpy(end->sale, archive->sale, sizeof end->sale);
    fingerprint(archive->key, end->key);
    end->has_ids = archive->has_ids;
    end->ids_from = archive->ids_from;
    end->ids_to = archive->ids_to;
    ps_time_format(end->at_ms, time);
    begin_line(archive, &line);
    ps_buf_printf(&line,
                  "\"type\":\"archive.end\",\"sale\":\"%s\",\"partitions\":%lld,\"lines\":%lld,"
                  "\"orders\":%lld,\"skus\":",
                  end->sale, (long long)end->partitions, (long long)end->lines,
                  (long long)end->orders);
    ps_buf_put(&line, end->counts.at, end->counts.len);
    put_id(&line, "ids_from", end->has_ids, &end->ids_from);
    put_id(&line, "ids_to", end->has_ids, &end->ids_to);
    ps_buf_printf(&line, ",\"key\":\"%s\",\"at\":\"%s\"}", end->key, time);
    int err = write_line(archive, &line, fault);
    if (err == 0)
        err = write_out(archive, "", 0, ZSTD_e_end, fault);
    if (err == 0 && fsync(archive->fd) != 0)
        err = failed(archive, errno, "syncing", fault);
    if (err != 0)
        return err;
    oq_archive_chain_end(&archive->chain, end);
    archive->finished = true;
    return 0;
}

int oq_archive_publish(const char *path, struct ps_fault *fault)
{
    return ps_private_publish(path, fault);
}

void oq_archive_free(struct oq_archive *archive)
{
    if (archive == NULL)
        return;
    if (archive->fd >= 0)
        close(archive->fd);
    if (archive->fd >= 0 && !archive->finished)
        (void)unlink(archive->path);
    ZSTD_freeCCtx(archive->zstd);
    sodium_memzero(archive->key, sizeof archive->key);
    free(archive);
}
