/* Answers used again. Making a response of the library costs as much as all that the gates do: an
 * object, and three pieces of memory for each field. In a rush nearly all answers have the same
 * shape (the same fields, values of the same lengths, a body of the same length), so a slot keeps
 * the responses it has sent, and the next answer of the same shape is written over one of them: the
 * body lies in the slot anyway, the values are written where the library keeps its copies.
 *
 * The library gives those copies out as const. It has them from malloc(), so writing there is
 * defined; nobody else reads them, because a response belongs to one slot, a slot to one request at
 * a time, and the library lets go of a response before the slot goes back (on_done). What it also
 * demands of a value, that it has no control byte, is looked at here. All this is so in
 * libmicrohttpd 0.9; with another version, or when what is written is not what is read back, no
 * answer is ever used again, and each is made as the first one was. */
#include "common/charset.h"
#include "gateway/front/http_private.h"

#include <stdlib.h>
#include <string.h>

/* The slots used most (the pool gives the same ones again) keep some each: at most 1,024 responses,
 * about 1.5 MiB a worker. */
#define SLOTS ((size_t)256)
#define WAYS  ((size_t)4)

struct place {
    const char *name;
    char *value; /* the library's */
    size_t len;
};

struct kept {
    struct MHD_Response *response; /* NULL: none */
    const char *content_type;
    struct ps_str body;
    bool located; /* the places of the values are known */
    size_t field_count;
    struct place field[GW_ANSWER_HEADER_MAX];
};

struct gw_again {
    size_t slots;
    struct kept kept[][WAYS];
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

int gw_again_new(const struct gw_http *http, struct gw_again **ret_again)
{
    size_t slots = http->settings.requests_max < SLOTS ? http->settings.requests_max : SLOTS;
    struct gw_again *again = calloc(1, sizeof *again + slots * sizeof again->kept[0]);
    if (again == NULL)
        return PS_E_NOMEM;
    again->slots = http->layout_known && can_write() ? slots : 0;
    *ret_again = again;
    return 0;
}

void gw_again_free(struct gw_again *again)
{
    if (again == NULL)
        return;
    for (size_t i = 0; i < again->slots; i++)
        for (size_t way = 0; way < WAYS; way++)
            if (again->kept[i][way].response != NULL)
                MHD_destroy_response(again->kept[i][way].response);
    free(again);
}

/* The place for answers of this shape, or NULL when this slot keeps none. */
static struct kept *place_of(struct gw_slot *slot, size_t body_len)
{
    struct gw_again *again = slot->http->again;
    size_t index = ps_pool_index(slot->http->slots, slot);
    size_t shape = body_len;
    if (index >= again->slots)
        return NULL;
    for (size_t i = 0; i < slot->header_count; i++)
        shape = shape * 5 + slot->header[i].len;
    return &again->kept[index][(shape ^ shape >> 2) % WAYS];
}

static bool is_same_shape(const struct kept *kept, const struct gw_slot *slot,
                          const char *content_type, struct ps_str body)
{
    if (kept->response == NULL || kept->content_type != content_type || kept->body.at != body.at ||
        kept->body.len != body.len || kept->field_count != slot->header_count)
        return false;
    for (size_t i = 0; i < slot->header_count; i++)
        if (kept->field[i].len != slot->header[i].len ||
            kept->field[i].name != slot->header[i].name)
            return false;
    return true;
}

/* Finds the values in the library's memory, when an answer is about to be used again for the first
 * time. */
static bool locate(struct kept *kept)
{
    for (size_t i = 0; i < kept->field_count; i++) {
        struct place *field = &kept->field[i];
        field->value = value_of(kept->response, field->name, field->len);
        if (field->value == NULL)
            return false;
        for (size_t j = 0; j < i; j++)
            if (kept->field[j].value == field->value) /* two fields of one name */
                return false;
    }
    kept->located = true;
    return true;
}

struct MHD_Response *gw_again_take(struct gw_slot *slot, const char *content_type,
                                   struct ps_str body)
{
    struct kept *kept = place_of(slot, body.len);
    if (kept == NULL || !is_same_shape(kept, slot, content_type, body))
        return NULL;
    if (!kept->located && !locate(kept))
        return NULL;
    for (size_t i = 0; i < slot->header_count; i++) {
        const char *value = slot->header[i].value;
        struct place *field = &kept->field[i];
        if (memcmp(field->value, value, field->len) == 0)
            continue;
        if (ps_has_control(value, field->len))
            return NULL;
        memcpy(field->value, value, field->len);
    }
    return kept->response;
}

bool gw_again_keep(struct gw_slot *slot, const char *content_type, struct ps_str body,
                   struct MHD_Response *response)
{
    struct kept *kept = place_of(slot, body.len);
    if (kept == NULL)
        return false;
    if (kept->response != NULL)
        MHD_destroy_response(kept->response);
    kept->response = response;
    kept->content_type = content_type;
    kept->body = body;
    kept->located = false;
    kept->field_count = slot->header_count;
    for (size_t i = 0; i < slot->header_count; i++)
        kept->field[i] = (struct place){slot->header[i].name, NULL, slot->header[i].len};
    return true;
}
