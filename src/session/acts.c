/*
 * acts.c - performing what the ledger decided.
 *
 * Each call into pool/ returns acts. Performing one may lead to further calls (a
 * link whose client has gone releases the server again), so they are queued and
 * performed in order, never nested: the stack stays flat however many waiters
 * are served in a row. What concerns another worker goes there by mail.
 *
 * The mail for a server travels in the server itself (ADOPT, YIELD, CLOSE: the
 * slot's state allows one at a time); other mail is allocated.
 *
 * Threads: the shard's own, except act_mail().
 */
#include <stdlib.h>

#include "auth_int.h"
#include "pool/obstacle.h"

static void acts_push(struct shard *sh, struct pool *pool, const struct pool_act *act)
{
    if (sh->acts_tail - sh->acts_head == sh->acts_capacity) {
        uint32_t capacity = sh->acts_capacity * 2;
        struct pending_act *grown = malloc(capacity * sizeof(*grown));
        if (grown == NULL) {
            /* losing an act would lose a server: nothing can be right after that */
            log_fatal("out of memory for the ledger's decisions");
            abort();
        }
        for (uint32_t i = sh->acts_head; i != sh->acts_tail; i++)
            grown[i & (capacity - 1)] = sh->acts[i & (sh->acts_capacity - 1)];
        free(sh->acts);
        sh->acts = grown;
        sh->acts_capacity = capacity;
    }
    sh->acts[sh->acts_tail++ & (sh->acts_capacity - 1)] = (struct pending_act){.pool = pool, .act = *act};
}

static struct mail_slot *new_slot_mail(enum mail_type type, struct pool *pool, const struct pool_act *act)
{
    struct mail_slot *m = calloc(1, sizeof(*m));
    if (m == NULL)
        return NULL;
    m->mail.type = type;
    m->pool = pool;
    m->slot = act->slot;
    m->grant = act->grant;
    return m;
}

void act_mail(struct instance *in, struct shard *sh, const struct pool_act *act, struct pool *pool)
{
    struct loop *to = &in->shards[act->worker]->loop;
    struct server *s;
    struct mail_slot *m;

    switch (act->kind) {
    case POOL_ACT_YIELD:
    case POOL_ACT_CLOSE:
        s = act->slot->server;
        s->mail.type = act->kind == POOL_ACT_YIELD ? MAIL_YIELD : MAIL_CLOSE_SERVER;
        if (sh != NULL && act->kind == POOL_ACT_YIELD)
            atomic_fetch_add_explicit(&sh->steals, 1, memory_order_relaxed);
        loop_post(to, &s->mail);
        return;
    case POOL_ACT_CONNECT:
    case POOL_ACT_FAIL:
        m = new_slot_mail(act->kind == POOL_ACT_CONNECT ? MAIL_CONNECT : MAIL_FAIL_CLIENT, pool, act);
        if (m != NULL) {
            loop_post(to, &m->mail);
        } else if (act->kind == POOL_ACT_CONNECT) {
            struct pool_acts next;
            pool_connect_failed(pool, act->slot, false, false, "53200", "out of memory", clock_now_us(),
                                &next);
            if (sh != NULL)
                shard_perform(sh, pool, &next);
            else
                instance_perform(in, pool, &next);
        } else {
            log_error("out of memory: a waiting client is not told that its server failed");
        }
        return;
    default: log_error("no mail for act %d", (int)act->kind); return;
    }
}

static void server_hand_off(struct shard *sh, struct server *s, uint8_t worker)
{
    server_set_state(s, SERVER_MOVING);
    stream_detach(&s->stream);
    if (sh->current == s)
        sh->current = NULL;
    atomic_fetch_sub_explicit(&sh->n_servers, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&sh->handoffs, 1, memory_order_relaxed);
    s->shard = NULL;
    s->mail.type = MAIL_ADOPT;
    loop_post(&sh->instance->shards[worker]->loop, &s->mail);
}

static void perform_link(struct shard *sh, struct pool *pool, const struct pool_act *act)
{
    if (unlikely(pool->purpose == POOL_FOR_LISTENING)) {
        listen_server_link(sh, pool, act->slot);
        return;
    }
    struct client *c = handle_get(&sh->clients, act->grant.client);
    struct server *s = act->slot->server;

    if (c != NULL && c->ticket.number == act->grant.number && c->server == NULL &&
        (c->state == CLIENT_WAITING || c->state == CLIENT_LOGIN_WAIT)) {
        server_link(s, c, &act->grant);
        return;
    }
    /* gone in the meantime: the next one's turn */
    struct pool_acts next;
    pool_release(pool, act->slot, CLOSE_NONE, sh->now_us, &next);
    shard_perform(sh, pool, &next);
}

