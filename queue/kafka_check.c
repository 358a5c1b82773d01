/* See kafka_conf.h. Fixed settings come last, so that no other name of a property (librdkafka has
 * aliases) undoes them. */
#include "queue/kafka_check.h"
#include "common/program/secret.h"

#include <stdlib.h>
#include <string.h>

#define NOT_AN_OBJECT "must be an object, as {\"security.protocol\": \"SASL_SSL\"}"
#define PASSWORD_MAX  1024

int oq_kafka_properties(const json_t *object, const char *path,
                        struct oq_kafka_property **ret_properties, size_t *ret_count,
                        struct ps_fault *fault)
{
    const char *name;
    json_t *value;
    size_t count = 0;
    if (!json_is_object(object))
        return ps_fault(fault, PS_E_INVALID, path, NOT_AN_OBJECT);
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

int oq_kafka_add_password(json_t **object, const char *file, const char *setting,
                          struct ps_fault *fault)
{
    char password[PASSWORD_MAX + 1];
    if (!json_is_object(*object))
        return 0; /* oq_kafka_properties_check() says so */
    if (json_object_get(*object, "sasl.password") != NULL)
        return ps_fault(fault, PS_E_INVALID, setting,
                        "sasl.password is already among the properties");
    int err = ps_secret_read(file, setting, PASSWORD_MAX, password, fault);
    if (err < 0)
        return err;
    json_t *copy = json_copy(*object);
    json_t *text = json_string(password);
    if (text == NULL && copy != NULL) {
        json_decref(copy);
        return ps_fault(fault, PS_E_INVALID, setting, "the first line of %s is not valid UTF-8",
                        file);
    }
    if (json_object_set_new(copy, "sasl.password", text) != 0) {
        json_decref(copy);
        return ps_fault(fault, PS_E_NOMEM, setting, "out of memory");
    }
    json_decref(*object);
    *object = copy;
    return 0;
}

/* librdkafka would write to stderr; what matters comes by the error callback. */
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

int oq_kafka_check_set(rd_kafka_conf_t *conf, const char *name, const char *value,
                       struct ps_fault *fault)
{
    char why[256];
    if (rd_kafka_conf_set(conf, name, value, why, sizeof why) == RD_KAFKA_CONF_OK)
        return 0;
    return ps_fault(fault, PS_E_INVALID, name, "librdkafka does not accept it: %s", why);
}

static int set_list(rd_kafka_conf_t *conf, const struct oq_kafka_property *list,
                    struct ps_fault *fault)
{
    int err = 0;
    for (; list->name != NULL && err == 0; list++)
        err = oq_kafka_check_set(conf, list->name, list->value, fault);
    return err;
}

static int set_operators(rd_kafka_conf_t *conf, const struct oq_kafka_rules *rules,
                         const struct oq_kafka_property *property, struct ps_fault *fault)
{
    if (is_ours(rules, property->name))
        return ps_fault(fault, PS_E_INVALID, property->name,
                        "Penstock sets this itself: its guarantees depend on it");
    return oq_kafka_check_set(conf, property->name, property->value, fault);
}

/* Writes the reason why it cannot be set to `why`. */
static bool try_property(rd_kafka_conf_t *conf, const struct oq_kafka_rules *rules,
                         const char *name, const json_t *value, struct ps_fault *why)
{
    if (!json_is_string(value)) {
        ps_fault(why, PS_E_INVALID, name, "must be a string, as in librdkafka's list");
        return false;
    }
    struct oq_kafka_property property = {name, json_string_value(value)};
    return set_operators(conf, rules, &property, why) == 0;
}

/* Faults that only a handle of librdkafka finds: a missing file of certificates, or two properties
 * that exclude each other. It has no brokers, so it connects to nothing. */
static bool try_together(rd_kafka_conf_t *conf, const struct oq_kafka_rules *rules,
                         struct ps_fault *why)
{
    char text[256];
    if (set_list(conf, rules->fixed, why) != 0) {
        rd_kafka_conf_destroy(conf);
        return false;
    }
    rd_kafka_t *handle = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof text);
    if (handle == NULL) {
        rd_kafka_conf_destroy(conf);
        ps_fault(why, PS_E_INVALID, "", "%s", text);
        return false;
    }
    rd_kafka_destroy(handle);
    return true;
}

int oq_kafka_check_properties(const struct oq_kafka_rules *rules, const json_t *object,
                              const char *path, oq_kafka_fault_fn *on_fault, void *ctx)
{
    struct ps_fault why, fault;
    const char *name;
    json_t *value;
    int err = 0;
    if (!json_is_object(object)) {
        err = ps_fault(&fault, PS_E_INVALID, path, NOT_AN_OBJECT);
        on_fault(&fault, ctx);
        return err;
    }
    if (json_object_size(object) == 0)
        return 0;
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set_log_cb(conf, say_nothing);
    err = set_list(conf, rules->defaults, &why);
    json_object_foreach((json_t *)(uintptr_t)object, name, value)
    {
        if (try_property(conf, rules, name, value, &why))
            continue;
        err = ps_fault(&fault, PS_E_INVALID, path, "\"%s\": %s", name, why.text);
        on_fault(&fault, ctx);
    }
    if (err != 0) {
        rd_kafka_conf_destroy(conf);
        return err;
    }
    if (try_together(conf, rules, &why))
        return 0;
    err = ps_fault(&fault, PS_E_INVALID, path, "librdkafka does not accept them: %s", why.text);
    on_fault(&fault, ctx);
    return err;
}

int oq_kafka_check_apply(rd_kafka_conf_t *conf, const struct oq_kafka_rules *rules,
                         const struct oq_kafka_property *properties, size_t count,
                         struct ps_fault *fault)
{
    rd_kafka_conf_set_log_cb(conf, say_nothing);
    int err = set_list(conf, rules->defaults, fault);
    for (size_t i = 0; i < count && err == 0; i++)
        err = set_operators(conf, rules, &properties[i], fault);
    return err == 0 ? set_list(conf, rules->fixed, fault) : err;
}
