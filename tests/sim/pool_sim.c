/*
 * pool_sim.c - random interleavings of workers around the ledger, and its invariants after each step.
 *
 * Usage: pool_sim [steps [seed]]. Without a seed it runs fixed ones, with 1 to 8 workers.
 * A failure prints what does not hold, and the seed and step with which it comes again.
 *
 * Checked after each step: the ledger's own count; limits passed only while they shrink, or into the reserve
 * for a waiter that has waited long enough; nobody waits
 * next to an idle server, or to room for a connection, unless somebody is about to pump; no free place in
 * front of a ring whose head is not called; no idle server in sight of a starving pool; no pool serves its
 * own clients for long in sight of one that has no server; the order of grants and the bound of overtaking;
 * no more pins than may be, and none refused while there is room.
 * Now and then everything is let come to its end: every ticket has ended then and every slot is found.
 */
#include "pool_model.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIM_MAX_WAITERS (8 * MODEL_CLIENTS)
#define DRAIN_EVERY     20000
#define SIM_MAX_LOOK    16 /* waiters that the ledger looks at for a connection from the reserve */

struct seen {
    int nslots, n_pinned;
    int database_count, user_count;
    int64_t greedy_since_us; /* it goes on serving its own clients while another pool has no server; 0 = it
                                does not */
    bool has_poor_neighbour;
    const struct pool *database_head, *user_head; /* of the rings */
    int64_t starving_since_us;
    uint64_t newest; /* ticket */
    int n_waiting;
    uint64_t waiting[SIM_MAX_WAITERS]; /* numbers, rising */
};

static struct model model;
static struct seen seen[MODEL_POOLS];
static uint64_t current_seed, current_step;

static void say_where(void)
{
    fprintf(stderr, "pool_sim: seed %llu, step %llu\n", (unsigned long long)current_seed,
            (unsigned long long)current_step);
}

#define require(x) ((x) ? (void)0 : (say_where(), model_fail(#x, __FILE__, __LINE__)))

static int pool_index(const struct pool *pool)
{
    for (int i = 0; i < model.n_pools; i++)
        if (model.pools[i] == pool)
            return i;
    abort();
}

static const struct pool *ring_head(const struct limits *l)
{
    return list_is_empty(&l->ring) ? NULL : list_entry(l->ring.next, const struct pool, ring);
}

static bool has_poor_neighbour(const struct limits *l, const struct pool *pool)
{
    int max = l->max;

    if (max == 0 || l->starving - (max - l->count) - l->leaving <= 0)
        return false;
    LIST_FOR_EACH (it, &l->ring) {
        const struct pool *other = list_entry(it, const struct pool, ring);
        if (other != pool && other->nslots == 0)
            return true;
    }
    return false;
}

static void look_at_rings(void)
{
    for (int i = 0; i < model.n_pools; i++) {
        seen[i].database_head = ring_head(&model.pools[i]->database->limits);
        seen[i].user_head = ring_head(&model.pools[i]->user->limits);
        seen[i].starving_since_us = model.pools[i]->starving_since_us;
        seen[i].has_poor_neighbour = has_poor_neighbour(&model.pools[i]->database->limits, model.pools[i]) ||
                                     has_poor_neighbour(&model.pools[i]->user->limits, model.pools[i]);
    }
}

static void look_at_queue(int i)
{
    seen[i].newest = model.pools[i]->next_ticket;
    seen[i].n_waiting = 0;
    LIST_FOR_EACH (it, &model.pools[i]->waiters)
        seen[i].waiting[seen[i].n_waiting++] = list_entry(it, struct ticket, node)->number;
}

/* A ticket was granted by this call if it was waiting before, or is younger than all that were known. */
static bool is_fresh(int i, uint64_t number)
{
    for (int k = 0; k < seen[i].n_waiting; k++)
        if (seen[i].waiting[k] == number)
            return true;
    return number > seen[i].newest;
}

static void check_order(struct pool *pool, uint64_t granted)
{
    const struct pool_config *config = &pool->config;

    LIST_FOR_EACH (it, &pool->waiters) {
        struct ticket *t = list_entry(it, struct ticket, node);
        struct model_client *c = container_of(t, struct model_client, ticket);
        if (t->number > granted)
            break;
        require(config->overtake_us > 0 && c->overtaken < config->overtake_max);
        require(atomic_load(&model.now_us) - t->since_us <= config->overtake_us);
        c->overtaken++;
    }
}

/* A place was taken: nobody was before this pool in the ring, but for younger ones. */
static void check_turn(int i, const struct pool *head)
{
    if (head != NULL && head != model.pools[i])
        require(seen[i].starving_since_us != 0 &&
                seen[i].starving_since_us < seen[pool_index(head)].starving_since_us);
}

