/* control.db: what operators decided - sales and their state, limit rules, blocklist, the policy's
 * version, the last versions of sales that were deleted - in SQLite (WAL, FULL, 0600).
 *
 * Who does what: the control thread keeps the truth in memory and answers reads from it. A change
 * goes to the store as a job; the store's own thread writes it in one transaction and mails the job
 * back (GW_MAIL_DONE, ptr = the job, result = job->err). Only then the control thread takes the
 * change into memory. A job that fails has changed nothing: the admin gets 503, memory stays as it
 * was.
 *
 * The audit line is part of the job. Order: (1) one transaction holds the rows and the line; (2)
 * after the commit the line is appended to audit.log; (3) the next transaction drops it from the
 * database. A crash or a full disk between (1) and (2) leaves the line in the database: the next
 * job, or the next start, appends it before anything else. So no change is without its line, and no
 * line is twice (but the last one, when audit.log is moved away between two runs). A job's file
 * (tokens.json) is written and synced under another name before (1) and renamed after it: a crash
 * between, or a rename that fails, leaves a line of a change that did not happen.
 *
 * Two changes under way at once: each sale and the policy carry a version, and a write whose
 * version does not follow the stored one is PS_E_CONFLICT (the admin gets 412). Versions go on
 * where they ended when a sale is deleted and made anew, so that no old copy passes for a new one.
 * What another gateway of the cluster has decided (…_taken) is written whatever stood here. */
#ifndef CFG_STORE_H
#define CFG_STORE_H

#include "common/clock.h"
#include "common/mailbox.h"
#include "gateway/config/limit_rule.h"
#include "gateway/config/audit_log.h"
#include "gateway/config/sale_doc.h"

#define CFG_STORE_QUEUE      256 /* jobs */
#define CFG_BLOCK_REASON_MAX 256 /* bytes */

struct cfg_store;

struct cfg_store_settings {
    const char *path;           /* "…/control.db" */
    const char *audit_path;     /* "…/audit.log" */
    const char *vfs;            /* NULL = SQLite's default (tests pass a faulty one) */
    struct ps_mailbox *mailbox; /* of the thread that submits */
    const struct ps_clock *clock;
};

/* --- What is stored. --- */
struct cfg_stored_sale {
    char name[PS_NAME_MAX + 1];
    struct cfg_sale_doc doc;
    struct cfg_sale_state state;
};

/* A sale that was deleted; its version is that of the deletion. */
struct cfg_gone_sale {
    char name[PS_NAME_MAX + 1];
    int64_t version;
};

enum cfg_block_kind { CFG_BLOCK_USER, CFG_BLOCK_RANGE };

struct cfg_block {
    enum cfg_block_kind kind;
    char subject[PS_USER_MAX + 1]; /* the user, or "203.0.113.0/24" */
    int64_t until_ms;              /* INT64_MAX = for good */
    int64_t created_at_ms;
    char reason[CFG_BLOCK_REASON_MAX + 1]; /* "" = none */
    char by[PS_NAME_MAX + 1];              /* id of the token */
};

struct cfg_stored {
    int64_t policy_version; /* of limits and blocklist together; >= 1 */
    size_t sale_count, gone_count, rule_count, block_count;
    struct cfg_stored_sale *sales; /* by name, as are the others */
    struct cfg_gone_sale *gone;
    struct cfg_limit_rule *rules;
    struct cfg_block *blocks; /* those that had ended are dropped at start */
};
/* A zeroed one is allowed; to keep a part, take it out and zero its place. */
void cfg_stored_done(struct cfg_stored *stored);

/* Opens or creates (then with the shipped limit rules user, ip, global, polling), checks, reads all
 * into *ret_stored on the calling thread, and starts the store's thread. PS_E_NEWER: made by a
 * newer version; PS_E_CORRUPT: torn, or no control.db; PS_E_PERMISSION, PS_E_READ_ONLY, PS_E_FULL,
 * PS_E_IO: the fault says what, and what to do. */
