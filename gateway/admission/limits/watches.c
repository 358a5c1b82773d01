/* A sorted list of users; there are at most CFG_WATCHES_MAX. */
#include "gateway/admission/limits/watches.h"

#include "common/sorted.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

struct adm_watch {
    unsigned refs; /* sets that have it: the control thread's */
    char user[PS_USER_MAX + 1];
    uv_mutex_t lock; /* of what follows */
    int64_t noted;
    struct adm_watched entries[ADM_WATCH_KEPT];
};

struct adm_watches {
    size_t count;
    struct adm_watch *at[]; /* by user */
};

static int compare_with_watch(const void *user, const void *watch)
{
    return ps_str_compare(*(const struct ps_str *)user,
                          ps_str((*(struct adm_watch *const *)watch)->user));
}

struct adm_watch *adm_watches_find(const struct adm_watches *watches, struct ps_str user)
{
    if (watches == NULL)
        return NULL;
    struct adm_watch *const *watch = ps_sorted_find(&user, watches->at, watches->count,
                                                    sizeof(struct adm_watch *), compare_with_watch);
    return watch != NULL ? *watch : NULL;
}

static struct adm_watch *new_watch(const char *user)
{
    struct adm_watch *watch = calloc(1, sizeof *watch);

    if (watch == NULL || uv_mutex_init(&watch->lock) != 0) {
        free(watch);
        return NULL;
    }
    watch->refs = 1;
    memcpy(watch->user, user, strlen(user) + 1);
    return watch;
}

static struct adm_watch *keep_watch(struct adm_watch *watch)
{
    watch->refs++;
    return watch;
}

int adm_watches_new(const char *const *users, size_t count, const struct adm_watches *before,
                    struct adm_watches **ret_watches)
{
    struct adm_watches *watches = NULL;

    if (count > 0) {
        watches = calloc(1, sizeof *watches + count * sizeof(struct adm_watch *));
        if (watches == NULL)
            return PS_E_NOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        struct adm_watch *have = adm_watches_find(before, ps_str(users[i]));
        watches->at[i] = have != NULL ? keep_watch(have) : new_watch(users[i]);
        if (watches->at[i] == NULL) {
            adm_watches_free(watches);
            return PS_E_NOMEM;
        }
        watches->count++;
    }
    *ret_watches = watches;
    return 0;
}

void adm_watches_free(struct adm_watches *watches)
{
    for (size_t i = 0; watches != NULL && i < watches->count; i++) {
        struct adm_watch *watch = watches->at[i];
        if (--watch->refs > 0)
            continue;
        uv_mutex_destroy(&watch->lock);
        free(watch);
    }
    free(watches);
}

void adm_watch_note(struct adm_watch *watch, const struct adm_watched *entry)
{
    uv_mutex_lock(&watch->lock);
    struct adm_watched *place = &watch->entries[watch->noted++ % ADM_WATCH_KEPT];
    *place = *entry;
    place->seq = watch->noted;
    uv_mutex_unlock(&watch->lock);
}

size_t adm_watch_read(struct adm_watch *watch, struct adm_watched ret_entries[ADM_WATCH_KEPT])
{
    uv_mutex_lock(&watch->lock);
    size_t count = watch->noted < ADM_WATCH_KEPT ? (size_t)watch->noted : ADM_WATCH_KEPT;
    for (size_t i = 0; i < count; i++)
        ret_entries[i] = watch->entries[(size_t)(watch->noted - 1 - (int64_t)i) % ADM_WATCH_KEPT];
    uv_mutex_unlock(&watch->lock);
    return count;
}
