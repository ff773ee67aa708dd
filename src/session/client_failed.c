/*
 * client_failed.c - logins that have failed: counted, held back, blocked.
 *
 * From the second failure of an address and user on the answer is held back for auth_failure_delay; at
 * auth_failure_limit they are blocked, and an address altogether that has failed so with many users. A
 * blocked client gets the answer to a wrong password without having been asked for one, and costs neither a
 * look-up nor a line in the log: only the block itself is said, once. Who had been asked before gets the
 * same: nothing is made of its password, or many logins begun together would be as many guesses.
 *
 * Who is held back keeps its place among max_client_conn, so these are bounded: the oldest is answered at
 * once when there are too many.
 *
 * Threads: the worker's own; the table of failures is shared.
 */
#include <stdio.h>
#include <string.h>

#include "auth_int.h"
#include "base/str.h"
#include "login_int.h"
#include "session/failures.h"

#define MAX_HELD_BACK 256 /* of all workers together */

static struct failure_limits limits_of(const struct client *c)
{
    const struct settings *set = config_settings(c->login->config->config);

    return (struct failure_limits){
        .delay_us = set->auth_failure_delay_us,
        .period_us = set->auth_failure_period_us,
        /* of whom is behind a Unix socket we know nothing, so a block would be one of all */
        .limit = c->login->is_unix ? 0 : set->auth_failure_limit,
    };
}

static struct failure_key key_of(const struct client *c)
{
    return failure_key(c->peer_family, c->peer_addr, c->login->user);
}

bool client_is_blocked(struct client *c)
{
    struct failure_limits limits = limits_of(c);
    struct failure_key key = key_of(c);
    char text[160];

    if (!failures_are_blocked(c->shard->instance->failures, &key, &limits, c->shard->now_us))
        return false;
    snprintf(text, sizeof(text), "password authentication failed for user \"%.64s\"", c->login->user);
    client_close_error(c, CLOSE_LOGIN_BLOCKED, "28P01", text, NULL);
    return true;
}

static void log_block(const struct client *c, const struct failure_verdict *v,
                      const struct failure_limits *limits)
{
    char addr[64];
    int64_t seconds = limits->period_us / USEC_PER_SEC;

    client_peer_text(c, addr, sizeof(addr));
    if (v->address_blocked)
        log_warning("address %s: %d failed logins of several users, blocked for %lld s (auth_failure_limit)",
                    addr, limits->limit * FAILURE_USERS, (long long)seconds);
    else if (v->user_blocked)
        log_warning("address %s, user %.64s: %d failed logins, blocked for %lld s (auth_failure_limit)", addr,
                    c->login->user, limits->limit, (long long)seconds);
}

/* The answer that was held back. */
static void answer(struct client *c)
{
    struct client_login *l = c->login;

    client_failed_leave(c);
    client_close_error(c, l->failed_why, l->failed_sqlstate, l->failed_text, NULL);
}

static struct client *oldest(const struct shard *sh)
{
    return list_entry(sh->held_back.next, struct client_login, failed_node)->client;
}

static void hold_back(struct client *c, int64_t delay_us)
{
    struct shard *sh = c->shard;
    struct client_login *l = c->login;

    if (sh->n_held_back >= MAX_HELD_BACK / sh->instance->n_workers)
        answer(oldest(sh));
    l->stage = LOGIN_FAILED;
    l->failed_until_us = sh->now_us + delay_us;
    list_push_back(&sh->held_back, &l->failed_node);
    sh->n_held_back++;
}

void client_auth_failed(struct client *c, enum close_reason why, const char *sqlstate, const char *message)
{
    struct client_login *l = c->login;
    struct failure_limits limits = limits_of(c);
    struct failure_key key = key_of(c);
    struct failure_verdict v = failures_note(c->shard->instance->failures, &key, &limits, c->shard->now_us);

    log_block(c, &v, &limits);
    if (v.delay_us <= 0) {
        client_close_error(c, why, sqlstate, message, NULL);
        return;
    }
    l->failed_why = why;
    l->failed_sqlstate = sqlstate;
    (void)str_copy(l->failed_text, message, sizeof(l->failed_text));
    hold_back(c, v.delay_us);
}

void client_auth_succeeded(struct client *c)
{
    struct failure_key key = key_of(c);
    failures_forgive(c->shard->instance->failures, &key);
}

void client_failed_leave(struct client *c)
{
    struct client_login *l = c->login;

    if (l == NULL || l->stage != LOGIN_FAILED || !list_is_linked(&l->failed_node))
        return;
    list_del(&l->failed_node);
    c->shard->n_held_back--;
}

void client_failed_tick(struct shard *sh, int64_t now_us)
{
    while (!list_is_empty(&sh->held_back)) {
        struct client *c = oldest(sh);
        if (now_us < c->login->failed_until_us)
            return;
        answer(c);
    }
}
