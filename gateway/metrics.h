/* The gateway's metrics: one table (metrics.c), documented in docs/reference; names follow
 * Prometheus' conventions. */
#ifndef GW_METRICS_H
#define GW_METRICS_H

#include "common/metrics/metrics.h"

/* Row numbers, in the order of gw_metric_table. */
enum gw_metric {
    GW_M_ANSWERS,           /* penstock_answers_total{verdict} */
    GW_M_REFUSED_EARLY,     /* penstock_http_refused_total{verdict}: by the strict filter */
    GW_M_ADMIN_REFUSED,     /* penstock_admin_http_refused_total{verdict} */
    GW_M_PROXY_HEADERS,     /* penstock_proxy_headers_total{result}, of enum srv_proxy_result */
    GW_M_REHEARSAL_ANSWERS, /* penstock_rehearsal_answers_total{verdict} */
    GW_M_REHEARSAL_ANSWER_SECONDS, /* penstock_rehearsal_answer_duration_seconds{class} */
    GW_M_REHEARSAL_MARKS_REFUSED,  /* penstock_rehearsal_marks_refused_total{reason}, of enum
                                      pub_rehearsal_result */
    GW_M_REHEARSAL_ORDERS,         /* penstock_rehearsal_orders_total{event} */
    GW_M_LIMIT_REFUSED,            /* penstock_limit_refused_total{rule} */
    GW_M_LIMIT_SHADOW_REFUSED,     /* penstock_limit_shadow_refused_total{rule} */
    GW_M_LIMIT_TRIAL_REFUSED,      /* penstock_limit_trial_refused_total{rule} */
    GW_M_ANSWER_SECONDS,           /* penstock_answer_duration_seconds{class}, of enum ans_class */
    GW_M_CONNECTIONS,              /* penstock_connections */
    GW_M_IN_FLIGHT,                /* penstock_requests_in_flight */
    GW_M_WAITING,                  /* penstock_limit_waiting: held by a leaky bucket */
    GW_M_UNTRUSTED_IDENTITY,       /* penstock_identity_untrusted_total */
    GW_M_FLOW_LIMIT,               /* penstock_flow_limit{target} */
    GW_M_FLOW_IN_FLIGHT,           /* penstock_flow_in_flight{target} */
    GW_M_FLOW_REFUSED,             /* penstock_flow_refused_total{target} */
    GW_M_FLOW_SECONDS,             /* penstock_flow_latency_seconds{target} */
    GW_M_ADMISSION,                /* penstock_admission_ratio{class}, of enum adm_shed_class */
    GW_M_UNREAD,                   /* penstock_unread_connections */
    GW_M_UNREAD_LEFT,              /* penstock_unread_total */
    GW_M_UNREAD_CLOSED,            /* penstock_unread_closed_total */
    GW_M_LATE_OUTCOMES,  /* penstock_late_outcomes_total: outcomes that came after their request's
                         deadline, or its client's end */
    GW_M_ORDERS,         /* penstock_orders_total{event}: accepted, void, confirmed, released */
    GW_M_UNITS_RETURNED, /* penstock_units_returned_total */
    GW_M_FOLD_ANOMALIES, /* penstock_log_anomalies_total */
    GW_M_LOG_UNKNOWN,    /* penstock_log_unknown_records_total */
    GW_M_LOG_RECORDS,    /* penstock_log_records_total{outcome} */
    GW_M_LOG_COMMITS,    /* penstock_log_commits_total */
    GW_M_LOG_COMMIT_FAILURES, /* penstock_log_commit_failures_total */
    GW_M_LOG_COMMIT_SECONDS,  /* penstock_log_commit_seconds */
    GW_M_LOG_BACKLOG,         /* penstock_log_backlog_records */
    GW_M_LOG_AVAILABLE,       /* penstock_log_available */
    GW_M_STANDBY_FOLLOWING,   /* penstock_standby_following */
    GW_M_STANDBY_LAG,         /* penstock_standby_lag_records */
    /* Of a log in Kafka; 0 with a journal. */
    GW_M_KAFKA_IN_FLIGHT,    /* penstock_kafka_in_flight_records */
    GW_M_KAFKA_LAG,          /* penstock_kafka_lag_records */
    GW_M_KAFKA_RESENT,       /* penstock_kafka_resent_total */
    GW_M_KAFKA_FOREIGN,      /* penstock_kafka_foreign_records_total */
    GW_M_KAFKA_PRODUCERS,    /* penstock_kafka_producers_total */
    GW_M_KAFKA_SENT,         /* penstock_kafka_sent_bytes_total */
    GW_M_KAFKA_RECEIVED,     /* penstock_kafka_received_bytes_total */
    GW_M_KAFKA_ROUND_TRIP,   /* penstock_kafka_round_trip_seconds */
    GW_M_SPILL_RECORDS,      /* penstock_spill_records */
    GW_M_LIMIT_EVICTIONS,    /* penstock_limit_evictions_total */
    GW_M_LIMIT_SHARED_ASKED, /* penstock_limit_shared_asked_total: this gateway's demand */
    GW_M_LIMIT_SHARE,        /* penstock_limit_share_ratio */
    GW_M_EXPIRED,            /* penstock_orders_expired_total */
    GW_M_EXPIRY_PAUSED,      /* penstock_expiry_paused */
    GW_M_MEMBERS,            /* penstock_cluster_members */
    GW_M_LEADER,             /* penstock_cluster_leader */
    GW_M_FENCED,             /* penstock_sales_fenced */
    GW_M_EFFECTS_WAITING,    /* penstock_cluster_effects_waiting */
    GW_M_FENCES,             /* penstock_cluster_fences_total */
    GW_M_REBUILD_SECONDS,    /* penstock_cluster_rebuild_duration_seconds: those of this gateway */
    GW_M_REAPED,             /* penstock_cluster_reaped_total */
    GW_M_ADMIN_CHANGES,      /* penstock_admin_changes_total */
    GW_M_ADMIN_DENIED,       /* penstock_admin_denied_total */
    GW_M_EVENT_READERS,      /* penstock_event_readers */
    GW_M_EVENT_ENDS,         /* penstock_event_reader_ends_total{end}, of enum op_events_end */
    GW_M_OVERLOAD_LEVEL,     /* penstock_overload_level */
    GW_M_FEATURE_OFF,        /* penstock_feature_off{feature} */
    GW_M_FEATURE_USES,       /* penstock_feature_uses_total{feature} */
    GW_M_LOG_LINES_DROPPED,  /* penstock_log_lines_dropped_total */
    GW_M_TRACE_SPANS,        /* penstock_trace_spans_total{end}, of enum ps_span_end */
    GW_M_SIGNAL,             /* penstock_overload_signal{signal}; absent ones are left out */
    GW_M_SIGNAL_SHARE,       /* penstock_overload_signal_ratio{signal} */
    GW_M_PRESSURE,           /* penstock_overload_pressure_ratio */
    GW_M_OVERRIDES,          /* penstock_overrides{kind} */
    GW_M_OVERRIDE_OLDEST,    /* penstock_override_oldest_seconds */
    GW_M_PLANS_ACTIVE,       /* penstock_plans_active */
    GW_M_PLANS_SUSPENDED,    /* penstock_plans_suspended */
    GW_M_PLAN_ENDS,          /* penstock_plan_ends_timestamp_seconds{plan} */
    GW_M_PLAN_RUNS,          /* penstock_plan_runs_total{end}, of enum cfg_run_end from 1 on */
    GW_M_PLAN_BREAK_GLASS,   /* penstock_plan_break_glass_total */
    GW_M_BREAKER,            /* penstock_breaker_state{breaker,state} */
    GW_M_BREAKER_OPENINGS,   /* penstock_breaker_openings_total{breaker} */
    GW_M_UPSTREAM_REQUESTS,  /* penstock_upstream_requests_total{pool,outcome} */
    GW_M_UPSTREAM_SECONDS,   /* penstock_upstream_first_byte_seconds{pool} */
    GW_M_UPSTREAM_RETRIES,   /* penstock_upstream_retries_total{pool} */
    GW_M_UPSTREAM_NO_ENDPOINT,  /* penstock_upstream_no_endpoint_total{pool} */
    GW_M_UPSTREAM_CONNECTIONS,  /* penstock_upstream_connections{pool} */
    GW_M_UPSTREAM_IN_FLIGHT,    /* penstock_upstream_in_flight{pool} */
    GW_M_UPSTREAM_ENDPOINTS,    /* penstock_upstream_endpoints{pool,state} */
    GW_M_UPSTREAM_EJECTIONS,    /* penstock_upstream_ejections_total{pool,reason} */
    GW_M_UPSTREAM_PANIC,        /* penstock_upstream_panic{pool} */
    GW_M_UPSTREAM_OPEN,         /* penstock_upstream_breakers_open{pool} */
    GW_M_UPSTREAM_LIMIT,        /* penstock_upstream_limit{pool} */
    GW_M_UPSTREAM_PLACES,       /* penstock_upstream_places{pool} */
    GW_M_UPSTREAM_WAITING,      /* penstock_upstream_waiting{pool} */
    GW_M_UPSTREAM_BUSY,         /* penstock_upstream_busy_total{pool} */
    GW_M_UPSTREAM_UPLOADS,      /* penstock_upstream_uploads{pool} */
    GW_M_UPSTREAM_UPLOADS_FULL, /* penstock_upstream_uploads_full_total{pool} */
    GW_M_DISCOVERY_STATE,       /* penstock_discovery_state{pool,source,state} */
    GW_M_DISCOVERY_SUCCESS,     /* penstock_discovery_success_time_seconds{pool,source} */
    GW_M_DISCOVERY_FAILURES,    /* penstock_discovery_failures_total{pool,source} */
    GW_M_ROUTE_FALLBACKS,       /* penstock_route_fallbacks_total{route,kind} */
    GW_M_ROUTE_SPLIT,           /* penstock_route_split_ratio{route,pool,split} */
    GW_M_ROUTE_MIRRORS,         /* penstock_route_mirrors_total{route,result} */
    GW_M_ROUTE_RETURNS,         /* penstock_route_returns_total{route,cause} */
    GW_M_ROUTE_REQUESTS,        /* penstock_route_requests_total{route,pool,outcome} */
    GW_M_ROUTE_JUDGED,          /* penstock_route_judged_total{route,pool,result} */
    GW_M_CACHE_REQUESTS,        /* penstock_cache_requests_total{cache,result} */
    GW_M_CACHE_ANSWERS,    /* penstock_cache_answers_total{cache,result}, of enum cache_store */
    GW_M_CACHE_BYTES,      /* penstock_cache_bytes{cache} */
    GW_M_CACHE_ENTRIES,    /* penstock_cache_entries{cache} */
    GW_M_CACHE_WAITING,    /* penstock_cache_waiting{cache} */
    GW_M_CACHE_EVICTIONS,  /* penstock_cache_evictions_total{cache} */
    GW_M_CACHE_PURGES,     /* penstock_cache_purged_total{cache} */
    GW_M_PAGES,            /* penstock_pages_total{end}, of enum page_end */
    GW_M_BUILD_INFO,       /* penstock_build_info{version} 1 */
    GW_M_SALE_UNITS,       /* penstock_sale_units{sale,state} */
    GW_M_SALE_ANSWERS,     /* penstock_sale_answers_total{sale,verdict} */
    GW_M_AUDIT_OK,         /* penstock_audit_ok{sale} */
    GW_M_AUDIT_VIOLATIONS, /* penstock_audit_violations{sale} */
    GW_M_AUDIT_SECONDS,    /* penstock_audit_timestamp_seconds{sale} */
    GW_M_AUDITS,           /* penstock_audits_total{result}, of enum gw_audit */
    GW_M_CPU_SECONDS,      /* process_cpu_seconds_total; these are left out where not known */
    GW_M_RESIDENT_BYTES,   /* process_resident_memory_bytes */
    GW_M_VIRTUAL_BYTES,    /* process_virtual_memory_bytes */
    GW_M_OPEN_FDS,         /* process_open_fds */
    GW_M_MAX_FDS,          /* process_max_fds */
    GW_M_START_SECONDS,    /* process_start_time_seconds */
    GW_M_COUNT
};

enum gw_audit { GW_AUDIT_OK, GW_AUDIT_VIOLATIONS, GW_AUDIT_FAILED };

/* What flow control (orders/flow.h) limits. */
enum gw_flow { GW_FLOW_LOG, GW_FLOW_STORE, GW_FLOW_COUNT };
extern const char *const gw_flow_names[GW_FLOW_COUNT + 1]; /* in order, NULL-terminated */

extern const struct ps_metric gw_metric_table[GW_M_COUNT];

/* The names of enum adm_shed_class, in order, NULL-terminated. */
extern const char *const gw_shed_classes[];

#endif
