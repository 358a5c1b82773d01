/* Archives: what is written is read back, whoever breaks a byte is found out, and nobody's name is
 * in it. */
#include "tests/unit/check.h"

#include "common/clock.h"
#include "queue/archive.h"
#include "queue/fold.h"
#include "tests/unit/records.h"

#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

static char dir[64], path[96], key_path[96];
static uint8_t key[OQ_ARCHIVE_KEY];
static struct ps_fault fault;

static int set_up(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/penstock-archive-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/sale.ndjson.zst", dir);
    snprintf(key_path, sizeof key_path, "%s/archive.key", dir);
    memset(key, 7, sizeof key);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command);
}

/* --- words for the tests --- */

/* A sale of 100 units of which 2 were confirmed for alice and 1 expired for bob; `lie` is added to
 * the confirmed units that the last line tells. */
static void write_archive(struct oq_archive_end *end, int64_t lie)
{
    const struct oq_event records[] = {fenced(5, 1, true),
                                       adjusted("initial:sale/sku", 100, 5),
                                       accepted(1, 5, "alice", "click-1", 2),
                                       accepted(2, 5, "bob", "", 1),
                                       confirmed(1),
                                       released(2, OQ_EXPIRED)};
    const struct oq_count count = {PS_STR("sku"), 100, 0, 2 + lie, 1};
    struct oq_archive *archive;
    struct ps_buf buf;
    assert_ok(oq_archive_new(path, "sale", key, &archive, &fault));
    for (size_t i = 0; i < PS_ARRAY_LEN(records); i++)
        assert_ok(oq_archive_add(archive, (int64_t)i * 3 + 1, &records[i], &fault));
    *end = (struct oq_archive_end){.partitions = 1, .orders = 2, .at_ms = T0 + 100};
    ps_buf_init(&buf, end->text, sizeof end->text);
    oq_counts_put(&buf, &count, 1);
    end->counts = (struct ps_str){buf.at, buf.len};
    assert_ok(oq_archive_finish(archive, end, &fault));
    oq_archive_free(archive);
    assert_ok(oq_archive_publish(path, &fault));
}

static size_t load(const char *name, char *text, size_t size)
{
    FILE *file = fopen(name, "r");
    assert_non_null(file);
    size_t len = fread(text, 1, size, file);
    fclose(file);
    assert_true(len < size);
    return len;
}

static void store(const char *name, const char *text, size_t len)
{
    FILE *file = fopen(name, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, len, file), len);
    assert_ok(fclose(file));
}

static size_t load_lines(char *text, size_t size)
{
    char packed[8192];
    size_t len = ZSTD_decompress(text, size - 1, packed, load(path, packed, sizeof packed));
    assert_false(ZSTD_isError(len));
    text[len] = '\0';
    return len;
}

static void store_lines(const char *text, size_t len)
{
    char packed[16384];
    size_t size = ZSTD_compress(packed, sizeof packed, text, len, 3);
    assert_false(ZSTD_isError(size));
    store(path, packed, size);
}

static int verify(struct oq_archive_end *end)
{
    memset(&fault, 0, sizeof fault);
    return oq_archive_verify(path, NULL, end, &fault);
}

