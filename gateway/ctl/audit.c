/* audit: shows the audit log, and verifies that nobody has altered it. */
#include "gateway/ctl/call.h"
#include "gateway/ctl/commands.h"
#include "gateway/ctl/heads.h"
#include "gateway/ctl/print.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

static int add_line(const struct ctl *ctl, struct ctl_table *table, const char *line, size_t len)
{
    static const char *const members[] = {"seq", "at", "who", "peer", "action", "target", "why"};
    struct ps_fault fault;
    json_t *json;

    if (ps_json_parse(line, len, &json, &fault) < 0)
        return ctl_say(CTL_AWAY, "a line of the answer is not valid JSON: %s", fault.text);
    for (size_t i = 0; i < PS_ARRAY_LEN(members); i++) {
        const json_t *value = json_object_get(json, members[i]);
        ctl_table_add_json(table, strcmp(members[i], "who") == 0 ? ctl_who(ctl, value) : value);
    }
    json_decref(json);
    return CTL_OK;
}

static int print_lines(const struct ctl *ctl, const char *text, size_t len)
{
    struct ctl_table table = {.columns = 7};
    int exit = CTL_OK;

    for (size_t i = 0; i < 7; i++)
        ctl_table_add(&table, (const char *const[]){"SEQ", "AT", "WHO", "PEER", "ACTION", "TARGET",
                                                    "WHY"}[i]);
    for (const char *at = text, *end = text + len; exit == CTL_OK && at < end;) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t line = (size_t)((stop != NULL ? stop : end) - at);
        exit = add_line(ctl, &table, at, line);
        at += line + 1;
    }
    int printed = ctl_table_print(&table, stdout);
    return exit != CTL_OK ? exit : printed;
}

int ctl_audit_show(struct ctl *ctl)
{
    const struct ctl_options *options = &ctl->options;
    char query[96];
    int len = snprintf(query, sizeof query, "?limit=%lld",
                       (long long)(options->limit > 0 ? options->limit : 100));

    if (options->after >= 0)
        (void)snprintf(query + len, sizeof query - (size_t)len, "&after=%lld",
                       (long long)options->after);
    const struct ctl_call call = {
        .path = "/admin/v1/audit-log{+}", .args = {query}, .no_json = true};
    struct ctl_reply reply;
    int exit = ctl_send(ctl, &call, &reply);
    if (exit == CTL_OK && options->output != NULL && strcmp(options->output, "ndjson") == 0)
        (void)fwrite(reply.text, 1, reply.len, stdout);
    else if (exit == CTL_OK)
        exit = print_lines(ctl, reply.text, reply.len);
    ctl_reply_done(&reply);
    return exit;
}

/* --- verify --- */

/* A line holds the hash of the previous line, so an altered line is detected at the next one. */
struct chain {
    const char *file;       /* the file that is read, or the gateway */
    char head[65];          /* of the last line */
    int64_t seq, first_seq; /* of the last line and of the first; 0: none yet */
    int64_t lines, unchained, faults;
    bool begins_file;
    struct ctl_heads heads; /* that the order log holds */
    int64_t heads_fit;
};

static void hash_line(const char *line, size_t len, char ret_head[65])
{
    unsigned char hash[crypto_hash_sha256_BYTES];

    (void)crypto_hash_sha256(hash, (const unsigned char *)line, len);
    (void)sodium_bin2hex(ret_head, 65, hash, sizeof hash);
}

/* Reports where the chain breaks: the numbers of two lines show whether lines are missing, moved or
 * altered. */
static void say_break(struct chain *chain, int64_t seq)
{
    chain->faults++;
    if (seq > chain->seq + 1)
        (void)ctl_say(CTL_REFUSED,
                      "%s: line %lld follows line %lld: the lines between are missing or elsewhere",
                      chain->file, (long long)seq, (long long)chain->seq);
    else if (seq <= chain->seq)
        (void)ctl_say(CTL_REFUSED, "%s: line %lld comes after line %lld: lines were reordered",
                      chain->file, (long long)seq, (long long)chain->seq);
    else
        (void)ctl_say(CTL_REFUSED,
                      "%s: line %lld was changed: its hash differs from the one in line %lld",
                      chain->file, (long long)chain->seq, (long long)seq);
}

/* Is the line the one that the order log vouches for? */
static void check_heads(struct chain *chain)
{
    const struct ctl_heads *heads = &chain->heads;

    for (size_t i = ctl_heads_find(heads, chain->seq);
         i < heads->count && heads->at[i].seq == chain->seq; i++) {
        bool fits = strcmp(heads->at[i].hash, chain->head) == 0;
        chain->heads_fit += fits;
        chain->faults += !fits;
        if (!fits)
            (void)ctl_say(CTL_REFUSED,
                          "%s: line %lld was changed: the order log of %s holds another hash of it",
                          chain->file, (long long)chain->seq, heads->at[i].at);
    }
}

/* What was there once is cut off. */
static void check_end(struct chain *chain)
{
    const struct ctl_heads *heads = &chain->heads;
    const struct ctl_head *last = heads->count > 0 ? &heads->at[heads->count - 1] : NULL;

    if (last == NULL || last->seq <= chain->seq)
        return;
    chain->faults++;
    (void)ctl_say(CTL_REFUSED,
                  "%s: ends with line %lld, but the order log of %s holds the hash of line %lld",
                  chain->file, (long long)chain->seq, last->at, (long long)last->seq);
}

