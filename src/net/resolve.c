/*
 * resolve.c - the cache of host names, and one lookup per name at a time.
 *
 * getaddrinfo() blocks, so a helper thread calls it. Dials that ask for a name that
 * is being looked up wait for the same answer. When it is there, each waiter gets
 * mail.
 *
 * Threads: any. cache_lock (a leaf) protects the table, the waiters and the answers
 * under way; nothing is allocated, posted or freed while it is held. A
 * name with a lookup under way or with waiters is not removed.
 * A wait is freed by its owner thread: at once when it is cancelled before it was
 * posted, else when its mail arrives. What never arrives, because its loop has ended, is freed
 * by dial_cache_destroy().
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "net/helper.h"
#include "resolve_int.h"

#define BUCKETS 256u

struct cache_name {
    struct helper_job job; /* belongs to the helpers while is_running */
    /* [cache_lock] */
    struct cache_name *next; /* in the bucket */
    struct list waiters;     /* of struct resolve_wait */
    bool is_running;
    int64_t resolved_us; /* when the answer came; 0 = there is none */
    int64_t expires_us;  /* by the lifetimes that were last asked for */
    int64_t ttl_us, negative_ttl_us;
    struct address_list *addresses; /* NULL: not found, see error */
    char error[RESOLVE_ERROR_BYTES];
    /* constant */
    char name[];
};

static struct lock cache_lock = {PTHREAD_MUTEX_INITIALIZER, LOCK_RANK_LEAF};
/* [cache_lock] */
static struct cache_name *buckets[BUCKETS];
static uint32_t name_count;
static uint32_t pending_count;
static struct list posted = {&posted, &posted};

struct address_list *address_list_new(int n)
{
    struct address_list *list = calloc(1, sizeof(*list) + (size_t)n * sizeof(list->items[0]));
    if (list == NULL)
        return NULL;
    atomic_init(&list->refs, 1);
    list->count = n;
    return list;
}

void address_list_unref(struct address_list *list)
{
    if (list != NULL && atomic_fetch_sub_explicit(&list->refs, 1, memory_order_acq_rel) == 1)
        free(list);
}

static struct address_list *address_list_ref(struct address_list *list)
{
    atomic_fetch_add_explicit(&list->refs, 1, memory_order_relaxed);
    return list;
}

static uint32_t bucket_of(const char *name)
{
    uint32_t h = 2166136261u; /* FNV-1a; names come from the configuration, not from clients */
    for (; *name != '\0'; name++)
        h = (h ^ (uint8_t)*name) * 16777619u;
    return h % BUCKETS;
}

/* --- the lookup, on a helper thread --- */

static struct address_list *lookup(const char *name, char *err)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    struct addrinfo *found = NULL;
    int rc = getaddrinfo(name, NULL, &hints, &found);
    if (rc == EAI_NONAME || rc == EAI_ADDRFAMILY || rc == EAI_BADFLAGS) {
        /* AI_ADDRCONFIG does not count loopback: without other interfaces it hides even "localhost". */
        hints.ai_flags = 0;
        rc = getaddrinfo(name, NULL, &hints, &found);
    }
    if (rc != 0) {
        str_copy(err, rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc), RESOLVE_ERROR_BYTES);
        return NULL;
    }
    int n = 0;
    for (struct addrinfo *ai = found; ai != NULL; ai = ai->ai_next)
        n++;
    struct address_list *list = address_list_new(n);
    if (list == NULL) {
        freeaddrinfo(found);
        str_copy(err, "out of memory", RESOLVE_ERROR_BYTES);
        return NULL;
    }
    n = 0;
    for (struct addrinfo *ai = found; ai != NULL; ai = ai->ai_next, n++) {
        memcpy(&list->items[n].addr, ai->ai_addr, ai->ai_addrlen);
        list->items[n].bytes = ai->ai_addrlen;
    }
    freeaddrinfo(found);
    return list;
}

static int64_t name_lifetime_us(const struct cache_name *n)
{
    return n->addresses != NULL ? n->ttl_us : n->negative_ttl_us;
}

