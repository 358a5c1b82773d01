/* Appends records of every kind to a topic, as a gateway does, and waits until they are read back:
 *
 *     kafka_records BROKERS TOPIC PARTITIONS
 *
 * Among them are those that a gateway writes only when something has failed, one of each kind that
 * says it is of a rehearsal, and texts that need escapes. Their times are of 2030. */
#include "tests/contract/kafka_settings.h"
#include "tests/contract/log_watch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/records.h"

#define TRACE "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"

static size_t appended;

static void append(struct oq_log *log, const struct oq_event *event)
{
    const struct oq_ticket ticket = {.handle = ++appended};
    int err = oq_log_append(log, event, &ticket);
    if (err != 0) {
        fprintf(stderr, "record %zu: %s\n", appended, ps_err_text(err));
        exit(1);
    }
}

/* One of each kind that stands in every partition. */
static void append_to_all(struct oq_log *log, const struct oq_event *event, uint32_t partitions)
{
    for (uint32_t i = 0; i < partitions; i++) {
        const struct oq_ticket ticket = {.handle = ++appended};
        if (oq_log_append_to(log, i, event, &ticket) != 0) {
            fprintf(stderr, "record %zu: not taken in partition %u\n", appended, i);
            exit(1);
        }
    }
}

static void append_fences(struct oq_log *log, int64_t epoch, uint32_t partitions, bool first)
{
    struct oq_event fence = fenced(epoch, partitions, first);
    fence.rehearsal = !first;
    fence.opening_id = PS_STR("019a9eff-0000-7000-8000-0000000000a0");
    append_to_all(log, &fence, partitions);
}

static void append_end(struct oq_log *log, uint32_t partitions)
{
    struct oq_event kept = archived(), dropped = archived();
    kept.partitions = dropped.partitions = partitions;
    dropped.discarded = dropped.rehearsal = true;
    dropped.lines = 0;
    dropped.last_hash = dropped.sha256 = (struct ps_str){NULL, 0};
    append_to_all(log, &kept, partitions);
    append_to_all(log, &dropped, partitions);
}

static void append_head(struct oq_log *log)
{
    struct oq_event head = desk_head();
    append(log, &head);
    head.rehearsal = true;
    append(log, &head);
}

static void append_stock(struct oq_log *log)
{
    struct oq_event initial = adjusted("initial:sale/sku", 100, 0);
    struct oq_event lowering = adjusted("adjust:sale/broken.1", -3, 1);
    struct oq_event given_up = adjusted("adjust:sale/broken.2", -4, 1);
    struct oq_event rejected = adjust_rejected("adjust:sale/broken.2", 4);
    lowering.note = PS_STR("the \"upper\" shelf \\ gave way: \xc3\xa9");
    lowering.by = PS_STR("ops-anna");
    given_up.rehearsal = true;
    append(log, &initial);
    append(log, &lowering);
    append(log, &rejected);
    append(log, &given_up);
}

static void append_orders(struct oq_log *log)
{
    struct oq_event whole = accepted(1, 1, "\"an\\n\"@\xf0\x9f\x91\x9f", "~click!\"1\"", 2);
    struct oq_event bare = accepted(2, 1, "bob", "", 1);
    struct oq_event rehearsal = accepted(3, 1, "carl", "", 1);
    struct oq_event paid = confirmed(1), unnamed = confirmed(2), late = confirmed(4);
    struct oq_event records[] = {released(3, OQ_CANCELLED), released(4, OQ_REJECTED),
                                 released(5, OQ_EXPIRED)};
    whole.traceparent = PS_STR(TRACE);
    whole.request_id = PS_STR("req-\"1\"");
    whole.sku_cap = 5;
    rehearsal.rehearsal = true;
    records[0].rehearsal = true;
    unnamed.by = PS_STR("");
    late.epoch = PS_INT_MAX;
    late.rehearsal = true;
    append(log, &whole);
    append(log, &bare);
    append(log, &rehearsal);
    append(log, &paid);
    append(log, &unnamed);
    append(log, &late);
    for (size_t i = 0; i < PS_ARRAY_LEN(records); i++)
        append(log, &records[i]);
}

int main(int argc, char **argv)
{
    struct log_watch watch;
    struct oq_log *log;
    struct ps_fault fault;
    if (argc != 4)
        return 2;
    uint32_t partitions = (uint32_t)strtoul(argv[3], NULL, 10);
    const struct oq_kafka_settings settings = kafka_settings_of(argv[1], argv[2], partitions);
    log_watch_init(&watch);
    struct oq_log_callbacks callbacks = log_watch_callbacks(&watch);
    if (oq_kafka_open(&settings, &callbacks, &log, &fault) != 0) {
        fprintf(stderr, "%s: %s\n", fault.path, fault.text);
        return 1;
    }
    append_fences(log, 1, partitions, true);
    log_watch_wait_outcomes(&watch, appended); /* keys have partitions only after it */
    append_stock(log);
    append_orders(log);
    append_head(log);
    append_fences(log, 2, partitions, false);
    append_end(log, partitions);
    log_watch_wait_outcomes(&watch, appended);
    for (size_t i = 0; i < watch.outcome_count; i++)
        if (watch.outcome[i].outcome != OQ_LANDED) {
            fprintf(stderr, "record %zu has not landed\n", i + 1);
            return 1;
        }
    printf("%zu\n", appended);
    int err = oq_log_close(log, 5000);
    oq_log_free(log);
    log_watch_done(&watch);
    return err == 0 ? 0 : 1;
}
