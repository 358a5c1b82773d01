/* A route's state beside its document: the returned splits. See route_doc.h. */
#include "gateway/config/kinds/route_doc.h"

size_t cfg_route_split(const struct cfg_route *route, const json_t *element)
{
    for (size_t i = 0; i < route->split_count; i++) {
        json_t *written = cfg_split_write(&route->splits[i]);
        bool same = written != NULL && json_equal(written, element);
        json_decref(written);
        if (same)
            return i;
    }
    return route->split_count;
}

/* Reads an entry of `returned`; an entry whose split is no longer in the document is dropped. */
static int read_entry(const json_t *entry, struct cfg_route *route, struct ps_faults *faults)
{
    const json_t *element = json_object_get(entry, "split");

    if (!json_is_object(element) || !json_is_string(json_object_get(entry, "since")) ||
        !json_is_string(json_object_get(entry, "why")))
        return ps_faults_add(faults, PS_E_INVALID, "/returned",
                             "must have objects with split, since and why");
    size_t index = cfg_route_split(route, element);
    if (index == route->split_count || route->splits[index].returned != NULL)
        return 0;
    route->splits[index].returned = json_deep_copy(entry);
    return route->splits[index].returned != NULL ? 0 : PS_E_NOMEM;
}

int cfg_route_state_read(const json_t *state, struct cfg_route *route, struct ps_faults *faults)
{
    const json_t *list = json_object_get(state, "returned");
    int err = 0;

    for (size_t i = 0; err == 0 && i < json_array_size(list); i++)
        err = read_entry(json_array_get(list, i), route, faults);
    return err;
}

json_t *cfg_route_returned(const struct cfg_route *route)
{
    json_t *list = json_array();
    int err = list == NULL;

    for (size_t i = 0; err == 0 && i < route->split_count; i++)
        if (route->splits[i].returned != NULL)
            err = json_array_append(list, route->splits[i].returned);
    return ps_json_built(list, err);
}

json_t *cfg_route_state(const struct cfg_route *route, json_t *returned)
{
    return json_pack("{s:o}", "returned", returned != NULL ? returned : cfg_route_returned(route));
}
