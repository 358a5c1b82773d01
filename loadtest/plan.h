/* The arrival plan of a rehearsal: who clicks when. Computed before the first click, from a seed,
 * so that neither the answers nor a slow gateway can move an arrival (open loop). */
#ifndef LT_PLAN_H
#define LT_PLAN_H

#include "common/text/id.h"
#include "common/text/json.h"

enum lt_shape {
    LT_SPIKE,   /* most at the first moment, then falling off exponentially */
    LT_RAMP,    /* growing evenly from nothing */
    LT_STEP,    /* the same mean rate all the time, at random moments */
    LT_CONSTANT /* evenly spaced: for measuring, not life-like */
};

#define LT_PHASES_MAX   16
#define LT_CLICKS_MAX   20000000 /* of a plan; 16 bytes of memory each */
#define LT_SKUS_MAX     16
#define LT_QUANTITY_MAX 100

struct lt_phase {
    enum lt_shape shape;
    int64_t over_ms;
    int64_t clicks; /* first clicks, without repeated ones */
};

struct lt_plan_spec {
    int64_t buyers; /* distinct people, at most as many as first clicks; 0 = each first click is by
                       a new buyer */
    int64_t stock;  /* units of all SKUs together */
    int64_t skus;   /* 0: 1 */
    int64_t quantity_min, quantity_max; /* units of an order; 0: 1 */
    int64_t cap;             /* units that one buyer may have; 0: as many as one order may have */
    int64_t sku_cap;         /* the same for each SKU; 0: no cap */
    double repeat_share;     /* 0..1 of the clicks are repeated by the same buyer soon after */
    double repeat_key_share; /* 0..1 of the repeated clicks carry the first one's key */
    uint64_t seed;
    struct lt_phase phases[LT_PHASES_MAX];
    size_t phase_count;
};

/* Moments are multiples of this: clicks at the same moment wake the client once, and half a moment
 * is far less than the delay of a buyer's network. */
#define LT_MOMENT_NS INT64_C(250000)

struct lt_click {
    int64_t at_ns; /* from the start of the plan */
    uint32_t buyer;
    uint8_t wish;      /* which of the buyer's wishes it is for: each is an order of its own */
    bool with_key : 1; /* sends the wish's Idempotency-Key */
    bool repeat : 1;   /* not the buyer's first click */
    uint16_t tries;    /* how often the client has tried it already */
};

struct lt_sku {
    char name[PS_NAME_MAX + 1];
};

/* What a buyer wants. */
struct lt_wish {
    size_t sku; /* 0 .. skus - 1 */
    int64_t quantity;
};

struct lt_plan {
    struct lt_plan_spec spec; /* with defaults filled in */
    int64_t length_ns;        /* of the phases; repeated clicks may come later */
    size_t count;
    struct lt_click *clicks; /* in the order of time */
};

const char *lt_shape_name(enum lt_shape shape);
int lt_shape_parse(const char *name, enum lt_shape *ret_shape) PS_MUST_CHECK;

/* "3s", "250ms", "2m", or seconds without a unit ("0.5"): 1 ms to one day. PS_E_INVALID. */
int lt_duration_parse(const char *text, int64_t *ret_ms) PS_MUST_CHECK;

/* Reads a plan file over `spec` (members that are absent keep their value; the phases
 * are replaced). PS_E_INVALID names the member; `spec` is then half filled. */
int lt_plan_spec_read(const json_t *json, struct lt_plan_spec *spec,
                      struct ps_fault *fault) PS_MUST_CHECK;

/* Replaces zeros of SKUs, quantities and the cap by defaults. */
void lt_plan_spec_fill(struct lt_plan_spec *spec);

/* The same for every click of this wish. SKUs take turns, so that each is wanted equally often;
 * quantities are drawn. `spec` is a plan's. */
struct lt_wish lt_plan_wish(const struct lt_plan_spec *spec, uint32_t buyer, uint8_t wish);

/* Of a specification whose members are within the bounds of the command line and the plan file.
 * PS_E_INVALID: it has too many clicks, repeated ones included. PS_E_NOMEM.
 * Owner: the caller (lt_plan_free). */
int lt_plan_new(const struct lt_plan_spec *spec, struct lt_plan **ret_plan,
                struct ps_fault *fault) PS_MUST_CHECK;
void lt_plan_free(struct lt_plan *plan); /* NULL is allowed */

#endif
