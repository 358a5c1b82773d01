/* Documents as text. A sale's: {"created_at_ms", "updated_at_ms", "opening", "opened", "paused",
 * "ended", "document"}, or {"deleted": true}. An entry's: the rule as operators write it; of the
 * blocklist {"until_ms", "created_at_ms", "reason", "by"}. accord_taken.c reads them.
 *
 * A policy may have thousands of entries, so a change of it carries only the entries that change.
 */
#include "gateway/config/codec.h"

#include "gateway/config/db.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- Writing. --- */

void cfg_codec_docs_done(struct cfg_codec_docs *docs)
{
    for (size_t i = 0; i < docs->count; i++)
        free(docs->at[i].text);
    free(docs->at);
    *docs = (struct cfg_codec_docs){0};
}

/* Adds one; there is room. `text` is taken over. */
static void add(struct cfg_codec_docs *docs, const char *kind, const char *name, int64_t version,
                char *text)
{
    struct cfg_codec_doc *doc = &docs->at[docs->count++];

    (void)snprintf(doc->field, sizeof doc->field, "%s%s", kind, name);
    doc->version = version;
    doc->text = text;
}

/* All texts could be made, or nothing is left of them. */
static int finish(struct cfg_codec_docs *docs, struct cfg_codec_docs *ret_docs)
{
    for (size_t i = 0; i < docs->count; i++) {
        if (docs->at[i].text == NULL) {
            cfg_codec_docs_done(docs);
            return PS_E_NOMEM;
        }
    }
    *ret_docs = *docs;
    return 0;
}

static int make_room(struct cfg_codec_docs *docs, size_t count)
{
    *docs = (struct cfg_codec_docs){.at = calloc(count, sizeof *docs->at)};
    return docs->at != NULL ? 0 : PS_E_NOMEM;
}

/* NULL: out of memory, or `document` is. */
static char *sale_text(const char *document, const struct cfg_sale_state *state)
{
    char *text;

    if (document == NULL ||
        asprintf(&text,
                 "{\"created_at_ms\":%" PRId64 ",\"updated_at_ms\":%" PRId64
                 ",\"opening\":%s,\"opened\":%s,\"paused\":%s,\"ended\":%s,\"document\":%s}",
                 state->created_at_ms, state->updated_at_ms, state->opening ? "true" : "false",
                 state->opened ? "true" : "false", state->paused ? "true" : "false",
                 state->ended ? "true" : "false", document) < 0)
        return NULL;
    return text;
}

static char *gone_text(void)
{
    return strdup("{\"deleted\":true}");
}

static char *text_of(json_t *json)
{
    char *text = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;

    json_decref(json);
    return text;
}

static char *block_text(int64_t until_ms, int64_t created_at_ms, const char *reason, const char *by)
{
    return text_of(json_pack("{s:I, s:I, s:s, s:s}", "until_ms", (json_int_t)until_ms,
                             "created_at_ms", (json_int_t)created_at_ms, "reason", reason, "by",
                             by));
}

static const char *const block_fields[] = {
    [CFG_BLOCK_USER] = "entry/user/", [CFG_BLOCK_RANGE] = "entry/range/"};

int cfg_codec_sales_own(const struct gw_control *control, struct cfg_codec_docs *ret_docs)
{
    struct cfg_codec_docs docs;

    if (make_room(&docs, control->sale_count + control->gone_count + 1) < 0)
        return PS_E_NOMEM;
    for (size_t i = 0; i < control->sale_count; i++) {
        const struct cfg_stored_sale *sale = &control->sales[i]->stored;
        char *document = cfg_sale_doc_text(&sale->doc);
        add(&docs, "sale/", sale->name, sale->state.version, sale_text(document, &sale->state));
        free(document);
    }
    for (size_t i = 0; i < control->gone_count; i++)
        add(&docs, "sale/", control->gone[i].name, control->gone[i].version, gone_text());
    return finish(&docs, ret_docs);
}

