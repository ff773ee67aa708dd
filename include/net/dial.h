/*
 * dial.h - connecting to a server: names, addresses, one after the other.
 *
 * Names are resolved by other threads and cached for dns_max_ttl at most (failures for
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
    int64_t attempt_timeout_us; /* for one host; then the next one is tried. Its addresses share it. 0 = none;
                                   where there is no other address or host it does not count */
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

/* Before the first dial; helpers_start() before it. resolv_conf: "" for the system's. False with a text in
 * err. */
bool dial_names_start(const char *resolv_conf, char *err, size_t err_size) must_check;
/* Could it begin with that file? False with a text in err. */
bool dial_names_check(const char *resolv_conf, char *err, size_t err_size) must_check;
/* After the threads that dial have ended and before their loops are destroyed, since answers still go
 * there. False when a lookup could not be ended within wait_us: then nothing that it may touch can be
 * freed, and the process ends. */
bool dial_names_stop(int64_t wait_us) must_check;
/* RELOAD: what the system says about name servers is read again. Any thread. */
void dial_names_reload(void);
/* "c-ares 1.18.1", or "getaddrinfo" where that is not built in. */
const char *dial_names_method(void);

/*
 * The endpoints that the hosts of o stand for now, at most max. Names among them count as in use: they are
 * looked up again when their time is over. -1: there is no name among them, or the addresses of one are not
 * known (yet), or there are too many. Any thread; never waits.
 */
int dial_endpoints(const struct dial_options *o, uint64_t *out, int max) must_check;

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

/* Each second: asks for the serials of the zones of names in use, each once in period_us (0: of none). Names
 * of a zone whose serial has risen are looked up again. The control thread only. */
void dial_zones_check(int64_t period_us);
struct dial_zone_row {
    const char *name; /* until the next dial_zones_check() */
    uint32_t serial;  /* 0 = not known */
    uint32_t n_names; /* in use */
};
/* For SHOW DNS_ZONES, in the order of names. The control thread only. */
uint32_t dial_zones(void);
void dial_zone_read(uint32_t i, struct dial_zone_row *row);

/* After dial_names_stop() and the end of all loops. */
void dial_cache_destroy(void);

#endif
