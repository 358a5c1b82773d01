/* Settings from tables: one row an option (path, type, bounds, default, unit, help). Reading a
 * file, checking it, printing the defaults and the documentation all derive from the row. */
#ifndef PS_OPTIONS_H
#define PS_OPTIONS_H

#include "common/err.h"
#include "common/text/json.h"

enum ps_option_type {
    PS_OPT_INT,     /* int64_t */
    PS_OPT_BOOL,    /* bool */
    PS_OPT_STRING,  /* char *, heap, owned by the settings struct */
    PS_OPT_ENUM,    /* int, index into `words` */
    PS_OPT_STRINGS, /* struct ps_option_list: a JSON array of strings */
    PS_OPT_JSON     /* json_t *, owned; checked by the module it belongs to (sales[], policy{}) */
};

struct ps_option_list {
    char **at;
    size_t count;
};

struct ps_option {
    const char *path; /* "log.commit_batch": nested objects, joined by dots */
    enum ps_option_type type;
    size_t offset;    /* of the field in the settings struct */
    int64_t min, max; /* INT: value; STRING and STRINGS: length in bytes of each */
    /* The default, as JSON text. Where it is null, a STRING may be null, which is NULL in the
     * field. */
    const char *fallback;
    const char *unit;         /* "ms", "connections"; NULL or "" for none */
    const char *const *words; /* ENUM, NULL-terminated */
    bool live;                /* SIGHUP applies it; else only a start */
    const char *help;         /* one line */
};

/* A table has at most 256 rows, a path at most 95 bytes. Keys and paths are case-sensitive.
 *
 * Fills `settings` with the defaults, then with `document` (NULL = defaults only). All or nothing:
 * on a fault `settings` holds nothing that must be freed. An unknown key is PS_E_INVALID: its path
 * and the nearest known key. */
int ps_options_read(const struct ps_option *table, size_t count, const json_t *document,
                    void *settings, struct ps_fault *fault) PS_MUST_CHECK;
/* The same, but adds all faults to `faults`, and what is faulty keeps its default: `settings` must
 * be freed whatever it returns. */
int ps_options_read_all(const struct ps_option *table, size_t count, const json_t *document,
                        void *settings, struct ps_faults *faults) PS_MUST_CHECK;
/* Frees strings, lists and documents that ps_options_read made. */
void ps_options_free(const struct ps_option *table, size_t count, void *settings);
/* As a JSON document, for people. PS_E_IO: it could not be written, or made. */
int ps_options_print_defaults(const struct ps_option *table, size_t count, FILE *out) PS_MUST_CHECK;
/* JSON Schema 2020-12 of the document that ps_options_read takes: types, bounds, words, defaults
 * and help of the rows, `x-unit`, `x-live` for what SIGHUP applies; nothing else is allowed. What
 * the schema refuses, ps_options_read refuses. Owner: the caller. NULL: out of memory. */
json_t *ps_options_schema(const struct ps_option *table, size_t count, const char *title);
/* The same as text. PS_E_IO: it could not be written, or made. */
int ps_options_print_schema(const struct ps_option *table, size_t count, const char *title,
                            FILE *out) PS_MUST_CHECK;
/* The defaults as a JSON document (owner: the caller); NULL when out of memory. */
json_t *ps_options_defaults(const struct ps_option *table, size_t count);
/* The options as `settings` has them, as a document of the same form; a string that is NULL, and a
 * document that is NULL, are null. NULL when out of memory. */
json_t *ps_options_json(const struct ps_option *table, size_t count, const void *settings);
/* Allowed values in words, with the unit: "1 to 4096 orders". Cut at `cap`. */
void ps_option_describe(const struct ps_option *option, char *ret_text, size_t cap);
/* Prints a table: path, default, allowed values with the unit, help. */
void ps_options_print_help(const struct ps_option *table, size_t count, FILE *out);
/* True when the two settings differ in this option. */
bool ps_option_differs(const struct ps_option *option, const void *settings_a,
                       const void *settings_b);

#endif
