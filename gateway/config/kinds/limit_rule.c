/* Limit rules as JSON. Everything that an operator can get wrong is found here, with a pointer to
 * it, so that adm_limit_compile() can take any rule that was read. A member that an algorithm would
 * not heed is a fault rather than silently without effect. */
#include "gateway/config/kinds/limit_rule.h"

#include "common/program/log.h"
#include "gateway/config/kinds/part.h"
#include "gateway/config/store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const algorithms[] = {"token_bucket", "leaky_bucket", "fixed_window",
                                         "sliding_window", NULL};
const char *const cfg_limit_keys[] = {"user", "ip", "global", "sale", NULL};
static const char *const modes[] = {"enforce", "shadow", "off", NULL};
/* In the order of the bits. */
static const char *const subjects[] = {"order", "ticket", "order_state", "status", "page", NULL};

static bool is_window(enum cfg_limit_algorithm algorithm)
{
    return algorithm == CFG_LIMIT_FIXED_WINDOW || algorithm == CFG_LIMIT_SLIDING_WINDOW;
}

static void read_burst(struct ps_json_reader *reader, struct cfg_limit_rule *rule)
{
    rule->burst = rule->algorithm == CFG_LIMIT_LEAKY_BUCKET ? 1 : rule->rate;
    ps_json_int(reader, "burst", 1, CFG_LIMIT_BURST_MAX, &rule->burst);
    if (is_window(rule->algorithm) && rule->burst != rule->rate)
        ps_json_fault(reader, "burst", "must be equal to rate or left out: %s has no burst",
                      algorithms[rule->algorithm]);
    if (rule->burst * rule->period_s > CFG_LIMIT_REFILL_MAX_S * rule->rate)
        ps_json_fault(reader, "burst",
                      "would take more than a year to refill (burst * period_s / rate)");
}

static void read_wait(struct ps_json_reader *reader, struct cfg_limit_rule *rule)
{
    ps_json_int(reader, "max_wait_ms", 0, CFG_LIMIT_WAIT_MAX_MS, &rule->max_wait_ms);
    if (rule->max_wait_ms > 0 && rule->algorithm != CFG_LIMIT_LEAKY_BUCKET)
        ps_json_fault(reader, "max_wait_ms", "must be 0: only leaky_bucket lets requests wait");
}

static void read_subjects(struct ps_json_reader *reader, unsigned *ret_bits)
{
    const json_t *list = ps_json_value(reader, "applies_to");
    if (list == NULL)
        return;
    unsigned bits = 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *word = json_string_value(json_array_get(list, i));
        for (size_t bit = 0; word != NULL && subjects[bit] != NULL; bit++) {
            if (strcmp(subjects[bit], word) == 0)
                bits |= 1u << bit;
        }
    }
    /* A word that is unknown, or there twice, leaves fewer bits than elements. */
    if (bits == 0 || (size_t)__builtin_popcount(bits) != json_array_size(list)) {
        ps_json_fault(
            reader, "applies_to",
            "must be an array of at least one of: order, ticket, order_state, status, page");
        return;
    }
    *ret_bits = bits;
}

/* What it is for: a sale, a route, or (null) all of them. */
static void read_target(struct ps_json_reader *reader, const char *member,
                        char ret_name[PS_NAME_MAX + 1])
{
    const json_t *value = ps_json_value(reader, member);
    if (value == NULL || json_is_null(value))
        return;
    struct ps_str name = {0};
    ps_json_string(reader, member, PS_NAME_MAX, &name);
    if (name.at == NULL)
        return;
    if (!ps_name_ok(name.at, name.len)) {
        ps_json_fault(reader, member, "is not the name of a %s", member);
        return;
    }
    memcpy(ret_name, name.at, name.len);
}

