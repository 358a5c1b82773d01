/* A ring with one place more than is shown: the current second's. */
#include "gateway/admission/history.h"

#include "common/err.h"

#include <math.h>
#include <stdlib.h>

#define PLACES (ADM_HISTORY_S + 1)

struct adm_history {
    size_t series;
    bool begun;
    int64_t second; /* the current one */
    size_t count;   /* complete seconds before it */
    float *value;   /* one series after the other */
};

int adm_history_new(size_t series, struct adm_history **ret_history)
{
    struct adm_history *history = calloc(1, sizeof *history);
    float *value = calloc(series * PLACES, sizeof *value);

    if (history == NULL || value == NULL) {
        free(history);
        free(value);
        return PS_E_NOMEM;
    }
    *history = (struct adm_history){.series = series, .value = value};
    *ret_history = history;
    return 0;
}

void adm_history_free(struct adm_history *history)
{
    if (history == NULL)
        return;
    free(history->value);
    free(history);
}

static float *place_of(const struct adm_history *history, size_t series, int64_t second)
{
    int64_t place = (second % PLACES + PLACES) % PLACES; /* the first places lie before second 0 */

    return &history->value[series * PLACES + (size_t)place];
}

static void clear(struct adm_history *history, int64_t second)
{
    for (size_t i = 0; i < history->series; i++)
        *place_of(history, i, second) = NAN;
}

static void go_to(struct adm_history *history, int64_t second)
{
    int64_t passed = history->begun ? second - history->second : PLACES;

    for (int64_t i = 0; i < passed && i < PLACES; i++)
        clear(history, second - i);
    if (history->begun)
        history->count += (size_t)passed;
    if (history->count > ADM_HISTORY_S)
        history->count = ADM_HISTORY_S;
    history->begun = true;
    history->second = second;
}

void adm_history_add(struct adm_history *history, size_t series, int64_t second, double value)
{
    if (!history->begun || second > history->second)
        go_to(history, second);
    float *place = place_of(history, series, history->second);
    if (isnan(*place) || (float)value > *place)
        *place = (float)value;
}

size_t adm_history_count(const struct adm_history *history)
{
    return history->count;
}

double adm_history_at(const struct adm_history *history, size_t series, size_t point)
{
    return (double)*place_of(history, series,
                             history->second - (int64_t)history->count + (int64_t)point);
}

int64_t adm_history_last(const struct adm_history *history)
{
    return history->second - 1;
}
