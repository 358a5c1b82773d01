/* Objects by table: one row a member. A table says what a JSON object may hold and where each
 * member lives in a struct. From it alone come reading with every fault at once, printing in the
 * table's order, defaults, comparison, freeing, JSON Schema 2020-12 and reference pages.
 *
 * What a table cannot say - rules across members - is its `check`, and how a value of a kind of its
 * own is read and printed is a struct ps_own. Tables are const and have no state: any thread. */
#ifndef PS_TABLE_H
#define PS_TABLE_H

#include "common/err.h"
#include "common/text/json.h"

enum ps_member_type {
    PS_M_BOOL,   /* bool */
    PS_M_TRUE,   /* nothing is stored: true, or left out */
    PS_M_INT,    /* an integer of 2, 4 or 8 bytes; signed where `min` is below 0. Of unit "s" it is
                    how long, and may be written as text (duration.h) */
    PS_M_NUMBER, /* double */
    PS_M_SHARE,  /* uint32_t, per mille: a number in steps of 0.001 */
    PS_M_TIME,   /* int64_t, milliseconds of the wall clock; INT64_MAX is null */
    PS_M_CHARS,  /* char[size]; "" is null */
    PS_M_STRING, /* char *, heap */
    PS_M_ENUM,   /* an enum, or a bool for two words: the place in `words` */
    PS_M_SET,    /* unsigned: bit i stands for words[i]; an array of words, each once */
    PS_M_OBJECT, /* a struct inside, of `table`; null: all its members are zero, but those that are
                    PS_M_OWN */
    PS_M_LIST,   /* a pointer to `item`s on the heap, and their number (size_t) at `count_at`; a row
                    that is only shown needs no `item` */
    PS_M_MAP,    /* the same, an object by name: the first member of `item->table` is the name, the
                    second one the value */
    PS_M_FREE,   /* json_t *, owned: an object that belongs to somebody else */
    PS_M_OWN     /* what its struct ps_own reads and prints */
};

/* Flags of a row. */
enum {
    PS_M_REQUIRED = 1,
    PS_M_NULLABLE = 2,   /* null is zero: "", NULL, 0, INT64_MAX for a time */
    PS_M_OMIT = 4,       /* zero is not printed */
    PS_M_INPUT = 8,      /* read, and never printed */
    PS_M_READ_ONLY = 16, /* only shown; it stays as it is. Such a row stores nothing */
    PS_M_LIVE = 32,      /* only shown; it changes by itself */
    PS_M_MEASURED = 64,  /* only shown; it changes all the time */
    PS_M_CHOICE = 128,   /* exactly one of the table's choices is there; see `when` */
    PS_M_RELOADS = 256   /* of settings: a reload takes it over, not the next start alone */
};
#define PS_M_SHOWN (PS_M_READ_ONLY | PS_M_LIVE | PS_M_MEASURED)

enum ps_language { PS_ENGLISH, PS_CHINESE, PS_LANGUAGES };

/* What a text must be. `rule` stands behind "must be". */
struct ps_format {
    const char *rule[PS_LANGUAGES];
    const char *pattern;                         /* ECMA-262, for the schema; NULL: none */
    bool (*is_ok)(const char *text, size_t len); /* NULL: any text */
    bool counts_characters;                      /* the bounds are of characters, not of bytes */
};
extern const struct ps_format ps_format_name; /* ps_name_ok */
extern const struct ps_format ps_format_text; /* for people: characters, none of them control */

struct ps_table_at;
/* A value that no other type can say. `object` is the struct that the row's table describes. */
struct ps_own {
    const char *rule[PS_LANGUAGES]; /* behind "must be" */
    const char *schema;             /* JSON Schema, as JSON text */
    /* The value is there and not null. False: it is not what `rule` says, unless a fault or a lack
     * of memory was said (ps_table_fault at `place`, ps_table_no_memory). */
    bool (*read)(struct ps_table_at *at, const char *place, const json_t *value, void *object);
    json_t *(*print)(const void *object); /* owner: the caller; NULL: out of memory */
    void (*free)(void *object);           /* NULL: it holds no memory */
};

struct ps_member {
    const char *name; /* of an object inside that is always there: "log.queue" */
    enum ps_member_type type;
    unsigned flags;
    size_t offset, size;  /* of the field: AT */
    double min, max;      /* of a value; bytes of a text; entries of a list; max 0: no bounds */
    const char *fallback; /* the default, as JSON text; NULL: zero, or null */
    const char *example;  /* as JSON text; NULL: the default */
    const char *unit[PS_LANGUAGES]; /* "ms"; NULL: none, or as in English */
    const char *was; /* its name in what an older version has stored; NULL: the same */
    union {
        const char *const *words; /* NULL-terminated */
        const struct ps_format *format;
        const struct ps_table *table;
        const struct ps_member *item;
        const struct ps_own *own;
    };
    size_t count_at;
    unsigned when;                  /* bit i: belongs to value i of the table's tag; 0: to all */
    unsigned mark;                  /* the owner's own, of this row */
    const char *text[PS_LANGUAGES]; /* what it means, in a line */
};

