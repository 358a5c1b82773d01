/* See switch.h. The places of all lines are computed when the document comes into force; a request
 * hashes its `by` value and looks up one byte per line.
 *
 * The hash depends on the route's name alone: all gateways of a cluster agree, also after a
 * restart, and the users of one route's split are not those of another's. It is no secret: a client
 * may enter a split by trying other cookies. */
#include "gateway/upstream/switch.h"

#include "gateway/upstream/fields.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(CFG_SPLITS_MAX < UINT8_MAX, "a place holds a split's number");

struct line {
    enum cfg_split_by by;
    const char *name, *value;
    uint8_t at[UP_PLACES]; /* the split's index + 1; 0: the route's own pool */
};

struct up_switch {
    unsigned char key[crypto_shorthash_KEYBYTES];
    size_t line_count;
    struct line lines[];
};

/* --- Places. --- */

/* Where the splits of a line begin, and in which direction they grow. */
static const struct {
    uint16_t from;
    bool down;
} beginnings[CFG_SPLITS_MAX] = {{0, false},   {999, true}, {500, false}, {499, true},
                                {250, false}, {749, true}, {750, false}, {249, true}};

static bool is_of_line(const struct line *line, const struct cfg_split *split)
{
    return line->by == split->by && ps_text_same(line->name, split->name) &&
           ps_text_same(line->value, split->value);
}

struct growth {
    uint8_t mark;
    uint32_t wants;  /* places that it still needs */
    uint32_t passed; /* places already looked at, from its beginning */
    uint32_t from;
    bool down;
};

/* Takes the next free place, if there is one. */
static void grow(struct line *line, struct growth *growth)
{
    while (growth->wants > 0 && growth->passed < UP_PLACES) {
        uint32_t step = growth->passed++;
        uint32_t place = growth->down ? growth->from + UP_PLACES - step : growth->from + step;
        uint8_t *at = &line->at[place % UP_PLACES];
        if (*at != 0)
            continue;
        *at = growth->mark;
        growth->wants--;
        return;
    }
}

/* The splits take places in turn, so that each gets those nearest to its beginning. */
static void share_out(struct line *line, const struct cfg_route *route, const uint32_t *per_mille)
{
    struct growth all[CFG_SPLITS_MAX];
    size_t count = 0;

    for (size_t i = 0; i < route->split_count; i++) {
        if (!is_of_line(line, &route->splits[i]))
            continue;
        all[count] =
            (struct growth){.mark = (uint8_t)(i + 1),
                            .wants = per_mille != NULL ? per_mille[i] : route->splits[i].per_mille,
                            .from = beginnings[count].from,
                            .down = beginnings[count].down};
        count++;
    }
    for (size_t turn = 0; turn < UP_PLACES; turn++)
        for (size_t i = 0; i < count; i++)
            grow(line, &all[i]);
}

static bool has_line(const struct up_switch *swtch, const struct cfg_split *split)
{
    for (size_t i = 0; i < swtch->line_count; i++)
        if (is_of_line(&swtch->lines[i], split))
            return true;
    return false;
}

int up_switch_new(const struct cfg_route *route, const uint32_t *per_mille,
                  struct up_switch **ret_switch)
{
    struct up_switch *swtch = NULL;

    if (route->split_count > 0) {
        swtch = calloc(1, sizeof *swtch + route->split_count * sizeof swtch->lines[0]);
        if (swtch == NULL)
            return PS_E_NOMEM;
        (void)crypto_generichash(swtch->key, sizeof swtch->key, (const unsigned char *)route->name,
                                 strlen(route->name), NULL, 0);
    }
    for (size_t i = 0; i < route->split_count; i++) {
        const struct cfg_split *split = &route->splits[i];
        if (has_line(swtch, split))
            continue;
        struct line *line = &swtch->lines[swtch->line_count++];
        line->by = split->by;
        line->name = split->name;
        line->value = split->value;
        share_out(line, route, per_mille);
    }
    *ret_switch = swtch;
    return 0;
}

void up_switch_free(struct up_switch *swtch)
{
    free(swtch);
}

/* --- Who asks. --- */

static uint32_t place_of(const struct up_switch *swtch, const void *at, size_t len)
{
    unsigned char hash[crypto_shorthash_BYTES];
    uint64_t value;

    (void)crypto_shorthash(hash, at, len, swtch->key);
    memcpy(&value, hash, sizeof value);
    return (uint32_t)((value >> 32) * UP_PLACES >> 32);
}

static uint32_t place_of_user(const struct up_switch *swtch, const struct up_asker *asker)
{
    struct ps_address address;

    if (asker->user.len > 0)
        return place_of(swtch, asker->user.at, asker->user.len);
    ps_address_limit_key(&asker->client, &address);
    return place_of(swtch, address.byte, sizeof address.byte);
}

/* Of each 1,000 draws every place comes once, in an order that differs from the 1,000 before and
 * jumps (619 is 0.619 of the line, near the golden ratio). So no share and no pattern of requests
 * always meets the same places. */
static uint32_t place_of_draw(uint64_t *draws)
{
    uint64_t draw = (*draws)++;
    uint64_t round = draw / UP_PLACES * UINT64_C(0x9e3779b97f4a7c15);

    return (uint32_t)((draw % UP_PLACES * 619 + (round >> 32)) % UP_PLACES);
}

bool up_draw_is_in(uint64_t *draws, uint32_t per_mille)
{
    return place_of_draw(draws) < per_mille;
}

/* False: the line does not apply to this request. */
static bool find_place(const struct up_switch *swtch, const struct line *line,
                       const struct up_asker *asker, uint64_t *draws, uint32_t *ret_place)
{
    struct ps_str value;

    switch (line->by) {
    case CFG_SPLIT_USER:
        *ret_place = place_of_user(swtch, asker);
        return true;
    case CFG_SPLIT_COOKIE:
        value = up_cookie_find(asker->head, asker->base, ps_str(line->name));
        if (value.at == NULL)
            return false;
        *ret_place = place_of(swtch, value.at, value.len);
        return true;
    case CFG_SPLIT_HEADER:
        value = ps_http_find(asker->head, asker->base, ps_str(line->name));
        if (value.at == NULL || !ps_str_is(value, line->value))
            return false;
        *ret_place = place_of_user(swtch, asker);
        return true;
    case CFG_SPLIT_REQUEST:
        *ret_place = place_of_draw(draws);
        return true;
    }
    return false;
}

size_t up_switch_pick(const struct up_switch *swtch, const struct up_asker *asker, unsigned off,
                      uint64_t *draws)
{
    for (size_t i = 0; swtch != NULL && i < swtch->line_count; i++) {
        const struct line *line = &swtch->lines[i];
        uint32_t place;
        if (!find_place(swtch, line, asker, draws, &place) || line->at[place] == 0)
            continue;
        size_t split = line->at[place] - 1u;
        if ((off >> split & 1) == 0)
            return split;
    }
    return UP_NONE;
}
