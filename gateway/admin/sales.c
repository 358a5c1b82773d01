/* What sales have beyond other documents. A shown sale is its document, its state, and its units:
 * from the counter, or from the log while no counter is installed, or from the document while the
 * log has nothing. Pause, resume and end change the state beside the document. */
#include "gateway/admin/sales.h"

#include "gateway/admin/documents.h"
#include "gateway/admin/parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define OPENING_WAIT_MS 2000

/* --- Showing. --- */

struct numbers {
    struct inv_count count;
    int64_t adjustments;
};

static struct numbers from_log(const struct sale_entry *sale, uint32_t index)
{
    struct oq_totals totals;

    oq_sale_totals(sale_view(sale->run)->log_sale, index, &totals);
    return (struct numbers){
        .count = {.available = totals.adjustments - totals.held - totals.confirmed,
                  .held = totals.held,
                  .confirmed = totals.confirmed},
        .adjustments = totals.adjustments};
}

/* Available as the counter last reported; units taken but not yet shown by the log are in doubt. */
static struct inv_count as_last_heard(const struct numbers *log, int64_t left)
{
    struct inv_count count = log->count;
    int64_t doubt = count.available - left;

    count.available = left;
    count.in_doubt = doubt > 0 ? doubt : 0;
    return count;
}

/* The units of all SKUs, in the document's order; `ret` has room for them. */
static void read_numbers(const struct op_admin *admin, const struct sale_entry *sale,
                         struct numbers *ret)
{
    const struct cfg_sale_doc *doc = &sale->stored.doc;
    struct inv_count counts[CFG_SALE_SKUS_MAX];
    /* The log may name more SKUs than a document can hold, if a stranger wrote to it. A counter in
     * Redis would answer later: its last report is used. */
    struct inv_store *store = admin->deps.store;
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

json_t *op_sku_json(const struct op_admin *admin, const struct sale_entry *sale, const char *sku)
{
    const struct cfg_sale_doc *doc = &sale->stored.doc;
    struct numbers numbers[CFG_SALE_SKUS_MAX];

    read_numbers(admin, sale, numbers);
    for (size_t i = 0; i < doc->sku_count; i++)
        if (strcmp(doc->skus[i].name, sku) == 0)
            return numbers_json(&numbers[i]);
    return NULL; /* the SKUs of an opened sale stay */
}

static bool is_open(const struct cfg_doc *doc, int64_t wall_ms)
{
    const struct cfg_stored_sale *sale = doc != NULL && doc->json != NULL ? cfg_sale_of(doc) : NULL;

    return sale != NULL &&
           strcmp(cfg_sale_state_name(&sale->doc, &sale->state, wall_ms), "open") == 0;
}

/* Does the change (`from` NULL: a new sale) open the sale at once? */
static int show_change(const struct op_admin *admin, const struct cfg_doc *from,
                       const struct cfg_doc *to, json_t *json)
{
    int64_t now = ps_clock_wall_ms(admin->deps.clock);

    return is_open(to, now) && !is_open(from, now)
               ? json_object_set_new(json, "opens", json_string("now"))
               : 0;
}

bool op_is_served(const struct sale_entry *sale)
{
    const struct sale_view *view = sale_view(sale->run);

    return view->counter != NULL && view->state != SALE_REFUSED;
}

static const char *const state_names[] = {"draft", "scheduled", "open",     "paused",
                                          "ended", "settled",   "archived", NULL};

static const char *state_of(const struct op_admin *admin, const struct sale_entry *sale,
                            const struct numbers *numbers)
{
    const char *state = cfg_sale_state_name(&sale->stored.doc, &sale->stored.state,
                                            ps_clock_wall_ms(admin->deps.clock));
    bool at_rest = true;

    if (sale->stored.state.archived || sale_view(sale->run)->state == SALE_ARCHIVED)
        return "archived";
    if (strcmp(state, "open") == 0 && !op_is_served(sale))
        return "scheduled"; /* its counters are not installed yet */
    if (strcmp(state, "ended") != 0)
        return state;
    for (size_t i = 0; i < sale->stored.doc.sku_count; i++)
        at_rest = at_rest && numbers[i].count.held == 0 && numbers[i].count.in_doubt == 0;
    return at_rest ? "settled" : state;
}

/* The filter of a list of sales. */
struct filter {
    int rehearsal;   /* 0, 1; -1: all */
    unsigned states; /* by bit; 0: all */
};

/* Reads the filter from the query, "" = all. False: answered. */
static bool read_filter(struct op_request *request, const char *rehearsal, const char *states,
                        struct filter *ret_filter)
{
    static const char *const no_yes[] = {"false", "true", NULL};
    char word[16];
    int index;

