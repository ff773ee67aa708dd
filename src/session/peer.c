/*
 * peer.c - the peers of a snapshot, found and counted.
 *
 * Threads: see peer.h.
 */
#include "session/peer.h"

#include <stdlib.h>

#include "base/mem.h"

struct peer *peer_ref(struct peer *p)
{
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

void peer_unref(struct peer *p)
{
    if (p != NULL && atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) == 1)
        free(p);
}

struct peer **peers_new(const struct config *config, const struct session_config *before)
{
    size_t n = config_peer_count(config);
    struct peer **peers = xcalloc(n + 1, sizeof(struct peer *));

    for (size_t i = 0; i < n; i++) {
        const struct peer_config *line;
        int id = config_peer_at(config, i)->id;
        struct peer *old = before != NULL ? session_config_peer(before, id, &line) : NULL;
        if (old != NULL) {
            peers[i] = peer_ref(old);
            continue;
        }
        peers[i] = xcalloc(1, sizeof(*peers[i]));
        peers[i]->id = id;
        atomic_init(&peers[i]->refs, 1);
    }
    return peers;
}

void peers_free(struct peer **peers, const struct config *config)
{
    for (size_t i = 0; i < config_peer_count(config); i++)
        peer_unref(peers[i]);
    free(peers);
}

struct peer *session_config_peer(const struct session_config *c, int id, const struct peer_config **line)
{
    size_t from = 0, to = config_peer_count(c->config);

    while (from < to) {
        size_t middle = from + (to - from) / 2;
        const struct peer_config *p = config_peer_at(c->config, middle);
        if (p->id == id) {
            *line = p;
            return c->peers[middle];
        }
        if (p->id < id)
            from = middle + 1;
        else
            to = middle;
    }
    return NULL;
}
