/* Endpoints from a file: a JSON array of them, or {"endpoints":[…]}, each as in a pool's document.
 *
 * A work thread reads the whole file, each second and when its directory reports a change: a disk
 * may be slow, and the loop must not wait. A file with any fault is refused as a whole, so a file
 * that is being written changes nothing, and the next read gets the rest. Writers should write
 * another file and rename it. */
#include "gateway/upstream/discovery_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define POLL_MS  1000
#define FILE_MAX ((size_t)256 << 10)

struct file {
    struct up_source *source; /* NULL: stopped */
    char *path, *folder;      /* of the file; its directory */
    const char *name;         /* in the path */
    uv_timer_t timer;
    uv_fs_event_t event;
    uv_work_t work;
    bool is_reading, again;
    unsigned open; /* handles, and the work */
    /* The work thread's, while it runs. */
    int err;
    struct up_found found;
    struct ps_fault fault;
};

/* --- On the work thread. --- */

static int read_endpoints(struct file *file, const json_t *list, const char *pointer)
{
    struct ps_faults faults = {0};
    int err = 0;

    for (size_t i = 0; i < json_array_size(list) && err == 0; i++) {
        struct cfg_endpoint endpoint;
        char place[64];
        (void)snprintf(place, sizeof place, "%s/%zu", pointer, i);
        err = cfg_endpoint_read(json_array_get(list, i), place, &endpoint, &faults);
        if (err == 0)
            err = up_found_add(&file->found, &endpoint);
    }
    if (faults.count > 0)
        file->fault = faults.at[0];
    return err;
}

static int read_document(struct file *file, const json_t *json)
{
    struct ps_json_reader reader;

    if (json_is_array(json))
        return read_endpoints(file, json, "");
    ps_json_reader_init(&reader, json, "", &file->fault);
    const json_t *list = ps_json_value(&reader, "endpoints");
    if (!json_is_array(list))
        ps_json_fault(&reader, "endpoints", "must be an array of endpoints");
    int err = ps_json_done(&reader);
    return err < 0 ? err : read_endpoints(file, list, "/endpoints");
}

static void read_file(uv_work_t *work)
{
    struct file *file = work->data;
    struct stat is;
    json_t *json = NULL;

    file->fault = (struct ps_fault){0};
    if (stat(file->path, &is) != 0)
        file->err = ps_fault(&file->fault, PS_E_IO, "", "cannot be opened: %s", strerror(errno));
    else if (!S_ISREG(is.st_mode)) /* a pipe would block this thread */
        file->err = ps_fault(&file->fault, PS_E_IO, "", "is no regular file");
    else
        file->err = ps_json_load(file->path, FILE_MAX, &json, &file->fault);
    if (file->err == 0)
        file->err = read_document(file, json);
    json_decref(json);
}

/* --- On the loop. --- */

static void release(struct file *file)
{
    if (--file->open > 0)
        return;
    up_found_free(&file->found);
    free(file->path);
    free(file->folder);
    free(file);
}

static void look(struct file *file);

static void on_read(uv_work_t *work, int status)
{
    struct file *file = work->data;
    struct up_source *source = file->source;
    struct up_found found = file->found;
    int err = status < 0 ? PS_E_IO : file->err;

    file->found = (struct up_found){0};
    file->is_reading = false;
    if (source != NULL && err < 0)
        up_source_fail(source, POLL_MS, "%s: %s%s%s", file->name, file->fault.path,
                       file->fault.path[0] != '\0' ? " " : "",
                       file->fault.text[0] != '\0' ? file->fault.text : ps_err_text(err));
    else if (source != NULL)
        up_source_report(source, &found, POLL_MS);
    if (file->source != NULL && file->again)
        look(file);
    up_found_free(&found);
    release(file);
}

static void look(struct file *file)
{
    file->again = file->is_reading;
    if (file->is_reading || uv_queue_work(file->timer.loop, &file->work, read_file, on_read) != 0)
        return;
    file->is_reading = true;
    file->open++;
}

static void on_event(uv_fs_event_t *event, const char *name, int events, int status)
{
    struct file *file = event->data;

    (void)events;
    if (status < 0)
        uv_fs_event_stop(event); /* the directory has gone: see on_poll */
    if (name == NULL || strcmp(name, file->name) == 0)
        look(file);
}

/* Not every file system reports changes, and a file behind a symbolic link changes elsewhere: so
 * also look each second. */
static void on_poll(uv_timer_t *timer)
{
    struct file *file = timer->data;

    if (!uv_is_active((uv_handle_t *)&file->event))
        (void)uv_fs_event_start(&file->event, on_event, file->folder, 0);
    look(file);
}

static void on_closed(uv_handle_t *handle)
{
    release(handle->data);
}

static void stop(void *state)
{
    struct file *file = state;

    file->source = NULL;
    uv_close((uv_handle_t *)&file->timer, on_closed);
    uv_close((uv_handle_t *)&file->event, on_closed);
}

/* "dir/name". NULL: no memory. */
static char *join(const char *dir, const char *name)
{
    size_t size = strlen(dir) + strlen(name) + 2;
    char *path = malloc(size);

    if (path != NULL)
        (void)snprintf(path, size, "%s/%s", dir, name);
    return path;
}

static int start(struct up_source *source, void **ret_state)
{
    const struct up_discovery_settings *settings = up_source_settings(source);
    uv_loop_t *loop = settings->loop;

    if (settings->bounds == NULL || settings->bounds->endpoint_dir ==
                                        NULL) { /* a document of another gateway, or an older one */
        up_source_fail(source, 0, "needs a directory: the setting upstream.endpoint_dir");
        return 0;
    }
    struct file *file = calloc(1, sizeof *file);
    if (file == NULL)
        return PS_E_NOMEM;
    file->path = join(settings->bounds->endpoint_dir, source->doc->discovery.from);
    file->name = file->path != NULL ? strrchr(file->path, '/') + 1 : NULL;
    if (file->path != NULL)
        file->folder = strndup(file->path, (size_t)(file->name - file->path));
    if (file->folder == NULL) {
        file->open = 1;
        release(file);
        return PS_E_NOMEM;
    }
    file->source = source;
    file->open = 2;
    file->work.data = file;
    uv_timer_init(loop, &file->timer);
    uv_fs_event_init(loop, &file->event);
    file->timer.data = file->event.data = file;
    uv_timer_start(&file->timer, on_poll, 0, POLL_MS);
    *ret_state = file;
    return 0;
}

const struct up_source_kind up_source_file = {.name = "file", .start = start, .stop = stop};
