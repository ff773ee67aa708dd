/*
 * secret.h - handling of passwords and keys: wiped after use, compared in constant time.
 */
#ifndef BASE_SECRET_H
#define BASE_SECRET_H

#include <stdbool.h>
#include <stddef.h>

/* A wipe that the compiler may not remove. */
void secret_wipe(void *p, size_t len_bytes);
/* Wipes and frees a string; NULL is fine. */
void secret_free(char *s);
/* Equal? Time depends on len_bytes only. */
bool secret_equal(const void *a, const void *b, size_t len_bytes);

#endif
