/* See files.h. A file is {"kind","name","document"} or a bundle {"documents":{kind:{name:…}}}. */
#include "gateway/ctl/files.h"

#include "gateway/ctl/kinds.h"
#include "gateway/ctl/yaml.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH_MAX 8
#define FILES_MAX 10000

/* --- Bytes. --- */

int ctl_file_read(const char *path, char **ret_text, size_t *ret_len)
{
    bool is_input = strcmp(path, "-") == 0;
    /* Without O_NONBLOCK, opening a pipe without a writer would block. */
    int fd = is_input ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) != 0)
        return ctl_say(CTL_USAGE, "%s: %s", path, strerror(errno));
    if (!is_input && !S_ISREG(st.st_mode)) {
        (void)close(fd);
        return ctl_say(CTL_USAGE, "%s: not a regular file", path);
    }
    char *text = malloc(CTL_FILE_MAX + 2);
    size_t len = 0;
    ssize_t n = text != NULL ? 1 : -1;
    while (n > 0 && len <= CTL_FILE_MAX) {
        n = read(fd, text + len, CTL_FILE_MAX + 1 - len);
        len += n > 0 ? (size_t)n : 0;
        if (n < 0 && errno == EINTR)
            n = 1;
    }
    if (!is_input)
        (void)close(fd);
    if (n >= 0 && len <= CTL_FILE_MAX) {
        text[len] = '\0';
        *ret_text = text;
        *ret_len = len;
        return CTL_OK;
    }
    free(text);
    return n < 0 ? ctl_say(CTL_USAGE, "%s: %s", path, strerror(errno))
                 : ctl_say(CTL_USAGE, "%s: longer than %d bytes", path, CTL_FILE_MAX);
}

static bool ends_with(const char *text, const char *end)
{
    size_t len = strlen(text), end_len = strlen(end);

    return len > end_len && strcmp(text + len - end_len, end) == 0;
}

/* Detects JSON by its first character, if the name does not tell. */
static bool is_json(const char *path, const char *text)
{
    return ends_with(path, ".json") ||
           (strcmp(path, "-") == 0 && text[strspn(text, " \t\r\n")] == '{');
}

static int parse(const char *path, json_t **ret_json)
{
    struct ps_fault fault = {0};
    size_t len;
    char *text;
    int exit = ctl_file_read(path, &text, &len);

    if (exit != CTL_OK)
        return exit;
    int err = is_json(path, text) ? ps_json_parse(text, len, ret_json, &fault)
                                  : ctl_yaml_parse(text, len, ret_json, &fault);
    free(text);
    if (err == PS_E_NOMEM)
        return ctl_say(CTL_FAILED, "out of memory");
    return err == 0 ? CTL_OK
                    : ctl_say(CTL_USAGE, "%s: %s%s%s", path, fault.path,
                              fault.path[0] != '\0' ? ": " : "", fault.text);
}

/* --- Documents. --- */

/* A kind may be written as its word or its path. A kind that is unknown here is passed on: the
 * gateway may know it. */
static const char *path_of_kind(const char *kind)
{
    for (const struct ctl_kind *row = ctl_kinds; row->word != NULL; row++)
        if (strcmp(kind, row->word) == 0)
            return row->path;
    return kind;
}

static int add(json_t *documents, const char *file, const char *kind, const char *name,
               json_t *document)
{
    kind = path_of_kind(kind);
    json_t *of_kind = json_object_get(documents, kind);

    if (of_kind == NULL) {
        of_kind = json_object();
        if (json_object_set_new(documents, kind, of_kind) != 0)
            return ctl_say(CTL_FAILED, "out of memory");
    }
    if (json_object_get(of_kind, name) != NULL)
        return ctl_say(CTL_USAGE, "%s: %s/%s is also in another file", file, kind, name);
    return json_object_set(of_kind, name, document) == 0 ? CTL_OK
                                                         : ctl_say(CTL_FAILED, "out of memory");
}

