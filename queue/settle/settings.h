/* The settings of penstock-settle: one table, from which the file, the flags, the help and the
 * documents derive. A flag is the path with "-" for "." and "_": gateway.token_file is
 * --gateway-token-file. Flags win over the file. */
#ifndef ST_SETTINGS_H
#define ST_SETTINGS_H

#include "common/table/table.h"

struct st_settings {
    char *journal; /* NULL: Kafka */
    struct {
        char *brokers, *topic, *group;
        char *dead_letter_topic; /* NULL = none */
        bool skip_lost;
        json_t *properties;
        char *sasl_password_file; /* NULL = none */
    } kafka;
    char *name;
    char *database;
    struct {
        struct ps_strings url;
        char *token_file; /* NULL only when there is no url */
        int64_t timeout_ms;
    } gateway;
    bool auto_confirm;
    bool rehearsals;
    int64_t batch;
    struct {
        char *file; /* NULL = none */
        int64_t interval_s;
    } metrics;
    struct {
        char *endpoint;     /* NULL: off */
        char *headers_file; /* NULL: none */
    } tracing;
    int64_t progress_s;
    int64_t patience_s;
    int log_level, log_format; /* enum ps_log_level, enum ps_log_format */

    struct ps_strings headers; /* of tracing.headers_file */
    const char *docs_dir;      /* of ST_DOCS; points into argv */
};

/* What to do, beside the settings. */
enum st_action { ST_RUN, ST_ONCE, ST_INIT, ST_HELP, ST_VERSION, ST_DEFAULTS, ST_SCHEMA, ST_DOCS };

extern const struct ps_table st_settings_table;

/* All or nothing. From ST_HELP on the settings are empty but for `docs_dir`. PS_E_INVALID: all
 * faults are added, their paths name the flag or the setting; PS_E_IO, PS_E_NOMEM. */
int st_settings_read(int argc, char *const *argv, struct st_settings *ret_settings,
                     enum st_action *ret_action, struct ps_faults *faults) PS_MUST_CHECK;
void st_settings_free(struct st_settings *settings);

void st_settings_help(void);

#endif
