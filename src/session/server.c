/*
 * server.c - the life of a server connection: states, deadlines, the end.
 *
 * Closing tells PostgreSQL (Terminate), and the slot counts until PostgreSQL has closed its end, so
 * that a pool is never larger than its limit as PostgreSQL counts.
 *
 * Threads: the owner's.
 * Not here: connecting and login (server_login.c), traffic (server_flow.c).
 */
#include "session/server.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "auth_int.h"
#include "session/notifiers.h"

/* [from] bit set of the states that may follow */
#define TO(s) (1u << SERVER_##s)
only_for_checks static const uint16_t server_moves[SERVER_STATES] = {
    [SERVER_CONNECTING] = TO(IDLE) | TO(CLOSING),
    [SERVER_IDLE] = TO(CONNECTING) | TO(SETUP) | TO(ACTIVE) | TO(MOVING) | TO(CLOSING),
    [SERVER_SETUP] = TO(ACTIVE) | TO(BARRED) | TO(RESET) | TO(HELD) | TO(IDLE) | TO(CLOSING),
    [SERVER_ACTIVE] = TO(SETUP) | TO(BARRED) | TO(RESET) | TO(HELD) | TO(IDLE) | TO(CLOSING),
    [SERVER_BARRED] = TO(SETUP) | TO(ACTIVE) | TO(RESET) | TO(HELD) | TO(IDLE) | TO(CLOSING),
    [SERVER_RESET] = TO(IDLE) | TO(HELD) | TO(CLOSING),
    [SERVER_HELD] = TO(RESET) | TO(IDLE) | TO(CLOSING),
    [SERVER_MOVING] = TO(IDLE),
    [SERVER_CLOSING] = 0,
};
#undef TO

static bool has_deadline(enum server_state state)
{
    return state == SERVER_CONNECTING || state == SERVER_SETUP || state == SERVER_RESET ||
           state == SERVER_CLOSING;
}

void server_set_state(struct server *s, enum server_state state)
{
    debug_assert(s->state == state || (server_moves[s->state] & (1u << state)) != 0);
    bool was_moving = s->state == SERVER_MOVING;
    if (s->state == SERVER_HELD || state == SERVER_HELD)
        atomic_fetch_add_explicit(&s->pool->cancels.held, state == SERVER_HELD ? 1 : -1,
                                  memory_order_relaxed);
    list_del(&s->node);
    s->state = (uint8_t)state;
    if (state != SERVER_MOVING)
        list_push_back(&s->shard->server_lists[state], &s->node);
    if ((state == SERVER_ACTIVE || state == SERVER_BARRED) && deadlines_join(&s->shard->linked, s->turn_us))
        shard_arm_deadlines(s->shard);
    if (state == SERVER_ACTIVE)
        return;
    s->state_since_us = s->shard->now_us;
    if (state == SERVER_IDLE && !was_moving)
        s->idle_since_us = s->state_since_us;
    if (has_deadline(state))
        shard_arm_tick(s->shard);
}

void server_describe(const struct server *s, char *out, size_t size)
{
    snprintf(out, size, "S-%llu: %s/%s@%s:%d", (unsigned long long)s->id, s->pool->database->name,
             s->pool->user->name, s->host[0] != '\0' ? s->host : "(connecting)", s->port);
}

void server_log(const struct server *s, int level, const char *fmt, ...)
{
    char prefix[512];
    va_list ap;

    if (!log_enabled((enum log_level)level))
        return;
    server_describe(s, prefix, sizeof(prefix) - 1);
    str_copy(prefix + strlen(prefix), " ", 2);
    va_start(ap, fmt);
    log_vline((enum log_level)level, prefix, fmt, ap);
    va_end(ap);
}

struct stats_shard *server_stats(struct server *s)
{
    return pool_stats_shard(&s->pool->stats, s->shard->index);
}

