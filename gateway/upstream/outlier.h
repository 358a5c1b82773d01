/* Outliers: keeps what requests met at one endpoint in the last 10 s, and decides whether that is
 * so bad that the endpoint is left out for a while ("ejected", as Envoy says: its outlier detection
 * has the errors in a row, the success rate, the growing time and the largest share).
 *
 * Pure: figures and time are arguments. One thread: control. */
#ifndef UP_OUTLIER_H
#define UP_OUTLIER_H

#include "common/metrics/metrics.h"
#include "common/metrics/histogram.h"
#include "gateway/config/kinds/pool_doc.h"

struct up_endpoint;

/* Sums over all workers. */
struct up_figures {
    int64_t answers;  /* answers and failures: everything that says something about the endpoint */
    int64_t failures; /* the failures among these */
    int64_t took_ns;  /* sum of the times to the head of the answer */
    struct ps_times_sum times; /* the same times, counted */
};

#define UP_RECENT_PARTS 10
#define UP_RECENT_NS    INT64_C(10000000000)

/* An endpoint's figures at the start of each of the last seconds. */
struct up_recent {
    int64_t part; /* the current one, counted since the clock's start */
    struct up_figures begin[UP_RECENT_PARTS];
};

enum up_outlier { UP_OUTLIER_NONE, UP_OUTLIER_IN_ROW, UP_OUTLIER_ERRORS, UP_OUTLIER_LATENCY };
#define UP_OUTLIER_REASONS 4
extern const char *const up_outlier_names[UP_OUTLIER_REASONS + 1]; /* NULL-terminated; "none" too */

/* What the judge keeps of an endpoint. All zero: a new one. */
struct up_judged {
    bool known;
    struct up_recent recent;
    unsigned ejections; /* in a row */
    int64_t out_ns;     /* when it was last ejected */
    int64_t back_ns;    /* when it came back last */
    int64_t slow_ns;    /* when its slow start began; 0: it has none */
    int64_t drain_ns;   /* when its drain began; 0: it has none */
};

/* Sums since the endpoint was created. */
void up_figures_read(const struct up_endpoint *endpoint, struct up_figures *ret_figures);
/* Mean of the requests that had an answer; 0: none. */
double up_figures_mean_ns(const struct up_figures *figures);

/* Forgets everything before now. */
void up_recent_clear(struct up_recent *recent, const struct up_figures *now, int64_t now_ns);
/* Moves on to now_ns; call it at least once a part. */
void up_recent_move(struct up_recent *recent, const struct up_figures *now, int64_t now_ns);
/* The sums of the last 9 to 10 s. */
void up_recent_read(const struct up_recent *recent, const struct up_figures *now,
                    struct up_figures *ret_added);

/* Is this endpoint an outlier? `in_row`: failures without a success in between. `median_ns`: of the
 * pool's mean latencies; 0: not known. The mean must be above latency_factor times that, and so
 * must a tenth of the answers: one pause makes no outlier. `why` says so in words: "5 errors in a
 * row", "70 % of 40 answers in 10 s were errors", "3.2 times the pool's median latency". */
enum up_outlier up_outlier_judge(const struct cfg_pool *pool, const struct up_figures *added,
                                 uint32_t in_row, double median_ns, char *why, size_t why_size);
/* May its latency be compared? */
bool up_outlier_has_latency(const struct cfg_pool *pool, const struct up_figures *added);

/* How many of so many members may be ejected at once: the share, but at least one of two or more,
 * and never all; with a share of 0, none. */
size_t up_outlier_most(const struct cfg_pool *pool, size_t members);
/* Ejects the endpoint from now on. It counts as ejected once more in a row if it was in use for no
 * longer than its last ejection, or 10 s. */
void up_outlier_eject(struct up_judged *judged, const struct cfg_pool *pool, int64_t now_ns);
/* How long the ejection lasts: eject_ms times the ejections in a row, at most 30 times. */
int64_t up_outlier_time_ns(const struct up_judged *judged, const struct cfg_pool *pool);

#endif