static void name_work(struct helper_job *job)
{
    struct cache_name *n = container_of(job, struct cache_name, job);
    char err[RESOLVE_ERROR_BYTES] = "";
    struct address_list *addresses = lookup(n->name, err);
    int64_t now_us = clock_now_us();
    struct mail *mails = NULL;

    lock_acquire(&cache_lock);
    struct address_list *old = n->addresses;
    n->addresses = addresses;
    memcpy(n->error, err, sizeof(err));
    n->resolved_us = now_us;
    n->expires_us = now_us + name_lifetime_us(n);
    n->is_running = false;
    pending_count--;
    for (struct list *node; (node = list_pop_front(&n->waiters)) != NULL;) {
        struct resolve_wait *w = list_entry(node, struct resolve_wait, node);
        w->addresses = addresses != NULL ? address_list_ref(addresses) : NULL;
        memcpy(w->error, err, sizeof(err));
        w->is_posted = true;
        list_push_back(&posted, &w->node);
        w->mail.next = mails;
        mails = &w->mail;
    }
    lock_release(&cache_lock);
    /* From here on n may be looked up again, or removed. */

    address_list_unref(old);
    while (mails != NULL) {
        struct resolve_wait *w = container_of(mails, struct resolve_wait, mail);
        mails = mails->next;
        loop_post(w->loop, &w->mail);
    }
}

/* --- asking --- */

static struct cache_name *name_new(const char *name)
{
    size_t size = strlen(name) + 1;
    struct cache_name *n = calloc(1, sizeof(*n) + size);
    if (n == NULL)
        return NULL;
    memcpy(n->name, name, size);
    list_init(&n->waiters);
    n->job.work = name_work;
    return n;
}

static void name_free(struct cache_name *n)
{
    address_list_unref(n->addresses);
    free(n);
}

static struct cache_name *name_find_locked(const char *name)
{
    struct cache_name *n = buckets[bucket_of(name)];
    while (n != NULL && strcmp(n->name, name) != 0)
        n = n->next;
    return n;
}

/* Puts n into its bucket and takes out what has expired there: the table stays as small as what is in use. */
static struct cache_name *name_insert_locked(struct cache_name *n, int64_t now_us)
{
    struct cache_name *expired = NULL;
    struct cache_name **at = &buckets[bucket_of(n->name)];
    struct cache_name **head = at;
    while (*at != NULL) {
        struct cache_name *it = *at;
        if (!it->is_running && list_is_empty(&it->waiters) && it->expires_us <= now_us) {
            *at = it->next;
            it->next = expired;
            expired = it;
            name_count--;
        } else {
            at = &it->next;
        }
    }
    n->next = *head;
    *head = n;
    name_count++;
    return expired;
}

static bool name_is_fresh(const struct cache_name *n, int64_t now_us)
{
    return n->resolved_us != 0 && now_us < n->resolved_us + name_lifetime_us(n);
}

enum resolve_result resolve_begin(const char *name, struct loop *loop, int64_t ttl_us,
                                  int64_t negative_ttl_us, void *owner, struct address_list **addresses,
                                  struct resolve_wait **wait, char *err)
{
    int64_t now_us = clock_now_us();
    struct resolve_wait *w = calloc(1, sizeof(*w));
    struct cache_name *fresh = name_new(name);
    struct cache_name *expired = NULL;
    if (w == NULL || fresh == NULL) {
        free(w);
        free(fresh);
        str_copy(err, "out of memory", RESOLVE_ERROR_BYTES);
        return RESOLVE_ERR;
    }
    w->mail.type = MAIL_DIAL_RESOLVED;
    w->loop = loop;
    w->owner = owner;

