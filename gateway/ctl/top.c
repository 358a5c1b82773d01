/* top: one screen with the state of a running sale, refreshed every few seconds with plain ANSI
 * sequences, so that it works over ssh. If standard output is not a terminal, or with --once, it is
 * printed once as text. While the gateway does not answer, the last screen remains, with a note. */
#include "gateway/ctl/call.h"
#include "gateway/ctl/commands.h"
#include "gateway/ctl/print.h"

#include "common/clock.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#define SIGNALS_SHOWN 6

enum { SETTINGS, OVERLOAD, SALES, OVERRIDES, READS };

static const char *const paths[READS] = {
    [SETTINGS] = "/admin/v1/settings",
    [OVERLOAD] = "/admin/v1/overload",
    [SALES] = "/admin/v1/sales?state=open,paused",
    [OVERRIDES] = "/admin/v1/overrides",
};

struct screen {
    const struct ctl *ctl;
    json_t *read[READS];
    json_t *taken;    /* sale -> units held and confirmed at the last refresh */
    int64_t drawn_ns; /* monotonic; 0: not yet */
};

static volatile sig_atomic_t stopped;

static void on_signal(int number)
{
    (void)number;
    stopped = 1;
}

/* --- Content. --- */

static int read_all(struct screen *screen)
{
    for (int i = 0; i < READS; i++) {
        const struct ctl_call call = {.path = paths[i]};
        struct ctl_reply reply;
        int exit = ctl_send(screen->ctl, &call, &reply);
        if (exit != CTL_OK)
            return exit;
        json_decref(screen->read[i]);
        screen->read[i] = json_incref(reply.json);
        ctl_reply_done(&reply);
    }
    return CTL_OK;
}

static const char *word(const json_t *json, const char *name)
{
    const char *text = json_string_value(json_object_get(json, name));

    return text != NULL ? text : "-";
}

static void put_words(FILE *out, const char *before, const char *text)
{
    fputs(before, out);
    ctl_put_text(out, text, strlen(text));
}

static void draw_head(FILE *out, const struct screen *screen)
{
    const json_t *settings = screen->read[SETTINGS], *overload = screen->read[OVERLOAD];
    json_t *feature;
    const char *name;
    bool any = false;

    put_words(out, "", word(settings, "gateway"));
    put_words(out, "  penstock ", word(settings, "version"));
    put_words(out, "  ", word(overload, "at"));
    fprintf(out, "\nlevel %lld  pressure %.2f",
            (long long)json_integer_value(json_object_get(overload, "level")),
            json_number_value(json_object_get(overload, "pressure")));
    put_words(out, "  highest ", word(overload, "highest"));
    json_object_foreach(json_object_get(overload, "features"), name, feature)
    {
        if (strcmp(word(feature, "state"), "on") == 0)
            continue;
        put_words(out, any ? ", " : "\noff: ", name);
        any = true;
    }
    fputs("\n\n", out);
}

static int by_share(const void *left, const void *right)
{
    const json_t *const *a = left, *const *b = right;
    double of_a = json_number_value(json_object_get(*a, "share"));
    double of_b = json_number_value(json_object_get(*b, "share"));

    return (of_a < of_b) - (of_a > of_b);
}

/* The signals with the largest shares. */
static int draw_signals(FILE *out, const json_t *overload)
{
    json_t *signals = json_object_get(overload, "signals"), *signal, **sorted;
    struct ctl_table table = {.columns = 5};
    const char *name;
    size_t count = 0;

    sorted = calloc(json_object_size(signals) + 1, sizeof *sorted);
    if (sorted == NULL)
        return ctl_say(CTL_FAILED, "out of memory");
    json_object_foreach(signals, name, signal)
    {
        (void)json_object_set_new(signal, "name", json_string(name));
        sorted[count++] = signal;
    }
    qsort(sorted, count, sizeof *sorted, by_share);
    for (size_t i = 0; i < 5; i++)
        ctl_table_add(&table,
                      (const char *const[]){"SIGNAL", "SHARE", "VALUE", "THRESHOLD", "UNIT"}[i]);
    for (size_t i = 0; i < count && i < SIGNALS_SHOWN; i++)
        for (size_t j = 0; j < 5; j++)
            ctl_table_add_json(
                &table, json_object_get(sorted[i], (const char *const[]){"name", "share", "value",
                                                                         "threshold", "unit"}[j]));
    free(sorted);
    int exit = ctl_table_print(&table, out);
    fputc('\n', out);
    return exit;
}

static int64_t sum(const json_t *sale, const char *member)
{
    int64_t total = 0;
    json_t *sku;
    size_t i;

    json_array_foreach(json_object_get(sale, "skus"), i, sku) total +=
        json_integer_value(json_object_get(sku, member));
    return total;
}

static void add_number(struct ctl_table *table, double number, bool whole)
{
    char text[32];

    (void)snprintf(text, sizeof text, whole ? "%.0f" : "%.1f", number);
    ctl_table_add(table, text);
}

