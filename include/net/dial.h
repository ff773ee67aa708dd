/*
 * dial.h - connecting to a server: names, addresses, one after the other.
 *
 * Names are resolved by helper threads and cached for dns_max_ttl (failures for
 * dns_nxdomain_ttl); the cache is shared by all threads (leaf lock). A dial tries the
 * hosts of a comma list, each with all its addresses, until one accepts. Its owner may find
 * that the server is no use and go on with the next one. What failed lately is tried last.
 *
 * Threads: a dial belongs to the loop that started it.
 */
#ifndef NET_DIAL_H
#define NET_DIAL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "net/loop.h"

#define DIAL_ERROR_BYTES 256

struct dial_options {
    const char *hosts; /* comma list; a host that begins with '/' or '@' is a Unix socket directory;
                          NULL or "" = the default Unix socket directory (/var/run/postgresql where
                       there is one, else /tmp) */
    int port;
    bool in_order;    /* begin with the first host; else each dial begins with another (turn) */
    uint32_t turn;    /* raised by one from dial to dial, so that hosts and addresses take turns */
    uint32_t wanted;  /* what a server has to be, in the owner's words, for dial_next(); 0 = anything */
    int64_t avoid_us; /* how long what failed is tried last; 0 = nothing is */
    int64_t dns_ttl_us;
    int64_t dns_negative_ttl_us;
    int64_t attempt_timeout_us; /* for one address; then the next one is tried. 0 = none */
    /* TCP options */
    bool keepalive;
    int keepidle_s, keepintvl_s, keepcnt; /* 0 = system's */
    int user_timeout_ms;
    int socket_buffer_bytes;
};

struct dial {
    struct loop *loop;
    /* fd >= 0: connected, taken over by the callee; the dial waits for dial_next(), dial_again() or
     * dial_cancel(). fd < 0: nothing is left, error says why. Never from within one of these functions. */
    void (*on_done)(struct dial *d, int fd);
    void *arg;
    char error[DIAL_ERROR_BYTES];
    char host[256];               /* the host that was connected to, as written: for TLS and the log */
    uint64_t endpoint;            /* identity of that host's address: dial_endpoints() */
    struct sockaddr_storage peer; /* its address */
    socklen_t peer_bytes;
    struct dial_state *state; /* dial.c's own; NULL when it has failed or was cancelled */
};

/* Mail type that a loop's on_mail must pass to dial_on_mail(). */
#define MAIL_DIAL_RESOLVED 1u

/* Copies what it needs of o. False when memory is out. */
bool dial_start(struct dial *d, struct loop *loop, const struct dial_options *o,
                void (*on_done)(struct dial *, int fd), void *arg) must_check;
/* After it has connected. Is this one of several addresses or hosts? */
bool dial_has_choice(const struct dial *d) must_check;
/* After it has connected: the server was no use. why joins the error; the address is avoided by all, or
 * (is_mismatch) by those who want the same. Goes on with the next. */
void dial_next(struct dial *d, const char *why, bool is_mismatch);
/* After it has connected: the same address once more. */
void dial_again(struct dial *d);
/* After it has connected: the server is what was wanted, so that nothing is to avoid it. */
void dial_praise(const struct dial *d);
/* Ends it without a call of on_done (timeout, shutdown). Safe when it is not running, if d was zeroed or has
 * been started once. */
void dial_cancel(struct dial *d);
void dial_on_mail(struct mail *m);

/* Sets the TCP options of o on a connected socket; a Unix socket gets its buffer sizes only. Also for
 * accepted ones. */
void dial_set_socket_options(int fd, const struct dial_options *o);

/* For SHOW DNS_HOSTS and lists: number of names in the cache, and of lookups under way. Any thread. */
uint32_t dial_cached_names(void);
uint32_t dial_pending_names(void);

struct dial_name_row {
    char name[256];
    char addresses[512]; /* with commas; "" when the name was not found (yet) */
    int64_t ttl_us;      /* left; 0 = expired */
};
/* Fills at most max rows, returns how many. Any thread. */
uint32_t dial_names_snapshot(struct dial_name_row *rows, uint32_t max);
/* After helpers_stop() and the end of all loops. */
void dial_cache_destroy(void);

#endif
