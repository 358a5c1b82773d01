/* One object of a document while it is read: a strict reader (common/text/json.h) that knows its
 * JSON pointer, and what documents of several kinds have in common. Every fault is added, and
 * reading goes on; what is left out, or faulty, stays as it was. */
#ifndef CFG_PART_H
#define CFG_PART_H

#include "common/http/head.h"
#include "gateway/config/store/document.h"

/* A document while it is read. */
struct cfg_reading_state {
    struct ps_faults *faults;
    const struct cfg_bounds *bounds; /* of struct cfg_reading */
    size_t before;                   /* faults that were there before */
    bool no_memory;
};

struct cfg_part {
    struct ps_json_reader json;
    struct cfg_reading_state *of;
    char pointer[192];
};

/* The document itself. */
void cfg_part_begin(struct cfg_part *part, const json_t *json, const struct cfg_reading *reading,
                    struct ps_faults *faults, struct cfg_reading_state *state);
/* 0, PS_E_NOMEM, PS_E_INVALID: what became of the document and all its parts. */
int cfg_part_end(struct cfg_part *part) PS_MUST_CHECK;

/* A member that is an object, or the value at `pointer` below `outer` ("/endpoints/3"). False: it
 * is left out or null. Ends with cfg_part_close. */
bool cfg_part_open(struct cfg_part *outer, const char *member, struct cfg_part *ret_part);
void cfg_part_open_at(struct cfg_part *outer, const json_t *json, const char *member, size_t index,
                      struct cfg_part *ret_part);
void cfg_part_close(struct cfg_part *part); /* unknown members are faults */

/* Adds a fault about a place below the part: "endpoints/3/address". */
void cfg_part_fault(struct cfg_part *part, const char *place, const char *fmt, ...) PS_PRINTF(3, 4);
/* Is it there, and not null? */
bool cfg_part_has(struct cfg_part *part, const char *member);
/* An array of at most `max`; its length (0: left out, or a fault). */
size_t cfg_part_array(struct cfg_part *part, const char *member, size_t max,
                      const json_t **ret_array);
/* Zeroed room for so many; NULL when there is none, or for none. */
void *cfg_part_room(struct cfg_part *part, size_t count, size_t size);
/* A whole number that fits into an unsigned. */
void cfg_part_count(struct cfg_part *part, const char *member, unsigned min, unsigned max,
                    unsigned *ret);
/* Some text, to the heap. NULL: left out, null or faulty. */
char *cfg_part_text(struct cfg_part *part, const char *member, size_t max);
char *cfg_part_copy(struct cfg_part *part, const char *text, size_t len);
/* The name of another document; null leaves it. */
void cfg_part_name(struct cfg_part *part, const char *member, char ret_name[PS_NAME_MAX + 1]);
/* A share of 1 in steps of 0.001. */
void cfg_part_share(struct cfg_part *part, const char *member, uint32_t *ret_per_mille);

/* --- Rules of texts. --- */

/* A name of a kind whose names are ps_name_ok: for struct cfg_kind.name. */
int cfg_plain_name(const char *text, size_t len, char ret_name[CFG_NAME_MAX + 1]);
/* A host name or an address, without a port. */
bool cfg_is_host(const char *text);
/* No control bytes, no white space around it. */
bool cfg_is_field_value(const char *text);
/* An absolute path as a request line has it: no query, no "." or ".." segments. */
bool cfg_is_path(const char *text);
/* The name of a file inside a directory, also of one further down: no way leads out. */
bool cfg_is_inside(const char *text);
/* Visible ASCII. */
bool cfg_is_visible(const char *text);

/* Owner: the caller. "" or NULL is null. */
json_t *cfg_text_json(const char *text);
json_t *cfg_share_json(uint32_t per_mille);

#endif
