/* Documents as text. The document is at the end of its text, as it is printed everywhere: so two
 * copies can be compared without parsing them. */
#include "gateway/config/store/codec.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void cfg_codec_field(const struct cfg_kind *kind, const char *name, char ret_field[CFG_FIELD_SIZE])
{
    (void)snprintf(ret_field, CFG_FIELD_SIZE, "%s/%s", kind->path, name);
}

/* The text behind its first members, heap. NULL: out of memory. */
static char *tail_of(const struct cfg_doc *doc)
{
    char *text;

    if (doc->json == NULL)
        return strdup(",\"deleted\":true}");
    return asprintf(&text, "%s%s,\"document\":%s}", doc->state != NULL ? ",\"state\":" : "",
                    doc->state != NULL ? doc->state : "", doc->json) >= 0
               ? text
               : NULL;
}

char *cfg_codec_text(const struct cfg_doc *doc)
{
    const struct cfg_author *by = &doc->by;
    json_t *head = json_pack("{s:I, s:I, s:s, s:s, s:s, s:s}", "at_ms", (json_int_t)by->at_ms,
                             "created_at_ms", (json_int_t)doc->created_at_ms, "who", by->who,
                             "peer", by->peer, "action", by->action, "why", by->why);
    char *first = head != NULL ? json_dumps(head, JSON_COMPACT) : NULL, *tail = tail_of(doc);
    char *text = NULL;

    json_decref(head);
    if (first != NULL && tail != NULL) {
        size_t len = strlen(first) - 1; /* without its brace */
        text = malloc(len + strlen(tail) + 1);
        if (text != NULL) {
            memcpy(text, first, len);
            memcpy(text + len, tail, strlen(tail) + 1);
        }
    }
    free(first);
    free(tail);
    return text;
}

/* "version text" */
static int read_version(struct ps_str *value, int64_t *ret_version)
{
    int64_t version = 0;
    size_t at = 0;

    for (; at < value->len && value->at[at] >= '0' && value->at[at] <= '9'; at++) {
        version = version * 10 + (value->at[at] - '0');
        if (version > PS_INT_MAX)
            break;
    }
    if (at == 0 || at == value->len || value->at[at] != ' ' || version == 0)
        return PS_E_INVALID;
    *ret_version = version;
    value->at += at + 1;
    value->len -= at + 1;
    return 0;
}

bool cfg_codec_is_same(const struct cfg_doc *doc, struct ps_str value)
{
    int64_t version;
    char *tail = tail_of(doc);
    size_t len = tail != NULL ? strlen(tail) : 0;
    bool same = len > 0 && read_version(&value, &version) == 0 && version == doc->version &&
                value.len > len && memcmp(value.at + value.len - len, tail, len) == 0;

    free(tail);
    return same;
}

/* The members of a text; pointers into `json` are borrowed. */
static int read_parts(const json_t *json, struct cfg_doc_parts *parts, struct ps_faults *faults)
{
    struct ps_str who = {"", 0}, peer = {"", 0}, action = {"", 0}, why = {"", 0};
    struct ps_json_reader reader;
    bool deleted = false;

    ps_json_reader_init_all(&reader, json, "", faults);
    ps_json_int(&reader, "at_ms", 0, PS_INT_MAX, &parts->by.at_ms);
    ps_json_int(&reader, "created_at_ms", 0, PS_INT_MAX, &parts->created_at_ms);
    ps_json_string(&reader, "who", PS_NAME_MAX, &who);
    ps_json_string(&reader, "peer", PS_NAME_MAX, &peer);
    ps_json_string(&reader, "action", PS_NAME_MAX, &action);
    ps_json_text(&reader, "why", CFG_REASON_MAX, &why);
    ps_json_bool(&reader, "deleted", &deleted);
    parts->json = ps_json_value(&reader, "document");
    parts->state = ps_json_value(&reader, "state");
    if (!deleted)
        ps_json_require(&reader, (const char *const[]){"document", NULL});
    else if (parts->json != NULL || parts->state != NULL)
        ps_json_fault(&reader, "deleted", "must be absent beside document");
    else if (parts->kind->only_shipped)
        ps_json_fault(&reader, "deleted", "is set on a document that always exists");
    parts->by.who = who.at;
    parts->by.peer = peer.at;
    parts->by.action = action.at;
    parts->by.why = why.at;
    return ps_json_done(&reader);
}

static int read_text(struct cfg_doc_parts *parts, struct ps_str text, struct cfg_doc **ret_doc,
                     struct ps_fault *fault)
{
    struct ps_faults faults = {0};
    json_t *json, *initial = NULL;
    int err = ps_json_parse(text.at, text.len, &json, fault);

    if (err < 0)
        return err;
    parts->reading.pointer = "/document";
    err = read_parts(json, parts, &faults);
    if (err == 0 && parts->json != NULL && parts->state == NULL &&
        parts->kind->initial_state != NULL)
        parts->state = initial = json_loads(parts->kind->initial_state, 0, NULL);
    if (err == 0)
        err = cfg_doc_new(parts, ret_doc, &faults);
    json_decref(initial);
    json_decref(json);
    return err < 0 ? ps_fault(fault, err, faults.at[0].path, "%s", faults.at[0].text) : 0;
}

int cfg_codec_read(struct ps_str field, struct ps_str value, int64_t revision,
                   struct cfg_doc **ret_doc, struct ps_fault *fault)
{
    char text[CFG_FIELD_SIZE], name[CFG_NAME_MAX + 1], path[sizeof text + sizeof fault->path];
    struct cfg_doc_parts parts = {.revision = revision, .name = name};
    struct ps_fault why = {0};
    const char *given;
    int err = PS_E_INVALID;

    (void)snprintf(text, sizeof text, "%.*s", (int)field.len, field.at);
    parts.kind = strlen(text) == field.len ? cfg_kind_of(text, &given) : NULL;
    if (parts.kind == NULL || parts.kind->name(given, strlen(given), name) < 0 ||
        strcmp(name, given) != 0)
        (void)ps_fault(&why, err, "", "is not a document of Penstock");
    else if (read_version(&value, &parts.version) < 0)
        (void)ps_fault(&why, err, "", "does not begin with a version");
    else
        err = read_text(&parts, value, ret_doc, &why);
    if (err == 0)
        return 0;
    (void)snprintf(path, sizeof path, "%s%s", text, why.path);
    return ps_fault(fault, err, path, "%s", why.text);
}
