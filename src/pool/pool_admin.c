/*
 * pool_admin.c - what the control thread does to a pool: settings, pause, upkeep, figures.
 *
 * Idle servers that may not stay are doomed at once, under one hold of the lock; their
 * CLOSE acts are handed out as they fit (acts->more).
 *
 * Threads: the control thread; pool_configure() also a worker that has made the pool, and reading any.
 *          All state is protected by pool->lock.
 */
#include "pool_int.h"

#include <stdlib.h>
#include <string.h>

#include "base/rand.h"

/* Nobody waits for it: seldom enough to harm nobody, and server_login_retry may make it more seldom yet. */
#define RETRY_UNASKED_US (15 * USEC_PER_SEC)

bool pool_init(struct pool *pool, struct pool_database *database, struct pool_user *user, int n_workers,
               int64_t now_us)
{
    memset(pool, 0, sizeof(*pool));
    pool->idle = calloc((size_t)n_workers, sizeof(*pool->idle));
    if (pool->idle == NULL)
        return false;
    pool->database = database;
    pool->user = user;
    pool->n_workers = n_workers;
    pool->random = rand_fast();
    pool->ramp = 1;
    for (int w = 0; w < n_workers; w++)
        list_init(&pool->idle[w]);
    list_init(&pool->used_slots);
    list_init(&pool->to_close);
    list_init(&pool->free_slots);
    list_init(&pool->waiters);
    list_init(&pool->ring);
    lock_init(&pool->lock, LOCK_RANK_POOL);
    pool_stats_init(&pool->stats, now_us);
    util_init(&pool->util, now_us, 0);
    return true;
}

void pool_destroy(struct pool *pool)
{
    pool_free_slots(pool);
    free(pool->idle);
    pool->idle = NULL;
    params_unref(pool->welcome);
    pool->welcome = NULL;
    pool_secret_destroy(pool);
    pool_accepted_destroy(&pool->accepted);
    pool_stats_destroy(&pool->stats);
    lock_destroy(&pool->lock);
}

/* [lock] Dooms idle servers that may not stay; where there are too many, those that have been idle longest.
 */
static void shed(struct pool *pool, int64_t now_us)
{
    enum close_reason why;
    struct slot *slot;

    for (int w = 0; w < pool->n_workers; w++)
        LIST_FOR_EACH_SAFE (it, &pool->idle[w]) {
            slot = list_entry(it, struct slot, node);
            why = slot_must_close(slot, now_us);
            if (why != CLOSE_NONE && why != CLOSE_OVER_LIMIT)
                slot_doom(slot, why, now_us);
        }
    while ((slot = slot_find_longest_idle(pool)) != NULL &&
           (why = slot_must_close(slot, now_us)) != CLOSE_NONE)
        slot_doom(slot, why, now_us);
}

/* [lock] What all settings have in common. */
static void apply(struct pool *pool, int64_t now_us, struct pool_acts *acts)
{
    shed(pool, now_us);
    pool_serve(pool, POOL_NO_WORKER, now_us, acts);
    pool_note(pool, now_us);
}

static int bounded(int n, int most)
{
    return n < 0 ? 0 : n > most ? most : n;
}

void pool_configure(struct pool *pool, const struct pool_config *config, int64_t now_us,
                    struct pool_acts *acts)
{
    int limit = bounded(config->limit, POOL_MOST_SLOTS);
    int reserve = bounded(config->reserve, POOL_MOST_SLOTS - limit);

    bool ok = pool_allocate_slots(pool, limit + reserve);
    acts_begin(acts);
    lock_acquire(&pool->lock);
    if (!ok && limit > pool->slots_allocated)
        limit = pool->slots_allocated;
    if (!ok && reserve > pool->slots_allocated - limit)
        reserve = pool->slots_allocated - limit;
    pool->config = *config;
    pool->config.limit = limit;
    pool->config.reserve = reserve;
    slot_count_lent(pool);
    if (pool->config.overtake_max > UINT16_MAX)
        pool->config.overtake_max = UINT16_MAX;
    apply(pool, now_us, acts);
    lock_release(&pool->lock);
}

