/* The heads of audit logs that the order log of a sale holds (penstock.desk.head.v1), to compare
 * the lines of an audit log with. */
#ifndef CTL_HEADS_H
#define CTL_HEADS_H

#include "gateway/ctl/ctl.h"

struct ctl_head {
    int64_t seq;   /* of the line */
    char hash[65]; /* of it */
    char at[32];
    char gateway[PS_NAME_MAX + 1];
};

struct ctl_heads {
    size_t count, room;
    struct ctl_head *at; /* by seq */
};

/* Those of `gateway` (NULL: of the one gateway that the sale's order log names). *ret_heads is
 * empty unless CTL_OK; owner: the caller. */
int ctl_heads_read(const struct ctl *ctl, const char *sale, const char *gateway,
                   struct ctl_heads *ret_heads) PS_MUST_CHECK;
void ctl_heads_done(struct ctl_heads *heads);
/* The first one of line `seq`, or of the next line that has one; heads->count: none. */
size_t ctl_heads_find(const struct ctl_heads *heads, int64_t seq);

#endif
