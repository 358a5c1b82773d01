/* Sales: one versioned document each. PUT without If-Match creates, with it changes; pause, resume
 * and end change the state beside the document. What is shown is the document and what has become
 * of it: the counter's numbers, or the log's while no counter is installed, or the plan while the
 * log has nothing. */
#include "gateway/admin/admin_internal.h"

#include <stdlib.h>
#include <string.h>

#define OPENING_WAIT_MS 2000

/* --- Showing. --- */

struct numbers {
    struct inv_count count;
    int64_t adjustments;
};

static struct numbers from_log(const struct gw_control_sale *sale, uint32_t index)
{
    struct oq_totals totals;

    oq_sale_totals(sale_view(sale->run)->log_sale, index, &totals);
    return (struct numbers){
        .count = {.available = totals.adjustments - totals.held - totals.confirmed,
                  .held = totals.held,
                  .confirmed = totals.confirmed},
        .adjustments = totals.adjustments};
}

/* Available as the counter has told; what the log does not show yet of the rest is in doubt. */
static struct inv_count as_last_heard(const struct numbers *log, int64_t left)
{
    struct inv_count count = log->count;
    int64_t doubt = count.available - left;

    count.available = left;
    count.in_doubt = doubt > 0 ? doubt : 0;
    return count;
}

/* Of all SKUs, in the document's order; `ret` has room for them. */
static void read_numbers(const struct op_admin *admin, const struct gw_control_sale *sale,
                         struct numbers *ret)
{
    const struct cfg_sale_doc *doc = &sale->stored.doc;
    struct inv_count counts[CFG_SALE_SKUS_MAX];
    /* The log may name more SKUs than a document can hold, if a stranger wrote to it. A counter
     * elsewhere would answer later: then what it was last heard to have left stands for it. */
    struct inv_store *store = admin->core->control_store;
    const struct sale_view *view = sale_view(sale->run);
    bool here = !inv_store_is_shared(store);
    bool counted = here && view->counter != NULL &&
                   inv_sale_sku_count(view->counter) <= PS_ARRAY_LEN(counts) &&
                   inv_store_counts(store, view->counter,
                                    (struct inv_reply_to){.ret_counts = counts}) == INV_DONE;

    for (size_t i = 0; i < doc->sku_count; i++) {
        const char *name = doc->skus[i].name;
        uint32_t index;
        if (view->log_sale == NULL ||
            oq_sale_sku_find(view->log_sale, name, strlen(name), &index) < 0) {
            ret[i] = (struct numbers){.count = {.available = doc->skus[i].stock},
                                      .adjustments = doc->skus[i].stock};
            continue;
        }
        ret[i] = from_log(sale, index);
        if (counted)
            ret[i].count = counts[index];
        else if (!here && view->counter != NULL)
            ret[i].count = as_last_heard(&ret[i], inv_sale_left(view->counter, index));
    }
}

static json_t *numbers_json(const struct numbers *numbers)
{
    return json_pack(
        "{s:I, s:I, s:I, s:I, s:I}", "available", (json_int_t)numbers->count.available, "in_doubt",
        (json_int_t)numbers->count.in_doubt, "held", (json_int_t)numbers->count.held, "confirmed",
        (json_int_t)numbers->count.confirmed, "adjustments", (json_int_t)numbers->adjustments);
}

json_t *op_sku_json(const struct op_admin *admin, const struct gw_control_sale *sale, size_t sku)
{
    struct numbers numbers[CFG_SALE_SKUS_MAX];

    read_numbers(admin, sale, numbers);
    return numbers_json(&numbers[sku]);
}

bool op_is_served(const struct gw_control_sale *sale)
{
    const struct sale_view *view = sale_view(sale->run);

    return view->counter != NULL && view->state != SALE_REFUSED;
}

static const char *state_of(const struct op_admin *admin, const struct gw_control_sale *sale,
                            const struct numbers *numbers)
{
    const char *state = cfg_sale_state_name(&sale->stored.doc, &sale->stored.state,
                                            ps_clock_wall_ms(admin->core->clock));
    bool at_rest = true;

    if (strcmp(state, "open") == 0 && !op_is_served(sale))
        return "scheduled"; /* its counters are not installed yet */
    if (strcmp(state, "ended") != 0)
        return state;
    for (size_t i = 0; i < sale->stored.doc.sku_count; i++)
        at_rest = at_rest && numbers[i].count.held == 0 && numbers[i].count.in_doubt == 0;
    return at_rest ? "archived" : state;
}

