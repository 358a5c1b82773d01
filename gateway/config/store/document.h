/* What operators decide is documents: kind, name, version, JSON. A kind is one row of functions and
 * words (cfg_kinds); everything else - history, synchronisation, If-Match, PATCH, rollback, bundles
 * - is written once for all of them (store.h).
 *
 * A document never moves another's version. Every change, of any kind, gets the next revision of
 * the store. */
#ifndef CFG_DOCUMENT_H
#define CFG_DOCUMENT_H

#include "common/text/address.h"
#include "common/err.h"
#include "common/text/id.h"
#include "common/text/json.h"
#include "common/listener.h"
#include "common/table/table.h"

#include <stdio.h>
#include <sys/queue.h>

#define CFG_NAME_MAX   240 /* bytes of a document's name: "TARGET@GATEWAY" is the longest */
#define CFG_REASON_MAX 256 /* characters of a reason; of up to 4 bytes each */
#define CFG_WHY_SIZE   (4 * CFG_REASON_MAX + 1)

/* How documents are printed: real numbers as people wrote them (9.9, not 9.9000000000000004). */
#define CFG_JSON_FLAGS (JSON_COMPACT | JSON_REAL_PRECISION(15))

struct cfg_store;

/* Who made a version, when, from where and why. */
struct cfg_author {
    int64_t at_ms;
    const char *who;    /* id of a token, "settings", "system", "penstock" (shipped) */
    const char *peer;   /* address, or "" */
    const char *action; /* as the audit log names it: "sale.put", "sale.pause" … */
    const char *why;    /* "" = none */
};

/* One version of one document. Nobody changes it once the store has it. */
struct cfg_doc {
    const struct cfg_kind *kind;
    const char *name;
    int64_t version;  /* 1 at creation, +1 with every change, also over a deletion */
    int64_t revision; /* of the store, when it came into force */
    int64_t created_at_ms;
    struct cfg_author by; /* of this version; its texts are the document's */
    char *json;           /* the document, complete; NULL: deleted */
    char *state;          /* what has become of it, beside the document; NULL: its kind has none */
    void *parsed;         /* what the kind's table fills; NULL: deleted */
};

/* Why a valid document may not take the place of another one. */
enum cfg_refusal {
    CFG_MAY,
    CFG_CONFLICT,
    CFG_USE_ADJUST, /* stock changes by adjustments only */
    CFG_ENDED,      /* the sale is over */
    CFG_HAS_ORDERS, /* the sale was opened */
    CFG_IN_USE      /* others name it */
};

#define CFG_LISTENERS 2

/* What the settings of this gateway let people name in documents. */
struct cfg_bounds {
    struct ps_cidrs networks;                    /* of endpoints */
    struct ps_listener listeners[CFG_LISTENERS]; /* the gateway's own: no endpoints */
    const char *static_dir;                      /* of files for bodies; NULL: none */
    const char *endpoint_dir;                    /* of files that name endpoints; NULL: none */
    const char *gateway;                         /* its name; NULL: it has none */
};

/* What a document is read for. */
struct cfg_reading {
    const char *pointer;             /* of the document in what is read; "" = it is the whole */
    int64_t now_ms;                  /* an operator's: checked against the clock; 0: a stored one */
    const struct cfg_bounds *bounds; /* NULL: a stored one, whatever it names */
    const struct cfg_doc *have;      /* the version in force, which it follows; NULL: none */
    const char *name;                /* of the document */
};

/* A document that another one names, and in which member ("/fallback/1/pool"). */
typedef void cfg_named_fn(const struct cfg_kind *kind, const char *name, const char *member,
                          void *ctx);

/* A document as the program brings it along. */
struct cfg_shipped {
    const char *name;
    const char *json;
};

