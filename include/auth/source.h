/*
 * source.h - where the parsers of rule files (hba.h, ident.h) get text from, and whom they tell what is
 * wrong.
 *
 * The parsers do no I/O: whoever calls them reads files. Configuration time: may abort when memory is out.
 */
#ifndef AUTH_SOURCE_H
#define AUTH_SOURCE_H

#include <stddef.h>

/* The whole file with a NUL behind it (malloc'ed), or NULL with errno. */
typedef char *auth_read_fn(void *arg, const char *path, size_t *len_bytes);
/* line: from 1; 0 = the file as a whole. */
typedef void auth_problem_fn(void *arg, const char *file, int line, const char *text);

struct auth_source {
    const char *path;
    auth_read_fn *read;
    auth_problem_fn *problem;
    void *arg;
};

#endif
