/* The audit log. */
#include "tests/unit/temp_dir.h"

#include "gateway/config/store/audit_log.h"

#include <signal.h>
#include <sodium.h>
#include <sys/resource.h>

static struct temp_dir temp;
static const char *path;
static char head[CFG_AUDIT_HEAD];

static int make(void **state)
{
    (void)state;
    temp = temp_dir_make();
    path = temp_file(&temp, "audit.log");
    memset(head, '0', sizeof head - 1);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    temp_dir_remove(&temp);
    return 0;
}

/* Lines `from` to `to`, of differing lengths. */
static void append(int64_t from, int64_t to)
{
    char text[512];
    for (int64_t seq = from; seq <= to; seq++) {
        (void)snprintf(text, sizeof text, "{\"why\":\"%0*d\"}", (int)(seq % 97) + 1, (int)seq);
        assert_ok(cfg_audit_append(path, head, seq, text, NULL));
    }
}

/* Reads, and checks that the lines are exactly `from` to `to`. */
static void reads(int64_t after, size_t limit, int64_t from, int64_t to)
{
    char *text, *at;
    size_t len;
    assert_ok(cfg_audit_read(path, after, limit, &text, &len));
    assert_int_equal(strlen(text), len);
    at = text;
    for (int64_t seq = from; seq <= to; seq++) {
        json_t *json = NULL;
        char *end = strchr(at, '\n');
        assert_non_null(end);
        assert_ok(ps_json_parse(at, (size_t)(end - at), &json, NULL));
        assert_int_equal(json_integer_value(json_object_get(json, "seq")), seq);
        json_decref(json);
        at = end + 1;
    }
    assert_int_equal(*at, '\0');
    free(text);
}

static void an_entry_is_one_line_of_json(void **state)
{
    (void)state;
    json_t *from = json_pack("{s:f}", "rate", 9.9), *json = NULL;
    const struct cfg_audit_entry entry = {.at_ms = INT64_C(1900000000000),
                                          .who = "t1",
                                          .peer = "127.0.0.1",
                                          .action = "limit.put",
                                          .target = "limits/user",
                                          .from = from,
                                          .why = "too\nmany"};
    char *text = cfg_audit_text(&entry), *line;
    assert_string_equal(text, "{\"at\":\"2030-03-17T17:46:40.000Z\",\"who\":\"t1\",\"peer\":"
                              "\"127.0.0.1\",\"action\":\"limit.put\",\"target\":\"limits/user\","
                              "\"from\":{\"rate\":9.9},\"to\":null,\"why\":\"too\\nmany\"}");
    assert_ok(cfg_audit_append(path, head, 12, text, NULL));
    line = read_file(path);
    assert_int_equal(strncmp(line, "{\"seq\":12,\"prev\":\"0", 19), 0);
    assert_ok(ps_json_parse(line, strlen(line), &json, NULL));
    assert_int_equal(mode_of(path), 0600);
    json_decref(json);
    json_decref(from);
    free(line);
    free(text);
}

static void a_new_log_is_empty_and_private(void **state)
{
    (void)state;
    int64_t last = -1;
    assert_ok(cfg_audit_open(path, &last, head, NULL));
    assert_int_equal(last, 0);
    assert_int_equal(mode_of(path), 0600);
    reads(0, 10, 1, 0);
    reads(-1, 10, 1, 0);
}

static void the_last_seq_is_found_again(void **state)
{
    (void)state;
    int64_t last = -1;
    append(5, 7);
    assert_ok(cfg_audit_open(path, &last, head, NULL));
    assert_int_equal(last, 7);
}

static void lines_are_read_from_any_place(void **state)
{
    (void)state;
    append(1, 200);
    reads(0, 1000, 1, 200);
    reads(0, 1, 1, 1);
    reads(199, 10, 200, 200);
    reads(200, 10, 1, 0);
    reads(1000, 10, 1, 0);
    reads(-1, 3, 198, 200);
    reads(-1, 1000, 1, 200);
    for (int64_t after = 1; after < 199; after++)
        reads(after, 2, after + 1, after + 2);
}

static void a_line_may_be_longer_than_a_read(void **state)
{
    (void)state;
    const size_t size = 3 << 20;
    char *text = malloc(size + 1);
    int64_t last;
    assert_non_null(text);
    memset(text, 'x', size);
    memcpy(text, "{\"why\":\"", 8);
    memcpy(text + size - 2, "\"}", 3);
    append(1, 1);
    assert_ok(cfg_audit_append(path, head, 2, text, NULL));
    append(3, 3);
    reads(0, 1, 1, 1);
    reads(0, 10, 1, 1); /* as much as about 1 MiB takes */
    reads(1, 10, 2, 3);
    reads(2, 10, 3, 3);
    assert_ok(cfg_audit_open(path, &last, head, NULL));
    assert_int_equal(last, 3);
    free(text);
}

/* So many lines that the last of them are more than one answer holds. */
static void the_last_lines_end_with_the_last_however_long_they_are(void **state)
{
    (void)state;
    const size_t size = 300 << 10;
    char *text = malloc(size + 1);
    assert_non_null(text);
    memset(text, 'x', size);
    memcpy(text, "{\"why\":\"", 8);
    memcpy(text + size - 2, "\"}", 3);
    for (int64_t seq = 1; seq <= 8; seq++)
        assert_ok(cfg_audit_append(path, head, seq, text, NULL));
    reads(-1, 2, 7, 8);
    reads(-1, 100, 6, 8); /* as much as about 1 MiB takes */
    reads(0, 100, 1, 3);
    append(9, 9);
    reads(-1, 100, 6, 9);
    free(text);
}

