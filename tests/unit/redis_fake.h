/* A server on the test's own loop that says what it is told to: it counts commands (whole RESP
 * arrays) and answers each with the next text of its script. */
#ifndef REDIS_FAKE_H
#define REDIS_FAKE_H

#include "common/defs.h"

#include <uv.h>

#define FAKE_CLIENTS    8
#define FAKE_MEMORY     (64 * 1024)
#define FAKE_SCRIPT_MAX 15

/* Words of a script: */
#define FAKE_CLOSE  ((const char *)1) /* closes the connection instead of answering */
#define FAKE_SILENT ((const char *)2) /* answers nothing */

struct fake_client {
    struct fake *fake;
    uv_tcp_t tcp;
    bool open;
    size_t len;
    char in[FAKE_MEMORY];
};

struct fake {
    uv_tcp_t listener;
    int port;
    const char *script[FAKE_SCRIPT_MAX + 1]; /* NULL-terminated; over: answers with `rest` */
    const char *rest;
    size_t at;
    unsigned connections, commands;
    uint64_t delay_ms; /* from the last command to the answers of all; 0 = none */
    uv_timer_t delay;
    char seen[FAKE_MEMORY]; /* all commands, words joined by spaces, each ended by '\n' */
    struct fake_client clients[FAKE_CLIENTS];
};

void fake_start(struct fake *fake, uv_loop_t *loop);
/* What it answers from now on (NULL: no script); `rest` (may be NULL: silent) when the script is
 * over. */
void fake_script(struct fake *fake, const char *const *script, const char *rest);
/* Cuts all connections. */
void fake_cut(struct fake *fake);
void fake_stop(struct fake *fake);

#endif
