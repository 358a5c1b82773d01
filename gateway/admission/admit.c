/* The gates of a buy request, in the order of refusals. Cheap and certain reasons come first. The
 * global rate comes last, so that a bot that its own limit would refuse cannot use up everybody's
 * budget. A buyer's own order is looked up before sold out, ended and paused are answered: buyers
 * learn of their order even then, but the request counts against their own limits.
 *
 * Invariant: a gate neither waits nor allocates nor locks, and changes nothing but limit cells. (A
 * body in an unusual spelling is parsed by the JSON library, which allocates; that gate comes after
 * every gate that does not need the body.)
 *
 * A request that is explained takes the same way with admission->look: there the two things that a
 * gate changes for others, a limit's cell and a note in an adaptive limit, are only looked at. */
#include "gateway/admission/admit.h"

#include "gateway/admission/limits/limit_set.h"
#include "gateway/admission/look.h"
#include "gateway/admission/places.h"
#include "gateway/admission/order_body.h"
#include "gateway/metrics.h"

#include <string.h>

typedef enum adm_gate gate_fn(struct adm_admission *admission);

static enum adm_gate deny(struct adm_admission *admission, enum ans_verdict verdict)
{
    admission->verdict = verdict;
    return ADM_GATE_DENY;
}

/* --- phase, blocklist --- */

static bool has_orders(const struct adm_admission *admission)
{
    const struct snap_sale *sale = admission->sale;
    return sale->log_sale != NULL &&
           oq_fold_newest(admission->gates->fold, sale->log_sale, admission->request->user) != NULL;
}

static enum adm_gate judge_phase(struct adm_admission *admission, enum cfg_phase phase)
{
    if (phase == CFG_PHASE_ENDED)
        return deny(admission, ANS_V_ended);
    return phase == CFG_PHASE_PAUSED ? deny(admission, ANS_V_paused) : ADM_GATE_PASS;
}

static enum adm_gate phase_gate(struct adm_admission *admission)
{
    const struct snap_sale *sale = admission->sale;
    enum cfg_phase phase = snap_sale_phase(sale, admission->wall_ms);

    if (phase == CFG_PHASE_SCHEDULED) {
        if (!sale->draft)
            admission->detail.retry_after_s =
                ans_seconds_up(sale->opens_at_ms - admission->wall_ms, 1000);
        return deny(admission, ANS_V_not_started);
    }
    /* A buyer with orders here continues to the replay gate, which then checks the phase. */
    return phase == CFG_PHASE_OPEN || has_orders(admission) ? ADM_GATE_PASS
                                                            : judge_phase(admission, phase);
}

static enum adm_gate blocklist_gate(struct adm_admission *admission)
{
    const struct adm_request *request = admission->request;
    const struct adm_blocklist *blocklist = admission->gates->snapshot->blocklist;
    struct adm_look *look = admission->look;
    enum adm_blocked blocked =
        adm_blocklist_find(blocklist, request->user, &request->address, admission->wall_ms,
                           look != NULL ? &look->range : NULL);

    if (blocked == ADM_NOT_BLOCKED)
        return ADM_GATE_PASS;
    if (look != NULL)
        look->blocked = blocked;
    return deny(admission, ANS_V_blocked);
}

/* --- overload --- */

/* Spreads Retry-After over twice its value, by user: clients that were refused together do not
 * return together. */
static enum adm_gate deny_shed(struct adm_admission *admission, enum adm_shed_class class,
                               uint64_t hash)
{
    int64_t after_s = adm_shed_retry_after_s(admission->gates->shed, class);

    admission->detail.retry_after_s = after_s + (int64_t)(hash % (uint64_t)after_s);
    return deny(admission, ANS_V_shed);
}

static enum adm_gate judge_shed(struct adm_admission *admission, enum adm_shed_class class)
{
    const struct adm_gates *of = admission->gates;
    const struct adm_request *request = admission->request;
    struct ps_address address;
    struct ps_str who;
    uint64_t hash;

    if (request->user.len > 0) {
        who = request->user;
        hash = request->user_hash;
    } else {
        ps_address_limit_key(&request->address, &address);
        who = (struct ps_str){(const char *)address.byte, sizeof address.byte};
        hash = adm_limit_hash(of->limits, who.at, who.len);
    }
    return adm_shed_judge(of->shed, class, who.at, who.len) && !request->overdue
               ? ADM_GATE_PASS
               : deny_shed(admission, class, hash);
}

