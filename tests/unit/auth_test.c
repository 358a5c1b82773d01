/* Tokens of the admin listener, and the peers that try them. */
#include "tests/unit/temp_dir.h"

#include "gateway/admin/auth.h"
#include "common/program/private_file.h"

#define T0 INT64_C(1900000000000)

static struct temp_dir temp;
static struct ps_clock_manual clock_;
static struct op_auth_settings settings;
static struct op_auth *auth;

static int make(void **state)
{
    (void)state;
    bool first = false;
    temp = temp_dir_make();
    ps_clock_manual_init(&clock_, 1, T0);
    settings = (struct op_auth_settings){.tokens_path = temp_file(&temp, "tokens.json"),
                                         .first_path = temp_file(&temp, "admin.token"),
                                         .failures = 3,
                                         .lock_s = 60,
                                         .requests_per_s = 100,
                                         .clock = &clock_.clock};
    assert_ok(op_auth_open(&settings, &auth, &first, NULL));
    assert_true(first);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    op_auth_free(auth);
    temp_dir_remove(&temp);
    return 0;
}

static void open_again(void)
{
    bool first = true;
    op_auth_free(auth);
    auth = NULL;
    assert_ok(op_auth_open(&settings, &auth, &first, NULL));
    assert_false(first);
}

/* Of admin.token, without its newline. */
static const char *first_secret(void)
{
    static char secret[OP_TOKEN_LEN + 1];
    char *text = read_file(settings.first_path);
    assert_int_equal(strlen(text), OP_TOKEN_LEN + 1);
    memcpy(secret, text, OP_TOKEN_LEN);
    free(text);
    return secret;
}

static int64_t wait_s;
static const struct op_token *who;

static enum op_auth_result check_field(const char *field, const char *peer)
{
    struct ps_address address;
    struct ps_str text = {field, field != NULL ? strlen(field) : 0};
    assert_ok(ps_address_parse(peer, strlen(peer), false, &address));
    return op_auth_check(auth, text, &address, &who, &wait_s);
}

static enum op_auth_result check(const char *secret, const char *peer)
{
    char field[256];
    (void)snprintf(field, sizeof field, "Bearer %s", secret);
    return check_field(field, peer);
}

/* Does what the control store would do with the prepared change. */
static void write_change(void)
{
    const char *text = op_auth_prepared_text(auth);
    assert_ok(ps_private_replace(settings.tokens_path, text, strlen(text), NULL));
    op_auth_end_change(auth, true);
}

static void the_first_start_makes_one_admin_token(void **state)
{
    (void)state;
    assert_int_equal(mode_of(settings.first_path), 0600);
    assert_int_equal(mode_of(settings.tokens_path), 0600);
    assert_int_equal(strncmp(first_secret(), "pst_", 4), 0);
    assert_int_equal(check(first_secret(), "127.0.0.1"), OP_AUTH_OK);
    assert_string_equal(who->id, "first");
    assert_int_equal(who->role, OP_ROLE_ADMIN);
    char *text = read_file(settings.tokens_path);
    assert_null(strstr(text, "pst_"));
    free(text);
}

static void the_token_outlives_a_restart_and_its_file(void **state)
{
    (void)state;
    char secret[OP_TOKEN_LEN + 1];
    strcpy(secret, first_secret());
    assert_int_equal(unlink(settings.first_path), 0);
    open_again();
    assert_int_equal(check(secret, "127.0.0.1"), OP_AUTH_OK);
    assert_int_equal(access(settings.first_path, F_OK), -1);
}

static void only_the_right_text_is_taken(void **state)
{
    (void)state;
    char secret[OP_TOKEN_LEN + 2];
    strcpy(secret, first_secret());
    assert_int_equal(check_field(NULL, "127.0.0.1"), OP_AUTH_NONE);
    assert_int_equal(check_field("", "127.0.0.1"), OP_AUTH_NONE);
    assert_int_equal(check_field("Bearer", "127.0.0.1"), OP_AUTH_NONE);
    assert_int_equal(check_field("Bearer ", "127.0.0.1"), OP_AUTH_NONE);
    assert_int_equal(check_field("Basic dXNlcjpwYXNz", "127.0.0.1"), OP_AUTH_NONE);
    assert_int_equal(check_field(secret, "127.0.0.1"), OP_AUTH_NONE);
    strcat(secret, "A");
    assert_int_equal(check(secret, "192.0.2.1"), OP_AUTH_WRONG);
    secret[OP_TOKEN_LEN - 1] = '\0';
    assert_int_equal(check(secret, "192.0.2.2"), OP_AUTH_WRONG);
    strcpy(secret, first_secret());
    secret[10] ^= 1;
    assert_int_equal(check(secret, "192.0.2.3"), OP_AUTH_WRONG);
    char field[128];
    (void)snprintf(field, sizeof field, "bearer   %s", first_secret());
    assert_int_equal(check_field(field, "127.0.0.1"), OP_AUTH_OK);
}

