/* The target of a command line: two listeners, on this machine unless it says otherwise, and a
 * token. */
#include "common/program/secret.h"
#include "loadtest/rehearse.h"

#include <stdio.h>
#include <string.h>

#define PATH_MAX_LEN 4096

static int resolve_targets(const struct lt_options *options, struct lt_target *ret_public,
                           struct lt_target *ret_admin, struct ps_fault *fault)
{
    int err = lt_target_parse(options->public_url, "--public", ret_public, fault);
    if (err == 0)
        err = lt_target_parse(options->admin_url, "--admin", ret_admin, fault);
    if (err < 0)
        return err;
    const struct {
        const char *option;
        const struct lt_target *target;
    } targets[] = {{"--public", ret_public}, {"--admin", ret_admin}};
    for (size_t i = 0; i < PS_ARRAY_LEN(targets); i++) {
        if (!targets[i].target->loopback && !options->own_target)
            return ps_fault(fault, PS_E_PERMISSION, targets[i].option,
                            "%s is not this machine. A rehearsal is an attack on whoever does not "
                            "expect it: if it is yours to load, say --i-own-this-target",
                            targets[i].target->host);
    }
    const struct lt_target *buyers = targets[0].target, *operators = targets[1].target;
    if (buyers->address_len == operators->address_len &&
        memcmp(&buyers->address, &operators->address, buyers->address_len) == 0)
        return ps_fault(fault, PS_E_INVALID, "--public",
                        "is the same listener as --admin; buyers are served at another port");
    return 0;
}

static int read_token(const struct lt_options *options, struct lt_admin *admin,
                      struct ps_fault *fault)
{
    char path[PATH_MAX_LEN];
    if (options->token_file != NULL)
        return ps_secret_read(options->token_file, "--token-file", sizeof admin->token - 1,
                              admin->token, fault);
    int len = snprintf(path, sizeof path, "%s/admin.token", options->state_dir);
    if (len < 0 || (size_t)len >= sizeof path)
        return ps_fault(fault, PS_E_INVALID, "--state-dir", "is too long");
    int err = ps_secret_read(path, "--token-file", sizeof admin->token - 1, admin->token, fault);
    if (err < 0)
        (void)snprintf(fault->path, sizeof fault->path, "--state-dir (or --token-file)");
    return err;
}

int lt_rehearse_aim(const struct lt_options *options, struct lt_target *ret_public,
                    struct lt_admin *ret_admin, struct ps_fault *fault)
{
    int err = resolve_targets(options, ret_public, &ret_admin->target, fault);
    return err < 0 ? err : read_token(options, ret_admin, fault);
}
