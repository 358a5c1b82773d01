/* What the files of sales/ share: state_machine.c (all sales, step by step), run.c (one sale: found
 * by name, served, fenced, refused), watch.c (what heartbeats tell of it), beginning.c (has the log
 * the sale's beginning?), claim.c (whose it is to build), rebuild.c (from the claim to the
 * install), load.c and loader.c (the counters from the fold), effects.c and apply.c (what the log
 * decides, to the counter), sweep.c (what stays in doubt), expiry.c (what is not paid), units.c
 * (what is left, held and confirmed), archive.c and archive_job.c (what is over). */
#ifndef SALE_SALES_INTERNAL_H
#define SALE_SALES_INTERNAL_H

#include "gateway/cluster/cluster.h"
#include "gateway/metrics.h"
#include "gateway/sales/effects.h"
#include "gateway/sales/expiry.h"
#include "gateway/sales/loader.h"
#include "gateway/sales/sales.h"
#include "inventory/shared.h"

/* Stock changes only by adjustment from this long before opens_at on: then the sale is opened. */
#define SALE_LEAD_MS 2000

/* A record of ours under way: the next one waits for its outcome. */
struct sale_slot {
    struct sale_run *run;
    bool out;
    bool archives; /* archive.c's, not rebuild.c's */
};

/* archive.c: how far the archive of one sale is. */
struct sale_archive {
    enum { SALE_ARCHIVE_IDLE, SALE_ARCHIVE_WRITING, SALE_ARCHIVE_APPENDING } stage;
    bool due; /* it is over for long enough */
    bool clock_says_due;
    int64_t due_ns;        /* since when the wall clock says so */
    bool discard;          /* a rehearsal: at once, without an archive */
    bool noting;           /* the host writes the note */
    int64_t look_ns;       /* not before */
    int64_t retry_ns;      /* not before */
    int64_t wait_ms;       /* after the last failure */
    int64_t final_ns;      /* when something last happened to it */
    int64_t seen_ended_ms; /* when it was first seen to be ended, if nobody wrote down when */
    size_t orders;         /* that it had then */
    struct sale_slot *slots;
    size_t slots_out;
    struct sale_loader_job empty; /* of its counter */
    size_t empty_skus;
    int64_t empty_epoch;
    char why[sizeof(struct ps_fault) + 8]; /* it could not be archived; "" = nothing */
};

/* What mail of the sales room with a pointer is about, beside a load. */
#define SALE_MAIL_ARCHIVE 1

/* Up to which seq of each partition; 0 = nothing. */
struct sale_applied {
    int64_t upto[OQ_PARTITION_MAX];
};

/* Whom a rebuild waits for. */
enum sale_waits { SALE_WAITS_FOR_NOBODY, SALE_WAITS_FOR_REDIS, SALE_WAITS_FOR_LOADER };

/* The way of one sale from the claim to the install; see rebuild.c. */
struct sale_rebuild {
    bool opening;            /* for the first time */
    enum sale_waits waits;   /* for what is installed or for the lock; for the loader's job */
    int64_t began_ns;        /* the claim */
    int64_t retry_ns;        /* not before */
    int64_t wait_ms;         /* after the next failure */
    int64_t installed_ns;    /* the last time */
    int64_t repeats;         /* how often, each soon after the one before */
    int64_t strange_ns;      /* since when the log's fences are none that are noted here; 0: not */
    int64_t locked_ns;       /* 0: the lock is not ours */
    size_t heartbeats;       /* answered when peers began to be drained */
    int64_t installed;       /* epoch, as Redis said; -1: none */
    int64_t epoch;           /* ours; kept when it ends: no fence of it is anybody else's */
    uint32_t partitions;     /* that are to be fenced */
    struct sale_slot *slots; /* one of each partition's fence, then of each SKU's stock */
    size_t slot_count, slots_out;
    /* the load: of the loading thread while it is waited for */
    struct sale_loader_job job;
    size_t sku_count; /* of its document */
    int err;
    struct inv_sale *counter;
};

/* What Redis has said last of a sale's counters. */
enum sale_in_redis {
    SALE_IN_REDIS_USABLE, /* or nothing yet */
    SALE_IN_REDIS_GONE,   /* there are none that could be used */
    SALE_IN_REDIS_FOREIGN /* one of their keys is somebody else's */
};