/* Pages belong to no sale, and only they have a route. */
static void read_targets(struct ps_json_reader *reader, struct cfg_limit_rule *rule)
{
    read_target(reader, "sale", rule->sale);
    ps_json_bool(reader, "allow_unknown", &rule->allow_unknown);
    read_target(reader, "route", rule->route);
    if (rule->route[0] != '\0' && !ps_json_has(reader, "applies_to"))
        rule->applies_to = CFG_LIMIT_PAGE;
    bool pages = (rule->applies_to & CFG_LIMIT_PAGE) != 0;
    if (rule->route[0] != '\0' && rule->applies_to != CFG_LIMIT_PAGE)
        ps_json_fault(reader, "applies_to",
                      "must be page alone, or left out: the rule has a route");
    if (pages && rule->sale[0] != '\0')
        ps_json_fault(reader, "sale", "must be null: pages belong to no sale");
    if (pages && rule->key == CFG_LIMIT_KEY_SALE)
        ps_json_fault(reader, "key", "cannot be sale: pages belong to no sale");
}

int cfg_limit_rule_read(const json_t *json, const char *name, const char *pointer,
                        struct cfg_limit_rule *ret_rule, struct ps_faults *faults)
{
    static const char *const required[] = {"algorithm", "key", "rate", "period_s", NULL};
    struct cfg_limit_rule rule = {.applies_to = CFG_LIMIT_ORDER};
    int algorithm = 0, key = 0, mode = CFG_LIMIT_ENFORCE;

    if (!ps_name_ok(name, strlen(name)))
        return ps_faults_add(
            faults, PS_E_INVALID, pointer,
            "the name of a rule must be 1-64 of A-Z a-z 0-9 . _ - and start with a "
            "letter or digit");
    memcpy(rule.name, name, strlen(name));

    struct ps_json_reader reader;
    ps_json_reader_init_all(&reader, json, pointer, faults);
    ps_json_require(&reader, required);
    ps_json_enum(&reader, "algorithm", algorithms, &algorithm);
    ps_json_enum(&reader, "key", cfg_limit_keys, &key);
    ps_json_enum(&reader, "mode", modes, &mode);
    ps_json_int(&reader, "rate", 1, CFG_LIMIT_RATE_MAX, &rule.rate);
    ps_json_int(&reader, "period_s", 1, CFG_LIMIT_PERIOD_MAX_S, &rule.period_s);
    rule.algorithm = (enum cfg_limit_algorithm)algorithm;
    rule.key = (enum cfg_limit_key)key;
    rule.mode = (enum cfg_limit_mode)mode;
    read_burst(&reader, &rule);
    read_wait(&reader, &rule);
    read_subjects(&reader, &rule.applies_to);
    read_targets(&reader, &rule);

    int err = ps_json_done(&reader);
    if (err == 0)
        *ret_rule = rule;
    return err;
}

json_t *cfg_limit_rule_write(const struct cfg_limit_rule *rule)
{
    json_t *list = json_array();
    int err = 0;
    for (size_t bit = 0; subjects[bit] != NULL; bit++)
        if ((rule->applies_to & 1u << bit) != 0)
            err |= json_array_append_new(list, json_string(subjects[bit]));
    /* "o" takes the list over, also when packing fails; a NULL list makes it fail. */
    return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:s, s:o, s:s?, s:o*, s:s?}", "algorithm",
                     algorithms[rule->algorithm], "key", cfg_limit_keys[rule->key], "rate",
                     (json_int_t)rule->rate, "period_s", (json_int_t)rule->period_s, "burst",
                     (json_int_t)rule->burst, "max_wait_ms", (json_int_t)rule->max_wait_ms, "mode",
                     modes[rule->mode], "applies_to", ps_json_built(list, err), "sale",
                     rule->sale[0] != '\0' ? rule->sale : NULL, "allow_unknown",
                     rule->allow_unknown ? json_true() : NULL, "route",
                     rule->route[0] != '\0' ? rule->route : NULL);
}

/* --- The kind. --- */

static int rule_parse(const char *name, const json_t *json, const json_t *state,
                      const struct cfg_reading *reading, void **ret_parsed,
                      struct ps_faults *faults)
{
    struct cfg_limit_rule *rule = calloc(1, sizeof *rule);
    char pointer[192];

