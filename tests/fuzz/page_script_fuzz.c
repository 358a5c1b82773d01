/* Scripts for a gateway: what clients, the shop behind it, operators and time do to it, one after
 * the other, in one process and in virtual time. A script is records of eight bytes: what happens,
 * and seven bytes of how; any bytes are one. After each step what must always hold is looked at; at
 * the end everybody gets an answer or goes, and nothing may be left of it.
 *
 * What is looked at stands where it is: client.c (answers), shop.c (requests), world.c (what was
 * taken and not given back). */
#include "tests/fuzz/pages/page.h"
#include "tests/fuzz/pages/world.h"

#define RECORD    8
#define STEPS_MAX 32

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t *one, size_t one_size, const uint8_t *other,
                                 size_t other_size, uint8_t *out, size_t max, unsigned seed);
const char *__asan_default_options(void);

/* --- What can happen --- */

static void ask(const uint8_t *how)
{
    static const uint8_t holds[] = {0, 0, 0, 0, 1, 5, 20, 200};

    client_ask(how[1] & 3,
               &(struct client_ask){.path = (how[1] >> 2) & 31,
                                    .method = how[2] & 7,
                                    .host = (how[2] >> 3) & 7,
                                    .old = (how[2] & 0xc0) == 0xc0,
                                    .scheme = how[3] & 3,
                                    .language = (how[3] >> 2) & 3,
                                    .connection = (how[3] >> 4) & 3,
                                    .user = (how[3] >> 6) & 1,
                                    .authorization = (how[3] >> 7) & 1,
                                    .body = how[4] & 7,
                                    .condition = (how[4] >> 3) & 3,
                                    .control = (how[4] >> 5) & 3,
                                    .override = (how[4] >> 7) & 1,
                                    .query = how[5] & 3,
                                    .expects = (how[5] >> 2) & 1},
               holds[how[6] & 7]);
}

static void plan(const uint8_t *how)
{
    shop_set(&(struct shop_plan){.status = how[1] & 7,
                                 .cache = (how[1] >> 3) & 7,
                                 .vary = how[2] & 3,
                                 .framing = (how[2] >> 2) & 3,
                                 .size = (how[2] >> 4) & 3,
                                 .no_validators = (how[2] >> 6) & 1,
                                 .no_304 = (how[2] >> 7) & 1,
                                 .way = (enum shop_way)(how[3] % SHOP_WAYS)});
}

static void purge(const uint8_t *how)
{
    static const char *const texts[] = {"/", "/c/1", "/p/", "t1"};
    static const enum cfg_purge_by by[] = {CFG_PURGE_PREFIX, CFG_PURGE_KEY, CFG_PURGE_PREFIX,
                                           CFG_PURGE_TAG};

    world_purge(by[how[1] & 3], texts[how[1] & 3]);
}

static void say(const uint8_t *how)
{
    static const char *const texts[] = {
        "GET /c/1 HTTP/1.1\r\nHost: shop.example\r\n",
        "Transfer-Encoding: chunked\r\n\r\n",
        "POST /up/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "\r\n\r\n",
        "FFFFFFFFFFFFFFFF\r\n",
        "GET http://[::1]:1/fix HTTP/1.1\r\n\r\n"};

    if (how[2] & 0x80)
        client_say(how[1], (const char *)how + 3, 5);
    else
        client_say(how[1], texts[how[2] % PS_ARRAY_LEN(texts)],
                   strlen(texts[how[2] % PS_ARRAY_LEN(texts)]));
}

/* One answer to each client, and each connection to the shop, may lie here whole, with what waits
 * behind it: bounds that no script can pass. */
static void check_bytes(void)
{
    size_t most =
        (size_t)512 * 1024 + world_connections() * 256 * 1024 + shop_connections() * 256 * 1024;

    MUST(world_bytes() <= most);
}

/* Until everybody has done what there is to do now. */
static void drive(void)
{
    for (int i = 0; i < 20000; i++) {
        world_run();
        shop_pump();
        client_pump();
        if (net_moves() == 0)
            return;
    }
    MUST(false);
}

static void pump(void)
{
    shop_pump();
    client_pump();
}

static void pass(int64_t ms)
{
    if (ms > 200) /* a client, or the shop, may be too slow now */
        client_expect_trouble();
    world_sleep(ms, pump);
    drive();
}

