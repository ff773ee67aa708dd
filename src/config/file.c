/*
 * file.c - reads a whole file. Blocking; control thread only.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/secret.h"
#include "config_int.h"

#define FILE_MAX_BYTES (64 * 1024 * 1024)

struct config_file_id file_identify(const struct stat *st)
{
    return (struct config_file_id){
        .device = st->st_dev,
        .inode = st->st_ino,
        .size = st->st_size,
        .changed_ns = (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec,
    };
}

char *file_read(const char *path, size_t *len, struct config_file_id *id)
{
    struct buf b;
    char block[8192];
    size_t n;
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return NULL;
    struct stat st;
    if (id != NULL && fstat(fileno(f), &st) == 0) /* before reading: what is written meanwhile shows */
        *id = file_identify(&st);
    buf_init(&b, FILE_MAX_BYTES);
    errno = 0;
    while (!b.failed && (n = fread(block, 1, sizeof block, f)) > 0)
        buf_append(&b, block, (uint32_t)n);
    int error = 0;
    if (ferror(f))
        error = errno != 0 ? errno : EIO;
    else if (b.failed)
        error = EFBIG;
    fclose(f);
    secret_wipe(block, sizeof block);
    char *data = NULL;
    if (error == 0) {
        data = xmalloc(b.len + 1);
        memcpy(data, buf_cstr(&b), b.len + 1);
        *len = b.len;
    }
    secret_wipe(b.data, b.capacity);
    buf_free(&b);
    errno = error;
    return data;
}
