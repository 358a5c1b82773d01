/* Connects plans/ to what their runs look at: sales, signals of overload, the cluster, breakers. */
#include "gateway/gateway_internal.h"

#include <math.h>
#include <string.h>

static bool leads(void *ctx)
{
    const struct gw_gateway *gateway = ctx;

    return clu_leads(gateway->cluster);
}

static const char *sale_state(void *ctx, const char *name)
{
    const struct gw_gateway *gateway = ctx;
    const struct sale_entry *sale = sale_list_find(&gateway->control->sales, name, strlen(name));

    if (sale == NULL)
        return NULL;
    if (sale->stored.state.archived)
        return "archived";
    const char *state = cfg_sale_state_name(&sale->stored.doc, &sale->stored.state,
                                            ps_clock_wall_ms(gateway->clock));
    const struct sale_view *view = sale_view(sale->run);
    bool served = view->counter != NULL && view->state != SALE_REFUSED;
    return strcmp(state, "open") == 0 && !served ? "scheduled" : state;
}

static double share_of(void *ctx, enum cfg_signal signal)
{
    const struct gw_gateway *gateway = ctx;
    const struct adm_sample *sample;

    if (gateway->overload == NULL)
        return NAN;
    sample = adm_signals_now(gateway->overload->signals);
    return signal == CFG_SIGNAL_COUNT ? sample->pressure : sample->share[signal];
}

static size_t gateways(void *ctx)
{
    const struct gw_gateway *gateway = ctx;

    return clu_members(gateway->cluster);
}

static bool has_breaker(void *ctx, const char *name)
{
    struct gw_gateway *gateway = ctx;

    return adm_breakers_find(&gateway->breakers.known, ps_str(name)) != NULL;
}

int gw_open_plans(struct gw_gateway *gateway)
{
    return plans_new(&(struct plans_deps){.store = gateway->config,
                                          .shard = gateway->shard,
                                          .leads = leads,
                                          .sale_state = sale_state,
                                          .share = share_of,
                                          .gateways = gateways,
                                          .has_breaker = has_breaker,
                                          .ctx = gateway},
                     &gateway->plans);
}
