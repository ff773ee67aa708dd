/*
 * client_tls.c - TLS handshakes with clients: who is worked on, when, and how they end.
 *
 * A handshake costs the worker as much as a hundred queries. So none is done where it arrives: who has sent
 * something of a handshake goes into a queue (ready), and at the end of each turn of the loop a little of the
 * queue is worked off, in the order of coming. A storm of logins takes that share of a turn, and the clients
 * that are in keep the rest.
 *
 * Handshakes that have begun hold memory, so they are bounded (max_logins_in_progress, shared out among the
 * workers); who comes on top waits (waiting), and is served by addresses: first whose address has the fewest
 * under way (crowd.h). What is begun and then left lying by its client (silent) keeps its place as long as
 * nobody waits for one, and then a second; one of the address that has the most under way, a second from its
 * beginning on, whatever comes of it in drops. So clients that never finish cannot keep the others out,
 * however many there are.
 *
 * Threads: the worker's own.
 * Not here: what is said before a handshake (wire/negotiation.c), TLS itself (net/stream_tls.c).
 */
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "login_int.h"
#include "session/crowd.h"

#define TURN_US     (2 * USEC_PER_MSEC) /* of each turn of the loop go to handshakes, when others are waiting */
#define PATIENCE_US (1 * USEC_PER_SEC) /* for a silent client when others wait for its place */

static const struct stream_ops handshake_stream_ops;

/* ---- places ---- */

static int max_handshakes(const struct shard *sh)
{
    int max = shard_settings(sh)->max_logins_in_progress;
    int share = max / sh->instance->n_workers;

    return max <= 0 ? INT32_MAX : share > 0 ? share : 1;
}

static void work_soon(struct shard *sh)
{
    struct handshakes *h = &sh->handshakes;

    if (h->is_deferred || list_is_empty(&h->ready))
        return;
    h->is_deferred = true;
    loop_defer(&sh->loop, &h->deferred);
}

static void move_to(struct client_login *l, enum login_tls tls)
{
    struct shard *sh = l->client->shard;
    struct handshakes *h = &sh->handshakes;

    list_del(&l->tls_node);
    l->tls = tls;
    switch (tls) {
    case LOGIN_TLS_NONE:
    case LOGIN_TLS_DUE: return;
    case LOGIN_TLS_READY:
        list_push_back(&h->ready, &l->tls_node);
        work_soon(sh);
        return;
    case LOGIN_TLS_WAITING: list_push_back(&h->waiting, &l->tls_node); return;
    case LOGIN_TLS_SILENT:
        list_push_back(&h->silent, &l->tls_node);
        l->tls_silent_us = sh->now_us;
        return;
    }
}

static bool take_place(struct client_login *l)
{
    struct shard *sh = l->client->shard;

    if (l->tls_has_place)
        return true;
    if (sh->handshakes.n >= max_handshakes(sh))
        return false;
    sh->handshakes.n++;
    l->tls_begun_us = sh->now_us;
    return l->tls_has_place = true;
}

/* Logins with their addresses. */
struct line {
    struct client_login *logins[CROWD_MAX];
    struct crowd crowd;
};

static bool line_add(struct line *line, struct client_login *l)
{
    const struct client *c = l->client;
    int n = line->crowd.n;

    if (!crowd_add(&line->crowd, address_key(c->peer_family, c->peer_addr)))
        return false;
    line->logins[n] = l;
    return true;
}

static void line_add_all(struct line *line, const struct list *list, bool with_place)
{
    LIST_FOR_EACH (it, list) {
        struct client_login *l = list_entry(it, struct client_login, tls_node);
        if (l->tls_has_place == with_place && !line_add(line, l))
            return;
    }
}

/* Of those who wait. NULL: nobody does. */
static struct client_login *next_in_line(const struct handshakes *h)
{
    struct line waiting = {.crowd.n = 0}, served = {.crowd.n = 0};

