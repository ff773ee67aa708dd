/*
 * dial.h - connecting to a server: names, addresses, one after the other.
 *
 * Names are resolved by helper threads and cached for dns_max_ttl (failures for
 * dns_nxdomain_ttl); the cache is shared by all threads (leaf lock). A dial tries the
 * hosts of a comma list from a starting index, each with all its addresses, until one
 * accepts or the deadline passes.
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
                          NULL or "" = the default Unix socket directory */
    int port;
    uint32_t first_host; /* index to begin with (modulo the number of hosts) */
    int64_t dns_ttl_us;
    int64_t dns_negative_ttl_us;
    /* TCP options */
    bool keepalive;
    int keepidle_s, keepintvl_s, keepcnt; /* 0 = system's */
    int user_timeout_ms;
    int socket_buffer_bytes;
};

struct dial {
    struct loop *loop;
    /* fd >= 0: connected, taken over by the callee. fd < 0: error says why. Called once, never from within
     * dial_start(). */
    void (*on_done)(struct dial *d, int fd);
    void *arg;
    char error[DIAL_ERROR_BYTES];
    char host[256];               /* the host that was connected to, as written: for TLS and the log */
    struct sockaddr_storage peer; /* its address */
    socklen_t peer_bytes;
    struct dial_state *state; /* dial.c's own; NULL when not running */
};

/* Mail type that a loop's on_mail must pass to dial_on_mail(). */
#define MAIL_DIAL_RESOLVED 1u

/* Copies what it needs of o. False when memory is out. */
bool dial_start(struct dial *d, struct loop *loop, const struct dial_options *o,
                void (*on_done)(struct dial *, int fd), void *arg) must_check;
/* Ends it without a call of on_done (timeout, shutdown). Safe when it is not running. */
void dial_cancel(struct dial *d);
void dial_on_mail(struct mail *m);

/* For SHOW DNS_HOSTS and lists: number of names in the cache. */
uint32_t dial_cached_names(void);
void dial_cache_destroy(void);

#endif
