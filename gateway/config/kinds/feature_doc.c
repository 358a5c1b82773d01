/* See feature_doc.h. */
#include "gateway/config/kinds/feature_doc.h"

#include "gateway/config/kinds/overload_doc.h"

#include <stdlib.h>
#include <string.h>

#define NAME(name, level, words)  #name,
#define WORDS(name, level, words) words,
#define SHIP(name, level, words)  {#name, "{\"level\":" #level "}"},
#define LIST(name, level, words)  " " #name

const char *const cfg_feature_names[CFG_FEATURE_COUNT + 1] = {CFG_FEATURES(NAME) NULL};
const char *const cfg_feature_words[CFG_FEATURE_COUNT] = {CFG_FEATURES(WORDS)};
static const struct cfg_shipped shipped[] = {CFG_FEATURES(SHIP){NULL, NULL}};

enum cfg_feature cfg_feature_find(const char *name)
{
    enum cfg_feature feature = 0;

    while (feature < CFG_FEATURE_COUNT && strcmp(cfg_feature_names[feature], name) != 0)
        feature++;
    return feature;
}

static int feature_name(const char *text, size_t len, char ret_name[CFG_NAME_MAX + 1])
{
    for (size_t i = 0; i < CFG_FEATURE_COUNT; i++) {
        if (strlen(cfg_feature_names[i]) != len || memcmp(cfg_feature_names[i], text, len) != 0)
            continue;
        memcpy(ret_name, cfg_feature_names[i], len + 1);
        return 0;
    }
    return PS_E_INVALID;
}

static int feature_parse(const char *name, const json_t *json, const json_t *state,
                         const struct cfg_reading *reading, void **ret_parsed,
                         struct ps_faults *faults)
{
    struct cfg_feature_doc *feature = calloc(1, sizeof *feature);
    struct ps_json_reader reader;
    int64_t level = 0;

    (void)name;
    (void)state;
    if (feature == NULL)
        return PS_E_NOMEM;
    ps_json_reader_init_all(&reader, json, reading->pointer, faults);
    ps_json_require(&reader, (const char *const[]){"level", NULL});
    if (!json_is_null(ps_json_value(&reader, "level")))
        ps_json_int(&reader, "level", 1, CFG_LEVEL_MAX, &level);
    feature->level = (int)level;
    int err = ps_json_done(&reader);
    if (err < 0)
        free(feature);
    else
        *ret_parsed = feature;
    return err;
}

static json_t *feature_write(const void *parsed)
{
    int level = ((const struct cfg_feature_doc *)parsed)->level;

    return json_pack("{s:o}", "level", level > 0 ? json_integer(level) : json_null());
}

const struct cfg_kind cfg_kind_feature = {
    .path = "features",
    .word = "feature",
    .name_rule = "a feature that may give way, one of:" CFG_FEATURES(
        LIST) "; what is core (orders, confirm, cancel) gives way to nothing",
    .listed = "features",
    .lists_names = true,
    .put = "feature.put",
    .drop = "feature.delete",
    .max = CFG_FEATURE_COUNT,
    .read_only = (const char *const[]){"/feature", "/while_off", NULL},
    .live = (const char *const[]){"/state", NULL},
    .measured = (const char *const[]){"/reason", "/uses_last_minute", NULL},
    .shipped = shipped,
    .instead = "set its level to null",
    .only_shipped = true,
    .name = feature_name,
    .parse = feature_parse,
    .free = free,
    .write = feature_write,
};
