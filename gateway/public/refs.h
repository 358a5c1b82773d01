/* The references of refusals (common/text/ref.h), as a worker seals them. */
#ifndef PUB_REFS_H
#define PUB_REFS_H

#include "common/text/ref.h"
#include "gateway/answers/problem.h"

struct pub_request;

/* What is the same for all of a worker's. */
struct pub_refs {
    uint16_t verdicts[ANS_VERDICT_COUNT]; /* their hashes */
    struct ps_ref_pads pads;
};

/* `gateway`: its name. */
void pub_refs_init(struct pub_refs *refs, const char *gateway, uint32_t worker);

/* Seals the refusal's reference into the request, and gives it to `detail`. Does nothing while
 * there is no key: the gateway is in a cluster and has not seen its keys yet. A trusted proxy gets
 * it as Penstock-Ref, too. */
void pub_refs_seal(struct pub_request *request, enum ans_verdict verdict,
                   struct ans_problem_detail *detail);

#endif
