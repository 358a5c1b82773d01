/* Which documents go where in a snapshot. */
#include "gateway/snapshot/view.h"

#include "gateway/config/kinds/block_doc.h"
#include "gateway/config/kinds/override.h"
#include "gateway/config/ref_keys.h"
#include "gateway/config/kinds/watch.h"

#include <sodium.h>
#include <stdlib.h>

typedef int put_fn(struct snap_view *view, const struct cfg_store *store,
                   const struct cfg_doc *from, const struct cfg_doc *to);

static int put_sale(struct snap_view *view, const struct cfg_store *store,
                    const struct cfg_doc *from, const struct cfg_doc *to)
{
    const struct cfg_stored_sale *sale = to != NULL ? cfg_sale_of(to) : NULL;
    struct cfg_sale_state state = {0};

    (void)store;
    if (sale != NULL) {
        state = sale->state;
        state.version = to->version;
        state.created_at_ms = to->created_at_ms;
    }
    return snap_view_put_sale(view, to != NULL ? to->name : from->name,
                              sale != NULL ? &sale->doc : NULL, &state);
}

static int put_rules(struct snap_view *view, const struct cfg_store *store,
                     const struct cfg_doc *from, const struct cfg_doc *to)
{
    struct cfg_limit_rule *rules = calloc(CFG_RULES_MAX, sizeof *rules);
    const struct cfg_doc *doc = NULL;
    size_t count = 0;

    (void)from;
    (void)to;
    if (rules == NULL)
        return PS_E_NOMEM;
    for (; count < CFG_RULES_MAX && (doc = cfg_store_next(store, &cfg_kind_limit, doc)) != NULL;
         count++) {
        rules[count] = *cfg_rule_of(doc);
        rules[count].mode = (enum cfg_limit_mode)cfg_overridden(store, CFG_OVERRIDE_LIMIT,
                                                                doc->name, (int)rules[count].mode);
    }
    int err = snap_view_set_rules(view, rules, count);
    free(rules);
    return err;
}

static int put_user(struct snap_view *view, const struct cfg_store *store,
                    const struct cfg_doc *from, const struct cfg_doc *to)
{
    const struct cfg_block *block = to != NULL ? to->parsed : NULL;

    (void)store;
    return adm_blocklist_user(snap_view_blocklist(view), to != NULL ? to->name : from->name,
                              block != NULL ? block->until_ms : 0);
}

static int put_range(struct snap_view *view, const struct cfg_store *store,
                     const struct cfg_doc *from, const struct cfg_doc *to)
{
    const struct cfg_block *block = to != NULL ? to->parsed : NULL;
    const struct cfg_block *old = from != NULL ? from->parsed : NULL;

    (void)store;
    if (block == NULL && old == NULL) /* a deletion replaces a deletion */
        return 0;
    return adm_blocklist_range(snap_view_blocklist(view),
                               block != NULL ? &block->range : &old->range,
                               block != NULL ? block->until_ms : 0);
}

static int put_rehearsal_keys(struct snap_view *view, const struct cfg_store *store,
                              const struct cfg_doc *from, const struct cfg_doc *to)
{
    struct cfg_rehearsal_keys keys = {0};
    const struct cfg_doc *doc = NULL;

    (void)from;
    (void)to;
    while (keys.count < CFG_REHEARSAL_KEYS_MAX &&
           (doc = cfg_store_next(store, &cfg_kind_rehearsal_key, doc)) != NULL)
        keys.at[keys.count++] = cfg_rehearsal_key_of(doc)->key;
    snap_view_set_rehearsal_keys(view, &keys);
    sodium_memzero(&keys, sizeof keys);
    return 0;
}

static int put_watches(struct snap_view *view, const struct cfg_store *store,
                       const struct cfg_doc *from, const struct cfg_doc *to)
{
    const char *users[CFG_WATCHES_MAX];
    const struct cfg_doc *doc = NULL;
    size_t count = 0;

    (void)from;
    (void)to;
    while (count < CFG_WATCHES_MAX && (doc = cfg_store_next(store, &cfg_kind_watch, doc)) != NULL)
        users[count++] = doc->name;
    return snap_view_set_watches(view, users, count);
}

static int put_ref_keys(struct snap_view *view, const struct cfg_store *store,
                        const struct cfg_doc *from, const struct cfg_doc *to)
{
    struct cfg_ref_keys keys;

    (void)from;
    (void)to;
    cfg_ref_keys_new(store, &keys);
    snap_view_set_ref_keys(view, &keys);
    sodium_memzero(&keys, sizeof keys);
    return 0;
}

static const struct {
    const struct cfg_kind *kind;
    put_fn *put;
} rows[] = {{&cfg_kind_sale, put_sale},      {&cfg_kind_limit, put_rules},
            {&cfg_kind_override, put_rules}, {&cfg_kind_user, put_user},
            {&cfg_kind_range, put_range},    {&cfg_kind_rehearsal_key, put_rehearsal_keys},
            {&cfg_kind_watch, put_watches},  {&cfg_kind_ref_key, put_ref_keys}};

int snap_view_put(struct snap_view *view, const struct cfg_store *store, const struct cfg_doc *from,
                  const struct cfg_doc *to)
{
    const struct cfg_kind *kind = to != NULL ? to->kind : from->kind;

    for (size_t i = 0; i < PS_ARRAY_LEN(rows); i++)
        if (rows[i].kind == kind)
            return rows[i].put(view, store, from, to);
    return 0;
}
