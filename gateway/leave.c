/* See leave.h. */
#include "gateway/leave.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/time.h>
#include <unistd.h>

static void on_alarm(int number)
{
    static const char text[] = "penstock: the disk does not answer; left without waiting for it\n";
    struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};

    (void)number;
    if (poll(&out, 1, 0) > 0) /* its reader may hang, too */
        (void)!write(STDERR_FILENO, text, sizeof text - 1);
    _exit(EXIT_FAILURE);
}

void gw_leave_at_the_latest(int64_t in_ms)
{
    struct itimerval timer = {.it_value = {.tv_sec = in_ms / 1000, .tv_usec = in_ms % 1000 * 1000}};

    signal(SIGALRM, on_alarm);
    setitimer(ITIMER_REAL, &timer, NULL);
}
