/* Seeding. A sale is created when its name is unknown. A limit rule is created when its name is
 * unknown, or replaced while it is still as it was shipped. Each is an ordinary change with its
 * audit line, by "settings". */
#include "gateway/config/seed.h"

#include "common/buf.h"
#include "common/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_named_before(const json_t *sales, size_t index, const char *name)
{
    for (size_t i = 0; i < index; i++) {
        const char *other = json_string_value(json_object_get(json_array_get(sales, i), "sale"));
        if (other != NULL && strcmp(other, name) == 0)
            return true;
    }
    return false;
}

static void check_sales(const json_t *sales, struct ps_faults *faults)
{
    size_t i;
    const json_t *seed;

    json_array_foreach(sales, i, seed)
    {
        char pointer[40], name[PS_NAME_MAX + 1];
        struct cfg_sale_doc doc;
        (void)snprintf(pointer, sizeof pointer, "/sales/%zu", i);
        if (cfg_sale_doc_name(seed, pointer, name, faults) < 0)
            continue;
        if (cfg_sale_doc_read(seed, pointer, name, &doc, faults) == 0)
            cfg_sale_doc_done(&doc);
        (void)snprintf(pointer, sizeof pointer, "/sales/%zu/sale", i);
        if (is_named_before(sales, i, name))
            (void)ps_faults_add(faults, PS_E_INVALID, pointer, "\"%s\" is there twice", name);
    }
}

static void check_rules(const json_t *limits, struct ps_faults *faults)
{
    const json_t *document;
    const char *name;

    if (limits != NULL && !json_is_object(limits))
        (void)ps_faults_add(faults, PS_E_INVALID, "/policy/limits",
                            "must be an object of rules by name");
    if (json_object_size(limits) > CFG_RULES_MAX)
        (void)ps_faults_add(faults, PS_E_INVALID, "/policy/limits", "more than %d rules",
                            CFG_RULES_MAX);
    json_object_foreach((json_t *)(uintptr_t)limits, name, document)
    {
        char pointer[PS_NAME_MAX + 32];
        struct cfg_limit_rule rule;
        (void)snprintf(pointer, sizeof pointer, "/policy/limits/%.64s", name);
        if (ps_name_ok(name, strlen(name)))
            (void)!cfg_limit_rule_read(document, name, pointer, &rule, faults);
        else
            (void)ps_faults_add(faults, PS_E_INVALID, pointer,
                                "is no rule name: letters, digits, '.', '_', '-', at most 64");
    }
}

int cfg_seed_check(const json_t *sales, const json_t *policy, struct ps_faults *faults)
{
    size_t before = faults->count;
    const json_t *member;
    const char *name;

    check_sales(sales, faults);
    json_object_foreach((json_t *)(uintptr_t)policy, name, member)
    {
        char pointer[80];
        (void)snprintf(pointer, sizeof pointer, "/policy/%.64s", name);
        if (strcmp(name, "limits") != 0)
            (void)ps_faults_add(faults, PS_E_INVALID, pointer, "unknown; policy may hold limits");
    }
    check_rules(json_object_get(policy, "limits"), faults);
    return faults->count > before ? PS_E_INVALID : 0;
}

/* --- Words. --- */

static void ignore(const struct cfg_kind *kind, const char *name, const char *differences,
                   const char *why)
{
    ps_log(PS_LOG_WARN, "seed_ignored", PS_F_STR(kind == &cfg_kind_sale ? "sale" : "rule", name),
           PS_F_STR("differs_in", differences), PS_F_STR("why", why));
}

static void fail(const char *what, const char *error)
{
    ps_log(PS_LOG_ERROR, "seed_failed", PS_F_STR("what", what), PS_F_STR("error", error));
}

static struct cfg_change *new_change(struct cfg_store *store, const char *action)
{
    return cfg_change_new(store,
                          &(struct cfg_author){.at_ms = ps_clock_wall_ms(cfg_store_clock(store)),
                                               .who = "settings",
                                               .peer = "",
                                               .action = action,
                                               .why = ""});
}

/* --- Sales. --- */

/* What is there may differ from what the settings say: by the one that is not written. */
static void warn_of_difference(const struct cfg_doc *have, const json_t *seed)
{
    struct ps_faults faults = {0};
    struct cfg_sale_doc doc;
    char differences[256];

    if (cfg_sale_doc_read(seed, "", have->name, &doc, &faults) < 0)
        return; /* checked before: only memory can be missing */
    if (cfg_sale_doc_differences(&cfg_sale_of(have)->doc, &doc, differences, sizeof differences) >
        0)
        ignore(&cfg_kind_sale, have->name, differences,
               "the sale exists; change it through the admin API");
    cfg_sale_doc_done(&doc);
}

struct sale_seed {
    struct cfg_store *store;
    json_t *json;
    char name[PS_NAME_MAX + 1];
};

static void end_sale(int err, const struct ps_fault *fault, void *ctx)
{
    struct sale_seed *seed = ctx;
    const struct cfg_doc *have = cfg_store_find(seed->store, &cfg_kind_sale, seed->name);

    if (err == PS_E_CONFLICT && have != NULL) /* another gateway was first */
        warn_of_difference(have, seed->json);
    else if (err < 0)
        fail(seed->name, fault->text[0] != '\0' ? fault->text : ps_err_text(err));
    else
        ps_log(PS_LOG_INFO, "sale_created", PS_F_STR("sale", seed->name),
               PS_F_STR("who", "settings"));
    json_decref(seed->json);
    free(seed);
}

