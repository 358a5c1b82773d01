/* A directory of a test's own, and what tests do with files in it. */
#ifndef PS_TEST_TEMP_DIR_H
#define PS_TEST_TEMP_DIR_H

#include "tests/unit/check.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct temp_dir {
    char path[64];
    char file[8][128]; /* places for the paths that temp_file gives */
    size_t used;
};

static inline struct temp_dir temp_dir_make(void)
{
    struct temp_dir dir = {.path = "/tmp/penstock-test-XXXXXX"};
    assert_non_null(mkdtemp(dir.path));
    return dir;
}

static inline int temp_remove_one(const char *path, const struct stat *st, int kind,
                                  struct FTW *walk)
{
    (void)st;
    (void)kind;
    (void)walk;
    return remove(path);
}

static inline void temp_dir_remove(struct temp_dir *dir)
{
    assert_int_equal(nftw(dir->path, temp_remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

/* "<dir>/<name>", valid while the directory is; at most 8. */
static inline const char *temp_file(struct temp_dir *dir, const char *name)
{
    assert_true(dir->used < 8);
    char *path = dir->file[dir->used++];
    (void)snprintf(path, sizeof dir->file[0], "%s/%s", dir->path, name);
    return path;
}

static inline void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, 0600), 0);
}

/* Heap. */
static inline char *read_file(const char *path)
{
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    char *text = calloc(1, 1 << 20);
    assert_non_null(text);
    size_t len = fread(text, 1, (1 << 20) - 1, file);
    text[len] = '\0';
    fclose(file);
    return text;
}

static inline unsigned mode_of(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 07777;
}

#endif
