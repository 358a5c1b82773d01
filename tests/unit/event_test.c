/* The codec of the log's records: what is written is read back, what is wrong is named. */
#include "tests/unit/check.h"

#include "common/text/json.h"
#include "queue/event.h"
#include "queue/later.h"
#include "queue/record_queue.h"
#include "tests/unit/records.h"

#include <stdio.h>
#include <stdlib.h>

/* --- Random records --- */

struct memory {
    char at[16][OQ_ADJUST_KEY_MAX + OQ_NOTE_MAX];
    size_t used;
};

static struct ps_str random_text(struct memory *memory, uint64_t *seed, const char *const *letters,
                                 size_t letter_count, size_t max)
{
    char *text = memory->at[memory->used++];
    size_t len = 0, wanted = 1 + random_below(seed, (uint32_t)max);
    for (;;) {
        const char *letter = letters[random_below(seed, (uint32_t)letter_count)];
        if (len + strlen(letter) > wanted)
            break;
        memcpy(text + len, letter, strlen(letter));
        len += strlen(letter);
    }
    if (len == 0)
        text[len++] = 'x';
    return (struct ps_str){text, len};
}

static struct ps_str random_name(struct memory *memory, uint64_t *seed)
{
    static const char *const letters[] = {"a", "Z", "0", "9", "m", "Q"};
    return random_text(memory, seed, letters, PS_ARRAY_LEN(letters), PS_NAME_MAX);
}

/* Everything that a user id may hold and JSON must escape or may write otherwise. */
static struct ps_str random_user(struct memory *memory, uint64_t *seed)
{
    static const char *const letters[] = {"u",  "\"", "\\", "/", "\\u0041",  "\xe5\xbc\xa0",
                                          "{}", "'",  "&",  "<", "\xc3\xa9", "\xf0\x9f\x98\x80"};
    return random_text(memory, seed, letters, PS_ARRAY_LEN(letters), PS_USER_MAX);
}

static struct ps_str random_note(struct memory *memory, uint64_t *seed)
{
    static const char *const letters[] = {"late", " ", "\"", "\\", "\xe5\xba\x93", ",\"x\":1}"};
    return random_text(memory, seed, letters, PS_ARRAY_LEN(letters), OQ_NOTE_MAX);
}

static int64_t random_number(uint64_t *seed, int64_t min)
{
    static const int64_t edges[] = {1, 9, 10, 4096, 1048577, PS_INT_MAX - 1, PS_INT_MAX};
    int64_t number = edges[random_below(seed, PS_ARRAY_LEN(edges))];
    return random_below(seed, 5) == 0 ? min : number;
}

static struct ps_str join(struct memory *memory, const char *prefix, struct ps_str a,
                          struct ps_str b)
{
    char *text = memory->at[memory->used++];
    int len = snprintf(text, sizeof memory->at[0], "%s%.*s/%.*s", prefix, (int)a.len, a.at,
                       (int)b.len, b.at);
    return (struct ps_str){text, (size_t)len};
}

static void random_accepted(struct memory *memory, uint64_t *seed, struct oq_event *event)
{
    event->has_order_id = true;
    event->sku = random_name(memory, seed);
    event->user = random_user(memory, seed);
    event->quantity = random_number(seed, 1);
    event->epoch = random_number(seed, 1);
    event->reserved_at_ms = T0 + random_below(seed, 1u << 30);
    event->pay_by_ms = event->reserved_at_ms + random_below(seed, 900000);
    event->cap = random_number(seed, 1);
    event->sku_cap = random_number(seed, 0);
    event->sale_version = random_number(seed, 0);
    if (random_below(seed, 2) == 0) {
        static const char *const letters[] = {"k", "\"", "\\", "~", "!", "-"};
        event->key = random_text(memory, seed, letters, PS_ARRAY_LEN(letters), PS_KEY_MAX);
    }
    if (random_below(seed, 2) == 0)
        event->traceparent = PS_STR("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    if (random_below(seed, 2) == 0) {
        static const char *const visible[] = {"r", "\"", "\\", "~", "!", "-"};
        event->request_id =
            random_text(memory, seed, visible, PS_ARRAY_LEN(visible), OQ_REQUEST_MAX);
    }
}

static void random_adjusted(struct memory *memory, uint64_t *seed, struct oq_event *event)
{
    bool initial = random_below(seed, 2) == 0;
    event->sku = random_name(memory, seed);
    event->adjust_key = initial ? join(memory, "initial:", event->sale, event->sku)
                                : join(memory, "adjust:", event->sale, random_name(memory, seed));
    event->delta = initial ? random_number(seed, 0) : -random_number(seed, 1);
    event->epoch = random_number(seed, 1);
    if (random_below(seed, 2) == 0)
        event->note = random_note(memory, seed);
    if (random_below(seed, 2) == 0)
        event->by = PS_STR("token-7");
}