/* For rows: where the field lies in `struct type`. */
#define PS_AT(type, field) .offset = offsetof(type, field), .size = sizeof(((type *)NULL)->field)
/* The same of a list of strings, which is a struct ps_strings. */
#define PS_AT_STRINGS(type, field) PS_AT(type, field.at), .count_at = offsetof(type, field.count)

/* What an object inside means. */
struct ps_group {
    const char *name; /* "signals.loop_delay_ms" */
    const char *text[PS_LANGUAGES];
};

/* Rows whose names begin alike up to a dot stand together: they are one object. */
struct ps_table {
    const char *title; /* of the schema */
    const struct ps_member *members;
    size_t count;
    size_t size;                   /* of the struct */
    const struct ps_group *groups; /* up to a name of NULL; NULL: nothing is said of them */
    /* A union: the enum at `tag_at` says to which rows it belongs (`when`). It is a row itself, the
     * first one, or, where rows are choices, follows from the one that is there. */
    bool has_tag;
    size_t tag_at;
    /* Members, and words of sets, that older versions have stored: there they are passed over, and
     * a set may be left empty. NULL-terminated; NULL: none. */
    const char *const *dropped;
    /* Rules across members, once all were read; faults of a member that has one are dropped. NULL:
     * none. */
    void (*check)(struct ps_table_at *at, void *object);
};

/* --- Reading. --- */

/* An object while it is read. */
struct ps_table_at {
    const struct ps_table *table;
    const json_t *json;
    const void *ctx; /* the caller's */
    /* Inside. */
    const struct ps_table_at *outer;
    const char *member;
    size_t index;
    struct ps_table_reading *of;
};

enum ps_path_style { PS_PATH_POINTER, PS_PATH_DOTTED };

struct ps_table_source {
    const json_t *json;       /* NULL: the defaults alone; checks are not called */
    const char *pointer;      /* of the object in what is read; "" = it is the whole */
    enum ps_path_style style; /* of the faults: "/log/queue", "log.queue" */
    const void *ctx;          /* for checks */
    bool stored;              /* read members by the names that they had before, too, and pass over
                    dropped ones */
    /* A merge patch of the object (RFC 7396): only what is written is judged, each member by its
     * row, null as its removal. No rule across members is. */
    bool is_patch;
};

/* Fills the zeroed `object`: what is left out, or faulty, has its default. Adds all faults.
 * PS_E_INVALID, PS_E_NOMEM; ps_table_free whatever it returns. */
int ps_table_read(const struct ps_table *table, const struct ps_table_source *source, void *object,
                  struct ps_faults *faults) PS_MUST_CHECK;
/* For checks. Is the member written, and not null? */
bool ps_table_has(const struct ps_table_at *at, const char *member);
/* Adds a fault about a member, or about a place below it ("endpoints/3/address"); "": about the
 * object. */
void ps_table_fault(struct ps_table_at *at, const char *member, const char *fmt, ...)
    PS_PRINTF(3, 4);
void ps_table_no_memory(struct ps_table_at *at);
/* Was a fault found so far, here or anywhere else in what is read? */
bool ps_table_is_faulty(const struct ps_table_at *at);
/* For a ps_own whose row depends on something else: reads the value by that row. Faults are about
 * `place` below `at`. */
void ps_table_read_value(struct ps_table_at *at, const char *place, const struct ps_member *member,
                         const json_t *value, void *object);

/* --- What was read. --- */

/* Owner: the caller. NULL: out of memory. */
json_t *ps_table_print(const struct ps_table *table, const void *object) PS_MUST_CHECK;
json_t *ps_table_print_member(const struct ps_member *member, const void *object) PS_MUST_CHECK;
/* The defaults as an object. The same. */
json_t *ps_table_defaults(const struct ps_table *table) PS_MUST_CHECK;
/* The order of members inside a free object is no difference. */
bool ps_table_same(const struct ps_table *table, const void *a, const void *b);
bool ps_member_same(const struct ps_member *member, const void *a, const void *b);
/* Frees what the members own, and makes them zero. */
void ps_table_free(const struct ps_table *table, void *object);
/* NULL: there is none. */
const struct ps_member *ps_table_find(const struct ps_table *table, const char *name);

/* --- What may be read. --- */

/* What a value may be, behind "must be": "a whole number between 1 and 4096 orders". Cut at `cap`.
 */
void ps_member_describe(const struct ps_member *member, enum ps_language language, char *ret_text,
                        size_t cap);
/* JSON Schema 2020-12 of what is read; what is only shown is `readOnly`. Owner: the caller. NULL:
 * out of memory. */
json_t *ps_table_schema(const struct ps_table *table, enum ps_language language) PS_MUST_CHECK;

#endif
