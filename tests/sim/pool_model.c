/*
 * pool_model.c - see pool_model.h.
 */
#include "pool_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

void model_fail(const char *what, const char *file, int line)
{
    fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
    abort();
}

uint64_t model_random(struct model_worker *w, uint64_t n)
{
    uint64_t z = (w->random += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (z ^ (z >> 31)) % n;
}

static bool chance(struct model_worker *w, int permille)
{
    return model_random(w, 1000) < (uint64_t)permille;
}

static int64_t now(struct model_worker *w)
{
    return atomic_load(&w->model->now_us);
}

/* Mail and acts */

static void post(struct model *m, uint8_t worker, enum mail_kind kind, struct pool *pool, struct slot *slot,
                 const struct grant *grant)
{
    struct mail *mail = calloc(1, sizeof(*mail));
    struct model_worker *to = &m->workers[worker];

    model_require(mail != NULL && worker < m->n_workers);
    mail->kind = kind;
    mail->pool = pool;
    mail->slot = slot;
    if (grant != NULL)
        mail->grant = *grant;
    lock_acquire(&to->inbox_lock);
    list_push_back(&to->inbox, &mail->node);
    lock_release(&to->inbox_lock);
}

static void outbox_add(struct model_worker *w, const struct pending *p)
{
    model_require(w->out_count < MODEL_OUTBOX);
    w->outbox[(w->out_first + w->out_count++) % MODEL_OUTBOX] = *p;
}

/* Takes over what the ledger asks for; done one at a time, in later steps. */
static void take_acts(struct model_worker *w, struct pool *pool, const struct pool_acts *acts)
{
    if (w->model->acts_cb != NULL && pool != NULL)
        w->model->acts_cb(w->model, pool, acts);
    for (int i = 0; i < acts->n; i++)
        outbox_add(w, &(struct pending){.act = acts->act[i]});
    if (acts->more)
        outbox_add(w, &(struct pending){.is_more = true, .act.pool = pool});
}

static struct model_client *find_client(struct model_worker *w, const struct grant *grant)
{
    uint32_t index = (uint32_t)grant->client - 1;
    struct model_client *c = &w->clients[index];

    model_require(index < MODEL_CLIENTS && grant->worker == w->id);
    return c->is_used && c->generation == grant->client >> 32 && c->ticket.number == grant->number ? c : NULL;
}

static void client_end(struct model_client *c)
{
    model_require(c->ticket.state == TICKET_NONE && c->server == NULL);
    atomic_fetch_sub(&c->pool->clients, 1);
    c->is_used = c->is_waiting = false;
    c->generation++;
}

static void server_add(struct model_worker *w, struct model_server *s)
{
    list_push_back(&w->servers, &s->node);
    w->n_servers++;
}

static void server_remove(struct model_worker *w, struct model_server *s)
{
    list_del(&s->node);
    w->n_servers--;
}

static void server_open(struct model_worker *w, struct slot *slot)
{
    struct model_server *s = calloc(1, sizeof(*s));

    model_require(s != NULL && slot->server == NULL);
    s->slot = slot;
    s->pool = slot->pool;
    s->state = SERVER_DIALING;
    s->is_alive = true;
    slot->server = s;
    server_add(w, s);
}

static void perform_link(struct model_worker *w, const struct pool_act *act)
{
    struct model_client *c = find_client(w, &act->grant);
    struct model_server *s = act->slot->server;
    struct pool_acts acts;

    model_require(c != NULL && c->is_waiting && c->server == NULL && c->pool == act->pool);
    model_require(c->ticket.state == TICKET_NONE && s->is_alive && act->slot->state == SLOT_ACTIVE);
    if (!w->model->is_draining && chance(w, 50)) {
        /* A check finds the server dead: the client goes back to its place. */
        model_require(pool_closing(s->pool, s->slot, CLOSE_CHECK_QUERY_FAILED, now(w)));
        s->state = SERVER_CLOSING;
        pool_requeue(c->pool, &c->ticket, &act->grant, now(w), &acts);
        model_require(c->ticket.number == act->grant.number);
        take_acts(w, c->pool, &acts);
        return;
    }
    c->is_waiting = false;
    c->is_pinned = false;
    c->server = s;
    c->grant = act->grant;
    s->state = SERVER_LINKED;
}

static void perform(struct model_worker *w, const struct pending *p)
{
    const struct pool_act *act = &p->act;
    struct model_server *s = act->slot != NULL ? act->slot->server : NULL;
    bool is_mine = act->worker == w->id;
    struct pool_acts acts;

    if (p->is_more) {
        pool_pump(act->pool, w->id, now(w), &acts);
        take_acts(w, act->pool, &acts);
        return;
    }
    switch (act->kind) {
    case POOL_ACT_LINK: perform_link(w, act); break;
    case POOL_ACT_IDLE: s->state = SERVER_IDLE; break;
    case POOL_ACT_HANDOFF:
        server_remove(w, s);
        s->state = SERVER_IDLE;
        post(w->model, act->worker, MAIL_ADOPT, act->pool, act->slot, &act->grant);
        break;
    case POOL_ACT_YIELD: post(w->model, act->worker, MAIL_YIELD, act->pool, act->slot, &act->grant); break;
    case POOL_ACT_CONNECT:
        if (is_mine)
            server_open(w, act->slot);
        else
            post(w->model, act->worker, MAIL_CONNECT, act->pool, act->slot, NULL);
        break;
    case POOL_ACT_CLOSE:
        if (is_mine)
            s->state = SERVER_CLOSING;
        else
            post(w->model, act->worker, MAIL_CLOSE, act->pool, act->slot, NULL);
        break;
    case POOL_ACT_FAIL: post(w->model, act->worker, MAIL_FAIL, act->pool, NULL, &act->grant); break;
    case POOL_ACT_PUMP:
        pool_pump(act->pool, w->id, now(w), &acts);
        take_acts(w, act->pool, &acts);
        break;
    case POOL_ACT_EVICT:
        limits_evict(act->limits, act->pool, now(w), &acts);
        take_acts(w, NULL, &acts);
        break;
    }
}

static bool perform_next(struct model_worker *w)
{
    struct pending p;

    if (w->out_count == 0)
        return false;
    p = w->outbox[w->out_first];
    w->out_first = (w->out_first + 1) % MODEL_OUTBOX;
    w->out_count--;
    perform(w, &p);
    return true;
}

static void handle_yield(struct model_worker *w, const struct mail *mail)
{
    struct model_server *s = mail->slot->server;
    struct model_client *c = mail->grant.worker == w->id ? find_client(w, &mail->grant) : NULL;
    struct pool_acts acts;
    struct grant failed;

    model_require(mail->slot->owner == w->id && s->state == SERVER_IDLE);
    pool_yield(mail->pool, mail->slot, c != NULL ? &c->ticket : NULL, s->is_alive, CLOSE_SERVER_CRASHED,
               &failed, now(w), &acts);
    take_acts(w, mail->pool, &acts);
    model_require((failed.client != 0) == !s->is_alive);
    if (failed.client != 0) {
        s->state = SERVER_CLOSING;
        post(w->model, failed.worker, MAIL_GRANT_FAILED, mail->pool, NULL, &failed);
    }
}

static void handle_mail(struct model_worker *w, const struct mail *mail)
{
    struct model_server *s = mail->slot != NULL ? mail->slot->server : NULL;
    struct model_client *c;
    struct pool_acts acts;

    switch (mail->kind) {
    case MAIL_CONNECT: server_open(w, mail->slot); break;
    case MAIL_YIELD: handle_yield(w, mail); break;
    case MAIL_ADOPT:
        server_add(w, s);
        c = find_client(w, &mail->grant);
        pool_adopt(mail->pool, mail->slot, c != NULL ? &c->ticket : NULL, now(w), &acts);
        take_acts(w, mail->pool, &acts);
        break;
    case MAIL_CLOSE:
        model_require(mail->slot->state == SLOT_CLOSING && mail->slot->owner == w->id);
        model_require(s->state == SERVER_IDLE);
        s->state = SERVER_CLOSING;
        break;
    case MAIL_FAIL:
        c = find_client(w, &mail->grant);
        if (c != NULL && c->is_waiting)
            client_end(c);
        break;
    case MAIL_GRANT_FAILED:
        c = find_client(w, &mail->grant);
        if (c != NULL && c->is_waiting) {
            model_require(c->ticket.state == TICKET_GRANTED);
            pool_requeue(c->pool, &c->ticket, &mail->grant, now(w), &acts);
            model_require(c->ticket.number == mail->grant.number);
            take_acts(w, c->pool, &acts);
        }
        break;
    }
}

static bool deliver(struct model_worker *w)
{
    struct list *node;

    lock_acquire(&w->inbox_lock);
    node = list_pop_front(&w->inbox);
    lock_release(&w->inbox_lock);
    if (node == NULL)
        return false;
    handle_mail(w, list_entry(node, struct mail, node));
    free(list_entry(node, struct mail, node));
    return true;
}

/* What clients and servers do by themselves */

static void release(struct model_worker *w, struct model_server *s, enum close_reason why)
{
    struct pool_acts acts;

    pool_release(s->pool, s->slot, why, now(w), &acts);
    take_acts(w, s->pool, &acts);
}

static void checkout(struct model_worker *w, struct model_client *c)
{
    struct pool_acts acts;

    c->is_waiting = true;
    c->overtaken = 0;
    pool_checkout(c->pool, &c->ticket, now(w), &acts);
    take_acts(w, c->pool, &acts);
}

static void client_arrive(struct model_worker *w, struct model_client *c)
{
    struct model *m = w->model;

    c->is_used = true;
    c->pool = m->pools[model_random(w, (uint64_t)m->n_pools)];
    memset(&c->ticket, 0, sizeof(c->ticket));
    c->ticket.client = (uint64_t)c->generation << 32 | (uint32_t)(c - w->clients + 1);
    c->ticket.worker = w->id;
    atomic_fetch_add(&c->pool->clients, 1);
    checkout(w, c);
}

/* A pinned client does not give its server back until it is unpinned, or goes. */
static bool pin_step(struct model_worker *w, struct model_client *c)
{
    struct model_server *s = c->server;
    bool was_pinned = c->is_pinned;

    if (w->model->is_draining)
        return false;
    if (chance(w, 200)) {
        c->is_pinned = pool_pin(s->pool, s->slot);
        model_require(c->is_pinned || !was_pinned);
        if (w->model->pin_cb != NULL)
            w->model->pin_cb(s->pool, was_pinned, c->is_pinned);
    } else if (c->is_pinned && chance(w, 100)) {
        pool_unpin(s->pool, s->slot);
        c->is_pinned = false;
    }
    return c->is_pinned && chance(w, 700);
}

static void linked_step(struct model_worker *w, struct model_client *c)
{
    struct model_server *s = c->server;

    if (pin_step(w, c))
        return;
    c->server = NULL;
    if (w->model->is_draining || chance(w, 600)) {
        release(w, s, chance(w, 50) ? CLOSE_UNCLEAN : CLOSE_NONE);
    } else if (chance(w, 200)) {
        pool_testing(s->pool, s->slot, now(w));
        s->state = SERVER_TESTING;
    } else if (chance(w, 200)) {
        model_require(pool_closing(s->pool, s->slot, CLOSE_SERVER_CRASHED, now(w)));
        s->state = SERVER_CLOSING;
        client_end(c);
    } else if (chance(w, 200)) {
        client_end(c);
        release(w, s, CLOSE_CLIENT_GONE_BUSY);
    } else {
        c->server = s;
    }
}

static void client_step(struct model_worker *w, struct model_client *c)
{
    if (!c->is_used) {
        if (!w->model->is_draining && chance(w, atomic_load(&w->model->busy_permille)))
            client_arrive(w, c);
    } else if (c->server != NULL) {
        linked_step(w, c);
    } else if (!c->is_waiting) {
        if (w->model->is_draining || chance(w, 300))
            client_end(c);
        else if (chance(w, atomic_load(&w->model->busy_permille)))
            checkout(w, c);
    } else if (!w->model->is_draining && chance(w, 60)) {
        pool_cancel(c->pool, &c->ticket, now(w));
        c->is_waiting = false; /* gone, or only tired of waiting */
        if (chance(w, 500))
            client_end(c);
    } else if (!w->model->is_draining && chance(w, 100)) {
        if (pool_cancel_if_waiting(c->pool, &c->ticket, now(w)))
            client_end(c);
    }
}

static void server_dies(struct model_worker *w, struct model_server *s)
{
    if (pool_closing(s->pool, s->slot, CLOSE_SERVER_CRASHED, now(w)))
        s->state = SERVER_CLOSING;
    else
        s->is_alive = false;
}

static void dialing_step(struct model_worker *w, struct model_server *s)
{
    struct pool_acts acts;

    bool fails = chance(w, atomic_load(&w->model->outage_permille));

    if (w->model->is_draining || (!fails && chance(w, 700))) {
        s->state = SERVER_IDLE; /* until the act says more */
        pool_connected(s->pool, s->slot, NULL, now(w), &acts);
        take_acts(w, s->pool, &acts);
    } else if (fails) {
        struct pool *pool = s->pool;
        struct slot *slot = s->slot;
        bool for_good = chance(w, 150), is_in = chance(w, 300);
        if (is_in) {
            s->state = SERVER_CLOSING; /* the database counts it still */
        } else {
            server_remove(w, s);
            free(s);
        }
        pool_connect_failed(pool, slot, for_good, is_in, for_good ? "28P01" : "08001", "connect failed",
                            now(w), &acts);
        take_acts(w, pool, &acts);
    } else if (chance(w, 50)) {
        server_dies(w, s);
    }
}

static void closing_step(struct model_worker *w, struct model_server *s)
{
    struct pool *pool = s->pool;
    struct slot *slot = s->slot;
    struct pool_acts acts;

    server_remove(w, s);
    free(s);
    pool_closed(pool, slot, now(w), &acts);
    take_acts(w, pool, &acts);
}

static void server_step(struct model_worker *w, struct model_server *s)
{
    bool is_draining = w->model->is_draining;

    switch (s->state) {
    case SERVER_DIALING: dialing_step(w, s); break;
    case SERVER_IDLE:
        if (!is_draining && s->is_alive && chance(w, 100))
            server_dies(w, s);
        break;
    case SERVER_TESTING:
        if (is_draining || chance(w, 800))
            release(w, s, CLOSE_NONE);
        else
            server_dies(w, s);
        break;
    case SERVER_CLOSING:
        if (is_draining || chance(w, 500))
            closing_step(w, s);
        break;
    case SERVER_LINKED: break;
    }
}

static struct model_server *random_server(struct model_worker *w)
{
    struct list *it = w->servers.next;

    for (uint64_t i = model_random(w, (uint64_t)w->n_servers); i > 0; i--)
        it = it->next;
    return list_entry(it, struct model_server, node);
}

void model_worker_step(struct model_worker *w)
{
    if (perform_next(w) || (chance(w, 500) && deliver(w)))
        return;
    if (w->n_servers > 0 && chance(w, 500))
        server_step(w, random_server(w));
    else
        client_step(w, &w->clients[model_random(w, MODEL_CLIENTS)]);
}

/* The control thread */

static void configure(struct model_worker *w, struct pool *pool)
{
    struct pool_acts acts;
    struct pool_config config = {
        .limit = 1 + (int)model_random(w, chance(w, 400) ? 24 : 4),
        .reserve = chance(w, 500) ? 0 : 1 + (int)model_random(w, 5),
        .reserve_after_us = chance(w, 200) ? 0 : 1 + (int64_t)model_random(w, USEC_PER_SEC / 10),
        .min_size = (int)model_random(w, chance(w, 300) ? 20 : 3),
        .max_pinned = (int)model_random(w, chance(w, 300) ? 20 : 4),
        .round_robin = chance(w, 300),
        .lifetime_us = chance(w, 500) ? 0 : USEC_PER_SEC / 2,
        .is_for_one_use = chance(w, 100),
        .idle_timeout_us = chance(w, 500) ? 0 : USEC_PER_SEC / 20,
        .login_retry_us = USEC_PER_SEC,
        .overtake_us = chance(w, 500) ? 0 : 2000,
        .overtake_max = (int)model_random(w, 4),
        .keep_min_without_clients = chance(w, 200),
    };

    pool_configure(pool, &config, now(w), &acts);
    take_acts(w, pool, &acts);
}

static void set_max(struct model_worker *w)
{
    struct pool *pool = w->model->pools[model_random(w, (uint64_t)w->model->n_pools)];
    struct limits *l = chance(w, 500) ? &pool->database->limits : &pool->user->limits;
    struct pool_acts acts;

    limits_set_max(l, chance(w, 150) ? 0 : 1 + (int)model_random(w, chance(w, 400) ? 24 : 5), &acts);
    take_acts(w, NULL, &acts);
}

static void poll_retries(struct model_worker *w)
{
    for (int i = 0; i < w->model->n_pools; i++) {
        struct pool *pool = w->model->pools[i];
        int64_t retry_us = atomic_load(&pool->retry_hint_us);
        struct pool_acts acts;
        if (retry_us == 0 || retry_us > now(w))
            continue;
        pool_pump(pool, POOL_NO_WORKER, now(w), &acts);
        take_acts(w, pool, &acts);
    }
}

static void set_state(struct model_worker *w, struct pool *pool)
{
    struct pool_acts acts;

    lock_acquire(&pool->lock);
    bool is_paused = pool->is_paused, is_removed = pool->is_removed;
    lock_release(&pool->lock);
    if (is_removed)
        pool_set_removed(pool, false, now(w), &acts);
    else if (is_paused)
        pool_set_paused(pool, false, now(w), &acts);
    else if (chance(w, 150))
        pool_set_paused(pool, true, now(w), &acts);
    else if (chance(w, 30))
        pool_set_removed(pool, true, now(w), &acts);
    else
        return;
    take_acts(w, pool, &acts);
}

void model_control_step(struct model_worker *w)
{
    struct pool *pool = w->model->pools[model_random(w, (uint64_t)w->model->n_pools)];
    uint64_t what = model_random(w, 1000);
    struct pool_acts acts;

    if (perform_next(w))
        return;
    if (chance(w, 30)) {
        static const int busy_permille[] = {3, 30, 100, 300, 1000};
        static const int outage_permille[] = {0, 0, 0, 10, 300};
        atomic_store(&w->model->outage_permille,
                     outage_permille[model_random(w, ARRAY_SIZE(outage_permille))]);
        atomic_store(&w->model->busy_permille, busy_permille[model_random(w, ARRAY_SIZE(busy_permille))]);
    }
    if (what < 500) {
        atomic_fetch_add(&w->model->now_us, 1 + (int64_t)model_random(w, chance(w, 100) ? 300000 : 2000));
    } else if (what < 700) {
        poll_retries(w);
    } else if (what < 850) {
        pool_maintain(pool, (uint8_t)model_random(w, (uint64_t)w->model->n_workers), now(w), &acts);
        take_acts(w, pool, &acts);
    } else if (what < 920) {
        set_state(w, pool);
    } else if (what < 950) {
        configure(w, pool);
    } else if (what < 980) {
        set_max(w);
    } else if (what < 995) {
        pool_recycle(pool, CLOSE_RECONNECT, now(w), &acts);
        take_acts(w, pool, &acts);
    } else {
        pool_fail_waiters(pool, now(w), &acts);
        take_acts(w, pool, &acts);
    }
}

/* Beginning and end */

static void worker_init(struct model *m, struct model_worker *w, uint8_t id, uint64_t seed)
{
    w->model = m;
    w->id = id;
    w->random = seed * 1000003 + id;
    list_init(&w->servers);
    list_init(&w->inbox);
    lock_init(&w->inbox_lock, LOCK_RANK_LEAF);
    for (int i = 0; i < MODEL_CLIENTS; i++)
        w->clients[i].generation = 1;
}

static void settle_config(struct model *m, struct pool *pool)
{
    struct pool_config config = {.limit = 2, .login_retry_us = USEC_PER_SEC};
    struct pool_acts acts;

    pool_configure(pool, &config, atomic_load(&m->now_us), &acts);
    take_acts(&m->control, pool, &acts);
}

void model_init(struct model *m, uint64_t seed, int n_workers, int n_databases, int n_users)
{
    char database[16], user[16];

    memset(m, 0, sizeof(*m));
    m->n_workers = n_workers;
    atomic_store(&m->now_us, USEC_PER_SEC);
    atomic_store(&m->busy_permille, 1000);
    m->registry = registry_new(n_workers);
    for (int i = 0; i < n_workers; i++)
        worker_init(m, &m->workers[i], (uint8_t)i, seed);
    worker_init(m, &m->control, POOL_NO_WORKER, seed);
    for (int i = 0; i < n_databases * n_users && m->n_pools < MODEL_POOLS; i++) {
        bool is_new;
        snprintf(database, sizeof(database), "d%d", i % n_databases);
        snprintf(user, sizeof(user), "u%d", i / n_databases);
        struct pool *pool = registry_get_pool(m->registry, database, user, &is_new);
        model_require(pool != NULL && is_new);
        pool->random = seed + (uint64_t)i; /* so that a run can be repeated */
        util_init(&pool->util, USEC_PER_SEC, 0);
        m->pools[m->n_pools++] = pool;
        settle_config(m, pool);
    }
}

void model_destroy(struct model *m)
{
    for (int i = 0; i < m->n_workers; i++)
        lock_destroy(&m->workers[i].inbox_lock);
    lock_destroy(&m->control.inbox_lock);
    registry_destroy(m->registry);
}

/* Everything that each worker can do, once. */
static void drain_round(struct model *m)
{
    for (int i = 0; i < m->n_workers; i++) {
        struct model_worker *w = &m->workers[i];
        while (perform_next(w) || deliver(w))
            ;
        LIST_FOR_EACH_SAFE (it, &w->servers) {
            while (perform_next(w))
                ;
            server_step(w, list_entry(it, struct model_server, node));
            break; /* acts may have moved the next one */
        }
        if (w->n_servers > 1) { /* another one's turn next time */
            struct list *first = list_pop_front(&w->servers);
            list_push_back(&w->servers, first);
        }
        while (perform_next(w))
            ;
        for (int k = 0; k < MODEL_CLIENTS; k++) {
            client_step(w, &w->clients[k]);
            while (perform_next(w))
                ;
        }
    }
    while (perform_next(&m->control))
        ;
    atomic_fetch_add(&m->now_us, USEC_PER_SEC / 10);
    poll_retries(&m->control);
}

void model_drain(struct model *m)
{
    struct pool_acts acts;
    const int rounds = 2000;

    m->is_draining = true;
    for (int i = 0; i < m->n_pools; i++) {
        struct pool *pool = m->pools[i];
        int64_t now_us = atomic_load(&m->now_us);
        while (perform_next(&m->control))
            ;
        pool_set_paused(pool, false, now_us, &acts);
        take_acts(&m->control, pool, &acts);
        pool_set_removed(pool, false, now_us, &acts);
        take_acts(&m->control, pool, &acts);
    }
    for (int i = 0; i < rounds; i++)
        drain_round(m);
    for (int i = 0; i < m->n_workers; i++)
        for (int k = 0; k < MODEL_CLIENTS; k++)
            model_require(!m->workers[i].clients[k].is_used);
    for (int i = 0; i < m->n_pools; i++) {
        model_require(m->pools[i]->n_waiters == 0);
        model_require(m->pools[i]->nslots == m->pools[i]->count[SLOT_IDLE]);
        pool_recycle(m->pools[i], CLOSE_RECONNECT, atomic_load(&m->now_us), &acts);
        take_acts(&m->control, m->pools[i], &acts);
    }
    for (int i = 0; i < rounds / 10; i++)
        drain_round(m);
    for (int i = 0; i < m->n_pools; i++) {
        struct pool *pool = m->pools[i];
        model_require(pool->nslots == 0 && pool_check(pool));
        model_require(atomic_load(&pool->database->limits.count) == 0);
        model_require(atomic_load(&pool->user->limits.count) == 0);
        model_require(atomic_load(&pool->database->limits.leaving) == 0);
        model_require(atomic_load(&pool->database->limits.starving) == 0);
        model_require(atomic_load(&pool->user->limits.starving) == 0);
        settle_config(m, pool);
    }
    m->is_draining = false;
}
