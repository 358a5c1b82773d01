/* See kafka_conf.h. What is fixed is set last, so that no other name of a property (librdkafka has
 * aliases) undoes it. */
#include "queue/kafka_conf.h"

#include <stdlib.h>
#include <string.h>

int oq_kafka_properties(const json_t *object, const char *path,
                        struct oq_kafka_property **ret_properties, size_t *ret_count,
                        struct ps_fault *fault)
{
    const char *name;
    json_t *value;
    size_t count = 0;
    if (!json_is_object(object))
        return ps_fault(fault, PS_E_INVALID, path,
                        "must be an object, as {\"security.protocol\": \"SASL_SSL\"}");
    struct oq_kafka_property *properties = calloc(json_object_size(object) + 1, sizeof *properties);
    if (properties == NULL)
        return ps_fault(fault, PS_E_NOMEM, path, "out of memory");
    json_object_foreach((json_t *)(uintptr_t)object, name, value)
    {
        if (!json_is_string(value)) {
            free(properties);
            return ps_fault(fault, PS_E_INVALID, path,
                            "\"%s\" must be a string, as in librdkafka's list", name);
        }
        properties[count++] = (struct oq_kafka_property){name, json_string_value(value)};
    }
    *ret_properties = properties;
    *ret_count = count;
    return 0;
}

/* It would write to stderr; what matters of it comes through the error callback. */
static void say_nothing(const rd_kafka_t *handle, int level, const char *facility, const char *text)
{
    (void)handle;
    (void)level;
    (void)facility;
    (void)text;
}

static bool is_ours(const struct oq_kafka_rules *rules, const char *name)
{
    for (const struct oq_kafka_property *fixed = rules->fixed; fixed->name != NULL; fixed++)
        if (strcmp(name, fixed->name) == 0)
            return true;
    for (const char *const *refused = rules->refused; *refused != NULL; refused++)
        if (strcmp(name, *refused) == 0)
            return true;
    return false;
}

int oq_kafka_conf_set(rd_kafka_conf_t *conf, const char *name, const char *value,
                      struct ps_fault *fault)
{
    char why[256];
    if (rd_kafka_conf_set(conf, name, value, why, sizeof why) == RD_KAFKA_CONF_OK)
        return 0;
    return ps_fault(fault, PS_E_INVALID, name, "librdkafka does not take it: %s", why);
}

static int set_list(rd_kafka_conf_t *conf, const struct oq_kafka_property *list,
                    struct ps_fault *fault)
{
    int err = 0;
    for (; list->name != NULL && err == 0; list++)
        err = oq_kafka_conf_set(conf, list->name, list->value, fault);
    return err;
}

int oq_kafka_conf_apply(rd_kafka_conf_t *conf, const struct oq_kafka_rules *rules,
                        const struct oq_kafka_property *properties, size_t count,
                        struct ps_fault *fault)
{
    rd_kafka_conf_set_log_cb(conf, say_nothing);
    int err = set_list(conf, rules->defaults, fault);
    for (size_t i = 0; i < count && err == 0; i++) {
        if (is_ours(rules, properties[i].name))
            err = ps_fault(fault, PS_E_INVALID, properties[i].name,
                           "Penstock sets this itself, and its promises rest on it");
        else
            err = oq_kafka_conf_set(conf, properties[i].name, properties[i].value, fault);
    }
    return err == 0 ? set_list(conf, rules->fixed, fault) : err;
}