/* As many clients as connections are in progress have waited long enough for the reserve. */
static void check_reserve(const struct pool *pool)
{
    const struct pool_config *config = &pool->config;
    int needed = pool->count[SLOT_CONNECTING] < SIM_MAX_LOOK ? pool->count[SLOT_CONNECTING] : SIM_MAX_LOOK;
    int found = 0;

    LIST_FOR_EACH (it, &pool->waiters)
        if (model.now_us - list_entry(it, struct ticket, node)->since_us >= config->reserve_after_us)
            found++;
    require(config->reserve_after_us > 0 && pool->nslots <= config->limit + config->reserve);
    require(found >= needed);
}

/* A server that came free went to one of the pool's own waiters. */
static void check_greed(int i, const struct slot *slot)
{
    if (!seen[i].has_poor_neighbour)
        seen[i].greedy_since_us = 0;
    else if (seen[i].greedy_since_us == 0)
        seen[i].greedy_since_us = model.now_us;
    else if (model.now_us - slot->connected_us >= LIMITS_TURN_US)
        require(model.now_us - seen[i].greedy_since_us < LIMITS_TURN_US);
}

static void after_call(struct model *m, struct pool *pool, const struct pool_acts *acts)
{
    const struct pool_act *last_connect = NULL;
    int i = pool_index(pool);

    (void)m;
    for (int k = 0; k < acts->n; k++) {
        const struct pool_act *act = &acts->act[k];
        bool is_grant =
            act->kind == POOL_ACT_LINK || act->kind == POOL_ACT_HANDOFF || act->kind == POOL_ACT_YIELD;
        if (is_grant && is_fresh(i, act->grant.number))
            check_order(pool, act->grant.number);
        if (act->kind == POOL_ACT_CLOSE)
            seen[i].greedy_since_us = 0;
        if (k == 0 && (act->kind == POOL_ACT_LINK || act->kind == POOL_ACT_HANDOFF) &&
            seen[i].n_waiting > 0 && is_fresh(i, act->grant.number))
            check_greed(i, act->slot);
        if (act->kind == POOL_ACT_CONNECT) {
            check_turn(i, seen[i].database_head);
            check_turn(i, seen[i].user_head);
            look_at_rings(); /* it may take several */
            last_connect = act;
        }
    }
    if (last_connect != NULL)
        require(last_connect->slot->from_reserve == (pool->nslots > pool->config.limit));
    if (last_connect != NULL && last_connect->slot->from_reserve)
        check_reserve(pool);
    look_at_queue(i);
    look_at_rings();
}

static void after_pin(struct pool *pool, bool was_pinned, bool is_pinned)
{
    struct seen *s = &seen[pool_index(pool)];

    require(is_pinned == (was_pinned || s->n_pinned < pool->config.max_pinned));
    require(pool->n_pinned == s->n_pinned + (is_pinned && !was_pinned));
    s->n_pinned = pool->n_pinned;
}

typedef bool (*match_fn)(const struct pending *p, const void *arg);

static bool in_some_outbox(match_fn match, const void *arg)
{
    for (int i = 0; i <= model.n_workers; i++) {
        const struct model_worker *w = i < model.n_workers ? &model.workers[i] : &model.control;
        for (int k = 0; k < w->out_count; k++)
            if (match(&w->outbox[(w->out_first + k) % MODEL_OUTBOX], arg))
                return true;
    }
    return false;
}

static bool is_pump(const struct pending *p, const void *pool)
{
    return (p->is_more || p->act.kind == POOL_ACT_PUMP) && p->act.pool == pool;
}

static bool is_evict(const struct pending *p, const void *limits)
{
    return !p->is_more && p->act.kind == POOL_ACT_EVICT && p->act.limits == limits;
}

static bool will_be_pumped(const struct pool *pool)
{
    return in_some_outbox(is_pump, pool);
}

static void check_limits(struct limits *l)
{
    int count = 0, leaving = 0, starving = 0, max = l->max, idle_elsewhere = 0;

    for (int i = 0; i < l->n_members; i++) {
        const struct pool *pool = l->members[i];
        count += pool->nslots;
        leaving += pool->count[SLOT_CLOSING];
        starving += pool->starves_for == l;
        idle_elsewhere += pool->n_waiters == 0 ? pool->count[SLOT_IDLE] : 0;
    }
    require(count == l->count && leaving == l->leaving && starving == l->starving);
    if (starving == 0)
        return;
    if (max == 0 || count < max)
        require(will_be_pumped(list_entry(l->ring.next, struct pool, ring)));
    if (max != 0 && starving > max - count + leaving && idle_elsewhere > 0)
        require(in_some_outbox(is_evict, l));
}

/* When the waiter for whom no connection is in progress will have waited long enough for the reserve. */
static int64_t reserve_due_us(const struct pool *pool)
{
    int skip = pool->count[SLOT_CONNECTING] < SIM_MAX_LOOK ? pool->count[SLOT_CONNECTING] : SIM_MAX_LOOK;
    int64_t due_us = 0;

    LIST_FOR_EACH (it, &pool->waiters)
        if (skip-- == 0)
            due_us = list_entry(it, struct ticket, node)->since_us + pool->config.reserve_after_us;
    return due_us > pool->retry_us ? due_us : pool->retry_us;
}