static inline enum adm_gate ask_shed(struct adm_admission *admission, enum adm_shed_class class)
{
    return PS_LIKELY(!admission->gates->shed->active && !admission->request->overdue)
               ? ADM_GATE_PASS
               : judge_shed(admission, class);
}

static enum adm_gate shed_gate(struct adm_admission *admission)
{
    return ask_shed(admission, ADM_SHED_ORDER);
}

/* --- the ladder --- */

static enum adm_gate rehearsal_gate(struct adm_admission *admission)
{
    const struct adm_gates *gates = admission->gates;

    if (!admission->sale->rehearsal ||
        adm_feature_on(gates->overload, gates->shard, CFG_FEATURE_rehearsals))
        return ADM_GATE_PASS;
    admission->detail.policy = cfg_feature_names[CFG_FEATURE_rehearsals];
    admission->detail.text = "rehearsals are turned off while the gateway is overloaded";
    return deny(admission, ANS_V_shed);
}

/* --- limits --- */

static const enum ans_verdict rate_verdict[] = {[CFG_LIMIT_KEY_USER] = ANS_V_user_rate,
                                                [CFG_LIMIT_KEY_IP] = ANS_V_ip_rate,
                                                [CFG_LIMIT_KEY_GLOBAL] = ANS_V_global_rate,
                                                [CFG_LIMIT_KEY_SALE] = ANS_V_sale_rate};

static void keep_tightest(struct adm_request *request, const struct cfg_limit_rule *rule,
                          const struct adm_limit_result *result)
{
    struct ans_limit_fields *shown = &request->limit;

    if (shown->policy != NULL && shown->remaining <= result->remaining)
        return;
    memcpy(request->limit_name, rule->name, sizeof request->limit_name);
    *shown = (struct ans_limit_fields){.policy = request->limit_name,
                                       .quota = rule->rate,
                                       .window_s = rule->period_s,
                                       .remaining = result->remaining,
                                       .reset_s = result->reset_s};
}

/* The same rules limit rehearsals and real buyers, but rehearsals are counted apart: a rehearsal
 * beside a live sale uses up nobody's limit, whatever users and addresses it makes up. */
static uint64_t cell_key(const struct adm_request *request, uint64_t hash)
{
    return request->rehearsal ? hash ^ UINT64_C(0x9e3779b97f4a7c15) : hash;
}

void adm_admit_expect(const struct adm_gates *gates, struct adm_request *request)
{
    const struct adm_limit_set *limits = gates->snapshot->limits;
    const struct adm_limit_rule *set = limits->compiled;
    struct ps_str user = request->user;

    request->user_hash = adm_limit_hash(gates->limits, user.at, user.len);
    for (size_t i = 0; i < limits->count; i++)
        if (limits->rules[i].key == CFG_LIMIT_KEY_USER)
            adm_limit_expect(gates->limits, &set[i].own, cell_key(request, request->user_hash));
}

static uint64_t hash_key(const struct adm_admission *admission, const void *key, size_t key_len)
{
    return adm_limit_hash(admission->gates->limits, key, key_len);
}

static void count_limit(const struct adm_admission *admission, const struct adm_limit_rule *set,
                        enum adm_limit_count what)
{
    if (!admission->request->rehearsal && admission->look == NULL)
        adm_limit_figures_add(set->figures, admission->gates->worker, what);
}

/* Checks one rule for one key, given by its hash. Only limits by user and by address are the
 * client's own quota, so only those are reported when they allow. *ret_fits is the limit's result,
 * also in shadow mode. */
