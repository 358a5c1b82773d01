/* The audit log: lines at the end of a file, and a reader that finds its place by bisection.
 *
 * Every line begins with {"seq":N, and N rises, so the first line after a given N is found by
 * reading about log2(size) lines instead of the file. A line without its newline is torn (a crash
 * in the middle of a write): the next writer cuts it off, and readers stop before it. */
#include "gateway/config/store/audit_log.h"
#include "common/program/private_file.h"
#include "common/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK         65536
#define READ_MAX      (1024 * 1024)
#define SEQ_FORMAT    "{\"seq\":%" PRId64 ","
#define SEQ_START_MAX 32 /* bytes of a line that hold its seq */

char *cfg_audit_text(const struct cfg_audit_entry *entry)
{
    json_t *json = json_pack(
        "{s:o, s:s, s:s, s:s, s:s, s:o, s:o, s:s?}", "at", ps_json_of_time(entry->at_ms), "who",
        entry->who, "peer", entry->peer, "action", entry->action, "target", entry->target, "from",
        entry->from != NULL ? json_deep_copy(entry->from) : json_null(), "to",
        entry->to != NULL ? json_deep_copy(entry->to) : json_null(), "why", entry->why);
    char *text = json != NULL ? json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;
    json_decref(json);
    return text;
}

/* --- Lines. --- */

static int read_at(int fd, char *buf, size_t len, off_t at)
{
    while (len > 0) {
        ssize_t n = pread(fd, buf, len, at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) /* the end is an error, too: callers never read past it */
            return PS_E_IO;
        buf += n;
        at += n;
        len -= (size_t)n;
    }
    return 0;
}

/* Where the last line that begins before `end` begins: behind the last newline in [0, end - 1). */
static int line_before(int fd, off_t end, off_t *ret_start)
{
    char buf[CHUNK];
    off_t top = end > 0 ? end - 1 : 0;
    while (top > 0) {
        size_t len = top < CHUNK ? (size_t)top : CHUNK;
        off_t from = top - (off_t)len;
        int err = read_at(fd, buf, len, from);
        if (err != 0)
            return err;
        const char *newline = memrchr(buf, '\n', len);
        if (newline != NULL) {
            *ret_start = from + (newline - buf) + 1;
            return 0;
        }
        top = from;
    }
    *ret_start = 0;
    return 0;
}

/* The first line that begins at or behind `at`; `end` when there is none. */
static int line_from(int fd, off_t at, off_t end, off_t *ret_start)
{
    char buf[CHUNK];
    if (at == 0) {
        *ret_start = 0;
        return 0;
    }
    for (off_t from = at - 1; from < end;) {
        size_t len = end - from < CHUNK ? (size_t)(end - from) : CHUNK;
        int err = read_at(fd, buf, len, from);
        if (err != 0)
            return err;
        const char *newline = memchr(buf, '\n', len);
        if (newline != NULL) {
            *ret_start = from + (newline - buf) + 1;
            return 0;
        }
        from += (off_t)len;
    }
    *ret_start = end;
    return 0;
}

/* The end of the last whole line. */
static int whole_end(int fd, off_t *ret_end)
{
    struct stat st;
    char last = '\n';
    if (fstat(fd, &st) != 0)
        return ps_file_err(errno);
    if (st.st_size > 0) {
        int err = read_at(fd, &last, 1, st.st_size - 1);
        if (err != 0)
            return err;
    }
    if (last != '\n')
        return line_before(fd, st.st_size, ret_end);
    *ret_end = st.st_size;
    return 0;
}

/* The seq of the line that begins at `start` < `end`. */
static int seq_of(int fd, off_t start, off_t end, int64_t *ret_seq)
{
    char text[SEQ_START_MAX + 1];
    size_t len = end - start < SEQ_START_MAX ? (size_t)(end - start) : SEQ_START_MAX;
    int err = read_at(fd, text, len, start);
    if (err != 0)
        return err;
    text[len] = '\0';
    int64_t seq;
    char comma;
    if (sscanf(text, "{\"seq\":%18" SCNd64 "%c", &seq, &comma) != 2 || comma != ',' || seq <= 0)
        return PS_E_CORRUPT;
    *ret_seq = seq;
    return 0;
}

