/* What operators decide is documents: kind, name, version, JSON. A kind is one row of functions and
 * words (cfg_kinds); everything else - history, synchronisation, If-Match, PATCH, rollback, bundles
 * - is written once for all of them (store.h).
 *
 * Changing a document never changes another's version. Every change, of any kind, gets the next
 * revision of the store. */
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

/* Authors that are not tokens: the gateway acting by itself, and the author of shipped documents.
 */
#define CFG_BY_GATEWAY "system"
#define CFG_BY_PROGRAM "penstock"

/* The author of a version, with the time, the address and the reason. */
struct cfg_author {
    int64_t at_ms;
    const char *who;    /* id of a token, "settings", or one of the above */
    const char *peer;   /* address, or "" */
    const char *action; /* as the audit log names it: "sale.put", "sale.pause" … */
    const char *why;    /* "" = none */
};

/* One version of one document. It never changes once the store has it. */
struct cfg_doc {
    const struct cfg_kind *kind;
    const char *name;
    int64_t version;  /* 1 at creation, +1 with every change, deletions included */
    int64_t revision; /* of the store, when it came into force */
    int64_t created_at_ms;
    struct cfg_author by; /* of this version; its texts are the document's */
    char *json;           /* the document, complete; NULL: deleted */
    char *state;          /* its state, beside the document; NULL: its kind has none */
    void *parsed;         /* filled by the kind's table; NULL: deleted */
};

/* Why a valid document may not replace another. */
enum cfg_refusal {
    CFG_MAY,
    CFG_CONFLICT,
    CFG_USE_ADJUST, /* stock changes by adjustments only */
    CFG_ENDED,      /* the sale is over */
    CFG_HAS_ORDERS, /* the sale was opened */
    CFG_IN_USE      /* other documents name it */
};

#define CFG_LISTENERS 2

/* What documents may refer to, by this gateway's settings. */
struct cfg_bounds {
    struct ps_cidrs networks;                    /* allowed for endpoints */
    struct ps_listener listeners[CFG_LISTENERS]; /* the gateway's own, not allowed as endpoints */
    const char *static_dir;                      /* of files for bodies; NULL: none */
    const char *endpoint_dir;                    /* of files that name endpoints; NULL: none */
    const char *gateway;                         /* its name; NULL: it has none */
};

/* The context in which a document is read. */
struct cfg_reading {
    const char *pointer; /* to the document in the text; "" = the whole text */
    int64_t now_ms;      /* of an operator's document, checked against the clock; 0: a stored one */
    const struct cfg_bounds *bounds; /* NULL: a stored document: references are not checked */
    const struct cfg_doc *have;      /* the version in force; NULL: none */
    const char *name;                /* of the document */
};

/* A document that another one names, and in which member ("/fallback/1/pool"). */
typedef void cfg_named_fn(const struct cfg_kind *kind, const char *name, const char *member,
                          void *ctx);

/* A shipped document. */
struct cfg_shipped {
    const char *name;
    const char *json;
};

struct cfg_kind {
    const char *path;      /* in URLs, Redis and control.db: "sales", "blocklist/users" */
    const char *id;        /* of its schema: "block_user"; NULL: it is private */
    const char *word;      /* in messages: "sale" */
    const char *name_rule; /* describes a valid name */
    const char *listed;    /* the member of the list's answer that holds the documents */
    const char *put;       /* actions in the audit log */
    const char *drop;
    size_t max;           /* the most documents at once … */
    const char *max_with; /* … together with this kind; NULL: alone */
    bool lists_names;     /* its list is an object by name, not an array */
    bool may_be_empty;    /* a PUT without a body means {} */
    bool keeps_reason;    /* the reason of a change is a member of the document, too */
    bool has_no_history;  /* only the version in force is kept */
    bool is_private; /* it holds secrets, or has routes of its own: no bundle has it, and the routes
                        of documents do not serve it */
    const char *initial_state; /* JSON; NULL: the kind has none */
    /* Documents that always exist, by CFG_BY_PROGRAM; ends with a name of NULL.
     * NULL: none. */
    const struct cfg_shipped *shipped;
    const char *instead; /* what to do instead of deleting one of them; NULL: nothing */
    bool ends_at_once;   /* an end is published at once, without waiting for a change */
    bool makes_up_table; /* the table of upstreams is built from these, too */
    bool only_shipped;   /* only shipped documents exist: none can be added or deleted */
    const char *single;  /* the name of the only document, omitted in its path; NULL: many */
    /* Makes the canonical form of a name, NUL-terminated. PS_E_INVALID. */
    int (*name)(const char *text, size_t len, char ret_name[CFG_NAME_MAX + 1]);
    /* What the document holds: it is read, printed, compared and freed by its table, whose checks
     * get a struct cfg_reading. */
    const struct ps_table *table;
    /* Reads the state into the parsed document. PS_E_INVALID, PS_E_NOMEM. NULL: the kind has no
     * state.
     */
    int (*read_state)(void *parsed, const json_t *state, struct ps_faults *faults);
    void (*free)(void *parsed); /* NULL: the table frees everything */
    /* The part of an earlier version's state that a new version keeps. NULL: all of it. */
    json_t *(*write_state)(const void *parsed);
    /* Adds the read-only members that follow from the document alone; 0 or -1. NULL: none. */
    int (*show)(const struct cfg_doc *doc, json_t *json);
    /* May `to` (NULL: a deletion) replace `from` (NULL: none)? Adds faults;
     * their paths begin with `pointer`. */
    enum cfg_refusal (*may_change)(const struct cfg_store *store, const struct cfg_doc *from,
                                   const struct cfg_doc *to, const char *pointer,
                                   struct ps_faults *faults);
    /* Calls `take` for each document that this one names: it must exist (check.c). NULL: none. */
    void (*names)(const void *parsed, cfg_named_fn *take, void *ctx);
    /* True if both cannot be in force together: a fault of clash_member, made of clash_words and
     * the other's name. NULL: any two can. */
    bool (*clashes)(const void *parsed, const void *other);
    const char *clash_member, *clash_words;
    /* It ends by itself, and from then on it does not exist: at the wall clock's int64_t in ms that
     * is at `until_at` of the parsed document. */
    bool ends;
    size_t until_at;
    bool end_is_final; /* what has ended is deleted by a clock that goes on evenly only */
    /* Does `to` only postpone the end of `from`? Then it causes no audit line, no log event and no
     * snapshot. NULL: never. */
    bool (*renews)(const void *to, const void *from);
    /* The action of the audit line when it ends by itself. NULL, or returning NULL: no line. */
    const char *(*ended)(const void *parsed);
    /* Has the version `to` of a document of another kind removed its subject? Then the change that
     * brings `to` deletes it, too. NULL: never. */
    bool (*falls)(const void *parsed, const struct cfg_doc *to);
    /* A version came into force, whoever made it, or (`to` NULL) the document has ended. NULL:
     * nothing to do. */
    void (*in_force)(const struct cfg_doc *from, const struct cfg_doc *to);
    /* An operator's or the settings' version came into force. NULL: nothing to do. */
    void (*changed)(const struct cfg_store *store, const struct cfg_doc *doc);
};

