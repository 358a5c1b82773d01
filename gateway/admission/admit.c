/* The gates of a buy request, in the order in which this program says no. Cheap and certain reasons
 * come first; the global rate comes last, so that a bot that its own limit would refuse cannot burn
 * the budget of all. A buyer's own order is looked up before sold out, ended and paused are said:
 * he is told of it even then, but he pays his own limits for asking.
 *
 * What must hold: a gate neither waits nor allocates nor locks, and changes nothing but limit
 * cells. (Reading a body in an unusual spelling is the JSON library's work and allocates; it comes
 * after every gate that does without the body.) */
#include "gateway/admission/admit.h"

#include "gateway/admission/order_body.h"
#include "queue/log_kafka.h"

#include <string.h>

typedef enum gw_step gate_fn(struct gw_admission *admission);

static enum gw_step no(struct gw_admission *admission, enum gw_verdict verdict)
{
    admission->verdict = verdict;
    return GW_NO;
}

static struct gw_worker *worker_of(const struct gw_admission *admission)
{
    return admission->visit->worker;
}

/* --- phase, blocklist --- */

static bool has_orders(const struct gw_admission *admission)
{
    const struct gw_sale *sale = admission->sale;
    return sale->books != NULL && oq_fold_newest(worker_of(admission)->core->fold, sale->books,
                                                 admission->visit->client.user) != NULL;
}

static enum gw_step phase_no(struct gw_admission *admission, enum gw_phase phase)
{
    if (phase == GW_PHASE_ENDED)
        return no(admission, GW_V_ended);
    return phase == GW_PHASE_PAUSED ? no(admission, GW_V_paused) : GW_NEXT;
}

static enum gw_step phase_gate(struct gw_admission *admission)
{
    const struct gw_sale *sale = admission->sale;
    enum gw_phase phase = gw_sale_phase(sale, admission->wall_ms);

    if (phase == GW_PHASE_SCHEDULED) {
        if (!sale->draft)
            admission->detail.retry_after_s = (sale->opens_at_ms - admission->wall_ms + 999) / 1000;
        return no(admission, GW_V_not_started);
    }
    /* A buyer who has orders here goes on to the replay gate, which comes back to the phase. */
    return phase == GW_PHASE_OPEN || has_orders(admission) ? GW_NEXT : phase_no(admission, phase);
}

static enum gw_step blocklist_gate(struct gw_admission *admission)
{
    const struct gw_client *client = &admission->visit->client;
    const struct gw_blocklist *blocklist = worker_of(admission)->policy->blocklist;

    return gw_blocklist_has(blocklist, client->user, &client->address, admission->wall_ms)
               ? no(admission, GW_V_blocked)
               : GW_NEXT;
}

/* --- limits --- */

static const enum gw_verdict rate_verdict[] = {[GW_LIMIT_KEY_USER] = GW_V_user_rate,
                                               [GW_LIMIT_KEY_IP] = GW_V_ip_rate,
                                               [GW_LIMIT_KEY_GLOBAL] = GW_V_global_rate,
                                               [GW_LIMIT_KEY_SALE] = GW_V_sale_rate};

static void show_tightest(struct gw_visit *visit, const struct gw_limit_rule *rule,
                          const struct gw_limit_result *result)
{
    struct gw_limit_fields *shown = &visit->limit;

    if (shown->policy != NULL && shown->remaining <= result->remaining)
        return;
    memcpy(visit->limit_name, rule->name, sizeof visit->limit_name);
    *shown = (struct gw_limit_fields){.policy = visit->limit_name,
                                      .quota = rule->rate,
                                      .window_s = rule->period_s,
                                      .remaining = result->remaining,
                                      .reset_s = result->reset_s};
}

