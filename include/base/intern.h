/*
 * intern.h - shared immutable strings with reference counts.
 *
 * Two equal strings are the same pointer, in all threads. The table has a leaf
 * lock; taking and dropping references is atomic and needs no lock unless the
 * last reference goes.
 */
#ifndef BASE_INTERN_H
#define BASE_INTERN_H

#include <stdint.h>

#include "base/compiler.h"

struct istr;

/* A reference to the shared string, or NULL when memory is out. */
struct istr *istr_get(const char *s, uint32_t len) must_check;
struct istr *istr_ref(struct istr *s);
void istr_unref(struct istr *s);
/* NUL-terminated. */
const char *istr_cstr(const struct istr *s);
uint32_t istr_len(const struct istr *s);
/* How many strings there are, and their bytes in memory; for SHOW MEM. Any thread. */
void istr_memory(uint64_t *strings, uint64_t *bytes);

#endif