struct server *server_new(struct shard *sh, struct pool *pool, struct slot *slot)
{
    struct server *s = calloc(1, sizeof(*s)); /* no slab: servers move between workers */
    if (s == NULL)
        return NULL;
    s->shard = sh;
    s->pool = pool;
    s->slot = slot;
    s->stream.fd = -1;
    s->id = atomic_fetch_add_explicit(&sh->instance->next_connection_id, 1, memory_order_relaxed);
    list_init(&s->node);
    tracker_init(&s->tracker);
    buf_init(&s->partial, 1 << 20);
    server_set_state(s, SERVER_CONNECTING);
    atomic_fetch_add_explicit(&sh->n_servers, 1, memory_order_relaxed);
    return s;
}

static void server_deferred_free(struct deferred *d)
{
    free(container_of(d, struct server, deferred));
}

void server_free(struct server *s)
{
    struct shard *sh = s->shard;

    cancel_server_gone(s);
    if (s->listens != NULL)
        listen_server_lost(s);
    notifiers_remove(sh->instance->notifiers, s->notifier);
    s->notifier = NULL;
    list_del(&s->node);
    dial_cancel(&s->dial);
    server_login_free(s);
    prepared_server_free(s);
    stream_close(&s->stream);
    tracker_destroy(&s->tracker);
    buf_free(&s->partial);
    buf_free(&s->ahead);
    params_unref(s->params);
    s->params = NULL;
    params_unref(s->strict);
    s->strict = NULL;
    free(s->key);
    s->key = NULL;
    atomic_fetch_sub_explicit(&sh->n_servers, 1, memory_order_relaxed);
    s->deferred.run = server_deferred_free;
    loop_defer(&sh->loop, &s->deferred);
}

void server_finish_close(struct server *s)
{
    struct pool_acts acts;
    struct slot *slot = s->slot;
    struct pool *pool = s->pool;
    struct shard *sh = s->shard;

    s->slot = NULL;
    server_free(s);
    if (slot == NULL)
        return;
    slot->server = NULL;
    pool_closed(pool, slot, sh->now_us, &acts);
    shard_perform(sh, pool, &acts);
}

void server_log_close(struct server *s, enum close_reason why, const char *detail)
{
    const struct settings *set = shard_settings(s->shard);
    int64_t age_s = s->connected_us != 0 ? (s->shard->now_us - s->connected_us) / USEC_PER_SEC : 0;
    const char *text = close_reason_text(why);

    stats_errors_count_close(s->shard->instance->errors, s->shard->index, why);
    s->close_reason = why;
    if (!set->log_disconnections)
        return;
    if (detail != NULL)
        server_log(s, LOG_LVL_LOG, "closing because: %s: %s (age=%llds)", text, detail, (long long)age_s);
    else
        server_log(s, LOG_LVL_LOG, "closing because: %s (age=%llds)", text, (long long)age_s);
}

/* Says good-bye; the rest happens when PostgreSQL has closed its end, or after a second. */
void server_say_goodbye(struct server *s)
{
    static const uint8_t terminate[5] = {'X', 0, 0, 0, 4};

    server_set_state(s, SERVER_CLOSING);
    if (s->stream.fd < 0 || !stream_send(&s->stream, terminate, sizeof(terminate)) ||
        !stream_read_start(&s->stream)) {
        server_finish_close(s);
        return;
    }
    stream_shutdown_write(&s->stream);
}

void server_begin_close(struct server *s, enum close_reason why)
{
    if (s->listens != NULL)
        listen_server_lost(s);
    server_log_close(s, why, NULL);
    server_say_goodbye(s);
}

static bool is_lost(enum close_reason why)
{
    return why == CLOSE_SERVER_CRASHED || why == CLOSE_WORKER_IO || why == CLOSE_TLS_FAILED;
}