static int put_time(json_t *json, const char *member, int64_t at_ms)
{
    char text[PS_TIME_LEN + 1];

    ps_time_format(at_ms, text);
    return json_object_set_new(json, member, json_string(text));
}

json_t *op_sale_json(const struct op_admin *admin, const struct gw_control_sale *sale)
{
    const struct cfg_sale_state *state = &sale->stored.state;
    struct numbers numbers[CFG_SALE_SKUS_MAX];
    json_t *json = cfg_sale_doc_write(&sale->stored.doc);
    json_t *skus = json_object_get(json, "skus");

    if (json == NULL)
        return NULL;
    read_numbers(admin, sale, numbers);
    int err = json_object_set_new(json, "sale", json_string(sale->stored.name));
    err |= json_object_set_new(json, "state", json_string(state_of(admin, sale, numbers)));
    err |= json_object_set_new(json, "version", json_integer(state->version));
    err |= put_time(json, "created_at", state->created_at_ms);
    err |= put_time(json, "updated_at", state->updated_at_ms);
    if (sale_view(sale->run)->state == SALE_REFUSED)
        err |= json_object_set_new(json, "refused", json_string(sale_view(sale->run)->refused_why));
    for (size_t i = 0; i < sale->stored.doc.sku_count; i++) {
        json_t *more = numbers_json(&numbers[i]);
        err |= json_object_update(json_array_get(skus, i), more);
        json_decref(more);
    }
    if (err != 0) {
        json_decref(json);
        return NULL;
    }
    return json;
}

static void say_sale(struct op_request *visit, const struct gw_control_sale *sale)
{
    struct srv_request *request = visit->request;

    op_etag(visit, sale->stored.state.version);
    if (visit->created)
        srv_answer_header(request, "Location", request->path.at, request->path.len);
    op_json(visit, visit->created ? ANS_V_created : ANS_V_ok, op_sale_json(visit->admin, sale));
}

struct gw_control_sale *op_sale(struct op_request *visit)
{
    struct gw_control_sale *sale =
        gw_control_sale(visit->admin->control, visit->arg[0].at, visit->arg[0].len);

    if (sale == NULL)
        op_no(visit, ANS_V_not_found, "no such sale");
    return sale;
}

void op_get_sale(struct op_request *visit)
{
    const struct gw_control_sale *sale = op_sale(visit);

    if (sale != NULL)
        say_sale(visit, sale);
}

void op_list_sales(struct op_request *visit)
{
    const struct gw_control *control = visit->admin->control;
    json_t *sales = json_array();
    int err = sales == NULL;

    for (size_t i = 0; err == 0 && i < control->sale_count; i++)
        err = json_array_append_new(sales, op_sale_json(visit->admin, control->sales[i]));
    if (err != 0) {
        json_decref(sales);
        sales = NULL;
    }
    op_json(visit, ANS_V_ok, sales != NULL ? json_pack("{s:o}", "sales", sales) : NULL);
}

/* --- Changing. --- */

static void set_changing(const struct gw_control *control, const char *name, bool changing)
{
    struct gw_control_sale *sale = gw_control_sale(control, name, strlen(name));

    if (sale != NULL)
        sale->changing = changing;
}

static void end_change(struct op_change *change, bool written)
{
    (void)written;
    set_changing(change->admin->control, change->sale.name, false);
}

static int apply_sale(struct gw_control *control, struct op_change *change)
{
    return gw_control_put_sale(control, &change->sale);
}

/* The answer to a change. A sale that is due waits until it can be bought from: tools may begin at
 * once. */
static bool is_opening(const struct gw_control *control, const struct gw_control_sale *sale)
{
    enum sale_state state = sale_view(sale->run)->state;
    bool published = !control->dirty && control->older == NULL;

    if (op_is_served(sale))
        return !published;
    return state != SALE_WAITING && state != SALE_CLAIMING && state != SALE_REFUSED;
}

