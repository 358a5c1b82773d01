/* The log. A caller formats its line straight into a slot of a bounded ring and posts a semaphore;
 * the writer thread takes lines out in order. When the ring is full the line is dropped and
 * counted, and the next line carries the count as its member "dropped". The descriptor may be
 * shared with other programs (a terminal, the service manager's socket), so it is never switched to
 * non-blocking; the writer polls it before each write instead, and a reader that stands still stops
 * only the writer. Should a write block all the same, ps_log_stop leaves the writer behind
 * after its deadline: for that reason ring and semaphore are never freed. */
#include "common/program/log.h"
#include "common/program/log_line.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/ring.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define QUEUE_LINES    1024
#define STOP_NS        (2 * PS_NS_PER_S)
#define DIRECT_WAIT_NS (1 * PS_NS_PER_S)
#define POLL_MS        50
#define PRIORITY_MAX   3

struct line {
    size_t len;
    char text[PRIORITY_MAX + PS_LOG_LINE_MAX];
};

static struct {
    _Atomic int least;
    _Atomic int fd;
    _Atomic int journal;        /* stderr goes to systemd's journal: 1, 0; -1: not known yet */
    _Atomic bool queueing;      /* lines go to the ring */
    _Atomic int64_t give_up_ns; /* monotonic: when the writer must end; INT64_MAX while it runs */
    _Atomic uint64_t dropped;
    _Atomic uint64_t untold; /* dropped lines not yet reported */
    struct ps_log_style style;
    char node[PS_LOG_NODE_MAX + 1];
    _Atomic bool node_is_set;
    struct {
        struct ps_ring *ring;
        sem_t wake;
        pthread_t thread;
        bool left_behind;
    } writer;
} g = {.least = PS_LOG_INFO,
       .fd = STDERR_FILENO,
       .journal = -1,
       .give_up_ns = INT64_MAX,
       .style = {PS_LOG_PENSTOCK, "", "", NULL}};

const char *const ps_log_formats[] = {"penstock", "ecs", NULL};

static void count_dropped(void)
{
    atomic_fetch_add_explicit(&g.dropped, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&g.untold, 1, memory_order_relaxed);
}

/* systemd names the device and the inode: a program that it starts may have redirected stderr. */
static bool journal_reads_stderr(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    char own[64];
    struct stat at;

    if (stream == NULL || fstat(STDERR_FILENO, &at) < 0)
        return false;
    (void)snprintf(own, sizeof own, "%ju:%ju", (uintmax_t)at.st_dev, (uintmax_t)at.st_ino);
    return strcmp(stream, own) == 0;
}

const char *ps_log_priority(enum ps_log_level level)
{
    static const char *const priorities[] = {"<7>", "<6>", "<4>", "<3>"}; /* syslog(3) */
    int journal = atomic_load_explicit(&g.journal, memory_order_relaxed);

    if (journal < 0) {
        journal = journal_reads_stderr();
        atomic_store_explicit(&g.journal, journal, memory_order_relaxed);
    }
    return journal ? priorities[level] : "";
}

/* Into the line, with the number of lines that were dropped since the last one that said so. */
static void format_line(struct line *line, enum ps_log_level level, const char *event,
                        const struct ps_log_field *fields)
{
    struct ps_log_style style = g.style;
    const char *priority = ps_log_priority(level);
    size_t len = strlen(priority);

    memcpy(line->text, priority, len);
    style.node = atomic_load_explicit(&g.node_is_set, memory_order_acquire) ? g.node : NULL;
    line->len = len + ps_log_line(&style, level, event, fields,
                                  atomic_exchange_explicit(&g.untold, 0, memory_order_relaxed),
                                  line->text + len);
}

/* Writes the line whole, waiting for the descriptor until `give_up_ns` (which may be moved while
 * this waits). A descriptor that is closed or broken loses the line. */