void pool_set_paused(struct pool *pool, bool paused, int64_t now_us, struct pool_acts *acts)
{
    acts_begin(acts);
    lock_acquire(&pool->lock);
    pool->is_paused = paused;
    apply(pool, now_us, acts);
    lock_release(&pool->lock);
}

bool pool_is_removed(struct pool *pool)
{
    lock_acquire(&pool->lock);
    bool is_removed = pool->is_removed;
    lock_release(&pool->lock);
    return is_removed;
}

void pool_set_removed(struct pool *pool, bool removed, int64_t now_us, struct pool_acts *acts)
{
    acts_begin(acts);
    lock_acquire(&pool->lock);
    pool->is_removed = removed;
    apply(pool, now_us, acts);
    lock_release(&pool->lock);
}

void pool_recycle(struct pool *pool, enum close_reason why, int64_t now_us, struct pool_acts *acts)
{
    acts_begin(acts);
    lock_acquire(&pool->lock);
    for (int w = 0; w < pool->n_workers; w++)
        LIST_FOR_EACH_SAFE (it, &pool->idle[w])
            slot_doom(list_entry(it, struct slot, node), why, now_us);
    LIST_FOR_EACH (it, &pool->used_slots) {
        struct slot *slot = list_entry(it, struct slot, node);
        if (slot->state != SLOT_CLOSING)
            slot->close_reason = why;
    }
    slot_note_end(pool, why, now_us);
    apply(pool, now_us, acts);
    lock_release(&pool->lock);
}

static bool is_at(const struct slot *slot, const uint64_t *endpoints, int n)
{
    for (int i = 0; i < n; i++)
        if (slot->endpoint == endpoints[i])
            return true;
    return false;
}

void pool_recycle_at(struct pool *pool, const uint64_t *endpoints, int n, bool is_listed,
                     enum close_reason why, int64_t now_us, struct pool_acts *acts)
{
    acts_begin(acts);
    lock_acquire(&pool->lock);
    for (int w = 0; w < pool->n_workers; w++)
        LIST_FOR_EACH_SAFE (it, &pool->idle[w]) {
            struct slot *slot = list_entry(it, struct slot, node);
            if (is_at(slot, endpoints, n) == is_listed)
                slot_doom(slot, why, now_us);
        }
    LIST_FOR_EACH (it, &pool->used_slots) {
        struct slot *slot = list_entry(it, struct slot, node);
        if (slot->state != SLOT_CLOSING && slot->state != SLOT_CONNECTING &&
            slot->close_reason == CLOSE_NONE && is_at(slot, endpoints, n) == is_listed)
            slot->close_reason = why;
    }
    apply(pool, now_us, acts);
    lock_release(&pool->lock);
}

bool pool_slot_is_outdated(struct pool *pool, const struct slot *slot, int64_t now_us)
{
    lock_acquire(&pool->lock);
    enum close_reason why = slot_must_close(slot, now_us);
    lock_release(&pool->lock);
    return why != CLOSE_NONE && why != CLOSE_SERVER_LIFETIME;
}

bool pool_slot_is_marked(struct pool *pool, const struct slot *slot)
{
    lock_acquire(&pool->lock);
    bool is_marked = slot->close_reason != CLOSE_NONE;
    lock_release(&pool->lock);
    return is_marked;
}

bool pool_fail_waiters(struct pool *pool, int64_t now_us, struct pool_acts *acts)
{
    bool is_left;

    acts_begin(acts);
    lock_acquire(&pool->lock);
    pool_fail_some(pool, acts);
    is_left = pool->n_waiters > 0;
    acts->more = false; /* the caller comes again by itself */
    if (!is_left)
        pool_serve(pool, POOL_NO_WORKER, now_us, acts);
    pool_note(pool, now_us);
    lock_release(&pool->lock);
    return is_left;
}

/* [lock] */
static void close_long_idle(struct pool *pool, int64_t now_us)
{
    struct slot *slot;

    if (pool->config.idle_timeout_us <= 0)
        return;
    while (pool->nslots - pool->count[SLOT_CLOSING] > pool->config.min_size &&
           (slot = slot_find_longest_idle(pool)) != NULL &&
           now_us - slot->idle_since_us >= pool->config.idle_timeout_us)
        slot_doom(slot, CLOSE_SERVER_IDLE_TIMEOUT, now_us);
}