static void say_when_opened(struct op_request *visit)
{
    struct gw_control_sale *sale = op_sale(visit);

    if (sale != NULL && !is_opening(visit->admin->control, sale))
        say_sale(visit, sale);
}

static void say_as_it_is(struct op_request *visit)
{
    struct gw_control_sale *sale = op_sale(visit);

    if (sale != NULL)
        say_sale(visit, sale);
}

static void answer_sale(struct op_request *visit, struct op_change *change)
{
    struct gw_control *control = visit->admin->control;
    const struct gw_control_sale *sale;

    visit->created = change->created;
    sale_go_on(control->core->sales);
    sale = op_sale(visit);
    if (sale == NULL)
        return;
    if (!is_opening(control, sale)) {
        say_sale(visit, sale);
        return;
    }
    visit->on_tick = say_when_opened;
    visit->on_deadline = say_as_it_is;
    (void)op_wait(visit, OPENING_WAIT_MS);
}

/* Takes `doc`, `from` and `to` over. `have` NULL: a new sale. */
static void submit_sale(struct op_request *visit, const struct gw_control_sale *have,
                        struct cfg_sale_doc *doc, const struct cfg_sale_state *state,
                        const char *action, json_t *from, json_t *to)
{
    char name[PS_NAME_MAX + 1];
    struct op_change *change;

    memcpy(name, visit->arg[0].at, visit->arg[0].len);
    name[visit->arg[0].len] = '\0';
    change = op_change_new(visit, action, "sales/", name);
    if (change == NULL) {
        cfg_sale_doc_done(doc);
        json_decref(from);
        json_decref(to);
        return;
    }
    memcpy(change->sale.name, name, sizeof name);
    change->sale.doc = *doc;
    change->sale.state = *state;
    change->sale.state.version++;
    change->sale.state.updated_at_ms = ps_clock_wall_ms(visit->admin->core->clock);
    change->created = have == NULL;
    if (have == NULL) {
        change->sale.state.version = gw_control_gone(visit->admin->control, name) + 1;
        change->sale.state.created_at_ms = change->sale.state.updated_at_ms;
    }
    change->apply = apply_sale;
    change->end = end_change;
    change->answer = answer_sale;
    set_changing(visit->admin->control, name, true);
    cfg_store_job_sale(change->job, name, &change->sale.doc, &change->sale.state);
    op_change_submit(visit, change, from, to);
}

static void create_sale(struct op_request *visit, struct cfg_sale_doc *doc)
{
    const struct gw_core *core = visit->admin->core;

    if (op_if_match(visit, 0) != OP_MATCH_NONE) {
        op_no(visit, ANS_V_precondition_failed, "there is no such sale to change");
    } else if (oq_fold_sale(core->fold, visit->arg[0].at, visit->arg[0].len) != NULL) {
        op_no(visit, ANS_V_conflict,
              "the order log holds records of a sale of this name; a name is used once");
    } else {
        submit_sale(visit, NULL, doc, &(struct cfg_sale_state){0}, "sale.put", NULL,
                    cfg_sale_doc_write(doc));
        return;
    }
    cfg_sale_doc_done(doc);
}

static void change_sale(struct op_request *visit, const struct gw_control_sale *have,
                        struct cfg_sale_doc *doc)
{
    struct cfg_sale_state state = have->stored.state;
    enum ans_verdict code = ANS_V_conflict;
    struct ps_fault fault = {0};
    char text[64];

    state.opened = sale_is_fixed(have->run, &have->stored.state);
    if (op_if_match(visit, state.version) == OP_MATCH_NONE) {
        op_no(visit, ANS_V_precondition_required,
              "the sale exists: send the version that you change in If-Match");
    } else if (op_matches(visit, state.version)) {
        if (cfg_sale_doc_change(&have->stored.doc, doc, &state,
                                ps_clock_wall_ms(visit->admin->core->clock), &code, &fault) < 0) {
            op_fault(visit, code, &fault);
        } else if (cfg_sale_doc_differences(&have->stored.doc, doc, text, sizeof text) == 0) {
            say_sale(visit, have);
        } else {
            submit_sale(visit, have, doc, &have->stored.state, "sale.put",
                        cfg_sale_doc_write(&have->stored.doc), cfg_sale_doc_write(doc));
            return;
        }
    }
    cfg_sale_doc_done(doc);
}

