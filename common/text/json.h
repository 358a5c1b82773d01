/* Strict JSON documents on jansson: duplicate members, trailing text, bad UTF-8 and NUL are faults,
 * every complaint carries the JSON pointer (RFC 6901) of the member that it is about. */
#ifndef PS_JSON_H
#define PS_JSON_H

#include "common/defs.h"
#include "common/err.h"

#include <jansson.h>

/* Parses one JSON value. Owner: the caller (json_decref). PS_E_INVALID fills `fault` (path "" = the
 * document). */
int ps_json_parse(const char *text, size_t len, json_t **ret_json,
                  struct ps_fault *fault) PS_MUST_CHECK;

/* Parses a file of at most `max` bytes. PS_E_IO, PS_E_NOMEM, PS_E_INVALID (too long, or as above);
 * the fault does not say which file. */
int ps_json_load(const char *path, size_t max, json_t **ret_json,
                 struct ps_fault *fault) PS_MUST_CHECK;

/* True for a whole number. One with a point or an exponent counts too, up to PS_INT_MAX: to JSON
 * Schema 5.0 is an integer. */
bool ps_json_whole(const json_t *value, int64_t *ret);

/* The same in seconds, of a number or of a text (duration.h). */
bool ps_json_seconds(const json_t *value, int64_t *ret_s);

/* A reader of one object that remembers where it stands and which members it has been asked for, so
 * that unknown members can be refused. Members that are absent leave the output untouched, and so
 * do faulty ones. With ps_json_reader_init errors stick: after the first fault every call does
 * nothing, and ps_json_done() returns it. With ps_json_reader_init_all reading continues, and every
 * fault is added to the list. Borrowed, not owned. */
struct ps_json_reader {
    const json_t *object;
    const char *pointer; /* of this object, "" = document */
    struct ps_fault *fault;
    struct ps_faults *all; /* NULL: the first fault ends it */
    int err;
    const char *asked[40];
    size_t asked_count;
};
/* Faults at once when `value` is no object. `pointer` must live as long as the reader. */
void ps_json_reader_init(struct ps_json_reader *reader, const json_t *value, const char *pointer,
                         struct ps_fault *fault);
void ps_json_reader_init_all(struct ps_json_reader *reader, const json_t *value,
                             const char *pointer, struct ps_faults *all);
bool ps_json_has(struct ps_json_reader *reader, const char *member);
/* Whole numbers only; outside [min, max] is a fault that names both ends. */
void ps_json_int(struct ps_json_reader *reader, const char *member, int64_t min, int64_t max,
                 int64_t *ret);
/* How long: seconds as a whole number, or a text (duration.h), with the same bounds. */
void ps_json_duration(struct ps_json_reader *reader, const char *member, int64_t min, int64_t max,
                      int64_t *ret_s);
/* Any number, a whole one too, with the same bounds. */
void ps_json_number(struct ps_json_reader *reader, const char *member, double min, double max,
                    double *ret);
/* The other way round: a whole number is printed as one. Owner: the caller. NULL: out of memory. */
json_t *ps_json_of_number(double number);
/* A moment of the wall clock as text (RFC 3339); INT64_MAX, never: null. Owner: the caller. NULL:
 * out of memory. */
json_t *ps_json_of_time(int64_t wall_ms);
/* Prints `json`, which it takes over, for people. PS_E_IO: it could not be written, or is NULL. */
int ps_json_print(json_t *json, FILE *out) PS_MUST_CHECK;
/* What was built step by step: `json`, or NULL when a step has failed (`err` is not 0); then it is
 * freed. */
json_t *ps_json_built(json_t *json, int err);
void ps_json_bool(struct ps_json_reader *reader, const char *member, bool *ret);
/* Borrowed from the document. Longer than `max_len` bytes is a fault. */
void ps_json_string(struct ps_json_reader *reader, const char *member, size_t max_len,
                    struct ps_str *ret);
/* The same of a text for people: at most `max` characters, no control characters. */
void ps_json_text(struct ps_json_reader *reader, const char *member, size_t max,
                  struct ps_str *ret);
/* RFC 3339 with an offset. */
void ps_json_time(struct ps_json_reader *reader, const char *member, int64_t *ret_wall_ms);
/* One of the words of the NULL-terminated list; its index. */
void ps_json_enum(struct ps_json_reader *reader, const char *member, const char *const *words,
                  int *ret);
/* The raw value (borrowed), or NULL when absent. */
const json_t *ps_json_value(struct ps_json_reader *reader, const char *member);
/* Sets or adds a fault about `member` ("" = the object itself). */
void ps_json_fault(struct ps_json_reader *reader, const char *member, const char *fmt, ...)
    PS_PRINTF(3, 4);
/* Faults when one of `members` (NULL-terminated) is absent. */
void ps_json_require(struct ps_json_reader *reader, const char *const *members);
/* 0, or the error of the first fault; an unknown member is one, and names the nearest known member.
 */
int ps_json_done(struct ps_json_reader *reader) PS_MUST_CHECK;

/* The word of the NULL-terminated list nearest to `text` by edit distance, else the one that begins
 * like it, or NULL when none does. */
const char *ps_nearest_word(const char *text, const char *const *words);

#endif
