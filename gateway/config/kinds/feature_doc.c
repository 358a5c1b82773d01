/* See feature_doc.h. */
#include "gateway/config/kinds/feature_doc.h"

#include "gateway/config/kinds/overload_doc.h"

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

/* clang-format off */
static const struct ps_member members[] = {
    {"level", PS_M_INT, PS_AT(struct cfg_feature_doc, level), .flags = PS_M_REQUIRED | PS_M_NULLABLE, .min = 1, .max = CFG_LEVEL_MAX, .example = "2", .text = {"The feature is off at this level of the ladder and above; null: the ladder never turns it off", "从降级阶梯的哪一级起关闭；null：不自动关闭"}},
    {"feature", PS_M_STRING, .flags = PS_M_READ_ONLY, .text = {"Its name", "功能名称"}},
    {"while_off", PS_M_STRING, .flags = PS_M_READ_ONLY, .text = {"What happens while it is off", "关闭期间的行为"}},
    {"state", PS_M_STRING, .flags = PS_M_LIVE, .text = {"on or off, now", "当前状态：on 或 off"}},
    {"reason", PS_M_STRING, .flags = PS_M_MEASURED | PS_M_NULLABLE, .text = {"Why it is on or off", "处于该状态的原因"}},
    {"uses_last_minute", PS_M_INT, .flags = PS_M_MEASURED | PS_M_NULLABLE, .text = {"How often it was used in the last minute", "最近一分钟的使用次数"}},
};
/* clang-format on */
static const struct ps_table table = {.title = "feature",
                                      .members = members,
                                      .count = PS_ARRAY_LEN(members),
                                      .size = sizeof(struct cfg_feature_doc)};

const struct cfg_kind cfg_kind_feature = {
    .path = "features",
    .id = "feature",
    .word = "feature",
    .name_rule = "a feature that can be turned off, one of:" CFG_FEATURES(
        LIST) "; core work (orders, confirm, cancel) is never turned off",
    .listed = "features",
    .lists_names = true,
    .put = "feature.put",
    .drop = "feature.delete",
    .max = CFG_FEATURE_COUNT,
    .shipped = shipped,
    .instead = "set its level to null",
    .only_shipped = true,
    .name = feature_name,
    .table = &table,
};