int cfg_codec_policy_own(const struct gw_control *control, struct cfg_codec_docs *ret_docs)
{
    struct cfg_codec_docs docs;

    if (make_room(&docs, control->rule_count + control->block_count + 1) < 0)
        return PS_E_NOMEM;
    add(&docs, "policy", "", control->policy_version, strdup(""));
    for (size_t i = 0; i < control->rule_count; i++)
        add(&docs, "entry/rule/", control->rules[i].name, 0,
            text_of(cfg_limit_rule_write(&control->rules[i])));
    for (size_t i = 0; i < control->block_count; i++) {
        const struct cfg_block *block = &control->blocks[i];
        add(&docs, block_fields[block->kind], block->subject, 0,
            block_text(block->until_ms, block->created_at_ms, block->reason, block->by));
    }
    return finish(&docs, ret_docs);
}

/* --- What a job makes of them. --- */

/* Entries of the blocklist that have ended go with the next change of it, as in control.db. */
static void add_ended(const struct gw_control *control, int64_t wall_ms,
                      struct cfg_codec_docs *docs)
{
    for (size_t i = 0; i < control->block_count; i++) {
        const struct cfg_block *block = &control->blocks[i];
        if (block->until_ms <= wall_ms)
            add(docs, block_fields[block->kind], block->subject, 0, strdup(""));
    }
}

static void add_write(const struct cfg_store_write *write, struct cfg_codec_docs *docs)
{
    const char *first = write->values[0].text, *second = write->values[1].text;
    const char *block_field = NULL;
    struct cfg_sale_state state;

    if (write->kind == CFG_WRITE_BLOCK || write->kind == CFG_WRITE_BLOCK_GONE)
        block_field =
            block_fields[strcmp(first, cfg_block_kinds[CFG_BLOCK_USER]) == 0 ? CFG_BLOCK_USER
                                                                             : CFG_BLOCK_RANGE];
    switch (write->kind) {
    case CFG_WRITE_SALE:
        state = (struct cfg_sale_state){.created_at_ms = write->values[3].number,
                                        .updated_at_ms = write->values[4].number,
                                        .opening = write->values[5].number == CFG_DB_OPENING,
                                        .opened = write->values[5].number == CFG_DB_OPENED,
                                        .paused = write->values[6].number != 0,
                                        .ended = write->values[7].number != 0};
        add(docs, "sale/", first, write->values[2].number, sale_text(second, &state));
        break;
    case CFG_WRITE_SALE_GONE:
        add(docs, "sale/", first, write->values[1].number, gone_text());
        break;
    case CFG_WRITE_RULE:
        add(docs, "entry/rule/", first, 0, strdup(second));
        break;
    case CFG_WRITE_RULE_GONE:
        add(docs, "entry/rule/", first, 0, strdup(""));
        break;
    case CFG_WRITE_BLOCK:
        add(docs, block_field, second, 0,
            block_text(write->values[2].number, write->values[3].number, write->values[4].text,
                       write->values[5].text));
        break;
    case CFG_WRITE_BLOCK_GONE:
        add(docs, block_field, second, 0, strdup(""));
        break;
    case CFG_WRITE_POLICY:
    case CFG_WRITE_OTHER:
        break;
    }
}

int cfg_codec_of_job(const struct gw_control *control, const struct cfg_store_job *job,
                     struct cfg_codec_docs *ret_docs)
{
    const struct cfg_store_write *policy = NULL, *sale = NULL, *block = NULL;
    struct cfg_codec_docs docs;
    size_t writes = 0;

    for (const struct cfg_store_write *write = job->writes; write != NULL; write = write->next) {
        if (write->kind == CFG_WRITE_POLICY)
            policy = write;
        else if (write->kind == CFG_WRITE_SALE || write->kind == CFG_WRITE_SALE_GONE)
            sale = write;
        else if (write->kind == CFG_WRITE_BLOCK)
            block = write;
        writes++;
    }
    if (policy == NULL && sale == NULL)
        return PS_E_NOT_FOUND;
    if (make_room(&docs, writes + control->block_count + 1) < 0)
        return PS_E_NOMEM;
    if (policy != NULL)
        add(&docs, "policy", "", policy->values[0].number, strdup(""));
    if (block != NULL)
        add_ended(control, block->values[3].number, &docs);
    for (const struct cfg_store_write *write = job->writes; write != NULL; write = write->next)
        add_write(write, &docs);
    return finish(&docs, ret_docs);
}
