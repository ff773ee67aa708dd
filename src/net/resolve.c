/*
 * resolve.c - the cache of host names, and one lookup per name at a time.
 *
 * Dials that ask for a name that is being looked up wait for the same answer. When it is
 * there, each waiter gets mail. A name that stays in use (dial_endpoints()) is looked
 * up again when its time is over, and its old addresses serve until the answer comes; nobody waits then.
 *
 * Threads: any. cache_lock (a leaf) protects the table, the waiters and the answers
 * under way; nothing is allocated, posted or freed while it is held. A
 * name with a lookup under way or with waiters is not removed.
 * A wait is freed by its owner thread: at once when it is cancelled before it was
 * posted, else when its mail arrives. What never arrives, because its loop has ended, is freed
 * by dial_cache_destroy().
 * Not here: who asks the name servers (resolve_cares.c, resolve_libc.c); serials of zones (zones.c).
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "base/str.h"
#include "hosts_int.h"

#define BUCKETS 256u
/* An answer of a name server that says 0 would have every connection wait for the next. */
#define LEAST_TTL_US (1 * USEC_PER_SEC)
/* How long addresses serve whose time is over. Names in use are looked up again each second. */
#define STALE_US (30 * USEC_PER_SEC)
/* Names that nobody has used for so long make room. */
#define UNUSED_US     (600 * USEC_PER_SEC)
#define ADDRESS_BYTES 512 /* of a list as text */