static void a_made_token_works_once_it_is_written(void **state)
{
    (void)state;
    const struct op_token *token;
    char secret[OP_TOKEN_LEN + 1], other[OP_TOKEN_LEN + 1];
    assert_ok(op_auth_prepare_new(auth,
                                  &(struct op_token){.role = OP_ROLE_VIEWER,
                                                     .note = "for the shop",
                                                     .expires_at_ms = INT64_MAX},
                                  &token, secret));
    assert_int_equal(check(secret, "192.0.2.1"), OP_AUTH_WRONG);
    assert_int_equal(
        op_auth_prepare_new(auth,
                            &(struct op_token){.role = OP_ROLE_VIEWER, .expires_at_ms = INT64_MAX},
                            &token, other),
        PS_E_BUSY);
    write_change();
    assert_int_equal(check(secret, "192.0.2.1"), OP_AUTH_OK);
    assert_int_equal(who->role, OP_ROLE_VIEWER);
    assert_string_equal(who->note, "for the shop");
    open_again();
    assert_int_equal(op_auth_count(auth), 2);
    assert_int_equal(check(secret, "192.0.2.1"), OP_AUTH_OK);
    assert_string_equal(op_auth_at(auth, 1)->id, who->id);
}

static void a_change_that_could_not_be_written_did_not_happen(void **state)
{
    (void)state;
    const struct op_token *token;
    char secret[OP_TOKEN_LEN + 1];
    assert_ok(op_auth_prepare_new(
        auth, &(struct op_token){.role = OP_ROLE_ADMIN, .expires_at_ms = INT64_MAX}, &token,
        secret));
    op_auth_end_change(auth, false);
    assert_int_equal(op_auth_count(auth), 1);
    assert_int_equal(check(secret, "192.0.2.1"), OP_AUTH_WRONG);
}

static void the_pools_of_a_registrar_outlive_a_restart(void **state)
{
    (void)state;
    const struct op_pools pools = {.count = 2, .at = {"web", "api"}};
    const struct op_token *token;
    char secret[OP_TOKEN_LEN + 1];
    assert_ok(op_auth_prepare_new(
        auth,
        &(struct op_token){.role = OP_ROLE_REGISTRAR, .pools = pools, .expires_at_ms = INT64_MAX},
        &token, secret));
    write_change();
    open_again();
    assert_int_equal(check(secret, "127.0.0.1"), OP_AUTH_OK);
    assert_true(op_token_has_pool(who, "web") && op_token_has_pool(who, "api"));
    assert_false(op_token_has_pool(who, "we") || op_token_has_pool(who, "web2") ||
                 op_token_has_pool(who, ""));
    json_t *json = op_token_write(who);
    assert_int_equal(json_array_size(json_object_get(json, "pools")), 2);
    json_decref(json);
    assert_false(op_token_has_pool(op_auth_at(auth, 0), "web"));
}

static void as_many_tokens_as_there_may_be_fit_their_file(void **state)
{
    (void)state;
    static struct op_token wanted = {
        .role = OP_ROLE_REGISTRAR, .pools.count = OP_TOKEN_POOLS_MAX, .expires_at_ms = INT64_MAX};
    const struct op_token *token;
    char secret[OP_TOKEN_LEN + 1];
    for (size_t i = 0; i < OP_TOKEN_POOLS_MAX; i++)
        (void)snprintf(wanted.pools.at[i], sizeof wanted.pools.at[i], "%064zu", i);
    for (size_t i = 0; i < OP_TOKEN_NOTE_MAX; i++)
        memcpy(wanted.note + 4 * i, "\xf0\x9f\x9b\x92", 5);
    for (size_t i = 1; i < OP_TOKENS_MAX; i++) {
        assert_ok(op_auth_prepare_new(auth, &wanted, &token, secret));
        write_change();
    }
    assert_int_equal(op_auth_prepare_new(auth, &wanted, &token, secret), PS_E_FULL);
    open_again();
    assert_int_equal(op_auth_count(auth), OP_TOKENS_MAX);
    assert_int_equal(check(secret, "127.0.0.1"), OP_AUTH_OK);
    assert_int_equal(who->pools.count, OP_TOKEN_POOLS_MAX);
}