static enum adm_gate ask_limit(struct adm_admission *admission, const struct cfg_limit_rule *rule,
                               const struct adm_limit_rule *set,
                               const struct adm_limit_compiled *compiled, uint64_t hash,
                               bool *ret_fits)
{
    struct adm_request *request = admission->request;
    struct adm_limit_result result =
        PS_UNLIKELY(admission->look != NULL)
            ? adm_look_limit(admission,
                             &(struct adm_look_rule){rule, compiled, compiled == &set->wide,
                                                     rate_verdict[rule->key]},
                             cell_key(request, hash))
            : adm_limit_check(admission->gates->limits, compiled, cell_key(request, hash),
                              admission->now_ns, admission->patience_ms);
    bool own = rule->key == CFG_LIMIT_KEY_USER || rule->key == CFG_LIMIT_KEY_IP;

    *ret_fits = result.allowed;
    if (!own && !request->asked_shared && !request->rehearsal) {
        request->asked_shared = true;
        ps_metric_add(admission->gates->shard, GW_M_LIMIT_SHARED_ASKED, 0, 1);
    }
    if (rule->mode == CFG_LIMIT_SHADOW) {
        if (!result.allowed)
            count_limit(admission, set, ADM_LIMIT_SHADOW_REFUSED);
        return ADM_GATE_PASS;
    }
    if (own || !result.allowed)
        keep_tightest(request, rule, &result);
    if (!result.allowed) {
        admission->detail.policy = rule->name;
        admission->detail.retry_after_s = ans_seconds_up(result.wait_ns, PS_NS_PER_S);
        count_limit(admission, set, ADM_LIMIT_REFUSED);
        return deny(admission, rate_verdict[rule->key]);
    }
    if (result.wait_ns > 0 && admission->now_ns + result.wait_ns > admission->until_ns)
        admission->until_ns = admission->now_ns + result.wait_ns;
    return ADM_GATE_PASS;
}

/* What the rules of one kind count a request by. */
struct key_hashes {
    uint64_t own;  /* of an address that of its /64 */
    uint64_t wide; /* of the /48, so that a customer with 65,536 networks of /64 counts once, too;
                      0: none is asked */
};

static struct key_hashes hash_keys(const struct adm_admission *admission, enum cfg_limit_key kind)
{
    const struct adm_request *request = admission->request;
    struct ps_address address;

    if (kind == CFG_LIMIT_KEY_USER)
        return (struct key_hashes){.own = request->user_hash};
    if (kind == CFG_LIMIT_KEY_SALE && admission->sale != NULL)
        return (struct key_hashes){
            .own = hash_key(admission, admission->sale->name, strlen(admission->sale->name))};
    if (kind != CFG_LIMIT_KEY_IP) /* one key: any hash */
        return (struct key_hashes){0};
    ps_address_limit_key(&request->address, &address);
    struct key_hashes hashes = {.own = hash_key(admission, address.byte, sizeof address.byte)};
    if (!ps_address_is_v4(&request->address)) {
        memset(address.byte + 6, 0, sizeof address.byte - 6);
        hashes.wide = hash_key(admission, address.byte, sizeof address.byte);
    }
    return hashes;
}

static void note_request(const struct adm_admission *admission, unsigned applies_to,
                         enum cfg_limit_key kind, uint64_t draw)
{
    const struct adm_request *request = admission->request;
    const char *target = admission->route != NULL  ? admission->route
                         : admission->sale != NULL ? admission->sale->name
                                                   : "";
    const struct adm_limit_sampled sampled = {.at_us = admission->now_ns / 1000,
                                              .key = hash_keys(admission, kind).own,
                                              .chosen_by = (uint32_t)draw,
                                              .target = adm_limit_sample_target(target),
                                              .applies_to = applies_to,
                                              .has_wide = kind == CFG_LIMIT_KEY_IP &&
                                                          !ps_address_is_v4(&request->address)};

    if (!request->rehearsal)
        adm_limit_sample_note(admission->gates->sample, kind, &sampled);
}

/* Once for each gate that the request reaches. */
static inline void offer_request(const struct adm_admission *admission, unsigned applies_to,
                                 enum cfg_limit_key kind)
{
    struct adm_limit_sample *sample = admission->gates->sample;
    const struct adm_request *request = admission->request;
    uint64_t draw = kind == CFG_LIMIT_KEY_USER ? request->user_hash
                    : kind == CFG_LIMIT_KEY_IP
                        ? adm_limit_sample_draw_address(sample, &request->address)
                        : adm_limit_sample_draw(sample, kind);

    if (PS_UNLIKELY(adm_limit_sample_wants(sample, kind, draw)))
        note_request(admission, applies_to, kind, draw);
}

