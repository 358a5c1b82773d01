/* References of refusals: they open to what was sealed, with the right key and in time, and nothing
 * else opens. */
#include "check.h"
#include "common/text/ref.h"
#include "gateway/answers/verdict.h"

#include <limits.h>
#include <sodium.h>
#include <string.h>

#define T0     INT64_C(1900000000000)
#define DAY_MS INT64_C(86400000)
#define ALL    INT64_C(0xffffff)

static struct ps_ref_key key;

static struct ps_ref sample(void)
{
    return (struct ps_ref){.at_ms = T0 + 90000000,
                           .level = 2,
                           .gateway = 0xabcd,
                           .worker = 3,
                           .verdict = 0x1234,
                           .rule_kind = PS_REF_RULE_LIMIT,
                           .rule = 0x56789,
                           .admission = 97,
                           .user = 0xfedcba,
                           .revision = 0x010203};
}

static int make(void **state)
{
    (void)state;
    key = (struct ps_ref_key){.id = 7, .from_ms = T0, .until_ms = T0 + 31 * DAY_MS};
    for (size_t i = 0; i < sizeof key.secret; i++)
        key.secret[i] = (uint8_t)i;
    return 0;
}

static struct ps_ref_pads pads;

/* As the first of a worker. */
static void seal_first(const struct ps_ref_key *with, const struct ps_ref *ref,
                       char ret_text[PS_REF_LEN])
{
    ps_ref_pads_init(&pads, ref->gateway, ref->worker);
    ps_ref_seal(&pads, with, ref, ret_text);
}

static struct ps_str str(const char text[PS_REF_LEN])
{
    return (struct ps_str){text, PS_REF_LEN};
}

static int open_at(int64_t now_ms, const char text[PS_REF_LEN], struct ps_ref *ret_ref)
{
    return ps_ref_open(&key, 1, now_ms, str(text), ret_ref);
}

static void assert_same(const struct ps_ref *one, const struct ps_ref *other)
{
    assert_int_equal(one->at_ms, other->at_ms);
    assert_int_equal(one->level, other->level);
    assert_int_equal(one->gateway, other->gateway);
    assert_int_equal(one->worker, other->worker);
    assert_int_equal(one->verdict, other->verdict);
    assert_int_equal(one->rule_kind, other->rule_kind);
    assert_int_equal(one->rule, other->rule);
    assert_int_equal(one->admission, other->admission);
    assert_int_equal(one->user, other->user);
    assert_int_equal(one->revision, other->revision);
}

/* Made of the layout in ref.h by `openssl mac SIPHASH` and `openssl enc -chacha20`. */
static void a_reference_is_what_its_layout_says(void **state)
{
    const struct ps_ref ref = sample();
    char text[PS_REF_LEN];

    (void)state;
    seal_first(&key, &ref, text);
    assert_memory_equal(text, "B44WF_U6ToIkEsDPNx-iiIeYAOr90otWHa0YXlJD", PS_REF_LEN);
}

static void a_reference_opens_to_what_was_sealed(void **state)
{
    const struct ps_ref none = {.at_ms = T0}, some = sample(),
                        all = {.at_ms = T0 + 31 * DAY_MS,
                               .level = PS_REF_LEVEL_MAX,
                               .gateway = 0xffff,
                               .worker = 0xff,
                               .verdict = 0xffff,
                               .rule_kind = PS_REF_RULE_ROUTE,
                               .rule = 0xfffff,
                               .admission = 0xff,
                               .user = 0xffffff,
                               .revision = ALL};
    const struct ps_ref *const refs[] = {&none, &some, &all};

    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(refs); i++) {
        char text[PS_REF_LEN];
        struct ps_ref opened;
        seal_first(&key, refs[i], text);
        assert_ok(open_at(T0, text, &opened));
        assert_same(&opened, refs[i]);
    }
}

/* Through batches, a key's change, hours of quiet, and a clock that is set back. */
static void each_of_a_workers_references_opens_to_what_was_sealed(void **state)
{
    static const int64_t steps[] = {0, 1, -700, 5 * 3600000, -DAY_MS, DAY_MS + 1};
    struct ps_ref ref = sample();
    struct ps_ref_key keys[2] = {key};

    (void)state;
    ps_ref_key_new(8, T0 + 1000, INT64_MAX, &keys[1]);
    ps_ref_pads_init(&pads, ref.gateway, ref.worker);
    for (size_t i = 0; i < 6 * 600; i++) {
        char text[PS_REF_LEN];
        struct ps_ref opened;
        if (i % 600 == 300)
            ref.at_ms += steps[i / 600];
        ref.user = (uint32_t)i;
        ps_ref_seal(&pads, &keys[i / 150 % 2], &ref, text);
        assert_ok(ps_ref_open(keys, 2, T0, str(text), &opened));
        if (steps[i / 600] == -DAY_MS || i / 600 == 5) /* the time alone is wrong then */
            opened.at_ms = ref.at_ms;
        assert_same(&opened, &ref);
    }
}

