/*
 * listener_int.h - what listener.c and listen_socket.c share.
 */
#ifndef NET_LISTENER_INT_H
#define NET_LISTENER_INT_H

#include <sys/types.h>
#include <sys/un.h>

#include "net/listener.h"

struct listen_socket {
    struct listeners *owner;
    int fd; /* -1 when closed */
    bool is_unix;
    bool is_added; /* event is added; not while pausing */
    struct event event;
    char name[160]; /* for messages */
    /* the Unix socket's file, "" when there is none (TCP, abstract) */
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    dev_t path_dev;
    ino_t path_ino;
};

struct listeners {
    struct loop *loop;
    void (*on_accept)(void *arg, int fd, bool is_unix);
    void *arg;
    struct listen_socket *sockets; /* none moves once its event is added */
    int count;
    bool are_inherited; /* from the service manager */
    bool is_trial;      /* listeners_check(): nothing is to stay */
    int tcp_port;       /* of a trial: the one at which this process listens */
    int pause_ms;       /* length of the last pause, 0 after an accept */
    struct event resume_timer;
};

/* Sets TCP_DEFER_ACCEPT, or takes it back. */
void listen_socket_defer(int fd, bool defer);
/* Makes all sockets and listens on them; false with a text in err (the caller frees l). */
bool listen_sockets_open(struct listeners *l, const struct listener_options *o, char *err,
                         size_t err_size) must_check;

#endif