/* [lock] As fast as the ramp allows; what does not fit comes with the next call. Never joins a ring: nobody
 * waits. */
static void keep_min_size(struct pool *pool, uint8_t worker, int64_t now_us, struct pool_acts *acts)
{
    if (!pool->config.keep_min_without_clients && atomic_load(&pool->clients) == 0)
        return;
    while (pool->nslots - pool->count[SLOT_CLOSING] < pool->config.min_size &&
           pool_may_connect(pool, now_us) && acts_room(acts) >= ACTS_PER_OPEN)
        if (!pool_open_one(pool, worker, false, now_us, acts))
            return;
}

void pool_maintain(struct pool *pool, uint8_t prefer_worker, int64_t now_us, struct pool_acts *acts)
{
    acts_begin(acts);
    lock_acquire(&pool->lock);
    shed(pool, now_us);
    close_long_idle(pool, now_us);
    pool_serve(pool, POOL_NO_WORKER, now_us, acts);
    keep_min_size(pool, prefer_worker, now_us, acts);
    pool_note(pool, now_us);
    lock_release(&pool->lock);
}

void pool_want_one(struct pool *pool, uint8_t worker, int64_t now_us, struct pool_acts *acts)
{
    acts_begin(acts);
    lock_acquire(&pool->lock);
    if (pool->nslots == 0 && pool_may_connect(pool, now_us))
        (void)pool_open_one(pool, worker, false, now_us, acts);
    pool_note(pool, now_us);
    lock_release(&pool->lock);
}

bool pool_retry_failed(struct pool *pool, uint8_t worker, int64_t now_us, struct pool_acts *acts)
{
    int64_t pause_us;

    acts_begin(acts);
    lock_acquire(&pool->lock);
    pause_us =
        pool->config.login_retry_us > RETRY_UNASKED_US ? pool->config.login_retry_us : RETRY_UNASKED_US;
    bool has_failed = pool->failed_us != 0;
    if (has_failed && !pool->is_refused && pool->nslots == 0 && now_us - pool->failed_us >= pause_us &&
        pool_may_connect(pool, now_us))
        (void)pool_open_one(pool, worker, false, now_us, acts);
    pool_note(pool, now_us);
    lock_release(&pool->lock);
    return has_failed;
}

/* [lock] */
static int count_idle_for(const struct pool *pool, int64_t us, int64_t now_us)
{
    int n = 0;

    for (int w = 0; w < pool->n_workers; w++)
        LIST_FOR_EACH (it, &pool->idle[w])
            n += now_us - list_entry(it, struct slot, node)->idle_since_us > us;
    return n;
}

/* [lock] */
static int count_to_close(const struct pool *pool)
{
    int n = pool->count[SLOT_CLOSING];

    LIST_FOR_EACH (it, &pool->used_slots) {
        const struct slot *slot = list_entry(it, const struct slot, node);
        n += slot->state != SLOT_CLOSING && slot->close_reason != CLOSE_NONE;
    }
    return n;
}

