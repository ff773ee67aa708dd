/*
 * dial.c - connecting: hosts of a list, addresses of a host, one after the other.
 *
 * Everything happens in callbacks of the loop: dial_start() and dial_next() only activate
 * the next step, so that on_done never comes from within them. A dial that has connected
 * keeps its place in the list, so that its owner can go on from there when the server
 * turns out to be no use. When nothing is left the state is freed before on_done is called:
 * the callee may start d again or free it.
 *
 * What failed is avoided for a while (avoid.c): it comes last in the next dials.
 *
 * Threads: the loop's owner.
 * Not here: names (resolve.c), the order of hosts and addresses (hosts.c).
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/str.h"
#include "hosts_int.h"

#define BACKLOG_RETRY_US    10000
#define BACKLOG_RETRIES_MAX 500

struct dial_state {
    struct dial *dial;
    struct dial_options options; /* its hosts are here: */
    struct host_list *hosts;
    struct event event;             /* the next step, the end of connect(), or its timeout */
    struct resolve_wait *wait;      /* lookup under way */
    struct address_list *addresses; /* of the current host, in the order in which they are tried */
    int next_address;
    uint32_t next_host;  /* in order[] */
    uint32_t n_good;     /* hosts that were not avoided when it began */
    bool was_mismatch;   /* the current host has an address that is not what is wanted */
    int backlog_retries; /* of the current address */
    int fd;              /* connecting; -1 */
    uint32_t order[];
};

static void step(struct dial_state *st);

/* ---- errors ---- */

/* Of several hosts each says why. */
static void error_add(struct dial *d, const char *text)
{
    size_t len = strlen(d->error);
    snprintf(d->error + len, sizeof(d->error) - len, "%s%s", len > 0 ? "; " : "", text);
}

static void resolve_error_set(struct dial *d, const char *why)
{
    char text[DIAL_ERROR_BYTES];
    snprintf(text, sizeof(text), "could not resolve host name \"%.100s\": %s", d->host, why);
    error_add(d, text);
}

/* ---- hosts ---- */

static void avoid(struct dial_state *st, uint64_t endpoint, bool is_mismatch)
{
    if (st->options.avoid_us > 0)
        avoid_add(endpoint, is_mismatch ? st->options.wanted : 0, clock_now_us() + st->options.avoid_us);
}

/* The addresses have been found, or come with the host's text. Takes list over. */
static bool addresses_set(struct dial_state *st, struct address_list *list)
{
    struct dial *d = st->dial;
    uint32_t turn = st->options.turn / (st->options.in_order ? 1 : st->n_good);

    st->addresses =
        address_list_ordered(list, d->host, st->options.port, st->options.wanted, turn, clock_now_us());
    address_list_unref(list);
    if (st->addresses == NULL)
        resolve_error_set(d, "out of memory");
    return st->addresses != NULL;
}

/* Finds the addresses of d->host. AGAIN: step() goes on when the mail arrives. ERR: d->error says why. */
static enum resolve_result host_addresses(struct dial_state *st)
{
    struct dial *d = st->dial;
    struct address_list *list = NULL;

    if (host_kind(d->host) != HOST_NAME) {
        struct address one;
        if (!host_address(d->host, st->options.port, &one)) {
            char text[DIAL_ERROR_BYTES];
            snprintf(text, sizeof(text), "Unix socket directory \"%.100s\" is too long", d->host);
            error_add(d, text);
            return RESOLVE_ERR;
        }
        list = address_list_new(1);
        if (list == NULL) {
            resolve_error_set(d, "out of memory");
            return RESOLVE_ERR;
        }
        list->items[0] = one;
        return addresses_set(st, list) ? RESOLVE_OK : RESOLVE_ERR;
    }
    char err[RESOLVE_ERROR_BYTES];
    enum resolve_result result = resolve_begin(d->host, d->loop, st->options.dns_ttl_us,
                                               st->options.dns_negative_ttl_us, st, &list, &st->wait, err);
    if (result == RESOLVE_ERR)
        resolve_error_set(d, err);
    if (result == RESOLVE_OK && !addresses_set(st, list))
        result = RESOLVE_ERR;
    return result;
}

/* No address of the current host is left. */
static void host_end(struct dial_state *st)
{
    if (st->next_host > 0)
        avoid(st, host_endpoint(st->dial->host, st->options.port, NULL), st->was_mismatch);
    address_list_unref(st->addresses);
    st->addresses = NULL;
    st->next_address = 0;
    st->was_mismatch = false;
}