    if (list_is_empty(&h->waiting))
        return NULL;
    line_add_all(&waiting, &h->waiting, false);
    line_add_all(&served, &h->silent, true);
    line_add_all(&served, &h->ready, true);
    int i = crowd_next(&waiting.crowd, &served.crowd);
    return i >= 0 ? waiting.logins[i] : NULL;
}

/* As many of those who wait as there are places for. */
static void admit(struct shard *sh)
{
    struct handshakes *h = &sh->handshakes;
    struct client_login *l;

    while (h->n < max_handshakes(sh) && (l = next_in_line(h)) != NULL && take_place(l))
        move_to(l, LOGIN_TLS_READY);
}

void client_tls_leave(struct client_login *l)
{
    struct shard *sh = l->client->shard;

    if (l->tls == LOGIN_TLS_NONE)
        return;
    move_to(l, LOGIN_TLS_NONE);
    if (!l->tls_has_place)
        return;
    l->tls_has_place = false;
    sh->handshakes.n--;
    admit(sh);
}

bool client_tls_is_busy(const struct client *c)
{
    return c->login != NULL && c->login->tls != LOGIN_TLS_NONE;
}

/* ---- ends ---- */

const char *client_tls_text(const struct client *c, char *out, size_t size)
{
    stream_tls_describe(&c->stream, out, size);
    if (out[0] == '\0')
        str_copy(out, "no", size);
    return out;
}

/* An alert may be on its way, and unread input would make the kernel destroy it: read on for a while. */
static void linger(struct client *c)
{
    stream_tls_give_up(&c->stream);
    c->stream.ops = &client_stream_ops;
    client_set_state(c, CLIENT_CLOSING);
    client_drop_input(c);
    if (!stream_read_start(&c->stream)) {
        client_free(c);
        return;
    }
    stream_shutdown_write(&c->stream);
}

/* One line in the log, whatever log_disconnections says: who cannot get in asks the operator, who looks
 * there. */
static void handshake_failed(struct client *c, const char *reason)
{
    int64_t age_s = (c->shard->now_us - c->connected_us) / USEC_PER_SEC;
    bool is_begun = stream_is_tls(&c->stream);

    stats_errors_count_close(c->shard->instance->errors, c->shard->index, CLOSE_TLS_FAILED);
    client_log(c, LOG_LVL_WARNING, "closing because: %s: %s (age=%llds)", close_reason_text(CLOSE_TLS_FAILED),
               reason, (long long)age_s);
    client_tls_leave(c->login);
    if (is_begun)
        linger(c);
    else
        client_free(c);
}

static void handshake_done(struct client *c)
{
    struct client_login *l = c->login;
    char text[96];

    if (l->is_direct && !stream_tls_has_alpn(&c->stream)) {
        handshake_failed(c, "direct TLS without ALPN");
        return;
    }
    client_tls_leave(l);
    negotiation_tls_done(&l->negotiation);
    c->stream.ops = &client_stream_ops;
    client_log(c, LOG_LVL_DEBUG, "TLS established: %s%s", client_tls_text(c, text, sizeof(text)),
               stream_tls_is_resumed(&c->stream) ? ", resumed" : "");
}

/* ---- one turn of a handshake ---- */

static bool begin(struct client *c)
{
    struct client_login *l = c->login;
    const struct buf *in = c->input;

    if (!stream_tls_accept(&c->stream, l->config->tls.client, in != NULL ? in->data : NULL,
                           in != NULL ? in->len : 0))
        return false;
    stream_tls_login(&c->stream, true); /* to the end of the login */
    client_drop_input(c);
    return true;
}