/* Adds a registrar to the file whose member `pools` this is, with its comma; what opening it says.
 */
static int open_with_pools(const char *pools, struct op_auth **ret_auth, struct ps_fault *fault)
{
    char text[1024];
    (void)snprintf(text, sizeof text,
                   "{\"tokens\":[{\"id\":\"old\",\"role\":\"registrar\",%s\"hash\":\"%064d\","
                   "\"created_at\":\"2030-01-01T00:00:00Z\"}]}",
                   pools, 0);
    write_file(settings.tokens_path, text);
    return op_auth_open(&settings, ret_auth, NULL, fault);
}

static void a_registrar_of_a_file_from_before_pools_has_none(void **state)
{
    (void)state;
    struct op_auth *other;
    struct ps_fault fault;
    assert_ok(open_with_pools("", &other, &fault));
    const struct op_token *token = op_auth_find(other, "old", 3);
    assert_int_equal(token->role, OP_ROLE_REGISTRAR);
    assert_int_equal(token->pools.count, 0);
    op_auth_free(other);
    assert_ok(open_with_pools("\"pools\":[],", &other, &fault)); /* as it is written again */
    op_auth_free(other);
    for (const char *const *bad =
             (const char *const[]){"null", "\"web\"", "[7]", "[\"a b\"]", "[\"a\",\"a\"]", NULL};
         *bad != NULL; bad++) {
        char member[64];
        (void)snprintf(member, sizeof member, "\"pools\":%s,", *bad);
        assert_int_equal(open_with_pools(member, &other, &fault), PS_E_INVALID);
        assert_non_null(strstr(fault.text, "/tokens/0/pools"));
    }
}

static void a_deleted_token_is_refused(void **state)
{
    (void)state;
    const struct op_token *token;
    char secret[OP_TOKEN_LEN + 1], id[PS_NAME_MAX + 1];
    assert_ok(op_auth_prepare_new(
        auth, &(struct op_token){.role = OP_ROLE_OPERATOR, .expires_at_ms = INT64_MAX}, &token,
        secret));
    strcpy(id, token->id);
    write_change();
    assert_non_null(op_auth_find(auth, id, strlen(id)));
    assert_ok(op_auth_prepare_delete(auth, id, strlen(id)));
    assert_int_equal(check(secret, "127.0.0.1"), OP_AUTH_OK);
    write_change();
    assert_int_equal(check(secret, "127.0.0.1"), OP_AUTH_WRONG);
    assert_int_equal(check(first_secret(), "127.0.0.1"), OP_AUTH_OK);
    assert_null(op_auth_find(auth, id, strlen(id)));
    assert_int_equal(op_auth_prepare_delete(auth, id, strlen(id)), PS_E_NOT_FOUND);
}

static void the_last_lasting_admin_token_stays(void **state)
{
    (void)state;
    const struct op_token *token;
    char secret[OP_TOKEN_LEN + 1];
    assert_ok(op_auth_prepare_new(
        auth, &(struct op_token){.role = OP_ROLE_ADMIN, .expires_at_ms = T0 + 1000}, &token,
        secret));
    write_change();
    assert_int_equal(op_auth_prepare_delete(auth, "first", 5), PS_E_CONFLICT);
    assert_ok(op_auth_prepare_new(
        auth, &(struct op_token){.role = OP_ROLE_ADMIN, .expires_at_ms = INT64_MAX}, &token,
        secret));
    write_change();
    assert_ok(op_auth_prepare_delete(auth, "first", 5));
    write_change();
    assert_int_equal(check(secret, "127.0.0.1"), OP_AUTH_OK);
}

static void an_expired_token_is_refused(void **state)
{
    (void)state;
    const struct op_token *token;
    char secret[OP_TOKEN_LEN + 1];
    assert_int_equal(
        op_auth_prepare_new(auth, &(struct op_token){.role = OP_ROLE_VIEWER, .expires_at_ms = T0},
                            &token, secret),
        PS_E_INVALID);
    assert_ok(op_auth_prepare_new(
        auth, &(struct op_token){.role = OP_ROLE_VIEWER, .expires_at_ms = T0 + 1000}, &token,
        secret));
    write_change();
    clock_.wall_ms = T0 + 999;
    assert_int_equal(check(secret, "127.0.0.1"), OP_AUTH_OK);
    clock_.wall_ms = T0 + 1000;
    assert_int_equal(check(secret, "127.0.0.1"), OP_AUTH_WRONG);
}