static void random_archived(uint64_t *seed, struct oq_event *event)
{
    static char text[OQ_EVENT_LONG_MAX];
    struct oq_count counts[4];
    struct ps_buf buf;
    size_t count = random_below(seed, PS_ARRAY_LEN(counts) + 1);
    for (size_t i = 0; i < count; i++)
        counts[i] = (struct oq_count){event->sale, -random_number(seed, 0), random_number(seed, 0),
                                      random_number(seed, 0), random_number(seed, 0)};
    ps_buf_init(&buf, text, sizeof text);
    oq_counts_put(&buf, counts, count);
    event->counts = (struct ps_str){buf.at, buf.len};
    event->partitions = 1 + random_below(seed, OQ_PARTITION_MAX);
    event->orders = random_number(seed, 0);
    event->discarded = random_below(seed, 2) == 0;
    if (event->discarded)
        return;
    event->lines = random_number(seed, 0);
    event->last_hash = event->sha256 = PS_STR(A_HASH);
}

static struct oq_event random_event(struct memory *memory, uint64_t *seed)
{
    memory->used = 0;
    struct oq_event event = {.type = (enum oq_type)random_below(seed, OQ_TYPES)};
    event.sale = random_name(memory, seed);
    event.rehearsal = random_below(seed, 2) == 0;
    event.at_ms = random_below(seed, 3) == 0 ? 0 : T0 + random_below(seed, 1u << 30);
    event.epoch = random_number(seed, event.type == OQ_FENCED);
    switch (event.type) {
    case OQ_ACCEPTED:
        random_accepted(memory, seed, &event);
        break;
    case OQ_CONFIRMED:
        event.has_order_id = true;
        event.by = random_below(seed, 2) == 0 ? random_name(memory, seed) : PS_STR("");
        break;
    case OQ_RELEASED:
        event.sku = random_name(memory, seed);
        event.quantity = random_number(seed, 1);
        event.has_order_id = random_below(seed, 3) > 0;
        event.reason =
            event.has_order_id ? (enum oq_reason)(1 + random_below(seed, 3)) : OQ_REJECTED;
        if (!event.has_order_id)
            event.adjust_key = join(memory, "adjust:", event.sale, random_name(memory, seed));
        break;
    case OQ_ADJUSTED:
        random_adjusted(memory, seed, &event);
        break;
    case OQ_FENCED:
        event.gateway = PS_STR("gw \"1\"\\");
        event.partitions = 1 + random_below(seed, OQ_PARTITION_MAX);
        event.first = random_below(seed, 2) == 0;
        break;
    case OQ_ARCHIVED:
        random_archived(seed, &event);
        break;
    case OQ_HEAD:
        event.gateway = PS_STR("gw-1");
        event.audit_seq = random_number(seed, 1);
        event.head = PS_STR(A_HASH);
        break;
    case OQ_TYPES:
        break;
    }
    if (event.has_order_id)
        event.order_id = id_of(random_below(seed, 1u << 30));
    return event;
}

static void assert_str_equal(struct ps_str a, struct ps_str b)
{
    assert_int_equal(a.len, b.len);
    if (a.len > 0)
        assert_memory_equal(a.at, b.at, a.len);
}

static void assert_same(const struct oq_event *a, const struct oq_event *b)
{
    assert_int_equal(a->type, b->type);
    assert_int_equal(a->rehearsal, b->rehearsal);
    assert_int_equal(a->has_order_id, b->has_order_id);
    assert_memory_equal(&a->order_id, &b->order_id, sizeof a->order_id);
    assert_str_equal(a->adjust_key, b->adjust_key);
    assert_str_equal(a->sale, b->sale);
    assert_true(a->epoch == b->epoch);
    assert_true(a->at_ms == b->at_ms);
    assert_str_equal(a->sku, b->sku);
    assert_true(a->quantity == b->quantity);
    assert_str_equal(a->user, b->user);
    assert_str_equal(a->key, b->key);
    assert_true(a->reserved_at_ms == b->reserved_at_ms && a->pay_by_ms == b->pay_by_ms);
    assert_true(a->cap == b->cap && a->sku_cap == b->sku_cap);
    assert_true(a->sale_version == b->sale_version);
    assert_str_equal(a->traceparent, b->traceparent);
    assert_str_equal(a->request_id, b->request_id);
    assert_str_equal(a->by, b->by);
    assert_int_equal(a->reason, b->reason);
    assert_true(a->delta == b->delta);
    assert_str_equal(a->note, b->note);
    assert_str_equal(a->gateway, b->gateway);
    assert_true(a->partitions == b->partitions);
    assert_int_equal(a->first, b->first);
    assert_str_equal(a->counts, b->counts);
    assert_true(a->orders == b->orders && a->lines == b->lines);
    assert_str_equal(a->last_hash, b->last_hash);
    assert_str_equal(a->sha256, b->sha256);
    assert_int_equal(a->discarded, b->discarded);
    assert_true(a->audit_seq == b->audit_seq);
    assert_str_equal(a->head, b->head);
}

static void assert_refused(const struct oq_event *event, const char *member);

static size_t encode(const struct oq_event *event, char *text, size_t cap)
{
    struct ps_buf buf;
    ps_buf_init(&buf, text, cap);
    assert_ok(oq_event_encode(event, &buf));
    return buf.len;
}