/* What becomes of the client whose server is lost. */
static void give_up_client(struct client *c, enum close_reason why, const char *detail, bool was_checking)
{
    struct pool_acts acts;

    if (was_checking) {
        /* it has not been told anything yet: back to its place in the queue */
        struct grant g = {.client = c->handle,
                          .number = c->ticket.number,
                          .since_us = c->ticket.since_us,
                          .worker = c->shard->index};
        if (c->state != CLIENT_LOGIN_WAIT)
            client_set_state(c, CLIENT_WAITING);
        pool_requeue(c->pool, &c->ticket, &g, c->shard->now_us, &acts);
        shard_perform(c->shard, c->pool, &acts);
        return;
    }
    client_close(c, close_reason_message(why) != NULL ? why : CLOSE_SERVER_CRASHED, detail);
}

void server_close(struct server *s, enum close_reason why, const char *detail)
{
    if (s->state == SERVER_CONNECTING) {
        server_login_failed(s, why, NULL, detail);
        return;
    }
    if (s->state == SERVER_CLOSING) {
        server_finish_close(s);
        return;
    }
    if (unlikely(s->lookup != NULL))
        lookup_server_lost(s, why);
    if (unlikely(s->listens != NULL))
        listen_server_lost(s);
    struct client *c = s->client;
    bool was_checking =
        s->state == SERVER_SETUP && (s->step == STEP_CHECK || (c != NULL && c->state == CLIENT_LOGIN_WAIT));
    if (c != NULL) {
        c->told_fatal = s->sent_fatal;
        c->is_mid_message = s->remain_bytes > 0 && !s->is_dropping;
        (void)server_detach_client(s);
    }
    if (!pool_closing(s->pool, s->slot, why, s->shard->now_us)) {
        /* granted away a moment ago: the YIELD mail that is coming finds it dead */
        s->is_dead = true;
        s->close_reason = why;
        stream_read_stop(&s->stream);
        return;
    }
    server_log_close(s, why, detail);
    if (is_lost(why)) {
        server_set_state(s, SERVER_CLOSING);
        server_finish_close(s);
    } else {
        server_say_goodbye(s);
    }
    if (c != NULL)
        give_up_client(c, why, detail, was_checking);
}

/* A query of ours takes as long as a login may not take. */
static void own_query_timed_out(struct server *s)
{
    if (s->state == SERVER_SETUP && s->step == STEP_ROLLBACK)
        server_close(s, s->struck, NULL);
    else if (s->state == SERVER_SETUP && s->step == STEP_CHECK)
        server_close(s, CLOSE_CHECK_QUERY_FAILED, "timeout");
    else if (s->lookup != NULL)
        server_close(s, CLOSE_QUERY_TIMEOUT, "auth_query");
    else
        server_close(s, CLOSE_RESET_QUERY_FAILED, "timeout");
}

void server_tick(struct shard *sh, int64_t now_us)
{
    const struct settings *set = shard_settings(sh);

    LIST_FOR_EACH_SAFE (it, &sh->server_lists[SERVER_CONNECTING]) {
        struct server *s = list_entry(it, struct server, node);
        if (set->server_connect_timeout_us > 0 &&
            now_us - s->state_since_us >= set->server_connect_timeout_us)
            server_login_failed(s, CLOSE_CONNECT_TIMEOUT, "08001", NULL);
        else
            server_login_tick(s, now_us);
    }
    static const enum server_state ours[] = {SERVER_SETUP, SERVER_RESET};
    for (size_t i = 0; i < ARRAY_SIZE(ours); i++)
        LIST_FOR_EACH_SAFE (it, &sh->server_lists[ours[i]]) {
            struct server *s = list_entry(it, struct server, node);
            if (now_us - s->state_since_us < set->server_connect_timeout_us ||
                set->server_connect_timeout_us <= 0)
                break;
            own_query_timed_out(s);
        }
    LIST_FOR_EACH_SAFE (it, &sh->server_lists[SERVER_CLOSING]) {
        struct server *s = list_entry(it, struct server, node);
        if (now_us - s->state_since_us < SESSION_SERVER_CLOSE_US)
            break;
        server_finish_close(s);
    }
}
