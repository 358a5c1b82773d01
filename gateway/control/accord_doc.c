/* Documents as text and back. A sale's: {"created_at_ms", "updated_at_ms", "opened", "paused",
 * "ended", "document"}, or {"deleted": true}. The policy's: {"limits": {name: rule}, "blocklist":
 * {"user/alice": {"until_ms", "created_at_ms", "reason", "by"}}}. accord_taken.c reads them. */
#include "gateway/control/accord_doc.h"

#include "gateway/control/control_db.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POLICY  "policy"
#define KEY_MAX (sizeof "range/" + PS_USER_MAX)

/* --- Writing. --- */

void gw_accord_docs_done(struct gw_accord_docs *docs)
{
    for (size_t i = 0; i < docs->count; i++)
        free(docs->at[i].text);
    free(docs->at);
    *docs = (struct gw_accord_docs){0};
}

static void name_field(struct gw_accord_doc *doc, const char *sale)
{
    (void)snprintf(doc->field, sizeof doc->field, "sale/%s", sale);
}

/* NULL: out of memory, or `document` is. */
static char *sale_text(const char *document, const struct gw_sale_state *state)
{
    char *text;

    if (document == NULL ||
        asprintf(&text,
                 "{\"created_at_ms\":%" PRId64 ",\"updated_at_ms\":%" PRId64
                 ",\"opened\":%s,\"paused\":%s,\"ended\":%s,\"document\":%s}",
                 state->created_at_ms, state->updated_at_ms, state->opened ? "true" : "false",
                 state->paused ? "true" : "false", state->ended ? "true" : "false", document) < 0)
        return NULL;
    return text;
}

static char *gone_text(void)
{
    return strdup("{\"deleted\":true}");
}

static void block_key(const char *kind, const char *subject, char ret_key[KEY_MAX])
{
    (void)snprintf(ret_key, KEY_MAX, "%s/%s", kind, subject);
}

static json_t *block_json(int64_t until_ms, int64_t created_at_ms, const char *reason,
                          const char *by)
{
    return json_pack("{s:I, s:I, s:s, s:s}", "until_ms", (json_int_t)until_ms, "created_at_ms",
                     (json_int_t)created_at_ms, "reason", reason, "by", by);
}

static json_t *policy_json(const struct gw_control *control)
{
    json_t *limits = json_object(), *blocklist = json_object();
    int err = 0;

    for (size_t i = 0; i < control->rule_count; i++)
        err |= json_object_set_new(limits, control->rules[i].name,
                                   gw_limit_rule_write(&control->rules[i]));
    for (size_t i = 0; i < control->block_count; i++) {
        const struct gw_block *block = &control->blocks[i];
        char key[KEY_MAX];
        block_key(gw_block_kinds[block->kind], block->subject, key);
        err |= json_object_set_new(
            blocklist, key,
            block_json(block->until_ms, block->created_at_ms, block->reason, block->by));
    }
    json_t *json = json_pack("{s:o, s:o}", "limits", limits, "blocklist", blocklist);
    if (err != 0) {
        json_decref(json);
        return NULL;
    }
    return json;
}

static char *text_of(json_t *json)
{
    char *text = json != NULL ? json_dumps(json, GW_SALE_JSON_FLAGS) : NULL;
    json_decref(json);
    return text;
}

int gw_accord_docs_own(const struct gw_control *control, struct gw_accord_docs *ret_docs)
{
    struct gw_accord_docs docs = {0};
    struct gw_accord_doc *doc;

    docs.at = calloc(control->sale_count + control->gone_count + 1, sizeof *docs.at);
    if (docs.at == NULL)
        return PS_E_NOMEM;
    doc = docs.at;
    *doc = (struct gw_accord_doc){
        .field = POLICY, .version = control->policy_version, .text = text_of(policy_json(control))};
    doc++;
    for (size_t i = 0; i < control->sale_count; i++, doc++) {
        const struct gw_stored_sale *sale = &control->sales[i]->stored;
        char *document = gw_sale_doc_text(&sale->doc);
        name_field(doc, sale->name);
        doc->version = sale->state.version;
        doc->text = sale_text(document, &sale->state);
        free(document);
    }
    for (size_t i = 0; i < control->gone_count; i++, doc++) {
        name_field(doc, control->gone[i].name);
        doc->version = control->gone[i].version;
        doc->text = gone_text();
    }
    docs.count = (size_t)(doc - docs.at);
    for (size_t i = 0; i < docs.count; i++) {
        if (docs.at[i].text == NULL) {
            gw_accord_docs_done(&docs);
            return PS_E_NOMEM;
        }
    }
    *ret_docs = docs;
    return 0;
}

/* --- What a job makes of them. --- */

static void sale_of_write(const struct gw_store_write *write, struct gw_accord_doc *doc)
{
    name_field(doc, write->values[0].text);
    if (write->kind == GW_WRITE_SALE_GONE) {
        doc->version = write->values[1].number;
        doc->text = gone_text();
        return;
    }
    doc->version = write->values[2].number;
    doc->text = sale_text(write->values[1].text,
                          &(struct gw_sale_state){.created_at_ms = write->values[3].number,
                                                  .updated_at_ms = write->values[4].number,
                                                  .opened = write->values[5].number != 0,
                                                  .paused = write->values[6].number != 0,
                                                  .ended = write->values[7].number != 0});
}

/* One statement in the policy's document. Not 0: out of memory. */
static int edit(json_t *policy, const struct gw_store_write *write)
{
    json_t *limits = json_object_get(policy, "limits"),
           *blocklist = json_object_get(policy, "blocklist");
    const char *first = write->values[0].text;
    char key[KEY_MAX];

    switch (write->kind) {
    case GW_WRITE_RULE:
        return json_object_set_new(limits, first, json_loads(write->values[1].text, 0, NULL));
    case GW_WRITE_RULE_GONE:
        (void)json_object_del(limits, first);
        return 0;
    case GW_WRITE_BLOCK:
        block_key(first, write->values[1].text, key);
        return json_object_set_new(blocklist, key,
                                   block_json(write->values[2].number, write->values[3].number,
                                              write->values[4].text, write->values[5].text));
    case GW_WRITE_BLOCK_GONE:
        block_key(first, write->values[1].text, key);
        (void)json_object_del(blocklist, key);
        return 0;
    default:
        return 0;
    }
}

static char *policy_of_job(const struct gw_control *control, const struct gw_store_job *job)
{
    json_t *policy = policy_json(control);
    int err = 0;

    for (const struct gw_store_write *write = job->writes; write != NULL && policy != NULL;
         write = write->next)
        err |= edit(policy, write);
    if (err != 0) {
        json_decref(policy);
        return NULL;
    }
    return text_of(policy);
}

int gw_accord_doc_of_job(const struct gw_control *control, const struct gw_store_job *job,
                         struct gw_accord_doc *ret_doc)
{
    struct gw_accord_doc doc = {.field = POLICY};
    const struct gw_store_write *write = job->writes;

    /* A job changes one sale, or the policy, or neither. */
    while (write != NULL && write->kind != GW_WRITE_SALE && write->kind != GW_WRITE_SALE_GONE &&
           write->kind != GW_WRITE_POLICY)
        write = write->next;
    if (write == NULL)
        return PS_E_NOT_FOUND;
    if (write->kind == GW_WRITE_POLICY) {
        doc.version = write->values[0].number;
        doc.text = policy_of_job(control, job);
    } else {
        sale_of_write(write, &doc);
    }
    if (doc.text == NULL)
        return PS_E_NOMEM;
    *ret_doc = doc;
    return 0;
}
