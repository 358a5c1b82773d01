/* The histogram makes a step exact: the cut-off moves over as many cells as hold 5 % of what was
 * admitted, or 1 % of what arrived, however unevenly users fall into buckets and requests into
 * classes. Cells without an arrival cost nothing, so a class without requests is skipped at once.
 * At least one cell is admitted: otherwise nothing would show that the overload has ended. */
#include "gateway/admission/shed.h"

#include <string.h>

#define HOUR_MS (INT64_C(3600) * 1000)
/* One request in the histogram. The histogram remembers earlier windows, so that a small window
 * does not leave most cells empty: each window forgets an eighth. */
#define ONE    64
#define FORGET 8
/* Cells that are admitted again after a window without any arrival. */
#define SILENT_UP ((uint32_t)(ADM_SHED_CELLS * ADM_SHED_UP))

void adm_shed_init(struct adm_shed *shed)
{
    *shed =
        (struct adm_shed){.wait_ns = ADM_SHED_WAIT_NS, .cut_off = ADM_SHED_CELLS, .read_share = 1};
}

void adm_shed_salt(struct adm_shed *shed, const struct ps_hash_key *secret, int64_t wall_ms)
{
    uint64_t halves[2];

    for (uint64_t i = 0; i < PS_ARRAY_LEN(halves); i++) {
        const uint64_t what[2] = {(uint64_t)(wall_ms / HOUR_MS), i};
        halves[i] = ps_hash64(secret, what, sizeof what);
    }
    memcpy(shed->salt.byte, halves, sizeof shed->salt.byte);
}

/* --- one request --- */

static uint32_t cell_of(const struct adm_shed *shed, enum adm_shed_class class, const void *who,
                        size_t len)
{
    uint64_t bucket = ps_hash64(&shed->salt, who, len) % ADM_SHED_BUCKETS;

    return (uint32_t) class * ADM_SHED_BUCKETS + (uint32_t)bucket;
}

bool adm_shed_judge(struct adm_shed *shed, enum adm_shed_class class, const void *who, size_t len)
{
    uint32_t cell = cell_of(shed, class, who, len);

    shed->arrived[cell] += ONE;
    return cell < shed->cut_off;
}

/* --- one window --- */

static uint64_t count(const struct adm_shed *shed, uint32_t cells)
{
    uint64_t arrived = 0;

    for (uint32_t i = 0; i < cells; i++)
        arrived += shed->arrived[i];
    return arrived;
}

static void tighten(struct adm_shed *shed)
{
    uint64_t admitted = count(shed, shed->cut_off);
    double goal = (double)admitted * (1 - ADM_SHED_DOWN);

    while (shed->cut_off > 1 && (double)admitted > goal)
        admitted -= shed->arrived[--shed->cut_off];
}

static void relax(struct adm_shed *shed)
{
    uint64_t all = count(shed, ADM_SHED_CELLS), admitted = count(shed, shed->cut_off);
    double goal = (double)admitted + (double)all * ADM_SHED_UP;

    for (uint32_t i = 0; all == 0 && i < SILENT_UP && shed->cut_off < ADM_SHED_CELLS; i++)
        shed->cut_off++;
    while (shed->cut_off < ADM_SHED_CELLS && (double)admitted < goal)
        admitted += shed->arrived[shed->cut_off++];
}

static bool is_overloaded(const struct adm_shed *shed, const struct adm_shed_window *window)
{
    return !window->in_turn &&
           (window->unread || (window->requests > 0 &&
                               window->waited_ns / (int64_t)window->requests > shed->wait_ns));
}

/* A moving average over about a second. */
static void note_left(struct adm_shed *shed, const struct adm_shed_window *window)
{
    uint64_t came = window->requests + window->left;
    double share = came > 0 ? (double)window->requests / (double)came : 1;

    shed->read_share += (share - shed->read_share) / FORGET;
    if (window->left == 0 && shed->read_share > 0.99)
        shed->read_share = 1;
}

void adm_shed_close(struct adm_shed *shed, const struct adm_shed_window *window)
{
    bool overloaded = is_overloaded(shed, window);
    bool dear = (double)window->refused > (double)window->requests * ADM_SHED_REFUSED_MAX;

    note_left(shed, window);
    if (!shed->active) { /* counts the next window; the cut-off applies from the one after it */
        shed->active = overloaded;
        return;
    }
    if (overloaded && !dear)
        tighten(shed);
    else
        relax(shed);
    shed->active = overloaded || shed->cut_off < ADM_SHED_CELLS || shed->read_share < 1;
    for (size_t i = 0; i < ADM_SHED_CELLS; i++)
        shed->arrived[i] -= (shed->arrived[i] + FORGET - 1) / FORGET;
}

/* --- what it reports --- */

double adm_shed_level(const struct adm_shed *shed, enum adm_shed_class class)
{
    uint32_t first = (uint32_t) class * ADM_SHED_BUCKETS;

    if (shed->cut_off <= first)
        return 0;
    return shed->cut_off - first >= ADM_SHED_BUCKETS
               ? shed->read_share
               : shed->read_share * (shed->cut_off - first) / ADM_SHED_BUCKETS;
}

int64_t adm_shed_retry_after_s(const struct adm_shed *shed, enum adm_shed_class class)
{
    return 1 + (int64_t)((1 - adm_shed_level(shed, class)) * 9 + 0.5);
}
