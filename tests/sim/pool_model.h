/*
 * pool_model.h - workers, clients and servers without sockets, around a real ledger.
 *
 * A model worker does what a session worker does with the ledger: it performs acts, one at a
 * time and in order, has an inbox of mails, and nothing else happens on it while it has acts to perform. What
 * happens next is chosen by a random number, so that any interleaving of workers can occur.
 *
 * Threads: none of its own. pool_sim.c calls it from one thread, pool_stress.c each worker from its own.
 */
#ifndef POOL_MODEL_H
#define POOL_MODEL_H

#include "pool/registry.h"

#define MODEL_CLIENTS 8
#define MODEL_POOLS   6
#define MODEL_OUTBOX  1024

struct model_server {
    struct list node; /* servers of its worker */
    struct slot *slot;
    struct pool *pool;
    enum { SERVER_DIALING, SERVER_IDLE, SERVER_LINKED, SERVER_TESTING, SERVER_CLOSING } state;
    bool is_alive;
};

struct model_client {
    bool is_used;
    uint32_t generation;
    struct pool *pool;
    struct ticket ticket;
    bool is_waiting; /* has asked and has no answer yet */
    struct model_server *server;
    struct grant grant; /* of the link */
    bool is_pinned;
    int overtaken; /* the simulation's own count */
};

enum mail_kind { MAIL_ADOPT, MAIL_YIELD, MAIL_CONNECT, MAIL_CLOSE, MAIL_FAIL, MAIL_GRANT_FAILED };

struct mail {
    struct list node;
    enum mail_kind kind;
    struct slot *slot;
    struct pool *pool;
    struct grant grant;
};

/* An act to be performed, or, when is_more is set, a pool to be pumped. */
struct pending {
    bool is_more;
    struct pool_act act;
};

struct model_worker {
    struct model *model;
    uint8_t id; /* POOL_NO_WORKER: the control thread */
    uint64_t random;
    struct model_client clients[MODEL_CLIENTS];
    struct list servers;
    int n_servers;
    struct pending outbox[MODEL_OUTBOX];
    int out_first, out_count;
    struct lock inbox_lock;
    struct list inbox;
};

struct model {
    struct registry *registry;
    int n_workers, n_pools;
    struct pool *pools[MODEL_POOLS];
    struct model_worker workers[POOL_MAX_WORKERS];
    struct model_worker control;
    _Atomic int64_t now_us;
    _Atomic int busy_permille;   /* how eager clients are; changes, so that servers are sometimes scarce and
                                    sometimes idle */
    _Atomic int outage_permille; /* how many connections fail, likewise */
    bool is_draining;            /* no new clients, all goes well */
    /* Called after each call of the ledger; NULL = nothing to check. */
    void (*acts_cb)(struct model *m, struct pool *pool, const struct pool_acts *acts);
    /* Called after pool_pin(); NULL = likewise. */
    void (*pin_cb)(struct pool *pool, bool was_pinned, bool is_pinned);
};

uint64_t model_random(struct model_worker *w, uint64_t n);
void model_init(struct model *m, uint64_t seed, int n_workers, int n_databases, int n_users);
void model_destroy(struct model *m);
/* One random event on a worker, or on the control thread. */
void model_worker_step(struct model_worker *w);
void model_control_step(struct model_worker *w);
/* Lets everything come to its end: afterwards nobody waits and no slot is in use, or the program aborts. */
void model_drain(struct model *m);
/* In any build. */
#define model_require(x) ((x) ? (void)0 : model_fail(#x, __FILE__, __LINE__))
no_return void model_fail(const char *what, const char *file, int line);

#endif
