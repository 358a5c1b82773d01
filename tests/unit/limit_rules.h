/* Limit rules from their documents. */
#ifndef LIMIT_RULES_H
#define LIMIT_RULES_H

#include "gateway/snapshot/view.h"
#include "tests/unit/check.h"

#include <stdio.h>
#include <stdlib.h>

/* `count` texts `{"key":…}` are the view's rules, rule0 and so on. */
static inline void put_rules(struct snap_view *view, const char *const *texts, size_t count)
{
    struct cfg_limit_rule *rules = calloc(count + 1, sizeof *rules);

    for (size_t i = 0; i < count; i++) {
        struct ps_faults faults = {0};
        char name[40];
        json_t *json = json_loads(texts[i], 0, NULL);
        assert_non_null(json);
        (void)snprintf(name, sizeof name, "rule%zu", i);
        void *rule;
        const struct cfg_reading reading = {.name = name, .pointer = ""};
        if (cfg_kind_read(&cfg_kind_limit, &reading, json, NULL, &rule, &faults) < 0)
            fail_msg("%s: %s", faults.at[0].path, faults.at[0].text);
        rules[i] = *(struct cfg_limit_rule *)rule;
        cfg_kind_free(&cfg_kind_limit, rule);
        json_decref(json);
    }
    assert_ok(snap_view_set_rules(view, rules, count));
    free(rules);
}

#endif