static void step(struct client *c)
{
    struct client_login *l = c->login;

    if (!take_place(l)) {
        move_to(l, LOGIN_TLS_WAITING);
        stream_read_stop(&c->stream);
        return;
    }
    if (!stream_is_tls(&c->stream) && !begin(c)) {
        handshake_failed(c, stream_tls_error());
        return;
    }
    switch (stream_tls_handshake(&c->stream)) {
    case STREAM_AGAIN:
        l->tls_has_spoken = true;
        move_to(l, LOGIN_TLS_SILENT);
        return;
    case 1: handshake_done(c); return;
    case STREAM_EOF:
        if (l->tls_has_spoken)
            handshake_failed(c, stream_tls_error());
        else /* asked whether there is TLS, and went */
            client_close(c, CLOSE_CLIENT_EOF, NULL);
        return;
    default: handshake_failed(c, stream_tls_error()); return;
    }
}

static void work_cb(struct deferred *d)
{
    struct handshakes *h = container_of(d, struct handshakes, deferred);
    struct shard *sh = container_of(h, struct shard, handshakes);
    int64_t until_us = shard_touch(sh) + TURN_US;
    struct list *node;

    h->is_deferred = false;
    while ((node = list_pop_front(&h->ready)) != NULL) {
        step(list_entry(node, struct client_login, tls_node)->client);
        if (shard_touch(sh) >= until_us)
            break;
    }
    work_soon(sh);
}

void client_tls_begin(struct client *c, bool is_direct)
{
    c->login->is_direct = is_direct;
    c->stream.ops = &handshake_stream_ops;
    move_to(c->login, is_direct ? LOGIN_TLS_READY : LOGIN_TLS_DUE);
}

/* ---- events ---- */

static void handshake_on_read(struct stream *st)
{
    struct client *c = container_of(st, struct client, stream);

    shard_touch(c->shard);
    if (c->login->tls == LOGIN_TLS_SILENT || c->login->tls == LOGIN_TLS_DUE)
        move_to(c->login, LOGIN_TLS_READY);
    else
        stream_read_stop(st); /* its turn will come without further events */
}

/* What a handshake sends does not wait for what it sent before. */
static void handshake_on_drain(struct stream *st)
{
    (void)st;
}

static void handshake_on_error(struct stream *st, int err)
{
    struct client *c = container_of(st, struct client, stream);

    shard_touch(c->shard);
    handshake_failed(c, strerror(err));
}

static const struct stream_ops handshake_stream_ops = {
    .on_read = handshake_on_read,
    .on_drain = handshake_on_drain,
    .on_error = handshake_on_error,
};

/* ---- time ---- */

void handshakes_init(struct shard *sh)
{
    list_init(&sh->handshakes.ready);
    list_init(&sh->handshakes.waiting);
    list_init(&sh->handshakes.silent);
    sh->handshakes.deferred.run = work_cb;
}

/* Who gives way to next, which waits. NULL: nobody yet. */
static struct client_login *dawdler(const struct handshakes *h, struct client_login *next, int64_t now_us)
{
    struct line slow = {.crowd.n = 0};
    struct client_login *longest = list_first_entry(&h->silent, struct client_login, tls_node);
    const struct client *c = next->client;

    LIST_FOR_EACH (it, &h->silent) {
        struct client_login *l = list_entry(it, struct client_login, tls_node);
        if (now_us - l->tls_begun_us >= PATIENCE_US && !line_add(&slow, l))
            break;
    }
    int i = crowd_yields(&slow.crowd, address_key(c->peer_family, c->peer_addr));
    if (i >= 0)
        return slow.logins[i];
    return longest != NULL && now_us - longest->tls_silent_us >= PATIENCE_US ? longest : NULL;
}

void handshakes_tick(struct shard *sh, int64_t now_us)
{
    struct handshakes *h = &sh->handshakes;
    struct client_login *l;

    admit(sh); /* the limit may have been raised */
    while (h->n >= max_handshakes(sh) && (l = next_in_line(h)) != NULL) {
        l = dawdler(h, l, now_us);
        if (l == NULL)
            return;
        handshake_failed(l->client, "the client was silent, and others wait (max_logins_in_progress)");
    }
}
