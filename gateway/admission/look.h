/* A request that is explained: the gates judge it as any other (admit.c), but nothing is counted,
 * and each gate notes what it says. The two things that a gate changes for others, a limit's cell
 * and a note in an adaptive limit, are only looked at; the rest goes to a copy that is thrown
 * away. One thread: that of the gates. */
#ifndef ADM_LOOK_H
#define ADM_LOOK_H

#include "gateway/admission/admit.h"

/* What one gate, or one rule of a gate, says. */
struct adm_note {
    const char *gate; /* its word in the API */
    enum adm_gate step;
    enum ans_verdict verdict;                /* with ADM_GATE_DENY */
    const struct ans_problem_detail *detail; /* NULL: none */
    const struct cfg_limit_rule *rule;       /* NULL: it has no rule, or none applies */
    bool wide;                               /* the rule's cell of an IPv6 /48 */
    bool shadow;                             /* the rule would refuse, but only watches */
    int64_t left;    /* requests that the rule, or units that the counter has left; -1: neither */
    int64_t wait_ns; /* how long it holds the request, or until the rule would let it pass */
    enum adm_blocked blocked; /* by which entry of the blocklist */
    struct ps_cidr range;     /* with ADM_BLOCKED_RANGE */
};

struct adm_look {
    void (*note)(const struct adm_note *note, void *ctx);
    void *ctx;
    bool before_opening; /* the sale has no counter yet: its units are all there */
    /* Private. */
    const char *gate; /* that is asked now */
    bool noted;       /* it has noted a rule */
    enum adm_blocked blocked;
    struct ps_cidr range;
};

/* Notes what somebody behind the gates says. */
void adm_look_note(struct adm_look *look, const struct adm_note *note);

/* Where figures of requests that are explained go: nobody reads them. */
struct adm_look_sink {
    struct ps_metrics *metrics;
    struct ps_metrics_shard *shard;
    struct adm_limit_samples samples;
};
/* PS_E_NOMEM. */
int adm_look_sink_init(struct adm_look_sink *sink, int64_t now_ns) PS_MUST_CHECK;
void adm_look_sink_done(struct adm_look_sink *sink); /* all zero is allowed */

/* Gates for requests that are explained: they read what `gates` read, and write to a copy of the
 * shedding's counts and to `sink`. */
struct adm_gates_copy {
    struct adm_gates gates;
    struct adm_shed shed;
};
void adm_gates_copy(const struct adm_gates *gates, const struct adm_look_sink *sink,
                    struct adm_gates_copy *ret_copy);

/* --- What the gates call. --- */

void adm_look_begin(struct adm_look *look, const char *gate);
/* The gate has answered: notes it, unless its rules are noted. */
void adm_look_end(struct adm_look *look, const struct adm_admission *admission, enum adm_gate step);

struct adm_look_rule {
    const struct cfg_limit_rule *rule;
    const struct adm_limit_compiled *compiled;
    bool wide;
    enum ans_verdict verdict; /* if it refuses */
};
/* What the rule would say; notes it. `key` as adm_limit_check. */
struct adm_limit_result adm_look_limit(const struct adm_admission *admission,
                                       const struct adm_look_rule *of, uint64_t key);

#endif
