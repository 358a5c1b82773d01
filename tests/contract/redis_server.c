/* Starts and ends real servers, by their pid. */
#include "tests/unit/check.h"

#include "tests/contract/free_port.h"
#include "tests/contract/redis_server.h"

#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define START_TRIES 3000 /* of 10 ms or more */

static void nap(void)
{
    const struct timespec time = {.tv_nsec = 10000000};
    (void)nanosleep(&time, NULL);
}

static void wait_until_it_answers(struct redis_server *server)
{
    for (int tries = 0; tries < START_TRIES; tries++) {
        const struct timeval patience = {.tv_sec = 20};
        server->tool = redisConnectWithTimeout("127.0.0.1", server->port, patience);
        if (server->tool != NULL && server->tool->err == 0) {
            assert_int_equal(redisSetTimeout(server->tool, patience), REDIS_OK);
            return;
        }
        if (server->tool != NULL)
            redisFree(server->tool);
        assert_int_equal(waitpid(server->pid, NULL, WNOHANG), 0); /* it has ended at once */
        nap();
    }
    fail_msg("redis-server does not answer");
}

/* The server goes when the test goes, however that ends. */
static void start(struct redis_server *server, const char *const *argv)
{
    server->pid = fork();
    assert_true(server->pid >= 0);
    if (server->pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    wait_until_it_answers(server);
}

void redis_start_again(struct redis_server *server, const char *const *more)
{
    char port[8];
    const char *argv[32] = {
        "redis-server", "--port",          port,        "--bind", "127.0.0.1",
        "--dir",        server->directory, "--save",    "",       "--appendonly",
        "no",           "--logfile",       "server.log"};
    size_t count = 13;
    (void)snprintf(port, sizeof port, "%d", server->port);
    for (; more != NULL && *more != NULL; more++)
        argv[count++] = *more;
    start(server, argv);
}

void redis_start_sentinel(struct redis_server *sentinel, char *config)
{
    char port[8];
    const char *argv[] = {
        "redis-server", config,  "--sentinel",        "--port",    port,         "--bind",
        "127.0.0.1",    "--dir", sentinel->directory, "--logfile", "server.log", NULL};
    (void)snprintf(port, sizeof port, "%d", sentinel->port);
    start(sentinel, argv);
}

void redis_start(struct redis_server *server, const char *const *more)
{
    *server = (struct redis_server){.port = free_port(), .directory = "/tmp/penstock-redis-XXXXXX"};
    assert_non_null(mkdtemp(server->directory));
    redis_start_again(server, more);
}

void redis_end(struct redis_server *server, int signal)
{
    if (server->pid == 0)
        return;
    redisFree(server->tool);
    server->tool = NULL;
    assert_int_equal(kill(server->pid, signal), 0);
    assert_int_equal(waitpid(server->pid, NULL, 0), server->pid);
    server->pid = 0;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *walk)
{
    (void)st, (void)kind, (void)walk;
    return remove(path);
}

void redis_remove(struct redis_server *server)
{
    redis_end(server, SIGKILL);
    assert_int_equal(nftw(server->directory, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

static redisReply *ask(struct redis_server *server, const char *format, va_list args)
{
    redisReply *reply = redisvCommand(server->tool, format, args);
    assert_non_null(reply);
    if (reply->type == REDIS_REPLY_ERROR)
        fail_msg("%s: %s", format, reply->str);
    return reply;
}

redisReply *redis_ask(struct redis_server *server, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    redisReply *reply = ask(server, format, args);
    va_end(args);
    return reply;
}

void redis_do(struct redis_server *server, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    freeReplyObject(ask(server, format, args));
    va_end(args);
}

void redis_pause_writes(struct redis_server *server)
{
    redis_do(server, "CLIENT PAUSE 60000 WRITE");
}

void redis_resume_writes(struct redis_server *server)
{
    redis_do(server, "CLIENT UNPAUSE");
}

long long redis_number(struct redis_server *server, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    redisReply *reply = ask(server, format, args);
    va_end(args);
    assert_int_equal(reply->type, REDIS_REPLY_INTEGER);
    long long number = reply->integer;
    freeReplyObject(reply);
    return number;
}