static void on_shop(const uint8_t *how)
{
    switch (how[1] & 7) {
    case 0:
        shop_take_connections(how[2], (enum net_reply)(how[3] & 3));
        break;
    case 1:
        shop_die(how[2], how[3] & 1);
        break;
    case 2:
        shop_speak(how[2]);
        break;
    case 3:
        shop_read(how[2] & 1);
        break;
    default:
        shop_step(how[2], how[3] & 1 ? how[3] : 0);
        break;
    }
}

static void on_client(const uint8_t *how)
{
    switch (how[1] & 7) {
    case 0:
        (void)client_connect(how[2], how[3]);
        break;
    case 1:
        client_leave(how[2], (enum client_end)(how[3] % 3));
        break;
    case 2:
    case 3:
        client_read(how[2], how[3] & 1, (size_t)how[4] * 64);
        break;
    case 4:
        client_limit(how[2], (size_t)how[3] * 64 + 1024);
        break;
    case 5:
        say(how + 1 - 1);
        break;
    default:
        client_go_on(how[2], (size_t)how[3] + ((size_t)how[4] << 4), how[5] & 1);
        break;
    }
}

static void on_operator(const uint8_t *how)
{
    switch (how[1] & 7) {
    case 0:
        world_exchange_cache(how[2]);
        break;
    case 1:
        purge(how + 1);
        break;
    case 2:
        world_turn_off(how[2] & 1 ? (unsigned)how[3] << 4 : 0);
        client_expect_trouble();
        break;
    default:
        if (how[2] % WORLD_DOCUMENTS < 2)
            client_expect_trouble(); /* a pool may be empty */
        world_exchange(how[2], how[3]);
        break;
    }
}

static void on_time(const uint8_t *how)
{
    switch (how[1] & 7) {
    case 0:
        client_expect_trouble();
        net_stall((int64_t)how[2] * 8);
        break;
    case 1:
        net_turn(how[2]);
        break;
    case 2:
        memory_fail(how[2] + 1u);
        break;
    case 3:
        pass((int64_t)(how[2] & 0x0f) * 4000 + 1);
        break;
    case 4:
        pass((int64_t)how[2] * 20 + 1);
        break;
    default:
        pass(how[2] + 1);
        break;
    }
}

static void step(const uint8_t *how)
{
    switch (how[0] & 15) {
    case 0:
    case 1:
        client_ask_often(how[1] & 3, how[1] >> 2, how[2] & 0xc0 ? how[2] & 7 : how[2] * 3u);
        if (how[3] & 1)
            client_read(how[1] & 3, false, 0);
        break;
    case 2:
    case 3:
        plan(how);
        break;
    case 4:
    case 5:
        on_shop(how);
        break;
    case 6:
    case 7:
        on_client(how);
        break;
    case 8:
    case 9:
        on_operator(how);
        break;
    case 10:
        on_time(how);
        break;
    default:
        ask(how);
        break;
    }
}

/* --- A script --- */