    (void)state;
    if (rule == NULL)
        return PS_E_NOMEM;
    int err = cfg_limit_rule_read(json, name, reading->pointer, rule, faults);
    if (err == 0 && reading->now_ms > 0 && (rule->applies_to & CFG_LIMIT_TICKET) != 0) {
        (void)snprintf(pointer, sizeof pointer, "%s/applies_to", reading->pointer);
        err = ps_faults_add(faults, PS_E_INVALID, pointer,
                            "names ticket: this version has no tickets");
    }
    if (err < 0)
        free(rule);
    else
        *ret_parsed = rule;
    return err;
}

static json_t *rule_write(const void *parsed)
{
    return cfg_limit_rule_write(parsed);
}

/* What a shop needs that has not thought about it yet. */
static const struct cfg_shipped shipped[] = {
    {"user", "{\"algorithm\":\"token_bucket\",\"key\":\"user\",\"rate\":5,\"period_s\":10,"
             "\"burst\":5,\"applies_to\":[\"order\"]}"},
    {"ip", "{\"algorithm\":\"token_bucket\",\"key\":\"ip\",\"rate\":50,\"period_s\":10,"
           "\"burst\":100,\"applies_to\":[\"order\"]}"},
    {"global", "{\"algorithm\":\"token_bucket\",\"key\":\"global\",\"rate\":20000,"
               "\"period_s\":1,\"burst\":20000,\"applies_to\":[\"order\"]}"},
    {"polling", "{\"algorithm\":\"token_bucket\",\"key\":\"user\",\"rate\":1,"
                "\"period_s\":1,\"burst\":5,\"applies_to\":[\"order_state\"]}"},
    /* Many visitors behind one address may ask each second; one that does nothing else costs half a
     * percent of a core. */
    {"status", "{\"algorithm\":\"token_bucket\",\"key\":\"ip\",\"rate\":5000,\"period_s\":10,"
               "\"burst\":5000,\"applies_to\":[\"status\"]}"},
    {NULL, NULL},
};

static int rule_publish(struct cfg_store *store, const struct cfg_doc *from,
                        const struct cfg_doc *to)
{
    struct cfg_limit_rule *rules = calloc(CFG_RULES_MAX, sizeof *rules);
    const struct cfg_doc *doc = NULL;
    size_t count = 0;

    (void)from;
    (void)to;
    if (rules == NULL)
        return PS_E_NOMEM;
    while (count < CFG_RULES_MAX && (doc = cfg_store_next(store, &cfg_kind_limit, doc)) != NULL)
        rules[count++] = *cfg_rule_of(doc);
    cfg_view_set_rules(cfg_store_view(store), rules, count);
    return 0;
}

/* Its sale may come later, or its name is mistyped. */
static void rule_changed(const struct cfg_store *store, const struct cfg_doc *doc)
{
    const struct cfg_limit_rule *rule = doc->parsed;

    if (rule != NULL && rule->sale[0] != '\0' &&
        cfg_store_find(store, &cfg_kind_sale, rule->sale) == NULL)
        ps_log(PS_LOG_WARN, "limit_without_sale", PS_F_STR("rule", rule->name),
               PS_F_STR("sale", rule->sale));
}

static void rule_names(const void *parsed, cfg_named_fn *take, void *ctx)
{
    const struct cfg_limit_rule *rule = parsed;

    if (rule->route[0] != '\0')
        take(&cfg_kind_route, rule->route, "/route", ctx);
    if (rule->sale[0] != '\0' && !rule->allow_unknown)
        take(&cfg_kind_sale, rule->sale, "/sale", ctx);
}

const struct cfg_kind cfg_kind_limit = {
    .path = "limits",
    .word = "limit rule",
    .name_rule = "a rule's name: [A-Za-z0-9][A-Za-z0-9._-]{0,63}",
    .listed = "limits",
    .lists_names = true,
    .put = "limit.put",
    .drop = "limit.delete",
    .shipped = shipped,
    .instead = "set its mode to \"off\"",
    .max = CFG_RULES_MAX,
    .name = cfg_plain_name,
    .parse = rule_parse,
    .free = free,
    .write = rule_write,
    .names = rule_names,
    .publish = rule_publish,
    .changed = rule_changed,
};