static int add_bundle(json_t *documents, const char *file, json_t *bundle)
{
    const char *kind, *name;
    json_t *of_kind, *document;
    int exit = CTL_OK;

    json_object_foreach(bundle, kind, of_kind)
    {
        if (!json_is_object(of_kind))
            return ctl_say(CTL_USAGE, "%s: /documents/%s: must be an object of documents by name",
                           file, kind);
        if (json_object_get(documents, path_of_kind(kind)) == NULL &&
            json_object_set_new(documents, path_of_kind(kind), json_object()) != 0)
            return ctl_say(CTL_FAILED, "out of memory");
        json_object_foreach(of_kind, name, document) if (exit == CTL_OK) exit =
            add(documents, file, kind, name, document);
    }
    return exit;
}

static int add_file(json_t *documents, const char *file)
{
    struct ps_json_reader reader;
    struct ps_str kind = {0}, name = {0};
    struct ps_fault fault;
    json_t *json;
    int exit = parse(file, &json);

    if (exit != CTL_OK)
        return exit;
    if (json_is_object(json_object_get(json, "documents"))) {
        exit = add_bundle(documents, file, json_object_get(json, "documents"));
        json_decref(json);
        return exit;
    }
    ps_json_reader_init(&reader, json, "", &fault);
    ps_json_require(&reader, (const char *const[]){"kind", "name", "document", NULL});
    ps_json_string(&reader, "kind", PS_NAME_MAX, &kind);
    ps_json_string(&reader, "name", PS_USER_MAX, &name);
    const json_t *document = ps_json_value(&reader, "document");
    if (document != NULL && !json_is_object(document))
        ps_json_fault(&reader, "document", "must be an object");
    if (ps_json_done(&reader) < 0)
        exit = ctl_say(CTL_USAGE, "%s: %s %s", file, fault.path, fault.text);
    else
        exit = add(documents, file, kind.at, name.at, (json_t *)(uintptr_t)document);
    json_decref(json);
    return exit;
}

/* --- Directories. --- */

static int no_dots(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static int add_directory(json_t *documents, const char *path, int depth, int *files)
{
    struct dirent **entries;
    int count = scandir(path, &entries, no_dots, alphasort), exit = CTL_OK;

    if (count < 0)
        return ctl_say(CTL_USAGE, "%s: %s", path, strerror(errno));
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        struct stat st;
        char *inner = NULL;
        bool is_document =
            ends_with(name, ".json") || ends_with(name, ".yaml") || ends_with(name, ".yml");
        if (exit == CTL_OK && asprintf(&inner, "%s/%s", path, name) < 0)
            exit = ctl_say(CTL_FAILED, "out of memory");
        else if (exit == CTL_OK && stat(inner, &st) == 0 && S_ISDIR(st.st_mode))
            exit = depth < DEPTH_MAX ? add_directory(documents, inner, depth + 1, files)
                                     : ctl_say(CTL_USAGE, "%s: more than %d levels of directories",
                                               inner, DEPTH_MAX);
        else if (exit == CTL_OK && is_document)
            exit = ++*files <= FILES_MAX ? add_file(documents, inner)
                                         : ctl_say(CTL_USAGE, "more than %d files", FILES_MAX);
        free(inner);
        free(entries[i]);
    }
    free(entries);
    return exit;
}

int ctl_files_bundle(const char *path, json_t **ret_documents)
{
    json_t *documents = json_object();
    struct stat st;
    int files = 0;

    if (documents == NULL)
        return ctl_say(CTL_FAILED, "out of memory");
    int exit = strcmp(path, "-") != 0 && stat(path, &st) == 0 && S_ISDIR(st.st_mode)
                   ? add_directory(documents, path, 1, &files)
                   : add_file(documents, path);
    if (exit == CTL_OK)
        *ret_documents = documents;
    else
        json_decref(documents);
    return exit;
}