static void a_shown_token_has_no_hash(void **state)
{
    (void)state;
    json_t *json = op_token_write(op_auth_at(auth, 0));
    assert_string_equal(json_string_value(json_object_get(json, "role")), "admin");
    assert_string_equal(json_string_value(json_object_get(json, "created_at")),
                        "2030-03-17T17:46:40.000Z");
    assert_true(json_is_null(json_object_get(json, "expires_at")));
    assert_int_equal(json_object_size(json), 5);
    json_decref(json);
}

/* One wrong token after the other: the third is the last one within a minute. */
static void guess(const char *peer)
{
    assert_int_equal(check("pst_guess", peer), OP_AUTH_WRONG);
    assert_int_equal(check("pst_guess", peer), OP_AUTH_WRONG);
    assert_int_equal(check("pst_guess", peer), OP_AUTH_LAST);
}

static void a_peer_that_guesses_waits_alone(void **state)
{
    (void)state;
    guess("192.0.2.1");
    assert_int_equal(check("pst_guess", "192.0.2.1"), OP_AUTH_LOCKED);
    assert_int_equal(wait_s, 60);
    assert_int_equal(check("pst_guess", "192.0.2.2"), OP_AUTH_WRONG);
    clock_.mono_ns += 59 * PS_NS_PER_S + 1;
    assert_int_equal(check("pst_guess", "192.0.2.1"), OP_AUTH_LOCKED);
    assert_int_equal(wait_s, 1);
    clock_.mono_ns += PS_NS_PER_S;
    assert_int_equal(check("pst_guess", "192.0.2.1"), OP_AUTH_WRONG);
}

static void a_right_token_is_never_locked_out(void **state)
{
    (void)state;
    for (int i = 0; i < 1000; i++)
        (void)check("pst_guess", "192.0.2.1");
    assert_int_equal(check("pst_guess", "192.0.2.1"), OP_AUTH_LOCKED);
    assert_int_equal(check(first_secret(), "192.0.2.1"), OP_AUTH_OK);
    assert_int_equal(check("pst_guess", "192.0.2.1"), OP_AUTH_LOCKED);
}

static void requests_without_a_right_token_spend_nobodys_rate(void **state)
{
    (void)state;
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(check_field(NULL, "192.0.2.1"), OP_AUTH_NONE);
        (void)check("pst_guess", "192.0.2.1");
    }
    for (int i = 0; i < 200; i++)
        assert_int_equal(check(first_secret(), "192.0.2.1"), OP_AUTH_OK);
    assert_int_equal(check(first_secret(), "192.0.2.1"), OP_AUTH_LIMITED);
}

static void rare_mistakes_lock_nobody_out(void **state)
{
    (void)state;
    for (int i = 0; i < 10; i++) {
        assert_int_equal(check("pst_guess", "192.0.2.1"), OP_AUTH_WRONG);
        assert_int_equal(check("pst_guess", "192.0.2.1"), OP_AUTH_WRONG);
        clock_.mono_ns += 60 * PS_NS_PER_S;
    }
    for (int i = 0; i < 100; i++)
        assert_int_equal(check_field(NULL, "192.0.2.1"), OP_AUTH_NONE);
    assert_int_equal(check(first_secret(), "192.0.2.1"), OP_AUTH_OK);
}

static void ipv6_peers_count_by_their_network(void **state)
{
    (void)state;
    assert_int_equal(check("pst_guess", "2001:db8::1"), OP_AUTH_WRONG);
    assert_int_equal(check("pst_guess", "2001:db8::2"), OP_AUTH_WRONG);
    assert_int_equal(check("pst_guess", "2001:db8::3"), OP_AUTH_LAST);
    assert_int_equal(check("pst_guess", "2001:db8::4"), OP_AUTH_LOCKED);
    assert_int_equal(check("pst_guess", "2001:db8:0:1::4"), OP_AUTH_WRONG);
}

