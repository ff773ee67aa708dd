/*
 * listener.c - accepting: bounded per turn, and patient when descriptors run out.
 *
 * Threads: the loop's owner (control thread).
 * Not here: making the sockets (listen_socket.c), limits on clients (the callback's business).
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "listener_int.h"

#define ACCEPTS_PER_EVENT   64
#define ACCEPTS_AT_THE_END  4096 /* more than a backlog; not for ever, when they keep coming */
#define PAUSE_FIRST_MS      100
#define PAUSE_MAX_MS        1000
#define WARNING_INTERVAL_US (30 * USEC_PER_SEC)

enum accept_result { ACCEPT_OK, ACCEPT_AGAIN, ACCEPT_PAUSE, ACCEPT_NONE };

/* What cannot be watched now (no memory) is tried again: else that socket would be deaf for good. */
static void sockets_resume(struct listeners *l)
{
    struct timeval again = {PAUSE_MAX_MS / 1000, PAUSE_MAX_MS % 1000 * 1000};

    for (int i = 0; i < l->count; i++) {
        struct listen_socket *s = &l->sockets[i];
        if (s->fd < 0 || s->is_added)
            continue;
        s->is_added = event_add(&s->event, NULL) == 0;
        if (!s->is_added)
            (void)event_add(&l->resume_timer, &again); /* it has just run, so there is memory for it */
    }
}

static void sockets_pause(struct listeners *l, const char *name, int err)
{
    static struct log_rate rate;
    uint64_t suppressed;

    l->pause_ms = l->pause_ms == 0 ? PAUSE_FIRST_MS : l->pause_ms * 2;
    if (l->pause_ms > PAUSE_MAX_MS)
        l->pause_ms = PAUSE_MAX_MS;
    struct timeval tv = {l->pause_ms / 1000, l->pause_ms % 1000 * 1000};
    if (event_add(&l->resume_timer, &tv) != 0)
        return; /* no memory for the timer: keep on trying at once */
    for (int i = 0; i < l->count; i++) {
        struct listen_socket *s = &l->sockets[i];
        if (s->is_added)
            event_del(&s->event);
        s->is_added = false;
    }
    if (log_rate_ok(&rate, WARNING_INTERVAL_US, &suppressed))
        log_warning("cannot accept connections on %s: %s; trying again in %d ms (%llu times since the last "
                    "such line)",
                    name, strerror(err), l->pause_ms, (unsigned long long)suppressed);
}

static void resume_cb(evutil_socket_t fd, short what, void *arg)
{
    struct listeners *l = arg;
    (void)fd, (void)what;
    loop_enter(l->loop);
    sockets_resume(l);
}

/* What accept4() means when it fails. Errors that belong to the one connection are passed over; what is not
 * known is treated like a shortage, so that it cannot spin. */
static enum accept_result accept_failure(int err)
{
    switch (err) {
    case EAGAIN: return ACCEPT_NONE;
    case EINTR:
    case ECONNABORTED:
    case EPERM: /* forbidden by the firewall */
    case EPROTO:
    case ETIMEDOUT:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH: return ACCEPT_AGAIN;
    default: return ACCEPT_PAUSE; /* EMFILE, ENFILE, ENOMEM, ENOBUFS */
    }
}

/* At most so many; fewer when there are no more. */
static void accept_some(struct listen_socket *s, int max)
{
    struct listeners *l = s->owner;

    for (int i = 0; i < max && s->fd >= 0; i++) {
        int fd = accept4(s->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            int err = errno;
            switch (accept_failure(err)) {
            case ACCEPT_AGAIN: continue;
            case ACCEPT_PAUSE: sockets_pause(l, s->name, err); return;
            default: return;
            }
        }
        l->pause_ms = 0;
        if (!s->is_unix) {
            int on = 1;
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        }
        l->on_accept(l->arg, fd, s->is_unix);
    }
}

static void accept_cb(evutil_socket_t listen_fd, short what, void *arg)
{
    struct listen_socket *s = arg;
    (void)listen_fd, (void)what;
    loop_enter(s->owner->loop);
    accept_some(s, ACCEPTS_PER_EVENT);
}

struct listeners *listeners_open(struct loop *loop, const struct listener_options *o,
                                 void (*on_accept)(void *, int, bool), void *arg, char *err, size_t err_size)
{
    struct listeners *l = calloc(1, sizeof(*l));
    if (l == NULL) {
        snprintf(err, err_size, "out of memory");
        return NULL;
    }
    l->loop = loop;
    l->on_accept = on_accept;
    l->arg = arg;
    l->are_inherited = o->n_inherited > 0;
    event_assign(&l->resume_timer, loop->base, -1, 0, resume_cb, l);
    if (!listen_sockets_open(l, o, err, err_size)) {
        listeners_free(l);
        return NULL;
    }
    for (int i = 0; i < l->count; i++) {
        struct listen_socket *s = &l->sockets[i];
        event_assign(&s->event, loop->base, s->fd, EV_READ | EV_PERSIST, accept_cb, s);
        s->is_added = event_add(&s->event, NULL) == 0;
        if (!s->is_added) {
            snprintf(err, err_size, "cannot watch %s: out of memory", s->name);
            listeners_free(l);
            return NULL;
        }
    }
    return l;
}

/* Removes the socket file unless somebody has replaced it by now. */
static void unix_file_remove(const struct listen_socket *s)
{
    struct stat st;
    if (s->path[0] != '\0' && lstat(s->path, &st) == 0 && st.st_dev == s->path_dev &&
        st.st_ino == s->path_ino)
        unlink(s->path);
}

static void listen_socket_close(struct listen_socket *s)
{
    if (s->fd < 0)
        return;
    if (s->is_added)
        event_del(&s->event);
    s->is_added = false;
    if (s->is_unix)
        unix_file_remove(s);
    close(s->fd);
    s->fd = -1;
}

void listeners_close(struct listeners *l, bool keep_unix)
{
    if (l == NULL)
        return;
    bool any_left = false;
    for (int i = 0; i < l->count; i++) {
        if (keep_unix && l->sockets[i].is_unix)
            any_left = true;
        else
            listen_socket_close(&l->sockets[i]);
    }
    if (!any_left)
        event_del(&l->resume_timer);
}

void listeners_accept_pending(struct listeners *l)
{
    if (l->are_inherited)
        return; /* who gave them to us has them still, for whoever comes next */
    for (int i = 0; i < l->count; i++)
        accept_some(&l->sockets[i], ACCEPTS_AT_THE_END);
}

void listeners_free(struct listeners *l)
{
    if (l == NULL)
        return;
    listeners_close(l, false);
    free(l->sockets);
    free(l);
}

void listeners_defer_accept(struct listeners *l, bool defer)
{
    for (int i = 0; i < l->count; i++)
        if (l->sockets[i].fd >= 0 && !l->sockets[i].is_unix)
            listen_socket_defer(l->sockets[i].fd, defer);
}

int listeners_port(const struct listeners *l)
{
    return l->tcp_port;
}
