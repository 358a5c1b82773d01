/* The search for the capacity as text. */
#include "loadtest/capacity.h"

#include "loadtest/template.h"

#include <string.h>

void lt_capacity_print_head(FILE *out)
{
    fputs("  clicks/s    goodput     p50 ms     p99 ms  unanswered\n", out);
    (void)fflush(out);
}

/* Which thresholds are crossed, and the largest answers beside "accepted". */
static void print_why(const json_t *step, FILE *out)
{
    size_t index;
    const json_t *line, *count;
    const char *name, *gap = "";
    double offered = lt_number_of(step, "offered");
    json_array_foreach(json_object_get(step, "thresholds"), index, line)
    {
        if (json_is_true(json_object_get(line, "ok")))
            continue;
        fprintf(out, "%s%s", gap, json_string_value(json_object_get(line, "name")));
        gap = ", ";
    }
    json_object_foreach(json_object_get(step, "answers"), name, count)
    {
        double share = json_number_value(count) / offered;
        if (strcmp(name, "accepted") != 0 && share >= 0.001)
            fprintf(out, "; %s %.1f %%", name, 100 * share);
    }
}

void lt_capacity_print_step(const json_t *step, FILE *out)
{
    const json_t *latency = json_object_get(step, "latency_ms");
    const json_t *burst = json_object_get(step, "burst");
    bool held = json_is_true(json_object_get(step, "held"));
    fprintf(out, "%10s %8.2f %% %10.3g %10.3g %9.2f %%  %s", LT_COUNT(lt_number_of(step, "rate")),
            100 * lt_number_of(step, "goodput"), lt_number_of(latency, "p50"),
            lt_number_of(latency, "p99"), 100 * lt_number_of(step, "unanswered"),
            held ? "holds" : "breaks: ");
    if (!held)
        print_why(step, out);
    if (burst != NULL)
        fprintf(out, " (after a burst of %s)", LT_COUNT(json_integer_value(burst)));
    fputc('\n', out);
    (void)fflush(out); /* a step takes seconds: show progress */
}

static void print_knee(const json_t *result, FILE *out)
{
    const json_t *knee = json_object_get(result, "knee");
    const json_t *broken = json_object_get(result, "break");
    fprintf(out,
            "\nKnee: %s clicks a second, each an order of another buyer, for %g s: goodput "
            "%.2f %%, p99 %.3g ms.\nAt %s it breaks: ",
            LT_COUNT(lt_number_of(result, "held")), lt_number_of(result, "step_s"),
            100 * lt_number_of(knee, "goodput"),
            lt_number_of(json_object_get(knee, "latency_ms"), "p99"),
            LT_COUNT(lt_number_of(result, "broken")));
    print_why(broken, out);
    fputs(".\n", out);
}

static void print_proposal(const json_t *result, FILE *out)
{
    const json_t *limit = json_object_get(result, "limit"), *threshold;
    const json_t *settings = json_object_get(result, "settings");
    const json_t *now = json_object_get(settings, "now");
    const char *name;
    fprintf(out,
            "Margin: %g %% of the knee.\n\n"
            "Limit (in the bundle): %s orders a second, %s at once. Both were played together, and "
            "held.\n",
            100 * lt_number_of(result, "margin"), LT_COUNT(lt_number_of(limit, "rate")),
            LT_COUNT(lt_number_of(limit, "burst")));
    if (json_object_size(json_object_get(result, "thresholds")) > 0)
        fputs("Overload (in the bundle): thresholds as measured at the knee:\n", out);
    json_object_foreach(json_object_get(result, "thresholds"), name, threshold)
        fprintf(out, "  %-20s %g\n", name, json_number_value(threshold));
    fprintf(out,
            "Settings (penstock.json, systemd, proxy; not in the bundle):\n"
            "  \"http\": {\"connections\": %lld}  (now %lld)\n"
            "      buyers who come directly: the knee's, each connection open for %g s after its "
            "answer\n      (http.idle_timeout_ms)\n"
            "  LimitNOFILE=%lld\n"
            "  %lld connections of all proxies to this gateway together\n"
            "      so many requests at once are answered within %lld ms at the knee; more would "
            "wait inside\n",
            (long long)lt_number_of(json_object_get(settings, "http"), "connections"),
            (long long)lt_number_of(now, "connections"),
            lt_number_of(now, "idle_timeout_ms") / 1000,
            (long long)lt_number_of(settings, "limit_nofile"),
            (long long)lt_number_of(settings, "proxy_connections"),
            (long long)lt_number_of(result, "in_time_ms"));
}

static void print_bundle(const json_t *result, FILE *out)
{
    long long revision = (long long)lt_number_of(result, "revision");
    fprintf(out,
            "\nBundle, made from revision %lld: PUT /admin/v1/config with If-Match: \"%lld\". It "
            "holds all\ndocuments of its kinds, those that it does not change as they are; other "
            "kinds stay.\n\n",
            revision, revision);
    (void)json_dumpf(json_object_get(result, "bundle"), out,
                     JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    fputc('\n', out);
}

void lt_capacity_print_result(const json_t *result, FILE *out)
{
    size_t index;
    const json_t *note;
    if (!json_is_true(json_object_get(result, "found"))) {
        fprintf(out, "\nNO CAPACITY WAS FOUND: %s.\n",
                json_string_value(json_object_get(result, "why_not")));
        return;
    }
    print_knee(result, out);
    print_proposal(result, out);
    json_array_foreach(json_object_get(result, "notes"), index, note)
        fprintf(out, "Note: %s\n", json_string_value(note));
    print_bundle(result, out);
}
