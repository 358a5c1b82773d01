/* Writing the fold to a file and reading it back. See checkpoint.h for the order of the calls.
 *
 *     head        magic, which also tells the byte order and the version
 *     names       of the moment of the cut: marks, sales, SKUs with their totals, epochs; and of
 *                 each sale how many terms, orders, unknown orders and adjustments follow
 *     bodies      of each sale that is not forgotten, these
 *     accepted    ids of orders that were accepted at the cut and whose state the body may show as
 *                 it was a moment later. No other state ever changes
 *     notes       the host's
 *     digest      BLAKE2b of all before it
 *
 * The body is read while the log's thread goes on: lists only grow, orders never move, and what is
 * retired stays until the cut is over. */
#include "queue/checkpoint.h"
#include "common/grow.h"
#include "common/private_file.h"
#include "queue/fold_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const uint64_t magic = UINT64_C(0x3130544b43465350); /* "PSFCKT01" on a usual machine */

#define DIGEST      32
#define BUFFER_SIZE ((size_t)256 * 1024)

/* An order in the file; its user and its key follow. */
struct order_row {
    struct ps_uuid id;
    int64_t reserved_at_ms;
    int64_t place;
    uint32_t terms; /* number in its sale */
    uint8_t decided, flags, user_size, key_size;
};

struct terms_row {
    int64_t quantity, pay_ms, epoch, cap, sku_cap;
    uint32_t sku, rehearsal;
};

struct adjustment_row {
    struct ps_uuid ref;
    int64_t delta;
    uint32_t sku, in_force;
};

struct sale_row { /* its name, its SKUs and its epochs follow */
    uint64_t terms, unknown, orders, adjusted, not_adjusted;
    uint32_t name_len, skus, epochs, partitions, partitions_archived;
    uint8_t rehearsal, archived, forgotten, unused;
};

struct sku_row { /* its name follows */
    struct oq_totals totals;
    uint64_t name_len;
};

struct epoch_row {
    int64_t epoch;
    uint32_t partition, archived;
};

/* What of a sale the cut takes. */
struct cut_sale {
    const struct oq_sale_orders *orders; /* NULL: forgotten */
    struct sale_row row;
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
        struct sku_row row = {.name_len = sku->name.len};
        oq_sale_totals(sale, i, &row.totals);
        err = put_name(cut, &row, sizeof row);
        if (err == 0)
            err = put_name(cut, sku->name.at, sku->name.len);
    }
    return err;
}

