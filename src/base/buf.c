/*
 * buf.c - growable byte buffer with a bound.
 *
 * Invariant: len <= max_bytes; capacity may be one more, for the NUL of buf_cstr().
 * Threads: the owner only.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/secret.h"

#define BUF_DEFAULT_MAX  (UINT32_C(1) << 30)
#define BUF_MIN_CAPACITY 128

static uint64_t buf_max_bytes(const struct buf *b)
{
    if (b->max_bytes == 0)
        return BUF_DEFAULT_MAX;
    return b->max_bytes < UINT32_MAX ? b->max_bytes : UINT32_MAX - 1;
}

void buf_init(struct buf *b, uint32_t max_bytes)
{
    *b = (struct buf){.max_bytes = max_bytes};
}

void buf_free(struct buf *b)
{
    free(b->data);
    buf_init(b, b->max_bytes);
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    b->failed = false;
}

/* Makes capacity at least `need`; doubles, so that appending is linear on the whole. */
static bool buf_grow(struct buf *b, uint64_t need, uint64_t limit)
{
    uint64_t capacity = b->capacity > 0 ? b->capacity : BUF_MIN_CAPACITY;
    while (capacity < need)
        capacity *= 2;
    if (capacity > limit)
        capacity = limit;
    uint8_t *data = realloc(b->data, capacity);
    if (data == NULL)
        return false;
    b->data = data;
    b->capacity = (uint32_t)capacity;
    return true;
}

bool buf_reserve(struct buf *b, uint32_t n)
{
    uint64_t max = buf_max_bytes(b);
    uint64_t need = (uint64_t)b->len + n;
    if (b->failed)
        return false;
    if (need > max || (need > b->capacity && !buf_grow(b, need, max + 1)))
        b->failed = true;
    return !b->failed;
}

bool buf_reserve_wiped(struct buf *b, uint32_t n)
{
    struct buf larger = {.max_bytes = b->max_bytes, .failed = b->failed};

    if ((uint64_t)b->len + n <= b->capacity)
        return buf_reserve(b, n);
    if (b->len <= UINT32_MAX - n && buf_reserve(&larger, b->len + n)) {
        if (b->len > 0)
            memcpy(larger.data, b->data, b->len);
        larger.len = b->len;
        secret_wipe(b->data, b->capacity);
        free(b->data);
        *b = larger;
        return true;
    }
    b->failed = true;
    return false;
}

void buf_append(struct buf *b, const void *p, uint32_t n)
{
    if (n == 0 || !buf_reserve(b, n))
        return;
    memcpy(b->data + b->len, p, n);
    b->len += n;
}

void buf_append_str(struct buf *b, const char *s)
{
    size_t n = strlen(s);
    if (n > UINT32_MAX)
        b->failed = true;
    else
        buf_append(b, s, (uint32_t)n);
}

void buf_append_byte(struct buf *b, uint8_t c)
{
    buf_append(b, &c, 1);
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    char small[256];
    va_list ap;
    if (b->failed)
        return;
    va_start(ap, fmt);
    int n = vsnprintf(small, sizeof(small), fmt, ap);
    va_end(ap);
    if (n < 0) {
        b->failed = true;
        return;
    }
    if ((size_t)n < sizeof(small)) {
        buf_append(b, small, (uint32_t)n);
        return;
    }
    char *large = malloc((size_t)n + 1);
    if (large == NULL) {
        b->failed = true;
        return;
    }
    va_start(ap, fmt);
    vsnprintf(large, (size_t)n + 1, fmt, ap);
    va_end(ap);
    buf_append(b, large, (uint32_t)n);
    free(large);
}

void buf_consume(struct buf *b, uint32_t n)
{
    if (n >= b->len) {
        b->len = 0;
        return;
    }
    if (n == 0)
        return;
    memmove(b->data, b->data + n, b->len - n);
    b->len -= n;
}

const char *buf_cstr(struct buf *b)
{
    uint64_t max = buf_max_bytes(b);
    if (b->failed)
        return "";
    if (b->len == b->capacity && !buf_grow(b, (uint64_t)b->len + 1, max + 1)) {
        b->failed = true;
        return "";
    }
    b->data[b->len] = '\0';
    return (const char *)b->data;
}
