/* Arrival times by inversion: n buyers who act independently of each other arrive at n random
 * moments whose distribution is the phase's shape. The sorted moments are drawn one after the other
 * (order statistics of the uniform distribution: given the k-th, the next lies 1 - U^(1/(n-k)) of
 * the rest of the way on) and pushed through the inverse of the shape's distribution function. So
 * bursts and gaps are realistic, the number is exact, and the same seed gives the same plan.
 *
 * A repeated click is by the same person, at least REPEAT_MIN_NS after the previous click, and on
 * average REPEAT_MEAN_NS later. If a buyer may have several units, a returning buyer wants more: a
 * new order each time, sometimes with the key of the previous one, until they have asked for more
 * than the cap. So caps are reached. */
#include "loadtest/plan.h"

#include "common/clock.h"
#include "common/random.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define REPEAT_MIN_NS  (50 * PS_NS_PER_MS)
#define REPEAT_MEAN_NS (400 * PS_NS_PER_MS)
#define REPEAT_MAX_NS  (3 * PS_NS_PER_S)
#define SPIKE_DECAY    5.0 /* a spike ends at e^-5 of the rate it starts with */
#define OVER_MAX_MS    INT64_C(86400000)

static const char *const shape_names[] = {"spike", "ramp", "step", "constant", NULL};

const char *lt_shape_name(enum lt_shape shape)
{
    return shape_names[shape];
}

int lt_shape_parse(const char *name, enum lt_shape *ret_shape)
{
    for (size_t i = 0; shape_names[i] != NULL; i++) {
        if (strcmp(name, shape_names[i]) == 0) {
            *ret_shape = (enum lt_shape)i;
            return 0;
        }
    }
    return PS_E_INVALID;
}

int lt_duration_parse(const char *text, int64_t *ret_ms)
{
    static const struct {
        const char *unit;
        double ms;
    } units[] = {{"", 1000}, {"s", 1000}, {"ms", 1}, {"m", 60000}, {"h", 3600000}};

    if (text[0] < '0' || text[0] > '9')
        return PS_E_INVALID;
    char *end = NULL;
    double number = strtod(text, &end);
    for (size_t i = 0; i < PS_ARRAY_LEN(units); i++) {
        if (strcmp(end, units[i].unit) != 0)
            continue;
        double ms = number * units[i].ms;
        if (!(ms >= 1 && ms <= (double)OVER_MAX_MS))
            return PS_E_INVALID;
        *ret_ms = (int64_t)llround(ms);
        return 0;
    }
    return PS_E_INVALID;
}

static int read_phase(const json_t *value, size_t index, struct lt_phase *ret_phase,
                      struct ps_fault *fault)
{
    char pointer[32];
    (void)snprintf(pointer, sizeof pointer, "/phases/%zu", index);
    struct ps_json_reader reader;
    ps_json_reader_init(&reader, value, pointer, fault);
    ps_json_require(&reader, (const char *const[]){"shape", "over_ms", "clicks", NULL});
    int shape = LT_STEP;
    struct lt_phase phase = {.clicks = 0};
    ps_json_enum(&reader, "shape", shape_names, &shape);
    ps_json_int(&reader, "over_ms", 1, OVER_MAX_MS, &phase.over_ms);
    ps_json_int(&reader, "clicks", 1, LT_CLICKS_MAX, &phase.clicks);
    int err = ps_json_done(&reader);
    if (err < 0)
        return err;
    phase.shape = (enum lt_shape)shape;
    *ret_phase = phase;
    return 0;
}

static int read_phases(struct ps_json_reader *reader, struct lt_plan_spec *spec)
{
    const json_t *phases = ps_json_value(reader, "phases");
    if (phases == NULL)
        return 0;
    if (!json_is_array(phases) || json_array_size(phases) < 1 ||
        json_array_size(phases) > LT_PHASES_MAX) {
        ps_json_fault(reader, "phases", "must be a list of 1 to %d phases", LT_PHASES_MAX);
        return PS_E_INVALID;
    }
    spec->phase_count = json_array_size(phases);
    for (size_t i = 0; i < spec->phase_count; i++) {
        int err = read_phase(json_array_get(phases, i), i, &spec->phases[i], reader->fault);
        if (err < 0)
            return err;
    }
    return 0;
}

