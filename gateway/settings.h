/* The settings of one process: a struct filled by the table in settings.c (one JSON file,
 * or the defaults). Read once at start; what the table says that it
 * reloads is taken over again by SIGHUP. */
#ifndef GW_SETTINGS_H
#define GW_SETTINGS_H

#include "common/text/address.h"
#include "common/table/table.h"
#include "gateway/config/kinds/route_doc.h"
#include "common/redis/redis_url.h"
#include "gateway/config/store/document.h"

/* A Unix socket that a listener serves, too. */
struct gw_unix_socket {
    char *path;  /* NULL: there is none */
    char *mode;  /* octal */
    char *group; /* NULL: that of the process */
};

struct gw_settings {
    struct {
        char *host;
        int64_t port;
        struct gw_unix_socket local; /* listen.unix */
        int proxy_protocol;          /* enum ps_proxy_versions */
        bool proxy_protocol_trusts_clients;
    } listen;
    struct {
        char *host;
        int64_t port;
        struct ps_strings hosts; /* served besides the listen address and localhost */
        bool metrics_open;
        char *token_dir;             /* NULL = none */
        struct gw_unix_socket local; /* admin.unix */
    } admin;
    struct ps_strings trusted_proxies; /* CIDRs */
    char *client_ip_header;            /* "" = X-Forwarded-For */
    char *state_dir;
    int64_t workers; /* 0 = one a core */
    struct {
        int64_t head_timeout_ms;
        int64_t body_timeout_ms;
        int64_t send_timeout_ms;
        int64_t idle_timeout_ms;
        int64_t idle_trusted_timeout_ms;
        int64_t connections_per_address;
        int64_t head_max_kib; /* of the public listener */
        int64_t target_max;
        int64_t connections; /* of the whole process, soft */
        int64_t waiting;     /* leaky-bucket waiters a worker */
    } http;
    struct {
        int kind; /* GW_STORE_… */
        struct {
            char *url;
            char *password_file; /* NULL = none */
            int64_t connect_timeout_ms;
            int64_t command_timeout_ms;
            int64_t target_ms;
        } redis;
    } store;
    struct {
        int kind; /* GW_LOG_… */
        struct {
            char *brokers;
            char *topic;
            json_t *properties; /* of librdkafka: strings by name; sasl.password of the file too */
            char *sasl_password_file; /* NULL = none */
            int64_t partitions_min;
            int64_t retention_min_h;
            int64_t delivery_timeout_ms;
        } kafka;
        struct {
            int64_t records; /* 0: no spill */
        } spill;
        int64_t queue; /* records */
        int64_t batch_max;
        int64_t ack_timeout_ms;
        int64_t retry_ms;
        int64_t backlog_percent; /* above: log_backlog */
        bool confirm_on_standby;
        int64_t archive_after_h;
        int64_t target_ms;
    } log;
    struct {
        char *dir;     /* NULL: in state_dir */
        char *command; /* NULL: none */
    } archive;
    struct {
        int64_t archive_rest_s;
        int64_t expiry_rest_s;
    } clock;
    struct {
        int64_t mib;
    } limits_table;
    struct {
        int64_t delay_ms;
        int64_t timeout_ms;
    } drain;
    struct {
        int level;  /* enum ps_log_level */
        int format; /* enum ps_log_format */
    } logging;
    struct {
        int64_t every;                    /* of the API; 0: none */
        int64_t pages[CFG_ROUTE_CLASSES]; /* the same by class of the route */
        bool addresses;
    } access_log;
    struct {
        char *endpoint;                                        /* NULL: off */
        char *headers_file;                                    /* NULL: none */
        int64_t accepted_one_in, refused_one_in, other_one_in; /* 0: none */
        bool follow_sampled;
    } tracing;
    struct {
        int64_t sales_max;
    } metrics;
    struct {
        struct ps_strings allow_origins;
    } cors;
    struct {
        struct ps_strings allowed_networks; /* CIDRs */
        char *static_dir, *endpoint_dir;    /* NULL: none */
        struct ps_strings dns_servers;      /* "ip:port" */
        int64_t body_gather_kib;            /* 0: no bodies are gathered */
    } upstream;
    json_t *seed; /* a bundle of documents; {}: none */

    /* Derived by gw_settings_read. */
    struct ps_cidrs trusted;   /* of trusted_proxies */
    struct cfg_bounds bounds;  /* of upstream */
    struct ps_redis_url redis; /* of store.redis.url */
    struct ps_strings headers; /* of tracing.headers_file */
};

enum { GW_STORE_MEMORY, GW_STORE_REDIS };
enum { GW_LOG_JOURNAL, GW_LOG_KAFKA };

/* Defaults, then `document` (NULL = none). All or nothing. All faults are added, also those of the
 * seeds; their paths name the keys. What is faulty counts as its default for what is checked
 * together. */
int gw_settings_read(const json_t *document, struct gw_settings *ret_settings,
                     struct ps_faults *faults) PS_MUST_CHECK;
/* Reads the file; a fault of reading or of JSON has an empty path. `path` NULL = defaults. */
int gw_settings_load(const char *path, struct gw_settings *ret_settings,
                     struct ps_faults *faults) PS_MUST_CHECK;
void gw_settings_free(struct gw_settings *settings);
/* The settings in force as a document, without what is secret (passwords in URLs and in properties
 * of Kafka are "***") and without the seeds. Owner: the caller. NULL when out of memory. */
json_t *gw_settings_json(const struct gw_settings *settings);
/* Logs settings that are allowed, but let others act as any user or read the operators' tokens. */
void gw_settings_warn(const struct gw_settings *settings);

extern const struct ps_table gw_settings_table;

#endif