void gw_admit_expect(struct gw_visit *visit)
{
    const struct gw_limit_table *limits = visit->worker->core->limits;
    const struct gw_policy *policy = visit->worker->policy;
    struct ps_str user = visit->client.user;

    visit->user_hash = gw_limit_hash(limits, user.at, user.len);
    for (size_t i = 0; i < policy->rule_count; i++)
        if (policy->rules[i].key == GW_LIMIT_KEY_USER)
            gw_limit_expect(limits, &policy->compiled[i], visit->user_hash);
}

static uint64_t hash_of(const struct gw_admission *admission, const void *key, size_t key_len)
{
    return gw_limit_hash(worker_of(admission)->core->limits, key, key_len);
}

/* One rule with one key, given by its hash. Only the user's and the address's limits are the
 * asker's own quota, so only they are shown to him when they allow. *ret_fits is what the limit
 * says, also in shadow mode. */
static enum gw_step ask_limit(struct gw_admission *admission, const struct gw_limit_rule *rule,
                              const struct gw_limit_compiled *compiled, uint64_t hash,
                              bool *ret_fits)
{
    struct gw_worker *worker = worker_of(admission);
    struct gw_limit_result result = gw_limit_check(worker->core->limits, compiled, hash,
                                                   admission->now_ns, admission->patience_ms);
    bool own = rule->key == GW_LIMIT_KEY_USER || rule->key == GW_LIMIT_KEY_IP;

    *ret_fits = result.allowed;
    if (!own && !admission->visit->asked_shared) {
        admission->visit->asked_shared = true;
        ps_metric_add(worker->shard, GW_M_LIMIT_SHARED_ASKED, 0, 1);
    }
    if (rule->mode == GW_LIMIT_SHADOW) {
        if (!result.allowed)
            ps_metric_add(worker->shard, GW_M_SHADOW, rule->key, 1);
        return GW_NEXT;
    }
    if (own || !result.allowed)
        show_tightest(admission->visit, rule, &result);
    if (!result.allowed) {
        admission->detail.policy = rule->name;
        admission->detail.retry_after_s = (result.wait_ns + PS_NS_PER_S - 1) / PS_NS_PER_S;
        return no(admission, rate_verdict[rule->key]);
    }
    if (result.wait_ns > 0 && admission->now_ns + result.wait_ns > admission->until_ns)
        admission->until_ns = admission->now_ns + result.wait_ns;
    return GW_NEXT;
}

static enum gw_step ask_address(struct gw_admission *admission, const struct gw_policy *policy,
                                size_t rule)
{
    const struct gw_address *address = &admission->visit->client.address;
    struct gw_address key;
    enum gw_step step;
    bool fits;

    gw_address_limit_key(address, &key);
    step = ask_limit(admission, &policy->rules[rule], &policy->compiled[rule],
                     hash_of(admission, key.byte, sizeof key.byte), &fits);
    if (!fits || gw_address_is_v4(address))
        return step;
    /* The /48, so that a customer with 65,536 networks of /64 is one asker too. */
    memset(key.byte + 6, 0, sizeof key.byte - 6);
    return ask_limit(admission, &policy->rules[rule], &policy->wide[rule],
                     hash_of(admission, key.byte, sizeof key.byte), &fits);
}

static enum gw_step ask_rules(struct gw_admission *admission, unsigned applies_to,
                              enum gw_limit_key kind)
{
    const struct gw_policy *policy = worker_of(admission)->policy;
    const struct gw_visit *visit = admission->visit;
    const struct gw_sale *sale = admission->sale;

    for (size_t i = 0; i < policy->rule_count; i++) {
        const struct gw_limit_rule *rule = &policy->rules[i];
        enum gw_step step;
        bool fits;
        if (rule->key != kind || rule->mode == GW_LIMIT_OFF ||
            (rule->applies_to & applies_to) == 0 ||
            (rule->sale[0] != 0 && (sale == NULL || strcmp(rule->sale, sale->name) != 0)))
            continue;
        if (kind == GW_LIMIT_KEY_IP)
            step = ask_address(admission, policy, i);
        else if (kind == GW_LIMIT_KEY_USER)
            step = ask_limit(admission, rule, &policy->compiled[i], visit->user_hash, &fits);
        else if (kind == GW_LIMIT_KEY_SALE && sale != NULL)
            step = ask_limit(admission, rule, &policy->compiled[i],
                             hash_of(admission, sale->name, strlen(sale->name)), &fits);
        else if (kind == GW_LIMIT_KEY_GLOBAL) /* one key: any hash */
            step = ask_limit(admission, rule, &policy->compiled[i], 0, &fits);
        else
            continue;
        if (step != GW_NEXT)
            return step;
    }
    return admission->until_ns != 0 ? GW_WAIT : GW_NEXT;
}

