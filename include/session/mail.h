/*
 * mail.h - the messages between threads that carry more than an embedded object.
 *
 * Allocated by the sender, freed by the receiver. src/THREADS.md says for each who
 * sends it, what may have changed while it was under way, and what the receiver does then.
 */
#ifndef SESSION_MAIL_H
#define SESSION_MAIL_H

#include "session/cancel_key.h"
#include "session/instance.h"
#include "stats/close_reason.h"

/* MAIL_CLIENT */
struct mail_client {
    struct mail mail;
    int fd;
    bool is_unix;
    bool is_over_limit; /* no place in instance->clients: say so and close */
    int n_asked;        /* workers that have none to give either; all: it is back with the first */
    struct shard *home; /* ... which counts it in n_dispatched until it is a client of somebody */
};

/* MAIL_CONFIG: a reference goes with it; the same object comes back as MAIL_CONFIG_TAKEN. */
struct mail_config {
    struct mail mail;
    struct session_config *config;
};

/* MAIL_GRANT_FAILED, MAIL_CONNECT, MAIL_FAIL_CLIENT */
struct mail_slot {
    struct mail mail;
    struct pool *pool;
    struct slot *slot;
    struct grant grant;
};

/* MAIL_CANCEL to the worker of the key (and from there to the others, one after the other, until one knows
 * the key), MAIL_CANCEL_DONE back: the same object. Between the two it is the addressee's, but its sender,
 * who frees it in the end, may look at the atomics. */
struct mail_cancel {
    struct mail mail;
    struct list node; /* of the requests that one connection carries */
    uint32_t pid;     /* and key: as received, the bits of the hops as they were given to the client */
    uint16_t key_bytes;
    uint8_t from_worker;       /* who asked */
    enum close_reason outcome; /* DONE: what becomes of the requester */
    uint64_t from_client;      /* its handle; 0: nobody waits for the end */
    int64_t arrived_us;        /* cancel_wait_timeout counts from here */
    uint8_t n_asked;           /* workers that do not know the key */
    uint8_t hops;              /* how often it may be forwarded; 0 also where there are no peers */
    bool is_unknown;           /* DONE: no worker knows it */
    /* [sender] where all peers are asked */
    struct mail_cancel *lead; /* this one is a copy, of that */
    uint16_t n_copies;        /* under way */
    /* [atomic] for SHOW CLIENTS */
    struct pool *_Atomic pool; /* whose server; NULL: not known (yet), or a peer's */
    _Atomic bool is_active;    /* has been sent on */
    uint8_t key[CANCEL_MAX_KEY_BYTES];
};

enum console_input_kind { CONSOLE_OPEN, CONSOLE_DATA, CONSOLE_CANCEL, CONSOLE_GONE };

/* MAIL_CONSOLE_INPUT: what a console client sent, whole messages only. One is under way at a time per client;
 * the answer is a MAIL_CONSOLE_OUTPUT with is_last, after which the next may come. CANCEL (a cancel request
 * for the command under way) and GONE come at any time and have no answer of their own. */
struct mail_console_input {
    struct mail mail;
    enum console_input_kind kind;
    uint8_t worker;
    uint64_t client;     /* handle: names the console session */
    bool is_admin;       /* OPEN */
    char user[64];       /* OPEN */
    uint64_t cancel_key; /* OPEN: its BackendKeyData, process id and key */
    uint32_t len_bytes;  /* DATA */
    uint8_t data[];
};

/* MAIL_CONSOLE_OUTPUT: bytes for the client. */
struct mail_console_output {
    struct mail mail;
    uint64_t client;
    bool is_last;    /* the input has been dealt with: go on reading */
    bool is_closing; /* close the client after sending */
    uint32_t len_bytes;
    uint8_t data[];
};

/* Bits: what a gathering asks for. */
enum gather_kind {
    GATHER_CLIENTS = 1,
    GATHER_SERVERS = 2,
    GATHER_MEMORY = 4,
    GATHER_PINS = 8,
    GATHER_LISTENERS = 16,
};

/* What SHOW CLIENTS, SERVERS and SOCKETS tell of a connection. */
struct session_row {
    bool is_server;
    const char *state;        /* static text */
    const char *replication;  /* static text */
    const char *socket_state; /* static text: of SHOW SOCKETS */
    char user[64];
    char database[64];
    char addr[108];
    int port;
    char local_addr[108];
    int local_port;
    int64_t connect_time_us; /* wall clock */
    int64_t request_time_us; /* wall clock; 0 = none */
    int64_t wait_us;
    bool close_needed;
    uint64_t id;
    uint64_t link; /* id of the other side; 0 = none */
    uint32_t remote_pid;
    char tls[64];
    char application_name[64];
    uint32_t prepared_statements;
    uint32_t pkt_remain; /* bytes of the message that is being passed on which have not arrived */
    uint32_t pkt_avail;  /* received, not yet looked at */
    uint32_t send_avail; /* passed on, and not taken by the other side */
    uint8_t worker;
};

/* A client that keeps its server beyond its transactions: session/pin.h. */
struct pin_row {
    uint64_t client, server; /* ids */
    char database[64], user[64], application_name[64];
    uint32_t remote_pid; /* of the server */
    char reasons[96];
    uint64_t fingerprint;
    char statement[160];
    int64_t since_us; /* wall clock */
    int64_t idle_us;  /* since its last answer */
    uint8_t worker;
};

/* Memory of one kind that a worker has: objects, or bytes where size is 1. */
struct memory_row {
    const char *name; /* static text */
    uint64_t size_bytes;
    uint64_t used, free;
};

#define GATHER_MAX_MEMORY 8

/* A channel that clients of a worker listen to. */
struct listen_row {
    char database[64];
    char user[64];
    char channel[64];
    const char *state; /* static text */
    uint32_t clients;  /* whose LISTEN has taken effect */
    uint64_t notifications;
    uint64_t queued_bytes; /* of those clients, for all of their channels */
    uint8_t worker;
};

/* MAIL_GATHER to each worker, MAIL_GATHERED back: the same object, rows filled (malloc'ed, NULL when memory
 * was out). */
struct mail_gather {
    struct mail mail;
    unsigned kinds; /* enum gather_kind */
    uint8_t worker;
    uint64_t request; /* the console's own number */
    struct session_row *rows;
    uint32_t n_rows;
    struct pin_row *pins; /* malloc'ed */
    uint32_t n_pins;
    struct memory_row memory[GATHER_MAX_MEMORY];
    uint32_t n_memory;
    struct listen_row *listeners;
    uint32_t n_listeners;
};

enum order_kind {
    ORDER_CLOSE_POOL,  /* close all clients of `pool` with `why` */
    ORDER_KILL,        /* close all clients and servers of `database` (NULL = all) with `why` */
    ORDER_KILL_CLIENT, /* close the client `client_id` with `why` */
    ORDER_SHUTDOWN,    /* instance->shutdown_mode has risen: close what goes now */
    ORDER_STOP,        /* close everything and end the loop */
};

/* An order whose end somebody waits for. Belongs to the control thread; workers only carry it. */
struct order {
    int outstanding;
    int n_found;       /* clients closed */
    bool is_forgotten; /* nobody waits any more: freed with the last answer */
};

/* MAIL_ORDER to a worker, MAIL_ORDER_DONE back: the same object. */
struct mail_order {
    struct mail mail;
    enum order_kind kind;
    enum close_reason why;
    struct pool *pool;
    struct pool_database *database;
    uint64_t client_id;
    int n_found;         /* filled by the worker */
    struct order *order; /* not the worker's; NULL: nobody waits */
};

#endif
