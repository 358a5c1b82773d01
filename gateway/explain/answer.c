/* Workers may differ: each has its own load, breakers and adaptive limits. */
#include "gateway/explain/case_internal.h"

static bool refuses(const struct exp_case *asked)
{
    return ans_verdicts[asked->verdict].status >= 400;
}

static const struct exp_case *choose(struct exp_case *const *cases, size_t count)
{
    const struct exp_case *first = NULL;

    for (size_t i = 0; i < count; i++) {
        if (cases[i] != NULL && refuses(cases[i]))
            return cases[i];
        if (first == NULL)
            first = cases[i];
    }
    return first;
}

/* How many workers say what: {"accepted": 3, "shed": 1}. */
static json_t *count_verdicts(struct exp_case *const *cases, size_t count)
{
    json_t *json = json_object();
    int err = 0;

    for (size_t i = 0; err == 0 && i < count; i++) {
        if (cases[i] == NULL)
            continue;
        const char *name = ans_verdicts[cases[i]->verdict].name;
        json_int_t before = json_integer_value(json_object_get(json, name));
        err = json_object_set_new(json, name, json_integer(before + 1));
    }
    return ps_json_built(json, err);
}

json_t *exp_answer(struct exp_case *const *cases, size_t count)
{
    const struct exp_case *shown = choose(cases, count);

    if (shown == NULL || shown->gates == NULL)
        return NULL;
    return json_pack("{s:s, s:o, s:O, s:o, s:o}", "verdict", ans_verdicts[shown->verdict].name,
                     "status", shown->status != 0 ? json_integer(shown->status) : json_null(),
                     "gates", shown->gates, "page",
                     shown->page != NULL ? json_incref(shown->page) : json_null(), "workers",
                     count_verdicts(cases, count));
}
