/*
 * link.c - client and server meet, work together, and part.
 *
 * Linking may need words of our own first: the check query for a server that has
 * been idle for long, and SETs where client and server do not agree on a
 * parameter. The check is answered first (SETUP); SETs go ahead of the client's request, in the same send
 * (ahead.c), or are answered first where it has none yet.
 *
 * Parting: the tracker says that nothing is owed. In session mode the reset query
 * runs before anyone else gets the server (RESET); a server against which a cancel
 * request is under way is kept until that has ended (HELD), so that the cancel
 * cannot hit the next client's query.
 *
 * Threads: the worker's own.
 */
#include <string.h>

#include "ahead.h"
#include "auth_int.h"
#include "session/notifiers.h"
#include "session/pin.h"
#include "tracking.h"

/* ---- words of our own ---- */

bool server_send_internal(struct server *s, const char *sql)
{
    struct buf b;
    bool ok;

    if (!tracker_internal_query(&s->tracker))
        return false;
    s->unnamed_of = 0; /* a Query ends it */
    buf_init(&b, 1 << 20);
    wire_put_query(&b, sql);
    ok = !b.failed && stream_send(&s->stream, b.data, b.len);
    buf_free(&b);
    return ok;
}

/* PgBouncer's default value "<empty>" means a query with nothing in it. */
static const char *check_query(const struct server *s)
{
    const char *q = shard_settings(s->shard)->server_check_query;
    return strcmp(q, "<empty>") == 0 ? "" : q;
}

static bool is_check_due(const struct server *s, int64_t now_us)
{
    const struct settings *set = shard_settings(s->shard);
    return set->server_check_query[0] != '\0' && !s->is_fresh &&
           now_us - s->idle_since_us >= set->server_check_delay_us;
}

enum send_settings {
    SETTINGS_AGREE,
    SETTINGS_SENT,
    SETTINGS_AHEAD, /* they go with the client's request */
    SETTINGS_FAILED,
};

static bool has_unlisted_of_another(const struct server *s)
{
    return unlikely(s->unlisted_of != 0) && s->unlisted_of != s->client->id;
}

/* The SETs that make the server the client's. */
static enum send_settings send_settings(struct server *s)
{
    enum send_settings result = SETTINGS_AGREE;
    struct buf sql;

    buf_init(&sql, 1 << 20);
    const uint32_t n = has_unlisted_of_another(s) ? params_reset_sql(s->params, s->client->params, &sql)
                                                  : params_diff_sql(s->params, s->client->params, &sql);
    if (n == 0)
        result = SETTINGS_AGREE;
    else if (sql.failed)
        result = SETTINGS_FAILED;
    else if (ahead_may_begin(s))
        result = ahead_begin(s, buf_cstr(&sql)) ? SETTINGS_AHEAD : SETTINGS_FAILED;
    else
        result = server_send_internal(s, buf_cstr(&sql)) ? SETTINGS_SENT : SETTINGS_FAILED;
    buf_free(&sql);
    return result;
}

/* ---- linking ---- */

/* The client, unless it has gone, is in; the server was for its login only. */
static void finish_login(struct server *s, struct client *c)
{
    bool is_stepping = client_login_is_stepping(c);

    if (c->state == CLIENT_LOGIN_WAIT && c->stream.fd >= 0)
        client_login_finish(c, NULL);
    server_give_back(s, CLOSE_NONE);
    if (c->state == CLIENT_IDLE && !is_stepping)
        client_resume(c);
}

/* The client is in, and the server stays with it (session_link). */
static void finish_linked_login(struct server *s, struct client *c)
{
    bool is_stepping = client_login_is_stepping(c);

    /* what counts as idle begins now */
    s->request_us = s->turn_us = s->shard->now_us;
    s->is_first = false;
    server_set_state(s, SERVER_ACTIVE);
    client_login_finish(c, s);
    if (c->state != CLIENT_IDLE)
        return; /* it could not be told: gone, and the server given back */
    client_set_state(c, CLIENT_ACTIVE);
    if (!is_stepping)
        client_resume(c);
}

