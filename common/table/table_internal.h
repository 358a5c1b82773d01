/* What the files of this folder share. */
#ifndef PS_TABLE_INTERNAL_H
#define PS_TABLE_INTERNAL_H

#include "common/table/table.h"

#include <string.h>

static inline void *ps_member_field(const struct ps_member *member, const void *object)
{
    return (char *)(uintptr_t)object + member->offset;
}

/* Of a list or a map. */
static inline size_t *ps_member_count(const struct ps_member *member, const void *object)
{
    return (size_t *)(void *)((char *)(uintptr_t)object + member->count_at);
}

/* It says how long, in seconds: a text may stand for the number (duration.h). */
static inline bool ps_member_is_duration(const struct ps_member *member)
{
    return member->type == PS_M_INT && member->unit[0] != NULL && strcmp(member->unit[0], "s") == 0;
}

/* Rows [first, end) are members of one object, behind `lead` bytes of their names. The next one is
 * that of row `first` alone, or of all rows up to the one returned, if an object is there. */
static inline size_t ps_table_group(const struct ps_table *table, size_t first, size_t end,
                                    size_t lead, size_t *ret_len)
{
    const char *name = table->members[first].name;
    size_t next = first + 1;

    *ret_len = strcspn(name + lead, ".");
    if (name[lead + *ret_len] == '.')
        while (next < end && strncmp(table->members[next].name, name, lead + *ret_len + 1) == 0)
            next++;
    return next;
}
static inline bool ps_table_is_group(const struct ps_member *member, size_t lead, size_t len)
{
    return member->name[lead + len] == '.';
}

/* Does the row belong to what the tag of `object` says? */
bool ps_member_applies(const struct ps_table *table, const struct ps_member *member,
                       const void *object);
/* Is it null, or zero? */
bool ps_member_is_zero(const struct ps_member *member, const void *object);
int64_t ps_member_int(const struct ps_member *member, const void *object);
void ps_member_set_int(const struct ps_member *member, void *object, int64_t value);
void ps_member_clear(const struct ps_member *member, void *object);

/* --- Reading. --- */

#define PS_TABLE_RULE_MAX 240 /* bytes of ps_member_describe */
#define PS_TABLE_PATH_MAX sizeof(((struct ps_fault *)NULL)->path)

struct ps_table_reading {
    struct ps_faults *faults;
    const char *pointer;
    enum ps_path_style style;
    size_t said; /* faults, also of those that were dropped */
    bool no_memory, stored;
    bool is_patch; /* of the object that is being read; entries of lists are whole */
};

/* All of `at`: members, choices, the check; where it has no JSON, the defaults alone. */
void ps_table_read_object(struct ps_table_at *at, void *object);
/* Is it a member or a word that an older version has stored? */
bool ps_table_is_dropped(const struct ps_table_at *at, const char *key);
void ps_table_set_fallback(struct ps_table_at *at, const struct ps_member *member, void *object);
/* Adds the fault "must be …, not 7; for example 5". */
void ps_table_wrong_value(struct ps_table_at *at, const char *place, const struct ps_member *member,
                          const json_t *value);

#endif