/* The trial counts whatever the rule decides, and refuses nobody. */
static void ask_trial(struct adm_admission *admission, const struct adm_limit_rule *set,
                      const struct key_hashes *hashes)
{
    const struct adm_gates *gates = admission->gates;
    const struct adm_request *request = admission->request;
    bool fits = adm_limit_check(gates->limits, &set->trial, cell_key(request, hashes->own),
                                admission->now_ns, admission->patience_ms)
                    .allowed;

    if (fits && hashes->wide != 0)
        fits = adm_limit_check(gates->limits, &set->trial_wide, cell_key(request, hashes->wide),
                               admission->now_ns, admission->patience_ms)
                   .allowed;
    count_limit(admission, set, ADM_LIMIT_TRIAL_ASKED);
    if (!fits)
        count_limit(admission, set, ADM_LIMIT_TRIAL_REFUSED);
}

static enum adm_gate ask_rule(struct adm_admission *admission, const struct cfg_limit_rule *rule,
                              const struct adm_limit_rule *set, const struct key_hashes *hashes)
{
    enum adm_gate step;
    bool fits;

    if (PS_UNLIKELY(adm_limit_has_trial(rule)) && admission->look == NULL)
        ask_trial(admission, set, hashes);
    step = ask_limit(admission, rule, set, &set->own, hashes->own, &fits);
    return fits && hashes->wide != 0
               ? ask_limit(admission, rule, set, &set->wide, hashes->wide, &fits)
               : step;
}

/* The rules of its sale apply to a twin, too. */
static bool is_for(const struct cfg_limit_rule *rule, const struct adm_admission *admission)
{
    const struct snap_sale *sale = admission->sale;

    if (rule->route[0] != 0) /* only rules for pages name a route */
        return strcmp(rule->route, admission->route) == 0;
    return rule->sale[0] == 0 || (sale != NULL && (strcmp(rule->sale, sale->name) == 0 ||
                                                   strcmp(rule->sale, sale->twin_of) == 0));
}

static enum adm_gate ask_rules(struct adm_admission *admission, unsigned applies_to,
                               enum cfg_limit_key kind)
{
    const struct adm_limit_set *limits = admission->gates->snapshot->limits;

    if (kind == CFG_LIMIT_KEY_SALE && admission->sale == NULL)
        return ADM_GATE_PASS;
    offer_request(admission, applies_to, kind);
    if ((limits->kinds & 1u << kind) == 0) /* no rule counts by this */
        return admission->until_ns != 0 ? ADM_GATE_WAIT : ADM_GATE_PASS;
    struct key_hashes hashes = hash_keys(admission, kind);
    for (size_t i = 0; i < limits->count; i++) {
        const struct cfg_limit_rule *rule = &limits->rules[i];
        if (rule->key != kind || rule->mode == CFG_LIMIT_OFF ||
            (rule->applies_to & applies_to) == 0 || !is_for(rule, admission))
            continue;
        enum adm_gate step = ask_rule(admission, rule, &limits->compiled[i], &hashes);
        if (step != ADM_GATE_PASS)
            return step;
    }
    return admission->until_ns != 0 ? ADM_GATE_WAIT : ADM_GATE_PASS;
}

static enum adm_gate ip_gate(struct adm_admission *admission)
{
    return ask_rules(admission, CFG_LIMIT_ORDER, CFG_LIMIT_KEY_IP);
}

static enum adm_gate user_gate(struct adm_admission *admission)
{
    return ask_rules(admission, CFG_LIMIT_ORDER, CFG_LIMIT_KEY_USER);
}

static enum adm_gate sale_gate(struct adm_admission *admission)
{
    return ask_rules(admission, CFG_LIMIT_ORDER, CFG_LIMIT_KEY_SALE);
}

static enum adm_gate global_gate(struct adm_admission *admission)
{
    return ask_rules(admission, CFG_LIMIT_ORDER, CFG_LIMIT_KEY_GLOBAL);
}

/* A class of requests that do not buy. */
struct request_class {
    enum adm_shed_class shed;
    unsigned applies_to;
};

static const struct {
    const char *name;
    bool is_limit;
    enum cfg_limit_key key;
} class_gates[] = {
    {"blocklist", false, 0},
    {"shed", false, 0},
    {"ip", true, CFG_LIMIT_KEY_IP},
    {"user", true, CFG_LIMIT_KEY_USER},
    {"sale", true, CFG_LIMIT_KEY_SALE},
    {"global", true, CFG_LIMIT_KEY_GLOBAL},
};

