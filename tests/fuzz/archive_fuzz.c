/* Any bytes as an archive: as a file, and as the lines that its frame would hold. What is read to
 * its end is read the same again, and its numbers are the lines'. */
#define _GNU_SOURCE
#include "fuzz.h"
#include "queue/archive.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zstd.h>

static int count(int64_t place, struct ps_str text, const struct oq_event *event, void *ctx)
{
    (void)place;
    MUST(text.len > 0 && event->sale.len > 0);
    ++*(int64_t *)ctx;
    return 0;
}

static void read_file(const void *bytes, size_t size)
{
    static struct oq_archive_end end, again;
    struct ps_fault fault;
    int64_t records = 0;
    char path[64];
    int fd = memfd_create("archive", 0);

    MUST(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (oq_archive_read(path, count, &records, &end, &fault) == 0) {
        MUST(records + 1 == end.lines);
        MUST(oq_archive_read(path, NULL, NULL, &again, &fault) == 0);
        MUST(strcmp(end.last_hash, again.last_hash) == 0 && strcmp(end.sha256, again.sha256) == 0);
    }
    int err = oq_archive_verify(path, NULL, &again, &fault);
    MUST(err <= 0);
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    size_t bound = ZSTD_compressBound(size);
    char *packed = malloc(bound);

    read_file(bytes, size);
    MUST(packed != NULL);
    read_file(packed, ZSTD_compress(packed, bound, bytes, size, 1));
    free(packed);
    return 0;
}