struct sale_run {
    struct sale_view view;
    struct sale_runs *runs;
    char name[PS_NAME_MAX + 1];
    bool rehearsal;        /* as its document says */
    int64_t since_ns;      /* in its state; of SALE_CHECKING, by the system's clock */
    int64_t idle_until_ms; /* by the wall clock, while it waits and its document stays */
    bool logged;    /* a record of its beginning may be in the log, whatever the fold shows */
    bool attaching; /* Redis is asked for its counters */
    int64_t outdated_epoch; /* counters up to it are not taken up again; 0: any may be */
    enum sale_in_redis in_redis;
    size_t sku_count; /* that the log has named and that were looked at */
    int64_t in_doubt; /* units, as Redis last said; -1: not known */
    int64_t busy_ns;  /* when it was last not over, or not settled */
    bool resting;     /* over and settled for a while: looked at rarely */
    struct sale_rebuild rebuild;

    /* apply.c: read and not yet known to be in Redis */
    struct sale_effect_list effects;
    struct sale_applied *forgotten; /* up to where some were not kept; NULL: all were */
    bool trim_due;                  /* before anything is applied under this epoch */
    bool trimming;                  /* Redis is asked what is applied */
    int64_t trimmed_ns;

    struct sale_archive archive;

    /* sweep.c */
    struct {
        bool asking;
        bool rejects; /* this round may give up what nobody works on */
        uint64_t cursor;
        unsigned pages; /* of this round */
        int64_t at_ns;
        _Atomic(unsigned) rejecting; /* calls on their way to the log's thread */
    } sweep;
};

/* The counters in memory, by address of the log's sale. The log's thread. */
struct sale_counters {
    struct sale_counter {
        const struct oq_sale *log_sale; /* sale_compare_log_sale */
        struct inv_sale *counter;
    } * at;
    size_t count;
};

struct sale_runs {
    struct sale_settings settings;
    struct sale_host host;
    struct oq_log *log;
    struct clu_cluster *cluster;
    struct ps_metrics_shard *shard; /* the control thread's part for sales */
    bool shared;                    /* the counter is in Redis */
    bool stopped;
    _Atomic(bool) started;
    _Atomic(bool) mailed; /* sale_on_fenced: a mail is on its way */
    _Atomic(unsigned) refused;
    struct sale_run **at; /* sorted by name */
    size_t count, cap;
    size_t records_out;      /* rebuild.c: whose outcome is awaited */
    struct sale_run **asked; /* by the heartbeat under way; has room for all */
    size_t turn;             /* which of the resting sales the next one asks about */
    struct sale_effects *effects;
    struct sale_counters counters;
    struct sale_loader *loader; /* NULL once stopped */
    struct sale_expiry *expiry;
    struct sale_archives *archives;
    struct ps_steady steady; /* the earlier of this machine's and Redis's clock */
};

/* Which sale a line of the program's log is about. */
#define SALE_LOG_NAME(run) PS_F_STR("sale", (run)->name), PS_F_FLAG("rehearsal", (run)->rehearsal)

/* --- run.c --- */
int64_t sale_now_ns(const struct sale_runs *runs);
/* NULL: there is none. */
struct sale_run *sale_run_find(const struct sale_runs *runs, const char *name);
/* Makes it if there is none. NULL: out of memory. */
struct sale_run *sale_run_of(struct sale_runs *runs, const char *name);
void sale_run_free(struct sale_run *run);
/* False: the host has no such sale. */
bool sale_get_decided(const struct sale_run *run, struct sale_decided *ret_decided);
void sale_set_state(struct sale_run *run, enum sale_state state);
/* The host publishes it again. */
void sale_report_changed(const struct sale_run *run);
/* A try to build its counters has ended, if there is one: the sale is served, deleted, or another
 * log's. The caller sets the state. */
void sale_end_try(struct sale_run *run);
/* The lock of a try, if this gateway has it. */
void sale_release_lock(struct sale_run *run);
/* Workers sell from this counter with the next snapshot. */
void sale_serve(struct sale_run *run, struct inv_sale *counter);
/* Nobody sells from it any more, until it is served again. */
void sale_fence(struct sale_run *run, const char *why);
/* For good. `why` is a sentence for people. */
void sale_refuse(struct sale_run *run, const char *why);
/* The same, for a fence of another gateway: a counter in memory knows nothing of what that sells.
 */
void sale_refuse_other(struct sale_run *run);

/* --- units.c --- */
/* Is nothing of it held, as the log says? */
bool sale_log_holds_nothing(const struct sale_run *run);
/* Is nothing of it held or in doubt at its counter, which is in memory? */
bool sale_counter_holds_nothing(const struct sale_run *run);

/* --- watch.c --- */
extern const struct clu_sales sale_watch;