static void assert_broken(const char *word)
{
    struct oq_archive_end end;
    assert_int_equal(verify(&end), PS_E_CORRUPT);
    if (strstr(fault.text, word) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", fault.text, word);
}

static void sha256(const char *text, size_t len, char ret_hex[OQ_HASH_LEN + 1])
{
    uint8_t hash[32];
    crypto_hash_sha256(hash, (const uint8_t *)text, len);
    sodium_bin2hex(ret_hex, OQ_HASH_LEN + 1, hash, sizeof hash);
}

/* --- claims --- */

/* With nothing of this program but its description. */
static void anybody_can_check_the_chain_of_an_archive(void **state)
{
    (void)state;
    static char text[16384];
    struct oq_archive_end end;
    char prev[OQ_HASH_LEN + 1];
    write_archive(&end, 0);
    size_t len = load_lines(text, sizeof text);
    memset(prev, '0', OQ_HASH_LEN);
    prev[OQ_HASH_LEN] = '\0';
    int64_t lines = 0;
    for (char *line = text; *line != '\0'; lines++) {
        char *feed = strchr(line, '\n');
        assert_non_null(feed);
        assert_memory_equal(line, "{\"prev\":\"", 9);
        assert_memory_equal(line + 9, prev, OQ_HASH_LEN);
        sha256(line, (size_t)(feed - line), prev);
        line = feed + 1;
    }
    assert_string_equal(prev, end.last_hash);
    assert_int_equal(lines, end.lines);
    sha256(text, len, prev);
    assert_string_equal(prev, end.sha256);
    assert_non_null(strstr(text,
                           "\"type\":\"archive.end\",\"sale\":\"sale\",\"partitions\":1,"
                           "\"lines\":7,\"orders\":2,\"skus\":[{\"sku\":\"sku\","
                           "\"adjustments\":100,\"held\":0,\"confirmed\":2,\"released\":1}]"));
}

struct seen {
    size_t count;
    int64_t place[16];
    enum oq_type type[16];
    char user[2][OQ_HASH_LEN + 1];
};

static int see(int64_t place, struct ps_str text, const struct oq_event *event, void *ctx)
{
    struct seen *seen = ctx;
    assert_true(text.len > 0);
    if (event->type == OQ_ACCEPTED)
        snprintf(seen->user[seen->count - 2], OQ_HASH_LEN + 1, "%.*s", (int)event->user.len,
                 event->user.at);
    seen->place[seen->count] = place;
    seen->type[seen->count++] = event->type;
    return 0;
}

static void an_archive_is_read_back_as_it_was_written(void **state)
{
    (void)state;
    struct oq_archive_end end, back;
    struct seen seen = {0};
    write_archive(&end, 0);
    assert_ok(oq_archive_read(path, see, &seen, &back, &fault));
    assert_int_equal(seen.count, 6);
    assert_int_equal(seen.place[5], 16);
    assert_int_equal(seen.type[4], OQ_CONFIRMED);
    assert_string_equal(back.sale, "sale");
    assert_string_equal(back.last_hash, end.last_hash);
    assert_string_equal(back.sha256, end.sha256);
    assert_string_equal(back.key, end.key);
    assert_int_equal(back.lines, 7);
    assert_int_equal(back.orders, 2);
    assert_true(back.at_ms == T0 + 100);
    assert_int_equal(back.counts.len, end.counts.len);
    assert_memory_equal(back.counts.at, end.counts.at, end.counts.len);
    struct ps_uuid from = id_of(1), to = id_of(2);
    assert_true(back.has_ids && ps_uuid_equal(&back.ids_from, &from));
    assert_true(ps_uuid_equal(&back.ids_to, &to));
    assert_ok(verify(&back));
    struct stat status;
    assert_ok(stat(path, &status));
    assert_int_equal(status.st_mode & 0777, 0600);
}

static void no_name_is_in_an_archive_and_the_key_finds_it(void **state)
{
    (void)state;
    static char text[16384];
    struct oq_archive_end end;
    struct seen seen = {0};
    char hash[OQ_HASH_LEN + 1];
    write_archive(&end, 0);
    (void)load_lines(text, sizeof text);
    assert_null(strstr(text, "alice"));
    assert_null(strstr(text, "bob"));
    assert_null(strstr(text, "click-1"));
    assert_ok(oq_archive_read(path, see, &seen, NULL, &fault));
    oq_archive_user(key, PS_STR("sale"), PS_STR("alice"), hash);
    assert_string_equal(seen.user[0], hash);
    oq_archive_user(key, PS_STR("other"), PS_STR("alice"), hash);
    assert_string_not_equal(seen.user[0], hash);
    char before[17];
    memcpy(before, end.key, sizeof before);
    key[0] ^= 1;
    oq_archive_user(key, PS_STR("sale"), PS_STR("alice"), hash);
    assert_string_not_equal(seen.user[0], hash);
    write_archive(&end, 0);
    assert_string_not_equal(before, end.key);
}

static void each_byte_that_is_flipped_is_found_out(void **state)
{
    (void)state;
    static char packed[8192];
    struct oq_archive_end end, back;
    size_t same = 0;
    write_archive(&end, 0);
    size_t len = load(path, packed, sizeof packed);
    for (size_t i = 0; i < len; i++) {
        for (int bit = 0; bit < 8; bit++) {
            packed[i] ^= (char)(1 << bit);
            store(path, packed, len);
            int err = verify(&back);
            /* Bits of the frame that change nothing of what comes out of it. */
            if (err == 0)
                assert_string_equal(back.sha256, end.sha256);
            else
                assert_int_equal(err, PS_E_CORRUPT);
            same += err == 0;
            packed[i] ^= (char)(1 << bit);
        }
    }
    assert_true(same < len * 8 / 100);
    for (size_t cut = 0; cut < len; cut++) {
        store(path, packed, cut);
        assert_int_equal(verify(&back), PS_E_CORRUPT);
    }
    packed[len] = '\n';
    store(path, packed, len + 1);
    assert_broken("behind the archive");
}

static void lines_that_were_changed_and_packed_anew_are_found_out(void **state)
{
    (void)state;
    static char text[16384], other[16384];
    struct oq_archive_end end, back;
    write_archive(&end, 0);
    size_t len = load_lines(text, sizeof text);
    for (size_t i = 0; i < len; i++) {
        memcpy(other, text, len);
        other[i] ^= 2;
        store_lines(other, len);
        if (verify(&back) == 0) /* in the last line: its hash is in the log alone */
            assert_string_not_equal(back.last_hash, end.last_hash);
    }
    const char *second = strchr(text, '\n') + 1;
    const char *third = strchr(second, '\n') + 1;
    size_t first_len = (size_t)(second - text), second_len = (size_t)(third - second);
    memcpy(other, text, first_len);
    memcpy(other + first_len, third, len - first_len - second_len);
    store_lines(other, len - second_len);
    assert_broken("prev is not the hash");
    store_lines(text, (size_t)(third - text)); /* without its end */
    assert_broken("is cut short");
    memcpy(other, text, len);
    memcpy(other + len, text, first_len);
    store_lines(other, len + first_len);
    assert_broken("comes after archive.end");
    memset(other, 'x', sizeof other);
    store_lines(other, 10000);
    assert_int_equal(verify(&back), PS_E_CORRUPT);
}

static void an_archive_whose_last_line_lies_is_refused(void **state)
{
    (void)state;
    struct oq_archive_end end;
    write_archive(&end, 1);
    assert_broken("the lines and archive.end have different numbers");
}

static void what_an_auditor_finds_in_the_lines_is_refused(void **state)
{
    (void)state;
    struct oq_archive *archive;
    struct oq_archive_end end = {.partitions = 1, .orders = 1, .at_ms = T0};
    const struct oq_event records[] = {fenced(5, 1, true), adjusted("initial:sale/sku", 1, 5),
                                       accepted(1, 5, "alice", "", 2)};
    assert_ok(oq_archive_new(path, "sale", key, &archive, &fault));
    for (size_t i = 0; i < PS_ARRAY_LEN(records); i++)
        assert_ok(oq_archive_add(archive, (int64_t)i + 1, &records[i], &fault));
    end.counts = PS_STR("[{\"sku\":\"sku\",\"adjustments\":1,\"held\":2,\"confirmed\":0,"
                        "\"released\":0}]");
    assert_ok(oq_archive_finish(archive, &end, &fault));
    oq_archive_free(archive);
    assert_ok(oq_archive_publish(path, &fault));
    assert_broken("I1");
}

static void a_key_is_made_once_and_kept_from_others(void **state)
{
    (void)state;
    uint8_t first[OQ_ARCHIVE_KEY], second[OQ_ARCHIVE_KEY];
    struct stat status;
    assert_ok(oq_archive_key(key_path, first, &fault));
    assert_ok(oq_archive_key(key_path, second, &fault));
    assert_memory_equal(first, second, sizeof first);
    assert_ok(stat(key_path, &status));
    assert_int_equal(status.st_mode & 0777, 0600);
    assert_ok(chmod(key_path, 0644));
    assert_int_equal(oq_archive_key(key_path, second, &fault), PS_E_PERMISSION);
    assert_ok(chmod(key_path, 0600));
    store(key_path, "abc\n", 4);
    assert_int_equal(oq_archive_key(key_path, second, &fault), PS_E_INVALID);
    assert_non_null(strstr(fault.path, "archive.key"));
}

static void one_that_was_not_finished_leaves_nothing_behind(void **state)
{
    (void)state;
    struct oq_archive *archive;
    struct oq_event event = fenced(5, 1, true);
    char name[128];
    assert_ok(oq_archive_new(path, "sale", key, &archive, &fault));
    assert_ok(oq_archive_add(archive, 1, &event, &fault));
    oq_archive_free(archive);
    snprintf(name, sizeof name, "%s.new", path);
    assert_int_equal(access(name, F_OK), -1);
    assert_int_equal(oq_archive_read(path, NULL, NULL, NULL, &fault), PS_E_NOT_FOUND);
    snprintf(path, sizeof path, "%s/gone/sale.ndjson.zst", dir);
    assert_int_equal(oq_archive_new(path, "sale", key, &archive, &fault), PS_E_NOT_FOUND);
    assert_non_null(strstr(fault.path, "gone"));
}

#define CLAIM(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLAIM(anybody_can_check_the_chain_of_an_archive),
        CLAIM(an_archive_is_read_back_as_it_was_written),
        CLAIM(no_name_is_in_an_archive_and_the_key_finds_it),
        CLAIM(each_byte_that_is_flipped_is_found_out),
        CLAIM(lines_that_were_changed_and_packed_anew_are_found_out),
        CLAIM(an_archive_whose_last_line_lies_is_refused),
        CLAIM(what_an_auditor_finds_in_the_lines_is_refused),
        CLAIM(a_key_is_made_once_and_kept_from_others),
        CLAIM(one_that_was_not_finished_leaves_nothing_behind),
    };
    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