static enum adm_gate ask_class_gate(struct adm_admission *admission,
                                    const struct request_class *class, size_t gate)
{
    if (!class_gates[gate].is_limit)
        return gate == 0 ? blocklist_gate(admission) : ask_shed(admission, class->shed);
    if (class_gates[gate].key == CFG_LIMIT_KEY_USER && admission->request->user.len == 0)
        return ADM_GATE_PASS;
    return ask_rules(admission, class->applies_to, class_gates[gate].key);
}

static enum adm_gate ask_class(struct adm_admission *admission, const struct request_class *class)
{
    admission->patience_ms = 0;
    for (size_t i = 0; i < PS_ARRAY_LEN(class_gates); i++) {
        if (PS_UNLIKELY(admission->look != NULL))
            adm_look_begin(admission->look, class_gates[i].name);
        enum adm_gate step = ask_class_gate(admission, class, i);
        if (PS_UNLIKELY(admission->look != NULL))
            adm_look_end(admission->look, admission, step);
        if (step == ADM_GATE_DENY)
            return ADM_GATE_DENY;
    }
    return ADM_GATE_PASS;
}

enum adm_gate adm_admit_status(struct adm_admission *admission)
{
    return ask_class(admission, &(struct request_class){ADM_SHED_STATUS, CFG_LIMIT_STATUS});
}

enum adm_gate adm_admit_lookup(struct adm_admission *admission)
{
    return ask_class(admission,
                     &(struct request_class){ADM_SHED_ORDER_STATE, CFG_LIMIT_ORDER_STATE});
}

enum adm_gate adm_admit_page(struct adm_admission *admission, const struct cfg_route *route)
{
    bool core = route->class == CFG_ROUTE_CORE;

    admission->route = route->name;
    return ask_class(admission, &(struct request_class){core ? ADM_SHED_STATUS : ADM_SHED_OTHER,
                                                        CFG_LIMIT_PAGE});
}

/* --- the body --- */

static enum adm_gate body_gate(struct adm_admission *admission)
{
    struct adm_request *request = admission->request;
    struct adm_order_body body;

    if (admission->body_read)
        return ADM_GATE_PASS;
    const char *wrong = adm_order_body_read(request->body, &body);
    if (wrong != NULL) {
        admission->detail.text = wrong;
        return deny(admission, ANS_V_malformed);
    }
    if (body.quantity == 0) {
        admission->detail.pointer = "/quantity";
        return deny(admission, ANS_V_quantity);
    }
    if (snap_sale_sku(admission->sale, body.sku, body.sku_len, &request->sku_index) < 0) {
        admission->detail.text = "this sale has no such SKU";
        return deny(admission, ANS_V_not_found);
    }
    memcpy(request->sku, body.sku, body.sku_len + 1);
    request->quantity = body.quantity;
    admission->body_read = true;
    return ADM_GATE_PASS;
}

/* --- repeats --- */

static bool is_live(const struct oq_order *order)
{
    enum oq_state state = oq_order_state(order);
    return state == OQ_STATE_ACCEPTED || state == OQ_STATE_CONFIRMED;
}

/* At a cap of one, a click without a key repeats the buyer's live order; NULL: there is none. */
static struct oq_order *find_own_order(const struct adm_admission *admission)
{
    const struct adm_request *request = admission->request;
    const struct snap_sale *sale = admission->sale;
    bool sku_cap_one = sale->skus[request->sku_index].cap == 1;

    if (sale->log_sale == NULL || (sale->cap != 1 && !sku_cap_one))
        return NULL;
    for (struct oq_order *order =
             oq_fold_newest(admission->gates->fold, sale->log_sale, request->user);
         order != NULL; order = oq_order_older(order))
        if (is_live(order) && (sale->cap == 1 || oq_order_sku(order) == request->sku_index))
            return order;
    return NULL;
}

static enum adm_gate deny_user_limit(struct adm_admission *admission, const struct oq_order *order)
{
    ps_uuid_format(oq_order_id(order), admission->order_text);
    admission->detail.order_id = (struct ps_str){admission->order_text, PS_UUID_LEN};
    return deny(admission, ANS_V_user_limit);
}

/* Answers a repeat of `order` from the fold. */
static enum adm_gate judge_repeat(struct adm_admission *admission, struct oq_order *order)
{
    const struct adm_request *request = admission->request;

    admission->own = order;
    if (oq_order_sku(order) == request->sku_index && oq_order_quantity(order) == request->quantity)
        return ADM_GATE_REPLAY;
    return request->key.len > 0 ? deny(admission, ANS_V_idempotency_mismatch)
                                : deny_user_limit(admission, order);
}