static void every_record_is_read_back_as_it_was_written(void **state)
{
    (void)state;
    static struct memory memory;
    uint64_t seed = 20301111;
    for (int i = 0; i < 20000; i++) {
        struct oq_event event = random_event(&memory, &seed), back;
        char text[OQ_EVENT_TEXT_MAX];
        void *owner;
        struct ps_fault fault;
        size_t len = encode(&event, text, sizeof text);
        assert_ok(oq_event_decode(text, len, &back, &owner, &fault));
        memset(text, 0, len); /* nothing points into the text that was read */
        assert_same(&event, &back);
        oq_event_release(owner);
    }
}

/* The same object, printed by the JSON library in alphabetical order, with blanks, as ASCII, and
 * with a member that nobody knows: the slow way must say what the fast one says. */
static void any_spelling_of_a_record_reads_the_same(void **state)
{
    (void)state;
    static struct memory memory;
    uint64_t seed = 42;
    for (int i = 0; i < 2000; i++) {
        struct oq_event event = random_event(&memory, &seed), back;
        char text[OQ_EVENT_TEXT_MAX];
        json_t *json;
        void *owner;
        size_t len = encode(&event, text, sizeof text);
        assert_ok(ps_json_parse(text, len, &json, NULL));
        assert_ok(json_object_set_new(json, "later_version", json_pack("{s:[i]}", "a", 1)));
        char *other = json_dumps(json, JSON_SORT_KEYS | JSON_INDENT(2) | JSON_ENSURE_ASCII);
        assert_non_null(other);
        assert_ok(oq_event_decode(other, strlen(other), &back, &owner, NULL));
        assert_same(&event, &back);
        oq_event_release(owner);
        free(other);
        json_decref(json);
    }
}

static void type_comes_first_and_order_of_members_is_stable(void **state)
{
    (void)state;
    char text[OQ_EVENT_TEXT_MAX];
    struct oq_event event = accepted(1, 5, "al\"ice", "k-1", 2);
    event.rehearsal = true;
    text[encode(&event, text, sizeof text)] = '\0';
    assert_string_equal(
        text,
        "{\"type\":\"penstock.order.accepted.v1\","
        "\"order_id\":\"01900000-0000-7000-8000-000001000000\",\"sale\":\"sale\","
        "\"sku\":\"sku\",\"user\":\"al\\\"ice\",\"quantity\":2,\"epoch\":5,"
        "\"reserved_at\":\"2030-03-17T17:46:40.000Z\",\"pay_by\":\"2030-03-17T18:01:40.000Z\","
        "\"idempotency_key\":\"k-1\",\"cap\":10,\"sku_cap\":0,\"sale_version\":1,"
        "\"at\":\"2030-03-17T17:46:40.002Z\",\"rehearsal\":true}");
    event = adjusted("adjust:sale/a1", -3, 5);
    event.note = PS_STR("damaged");
    event.by = PS_STR("ops");
    text[encode(&event, text, sizeof text)] = '\0';
    assert_string_equal(text, "{\"type\":\"penstock.stock.adjusted.v1\","
                              "\"adjust_id\":\"adjust:sale/a1\",\"sale\":\"sale\",\"sku\":\"sku\","
                              "\"delta\":-3,\"epoch\":5,\"reason\":\"damaged\",\"by\":\"ops\","
                              "\"at\":\"2030-03-17T17:46:40.001Z\"}");
    event = adjust_rejected("adjust:sale/a1", 3);
    text[encode(&event, text, sizeof text)] = '\0';
    assert_string_equal(text, "{\"type\":\"penstock.order.released.v1\","
                              "\"adjust_id\":\"adjust:sale/a1\",\"sale\":\"sale\",\"sku\":\"sku\","
                              "\"quantity\":3,\"epoch\":0,\"reason\":\"rejected\","
                              "\"at\":\"2030-03-17T17:46:40.004Z\"}");
    event = fenced(7, 1, true);
    text[encode(&event, text, sizeof text)] = '\0';
    assert_string_equal(text, "{\"type\":\"penstock.sale.fenced.v1\",\"sale\":\"sale\",\"epoch\":7,"
                              "\"gateway\":\"gw-1\",\"partitions\":1,\"first\":true,"
                              "\"at\":\"2030-03-17T17:46:40.000Z\"}");
    event.opening_id = PS_STR("0199aaaa-0000-7000-8000-000000000001");
    text[encode(&event, text, sizeof text)] = '\0';
    assert_non_null(strstr(text, "\"first\":true,"
                                 "\"opening_id\":\"0199aaaa-0000-7000-8000-000000000001\","
                                 "\"at\":"));
    event = archived();
    text[encode(&event, text, sizeof text)] = '\0';
    assert_string_equal(
        text, "{\"type\":\"penstock.sale.archived.v1\",\"sale\":\"sale\",\"epoch\":5,"
              "\"partitions\":1,\"skus\":[{\"sku\":\"sku\",\"adjustments\":100,\"held\":0,"
              "\"confirmed\":60,\"released\":7}],\"orders\":67,\"lines\":140,"
              "\"last_hash\":\"" A_HASH "\",\"sha256\":\"" A_HASH "\","
              "\"at\":\"2030-03-17T17:46:40.009Z\"}");
}

