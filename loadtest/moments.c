/* See moments.h. The gateway lists runs by id, which is in order of when they were asked for: an
 * armed run may be a week older than its start. So all of them are read, which are 10,064 at most.
 */
#include "loadtest/moments.h"

#include "common/clock.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PATIENCE_MS 3000
#define PAGES_MAX   20 /* of 1,000 runs */
#define MOMENTS_MAX 200

/* Adds the moment if it is a time of the rehearsal. */
static int add(json_t *moments, const json_t *run, const char *member, const char *what,
               int64_t started_ms)
{
    const char *at = json_string_value(json_object_get(run, member));
    int64_t at_ms;

    if (at == NULL || ps_time_parse(at, strlen(at), &at_ms) < 0 || at_ms < started_ms ||
        json_array_size(moments) >= MOMENTS_MAX)
        return 0;
    bool ends = strcmp(what, "ended") == 0;
    json_t *end = ends ? json_object_get(run, "end") : NULL;
    json_t *moment = json_pack(
        "{s:I, s:s, s:O, s:O, s:O?}", "at_ms", (json_int_t)(at_ms - started_ms), "what", what,
        "plan", json_object_get(run, "plan"), "run", json_object_get(run, "run"), "end", end);
    return json_array_append_new(moments, moment) == 0 ? 0 : PS_E_NOMEM;
}

static int add_run(json_t *moments, const json_t *run, int64_t started_ms)
{
    const char *state = json_string_value(json_object_get(run, "state"));

    if (!json_is_string(json_object_get(run, "plan")) ||
        !json_is_string(json_object_get(run, "run")))
        return 0;
    int err = add(moments, run, "started", "started", started_ms);
    if (err == 0 && state != NULL && strcmp(state, "suspended") == 0)
        err = add(moments, run, "since", "suspended", started_ms);
    return err == 0 ? add(moments, run, "ended", "ended", started_ms) : err;
}

int lt_moments_add(json_t *moments, const json_t *page, int64_t started_ms)
{
    json_t *run;
    size_t i;
    int err = 0;

    json_array_foreach(json_object_get(page, "runs"), i, run) if (err == 0) err =
        add_run(moments, run, started_ms);
    return err;
}

/* One page; "" in `after` when it was the last one. */
static int read_page(const struct lt_admin *admin, int64_t started_ms, char after[128],
                     json_t *moments, struct ps_fault *fault)
{
    char path[256];
    json_t *page = NULL;

    (void)snprintf(path, sizeof path, "/admin/v1/runs?limit=1000%s%s",
                   after[0] != '\0' ? "&after=" : "", after);
    int err = lt_admin_get(admin, path, PATIENCE_MS, &page, fault);
    if (err < 0)
        return err;
    err = lt_moments_add(moments, page, started_ms);
    const char *next = json_string_value(json_object_get(page, "next"));
    bool moves = next != NULL && strspn(next, "0123456789abcdef-") == strlen(next);
    (void)snprintf(after, 128, "%s", moves ? next : "");
    json_decref(page);
    return err < 0 ? ps_fault(fault, err, "", "out of memory") : 0;
}

static json_int_t at_of(const json_t *moment)
{
    return json_integer_value(json_object_get(moment, "at_ms"));
}

static int compare(const void *a, const void *b)
{
    json_int_t first = at_of(*(json_t *const *)a), second = at_of(*(json_t *const *)b);

    return (first > second) - (first < second);
}

static json_t *sorted(const json_t *moments)
{
    size_t count = json_array_size(moments);
    json_t **at = calloc(count + 1, sizeof(json_t *)), *list = at != NULL ? json_array() : NULL;

    for (size_t i = 0; list != NULL && i < count; i++)
        at[i] = json_array_get(moments, i);
    if (list != NULL)
        qsort(at, count, sizeof(json_t *), compare);
    for (size_t i = 0; list != NULL && i < count; i++)
        (void)json_array_append(list, at[i]);
    free(at);
    return list;
}

int lt_moments_read(const struct lt_admin *admin, int64_t started_ms, json_t **ret_json,
                    struct ps_fault *fault)
{
    json_t *moments = json_array(), *list = NULL;
    char after[128] = "";
    int pages = 0, err = 0;

    do
        err = read_page(admin, started_ms, after, moments, fault);
    while (err == 0 && after[0] != '\0' && ++pages < PAGES_MAX);
    if (err == 0 && (list = sorted(moments)) == NULL)
        err = ps_fault(fault, PS_E_NOMEM, "", "out of memory");
    json_decref(moments);
    if (err == 0)
        *ret_json = list;
    return err;
}

json_t *lt_moments_view(const json_t *moments, double length_ms)
{
    json_t *list = json_array(), *moment;
    size_t i;

    json_array_foreach((json_t *)(uintptr_t)moments, i, moment)
    {
        double at_ms = (double)at_of(moment);
        const char *end = json_string_value(json_object_get(moment, "end"));
        json_t *words =
            json_sprintf("plan %s %s%s%s%s", json_string_value(json_object_get(moment, "plan")),
                         json_string_value(json_object_get(moment, "what")),
                         end != NULL ? " (" : "", end != NULL ? end : "", end != NULL ? ")" : "");
        bool drawn = length_ms > 0 && at_ms <= length_ms;
        (void)json_array_append_new(list, json_pack("{s:f, s:o, s:b, s:f}", "at_ms", at_ms, "words",
                                                    words, "drawn", drawn, "percent",
                                                    drawn ? 100 * at_ms / length_ms : 0.0));
    }
    return list;
}