struct cache_name {
    struct lookup lookup; /* belongs to those who look up while is_running */
    /* [cache_lock] */
    struct cache_name *next; /* in the bucket */
    struct list waiters;     /* of struct resolve_wait */
    bool is_running;
    bool is_negative;    /* the last answer: not found */
    bool is_failed;      /* the last lookup had no answer */
    bool is_outdated;    /* its zone has changed since that answer was asked for */
    int64_t answered_us; /* end of the last lookup; 0 = there was none */
    int64_t used_us;
    int64_t answer_ttl_us;           /* by the last answer; < 0 = not known */
    int64_t ttl_us, negative_ttl_us; /* as last asked for */
    struct address_list *addresses;  /* last known, NULL = never found */
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

/* ---- the answer ---- */

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

static int64_t name_expires_us(const struct cache_name *n)
{
    int64_t us = n->ttl_us;
    if (n->is_negative || n->is_failed)
        us = n->negative_ttl_us;
    else if (n->answer_ttl_us >= 0 && n->answer_ttl_us < us)
        us = n->answer_ttl_us > LEAST_TTL_US ? n->answer_ttl_us : us < LEAST_TTL_US ? us : LEAST_TTL_US;
    return n->answered_us + us;
}

static bool name_is_fresh(const struct cache_name *n, int64_t now_us)
{
    return n->answered_us != 0 && !n->is_outdated && now_us < name_expires_us(n);
}

/* [cache_lock] May its addresses be used, though they may have to be looked up again? */
static bool name_is_usable(const struct cache_name *n, int64_t now_us)
{
    if (n->addresses == NULL || n->is_negative)
        return false;
    if (n->is_failed || name_is_fresh(n, now_us))
        return true;
    return n->ttl_us > 0 && now_us < name_expires_us(n) + STALE_US;
}

/* [cache_lock] Takes note of an answer; returns the addresses that are no longer needed. */
static struct address_list *name_answer_locked(struct cache_name *n, enum lookup_result result,
                                               struct address_list *list, int64_t ttl_us, const char *err)
{
    struct address_list *old = NULL;
    if (result == LOOKUP_FOUND) {
        old = n->addresses;
        n->addresses = list;
    }
    n->is_negative = result == LOOKUP_NOT_FOUND;
    n->is_failed = result == LOOKUP_FAILED;
    n->answer_ttl_us = ttl_us;
    str_copy(n->error, err, sizeof(n->error));
    n->answered_us = clock_now_us();
    n->is_running = false;
    pending_count--;
    return old;
}

/* [cache_lock] The mails of all who wait, to be posted without the lock. */
static struct mail *name_answer_waiters_locked(struct cache_name *n)
{
    struct mail *mails = NULL;
    bool is_found = n->addresses != NULL && !n->is_negative;
    for (struct list *node; (node = list_pop_front(&n->waiters)) != NULL;) {
        struct resolve_wait *w = list_entry(node, struct resolve_wait, node);
        w->addresses = is_found ? address_list_ref(n->addresses) : NULL;
        memcpy(w->error, n->error, sizeof(w->error));
        w->is_posted = true;
        list_push_back(&posted, &w->node);
        w->mail.next = mails;
        mails = &w->mail;
    }
    return mails;
}

static bool has_address(const struct address_list *list, const struct address *a)
{
    uint64_t want = host_endpoint("", 0, a);
    for (int i = 0; i < list->count; i++)
        if (host_endpoint("", 0, &list->items[i]) == want)
            return true;
    return false;
}

static void log_change(const char *name, const struct address_list *old, const struct address_list *new)
{
    char before[ADDRESS_BYTES], now[ADDRESS_BYTES];
    bool is_same = old->count == new->count;
    for (int i = 0; is_same && i < old->count; i++)
        is_same = has_address(new, &old->items[i]);
    if (is_same)
        return;
    addresses_format(old, before, sizeof(before));
    addresses_format(new, now, sizeof(now));
    log_info("host name \"%s\" has changed from %s to %s", name, before, now);
}

void lookup_done(struct lookup *l, enum lookup_result result, struct address_list *list, int64_t ttl_us,
                 const char *err)
{
    struct cache_name *n = container_of(l, struct cache_name, lookup);
    struct address_list *new = result == LOOKUP_FOUND ? address_list_ref(list) : NULL;
    char name[256];

    str_copy(name, n->name, sizeof(name));
    lock_acquire(&cache_lock);
    struct address_list *old = name_answer_locked(n, result, list, ttl_us, err);
    struct mail *mails = name_answer_waiters_locked(n);
    lock_release(&cache_lock);
    /* From here on n may be looked up again, or removed. */

    if (result != LOOKUP_FOUND)
        log_warning("host name \"%s\" could not be looked up: %s", name, err);
    else if (old != NULL)
        log_change(name, old, new);
    address_list_unref(old);
    address_list_unref(new);
    while (mails != NULL) {
        struct resolve_wait *w = container_of(mails, struct resolve_wait, mail);
        mails = mails->next;
        loop_post(w->loop, &w->mail);
    }
}

/* ---- asking ---- */

static struct cache_name *name_new(const char *name)
{
    size_t size = strlen(name) + 1;
    struct cache_name *n = calloc(1, sizeof(*n) + size);
    if (n == NULL)
        return NULL;
    memcpy(n->name, name, size);
    list_init(&n->waiters);
    n->lookup.name = n->name;
    n->answer_ttl_us = -1;
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

/* Puts n into its bucket and takes out what has not been used for long there: the table stays as small as
 * what is in use. */
static struct cache_name *name_insert_locked(struct cache_name *n, int64_t now_us)
{
    struct cache_name *expired = NULL;
    struct cache_name **at = &buckets[bucket_of(n->name)];
    struct cache_name **head = at;
    while (*at != NULL) {
        struct cache_name *it = *at;
        if (!it->is_running && list_is_empty(&it->waiters) && now_us - it->used_us > UNUSED_US) {
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

/* [cache_lock] True: the caller submits its lookup when it has dropped the lock. */
static bool name_begin_lookup_locked(struct cache_name *n)
{
    if (n->is_running)
        return false;
    n->is_running = true;
    n->is_outdated = false;
    pending_count++;
    return true;
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
    n->used_us = now_us;
    bool is_fresh = name_is_fresh(n, now_us);
    if (name_is_usable(n, now_us)) {
        result = RESOLVE_OK;
        *addresses = address_list_ref(n->addresses);
    } else if (is_fresh && !n->is_running) {
        result = RESOLVE_ERR;
        memcpy(err, n->error, sizeof(n->error));
    } else {
        list_push_back(&n->waiters, &w->node);
    }
    must_submit = (!is_fresh || result == RESOLVE_AGAIN) && name_begin_lookup_locked(n);
    lock_release(&cache_lock);

    if (must_submit)
        lookup_submit(&n->lookup);
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

/* ---- names in use ---- */

/* The endpoints of one name; -1 when they are not known or too many. *due: its lookup, when the caller is to
 * submit it. */
static int name_endpoints(const char *name, const struct dial_options *o, uint64_t *out, int max,
                          struct lookup **due)
{
    int64_t now_us = clock_now_us();
    int count = -1;

    *due = NULL;
    lock_acquire(&cache_lock);
    struct cache_name *n = name_find_locked(name);
    struct address_list *list = n != NULL && n->addresses != NULL ? address_list_ref(n->addresses) : NULL;
    if (n != NULL) {
        n->ttl_us = o->dns_ttl_us;
        n->negative_ttl_us = o->dns_negative_ttl_us;
        n->used_us = now_us;
        if (n->answered_us != 0)
            count = list != NULL ? list->count : 0;
        if (!name_is_fresh(n, now_us) && name_begin_lookup_locked(n))
            *due = &n->lookup;
    }
    lock_release(&cache_lock);
    if (count > max)
        count = -1;
    for (int i = 0; i < count; i++)
        out[i] = host_endpoint(name, o->port, &list->items[i]);
    address_list_unref(list);
    return count;
}

/* The same for a host of any kind. */
static int host_endpoints(const char *host, const struct dial_options *o, uint64_t *out, int max)
{
    struct lookup *due;
    struct address a;

    if (host_kind(host) == HOST_NAME) {
        int count = name_endpoints(host, o, out, max, &due);
        if (due != NULL)
            lookup_submit(due);
        return count;
    }
    if (max < 1 || !host_address(host, o->port, &a))
        return 0;
    out[0] = host_endpoint(host, o->port, &a);
    return 1;
}

int dial_endpoints(const struct dial_options *o, uint64_t *out, int max)
{
    struct host_list *hosts = host_list_new(o->hosts);
    int total = 0;
    bool has_names = false, is_known = hosts != NULL;

    for (uint32_t i = 0; hosts != NULL && i < hosts->count; i++) {
        int count = host_endpoints(hosts->names[i], o, out + total, max - total);
        has_names = has_names || host_kind(hosts->names[i]) == HOST_NAME;
        is_known = is_known && count >= 0;
        total += count > 0 ? count : 0;
    }
    free(hosts);
    return has_names && is_known ? total : -1;
}

/* ---- zones ---- */

uint32_t resolve_names_in_use(struct resolve_name *rows, uint32_t max)
{
    int64_t now_us = clock_now_us();
    uint32_t count = 0;
    lock_acquire(&cache_lock);
    for (uint32_t b = 0; b < BUCKETS; b++)
        for (struct cache_name *n = buckets[b]; n != NULL && count < max; n = n->next)
            if (now_us - n->used_us <= UNUSED_US)
                str_copy(rows[count++].text, n->name, sizeof(rows->text));
    lock_release(&cache_lock);
    return count;
}

static bool is_in_zone(const struct cache_name *n, const char *zone)
{
    const char *own = zone_of_name(n->name);
    return own != NULL && strcasecmp(own, zone) == 0;
}

/* A lookup that is under way may have been answered before the change: then there is one more. */
void resolve_zone_again(const char *zone)
{
    int64_t now_us = clock_now_us();
    struct lookup *due = NULL;

    lock_acquire(&cache_lock);
    for (uint32_t b = 0; b < BUCKETS; b++)
        for (struct cache_name *n = buckets[b]; n != NULL; n = n->next) {
            if (n->answered_us == 0 || !is_in_zone(n, zone))
                continue;
            n->is_outdated = true;
            if (now_us - n->used_us <= UNUSED_US && name_begin_lookup_locked(n)) {
                n->lookup.next = due;
                due = &n->lookup;
            }
        }
    lock_release(&cache_lock);
    while (due != NULL) {
        struct lookup *next = due->next;
        lookup_submit(due);
        due = next;
    }
}

/* ---- observation, start and end ---- */

bool dial_names_start(const char *resolv_conf, char *err, size_t err_size)
{
    return lookups_start(resolv_conf, err, err_size);
}

bool dial_names_check(const char *resolv_conf, char *err, size_t err_size)
{
    return lookups_check(resolv_conf, err, err_size);
}

bool dial_names_stop(int64_t wait_us)
{
    return lookups_stop(wait_us);
}

void dial_names_reload(void)
{
    lookups_reload();
}

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

uint32_t dial_names_snapshot(struct dial_name_row *rows, uint32_t max)
{
    int64_t now_us = clock_now_us();
    uint32_t count = 0;
    lock_acquire(&cache_lock);
    for (uint32_t b = 0; b < BUCKETS; b++) {
        for (struct cache_name *n = buckets[b]; n != NULL && count < max; n = n->next) {
            struct dial_name_row *row = &rows[count++];
            str_copy(row->name, n->name, sizeof(row->name));
            row->ttl_us = name_is_fresh(n, now_us) ? name_expires_us(n) - now_us : 0;
            row->addresses[0] = '\0';
            if (n->addresses != NULL && !n->is_negative)
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
    zones_destroy();
}
