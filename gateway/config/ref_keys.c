/* A key's name is its day, and its id the day's number, modulo 256: of the 32 keys there are at
 * most, no two share one. If no new key can be made (Redis or the disk is away), the last one goes
 * on sealing until it ends. */
#include "gateway/config/ref_keys.h"

#include "common/program/log.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define PAUSE_NS PS_NS_PER_S        /* between two looks */
#define RETRY_NS (10 * PS_NS_PER_S) /* after a failure */
#define LIFE_MS  (PS_REF_OPEN_MS + CFG_REF_KEY_DAY_MS)

static void name_of(int64_t day, char ret_name[16])
{
    time_t second = (time_t)(day * (CFG_REF_KEY_DAY_MS / 1000));
    struct tm tm;

    (void)strftime(ret_name, 16, "%Y-%m-%d", gmtime_r(&second, &tm));
}

static void on_made(int err, const struct ps_fault *fault, void *ctx)
{
    struct cfg_ref_rotation *rotation = ctx;

    rotation->busy = false;
    if (err == 0) {
        rotation->made++;
        return;
    }
    rotation->refused++;
    rotation->next_ns = ps_clock_mono_ns(cfg_store_clock(rotation->store)) + RETRY_NS;
    if (err != PS_E_CONFLICT && err != PS_E_CLOSED) /* another gateway was first; the end */
        ps_log(PS_LOG_ERROR, "ref_key_not_written",
               PS_F_STR("error", fault->text[0] != '\0' ? fault->text : ps_err_text(err)));
}

static int submit(struct cfg_ref_rotation *rotation, const char *name, const struct ps_ref_key *key)
{
    struct cfg_change *change =
        cfg_change_own(rotation->store, CFG_BY_GATEWAY, cfg_kind_ref_key.put);
    json_t *json = cfg_ref_key_write(key);
    struct ps_faults faults = {0};
    enum cfg_refusal refusal;
    char target[32];
    int err = PS_E_NOMEM;

    if (change != NULL && json != NULL)
        err = cfg_change_put(
            change, &(struct cfg_put){.kind = &cfg_kind_ref_key, .name = name, .json = json},
            &refusal, &faults);
    json_decref(json);
    if (err < 0) {
        cfg_change_free(change);
        return err;
    }
    (void)snprintf(target, sizeof target, "%s/%s", cfg_kind_ref_key.path, name);
    cfg_change_line(change, target, NULL, NULL); /* nothing of the secret */
    return cfg_change_submit(change, on_made, rotation);
}

static void make(struct cfg_ref_rotation *rotation, int64_t day, const char *name, int64_t now_ms)
{
    bool first = cfg_store_count(rotation->store, &cfg_kind_ref_key) == 0;
    int64_t from_ms = day * CFG_REF_KEY_DAY_MS, soon_ms = now_ms + CFG_REF_KEY_LEAD_MS;
    struct ps_ref_key key;

    if (first)
        from_ms = now_ms;
    else if (from_ms < soon_ms)
        from_ms = soon_ms;
    ps_ref_key_new((uint16_t)(day & 255), from_ms, from_ms + LIFE_MS, &key);
    rotation->busy = true;
    int err = submit(rotation, name, &key);
    sodium_memzero(&key, sizeof key);
    if (err < 0)
        on_made(err, &(struct ps_fault){.text = ""}, rotation);
}

void cfg_ref_rotation_tick(struct cfg_ref_rotation *rotation)
{
    const struct cfg_store *store = rotation->store;
    int64_t now_ns = ps_clock_mono_ns(cfg_store_clock(store));
    int64_t now_ms = ps_clock_wall_ms(cfg_store_clock(store));
    char name[16];

    if (rotation->busy || now_ns < rotation->next_ns || !cfg_store_is_synced(store) ||
        !cfg_store_takes_changes(store))
        return;
    rotation->next_ns = now_ns + PAUSE_NS;
    for (int64_t day = now_ms / CFG_REF_KEY_DAY_MS;
         day <= (now_ms + CFG_REF_KEY_AHEAD_MS) / CFG_REF_KEY_DAY_MS; day++) {
        name_of(day, name);
        if (cfg_store_find(store, &cfg_kind_ref_key, name) == NULL) {
            make(rotation, day, name, now_ms);
            return;
        }
    }
}

void cfg_ref_keys_new(const struct cfg_store *store, struct cfg_ref_keys *ret_keys)
{
    const struct cfg_doc *doc = NULL;

    ret_keys->count = 0;
    while ((doc = cfg_store_next(store, &cfg_kind_ref_key, doc)) != NULL) {
        const struct ps_ref_key *key = cfg_ref_key_of(doc);
        size_t i = ret_keys->count < CFG_REF_KEY_NEW_MAX ? ret_keys->count++ : CFG_REF_KEY_NEW_MAX;
        for (; i > 0 && ret_keys->at[i - 1].from_ms < key->from_ms; i--)
            if (i < CFG_REF_KEY_NEW_MAX)
                ret_keys->at[i] = ret_keys->at[i - 1];
        if (i < CFG_REF_KEY_NEW_MAX)
            ret_keys->at[i] = *key;
    }
}

int cfg_ref_open(const struct cfg_store *store, struct ps_str text, struct ps_ref *ret_ref)
{
    int64_t now_ms = ps_clock_wall_ms(cfg_store_clock(store));
    const struct cfg_doc *doc = NULL;

    while ((doc = cfg_store_next(store, &cfg_kind_ref_key, doc)) != NULL)
        if (ps_ref_open(cfg_ref_key_of(doc), 1, now_ms, text, ret_ref) == 0)
            return 0;
    return PS_E_NOT_FOUND;
}