static void fail_client(struct shard *sh, struct pool *pool, const struct grant *grant)
{
    if (pool->purpose == POOL_FOR_LISTENING) {
        listen_server_failed(sh, pool, grant);
        return;
    }
    struct client *c = handle_get(&sh->clients, grant->client);
    if (c == NULL || c->ticket.number != grant->number || c->server != NULL ||
        (c->state != CLIENT_WAITING && c->state != CLIENT_LOGIN_WAIT))
        return;
    if (client_is_looking_up(c)) {
        char why[6], last[POOL_ERROR_BYTES];
        pool_last_error(pool, why, last, sizeof(last));
        client_lookup_failed(c, last[0] != '\0' ? last : "the database has gone");
        return;
    }
    if (pool_is_removed(pool)) { /* it asked before this worker heard of it; the last error is no cause */
        client_close(c, CLOSE_DATABASE_REMOVED, NULL);
        return;
    }
    char sqlstate[6], text[POOL_ERROR_BYTES], message[POOL_ERROR_BYTES + 96];
    pool_last_error(pool, sqlstate, text, sizeof(text));
    if (text[0] == '\0') {
        client_close(c, CLOSE_ADMIN, NULL);
        return;
    }
    snprintf(message, sizeof(message),
             pool_failed_before(pool, grant->since_us)
                 ? "server login has been failing, cached error: %s (server_login_retry)"
                 : "server login failed: %s",
             text);
    client_close_error(c, CLOSE_SERVER_LOGIN_CACHED, sqlstate[0] ? sqlstate : "08001", message, NULL);
}

static hot_path void perform_act(struct shard *sh, struct pool *pool, const struct pool_act *act)
{
    struct pool_acts next;
    bool is_mine = act->worker == sh->index;

    switch (act->kind) {
    case POOL_ACT_LINK: perform_link(sh, pool, act); return;
    case POOL_ACT_IDLE:
        if (unlikely(pool->purpose == POOL_FOR_LISTENING))
            listen_server_idle(sh, pool, act->slot);
        return;
    case POOL_ACT_HANDOFF: server_hand_off(sh, act->slot->server, act->worker); return;
    case POOL_ACT_CONNECT:
        if (is_mine)
            server_connect(sh, pool, act->slot);
        else
            act_mail(sh->instance, sh, act, pool);
        return;
    case POOL_ACT_CLOSE:
        if (is_mine)
            server_begin_close(act->slot->server, act->slot->close_reason);
        else
            act_mail(sh->instance, sh, act, pool);
        return;
    case POOL_ACT_FAIL:
        if (is_mine)
            fail_client(sh, pool, &act->grant);
        else
            act_mail(sh->instance, sh, act, pool);
        return;
    case POOL_ACT_YIELD: act_mail(sh->instance, sh, act, pool); return;
    case POOL_ACT_PUMP:
        pool_pump(act->pool, sh->index, sh->now_us, &next);
        shard_perform(sh, act->pool, &next);
        return;
    case POOL_ACT_EVICT:
        if (limits_evict(act->limits, act->pool, sh->now_us, &next))
            shard_perform(sh, act->pool, &next);
        return;
    }
}

static void drain_acts(struct shard *sh)
{
    while (sh->acts_head != sh->acts_tail) {
        struct pending_act p = sh->acts[sh->acts_head++ & (sh->acts_capacity - 1)];
        perform_act(sh, p.pool, &p.act);
    }
}

void shard_perform(struct shard *sh, struct pool *pool, struct pool_acts *acts)
{
    int i = 0;

    if (!sh->acts_are_draining && acts->n == 1 && !acts->more) {
        /* the usual case: nothing to keep in order */
        sh->acts_are_draining = true;
        perform_act(sh, pool, &acts->act[0]);
        i = 1;
    } else {
        for (; i < acts->n; i++)
            acts_push(sh, pool, &acts->act[i]);
        if (acts->more) {
            struct pool_act pump = {.kind = POOL_ACT_PUMP, .pool = pool, .worker = sh->index};
            acts_push(sh, pool, &pump);
        }
        if (sh->acts_are_draining)
            return;
        sh->acts_are_draining = true;
    }
    drain_acts(sh);
    sh->acts_are_draining = false;
}