    *ret_filter = (struct filter){.rehearsal = -1};
    if (rehearsal[0] != '\0' &&
        !op_query_word(request, "rehearsal", rehearsal, no_yes, "", &ret_filter->rehearsal))
        return false;
    for (const char *at = states; at != NULL && *states != '\0'; at = strchr(at, ',')) {
        at += *at == ',';
        (void)snprintf(word, sizeof word, "%.*s", (int)strcspn(at, ","), at);
        if (!op_query_word(request, "state", word, state_names, "", &index))
            return false;
        ret_filter->states |= 1u << index;
    }
    return true;
}

static bool is_wanted(const struct op_admin *admin, const struct cfg_doc *doc, const void *ctx)
{
    const struct filter *filter = ctx;
    const struct sale_entry *sale = sale_list_find(admin->deps.known, doc->name, strlen(doc->name));
    struct numbers numbers[CFG_SALE_SKUS_MAX];
    unsigned index = 0;

    if (sale == NULL || (filter->rehearsal >= 0 && sale->stored.doc.rehearsal != filter->rehearsal))
        return false;
    if (filter->states == 0)
        return true;
    read_numbers(admin, sale, numbers);
    const char *state = state_of(admin, sale, numbers);
    while (state_names[index] != NULL && strcmp(state_names[index], state) != 0)
        index++;
    return (filter->states >> index & 1) != 0;
}

static void list_sales(struct op_request *request)
{
    char after[PS_USER_MAX + 1], rehearsal[16], states[80];
    int64_t limit = OP_LIST_MAX;
    const struct op_param params[] = {
        {.name = "after", .text = after, .cap = sizeof after},
        {.name = "limit", .number = &limit, .min = 1, .max = OP_LIST_MAX},
        {.name = "rehearsal", .text = rehearsal, .cap = sizeof rehearsal},
        {.name = "state", .text = states, .cap = sizeof states}};
    struct filter filter;

    if (op_query(request, params, PS_ARRAY_LEN(params)) &&
        read_filter(request, rehearsal, states, &filter))
        op_say_list(request, after, limit, is_wanted, &filter);
}

static int show_sale(const struct op_admin *admin, const struct cfg_doc *doc, json_t *json)
{
    const struct sale_entry *sale = sale_list_find(admin->deps.known, doc->name, strlen(doc->name));
    json_t *skus = json_object_get(json, "skus");
    struct numbers numbers[CFG_SALE_SKUS_MAX];

    if (sale == NULL) /* memory was short when it came into force */
        return -1;
    read_numbers(admin, sale, numbers);
    int err = json_object_set_new(json, "state", json_string(state_of(admin, sale, numbers)));
    if (sale_view(sale->run)->state == SALE_REFUSED)
        err |= json_object_set_new(json, "refused", json_string(sale_view(sale->run)->refused_why));
    if (sale_archive_trouble(sale->run)[0] != '\0')
        err |=
            json_object_set_new(json, "not_archived", json_string(sale_archive_trouble(sale->run)));
    for (size_t i = 0; i < sale->stored.doc.sku_count; i++)
        err |= json_object_update_new(json_array_get(skus, i), numbers_json(&numbers[i]));
    return err;
}

struct sale_entry *op_sale(struct op_request *request)
{
    struct sale_entry *sale =
        sale_list_find(request->admin->deps.known, request->arg[0].at, request->arg[0].len);

