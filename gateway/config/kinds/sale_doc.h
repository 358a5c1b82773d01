/* A sale's document: JSON, read strictly, and what may change in it later. What happened to the
 * sale (opened, paused, ended, its version) is kept beside the document. */
#ifndef CFG_SALE_DOC_H
#define CFG_SALE_DOC_H

#include "gateway/config/store/document.h"

#define CFG_SALES_MAX           10000
#define CFG_SALE_SKUS_MAX       100
#define CFG_SALE_ATTRIBUTES_MAX 2048 /* bytes, as compact JSON */
#define CFG_SALE_CAP_DEFAULT    1
#define CFG_SALE_TTL_MIN_S      5
#define CFG_SALE_TTL_MAX_S      604800
#define CFG_SALE_TTL_DEFAULT_S  900

struct cfg_sku_doc {
    char name[PS_NAME_MAX + 1];
    int64_t stock;      /* at the opening; later changes are adjustments */
    int64_t cap;        /* units of this SKU a user may have; 0 = only the sale's (null) */
    char amount[32];    /* "9.90"; "" = no price */
    char currency[4];   /* "CNY" */
    json_t *attributes; /* an object, owned */
};

struct cfg_sale_doc {
    char name[PS_NAME_MAX + 1];
    int64_t opens_at_ms;  /* INT64_MAX = none yet: a draft */
    int64_t closes_at_ms; /* INT64_MAX = none */
    int64_t cap;          /* units a user may have over all SKUs */
    int64_t ttl_s;        /* of a reservation until it is paid */
    bool rehearsal;
    /* The sale whose rehearsals it serves; "" = none. Only with `rehearsal`. */
    char twin_of[PS_NAME_MAX + 1];
    json_t *attributes; /* an object, owned */
    size_t sku_count;
    struct cfg_sku_doc *skus; /* owned */
    bool open;                /* only while the document is read */
};

/* Kept beside the document; the control store keeps both. */
struct cfg_sale_state {
    int64_t version; /* 1 at creation, +1 with every change of document or state */
    int64_t created_at_ms;
    bool opening; /* not yet opened, and some gateway has begun to open it: its stock and
                     its SKUs are fixed at all gateways */
    /* Identifies the opening: the same at all gateways of the cluster and in all fences of the
     * sale;
     * "": no opening yet, or by a gateway without a cluster. */
    char opening_id[PS_UUID_LEN + 1];
    bool opened; /* its stock is, or is about to be, in the log; noted before the counters are
                    installed, never undone */
    bool paused;
    bool ended;          /* by an operator, for good */
    int64_t ended_at_ms; /* when; 0 = not ended, or not known */
    bool archived;       /* the log has its sale.archived; only this state is kept here */
};

/* What a gateway notes in a sale's state, as a new version that every gateway sees. */
enum cfg_sale_note {
    CFG_NOTE_OPENING, /* its stock and its SKUs are fixed from now on, on all gateways */
    CFG_NOTE_OPENED,  /* the records of its opening are all in the log */
    CFG_NOTE_ARCHIVED
};

/* A sale version's parsed document and state. */
struct cfg_stored_sale {
    struct cfg_sale_doc doc; /* the first: its table is the kind's */
    struct cfg_sale_state state;
};

/* Of a struct cfg_sale_doc; what is read needs a struct cfg_reading. A member "sale" is allowed and
 * must equal the reading's name.
 *
 * An operator's document (now_ms is not 0) that would open the sale at once, because opens_at is
 * more than CFG_SALE_PAST_MS ago, must have "open": a mistyped year cannot be undone. With "open"
 * and no opens_at the sale opens now, or keeps the opens_at that it had, so that the same document
 * may be sent again. "open" is not stored. */
#define CFG_SALE_PAST_MS 60000
extern const struct ps_table cfg_sale_table;

/* May the sale change from `from` to `to` at `wall_ms`? Before it is opened everything may change
 * except `rehearsal` and `twin_of`; afterwards closes_at, caps, reservation_ttl_s, prices and
 * attributes; after its end, prices and attributes. Each other change is a fault (paths begin with
 * `pointer`); returns the refusal of the first. Both documents are valid; an equal one is always
 * allowed. */
enum cfg_refusal cfg_sale_doc_change(const struct cfg_sale_doc *from, const struct cfg_sale_doc *to,
                                     const struct cfg_sale_state *state, int64_t wall_ms,
                                     const char *pointer, struct ps_faults *faults);
/* What buyers see of a sale. Before the opening it is scheduled, whether or not it is paused. */
enum cfg_phase { CFG_PHASE_SCHEDULED, CFG_PHASE_OPEN, CFG_PHASE_PAUSED, CFG_PHASE_ENDED };
/* The window is [opens_at_ms, closes_at_ms); a draft has opens_at_ms = INT64_MAX. */
static inline enum cfg_phase cfg_phase_at(int64_t opens_at_ms, int64_t closes_at_ms, bool paused,
                                          bool ended, int64_t wall_ms)
{
    if (ended || (wall_ms >= closes_at_ms && opens_at_ms != INT64_MAX))
        return CFG_PHASE_ENDED;
    if (wall_ms < opens_at_ms)
        return CFG_PHASE_SCHEDULED;
    return paused ? CFG_PHASE_PAUSED : CFG_PHASE_OPEN;
}
/* The state for operators: the phase, and "draft", or "paused" even before the opening. */
const char *cfg_sale_state_name(const struct cfg_sale_doc *doc, const struct cfg_sale_state *state,
                                int64_t wall_ms);
/* The state as JSON, as it is stored beside the document. NULL = out of memory. */
json_t *cfg_sale_state_write(const struct cfg_sale_state *state) PS_MUST_CHECK;
/* Reads the state; absent members keep their values. */
int cfg_sale_state_read(const json_t *json, struct cfg_sale_state *state,
                        struct ps_faults *faults) PS_MUST_CHECK;
/* Of a sale's version that is not a deletion. */
static inline const struct cfg_stored_sale *cfg_sale_of(const struct cfg_doc *doc)
{
    return doc->parsed;
}

#endif