/* Of partitions that have one, or whose records of the sale no longer count. With `cut` NULL it
 * only counts them. */
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
        const struct epoch_row row = {.epoch = oq_total(&block->epoch[i % OQ_EPOCHS_A_BLOCK]),
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
    entry->orders = orders;
    entry->row = (struct sale_row){.name_len = (uint32_t)sale->name.len,
                                   .skus = (uint32_t)oq_list_count(&sale->skus),
                                   .partitions = oq_sale_partitions(sale),
                                   .partitions_archived = sale->partitions_archived,
                                   .rehearsal = sale->rehearsal,
                                   .archived = oq_sale_archived(sale),
                                   .forgotten = orders == NULL};
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

/* Behind the cut an order was not there yet. Only an accepted one ever changes. */
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
    struct order_row row = {
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
        const struct terms_row row = {terms->quantity, terms->pay_ms, terms->epoch,    terms->cap,
                                      terms->sku_cap,  terms->sku,    terms->rehearsal};
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
        const struct adjustment_row row = {adjustment->ref, adjustment->delta, adjustment->sku,
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
    (void)unlink(name); /* what an interrupted try has left */
    cut->fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (cut->fd < 0)
        return write_failed(cut, errno, fault);
    (void)crypto_generichash_init(&cut->hash, NULL, 0, DIGEST);
    put(cut, &magic, sizeof magic);
    put(cut, cut->names, cut->names_len);
    for (size_t i = 0; i < cut->sale_count && cut->err == 0; i++)
        put_body(cut, &cut->sales[i]);
    return cut->err != 0 ? write_failed(cut, cut->err, fault) : 0;
}

int oq_cut_publish(struct oq_cut *cut, struct ps_str notes, struct ps_fault *fault)
{
    unsigned char digest[DIGEST];
    uint64_t accepted = cut->accepted_count, notes_len = notes.len;
    if (cut->failed || notes.len > OQ_NOTES_MAX)
        return ps_fault(fault, PS_E_NOMEM, cut->path, "out of memory for what changed meanwhile");
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

/* --- Reading --- */

struct oq_checkpoint {
    const char *file; /* mapped */
    size_t size;
    struct oq_mark *marks;
    uint64_t partitions;
    struct ps_str notes;
};

/* Takes rows one by one. Behind the end, or where something cannot be, it is `wrong`. */
struct cursor {
    const char *at, *end;
    bool wrong;
};

static const char *take(struct cursor *cursor, uint64_t len)
{
    if (cursor->wrong || len > (uint64_t)(cursor->end - cursor->at)) {
        cursor->wrong = true;
        return NULL;
    }
    const char *taken = cursor->at;
    cursor->at += len;
    return taken;
}

static bool take_row(struct cursor *cursor, void *row, size_t len)
{
    const char *from = take(cursor, len);
    if (from != NULL)
        memcpy(row, from, len);
    return from != NULL;
}

static bool take_text(struct cursor *cursor, uint64_t len, uint64_t max, struct ps_str *ret_text)
{
    *ret_text = (struct ps_str){len <= max ? take(cursor, len) : NULL, (size_t)len};
    cursor->wrong |= ret_text->at == NULL;
    return !cursor->wrong;
}

/* A count of rows, each of which takes at least a byte: so a loop over them ends. */
static bool count_fits(struct cursor *cursor, uint64_t count)
{
    cursor->wrong |= cursor->wrong || count > (uint64_t)(cursor->end - cursor->at);
    return !cursor->wrong;
}

/* What of the file is read into a fold; all NULL where it is only checked. */
struct loading {
    struct oq_fold *fold;
    struct oq_sale *sale;
    int err; /* PS_E_NOMEM */
};

static void load_sku(struct loading *to, struct ps_str name, const struct oq_totals *totals)
{
    struct oq_sku *sku;
    if (to->fold == NULL || (to->err = oq_fold_make_sku(to->sale, name, &sku)) != 0)
        return;
    atomic_store_explicit(&sku->adjustments, totals->adjustments, memory_order_relaxed);
    atomic_store_explicit(&sku->held, totals->held, memory_order_relaxed);
    atomic_store_explicit(&sku->confirmed, totals->confirmed, memory_order_relaxed);
    atomic_store_explicit(&sku->released, totals->released, memory_order_relaxed);
}

static void load_epoch(struct loading *to, const struct epoch_row *row)
{
    struct oq_epoch_block *block =
        to->fold != NULL ? oq_fold_epochs(to->sale, row->partition) : NULL;
    if (block == NULL) {
        to->err = to->fold != NULL ? PS_E_NOMEM : 0;
        return;
    }
    block->archived[row->partition % OQ_EPOCHS_A_BLOCK] = row->archived != 0;
    to->fold->has_archived |= row->archived != 0;
    atomic_store_explicit(&block->epoch[row->partition % OQ_EPOCHS_A_BLOCK], row->epoch,
                          memory_order_release);
}

static void read_names_of(struct cursor *from, struct loading *to, struct sale_row *row)
{
    struct ps_str name;
    if (!take_row(from, row, sizeof *row) || !take_text(from, row->name_len, PS_NAME_MAX, &name) ||
        !count_fits(from, row->skus) || !count_fits(from, row->epochs))
        return;
    if (to->fold != NULL)
        to->err = oq_fold_make_sale(to->fold, name, row->rehearsal != 0, &to->sale);
    for (uint32_t i = 0; i < row->skus && !from->wrong && to->err == 0; i++) {
        struct sku_row sku;
        if (take_row(from, &sku, sizeof sku) && take_text(from, sku.name_len, PS_NAME_MAX, &name))
            load_sku(to, name, &sku.totals);
    }
    for (uint32_t i = 0; i < row->epochs && !from->wrong && to->err == 0; i++) {
        struct epoch_row epoch;
        if (!take_row(from, &epoch, sizeof epoch))
            return;
        from->wrong |= epoch.partition >= OQ_PARTITION_MAX;
        if (!from->wrong)
            load_epoch(to, &epoch);
    }
    if (to->fold == NULL || to->err != 0)
        return;
    to->sale->partitions_archived = row->partitions_archived;
    atomic_store_explicit(&to->sale->partitions, row->partitions, memory_order_release);
    atomic_store_explicit(&to->sale->archived, row->archived != 0, memory_order_release);
    if (row->forgotten)
        oq_fold_forget(to->fold, to->sale);
}

static void read_order(struct cursor *from, struct loading *to, const struct sale_row *sale,
                       bool known)
{
    struct order_row row;
    struct ps_str user, key;
    if (!take_row(from, &row, sizeof row) || !take_text(from, row.user_size, PS_USER_MAX, &user) ||
        !take_text(from, row.key_size, PS_KEY_MAX, &key))
        return;
    from->wrong |= row.terms >= sale->terms || (row.decided & 0xf) > OQ_STATE_VOID ||
                   row.decided >> 4 > OQ_REJECTED || row.place < 0 ||
                   oq_place_partition(row.place) >= OQ_PARTITION_MAX ||
                   ((row.flags & OQ_ORDER_KNOWN) != 0) != known ||
                   (row.flags & OQ_ORDER_USER_BEFORE) != 0 ||
                   ((row.flags & OQ_ORDER_USER_ID) != 0 && user.len != sizeof(struct ps_uuid)) ||
                   ((row.flags & OQ_ORDER_KEY_ID) != 0 && key.len != sizeof(struct ps_uuid));
    if (from->wrong || to->fold == NULL)
        return;
    union oq_order_probe room;
    struct oq_order *probe = &room.order, *order;
    probe->id = row.id;
    probe->reserved_at_ms = row.reserved_at_ms;
    probe->place = row.place;
    probe->terms = oq_ref(oq_list_at(&oq_orders_of(to->sale)->terms, row.terms));
    atomic_init(&probe->decided, row.decided);
    probe->flags = row.flags;
    probe->user_size = row.user_size;
    probe->key_size = row.key_size;
    memcpy(room.bytes + offsetof(struct oq_order, text), user.at, user.len);
    memcpy(room.bytes + offsetof(struct oq_order, text) + user.len, key.at, key.len);
    struct oq_order_hashes hashes = {.id = oq_index_hash(&to->fold->by_id, &row.id)};
    if (known)
        hashes.buyer = oq_index_hash(&oq_orders_of(to->sale)->by_buyer, probe);
    to->err = oq_fold_make_order(to->sale, probe, &hashes, &order);
}

static void read_terms(struct cursor *from, struct loading *to, const struct sale_row *sale)
{
    struct terms_row row;
    struct oq_terms *made;
    if (!take_row(from, &row, sizeof row))
        return;
    from->wrong |= row.sku >= sale->skus;
    if (from->wrong || to->fold == NULL)
        return;
    const struct oq_terms like = {.quantity = row.quantity,
                                  .pay_ms = row.pay_ms,
                                  .epoch = row.epoch,
                                  .cap = row.cap,
                                  .sku_cap = row.sku_cap,
                                  .sku = row.sku,
                                  .rehearsal = row.rehearsal};
    to->err = oq_fold_make_terms(to->sale, &like, &made);
}

static void read_adjustment(struct cursor *from, struct loading *to, const struct sale_row *sale)
{
    struct adjustment_row row;
    if (!take_row(from, &row, sizeof row))
        return;
    from->wrong |= row.sku >= sale->skus;
    if (from->wrong || to->fold == NULL)
        return;
    const struct oq_adjustment like = {
        .ref = row.ref, .sku = row.sku, .in_force = row.in_force != 0, .delta = row.delta};
    to->err = oq_fold_make_adjustment(to->sale, &like);
}

static void read_body(struct cursor *from, struct loading *to, const struct sale_row *row)
{
    if (row->forgotten || !count_fits(from, row->terms) || !count_fits(from, row->unknown) ||
        !count_fits(from, row->orders) || !count_fits(from, row->adjusted) ||
        !count_fits(from, row->not_adjusted))
        return;
    if (to->fold != NULL) { /* tables of their final size: else they would grow many times */
        struct oq_index *by_id = &to->fold->by_id;
        to->err = oq_index_expect_count(by_id, by_id->count + row->orders + row->unknown);
        if (to->err == 0)
            to->err = oq_index_expect_count(&oq_orders_of(to->sale)->by_buyer, row->orders);
    }
    for (uint64_t i = 0; i < row->terms && !from->wrong && to->err == 0; i++)
        read_terms(from, to, row);
    for (uint64_t i = 0; i < row->unknown && !from->wrong && to->err == 0; i++)
        read_order(from, to, row, false);
    for (uint64_t i = 0; i < row->orders && !from->wrong && to->err == 0; i++)
        read_order(from, to, row, true);
    for (uint64_t i = 0; i < row->adjusted + row->not_adjusted && !from->wrong && to->err == 0; i++)
        read_adjustment(from, to, row);
}

/* Orders that were decided while the file was written had not been at the cut. */
static void read_accepted(struct cursor *from, struct loading *to)
{
    uint64_t count;
    if (!take_row(from, &count, sizeof count) || !count_fits(from, count))
        return;
    for (uint64_t i = 0; i < count; i++) {
        struct ps_uuid id;
        if (!take_row(from, &id, sizeof id))
            return;
        struct oq_order *order = to->fold != NULL ? oq_fold_order(to->fold, &id) : NULL;
        if (order != NULL)
            atomic_store_explicit(&order->decided, OQ_STATE_ACCEPTED, memory_order_release);
    }
}

/* Once without a fold, to see whether all of it can be; then into one. */
static int read_all(struct oq_checkpoint *checkpoint, struct oq_fold *fold)
{
    struct cursor from = {checkpoint->file + sizeof magic,
                          checkpoint->file + checkpoint->size - DIGEST, false};
    struct loading to = {.fold = fold};
    uint64_t sales = 0, notes = 0;
    const char *marks_at = NULL;
    if (take_row(&from, &checkpoint->partitions, sizeof checkpoint->partitions)) {
        from.wrong |= checkpoint->partitions > OQ_PARTITION_MAX;
        marks_at = take(&from, checkpoint->partitions * (sizeof(int64_t) + sizeof(struct oq_mark)));
    }
    if (!take_row(&from, &sales, sizeof sales) || !count_fits(&from, sales))
        return PS_E_CORRUPT;
    struct sale_row *rows = calloc(sales + 1, sizeof *rows);
    struct oq_sale **made = calloc(sales + 1, sizeof(struct oq_sale *));
    if (rows == NULL || made == NULL)
        to.err = PS_E_NOMEM;
    for (uint64_t i = 0; i < sales && !from.wrong && to.err == 0; i++) {
        read_names_of(&from, &to, &rows[i]);
        made[i] = to.sale;
    }
    for (uint64_t i = 0; i < sales && !from.wrong && to.err == 0; i++) {
        to.sale = made[i];
        read_body(&from, &to, &rows[i]);
    }
    if (to.err == 0)
        read_accepted(&from, &to);
    if (to.err == 0 && take_row(&from, &notes, sizeof notes))
        (void)take_text(&from, notes, OQ_NOTES_MAX, &checkpoint->notes);
    from.wrong |= to.err == 0 && from.at != from.end;
    free(rows);
    free(made);
    if (to.err != 0 || from.wrong)
        return to.err != 0 ? to.err : PS_E_CORRUPT;
    for (uint64_t i = 0; i < checkpoint->partitions; i++) {
        const char *at = marks_at + i * (sizeof(int64_t) + sizeof(struct oq_mark));
        int64_t seq;
        memcpy(&seq, at, sizeof seq);
        memcpy(&checkpoint->marks[i], at + sizeof seq, sizeof checkpoint->marks[i]);
        if (fold != NULL)
            atomic_store_explicit(&fold->seq[i], seq, memory_order_release);
    }
    return 0;
}

static int map_file(struct oq_checkpoint *checkpoint, const char *path, struct ps_fault *fault)
{
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &status) != 0) {
        int err = ps_fault(fault, ps_file_err(errno), path, "cannot be read: %s", strerror(errno));
        if (fd >= 0)
            close(fd);
        return err;
    }
    checkpoint->size = (size_t)status.st_size;
    void *at = MAP_FAILED;
    if (checkpoint->size > sizeof magic + DIGEST)
        at = mmap(NULL, checkpoint->size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    close(fd);
    if (at == MAP_FAILED)
        return ps_fault(fault, PS_E_CORRUPT, path, "it is cut short");
    checkpoint->file = at;
    return 0;
}

static int check_file(struct oq_checkpoint *checkpoint, const char *path, struct ps_fault *fault)
{
    unsigned char digest[DIGEST];
    size_t body = checkpoint->size - DIGEST;
    if (memcmp(checkpoint->file, &magic, sizeof magic) != 0)
        return ps_fault(fault, PS_E_INVALID, path, "it is of another version");
    (void)crypto_generichash(digest, sizeof digest, (const unsigned char *)checkpoint->file, body,
                             NULL, 0);
    if (memcmp(digest, checkpoint->file + body, sizeof digest) != 0)
        return ps_fault(fault, PS_E_CORRUPT, path, "it is not what was written");
    int err = read_all(checkpoint, NULL);
    return err == 0 ? 0 : ps_fault(fault, err, path, "it does not fit together");
}

int oq_checkpoint_open(const char *path, struct oq_checkpoint **ret_checkpoint,
                       struct ps_fault *fault)
{
    int err = ps_private_check(path, fault);
    if (err != 0)
        return err;
    struct oq_checkpoint *checkpoint = calloc(1, sizeof *checkpoint);
    if (checkpoint != NULL)
        checkpoint->marks = calloc(OQ_PARTITION_MAX, sizeof *checkpoint->marks);
    if (checkpoint == NULL || checkpoint->marks == NULL)
        err = ps_fault(fault, PS_E_NOMEM, path, "out of memory");
    if (err == 0)
        err = map_file(checkpoint, path, fault);
    if (err == 0)
        err = check_file(checkpoint, path, fault);
    if (err != 0) {
        oq_checkpoint_free(checkpoint);
        return err;
    }
    *ret_checkpoint = checkpoint;
    return 0;
}

void oq_checkpoint_free(struct oq_checkpoint *checkpoint)
{
    if (checkpoint == NULL)
        return;
    if (checkpoint->file != NULL)
        munmap((void *)(uintptr_t)checkpoint->file, checkpoint->size);
    free(checkpoint->marks);
    free(checkpoint);
}

const struct oq_mark *oq_checkpoint_marks(const struct oq_checkpoint *checkpoint,
                                          uint32_t *ret_count)
{
    *ret_count = (uint32_t)checkpoint->partitions;
    return checkpoint->marks;
}

struct ps_str oq_checkpoint_notes(const struct oq_checkpoint *checkpoint)
{
    return checkpoint->notes;
}

int oq_checkpoint_load(const struct oq_checkpoint *checkpoint, struct oq_fold *fold)
{
    return read_all((struct oq_checkpoint *)(uintptr_t)checkpoint, fold);
}