static void each_peer_has_a_rate_of_its_own(void **state)
{
    (void)state;
    for (int i = 0; i < 200; i++)
        assert_int_equal(check(first_secret(), "192.0.2.1"), OP_AUTH_OK);
    assert_int_equal(check(first_secret(), "192.0.2.1"), OP_AUTH_LIMITED);
    assert_int_equal(wait_s, 1);
    assert_int_equal(check(first_secret(), "192.0.2.2"), OP_AUTH_OK);
    clock_.mono_ns += 10 * PS_NS_PER_MS;
    assert_int_equal(check(first_secret(), "192.0.2.1"), OP_AUTH_OK);
    assert_int_equal(check(first_secret(), "192.0.2.1"), OP_AUTH_LIMITED);
}

static void many_peers_do_not_free_a_locked_one(void **state)
{
    (void)state;
    char peer[32];
    guess("192.0.2.1");
    for (int i = 0; i < 20000; i++) {
        (void)snprintf(peer, sizeof peer, "10.0.%d.%d", i / 256, i % 256);
        assert_int_equal(check(first_secret(), peer), OP_AUTH_OK);
        if (i == 0)
            clock_.mono_ns += PS_NS_PER_S;
    }
    assert_int_equal(check("pst_guess", "192.0.2.1"), OP_AUTH_LOCKED);
}

static void a_bad_tokens_file_is_refused_by_name(void **state)
{
    (void)state;
    struct op_auth *other = NULL;
    struct ps_fault fault;
    write_file(settings.tokens_path, "{\"tokens\":[{\"id\":\"a\",\"role\":\"king\",\"hash\":\"00\","
                                     "\"created_at\":\"2030-01-01T00:00:00Z\"}]}");
    assert_int_equal(op_auth_open(&settings, &other, NULL, &fault), PS_E_INVALID);
    assert_string_equal(fault.path, settings.tokens_path);
    assert_non_null(strstr(fault.text, "/tokens/0/role"));
    write_file(settings.tokens_path,
               "{\"tokens\":[{\"id\":\"a\",\"role\":\"admin\",\"hash\":\"0z\","
               "\"created_at\":\"2030-01-01T00:00:00Z\"}]}");
    assert_int_equal(op_auth_open(&settings, &other, NULL, &fault), PS_E_INVALID);
    assert_non_null(strstr(fault.text, "/tokens/0/hash"));
    write_file(settings.tokens_path, "{\"tokens\":[");
    assert_int_equal(op_auth_open(&settings, &other, NULL, &fault), PS_E_INVALID);
    assert_int_equal(chmod(settings.tokens_path, 0644), 0);
    assert_int_equal(op_auth_open(&settings, &other, NULL, &fault), PS_E_PERMISSION);
}

/* --- admin.token_dir. --- */

#define GIVEN "0123456789abcdef0123456789abcdef"

static void give(const char *name, const char *text)
{
    char path[256];
    (void)snprintf(path, sizeof path, "%s/%s", temp.path, name);
    (void)unlink(path);
    write_file(path, text);
    assert_int_equal(chmod(path, 0640), 0);
    settings.given_dir = temp.path;
}

static void a_given_token_is_valid_beside_the_others(void **state)
{
    (void)state;
    give("viewer-token", "viewer-" GIVEN "\n");
    give("operator-token", "operator-" GIVEN); /* no line end */
    open_again();
    assert_int_equal(op_auth_count(auth), 3);
    assert_int_equal(check("viewer-" GIVEN, "10.0.0.1"), OP_AUTH_OK);
    assert_int_equal(who->role, OP_ROLE_VIEWER);
    assert_string_equal(who->id, "viewer-token");
    assert_int_equal(check("operator-" GIVEN, "10.0.0.1"), OP_AUTH_OK);
    assert_int_equal(who->role, OP_ROLE_OPERATOR);
    assert_int_equal(check(first_secret(), "10.0.0.1"), OP_AUTH_OK);
    assert_int_equal(check(GIVEN, "10.0.0.1"), OP_AUTH_WRONG);
    assert_ptr_equal(op_auth_find(auth, "viewer-token", 12), op_auth_at(auth, 0));
    assert_string_equal(op_auth_at(auth, 2)->id, "first");
    char *kept = read_file(settings.tokens_path);
    assert_null(strstr(kept, "viewer-token")); /* written nowhere */
    free(kept);
}

