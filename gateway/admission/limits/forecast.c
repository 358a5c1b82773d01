/* Keys have nothing to do with each other, so requests are sorted by key and then by time, and each
 * key is played back alone; what fits a /64 is then sorted and played back once more by /48.
 *
 * The error is that of the sum of a simple random sample of keys (W. G. Cochran, "Sampling
 * Techniques", 3rd ed., 1977, chapter 9, with the variance of each key estimated by its own
 * square): with p = 2^-level and r_k refused requests of key k, sqrt((1 - p) * sum(r_k^2)) / p.
 *
 * Where nothing was refused in the sample that formula says 0, although keys outside of it may be.
 * So the error is at least 3 / p ("rule of three": J. A. Hanley and A. Lippman-Hand, "If nothing
 * goes wrong, is everything all right?", JAMA 249, 1983), and a key that sends very much may be
 * missing all the same: `may_miss_keys`. */
#include "gateway/admission/limits/forecast.h"

#include "gateway/admission/limits/limit_set.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define REQUESTS_MAX 16384

static bool is_for_rule(const struct adm_limit_sampled *request, const void *ctx)
{
    const struct cfg_limit_rule *rule = ctx;
    const char *target = rule->route[0] != '\0' ? rule->route : rule->sale;

    return (request->applies_to & rule->applies_to) != 0 &&
           (target[0] == '\0' || request->target == adm_limit_sample_target(target));
}