/* Finds the buyer's own order without a lock: by the key, or, without a key at a cap of one, the
 * only one. */
static enum adm_gate replay_gate(struct adm_admission *admission)
{
    const struct adm_request *request = admission->request;
    const struct snap_sale *sale = admission->sale;
    struct oq_order *order = NULL;

    admission->sold_out = sale->counter != NULL && inv_sale_sold_out(sale->counter);
    if (has_orders(admission)) {
        enum adm_gate step;
        if (request->key.len > 0) {
            order =
                oq_fold_by_key(admission->gates->fold, sale->log_sale, request->user, request->key);
            if (order == NULL)
                return judge_phase(admission, snap_sale_phase(sale, admission->wall_ms));
        }
        if ((step = body_gate(admission)) != ADM_GATE_PASS)
            return step;
        if (order == NULL)
            order = find_own_order(admission);
        if (order != NULL)
            return judge_repeat(admission, order);
    }
    return judge_phase(admission, snap_sale_phase(sale, admission->wall_ms));
}

/* --- stock --- */

/* Without a log no counter is built: then the reason is the log. */
static enum adm_gate sold_out_gate(struct adm_admission *admission)
{
    if (admission->sale->counter == NULL || admission->sale->fenced)
        return adm_gate_log(admission) == ADM_GATE_DENY ? ADM_GATE_DENY
                                                        : deny(admission, ANS_V_fenced);
    return admission->sold_out ? deny(admission, ANS_V_sold_out) : ADM_GATE_PASS;
}

/* The buyer's own order may have reached the log since the replay gate: the counter decides for
 * buyers with orders. */
static enum adm_gate sku_sold_out_gate(struct adm_admission *admission)
{
    return inv_sale_sku_sold_out(admission->sale->counter, admission->request->sku_index) &&
                   !has_orders(admission)
               ? deny(admission, ANS_V_sold_out)
               : ADM_GATE_PASS;
}

/* clang-format off */
static const struct {
    gate_fn *run;
    bool again; /* checked again after waiting: its answer may have changed */
    const char *name;
} gates[] = {
    {phase_gate,        true,  "phase"},
    {blocklist_gate,    true,  "blocklist"},
    {rehearsal_gate,    false, "rehearsal"},
    {shed_gate,         false, "shed"},
    {ip_gate,           false, "ip"},
    {user_gate,         false, "user"},
    {replay_gate,       true,  "replay"}, /* also answers `ended` and `paused` to buyers with orders */
    {sold_out_gate,     true,  "sold_out"},
    {adm_gate_log,          true,  "log"},
    {adm_gate_store,        true,  "store"},
    {body_gate,         true,  "body"}, /* the body that was read before the wait is gone */
    {sku_sold_out_gate, true,  "sku_sold_out"},
    {sale_gate,         false, "sale"},
    {global_gate,       false, "global"},
};
/* clang-format on */

enum adm_gate adm_admit(struct adm_admission *admission)
{
    struct adm_request *request = admission->request;

    for (size_t i = 0; i < PS_ARRAY_LEN(gates); i++) {
        enum adm_gate step;
        if (i < request->gate && !gates[i].again)
            continue;
        step = gates[i].run(admission);
        if (step == ADM_GATE_WAIT)
            request->gate = i + 1;
        if (step != ADM_GATE_PASS)
            return step;
    }
    return ADM_GATE_PASS;
}

enum adm_gate adm_admit_look(struct adm_admission *admission)
{
    for (size_t i = 0; i < PS_ARRAY_LEN(gates); i++) {
        bool of_counter = gates[i].run == sold_out_gate || gates[i].run == sku_sold_out_gate;
        adm_look_begin(admission->look, gates[i].name);
        enum adm_gate step =
            of_counter && admission->look->before_opening ? ADM_GATE_PASS : gates[i].run(admission);
        adm_look_end(admission->look, admission, step);
        if (step == ADM_GATE_WAIT) {
            int64_t waits_ms = (admission->until_ns - admission->now_ns) / PS_NS_PER_MS;
            admission->patience_ms -=
                waits_ms < admission->patience_ms ? waits_ms : admission->patience_ms;
            admission->until_ns = 0;
        } else if (step != ADM_GATE_PASS) {
            return step;
        }
    }
    return ADM_GATE_PASS;
}
