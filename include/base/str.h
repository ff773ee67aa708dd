/*
 * str.h - strings: numbers, intervals, nearest names.
 */
#ifndef BASE_STR_H
#define BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

/* Copies with truncation; always terminated when size > 0. Returns strlen(src). */
size_t str_copy(char *dst, const char *src, size_t size);
/* Whole string as a decimal number; false on anything else or out of range. */
bool str_to_int64(const char *s, int64_t *value) must_check;
/* Edit distance (insert, delete, replace, swap of neighbours), ignoring case, of the first 64 characters. */
int str_distance(const char *a, const char *b);
/* The one of names[0..n) that is nearest to s, or NULL when none is near enough to be meant. */
const char *str_nearest(const char *s, const char *const *names, size_t n);
bool str_has_prefix(const char *s, const char *prefix);

#endif