static void print_head(crypto_hash_sha256_state *hash, char ret_head[CFG_AUDIT_HEAD])
{
    unsigned char bytes[crypto_hash_sha256_BYTES];
    (void)crypto_hash_sha256_final(hash, bytes);
    (void)sodium_bin2hex(ret_head, CFG_AUDIT_HEAD, bytes, sizeof bytes);
}

/* The hash of the last line of `end` bytes of whole lines; zeros where there is none. */
static int head_of(int fd, off_t end, char ret_head[CFG_AUDIT_HEAD])
{
    crypto_hash_sha256_state hash;
    unsigned char buf[CHUNK];
    off_t at;
    memset(ret_head, '0', CFG_AUDIT_HEAD - 1);
    ret_head[CFG_AUDIT_HEAD - 1] = '\0';
    if (end == 0)
        return 0;
    int err = line_before(fd, end, &at);
    (void)crypto_hash_sha256_init(&hash);
    while (err == 0 && at < end - 1) {
        size_t len = end - 1 - at < CHUNK ? (size_t)(end - 1 - at) : CHUNK;
        err = read_at(fd, (char *)buf, len, at);
        if (err == 0)
            (void)crypto_hash_sha256_update(&hash, buf, len);
        at += (off_t)len;
    }
    if (err == 0)
        print_head(&hash, ret_head);
    return err;
}

static int last_seq_of(int fd, off_t end, int64_t *ret_seq)
{
    off_t start;
    *ret_seq = 0;
    if (end == 0)
        return 0;
    int err = line_before(fd, end, &start);
    return err != 0 ? err : seq_of(fd, start, end, ret_seq);
}

/* --- Writing. --- */

/* Opens for appending, without a torn line at the end. *ret_end is where the next line will begin.
 */
static int open_to_append(const char *path, int *ret_fd, off_t *ret_end, struct ps_fault *fault)
{
    const int flags = O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW;
    int fd = open(path, flags);
    if (fd < 0 && errno == ENOENT) {
        int made = ps_private_replace(path, "", 0, fault);
        if (made != 0)
            return made;
        fd = open(path, flags);
    }
    if (fd < 0)
        return ps_fault(fault, ps_file_err(errno), path, "cannot be opened: %s", strerror(errno));
    off_t end;
    int err = whole_end(fd, &end);
    if (err != 0) {
        (void)ps_fault(fault, err, path, "cannot be read");
    } else if (ftruncate(fd, end) != 0) {
        err = ps_fault(fault, ps_file_err(errno), path, "cannot be cut: %s", strerror(errno));
    }
    if (err != 0) {
        close(fd);
        return err;
    }
    *ret_fd = fd;
    *ret_end = end;
    return 0;
}

int cfg_audit_open(const char *path, int64_t *ret_last_seq, char ret_head[CFG_AUDIT_HEAD],
                   struct ps_fault *fault)
{
    int fd;
    off_t end;
    int err = ps_private_check(path, fault);
    if (err == 0 || err == PS_E_NOT_FOUND)
        err = open_to_append(path, &fd, &end, fault);
    if (err != 0)
        return err;
    err = last_seq_of(fd, end, ret_last_seq);
    if (err == 0)
        err = head_of(fd, end, ret_head);
    if (err == PS_E_CORRUPT)
        err =
            ps_fault(fault, err, path,
                     "its last line does not begin with {\"seq\": move the file away; the gateway "
                     "begins a new one");
    else if (err != 0)
        err = ps_fault(fault, err, path, "cannot be read");
    close(fd);
    return err;
}

