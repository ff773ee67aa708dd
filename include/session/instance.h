/*
 * instance.h - what all threads of one pgsluice share, and the mail between them.
 *
 * The instance is made by main/ before any thread starts; its constant part is
 * read without locks. Settings travel as struct session_config: an immutable
 * snapshot with what was made from it (TLS contexts); each worker holds a
 * reference, swapped at a loop boundary when a MAIL_CONFIG arrives.
 *
 * All mail types of the program are named here, so that src/THREADS.md and the
 * dispatchers can be checked against one list.
 */
#ifndef SESSION_INSTANCE_H
#define SESSION_INSTANCE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"
#include "net/dial.h"
#include "net/loop.h"
#include "net/tls.h"
#include "pool/pool.h"
#include "pool/registry.h"
#include "stats/errors.h"

struct derived;
struct failures;
struct leaks;
struct lookups;
struct notifiers;
struct peer;
struct scram_secret;
struct server;
struct shard;

/* How the servers of a database are spoken to. */
struct server_tls {
    int sslmode;                 /* enum config_sslmode */
    bool is_direct;              /* TLS from the first byte on */
    int channel_binding;         /* enum config_channel_binding */
    struct tls_context *context; /* NULL with SSLMODE_DISABLE */
};

/* TLS contexts of one set of settings. */
struct session_tls {
    struct tls_context *client; /* NULL with client_tls_sslmode = disable */
    struct server_tls *servers; /* in the order of config_database_at() */
    size_t n_servers;
};

struct session_config {
    const struct config *config;
    struct session_tls tls;
    bool has_scram_secrets;  /* of users in the list: checking a plain password against one takes long */
    struct derived *derived; /* SCRAM keys of plain passwords, by user */
    struct peer **peers;     /* in the order of config_peer_at() */
    _Atomic int refs;
};

/* Takes over all references; boot and control thread (may abort). process_secret: of the instance. before:
 * the snapshot that this one replaces, or NULL; keys of users that have not changed come from it. */
struct session_config *session_config_new(const struct config *config, const struct session_tls *tls,
                                          const uint8_t *process_secret, const struct session_config *before);
/* A second one with the same contents; boot and control thread. */
struct session_tls session_tls_ref(const struct session_tls *tls);
void session_tls_unref(struct session_tls *tls);
/* db: one of c's. */
const struct server_tls *session_config_server_tls(const struct session_config *c,
                                                   const struct database_config *db);
/* SCRAM keys of a user with a plain password, or NULL. */
const struct scram_secret *session_config_derived(const struct session_config *c,
                                                  const struct user_config *user);
struct session_config *session_config_ref(struct session_config *c);
void session_config_unref(struct session_config *c);

/* How the whole is being shut down; only ever rises. */
enum shutdown_mode {
    SHUTDOWN_NONE,
    SHUTDOWN_ANNOUNCED,        /* said by /readyz; all else goes on, new clients too */
    SHUTDOWN_WAIT_FOR_CLIENTS, /* no new clients; ends when the last one has gone */
    SHUTDOWN_DRAIN,            /* ... which are closed at a pace, when they are idle */
    SHUTDOWN_WAIT_FOR_SERVERS, /* clients are closed as their servers come free */
    SHUTDOWN_IMMEDIATE,
};

struct instance {
    /* constant */
    int n_workers;
    struct shard *shards[POOL_MAX_WORKERS];
    struct loop *control;
    struct registry *registry;
    struct stats_errors *errors;
    struct lookups *lookups;     /* answers of auth_query */
    struct failures *failures;   /* failed logins */
    struct leaks *leaks;         /* who leaves state of a session behind */
    struct notifiers *notifiers; /* whose notifications those of a server are */
    uint8_t scram_process_secret[32];
    int64_t started_wall_us;

    /* [atomic] */
    _Atomic int clients; /* client connections, logging in or in; reserved when accepted */
    _Atomic int refused; /* connections beyond max_client_conn, told so or on their way to the console */
    _Atomic int shutdown_mode;           /* enum shutdown_mode */
    _Atomic bool ends_at_once;           /* SHUTDOWN_IMMEDIATE: nobody is waited for */
    _Atomic int drain_budget;            /* SHUTDOWN_DRAIN: clients that may be closed now */
    _Atomic uint64_t next_connection_id; /* for the log: C-<id>, S-<id> */
};

/* Every mail type. Who sends it, who gets it, what it carries: src/THREADS.md. */
enum mail_type {
    MAIL_RESOLVED = MAIL_DIAL_RESOLVED,
    /* to a worker */
    MAIL_CLIENT,           /* control: an accepted descriptor */
    MAIL_CONFIG,           /* control: a new session_config */
    MAIL_ADOPT,            /* worker: a server for one of your clients */
    MAIL_YIELD,            /* any: your idle server goes to a client that waits */
    MAIL_GRANT_FAILED,     /* worker: the server that was on its way died */
    MAIL_CONNECT,          /* any: open this slot */
    MAIL_CLOSE_SERVER,     /* any: close this idle server */
    MAIL_FAIL_CLIENT,      /* any: this client waits in vain */
    MAIL_CANCEL,           /* worker: a cancel request for one of your clients */
    MAIL_CANCEL_DONE,      /* worker: ... and it has been dealt with */
    MAIL_CONSOLE_OUTPUT,   /* control: bytes for a console client */
    MAIL_GATHER,           /* control: describe your clients or servers */
    MAIL_ORDER,            /* control: kill clients, shut down, stop */
    MAIL_LOOKED_UP,        /* worker: auth_query has told of a user that your client says it is */
    MAIL_PEER_NAMED,       /* helper: the operating-system user of one of your clients */
    MAIL_PASSWORD_CHECKED, /* checker: is the password of one of your clients right? */
    MAIL_LISTEN,           /* worker: it wants to hear a channel, or not any more */
    MAIL_LISTEN_NEWS,      /* worker: answers to that, and notifications */
    MAIL_PULSE,            /* control: do you take your mail? */
    /* to the control thread */
    MAIL_CONSOLE_INPUT,  /* worker: messages of a console client, or its end */
    MAIL_GATHERED,       /* worker: rows */
    MAIL_CONSOLE_WORKED, /* helper: a query of the console */
    MAIL_CONFIG_TAKEN,   /* worker: the new settings are in force there */
    MAIL_ORDER_DONE,     /* worker: an order has been carried out */
};

/*
 * Gives the ledger what the settings say about a pool and the limits of its database and user. sh: the
 * calling worker, NULL on the control thread. Does nothing when the database has gone from the configuration.
 */
void session_configure_pool(struct instance *in, struct shard *sh, const struct config *cfg,
                            struct pool *pool);

/* Performs what the ledger decided, on behalf of a thread without sessions (control): everything goes by
 * mail. */
void instance_perform(struct instance *in, struct pool *pool, struct pool_acts *acts);

#endif
