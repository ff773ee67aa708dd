/*
 * peer.h - other poolers, to which cancel requests of their clients are forwarded ([peers]).
 *
 * A peer outlives the snapshots that name it: what is under way to it counts on across a RELOAD.
 *
 * Threads: made by the control thread with the settings; any may look one up in a snapshot that it holds.
 */
#ifndef SESSION_PEER_H
#define SESSION_PEER_H

#include <stdatomic.h>

#include "pool/cancel_gauge.h"
#include "session/instance.h"

struct peer {
    /* constant */
    int id;
    /* [atomic] */
    _Atomic int refs;
    struct cancel_gauge gauge;
};

struct peer *peer_ref(struct peer *p);
void peer_unref(struct peer *p);

/* The peers of config, in its order; those that `before` knows stay. before: or NULL. May abort. */
struct peer **peers_new(const struct config *config, const struct session_config *before);
void peers_free(struct peer **peers, const struct config *config);

/* The peer of that id and its line, or NULL. Both live as long as c; take a reference to the peer otherwise.
 */
struct peer *session_config_peer(const struct session_config *c, int id, const struct peer_config **line);

#endif
