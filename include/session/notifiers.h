/*
 * notifiers.h - whose notifications those of a server are.
 *
 * PostgreSQL names the process that has notified; clients know each other by the process ids that pgsluice
 * has given them. Which client had the server at the time is written down here: the last links of each server
 * connection, and what its clients have been seen to notify.
 *
 * The listening connection hears of a notification a little after it was committed, and by then another
 * client may have the server. A notification that was seen in a text (NOTIFY, or "notify" and the payload as
 * a literal or parameter) is known by its payload; others go to the client that had the server, give or take
 * NOTIFIER_LAG_US.
 *
 * Threads: any. Links are atomics, written by the server's owner; the rest is under the lock of the table (a
 * leaf).
 */
#ifndef SESSION_NOTIFIERS_H
#define SESSION_NOTIFIERS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"

#define NOTIFIER_LINKS  4 /* power of two */
#define NOTIFIER_SAID   1024
#define NOTIFIER_LAG_US 300

struct notifiers;

/* Somebody had the server from then on; times are the low bits of microseconds, and enough of them. */
struct notifier_link {
    _Atomic uint32_t pid;
    _Atomic uint32_t since_us;
};

struct notifier_said {
    uint64_t hash; /* of a literal */
    uint32_t pid;  /* the client's; 0: used up */
    uint32_t since_us;
};

/* A server connection. */
struct notifier {
    /* constant */
    uint64_t endpoint;
    uint32_t pid;                   /* the server's */
    const _Atomic int *n_listening; /* of all: without any nobody need look for NOTIFY */
    /* [atomic] by its owner */
    _Atomic uint32_t n_links; /* links[n_links - 1] is the newest, modulo */
    struct notifier_link links[NOTIFIER_LINKS];
    /* [lock] */
    struct notifier *next;
    struct notifier_said *said; /* [NOTIFIER_SAID]; NULL until there is any */
    uint32_t n_said;            /* said[n_said - 1] is the newest, modulo */
    uint32_t first_said;        /* those before are used up */
};

/* Boot; may abort. */
struct notifiers *notifiers_new(void);
void notifiers_free(struct notifiers *n);
/* NULL when memory is out: its notifications keep its own process id. */
struct notifier *notifiers_add(struct notifiers *n, uint64_t endpoint, uint32_t pid);
void notifiers_remove(struct notifiers *n, struct notifier *x); /* NULL is fine */

/* Its owner: a client has it now. pid: what the client knows as its own. */
static inline void notifier_link(struct notifier *x, uint32_t pid, int64_t now_us)
{
    const uint32_t n = atomic_load_explicit(&x->n_links, memory_order_relaxed);
    struct notifier_link *link = &x->links[n % NOTIFIER_LINKS];

    if (n > 0 && atomic_load_explicit(&x->links[(n - 1) % NOTIFIER_LINKS].pid, memory_order_relaxed) == pid)
        return;
    atomic_store_explicit(&link->pid, pid, memory_order_relaxed);
    atomic_store_explicit(&link->since_us, (uint32_t)now_us, memory_order_relaxed);
    atomic_store_explicit(&x->n_links, n + 1, memory_order_release);
}

/* A listening connection comes (1) or goes (-1). */
void notifiers_count_listening(struct notifiers *n, int by);
static inline bool notifier_is_heard(const struct notifier *x)
{
    return atomic_load_explicit(x->n_listening, memory_order_relaxed) > 0;
}
/* Its client is about to send this text, or this parameter of one: if it notifies, then with one of the
 * literals in it. */
void notifier_says_text(struct notifiers *n, struct notifier *x, uint32_t pid, const char *text,
                        uint32_t len_bytes, int64_t now_us);
void notifier_says_value(struct notifiers *n, struct notifier *x, uint32_t pid, const uint8_t *value,
                         uint32_t len_bytes, int64_t now_us);

/* The process id that clients are to see: the client's, or the server's own where nobody of ours has it. */
uint32_t notifiers_find(struct notifiers *n, uint64_t endpoint, uint32_t pid, const char *channel,
                        const char *payload, int64_t now_us) must_check;

#endif
