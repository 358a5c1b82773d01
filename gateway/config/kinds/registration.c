/* See registration.h. */
#include "gateway/config/kinds/registration.h"

#include "common/clock.h"
#include "gateway/config/store/store.h"

#include <stdio.h>
#include <string.h>

/* --- Names. --- */

void cfg_registration_name(const char *pool, const struct cfg_endpoint *endpoint,
                           char ret_name[CFG_NAME_MAX + 1])
{
    (void)snprintf(ret_name, CFG_NAME_MAX + 1, "%s/%s", pool, endpoint->address);
}

static int split_name(const char *text, size_t len, struct cfg_registration *ret)
{
    const char *slash = memchr(text, '/', len);
    size_t pool = slash != NULL ? (size_t)(slash - text) : 0;

    if (slash == NULL || !ps_name_ok(text, pool) ||
        cfg_endpoint_parse(slash + 1, len - pool - 1, &ret->endpoint) < 0)
        return PS_E_INVALID;
    memcpy(ret->pool, text, pool);
    ret->pool[pool] = '\0';
    return 0;
}

static int registration_name(const char *text, size_t len, char ret_name[CFG_NAME_MAX + 1])
{
    struct cfg_registration named;
    int err = split_name(text, len, &named);

    if (err == 0)
        cfg_registration_name(named.pool, &named.endpoint, ret_name);
    return err;
}

/* --- Documents. --- */

static void check_registration(struct ps_table_at *at, void *object)
{
    const struct cfg_reading *reading = at->ctx;
    struct cfg_registration *registration = object;
    uint16_t weight = registration->endpoint.weight;

    if (split_name(reading->name, strlen(reading->name), registration) < 0)
        ps_table_fault(at, "", "the name must be POOL/ADDRESS");
    registration->endpoint.weight = weight;
}

/* clang-format off */
#define AT(field) PS_AT(struct cfg_registration, field)
static const struct ps_member members[] = {
    {"ttl_s", PS_M_INT, AT(ttl_s), .flags = PS_M_REQUIRED, .min = 1, .max = CFG_REGISTRATION_TTL_MAX_S, .unit = {"s"}},
    {"weight", PS_M_INT, AT(endpoint.weight), .min = 0, .max = CFG_WEIGHT_MAX, .fallback = "1"},
    {"until", PS_M_TIME, AT(until_ms), .flags = PS_M_REQUIRED},
    {"gone", PS_M_BOOL, AT(gone), .fallback = "false"},
    {"by", PS_M_CHARS, AT(by), .min = 0, .max = PS_NAME_MAX, .fallback = "\"\""},
};
/* clang-format on */
static const struct ps_table table = {.title = "registration",
                                      .members = members,
                                      .count = PS_ARRAY_LEN(members),
                                      .dropped = cfg_endpoint_dropped,
                                      .size = sizeof(struct cfg_registration),
                                      .check = check_registration};

json_t *cfg_registration_write(const struct cfg_registration *registration)
{
    return ps_table_print(&table, registration);
}

static bool registration_renews(const void *parsed, const void *before)
{
    const struct cfg_registration *to = parsed, *from = before;

    return !from->gone && !to->gone && from->ttl_s == to->ttl_s &&
           from->endpoint.weight == to->endpoint.weight;
}

static const char *registration_ended(const void *parsed)
{
    return ((const struct cfg_registration *)parsed)->gone ? NULL : "endpoint.expire";
}

const struct cfg_kind cfg_kind_registration = {
    .path = "registrations",
    .word = "registration",
    .name_rule = "a pool and an endpoint: {pool}/{address}:{port}",
    .listed = "registrations",
    .put = "endpoint.register",
    .drop = "endpoint.leave",
    .max = CFG_REGISTRATIONS_MAX,
    .is_private = true,
    .has_no_history = true,
    .name = registration_name,
    .table = &table,
    .ends = true,
    .until_at = offsetof(struct cfg_registration, until_ms),
    .renews = registration_renews,
    .ended = registration_ended,
};

/* --- Finding. --- */

static bool is_there(const struct cfg_doc *doc)
{
    return doc != NULL && !cfg_registration_of(doc)->gone;
}

const struct cfg_doc *cfg_registration_find(const struct cfg_store *store, const char *name)
{
    const struct cfg_doc *doc = cfg_store_find(store, &cfg_kind_registration, name);

    return is_there(doc) ? doc : NULL;
}

const struct cfg_doc *cfg_registration_next(const struct cfg_store *store, const char *pool,
                                            const struct cfg_doc *after)
{
    char prefix[PS_NAME_MAX + 2];
    const struct cfg_doc *doc;
    int len = snprintf(prefix, sizeof prefix, "%s/", pool);

    doc = cfg_store_behind(store, &cfg_kind_registration, after != NULL ? after->name : prefix);
    while (doc != NULL && strncmp(doc->name, prefix, (size_t)len) == 0 && !is_there(doc))
        doc = cfg_store_behind(store, &cfg_kind_registration, doc->name);
    return doc != NULL && strncmp(doc->name, prefix, (size_t)len) == 0 ? doc : NULL;
}
