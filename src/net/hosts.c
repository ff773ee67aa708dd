/*
 * hosts.c - the hosts of a list, their addresses, and the order in which to try them.
 *
 * Threads: any.
 * Not here: host names to addresses (resolve.c), connecting (dial.c).
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/str.h"
#include "hosts_int.h"

#define DEFAULT_UNIX_DIR  "/var/run/postgresql"
#define FALLBACK_UNIX_DIR "/tmp"

/* ---- the list ---- */

/* Cuts the text at its commas and takes the blanks off. */
static void split(char *text, struct host_list *l)
{
    for (uint32_t i = 0; i < l->count; i++) {
        char *end = text + strcspn(text, ",");
        char *next = end + 1;
        while (text < end && (*text == ' ' || *text == '\t'))
            text++;
        while (end > text && (end[-1] == ' ' || end[-1] == '\t'))
            end--;
        *end = '\0';
        l->names[i] = text;
        text = next;
    }
}

struct host_list *host_list_new(const char *hosts)
{
    uint32_t count = 1;

    if (hosts == NULL || hosts[0] == '\0')
        hosts = access(DEFAULT_UNIX_DIR, X_OK) == 0 ? DEFAULT_UNIX_DIR : FALLBACK_UNIX_DIR;
    for (const char *p = hosts; *p != '\0'; p++)
        count += *p == ',';
    size_t head = sizeof(struct host_list) + count * sizeof(char *), size = strlen(hosts) + 1;
    struct host_list *l = malloc(head + size);
    if (l == NULL)
        return NULL;
    l->count = count;
    memcpy((char *)l + head, hosts, size);
    split((char *)l + head, l);
    return l;
}

/* ---- addresses ---- */

static bool socket_address(const char *dir, int port, struct address *out)
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

enum host_kind host_kind(const char *host)
{
    struct address a = {0};
    if (host[0] == '/' || host[0] == '@')
        return HOST_SOCKET;
    return literal_address(host, &a) ? HOST_LITERAL : HOST_NAME;
}

bool host_address(const char *host, int port, struct address *out)
{
    *out = (struct address){0};
    return host_kind(host) == HOST_SOCKET ? socket_address(host, port, out) : literal_address(host, out);
}

uint64_t host_endpoint(const char *host, int port, const struct address *a)
{
    struct {
        uint8_t address[16];
        int32_t port;
        int32_t family;
        char host[256];
    } key;

    memset(&key, 0, sizeof(key));
    key.port = port;
    if (a != NULL)
        key.family = a->addr.ss_family;
    if (key.family == AF_INET)
        memcpy(key.address, &((const struct sockaddr_in *)&a->addr)->sin_addr, 4);
    else if (key.family == AF_INET6)
        memcpy(key.address, &((const struct sockaddr_in6 *)&a->addr)->sin6_addr, 16);
    str_copy(key.host, host, sizeof(key.host));
    uint64_t hash = hash_bytes(&key, sizeof(key));
    return hash != 0 ? hash : 1;
}

/* ---- order ---- */

uint32_t host_list_order(const struct host_list *l, int port, uint32_t wanted, uint32_t turn, int64_t now_us,
                         uint32_t *order)
{
    uint32_t n_good = 0, n_bad = 0;

    /* the good from the front, the others from the end */
    for (uint32_t i = 0; i < l->count; i++) {
        if (avoid_has(host_endpoint(l->names[i], port, NULL), wanted, now_us))
            order[l->count - ++n_bad] = i;
        else
            order[n_good++] = i;
    }
    uint32_t from = n_good, n = n_good > 0 ? n_good : l->count;
    for (uint32_t to = l->count; from + 1 < to; from++) { /* they stand backwards there */
        uint32_t other = order[--to];
        order[to] = order[from];
        order[from] = other;
    }
    for (turn %= n; turn > 0; turn--) {
        uint32_t first = order[0];
        memmove(order, order + 1, (n - 1) * sizeof(*order));
        order[n - 1] = first;
    }
    return n;
}

struct address_list *address_list_ordered(const struct address_list *list, const char *host, int port,
                                          uint32_t wanted, uint32_t turn, int64_t now_us)
{
    struct address_list *out = address_list_new(list->count);
    uint8_t *rank = calloc((size_t)list->count, sizeof(*rank)); /* 0, 1, 2: when its turn comes */
    int family = list->items[0].addr.ss_family, n = 0;

    if (out == NULL || rank == NULL) {
        address_list_unref(out);
        free(rank);
        return NULL;
    }
    for (int i = 0; i < list->count; i++) {
        if (avoid_has(host_endpoint(host, port, &list->items[i]), wanted, now_us))
            rank[i] = 2;
        else if (list->items[i].addr.ss_family != family)
            rank[i] = 1;
        n += rank[i] == 0;
    }
    uint32_t shift = n > 0 ? (uint32_t)n - turn % (uint32_t)n : 0;
    for (uint32_t i = 0, k = 0; i < (uint32_t)list->count; i++)
        if (rank[i] == 0)
            out->items[(k++ + shift) % (uint32_t)n] = list->items[i];
    for (int r = 1; r <= 2; r++)
        for (int i = 0; i < list->count; i++)
            if (rank[i] == r)
                out->items[n++] = list->items[i];
    free(rank);
    return out;
}