/* A row for each sale: its units, and how many per second were taken since the last refresh. */
static int draw_sales(FILE *out, struct screen *screen, double elapsed_s)
{
    static const char *const heads[] = {"SALE",      "STATE",   "AVAILABLE", "HELD",
                                        "CONFIRMED", "TAKEN/S", "CLOSES AT"};
    struct ctl_table table = {.columns = PS_ARRAY_LEN(heads)};
    json_t *sale, *taken = json_object();
    size_t i;

    for (i = 0; i < PS_ARRAY_LEN(heads); i++)
        ctl_table_add(&table, heads[i]);
    json_array_foreach(json_object_get(screen->read[SALES], "sales"), i, sale)
    {
        int64_t held = sum(sale, "held"), confirmed = sum(sale, "confirmed");
        const json_t *before = json_object_get(screen->taken, word(sale, "sale"));
        double more = (double)(held + confirmed - json_integer_value(before));
        ctl_table_add(&table, word(sale, "sale"));
        ctl_table_add(&table, word(sale, "state"));
        add_number(&table, (double)sum(sale, "available"), true);
        add_number(&table, (double)held, true);
        add_number(&table, (double)confirmed, true);
        if (before == NULL || elapsed_s <= 0)
            ctl_table_add(&table, NULL);
        else
            add_number(&table, more > 0 ? more / elapsed_s : 0, false);
        ctl_table_add(&table, word(sale, "closes_at"));
        (void)json_object_set_new(taken, word(sale, "sale"), json_integer(held + confirmed));
    }
    json_decref(screen->taken);
    screen->taken = taken;
    int exit = ctl_table_print(&table, out);
    fputc('\n', out);
    return exit;
}

static int draw_overrides(FILE *out, const json_t *overrides)
{
    static const char *const members[] = {"target", "value", "without", "until", "by", "reason"};
    static const char *const heads[] = {"OVERRIDE", "VALUE", "WITHOUT", "UNTIL", "BY", "REASON"};
    struct ctl_table table = {.columns = PS_ARRAY_LEN(heads)};
    const json_t *list = json_object_get(overrides, "overrides");
    json_t *override;
    size_t i;

    if (json_array_size(list) == 0) {
        fputs("no overrides\n", out);
        return CTL_OK;
    }
    for (i = 0; i < PS_ARRAY_LEN(heads); i++)
        ctl_table_add(&table, heads[i]);
    json_array_foreach(list, i, override) for (size_t j = 0; j < PS_ARRAY_LEN(members); j++)
        ctl_table_add_json(&table, json_object_get(override, members[j]));
    return ctl_table_print(&table, out);
}

/* The screen as text, heap; NULL: failed, the reason was printed. */
static char *draw(struct screen *screen)
{
    int64_t now_ns = ps_clock_mono_ns(&ps_clock_system);
    double elapsed_s = screen->drawn_ns > 0 ? (double)(now_ns - screen->drawn_ns) / 1e9 : 0;
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    if (out == NULL)
        return NULL;
    screen->drawn_ns = now_ns;
    draw_head(out, screen);
    int exit = draw_signals(out, screen->read[OVERLOAD]);
    if (exit == CTL_OK)
        exit = draw_sales(out, screen, elapsed_s);
    if (exit == CTL_OK)
        exit = draw_overrides(out, screen->read[OVERRIDES]);
    if (fclose(out) == 0 && exit == CTL_OK)
        return text;
    free(text);
    return NULL;
}

/* --- The terminal. --- */

/* The length in bytes of the part of the line that fits the columns. */
static size_t cut_line(const char *line, size_t len, size_t columns)
{
    while (len > 0 && ctl_text_width(line, len) > columns) {
        len--; /* never within a character */
        while (len > 0 && ((unsigned char)line[len] & 0xc0) == 0x80)
            len--;
    }
    return len;
}

/* Draws over the last screen, from the top; what does not fit the terminal is cut off. */
static void show(const char *text)
{
    struct winsize size = {.ws_row = 24, .ws_col = 80};

    (void)ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
    fputs("\033[H", stdout);
    for (int row = 2; *text != '\0' && row < size.ws_row; row++) {
        size_t len = strcspn(text, "\n");
        (void)fwrite(text, 1, cut_line(text, len, size.ws_col), stdout);
        fputs("\033[K\n", stdout);
        text += len + (text[len] == '\n');
    }
    fputs("\033[J", stdout);
    (void)fflush(stdout);
}

/* Waits for the next drawing. False: the operator quits. */
static bool wait_for_next(int64_t seconds)
{
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    char key;

    if (poll(&input, 1, (int)(seconds * 1000)) <= 0)
        return !stopped;
    return read(STDIN_FILENO, &key, 1) == 1 && key != 'q' && key != 'Q' && !stopped;
}

static int run_live(struct screen *screen)
{
    struct termios before, raw;
    bool has_keys = tcgetattr(STDIN_FILENO, &before) == 0;
    int exit = CTL_OK;

    if (has_keys) {
        raw = before;
        raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
        (void)tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    }
    fputs("\033[?1049h\033[?25l", stdout); /* a screen of its own, no cursor */
    do {
        char *text = NULL;
        exit = read_all(screen);
        if (exit == CTL_OK && (text = draw(screen)) != NULL)
            show(text);
        free(text);
    } while ((exit == CTL_OK || exit == CTL_AWAY) &&
             wait_for_next(screen->ctl->options.interval_s));
    fputs("\033[?25h\033[?1049l", stdout);
    if (has_keys)
        (void)tcsetattr(STDIN_FILENO, TCSANOW, &before);
    return stopped || exit == CTL_AWAY ? CTL_OK : exit;
}

int ctl_top(struct ctl *ctl)
{
    const struct sigaction on_stop = {.sa_handler = on_signal};
    struct screen screen = {.ctl = ctl};
    int exit = read_all(&screen); /* a first failure is printed on the ordinary screen */

    if (exit == CTL_OK && !ctl->options.once && isatty(STDOUT_FILENO)) {
        (void)sigaction(SIGINT, &on_stop, NULL);
        (void)sigaction(SIGTERM, &on_stop, NULL);
        exit = run_live(&screen);
    } else if (exit == CTL_OK) {
        char *text = draw(&screen);
        exit = text != NULL ? CTL_OK : CTL_FAILED;
        if (text != NULL)
            fputs(text, stdout);
        free(text);
    }
    for (int i = 0; i < READS; i++)
        json_decref(screen.read[i]);
    json_decref(screen.taken);
    return exit;
}