static enum gw_step ip_gate(struct gw_admission *admission)
{
    return ask_rules(admission, GW_LIMIT_ORDER, GW_LIMIT_KEY_IP);
}

static enum gw_step user_gate(struct gw_admission *admission)
{
    return ask_rules(admission, GW_LIMIT_ORDER, GW_LIMIT_KEY_USER);
}

static enum gw_step sale_gate(struct gw_admission *admission)
{
    return ask_rules(admission, GW_LIMIT_ORDER, GW_LIMIT_KEY_SALE);
}

static enum gw_step global_gate(struct gw_admission *admission)
{
    return ask_rules(admission, GW_LIMIT_ORDER, GW_LIMIT_KEY_GLOBAL);
}

enum gw_step gw_admit_limits(struct gw_admission *admission, unsigned applies_to)
{
    static const enum gw_limit_key order[] = {GW_LIMIT_KEY_IP, GW_LIMIT_KEY_USER, GW_LIMIT_KEY_SALE,
                                              GW_LIMIT_KEY_GLOBAL};

    admission->patience_ms = 0;
    for (size_t i = 0; i < PS_ARRAY_LEN(order); i++) {
        if (order[i] == GW_LIMIT_KEY_USER && admission->visit->client.user.len == 0)
            continue;
        if (ask_rules(admission, applies_to, order[i]) == GW_NO)
            return GW_NO;
    }
    return GW_NEXT;
}

/* --- the body --- */

static enum gw_step body_gate(struct gw_admission *admission)
{
    struct gw_visit *visit = admission->visit;
    struct gw_order_body body;

    if (admission->body_read)
        return GW_NEXT;
    const char *wrong = gw_order_body_read(visit->request->body, &body);
    if (wrong != NULL) {
        admission->detail.text = wrong;
        return no(admission, GW_V_malformed);
    }
    if (body.quantity == 0) {
        admission->detail.pointer = "/quantity";
        return no(admission, GW_V_quantity);
    }
    if (gw_sale_sku(admission->sale, body.sku, body.sku_len, &visit->sku_index) < 0) {
        admission->detail.text = "this sale has no such SKU";
        return no(admission, GW_V_not_found);
    }
    memcpy(visit->sku, body.sku, body.sku_len + 1);
    visit->quantity = body.quantity;
    admission->body_read = true;
    return GW_NEXT;
}

/* --- repeats --- */

static bool is_live(const struct oq_order *order)
{
    enum oq_state state = oq_order_state(order);
    return state == OQ_STATE_ACCEPTED || state == OQ_STATE_CONFIRMED;
}

struct oq_order *gw_own_order(const struct gw_visit *visit, const struct gw_sale *sale)
{
    const struct oq_fold *fold = visit->worker->core->fold;
    bool sku_cap_one = sale->skus[visit->sku_index].cap == 1;

    if (sale->books == NULL || (sale->cap != 1 && !sku_cap_one))
        return NULL;
    for (struct oq_order *order = oq_fold_newest(fold, sale->books, visit->client.user);
         order != NULL; order = order->older)
        if (is_live(order) && (sale->cap == 1 || order->sku == visit->sku_index))
            return order;
    return NULL;
}

static enum gw_step user_limit(struct gw_admission *admission, const struct oq_order *order)
{
    ps_uuid_format(&order->id, admission->order_text);
    admission->detail.order_id = (struct ps_str){admission->order_text, PS_UUID_LEN};
    return no(admission, GW_V_user_limit);
}

