/* Calls that wait: the callback notes what came, and the loop is turned until it has. */
#include "tests/unit/check.h"

#include "inventory/store_memory.h"
#include "tests/contract/store_fixture.h"

#define START_MS INT64_C(1700000000000)

static void close_memory(struct inv_store *store)
{
    inv_store_free(store);
}

static const struct store_backend memory = {
    .name = "inventory/memory",
    .open = inv_store_memory_new,
    .close = close_memory,
    .schedules = 60,
    .steps = 400,
};

const struct store_backend *const store_backends[] = {&memory, &store_backend_redis};
const size_t store_backend_count = PS_ARRAY_LEN(store_backends);

void fx_open(struct store_fixture *fx, const struct store_backend *backend)
{
    fx->backend = backend;
    ps_clock_manual_init(&fx->now, 0, START_MS);
    assert_ok(backend->open(&fx->now.clock, &fx->store));
}

void fx_close(struct store_fixture *fx)
{
    fx->backend->close(fx->store);
}

void fx_rest(struct store_fixture *fx)
{
    while (fx->backend->busy != NULL && fx->backend->busy(fx->store))
        fx->backend->turn(fx->store);
}

int64_t fx_now_ms(const struct store_fixture *fx)
{
    return fx->backend->own_clock ? ps_clock_wall_ms(&ps_clock_system) : fx->now.wall_ms;
}

/* What a callback has brought. */
struct note {
    bool here;
    int err;
    uint64_t handle;
    void *ret;
    size_t size;
};

static void take(struct note *note, uint64_t handle, int err, const void *what)
{
    assert_false(note->here); /* exactly once */
    note->here = true;
    note->handle = handle;
    note->err = err;
    if (err == 0)
        memcpy(note->ret, what, note->size);
}

static void on_answer(uint64_t handle, int err, const struct inv_answer *answer, void *ctx)
{
    take(ctx, handle, err, answer);
}

static void on_entry(uint64_t handle, int err, const struct inv_entry *entry, void *ctx)
{
    take(ctx, handle, err, entry);
}

static void on_counts(uint64_t handle, int err, const struct inv_count *counts, void *ctx)
{
    take(ctx, handle, err, counts);
}

#define HANDLE 4711

static int await(struct store_fixture *fx, struct note *note, int result)
{
    if (result != INV_PENDING) {
        assert_false(note->here);
        return result;
    }
    while (!note->here)
        fx->backend->turn(fx->store);
    assert_int_equal(note->handle, HANDLE);
    return note->err;
}

int fx_reserve(struct store_fixture *fx, struct inv_sale *sale,
               const struct inv_reservation *reservation, struct inv_answer *ret)
{
    struct note note = {.ret = ret, .size = sizeof *ret};
    return await(fx, &note,
                 inv_store_reserve(fx->store, sale, reservation,
                                   (struct inv_reply_to){.on_answer = on_answer,
                                                         .ctx = &note,
                                                         .handle = HANDLE,
                                                         .ret_answer = ret}));
}

int fx_judge(struct store_fixture *fx, struct inv_sale *sale,
             const struct inv_reservation *reservation, struct inv_answer *ret)
{
    struct note note = {.ret = ret, .size = sizeof *ret};
    return await(fx, &note,
                 inv_store_judge(fx->store, sale, reservation,
                                 (struct inv_reply_to){.on_answer = on_answer,
                                                       .ctx = &note,
                                                       .handle = HANDLE,
                                                       .ret_answer = ret}));
}

int fx_lower(struct store_fixture *fx, struct inv_sale *sale, int64_t epoch,
             const struct ps_uuid *id, uint32_t sku, int64_t units, struct inv_answer *ret)
{
    struct note note = {.ret = ret, .size = sizeof *ret};
    return await(
        fx, &note,
        inv_store_lower(
            fx->store, sale,
            &(struct inv_lowering){
                .id = *id, .epoch = epoch, .name = PS_STR("take-back"), .sku = sku, .units = units},
            (struct inv_reply_to){
                .on_answer = on_answer, .ctx = &note, .handle = HANDLE, .ret_answer = ret}));
}

int fx_find(struct store_fixture *fx, struct inv_sale *sale, const struct ps_uuid *id,
            struct inv_entry *ret)
{
    struct note note = {.ret = ret, .size = sizeof *ret};
    return await(fx, &note,
                 inv_store_find(
                     fx->store, sale, id,
                     (struct inv_reply_to){
                         .on_entry = on_entry, .ctx = &note, .handle = HANDLE, .ret_entry = ret}));
}

int fx_counts(struct store_fixture *fx, struct inv_sale *sale, struct inv_count *ret)
{
    struct note note = {.ret = ret, .size = inv_sale_sku_count(sale) * sizeof *ret};
    return await(fx, &note,
                 inv_store_counts(fx->store, sale,
                                  (struct inv_reply_to){.on_counts = on_counts,
                                                        .ctx = &note,
                                                        .handle = HANDLE,
                                                        .ret_counts = ret}));
}

void fx_resolve(struct store_fixture *fx, struct inv_sale *sale, const struct ps_uuid *id,
                enum inv_verdict verdict)
{
    inv_store_resolve(fx->store, sale, id, verdict);
    fx_rest(fx);
}

void fx_raise(struct store_fixture *fx, struct inv_sale *sale, const struct ps_uuid *id,
              uint32_t sku, int64_t units)
{
    inv_store_raise(fx->store, sale, id, sku, units);
    fx_rest(fx);
}
