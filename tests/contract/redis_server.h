/* A redis-server of a test's own: a free port of loopback, a directory of its own, nothing written
 * to disk. Needs redis-server in the PATH. */
#ifndef REDIS_SERVER_H
#define REDIS_SERVER_H

#include <hiredis/hiredis.h>
#include <sys/types.h>

struct redis_server {
    pid_t pid; /* 0: does not run */
    int port;
    char directory[64];
    redisContext *tool; /* for the test's own commands; blocks */
};

/* Starts one and waits until it answers. `more` are further arguments, NULL-terminated, or NULL. */
void redis_start(struct redis_server *server, const char *const *more);
/* The same port and arguments again: comes back empty. It must not run. */
void redis_start_again(struct redis_server *server, const char *const *more);
/* A Sentinel with that configuration file, at the port that `sentinel` names. */
void redis_start_sentinel(struct redis_server *sentinel, char *config);
/* Ends it with that signal and waits for the end. */
void redis_end(struct redis_server *server, int signal);
/* Ends it if it runs, and removes its directory. */
void redis_remove(struct redis_server *server);
/* Scripts and other writes wait, and so do their clients; until they are let on. */
void redis_pause_writes(struct redis_server *server);
void redis_resume_writes(struct redis_server *server);
/* One command by words; the reply is asserted to be no error, the caller frees it. */
redisReply *redis_ask(struct redis_server *server, const char *format, ...);
/* The same, when only its being no error matters. */
void redis_do(struct redis_server *server, const char *format, ...);
/* An integer reply. */
long long redis_number(struct redis_server *server, const char *format, ...);

#endif
