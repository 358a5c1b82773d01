/* What each command does, by file. All return an enum ctl_exit. */
#ifndef CTL_COMMANDS_H
#define CTL_COMMANDS_H

#include "gateway/ctl/ctl.h"

/* contexts.c */
int ctl_use(struct ctl *ctl);
/* Fills ctl->admin and ctl->token from options, environment and the current context. */
int ctl_context_read(struct ctl *ctl) PS_MUST_CHECK;
/* documents.c */
int ctl_get(struct ctl *ctl);
int ctl_edit(struct ctl *ctl);
int ctl_rollback(struct ctl *ctl);
/* apply.c */
int ctl_apply(struct ctl *ctl);
int ctl_diff(struct ctl *ctl);

#endif