void server_setup_finish(struct server *s)
{
    struct client *c = s->client;
    bool was_set_up = s->state == SERVER_SETUP;

    if (unlikely(c->lost == LOST_TOLD) && s->step != STEP_FAIL) {
        if (!lost_send_failure(s))
            server_close(s, CLOSE_WORKER_IO, NULL);
        return;
    }
    s->step = STEP_NONE;
    if (unlikely(c->state == CLIENT_LOGIN_WAIT)) {
        client_login_accepted(c);
        if (client_login_links_server(c)) {
            finish_linked_login(s, c);
            return;
        }
        s->client = NULL; /* it has had none of its requests: there is nothing to reset */
        c->server = NULL;
        finish_login(s, c);
        return;
    }
    server_set_state(s, SERVER_ACTIVE);
    /* meanwhile the client has cancelled what it wanted the server for */
    if (was_set_up && !c->keeps_server && s->tracker.tx_status == 'I' &&
        (c->input == NULL || c->skip != SKIP_NONE))
        server_release(s);
    else
        client_resume(c);
}

/* The settings come after the check; a server that agrees with its client is ready at once. */
static hot_path void setup_settings(struct server *s)
{
    s->step = STEP_SETTINGS;
    const bool may_agree = s->params == s->client->params && !has_unlisted_of_another(s);
    switch (may_agree ? SETTINGS_AGREE : send_settings(s)) {
    case SETTINGS_AGREE: server_setup_finish(s); return;
    case SETTINGS_AHEAD: client_resume(s->client); return;
    case SETTINGS_SENT:
        if (s->state != SERVER_SETUP)
            server_set_state(s, SERVER_SETUP);
        return;
    case SETTINGS_FAILED: server_close(s, CLOSE_WORKER_IO, NULL); return;
    }
}

void server_link(struct server *s, struct client *c, const struct grant *grant)
{
    int64_t now_us = s->shard->now_us;
    int64_t wait_us = now_us - grant->since_us;
    struct stats_shard *st = client_stats(c);

    if (st != NULL) {
        counter_add(&st->counters.server_assignment_count, 1);
        counter_add(&st->counters.wait_time_us, (uint64_t)wait_us);
        stats_shard_record(st, LATENCY_WAIT, wait_us);
    }
    bool is_login = c->state == CLIENT_LOGIN_WAIT;
    if (is_login && lookup_takes(s, c))
        return;
    if (c->replication != REPLICATION_NONE) {
        replication_link(s, c);
        return;
    }
    if (is_login) {
        bool is_settled = client_login_is_settled(c);
        bool is_gone = c->state != CLIENT_LOGIN_WAIT || c->stream.fd < 0;
        if (is_gone || (is_settled && !client_login_links_server(c))) {
            /* only the pool's parameters were wanted */
            finish_login(s, c);
            return;
        }
    }
    s->client = c;
    c->server = s;
    if (unlikely(s->unlisted_of == c->id) && c->last_server != s->id)
        s->unlisted_of = UINT64_MAX; /* it may have set or reset them elsewhere since */
    c->last_server = s->id;
    s->listen_is_watching = c->listen_is_watching;
    if (likely(s->notifier != NULL))
        notifier_link(s->notifier, (uint32_t)(c->cancel_key >> 32), now_us);
    if (unlikely(!c->maps_statements))
        s->unnamed_of = 0; /* its own is not looked at */
    s->was_ready = false;
    s->setup_failed = false;
    s->is_compared = true; /* it has done nothing yet */
    s->n_unread = 0;
    s->needs_reset = c->pool_mode == POOL_MODE_SESSION && !is_login;
    reset_skip_begin(s);
    s->request_us = now_us;
    s->turn_us = grant->since_us;
    s->is_first = true;
    s->refuses = false;
    s->struck = CLOSE_NONE;
    s->query_start_us = s->xact_start_us = s->idle_in_xact_us = 0;
    if (!is_login)
        client_set_state(c, CLIENT_ACTIVE);
    bool is_due = is_check_due(s, now_us);
    s->is_fresh = false;
    if (!is_due) {
        setup_settings(s);
        return;
    }
    s->step = STEP_CHECK;
    server_set_state(s, SERVER_SETUP);
    if (!server_send_internal(s, check_query(s)))
        server_close(s, CLOSE_CHECK_QUERY_FAILED, NULL);
}

static void settings_done(struct server *s)
{
    struct client *c = s->client;

    if (!s->setup_failed) {
        /* also what the server does not report (track_extra_parameters may name such) */
        server_takes_settings(s, c);
        server_setup_finish(s);
        return;
    }
    /* a value that PostgreSQL does not take: nothing was set, so the server is as good as before */
    (void)server_detach_client(s);
    client_close_error(c, CLOSE_LOGIN_REJECTED, s->setup_sqlstate, s->setup_error, NULL);
    server_release(s);
}

