/* Writing the fold to a file. See checkpoint.h for the order of the calls, checkpoint_internal.h
 * for the file. The bodies are read while the log's thread continues: lists only grow, orders never
 * move, and what is retired stays until the cut is over. */
#include "queue/checkpoint_internal.h"
#include "common/grow.h"
#include "common/program/private_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define BUFFER_SIZE ((size_t)256 * 1024)

/* What the cut takes of a sale. */
struct cut_sale {
    const struct oq_sale_orders *orders; /* NULL: forgotten */
    struct oq_sale_row row;
};

struct oq_cut {
    struct oq_fold *fold;
    char *names; /* serialized at the cut */
    size_t names_len, names_room;
    struct cut_sale *sales;
    size_t sale_count;
    /* the log's thread until the end */
    int64_t *seq; /* of each partition at the cut */
    struct ps_uuid *accepted;
    size_t accepted_count, accepted_room;
    bool failed;
    /* the writing thread */
    char path[PATH_MAX];
    int fd; /* -1: not open */
    crypto_generichash_state hash;
    char *buffer;
    size_t used;
    int err; /* errno of the first write that failed */
};

/* --- The cut: the log's thread --- */

static int put_name(struct oq_cut *cut, const void *bytes, size_t len)
{
    int err = ps_grow(&cut->names, &cut->names_room, cut->names_len + len, 1);
    if (err == 0 && len > 0)
        memcpy(cut->names + cut->names_len, bytes, len);
    cut->names_len += err == 0 ? len : 0;
    return err;
}

static int put_skus(struct oq_cut *cut, const struct oq_sale *sale, uint32_t count)
{
    int err = 0;
    for (uint32_t i = 0; i < count && err == 0; i++) {
        const struct oq_sku *sku = oq_list_at(&sale->skus, i);
        struct oq_sku_row row = {.name_len = sku->name.len};
        oq_sale_totals(sale, i, &row.totals);
        err = put_name(cut, &row, sizeof row);
        if (err == 0)
            err = put_name(cut, sku->name.at, sku->name.len);
    }
    return err;
}

/* Writes the partitions that have an epoch, or whose records of the sale no longer count. With
 * `cut` NULL only counts them. */
static int put_epochs(struct oq_cut *cut, const struct oq_sale *sale, uint32_t *ret_count)
{
    uint32_t count = 0;
    int err = 0;
    for (uint32_t i = 0; i < OQ_PARTITION_MAX && err == 0; i++) {
        const struct oq_epoch_block *block =
            atomic_load_explicit(&sale->epochs[i / OQ_EPOCHS_A_BLOCK], memory_order_relaxed);
        if (block == NULL) {
            i += OQ_EPOCHS_A_BLOCK - 1;
            continue;
        }
        const struct oq_epoch_row row = {.epoch = oq_total(&block->epoch[i % OQ_EPOCHS_A_BLOCK]),
                                         .partition = i,
                                         .archived = block->archived[i % OQ_EPOCHS_A_BLOCK]};
        if (row.epoch == 0 && row.archived == 0)
            continue;
        count++;
        err = cut != NULL ? put_name(cut, &row, sizeof row) : 0;
    }
    *ret_count = count;
    return err;
}

static int cut_sale(struct oq_cut *cut, const struct oq_sale *sale)
{
    const struct oq_sale_orders *orders = oq_orders_of(sale);
    struct cut_sale *entry = &cut->sales[cut->sale_count];
    const struct ps_str opening = ps_str(oq_sale_opening_id(sale));
    entry->orders = orders;
    entry->row = (struct oq_sale_row){.name_len = (uint32_t)sale->name.len,
                                      .skus = (uint32_t)oq_list_count(&sale->skus),
                                      .partitions = oq_sale_partitions(sale),
                                      .partitions_archived = sale->partitions_archived,
                                      .rehearsal = sale->rehearsal,
                                      .archived = oq_sale_archived(sale),
                                      .forgotten = orders == NULL,
                                      .opening_len = (uint8_t)opening.len};
    if (orders != NULL) {
        entry->row.terms = oq_list_count(&orders->terms);
        entry->row.unknown = oq_list_count(&orders->unknown);
        entry->row.orders = oq_list_count(&orders->orders);
        entry->row.adjusted = oq_list_count(&orders->adjusted);
        entry->row.not_adjusted = oq_list_count(&orders->not_adjusted);
    }
    cut->sale_count++;
    int err = put_epochs(NULL, sale, &entry->row.epochs);
    if (err == 0)
        err = put_name(cut, &entry->row, sizeof entry->row);
    if (err == 0)
        err = put_name(cut, sale->name.at, sale->name.len);
    if (err == 0)
        err = put_name(cut, opening.at, opening.len);
    if (err == 0)
        err = put_skus(cut, sale, entry->row.skus);
    return err == 0 ? put_epochs(cut, sale, &entry->row.epochs) : err;
}

