/*
 * channels.c - which clients of a worker listen to what, and how notifications reach them.
 *
 * A channel is asked for with the first client that wants it and given up with the last. A client's
 * subscription does not count before its LISTEN does: it is there early so that the channel stands before
 * the LISTEN is even sent, and nothing that is committed after it can be missed.
 *
 * Notifications reach a client between its transactions; else they are kept, in order and bounded by
 * listen_queue_size. What comes while a LISTEN may be taking effect is kept too, and dropped when it turns
 * out that it has not. A client whose transaction is idle has not committed yet, so nothing is kept for it.
 *
 * Threads: the worker's own.
 */
#include <stdlib.h>
#include <string.h>

/* Out of memory while adding: the element is not in the table, and its hh.tbl is NULL. */
#define HASH_NONFATAL_OOM                    1
#define HASH_FUNCTION(keyptr, keylen, hashv) ((hashv) = (unsigned)hash_bytes(keyptr, keylen))
#include <uthash.h>

#include "auth/found_user.h"
#include "base/hash.h"
#include "base/secret.h"
#include "base/str.h"
#include "listen_int.h"
#include "session/listen.h"

enum channel_state { CHANNEL_ASKED, CHANNEL_STANDING, CHANNEL_NOT_TAKEN };

struct channel {
    struct listen_set *set;
    struct list subscriptions;
    uint32_t n_clients;
    enum channel_state state;
    uint64_t n_notifications; /* that came, whoever they were for */
    UT_hash_handle hh;
    char name[SQL_NAME_BYTES];
};

/* The channels of one database and user. Stays, once there. */
struct listen_set {
    struct pool *pool; /* of the listening connection: the key */
    struct shard *shard;
    struct channel *channels;
    uint64_t n_losses;
    UT_hash_handle hh;
};

/* ---- the table ---- */

static struct listen_set *find_set(struct shard *sh, struct pool *pool)
{
    struct listen_set *set;
    HASH_FIND_PTR(sh->listen_sets, &pool, set);
    return set;
}

static struct listen_set *get_set(struct shard *sh, struct pool *pool)
{
    struct listen_set *set = find_set(sh, pool);

    if (set != NULL)
        return set;
    set = calloc(1, sizeof(*set));
    if (set == NULL)
        return NULL;
    set->pool = pool;
    set->shard = sh;
    HASH_ADD_PTR(sh->listen_sets, pool, set);
    if (set->hh.tbl != NULL)
        return set;
    free(set);
    return NULL;
}

static struct channel *find_channel(struct listen_set *set, const char *name)
{
    struct channel *ch;
    HASH_FIND_STR(set->channels, name, ch);
    return ch;
}

/* False: no memory. */
static bool tell_owner(struct listen_set *set, const char *name, bool is_wanted)
{
    struct instance *in = set->shard->instance;
    struct mail_listen *m = calloc(1, sizeof(*m));

    if (m == NULL)
        return false;
    m->mail.type = MAIL_LISTEN;
    m->pool = set->pool;
    m->worker = set->shard->index;
    m->is_wanted = is_wanted;
    str_copy(m->channel, name, sizeof(m->channel));
    loop_post(&in->shards[listen_owner(in, set->pool)]->loop, &m->mail);
    return true;
}

static struct channel *new_channel(struct listen_set *set, const char *name)
{
    struct channel *ch = calloc(1, sizeof(*ch));

    if (ch == NULL)
        return NULL;
    ch->set = set;
    ch->state = CHANNEL_ASKED;
    list_init(&ch->subscriptions);
    str_copy(ch->name, name, sizeof(ch->name));
    HASH_ADD_STR(set->channels, name, ch);
    if (ch->hh.tbl != NULL && tell_owner(set, name, true))
        return ch;
    if (ch->hh.tbl != NULL)
        HASH_DEL(set->channels, ch);
    free(ch);
    return NULL;
}

/* Nobody here listens to it any more. While it is being asked for it stays: the answer is still to come. */
static void leave_channel(struct channel *ch)
{
    struct listen_set *set = ch->set;

    if (ch->n_clients > 0 || ch->state == CHANNEL_ASKED)
        return;
    if (ch->state == CHANNEL_STANDING && !tell_owner(set, ch->name, false))
        return; /* it is asked for once too often: harmless */
    HASH_DEL(set->channels, ch);
    free(ch);
}