static void the_longest_record_fits(void **state)
{
    (void)state;
    char name[PS_NAME_MAX], quotes[OQ_NOTE_MAX], key[OQ_ADJUST_KEY_MAX + 1],
        text[OQ_EVENT_TEXT_MAX - 1];
    memset(name, 'n', sizeof name);
    memset(quotes, '"', sizeof quotes);
    struct oq_event event = accepted(1, PS_INT_MAX, "u", "", PS_INT_MAX), back;
    event.sale = event.sku = (struct ps_str){name, sizeof name};
    event.user = (struct ps_str){quotes, PS_USER_MAX};
    event.key = (struct ps_str){quotes, PS_KEY_MAX};
    event.cap = event.sku_cap = event.sale_version = PS_INT_MAX;
    event.rehearsal = true;
    event.traceparent = PS_STR("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    event.request_id = (struct ps_str){quotes, OQ_REQUEST_MAX};
    size_t len = encode(&event, text, sizeof text);
    void *owner;
    assert_ok(oq_event_decode(text, len, &back, &owner, NULL));
    assert_same(&event, &back);
    oq_event_release(owner);

    size_t key_len = (size_t)snprintf(key, sizeof key, "initial:%.*s/%.*s", PS_NAME_MAX, name,
                                      PS_NAME_MAX, name);
    event = adjusted("", PS_INT_MAX, PS_INT_MAX);
    event.sale = event.sku = (struct ps_str){name, sizeof name};
    event.adjust_key = (struct ps_str){key, key_len};
    event.note = (struct ps_str){quotes, OQ_NOTE_MAX};
    event.by = (struct ps_str){quotes, OQ_BY_MAX};
    event.rehearsal = true;
    assert_true(encode(&event, text, sizeof text) < sizeof text);
}

static void the_numbers_of_a_hundred_skus_fit_into_a_record_and_a_record_queue(void **state)
{
    (void)state;
    static char counts_text[OQ_EVENT_LONG_MAX], text[OQ_EVENT_LONG_MAX];
    static struct oq_record record;
    char name[PS_NAME_MAX];
    struct oq_count counts[OQ_COUNTS_MAX + 1], one;
    struct ps_buf buf;
    memset(name, 'n', sizeof name);
    for (size_t i = 0; i < PS_ARRAY_LEN(counts); i++)
        counts[i] =
            (struct oq_count){{name, sizeof name}, -PS_INT_MAX, PS_INT_MAX, PS_INT_MAX, PS_INT_MAX};
    ps_buf_init(&buf, counts_text, sizeof counts_text);
    oq_counts_put(&buf, counts, OQ_COUNTS_MAX);
    struct oq_event event = archived(), back;
    event.sale = (struct ps_str){name, sizeof name};
    event.epoch = event.orders = event.lines = PS_INT_MAX;
    event.partitions = OQ_PARTITION_MAX;
    event.counts = (struct ps_str){buf.at, buf.len};
    event.rehearsal = true;
    size_t len = encode(&event, text, sizeof text);
    void *owner;
    assert_ok(oq_event_decode(text, len, &back, &owner, NULL));
    assert_same(&event, &back);
    struct ps_str rest = back.counts;
    for (size_t i = 0; i < OQ_COUNTS_MAX; i++) {
        assert_true(oq_counts_next(&rest, &one));
        assert_true(one.adjustments == -PS_INT_MAX && one.released == PS_INT_MAX);
    }
    assert_false(oq_counts_next(&rest, &one));
    oq_event_release(owner);

    assert_ok(oq_record_fill(&record, &event));
    assert_int_equal(record.json.len, len);
    assert_same(&event, &record.event);
    oq_record_done(&record);

    ps_buf_init(&buf, counts_text, sizeof counts_text);
    oq_counts_put(&buf, counts, 1);
    event.counts.len = buf.len - 1; /* without its bracket */
    assert_refused(&event, "/skus");
}

static void too_little_room_is_an_error_at_every_length(void **state)
{
    (void)state;
    char text[OQ_EVENT_TEXT_MAX];
    struct oq_event event = accepted(1, 5, "alice", "k", 1);
    size_t len = encode(&event, text, sizeof text);
    for (size_t cap = 0; cap < len; cap++) {
        struct ps_buf buf;
        ps_buf_init(&buf, text, cap);
        assert_int_equal(oq_event_encode(&event, &buf), PS_E_FULL);
    }
}

/* --- What is wrong is named --- */

static void assert_refused(const struct oq_event *event, const char *member)
{
    char text[OQ_EVENT_TEXT_MAX];
    struct ps_buf buf;
    struct ps_fault fault;
    assert_int_equal(oq_event_check(event, &fault), PS_E_INVALID);
    assert_string_equal(fault.path, member);
    ps_buf_init(&buf, text, sizeof text);
    assert_int_equal(oq_event_encode(event, &buf), PS_E_INVALID);
    assert_int_equal(buf.len, 0);
}

static void a_record_that_could_not_be_read_back_is_not_written(void **state)
{
    (void)state;
    struct oq_event good = accepted(1, 5, "alice", "k", 1), event;
#define WITH(assignment)                                                                           \
    event = good;                                                                                  \
    event.assignment
    WITH(has_order_id = false);
    assert_refused(&event, "/order_id");
    WITH(sale = PS_STR("a sale"));
    assert_refused(&event, "/sale");
    WITH(sku = PS_STR(""));
    assert_refused(&event, "/sku");
    WITH(user = PS_STR("a b"));
    assert_refused(&event, "/user");
    WITH(user = PS_STR("\xff"));
    assert_refused(&event, "/user");
    WITH(key = PS_STR("a b"));
    assert_refused(&event, "/idempotency_key");
    WITH(quantity = 0);
    assert_refused(&event, "/quantity");
    WITH(quantity = PS_INT_MAX + 1);
    assert_refused(&event, "/quantity");
    WITH(epoch = 0);
    assert_refused(&event, "/epoch");
    WITH(cap = 0);
    assert_refused(&event, "/cap");
    WITH(sku_cap = -1);
    assert_refused(&event, "/sku_cap");
    WITH(pay_by_ms = -1);
    assert_refused(&event, "/pay_by");
    WITH(at_ms = INT64_MAX);
    assert_refused(&event, "/at");
    WITH(traceparent = PS_STR("00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
    assert_refused(&event, "/traceparent");
    WITH(request_id = PS_STR("a b"));
    assert_refused(&event, "/request_id");
    WITH(request_id = PS_STR("\xc3\xa9"));
    assert_refused(&event, "/request_id");
    char long_id[OQ_REQUEST_MAX + 1];
    memset(long_id, 'r', sizeof long_id);
    WITH(request_id = ((struct ps_str){long_id, sizeof long_id}));
    assert_refused(&event, "/request_id");
    WITH(type = (enum oq_type)9);
    assert_refused(&event, "/type");
    good = archived();
    WITH(counts = PS_STR(""));
    assert_refused(&event, "/skus");
    WITH(counts = PS_STR("[]]"));
    assert_refused(&event, "/skus");
    WITH(sha256 = PS_STR("0123"));
    assert_refused(&event, "/sha256");
    WITH(last_hash = PS_STR(""));
    assert_refused(&event, "/last_hash");
    WITH(discarded = true);
    assert_refused(&event, "/last_hash");
    good = released(1, OQ_EXPIRED);
    WITH(reason = OQ_REASON_NONE);
    assert_refused(&event, "/reason");
    WITH(adjust_key = PS_STR("adjust:sale/a"));
    assert_refused(&event, "/order_id");
    good = adjust_rejected("adjust:sale/a", 1);
    WITH(reason = OQ_EXPIRED);
    assert_refused(&event, "/reason");
    good = adjusted("adjust:sale/a", -1, 5);
    WITH(adjust_key = PS_STR("adjust:other/a"));
    assert_refused(&event, "/adjust_id");
    WITH(adjust_key = PS_STR("adjust:sale/"));
    assert_refused(&event, "/adjust_id");
    WITH(adjust_key = PS_STR("initial:sale/other"));
    assert_refused(&event, "/adjust_id");
    WITH(adjust_key = PS_STR("a"));
    assert_refused(&event, "/adjust_id");
    WITH(adjust_key = PS_STR(""));
    assert_refused(&event, "/adjust_id");
    WITH(delta = 0);
    assert_refused(&event, "/delta");
    WITH(epoch = 0);
    assert_refused(&event, "/epoch");
    WITH(note = PS_STR("two\nlines"));
    assert_refused(&event, "/reason");
    good = adjusted("initial:sale/sku", 0, 0);
    assert_ok(oq_event_check(&good, NULL));
    WITH(delta = -1);
    assert_refused(&event, "/delta");
    good = fenced(5, 1, false);
    WITH(partitions = OQ_PARTITION_MAX + 1);
    assert_refused(&event, "/partitions");
    WITH(gateway = PS_STR(""));
    assert_refused(&event, "/gateway");
#undef WITH
}

static void assert_undecodable(const char *text, const char *member)
{
    struct oq_event event;
    void *owner = NULL;
    struct ps_fault fault;
    assert_int_equal(oq_event_decode(text, strlen(text), &event, &owner, &fault), PS_E_INVALID);
    assert_string_equal(fault.path, member);
    assert_null(owner);
}

#define FENCE(rest) "{\"type\":\"penstock.sale.fenced.v1\",\"sale\":\"s\"," rest "}"
#define TAIL        "\"at\":\"2030-03-17T17:46:40.000Z\""

static void a_missing_or_wrong_member_is_named(void **state)
{
    (void)state;
    assert_undecodable("", "");
    assert_undecodable("[]", "");
    assert_undecodable("{}", "/type");
    assert_undecodable("{\"type\":\"penstock.order.eaten.v1\"}", "/sale");
    assert_undecodable("{\"type\":\"pennant.order.eaten.v1\"}", "/type");
    assert_undecodable("{\"type\":1}", "/type");
    assert_undecodable(FENCE("\"gateway\":\"g\",\"partitions\":1,\"first\":true," TAIL), "/epoch");
    assert_undecodable(FENCE("\"epoch\":1,\"gateway\":\"g\",\"partitions\":1," TAIL), "/first");
    assert_undecodable(FENCE("\"epoch\":1,\"gateway\":\"g\",\"partitions\":1,\"first\":1," TAIL),
                       "/first");
    assert_undecodable(
        FENCE("\"epoch\":1.0,\"gateway\":\"g\",\"partitions\":1,\"first\":true," TAIL), "/epoch");
    assert_undecodable(
        FENCE("\"epoch\":9007199254740992,\"gateway\":\"g\",\"partitions\":1,\"first\":true," TAIL),
        "/epoch");
    assert_undecodable(
        FENCE("\"epoch\":01,\"gateway\":\"g\",\"partitions\":1,\"first\":true," TAIL), "");
    assert_undecodable(FENCE("\"epoch\":1,\"epoch\":1,\"gateway\":\"g\",\"partitions\":1,"
                             "\"first\":true," TAIL),
                       "");
    assert_undecodable(FENCE("\"epoch\":1,\"gateway\":\"g\",\"partitions\":1,\"first\":true,"
                             "\"at\":\"2030-03-17T17:46:40.000\""),
                       "/at");
    assert_undecodable(
        FENCE("\"epoch\":1,\"gateway\":\"g\t\",\"partitions\":1,\"first\":true," TAIL), "");
    assert_undecodable(
        FENCE("\"epoch\":1,\"gateway\":\"g\",\"partitions\":1,\"first\":true," TAIL) "x", "");
    assert_undecodable("{\"type\":\"penstock.order.confirmed.v1\",\"order_id\":\"x\"," TAIL "}",
                       "/order_id");
}

/* Whatever is done to the bytes of a record: no crash, and what is read is a record that passes the
 * check and comes back the same when it is written again. */
static void damaged_records_are_refused_or_harmless(void **state)
{
    (void)state;
    static struct memory memory;
    uint64_t seed = 7;
    unsigned read = 0;
    for (int i = 0; i < 20000; i++) {
        struct oq_event event = random_event(&memory, &seed), back, again;
        char text[OQ_EVENT_TEXT_MAX], other[OQ_EVENT_TEXT_MAX];
        void *owner, *other_owner;
        size_t len = encode(&event, text, sizeof text);
        text[random_below(&seed, (uint32_t)len)] = (char)random_below(&seed, 256);
        if (random_below(&seed, 4) == 0)
            len = random_below(&seed, (uint32_t)len);
        int err = oq_event_decode(text, len, &back, &owner, NULL);
        if (err != 0) {
            assert_int_equal(err, PS_E_INVALID);
            continue;
        }
        read++;
        assert_ok(oq_event_check(&back, NULL));
        len = encode(&back, other, sizeof other);
        assert_ok(oq_event_decode(other, len, &again, &other_owner, NULL));
        assert_same(&back, &again);
        oq_event_release(owner);
        oq_event_release(other_owner);
    }
    assert_true(read > 100);
}

/* Read by the fast way or by the JSON library, it is the same. */
static void a_type_that_holds_a_nul_byte_is_none(void **state)
{
    (void)state;
    char text[OQ_EVENT_TEXT_MAX];
    struct oq_event event = fenced(5, 1, true), back;
    void *owner = NULL;
    size_t len = encode(&event, text, sizeof text - 1);
    char *behind = strstr(text, ".v1\"") + 3;
    memmove(behind + 1, behind, len - (size_t)(behind - text));
    *behind = '\0';
    assert_int_equal(oq_event_decode(text, len + 1, &back, &owner, NULL), PS_E_INVALID);
    assert_null(owner);
}

static void a_record_without_a_value_is_none(void **state)
{
    (void)state;
    struct oq_event event;
    void *owner = NULL;
    struct ps_fault fault;
    assert_int_equal(oq_event_decode(NULL, 0, &event, &owner, &fault), PS_E_INVALID);
    assert_string_equal(fault.text, "the record has no value");
    assert_null(owner);
}

/* --- Lines and keys --- */

static void a_line_is_the_record_with_its_seq_first(void **state)
{
    (void)state;
    char text[OQ_EVENT_TEXT_MAX], line[OQ_EVENT_TEXT_MAX + OQ_SEQ_TEXT_MAX];
    struct oq_event event = accepted(1, 5, "alice", "k", 1), back;
    struct ps_buf buf;
    int64_t seq;
    void *owner;
    size_t len = encode(&event, text, sizeof text);
    ps_buf_init(&buf, line, sizeof line);
    assert_ok(oq_event_line(PS_INT_MAX, (struct ps_str){text, len}, &buf));
    assert_memory_equal(line, "{\"seq\":9007199254740991,\"type\":", 31);
    json_t *json;
    assert_ok(ps_json_parse(line, buf.len, &json, NULL));
    json_decref(json);
    ps_buf_puts(&buf, "\n");
    assert_ok(oq_event_decode_line(line, buf.len, &seq, &back, &owner, NULL));
    assert_true(seq == PS_INT_MAX);
    assert_same(&event, &back);
    oq_event_release(owner);

    ps_buf_init(&buf, line, 20);
    assert_int_equal(oq_event_line(1, (struct ps_str){text, len}, &buf), PS_E_FULL);
    assert_int_equal(oq_event_line(1, PS_STR("[]"), &buf), PS_E_INVALID);
    assert_int_equal(oq_event_line(-1, PS_STR("{}"), &buf), PS_E_INVALID);
    struct ps_fault fault;
    assert_int_equal(oq_event_decode_line(text, len, &seq, &back, &owner, &fault), PS_E_INVALID);
    assert_string_equal(fault.path, "/seq");
    assert_int_equal(oq_event_decode_line("{\"seq\":1,}", 10, &seq, &back, &owner, &fault),
                     PS_E_INVALID);
}

static void the_key_is_what_keeps_an_order_in_one_partition(void **state)
{
    (void)state;
    char key[OQ_ADJUST_KEY_MAX + 1];
    struct oq_event order = accepted(1, 5, "alice", "k", 1), gone = released(1, OQ_EXPIRED);
    struct oq_event lowered = adjusted("adjust:sale/a1", -3, 5);
    struct oq_event given_up = adjust_rejected("adjust:sale/a1", 3), fence = fenced(5, 1, true);
    assert_int_equal(oq_event_key(&order, key), PS_UUID_LEN);
    assert_string_equal(key, "01900000-0000-7000-8000-000001000000");
    oq_event_key(&gone, key);
    assert_string_equal(key, "01900000-0000-7000-8000-000001000000");
    oq_event_key(&lowered, key);
    assert_string_equal(key, "adjust:sale/a1");
    oq_event_key(&given_up, key);
    assert_string_equal(key, "adjust:sale/a1");
    oq_event_key(&fence, key);
    assert_string_equal(key, "sale");
}

static void adjust_refs_differ_as_their_keys_do(void **state)
{
    (void)state;
    struct ps_uuid a, b, again;
    oq_adjust_ref(PS_STR("adjust:sale/a"), &a);
    oq_adjust_ref(PS_STR("adjust:sale/b"), &b);
    oq_adjust_ref(PS_STR("adjust:sale/a"), &again);
    assert_false(ps_uuid_equal(&a, &b));
    assert_true(ps_uuid_equal(&a, &again));
}

static void type_names_are_read_back(void **state)
{
    (void)state;
    enum oq_type type;
    for (int i = OQ_ACCEPTED; i < OQ_TYPES; i++) {
        assert_ok(oq_type_parse(oq_type_name((enum oq_type)i), &type));
        assert_int_equal(type, i);
    }
    assert_int_equal(oq_type_parse("penstock.order.accepted.v2", &type), PS_E_INVALID);
    assert_string_equal(oq_reason_name(OQ_REASON_NONE), "");
    assert_string_equal(oq_reason_name(OQ_REJECTED), "rejected");
}

/* --- Of a later version --- */

#define MOVED "\"sale\":\"sale\",\"epoch\":5,\"at\":\"2026-01-01T00:00:00.000Z\""

static int decode_text(const char *text, struct oq_event *event, void **owner,
                       struct ps_fault *fault)
{
    return oq_event_decode(text, strlen(text), event, owner, fault);
}

static void a_record_of_an_unknown_type_is_kept_byte_for_byte(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{\"type\":\"penstock.order.moved.v1\",\"from\":\"caf\\u00e9\"," MOVED "}",
        "{\"type\":\"penstock.order.accepted.v2\", " MOVED " ,\"critical\":false,\"z\":[1,{}]} ",
        "{\"type\":\"penstock.x\"," MOVED ",\"rehearsal\":true}"};
    for (size_t i = 0; i < PS_ARRAY_LEN(texts); i++) {
        char line[OQ_EVENT_TEXT_MAX], again[OQ_EVENT_TEXT_MAX], key[OQ_ADJUST_KEY_MAX + 1];
        struct oq_event event, back;
        void *owner, *other;
        struct ps_buf buf;
        int64_t seq;
        assert_ok(decode_text(texts[i], &event, &owner, NULL));
        assert_int_equal(event.type, OQ_LATER);
        assert_int_equal(event.epoch, 5);
        assert_true(ps_str_is(event.sale, "sale"));
        assert_int_equal(event.rehearsal, i == 2);
        assert_memory_equal(event.later_type.at, "penstock.", 9);
        assert_string_equal(oq_type_name(event.type), "unknown");
        assert_int_equal(oq_event_key(&event, key), 4);
        assert_string_equal(key, "sale");
        ps_buf_init(&buf, line, sizeof line);
        assert_ok(oq_event_line(7, event.later_json, &buf));
        assert_ok(oq_event_decode_line(line, buf.len, &seq, &back, &other, NULL));
        ps_buf_init(&buf, again, sizeof again);
        assert_ok(oq_event_encode(&back, &buf));
        assert_int_equal(buf.len, strlen(texts[i]));
        assert_memory_equal(again, texts[i], buf.len);
        ps_buf_init(&buf, again, 20);
        assert_int_equal(oq_event_encode(&back, &buf), PS_E_FULL);
        oq_event_release(owner);
        oq_event_release(other);
    }
}

static void a_critical_record_of_an_unknown_type_is_refused_by_name(void **state)
{
    (void)state;
    struct oq_event event;
    struct ps_fault fault;
    void *owner;
    /* Whatever else is wrong with it. */
    static const char *const texts[] = {
        "{\"type\":\"penstock.order.moved.v1\",\"critical\":true," MOVED "}",
        "{\"type\":\"penstock.order.moved.v1\",\"critical\":true}",
        "{\"critical\":1,\"type\":\"penstock.order.moved.v1\"}"};
    for (size_t i = 0; i < PS_ARRAY_LEN(texts); i++) {
        assert_int_equal(decode_text(texts[i], &event, &owner, &fault), PS_E_NEWER);
        assert_non_null(strstr(fault.text, "penstock.order.moved.v1"));
    }
    /* A type that is known says nothing by it. */
    assert_ok(
        decode_text("{\"type\":\"penstock.sale.fenced.v1\",\"gateway\":\"a\",\"partitions\":1,"
                    "\"first\":true,\"critical\":true," MOVED "}",
                    &event, &owner, NULL));
    oq_event_release(owner);
}

static void what_does_not_fit_into_a_line_or_lacks_what_all_records_have_is_no_record(void **state)
{
    (void)state;
    static const struct {
        const char *text, *path;
    } wrong[] = {
        {"{\"type\":\"penstock.x\",\"epoch\":5,\"at\":\"2026-01-01T00:00:00.000Z\"}", "/sale"},
        {"{\"type\":\"penstock.x\",\"sale\":\"sale\",\"at\":\"2026-01-01T00:00:00.000Z\"}",
         "/epoch"},
        {"{\"type\":\"penstock.x\",\"sale\":\"sale\",\"epoch\":5}", "/at"},
        {"{\"type\":\"penstock.x\",\"seq\":4," MOVED "}", "/type"},
        {"{\"type\":\"penstock.x\",\"prev\":\"\"," MOVED "}", "/type"},
        {"{\"type\":\"penstock.x\",\n" MOVED "}", "/type"},
        {"{" MOVED ",\"type\":\"penstock.x\"}", "/type"},
        {"{\"type\":\"penstock.\"," MOVED "}", "/type"},
        {"{\"type\":\"penstock.X\"," MOVED "}", "/type"},
        {"{\"type\":\"pennant.x\"," MOVED "}", "/type"},
        {"{\"type\":5," MOVED "}", "/type"},
    };
    struct oq_event event;
    struct ps_fault fault;
    void *owner;
    for (size_t i = 0; i < PS_ARRAY_LEN(wrong); i++) {
        assert_int_equal(decode_text(wrong[i].text, &event, &owner, &fault), PS_E_INVALID);
        assert_string_equal(fault.path, wrong[i].path);
    }
    char *text = malloc(OQ_EVENT_LONG_MAX + 1); /* the longest line holds its place, too */
    for (size_t len = OQ_EVENT_LONG_MAX - 64; len <= OQ_EVENT_LONG_MAX; len++) {
        int head = snprintf(text, OQ_EVENT_LONG_MAX, "{\"type\":\"penstock.x\"," MOVED ",\"x\":\"");
        memset(text + head, 'x', len - (size_t)head);
        memcpy(text + len - 2, "\"}", 3);
        int err = decode_text(text, &event, &owner, NULL);
        assert_int_equal(err, len <= OQ_LATER_JSON_MAX ? 0 : PS_E_INVALID);
        if (err == 0)
            oq_event_release(owner);
    }
    free(text);
}

static void each_unknown_type_is_named_once_and_not_for_ever(void **state)
{
    (void)state;
    struct oq_later_names names = {0};
    char type[32];
    int named = 0;
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 3 * OQ_LATER_NAMES; i++) {
            (void)snprintf(type, sizeof type, "penstock.x%d", i);
            const struct oq_event event = {.type = OQ_LATER, .later_type = ps_str(type)};
            named += oq_later_is_new(&names, &event);
        }
        assert_int_equal(named, OQ_LATER_NAMES);
    }
}

static void no_record_of_an_unknown_type_is_appended(void **state)
{
    (void)state;
    static struct oq_record record;
    struct oq_event event;
    void *owner;
    assert_ok(decode_text("{\"type\":\"penstock.x\"," MOVED "}", &event, &owner, NULL));
    assert_int_equal(oq_record_fill(&record, &event), PS_E_INVALID);
    oq_event_release(owner);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_record_is_read_back_as_it_was_written),
        cmocka_unit_test(any_spelling_of_a_record_reads_the_same),
        cmocka_unit_test(type_comes_first_and_order_of_members_is_stable),
        cmocka_unit_test(the_longest_record_fits),
        cmocka_unit_test(the_numbers_of_a_hundred_skus_fit_into_a_record_and_a_record_queue),
        cmocka_unit_test(too_little_room_is_an_error_at_every_length),
        cmocka_unit_test(a_record_that_could_not_be_read_back_is_not_written),
        cmocka_unit_test(a_missing_or_wrong_member_is_named),
        cmocka_unit_test(damaged_records_are_refused_or_harmless),
        cmocka_unit_test(a_type_that_holds_a_nul_byte_is_none),
        cmocka_unit_test(a_record_without_a_value_is_none),
        cmocka_unit_test(a_line_is_the_record_with_its_seq_first),
        cmocka_unit_test(the_key_is_what_keeps_an_order_in_one_partition),
        cmocka_unit_test(adjust_refs_differ_as_their_keys_do),
        cmocka_unit_test(type_names_are_read_back),
        cmocka_unit_test(a_record_of_an_unknown_type_is_kept_byte_for_byte),
        cmocka_unit_test(a_critical_record_of_an_unknown_type_is_refused_by_name),
        cmocka_unit_test(what_does_not_fit_into_a_line_or_lacks_what_all_records_have_is_no_record),
        cmocka_unit_test(each_unknown_type_is_named_once_and_not_for_ever),
        cmocka_unit_test(no_record_of_an_unknown_type_is_appended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