    bool must_submit = false;
    enum resolve_result result = RESOLVE_AGAIN;
    lock_acquire(&cache_lock);
    struct cache_name *n = name_find_locked(name);
    if (n == NULL) {
        n = fresh;
        fresh = NULL;
        expired = name_insert_locked(n, now_us);
    }
    n->ttl_us = ttl_us;
    n->negative_ttl_us = negative_ttl_us;
    if (name_is_fresh(n, now_us) && !n->is_running) {
        n->expires_us = n->resolved_us + name_lifetime_us(n);
        result = n->addresses != NULL ? RESOLVE_OK : RESOLVE_ERR;
        if (result == RESOLVE_OK)
            *addresses = address_list_ref(n->addresses);
        else
            memcpy(err, n->error, sizeof(n->error));
    } else {
        list_push_back(&n->waiters, &w->node);
        must_submit = !n->is_running;
        if (must_submit) {
            n->is_running = true;
            pending_count++;
        }
    }
    lock_release(&cache_lock);

    if (must_submit)
        helper_submit(&n->job);
    if (result == RESOLVE_AGAIN)
        *wait = w;
    else
        free(w);
    free(fresh);
    while (expired != NULL) {
        struct cache_name *next = expired->next;
        name_free(expired);
        expired = next;
    }
    return result;
}

void resolve_finish(struct resolve_wait *w)
{
    lock_acquire(&cache_lock);
    list_del(&w->node);
    lock_release(&cache_lock);
}

void resolve_wait_free(struct resolve_wait *w)
{
    address_list_unref(w->addresses);
    free(w);
}

void resolve_cancel(struct resolve_wait *w)
{
    w->owner = NULL;
    lock_acquire(&cache_lock);
    bool is_ours = !w->is_posted;
    if (is_ours)
        list_del(&w->node);
    lock_release(&cache_lock);
    if (is_ours)
        resolve_wait_free(w);
}

/* --- observation and end --- */

uint32_t dial_cached_names(void)
{
    lock_acquire(&cache_lock);
    uint32_t n = name_count;
    lock_release(&cache_lock);
    return n;
}

uint32_t dial_pending_names(void)
{
    lock_acquire(&cache_lock);
    uint32_t n = pending_count;
    lock_release(&cache_lock);
    return n;
}

static void addresses_format(const struct address_list *list, char *out, size_t size)
{
    size_t len = 0;
    out[0] = '\0';
    for (int i = 0; i < list->count; i++) {
        const struct sockaddr_storage *a = &list->items[i].addr;
        char text[INET6_ADDRSTRLEN];
        const void *bytes = a->ss_family == AF_INET6
                                ? (const void *)&((const struct sockaddr_in6 *)a)->sin6_addr
                                : (const void *)&((const struct sockaddr_in *)a)->sin_addr;
        if (inet_ntop(a->ss_family, bytes, text, sizeof(text)) == NULL || len + strlen(text) + 2 > size)
            return;
        len += (size_t)snprintf(out + len, size - len, "%s%s", len > 0 ? "," : "", text);
    }
}

uint32_t dial_names_snapshot(struct dial_name_row *rows, uint32_t max)
{
    int64_t now_us = clock_now_us();
    uint32_t count = 0;
    lock_acquire(&cache_lock);
    for (uint32_t b = 0; b < BUCKETS; b++) {
        for (struct cache_name *n = buckets[b]; n != NULL && count < max; n = n->next) {
            struct dial_name_row *row = &rows[count++];
            str_copy(row->name, n->name, sizeof(row->name));
            row->ttl_us = n->resolved_us != 0 && n->expires_us > now_us ? n->expires_us - now_us : 0;
            row->addresses[0] = '\0';
            if (n->addresses != NULL)
                addresses_format(n->addresses, row->addresses, sizeof(row->addresses));
        }
    }
    lock_release(&cache_lock);
    return count;
}

void dial_cache_destroy(void)
{
    /* No lock: no other thread is left. */
    for (uint32_t b = 0; b < BUCKETS; b++) {
        while (buckets[b] != NULL) {
            struct cache_name *n = buckets[b];
            buckets[b] = n->next;
            for (struct list *node; (node = list_pop_front(&n->waiters)) != NULL;)
                resolve_wait_free(list_entry(node, struct resolve_wait, node));
            name_free(n);
        }
    }
    for (struct list *node; (node = list_pop_front(&posted)) != NULL;)
        resolve_wait_free(list_entry(node, struct resolve_wait, node));
    name_count = 0;
    pending_count = 0;
}
