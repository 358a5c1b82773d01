/* Seeding. A sale is created when its name is unknown. A document of `policy` - a pool, a route, a
 * limit rule, that of overload, a feature - is created when its name is unknown, or replaced while
 * it is still as it was shipped. Each is an ordinary change with its audit line, by "settings". */
#include "gateway/config/seed.h"

#include "common/text/buf.h"
#include "common/program/log.h"

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
        const struct cfg_reading reading = {.pointer = pointer};
        struct cfg_sale_doc doc;
        (void)snprintf(pointer, sizeof pointer, "/sales/%zu", i);
        if (cfg_sale_doc_name(seed, pointer, name, faults) < 0)
            continue;
        if (cfg_sale_doc_read(seed, &reading, name, &doc, faults) == 0)
            cfg_sale_doc_done(&doc);
        (void)snprintf(pointer, sizeof pointer, "/sales/%zu/sale", i);
        if (is_named_before(sales, i, name))
            (void)ps_faults_add(faults, PS_E_INVALID, pointer, "\"%s\" is there twice", name);
    }
}

/* Whose documents `policy` may hold, under the kind's path; what others name comes first. */
static const struct cfg_kind *const seeded[] = {&cfg_kind_cache,    &cfg_kind_pool,
                                                &cfg_kind_route,    &cfg_kind_limit,
                                                &cfg_kind_overload, &cfg_kind_feature};

/* Calls `take` for each document of a member of `policy`; of a kind that has one document the
 * member is that one. */
typedef void document_fn(const struct cfg_kind *kind, const char *name, json_t *json, void *ctx);

static void each_document(const struct cfg_kind *kind, const json_t *member, document_fn *take,
                          void *ctx)
{
    const char *name;
    json_t *json;

    if (member != NULL && kind->single != NULL) {
        take(kind, kind->single, (json_t *)(uintptr_t)member, ctx);
        return;
    }
    json_object_foreach((json_t *)(uintptr_t)member, name, json) take(kind, name, json, ctx);
}

/* As the store would have it; NULL: it does not read. */
static json_t *read_document(const struct cfg_kind *kind, const char *name, const json_t *json,
                             const struct cfg_reading *reading, struct ps_faults *faults)
{
    json_t *state = kind->initial_state != NULL ? json_loads(kind->initial_state, 0, NULL) : NULL;
    json_t *written = NULL;
    void *parsed;

    if (kind->parse(name, json, state, reading, &parsed, faults) == 0) {
        written = kind->write(parsed);
        kind->free(parsed);
    }
    json_decref(state);
    return written;
}

struct seed_check {
    const struct cfg_bounds *bounds;
    struct ps_faults *faults;
};

static void check_document(const struct cfg_kind *kind, const char *name, json_t *json, void *ctx)
{
    char pointer[CFG_NAME_MAX + 64], spelled[CFG_NAME_MAX + 1];
    const struct seed_check *check = ctx;
    const struct cfg_reading reading = {.pointer = pointer, .bounds = check->bounds};
    struct ps_faults *faults = check->faults;

    (void)snprintf(pointer, sizeof pointer, "/policy/%s%s%.128s", kind->path,
                   kind->single == NULL ? "/" : "", kind->single == NULL ? name : "");
    if (kind->name(name, strlen(name), spelled) < 0)
        (void)ps_faults_add(faults, PS_E_INVALID, pointer, "the name must be %s", kind->name_rule);
    else
        json_decref(read_document(kind, name, json, &reading, faults));
}

static void check_kind(const struct cfg_kind *kind, const json_t *member,
                       const struct cfg_bounds *bounds, struct ps_faults *faults)
{
    struct seed_check check = {bounds, faults};
    char pointer[64];

    (void)snprintf(pointer, sizeof pointer, "/policy/%s", kind->path);
    if (member != NULL && !json_is_object(member))
        (void)ps_faults_add(faults, PS_E_INVALID, pointer, "must be an object%s%s%s",
                            kind->single == NULL ? " of " : "",
                            kind->single == NULL ? kind->word : "",
                            kind->single == NULL ? "s by name" : "");
    else if (kind->single == NULL && json_object_size(member) > kind->max)
        (void)ps_faults_add(faults, PS_E_INVALID, pointer, "more than %zu %ss", kind->max,
                            kind->word);
    else
        each_document(kind, member, check_document, &check);
}

