/*
 * timeouts.c - timeouts of clients that are logged in and do not wait for a server: query_timeout,
 * transaction_timeout, idle_transaction_timeout, client_idle_timeout.
 *
 * When to look is in deadlines.h; who ends how, here. With timeout_action = disconnect, the
 * query is cancelled all the same: PostgreSQL would notice only at its end that nobody is there
 * any more, and the pool would be larger than its limit until then. With cancel, a query is cancelled and its
 * client gets PostgreSQL's 57014; a transaction in which no query runs is rolled back (lost_transaction.c).
 *
 * A cancel that comes late must not hit what the same client sends next: until PostgreSQL has
 * closed the cancel connection, a server that stays with its client is BARRED. (What was pipelined behind
 * the query is with PostgreSQL already.)
 *
 * A client whose request no server has got anything of yet, since it waits (client.c) or its server is being
 * set up, is answered by us instead: with cancel it keeps its session, too.
 *
 * Threads: the worker's own.
 * Not here: logins and waiting (client.c), connecting and queries of our own (server.c).
 */
#include <stdio.h>

#include "session_int.h"

/* ---- clients without a server ---- */

/* One that has not taken all of its last answer is not idle yet. */
static int64_t idle_since(const struct client *c, int64_t answered_us, int64_t now_us)
{
    if (!stream_is_drained(&c->stream))
        return now_us;
    return c->request_us > answered_us ? c->request_us : answered_us;
}

/* The list is in the order of becoming idle: whoever became so less than the shortest timeout ago ends it. */
static void walk_idle(struct shard *sh, int64_t now_us)
{
    struct list *clients = &sh->client_lists[CLIENT_IDLE];
    struct deadlines *d = &sh->idle;

    deadlines_walk_begin(d);
    LIST_FOR_EACH_SAFE (it, clients) {
        struct client *c = list_entry(it, struct client, node);
        if (c->state_since_us + d->shortest_us > now_us) {
            deadlines_walk_see(d, c->state_since_us + d->shortest_us);
            break;
        }
        int64_t at_us = deadline_after(idle_since(c, c->state_since_us, now_us), c->timeouts.client_idle_us);
        if (at_us <= now_us)
            client_close(c, CLOSE_CLIENT_IDLE_TIMEOUT, NULL);
        else
            deadlines_walk_see(d, at_us);
    }
    deadlines_walk_end(d, list_is_empty(clients), now_us);
}

/* ---- clients with a server ---- */

/* The rest of a long message counts as sending. */
static int64_t query_since(const struct server *s, const struct client *c)
{
    if (s->query_start_us == 0)
        return 0;
    return c->remain_bytes > 0 && c->request_us > s->turn_us ? c->request_us : s->turn_us;
}

static struct deadline next_deadline(const struct server *s, int64_t now_us)
{
    const struct client *c = s->client;
    bool is_idle = !s->is_first && s->query_start_us == 0 && s->tracker.tx_status == 'I';
    struct deadline_times since = {
        .query_us = query_since(s, c),
        .xact_us = s->xact_start_us,
        .in_xact_us = s->idle_in_xact_us,
        .idle_us = is_idle ? idle_since(c, s->turn_us, now_us) : 0,
    };

    if (c->pin != NULL)
        since.pin_idle_us = since.idle_us;

    if (s->struck == CLOSE_NONE)
        return deadline_earliest(&since, &c->timeouts);
    return (struct deadline){
        .at_us = deadline_after(s->struck_us, shard_settings(s->shard)->cancel_wait_timeout_us),
        .why = s->struck,
    };
}

/* Ends the query or transaction, not the session. False: that cannot be done. */
static bool end_gently(struct server *s, enum close_reason why)
{
    struct client *c = s->client;
    bool is_query = s->query_start_us != 0;

    if (shard_settings(s->shard)->timeout_action != TIMEOUT_ACTION_CANCEL || s->struck != CLOSE_NONE)
        return false;
    if (is_query ? !cancel_send(s, NULL) : !lost_begin(s, why))
        return false;
    s->struck = why;
    s->struck_us = s->shard->now_us;
    stats_errors_count_close(s->shard->instance->errors, s->shard->index, why);
    client_log(c, LOG_LVL_LOG, "%s: its %s", close_reason_text(why),
               is_query ? "query is canceled" : "transaction is rolled back");
    return true;
}

/* Returns when to look at it again. It may be in no list of ours any more, or another worker's. */
static int64_t strike(struct server *s, enum close_reason why)
{
    if (why == CLOSE_CLIENT_IDLE_TIMEOUT || why == CLOSE_PIN_IDLE_TIMEOUT) {
        client_close(s->client, why, NULL);
        return DEADLINE_NEVER;
    }
    if (end_gently(s, why))
        return deadline_after(s->struck_us, shard_settings(s->shard)->cancel_wait_timeout_us);
    if (s->query_start_us != 0 && s->cancel == NULL && !cancel_send(s, NULL))
        server_log(s, LOG_LVL_DEBUG, "its query cannot be canceled");
    server_close(s, why, NULL);
    return DEADLINE_NEVER;
}