struct cfg_kind {
    const char *path;      /* in URLs, Redis and control.db: "sales", "blocklist/users" */
    const char *id;        /* of its schema: "block_user"; NULL: it is private */
    const char *word;      /* one of them, in messages: "sale" */
    const char *name_rule; /* what a name must be */
    const char *listed;    /* the member of a list's answer */
    const char *put;       /* actions of the audit log */
    const char *drop;
    size_t max;           /* documents at once … */
    const char *max_with; /* … together with this kind; NULL: alone */
    bool lists_names;     /* its list is an object by name, not an array */
    bool may_be_empty;    /* a PUT without a body is one of {} */
    bool keeps_reason;    /* the reason of a change is a member of the document, too */
    bool has_no_history;  /* only the version in force is kept */
    bool is_private; /* it holds secrets, or has routes of its own: no bundle has it, and the routes
                        of documents do not serve it */
    const char *initial_state; /* JSON; NULL: the kind has none */
    /* Documents that exist from the start and for ever, by "penstock"; ends with a name of NULL.
     * NULL: none. */
    const struct cfg_shipped *shipped;
    const char *instead; /* what can be done where one of them cannot be deleted; NULL: nothing */
    bool ends_at_once;   /* an end by itself is published, and does not wait for a change */
    bool makes_up_table; /* the table of upstreams is made of these, too */
    bool only_shipped;   /* there are no others: none is deleted */
    const char *single;  /* the name of the one document, which its path leaves out; NULL: no */
    /* The one spelling of a name, NUL-terminated. PS_E_INVALID. */
    int (*name)(const char *text, size_t len, char ret_name[CFG_NAME_MAX + 1]);
    /* What the document holds: it is read, printed, compared and freed by its table, whose checks
     * get a struct cfg_reading. */
    const struct ps_table *table;
    /* Reads the state into what was read of the document. PS_E_INVALID, PS_E_NOMEM. NULL: it has
     * none. */
    int (*read_state)(void *parsed, const json_t *state, struct ps_faults *faults);
    void (*free)(void *parsed); /* NULL: what its table frees is all */
    /* The state that belongs to it, of what there was: another version may leave nothing of it.
     * NULL: all stays. */
    json_t *(*write_state)(const void *parsed);
    /* Adds the read-only members that follow from the document alone; 0 or -1. NULL: none. */
    int (*show)(const struct cfg_doc *doc, json_t *json);
    /* May `to` (NULL: a deletion) take the place of `from` (NULL: there is none)? Adds the faults;
     * their paths begin with `pointer`. */
    enum cfg_refusal (*may_change)(const struct cfg_store *store, const struct cfg_doc *from,
                                   const struct cfg_doc *to, const char *pointer,
                                   struct ps_faults *faults);
    /* Calls `take` for each document that this one names: it must exist (check.c). NULL: none. */
    void (*names)(const void *parsed, cfg_named_fn *take, void *ctx);
    /* Can the two not be in force together? Then clash_words and the other's name say so of
     * clash_member. NULL: all can. */
    bool (*clashes)(const void *parsed, const void *other);
    const char *clash_member, *clash_words;
    /* It ends by itself then: from that moment on there is no such document. NULL: never. */
    int64_t (*ends_at_ms)(const void *parsed);
    /* Does `to` only put off the end of `from`? Then no line of the audit log, no log event and no
     * snapshot come of it. NULL: never. */
    bool (*renews)(const void *to, const void *from);
    /* The action of the audit line when it ends by itself; NULL, and returning NULL: there is none.
     */
    const char *(*ended)(const void *parsed);
    /* Has the version `to` of a document of another kind taken away what it is about? Then the
     * change that brings `to` deletes it, too. NULL: never. */
    bool (*falls)(const void *parsed, const struct cfg_doc *to);
    /* A version came into force, whoever made it, or (`to` NULL) the document has ended. NULL:
     * nothing to do. */
    void (*in_force)(const struct cfg_doc *from, const struct cfg_doc *to);
    /* An operator's or the settings' version came into force. NULL: nothing to do. */
    void (*changed)(const struct cfg_store *store, const struct cfg_doc *doc);
};

