/* Reading a checkpoint: once to see whether all of it can be, then into a fold. See checkpoint.h.
 */
#include "queue/checkpoint_internal.h"
#include "common/program/private_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const uint64_t magic = OQ_CHECKPOINT_MAGIC;

struct oq_checkpoint {
    const char *file; /* mapped */
    size_t size;
    struct oq_mark *marks;
    uint64_t partitions;
    struct ps_str notes;
};

/* Reads rows one by one. Sets `wrong` at the end of the file, or at an impossible value. */
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

/* A count of rows, each of which is at least a byte: so a loop over them ends. */
static bool count_fits(struct cursor *cursor, uint64_t count)
{
    cursor->wrong |= cursor->wrong || count > (uint64_t)(cursor->end - cursor->at);
    return !cursor->wrong;
}

/* What is read into a fold; all NULL for a check only. */
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

static void load_epoch(struct loading *to, const struct oq_epoch_row *row)
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

static void read_names_of(struct cursor *from, struct loading *to, struct oq_sale_row *row)
{
    struct ps_str name, opening;
    if (!take_row(from, row, sizeof *row) || !take_text(from, row->name_len, PS_NAME_MAX, &name) ||
        !take_text(from, row->opening_len, PS_NAME_MAX, &opening) || !count_fits(from, row->skus) ||
        !count_fits(from, row->epochs))
        return;
    if (to->fold != NULL)
        to->err = oq_fold_make_sale(to->fold, name, row->rehearsal != 0, &to->sale);
    if (to->fold != NULL && to->err == 0)
        to->err = oq_fold_set_opening(to->sale, opening);
    for (uint32_t i = 0; i < row->skus && !from->wrong && to->err == 0; i++) {
        struct oq_sku_row sku;
        if (take_row(from, &sku, sizeof sku) && take_text(from, sku.name_len, PS_NAME_MAX, &name))
            load_sku(to, name, &sku.totals);
    }
    for (uint32_t i = 0; i < row->epochs && !from->wrong && to->err == 0; i++) {
        struct oq_epoch_row epoch;
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

static void read_order(struct cursor *from, struct loading *to, const struct oq_sale_row *sale,
                       bool known)
{
    struct oq_order_row row;
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
    oq_index_expect(&to->fold->by_id, hashes.id);
    /* An order of an earlier sale has its place. */
    if (!known && oq_index_find_hashed(&to->fold->by_id, hashes.id, &row.id) != NULL)
        return;
    if (known) {
        const struct oq_index *by_buyer = &oq_orders_of(to->sale)->by_buyer;
        hashes.buyer = oq_index_hash(by_buyer, probe);
        oq_index_expect(by_buyer, hashes.buyer);
    }
    to->err = oq_fold_make_order(to->sale, probe, &hashes, &order);
}

static void read_terms(struct cursor *from, struct loading *to, const struct oq_sale_row *sale)
{
    struct oq_terms_row row;
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

static void read_adjustment(struct cursor *from, struct loading *to, const struct oq_sale_row *sale)
{
    struct oq_adjustment_row row;
    if (!take_row(from, &row, sizeof row))
        return;
    from->wrong |= row.sku >= sale->skus;
    if (from->wrong || to->fold == NULL)
        return;
    const struct oq_adjustment like = {
        .ref = row.ref, .sku = row.sku, .in_force = row.in_force != 0, .delta = row.delta};
    to->err = oq_fold_make_adjustment(to->sale, &like);
}

static void read_body(struct cursor *from, struct loading *to, const struct oq_sale_row *row)
{
    if (row->forgotten || !count_fits(from, row->terms) || !count_fits(from, row->unknown) ||
        !count_fits(from, row->orders) || !count_fits(from, row->adjusted) ||
        !count_fits(from, row->not_adjusted))
        return;
    if (to->fold != NULL) { /* tables of their final size: otherwise they would grow many times */
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

/* Orders that were decided while the file was written were still accepted at the cut. */
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

/* Reads once without a fold, to check everything; then into one. */
static int read_all(struct oq_checkpoint *checkpoint, struct oq_fold *fold)
{
    struct cursor from = {checkpoint->file + sizeof magic,
                          checkpoint->file + checkpoint->size - OQ_CHECKPOINT_DIGEST, false};
    struct loading to = {.fold = fold};
    uint64_t sales = 0, notes = 0;
    const char *marks_at = NULL;
    if (take_row(&from, &checkpoint->partitions, sizeof checkpoint->partitions)) {
        from.wrong |= checkpoint->partitions > OQ_PARTITION_MAX;
        marks_at = take(&from, checkpoint->partitions * (sizeof(int64_t) + sizeof(struct oq_mark)));
    }
    if (!take_row(&from, &sales, sizeof sales) || !count_fits(&from, sales))
        return PS_E_CORRUPT;
    struct oq_sale_row *rows = calloc(sales + 1, sizeof *rows);
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
    if (checkpoint->size > sizeof magic + OQ_CHECKPOINT_DIGEST)
        at = mmap(NULL, checkpoint->size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    close(fd);
    if (at == MAP_FAILED)
        return ps_fault(fault, PS_E_CORRUPT, path, "it is incomplete");
    checkpoint->file = at;
    return 0;
}

static int check_file(struct oq_checkpoint *checkpoint, const char *path, struct ps_fault *fault)
{
    unsigned char digest[OQ_CHECKPOINT_DIGEST];
    size_t body = checkpoint->size - OQ_CHECKPOINT_DIGEST;
    if (memcmp(checkpoint->file, &magic, sizeof magic) != 0)
        return ps_fault(fault, PS_E_INVALID, path, "it has another version");
    (void)crypto_generichash(digest, sizeof digest, (const unsigned char *)checkpoint->file, body,
                             NULL, 0);
    if (memcmp(digest, checkpoint->file + body, sizeof digest) != 0)
        return ps_fault(fault, PS_E_CORRUPT, path, "its digest does not match");
    int err = read_all(checkpoint, NULL);
    return err == 0 ? 0 : ps_fault(fault, err, path, "its content is inconsistent");
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