/* What happens to one server takes no other out of these lists. */
static void walk_linked(struct shard *sh, int64_t now_us)
{
    static const enum server_state states[] = {SERVER_ACTIVE, SERVER_BARRED};
    struct deadlines *walk = &sh->linked;

    deadlines_walk_begin(walk);
    for (size_t i = 0; i < ARRAY_SIZE(states); i++)
        LIST_FOR_EACH_SAFE (it, &sh->server_lists[states[i]]) {
            struct server *s = list_entry(it, struct server, node);
            struct deadline d = next_deadline(s, now_us);
            if (d.at_us > now_us)
                deadlines_walk_see(walk, d.at_us);
            else if (s->state == SERVER_BARRED && s->cancel != NULL)
                deadlines_walk_see(walk, now_us + SESSION_TICK_US); /* the cancel has its own time limit */
            else
                deadlines_walk_see(walk, strike(s, d.why));
        }
    bool is_empty =
        list_is_empty(&sh->server_lists[SERVER_ACTIVE]) && list_is_empty(&sh->server_lists[SERVER_BARRED]);
    deadlines_walk_end(walk, is_empty, now_us);
}

/* ---- nothing has been sent yet ---- */

bool timeouts_keep_session(const struct client *c)
{
    return shard_settings(c->shard)->timeout_action == TIMEOUT_ACTION_CANCEL && client_has_unsent(c);
}

void timeouts_cancel_unsent(struct client *c, const char *cause)
{
    char message[POOL_ERROR_BYTES + 64];
    enum close_reason why = CLOSE_QUERY_TIMEOUT;

    stats_errors_count_close(c->shard->instance->errors, c->shard->index, why);
    client_log(c, LOG_LVL_LOG, "%s: its query is canceled before a server got it", close_reason_text(why));
    snprintf(message, sizeof(message), "canceling statement due to query_timeout%s%s",
             cause[0] != '\0' ? ": " : "", cause);
    client_cancel_unsent(c, message);
}

/* Since when it waits for queries of ours to be answered; 0 = it does not. */
static int64_t setup_waits_since(const struct server *s)
{
    const struct client *c = s->client;
    if (c == NULL || c->state != CLIENT_ACTIVE || !client_has_unsent(c)) /* a login is no query */
        return 0;
    return s->is_first ? s->turn_us : c->request_us;
}

/* Who does not answer a small query of ours for so long is given up. Behind a query of its own a client in
 * session pooling would lose its session unknown to it. */
static void strike_setup(struct server *s)
{
    bool is_at_begin = s->is_first && (s->step == STEP_CHECK || s->step == STEP_SETTINGS);
    struct client *c = server_detach_client(s);

    client_set_state(c, CLIENT_IDLE);
    server_close(s, CLOSE_QUERY_TIMEOUT, NULL);
    if (is_at_begin && timeouts_keep_session(c))
        timeouts_cancel_unsent(c, "");
    else
        client_close(c, CLOSE_QUERY_TIMEOUT, NULL);
}

static void walk_setup(struct shard *sh, int64_t now_us)
{
    LIST_FOR_EACH_SAFE (it, &sh->server_lists[SERVER_SETUP]) {
        struct server *s = list_entry(it, struct server, node);
        int64_t since_us = setup_waits_since(s);
        if (since_us != 0 && deadline_after(since_us, s->client->timeouts.query_us) <= now_us)
            strike_setup(s);
    }
}

void timeouts_tick(struct shard *sh, int64_t now_us)
{
    if (deadlines_is_due(&sh->idle, now_us))
        walk_idle(sh, now_us);
    if (deadlines_is_due(&sh->linked, now_us))
        walk_linked(sh, now_us);
    walk_setup(sh, now_us);
}

/* ---- after a cancel ---- */

/* The statement was canceled because of its transaction: that goes too. */
static bool end_transaction(struct server *s, enum close_reason why)
{
    if (why != CLOSE_TRANSACTION_TIMEOUT || s->tracker.tx_status == 'I')
        return false;
    if (!lost_begin(s, why))
        server_close(s, why, NULL);
    return true;
}

bool timeouts_after_answer(struct server *s)
{
    enum close_reason why = s->struck;
    bool is_released = !s->client->keeps_server && tracker_is_releasable(&s->tracker);

    if (s->query_start_us != 0 || is_released) {
        s->struck = CLOSE_NONE; /* the next of a pipeline runs; or the server is held, its client goes on */
        return false;
    }
    if (!cancel_lets_go(s)) {
        server_set_state(s, SERVER_BARRED);
        return true;
    }
    s->struck = CLOSE_NONE;
    return end_transaction(s, why);
}

void timeouts_unbar(struct server *s)
{
    struct client *c = s->client;
    enum close_reason why = s->struck;

    if (s->cancel != NULL || lost_must_be_told(c) || c->is_dropping)
        return;
    s->struck = CLOSE_NONE;
    if (c->lost == LOST_TOLD) {
        if (!lost_send_failure(s))
            server_close(s, CLOSE_WORKER_IO, NULL);
        return;
    }
    server_set_state(s, SERVER_ACTIVE);
    if (!end_transaction(s, why))
        server_after_batch(s);
}