static int cut_names(struct oq_cut *cut, const struct oq_mark *marks, uint32_t count)
{
    struct oq_sale *sale;
    uint64_t sales = oq_list_count(&cut->fold->sales), partitions = count;
    cut->sales = calloc(sales + 1, sizeof *cut->sales);
    cut->seq = malloc(OQ_PARTITION_MAX * sizeof *cut->seq);
    if (cut->sales == NULL || cut->seq == NULL)
        return PS_E_NOMEM;
    int err = put_name(cut, &partitions, sizeof partitions);
    for (uint32_t i = 0; i < OQ_PARTITION_MAX; i++)
        cut->seq[i] = oq_fold_seq(cut->fold, i);
    for (uint32_t i = 0; i < count && err == 0; i++) {
        err = put_name(cut, &cut->seq[i], sizeof cut->seq[i]);
        if (err == 0)
            err = put_name(cut, &marks[i], sizeof marks[i]);
    }
    if (err == 0)
        err = put_name(cut, &sales, sizeof sales);
    for (size_t i = 0; err == 0 && (sale = oq_fold_sale_at(cut->fold, i)) != NULL; i++)
        err = cut_sale(cut, sale);
    return err;
}

int oq_cut_begin(struct oq_fold *fold, const struct oq_mark *marks, uint32_t count,
                 struct oq_cut **ret_cut)
{
    if (fold->cut != NULL)
        return PS_E_BUSY;
    struct oq_cut *cut = calloc(1, sizeof *cut);
    if (cut == NULL)
        return PS_E_NOMEM;
    cut->fold = fold;
    cut->fd = -1;
    int err = cut_names(cut, marks, count);
    if (err != 0) {
        oq_cut_free(cut);
        return err;
    }
    fold->cut = *ret_cut = cut;
    return 0;
}

/* Orders after the cut do not count. Only accepted orders ever change. */
void oq_cut_note(struct oq_cut *cut, const struct oq_order *order)
{
    if (oq_place_seq(order->place) > cut->seq[oq_place_partition(order->place)])
        return;
    if (ps_grow(&cut->accepted, &cut->accepted_room, cut->accepted_count + 1,
                sizeof *cut->accepted) != 0)
        cut->failed = true;
    else
        cut->accepted[cut->accepted_count++] = order->id;
}

void oq_cut_end(struct oq_cut *cut)
{
    cut->fold->cut = NULL;
}

/* --- Writing: another thread --- */

static void flush_buffer(struct oq_cut *cut, bool hashed)
{
    if (hashed)
        (void)crypto_generichash_update(&cut->hash, (const unsigned char *)cut->buffer, cut->used);
    for (size_t done = 0; done < cut->used && cut->err == 0;) {
        ssize_t n = write(cut->fd, cut->buffer + done, cut->used - done);
        if (n < 0 && errno != EINTR)
            cut->err = errno;
        done += n > 0 ? (size_t)n : 0;
    }
    cut->used = 0;
}

static void put(struct oq_cut *cut, const void *bytes, size_t len)
{
    const char *at = bytes;
    while (len > 0) {
        size_t room = BUFFER_SIZE - cut->used, part = len < room ? len : room;
        memcpy(cut->buffer + cut->used, at, part);
        cut->used += part;
        at += part;
        len -= part;
        if (cut->used == BUFFER_SIZE)
            flush_buffer(cut, true);
    }
}

static void put_order(struct oq_cut *cut, const struct oq_order *order)
{
    const struct oq_order *first = oq_order_first(order);
    struct oq_order_row row = {
        .id = order->id,
        .reserved_at_ms = order->reserved_at_ms,
        .place = order->place,
        .terms = oq_order_terms(order)->number,
        .decided = atomic_load_explicit(&order->decided, memory_order_relaxed),
        .flags = (uint8_t)((order->flags & ~(OQ_ORDER_USER_ID | OQ_ORDER_USER_BEFORE)) |
                           (first->flags & OQ_ORDER_USER_ID)),
        .user_size = first->user_size,
        .key_size = order->key_size};
    put(cut, &row, sizeof row);
    put(cut, first->text, row.user_size);
    put(cut, oq_order_key_at(order), row.key_size);
}

