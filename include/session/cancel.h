/*
 * cancel.h - a cancel request on its way: the connection that carries it to PostgreSQL, or to a peer.
 *
 * A server has at most one, so that a pool has at most as many as servers (its pool_size, which bounds
 * them also while servers come and go): about twice pool_size connections in all, as in PgBouncer.
 * Requests that come before it has been sent join it; those that come later are for the next one.
 *
 * Threads: its worker's.
 */
#ifndef SESSION_CANCEL_H
#define SESSION_CANCEL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "net/dial.h"
#include "net/stream.h"
#include "pool/cancel_gauge.h"
#include "session/cancel_key.h"
#include "session/instance.h"

enum cancel_stage {
    CANCEL_QUEUED, /* waits for a place */
    CANCEL_DIAL,
    CANCEL_TLS_REPLY, /* one byte: S or N */
    CANCEL_TLS_HANDSHAKE,
    CANCEL_SENT, /* its end is the answer */
};

struct cancel {
    struct list node; /* shard->cancels, or shard->cancels_queued */
    struct shard *shard;
    struct pool *pool; /* whose server; NULL: it goes to a peer */
    struct peer *peer; /* a reference; NULL: it goes to a server */
    struct cancel_gauge *gauge;
    struct server *server;        /* NULL: gone, or a peer */
    struct list requests;         /* mail_cancel: who is told of the end */
    struct list later;            /* mail_cancel: came after it was sent */
    int64_t again_us;             /* when the last one was that came after, of others or our own; 0: none */
    const struct server_tls *tls; /* of config; NULL: in clear */
    enum cancel_stage stage;
    struct session_config *config; /* a reference: TLS */
    struct dial dial;
    struct stream stream;
    struct deferred deferred;
    uint64_t id;                /* for the log and SHOW SERVERS */
    int64_t started_us;         /* when it got its place; QUEUED: when it was made */
    int64_t wanted_us;          /* when the last request came that it is for: others', or one of our own */
    struct sockaddr_storage to; /* family AF_UNSPEC: host */
    int port;
    uint32_t pid;
    uint16_t key_bytes;
    uint8_t key[CANCEL_MAX_KEY_BYTES];
    char host[256]; /* also for TLS */
};

#endif
