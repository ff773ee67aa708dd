/*
 * mem.h - memory: what may abort (boot, configuration) and what may not.
 *
 * x* functions abort with a message when memory is out; they belong to boot, to
 * configuration, and to the orders that the control thread gives all workers. On the path of
 * a connection use malloc/calloc and handle NULL, so that only the connection that asked
 * is closed (SQLSTATE 53200).
 *
 * struct slab: objects of one size, owned by one thread; freed objects are kept
 * for reuse and given back to the system with slab_destroy().
 */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

void *xmalloc(size_t n);
void *xcalloc(size_t n, size_t size);
void *xrealloc(void *p, size_t n);
char *xstrdup(const char *s);
char *xstrndup(const char *s, size_t n);
char *xasprintf(const char *fmt, ...) printf_like(1, 2);

struct slab {
    size_t object_size; /* constant; rounded up to 16 */
    void *free_list;    /* first free object; each free object begins with the next pointer */
    void *chunks;       /* chunks of objects, linked through their first word */
    size_t in_use;      /* objects handed out */
    size_t total;       /* objects in all chunks */
};

void slab_init(struct slab *s, size_t object_size);
/* Zeroed object, or NULL when memory is out. */
void *slab_alloc(struct slab *s) must_check;
void slab_free(struct slab *s, void *p);
/* Gives all chunks back; no object may be in use any more. */
void slab_destroy(struct slab *s);

#endif