/* A pad used twice would show in which bits two texts differ. */
static void no_two_references_have_one_pad(void **state)
{
    enum { COUNT = 2000 };
    static char texts[COUNT][PS_REF_LEN];
    const struct ps_ref ref = sample();

    (void)state;
    ps_ref_pads_init(&pads, ref.gateway, ref.worker);
    for (size_t i = 0; i < COUNT; i++) {
        ps_ref_seal(&pads, &key, &ref, texts[i]);
        for (size_t k = 0; k < i; k++)
            assert_memory_not_equal(texts[i] + 12, texts[k] + 12, PS_REF_LEN - 12);
    }
}

static void what_is_too_large_for_its_bits_leaves_the_others_alone(void **state)
{
    struct ps_ref ref = sample(), opened;
    char text[PS_REF_LEN];

    (void)state;
    ref.user |= 0xff000000;
    ref.level |= 0xf8;
    ref.rule |= 0xfff00000;
    ref.revision |= INT64_C(0x7f) << 24;
    seal_first(&key, &ref, text);
    assert_ok(open_at(T0, text, &opened));
    const struct ps_ref kept = sample();
    assert_same(&opened, &kept);
}

static void a_reference_with_any_character_changed_does_not_open(void **state)
{
    const struct ps_ref ref = sample();
    char text[PS_REF_LEN];
    struct ps_ref opened;

    (void)state;
    seal_first(&key, &ref, text);
    for (size_t i = 0; i < PS_REF_LEN; i++) {
        const char right = text[i];
        for (int other = CHAR_MIN; other <= CHAR_MAX; other++) {
            text[i] = (char)other;
            if (text[i] != right)
                assert_int_equal(open_at(T0, text, &opened), PS_E_NOT_FOUND);
        }
        text[i] = right;
    }
    assert_ok(open_at(T0, text, &opened));
}

static void a_reference_has_one_length(void **state)
{
    const struct ps_ref ref = sample();
    char text[PS_REF_LEN + 8];
    struct ps_ref opened;

    (void)state;
    memset(text, 'A', sizeof text);
    seal_first(&key, &ref, text);
    for (size_t len = 0; len < sizeof text; len++)
        assert_int_equal(ps_ref_open(&key, 1, T0, (struct ps_str){text, len}, &opened),
                         len == PS_REF_LEN ? 0 : PS_E_NOT_FOUND);
}

static void a_key_of_another_cluster_opens_nothing(void **state)
{
    const struct ps_ref ref = sample();
    struct ps_ref_key others[2];
    struct ps_ref opened;
    char text[PS_REF_LEN];

    (void)state;
    seal_first(&key, &ref, text);
    ps_ref_key_new(key.id, key.from_ms, key.until_ms, &others[0]);
    ps_ref_key_new((uint16_t)(key.id + 1), key.from_ms, key.until_ms, &others[1]);
    assert_int_equal(ps_ref_open(others, 2, T0, str(text), &opened), PS_E_NOT_FOUND);
    assert_int_equal(ps_ref_open(NULL, 0, T0, str(text), &opened), PS_E_NOT_FOUND);
    /* One half of the secret is not enough. */
    memcpy(others[0].tag_key, key.tag_key, sizeof key.tag_key);
    assert_int_equal(ps_ref_open(others, 2, T0, str(text), &opened), PS_E_NOT_FOUND);
    memcpy(others[0].text_key, key.text_key, sizeof key.text_key);
    assert_ok(ps_ref_open(others, 2, T0, str(text), &opened));
}

static void a_reference_opens_for_thirty_days(void **state)
{
    const struct ps_ref ref = sample();
    struct ps_ref opened;
    char text[PS_REF_LEN];

    (void)state;
    seal_first(&key, &ref, text);
    assert_ok(open_at(ref.at_ms + 30 * DAY_MS, text, &opened));
    assert_int_equal(open_at(ref.at_ms + 30 * DAY_MS + 1, text, &opened), PS_E_NOT_FOUND);
}

static void each_of_many_keys_opens_its_own(void **state)
{
    struct ps_ref_key keys[32];

    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(keys); i++) /* the ids go round at 256 */
        ps_ref_key_new((240 + i) & 255, T0 + (int64_t)i * DAY_MS, INT64_MAX, &keys[i]);
    for (size_t i = 0; i < PS_ARRAY_LEN(keys); i++) {
        const struct ps_ref ref = {.at_ms = keys[i].from_ms + 1, .worker = (uint8_t)i};
        char text[PS_REF_LEN];
        struct ps_ref opened;
        seal_first(&keys[i], &ref, text);
        assert_ok(ps_ref_open(keys, PS_ARRAY_LEN(keys), ref.at_ms, str(text), &opened));
        assert_same(&opened, &ref);
    }
}

