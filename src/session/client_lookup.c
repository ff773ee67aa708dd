/*
 * client_lookup.c - a client whose user auth_file does not name: auth_query tells.
 *
 * The first of those who ask for one user leads: it waits for a server of the pool of look-ups as clients
 * wait for any (LOGIN_WAIT). With the server its part is done, and it waits like the others for the mail
 * with the answer (LOGIN_BUSY); so the look-up goes on when the one that caused it goes.
 *
 * Threads: the worker's own.
 * Not here: what is said to the server (lookup.c), who waits for what (lookup_table.c).
 */
#include <stdlib.h>
#include <string.h>
#include <string.h>

#include "config/login_rules.h"
#include "auth_int.h"
#include "login_int.h"

#define MAX_TRIES      3   /* servers that died, leaders that went */
#define MAX_NAME_BYTES 127 /* PgBouncer's bound; a name of PostgreSQL has 63 */

static void take_found(struct client *c, struct found_user *found, bool is_kept)
{
    struct client_login *l = c->login;

    found_user_unref(l->found);
    l->found = found;
    l->found_is_kept = is_kept;
    l->credential = found->credential.kind != CREDENTIAL_NONE ? &found->credential : NULL;
}

static bool lookup_of(const struct client_login *l, struct config_lookup *how)
{
    return config_lookup(l->config->config, l->is_console ? NULL : l->database, how);
}

static void queue_for_server(struct client *c)
{
    struct client_login *l = c->login;
    struct pool_acts acts;

    l->stage = LOGIN_LOOKUP;
    c->pool = l->lookup_pool;
    c->timeouts =
        (struct config_timeouts){.query_wait_us = config_settings(l->config->config)->query_wait_timeout_us};
    atomic_store_explicit(&c->pool->unused_since_us, c->shard->now_us, memory_order_relaxed);
    client_set_state(c, CLIENT_LOGIN_WAIT);
    pool_checkout(c->pool, &c->ticket, c->shard->now_us, &acts);
    shard_perform(c->shard, c->pool, &acts);
}

/* A stranger may say any name of a database; pools are for ever, so it may not make any number of them. */
static bool may_look_up(const struct client *c, const struct config_lookup *how)
{
    static struct log_rate rate;
    uint64_t suppressed;
    const struct database_config *db = config_find_database(c->login->config->config, how->database);

    if (!db->is_fallback || registry_may_look_up(c->shard->instance->registry, how->database, how->user))
        return true;
    if (log_rate_ok(&rate, USEC_PER_SEC, &suppressed))
        client_log(c, LOG_LVL_WARNING,
                   "auth_query is not run in database \"%.64s\": %d databases of the * line could not be "
                   "reached; with auth_dbname it runs in one for all (%llu more such logins)",
                   how->database, REGISTRY_MAX_UNREACHED, (unsigned long long)suppressed);
    return false;
}

static struct pool *lookup_pool(struct client *c, const struct config_lookup *how)
{
    struct instance *in = c->shard->instance;
    bool is_new;
    struct pool *pool = registry_get_lookup_pool(in->registry, how->database, how->user, &is_new);

    if (pool != NULL && is_new)
        session_configure_pool(in, c->shard, c->login->config->config, pool);
    return pool;
}

bool client_lookup_begin(struct client *c)
{
    struct client_login *l = c->login;
    struct config_lookup how;
    struct found_user *found = NULL;
    struct mail_lookup *waiter;

    if (l->credential != NULL || l->is_any || strlen(l->user) > MAX_NAME_BYTES || !lookup_of(l, &how))
        return false;
    if (!may_look_up(c, &how)) {
        client_close(c, CLOSE_AUTH_QUERY_FAILED, NULL);
        return true;
    }
    l->lookup_pool = lookup_pool(c, &how);
    waiter = l->lookup_pool != NULL ? calloc(1, sizeof(*waiter)) : NULL;
    if (waiter == NULL) {
        client_close(c, CLOSE_NO_MEMORY, NULL);
        return true;
    }
    waiter->mail.type = MAIL_LOOKED_UP;
    waiter->reply_to = &c->shard->loop;
    waiter->client = c->handle;
    switch (lookup_ask(c->shard->instance->lookups, l->lookup_pool, how.query, l->user,
                       config_settings(l->config->config)->auth_query_cache_time_us, c->shard->now_us, waiter,
                       &l->leads, &found)) {
    case LOOKUP_KNOWN:
        l->leads = NULL;
        free(waiter);
        take_found(c, found, true);
        return false;
    case LOOKUP_WAIT:
        l->leads = NULL;
        l->stage = LOGIN_BUSY;
        return true;
    case LOOKUP_LEAD: queue_for_server(c); return true;
    case LOOKUP_NO_MEMORY: break;
    }
    l->leads = NULL;
    free(waiter);
    client_close(c, CLOSE_NO_MEMORY, NULL);
    return true;
}

static void on_answer(struct client *c, struct mail_lookup *m)
{
    struct client_login *l = c->login;

    switch (m->outcome) {
    case LOOKUP_FOUND:
        take_found(c, found_user_ref(m->found), false);
        client_auth_go(c);
        return;
    case LOOKUP_AGAIN:
        if (++l->n_lookups < MAX_TRIES) {
            if (!client_lookup_begin(c))
                client_auth_go(c);
            return;
        }
        break;
    case LOOKUP_FAILED: break;
    }
    client_close(c, CLOSE_AUTH_QUERY_FAILED, NULL);
}

void client_lookup_on_mail(struct shard *sh, struct mail *mail)
{
    struct mail_lookup *m = container_of(mail, struct mail_lookup, mail);
    struct client *c = handle_get(&sh->clients, m->client);

    if (c != NULL && c->state == CLIENT_LOGIN && c->login != NULL && c->login->stage == LOGIN_BUSY) {
        on_answer(c, m);
        client_login_go_on(c);
    }
    found_user_unref(m->found);
    free(m);
}

bool client_is_looking_up(const struct client *c)
{
    return c->login != NULL && c->login->leads != NULL;
}

void client_lookup_leave(struct client *c)
{
    struct lookup_entry *entry;

    if (!client_is_looking_up(c))
        return;
    entry = c->login->leads;
    c->login->leads = NULL;
    lookup_end(c->shard->instance->lookups, entry, LOOKUP_AGAIN, NULL, c->shard->now_us);
}

void client_lookup_failed(struct client *c, const char *text)
{
    struct lookup_entry *entry = c->login->leads;

    client_log(c, LOG_LVL_WARNING, "auth_query for user %s cannot be run: %s", c->login->user, text);
    c->login->leads = NULL;
    lookup_end(c->shard->instance->lookups, entry, LOOKUP_FAILED, NULL, c->shard->now_us);
    client_close(c, CLOSE_AUTH_QUERY_FAILED, NULL);
}

void client_lookup_doubt(struct client *c)
{
    const struct client_login *l = c->login;
    struct config_lookup how;

    if (l->found != NULL && l->found_is_kept && lookup_of(l, &how))
        lookup_doubt(c->shard->instance->lookups, l->lookup_pool, how.query, l->user, c->shard->now_us);
}
