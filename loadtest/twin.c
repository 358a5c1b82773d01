/* The key's file is JSON and holds a secret, so others must not be able to read it. */
#include "loadtest/twin.h"

#include "common/clock.h"
#include "common/text/json.h"
#include "common/program/private_file.h"
#include "loadtest/admin.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define KEY_FILE_MAX      4096
#define MARK_LIFE_S       600 /* renewed each minute: the clocks may be minutes apart */
#define CHECK_PATIENCE_MS 5000
#define CHECK_PAUSE_MS    50
#define CHECKS            12 /* pages of the twin in a row */

static int read_members(const json_t *json, struct lt_twin *twin, struct ps_fault *fault)
{
    struct ps_str key = {0}, secret = {0}, text = {0};
    struct ps_json_reader reader;
    ps_json_reader_init(&reader, json, "", fault);
    ps_json_require(&reader, (const char *const[]){"key", "secret", "expires_at", NULL});
    ps_json_string(&reader, "key", PS_NAME_MAX, &key);
    ps_json_string(&reader, "secret", PS_MARK_HEX_LEN, &secret);
    ps_json_time(&reader, "expires_at", &twin->key_ends_ms);
    ps_json_string(&reader, "created_at", PS_TIME_LEN, &text); /* shown beside them */
    ps_json_string(&reader, "note", SIZE_MAX, &text);
    ps_json_string(&reader, "by", PS_NAME_MAX, &text);
    if (key.at != NULL && !ps_name_ok(key.at, key.len))
        ps_json_fault(&reader, "key", "is not the name of a key");
    if (secret.at != NULL && ps_mark_secret_parse(secret, twin->secret) < 0)
        ps_json_fault(&reader, "secret", "must be %d hexadecimal digits", PS_MARK_HEX_LEN);
    if (reader.err == 0)
        memcpy(twin->key, key.at, key.len + 1);
    return ps_json_done(&reader);
}

int lt_twin_read_key(const char *path, int64_t need_ms, struct lt_twin *twin,
                     struct ps_fault *fault)
{
    static const char option[] = "--rehearsal-key";
    struct ps_fault inside = {0};
    json_t *json = NULL;
    struct stat st;
    if (stat(path, &st) != 0)
        return ps_fault(fault, ps_file_err(errno), option, "%s: %s", path, strerror(errno));
    if ((st.st_mode & 07) != 0)
        return ps_fault(fault, PS_E_PERMISSION, option,
                        "%s may be read by everybody (mode %04o): chmod 600 %s", path,
                        (unsigned)(st.st_mode & 07777), path);
    int err = ps_json_load(path, KEY_FILE_MAX, &json, &inside);
    if (err == 0)
        err = read_members(json, twin, &inside);
    json_decref(json);
    if (err < 0)
        return ps_fault(fault, err, option, "%s: %s%s%s", path, inside.path,
                        inside.path[0] != '\0' ? " " : "", inside.text);
    int64_t left_ms = twin->key_ends_ms - ps_clock_wall_ms(&ps_clock_system);
    if (left_ms < need_ms)
        return ps_fault(
            fault, PS_E_INVALID, option,
            "the key %s expires in %lld s, but the rehearsal may take %lld s: create another key",
            twin->key, (long long)(left_ms > 0 ? left_ms / 1000 : 0), (long long)(need_ms / 1000));
    return 0;
}

void lt_twin_mark(const struct lt_twin *twin, char ret_mark[PS_MARK_TEXT_MAX + 1])
{
    int64_t now_s = ps_clock_wall_ms(&ps_clock_system) / 1000;
    ps_mark_write(twin->key, now_s + MARK_LIFE_S, twin->user_prefix, twin->secret, ret_mark);
}

/* Does a marked request for the live sale's page return the twin's? */
static int ask_page(const struct lt_twin *twin, struct lt_admin *listener, const char *name,
                    bool *ret_shown, struct ps_fault *fault)
{
    char path[PS_NAME_MAX + 32], mark[PS_MARK_TEXT_MAX + 1], header[PS_MARK_TEXT_MAX + 32];
    struct lt_reply reply;
    json_t *page = NULL;
    lt_twin_mark(twin, mark);
    (void)snprintf(path, sizeof path, "/v1/sales/%s", twin->of);
    (void)snprintf(header, sizeof header, "Penstock-Rehearsal: %s", mark);
    listener->header = header;
    struct lt_call call = {"GET", path, NULL, CHECK_PATIENCE_MS};
    int err = lt_admin_call(listener, &call, &reply, fault);
    listener->header = NULL;
    if (err < 0)
        return err;
    if (ps_json_parse(reply.body, reply.len, &page, NULL) < 0)
        page = NULL;
    const char *shown = json_string_value(json_object_get(page, "sale"));
    *ret_shown = reply.status == 200 && shown != NULL && strcmp(shown, name) == 0;
    json_decref(page);
    free(reply.body);
    return 0;
}

int lt_twin_check(const struct lt_twin *twin, const struct lt_target *target, const char *name,
                  const volatile sig_atomic_t *stop, struct ps_fault *fault)
{
    struct lt_admin listener = {.target = *target, .stop = stop};
    int64_t give_up_ns = ps_clock_mono_ns(&ps_clock_system) + CHECK_PATIENCE_MS * PS_NS_PER_MS;
    for (int shown = 0; shown < CHECKS;) {
        bool is_shown = false;
        int err = ask_page(twin, &listener, name, &is_shown, fault);
        if (err < 0)
            return err;
        shown = is_shown ? shown + 1 : 0;
        if (is_shown)
            continue;
        if (ps_clock_mono_ns(&ps_clock_system) >= give_up_ns)
            return ps_fault(
                fault, PS_E_CONFLICT, "--twin-of",
                "a marked request for %s is not answered with its twin %s; nothing was "
                "bought. Is the key of --rehearsal-key revoked or another cluster's, is "
                "this machine's clock right, does a proxy remove the mark?",
                twin->of, name);
        err = lt_admin_wait(&listener, CHECK_PAUSE_MS, fault);
        if (err < 0)
            return err;
    }
    return 0;
}

bool lt_twin_missed(const struct lt_answer *answer)
{
    return answer->outcome == LT_ANSWERED && !answer->rehearsal &&
           (answer->status == 202 || answer->status == 404 || answer->status == 409);
}
