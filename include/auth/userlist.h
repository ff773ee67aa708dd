/*
 * userlist.h - the users of auth_file: lines of "name" "secret".
 *
 * As in PgBouncer: "" inside quotes is one quote, a line that begins with ; is a comment, what stands
 * between the two and after the second is ignored, and of two lines with one name the last counts, unless all
 * of that name are asked for.
 * Unlike PgBouncer a bad line is reported and skipped, and quotes do not span lines.
 * Configuration time: aborts when memory is out. A finished list is never changed, so all may read it.
 */
#ifndef AUTH_USERLIST_H
#define AUTH_USERLIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "auth/credential.h"
#include "base/compiler.h"

#define USERLIST_NAME_MAX   63
#define USERLIST_SECRET_MAX 2047
#define USERLIST_OLDER_MAX  3

struct userlist_entry {
    char *name;
    struct credential credential; /* credential.secret is the text as written, quotes undone */
    uint32_t line;                /* from 1; of the last line with the name */
    struct credential *older;     /* of lines above it, the last first; only where all are asked for */
    uint32_t n_older;             /* at most USERLIST_OLDER_MAX */
};

struct userlist {
    struct userlist_entry *entries; /* by name (strcmp), each name once */
    uint32_t count;
};

/* text never holds a secret. */
typedef void userlist_problem_fn(void *arg, uint32_t line, const char *text);

/* Are all lines of this user asked for? */
typedef bool userlist_all_fn(void *arg, const char *name);

/* data need not end in NUL. problem and all may be NULL. Never NULL; free with userlist_free(). */
struct userlist *userlist_parse(const char *data, size_t len_bytes, userlist_problem_fn *problem,
                                userlist_all_fn *all, void *arg) must_check;
/* Wipes all secrets; NULL is fine. */
void userlist_free(struct userlist *l);
/* The entry, or NULL when there is no such user. */
const struct userlist_entry *userlist_find(const struct userlist *l, const char *name) must_check;

#endif
