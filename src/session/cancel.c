/*
 * cancel.c - cancel requests: whose they are, and what becomes of them.
 *
 * The worker that receives a request forwards it, if its key is a peer's, or mails it to the worker of the
 * key. Who does not know the key there passes it on to the next worker: the key of a client that is linked at
 * its login says neither worker nor peer (cancel_key.h). When none knows it, it may be a peer's of that kind:
 * all are asked, and none of them asks further. The worker that knows the key decides:
 *   the client has sent nothing to a server yet (it waits, or its server is being set up): it is answered as
 *     PostgreSQL would answer, and its request never runs;
 *   it is at work on a server: a connection of its own carries the request to PostgreSQL (cancel_carry.c);
 *   otherwise there is nothing to cancel.
 * The requester is disconnected when that has been done, as by PostgreSQL. That it hangs up earlier changes
 * nothing.
 *
 * Requests beyond what the other connections need do not count against max_client_conn, but there is
 * a bound on those that wait for their end; whoever comes on top is worked on, and disconnected at once.
 *
 * Threads: the workers', each its own part.
 */
#include <stdlib.h>
#include <string.h>

#include "base/rand.h"
#include "base/secret.h"
#include "session_int.h"

#define MAX_CANCEL_CLIENTS 256 /* requesters that wait for the end, per worker */
#define KEY_ATTEMPTS       4   /* that two random keys are the same does not happen */

static uint64_t key_head(uint32_t pid, const uint8_t *key)
{
    return (uint64_t)pid << 32 | wire_u32(key);
}

bool cancel_make_key(struct client *c, bool is_long, uint32_t pid)
{
    struct shard *sh = c->shard;
    int peer_id = shard_settings(sh)->peer_id;
    uint64_t random, key = 0;
    bool is_added = false;

    for (int i = 0; i < KEY_ATTEMPTS && !is_added; i++) {
        rand_secure(&random, sizeof(random));
        if (!cancel_key_make_servers(random, pid, peer_id, &key))
            key = cancel_key_make(random, sh->index, peer_id);
        is_added = cancel_table_add(&sh->cancel_keys, key, c->handle);
    }
    if (!is_added)
        return false;
    c->cancel_key = key;
    if (!is_long)
        return true;
    c->long_key = malloc(CANCEL_LONG_KEY_BYTES);
    if (c->long_key == NULL)
        return false;
    rand_secure(c->long_key, CANCEL_LONG_KEY_BYTES);
    wire_set_u32(c->long_key, (uint32_t)key); /* so the bytes of peers stand where they do in short keys */
    return true;
}

void cancel_forget_key(struct client *c)
{
    cancel_table_remove(&c->shard->cancel_keys, c->cancel_key);
    c->cancel_key = 0;
}

/* ---- the worker that received the request ---- */

/* The request as mail, and c as somebody who waits for its end; c does not count as a client any more. NULL:
 * c has been closed. */
static struct mail_cancel *new_request(struct client *c, uint32_t pid, const uint8_t *key, uint32_t key_bytes)
{
    struct mail_cancel *m = key_bytes <= sizeof(m->key) ? calloc(1, sizeof(*m)) : NULL;

    if (m == NULL) {
        client_close(c, CLOSE_CANCEL_FAILED, NULL);
        return NULL;
    }
    m->mail.type = MAIL_CANCEL;
    list_init(&m->node);
    m->pid = pid;
    memcpy(m->key, key, key_bytes); /* key lies in the input that is dropped now */
    m->key_bytes = (uint16_t)key_bytes;
    m->from_worker = c->shard->index;
    m->from_client = c->handle;
    m->arrived_us = c->shard->now_us;
    client_login_free(c);
    client_drop_input(c);
    client_set_state(c, CLIENT_CANCEL);
    c->shard->n_cancel_clients++;
    c->cancel = m;
    if (c->is_counted)
        atomic_fetch_sub_explicit(&c->shard->instance->clients, 1, memory_order_release);
    c->is_counted = false;
    places_refused_leave(c);
    return m;
}