/* --- beginning.c --- */
/* Has the log the sale's beginning, its first fence in each partition and its initial stock, and no
 * SKU that the document lacks before those that it has? Else it is refused. From then on the
 * document's SKUs are the first of the sale's in the fold. */
bool sale_check_beginning(struct sale_run *run, const struct cfg_sale_doc *doc);
/* Of that, the SKUs alone. */
bool sale_check_skus(struct sale_run *run, const struct cfg_sale_doc *doc);
bool sale_is_stocked(const struct sale_run *run, const char *sku);
/* Counts and names a SKU that only a stranger's record knows of. */
void sale_note_stranger(struct sale_run *run, const char *sku);

/* --- claim.c --- */
/* A fence claims a sale for so long. */
#define SALE_CLAIM_NS (30 * PS_NS_PER_S)
/* Epochs rise by 2^20: no log comes to this by itself. Above it one more would soon not fit. */
#define SALE_EPOCH_MOST (INT64_C(1) << 52)
/* A living gateway is at it: its fence is higher than what is installed, and young. */
bool sale_is_claimed(const struct sale_run *run, int64_t installed);
/* Is what is installed of an epoch that this log does not have? (If it is about to show it, the
 * next try will see.) */
bool sale_is_of_another_log(const struct sale_run *run, int64_t installed);
/* At an opening: has the log fences of the sale, although nobody here has noted an opening, or not
 * yet told this gateway? */
bool sale_is_opened_elsewhere(const struct sale_run *run, const struct sale_decided *decided);
void sale_refuse_opened_elsewhere(struct sale_run *run);
/* Is the opening that is noted here the one of the log's first fence? If they are of two clusters,
 * it is refused. */
bool sale_check_opening(struct sale_run *run, const struct cfg_sale_state *state);
/* For the fences to come. False: a stranger's record leaves no room for one, and it is refused. */
bool sale_choose_epoch(struct sale_run *run);

/* --- rebuild.c --- */
/* Begins, unless it has to wait after a failure; `opening`: for the first time. */
void sale_rebuild_start(struct sale_run *run, const struct sale_decided *decided, bool opening);
void sale_rebuild_step(struct sale_run *run, const struct sale_decided *decided);
void sale_rebuild_landed(struct sale_slot *slot, enum oq_outcome outcome);
/* The host has noted what it was to note, or cannot. */
void sale_rebuild_noted(struct sale_run *run, bool noted);
/* The loading thread has loaded. */
void sale_rebuild_loaded(struct sale_run *run);

/* --- load.c --- */
/* Fills counters under `epoch` from the fold and installs them; with Redis this takes as long as it
 * takes to send it all. A counter in memory: on the log's thread. One in Redis: any thread, beside
 * the log's, once the fold shows the sale's fences of this epoch in every partition.
 *
 * The sale's own SKUs are the first `sku_count` of the fold; what a stranger's record has named
 * behind them counts for nobody. `stop` (may be NULL): given up soon when it is set, PS_E_CLOSED.
 * *ret_counter is the handle. Errors as of inv_load_install. */
int sale_load(const struct sale_run *run, size_t sku_count, int64_t epoch,
              const _Atomic(bool) *stop, struct inv_sale **ret_counter) PS_MUST_CHECK;

/* --- apply.c --- */
int sale_counters_set(struct sale_counters *counters, const struct oq_sale *log_sale,
                      struct inv_sale *counter) PS_MUST_CHECK;
/* Brings what was pushed to its sale. */
void sale_apply_take(struct sale_runs *runs);
/* A step for one sale. */
void sale_apply_step(struct sale_run *run);

/* Its records tell nobody any more. The log's thread. */
void sale_counters_drop(struct sale_counters *counters, const struct oq_sale *log_sale);

/* --- archive.c --- */
int sale_archives_new(struct sale_runs *runs, struct sale_archives **ret_archives) PS_MUST_CHECK;
/* Waits for what its thread does: at most as long as a record or a disk takes. */
void sale_archives_stop(struct sale_archives *archives);
void sale_archives_free(struct sale_archives *archives); /* NULL is allowed */
/* True: the sale is archived, and there is nothing else to do for it. */
bool sale_archive_step(struct sale_run *run);
void sale_archive_landed(struct sale_slot *slot, enum oq_outcome outcome);
/* Its thread has written, or has failed. */
void sale_archive_written(struct sale_run *run);
void sale_archive_noted(struct sale_run *run, bool noted);

/* --- sweep.c --- */
void sale_sweep_step(struct sale_run *run);

#endif
