/* What a run has changed: an array of
 *
 *   {"step":0,"document":"limits/ip","path":"/rate","was":50,"set":20}
 *   {"step":1,"document":"blocklist/ips/203.0.113.0/24","path":"","set":{…}}      made by the run
 *   {"step":2,"override":"level","was":{…},"set":{"value":2,"until":…}}
 *
 * Without "was" there was nothing. "done" says what became of it: "reverted", "gone" (somebody has
 * ended it), "taken" (by another run), "kept"; without it the run still holds it, and "left" may
 * say why it could not be taken back. */
#ifndef PLAN_CHANGES_H
#define PLAN_CHANGES_H

#include "gateway/plans/run.h"

/* The value at a JSON pointer that leads through objects; NULL: there is none. Borrowed. */
json_t *plan_member_get(const json_t *json, const char *path);
/* Sets it to a copy, or (NULL) removes it; objects on the way are made. PS_E_NOMEM. */
int plan_member_set(json_t *json, const char *path, const json_t *value) PS_MUST_CHECK;
/* Equal, or both absent? */
bool plan_member_same(const json_t *a, const json_t *b);

/* Does the run still hold it? */
bool plan_change_is_held(const json_t *change);
/* Which member, or override, it is; borrowed of `change`. False: a kind that there is no more. */
bool plan_change_member(const json_t *change, struct cfg_member *ret_member);
int plan_change_done(json_t *change, const char *how) PS_MUST_CHECK; /* 0, PS_E_NOMEM */
/* How many it still holds. */
size_t plan_changes_held(const json_t *changes);

/* Takes what the run has changed out of the document, where it is as the run left it: what would
 * be so without the run. False: without the run there is no such document. */
bool plan_run_undo(const struct plan_run *run, const struct cfg_kind *kind, const char *name,
                   json_t *json);

/* A run of its document's JSON, which is taken over (NULL: out of memory). PS_E_INVALID,
 * PS_E_NOMEM. */
int plan_run_make(const char *name, json_t *json, struct plan_run **ret_run) PS_MUST_CHECK;
/* The run's next version. PS_E_NOMEM. */
int plan_run_put(struct cfg_change *change, const struct plan_run *run) PS_MUST_CHECK;
/* The state from now on. */
void plan_run_set(struct plan_run *run, enum cfg_run_state state, int64_t now_ms);
void plan_run_end(struct plan_run *run, enum cfg_run_end end, int64_t now_ms);
/* Why it is as it is; cut. Without memory nothing is said. */
void plan_run_say(struct plan_run *run, const char *fmt, ...) PS_PRINTF(2, 3);

/* The document of an override that holds `value` as of now. PS_E_NOMEM. */
int plan_put_override(struct cfg_change *change, const char *name, const json_t *json,
                      struct ps_faults *faults) PS_MUST_CHECK;
/* Where a document stands in faults: "limits/ip", with members behind it. */
cfg_point_fn plan_point;

#endif
