/*
 * hosts_int.h - lists of hosts, what an address is called, and which are avoided for a while.
 */
#ifndef NET_HOSTS_INT_H
#define NET_HOSTS_INT_H

#include "resolve_int.h"

/* The hosts of a comma list, without blanks around them; one allocation. */
struct host_list {
    uint32_t count;
    const char *names[];
};

/* hosts: NULL or "" = the default Unix socket directory. NULL when memory is out; free() it. */
struct host_list *host_list_new(const char *hosts) must_check;

enum host_kind { HOST_SOCKET, HOST_LITERAL, HOST_NAME };
enum host_kind host_kind(const char *host);
/* The address of a socket directory or of a literal; false when the directory's name is too long. */
bool host_address(const char *host, int port, struct address *out) must_check;

/*
 * Identity of an address of a host; a == NULL: of the host as a whole. Never 0. It means nothing to another
 * process.
 */
uint64_t host_endpoint(const char *host, int port, const struct address *a);

/* avoid.c: what is tried last until a time. wanted: only by those who want that (0: by all). Any thread. */
void avoid_add(uint64_t endpoint, uint32_t wanted, int64_t until_us);
void avoid_remove(uint64_t endpoint, uint32_t wanted);
/* Is it avoided by all, or by those who want `wanted`? */
bool avoid_has(uint64_t endpoint, uint32_t wanted, int64_t now_us);

/* The indexes of l in the order in which they are to be tried: those that are not avoided, beginning with
 * number `turn`, then the others. Returns how many are not avoided, at least 1. */
uint32_t host_list_order(const struct host_list *l, int port, uint32_t wanted, uint32_t turn, int64_t now_us,
                         uint32_t *order);
/* A copy in that order; addresses of another family than the first come after those of its. NULL when memory
 * is out. */
struct address_list *address_list_ordered(const struct address_list *list, const char *host, int port,
                                          uint32_t wanted, uint32_t turn, int64_t now_us) must_check;

#endif
