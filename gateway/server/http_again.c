/* Answers used again. Making a response of the library costs as much as all that the gates do: an
 * object, and three pieces of memory for each field. In a rush nearly all answers are of few shapes
 * (the same fields, values of the same lengths, a body of the same length). So a response that has
 * been sent is kept with those of its shape, and the next answer of that shape is written over it:
 * the body lies beside it, the values are written where the library keeps its copies. The one sent
 * last is taken first, because its memory is still in the processor's cache.
 *
 * The library gives those copies out as const. It has them from malloc(), so writing there is
 * defined; nobody else reads them, because a response belongs to one slot at a time, from the
 * answer until the slot goes back, when everything has been sent (on_done). What the library also
 * demands of a value, that it has no control byte, is looked at here. All this is so in
 * libmicrohttpd 0.9; with another version, or when what is written is not what is read back, no
 * answer is ever used again, and each is made as the first one was. */
#include "common/charset.h"
#include "gateway/server/http_private.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define SETS       ((size_t)16)
#define WAYS       ((size_t)4)
#define SPARES_MAX ((size_t)1024) /* of all shapes together, about 2 MiB */

struct shape {
    const char *content_type;
    size_t body_len;
    size_t field_count;
    struct {
        const char *name;
        size_t len;
    } field[SRV_ANSWER_HEADER_MAX];
    uint64_t use; /* counts the shapes that were here: a response of an earlier one is not kept */
    struct srv_kept *spare; /* the last one sent first */
};

struct srv_kept {
    struct srv_kept *next;
    struct shape *shape;
    uint64_t use;
    struct MHD_Response *response;
    bool located;                       /* the places of the values are known */
    char *value[SRV_ANSWER_HEADER_MAX]; /* the library's */
    char body[];
};

struct srv_again {
    bool can_write;
    size_t spares, spares_max;
    struct shape shape[SETS * WAYS]; /* set by set */
    size_t turn[SETS];               /* whose place the next new shape of the set takes */
    size_t hand;                     /* whose spare goes next when there are too many */
};

/* Where the library keeps the value of a field, or NULL. */
static char *value_of(struct MHD_Response *response, const char *name, size_t len)
{
    const char *value = MHD_get_response_header(response, name);
    return value != NULL && strlen(value) == len ? (char *)(uintptr_t)value : NULL;
}

/* Whether the library copies a value and shows what is written over its copy. */
static bool can_write(void)
{
    static const char name[] = "X-Request-Id", value[] = "0123456789";
    struct MHD_Response *response =
        MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    bool well = response != NULL && MHD_add_response_header(response, name, value) == MHD_YES;
    char *copy = well ? value_of(response, name, sizeof value - 1) : NULL;
    well = copy != NULL && copy != value && strcmp(copy, value) == 0;
    if (well) {
        memset(copy, 'x', sizeof value - 1);
        well = strcmp(MHD_get_response_header(response, name), "xxxxxxxxxx") == 0;
    }
    if (response != NULL)
        MHD_destroy_response(response);
    return well;
}

int srv_again_new(const struct srv_http *http, struct srv_again **ret_again)
{
    struct srv_again *again = calloc(1, sizeof *again);
    if (again == NULL)
        return PS_E_NOMEM;
    again->can_write = http->layout_known && can_write();
    size_t requests = http->settings.requests_max;
    again->spares_max = requests < SPARES_MAX ? requests : SPARES_MAX;
    *ret_again = again;
    return 0;
}

static void destroy(struct srv_kept *kept)
{
    if (kept->response != NULL)
        MHD_destroy_response(kept->response);
    free(kept);
}

static void drop_spare(struct srv_again *again, struct shape *shape)
{
    struct srv_kept *kept = shape->spare;
    shape->spare = kept->next;
    destroy(kept);
    again->spares--;
}

static void drop_spares(struct srv_again *again, struct shape *shape)
{
    while (shape->spare != NULL)
        drop_spare(again, shape);
}

/* One of each shape in turn, so that those of a shape that is not used any more go. */
static void drop_one_of_all(struct srv_again *again)
{
    do
        again->hand = (again->hand + 1) % (SETS * WAYS);
    while (again->shape[again->hand].spare == NULL);
    drop_spare(again, &again->shape[again->hand]);
}

void srv_again_free(struct srv_again *again)
{
    if (again == NULL)
        return;
    for (size_t i = 0; i < SETS * WAYS; i++)
        drop_spares(again, &again->shape[i]);
    assert(again->spares == 0);
    free(again);
}

