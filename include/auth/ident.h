/*
 * ident.h - maps from names that the system or a certificate gives to users: pg_ident.conf.
 *
 * Format and meaning are PostgreSQL's (16): "map system-name user"; a system name that begins with / is a
 * regular expression, of which \1 in the user stands for the first group; a user may be `all` or a regular
 * expression, too. +role cannot be known here and is a problem.
 *
 * Threads: made at configuration time (may abort), then immutable; matching is for any thread.
 */
#ifndef AUTH_IDENT_H
#define AUTH_IDENT_H

#include <stdbool.h>
#include <stddef.h>

#include "auth/source.h"
#include "base/compiler.h"

struct ident;

/* Never NULL; to be used only when there were no problems. */
struct ident *ident_parse(const struct auth_source *source) must_check;
/* NULL is fine. */
void ident_free(struct ident *i);
/* i may be NULL: no file. */
bool ident_has_map(const struct ident *i, const char *map) must_check;
/* May the bearer of system_name log in as user? map NULL: when the names are equal. i may be NULL. */
bool ident_allows(const struct ident *i, const char *map, const char *system_name,
                  const char *user) must_check;
size_t ident_count(const struct ident *i);

#endif
