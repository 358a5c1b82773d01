/* Reads an archive as a third party does: nothing is trusted that the lines do not show. The frame
 * has zstd's checksum, each line the hash of the one before; the caller compares the last line's
 * hash with the log's record. */
#include "queue/archive_internal.h"
#include "queue/audit.h"
#include "common/text/json.h"
#include "common/program/private_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The program writes no frame with a larger window: 8 MB, level 3 uses 2. */
#define WINDOW_LOG_MAX 23
#define PREV_LEN       (sizeof "{\"prev\":\"" - 1)

/* --- The chain --- */

void oq_archive_chain_init(struct oq_archive_chain *chain)
{
    memset(chain->prev, '0', OQ_HASH_LEN);
    chain->prev[OQ_HASH_LEN] = '\0';
    chain->lines = 0;
    (void)crypto_hash_sha256_init(&chain->file);
}

void oq_archive_chain_add(struct oq_archive_chain *chain, struct ps_str line)
{
    uint8_t hash[crypto_hash_sha256_BYTES];
    const uint8_t *bytes = (const uint8_t *)line.at;
    (void)crypto_hash_sha256(hash, bytes, line.len);
    (void)crypto_hash_sha256_update(&chain->file, bytes, line.len);
    (void)crypto_hash_sha256_update(&chain->file, (const uint8_t *)"\n", 1);
    sodium_bin2hex(chain->prev, sizeof chain->prev, hash, sizeof hash);
    chain->lines++;
}

void oq_archive_chain_end(struct oq_archive_chain *chain, struct oq_archive_end *ret_end)
{
    uint8_t hash[crypto_hash_sha256_BYTES];
    (void)crypto_hash_sha256_final(&chain->file, hash);
    sodium_bin2hex(ret_end->sha256, sizeof ret_end->sha256, hash, sizeof hash);
    memcpy(ret_end->last_hash, chain->prev, sizeof ret_end->last_hash);
}

/* --- Lines --- */

struct reading {
    const char *path;
    oq_archive_fn *fn;
    void *ctx;
    struct oq_archive_end *end;
    struct ps_fault *fault;
    int fd;
    bool ended;      /* the last line was read */
    int64_t unknown; /* records of types that are not known */
    ZSTD_DCtx *zstd;
    struct oq_archive_chain chain;
    size_t len; /* of the line that is being read */
    char line[OQ_ARCHIVE_LINE_MAX];
    char in[65536], out[65536];
};

static int broken(const struct reading *reading, const char *what)
{
    return ps_fault(reading->fault, PS_E_CORRUPT, reading->path, "line %lld: %s",
                    (long long)reading->chain.lines + 1, what);
}

/* The counts of the last line, in their one spelling. */
static bool read_counts(struct ps_json_reader *reader, struct oq_archive_end *end)
{
    char *text = json_dumps(ps_json_value(reader, "skus"), JSON_COMPACT | JSON_ENCODE_ANY);
    size_t len = text != NULL ? strlen(text) : 0;
    bool fits = text != NULL && len < sizeof end->text;
    if (fits) {
        memcpy(end->text, text, len + 1);
        end->counts = (struct ps_str){end->text, len};
    }
    free(text);
    return fits;
}

static bool read_id(struct ps_json_reader *reader, const char *name, bool *ret_has,
                    struct ps_uuid *ret_id)
{
    struct ps_str text = {"", 0};
    ps_json_string(reader, name, PS_UUID_LEN, &text);
    *ret_has = text.len > 0;
    return text.len == 0 || ps_uuid_parse(text.at, text.len, ret_id) == 0;
}

/* The check of a complete event says whether the numbers are right. */
static int take_end(struct reading *reading, struct ps_str line)
{
    static const char *const types[] = {"archive.end", NULL};
    struct oq_archive_end *end = reading->end;
    struct ps_json_reader reader;
    struct ps_fault why = {0};
    json_t *json;
    int type;
    struct ps_str prev, sale = {"", 0}, key = {"", 0};
    bool has_to = false;
    if (ps_json_parse(line.at, line.len, &json, &why) != 0)
        return broken(reading, "is not valid JSON");
    ps_json_reader_init(&reader, json, "", &why);
    ps_json_require(&reader,
                    (const char *const[]){"prev", "type", "sale", "partitions", "lines", "orders",
                                          "skus", "ids_from", "ids_to", "key", "at", NULL});
    ps_json_string(&reader, "prev", OQ_HASH_LEN, &prev);
    ps_json_enum(&reader, "type", types, &type);
    ps_json_string(&reader, "sale", PS_NAME_MAX, &sale);
    ps_json_int(&reader, "partitions", 1, OQ_PARTITION_MAX, &end->partitions);
    ps_json_int(&reader, "lines", 1, PS_INT_MAX, &end->lines);
    ps_json_int(&reader, "orders", 0, PS_INT_MAX, &end->orders);
    ps_json_string(&reader, "key", sizeof end->key - 1, &key);
    ps_json_time(&reader, "at", &end->at_ms);
    bool ok = read_counts(&reader, end) &&
              read_id(&reader, "ids_from", &end->has_ids, &end->ids_from) &&
              read_id(&reader, "ids_to", &has_to, &end->ids_to) && has_to == end->has_ids;
    ok = ps_json_done(&reader) == 0 && ok && ps_name_ok(sale.at, sale.len);
    if (ok) {
        snprintf(end->sale, sizeof end->sale, "%.*s", (int)sale.len, sale.at);
        snprintf(end->key, sizeof end->key, "%.*s", (int)key.len, key.at);
        const struct oq_event event = {.type = OQ_ARCHIVED,
                                       .sale = ps_str(end->sale),
                                       .partitions = end->partitions,
                                       .counts = end->counts,
                                       .discarded = true};
        ok = oq_event_check(&event, NULL) == 0;
    }
    json_decref(json);
    if (!ok)
        return broken(reading, "is not archive.end");
    if (end->lines != reading->chain.lines + 1)
        return broken(reading, "archive.end has another number of lines than the file");
    reading->ended = true;
    end->unknown = reading->unknown;
    return 0;
}

