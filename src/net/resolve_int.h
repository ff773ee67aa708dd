/*
 * resolve_int.h - host names to addresses: the cache, the lookups under way, and who makes them.
 */
#ifndef NET_RESOLVE_INT_H
#define NET_RESOLVE_INT_H

#include <stdatomic.h>
#include <sys/socket.h>

#include "net/dial.h"
#include "net/helper.h"

#define RESOLVE_ERROR_BYTES 120

/* Immutable and shared. */
struct address_list {
    _Atomic int refs;
    int count;
    struct address {
        struct sockaddr_storage addr;
        socklen_t bytes;
    } items[];
};

/* Room for n addresses, one reference; NULL when memory is out. */
struct address_list *address_list_new(int n) must_check;
void address_list_unref(struct address_list *list);

/*
 * One dial that waits for a lookup. It outlives the dial: owner is NULL then, and the answer
 * is thrown away when it arrives.
 */
struct resolve_wait {
    struct mail mail;  /* first; MAIL_DIAL_RESOLVED */
    struct loop *loop; /* constant */
    void *owner;       /* [owner thread] */
    struct list node;  /* [cache lock] among the waiters of a name, or (is_posted) the answers under way */
    bool is_posted;    /* [cache lock] */
    /* written before it is posted */
    struct address_list *addresses; /* a reference, or NULL: error says why */
    char error[RESOLVE_ERROR_BYTES];
};

/* ---- lookups: resolve_cares.c or, without c-ares, resolve_libc.c ---- */

/* One name that is being looked up; lies in the cache's entry. */
struct lookup {
    const char *name;    /* constant */
    struct lookup *next; /* the next one that is to be submitted */
    union {
        struct mail mail;      /* resolve_cares.c */
        struct helper_job job; /* resolve_libc.c */
    };
};

enum lookup_result {
    LOOKUP_FOUND,
    LOOKUP_NOT_FOUND, /* there is no such name, or it has no address */
    LOOKUP_FAILED,    /* nobody has answered: the next try may help */
};

/* Boot. False with a text in err. */
bool lookups_check(const char *resolv_conf, char *err, size_t err_size) must_check;
bool lookups_start(const char *resolv_conf, char *err, size_t err_size) must_check;
/* What is under way ends first; see helpers_stop(). */
bool lookups_stop(int64_t wait_us) must_check;
/* What the system says about name servers is read again. Any thread. */
void lookups_reload(void);
/* Any thread. lookup_done() follows, on another one. */
void lookup_submit(struct lookup *l);
/* resolve.c: the answer. list (FOUND) is taken over; ttl_us < 0: not known; err: RESOLVE_ERROR_BYTES. From
 * here on l may be submitted again, or be gone. */
void lookup_done(struct lookup *l, enum lookup_result result, struct address_list *list, int64_t ttl_us,
                 const char *err);

/* The serial of one zone that is being asked for; lies in the zone. */
struct soa_query {
    const char *zone; /* constant */
    struct mail mail;
};

/* Any thread. soa_done() follows, on the names thread. */
void soa_submit(struct soa_query *q);
/* zones.c: the answer, or (not is_known) why there is none. From here on q may be submitted again, or be
 * gone. */
void soa_done(struct soa_query *q, bool is_known, uint32_t serial, const char *err);

/* ---- the cache ---- */

enum resolve_result { RESOLVE_OK, RESOLVE_AGAIN, RESOLVE_ERR };

/*
 * Looks a name up. A name that has just expired is answered as before while it is looked up again, and so is
 * one for which nobody answers any more. OK: *addresses is a new reference. AGAIN: *wait comes back by mail
 * to the loop; then resolve_finish() ends it. ERR: a text in err (RESOLVE_ERROR_BYTES).
 */
enum resolve_result resolve_begin(const char *name, struct loop *loop, int64_t ttl_us,
                                  int64_t negative_ttl_us, void *owner, struct address_list **addresses,
                                  struct resolve_wait **wait, char *err) must_check;
/* The mail has arrived: no more in any list; the caller takes what it needs and calls resolve_wait_free(). */
void resolve_finish(struct resolve_wait *w);
void resolve_wait_free(struct resolve_wait *w);
/* Nobody waits any more. */
void resolve_cancel(struct resolve_wait *w);

struct resolve_name {
    char text[256];
};
/* Names that somebody has used lately. Fills at most max rows, returns how many. Any thread. */
uint32_t resolve_names_in_use(struct resolve_name *rows, uint32_t max);
/* Looks those of this zone up again, however long their answers were to last. Any thread. */
void resolve_zone_again(const char *zone);

/* ---- zones: zones.c ---- */

/* As in PgBouncer, what comes behind the first dot of a name; NULL where there is nothing. */
const char *zone_of_name(const char *name);
/* Of two serials (RFC 1982), which go round. */
bool zone_serial_is_newer(uint32_t serial, uint32_t than);
/* After all threads have ended. */
void zones_destroy(void);

#endif
