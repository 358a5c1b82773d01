/* Every part of the API; admin.c puts them together. */
#ifndef OP_PARTS_H
#define OP_PARTS_H

#include "gateway/admin/admin_internal.h"

extern const struct op_part op_adjust_part, op_audit_part, op_audit_schedule_part, op_breakers_part,
    op_caches_part, op_config_part, op_console_part, op_documents_part, op_endpoints_part,
    op_events_part, op_explain_part, op_export_part, op_flow_part, op_ladder_part, op_limits_part,
    op_ops_part, op_orders_part, op_overload_part, op_overrides_part, op_pools_part,
    op_rebuild_part, op_refs_part, op_rehearsal_keys_part, op_runs_part, op_sales_part,
    op_schema_part, op_scrape_part, op_standby_part, op_switching_part, op_tokens_part,
    op_watches_part;

#endif