void op_put_sale(struct op_request *visit)
{
    const struct gw_control_sale *have;
    char name[PS_NAME_MAX + 1];
    struct cfg_sale_doc doc;
    struct ps_fault fault = {0};

    if (!ps_name_ok(visit->arg[0].at, visit->arg[0].len)) {
        op_no(visit, ANS_V_invalid, "a sale's name in the path: [A-Za-z0-9][A-Za-z0-9._-]{0,63}");
        return;
    }
    memcpy(name, visit->arg[0].at, visit->arg[0].len);
    name[visit->arg[0].len] = '\0';
    int err = cfg_sale_doc_read(visit->body, "", name, &doc, &fault);
    if (err < 0) {
        op_fault(visit, err == PS_E_NOMEM ? ANS_V_internal : ANS_V_invalid, &fault);
        return;
    }
    have = gw_control_sale(visit->admin->control, name, strlen(name));
    if (have == NULL)
        create_sale(visit, &doc);
    else
        change_sale(visit, have, &doc);
}

/* --- Deleting. --- */

static int apply_delete(struct gw_control *control, struct op_change *change)
{
    return gw_control_drop_sale(control, change->sale.name, change->sale.state.version + 1);
}

static void answer_delete(struct op_request *visit, struct op_change *change)
{
    (void)change;
    op_empty(visit);
}

void op_delete_sale(struct op_request *visit)
{
    const struct gw_control_sale *sale;
    struct op_change *change;

    if (!op_only_reason(visit) || (sale = op_sale(visit)) == NULL ||
        !op_matches(visit, sale->stored.state.version))
        return;
    if (sale_is_fixed(sale->run, &sale->stored.state)) {
        op_no(visit, ANS_V_sale_has_orders,
              "only a sale that was never opened can be deleted; end it instead");
        return;
    }
    change = op_change_new(visit, "sale.delete", "sales/", sale->stored.name);
    if (change == NULL)
        return;
    memcpy(change->sale.name, sale->stored.name, sizeof change->sale.name);
    change->sale.state = sale->stored.state;
    change->apply = apply_delete;
    change->end = end_change;
    change->answer = answer_delete;
    set_changing(visit->admin->control, sale->stored.name, true);
    cfg_store_job_sale_delete(change->job, sale->stored.name, sale->stored.state.version);
    op_change_submit(visit, change, cfg_sale_doc_write(&sale->stored.doc), NULL);
}

/* --- Pause, resume, end. --- */

enum order { PAUSE, RESUME, END };

static bool obeyed(const struct cfg_sale_state *state, enum order order)
{
    return order == END ? state->ended : state->paused == (order == PAUSE) && !state->ended;
}

static json_t *state_json(const struct op_admin *admin, const struct cfg_sale_doc *doc,
                          const struct cfg_sale_state *state)
{
    return json_string(cfg_sale_state_name(doc, state, ps_clock_wall_ms(admin->core->clock)));
}

static void command(struct op_request *visit, enum order order)
{
    static const char *const actions[] = {"sale.pause", "sale.resume", "sale.end"};
    const struct gw_control_sale *sale;
    struct cfg_sale_state state;
    struct cfg_sale_doc doc;

    if (!op_only_reason(visit) || (sale = op_sale(visit)) == NULL ||
        !op_matches(visit, sale->stored.state.version))
        return;
    state = sale->stored.state;
    if (obeyed(&state, order)) {
        say_sale(visit, sale);
        return;
    }
    if (state.ended) {
        op_no(visit, ANS_V_ended, "a sale that has ended stays so");
        return;
    }
    if (order == END)
        state.ended = true;
    else
        state.paused = order == PAUSE;
    if (cfg_sale_doc_copy(&sale->stored.doc, &doc) < 0)
        op_no(visit, ANS_V_internal, "out of memory");
    else
        submit_sale(visit, sale, &doc, &state, actions[order],
                    state_json(visit->admin, &doc, &sale->stored.state),
                    state_json(visit->admin, &doc, &state));
}

void op_pause_sale(struct op_request *visit)
{
    command(visit, PAUSE);
}

void op_resume_sale(struct op_request *visit)
{
    command(visit, RESUME);
}

void op_end_sale(struct op_request *visit)
{
    command(visit, END);
}