static uint64_t current_endpoint(const struct dial_state *st)
{
    return host_endpoint(st->dial->host, st->options.port, &st->addresses->items[st->next_address - 1]);
}

/* ---- one address ---- */

void dial_set_socket_options(int fd, const struct dial_options *o)
{
    const int on = 1;
    if (o->socket_buffer_bytes > 0) {
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &o->socket_buffer_bytes, sizeof(int));
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &o->socket_buffer_bytes, sizeof(int));
    }
    /* On a Unix socket these fail, and that is all right. */
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0)
        return;
    if (o->keepalive) {
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
        if (o->keepidle_s > 0)
            setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &o->keepidle_s, sizeof(int));
        if (o->keepintvl_s > 0)
            setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &o->keepintvl_s, sizeof(int));
        if (o->keepcnt > 0)
            setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &o->keepcnt, sizeof(int));
    }
    if (o->user_timeout_ms > 0)
        setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &o->user_timeout_ms, sizeof(int));
}

static void connect_error_set(struct dial_state *st, int err)
{
    struct dial *d = st->dial;
    char text[DIAL_ERROR_BYTES];
    snprintf(text, sizeof(text),
             host_kind(d->host) == HOST_SOCKET ? "could not connect to \"%.160s/.s.PGSQL.%d\": %s"
                                               : "could not connect to \"%.160s\" port %d: %s",
             d->host, st->options.port, strerror(err));
    error_add(d, text);
    avoid(st, current_endpoint(st), false);
}

static void fd_close(struct dial_state *st)
{
    if (st->fd >= 0)
        close(st->fd);
    st->fd = -1;
}

static void state_free(struct dial_state *st)
{
    event_del(&st->event);
    if (st->wait != NULL)
        resolve_cancel(st->wait);
    fd_close(st);
    address_list_unref(st->addresses);
    free(st->hosts);
    st->dial->state = NULL;
    free(st);
}

/* Connected; the state stays for dial_next() and dial_again(). */
static void succeed(struct dial_state *st)
{
    struct dial *d = st->dial;
    const struct address *a = &st->addresses->items[st->next_address - 1];
    int fd = st->fd;

    d->peer = a->addr;
    d->peer_bytes = a->bytes;
    d->endpoint = current_endpoint(st);
    st->fd = -1;
    st->backlog_retries = 0;
    d->on_done(d, fd);
}

static void give_up(struct dial_state *st)
{
    struct dial *d = st->dial;
    state_free(st);
    d->on_done(d, -1);
}

static void step_cb(evutil_socket_t fd, short what, void *arg)
{
    struct dial_state *st = arg;
    (void)fd, (void)what;
    loop_enter(st->dial->loop);
    step(st);
}

static void connect_cb(evutil_socket_t fd, short what, void *arg)
{
    struct dial_state *st = arg;
    loop_enter(st->dial->loop);
    int err = ETIMEDOUT;
    socklen_t bytes = sizeof(err);
    if ((what & EV_WRITE) != 0 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &bytes) != 0)
        err = errno;
    if (err == 0) {
        succeed(st);
        return;
    }
    connect_error_set(st, err);
    fd_close(st);
    step(st);
}

static bool wait_connected(struct dial_state *st)
{
    int64_t us = dial_has_choice(st->dial) ? st->options.attempt_timeout_us / st->addresses->count : 0;
    struct timeval tv = {us / USEC_PER_SEC, us % USEC_PER_SEC};
    return event_assign(&st->event, st->dial->loop->base, st->fd, EV_WRITE, connect_cb, st) == 0 &&
           event_add(&st->event, us > 0 ? &tv : NULL) == 0;
}

/* A Unix socket whose backlog is full does not queue us: try the same address again in a while. */
static bool wait_backlog(struct dial_state *st)
{
    struct timeval tv = {0, BACKLOG_RETRY_US};
    if (++st->backlog_retries > BACKLOG_RETRIES_MAX)
        return false;
    st->next_address--;
    return event_assign(&st->event, st->dial->loop->base, -1, 0, step_cb, st) == 0 &&
           event_add(&st->event, &tv) == 0;
}

/* OK: connected. AGAIN: an event will come. ERR: d->error says why. */
static enum resolve_result address_connect(struct dial_state *st)
{
    struct address *a = &st->addresses->items[st->next_address++];
    struct sockaddr_storage addr = a->addr; /* the list is shared and has no port */
    if (addr.ss_family == AF_INET)
        ((struct sockaddr_in *)&addr)->sin_port = htons((uint16_t)st->options.port);
    else if (addr.ss_family == AF_INET6)
        ((struct sockaddr_in6 *)&addr)->sin6_port = htons((uint16_t)st->options.port);