static void check_line(struct chain *chain, const char *line, size_t len)
{
    static const char zeros[] = "0000000000000000000000000000000000000000000000000000000000000000";
    struct ps_fault fault;
    json_t *json = NULL;

    if (ps_json_parse(line, len, &json, &fault) < 0) {
        chain->faults++;
        (void)ctl_say(CTL_REFUSED, "%s: the line after line %lld is not valid JSON: %s",
                      chain->file, (long long)chain->seq, fault.text);
    }
    int64_t seq = json_integer_value(json_object_get(json, "seq"));
    const char *prev = json_string_value(json_object_get(json, "prev"));
    bool chained = chain->lines > chain->unchained;
    if (prev == NULL && !chained) {
        chain->unchained++; /* written by a version without the chain */
    } else if (prev != NULL && strcmp(prev, zeros) == 0 && chain->begins_file &&
               seq >= chain->seq) {
        if (seq > 1)
            printf("%s: a chain begins at line %lld: earlier lines cannot be verified\n",
                   chain->file, (long long)seq);
    } else if (chain->lines > 0 && (prev == NULL || strcmp(prev, chain->head) != 0)) {
        say_break(chain, seq);
    }
    hash_line(line, len, chain->head);
    int64_t before = chain->seq;
    chain->first_seq = chain->lines == 0 ? seq : chain->first_seq;
    chain->seq = seq;
    chain->lines++;
    chain->begins_file = false;
    if (seq > before || chain->lines == 1)
        check_heads(chain);
    json_decref(json);
}

static int check_file(struct chain *chain, const char *path)
{
    FILE *file = fopen(path, "re");
    char *line = NULL;
    size_t room = 0;
    ssize_t len;

    if (file == NULL)
        return ctl_say(CTL_USAGE, "%s: %s", path, strerror(errno));
    chain->file = path;
    chain->begins_file = true;
    while ((len = getline(&line, &room, file)) > 0) {
        if (line[len - 1] == '\n')
            check_line(chain, line, (size_t)len - 1);
        else
            printf("%s: the last line is incomplete: the gateway removes it at its next write\n",
                   path);
    }
    int exit = ferror(file) ? ctl_say(CTL_USAGE, "%s: %s", path, strerror(errno)) : CTL_OK;
    free(line);
    (void)fclose(file);
    return exit;
}

/* Reads the gateway's whole audit log, page by page. */
static int check_gateway(const struct ctl *ctl, struct chain *chain)
{
    int exit = CTL_OK;
    size_t len;

    chain->file = ctl->admin;
    chain->begins_file = true;
    do {
        char query[64];
        struct ctl_reply reply;
        (void)snprintf(query, sizeof query, "?limit=1000&after=%lld", (long long)chain->seq);
        const struct ctl_call call = {
            .path = "/admin/v1/audit-log{+}", .args = {query}, .no_json = true};
        if ((exit = ctl_send(ctl, &call, &reply)) != CTL_OK)
            return exit;
        len = reply.len;
        int64_t before = chain->seq;
        for (const char *at = reply.text, *stop; (stop = strchr(at, '\n')) != NULL; at = stop + 1)
            check_line(chain, at, (size_t)(stop - at));
        if (len > 0 && chain->seq <= before)
            exit = ctl_say(CTL_REFUSED, "%s: the pages of the audit log overlap", ctl->admin);
        ctl_reply_done(&reply);
    } while (exit == CTL_OK && len > 0);
    return exit;
}

/* The heads in the order log of --sale: of the gateway that is asked, or whose files these are. */
static int read_heads(const struct ctl *ctl, struct chain *chain)
{
    const char *gateway = ctl->options.gateway;
    const struct ctl_call call = {.path = "/admin/v1/settings"};
    struct ctl_reply reply = {0};
    int exit = CTL_OK;

    if (ctl->options.sale == NULL)
        return CTL_OK;
    if (ctl->args[0] == NULL && gateway == NULL) {
        if ((exit = ctl_send(ctl, &call, &reply)) != CTL_OK)
            return exit;
        gateway = json_string_value(json_object_get(reply.json, "gateway"));
    }
    exit = ctl_heads_read(ctl, ctl->options.sale, gateway, &chain->heads);
    ctl_reply_done(&reply);
    return exit;
}

static int check_all(struct ctl *ctl, struct chain *chain)
{
    bool calls = ctl->args[0] == NULL || ctl->options.sale != NULL;
    int exit = calls ? ctl_context_read(ctl) : CTL_OK;

    if (exit == CTL_OK)
        exit = read_heads(ctl, chain);
    if (exit == CTL_OK && ctl->args[0] == NULL)
        exit = check_gateway(ctl, chain);
    for (size_t i = 0; exit == CTL_OK && i < CTL_ARGS_MAX && ctl->args[i] != NULL; i++)
        exit = check_file(chain, ctl->args[i]);
    if (exit == CTL_OK)
        check_end(chain);
    return exit;
}

int ctl_audit_verify(struct ctl *ctl)
{
    struct chain chain = {.lines = 0};
    int exit = check_all(ctl, &chain);

    ctl_heads_done(&chain.heads);
    if (exit != CTL_OK)
        return exit;
    printf("%lld lines, %lld to %lld", (long long)chain.lines, (long long)chain.first_seq,
           (long long)chain.seq);
    if (chain.unchained > 0)
        printf(", the first %lld without a chain", (long long)chain.unchained);
    printf("; hash of the last line: %s\n", chain.lines > 0 ? chain.head : "none");
    if (ctl->options.sale != NULL)
        printf("%lld hashes in the order log of %s fit\n", (long long)chain.heads_fit,
               ctl->options.sale);
    printf("%s\n", chain.faults == 0 ? "the chain is intact" : "the audit log was ALTERED");
    return chain.faults == 0 ? CTL_OK : CTL_REFUSED;
}