/* NULL-terminated: every kind. A new one is one file and one line there (kinds.c). */
extern const struct cfg_kind *const cfg_kinds[];
extern const struct cfg_kind cfg_kind_sale, cfg_kind_limit, cfg_kind_user, cfg_kind_range,
    cfg_kind_overload, cfg_kind_feature, cfg_kind_rehearsal_key, cfg_kind_cache, cfg_kind_pool,
    cfg_kind_route, cfg_kind_registration, cfg_kind_override;
const struct cfg_kind *cfg_kind_find(const char *path, size_t len); /* NULL: there is none */
/* Splits "kind/name" into kind and name (the rest of the text). NULL: neither. */
const struct cfg_kind *cfg_kind_of(const char *text, const char **ret_name);

/* Reads and checks a document and its state; what is NULL is not read. PS_E_INVALID, PS_E_NOMEM:
 * all faults are added. Owner: the caller, cfg_kind_free. */
int cfg_kind_read(const struct cfg_kind *kind, const struct cfg_reading *reading,
                  const json_t *json, const json_t *state, void **ret_parsed,
                  struct ps_faults *faults) PS_MUST_CHECK;
void cfg_kind_free(const struct cfg_kind *kind, void *parsed);
/* The document, complete: reading it gives the same. Owner: the caller. NULL: out of memory. */
json_t *cfg_kind_print(const struct cfg_kind *kind, const void *parsed) PS_MUST_CHECK;

/* JSON Schema of what a PUT of such a document takes, and of what reading adds (`readOnly`). Owner:
 * the caller. NULL: out of memory. */
json_t *cfg_kind_schema(const struct cfg_kind *kind, enum ps_language language) PS_MUST_CHECK;
/* Writes those of all kinds that are no private ones, each under its id, for editors and for
 * admin/openapi.yaml. The stream's error flag says whether it was written. */
void cfg_kinds_print_schemas(FILE *out);

bool cfg_kind_ships(const struct cfg_kind *kind, const char *name);
/* Is its path in the list "limits,routes"? In "" there are all. */
bool cfg_kind_is_listed(const struct cfg_kind *kind, const char *paths);

/* A version from its parts, which are copied; `json` and `state` are parsed. A `json` of NULL is a
 * deletion. PS_E_INVALID, PS_E_NOMEM: all faults are added. */
struct cfg_doc_parts {
    const struct cfg_kind *kind;
    const char *name;
    int64_t version, revision, created_at_ms;
    struct cfg_author by;
    const json_t *json, *state;
    struct cfg_reading reading;
};
int cfg_doc_new(const struct cfg_doc_parts *parts, struct cfg_doc **ret_doc,
                struct ps_faults *faults) PS_MUST_CHECK;
void cfg_doc_free(struct cfg_doc *doc); /* NULL is allowed */
/* The document as it was stored; with the members that only reading shows. Owner: the caller. NULL:
 * out of memory, or deleted. */
json_t *cfg_doc_json(const struct cfg_doc *doc);
json_t *cfg_doc_shown(const struct cfg_doc *doc);
/* The same document in the same state, whatever their versions and the order of their members? */
bool cfg_doc_is_same(const struct cfg_doc *doc, const struct cfg_doc *other);
/* Is it the version before with another end, and nothing else? */
bool cfg_doc_renews(const struct cfg_doc *doc, const struct cfg_doc *before);
/* When it ends by itself; INT64_MAX: never. */
int64_t cfg_doc_ends_at_ms(const struct cfg_doc *doc);

/* --- Members that only reading shows, by the rows of the kind's table (read_only.c). --- */
/* Takes out the members that only reading shows, whatever they say. */
void cfg_drop_read_only(json_t *json, const struct cfg_kind *kind);
/* The same of a document that was read as `shown`. What is not as it was read is a fault. Members
 * that change by themselves may have changed since: they are faults only where `strict`, which is
 * when nothing else changes. */
void cfg_take_read_only(json_t *json, const json_t *shown, const struct cfg_kind *kind, bool strict,
                        struct ps_faults *faults);

#endif
