/* See kinds.h. */
#include "gateway/ctl/kinds.h"

#include "common/text/json.h"
#include "gateway/ctl/ctl.h"

#include <string.h>

/* What others name comes first: create -f goes by this order. */
/* clang-format off */
const struct ctl_kind ctl_kinds[] = {
    {"sale",       "sales",           "sales",    "sale state opens_at closes_at version", false},
    {"limit",      "limits",          "limits",   "name algorithm key rate period_s mode applies_to", false},
    {"block_user", "blocklist/users", "users",    "user until reason by", false},
    {"block_ip",   "blocklist/ips",   "ips",      "range until reason by", false},
    {"pool",       "pools",           "pools",    "name algorithm discovery.kind", false},
    {"cache",      "caches",          "caches",   "name bytes eviction", false},
    {"route",      "routes",          "routes",   "name host path match class pool", false},
    {"overload",   "overload",        NULL,       NULL, true},
    {"feature",    "features",        "features", "name level state reason uses_last_minute", false},
    {"plan",       "plans",           "plans",    "name title ttl_s approvals", false},
    {0}};
/* clang-format on */

const struct ctl_kind *ctl_kind_find(const char *text)
{
    const char *words[PS_ARRAY_LEN(ctl_kinds) + 1] = {NULL};
    const struct ctl_kind *kind = ctl_kinds;

    for (size_t i = 0; kind->word != NULL; kind++, i++) {
        words[i] = kind->word;
        if (strcmp(text, kind->word) == 0 || strcmp(text, kind->path) == 0)
            return kind;
    }
    const char *near = ps_nearest_word(text, words);
    (void)ctl_say(CTL_USAGE, "unknown kind \"%s\"%s%s%s", text,
                  near != NULL ? ", did you mean \"" : "", near != NULL ? near : "",
                  near != NULL ? "\"?" : "; penstockctl get --help lists them");
    return NULL;
}
