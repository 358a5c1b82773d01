/* A visit is a click; a hash of its number chooses the page. So no random number is stored per
 * visit, and the shares match the weights whatever the duration. */
#include "loadtest/pages.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX 65536

static int refuse(struct ps_fault *fault, const char *part, size_t len, const char *why)
{
    return ps_fault(fault, PS_E_INVALID, "--pages", "\"%.*s\" %s", (int)(len < 80 ? len : 80), part,
                    why);
}

/* One "path=weight". The text behind the last "=" is a weight only if it is a number: a query may
 * contain that sign, too. */
static int read_page(const char *part, size_t len, struct lt_page *page, struct ps_fault *fault)
{
    const char *sign = memrchr(part, '=', len);
    size_t path_len = len;
    page->weight = 1;
    if (sign != NULL && sign + 1 < part + len) {
        char *end = NULL;
        double weight = strtod(sign + 1, &end);
        if (end == part + len) {
            path_len = (size_t)(sign - part);
            page->weight = weight;
        }
    }
    if (!(page->weight > 0 && page->weight <= 1e6))
        return refuse(fault, part, len, "needs a weight above 0 and up to 1000000");
    if (path_len == 0 || part[0] != '/' || path_len > LT_PAGE_PATH_MAX)
        return refuse(fault, part, len,
                      "is not a path: it must begin with / and have at most 255 bytes");
    for (size_t i = 0; i < path_len; i++) {
        if (part[i] <= ' ' || part[i] == 0x7f || part[i] == '#')
            return refuse(fault, part, len, "is not a path: percent-encode it");
    }
    memcpy(page->path, part, path_len);
    page->path[path_len] = '\0';
    return 0;
}

static int read_mix(const char *text, struct lt_pages *pages, struct ps_fault *fault)
{
    static const char between[] = ",\r\n";
    for (text += strspn(text, between); *text != '\0'; text += strspn(text, between)) {
        size_t len = strcspn(text, between);
        if (pages->count == LT_PAGES_MAX)
            return ps_fault(fault, PS_E_INVALID, "--pages", "has more than %d pages", LT_PAGES_MAX);
        int err = read_page(text, len, &pages->page[pages->count], fault);
        if (err < 0)
            return err;
        ps_histogram_init(&pages->page[pages->count].latency);
        pages->weights += pages->page[pages->count++].weight;
        text += len;
    }
    return pages->count > 0 ? 0 : ps_fault(fault, PS_E_INVALID, "--pages", "names no page");
}

static int read_file(const char *path, char text[FILE_MAX], struct ps_fault *fault)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return ps_fault(fault, PS_E_IO, "--pages", "%s: %s", path, strerror(errno));
    size_t len = fread(text, 1, FILE_MAX, file);
    bool failed = ferror(file) != 0;
    fclose(file);
    if (failed)
        return ps_fault(fault, PS_E_IO, "--pages", "%s: %s", path, strerror(errno));
    if (len == FILE_MAX || memchr(text, '\0', len) != NULL)
        return ps_fault(fault, PS_E_INVALID, "--pages", "%s is not a text file below %d bytes",
                        path, FILE_MAX);
    text[len] = '\0';
    return 0;
}

int lt_pages_parse(const char *text, struct lt_pages **ret_pages, struct ps_fault *fault)
{
    struct lt_pages *pages = calloc(1, sizeof *pages + LT_PAGES_MAX * sizeof pages->page[0]);
    char *kept = malloc(FILE_MAX);
    int err = pages == NULL || kept == NULL || lt_tally_new(&pages->tally) < 0
                  ? ps_fault(fault, PS_E_NOMEM, "--pages", "out of memory")
                  : 0;
    if (err == 0 && text[0] == '@') {
        err = read_file(text + 1, kept, fault);
        text = kept;
    }
    if (err == 0)
        err = read_mix(text, pages, fault);
    free(kept);
    if (err < 0) {
        lt_pages_free(pages);
        return err;
    }
    pages->tally->of_pages = true;
    *ret_pages = pages;
    return 0;
}

void lt_pages_free(struct lt_pages *pages)
{
    if (pages == NULL)
        return;
    lt_tally_free(pages->tally);
    lt_plan_free(pages->plan);
    free(pages);
}

int lt_pages_plan(struct lt_pages *pages, double rate, int64_t length_ms, uint64_t seed,
                  struct ps_fault *fault)
{
    double visits = rate * (double)length_ms / 1000;
    if (!(visits >= 1 && visits <= LT_CLICKS_MAX))
        return ps_fault(fault, PS_E_INVALID, "--pages-rate",
                        "gives %.0f page requests; 1 to %d are possible", visits, LT_CLICKS_MAX);
    struct lt_plan_spec spec = {.stock = 1,
                                .seed = seed,
                                .phase_count = 1,
                                .phases = {{LT_STEP, length_ms, (int64_t)visits}}};
    return lt_plan_new(&spec, &pages->plan, fault);
}

int lt_pages_address(struct lt_pages *pages, const struct lt_names *names)
{
    for (size_t i = 0; i < pages->count; i++) {
        struct lt_page *page = &pages->page[i];
        int err = lt_request_init_page(&page->request, names, page->path);
        if (err < 0)
            return err;
    }
    return 0;
}

/* Multiplication by the golden ratio (Knuth, The Art of Computer Programming, 6.4): consecutive
 * numbers fall evenly into [0, 1). */
size_t lt_pages_pick(const struct lt_pages *pages, const struct lt_click *visit)
{
    double at = (double)(visit->buyer * UINT32_C(2654435769)) / 4294967296.0 * pages->weights;
    size_t i = 0;
    while (i + 1 < pages->count && at >= pages->page[i].weight)
        at -= pages->page[i++].weight;
    return i;
}

static void count_cache(struct lt_pages *pages, struct lt_page *page, const char *word)
{
    size_t i = 0;
    if (word[0] == '\0')
        return;
    while (i < LT_CACHE_WORDS_MAX && pages->cache[i][0] != '\0' &&
           strcmp(pages->cache[i], word) != 0)
        i++;
    if (i == LT_CACHE_WORDS_MAX) /* no server has so many words: the input is hostile */
        return;
    (void)snprintf(pages->cache[i], sizeof pages->cache[i], "%s", word);
    page->cache[i]++;
}

void lt_pages_add(struct lt_pages *pages, const struct lt_answer *answer)
{
    struct lt_page *page = &pages->page[lt_pages_pick(pages, answer->click)];
    lt_tally_add(pages->tally, answer);
    page->offered++;
    if (answer->outcome != LT_ANSWERED)
        return;
    ps_histogram_record(&page->latency, (uint64_t)answer->latency_ns);
    count_cache(pages, page, answer->cache);
}
