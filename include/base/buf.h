/*
 * buf.h - growable byte buffer with a bound.
 *
 * Appending to a buffer that cannot grow (out of memory, or past max_bytes) sets
 * `failed` and is ignored from then on, so that a writer checks once at the end.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"

struct buf {
    uint8_t *data;
    uint32_t len;       /* bytes in use */
    uint32_t capacity;  /* bytes allocated */
    uint32_t max_bytes; /* bound of len; 0 = 1 GiB */
    bool failed;        /* an append was dropped */
};

void buf_init(struct buf *b, uint32_t max_bytes);
void buf_free(struct buf *b);
void buf_clear(struct buf *b);
/* Makes room for n more bytes; false (and failed) when it cannot. */
bool buf_reserve(struct buf *b, uint32_t n);
/* As buf_reserve(), for secrets: where it grows, nothing is left in the memory that it gives back. */
bool buf_reserve_wiped(struct buf *b, uint32_t n);
void buf_append(struct buf *b, const void *p, uint32_t n) hot_path;
void buf_append_str(struct buf *b, const char *s);
void buf_append_byte(struct buf *b, uint8_t c);
void buf_printf(struct buf *b, const char *fmt, ...) printf_like(2, 3);
/* Drops n bytes at the front. */
void buf_consume(struct buf *b, uint32_t n);
/* The content with a NUL behind it (not counted); "" when failed. Valid until the next change. */
const char *buf_cstr(struct buf *b);

#endif