static int take_record(struct reading *reading, struct ps_str line)
{
    struct oq_event event;
    struct ps_fault why;
    void *owner;
    int64_t place;
    /* The same line without its prev: its quote, comma and all before give way to the brace. */
    char *rest = reading->line + PREV_LEN + OQ_HASH_LEN + 1;
    char comma = *rest;
    *rest = '{';
    int err = oq_event_decode_line(rest, line.len - (size_t)(rest - reading->line), &place, &event,
                                   &owner, &why);
    *rest = comma;
    if (err == PS_E_INVALID)
        return broken(reading, "is not a record");
    if (err == PS_E_NEWER)
        return ps_fault(reading->fault, err, reading->path, "line %lld: %s",
                        (long long)reading->chain.lines + 1, why.text);
    if (err != 0)
        return err;
    reading->unknown += event.type == OQ_LATER;
    if (reading->fn != NULL)
        err = reading->fn(place, line, &event, reading->ctx);
    oq_event_release(owner);
    return err;
}

/* `line` has a complete line. */
static int take_line(struct reading *reading)
{
    static const char end_of_prev[] = "\",\"type\":\"archive.end\",";
    const struct ps_str line = {reading->line, reading->len};
    const char *behind = line.at + PREV_LEN + OQ_HASH_LEN;
    if (reading->ended)
        return broken(reading, "comes after archive.end");
    if (line.len < PREV_LEN + OQ_HASH_LEN + sizeof end_of_prev ||
        memcmp(line.at, "{\"prev\":\"", PREV_LEN) != 0 || memcmp(behind, "\",\"", 3) != 0)
        return broken(reading, "does not begin with its prev");
    if (memcmp(line.at + PREV_LEN, reading->chain.prev, OQ_HASH_LEN) != 0)
        return broken(reading, "its prev is not the hash of the line before");
    int err = memcmp(behind, end_of_prev, sizeof end_of_prev - 1) == 0 ? take_end(reading, line)
                                                                       : take_record(reading, line);
    if (err == 0)
        oq_archive_chain_add(&reading->chain, line);
    reading->len = 0;
    return err;
}

static int take_text(struct reading *reading, const char *text, size_t len)
{
    int err = 0;
    while (len > 0 && err == 0) {
        const char *feed = memchr(text, '\n', len);
        size_t part = feed != NULL ? (size_t)(feed - text) : len;
        if (part > sizeof reading->line - 1 - reading->len)
            return broken(reading, "is longer than any valid line");
        memcpy(reading->line + reading->len, text, part);
        reading->len += part;
        if (feed == NULL)
            return 0;
        reading->line[reading->len] = '\0';
        err = take_line(reading);
        text += part + 1;
        len -= part + 1;
    }
    return err;
}

/* --- The file --- */

/* Decompresses one piece of the file. *ret_left: 0 at the end of the frame. */
static int decompress(struct reading *reading, size_t size, size_t *ret_left)
{
    ZSTD_inBuffer in = {reading->in, size, 0};
    bool more = true; /* the input may still produce output */
    while (in.pos < in.size || more) {
        if (*ret_left == 0 && in.pos < in.size)
            return broken(reading, "there is data behind the archive");
        ZSTD_outBuffer out = {reading->out, sizeof reading->out, 0};
        size_t left = ZSTD_decompressStream(reading->zstd, &out, &in);
        if (ZSTD_isError(left))
            return broken(reading, ZSTD_getErrorName(left));
        *ret_left = left;
        more = out.pos == out.size && left > 0;
        int err = take_text(reading, reading->out, out.pos);
        if (err != 0)
            return err;
    }
    return 0;
}

static int read_all(struct reading *reading)
{
    size_t left = 1;
    for (;;) {
        ssize_t size = read(reading->fd, reading->in, sizeof reading->in);
        if (size < 0 && errno == EINTR)
            continue;
        if (size < 0)
            return ps_fault(reading->fault, PS_E_IO, reading->path, "%s", strerror(errno));
        if (size == 0)
            break;
        int err = decompress(reading, (size_t)size, &left);
        if (err != 0)
            return err;
    }
    if (left != 0 || reading->len > 0 || !reading->ended)
        return broken(reading, "the archive is cut short");
    oq_archive_chain_end(&reading->chain, reading->end);
    return 0;
}

