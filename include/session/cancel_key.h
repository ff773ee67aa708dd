/*
 * cancel_key.h - cancel keys of clients: what their bytes mean, and which client has which.
 *
 * The first eight bytes of a key are the "process id" and the (beginning of the) secret, in network
 * order; protocol 3.2 has more secret bytes behind them. As in PgBouncer since 1.21:
 *
 *   byte 0      worker (6 bits; the highest bit is 0: drivers take the process id for a signed number), and
 *               a random bit, which is set for worker 0: the byte is never 0
 *   bytes 1, 2  peer id, low byte first; random where there are no peers
 *   bytes 3-7   random; with peers, the two lowest bits of byte 7 say how often the request may still be
 *               forwarded
 *
 * So 38 bits are random with peers and 56 without (PostgreSQL: 32), and all of them have to match.
 *
 * A client that is linked at its login (session_link) has the process id of its server instead, and only the
 * secret is ours: 30 bits with peers, 32 without. Its key names neither worker nor peer: all are asked. A
 * process id is below 2^24 wherever PostgreSQL runs, so byte 0 is 0 then. (Another pooler's may be anything;
 * with peers it is not used.)
 *
 * A request goes to the worker in the key first; its table knows the client. The table is hashed under a
 * secret of the process: how long a lookup takes tells nobody anything.
 *
 * Threads: the functions on bytes, any; a table, its worker's.
 */
#ifndef SESSION_CANCEL_KEY_H
#define SESSION_CANCEL_KEY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"

#define CANCEL_KEY_WORKERS    64
#define CANCEL_LONG_KEY_BYTES 32 /* secret of a client with protocol 3.2 */
#define CANCEL_MAX_KEY_BYTES  256
#define CANCEL_KEY_HOPS       3u /* mask, and how often a request is forwarded */

/* Byte 0 is never 0. random: 64 random bits. peer_id: 0 without peers. */
uint64_t cancel_key_make(uint64_t random, int worker, int peer_id);
/* With a server's process id, which is not 0. False: it cannot be used. */
bool cancel_key_make_servers(uint64_t random, uint32_t pid, int peer_id, uint64_t *key) must_check;

/* May its process id be a server's? It is not certain: a PgBouncer's key may look the same. */
static inline bool cancel_key_may_be_servers(uint64_t key)
{
    return key >> 56 == 0;
}

static inline int cancel_key_worker(uint64_t key)
{
    return (int)(key >> 57 & 0x3f);
}

static inline int cancel_key_peer(uint64_t key)
{
    return (int)((key >> 48 & 0xff) | (key >> 40 & 0xff) << 8);
}

/* How often it may be forwarded. */
static inline unsigned cancel_key_hops(uint64_t key)
{
    return (unsigned)key & CANCEL_KEY_HOPS;
}

/* As it was given to the client, however often it has been forwarded. */
static inline uint64_t cancel_key_original(uint64_t key)
{
    return key | CANCEL_KEY_HOPS;
}

struct cancel_entry {
    uint64_t key; /* 0: free */
    uint64_t handle;
};

struct cancel_table {
    struct cancel_entry *entries; /* open addressing, linear probing; at most half full */
    uint32_t capacity;            /* power of two, or 0 */
    uint32_t count;
};

void cancel_table_init(struct cancel_table *t);
void cancel_table_destroy(struct cancel_table *t);
/* False when memory is out or the key is taken. */
bool cancel_table_add(struct cancel_table *t, uint64_t key, uint64_t handle) must_check;
/* The client's handle, or 0. */
uint64_t cancel_table_find(const struct cancel_table *t, uint64_t key) must_check;
/* One that is not there is passed over. */
void cancel_table_remove(struct cancel_table *t, uint64_t key);

#endif