static void put_body(struct oq_cut *cut, const struct cut_sale *sale)
{
    const struct oq_sale_orders *orders = sale->orders;
    for (size_t i = 0; i < sale->row.terms; i++) {
        const struct oq_terms *terms = oq_list_at(&orders->terms, i);
        const struct oq_terms_row row = {terms->quantity, terms->pay_ms,  terms->epoch,
                                         terms->cap,      terms->sku_cap, terms->sku,
                                         terms->rehearsal};
        put(cut, &row, sizeof row);
    }
    for (size_t i = 0; i < sale->row.unknown && cut->err == 0; i++)
        put_order(cut, oq_list_at(&orders->unknown, i));
    for (size_t i = 0; i < sale->row.orders && cut->err == 0; i++)
        put_order(cut, oq_list_at(&orders->orders, i));
    for (size_t i = 0; i < sale->row.adjusted + sale->row.not_adjusted; i++) {
        const struct oq_adjustment *adjustment =
            i < sale->row.adjusted ? oq_list_at(&orders->adjusted, i)
                                   : oq_list_at(&orders->not_adjusted, i - sale->row.adjusted);
        const struct oq_adjustment_row row = {adjustment->ref, adjustment->delta, adjustment->sku,
                                              adjustment->in_force};
        put(cut, &row, sizeof row);
    }
}

static int new_name(const struct oq_cut *cut, char name[PATH_MAX])
{
    return snprintf(name, PATH_MAX, "%s.new", cut->path) < PATH_MAX ? 0 : PS_E_INVALID;
}

static int write_failed(const struct oq_cut *cut, int errnum, struct ps_fault *fault)
{
    return ps_fault(fault, ps_file_err(errnum), cut->path, "cannot be written: %s",
                    strerror(errnum));
}

int oq_cut_write(struct oq_cut *cut, const char *path, struct ps_fault *fault)
{
    char name[PATH_MAX];
    if ((size_t)snprintf(cut->path, sizeof cut->path, "%s", path) >= sizeof cut->path ||
        new_name(cut, name) != 0)
        return ps_fault(fault, PS_E_INVALID, "", "the path is too long");
    cut->buffer = malloc(BUFFER_SIZE);
    if (cut->buffer == NULL)
        return ps_fault(fault, PS_E_NOMEM, path, "out of memory");
    (void)unlink(name); /* the rest of an interrupted try */
    cut->fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (cut->fd < 0)
        return write_failed(cut, errno, fault);
    (void)crypto_generichash_init(&cut->hash, NULL, 0, OQ_CHECKPOINT_DIGEST);
    put(cut, &(uint64_t){OQ_CHECKPOINT_MAGIC}, sizeof(uint64_t));
    put(cut, cut->names, cut->names_len);
    for (size_t i = 0; i < cut->sale_count && cut->err == 0; i++)
        put_body(cut, &cut->sales[i]);
    return cut->err != 0 ? write_failed(cut, cut->err, fault) : 0;
}

int oq_cut_publish(struct oq_cut *cut, struct ps_str notes, struct ps_fault *fault)
{
    unsigned char digest[OQ_CHECKPOINT_DIGEST];
    uint64_t accepted = cut->accepted_count, notes_len = notes.len;
    if (cut->failed || notes.len > OQ_NOTES_MAX)
        return ps_fault(fault, PS_E_NOMEM, cut->path,
                        "out of memory for the changes since the cut");
    put(cut, &accepted, sizeof accepted);
    put(cut, cut->accepted, cut->accepted_count * sizeof *cut->accepted);
    put(cut, &notes_len, sizeof notes_len);
    put(cut, notes.at, notes.len);
    flush_buffer(cut, true);
    (void)crypto_generichash_final(&cut->hash, digest, sizeof digest);
    memcpy(cut->buffer, digest, sizeof digest);
    cut->used = sizeof digest;
    flush_buffer(cut, false);
    if (cut->err == 0 && fsync(cut->fd) != 0)
        cut->err = errno;
    if (cut->err != 0)
        return write_failed(cut, cut->err, fault);
    close(cut->fd);
    cut->fd = -1;
    return ps_private_publish(cut->path, fault);
}

void oq_cut_free(struct oq_cut *cut)
{
    if (cut == NULL)
        return;
    if (cut->fd >= 0) {
        close(cut->fd);
        ps_private_discard(cut->path);
    }
    free(cut->buffer);
    free(cut->accepted);
    free(cut->names);
    free(cut->sales);
    free(cut->seq);
    free(cut);
}