void channels_destroy(struct shard *sh)
{
    struct listen_set *set, *next_set;

    HASH_ITER (hh, sh->listen_sets, set, next_set) {
        struct channel *ch, *next;
        HASH_ITER (hh, set->channels, ch, next) {
            HASH_DEL(set->channels, ch);
            free(ch);
        }
        HASH_DEL(sh->listen_sets, set);
        free(set);
    }
}

/* ---- subscriptions ---- */

struct subscription *listening_find(const struct listening *l, const char *name)
{
    LIST_FOR_EACH (it, &l->subscriptions) {
        struct subscription *x = list_entry(it, struct subscription, client_node);
        if (strcmp(x->channel->name, name) == 0)
            return x;
    }
    return NULL;
}

static void set_committed(struct subscription *x, bool is_committed)
{
    if (x->is_committed != is_committed)
        atomic_fetch_add_explicit(&x->channel->set->shard->n_listeners, is_committed ? 1 : -1,
                                  memory_order_relaxed);
    x->is_committed = is_committed;
}

static void drop_subscription(struct listening *l, struct subscription *x)
{
    struct channel *ch = x->channel;

    set_committed(x, false);
    list_del(&x->client_node);
    list_del(&x->channel_node);
    l->n_subscriptions--;
    ch->n_clients--;
    free(x);
    leave_channel(ch);
}

enum channel_answer listening_want(struct client *c, const char *name)
{
    struct listening *l = c->listening;
    struct subscription *x = listening_find(l, name);
    struct listen_set *set = get_set(c->shard, l->pool);

    if (set == NULL)
        return CHANNEL_NO_MEMORY;
    if (x == NULL) {
        if (l->n_subscriptions >= LISTEN_MAX_CHANNELS)
            return CHANNEL_TOO_MANY;
        struct channel *ch = find_channel(set, name);
        if (ch == NULL)
            ch = new_channel(set, name);
        x = ch != NULL ? calloc(1, sizeof(*x)) : NULL;
        if (x == NULL) {
            if (ch != NULL)
                leave_channel(ch);
            return CHANNEL_NO_MEMORY;
        }
        x->client = c;
        x->channel = ch;
        list_push_back(&l->subscriptions, &x->client_node);
        list_push_back(&ch->subscriptions, &x->channel_node);
        l->n_subscriptions++;
        ch->n_clients++;
    }
    switch (x->channel->state) {
    case CHANNEL_ASKED: return CHANNEL_WAITS;
    case CHANNEL_STANDING: return CHANNEL_STANDS;
    case CHANNEL_NOT_TAKEN: return CHANNEL_REFUSED;
    }
    return CHANNEL_WAITS;
}

void listening_wait(struct client *c)
{
    struct listening *l = c->listening;

    if (list_is_linked(&l->wait_node))
        return;
    l->waits_since_us = c->shard->now_us;
    list_push_back(&c->shard->listen_waiting, &l->wait_node);
    shard_arm_tick(c->shard);
}

void listening_wait_end(struct client *c)
{
    if (c->listening != NULL)
        list_del(&c->listening->wait_node);
}

/* ---- what counts ---- */

static bool is_changing(const struct listening *l, const char *name)
{
    LIST_FOR_EACH (it, &l->changes) {
        const struct listen_change *x = list_entry(it, const struct listen_change, node);
        if (x->kind == LISTEN_ON && strcmp(x->name, name) == 0)
            return true;
    }
    return false;
}

bool listening_apply(struct listening *l)
{
    bool is_right = true;

    LIST_FOR_EACH (it, &l->changes) {
        const struct listen_change *change = list_entry(it, const struct listen_change, node);
        if (change->kind == LISTEN_OFF_ALL) {
            LIST_FOR_EACH (s, &l->subscriptions)
                set_committed(list_entry(s, struct subscription, client_node), false);
            l->is_unsure = true;
        } else if (change->kind != LISTEN_SAVEPOINT) {
            struct subscription *x = listening_find(l, change->name);
            if (x != NULL)
                set_committed(x, change->kind == LISTEN_ON);
            l->is_unsure = l->is_unsure || change->kind != LISTEN_ON;
            if (change->kind == LISTEN_ON)
                is_right = is_right && x != NULL && x->channel->state == CHANNEL_STANDING;
        }
    }
    listen_changes_clear(&l->changes);
    return is_right;
}

/* The channel of a notification: behind the process id. */
static const char *channel_of(const uint8_t *message)
{
    return (const char *)message + WIRE_HEADER_BYTES + 4;
}