static int create_sale(struct cfg_store *store, const char *name, json_t *json,
                       struct ps_faults *faults)
{
    struct cfg_change *change = new_change(store, "");
    struct sale_seed *seed = calloc(1, sizeof *seed);
    enum cfg_refusal refusal;
    int err = change != NULL && seed != NULL
                  ? cfg_change_put(change, &cfg_kind_sale, name, json, "", &refusal, faults)
                  : PS_E_NOMEM;

    if (err < 0) {
        cfg_change_free(change);
        free(seed);
        return err;
    }
    seed->store = store;
    seed->json = json_incref(json);
    memcpy(seed->name, name, strlen(name) + 1);
    err = cfg_change_submit(change, end_sale, seed);
    if (err < 0) {
        json_decref(seed->json);
        free(seed);
    }
    return err;
}

static void seed_sale(struct cfg_store *store, json_t *json)
{
    struct ps_faults faults = {0};
    char name[PS_NAME_MAX + 1];

    if (cfg_sale_doc_name(json, "", name, &faults) < 0)
        return;
    const struct cfg_doc *have = cfg_store_find(store, &cfg_kind_sale, name);
    if (have != NULL) {
        warn_of_difference(have, json);
    } else if (cfg_store_is_shared(store) && cfg_store_last(store, &cfg_kind_sale, name) != NULL) {
        ignore(&cfg_kind_sale, name, NULL, "the sale was deleted");
    } else {
        int err = create_sale(store, name, json, &faults);
        if (err < 0)
            fail(name, faults.count > 0 ? faults.at[0].text : ps_err_text(err));
    }
}

/* --- Limits. --- */

struct rules_seed {
    struct cfg_store *store;
    json_t *limits;
};

static void seed_rules(struct cfg_store *store, json_t *limits);

static void end_rules(int err, const struct ps_fault *fault, void *ctx)
{
    struct rules_seed *seed = ctx;

    if (err == PS_E_CONFLICT) /* somebody else was first: chosen anew */
        seed_rules(seed->store, seed->limits);
    else if (err < 0)
        fail("policy/limits", fault->text[0] != '\0' ? fault->text : ps_err_text(err));
    json_decref(seed->limits);
    free(seed);
}

/* Names of the members that differ, "rate, burst" (cut when long). */
static void name_differences(const struct cfg_limit_rule *a, const struct cfg_limit_rule *b,
                             char *ret_text, size_t cap)
{
    json_t *x = cfg_limit_rule_write(a), *y = cfg_limit_rule_write(b), *value;
    const char *member;
    struct ps_buf text;

    ps_buf_init(&text, ret_text, cap - 1);
    json_object_foreach(x, member, value)
    {
        if (json_equal(value, json_object_get(y, member)))
            continue;
        ps_buf_puts(&text, text.len > 0 ? ", " : "");
        ps_buf_puts(&text, member);
    }
    ret_text[text.len] = '\0';
    json_decref(x);
    json_decref(y);
}

static void seed_rule(struct cfg_change *change, struct cfg_store *store, const char *name,
                      const json_t *json)
{
    const struct cfg_doc *have = cfg_store_find(store, &cfg_kind_limit, name);
    struct ps_faults faults = {0};
    struct cfg_limit_rule rule;
    enum cfg_refusal refusal;
    char differences[128] = "";

    if (cfg_limit_rule_read(json, name, "", &rule, &faults) < 0)
        return;
    if (have != NULL)
        name_differences(cfg_rule_of(have), &rule, differences, sizeof differences);
    if (have != NULL && strcmp(have->by.who, "penstock") != 0) {
        if (differences[0] != '\0')
            ignore(&cfg_kind_limit, name, differences,
                   "the rule exists; change it through the admin API");
    } else if (cfg_change_put(change, &cfg_kind_limit, name, json, "", &refusal, &faults) < 0) {
        ignore(&cfg_kind_limit, name, NULL, faults.at[0].text);
    }
}

static void seed_rules(struct cfg_store *store, json_t *limits)
{
    struct cfg_change *change = new_change(store, "limit.put");
    struct rules_seed *seed = calloc(1, sizeof *seed);
    const struct cfg_doc *from;
    const char *name;
    json_t *json;

    if (change == NULL || seed == NULL) {
        cfg_change_free(change);
        free(seed);
        fail("policy/limits", ps_err_text(PS_E_NOMEM));
        return;
    }
    json_object_foreach(limits, name, json) seed_rule(change, store, name, json);
    if (cfg_change_doc(change, 0, &from) == NULL) {
        cfg_change_free(change);
        free(seed);
        return;
    }
    *seed = (struct rules_seed){store, json_incref(limits)};
    cfg_change_line(change, "limits", NULL, json_incref(limits));
    int err = cfg_change_submit(change, end_rules, seed);
    if (err < 0) {
        fail("policy/limits", ps_err_text(err));
        json_decref(seed->limits);
        free(seed);
    }
}

void cfg_seed(struct cfg_store *store, json_t *sales, json_t *policy)
{
    json_t *seed;
    size_t i;

    if (!cfg_store_is_synced(store)) {
        cfg_store_set_seeds(store, sales, policy);
        return;
    }
    json_array_foreach(sales, i, seed) seed_sale(store, seed);
    if (json_object_get(policy, "limits") != NULL)
        seed_rules(store, json_object_get(policy, "limits"));
}