static void write_line(int fd, const struct line *line, const _Atomic int64_t *give_up_ns)
{
    size_t done = 0;
    bool late = false;
    while (done < line->len && !late) {
        late = ps_clock_mono_ns(&ps_clock_system) > atomic_load(give_up_ns);
        struct pollfd ready = {.fd = fd, .events = POLLOUT};
        if (poll(&ready, 1, late ? 0 : POLL_MS) <= 0)
            continue;
        ssize_t n = write(fd, line->text + done, line->len - done);
        if (n > 0) {
            done += (size_t)n;
            late = false;
        } else if (errno == EAGAIN) { /* ready, but not for this many bytes: do not spin */
            poll(NULL, 0, late ? 0 : POLL_MS);
        } else if (errno != EINTR) {
            break;
        }
    }
    if (done < line->len)
        count_dropped();
}

void ps_log_write(enum ps_log_level level, const char *event, const struct ps_log_field *fields)
{
    if ((int)level < atomic_load_explicit(&g.least, memory_order_relaxed))
        return;
    if (!atomic_load_explicit(&g.queueing, memory_order_acquire)) {
        struct line line;
        format_line(&line, level, event, fields);
        _Atomic int64_t give_up_ns = ps_clock_mono_ns(&ps_clock_system) + DIRECT_WAIT_NS;
        write_line(atomic_load(&g.fd), &line, &give_up_ns);
        return;
    }
    struct line *slot = ps_ring_reserve(g.writer.ring);
    if (slot == NULL) {
        count_dropped();
        return;
    }
    format_line(slot, level, event, fields);
    ps_ring_publish(g.writer.ring, slot);
    sem_post(&g.writer.wake);
}

static void *writer_main(void *arg)
{
    (void)arg;
    for (;;) {
        while (sem_wait(&g.writer.wake) != 0)
            ;
        const struct line *line;
        while ((line = ps_ring_front(g.writer.ring)) != NULL) {
            write_line(atomic_load(&g.fd), line, &g.give_up_ns);
            ps_ring_pop(g.writer.ring);
        }
        if (atomic_load(&g.give_up_ns) != INT64_MAX)
            return NULL;
    }
}

void ps_log_format_set(enum ps_log_format format, const char *service, const char *version)
{
    g.style = (struct ps_log_style){.format = format, .service = service, .version = version};
}

void ps_log_node_set(const char *node)
{
    (void)snprintf(g.node, sizeof g.node, "%s", node);
    atomic_store_explicit(&g.node_is_set, true, memory_order_release);
}

int ps_log_start(int fd, enum ps_log_level least)
{
    if (g.writer.left_behind || atomic_load(&g.queueing))
        return PS_E_BUSY;
    if (g.writer.ring == NULL) {
        int err = ps_ring_new(QUEUE_LINES, sizeof(struct line), &g.writer.ring);
        if (err != 0)
            return err;
        sem_init(&g.writer.wake, 0, 0);
    }
    atomic_store(&g.least, (int)least);
    atomic_store(&g.fd, fd);
    atomic_store(&g.give_up_ns, INT64_MAX);
    /* Signals are for the threads that expect them; a broken pipe shall be EPIPE here. */
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int failed = pthread_create(&g.writer.thread, NULL, writer_main, NULL);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (failed != 0)
        return PS_E_NOMEM;
    atomic_store_explicit(&g.queueing, true, memory_order_release);
    return 0;
}

void ps_log_level_set(enum ps_log_level least)
{
    atomic_store_explicit(&g.least, (int)least, memory_order_relaxed);
}

void ps_log_stop(void)
{
    if (!atomic_load(&g.queueing))
        return;
    atomic_store(&g.queueing, false);
    atomic_store(&g.give_up_ns, ps_clock_mono_ns(&ps_clock_system) + STOP_NS);
    sem_post(&g.writer.wake);
    struct timespec deadline;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += 3;
    if (pthread_timedjoin_np(g.writer.thread, NULL, &deadline) != 0) {
        pthread_detach(g.writer.thread);
        g.writer.left_behind = true;
    }
}

uint64_t ps_log_dropped(void)
{
    return atomic_load_explicit(&g.dropped, memory_order_relaxed);
}