/* Keeps in the queue what the client has a right to. */
static void prune_queue(struct listening *l)
{
    uint32_t to = 0, len;

    for (uint32_t at = 0; at < l->queue.len; at += len) {
        const uint8_t *message = l->queue.data + at;
        len = 1 + wire_u32(message + 1);
        if (message[0] == LISTEN_NEWS_NOTIFICATION) {
            const struct subscription *x = listening_find(l, channel_of(message));
            if (x == NULL || !x->is_committed)
                continue;
        }
        memmove(l->queue.data + to, message, len);
        to += len;
    }
    l->queue.len = to;
}

void listening_settle(struct listening *l, bool keep)
{
    if (unlikely(l->is_unsure)) /* not else: with many channels and a long queue that takes long */
        prune_queue(l);
    l->is_unsure = false;
    LIST_FOR_EACH_SAFE (it, &l->subscriptions) {
        struct subscription *x = list_entry(it, struct subscription, client_node);
        if (!x->is_committed && !(keep && is_changing(l, x->channel->name)))
            drop_subscription(l, x);
    }
}

/* ---- passing on ---- */

/* Between two transactions, with nothing else on its way to it. */
static bool is_between(const struct client *c)
{
    if (!stream_is_drained(&c->stream) || c->lost != LOST_NOTHING)
        return false;
    if (c->state == CLIENT_IDLE)
        return true;
    /* its pool mode has been changed since it said LISTEN: it keeps its server */
    return c->state == CLIENT_ACTIVE && c->pool_mode == POOL_MODE_SESSION &&
           c->server->state == SERVER_ACTIVE && c->server->remain_bytes == 0 &&
           tracker_is_releasable(&c->server->tracker);
}

static void doom(struct client *c, bool is_overflowing)
{
    struct listening *l = c->listening;

    l->is_overflowing = l->is_overflowing || is_overflowing;
    buf_free(&l->queue);
    if (!list_is_linked(&l->doomed_node))
        list_push_back(&c->shard->listen_doomed, &l->doomed_node);
}

/* False: it cannot be written to. */
static bool send_queue(struct client *c)
{
    struct listening *l = c->listening;
    struct stats_shard *st = client_stats(c);

    if (l->queue.len == 0 || !is_between(c))
        return true;
    if (st != NULL)
        counter_add(&st->counters.bytes_sent, l->queue.len);
    bool is_sent = stream_send(&c->stream, l->queue.data, l->queue.len);
    if (l->queue.capacity > 4096)
        buf_free(&l->queue);
    else
        buf_clear(&l->queue);
    return is_sent;
}

void listening_flush(struct client *c)
{
    if (!send_queue(c))
        client_close(c, CLOSE_CLIENT_EOF, NULL);
}

/* A message for one client. Closes nobody: others may be closed with it, and the caller walks a list. */
static void put_message(struct client *c, const uint8_t *message, uint32_t len)
{
    struct listening *l = c->listening;
    const int max = shard_settings(c->shard)->listen_queue_size;

    if (list_is_linked(&l->doomed_node) || c->state == CLIENT_CLOSING)
        return;
    if (l->queue.len + len > (uint32_t)max) {
        doom(c, true);
        return;
    }
    buf_append(&l->queue, message, len);
    if (l->queue.failed || !send_queue(c))
        doom(c, l->queue.failed);
}

/* May its LISTEN take effect at any moment? When its transaction is idle its COMMIT has not been sent. */
static bool may_be_committing(const struct client *c)
{
    return c->server != NULL && tracker_is_busy(&c->server->tracker);
}

static void on_notification(struct listen_set *set, const uint8_t *message, uint32_t len)
{
    struct channel *ch = find_channel(set, channel_of(message));

    if (ch == NULL)
        return;
    ch->n_notifications++;
    LIST_FOR_EACH (it, &ch->subscriptions) {
        const struct subscription *x = list_entry(it, const struct subscription, channel_node);
        if (!x->is_committed && !may_be_committing(x->client))
            continue;
        atomic_fetch_add_explicit(&set->shard->notifications, 1, memory_order_relaxed);
        if (!x->is_committed)
            x->client->listening->is_unsure = true;
        put_message(x->client, message, len);
    }
}

static void on_lost(struct listen_set *set)
{
    struct channel *ch, *next;
    struct buf b;

    buf_init(&b, 4096);
    wire_put_notice(&b, "WARNING", "01000", "notifications may have been missed",
                    "The server connection that listens was lost; all channels are listened to again.", NULL);
    set->n_losses++;
    HASH_ITER (hh, set->channels, ch, next)
        LIST_FOR_EACH (it, &ch->subscriptions) {
            const struct subscription *x = list_entry(it, const struct subscription, channel_node);
            struct listening *l = x->client->listening;
            if (!x->is_committed || l->warned_at == set->n_losses || b.failed)
                continue;
            l->warned_at = set->n_losses;
            put_message(x->client, b.data, b.len);
        }
    buf_free(&b);
}

