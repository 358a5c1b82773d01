/* See uploads.h. A client's uploads are counted by looking at all: there are few, and beside a body
 * of more than 64 KiB that costs nothing. */
#include "gateway/upstream/uploads.h"

#include <string.h>

static void add(_Atomic(int64_t) *figure, int64_t delta) /* the only writer */
{
    atomic_store_explicit(figure, atomic_load_explicit(figure, memory_order_relaxed) + delta,
                          memory_order_relaxed);
}

size_t up_uploads_most(uint32_t places, double share, size_t *ret_of_client)
{
    size_t most = (size_t)(share * places);

    if (most == 0 && share > 0)
        most = 1;
    *ret_of_client = (most + UP_UPLOADS_CLIENTS - 1) / UP_UPLOADS_CLIENTS;
    return most;
}

static size_t count_of(const struct up_uploads *uploads, const struct ps_address *client)
{
    const struct up_upload *upload;
    size_t count = 0;

    LIST_FOREACH(upload, &uploads->all, entry)
    count += memcmp(&upload->client, client, sizeof *client) == 0;
    return count;
}

bool up_uploads_begin(struct up_uploads *uploads, struct up_upload *upload,
                      const struct ps_address *client, uint32_t places, double share)
{
    size_t of_client, most = up_uploads_most(places, share, &of_client);
    int64_t count = atomic_load_explicit(&uploads->count, memory_order_relaxed);

    ps_address_limit_key(client, &upload->client);
    if ((size_t)count >= most || count_of(uploads, &upload->client) >= of_client) {
        add(&uploads->refused, 1);
        return false;
    }
    LIST_INSERT_HEAD(&uploads->all, upload, entry);
    upload->is_counted = true;
    add(&uploads->count, 1);
    return true;
}

void up_uploads_end(struct up_uploads *uploads, struct up_upload *upload)
{
    if (!upload->is_counted)
        return;
    LIST_REMOVE(upload, entry);
    upload->is_counted = false;
    add(&uploads->count, -1);
}