int cfg_store_open(const struct cfg_store_settings *settings, struct cfg_store **ret_store,
                   struct cfg_stored *ret_stored, struct ps_fault *fault) PS_MUST_CHECK;
/* Does the jobs that were taken, then ends the thread and closes. Jobs are the submitter's again,
 * also those whose mail was not delivered. NULL is allowed. */
void cfg_store_close(struct cfg_store *store);

/* --- Changes. --- */
struct cfg_store_job {
    /* For the submitter: the store does not look at them. */
    void *ctx;
    uint64_t handle;
    uint64_t value;
    /* Out, valid once the mail is there. */
    /* 0; PS_E_CONFLICT: a version did not fit, or what is to be deleted is not there; PS_E_FULL,
     * PS_E_READ_ONLY, PS_E_BUSY, PS_E_IO...: nothing changed; PS_E_UNKNOWN: the commit itself
     * failed: nothing changed, but a crash before the next good commit can bring the change back,
     * with its line. */
    int err;
    struct ps_fault fault; /* with err or audit_err */
    /* Done, but audit.log could not be written: the line waits in the database. For the log. */
    int audit_err;
    int64_t audit_seq; /* of the line */
    /* Inside. */
    struct cfg_store_write *writes;
    struct cfg_store_write **tail;
    char *audit;
    char *file_path;
    char *file_text;
    int build_err;
    struct cfg_store_job *next;
};

/* An empty job; NULL = out of memory. Everything that is put into it is copied. The calls below do
 * not fail: what they could not copy makes cfg_store_submit refuse the job. */
struct cfg_store_job *cfg_store_job_new(void);
void cfg_store_job_free(struct cfg_store_job *job); /* not while it is submitted; NULL is allowed */
/* state->version is one higher than the stored one; of a new sale, than that of its deletion, or 1.
 */
void cfg_store_job_sale(struct cfg_store_job *job, const char *name, const struct cfg_sale_doc *doc,
                        const struct cfg_sale_state *state);
/* `version` is the stored one. */
void cfg_store_job_sale_delete(struct cfg_store_job *job, const char *name, int64_t version);
/* By rule->name: new or replaced. */
void cfg_store_job_rule(struct cfg_store_job *job, const struct cfg_limit_rule *rule);
void cfg_store_job_rule_delete(struct cfg_store_job *job, const char *name);
/* Replaces an entry of the same kind and subject, and drops those that had ended when it was made.
 */
void cfg_store_job_block(struct cfg_store_job *job, const struct cfg_block *block);
void cfg_store_job_unblock(struct cfg_store_job *job, enum cfg_block_kind kind,
                           const char *subject);
/* The policy's new version; the stored one must be one lower. Goes with every change of rules or
 * blocklist. */
void cfg_store_job_policy_version(struct cfg_store_job *job, int64_t version);
/* The same as another gateway has decided them: whatever is stored gives way. */
void cfg_store_job_sale_taken(struct cfg_store_job *job, const char *name,
                              const struct cfg_sale_doc *doc, const struct cfg_sale_state *state);
void cfg_store_job_sale_gone_taken(struct cfg_store_job *job, const char *name, int64_t version);
void cfg_store_job_block_taken(struct cfg_store_job *job, const struct cfg_block *block);
void cfg_store_job_policy_taken(struct cfg_store_job *job, int64_t version);
/* A private file to replace with it (auth.h); one a job. */
void cfg_store_job_file(struct cfg_store_job *job, const char *path, const char *text);
/* The line of the job; one a job. A job may be nothing but a line. */
void cfg_store_job_audit(struct cfg_store_job *job, const struct cfg_audit_entry *entry);

/* The thread of the mailbox. 0: lent to the store until its mail comes or the store is closed.
 * PS_E_FULL, PS_E_NOMEM: not submitted. */
int cfg_store_submit(struct cfg_store *store, struct cfg_store_job *job) PS_MUST_CHECK;

#endif