static void check_rest(const struct pool *pool)
{
    const int *count = pool->count;
    int64_t now_us = model.now_us;
    int live = count[SLOT_IDLE] + count[SLOT_ACTIVE] + count[SLOT_TESTING] + count[SLOT_MOVING];

    if (will_be_pumped(pool))
        return;
    require(list_is_empty(&pool->to_close));
    if (pool->n_waiters == 0)
        return;
    require(!pool->is_removed);
    if (pool->is_paused)
        return;
    require(count[SLOT_IDLE] == 0);
    if (count[SLOT_CLOSING] > 0)
        return; /* serves when it has closed */
    if (pool->is_refused && live == 0 && now_us < pool->retry_us)
        require(!"waits although logins are refused");
    if (pool->n_waiters <= count[SLOT_CONNECTING] || count[SLOT_CONNECTING] >= pool->ramp ||
        pool->starves_for != NULL)
        return;
    /* There is room: only time can keep it from connecting, and those who wait have to know. */
    if (pool->nslots < pool->config.limit)
        require(pool->retry_us != 0 && pool->retry_hint_us == pool->retry_us);
    else if (pool->config.reserve_after_us > 0 && pool->nslots < pool->config.limit + pool->config.reserve)
        require(pool->retry_hint_us == reserve_due_us(pool));
}

/* Nothing may lie idle that would have to close when it came free. */
static void check_idle(const struct pool *pool)
{
    for (int w = 0; w < pool->n_workers; w++)
        LIST_FOR_EACH (it, &pool->idle[w]) {
            const struct slot *slot = list_entry(it, const struct slot, node);
            require(slot->close_reason == CLOSE_NONE && !pool->is_removed);
            require(pool->nslots - pool->count[SLOT_CLOSING] <= pool->config.limit + pool->config.reserve);
            require(pool->nslots - pool->count[SLOT_CLOSING] <= pool->config.limit + pool->lent);
        }
}

static void check_pool(int i)
{
    struct pool *pool = model.pools[i];
    struct limits *d = &pool->database->limits, *u = &pool->user->limits;
    struct seen *s = &seen[i];

    require(pool_check(pool));
    require(pool->nslots <= pool->config.limit + pool->lent || pool->nslots <= s->nslots);
    require(pool->lent <= pool->config.reserve);
    require(pool->n_pinned <= s->n_pinned); /* after_pin() has seen those that are new */
    s->n_pinned = pool->n_pinned;
    require(d->max == 0 || d->count <= d->max || d->count <= s->database_count);
    require(u->max == 0 || u->count <= u->max || u->count <= s->user_count);
    s->nslots = pool->nslots;
    s->database_count = d->count;
    s->user_count = u->count;
    check_limits(d);
    check_limits(u);
    check_rest(pool);
    check_idle(pool);
    look_at_queue(i);
}

static void step(void)
{
    uint64_t who = model_random(&model.control, (uint64_t)model.n_workers * 4 + 1);

    if (who == 0)
        model_control_step(&model.control);
    else
        model_worker_step(&model.workers[who % (uint64_t)model.n_workers]);
    for (int i = 0; i < model.n_pools; i++)
        check_pool(i);
    look_at_rings();
}

static void run(uint64_t seed, uint64_t steps)
{
    int n_workers = 1 + (int)(seed % 8);
    int n_databases = 1 + (int)(seed / 8 % 2), n_users = 1 + (int)(seed / 16 % 3);

    current_seed = seed;
    model_init(&model, seed, n_workers, n_databases, n_users);
    model.acts_cb = after_call;
    model.pin_cb = after_pin;
    memset(seen, 0, sizeof(seen));
    for (current_step = 0; current_step < steps; current_step++) {
        step();
        if (current_step % DRAIN_EVERY == DRAIN_EVERY - 1)
            model_drain(&model);
    }
    model_drain(&model);
    model_destroy(&model);
}

static void on_abort(int sig)
{
    (void)sig;
    say_where();
}

int main(int argc, char **argv)
{
    const uint64_t n_seeds = 48; /* covers each number of workers, databases and users */
    const char *wanted = argc > 1 ? argv[1] : getenv("PGSLUICE_SIM_STEPS");
    uint64_t steps = wanted != NULL && *wanted != '\0' ? strtoull(wanted, NULL, 0) : 8000000;

    signal(SIGABRT, on_abort);
    if (argc > 2) {
        run(strtoull(argv[2], NULL, 0), steps);
        return 0;
    }
    for (uint64_t seed = 0; seed < n_seeds; seed++)
        run(seed, steps / n_seeds);
    printf("pool_sim: %llu steps\n", (unsigned long long)steps);
    return 0;
}