static bool is_crowded(const struct shard *sh)
{
    return sh->n_cancel_clients > MAX_CANCEL_CLIENTS;
}

static void give_up(struct client *c, struct mail_cancel *m, enum close_reason why)
{
    c->cancel = NULL;
    free(m);
    client_close(c, why, NULL);
}

static void forward_request(struct client *c, struct mail_cancel *m)
{
    struct shard *sh = c->shard;
    uint64_t head = key_head(m->pid, m->key);
    const struct peer_config *line = NULL;
    struct peer *peer = session_config_peer(sh->config, cancel_key_peer(head), &line);

    if (cancel_key_hops(head) == 0)
        client_log(c, LOG_LVL_WARNING, "cancel request for peer %d has been forwarded too often",
                   cancel_key_peer(head));
    else if (peer == NULL)
        client_log(c, LOG_LVL_WARNING, "cancel request for peer %d, which is not in [peers]",
                   cancel_key_peer(head));
    else if (is_crowded(sh))
        client_log(c, LOG_LVL_WARNING, "too many cancel requests wait: this one for peer %d is dropped",
                   cancel_key_peer(head));
    else {
        wire_set_u32(m->key, (uint32_t)(head - 1)); /* one hop less; there is one, so nothing is borrowed */
        if (cancel_forward(sh, peer, line, m))
            return;
    }
    give_up(c, m, CLOSE_CANCEL_FAILED);
}

void cancel_request(struct client *c, uint32_t pid, const uint8_t *key, uint32_t key_bytes)
{
    struct shard *sh = c->shard;
    struct instance *in = sh->instance;
    int own_id = shard_settings(sh)->peer_id;
    struct mail_cancel *m = new_request(c, pid, key, key_bytes);

    if (m == NULL)
        return;
    uint64_t head = key_head(m->pid, m->key);
    if (own_id > 0 && cancel_key_peer(head) != own_id && !cancel_key_may_be_servers(head)) {
        forward_request(c, m);
        return;
    }
    if (own_id > 0) {
        m->hops = (uint8_t)cancel_key_hops(head);
        wire_set_u32(m->key, (uint32_t)cancel_key_original(head));
    }
    if (is_crowded(sh)) {
        m->from_client = 0;
        c->cancel = NULL;
        client_close(c, CLOSE_CANCEL_DONE, NULL);
    }
    loop_post(&in->shards[cancel_key_worker(head) % in->n_workers]->loop, &m->mail);
}

/* A copy of m for one peer, whose end is counted. */
static void ask_peer(struct shard *sh, struct mail_cancel *m, struct peer *peer,
                     const struct peer_config *line, unsigned hops)
{
    struct mail_cancel *copy = calloc(1, sizeof(*copy));

    if (copy == NULL)
        return;
    copy->mail.type = MAIL_CANCEL;
    list_init(&copy->node);
    copy->pid = m->pid;
    copy->key_bytes = m->key_bytes;
    memcpy(copy->key, m->key, m->key_bytes);
    wire_set_u32(copy->key, (wire_u32(m->key) & ~CANCEL_KEY_HOPS) | hops);
    copy->from_worker = sh->index;
    copy->from_client = m->from_client;
    copy->arrived_us = m->arrived_us;
    copy->lead = m;
    if (cancel_forward(sh, peer, line, copy))
        m->n_copies++;
    else
        free(copy);
}

/*
 * No worker knows the key, which may have the process id of a peer's server: each peer is asked, and asks no
 * further. It may also be a key in which a PgBouncer names one, to which it goes as usual. False: nobody has
 * been asked.
 */
