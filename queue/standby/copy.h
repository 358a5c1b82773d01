/* A standby's files: the copy of the journal and of control.db in its state directory, in the form
 * that a gateway that takes over expects. One thread. */
#ifndef SB_COPY_H
#define SB_COPY_H

#include "common/call/call.h"

struct sb_copy;

/* The gateway that is followed. */
struct sb_source {
    const char *gateway;    /* its admin listener */
    const char *token_file; /* read for each call, so that the token may change */
    struct ps_caller *caller;
};

/* Locks the directory's journal.db as a gateway would, and creates it if there is none. PS_E_BUSY:
 * a gateway or another standby has it. */
int sb_copy_open(const char *state_dir, struct sb_copy **ret_copy,
                 struct ps_fault *fault) PS_MUST_CHECK;
void sb_copy_close(struct sb_copy *copy); /* NULL is allowed */
/* The last record that is on the disk here; 0 = none. */
int64_t sb_copy_seq(const struct sb_copy *copy);
enum sb_turn {
    SB_GATEWAY_AWAY, /* it does not answer, or refuses */
    SB_DISK_FAILED,  /* what arrived cannot be written here */
    SB_REFUSED,      /* this is a copy of another journal than the gateway's */
    SB_WAIT,         /* there was nothing new */
    SB_MORE          /* the next turn should follow at once */
};
/* A turn: asks for what is behind the last record, and for control.db when it has changed; writes
 * what comes. `fault` says what is wrong in the first three cases. */
enum sb_turn sb_copy_turn(struct sb_copy *copy, const struct sb_source *from,
                          struct ps_fault *fault);
/* All that the gateway had at the last turn is here. */
bool sb_copy_is_whole(const struct sb_copy *copy);

#endif