void server_setup_done(struct server *s)
{
    struct client *c = s->client;

    if (s->step == STEP_VERIFY) {
        server_verify_done(s);
        return;
    }
    if (s->step == STEP_PINS) {
        pin_answered(s);
        return;
    }
    if (s->step == STEP_STRICT) {
        strict_done(s);
        return;
    }
    if (c == NULL) {
        /* it left meanwhile; what was SET for it, and not reported, nobody would take back */
        if (s->step != STEP_CHECK && s->step != STEP_ROLLBACK)
            server_close(s, CLOSE_UNCLEAN, "its client left while it was being set up");
        else if (s->setup_failed)
            server_close(s, s->step == STEP_CHECK ? CLOSE_CHECK_QUERY_FAILED : s->struck, NULL);
        else
            server_release(s);
        return;
    }
    switch ((enum server_step)s->step) {
    case STEP_NONE:
    case STEP_LOOKUP:
    case STEP_PINS:
    case STEP_STRICT:
    case STEP_VERIFY: return;
    case STEP_RESTORE: tracking_restore_done(s); return;
    case STEP_CHECK:
        if (s->setup_failed)
            server_close(s, CLOSE_CHECK_QUERY_FAILED, NULL);
        else
            setup_settings(s);
        return;
    case STEP_SETTINGS: settings_done(s); return;
    case STEP_ROLLBACK:
        if (s->setup_failed)
            server_close(s, s->struck, NULL);
        else
            lost_rolled_back(s);
        return;
    case STEP_FAIL:
        if (!lost_has_failed(s)) {
            server_close(s, CLOSE_INTERNAL, "a statement that must fail did not");
            return;
        }
        c->lost = LOST_NOTHING;
        server_setup_finish(s);
        return;
    }
}

/* ---- parting ---- */

/* server_fast_close: a session that has a server which is to be replaced ends with its transaction. */
static bool must_close_fast(const struct server *s)
{
    return shard_settings(s->shard)->server_fast_close &&
           pool_slot_is_outdated(s->pool, s->slot, s->shard->now_us);
}

struct client *server_detach_client(struct server *s)
{
    struct client *c = s->client;
    if (c == NULL)
        return NULL;
    if (unlikely(c->listening != NULL))
        listen_unlink(c);
    if (unlikely(strict_is_due(s)))
        s->left |= PIN_LOAD; /* nobody will ask it any more: closing it is all that helps */
    s->client = NULL;
    c->server = NULL;
    s->setting = SETTING_NOTHING;
    if (unlikely(s->prepared != NULL))
        prepared_sql_unlink(s);
    if (unlikely(c->pin != NULL))
        pin_leave(s, c);
    if (unlikely(c->tracking != NULL))
        tracking_unlink(s, c);
    s->needs_reset = s->needs_reset || c->pool_mode == POOL_MODE_SESSION; /* by a RELOAD while linked */
    /* its reading may have been stopped because this server was slow */
    if (c->read_is_held && c->state != CLIENT_CLOSING &&
        (c->input == NULL || c->input->len < client_input_limit(c)))
        c->read_is_held = !stream_read_start(&c->stream);
    return c;
}

void server_give_back(struct server *s, enum close_reason why)
{
    struct pool_acts acts;

    if (!stream_is_quiet(&s->stream))
        why = CLOSE_UNCLEAN;
    if (s->state != SERVER_IDLE)
        server_set_state(s, SERVER_IDLE);
    s->may_skip_reset = false;
    pool_release(s->pool, s->slot, why, s->shard->now_us, &acts);
    if (likely(acts.n == 1 && !acts.more && acts.act[0].kind == POOL_ACT_IDLE &&
               s->pool->purpose != POOL_FOR_LISTENING))
        return; /* the usual case: nobody waits for it */
    shard_perform(s->shard, s->pool, &acts);
}

static bool wants_reset(const struct server *s)
{
    const struct settings *set = shard_settings(s->shard);
    return set->server_reset_query[0] != '\0' && (s->needs_reset || set->server_reset_query_always) &&
           !s->may_skip_reset;
}

/* DISCARD ALL is left out, but not what the next client could bind: a Query ends it, the least that there is.
 */
static bool leaves_unnamed(const struct server *s)
{
    return unlikely(s->may_skip_reset) && s->needs_reset && s->has_inert_unnamed;
}

/* sql removes what the last client has left. */
static void start_reset(struct server *s, const char *sql)
{
    s->setup_failed = false;
    if (s->state != SERVER_RESET) {
        server_set_state(s, SERVER_RESET);
        pool_testing(s->pool, s->slot, s->shard->now_us);
    }
    if (!server_send_internal(s, sql))
        server_close(s, CLOSE_RESET_QUERY_FAILED, NULL);
}