/* NULL-terminated: every kind. A new kind is one file and one line in kinds.c. */
extern const struct cfg_kind *const cfg_kinds[];
extern const struct cfg_kind cfg_kind_sale, cfg_kind_limit, cfg_kind_user, cfg_kind_range,
    cfg_kind_overload, cfg_kind_feature, cfg_kind_rehearsal_key, cfg_kind_cache, cfg_kind_pool,
    cfg_kind_route, cfg_kind_registration, cfg_kind_override, cfg_kind_plan, cfg_kind_watch,
    cfg_kind_ref_key, cfg_kind_run;
const struct cfg_kind *cfg_kind_find(const char *path, size_t len); /* NULL: unknown */
/* Splits "kind/name" into kind and name (the rest of the text). NULL: not a known kind. */
const struct cfg_kind *cfg_kind_of(const char *text, const char **ret_name);

/* Reads and checks a document and its state; an argument of NULL is skipped. PS_E_INVALID,
 * PS_E_NOMEM: all faults are added. Owner: the caller, cfg_kind_free. */
int cfg_kind_read(const struct cfg_kind *kind, const struct cfg_reading *reading,
                  const json_t *json, const json_t *state, void **ret_parsed,
                  struct ps_faults *faults) PS_MUST_CHECK;
void cfg_kind_free(const struct cfg_kind *kind, void *parsed);
/* The document with all members; reading it gives the same. Owner: the caller. NULL: out of memory.
 */
json_t *cfg_kind_print(const struct cfg_kind *kind, const void *parsed) PS_MUST_CHECK;

/* JSON Schema of what a PUT of such a document takes, and of what reading adds (`readOnly`). Owner:
 * the caller. NULL: out of memory. */
json_t *cfg_kind_schema(const struct cfg_kind *kind, enum ps_language language) PS_MUST_CHECK;
/* Writes the schemas of all kinds that are not private, each under its id, for editors and for
 * admin/openapi.yaml. The stream's error flag shows a failure. */
void cfg_kinds_print_schemas(FILE *out);

bool cfg_kind_ships(const struct cfg_kind *kind, const char *name);
/* Is its path in the list "limits,routes"? "" means all kinds. */
bool cfg_kind_is_listed(const struct cfg_kind *kind, const char *paths);

/* A version from its parts, which are copied; parses `json` and `state`. A `json` of NULL is a
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
/* The document as it was stored; with its read-only members. Owner: the caller. NULL:
 * out of memory, or deleted. */
json_t *cfg_doc_json(const struct cfg_doc *doc);
json_t *cfg_doc_shown(const struct cfg_doc *doc);
/* The same document in the same state, whatever their versions and the order of their members? */
bool cfg_doc_is_same(const struct cfg_doc *doc, const struct cfg_doc *other);
/* Does it differ from the previous version only in its end? */
bool cfg_doc_renews(const struct cfg_doc *doc, const struct cfg_doc *before);
/* When it ends by itself; INT64_MAX: never. */
int64_t cfg_doc_ends_at_ms(const struct cfg_doc *doc);

/* --- Read-only members, by the rows of the kind's table (read_only.c). --- */
/* Removes read-only members, whatever their values. */
void cfg_drop_read_only(json_t *json, const struct cfg_kind *kind);
/* Removes read-only members from a document that was read as `shown`. One whose value differs from
 * what was read is a fault; one that the gateway may have changed since is a fault only if
 * `strict`, which is set when nothing else changes. */
void cfg_take_read_only(json_t *json, const json_t *shown, const struct cfg_kind *kind, bool strict,
                        struct ps_faults *faults);

#endif