/* Those who wait for this channel go on, in the end: their messages are looked at anew. */
static void on_answer(struct listen_set *set, const char *name, bool is_refused, struct list *ready)
{
    struct channel *ch = find_channel(set, name);

    if (ch == NULL)
        return;
    ch->state = is_refused ? CHANNEL_NOT_TAKEN : CHANNEL_STANDING;
    LIST_FOR_EACH (it, &ch->subscriptions) {
        struct listening *l = list_entry(it, struct subscription, channel_node)->client->listening;
        if (list_is_linked(&l->wait_node)) {
            list_del(&l->wait_node);
            list_push_back(ready, &l->wait_node);
        }
    }
    leave_channel(ch);
}

static void close_waiting(struct client *c, const char *sqlstate, const char *cause)
{
    char message[POOL_ERROR_BYTES + 64];

    snprintf(message, sizeof(message), "%s%s%s", close_reason_message(CLOSE_LISTEN_FAILED),
             cause[0] != '\0' ? ": " : "", cause);
    client_close_error(c, CLOSE_LISTEN_FAILED,
                       sqlstate[0] != '\0' ? sqlstate : close_reason_sqlstate(CLOSE_LISTEN_FAILED), message,
                       close_reason_hint(CLOSE_LISTEN_FAILED));
}

/* There is no listening connection, and there will be none: those who wait for it are told. A channel that
 * is not answered is asked for anew with its next client. */
static void on_failed(struct listen_set *set, const uint8_t *body)
{
    const char *sqlstate = (const char *)body, *cause = sqlstate + strlen(sqlstate) + 1;
    struct list found;
    struct list *node;
    struct channel *ch, *next;

    list_init(&found);
    HASH_ITER (hh, set->channels, ch, next) {
        if (ch->state != CHANNEL_ASKED)
            continue;
        LIST_FOR_EACH (it, &ch->subscriptions) {
            struct listening *l = list_entry(it, struct subscription, channel_node)->client->listening;
            list_del(&l->wait_node);
            list_push_back(&found, &l->wait_node);
        }
        ch->state = CHANNEL_NOT_TAKEN;
        leave_channel(ch);
    }
    while ((node = list_pop_front(&found)) != NULL)
        close_waiting(list_entry(node, struct listening, wait_node)->client, sqlstate, cause);
}

static void one_news(struct listen_set *set, const uint8_t *message, uint32_t len, struct list *ready)
{
    const char *name = (const char *)message + WIRE_HEADER_BYTES;

    switch (message[0]) {
    case LISTEN_NEWS_NOTIFICATION: on_notification(set, message, len); return;
    case LISTEN_NEWS_STANDS: on_answer(set, name, false, ready); return;
    case LISTEN_NEWS_REFUSED: on_answer(set, name, true, ready); return;
    case LISTEN_NEWS_LOST: on_lost(set); return;
    case LISTEN_NEWS_FAILED: on_failed(set, message + WIRE_HEADER_BYTES); return;
    default: return;
    }
}

void listen_on_news(struct shard *sh, struct mail_listen_news *m)
{
    struct listen_set *set = find_set(sh, m->pool);
    struct list ready;
    struct list *node;
    uint32_t len;

    list_init(&ready);
    for (uint32_t at = 0; set != NULL && at < m->news.len; at += len) {
        len = 1 + wire_u32(m->news.data + at + 1);
        one_news(set, m->news.data + at, len, &ready);
    }
    buf_free(&m->news);
    free(m);
    while ((node = list_pop_front(&sh->listen_doomed)) != NULL) {
        struct listening *l = list_entry(node, struct listening, doomed_node);
        client_close(l->client, l->is_overflowing ? CLOSE_LISTEN_QUEUE_FULL : CLOSE_CLIENT_EOF, NULL);
    }
    /* who goes leaves this list by itself */
    while ((node = list_pop_front(&ready)) != NULL)
        client_resume(list_entry(node, struct listening, wait_node)->client);
}

