/*
 * pattern_int.h - regular expressions in rule files.
 */
#ifndef AUTH_PATTERN_INT_H
#define AUTH_PATTERN_INT_H

#include <regex.h>
#include <stdbool.h>

#include "base/buf.h"

/* NULL, with the reason in why, when it is none, or needs what is not to be had here. */
regex_t *pattern_compile(const char *text, struct buf *why);
void pattern_free(regex_t *re);
/* group: where the first group matched (rm_so -1: nowhere); NULL = not wanted. */
bool pattern_matches(const regex_t *re, const char *name, regmatch_t *group);
size_t pattern_groups(const regex_t *re);

#endif
