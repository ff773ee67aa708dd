/*
 * places.c - places for clients: of a database, of a user, and for those beyond max_client_conn.
 *
 * A client takes its places (max_db_client_connections, max_user_client_connections) when it has
 * proved who it is, by a count that never passes the limit, whichever workers log clients in at the time;
 * it gives them back when it leaves its pool. A limit that has been lowered throws nobody out.
 *
 * A place among max_client_conn is taken at once when a connection is accepted (on_accept()), or else when it
 * says who it is, since by then others may have gone. When there is none, an address that has more than its
 * share of the logins in progress gives one up (crowd.h): so nobody can take all places by connections that
 * never log in, and many clients behind one address are in nobody's way as long as there is room. (Each
 * worker looks at its own clients; who finds no place goes on to the next one.)
 *
 * Who is beyond it is told, or goes on to the console. Of
 * these each worker keeps a few, the oldest first in shard->refused. One too many takes the place of
 * the oldest that needs it least: so connections that say nothing, or do not read what they are
 * told, cannot keep an operator out, however many there are.
 *
 * Threads: the worker's own; the counts are shared by all.
 */
#include "base/log.h"
#include "login_int.h"
#include "session/crowd.h"

#define SAY_AGAIN_US (60 * USEC_PER_SEC)

static bool take(_Atomic int *count, int max)
{
    int n = atomic_load(count);

    do {
        if (max > 0 && n >= max)
            return false;
    } while (!atomic_compare_exchange_weak(count, &n, n + 1));
    return true;
}

enum close_reason places_take(struct client *c, struct pool_user *user)
{
    /* what is in force now: a login may have begun long ago. A database that has gone has no say any more. */
    const struct config *cfg = c->shard->config->config;
    const struct database_config *db = config_find_database(cfg, c->pool->database->name);
    int max_user = config_max_user_client_connections(cfg, config_find_user(cfg, user->name));

    if (!take(&c->pool->database->clients, db != NULL ? config_max_db_client_connections(cfg, db) : 0))
        return CLOSE_MAX_DB_CLIENTS;
    if (!take(&user->clients, max_user)) {
        atomic_fetch_sub(&c->pool->database->clients, 1);
        return CLOSE_MAX_USER_CLIENTS;
    }
    atomic_fetch_add_explicit(&c->pool->clients, 1, memory_order_relaxed);
    c->login_user = user;
    return CLOSE_NONE;
}

void places_give_back(struct client *c)
{
    if (c->login_user == NULL)
        return;
    if (atomic_fetch_sub_explicit(&c->pool->clients, 1, memory_order_relaxed) == 1)
        atomic_store_explicit(&c->pool->unused_since_us, c->shard->now_us, memory_order_relaxed);
    atomic_fetch_sub(&c->pool->database->clients, 1);
    atomic_fetch_sub(&c->login_user->clients, 1);
    c->login_user = NULL;
}

/* ---- max_client_conn ---- */

bool places_take_client(struct instance *in, int max_client_conn)
{
    return max_client_conn > 0 && take(&in->clients, max_client_conn);
}

/* Once in a while: one line for a flood of connections. */
static void say_crowded(const struct client *c)
{
    struct shard *sh = c->shard;
    char addr[64];

    if (sh->said_crowded_us != 0 && sh->now_us - sh->said_crowded_us < SAY_AGAIN_US)
        return;
    sh->said_crowded_us = sh->now_us;
    client_peer_text(c, addr, sizeof(addr));
    log_warning(
        "address %s has the most logins in progress while all places of max_client_conn are taken: its "
        "oldest give way to others",
        addr);
}

/* Nothing has come of it, so there is nothing to be said to it. */
static bool is_silent(const struct client *c)
{
    return c->login == NULL || (c->login->stage == LOGIN_STARTUP && !stream_is_tls(&c->stream));
}

bool places_take_over(struct shard *sh, int family, const uint8_t *addr)
{
    struct client *all[CROWD_MAX];
    struct crowd crowd = {.n = 0};

    LIST_FOR_EACH (it, &sh->client_lists[CLIENT_LOGIN]) {
        struct client *other = list_entry(it, struct client, node);
        int n = crowd.n;
        if (!other->is_counted)
            continue;
        if (!crowd_add(&crowd, address_key(other->peer_family, other->peer_addr)))
            break;
        all[n] = other;
    }
    int i = crowd_yields(&crowd, address_key(family, addr));
    if (i < 0)
        return false;
    all[i]->is_counted = false; /* its place is the caller's now */
    say_crowded(all[i]);
    if (is_silent(all[i]))
        client_drop(all[i], CLOSE_LOGIN_CROWDED);
    else
        client_close(all[i], CLOSE_LOGIN_CROWDED, NULL);
    return true;
}

int places_refused_share(int n_workers)
{
    int share = SESSION_MAX_REFUSED / n_workers;
    return share > SESSION_LEAST_REFUSED ? share : SESSION_LEAST_REFUSED;
}

/* How much it needs its place: least when it has been told, most when it is on its way to the console. */
static int need_of(const struct client *c)
{
    if (c->state == CLIENT_CLOSING)
        return 0;
    return c->login != NULL && c->login->is_console ? 2 : 1;
}

static struct client *least_needy(const struct shard *sh)
{
    struct client *least = sh->refused[0];

    for (int i = 1; i < sh->n_refused; i++)
        if (need_of(sh->refused[i]) < need_of(least))
            least = sh->refused[i];
    return least;
}

void places_refused_enter(struct client *c)
{
    struct shard *sh = c->shard;

    if (sh->n_refused == places_refused_share(sh->instance->n_workers))
        client_drop(least_needy(sh), CLOSE_MAX_CLIENT_CONN);
    sh->refused[sh->n_refused++] = c;
    c->is_refused = true;
}

void places_refused_leave(struct client *c)
{
    struct shard *sh = c->shard;
    int i = 0;

    if (!c->is_refused)
        return;
    while (sh->refused[i] != c)
        i++;
    for (sh->n_refused--; i < sh->n_refused; i++)
        sh->refused[i] = sh->refused[i + 1];
    c->is_refused = false;
    atomic_fetch_sub_explicit(&sh->instance->refused, 1, memory_order_relaxed);
}
