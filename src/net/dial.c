/*
 * dial.c - one connection attempt: hosts of a list, addresses of a host, one after the other.
 *
 * Everything happens in callbacks of the loop: dial_start() only activates
 * the first step, so that on_done never comes from within it. Before on_done is called
 * the state is freed and d->state is NULL: the callee may start d again or free it.
 *
 * Threads: the loop's owner.
 * Not here: names (resolve.c).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/str.h"
#include "resolve_int.h"

#define DEFAULT_UNIX_DIR    "/var/run/postgresql"
#define FALLBACK_UNIX_DIR   "/tmp"
#define BACKLOG_RETRY_US    10000
#define BACKLOG_RETRIES_MAX 500

struct dial_state {
    struct dial *dial;
    struct dial_options options; /* hosts points behind this struct */
    struct event event;          /* the next step, the end of connect(), or its timeout */
    struct resolve_wait *wait;   /* lookup under way */
    struct address_list *addresses;
    int next_address;
    uint32_t host_count;
    uint32_t hosts_tried;
    int backlog_retries; /* of the current address */
    int fd;              /* connecting; -1 */
    char hosts[];
};

static void step(struct dial_state *st);

/* --- hosts --- */

/* Copies the host with this index, without blanks around it. */
static void host_copy(const char *hosts, uint32_t index, char *out, size_t size)
{
    const char *p = hosts;
    while (index-- > 0)
        p = strchr(p, ',') + 1;
    size_t len = strcspn(p, ",");
    while (len > 0 && (*p == ' ' || *p == '\t'))
        p++, len--;
    while (len > 0 && (p[len - 1] == ' ' || p[len - 1] == '\t'))
        len--;
    if (len >= size)
        len = size - 1;
    memcpy(out, p, len);
    out[len] = '\0';
}

static uint32_t host_count(const char *hosts)
{
    uint32_t n = 1;
    for (; *hosts != '\0'; hosts++)
        n += *hosts == ',';
    return n;
}

static bool unix_address(const char *dir, int port, struct address *out)
{
    struct sockaddr_un *un = (struct sockaddr_un *)&out->addr;
    int len = snprintf(un->sun_path, sizeof(un->sun_path), "%s/.s.PGSQL.%d", dir, port);
    if (len < 0 || (size_t)len >= sizeof(un->sun_path))
        return false;
    un->sun_family = AF_UNIX;
    out->bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)len + (dir[0] == '@' ? 0 : 1));
    if (dir[0] == '@')
        un->sun_path[0] = '\0';
    return true;
}

static bool literal_address(const char *host, struct address *out)
{
    struct sockaddr_in *in = (struct sockaddr_in *)&out->addr;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&out->addr;
    if (inet_pton(AF_INET, host, &in->sin_addr) == 1) {
        in->sin_family = AF_INET;
        out->bytes = sizeof(*in);
        return true;
    }
    if (inet_pton(AF_INET6, host, &in6->sin6_addr) == 1) {
        in6->sin6_family = AF_INET6;
        out->bytes = sizeof(*in6);
        return true;
    }
    return false;
}

static void resolve_error_set(struct dial *d, const char *why)
{
    snprintf(d->error, sizeof(d->error), "could not resolve host name \"%.100s\": %s", d->host, why);
}

/* Finds the addresses of d->host. AGAIN: step() goes on when the mail arrives. ERR: d->error says why. */
static enum resolve_result host_addresses(struct dial_state *st)
{
    struct dial *d = st->dial;
    struct address one = {0};
    bool is_unix = d->host[0] == '/' || d->host[0] == '@';
    if (is_unix && !unix_address(d->host, st->options.port, &one)) {
        snprintf(d->error, sizeof(d->error), "Unix socket directory \"%.100s\" is too long", d->host);
        return RESOLVE_ERR;
    }
    if (is_unix || literal_address(d->host, &one)) {
        st->addresses = address_list_new(1);
        if (st->addresses == NULL) {
            resolve_error_set(d, "out of memory");
            return RESOLVE_ERR;
        }
        st->addresses->items[0] = one;
        return RESOLVE_OK;
    }
    char err[RESOLVE_ERROR_BYTES];
    enum resolve_result result =
        resolve_begin(d->host, d->loop, st->options.dns_ttl_us, st->options.dns_negative_ttl_us, st,
                      &st->addresses, &st->wait, err);
    if (result == RESOLVE_ERR)
        resolve_error_set(d, err);
    return result;
}

/* --- one address --- */

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
    if (d->host[0] == '/' || d->host[0] == '@')
        snprintf(d->error, sizeof(d->error), "could not connect to \"%.160s/.s.PGSQL.%d\": %s", d->host,
                 st->options.port, strerror(err));
    else
        snprintf(d->error, sizeof(d->error), "could not connect to \"%.160s\" port %d: %s", d->host,
                 st->options.port, strerror(err));
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
    st->dial->state = NULL;
    free(st);
}

/* Ends the dial: with the descriptor that has just been connected, or with none. */
static void finish(struct dial_state *st, bool is_connected)
{
    struct dial *d = st->dial;
    int fd = -1;
    if (is_connected) {
        const struct address *a = &st->addresses->items[st->next_address - 1];
        d->peer = a->addr;
        d->peer_bytes = a->bytes;
        d->error[0] = '\0';
        fd = st->fd;
        st->fd = -1;
    }
    state_free(st);
    d->on_done(d, fd);
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
        finish(st, true);
        return;
    }
    connect_error_set(st, err);
    fd_close(st);
    step(st);
}

static bool wait_connected(struct dial_state *st)
{
    int64_t us = st->options.attempt_timeout_us;
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
                finish(st, true);
                return;
            }
            st->backlog_retries = 0;
        }
        address_list_unref(st->addresses);
        st->addresses = NULL;
        st->next_address = 0;
        if (st->hosts_tried == st->host_count) {
            finish(st, false);
            return;
        }
        host_copy(st->hosts, (st->options.first_host % st->host_count + st->hosts_tried++) % st->host_count,
                  st->dial->host, sizeof(st->dial->host));
        if (host_addresses(st) == RESOLVE_AGAIN)
            return;
    }
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
    st->addresses = w->addresses;
    w->addresses = NULL;
    if (st->addresses == NULL)
        resolve_error_set(st->dial, w->error);
    resolve_wait_free(w);
    step(st);
}

bool dial_start(struct dial *d, struct loop *loop, const struct dial_options *o,
                void (*on_done)(struct dial *, int fd), void *arg)
{
    const char *hosts = o->hosts;
    if (hosts == NULL || hosts[0] == '\0')
        hosts = access(DEFAULT_UNIX_DIR, X_OK) == 0 ? DEFAULT_UNIX_DIR : FALLBACK_UNIX_DIR;
    size_t size = strlen(hosts) + 1;

    memset(d, 0, sizeof(*d));
    d->loop = loop;
    d->on_done = on_done;
    d->arg = arg;
    struct dial_state *st = calloc(1, sizeof(*st) + size);
    if (st == NULL)
        return false;
    memcpy(st->hosts, hosts, size);
    st->dial = d;
    st->options = *o;
    st->options.hosts = st->hosts;
    st->host_count = host_count(hosts);
    st->fd = -1;
    d->state = st;
    event_assign(&st->event, loop->base, -1, 0, step_cb, st);
    event_active(&st->event, EV_TIMEOUT, 1);
    return true;
}

void dial_cancel(struct dial *d)
{
    if (d->state != NULL)
        state_free(d->state);
}