static const struct cfg_kind *find_seeded(const char *path)
{
    for (size_t i = 0; i < PS_ARRAY_LEN(seeded); i++)
        if (strcmp(seeded[i]->path, path) == 0)
            return seeded[i];
    return NULL;
}

int cfg_seed_check(const json_t *sales, const json_t *policy, const struct cfg_bounds *bounds,
                   struct ps_faults *faults)
{
    size_t before = faults->count;
    const json_t *member;
    const char *name;

    check_sales(sales, faults);
    json_object_foreach((json_t *)(uintptr_t)policy, name, member)
    {
        const struct cfg_kind *kind = find_seeded(name);
        char pointer[80];
        (void)snprintf(pointer, sizeof pointer, "/policy/%.64s", name);
        if (kind != NULL)
            check_kind(kind, member, bounds, faults);
        else
            (void)ps_faults_add(
                faults, PS_E_INVALID, pointer,
                "unknown; policy may hold caches, pools, routes, limits, overload and "
                "features");
    }
    return faults->count > before ? PS_E_INVALID : 0;
}

/* --- Words. --- */

static void ignore(const struct cfg_kind *kind, const char *name, const char *differences,
                   const char *why)
{
    const char *what = kind == &cfg_kind_sale    ? "sale"
                       : kind == &cfg_kind_limit ? "rule"
                                                 : "document";

    ps_log(PS_LOG_WARN, "seed_ignored", PS_F_STR(what, name), PS_F_STR("differs_in", differences),
           PS_F_STR("why", why));
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
    const struct cfg_reading reading = {.pointer = ""};
    struct ps_faults faults = {0};
    struct cfg_sale_doc doc;
    char differences[256];

    if (cfg_sale_doc_read(seed, &reading, have->name, &doc, &faults) < 0)
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

/* The same file is read at every start: a sale that is missing opens by it, however long ago its
 * opening was. NULL: out of memory. */
static json_t *with_its_opening(json_t *json, int64_t now_ms)
{
    const char *text = json_string_value(json_object_get(json, "opens_at"));
    json_t *copy = json_copy(json);
    int64_t opens_at_ms;

    if (text == NULL || ps_time_parse(text, strlen(text), &opens_at_ms) != 0 ||
        opens_at_ms > now_ms)
        return copy;
    return ps_json_built(copy, json_object_set_new(copy, "open", json_true()));
}

static int create_sale(struct cfg_store *store, const char *name, json_t *seed_json,
                       struct ps_faults *faults)
{
    json_t *json = with_its_opening(seed_json, ps_clock_wall_ms(cfg_store_clock(store)));
    struct cfg_change *change = new_change(store, "");
    struct sale_seed *seed = calloc(1, sizeof *seed);
    enum cfg_refusal refusal;
    int err = json != NULL && change != NULL && seed != NULL
                  ? cfg_change_put(change, &cfg_kind_sale, name, json, "", &refusal, faults)
                  : PS_E_NOMEM;

    json_decref(json);
    if (err < 0) {
        cfg_change_free(change);
        free(seed);
        return err;
    }
    seed->store = store;
    seed->json = json_incref(seed_json);
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

/* --- Policy. --- */

/* One kind after the other: what the next one names must be in force. */
struct policy_seed {
    struct cfg_store *store;
    json_t *policy;
    size_t index;              /* in `seeded` */
    struct cfg_change *change; /* while it is made */
};

static void seed_from(struct cfg_store *store, json_t *policy, size_t index);

static void free_seed(struct policy_seed *seed)
{
    json_decref(seed->policy);
    free(seed);
}

static void fail_kind(const struct cfg_kind *kind, const char *error)
{
    char what[64];

    (void)snprintf(what, sizeof what, "policy/%s", kind->path);
    fail(what, error);
}

static void end_kind(int err, const struct ps_fault *fault, void *ctx)
{
    struct policy_seed *seed = ctx;
    bool again = err == PS_E_CONFLICT; /* somebody else was first: chosen anew */

    if (err < 0 && !again)
        fail_kind(seeded[seed->index], fault->text[0] != '\0' ? fault->text : ps_err_text(err));
    if (err != PS_E_CLOSED)
        seed_from(seed->store, seed->policy, again ? seed->index : seed->index + 1);
    free_seed(seed);
}

/* Names of the members that differ, "rate, burst" (cut when long). */
static void name_differences(const json_t *a, const json_t *b, char *ret_text, size_t cap)
{
    const char *member;
    struct ps_buf text;
    json_t *value;

    ps_buf_init(&text, ret_text, cap - 1);
    json_object_foreach((json_t *)(uintptr_t)a, member, value)
    {
        if (json_equal(value, json_object_get(b, member)))
            continue;
        ps_buf_puts(&text, text.len > 0 ? ", " : "");
        ps_buf_puts(&text, member);
    }
    ret_text[text.len] = '\0';
}

/* What does not fit beside the others is left out of the change. */
static int put_fitting(struct cfg_change *change, const struct cfg_kind *kind, const char *name,
                       const json_t *json, struct ps_faults *faults)
{
    const struct cfg_doc *from;
    enum cfg_refusal refusal;
    size_t last = 0;
    int err = cfg_change_put(change, kind, name, json, "", &refusal, faults);

    if (err == 0)
        err = cfg_change_check(change, NULL, &refusal, faults);
    else
        return err;
    while (err < 0 && cfg_change_doc(change, last + 1, &from) != NULL)
        last++;
    if (err < 0) /* as those before it fit, it is the last one that does not */
        cfg_change_remove(change, last);
    return err;
}

static void seed_document(const struct cfg_kind *kind, const char *name, json_t *json, void *ctx)
{
    struct policy_seed *seed = ctx;
    const struct cfg_doc *have = cfg_store_find(seed->store, kind, name);
    struct ps_faults faults = {0};
    const struct cfg_reading reading = {.pointer = "", .bounds = cfg_store_bounds(seed->store)};
    json_t *wanted = read_document(kind, name, json, &reading, &faults);
    json_t *is = have != NULL ? cfg_doc_json(have) : NULL;
    char differences[128] = "";

    if (wanted != NULL && is != NULL)
        name_differences(is, wanted, differences, sizeof differences);
    if (wanted == NULL) {
        ; /* checked before: only memory can be missing */
    } else if (have != NULL && strcmp(have->by.who, "penstock") != 0) {
        if (differences[0] != '\0')
            ignore(kind, name, differences, "it exists; change it through the admin API");
    } else if (put_fitting(seed->change, kind, name, json, &faults) < 0) {
        ignore(kind, name, NULL, faults.at[0].text);
    }
    json_decref(wanted);
    json_decref(is);
}

/* False: nothing was submitted. */
static bool seed_kind(struct cfg_store *store, json_t *policy, size_t index)
{
    const struct cfg_kind *kind = seeded[index];
    json_t *documents = json_object_get(policy, kind->path);
    struct cfg_change *change;
    struct policy_seed *seed;
    const struct cfg_doc *from;

    if (documents == NULL)
        return false;
    change = new_change(store, kind->put);
    seed = calloc(1, sizeof *seed);
    if (change == NULL || seed == NULL) {
        cfg_change_free(change);
        free(seed);
        fail_kind(kind, ps_err_text(PS_E_NOMEM));
        return false;
    }
    *seed = (struct policy_seed){store, json_incref(policy), index, change};
    each_document(kind, documents, seed_document, seed);
    if (cfg_change_doc(change, 0, &from) == NULL) {
        cfg_change_free(change);
        free_seed(seed);
        return false;
    }
    cfg_change_line(change, kind->path, NULL, json_incref(documents));
    int err = cfg_change_submit(change, end_kind, seed);
    if (err == 0)
        return true;
    fail_kind(kind, ps_err_text(err));
    free_seed(seed);
    return false;
}

/* The kinds from this one on: up to the first that changes something, whose end goes on. */
static void seed_from(struct cfg_store *store, json_t *policy, size_t index)
{
    while (index < PS_ARRAY_LEN(seeded) && !seed_kind(store, policy, index))
        index++;
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
    seed_from(store, policy, 0);
}
