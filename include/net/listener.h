/*
 * listener.h - listening sockets; accepted descriptors go to a callback.
 *
 * Out of descriptors: accepting pauses for a while and says so in the log
 * (rate-limited), and goes on by itself; nobody who is in is disturbed.
 *
 * Threads: the control thread.
 */
#ifndef NET_LISTENER_H
#define NET_LISTENER_H

#include <stdbool.h>

#include "net/loop.h"

struct listener_options {
    const char *listen_addr; /* comma list; "*" = all; "" = no TCP */
    int listen_port;
    int listen_backlog;
    bool reuse_port;
    bool defer_accept;           /* TCP_DEFER_ACCEPT, PgBouncer's tcp_defer_accept (45 s) */
    const char *unix_socket_dir; /* "" = none; "@name" = abstract */
    int unix_socket_mode;
    const char *unix_socket_group;
    /* Sockets that somebody else has opened, bound and listens on, from this descriptor on: they take the
     * place of those above. */
    int first_inherited, n_inherited;
};

struct listeners;

/* Opens all or none: NULL and a text in err. on_accept gets a non-blocking, close-on-exec descriptor,
 * and may call listeners_close(), but not listeners_free(). */
struct listeners *listeners_open(struct loop *loop, const struct listener_options *o,
                                 void (*on_accept)(void *arg, int fd, bool is_unix), void *arg, char *err,
                                 size_t err_size) must_check;
/* Could sockets like these be opened? Opens none that stays. own_port: one at which this process listens now;
 * 0: none. False with a text in err. Names are resolved, and waited for. */
bool listeners_check(const struct listener_options *o, int own_port, char *err, size_t err_size) must_check;
/* Stops accepting for good: closes the sockets, removes the Unix socket file. keep_unix leaves the Unix
 * sockets. */
void listeners_close(struct listeners *l, bool keep_unix);
/* Accepts whoever has connected and waits, so that closing resets none of them. */
void listeners_accept_pending(struct listeners *l);
void listeners_free(struct listeners *l);
/* tcp_defer_accept has changed. */
void listeners_defer_accept(struct listeners *l, bool defer);
/* Port that TCP listens on (for listen_port 0 in tests), or 0. */
int listeners_port(const struct listeners *l);

#endif