int lt_plan_spec_read(const json_t *json, struct lt_plan_spec *spec, struct ps_fault *fault)
{
    struct ps_json_reader reader;
    ps_json_reader_init(&reader, json, "", fault);
    int64_t seed = (int64_t)spec->seed;
    ps_json_int(&reader, "buyers", 0, LT_CLICKS_MAX, &spec->buyers);
    ps_json_int(&reader, "stock", 1, PS_INT_MAX, &spec->stock);
    ps_json_int(&reader, "seed", 0, PS_INT_MAX, &seed);
    spec->seed = (uint64_t)seed;
    ps_json_number(&reader, "repeat_share", 0, 1, &spec->repeat_share);
    ps_json_number(&reader, "repeat_key_share", 0, 1, &spec->repeat_key_share);
    int err = reader.err < 0 ? reader.err : read_phases(&reader, spec);
    if (err == 0)
        err = ps_json_done(&reader);
    if (err == 0 && json_object_get(json, "phases") == NULL)
        err = ps_fault(fault, PS_E_INVALID, "/phases", "is missing");
    return err;
}

/* Where in the phase (0..1) the share `v` of its clicks has come. */
static double arrived_by(enum lt_shape shape, double v)
{
    switch (shape) {
    case LT_SPIKE:
        return -log1p(v * expm1(-SPIKE_DECAY)) / SPIKE_DECAY;
    case LT_RAMP:
        return sqrt(v);
    case LT_STEP:
    case LT_CONSTANT:
        break;
    }
    return v;
}

static int by_time(const void *left, const void *right)
{
    const struct lt_click *a = left, *b = right;
    if (a->at_ns != b->at_ns)
        return a->at_ns < b->at_ns ? -1 : 1;
    return a->buyer < b->buyer ? -1 : a->buyer > b->buyer;
}

/* Rounds `at_ns` down to its moment. */
static int64_t round_to_moment(double at_ns)
{
    int64_t whole_ns = llround(at_ns);
    return whole_ns - whole_ns % LT_MOMENT_NS;
}

struct lt_wish lt_plan_wish(const struct lt_plan_spec *spec, uint32_t buyer, uint8_t wish)
{
    uint64_t state = spec->seed + ((uint64_t)buyer << 8 | wish);
    uint64_t choices = (uint64_t)(spec->quantity_max - spec->quantity_min + 1);
    return (struct lt_wish){.sku = ((size_t)buyer + wish) % (size_t)spec->skus,
                            .quantity =
                                spec->quantity_min + (int64_t)(ps_random_next(&state) % choices)};
}

/* Adds another click of the buyer of `last`, after it; `last` becomes that click. */
static void add_repeat(struct lt_plan *plan, struct lt_click *last, uint8_t wish, bool with_key,
                       uint64_t *random)
{
    double delay = -log(ps_random_draw(random)) * (double)REPEAT_MEAN_NS;
    if (delay > (double)REPEAT_MAX_NS)
        delay = (double)REPEAT_MAX_NS;
    *last = (struct lt_click){
        .at_ns = last->at_ns + REPEAT_MIN_NS + round_to_moment(delay),
        .buyer = last->buyer,
        .wish = wish,
        .with_key = with_key,
        .repeat = true,
    };
    plan->clicks[plan->count++] = *last;
}

/* Adds the repeated clicks of a buyer, at most `most`; returns how many. */
static size_t add_repeats(struct lt_plan *plan, struct lt_click click, size_t most,
                          uint64_t *random)
{
    const struct lt_plan_spec *spec = &plan->spec;
    size_t before = plan->count;
    if (spec->cap == 1)
        add_repeat(plan, &click, 0, ps_random_draw(random) < spec->repeat_key_share, random);
    int64_t asked = lt_plan_wish(spec, click.buyer, 0).quantity;
    for (uint8_t wish = 1; spec->cap > 1 && asked <= spec->cap && wish < UINT8_MAX; wish++) {
        asked += lt_plan_wish(spec, click.buyer, wish).quantity;
        for (int i = ps_random_draw(random) < spec->repeat_key_share ? 2 : 1; i > 0; i--) {
            if (plan->count - before == most)
                return most;
            add_repeat(plan, &click, wish, true, random);
        }
    }
    return plan->count - before;
}