static bool ask_peers(struct shard *sh, struct mail_cancel *m)
{
    const struct config *cfg = sh->config->config;
    uint64_t head = key_head(m->pid, m->key);

    m->is_unknown = false;
    if (m->hops == 0 || !cancel_key_may_be_servers(head))
        return false;
    if (is_crowded(sh)) {
        log_line(LOG_LVL_WARNING, "too many cancel requests wait: one that may be for a peer is dropped");
        return false;
    }
    for (size_t i = 0; i < config_peer_count(cfg); i++) {
        const struct peer_config *line = config_peer_at(cfg, i);
        bool is_named = line->id == cancel_key_peer(head);
        if (line->id != config_settings(cfg)->peer_id)
            ask_peer(sh, m, sh->config->peers[i], line, is_named ? m->hops - 1u : 0);
    }
    return m->n_copies > 0;
}

void cancel_on_done(struct shard *sh, struct mail_cancel *m)
{
    if (m->is_unknown && ask_peers(sh, m))
        return;
    if (m->lead != NULL) {
        struct mail_cancel *copy = m;
        m = copy->lead;
        if (copy->outcome != CLOSE_CANCEL_FAILED)
            m->outcome = copy->outcome;
        free(copy);
        if (--m->n_copies > 0)
            return;
    }
    struct client *c = handle_get(&sh->clients, m->from_client);
    if (c != NULL && c->state == CLIENT_CANCEL) {
        c->cancel = NULL;
        client_close(c, m->outcome, NULL);
    }
    free(m);
}

void cancel_drop(struct mail_cancel *m)
{
    struct mail_cancel *lead = m->lead;

    free(m);
    if (lead != NULL && --lead->n_copies == 0)
        free(lead);
}

/* ---- the worker of the key ---- */

void cancel_answer(struct shard *sh, struct mail_cancel *m, enum close_reason outcome)
{
    m->mail.type = MAIL_CANCEL_DONE;
    m->outcome = outcome;
    loop_post(&sh->instance->shards[m->from_worker]->loop, &m->mail);
}

static struct client *find_client(struct shard *sh, const struct mail_cancel *m)
{
    uint8_t own[4];
    uint64_t handle = cancel_table_find(&sh->cancel_keys, key_head(m->pid, m->key));
    struct client *c = handle != 0 ? handle_get(&sh->clients, handle) : NULL;

    if (c == NULL)
        return NULL;
    wire_set_u32(own, (uint32_t)c->cancel_key);
    const uint8_t *secret = c->long_key != NULL ? c->long_key : own;
    uint16_t bytes = c->long_key != NULL ? CANCEL_LONG_KEY_BYTES : sizeof(own);
    return m->key_bytes == bytes && secret_equal(secret, m->key, bytes) ? c : NULL;
}

/* This worker does not know the key. */
static void pass_on(struct shard *sh, struct mail_cancel *m)
{
    struct instance *in = sh->instance;

    m->n_asked++;
    if (m->n_asked < in->n_workers) {
        loop_post(&in->shards[(sh->index + 1) % in->n_workers]->loop, &m->mail);
        return;
    }
    m->is_unknown = true;
    cancel_answer(sh, m, CLOSE_CANCEL_FAILED);
}

void cancel_on_mail(struct shard *sh, struct mail_cancel *m)
{
    struct client *c = find_client(sh, m);
    struct server *s = c != NULL ? c->server : NULL;

    if (c == NULL) {
        pass_on(sh, m);
        return;
    }
    client_log(c, LOG_LVL_LOG, "cancel request for this client");
    if (c->pool != NULL)
        atomic_store(&m->pool, c->pool);
    if (c->state == CLIENT_ACTIVE && s->state == SERVER_ACTIVE && tracker_is_busy(&s->tracker)) {
        if (!cancel_send(s, m))
            cancel_answer(sh, m, CLOSE_CANCEL_FAILED);
        return;
    }
    if (c->state == CLIENT_CONSOLE)
        console_cancel(c);
    else if (client_has_unsent(c) &&
             (c->state == CLIENT_WAITING || (c->state == CLIENT_ACTIVE && s->state == SERVER_SETUP) ||
              listening_cancel(c)))
        client_cancel_unsent(c, "canceling statement due to user request");
    cancel_answer(sh, m, CLOSE_CANCEL_DONE);
}