static void a_given_admin_replaces_the_first_token(void **state)
{
    (void)state;
    bool first = true;
    char secret[OP_TOKEN_LEN + 1];
    const struct op_token *token;
    op_auth_free(auth);
    auth = NULL;
    assert_int_equal(unlink(settings.tokens_path), 0);
    assert_int_equal(unlink(settings.first_path), 0);
    give("admin-token", GIVEN "\n");
    assert_ok(op_auth_open(&settings, &auth, &first, NULL));
    assert_false(first);
    assert_int_equal(access(settings.first_path, F_OK), -1);
    assert_int_equal(check(GIVEN, "10.0.0.1"), OP_AUTH_OK);
    assert_int_equal(who->role, OP_ROLE_ADMIN);
    /* Others can be made and deleted, it cannot. */
    assert_int_equal(op_auth_prepare_delete(auth, "admin-token", 11), PS_E_READ_ONLY);
    assert_ok(op_auth_prepare_new(
        auth, &(struct op_token){.role = OP_ROLE_ADMIN, .expires_at_ms = INT64_MAX}, &token,
        secret));
    assert_null(strstr(op_auth_prepared_text(auth), "admin-token"));
    op_auth_end_change(auth, true);
    assert_int_equal(check(secret, "10.0.0.1"), OP_AUTH_OK);
    assert_ok(op_auth_prepare_delete(auth, who->id, strlen(who->id)));
    op_auth_end_change(auth, true);
    assert_int_equal(check(GIVEN, "10.0.0.1"), OP_AUTH_OK);
}

static void a_bad_given_token_is_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } bad[] = {
        {"", "no secret"},
        {"\n" GIVEN, "no secret"},
        {"too-short", "fewer than 32"},
        {GIVEN " and more", "character that no token has"},
        {GIVEN "\x7f", "character that no token has"},
        {"\xe4\xbd\xa0" GIVEN, "character that no token has"},
    };
    struct op_auth *other = NULL;
    struct ps_fault fault;
    char longest[1024];
    for (size_t i = 0; i < PS_ARRAY_LEN(bad); i++) {
        give("viewer-token", bad[i].text);
        assert_int_equal(op_auth_open(&settings, &other, NULL, &fault), PS_E_INVALID);
        assert_string_equal(fault.path, "admin.token_dir");
        assert_non_null(strstr(fault.text, "viewer-token"));
        assert_non_null(strstr(fault.text, bad[i].says));
    }
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    give("viewer-token", longest);
    assert_int_equal(op_auth_open(&settings, &other, NULL, &fault), PS_E_INVALID);
    give("viewer-token", GIVEN);
    give("admin-token", GIVEN "\n");
    assert_int_equal(op_auth_open(&settings, &other, NULL, &fault), PS_E_INVALID);
    assert_non_null(strstr(fault.text, "the same token"));
    assert_int_equal(chmod(temp_file(&temp, "viewer-token"), 0644), 0);
    assert_int_equal(op_auth_open(&settings, &other, NULL, &fault), PS_E_PERMISSION);
    settings.given_dir = "/nonexistent";
    assert_int_equal(op_auth_open(&settings, &other, NULL, &fault), PS_E_NOT_FOUND);
    assert_non_null(strstr(fault.text, "/nonexistent has no file admin-token"));
    assert_null(other);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_first_start_makes_one_admin_token),
        TEST(the_token_outlives_a_restart_and_its_file),
        TEST(only_the_right_text_is_taken),
        TEST(a_made_token_works_once_it_is_written),
        TEST(a_change_that_could_not_be_written_did_not_happen),
        TEST(the_pools_of_a_registrar_outlive_a_restart),
        TEST(as_many_tokens_as_there_may_be_fit_their_file),
        TEST(a_registrar_of_a_file_from_before_pools_has_none),
        TEST(a_deleted_token_is_refused),
        TEST(the_last_lasting_admin_token_stays),
        TEST(an_expired_token_is_refused),
        TEST(a_shown_token_has_no_hash),
        TEST(a_peer_that_guesses_waits_alone),
        TEST(a_right_token_is_never_locked_out),
        TEST(requests_without_a_right_token_spend_nobodys_rate),
        TEST(rare_mistakes_lock_nobody_out),
        TEST(ipv6_peers_count_by_their_network),
        TEST(each_peer_has_a_rate_of_its_own),
        TEST(many_peers_do_not_free_a_locked_one),
        TEST(a_bad_tokens_file_is_refused_by_name),
        TEST(a_given_token_is_valid_beside_the_others),
        TEST(a_given_admin_replaces_the_first_token),
        TEST(a_bad_given_token_is_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
