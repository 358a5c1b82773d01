/* See reload.h. */
#include "gateway/reload.h"

#include "common/program/log.h"
#include "gateway/config/store/seed.h"

static void take_over(struct gw_settings *live, struct gw_settings *fresh, struct cfg_store *store)
{
    struct ps_strings hosts = live->admin.hosts;

    live->admin.hosts = fresh->admin.hosts; /* only this thread reads them */
    fresh->admin.hosts = hosts;
    live->admin.metrics_open = fresh->admin.metrics_open;
    live->logging.level = fresh->logging.level;
    ps_log_level_set((enum ps_log_level)live->logging.level);
    (void)cfg_seed(store, fresh->seed);
}

static void refuse(const char *path, const struct ps_faults *faults)
{
    for (size_t i = 0; i < faults->count && i < PS_FAULTS_KEPT; i++)
        ps_log(PS_LOG_ERROR, "reload_refused", PS_F_STR("file", path ? path : ""),
               PS_F_STR("path", faults->at[i].path), PS_F_STR("error", faults->at[i].text));
}

void gw_reload(struct gw_settings *live, const char *path, struct cfg_store *store)
{
    struct gw_settings fresh;
    struct ps_faults faults = {0};

    if (gw_settings_load(path, &fresh, &faults) < 0) {
        refuse(path, &faults);
        return;
    }
    for (size_t i = 0; i < gw_settings_table.count; i++) {
        const struct ps_member *row = &gw_settings_table.members[i];
        if ((row->flags & PS_M_RELOADS) == 0 && !ps_member_same(row, live, &fresh))
            ps_log(PS_LOG_WARN, "setting_kept", PS_F_STR("option", row->name),
                   PS_F_STR("why", "it is read at start only"));
    }
    take_over(live, &fresh, store);
    gw_settings_free(&fresh);
    ps_log(PS_LOG_INFO, "reloaded");
}
