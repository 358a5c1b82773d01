/* Threads that leave signals to the program, and waiting for an eventfd. */
#include "common/program/thread.h"
#include "common/clock.h"

#include <poll.h>
#include <signal.h>

int ps_thread_start(const char *name, void *(*fn)(void *arg), void *arg, pthread_t *ret_thread)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(ret_thread, NULL, fn, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed != 0)
        return PS_E_NOMEM;
    pthread_setname_np(*ret_thread, name);
    return 0;
}

int ps_event_wait(int event, int64_t timeout_ms)
{
    int64_t until = ps_clock_mono_ns(&ps_clock_system) + timeout_ms * PS_NS_PER_MS;
    struct pollfd fd = {.fd = event, .events = POLLIN};
    for (;;) {
        int64_t left_ns = until - ps_clock_mono_ns(&ps_clock_system);
        if (left_ns < 0)
            left_ns = 0;
        if (poll(&fd, 1, (int)(left_ns / PS_NS_PER_MS) + 1) > 0)
            return 0;
        if (left_ns == 0)
            return PS_E_TIMEOUT;
    }
}
