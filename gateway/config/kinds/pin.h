/* Pins: what an operator sets by hand for a while - the level of the ladder, a feature - whatever
 * the pressure. A pin is the state of its document, with an absolute end: so it outlives a restart,
 * reaches the other gateways of a cluster, and is forgotten by nobody. */
#ifndef CFG_PIN_H
#define CFG_PIN_H

#include "gateway/config/store/document.h"

#define CFG_PIN_MAX_S INT64_C(604800) /* a week */

struct cfg_pin {
    int64_t until_ms; /* wall clock; 0: there is no pin */
    int value;        /* a number, or the place of a word */
    char who[PS_NAME_MAX + 1];
    char why[CFG_WHY_SIZE];
};

/* How the pins of a kind are written. */
struct cfg_pin_words {
    const char *member;       /* says what is pinned; NULL: there is nothing to choose */
    const char *const *words; /* its values, NULL-terminated; NULL: a number, min to max */
    int min, max;
};

static inline bool cfg_pin_is_in_force(const struct cfg_pin *pin, int64_t wall_ms)
{
    return pin->until_ms > wall_ms;
}

/* What is asked for by POST …/pin; who and why are the caller's. PS_E_INVALID: all faults are
 * added. */
int cfg_pin_ask(const json_t *json, const struct cfg_pin_words *words, int64_t now_ms,
                struct cfg_pin *ret_pin, struct ps_faults *faults) PS_MUST_CHECK;
/* From a document's state. PS_E_INVALID. */
int cfg_pin_read(const json_t *state, const struct cfg_pin_words *words, struct cfg_pin *ret_pin,
                 struct ps_faults *faults) PS_MUST_CHECK;
/* As answers show it; null where there is none. Owner: the caller. NULL: out of memory. */
json_t *cfg_pin_write(const struct cfg_pin *pin, const struct cfg_pin_words *words);
/* The state of a document with this pin (NULL: without one). The same. */
json_t *cfg_pin_state(const struct cfg_pin *pin, const struct cfg_pin_words *words);

#endif
