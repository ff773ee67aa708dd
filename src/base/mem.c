/*
 * mem.c - aborting allocation for boot, and slabs for run time.
 *
 * A slab takes chunks of about 64 objects from malloc() and threads the free ones
 * on a list through their first word; objects carry no header. Under
 * AddressSanitizer a free object is poisoned, so that use after free and double
 * free are reported as with malloc().
 *
 * Threads: x* any; a slab belongs to one thread.
 */
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

#if defined(__SANITIZE_ADDRESS__)
#define SLAB_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SLAB_ASAN 1
#endif
#endif

#ifdef SLAB_ASAN
#include <sanitizer/asan_interface.h>
#define slab_poison(p, n)   __asan_poison_memory_region(p, n)
#define slab_unpoison(p, n) __asan_unpoison_memory_region(p, n)
#else
#define slab_poison(p, n)   ((void)(p))
#define slab_unpoison(p, n) ((void)(p))
#endif

#define SLAB_ALIGN         16 /* of objects; also the size of the chunk header */
#define SLAB_CHUNK_OBJECTS 64
#define SLAB_CHUNK_MIN     4096   /* bytes: tiny objects come more than 64 at a time ... */
#define SLAB_CHUNK_MAX     131072 /* ... and huge ones fewer, so that a chunk wastes little */

static no_return void die_out_of_memory(void)
{
    static const char text[] = "out of memory\n";
    ssize_t n = write(STDERR_FILENO, text, sizeof(text) - 1);
    (void)n;
    abort();
}

void *xmalloc(size_t n)
{
    void *p = malloc(n > 0 ? n : 1);
    if (p == NULL)
        die_out_of_memory();
    return p;
}

void *xcalloc(size_t n, size_t size)
{
    void *p = calloc(n > 0 ? n : 1, size > 0 ? size : 1);
    if (p == NULL)
        die_out_of_memory();
    return p;
}

void *xrealloc(void *p, size_t n)
{
    p = realloc(p, n > 0 ? n : 1);
    if (p == NULL)
        die_out_of_memory();
    return p;
}

char *xstrdup(const char *s)
{
    return xstrndup(s, strlen(s));
}

char *xstrndup(const char *s, size_t n)
{
    size_t len = strnlen(s, n);
    char *copy = xmalloc(len + 1);
    memcpy(copy, s, len);
    copy[len] = '\0';
    return copy;
}

char *xasprintf(const char *fmt, ...)
{
    va_list ap;
    char *s = NULL;
    va_start(ap, fmt);
    int n = vasprintf(&s, fmt, ap);
    va_end(ap);
    if (n < 0)
        die_out_of_memory();
    return s;
}

void slab_init(struct slab *s, size_t object_size)
{
    if (object_size < sizeof(void *))
        object_size = sizeof(void *);
    *s = (struct slab){.object_size = (object_size + SLAB_ALIGN - 1) / SLAB_ALIGN * SLAB_ALIGN};
}

static size_t slab_chunk_objects(const struct slab *s)
{
    size_t n = SLAB_CHUNK_OBJECTS;
    if (n * s->object_size < SLAB_CHUNK_MIN)
        n = SLAB_CHUNK_MIN / s->object_size;
    if (n * s->object_size > SLAB_CHUNK_MAX)
        n = SLAB_CHUNK_MAX / s->object_size;
    return n > 0 ? n : 1;
}

static void slab_push(struct slab *s, void *object)
{
    *(void **)object = s->free_list;
    s->free_list = object;
    slab_poison(object, s->object_size);
}

/* False when memory is out. */
static bool slab_grow(struct slab *s)
{
    size_t n = slab_chunk_objects(s);
    char *chunk = malloc(SLAB_ALIGN + n * s->object_size);
    if (chunk == NULL)
        return false;
    *(void **)chunk = s->chunks;
    s->chunks = chunk;
    s->total += n;
    /* From the end, so that objects are handed out in rising addresses. */
    while (n-- > 0)
        slab_push(s, chunk + SLAB_ALIGN + n * s->object_size);
    return true;
}

void *slab_alloc(struct slab *s)
{
    if (s->free_list == NULL && !slab_grow(s))
        return NULL;
    void *object = s->free_list;
    slab_unpoison(object, s->object_size);
    s->free_list = *(void **)object;
    s->in_use++;
    return memset(object, 0, s->object_size);
}

void slab_free(struct slab *s, void *p)
{
    if (p == NULL)
        return;
    slab_push(s, p);
    s->in_use--;
}

void slab_destroy(struct slab *s)
{
    size_t chunk_bytes = SLAB_ALIGN + slab_chunk_objects(s) * s->object_size;
    while (s->chunks != NULL) {
        void *chunk = s->chunks;
        s->chunks = *(void **)chunk;
        slab_unpoison(chunk, chunk_bytes);
        free(chunk);
    }
    slab_init(s, s->object_size);
    (void)chunk_bytes;
}