int cfg_audit_append(const char *path, char head[CFG_AUDIT_HEAD], int64_t seq, const char *text,
                     struct ps_fault *fault)
{
    crypto_hash_sha256_state hash;
    int fd;
    off_t end;
    char *line;
    int len = asprintf(&line, SEQ_FORMAT "\"prev\":\"%s\",%s\n", seq, head, text + 1);
    if (len < 0)
        return ps_fault(fault, PS_E_NOMEM, path, "out of memory");
    int err = open_to_append(path, &fd, &end, fault);
    if (err != 0)
        goto out;
    if (ps_file_write(fd, line, (size_t)len) != 0) {
        err = ps_fault(fault, ps_file_err(errno), path, "cannot be written: %s", strerror(errno));
        (void)!ftruncate(fd, end); /* else the next append cuts it off */
    } else {
        (void)crypto_hash_sha256_init(&hash);
        (void)crypto_hash_sha256_update(&hash, (unsigned char *)line, (size_t)len - 1);
        print_head(&hash, head);
    }
    close(fd);
out:
    free(line);
    return err;
}

/* --- Reading. --- */

/* Where the first line with seq > after begins, or `end`. */
static int find_after(int fd, int64_t after, off_t end, off_t *ret_start)
{
    /* Lines that begin before `low` have seq <= after; those at `high` or behind it are greater. */
    off_t low = 0, high = end, start;
    while (low < high) {
        off_t middle = low + (high - low) / 2;
        int64_t seq;
        int err = line_from(fd, middle, end, &start);
        if (err != 0)
            return err;
        if (start >= high) {
            high = middle;
            continue;
        }
        err = seq_of(fd, start, end, &seq);
        if (err != 0)
            return err;
        if (seq <= after)
            low = start + 1;
        else
            high = middle;
    }
    return line_from(fd, low, end, ret_start);
}

/* Where the last `limit` lines begin; fewer if they exceed READ_MAX bytes, but at least the last
 * line. */
static int find_last(int fd, int64_t limit, off_t end, off_t *ret_start)
{
    int64_t last;
    off_t start;
    int err = last_seq_of(fd, end, &last);
    if (err == 0)
        err = find_after(fd, last - limit, end, &start);
    if (err == 0 && end - start > READ_MAX)
        err = line_from(fd, end - READ_MAX, end, &start);
    if (err == 0 && start == end)
        err = line_before(fd, end, &start);
    if (err == 0)
        *ret_start = start;
    return err;
}

/* The length of the first `limit` whole lines of `text`; 0 = none is whole. */
static size_t lines_len(const char *text, size_t len, size_t limit)
{
    size_t whole = 0;
    for (; limit > 0; limit--) {
        const char *newline = memchr(text + whole, '\n', len - whole);
        if (newline == NULL)
            break;
        whole = (size_t)(newline - text) + 1;
    }
    return whole;
}

/* Reads from `start`: READ_MAX bytes, or more until a line is whole. */
static int read_lines(int fd, off_t start, off_t end, size_t limit, char **ret_text,
                      size_t *ret_len)
{
    for (size_t cap = READ_MAX;; cap *= 2) {
        size_t len = end - start < (off_t)cap ? (size_t)(end - start) : cap;
        char *text = malloc(len + 1);
        if (text == NULL)
            return PS_E_NOMEM;
        int err = read_at(fd, text, len, start);
        if (err != 0) {
            free(text);
            return err;
        }
        size_t whole = lines_len(text, len, limit);
        if (whole > 0 || len == 0) {
            text[whole] = '\0';
            *ret_text = text;
            *ret_len = whole;
            return 0;
        }
        free(text);
    }
}

int cfg_audit_read(const char *path, int64_t after, size_t limit, char **ret_text, size_t *ret_len)
{
    off_t end, start;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && errno == ENOENT) { /* the file was moved away, and no line followed */
        *ret_text = strdup("");
        *ret_len = 0;
        return *ret_text != NULL ? 0 : PS_E_NOMEM;
    }
    if (fd < 0)
        return ps_file_err(errno);
    int err = whole_end(fd, &end);
    if (err == 0)
        err = after < 0 ? find_last(fd, (int64_t)limit, end, &start)
                        : find_after(fd, after, end, &start);
    if (err == 0)
        err = read_lines(fd, start, end, limit, ret_text, ret_len);
    close(fd);
    return err;
}