    if (sale == NULL)
        op_no(request, ANS_V_not_found, "no such sale");
    return sale;
}

/* --- The answer to a change. --- */

/* The answer to the opening of a sale waits until buyers can buy, so that tools may begin at once.
 */
static bool is_opening(const struct op_admin *admin, const struct sale_entry *sale)
{
    enum sale_state state = sale_view(sale->run)->state;

    if (op_is_served(sale))
        return !admin->deps.is_published(admin->deps.ctx);
    return state != SALE_WAITING && state != SALE_CLAIMING && state != SALE_REFUSED;
}

static void say_sale(struct op_request *request)
{
    struct op_target target;

    if (op_read_target(request, &cfg_kind_sale, &target))
        op_say_document(request, target.kind, target.name);
}

static void say_when_opened(struct op_request *request)
{
    const struct sale_entry *sale = op_sale(request);

    if (sale != NULL && !is_opening(request->admin, sale))
        say_sale(request);
}

static void answer_sale(struct op_request *request, struct op_change *change)
{
    const struct sale_entry *sale = op_sale(request);

    (void)change;
    if (sale == NULL)
        return;
    sale_go_on(sale->run);
    if (!is_opening(request->admin, sale)) {
        say_sale(request);
        return;
    }
    request->on_tick = say_when_opened;
    request->on_deadline = say_sale;
    (void)op_wait(request, OPENING_WAIT_MS);
}

/* --- Deleting a rehearsal. --- */

/* The note in its state, which every gateway sees, allows the document to be deleted. */
static void delete_when_archived(struct op_request *request)
{
    const struct sale_entry *sale = op_sale(request);

    if (sale == NULL || !sale->stored.state.archived || request->admin->changing)
        return;
    request->on_tick = NULL;
    request->on_deadline = op_late;
    op_delete_discarded(request);
}

static void not_discarded_yet(struct op_request *request)
{
    op_no(request, ANS_V_log_unavailable, "the rehearsal is being deleted: repeat the call");
}

static bool discard_sale(struct op_request *request)
{
    const struct sale_entry *sale =
        sale_list_find(request->admin->deps.known, request->arg[0].at, request->arg[0].len);

    if (sale == NULL || !sale->stored.doc.rehearsal || sale->stored.state.archived ||
        !sale_is_fixed(sale->run, &sale->stored.state))
        return false;
    if (sale_discard(sale->run) < 0) {
        not_discarded_yet(request);
        return true;
    }
    request->on_tick = delete_when_archived;
    request->on_deadline = not_discarded_yet;
    (void)op_wait(request, OP_WAIT_MS);
    return true;
}

/* --- Open, pause, resume, end. --- */

enum order { OPEN, PAUSE, RESUME, END };

static const char *const actions[] = {
    [OPEN] = "sale.put", [PAUSE] = "sale.pause", [RESUME] = "sale.resume", [END] = "sale.end"};

/* Does the sale already have the requested state? */
static bool obeyed(const struct cfg_stored_sale *sale, enum order order, int64_t wall_ms)
{
    if (order == END)
        return sale->state.ended;
    if (order == OPEN)
        return !sale->state.ended && sale->doc.opens_at_ms <= wall_ms &&
               wall_ms < sale->doc.closes_at_ms;
    return !sale->state.ended && sale->state.paused == (order == PAUSE);
}

/* Opens at the present moment: a change of the document like any other. */
static int add_opening(struct cfg_change *change, const struct op_target *target, int64_t wall_ms,
                       enum cfg_refusal *ret_refusal, struct ps_faults *faults)
{
    json_t *json = cfg_doc_json(target->have);
    char text[PS_TIME_LEN + 1];

