/* The metric table. docs/reference/metrics.md is printed from it. */
#include "gateway/metrics.h"

#include "gateway/config/feature_doc.h"
#include "gateway/config/limit_rule.h"
#include "gateway/answers/verdict.h"

static const char *const order_events[] = {"accepted", "void", "confirmed", "released", NULL};
static const char *const mark_reasons[] = {"malformed",  "unknown_key", "expired", "too_long",
                                           "other_user", "forged",      NULL};
static const char *const log_outcomes[] = {"landed", "refused", "unknown", "spilled", NULL};
const char *const gw_flow_names[GW_FLOW_COUNT + 1] = {"log", "store", NULL};
const char *const gw_shed_classes[] = {"order", "order_state", "status", "other", NULL};
static const char *const versions[] = {PENSTOCK_VERSION, NULL};

/* clang-format off */
const struct ps_metric gw_metric_table[GW_M_COUNT] = {
    [GW_M_ANSWERS]             = {"penstock_answers_total", "Answers of the public listener by verdict.", PS_COUNTER, "verdict", ans_verdict_names, ans_is_public},
    [GW_M_REFUSED_EARLY]       = {"penstock_http_refused_total", "Requests that the public listener refused before they were understood, by verdict.", PS_COUNTER, "verdict", ans_verdict_names, ans_is_early},
    [GW_M_ADMIN_REFUSED]       = {"penstock_admin_http_refused_total", "The same of the admin listener.", PS_COUNTER, "verdict", ans_verdict_names, ans_is_early},
    [GW_M_REHEARSAL_ANSWERS]   = {"penstock_rehearsal_answers_total", "Answers to requests with a mark of rehearsal that was believed, by verdict; they are in no other series of answers.", PS_COUNTER, "verdict", ans_verdict_names, ans_is_public},
    [GW_M_REHEARSAL_ANSWER_SECONDS] = {"penstock_rehearsal_answer_duration_seconds", "Of these answers, as penstock_answer_duration_seconds.", PS_HISTOGRAM_SECONDS, "class", ans_class_names, NULL},
    [GW_M_REHEARSAL_MARKS_REFUSED] = {"penstock_rehearsal_marks_refused_total", "Requests whose mark of rehearsal was not believed, by reason; they were served as ordinary ones.", PS_COUNTER, "reason", mark_reasons, NULL},
    [GW_M_REHEARSAL_ORDERS]    = {"penstock_rehearsal_orders_total", "Changes of orders of rehearsal sales that the log has shown.", PS_COUNTER, "event", order_events, NULL},
    [GW_M_SHADOW]              = {"penstock_limit_shadow_total", "Requests that a limit in shadow mode would have refused, by what it counts.", PS_COUNTER, "key", cfg_limit_keys, NULL},
    [GW_M_ANSWER_SECONDS]      = {"penstock_answer_duration_seconds", "From a complete request head to the answer; order: 202, content: 200 to 399, refused: 400 to 499, unavailable: 500 and above.", PS_HISTOGRAM_SECONDS, "class", ans_class_names, NULL},
    [GW_M_CONNECTIONS]         = {"penstock_connections", "Open connections of the public listener.", PS_GAUGE, NULL, NULL, NULL},
    [GW_M_IN_FLIGHT]           = {"penstock_requests_in_flight", "Requests that are not answered yet.", PS_GAUGE, NULL, NULL, NULL},
    [GW_M_WAITING]             = {"penstock_limit_waiting", "Requests held by leaky buckets.", PS_GAUGE, NULL, NULL, NULL},
    [GW_M_UNTRUSTED_IDENTITY]  = {"penstock_identity_untrusted_total", "Requests with X-User-Id from a peer that is no trusted proxy.", PS_COUNTER, NULL, NULL, NULL},
    [GW_M_FLOW_LIMIT]          = {"penstock_flow_limit", "How many appends to the log and reservations in Redis may be under way: a limit that follows their latency, or is pinned. 0: no such target.", PS_GAUGE, "target", gw_flow_names, NULL},
    [GW_M_FLOW_IN_FLIGHT]      = {"penstock_flow_in_flight", "How many are under way.", PS_GAUGE, "target", gw_flow_names, NULL},
    [GW_M_FLOW_REFUSED]        = {"penstock_flow_refused_total", "Buyers refused because the limit was reached: log_backlog, store_unavailable.", PS_COUNTER, "target", gw_flow_names, NULL},
    [GW_M_FLOW_SECONDS]        = {"penstock_flow_latency_seconds", "Median latency of the last that were measured; of Redis, of the slowest worker.", PS_GAUGE_BILLIONTHS, "target", gw_flow_names, NULL},
    [GW_M_ADMISSION]           = {"penstock_admission_ratio", "The part of the requests of a class that overload lets pass, by user, 0 to 1; the mean over the workers.", PS_GAUGE_BILLIONTHS, "class", gw_shed_classes, NULL},
    [GW_M_UNREAD]              = {"penstock_unread_connections", "Connections with requests that are left unread, since newer ones are served first.", PS_GAUGE, NULL, NULL, NULL},
    [GW_M_UNREAD_LEFT]         = {"penstock_unread_total", "How often a connection was left unread.", PS_COUNTER, NULL, NULL, NULL},
    [GW_M_UNREAD_CLOSED]       = {"penstock_unread_closed_total", "Connections that were left unread until their client had left or their deadline had passed.", PS_COUNTER, NULL, NULL, NULL},
    [GW_M_LATE_OUTCOMES]       = {"penstock_late_outcomes_total", "Outcomes of the log that came after their request was answered pending, or its client had left.", PS_COUNTER, NULL, NULL, NULL},
    [GW_M_ORDERS]              = {"penstock_orders_total", "Changes of orders that the log has shown, without those of rehearsal sales.", PS_COUNTER, "event", order_events, NULL},
    [GW_M_UNITS_RETURNED]      = {"penstock_units_returned_total", "Units that came back to stock by expiry or cancellation, without those of rehearsal sales.", PS_COUNTER, NULL, NULL, NULL},
    [GW_M_FOLD_ANOMALIES]      = {"penstock_log_anomalies_total", "Records that no correct gateway writes; 0 unless somebody else wrote to the log.", PS_COUNTER, NULL, NULL, NULL},
    [GW_M_LOG_RECORDS]         = {"penstock_log_records_total", "Records given to the log by outcome.", PS_COUNTER, "outcome", log_outcomes, NULL},
    [GW_M_LOG_COMMITS]         = {"penstock_log_commits_total", "Commits of the journal.", PS_COUNTER, NULL, NULL, NULL},
    [GW_M_LOG_COMMIT_FAILURES] = {"penstock_log_commit_failures_total", "Commits of the journal that failed.", PS_COUNTER, NULL, NULL, NULL},
    [GW_M_LOG_COMMIT_SECONDS]  = {"penstock_log_commit_seconds", "Duration of a commit of the journal; of Kafka, from sending a group of records until all were read back.", PS_HISTOGRAM_SECONDS, NULL, NULL, NULL},
    [GW_M_LOG_BACKLOG]         = {"penstock_log_backlog_records", "Records that wait for the log.", PS_GAUGE, NULL, NULL, NULL},
    [GW_M_LOG_AVAILABLE]       = {"penstock_log_available", "1 while the log takes records.", PS_GAUGE, NULL, NULL, NULL},
    [GW_M_KAFKA_IN_FLIGHT]     = {"penstock_kafka_in_flight_records", "Records sent to Kafka and not read back yet.", PS_GAUGE, NULL, NULL, NULL},
    [GW_M_KAFKA_LAG]           = {"penstock_kafka_lag_records", "Records of the topic that this gateway has not read yet.", PS_GAUGE, NULL, NULL, NULL},
    [GW_M_KAFKA_RESENT]        = {"penstock_kafka_resent_total", "Records sent to Kafka again.", PS_COUNTER, NULL, NULL, NULL},
    [GW_M_KAFKA_FOREIGN]       = {"penstock_kafka_foreign_records_total", "Records of the topic that are no events of Penstock.", PS_COUNTER, NULL, NULL, NULL},
    [GW_M_KAFKA_PRODUCERS]     = {"penstock_kafka_producers_total", "Producers made anew after a fatal error.", PS_COUNTER, NULL, NULL, NULL},
    [GW_M_KAFKA_SENT]          = {"penstock_kafka_sent_bytes_total", "Bytes sent to Kafka by the producer.", PS_COUNTER, NULL, NULL, NULL},
    [GW_M_KAFKA_RECEIVED]      = {"penstock_kafka_received_bytes_total", "Bytes received from Kafka by the producer.", PS_COUNTER, NULL, NULL, NULL},
    [GW_M_KAFKA_ROUND_TRIP]    = {"penstock_kafka_round_trip_seconds", "The slowest broker's 99th percentile of the last seconds.", PS_GAUGE_BILLIONTHS, NULL, NULL, NULL},
    [GW_M_SPILL_RECORDS]       = {"penstock_spill_records", "Orders that wait on this machine's disk for Kafka.", PS_GAUGE, NULL, NULL, NULL},
    [GW_M_LIMIT_EVICTIONS]     = {"penstock_limit_evictions_total", "Live limit cells that gave way to others because the table was full.", PS_COUNTER, NULL, NULL, NULL},
    [GW_M_LIMIT_SHARED_ASKED]  = {"penstock_limit_shared_asked_total", "Requests that asked a limit of the key global or sale.", PS_COUNTER, NULL, NULL, NULL},
    [GW_M_LIMIT_SHARE]         = {"penstock_limit_share_ratio", "This gateway's share of the limits of the keys global and sale, 0 to 1; 1 alone.", PS_GAUGE_BILLIONTHS, NULL, NULL, NULL},
    [GW_M_EXPIRED]             = {"penstock_orders_expired_total", "Expiries of unpaid orders that this gateway has written, without those of rehearsal sales.", PS_COUNTER, NULL, NULL, NULL},
    [GW_M_MEMBERS]             = {"penstock_cluster_members", "Gateways heard of in the last three seconds, this one too.", PS_GAUGE, NULL, NULL, NULL},
    [GW_M_LEADER]              = {"penstock_cluster_leader", "1 while this gateway leads: it alone, or by the lease in Redis.", PS_GAUGE, NULL, NULL, NULL},
    [GW_M_FENCED]              = {"penstock_sales_fenced", "Opened sales that cannot be sold from until their counters are built again.", PS_GAUGE, NULL, NULL, NULL},
    [GW_M_EFFECTS_WAITING]     = {"penstock_cluster_effects_waiting", "Decisions of the log that Redis is not known to have.", PS_GAUGE, NULL, NULL, NULL},
    [GW_M_FENCES]              = {"penstock_cluster_fences_total", "How often this gateway has stopped selling a sale because its epoch had ended.", PS_COUNTER, NULL, NULL, NULL},
    [GW_M_REBUILD_SECONDS]     = {"penstock_cluster_rebuild_duration_seconds", "From the claim to the new counters, of the rebuilds by this gateway.", PS_HISTOGRAM_SECONDS, NULL, NULL, NULL},
    [GW_M_REAPED]              = {"penstock_cluster_reaped_total", "Reservations of dead gateways, or lost ones of its own, that this gateway has rejected by a record.", PS_COUNTER, NULL, NULL, NULL},
    [GW_M_ADMIN_CHANGES]       = {"penstock_admin_changes_total", "Changes made through the admin listener.", PS_COUNTER, NULL, NULL, NULL},
    [GW_M_ADMIN_DENIED]        = {"penstock_admin_denied_total", "Admin requests without a valid token or role.", PS_COUNTER, NULL, NULL, NULL},
    [GW_M_OVERLOAD_LEVEL]      = {"penstock_overload_level", "Level of the degrade ladder, 0 to 4.", PS_GAUGE, NULL, NULL, NULL},
    [GW_M_FEATURE_OFF]         = {"penstock_feature_off", "1 while the feature gives way, by the level or by an operator.", PS_GAUGE, "feature", cfg_feature_names, NULL},
    [GW_M_FEATURE_USES]        = {"penstock_feature_uses_total", "How often a feature was used, or would have been while it was off.", PS_COUNTER, "feature", cfg_feature_names, NULL},
    [GW_M_LOG_LINES_DROPPED]   = {"penstock_log_lines_dropped_total", "Lines of the program's log that did not fit its queue.", PS_COUNTER, NULL, NULL, NULL},
    [GW_M_SIGNAL]              = {"penstock_overload_signal", "What the signals of overload say, each in its own unit: _ms in milliseconds, requests_in_flight in requests, admitted_rate in orders a second, the others as shares, 0 to 1. A signal that cannot be read is left out.", PS_GAUGE_ASKED, "signal", NULL, NULL},
    [GW_M_SIGNAL_SHARE]        = {"penstock_overload_signal_ratio", "The signals of overload that have a threshold: weight times value, of the threshold.", PS_GAUGE_ASKED, "signal", NULL, NULL},
    [GW_M_PRESSURE]            = {"penstock_overload_pressure_ratio", "The largest penstock_overload_signal_ratio.", PS_GAUGE_BILLIONTHS, NULL, NULL, NULL},
    [GW_M_BREAKER]             = {"penstock_breaker_state", "Circuits of a breaker by state: redis and each pool of the shop (pool:NAME) have one a worker, kafka one. Those of endpoints: GET /admin/v1/breakers. State: closed, open (forced open, too), half_open.", PS_GAUGE_ASKED, "breaker, state", NULL, NULL},
    [GW_M_BREAKER_FORCED]      = {"penstock_breaker_forced", "1 while an operator has ordered a breaker to be in that state, open or closed.", PS_GAUGE_ASKED, "breaker, state", NULL, NULL},
    [GW_M_BREAKER_OPENINGS]    = {"penstock_breaker_openings_total", "How often circuits of a breaker have opened by themselves, those that were closed before.", PS_COUNTER_ASKED, "breaker", NULL, NULL},
    [GW_M_BUILD_INFO]          = {"penstock_build_info", "1; the label names the version.", PS_GAUGE, "version", versions, NULL},
    [GW_M_SALE_UNITS]          = {"penstock_sale_units", "Units of open sales, all SKUs together: left, held by orders that are not paid, confirmed. At most metrics.sales_max sales, by name.", PS_GAUGE_ASKED, "sale, state", NULL, NULL},
    [GW_M_CPU_SECONDS]         = {"process_cpu_seconds_total", "Processor time of this process, in user mode and in the kernel.", PS_COUNTER_ASKED, NULL, NULL, NULL},
    [GW_M_RESIDENT_BYTES]      = {"process_resident_memory_bytes", "Memory of this process that is in RAM.", PS_GAUGE_ASKED, NULL, NULL, NULL},
    [GW_M_VIRTUAL_BYTES]       = {"process_virtual_memory_bytes", "Address space of this process.", PS_GAUGE_ASKED, NULL, NULL, NULL},
    [GW_M_OPEN_FDS]            = {"process_open_fds", "Open file descriptors.", PS_GAUGE_ASKED, NULL, NULL, NULL},
    [GW_M_MAX_FDS]             = {"process_max_fds", "Most file descriptors that may be open.", PS_GAUGE_ASKED, NULL, NULL, NULL},
    [GW_M_START_SECONDS]       = {"process_start_time_seconds", "Start of this process, seconds since 1970.", PS_GAUGE_BILLIONTHS, NULL, NULL, NULL},
};
/* clang-format on */