/* Removes the next of what the last client has left. False: there is no more. */
static bool clean_next(struct server *s)
{
    const char *sql = unlikely(s->left != 0) ? pin_cleaning_sql(s->left) : NULL;

    s->left = 0;
    if (sql == NULL && unlikely(s->has_listened)) {
        s->has_listened = false;
        sql = "UNLISTEN *";
    }
    if (sql == NULL && leaves_unnamed(s)) {
        s->has_inert_unnamed = false;
        sql = "";
    }
    if (sql == NULL && !s->runs_reset_query && wants_reset(s)) {
        s->needs_reset = false;
        s->runs_reset_query = true;
        sql = shard_settings(s->shard)->server_reset_query;
    }
    if (sql != NULL)
        start_reset(s, sql);
    return sql != NULL;
}

/* No client any more, nothing owed: clean up and give back. */
static void server_retire_client(struct server *s)
{
    if (!cancel_lets_go(s)) {
        server_set_state(s, SERVER_HELD);
        return;
    }
    if (s->may_be_hit) {
        server_give_back(s, CLOSE_CANCEL_WAIT_TIMEOUT);
        return;
    }
    if (s->replication != REPLICATION_NONE) {
        server_give_back(s, CLOSE_REPLICATION_ENDED);
        return;
    }
    if (unlikely((s->left & PIN_LOAD) != 0)) {
        server_give_back(s, CLOSE_STATE_LEFT);
        return;
    }
    s->runs_reset_query = false;
    const bool is_clean = s->left == 0 && !s->has_listened && !wants_reset(s) && !leaves_unnamed(s);
    if (likely(is_clean) || !clean_next(s))
        server_give_back(s, CLOSE_NONE);
}

void server_release(struct server *s)
{
    struct client *c = server_detach_client(s);

    if (c != NULL)
        client_set_state(c, CLIENT_IDLE);
    if (!stream_read_start(&s->stream)) { /* may have been stopped for a slow client */
        server_close(s, CLOSE_WORKER_IO, NULL);
        return;
    }
    server_retire_client(s);
    if (c == NULL || c->state != CLIENT_IDLE)
        return;
    if (unlikely(c->listening != NULL)) {
        listening_flush(c);
        if (c->stream.fd < 0 || c->state != CLIENT_IDLE)
            return;
    }
    if (shard_ends_client(c->shard, c))
        client_close(c, CLOSE_SHUTDOWN, NULL);
    else if (c->input != NULL)
        client_resume(c);
}

void server_client_gone(struct server *s)
{
    struct client *c = server_detach_client(s);
    /* the server has got part of a message: whoever came next would complete it */
    s->is_cut = s->is_cut || (c != NULL && c->remain_bytes > 0 && !c->is_dropping);
    if (s->state == SERVER_CONNECTING) {
        server_close(s, CLOSE_CLIENT_GONE_BUSY, NULL);
        return;
    }
    if (s->state == SERVER_SETUP || s->in_batch)
        return; /* our own query is answered first: server_setup_done(); the batch: server_after_batch() */
    if (!s->is_cut && tracker_is_releasable(&s->tracker) && s->partial.len == 0 && s->remain_bytes == 0 &&
        stream_is_drained(&s->stream)) {
        server_release(s);
        return;
    }
    server_close(s, CLOSE_CLIENT_GONE_BUSY, NULL);
}

void server_release_late(struct server *s)
{
    if (s->was_ready && s->state == SERVER_ACTIVE && stream_is_drained(&s->stream))
        server_after_batch(s);
}

/* A reset query may have taken back settings that PostgreSQL does not report, or not. False: no memory. */
static bool doubt_unreported(struct server *s)
{
    struct params *welcome = pool_welcome(s->pool);
    bool ok = true;

    for (uint32_t i = 0; ok && i < params_count(s->params); i++) {
        const char *name = params_name(s->params, i);
        /* whose session it is, is reported but not followed by its reports */
        const bool is_reported =
            params_get(welcome, name) != NULL && strcmp(name, "session_authorization") != 0;
        if (is_reported || strcmp(params_value(s->params, i), PARAMS_UNKNOWN) == 0)
            continue;
        struct params *next = params_with(s->params, name, PARAMS_UNKNOWN);
        ok = next != NULL;
        if (ok) {
            params_unref(s->params);
            s->params = next;
            i = UINT32_MAX; /* another set: from its beginning */
        }
    }
    params_unref(welcome);
    return ok;
}

