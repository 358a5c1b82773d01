/* The rest of the file is ignored, so that a file may end with a line end or hold a remark below.
 * The message names file and setting, never what was read. */
#include "common/program/secret.h"
#include "common/program/private_file.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Where `path` leads; PATH_MAX bytes. */
static int find_file(const char *path, const char *setting, char *ret_path, bool *ret_credential,
                     struct ps_fault *fault)
{
    const char *directory = getenv("CREDENTIALS_DIRECTORY");
    *ret_credential = directory != NULL && strchr(path, '/') == NULL;
    int len = *ret_credential ? snprintf(ret_path, PATH_MAX, "%s/%s", directory, path)
                              : snprintf(ret_path, PATH_MAX, "%s", path);
    return len < PATH_MAX ? 0 : ps_fault(fault, PS_E_INVALID, setting, "the path is too long");
}

static int read_line(FILE *file, const char *path, const char *setting, size_t max,
                     char *ret_secret, struct ps_fault *fault)
{
    size_t len = 0;
    int c;
    while ((c = getc(file)) != EOF && c != '\n' && len <= max) {
        if (len < max)
            ret_secret[len] = (char)c;
        len++;
    }
    if (ferror(file))
        return ps_fault(fault, PS_E_IO, setting, "%s cannot be read: %s", path, strerror(errno));
    if (len > max)
        return ps_fault(fault, PS_E_INVALID, setting,
                        "the first line of %s is longer than %zu bytes", path, max);
    if (len > 0 && ret_secret[len - 1] == '\r')
        len--;
    if (len == 0 || memchr(ret_secret, '\0', len) != NULL)
        return ps_fault(fault, PS_E_INVALID, setting, "the first line of %s has no secret", path);
    ret_secret[len] = '\0';
    return 0;
}

/* Opens a file that only those may read who should. */
static int open_file(const char *path, const char *setting, char name[PATH_MAX], FILE **ret_file,
                     struct ps_fault *fault)
{
    bool is_credential;
    struct stat st;
    int err = find_file(path, setting, name, &is_credential, fault);
    if (err < 0)
        return err;
    FILE *file = fopen(name, "re");
    if (file == NULL || fstat(fileno(file), &st) != 0)
        err = ps_fault(fault, ps_file_err(errno), setting, "%s cannot be opened: %s%s", name,
                       strerror(errno),
                       strchr(name, '/') == NULL
                           ? "; names of credentials work only if systemd starts the program"
                           : "");
    else if (!is_credential && (st.st_mode & 07) != 0)
        err = ps_fault(fault, PS_E_PERMISSION, setting,
                       "%s may be read by everybody (mode %04o): chmod 600 %s", name,
                       (unsigned)(st.st_mode & 07777), name);
    if (err < 0 && file != NULL)
        (void)fclose(file);
    *ret_file = file;
    return err;
}

int ps_secret_read(const char *path, const char *setting, size_t max, char *ret_secret,
                   struct ps_fault *fault)
{
    char name[PATH_MAX];
    FILE *file;
    int err = open_file(path, setting, name, &file, fault);
    if (err < 0)
        return err;
    err = read_line(file, name, setting, max, ret_secret, fault);
    (void)fclose(file);
    return err;
}

/* Adds the next line, if it counts; *ret_more: there was one. PS_E_FULL: it is too long. */
static int take_line(FILE *file, size_t max, struct ps_strings *lines, bool *ret_more)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t len = getline(&line, &room, file);
    *ret_more = len >= 0;
    while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '\r'))
        line[--len] = '\0';
    if (len > 0 && len <= (ssize_t)max && line[0] != '#') {
        lines->at[lines->count++] = line;
        return 0;
    }
    free(line);
    return len > (ssize_t)max ? PS_E_FULL : 0;
}

int ps_secret_read_lines(const char *path, const char *setting, size_t max, size_t lines,
                         struct ps_strings *ret_lines, struct ps_fault *fault)
{
    char name[PATH_MAX];
    FILE *file;
    struct ps_strings found = {calloc(lines + 1, sizeof *found.at), 0};
    bool more = true;
    int err = found.at == NULL ? ps_fault(fault, PS_E_NOMEM, setting, "out of memory")
                               : open_file(path, setting, name, &file, fault);
    if (err < 0) {
        free(found.at);
        return err;
    }
    while (err == 0 && more && found.count <= lines)
        err = take_line(file, max, &found, &more);
    if (err < 0)
        err = ps_fault(fault, PS_E_INVALID, setting, "a line of %s is longer than %zu bytes", name,
                       max);
    else if (found.count > lines)
        err = ps_fault(fault, PS_E_INVALID, setting, "%s has more than %zu lines", name, lines);
    else if (found.count == 0)
        err = ps_fault(fault, PS_E_INVALID, setting, "%s has no lines", name);
    (void)fclose(file);
    if (err < 0)
        ps_secret_lines_free(&found);
    else
        *ret_lines = found;
    return err;
}

void ps_secret_lines_free(struct ps_strings *lines)
{
    for (size_t i = 0; i < lines->count; i++)
        free(lines->at[i]);
    free(lines->at);
    *lines = (struct ps_strings){0};
}