/* ---- the other end of the mail ---- */

static struct ticket *grant_ticket(struct shard *sh, const struct pool *pool, const struct grant *g)
{
    if (unlikely(pool->purpose == POOL_FOR_LISTENING))
        return listen_server_ticket(sh, pool, g);
    struct client *c = handle_get(&sh->clients, g->client);
    bool is_waiting = c != NULL && c->ticket.number == g->number &&
                      (c->state == CLIENT_WAITING || c->state == CLIENT_LOGIN_WAIT);
    return is_waiting ? &c->ticket : NULL;
}

/* A server for one of our clients has arrived. */
static void on_adopt(struct shard *sh, struct server *s)
{
    struct pool_acts acts;
    bool is_attached = stream_attach(&s->stream, &sh->loop);

    s->shard = sh;
    server_set_state(s, SERVER_IDLE);
    atomic_fetch_add_explicit(&sh->n_servers, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&sh->adopted, 1, memory_order_relaxed);
    struct grant grant = s->slot->grant;
    struct pool *pool = s->pool;
    struct ticket *t = grant_ticket(sh, pool, &grant);
    if (is_attached) {
        pool_adopt(pool, s->slot, t, sh->now_us, &acts);
        shard_perform(sh, pool, &acts);
        return;
    }
    /* cannot be listened to here: it goes, and the client goes back to its place */
    pool_yield(pool, s->slot, NULL, false, CLOSE_WORKER_IO, &grant, sh->now_us, &acts);
    shard_perform(sh, pool, &acts);
    server_begin_close(s, CLOSE_WORKER_IO);
    if (t != NULL) {
        pool_requeue(pool, t, &grant, sh->now_us, &acts);
        shard_perform(sh, pool, &acts);
    }
}

/* Our idle server goes to a waiter; it may have died since that was decided. */
static void on_yield(struct shard *sh, struct server *s)
{
    struct pool_acts acts;
    struct grant failed = {0};
    struct ticket *t = grant_ticket(sh, s->pool, &s->slot->grant);
    /* an idle server that is not quiet has words of TLS under way: it cannot be moved now */
    bool is_alive = !s->is_dead && s->partial.len == 0 && stream_is_quiet(&s->stream);
    struct pool *pool = s->pool;

    if (s->slot->grant.worker != sh->index)
        t = NULL;
    if (!is_alive && !s->is_dead)
        s->close_reason = CLOSE_UNCLEAN;
    pool_yield(pool, s->slot, t, is_alive, s->close_reason, &failed, sh->now_us, &acts);
    if (is_alive) {
        shard_perform(sh, pool, &acts);
        return;
    }
    if (failed.client != 0) {
        struct pool_act act = {.grant = failed, .slot = s->slot, .worker = failed.worker};
        struct mail_slot *m = new_slot_mail(MAIL_GRANT_FAILED, pool, &act);
        if (m != NULL)
            loop_post(&sh->instance->shards[failed.worker]->loop, &m->mail);
        else
            log_error("out of memory: a waiting client has lost its place in the queue");
    }
    shard_perform(sh, pool, &acts);
    server_log_close(s, s->close_reason, NULL);
    stream_close(&s->stream);
    server_finish_close(s);
}

static void on_grant_failed(struct shard *sh, struct mail_slot *m)
{
    struct pool_acts acts;
    struct ticket *t = grant_ticket(sh, m->pool, &m->grant);
    if (t == NULL)
        return;
    pool_requeue(m->pool, t, &m->grant, sh->now_us, &acts);
    shard_perform(sh, m->pool, &acts);
}

void acts_on_mail(struct shard *sh, struct mail *m)
{
    struct server *s = container_of(m, struct server, mail);
    struct mail_slot *ms = container_of(m, struct mail_slot, mail);

    switch (m->type) {
    case MAIL_ADOPT: on_adopt(sh, s); return;
    case MAIL_YIELD: on_yield(sh, s); return;
    case MAIL_CLOSE_SERVER: server_begin_close(s, s->slot->close_reason); return;
    case MAIL_GRANT_FAILED: on_grant_failed(sh, ms); break;
    case MAIL_CONNECT: server_connect(sh, ms->pool, ms->slot); break;
    case MAIL_FAIL_CLIENT: fail_client(sh, ms->pool, &ms->grant); break;
    default: break;
    }
    free(ms);
}
