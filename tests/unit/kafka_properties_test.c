/* The operator's properties of librdkafka, tried out without Kafka. */
#include "queue/log_kafka.h"
#include "tests/unit/check.h"

struct faults {
    size_t count;
    struct ps_fault fault[8];
};

static void note_fault(const struct ps_fault *fault, void *ctx)
{
    struct faults *faults = ctx;
    assert_true(faults->count < PS_ARRAY_LEN(faults->fault));
    faults->fault[faults->count++] = *fault;
}

static int check(const char *text, struct faults *ret_faults)
{
    json_t *object = json_loads(text, JSON_DECODE_ANY, NULL);
    assert_non_null(object);
    *ret_faults = (struct faults){0};
    int err = oq_kafka_properties_check(object, "log.kafka.properties", note_fault, ret_faults);
    json_decref(object);
    return err;
}

static void good_properties_have_no_fault(void **state)
{
    (void)state;
    struct faults faults;
    assert_ok(check("{}", &faults));
    assert_ok(check("{\"linger.ms\":\"1\",\"security.protocol\":\"ssl\"}", &faults));
    assert_int_equal(faults.count, 0);
}

static void every_property_that_is_wrong_is_named_with_the_path_of_the_setting(void **state)
{
    (void)state;
    struct faults faults;
    assert_int_equal(check("{\"no.such\":\"1\",\"linger.ms\":\"soon\",\"retries\":3,\"acks\":\"1\","
                           "\"client.id\":\"good\"}",
                           &faults),
                     PS_E_INVALID);
    static const char *const words[] = {"\"no.such\"", "\"linger.ms\"", "\"retries\"", "\"acks\""};
    assert_int_equal(faults.count, PS_ARRAY_LEN(words));
    for (size_t i = 0; i < PS_ARRAY_LEN(words); i++) {
        assert_string_equal(faults.fault[i].path, "log.kafka.properties");
        assert_non_null(strstr(faults.fault[i].text, words[i]));
    }
}

static void what_only_librdkafka_finds_in_all_together_is_a_fault(void **state)
{
    (void)state;
    struct faults faults;
    assert_int_equal(
        check("{\"security.protocol\":\"ssl\",\"ssl.ca.location\":\"/nowhere/ca.pem\"}", &faults),
        PS_E_INVALID);
    assert_int_equal(faults.count, 1);
    assert_string_equal(faults.fault[0].path, "log.kafka.properties");
    assert_non_null(strstr(faults.fault[0].text, "ssl.ca.location"));
}

static void what_is_no_object_is_a_fault(void **state)
{
    (void)state;
    struct faults faults;
    assert_int_equal(check("[\"linger.ms=1\"]", &faults), PS_E_INVALID);
    assert_int_equal(faults.count, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_properties_have_no_fault),
        cmocka_unit_test(every_property_that_is_wrong_is_named_with_the_path_of_the_setting),
        cmocka_unit_test(what_only_librdkafka_finds_in_all_together_is_a_fault),
        cmocka_unit_test(what_is_no_object_is_a_fault),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