void pool_read(struct pool *pool, int64_t check_delay_us, int64_t now_us, struct pool_numbers *out)
{
    static const uint32_t windows_sec[] = {60, 300, 900, 3600};
    const struct ticket *head;
    struct util_window window;

    memset(out, 0, sizeof(*out));
    lock_acquire(&pool->lock);
    memcpy(out->count, pool->count, sizeof(out->count));
    out->nslots = pool->nslots;
    out->limit = pool->config.limit;
    out->reserve = pool->config.reserve;
    out->lent = pool->lent;
    out->n_waiters = pool->n_waiters;
    out->pinned = pool->n_pinned;
    out->max_pinned = pool->config.max_pinned;
    out->to_close = count_to_close(pool);
    out->used = count_idle_for(pool, check_delay_us, now_us);
    head = list_first_entry(&pool->waiters, struct ticket, node);
    if (head != NULL && head->since_us < now_us)
        out->oldest_wait_us = now_us - head->since_us;
    out->is_paused = pool->is_paused;
    out->was_connected = pool->welcome != NULL;
    out->failing_since_us = pool->failing_since_us;
    out->reached_us = pool->reached_us;
    out->is_refused = pool->failing_since_us != 0 && pool->is_refused;
    if (pool->config.limit > 0)
        out->utilization_now = (double)pool->util.active / pool->config.limit;
    for (size_t i = 0; i < ARRAY_SIZE(windows_sec); i++) {
        util_window(&pool->util, now_us, windows_sec[i], &window);
        out->utilization[i] = window.ratio;
    }
    out->peak = (int)pool->util.peak;
    out->saturated_us = (int64_t)(util_saturated_seconds(&pool->util, now_us) * USEC_PER_SEC);
    lock_release(&pool->lock);
}

/* [lock] Counts a list's slots by state. */
static bool count_list(const struct list *head, unsigned states, int owner, int count[SLOT_STATES])
{
    LIST_FOR_EACH (it, head) {
        const struct slot *slot = list_entry(it, const struct slot, node);
        if (slot->is_pinned && slot->state != SLOT_ACTIVE && slot->state != SLOT_TESTING)
            return false;
        if ((states & (1u << slot->state)) == 0 || (owner >= 0 && slot->owner != owner) ||
            it->next->prev != it)
            return false;
        count[slot->state]++;
    }
    return true;
}

/* [lock] */
static bool check_slots(const struct pool *pool)
{
    const unsigned rest = (1u << SLOT_FREE) | (1u << SLOT_IDLE);
    int count[SLOT_STATES] = {0}, sum = 0;
    bool ok = count_list(&pool->used_slots, ~rest, -1, count) &&
              count_list(&pool->to_close, 1u << SLOT_CLOSING, -1, count) &&
              count_list(&pool->free_slots, 1u << SLOT_FREE, -1, count);

    for (int w = 0; ok && w < pool->n_workers; w++)
        ok = count_list(&pool->idle[w], 1u << SLOT_IDLE, w, count);
    for (int i = SLOT_FREE + 1; ok && i < SLOT_STATES; i++) {
        sum += count[i];
        ok = count[i] == pool->count[i];
    }
    return ok && sum == pool->nslots && pool->count[SLOT_FREE] == 0 &&
           sum + count[SLOT_FREE] <= pool->slots_allocated && (!pool->is_paused || count[SLOT_IDLE] == 0);
}

/* [lock] */
static bool check_pins(const struct pool *pool)
{
    int n = 0;

    LIST_FOR_EACH (it, &pool->used_slots)
        n += list_entry(it, const struct slot, node)->is_pinned;
    return n == pool->n_pinned;
}

/* [lock] */
static bool check_waiters(const struct pool *pool)
{
    uint64_t before = 0;
    int n = 0;

    LIST_FOR_EACH (it, &pool->waiters) {
        const struct ticket *t = list_entry(it, const struct ticket, node);
        if (t->state != TICKET_WAITING || t->number <= before || t->number > pool->next_ticket ||
            t->worker >= pool->n_workers)
            return false;
        before = t->number;
        n++;
    }
    return n == pool->n_waiters && n == atomic_load(&pool->waiting_hint);
}

bool pool_check(struct pool *pool)
{
    const int *count = pool->count;
    bool ok;

    lock_acquire(&pool->lock);
    ok = check_slots(pool) && check_waiters(pool) && check_pins(pool) &&
         pool->nslots == atomic_load(&pool->slots_hint) &&
         list_is_linked(&pool->ring) == (pool->starves_for != NULL) &&
         pool->util.active == (uint32_t)(count[SLOT_ACTIVE] + count[SLOT_TESTING] + count[SLOT_MOVING]) &&
         pool->util.waiting == (pool->n_waiters > 0) && pool->lent >= 0 &&
         pool->lent <= pool->config.reserve &&
         (pool->lent == 0 || pool->lent <= pool->nslots - pool->config.limit);
    lock_release(&pool->lock);
    return ok;
}