static void settle(void)
{
    const char *left;

    memory_fail(0);
    shop_settle();
    client_settle();
    drive();
    for (int i = 0; i < 4 && !clients_answered(); i++)
        pass(2500); /* more than any request may take */
    MUST(clients_answered());
    client_leave_all();
    drive();
    if (world_unrest() != NULL)
        pass(2500); /* more than any connection lingers */
    left = world_unrest();
    if (left != NULL)
        (void)fprintf(stderr, "left: %s\n", left);
    MUST(left == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    shop_open();
    client_open();
    world_open();
    for (size_t at = 0; at + RECORD <= size && at < STEPS_MAX * RECORD; at += RECORD) {
        step(data + at);
        if (data[at] & 0x80) /* more happens at the same time */
            continue;
        drive();
        check_bytes();
    }
    settle();
    world_close();
    return 0;
}

/* --- How scripts change: by records, so that what comes behind keeps its meaning --- */

static uint64_t chance;

static unsigned pick(unsigned end)
{
    chance ^= chance << 13;
    chance ^= chance >> 7;
    chance ^= chance << 17;
    return end > 0 ? (unsigned)((chance >> 11) % end) : 0;
}

static void make_record(uint8_t *record)
{
    for (size_t i = 0; i < RECORD; i++)
        record[i] = (uint8_t)pick(256);
    if (pick(8) > 0)
        record[0] &= 0x7f;
    if (pick(3) == 0)
        record[2] &= 0x3f; /* many */
    if (pick(12) == 0) {   /* the next allocations are those of a request */
        record[0] = 10;
        record[1] = 2;
        record[2] = (uint8_t)pick(24);
    }
    if (pick(2) == 0) { /* plain otherwise */
        record[2] = pick(3) == 0 ? record[2] : 0;
        record[5] = 0;
        record[3] = (uint8_t)(pick(2) << pick(8));
        record[4] = pick(3) == 0 ? (uint8_t)pick(8) : 0;
        record[6] = pick(3) == 0 ? (uint8_t)pick(8) : 0;
    }
}

static void change_record(uint8_t *record)
{
    unsigned at = pick(RECORD);

    if (pick(2) == 0)
        record[at] ^= (uint8_t)(1u << pick(8));
    else
        record[at] = (uint8_t)pick(256);
}

static size_t insert(uint8_t *data, size_t count, size_t room, size_t at, const uint8_t *record)
{
    if (count == room)
        return count;
    memmove(data + (at + 1) * RECORD, data + at * RECORD, (count - at) * RECORD);
    memcpy(data + at * RECORD, record, RECORD);
    return count + 1;
}

/* A request, and behind it the same one without something of it, often of another client: what one
 * leaves in the cache another one gets. */
static size_t insert_pair(uint8_t *data, size_t count, size_t room)
{
    size_t at = pick((unsigned)count + 1);
    uint8_t record[RECORD];

    make_record(record);
    record[0] = 11;
    record[4] &= 0x80; /* it has no body and no conditions */
    record[6] = 0;
    record[3] &= 0x3f;
    count = insert(data, count, room, at, record);
    record[1] ^= (uint8_t)pick(4);
    switch (pick(4)) {
    case 0:
        record[2] = 0; /* its host */
        break;
    case 1:
        record[4] = 0;
        break;
    default:
        record[3] &= (uint8_t) ~(3u << 2 * pick(3)); /* its scheme, language, or Connection */
        break;
    }
    return insert(data, count, room, at + 1 <= count ? at + 1 : count, record);
}

static size_t mutate(uint8_t *data, size_t count, size_t room)
{
    uint8_t record[RECORD];
    unsigned at = pick((unsigned)count);

    if (pick(12) == 0)
        return insert_pair(data, count, room);
    if (count == 0 || pick(8) < 2) {
        make_record(record);
        return insert(data, count, room, pick((unsigned)count + 1), record);
    }
    switch (pick(6)) {
    case 0: /* once more, a bit differently, somewhere behind */
        memcpy(record, data + at * RECORD, RECORD);
        for (unsigned bits = 1 + pick(2); bits > 0; bits--)
            record[pick(RECORD)] ^= (uint8_t)(1u << pick(8));
        return insert(data, count, room, at + 1 + pick((unsigned)(count - at)), record);
    case 1:
        memmove(data + at * RECORD, data + (at + 1) * RECORD, (count - at - 1) * RECORD);
        return count - 1;
    case 2: {
        unsigned other = pick((unsigned)count);
        memcpy(record, data + at * RECORD, RECORD);
        memcpy(data + at * RECORD, data + other * RECORD, RECORD);
        memcpy(data + other * RECORD, record, RECORD);
        return count;
    }
    default:
        change_record(data + at * RECORD);
        return count;
    }
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    size_t room = max / RECORD < STEPS_MAX ? max / RECORD : STEPS_MAX;
    size_t count = size / RECORD < room ? size / RECORD : room;

    chance = seed * UINT64_C(2654435761) + 88172645463325252u;
    for (unsigned times = 1 + pick(4); times > 0; times--)
        count = mutate(data, count, room);
    return count * RECORD;
}

/* The beginning of one and the end of another. */
size_t LLVMFuzzerCustomCrossOver(const uint8_t *one, size_t one_size, const uint8_t *other,
                                 size_t other_size, uint8_t *out, size_t max, unsigned seed)
{
    chance = seed * UINT64_C(2654435761) + 1;
    size_t from = pick((unsigned)(other_size / RECORD) + 1) * RECORD;
    size_t len = pick((unsigned)(one_size / RECORD) + 1) * RECORD;
    size_t rest = other_size / RECORD * RECORD - from;

    if (len > max / RECORD * RECORD)
        len = max / RECORD * RECORD;
    if (rest > max / RECORD * RECORD - len)
        rest = max / RECORD * RECORD - len;
    memcpy(out, one, len);
    memcpy(out + len, other + from, rest);
    return len + rest;
}

/* Each script has a gateway of its own: what it leaves need not be kept for long. */
const char *__asan_default_options(void)
{
    return "quarantine_size_mb=8:malloc_context_size=12";
}
