/* The strips of the page: narrow charts below each other on the time axis of the first chart: the
 * latencies of buyers, and the gateway's figures. They are made from the JSON report. */
#include "loadtest/report.h"

#include "common/text/buf.h"

#include <math.h>

#define POINTS_MAX 700
#define PATH_SIZE  ((size_t)POINTS_MAX * 48)

/* The points of a list and their place on the time axis. */
struct line {
    const json_t *points; /* numbers, or null where there is none */
    double from_ms, step_ms;
    const char *css;
};

double lt_report_highest(const json_t *points)
{
    double highest = 0;
    for (size_t i = 0; i < json_array_size(points); i++)
        highest = fmax(highest, json_number_value(json_array_get(points, i)));
    return highest;
}

static bool has_points(const json_t *points)
{
    for (size_t i = 0; i < json_array_size(points); i++)
        if (json_is_number(json_array_get(points, i)))
            return true;
    return false;
}

/* The line as an SVG path: each point in the middle of its step, interrupted where there is no
 * point; points outside the axis are omitted. */
static json_t *path_json(const struct line *line, double length_ms)
{
    static char text[PATH_SIZE];
    struct ps_buf buf;
    bool pen_down = false;
    ps_buf_init(&buf, text, sizeof text);
    for (size_t i = 0; i < json_array_size(line->points) && i < POINTS_MAX; i++) {
        const json_t *value = json_array_get(line->points, i);
        double x = line->from_ms + ((double)i + 0.5) * line->step_ms;
        if (!json_is_number(value) || x < 0 || x > length_ms) {
            pen_down = false;
            continue;
        }
        char point[48];
        int len = snprintf(point, sizeof point, "%s%.0f %.4g", pen_down ? "L" : "M", x,
                           json_number_value(value));
        ps_buf_put(&buf, point, (size_t)len);
        /* One point alone is a short line. */
        if (!pen_down)
            ps_buf_puts(&buf, "h1");
        pen_down = true;
    }
    return json_pack("{s:s, s:o}", "css", line->css, "path", json_stringn(text, buf.len));
}

/* NULL if there is nothing but zeros, or nothing at all. `limit` (0: none): a threshold. */
static json_t *strip_json(const char *label, const char *unit, double limit,
                          const struct line *lines, size_t count, double length_ms)
{
    json_t *list = json_array();
    double most = 0;
    for (size_t i = 0; i < count; i++) {
        if (has_points(lines[i].points))
            (void)json_array_append_new(list, path_json(&lines[i], length_ms));
        most = fmax(most, lt_report_highest(lines[i].points));
    }
    if (json_array_size(list) == 0 || most <= 0) {
        json_decref(list);
        return NULL;
    }
    bool near = limit > 0 && limit < 3 * most; /* else the line would be flat */
    double top = lt_report_round_up(near ? fmax(most, limit) : most);
    return json_pack("{s:s, s:s, s:f, s:f, s:f, s:f, s:o}", "label", label, "unit", unit, "most",
                     most, "top", top, "width", length_ms, "limit", near ? limit : 0.0, "lines",
                     list);
}

/* Percentiles that the buyers saw. */
static json_t *waits_strip(const json_t *data, const char *group, const char *label,
                           double length_ms)
{
    const json_t *timeline = json_object_get(data, "timeline");
    const json_t *waits = json_object_get(json_object_get(timeline, "latency_ms"), group);
    double step_ms = json_number_value(json_object_get(waits, "slot_ms"));
    const struct line lines[] = {{json_object_get(waits, "p99"), 0, step_ms, "first"},
                                 {json_object_get(waits, "p50"), 0, step_ms, "second"}};
    return strip_json(label, "ms (p99; faint: p50)", 0, lines, PS_ARRAY_LEN(lines), length_ms);
}

static json_t *gateway_strip(const json_t *saw, const json_t *points, const char *label,
                             const char *unit, double limit, double length_ms)
{
    const struct line line = {points, json_number_value(json_object_get(saw, "from_ms")),
                              json_number_value(json_object_get(saw, "step_ms")), "first"};
    return strip_json(label, unit, limit, &line, 1, length_ms);
}

static void append(json_t *list, json_t *strip)
{
    if (strip != NULL)
        (void)json_array_append_new(list, strip);
}

json_t *lt_report_strips(const json_t *data, double length_ms)
{
    const json_t *saw = json_object_get(data, "gateway_saw");
    const json_t *signals = json_object_get(saw, "signals"), *signal;
    json_t *strips = json_array();
    const char *name;
    append(strips, waits_strip(data, "all", "how long buyers waited, all answers", length_ms));
    append(strips,
           waits_strip(data, "admitted", "how long buyers with an order waited", length_ms));
    append(strips, gateway_strip(saw, json_object_get(saw, "level"), "degrade level", "of 4", 0,
                                 length_ms));
    append(strips, gateway_strip(saw, json_object_get(saw, "pressure"), "pressure",
                                 "of a signal's threshold", 1, length_ms));
    json_object_foreach((json_t *)(uintptr_t)signals, name, signal)
    {
        const char *unit = json_string_value(json_object_get(signal, "unit"));
        append(strips,
               gateway_strip(saw, json_object_get(signal, "points"), name, unit != NULL ? unit : "",
                             json_number_value(json_object_get(signal, "threshold")), length_ms));
    }
    return strips;
}