    int err;
    st->fd = socket(addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (st->fd < 0) {
        connect_error_set(st, errno);
        return RESOLVE_ERR;
    }
    dial_set_socket_options(st->fd, &st->options);
    if (connect(st->fd, (struct sockaddr *)&addr, a->bytes) == 0)
        return RESOLVE_OK;
    err = errno;
    if (err == EINPROGRESS || err == EINTR) {
        if (wait_connected(st))
            return RESOLVE_AGAIN;
        err = ENOMEM;
    }
    fd_close(st);
    if (err == EAGAIN && addr.ss_family == AF_UNIX && wait_backlog(st))
        return RESOLVE_AGAIN;
    connect_error_set(st, err);
    return RESOLVE_ERR;
}

/* Goes on until something has to be waited for, or the dial has ended. */
static void step(struct dial_state *st)
{
    for (;;) {
        while (st->addresses != NULL && st->next_address < st->addresses->count) {
            enum resolve_result result = address_connect(st);
            if (result == RESOLVE_AGAIN)
                return;
            if (result == RESOLVE_OK) {
                succeed(st);
                return;
            }
            st->backlog_retries = 0;
        }
        host_end(st);
        if (st->next_host == st->hosts->count) {
            give_up(st);
            return;
        }
        str_copy(st->dial->host, st->hosts->names[st->order[st->next_host++]], sizeof(st->dial->host));
        if (host_addresses(st) == RESOLVE_AGAIN)
            return;
    }
}

/* The next step comes from the loop. */
static void step_later(struct dial_state *st)
{
    event_assign(&st->event, st->dial->loop->base, -1, 0, step_cb, st);
    event_active(&st->event, EV_TIMEOUT, 1);
}

void dial_on_mail(struct mail *m)
{
    struct resolve_wait *w = container_of(m, struct resolve_wait, mail);
    struct dial_state *st = w->owner;
    resolve_finish(w);
    if (st == NULL) {
        resolve_wait_free(w);
        return;
    }
    st->wait = NULL;
    struct address_list *list = w->addresses;
    w->addresses = NULL;
    if (list == NULL)
        resolve_error_set(st->dial, w->error);
    else
        (void)addresses_set(st, list);
    resolve_wait_free(w);
    step(st);
}

bool dial_start(struct dial *d, struct loop *loop, const struct dial_options *o,
                void (*on_done)(struct dial *, int fd), void *arg)
{
    struct host_list *hosts = host_list_new(o->hosts);
    struct dial_state *st = hosts != NULL ? calloc(1, sizeof(*st) + hosts->count * sizeof(*st->order)) : NULL;

    memset(d, 0, sizeof(*d));
    d->loop = loop;
    d->on_done = on_done;
    d->arg = arg;
    if (st == NULL) {
        free(hosts);
        return false;
    }
    st->dial = d;
    st->options = *o;
    st->options.hosts = NULL; /* the caller's; the list has been made of it */
    st->hosts = hosts;
    st->n_good =
        host_list_order(hosts, o->port, o->wanted, o->in_order ? 0 : o->turn, clock_now_us(), st->order);
    st->fd = -1;
    d->state = st;
    step_later(st);
    return true;
}

bool dial_has_choice(const struct dial *d)
{
    const struct dial_state *st = d->state;
    return st != NULL && (st->hosts->count > 1 || (st->addresses != NULL && st->addresses->count > 1));
}

void dial_next(struct dial *d, const char *why, bool is_mismatch)
{
    struct dial_state *st = d->state;
    char text[DIAL_ERROR_BYTES];

    snprintf(text, sizeof(text), "\"%.100s\" port %d: %s", d->host, st->options.port, why);
    error_add(d, text);
    avoid(st, current_endpoint(st), is_mismatch);
    st->was_mismatch = st->was_mismatch || is_mismatch;
    step_later(st);
}

void dial_again(struct dial *d)
{
    d->state->next_address--;
    step_later(d->state);
}

void dial_praise(const struct dial *d)
{
    const struct dial_options *o = &d->state->options;
    uint64_t host = host_endpoint(d->host, o->port, NULL);

    avoid_remove(d->endpoint, 0);
    avoid_remove(host, 0);
    if (o->wanted == 0)
        return;
    avoid_remove(d->endpoint, o->wanted);
    avoid_remove(host, o->wanted);
}

void dial_cancel(struct dial *d)
{
    if (d->state != NULL)
        state_free(d->state);
}