    ps_time_format(wall_ms, text);
    if (json == NULL || json_object_set_new(json, "opens_at", json_string(text)) != 0) {
        json_decref(json);
        return PS_E_NOMEM;
    }
    int err = cfg_change_put(
        change, &(struct cfg_put){.kind = target->kind, .name = target->name, .json = json},
        ret_refusal, faults);
    json_decref(json);
    return err;
}

static int add_state(struct op_change *change, const struct op_target *target, enum order order,
                     int64_t wall_ms)
{
    const struct cfg_stored_sale *sale = cfg_sale_of(target->have);
    struct cfg_sale_state state = sale->state;

    if (order == END) {
        state.ended = true;
        state.ended_at_ms = wall_ms;
    } else {
        state.paused = order == PAUSE;
    }
    json_t *json = cfg_sale_state_write(&state);
    int err = json != NULL ? cfg_change_state(change->change, target->kind, target->name, json)
                           : PS_E_NOMEM;
    json_decref(json);
    cfg_change_line(change->change, change->target,
                    json_string(cfg_sale_state_name(&sale->doc, &sale->state, wall_ms)),
                    json_string(cfg_sale_state_name(&sale->doc, &state, wall_ms)));
    return err;
}

static void command(struct op_request *request, enum order order)
{
    int64_t now = ps_clock_wall_ms(request->admin->deps.clock);
    enum cfg_refusal refusal = CFG_MAY;
    struct ps_faults faults = {0};
    struct op_change *change;
    struct op_target target;
    char name[CFG_NAME_MAX + 8];

    if (!op_only_reason(request) || !op_read_target(request, &cfg_kind_sale, &target))
        return;
    if (target.have == NULL) {
        op_no(request, ANS_V_not_found, "no such sale");
        return;
    }
    if (!op_matches(request, target.have->version))
        return;
    if (obeyed(cfg_sale_of(target.have), order, now)) {
        say_sale(request);
        return;
    }
    if (cfg_sale_of(target.have)->state.ended) {
        op_no(request, ANS_V_ended, "the sale has ended; it cannot change its state any more");
        return;
    }
    (void)snprintf(name, sizeof name, "sales/%s", target.name);
    change = op_change_new(request, actions[order], name);
    if (change == NULL)
        return;
    int err = order == OPEN ? add_opening(change->change, &target, now, &refusal, &faults)
                            : add_state(change, &target, order, now);
    if (err < 0) {
        op_change_refuse(request, change, err, refusal, &faults);
        return;
    }
    change->answer = answer_sale;
    op_change_submit(request, change);
}

static void open_sale(struct op_request *request)
{
    command(request, OPEN);
}

static void pause_sale(struct op_request *request)
{
    command(request, PAUSE);
}

static void resume_sale(struct op_request *request)
{
    command(request, RESUME);
}

static void end_sale(struct op_request *request)
{
    command(request, END);
}

/* --- Metrics. --- */

static void print_units(const char *name, const struct sale_units *units, void *ctx)
{
    static const char line[] = "penstock_sale_units{sale=\"%s\",state=\"%s\"} %" PRId64 "\n";
    FILE *out = ctx;

    fprintf(out, line, name, "left", units->left);
    fprintf(out, line, name, "held", units->held);
    fprintf(out, line, name, "confirmed", units->confirmed);
}

struct answers_print {
    FILE *out;
    const struct snapshot *snapshot;
};

static void print_answers(const char *name, const struct sale_units *units, void *ctx)
{
    const struct answers_print *print = ctx;
    const struct snap_sale *sale = snapshot_sale(print->snapshot, name, strlen(name));
    struct snap_figures_sum sum;

    (void)units;
    if (sale == NULL || sale->figures == NULL)
        return;
    snap_figures_read(sale->figures, &sum);
    for (size_t i = 0; i < ANS_VERDICT_COUNT; i++)
        if (sum.answers[i] > 0)
            fprintf(print->out, "%s{sale=\"%s\",verdict=\"%s\"} %" PRId64 "\n",
                    gw_metric_table[GW_M_SALE_ANSWERS].name, name, ans_verdict_names[i],
                    sum.answers[i]);
}

static void print_sales(FILE *out, enum gw_metric row, const struct op_admin *admin)
{
    const struct op_deps *deps = &admin->deps;
    struct answers_print print = {.out = out, .snapshot = snap_view_last(deps->view)};

    if (row == GW_M_SALE_UNITS)
        sale_each_open(deps->sales, deps->metrics_sales_max, print_units, out);
    else if (print.snapshot != NULL)
        sale_each_open(deps->sales, deps->metrics_sales_max, print_answers, &print);
}

/* --- The part. --- */

/* clang-format off */
const struct op_part op_sales_part = {
    .routes = (const struct op_route[]){
        {"/admin/v1/sales/{}/open",   SRV_POST, OP_ROLE_OPERATOR, OP_CHANGES, open_sale},
        {"/admin/v1/sales/{}/pause",  SRV_POST, OP_ROLE_OPERATOR, OP_CHANGES, pause_sale},
        {"/admin/v1/sales/{}/resume", SRV_POST, OP_ROLE_OPERATOR, OP_CHANGES, resume_sale},
        {"/admin/v1/sales/{}/end",    SRV_POST, OP_ROLE_OPERATOR, OP_CHANGES, end_sale},
        {0}},
    .rows = (const struct op_rows[]){{GW_M_SALE_UNITS, GW_M_SALE_ANSWERS, print_sales}, {0}},
    .kinds = (const struct op_kind[]){{.kind = &cfg_kind_sale,
                                       .list = list_sales,
                                       .show = show_sale,
                                       .show_change = show_change,
                                       .answer = answer_sale,
                                       .before_delete = discard_sale},
                                      {0}},
};
/* clang-format on */