static void a_clock_before_the_key_counts_as_its_beginning(void **state)
{
    const struct ps_ref ref = {.at_ms = T0 - 5};
    struct ps_ref opened;
    char text[PS_REF_LEN];

    (void)state;
    seal_first(&key, &ref, text);
    assert_ok(open_at(T0, text, &opened));
    assert_int_equal(opened.at_ms, T0);
}

/* Of the 29 bytes behind the key's id a pair shares one in 256 by accident. */
static void references_of_one_moment_share_no_byte_but_the_key_id(void **state)
{
    enum { COUNT = 4096, BYTES = 30 };
    static uint8_t raw[COUNT][BYTES];
    const struct ps_ref ref = sample();
    size_t same[BYTES] = {0};

    (void)state;
    ps_ref_pads_init(&pads, ref.gateway, ref.worker);
    for (size_t i = 0; i < COUNT; i++) {
        char text[PS_REF_LEN];
        ps_ref_seal(&pads, &key, &ref, text);
        assert_int_equal(sodium_base642bin(raw[i], BYTES, text, PS_REF_LEN, NULL, NULL, NULL,
                                           sodium_base64_VARIANT_URLSAFE_NO_PADDING),
                         0);
    }
    for (size_t i = 1; i < COUNT; i++)
        for (size_t byte = 0; byte < BYTES; byte++)
            same[byte] += raw[i][byte] == raw[i - 1][byte];
    assert_int_equal(same[0], COUNT - 1);
    for (size_t byte = 1; byte < BYTES; byte++) /* 16 expected, deviation 4 */
        assert_true(same[byte] < 40);
}

static void the_whole_revision_is_the_newest_that_ends_so(void **state)
{
    static const struct {
        int64_t sealed, present;
    } rows[] = {{0, 0},
                {5, 5},
                {5, 9},
                {ALL, ALL + 1},
                {ALL - 1, ALL + 100},
                {ALL + 1, ALL + 1},
                {ALL + 7, 2 * ALL},
                {5 * ALL, 5 * ALL + 1000000}};

    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(rows); i++) {
        const struct ps_ref ref = {.revision = rows[i].sealed & ALL};
        assert_int_equal(ps_ref_revision(&ref, rows[i].present), rows[i].sealed);
    }
    /* The gateway that opens it is behind. */
    assert_int_equal(ps_ref_revision(&(struct ps_ref){.revision = 9}, 5), 9);
}

static void no_two_verdicts_have_the_same_hash(void **state)
{
    (void)state;
    for (size_t i = 0; i < ANS_VERDICT_COUNT; i++)
        for (size_t k = 0; k < i; k++)
            if (ps_ref_verdict(ps_str(ans_verdicts[i].name)) ==
                ps_ref_verdict(ps_str(ans_verdicts[k].name)))
                fail_msg("%s, %s", ans_verdicts[i].name, ans_verdicts[k].name);
}

static void a_user_has_a_hash_that_says_known(void **state)
{
    (void)state;
    assert_int_equal(ps_ref_user(ps_str("")), 0);
    assert_int_not_equal(ps_ref_user(ps_str("alice")), 0);
    assert_int_not_equal(ps_ref_user(ps_str("alice")), ps_ref_user(ps_str("alicf")));
    assert_int_not_equal(ps_ref_user(ps_str("customer-00001234")),
                         ps_ref_user(ps_str("customer-00001235")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_reference_is_what_its_layout_says, make),
        cmocka_unit_test_setup(a_reference_opens_to_what_was_sealed, make),
        cmocka_unit_test_setup(each_of_a_workers_references_opens_to_what_was_sealed, make),
        cmocka_unit_test_setup(no_two_references_have_one_pad, make),
        cmocka_unit_test_setup(what_is_too_large_for_its_bits_leaves_the_others_alone, make),
        cmocka_unit_test_setup(a_reference_with_any_character_changed_does_not_open, make),
        cmocka_unit_test_setup(a_reference_has_one_length, make),
        cmocka_unit_test_setup(a_key_of_another_cluster_opens_nothing, make),
        cmocka_unit_test_setup(a_reference_opens_for_thirty_days, make),
        cmocka_unit_test_setup(each_of_many_keys_opens_its_own, make),
        cmocka_unit_test_setup(a_clock_before_the_key_counts_as_its_beginning, make),
        cmocka_unit_test_setup(references_of_one_moment_share_no_byte_but_the_key_id, make),
        cmocka_unit_test(the_whole_revision_is_the_newest_that_ends_so),
        cmocka_unit_test(no_two_verdicts_have_the_same_hash),
        cmocka_unit_test(a_user_has_a_hash_that_says_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
