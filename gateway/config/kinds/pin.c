/* See pin.h. */
#include "gateway/config/kinds/pin.h"

#include "common/clock.h"

#include <string.h>

static void read_value(struct ps_json_reader *reader, const struct cfg_pin_words *words,
                       struct cfg_pin *pin)
{
    int64_t number = 0;

    if (words->member == NULL)
        return;
    if (words->words != NULL) {
        ps_json_enum(reader, words->member, words->words, &pin->value);
        return;
    }
    ps_json_int(reader, words->member, words->min, words->max, &number);
    pin->value = (int)number;
}

/* The first may be NULL. */
static void require(struct ps_json_reader *reader, const char *const *names)
{
    ps_json_require(reader, names[0] != NULL ? names : names + 1);
}

int cfg_pin_ask(const json_t *json, const struct cfg_pin_words *words, int64_t now_ms,
                struct cfg_pin *ret_pin, struct ps_faults *faults)
{
    struct ps_json_reader reader;
    struct cfg_pin pin = {0};
    int64_t ttl_s = 0;

    ps_json_reader_init_all(&reader, json, "", faults);
    require(&reader, (const char *const[]){words->member, "ttl_s", NULL});
    read_value(&reader, words, &pin);
    ps_json_int(&reader, "ttl_s", 1, CFG_PIN_MAX_S, &ttl_s);
    (void)ps_json_has(&reader, "reason");
    int err = ps_json_done(&reader);
    if (err < 0)
        return err;
    pin.until_ms = now_ms + ttl_s * 1000;
    *ret_pin = pin;
    return 0;
}

int cfg_pin_read(const json_t *state, const struct cfg_pin_words *words, struct cfg_pin *ret_pin,
                 struct ps_faults *faults)
{
    const json_t *json = json_object_get(state, "pin");
    struct ps_str who = {"", 0}, why = {"", 0};
    struct ps_json_reader reader;
    struct cfg_pin pin = {0};

    *ret_pin = pin;
    if (json == NULL || json_is_null(json))
        return 0;
    ps_json_reader_init_all(&reader, json, "/pin", faults);
    require(&reader, (const char *const[]){words->member, "until", "by", NULL});
    read_value(&reader, words, &pin);
    ps_json_time(&reader, "until", &pin.until_ms);
    ps_json_string(&reader, "by", PS_NAME_MAX, &who);
    if (!json_is_null(ps_json_value(&reader, "reason")))
        ps_json_text(&reader, "reason", CFG_REASON_MAX, &why);
    int err = ps_json_done(&reader);
    if (err < 0)
        return err;
    memcpy(pin.who, who.at, who.len);
    memcpy(pin.why, why.at, why.len);
    *ret_pin = pin;
    return 0;
}

json_t *cfg_pin_write(const struct cfg_pin *pin, const struct cfg_pin_words *words)
{
    json_t *json;
    int err = 0;

    if (pin == NULL || pin->until_ms == 0)
        return json_null();
    json = json_object();
    if (words->member != NULL)
        err = json_object_set_new(json, words->member,
                                  words->words != NULL ? json_string(words->words[pin->value])
                                                       : json_integer(pin->value));
    if (err == 0)
        err = json_object_update_new(
            json, json_pack("{s:o, s:s, s:s?}", "until", ps_json_of_time(pin->until_ms), "by",
                            pin->who, "reason", pin->why[0] != '\0' ? pin->why : NULL));
    return ps_json_built(json, err);
}

json_t *cfg_pin_state(const struct cfg_pin *pin, const struct cfg_pin_words *words)
{
    return json_pack("{s:o}", "pin", cfg_pin_write(pin, words));
}
