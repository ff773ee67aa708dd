/*
 * show_peers.c - SHOW PEERS and PEER_POOLS: where cancel requests are forwarded to, and how many are.
 *
 * Threads: the control thread only.
 */
#include "ops_int.h"
#include "session/peer.h"

void show_peers(struct console *c, struct result *r)
{
    const struct config *config = console_config(c);

    for (size_t i = 0; i < config_peer_count(config); i++) {
        const struct peer_config *p = config_peer_at(config, i);

        result_row(r);
        result_int(r, p->id);
        result_text(r, p->host);
        result_int(r, p->port);
        result_int(r, config_peer_pool_size(config, p));
        result_row_end(r);
    }
}

void show_peer_pools(struct console *c, struct result *r)
{
    const struct session_config *sc = c->hooks.config(c->hooks.arg);

    for (size_t i = 0; i < config_peer_count(sc->config); i++) {
        const struct cancel_gauge *g = &sc->peers[i]->gauge;
        int sent = atomic_load(&g->sent), connections = atomic_load(&g->connections);

        result_row(r);
        result_int(r, sc->peers[i]->id);
        result_int(r, atomic_load(&g->active));
        result_int(r, atomic_load(&g->waiting));
        result_int(r, sent);
        result_int(r, connections > sent ? connections - sent : 0);
        result_row_end(r);
    }
}