int oq_archive_read(const char *path, oq_archive_fn *fn, void *ctx, struct oq_archive_end *ret_end,
                    struct ps_fault *fault)
{
    struct reading *reading = calloc(1, sizeof *reading);
    struct oq_archive_end *end = ret_end != NULL ? ret_end : calloc(1, sizeof *end);
    int err = reading == NULL || end == NULL ? PS_E_NOMEM : 0;
    if (err == 0 && (reading->zstd = ZSTD_createDCtx()) == NULL)
        err = PS_E_NOMEM;
    if (err != 0) {
        ps_fault(fault, err, path, "out of memory");
    } else {
        *reading = (struct reading){
            .path = path, .fn = fn, .ctx = ctx, .end = end, .fault = fault, .zstd = reading->zstd};
        (void)ZSTD_DCtx_setParameter(reading->zstd, ZSTD_d_windowLogMax, WINDOW_LOG_MAX);
        oq_archive_chain_init(&reading->chain);
        reading->fd = open(path, O_RDONLY | O_CLOEXEC);
        err = reading->fd >= 0 ? read_all(reading)
                               : ps_fault(fault, ps_file_err(errno), path, "%s", strerror(errno));
        if (reading->fd >= 0)
            close(reading->fd);
    }
    if (reading != NULL)
        ZSTD_freeDCtx(reading->zstd);
    if (end != ret_end)
        free(end);
    free(reading);
    return err > 0 ? 1 : err;
}

/* --- Verifying --- */

struct verifying {
    struct oq_audit *audit;
    const _Atomic(bool) *stop;
};

static int audit_record(int64_t place, struct ps_str text, const struct oq_event *event, void *ctx)
{
    const struct verifying *verifying = ctx;
    (void)text;
    if (verifying->stop != NULL && atomic_load(verifying->stop))
        return PS_E_CLOSED;
    int err = oq_audit_add(verifying->audit, oq_place_partition(place), oq_place_seq(place), event);
    /* Records that the fold refuses do not count. */
    return err == PS_E_INVALID ? 0 : err;
}

static int first_violation(struct oq_audit *audit, const char *path,
                           const struct oq_archive_end *end, struct ps_fault *fault)
{
    json_t *report;
    int err = oq_audit_report(audit, end->sale, end->at_ms, NULL, 0, &report);
    if (err != 0)
        return ps_fault(fault, err == PS_E_NOT_FOUND ? PS_E_CORRUPT : err, path,
                        "it has no record of the sale %s", end->sale);
    const json_t *first = json_array_get(json_object_get(report, "violations"), 0);
    if (first != NULL)
        err = ps_fault(fault, PS_E_CORRUPT, path, "the audit found: %s: %s",
                       json_string_value(json_object_get(first, "rule")),
                       json_string_value(json_object_get(first, "text")));
    json_decref(report);
    return err;
}

static int compare_counts(const struct oq_audit *audit, const char *path,
                          const struct oq_archive_end *end, struct ps_fault *fault)
{
    const struct oq_sale *sale = oq_fold_sale(oq_audit_fold(audit), end->sale, strlen(end->sale));
    struct ps_str rest = end->counts;
    struct oq_totals totals;
    struct oq_count count;
    uint32_t sku;
    if ((int64_t)oq_sale_order_count(sale) != end->orders)
        return ps_fault(fault, PS_E_CORRUPT, path, "it has %zu orders, but archive.end has %lld",
                        oq_sale_order_count(sale), (long long)end->orders);
    while (oq_counts_next(&rest, &count)) {
        if (oq_sale_sku_find(sale, count.sku.at, count.sku.len, &sku) == 0)
            oq_sale_totals(sale, sku, &totals);
        else
            totals = (struct oq_totals){.adjustments = -1};
        if (totals.adjustments != count.adjustments || totals.held != count.held ||
            totals.confirmed != count.confirmed || totals.released != count.released)
            return ps_fault(fault, PS_E_CORRUPT, path,
                            "SKU %.*s: the lines and archive.end have different numbers",
                            (int)count.sku.len, count.sku.at);
    }
    return 0;
}

int oq_archive_verify(const char *path, const _Atomic(bool) *stop, struct oq_archive_end *ret_end,
                      struct ps_fault *fault)
{
    struct verifying verifying = {.stop = stop};
    int err = oq_audit_new(&verifying.audit);
    if (err != 0)
        return ps_fault(fault, err, path, "out of memory");
    err = oq_archive_read(path, audit_record, &verifying, ret_end, fault);
    if (err == PS_E_NOMEM)
        ps_fault(fault, err, path, "out of memory");
    if (err == 0)
        err = first_violation(verifying.audit, path, ret_end, fault);
    if (err == 0)
        err = compare_counts(verifying.audit, path, ret_end, fault);
    oq_audit_free(verifying.audit);
    return err;
}