static int compare_numbers(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

static int compare_times(const struct adm_limit_sampled *a, const struct adm_limit_sampled *b)
{
    return (a->at_us > b->at_us) - (a->at_us < b->at_us);
}

static int by_key(const void *a, const void *b)
{
    const struct adm_limit_sampled *x = a, *y = b;
    int order = compare_numbers(x->key, y->key);

    return order != 0 ? order : compare_times(x, y);
}

static int by_wide(const void *a, const void *b)
{
    const struct adm_limit_sampled *x = a, *y = b;
    int order = compare_numbers(x->chosen_by, y->chosen_by);

    return order != 0 ? order : compare_times(x, y);
}

static int by_target(const void *a, const void *b)
{
    const struct adm_limit_sampled *x = a, *y = b;
    int order = compare_numbers(x->target, y->target);

    return order != 0 ? order : compare_times(x, y);
}

static int by_time(const void *a, const void *b)
{
    return compare_times(a, b);
}

static void sort(struct adm_limit_sampled *requests, size_t count,
                 int (*order)(const void *, const void *))
{
    if (count > 1)
        qsort(requests, count, sizeof *requests, order);
}

struct refused {
    double all, squares, most; /* of each key's number */
};

static void add_key(struct refused *refused, double of_key)
{
    refused->all += of_key;
    refused->squares += of_key * of_key;
    refused->most = of_key > refused->most ? of_key : refused->most;
}

/* --- Users and addresses. --- */

/* Plays back what is sorted by the key, and leaves those that fit at the front; returns how many.
 */
static size_t play_keys(const struct adm_limit_compiled *rule, struct adm_limit_sampled *requests,
                        size_t count, bool wide, struct refused *refused)
{
    size_t kept = 0;
    uint64_t cell = 0;
    double of_key = 0;

    for (size_t i = 0; i < count; i++) {
        const struct adm_limit_sampled request = requests[i];
        bool buys = (request.applies_to & CFG_LIMIT_ORDER) != 0; /* nothing else waits */
        struct adm_limit_result result = adm_limit_step(rule, cell, request.at_us * 1000,
                                                        buys ? CFG_LIMIT_WAIT_MAX_MS : 0, &cell);
        bool last = i + 1 == count || (wide ? requests[i + 1].chosen_by != request.chosen_by
                                            : requests[i + 1].key != request.key);
        of_key += !result.allowed;
        if (result.allowed)
            requests[kept++] = request;
        if (!last)
            continue;
        add_key(refused, of_key);
        of_key = 0;
        cell = 0;
    }
    return kept;
}

static void play_own_keys(const struct cfg_limit_rule *rule, struct adm_limit_sample_view *view,
                          struct refused *refused)
{
    struct adm_limit_compiled own, wide;
    size_t kept = 0, left;

    adm_limit_compile(rule, 1, &own);
    sort(view->at, view->count, by_key);
    left = play_keys(&own, view->at, view->count, false, refused);
    if (rule->key != CFG_LIMIT_KEY_IP)
        return;
    for (size_t i = 0; i < left; i++) /* of IPv4 there is nothing wider */
        if (view->at[i].has_wide)
            view->at[kept++] = view->at[i];
    adm_limit_compile(rule, ADM_LIMIT_WIDE_SCALE, &wide);
    sort(view->at, kept, by_wide);
    (void)play_keys(&wide, view->at, kept, true, refused);
}

/* --- What is counted together. --- */

struct together {
    const struct cfg_limit_rule *rule;
    double share, room, count, last;
    int64_t at_us, window;
};

static double bucket_room(struct together *all, int64_t at_us)
{
    const struct cfg_limit_rule *rule = all->rule;
    double rate = (double)rule->rate / (double)rule->period_s * all->share;
    double burst = (double)rule->burst * all->share;
    double most = (burst > 1 ? burst : 1) + rate * (double)rule->max_wait_ms / 1000;
    double room = all->at_us == 0 ? most : all->room + (double)(at_us - all->at_us) / 1e6 * rate;

    all->room = room < most ? room : most;
    return all->room;
}

static double window_room(struct together *all, int64_t at_us)
{
    const struct cfg_limit_rule *rule = all->rule;
    int64_t period_us = rule->period_s * 1000000, window = at_us / period_us;
    double rate = (double)rule->rate * all->share;

    if (window != all->window) {
        all->last = window == all->window + 1 ? all->count : 0;
        all->count = 0;
        all->window = window;
    }
    double left = 1 - (double)(at_us % period_us) / (double)period_us;
    double last = rule->algorithm == CFG_LIMIT_SLIDING_WINDOW ? all->last * left : 0;
    return (rate > 1 ? rate : 1) - all->count - last;
}

/* How much of `amount` is refused. */
static double refuse(struct together *all, int64_t at_us, double amount)
{
    bool bucket = all->rule->algorithm == CFG_LIMIT_TOKEN_BUCKET ||
                  all->rule->algorithm == CFG_LIMIT_LEAKY_BUCKET;
    double room = bucket ? bucket_room(all, at_us) : window_room(all, at_us);
    double allowed = room > amount ? amount : room > 0 ? room : 0;

    all->room -= allowed;
    all->count += allowed;
    all->at_us = at_us;
    return amount - allowed;
}

static void play_together(const struct cfg_limit_rule *rule, double share,
                          struct adm_limit_sample_view *view, struct refused *refused)
{
    bool by_sale = rule->key == CFG_LIMIT_KEY_SALE;
    const struct together begin = {.rule = rule, .share = share};
    struct together all = begin;
    double amount = (double)(UINT64_C(1) << view->level);

    sort(view->at, view->count, by_sale ? by_target : by_time);
    for (size_t i = 0; i < view->count; i++) {
        if (by_sale && i > 0 && view->at[i].target != view->at[i - 1].target)
            all = begin;
        add_key(refused, refuse(&all, view->at[i].at_us, amount) / amount);
    }
}

int adm_forecast(const struct adm_limit_samples *samples, const struct cfg_limit_rule *rule,
                 double share, int64_t now_ns, struct adm_forecast *ret_forecast)
{
    const struct adm_limit_sample_want want = {.kind = rule->key,
                                               .now_ns = now_ns,
                                               .most = REQUESTS_MAX,
                                               .is_wanted = is_for_rule,
                                               .ctx = rule};
    struct refused refused = {0};
    struct adm_limit_sample_view view;
    int err = adm_limit_samples_read(samples, &want, &view);

    if (err < 0)
        return err;
    double one_in = (double)(UINT64_C(1) << view.level);
    int64_t seen = (int64_t)(view.count << view.level);
    if (rule->mode == CFG_LIMIT_OFF)
        refused = (struct refused){0};
    else if (rule->key == CFG_LIMIT_KEY_USER || rule->key == CFG_LIMIT_KEY_IP)
        play_own_keys(rule, &view, &refused);
    else
        play_together(rule, share, &view, &refused);
    free(view.at);
    bool by_key = rule->key == CFG_LIMIT_KEY_USER || rule->key == CFG_LIMIT_KEY_IP;
    double error = 2 * one_in * sqrt(refused.squares * (1 - 1 / one_in));
    if (one_in > 1 && rule->mode != CFG_LIMIT_OFF && error < 3 * one_in)
        error = 3 * one_in;
    *ret_forecast = (struct adm_forecast){.took_ns = now_ns - view.from_ns,
                                          .seen = seen,
                                          .refused = (int64_t)(refused.all * one_in + 0.5),
                                          .error = (int64_t)ceil(error),
                                          .may_miss_keys = error > 0 && by_key,
                                          .one_key_dominates =
                                              error > 0 && by_key && refused.most * 2 > refused.all,
                                          .one_in = (int64_t)one_in};
    return 0;
}
