/* Jobs of the control store: each call writes down one statement and copies its values, on the
 * thread that submits. A value that cannot be copied spoils the job as a whole (build_err), so
 * callers check once, at gw_store_submit. */
#include "gateway/control/control_store.h"
#include "gateway/control/control_db.h"

#include <stdlib.h>
#include <string.h>

const char *const gw_block_kinds[] = {[GW_BLOCK_USER] = "user", [GW_BLOCK_RANGE] = "range"};

struct gw_store_job *gw_store_job_new(void)
{
    struct gw_store_job *job = calloc(1, sizeof *job);
    if (job != NULL)
        job->tail = &job->writes;
    return job;
}

void gw_store_job_free(struct gw_store_job *job)
{
    if (job == NULL)
        return;
    while (job->writes != NULL) {
        struct gw_store_write *write = job->writes;
        job->writes = write->next;
        for (int i = 0; i < write->count; i++)
            free(write->values[i].text);
        free(write);
    }
    free(job->audit);
    free(job->file_path);
    free(job->file_text);
    free(job);
}

/* NULL when there is no memory; the put_ calls then do nothing. */
static struct gw_store_write *add(struct gw_store_job *job, enum gw_write_kind kind,
                                  const char *sql, bool must_change)
{
    struct gw_store_write *write = calloc(1, sizeof *write);
    if (write == NULL) {
        job->build_err = PS_E_NOMEM;
        return NULL;
    }
    write->kind = kind;
    write->sql = sql;
    write->must_change = must_change;
    *job->tail = write;
    job->tail = &write->next;
    return write;
}

static void put_number(struct gw_store_write *write, int64_t number)
{
    if (write != NULL)
        write->values[write->count++].number = number;
}

/* Takes `text`, heap; NULL = out of memory. */
static void put_owned(struct gw_store_job *job, struct gw_store_write *write, char *text)
{
    if (text == NULL)
        job->build_err = PS_E_NOMEM;
    if (write != NULL)
        write->values[write->count++].text = text;
    else
        free(text);
}

static void put_text(struct gw_store_job *job, struct gw_store_write *write, const char *text)
{
    put_owned(job, write, strdup(text));
}

/* --- Sales. --- */

static void put_sale(struct gw_store_job *job, struct gw_store_write *write, const char *name,
                     const struct gw_sale_doc *doc, const struct gw_sale_state *state)
{
    put_text(job, write, name);
    put_owned(job, write, gw_sale_doc_text(doc));
    put_number(write, state->version);
    put_number(write, state->created_at_ms);
    put_number(write, state->updated_at_ms);
    put_number(write, gw_db_opened(state));
    put_number(write, state->paused);
    put_number(write, state->ended);
    put_text(job, add(job, GW_WRITE_OTHER, "DELETE FROM deleted WHERE name = ?1", false), name);
}

#define PUT_SALE                                                                                   \
    "INSERT OR REPLACE INTO sales(name, document, version, created_at_ms, updated_at_ms, opened,"  \
    " paused, ended) SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8"

void gw_store_job_sale(struct gw_store_job *job, const char *name, const struct gw_sale_doc *doc,
                       const struct gw_sale_state *state)
{
    static const char sql[] =
        PUT_SALE " WHERE ?3 = 1 + coalesce((SELECT version FROM sales WHERE name = ?1),"
                 " (SELECT version FROM deleted WHERE name = ?1), 0)";
    put_sale(job, add(job, GW_WRITE_SALE, sql, true), name, doc, state);
}

void gw_store_job_sale_taken(struct gw_store_job *job, const char *name,
                             const struct gw_sale_doc *doc, const struct gw_sale_state *state)
{
    put_sale(job, add(job, GW_WRITE_OTHER, PUT_SALE, true), name, doc, state);
}

static void put_gone(struct gw_store_job *job, const char *name, int64_t version)
{
    struct gw_store_write *write =
        add(job, GW_WRITE_OTHER, "INSERT OR REPLACE INTO deleted VALUES(?1, ?2)", true);
    put_text(job, write, name);
    put_number(write, version);
}

void gw_store_job_sale_delete(struct gw_store_job *job, const char *name, int64_t version)
{
    struct gw_store_write *write = add(
        job, GW_WRITE_SALE_GONE, "DELETE FROM sales WHERE name = ?1 AND version = ?2 - 1", true);
    put_text(job, write, name);
    put_number(write, version + 1);
    put_gone(job, name, version + 1);
}

void gw_store_job_sale_gone_taken(struct gw_store_job *job, const char *name, int64_t version)
{
    put_text(job, add(job, GW_WRITE_OTHER, "DELETE FROM sales WHERE name = ?1", false), name);
    put_gone(job, name, version);
}

/* --- The policy. --- */

void gw_store_job_rule(struct gw_store_job *job, const struct gw_limit_rule *rule)
{
    json_t *json = gw_limit_rule_write(rule);
    char *text = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    struct gw_store_write *write =
        add(job, GW_WRITE_RULE,
            "INSERT INTO limits(name, document) VALUES(?1, ?2)"
            " ON CONFLICT(name) DO UPDATE SET document = excluded.document",
            true);
    put_text(job, write, rule->name);
    put_owned(job, write, text);
}

void gw_store_job_rule_delete(struct gw_store_job *job, const char *name)
{
    struct gw_store_write *write =
        add(job, GW_WRITE_RULE_GONE, "DELETE FROM limits WHERE name = ?1", true);
    put_text(job, write, name);
}

void gw_store_job_block(struct gw_store_job *job, const struct gw_block *block)
{
    put_number(add(job, GW_WRITE_OTHER, "DELETE FROM blocklist WHERE until_ms <= ?1", false),
               block->created_at_ms);
    gw_store_job_block_taken(job, block);
}

void gw_store_job_block_taken(struct gw_store_job *job, const struct gw_block *block)
{
    struct gw_store_write *write =
        add(job, GW_WRITE_BLOCK,
            "INSERT OR REPLACE INTO blocklist(kind, subject, until_ms, created_at_ms, reason, by)"
            " VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
            true);
    put_text(job, write, gw_block_kinds[block->kind]);
    put_text(job, write, block->subject);
    put_number(write, block->until_ms);
    put_number(write, block->created_at_ms);
    put_text(job, write, block->reason);
    put_text(job, write, block->by);
}

void gw_store_job_unblock(struct gw_store_job *job, enum gw_block_kind kind, const char *subject)
{
    struct gw_store_write *write = add(
        job, GW_WRITE_BLOCK_GONE, "DELETE FROM blocklist WHERE kind = ?1 AND subject = ?2", true);
    put_text(job, write, gw_block_kinds[kind]);
    put_text(job, write, subject);
}

void gw_store_job_policy_version(struct gw_store_job *job, int64_t version)
{
    put_number(
        add(job, GW_WRITE_POLICY, "UPDATE policy SET version = ?1 WHERE version = ?1 - 1", true),
        version);
}

void gw_store_job_policy_taken(struct gw_store_job *job, int64_t version)
{
    put_number(add(job, GW_WRITE_OTHER, "UPDATE policy SET version = ?1", true), version);
}

/* --- What goes with it. --- */

void gw_store_job_file(struct gw_store_job *job, const char *path, const char *text)
{
    job->file_path = strdup(path);
    job->file_text = strdup(text);
    if (job->file_path == NULL || job->file_text == NULL)
        job->build_err = PS_E_NOMEM;
}

void gw_store_job_audit(struct gw_store_job *job, const struct gw_audit_entry *entry)
{
    job->audit = gw_audit_text(entry);
    if (job->audit == NULL)
        job->build_err = PS_E_NOMEM;
}
