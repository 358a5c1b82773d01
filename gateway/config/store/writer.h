/* The thread that writes control.db and audit.log: it does jobs one by one, each in one
 * transaction, and mails them back.
 *
 * The audit line is part of the job. Order: (1) one transaction holds the documents and the line;
 * (2) after the commit the line is appended to audit.log; (3) the next transaction drops it from
 * the database. A crash or a full disk between (1) and (2) leaves the line in the database: the
 * next job, or the next start, appends it before anything else. So no change lacks its line, and no
 * line appears twice (except the last one, when audit.log is moved away between two runs). A job's
 * file (tokens.json) is written and synced under another name before (1) and renamed after it: a
 * crash between, or a rename that fails, leaves a line without its change.
 *
 * A COMMIT that fails may still have been applied. Then the file is closed and reopened until it
 * shows whether the line is in it, and only then is the job mailed back, as done or as failed. So
 * memory always matches the file. */
#ifndef CFG_WRITER_H
#define CFG_WRITER_H

#include "common/clock.h"
#include "common/program/mailbox.h"
#include "gateway/config/store/audit_log.h"
#include "gateway/config/store/db.h"

#define CFG_WRITER_QUEUE 256 /* jobs */

struct cfg_writer;

struct cfg_writer_settings {
    const char *path;           /* "…/control.db" */
    const char *audit_path;     /* "…/audit.log" */
    const char *vfs;            /* NULL = SQLite's default (tests pass a faulty one) */
    struct ps_mailbox *mailbox; /* of the thread that submits */
    uint32_t mail_kind;         /* of the mail: ptr = the job, result = job->err */
    const struct ps_clock *clock;
    int64_t rest_ms; /* nothing that has ended is deleted so long after a jump of the wall clock */
};

/* A version to be written, and the one that it follows. */
struct cfg_edit {
    struct cfg_doc *doc; /* owned */
    int64_t after;       /* 0: there must be none; CFG_DB_WHATEVER */
    bool falls;          /* deleted because of another edit (cfg_kind.falls) */
};

/* A document that has ended by itself. */
struct cfg_ended {
    const struct cfg_kind *kind;
    STAILQ_ENTRY(cfg_ended) next;
    char name[];
};
STAILQ_HEAD(cfg_ended_list, cfg_ended);
void cfg_ended_list_free(struct cfg_ended_list *list);

struct cfg_job {
    /* A change. */
    struct cfg_edit *edits;      /* heap, as are the next four */
    size_t edit_count;           /* not 0 without a line */
    struct cfg_ended_list ended; /* removed first */
    size_t ended_count;
    int64_t forget_ms;           /* 0, or cfg_db_forget_old as of this time */
    char *line;                  /* of the audit log; NULL: there is none */
    char *file_path, *file_text; /* a private file to replace with it; NULL: none */
    int64_t revision;
    /* A read of the history, without changes. */
    enum cfg_look {
        CFG_LOOK_NOT,
        CFG_LOOK_DOCUMENT,   /* a version of one; 0: all */
        CFG_LOOK_REVISIONS,  /* cfg_db_revisions; `name` is the list of kinds */
        CFG_LOOK_AT_REVISION /* cfg_db_at_revision, the same; `version` is the revision */
    } look;
    const struct cfg_kind *kind;
    char name[CFG_NAME_MAX + 1];
    int64_t version;
    json_t *history; /* out, owned */
    /* Out, valid once the mail is there. */
    /* 0; PS_E_CONFLICT: a version did not match; PS_E_FULL, PS_E_READ_ONLY, PS_E_BUSY, PS_E_IO...:
     * nothing changed; PS_E_UNKNOWN: the writer closed before the file showed the outcome. */
    int err;
    struct ps_fault fault; /* with err, not_synced or audit_err */
    /* Done, but a loss of power may restore the old private file. For the log. */
    bool not_synced;
    /* Done, but audit.log could not be written: the line waits in the database. For the log. */
    int audit_err;
    STAILQ_ENTRY(cfg_job) link;
};
/* Frees what a job owns, not the job. */
void cfg_job_done(struct cfg_job *job);

/* Opens or creates, checks, passes all documents to `take` (cfg_db_load) on the calling thread, and
 * starts the thread. Errors as cfg_db_open. */
int cfg_writer_open(const struct cfg_writer_settings *settings, cfg_db_take_fn *take, void *ctx,
                    int64_t *ret_revision, struct cfg_writer **ret_writer,
                    struct ps_fault *fault) PS_MUST_CHECK;
/* The head of audit.log as it is now. Any thread; it waits for no write. */
void cfg_writer_head(struct cfg_writer *writer, struct cfg_audit_head *ret_head);
/* Finishes the queued jobs, then ends the thread and closes. The submitter owns its jobs again,
 * also those whose mail was not delivered. NULL is allowed. */
void cfg_writer_close(struct cfg_writer *writer);
/* The thread of the mailbox. 0: lent to the writer until its mail comes or it is closed. PS_E_FULL:
 * not submitted. */
int cfg_writer_submit(struct cfg_writer *writer, struct cfg_job *job) PS_MUST_CHECK;

#endif
