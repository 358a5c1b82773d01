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
int ctl_describe(struct ctl *ctl);
int ctl_sale_list(struct ctl *ctl);
int ctl_edit(struct ctl *ctl);
int ctl_patch(struct ctl *ctl);
int ctl_delete(struct ctl *ctl);
int ctl_rollback(struct ctl *ctl);
/* create.c */
int ctl_create(struct ctl *ctl);
int ctl_limit_create(struct ctl *ctl);
int ctl_block(struct ctl *ctl);
/* calls.c: the calls of a table, and those with an option more */
int ctl_one_call(struct ctl *ctl);
int ctl_override_show(struct ctl *ctl);
int ctl_endpoint_put(struct ctl *ctl);
int ctl_endpoints(struct ctl *ctl);
int ctl_cache_purge(struct ctl *ctl);
int ctl_config_export(struct ctl *ctl);
int ctl_config_versions(struct ctl *ctl);
int ctl_config_rollback(struct ctl *ctl);
/* apply.c */
int ctl_apply(struct ctl *ctl);
int ctl_diff(struct ctl *ctl);
/* sales.c */
int ctl_sale_show(struct ctl *ctl);
int ctl_sale_act(struct ctl *ctl);
int ctl_sale_adjust(struct ctl *ctl);
int ctl_sale_audit(struct ctl *ctl);
/* orders.c */
int ctl_order_batch(struct ctl *ctl);
int ctl_order_export(struct ctl *ctl);
int ctl_sale_log(struct ctl *ctl);
/* desk.c */
int ctl_override_set(struct ctl *ctl);
int ctl_override_end(struct ctl *ctl);
int ctl_token_new(struct ctl *ctl);
int ctl_rehearsal_key_new(struct ctl *ctl);
int ctl_drain(struct ctl *ctl);
/* runs.c */
int ctl_run(struct ctl *ctl);
int ctl_runs_list(struct ctl *ctl);
int ctl_runs_get(struct ctl *ctl);
int ctl_runs_act(struct ctl *ctl);
/* explain.c */
int ctl_explain(struct ctl *ctl);
/* Adds a value of --header to a struct ctl_headers. */
int ctl_add_header(const struct ps_flag *flag, const char *value, void *field,
                   struct ps_fault *fault);
/* watch.c */
int ctl_watch_follow(struct ctl *ctl);
int ctl_watch_list(struct ctl *ctl);
int ctl_watch_end(struct ctl *ctl);
/* top.c */
int ctl_top(struct ctl *ctl);
/* audit.c */
int ctl_audit_show(struct ctl *ctl);
int ctl_audit_verify(struct ctl *ctl);

#endif
