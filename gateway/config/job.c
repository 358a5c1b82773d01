/* Jobs of the control store: each call writes down one statement and copies its values, on the
 * thread that submits. A value that cannot be copied spoils the job as a whole (build_err), so
 * callers check once, at cfg_store_submit. */
#include "gateway/config/store.h"
#include "gateway/config/db.h"

#include <stdlib.h>
#include <string.h>

const char *const cfg_block_kinds[] = {[CFG_BLOCK_USER] = "user", [CFG_BLOCK_RANGE] = "range"};

struct cfg_store_job *cfg_store_job_new(void)
{
    struct cfg_store_job *job = calloc(1, sizeof *job);
    if (job != NULL)
        job->tail = &job->writes;
    return job;
}

void cfg_store_job_free(struct cfg_store_job *job)
{
    if (job == NULL)
        return;
    while (job->writes != NULL) {
        struct cfg_store_write *write = job->writes;
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
static struct cfg_store_write *add(struct cfg_store_job *job, enum cfg_write_kind kind,
                                   const char *sql, bool must_change)
{
    struct cfg_store_write *write = calloc(1, sizeof *write);
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

static void put_number(struct cfg_store_write *write, int64_t number)
{
    if (write != NULL)
        write->values[write->count++].number = number;
}

/* Takes `text`, heap; NULL = out of memory. */
static void put_owned(struct cfg_store_job *job, struct cfg_store_write *write, char *text)
{
    if (text == NULL)
        job->build_err = PS_E_NOMEM;
    if (write != NULL)
        write->values[write->count++].text = text;
    else
        free(text);
}

static void put_text(struct cfg_store_job *job, struct cfg_store_write *write, const char *text)
{
    put_owned(job, write, strdup(text));
}

/* --- Sales. --- */

static void put_sale(struct cfg_store_job *job, struct cfg_store_write *write, const char *name,
                     const struct cfg_sale_doc *doc, const struct cfg_sale_state *state)
{
    put_text(job, write, name);
    put_owned(job, write, cfg_sale_doc_text(doc));
    put_number(write, state->version);
    put_number(write, state->created_at_ms);
    put_number(write, state->updated_at_ms);
    put_number(write, cfg_db_opened(state));
    put_number(write, state->paused);
    put_number(write, state->ended);
    put_text(job, add(job, CFG_WRITE_OTHER, "DELETE FROM deleted WHERE name = ?1", false), name);
}

#define PUT_SALE                                                                                   \
    "INSERT OR REPLACE INTO sales(name, document, version, created_at_ms, updated_at_ms, opened,"  \
    " paused, ended) SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8"

void cfg_store_job_sale(struct cfg_store_job *job, const char *name, const struct cfg_sale_doc *doc,
                        const struct cfg_sale_state *state)
{
    static const char sql[] =
        PUT_SALE " WHERE ?3 = 1 + coalesce((SELECT version FROM sales WHERE name = ?1),"
                 " (SELECT version FROM deleted WHERE name = ?1), 0)";
    put_sale(job, add(job, CFG_WRITE_SALE, sql, true), name, doc, state);
}

void cfg_store_job_sale_taken(struct cfg_store_job *job, const char *name,
                              const struct cfg_sale_doc *doc, const struct cfg_sale_state *state)
{
    put_sale(job, add(job, CFG_WRITE_OTHER, PUT_SALE, true), name, doc, state);
}

static void put_gone(struct cfg_store_job *job, const char *name, int64_t version)
{
    struct cfg_store_write *write =
        add(job, CFG_WRITE_OTHER, "INSERT OR REPLACE INTO deleted VALUES(?1, ?2)", true);
    put_text(job, write, name);
    put_number(write, version);
}

void cfg_store_job_sale_delete(struct cfg_store_job *job, const char *name, int64_t version)
{
    struct cfg_store_write *write = add(
        job, CFG_WRITE_SALE_GONE, "DELETE FROM sales WHERE name = ?1 AND version = ?2 - 1", true);
    put_text(job, write, name);
    put_number(write, version + 1);
    put_gone(job, name, version + 1);
}

void cfg_store_job_sale_gone_taken(struct cfg_store_job *job, const char *name, int64_t version)
{
    put_text(job, add(job, CFG_WRITE_OTHER, "DELETE FROM sales WHERE name = ?1", false), name);
    put_gone(job, name, version);
}

/* --- The policy. --- */

void cfg_store_job_rule(struct cfg_store_job *job, const struct cfg_limit_rule *rule)
{
    json_t *json = cfg_limit_rule_write(rule);
    char *text = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    struct cfg_store_write *write =
        add(job, CFG_WRITE_RULE,
            "INSERT INTO limits(name, document) VALUES(?1, ?2)"
            " ON CONFLICT(name) DO UPDATE SET document = excluded.document",
            true);
    put_text(job, write, rule->name);
    put_owned(job, write, text);
}

void cfg_store_job_rule_delete(struct cfg_store_job *job, const char *name)
{
    struct cfg_store_write *write =
        add(job, CFG_WRITE_RULE_GONE, "DELETE FROM limits WHERE name = ?1", true);
    put_text(job, write, name);
}

void cfg_store_job_block(struct cfg_store_job *job, const struct cfg_block *block)
{
    put_number(add(job, CFG_WRITE_OTHER, "DELETE FROM blocklist WHERE until_ms <= ?1", false),
               block->created_at_ms);
    cfg_store_job_block_taken(job, block);
}

void cfg_store_job_block_taken(struct cfg_store_job *job, const struct cfg_block *block)
{
    struct cfg_store_write *write =
        add(job, CFG_WRITE_BLOCK,
            "INSERT OR REPLACE INTO blocklist(kind, subject, until_ms, created_at_ms, reason, by)"
            " VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
            true);
    put_text(job, write, cfg_block_kinds[block->kind]);
    put_text(job, write, block->subject);
    put_number(write, block->until_ms);
    put_number(write, block->created_at_ms);
    put_text(job, write, block->reason);
    put_text(job, write, block->by);
}

void cfg_store_job_unblock(struct cfg_store_job *job, enum cfg_block_kind kind, const char *subject)
{
    struct cfg_store_write *write = add(
        job, CFG_WRITE_BLOCK_GONE, "DELETE FROM blocklist WHERE kind = ?1 AND subject = ?2", true);
    put_text(job, write, cfg_block_kinds[kind]);
    put_text(job, write, subject);
}

void cfg_store_job_policy_version(struct cfg_store_job *job, int64_t version)
{
    put_number(
        add(job, CFG_WRITE_POLICY, "UPDATE policy SET version = ?1 WHERE version = ?1 - 1", true),
        version);
}

void cfg_store_job_policy_taken(struct cfg_store_job *job, int64_t version)
{
    put_number(add(job, CFG_WRITE_OTHER, "UPDATE policy SET version = ?1", true), version);
}

/* --- What goes with it. --- */

void cfg_store_job_file(struct cfg_store_job *job, const char *path, const char *text)
{
    job->file_path = strdup(path);
    job->file_text = strdup(text);
    if (job->file_path == NULL || job->file_text == NULL)
        job->build_err = PS_E_NOMEM;
}

void cfg_store_job_audit(struct cfg_store_job *job, const struct cfg_audit_entry *entry)
{
    job->audit = cfg_audit_text(entry);
    if (job->audit == NULL)
        job->build_err = PS_E_NOMEM;
}