/* A query that removes something of what the last client has left has been answered. */
static void reset_done(struct server *s)
{
    if (s->setup_failed)
        server_close(s, CLOSE_RESET_QUERY_FAILED, NULL);
    else if (!clean_next(s))
        server_give_back(s, !s->runs_reset_query || doubt_unreported(s) ? CLOSE_NONE : CLOSE_NO_MEMORY);
}

/* In a transaction, and nothing is owed. */
static bool is_at_rest_in_transaction(const struct server *s)
{
    return !tracker_is_busy(&s->tracker) && s->tracker.tx_status != 'I' && s->partial.len == 0 &&
           s->remain_bytes == 0;
}

void server_after_batch(struct server *s)
{
    bool is_quiet = s->partial.len == 0 && s->remain_bytes == 0 && tracker_is_releasable(&s->tracker);

    switch (s->state) {
    case SERVER_SETUP:
        if (is_quiet || (s->step == STEP_FAIL && lost_has_failed(s)) ||
            (s->step == STEP_RESTORE && s->was_ready && is_at_rest_in_transaction(s)))
            server_setup_done(s);
        return;
    case SERVER_RESET:
        if (!is_quiet)
            return;
        reset_done(s);
        return;
    case SERVER_ACTIVE: break;
    case SERVER_IDLE:
        if (!is_quiet && s->partial.len == 0 && s->remain_bytes == 0)
            server_close(s, CLOSE_UNCLEAN, "it spoke unasked");
        return;
    default: return;
    }
    struct client *c = s->client;
    if (c == NULL) {
        server_client_gone(s);
        return;
    }
    if (unlikely(s->prepared_is_watching)) {
        /* behind a ReadyForQuery, too: a Close, for whose Flush the server has nothing */
        prepared_answer_alone(s);
        if (c->server != s)
            return;
    }
    if (!s->was_ready) {
        /* it may have been waiting for room, or kept back before the server turned out to need more of it */
        bool has_room = tracker_in_flight(&s->tracker) < TRACKER_MAX_REQUESTS / 2;
        if ((c->hold == HOLD_FULL && has_room) || (c->hold == HOLD_TURN && !tracker_may_hold(&s->tracker)) ||
            (c->hold == HOLD_STATEMENT && !prepared_must_wait(s)) ||
            (c->hold == HOLD_SETTINGS && s->ahead_state == AHEAD_NONE))
            client_resume(c);
        return;
    }
    if (unlikely(s->struck != CLOSE_NONE || s->cancel != NULL) && timeouts_after_answer(s))
        return;
    if (c->pool_mode == POOL_MODE_STATEMENT && s->tracker.tx_status != 'I') {
        client_close(c, CLOSE_TRANSACTION_IN_STATEMENT_MODE, NULL);
        return;
    }
    if (is_quiet && c->remain_bytes == 0 && shard_ends_client(s->shard, c)) {
        client_close(c, CLOSE_SHUTDOWN, NULL);
        return;
    }
    if (unlikely(s->is_suspect) && s->replication == REPLICATION_NONE && is_quiet && c->remain_bytes == 0) {
        server_verify_begin(s);
        return;
    }
    if (is_quiet && c->remain_bytes == 0 && unlikely(strict_is_due(s))) {
        strict_begin(s);
        return;
    }
    if (unlikely(tracking_may_differ(s)) && c->remain_bytes == 0 &&
        (is_quiet || is_at_rest_in_transaction(s)) && tracking_restore_begin(s))
        return;
    if (unlikely(s->prepared != NULL) && prepared_sql_is_resumed(s)) {
        client_resume(c);
        return;
    }
    /* COPY data that comes too late may be in the middle of a message: see server_release_late() */
    if (unlikely(c->pin != NULL) && pin_must_ask(c) && is_quiet && c->remain_bytes == 0) {
        pin_ask(s);
        return;
    }
    if (is_quiet && !c->keeps_server && c->remain_bytes == 0) {
        server_release(s);
        return;
    }
    if (is_quiet && must_close_fast(s)) {
        client_close(c, CLOSE_ADMIN, close_reason_text(CLOSE_CONFIG_CHANGED));
        return;
    }
    if (unlikely(c->listening != NULL)) {
        listening_flush(c);
        if (c->stream.fd < 0 || c->state == CLIENT_CLOSING)
            return;
    }
    if (c->input != NULL)
        client_resume(c);
}
