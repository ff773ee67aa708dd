/*
 * server_role.c - primary or standby, read-only or not: noticing that a server has changed.
 *
 * What a server announces: in_hot_standby, which nobody can SET, and (from PostgreSQL 14 on, both)
 * default_transaction_read_only, which a client can. Sessions inherit the latter from the server;
 * only one that has SET it has it in its set of parameters. So when a value is reported
 * that is not the server's own, either the client has SET it, or the server's settings have
 * changed: the server is asked, before its client goes on or another gets it. A fenced server is
 * never made writable by our own SET, nor does a client take "read-only" along to another server.
 *
 * Errors: a statement that was refused as read-only (25006) raises the same question, at most
 * once a second per pool, since it may be the client's own transaction that is read-only. A server
 * that says that it goes down (57P01 to 57P03) takes the others there with it.
 *
 * A server that is no longer what target_session_attrs asks for: all servers of the pool at its
 * endpoint close, idle ones at once, the others as they come free. New connections look at all
 * hosts anew.
 *
 * Threads: the owner's.
 * Not here: the rules (target.c), the choice of a host at login (server_login.c).
 */
#include <string.h>

#include "session_int.h"

#define SUSPICION_PAUSE_US (1 * USEC_PER_SEC)

static const char read_only_name[] = "default_transaction_read_only";

/* ---- parameters ---- */

struct params *session_params(struct params *all, const struct params *own)
{
    struct params *set = params_settable(all);
    const char *mine = params_get(all, read_only_name), *theirs = params_get(own, read_only_name);

    if (set == NULL || mine == NULL || theirs == NULL || strcmp(mine, theirs) != 0)
        return set;
    struct params *without = params_without(set, read_only_name);
    params_unref(set);
    return without;
}

/* value NULL: not SET. */
static void put_read_only(struct params **set, const char *value)
{
    struct params *next =
        value != NULL ? params_with(*set, read_only_name, value) : params_without(*set, read_only_name);
    if (next == NULL)
        return; /* out of memory: the next report tells again */
    params_unref(*set);
    *set = next;
}

static bool is_mismatch(const struct server *s)
{
    return target_check((enum config_target_session_attrs)s->wanted, &s->role) == TARGET_MISMATCH;
}

void server_role_reported(struct server *s, const char *name, const char *value)
{
    if (strcmp(name, read_only_name) != 0) {
        bool was_mismatch = is_mismatch(s);
        s->role.in_hot_standby = (uint8_t)target_tri(value);
        s->must_recycle = s->must_recycle || (!was_mismatch && is_mismatch(s));
        return;
    }
    bool is_own = s->role.default_read_only == target_tri(value);
    put_read_only(&s->params, is_own ? NULL : value);
    if (s->client == NULL || s->state != SERVER_ACTIVE || s->ahead_state != AHEAD_NONE)
        return; /* a query of our own */
    put_read_only(&s->client->params, is_own ? NULL : value);
    s->is_suspect = s->is_suspect || !is_own;
}

/* ---- errors ---- */

/* One of a crowd: true once in a while for each pool. */
static bool may_suspect(struct server *s)
{
    int64_t last_us = atomic_load_explicit(&s->pool->suspected_us, memory_order_relaxed);
    int64_t now_us = s->shard->now_us;
    return now_us - last_us >= SUSPICION_PAUSE_US &&
           atomic_compare_exchange_strong_explicit(&s->pool->suspected_us, &last_us, now_us,
                                                   memory_order_relaxed, memory_order_relaxed);
}

static bool has_asked_for_read_only(const struct client *c)
{
    const char *value = params_get(c->params, read_only_name);
    return value != NULL && strcmp(value, "on") == 0;
}

void server_role_error(struct server *s, const char *sqlstate, bool is_fatal)
{
    bool wants_writes = s->wanted == TARGET_READ_WRITE || s->wanted == TARGET_PRIMARY;

    if (wants_writes && strcmp(sqlstate, "25006") == 0 && s->client != NULL &&
        !has_asked_for_read_only(s->client) && !s->is_suspect && may_suspect(s))
        s->is_suspect = true;
    if (s->wanted != TARGET_ANY && is_fatal && strlen(sqlstate) == 5 && strncmp(sqlstate, "57P0", 4) == 0 &&
        sqlstate[4] >= '1' && sqlstate[4] <= '3' && may_suspect(s))
        s->must_recycle = true;
}

/* ---- replacing ---- */

void server_role_recycle(struct server *s)
{
    struct pool_acts acts;

    pool_recycle_at(s->pool, &s->slot->endpoint, 1, true, CLOSE_ROLE_CHANGED, s->shard->now_us, &acts);
    shard_perform(s->shard, s->pool, &acts);
}

void server_role_act(struct server *s)
{
    s->must_recycle = false;
    if (s->slot == NULL || s->state == SERVER_CLOSING)
        return;
    server_log(s, LOG_LVL_WARNING, "its role has changed (%s): connections there are replaced",
               is_mismatch(s) ? target_mismatch_text((enum config_target_session_attrs)s->wanted)
                              : "it is going down");
    server_role_recycle(s);
}

/* ---- asking ---- */

void server_verify_begin(struct server *s)
{
    s->is_suspect = false;
    s->step = STEP_VERIFY;
    s->setup_failed = false;
    s->verified = (struct server_role){0};
    server_set_state(s, SERVER_SETUP);
    if (!server_send_internal(s, target_query()))
        server_close(s, CLOSE_CHECK_QUERY_FAILED, NULL);
}

void server_role_row(struct server *s, const uint8_t *body, uint32_t len_bytes)
{
    struct server_role role = {0};
    if (target_parse_row(body, len_bytes, &role))
        s->verified = role;
}

/* The value that both took for the client's is the server's own: the client hears what it really has. */
static void take_back(struct server *s)
{
    put_read_only(&s->params, NULL);
    if (s->client != NULL)
        put_read_only(&s->client->params, NULL);
}

void server_verify_done(struct server *s)
{
    s->step = STEP_NONE;
    if (s->verified.in_hot_standby != TRI_UNKNOWN) {
        const char *now = params_get(s->params, read_only_name);
        s->role = s->verified;
        if (now != NULL && s->role.default_read_only == target_tri(now))
            take_back(s);
        if (is_mismatch(s))
            server_role_act(s);
    }
    if (s->client == NULL) {
        server_release(s);
        return;
    }
    server_set_state(s, SERVER_ACTIVE);
    server_after_batch(s);
}