enum gw_step gw_admit_repeat(struct gw_admission *admission, struct oq_order *order)
{
    const struct gw_visit *visit = admission->visit;

    admission->own = order;
    if (order->sku == visit->sku_index && order->quantity == visit->quantity)
        return GW_REPLAY;
    return visit->key.len > 0 ? no(admission, GW_V_idempotency_mismatch)
                              : user_limit(admission, order);
}

/* The buyer's own order, found without a lock: by his key, or (without a key) his only one where
 * one is all that he may have. */
static enum gw_step replay_gate(struct gw_admission *admission)
{
    const struct gw_visit *visit = admission->visit;
    const struct gw_sale *sale = admission->sale;
    struct oq_order *order = NULL;

    admission->sold_out = sale->counter != NULL && inv_sale_sold_out(sale->counter);
    if (has_orders(admission)) {
        enum gw_step step;
        if (visit->key.len > 0) {
            order = oq_fold_by_key(visit->worker->core->fold, sale->books, visit->client.user,
                                   visit->key);
            if (order == NULL)
                return phase_no(admission, gw_sale_phase(sale, admission->wall_ms));
        }
        if ((step = body_gate(admission)) != GW_NEXT)
            return step;
        if (order == NULL)
            order = gw_own_order(visit, sale);
        if (order != NULL)
            return gw_admit_repeat(admission, order);
    }
    return phase_no(admission, gw_sale_phase(sale, admission->wall_ms));
}

/* --- stock and log --- */

static enum gw_step log_gate(struct gw_admission *admission)
{
    const struct gw_core *core = worker_of(admission)->core;

    if (!oq_log_available(core->log))
        return no(admission, core->kafka != NULL && oq_kafka_state(core->kafka) == OQ_KAFKA_BEHIND
                                 ? GW_V_log_backlog
                                 : GW_V_log_unavailable);
    return oq_log_backlog_percent(core->log) > (unsigned)core->settings->log.backlog_percent
               ? no(admission, GW_V_log_backlog)
               : GW_NEXT;
}

/* Without a log no counter is built: then it is the log that is missing. */
static enum gw_step sold_out_gate(struct gw_admission *admission)
{
    if (admission->sale->counter == NULL || admission->sale->fenced)
        return log_gate(admission) == GW_NO ? GW_NO : no(admission, GW_V_fenced);
    return admission->sold_out ? no(admission, GW_V_sold_out) : GW_NEXT;
}

/* His own order may have come into the log since the replay gate: who has orders is judged by the
 * counter. */
static enum gw_step sku_sold_out_gate(struct gw_admission *admission)
{
    return inv_sale_sku_sold_out(admission->sale->counter, admission->visit->sku_index) &&
                   !has_orders(admission)
               ? no(admission, GW_V_sold_out)
               : GW_NEXT;
}

/* clang-format off */
static const struct {
    gate_fn *run;
    bool again; /* looked at once more after waiting: the world may have changed */
} gates[] = {
    {phase_gate,        true},
    {blocklist_gate,    true},
    {ip_gate,           false},
    {user_gate,         false},
    {replay_gate,       true}, /* it also says `ended` and `paused` to those who have orders */
    {sold_out_gate,     true},
    {log_gate,          true},
    {body_gate,         true}, /* what was read did not outlive the wait */
    {sku_sold_out_gate, true},
    {sale_gate,         false},
    {global_gate,       false},
};
/* clang-format on */

enum gw_step gw_admit(struct gw_admission *admission)
{
    struct gw_visit *visit = admission->visit;

    for (size_t i = 0; i < PS_ARRAY_LEN(gates); i++) {
        enum gw_step step;
        if (i < visit->gate && !gates[i].again)
            continue;
        step = gates[i].run(admission);
        if (step == GW_WAIT)
            visit->gate = i + 1;
        if (step != GW_NEXT)
            return step;
    }
    return GW_NEXT;
}