/* The expected number of repeated clicks per returning buyer. */
static double expect_repeats(const struct lt_plan_spec *spec)
{
    if (spec->cap == 1)
        return 1;
    double mean = (double)(spec->quantity_min + spec->quantity_max) / 2;
    return fmax(1, (double)spec->cap / mean) * (1 + spec->repeat_key_share);
}

/* Adds repeated clicks, up to `room` clicks in all. */
static void add_phase(struct lt_plan *plan, const struct lt_phase *phase, int64_t start_ns,
                      int64_t *first_index, size_t *repeats_left, uint64_t *random)
{
    double v = 0, comes_back = plan->spec.repeat_share / expect_repeats(&plan->spec);
    for (int64_t i = 0; i < phase->clicks; i++) {
        if (phase->shape == LT_CONSTANT)
            v = (double)i / (double)phase->clicks;
        else
            v += (1 - v) * -expm1(log(ps_random_draw(random)) / (double)(phase->clicks - i));
        int64_t index = (*first_index)++;
        bool again = index >= plan->spec.buyers;
        struct lt_click click = {
            .at_ns = start_ns + round_to_moment(arrived_by(phase->shape, v) *
                                                (double)phase->over_ms * (double)PS_NS_PER_MS),
            .buyer = (uint32_t)(index % plan->spec.buyers),
            .with_key = !again || ps_random_draw(random) < plan->spec.repeat_key_share,
            .repeat = again,
        };
        plan->clicks[plan->count++] = click;
        if (*repeats_left > 0 && ps_random_draw(random) < comes_back)
            *repeats_left -= add_repeats(plan, click, *repeats_left, random);
    }
}

void lt_plan_spec_fill(struct lt_plan_spec *spec)
{
    if (spec->skus == 0)
        spec->skus = 1;
    if (spec->quantity_max == 0)
        spec->quantity_min = spec->quantity_max = 1;
    if (spec->cap == 0)
        spec->cap = spec->quantity_max;
}

int lt_plan_new(const struct lt_plan_spec *spec, struct lt_plan **ret_plan, struct ps_fault *fault)
{
    assert(spec->phase_count >= 1 && spec->phase_count <= LT_PHASES_MAX);
    int64_t first_clicks = 0;
    for (size_t i = 0; i < spec->phase_count; i++) {
        assert(spec->phases[i].over_ms >= 1 && spec->phases[i].clicks >= 1);
        first_clicks += spec->phases[i].clicks;
    }
    if ((double)first_clicks * (1 + spec->repeat_share) > LT_CLICKS_MAX)
        return ps_fault(fault, PS_E_INVALID, "/phases", "more than %d clicks", LT_CLICKS_MAX);
    size_t repeats_left = (size_t)llround((double)first_clicks * spec->repeat_share);

    struct lt_plan *plan = calloc(1, sizeof *plan);
    if (plan == NULL)
        return ps_fault(fault, PS_E_NOMEM, "", "no memory for the plan");
    plan->spec = *spec;
    if (plan->spec.buyers == 0 || plan->spec.buyers > first_clicks)
        plan->spec.buyers = first_clicks;
    lt_plan_spec_fill(&plan->spec);
    plan->clicks = malloc(((size_t)first_clicks + repeats_left) * sizeof *plan->clicks);
    if (plan->clicks == NULL) {
        lt_plan_free(plan);
        return ps_fault(fault, PS_E_NOMEM, "", "no memory for %lld clicks",
                        (long long)first_clicks);
    }
    uint64_t random = spec->seed;
    int64_t first_index = 0;
    bool repeats = repeats_left > 0;
    for (size_t i = 0; i < spec->phase_count; i++) {
        add_phase(plan, &spec->phases[i], plan->length_ns, &first_index, &repeats_left, &random);
        plan->length_ns += spec->phases[i].over_ms * PS_NS_PER_MS;
    }
    if (repeats)
        qsort(plan->clicks, plan->count, sizeof *plan->clicks, by_time);
    *ret_plan = plan;
    return 0;
}

void lt_plan_free(struct lt_plan *plan)
{
    if (plan == NULL)
        return;
    free(plan->clicks);
    free(plan);
}