static void the_last_line_is_read_however_long_it_is(void **state)
{
    (void)state;
    const size_t size = 3 << 20;
    char *text = malloc(size + 1);
    assert_non_null(text);
    memset(text, 'x', size);
    memcpy(text, "{\"why\":\"", 8);
    memcpy(text + size - 2, "\"}", 3);
    append(1, 2);
    assert_ok(cfg_audit_append(path, head, 3, text, NULL));
    reads(-1, 10, 3, 3);
    append(4, 5);
    reads(-1, 10, 4, 5);
    free(text);
}

static void a_torn_line_is_cut_off_and_never_shown(void **state)
{
    (void)state;
    int64_t last;
    append(1, 2);
    FILE *file = fopen(path, "a");
    assert_non_null(file);
    fputs("{\"seq\":3,\"at", file);
    fclose(file);
    reads(0, 10, 1, 2);
    append(3, 3);
    reads(0, 10, 1, 3);
    file = fopen(path, "a");
    assert_non_null(file);
    fputs("{\"se", file);
    fclose(file);
    assert_ok(cfg_audit_open(path, &last, head, NULL));
    assert_int_equal(last, 3);
    reads(0, 10, 1, 3);
}

static void a_line_that_finds_no_room_leaves_nothing_behind(void **state)
{
    (void)state;
    struct ps_fault fault;
    struct rlimit before, limit;
    struct stat st;
    append(1, 2);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_IGN);
    limit = (struct rlimit){(rlim_t)st.st_size + 10, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    int err = cfg_audit_append(path, head, 3, "{\"why\":\"a long enough line\"}", &fault);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(err, PS_E_FULL);
    assert_string_equal(fault.path, path);
    reads(0, 10, 1, 2);
    append(3, 3);
    reads(0, 10, 1, 3);
}

static void a_log_that_was_moved_away_is_begun_anew(void **state)
{
    (void)state;
    append(1, 2);
    assert_int_equal(rename(path, temp_file(&temp, "audit.log.1")), 0);
    reads(0, 10, 1, 0);
    append(3, 4);
    reads(0, 10, 3, 4);
}

/* Each line holds the hash of the one before; `first` is what the first line of the file holds. */
static void assert_chained(const char *file, const char *first, char ret_last[CFG_AUDIT_HEAD])
{
    char *text = read_file(file), *at = text;
    unsigned char hash[crypto_hash_sha256_BYTES];
    char want[CFG_AUDIT_HEAD];
    memcpy(want, first, sizeof want);
    for (char *end; (end = strchr(at, '\n')) != NULL; at = end + 1) {
        json_t *json = NULL;
        assert_ok(ps_json_parse(at, (size_t)(end - at), &json, NULL));
        assert_string_equal(json_string_value(json_object_get(json, "prev")), want);
        json_decref(json);
        crypto_hash_sha256(hash, (unsigned char *)at, (size_t)(end - at));
        sodium_bin2hex(want, sizeof want, hash, sizeof hash);
    }
    memcpy(ret_last, want, sizeof want);
    free(text);
}

static void each_line_holds_the_hash_of_the_one_before(void **state)
{
    (void)state;
    char zeros[CFG_AUDIT_HEAD], end[CFG_AUDIT_HEAD], more[CFG_AUDIT_HEAD];
    int64_t last;
    memcpy(zeros, head, sizeof zeros);
    append(1, 3);
    FILE *file = fopen(path, "a"); /* a power cut, and a start after it */
    assert_non_null(file);
    fputs("{\"seq\":4,\"at", file);
    fclose(file);
    assert_ok(cfg_audit_open(path, &last, head, NULL));
    append(4, 6);
    assert_chained(path, zeros, end);
    const char *moved = temp_file(&temp, "audit.log.1");
    assert_int_equal(rename(path, moved), 0);
    append(7, 8);
    assert_chained(path, end, more);
}

static void the_last_line_of_an_earlier_version_is_in_the_chain(void **state)
{
    (void)state;
    char old[CFG_AUDIT_HEAD];
    const char *line = "{\"seq\":1,\"at\":null}";
    unsigned char hash[crypto_hash_sha256_BYTES];
    int64_t last;
    crypto_hash_sha256(hash, (const unsigned char *)line, strlen(line));
    sodium_bin2hex(old, sizeof old, hash, sizeof hash);
    write_file(path, "{\"seq\":1,\"at\":null}\n");
    assert_ok(cfg_audit_open(path, &last, head, NULL));
    assert_string_equal(head, old);
}

static void what_is_no_audit_log_is_refused(void **state)
{
    (void)state;
    int64_t last;
    struct ps_fault fault;
    write_file(path, "hello\n");
    assert_int_equal(cfg_audit_open(path, &last, head, &fault), PS_E_CORRUPT);
    assert_non_null(strstr(fault.text, "move"));
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(cfg_audit_open(path, &last, head, &fault), PS_E_PERMISSION);
    assert_non_null(strstr(fault.text, "chmod 600"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_entry_is_one_line_of_json),
        TEST(a_new_log_is_empty_and_private),
        TEST(the_last_seq_is_found_again),
        TEST(lines_are_read_from_any_place),
        TEST(a_line_may_be_longer_than_a_read),
        TEST(the_last_lines_end_with_the_last_however_long_they_are),
        TEST(the_last_line_is_read_however_long_it_is),
        TEST(a_torn_line_is_cut_off_and_never_shown),
        TEST(a_line_that_finds_no_room_leaves_nothing_behind),
        TEST(a_log_that_was_moved_away_is_begun_anew),
        TEST(each_line_holds_the_hash_of_the_one_before),
        TEST(the_last_line_of_an_earlier_version_is_in_the_chain),
        TEST(what_is_no_audit_log_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
