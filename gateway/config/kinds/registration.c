/* See registration.h. */
#include "gateway/config/kinds/registration.h"

#include "common/clock.h"
#include "gateway/config/store/store.h"

#include <stdio.h>
#include <stdlib.h>
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

static int registration_parse(const char *name, const json_t *json, const json_t *state,
                              const struct cfg_reading *reading, void **ret_parsed,
                              struct ps_faults *faults)
{
    struct cfg_registration is = {0};
    struct ps_json_reader reader;
    struct ps_str zone = {"", 0}, by = {"", 0};
    int64_t weight = 1;
    int err = split_name(name, strlen(name), &is);

    (void)state;
    if (err < 0)
        return ps_faults_add(faults, err, reading->pointer, "the name must be POOL/ADDRESS");
    ps_json_reader_init_all(&reader, json, reading->pointer, faults);
    ps_json_require(&reader, (const char *const[]){"ttl_s", "until", NULL});
    ps_json_int(&reader, "ttl_s", 1, CFG_REGISTRATION_TTL_MAX_S, &is.ttl_s);
    ps_json_int(&reader, "weight", 0, CFG_WEIGHT_MAX, &weight);
    if (!json_is_null(ps_json_value(&reader, "zone")))
        ps_json_string(&reader, "zone", CFG_ZONE_MAX, &zone);
    if (zone.len > 0 && !ps_name_ok(zone.at, zone.len))
        ps_json_fault(&reader, "zone", "must be [A-Za-z0-9][A-Za-z0-9._-]{0,31}");
    ps_json_time(&reader, "until", &is.until_ms);
    ps_json_bool(&reader, "gone", &is.gone);
    ps_json_string(&reader, "by", PS_NAME_MAX, &by);
    err = ps_json_done(&reader);
    if (err < 0)
        return err;
    struct cfg_registration *registration = malloc(sizeof *registration);
    if (registration == NULL)
        return PS_E_NOMEM;
    is.endpoint.weight = (uint16_t)weight;
    memcpy(is.endpoint.zone, zone.at, zone.len);
    memcpy(is.by, by.at, by.len);
    *registration = is;
    *ret_parsed = registration;
    return 0;
}

json_t *cfg_registration_write(const struct cfg_registration *registration)
{
    const struct cfg_endpoint *endpoint = &registration->endpoint;

    return json_pack("{s:I, s:i, s:s?, s:o, s:b, s:s}", "ttl_s", (json_int_t)registration->ttl_s,
                     "weight", (int)endpoint->weight, "zone",
                     endpoint->zone[0] != '\0' ? endpoint->zone : NULL, "until",
                     ps_json_of_time(registration->until_ms), "gone", (int)registration->gone, "by",
                     registration->by);
}

static json_t *registration_write(const void *parsed)
{
    return cfg_registration_write(parsed);
}

static int64_t registration_ends_at_ms(const void *parsed)
{
    return ((const struct cfg_registration *)parsed)->until_ms;
}

static bool registration_renews(const void *parsed, const void *before)
{
    const struct cfg_registration *to = parsed, *from = before;

    return !from->gone && !to->gone && from->ttl_s == to->ttl_s &&
           from->endpoint.weight == to->endpoint.weight &&
           strcmp(from->endpoint.zone, to->endpoint.zone) == 0;
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
    .parse = registration_parse,
    .free = free,
    .write = registration_write,
    .ends_at_ms = registration_ends_at_ms,
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