void channels_tick(struct shard *sh, int64_t now_us)
{
    char sqlstate[6], text[POOL_ERROR_BYTES];
    struct list late;
    struct list *node;

    list_init(&late);
    LIST_FOR_EACH_SAFE (it, &sh->listen_waiting) {
        struct listening *l = list_entry(it, struct listening, wait_node);
        if (deadline_after(l->waits_since_us, l->client->timeouts.query_wait_us) > now_us)
            continue;
        list_del(&l->wait_node);
        list_push_back(&late, &l->wait_node);
    }
    while ((node = list_pop_front(&late)) != NULL) {
        struct listening *l = list_entry(node, struct listening, wait_node);
        pool_last_error(l->pool, sqlstate, text, sizeof(text));
        close_waiting(l->client, sqlstate, text[0] != '\0' ? text : "no server connection is free");
    }
}

/* ---- a client ---- */

/* The pool of the listening connection has what the client's pool knows about its user. */
static struct pool *get_pool(struct client *c)
{
    struct instance *in = c->shard->instance;
    uint8_t key[32];
    bool is_new, has_key;
    struct pool *pool =
        registry_get_listen_pool(in->registry, c->pool->database->name, c->pool->user->name, &is_new);

    if (pool == NULL)
        return NULL;
    if (is_new)
        session_configure_pool(in, c->shard, c->shard->config->config, pool);
    struct found_user *secret = pool_secret(c->pool, key, &has_key);
    if (secret != NULL)
        pool_keep_secret(pool, secret, has_key ? key : NULL);
    found_user_unref(secret);
    secret_wipe(key, sizeof(key));
    return pool;
}

struct listening *listening_ensure(struct client *c)
{
    struct listening *l = c->listening;

    if (l != NULL)
        return l;
    struct pool *pool = get_pool(c);
    l = pool != NULL ? calloc(1, sizeof(*l)) : NULL;
    if (l == NULL)
        return NULL;
    l->client = c;
    l->pool = pool;
    list_init(&l->subscriptions);
    list_init(&l->changes);
    list_init(&l->names);
    list_init(&l->wait_node);
    list_init(&l->doomed_node);
    buf_init(&l->queue, 0);
    c->listening = l;
    return l;
}

bool listening_cancel(struct client *c)
{
    struct listening *l = c->listening;

    if (l == NULL || c->state != CLIENT_IDLE || !list_is_linked(&l->wait_node))
        return false;
    listening_wait_end(c);
    listening_settle(l, false);
    return true;
}

void listening_free(struct client *c)
{
    struct listening *l = c->listening;

    if (l == NULL)
        return;
    c->listening = NULL;
    list_del(&l->wait_node);
    list_del(&l->doomed_node);
    while (!list_is_empty(&l->subscriptions))
        drop_subscription(l, list_entry(l->subscriptions.next, struct subscription, client_node));
    listen_changes_clear(&l->changes);
    listen_names_free(l);
    free(l->commands);
    buf_free(&l->queue);
    free(l);
}

/* ---- SHOW LISTENERS ---- */

static uint32_t count_rows(const struct shard *sh)
{
    const struct listen_set *set, *next;
    uint32_t n = 0;

    HASH_ITER (hh, sh->listen_sets, set, next)
        n += HASH_COUNT(set->channels);
    return n;
}

static void fill_row(const struct shard *sh, const struct channel *ch, struct listen_row *r)
{
    static const char *const states[] = {
        [CHANNEL_ASKED] = "waiting", [CHANNEL_STANDING] = "listening", [CHANNEL_NOT_TAKEN] = "refused"};

    str_copy(r->database, ch->set->pool->database->name, sizeof(r->database));
    str_copy(r->user, ch->set->pool->user->name, sizeof(r->user));
    str_copy(r->channel, ch->name, sizeof(r->channel));
    r->state = states[ch->state];
    r->worker = sh->index;
    r->notifications = ch->n_notifications;
    LIST_FOR_EACH (it, &ch->subscriptions) {
        const struct subscription *x = list_entry(it, const struct subscription, channel_node);
        r->clients += x->is_committed;
        r->queued_bytes += x->client->listening->queue.len;
    }
}

bool listen_describe(const struct shard *sh, struct listen_row **rows, uint32_t *n)
{
    const struct listen_set *set, *next_set;
    const struct channel *ch, *next;

    *n = 0;
    *rows = calloc(count_rows(sh) + 1, sizeof(**rows));
    if (*rows == NULL)
        return false;
    HASH_ITER (hh, sh->listen_sets, set, next_set)
        HASH_ITER (hh, set->channels, ch, next)
            fill_row(sh, ch, &(*rows)[(*n)++]);
    return true;
}