/* --- Shapes --- */

static bool is_shape_of(const struct shape *shape, const struct srv_slot *slot,
                        const char *content_type, size_t body_len)
{
    if (shape->use == 0 || shape->content_type != content_type || shape->body_len != body_len ||
        shape->field_count != slot->header_count)
        return false;
    for (size_t i = 0; i < slot->header_count; i++)
        if (shape->field[i].len != slot->header[i].len ||
            shape->field[i].name != slot->header[i].name)
            return false;
    return true;
}

/* The shape of this answer; when it is new it takes another's place. */
static struct shape *shape_of(struct srv_again *again, const struct srv_slot *slot,
                              const char *content_type, size_t body_len)
{
    size_t hash = body_len;
    for (size_t i = 0; i < slot->header_count; i++)
        hash = hash * 5 + slot->header[i].len;
    size_t set = (hash ^ hash >> 4) % SETS;
    struct shape *ways = again->shape + set * WAYS;
    for (size_t way = 0; way < WAYS; way++)
        if (is_shape_of(&ways[way], slot, content_type, body_len))
            return &ways[way];

    struct shape *shape = &ways[again->turn[set]];
    again->turn[set] = (again->turn[set] + 1) % WAYS;
    drop_spares(again, shape);
    shape->use++;
    shape->content_type = content_type;
    shape->body_len = body_len;
    shape->field_count = slot->header_count;
    for (size_t i = 0; i < slot->header_count; i++) {
        shape->field[i].name = slot->header[i].name;
        shape->field[i].len = slot->header[i].len;
    }
    return shape;
}

/* --- Responses --- */

/* Finds the values in the library's memory, when an answer is about to be used again for the first
 * time. */
static bool locate(struct srv_kept *kept)
{
    const struct shape *shape = kept->shape;
    for (size_t i = 0; i < shape->field_count; i++) {
        kept->value[i] = value_of(kept->response, shape->field[i].name, shape->field[i].len);
        if (kept->value[i] == NULL)
            return false;
        for (size_t j = 0; j < i; j++)
            if (kept->value[j] == kept->value[i]) /* two fields of one name */
                return false;
    }
    kept->located = true;
    return true;
}

static bool write_over(struct srv_kept *kept, const struct srv_slot *slot, const char *body)
{
    if (!kept->located && !locate(kept))
        return false;
    for (size_t i = 0; i < slot->header_count; i++) {
        const struct srv_answer_field *field = &slot->header[i];
        if (memcmp(kept->value[i], field->value, field->len) == 0)
            continue;
        if (ps_has_control(field->value, field->len))
            return false;
        memcpy(kept->value[i], field->value, field->len);
    }
    memcpy(kept->body, body, kept->shape->body_len);
    return true;
}

/* A spare one, written over; NULL: none is there, or none that can be. */
static struct srv_kept *take_spare(struct srv_again *again, struct shape *shape,
                                   const struct srv_slot *slot, const char *body)
{
    struct srv_kept *kept = shape->spare;
    if (kept == NULL)
        return NULL;
    shape->spare = kept->next;
    again->spares--;
    if (write_over(kept, slot, body))
        return kept;
    destroy(kept);
    return NULL;
}

struct MHD_Response *srv_again_take(struct srv_slot *slot, const char *content_type,
                                    struct ps_str body)
{
    struct srv_again *again = slot->http->again;
    if (!again->can_write)
        return NULL;
    struct shape *shape = shape_of(again, slot, content_type, body.len);
    struct srv_kept *kept = take_spare(again, shape, slot, body.at);
    if (kept == NULL) {
        kept = malloc(sizeof *kept + body.len);
        if (kept == NULL)
            return NULL;
        *kept = (struct srv_kept){.shape = shape, .use = shape->use};
        memcpy(kept->body, body.at, body.len);
        kept->response =
            srv_response_new(slot, content_type, (struct ps_str){kept->body, body.len}, false);
        if (kept->response == NULL) {
            free(kept);
            return NULL;
        }
    }
    slot->kept = kept;
    return kept->response;
}

void srv_again_give(struct srv_slot *slot)
{
    struct srv_again *again = slot->http->again;
    struct srv_kept *kept = slot->kept;
    slot->kept = NULL;
    if (kept->use != kept->shape->use) {
        destroy(kept);
        return;
    }
    if (again->spares == again->spares_max)
        drop_one_of_all(again);
    kept->next = kept->shape->spare;
    kept->shape->spare = kept;
    again->spares++;
}
