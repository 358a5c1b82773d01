/* Fills a journal as a gateway would, but without one: `fill-log JOURNAL SALE SKU ORDERS FIRST`
 * appends that many orders, each accepted and confirmed, under the sale's last epoch. Users and
 * keys are UUIDs, made of the orders' numbers from FIRST on. */
#include "common/clock.h"
#include "queue/log_journal.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int64_t epoch;

static void on_record(uint32_t partition, int64_t seq, const struct oq_event *event, void *ctx)
{
    (void)partition;
    (void)seq;
    if (event->type == OQ_FENCED && ps_str_is(event->sale, ctx))
        epoch = event->epoch;
}

static void on_outcome(const struct oq_ticket *ticket, const struct oq_event *event,
                       enum oq_outcome outcome, int64_t seq, void *ctx)
{
    (void)ticket;
    (void)event;
    (void)seq;
    (void)ctx;
    if (outcome != OQ_LANDED) {
        fprintf(stderr, "fill-log: a record did not land\n");
        exit(1);
    }
}

static void append(struct oq_log *log, const struct oq_event *event)
{
    static const struct oq_ticket nobody;
    int err;
    while ((err = oq_log_append(log, event, &nobody)) == PS_E_FULL)
        sched_yield();
    if (err != 0) {
        fprintf(stderr, "fill-log: %s\n", ps_err_text(err));
        exit(1);
    }
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        fprintf(stderr, "usage: fill-log JOURNAL SALE SKU ORDERS FIRST\n");
        return 2;
    }
    const struct oq_log_callbacks callbacks = {
        .on_record = on_record, .on_outcome = on_outcome, .ctx = argv[2]};
    const struct oq_journal_settings settings = {.path = argv[1],
                                                 .queue_capacity = 65536,
                                                 .batch_max = 16384,
                                                 .retry_ms = 200,
                                                 .clock = &ps_clock_system};
    struct oq_log *log;
    struct ps_fault fault;
    int err = oq_journal_open(&settings, &callbacks, &log, &fault);
    if (err != 0 || epoch == 0) {
        fprintf(stderr, "fill-log: %s: %s\n", argv[1], err != 0 ? fault.text : "no such sale");
        return 1;
    }
    int64_t now_ms = ps_clock_wall_ms(&ps_clock_system);
    long long count = atoll(argv[4]), first = atoll(argv[5]);
    for (long long i = first; i < first + count; i++) {
        char user[PS_UUID_LEN + 1], key[PS_UUID_LEN + 1];
        struct oq_event event = {.type = OQ_ACCEPTED,
                                 .rehearsal = true,
                                 .has_order_id = true,
                                 .sale = ps_str(argv[2]),
                                 .sku = ps_str(argv[3]),
                                 .quantity = 1,
                                 .epoch = epoch,
                                 .at_ms = now_ms,
                                 .reserved_at_ms = now_ms,
                                 .pay_by_ms = now_ms + 86400000,
                                 .cap = 1,
                                 .sale_version = 1};
        snprintf(user, sizeof user, "6b1d9a52-0c3e-4f77-a1b8-%012llx", i);
        snprintf(key, sizeof key, "e2c94b07-58fa-4d16-9b3c-%012llx", i);
        event.user = ps_str(user);
        event.key = ps_str(key);
        for (int b = 0; b < 8; b++)
            event.order_id.byte[15 - b] =
                (uint8_t)((uint64_t)i * UINT64_C(0x9e3779b97f4a7c15) >> 8 * b);
        memcpy(event.order_id.byte, &(uint8_t[8]){0x01, 0x8f, 0x3c, 0x5a, 0x7d, 0x2e, 0x7b, 0x31},
               8);
        append(log, &event);
        event.type = OQ_CONFIRMED;
        append(log, &event);
    }
    err = oq_log_close(log, 60000);
    oq_log_free(log);
    return err != 0;
}
