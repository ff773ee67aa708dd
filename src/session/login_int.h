/*
 * login_int.h - what a client needs only until it is in.
 */
#ifndef SESSION_LOGIN_INT_H
#define SESSION_LOGIN_INT_H

#include <sys/types.h>

#include "auth/hba.h"
#include "auth/scram.h"
#include "client_tls_int.h"
#include "session/lookup.h"
#include "session_int.h"
#include "wire/negotiation.h"
#include "wire/startup.h"

enum login_stage {
    LOGIN_STARTUP,
    LOGIN_PASSWORD,  /* plain or md5 password is due */
    LOGIN_SASL_INIT, /* SASLInitialResponse is due */
    LOGIN_SASL,      /* SASLResponse is due */
    LOGIN_BUSY,      /* another thread is asked; what the client sends waits */
    LOGIN_LOOKUP,    /* in LOGIN_WAIT, for a server of its pool to run auth_query on */
    LOGIN_FAILED,    /* the answer to that is held back */
    LOGIN_DONE,      /* authenticated */
};

/* Where a TLS handshake stands; the lists are in shard->handshakes. */
enum login_tls {
    LOGIN_TLS_NONE,    /* there is none, or it is over */
    LOGIN_TLS_DUE,     /* nothing has come of it: in no list, has no place */
    LOGIN_TLS_READY,   /* bytes have come: its turn is near */
    LOGIN_TLS_WAITING, /* not begun, for want of a place */
    LOGIN_TLS_SILENT,  /* the client's turn to say something */
};

#define LOGIN_MAX_SETTINGS 32

struct login_setting {
    char *name;
    char *value;
    bool from_options;
};

struct password_check; /* net/ */

struct client_login {
    enum login_stage stage;
    char *user;
    char *database;
    uint32_t minor;
    bool is_unix;
    struct negotiation negotiation;
    struct client *client;
    struct list tls_node;  /* in the list of its tls */
    int64_t tls_silent_us; /* LOGIN_TLS_SILENT: since when */
    int64_t tls_begun_us;  /* since when it has a place */
    enum login_tls tls;
    bool tls_has_spoken; /* something of a handshake has come */
    bool tls_has_place;  /* counted in shard->handshakes */
    bool is_direct;      /* TLS from the first byte on */
    bool is_console;
    bool is_any;                 /* auth_type = any: the name that it says is nobody's */
    enum hba_method method;      /* how it has to prove who it is */
    const char *map;             /* of config; for HBA_PEER and HBA_CERT; NULL: none */
    const struct hba_rule *rule; /* of config; the one that said the method, NULL: auth_type did */
    bool is_md5;                 /* LOGIN_PASSWORD: md5 rather than plain */
    uint8_t md5_salt[4];
    struct session_config *config;       /* the settings that this login began with (a reference) */
    const struct credential *credential; /* of config; NULL: unknown user or none */
    const struct credential *older;      /* of config: more that are right */
    uint32_t n_older;
    struct found_user *found; /* what auth_query has told, or the password that was right; NULL: not asked */
    struct password_check *check; /* LOGIN_BUSY: under way; NULL: none */
    struct lookup_entry *leads;   /* LOGIN_LOOKUP: this client is the one that asks */
    struct pool *lookup_pool;     /* where found comes from */
    uint8_t n_lookups;            /* tries */
    bool found_is_kept;           /* found is of an earlier login */
    enum close_reason failed_why; /* LOGIN_FAILED: the answer */
    const char *failed_sqlstate;  /* static */
    char failed_text[160];
    struct list failed_node; /* shard->held_back */
    int64_t failed_until_us;
    struct scram_server *scram;
    uint8_t end_point[STREAM_END_POINT_MAX_BYTES]; /* SCRAM was offered bound to this; 0 bytes: was not */
    uint32_t end_point_len;
    bool is_stepping;  /* its input is being worked on: what is done with is still at its beginning */
    bool links_server; /* session_link = login: the server that it gets stays with it */
    bool must_ask;     /* a setting of which only PostgreSQL knows whether it takes it */
    struct params
        *all; /* all parameters, as the client will hear of them; NULL: the pool's are not known yet */
    struct params *asked; /* what a server is asked for */
    uint32_t n_settings;
    struct login_setting
        settings[LOGIN_MAX_SETTINGS]; /* start-up parameters that are to be restored on servers */
};

/* client_tls.c: the handshake is due. What has come of it already is in the client's input. */
void client_tls_begin(struct client *c, bool is_direct);
/* The handshake is over, this way or that; harmless when there is none. */
void client_tls_leave(struct client_login *l);

/* client_auth.c: begins the exchange; true when the client is let in without one. */
void client_auth_begin(struct client *c);
/* A message of type 'p' has arrived. A password in it is wiped before the client is answered. */
void client_auth_message(struct client *c, uint8_t *body, uint32_t len_bytes);
/* client_auth.c: the method has been satisfied without a password; is the user one of ours? */
void client_auth_trusted(struct client *c);
/* client_login.c: authentication has succeeded. */
void client_login_authenticated(struct client *c);
/* client_login.c: the stage is no longer LOGIN_BUSY (or the client has gone): what it sent meanwhile is
 * looked at. */
void client_login_go_on(struct client *c);

/* client_auth.c: the user has been looked up, where that is to be; the method begins. */
void client_auth_go(struct client *c);

/* client_failed.c */
/* True: this address and user have failed too often, and the client is closed. */
bool client_is_blocked(struct client *c) must_check;
/* It is not who it says: counted, and told so now or later. */
void client_auth_failed(struct client *c, enum close_reason why, const char *sqlstate, const char *message);
void client_auth_succeeded(struct client *c);

/* client_auth.c: PAM or a directory has said no. detail: for the log. */
void client_password_wrong(struct client *c, const char *detail);

/* client_check.c: PAM or a directory is asked. */
void client_check_begin(struct client *c, const char *password);

/* client_lookup.c */
/* Looks the user up. True: that is under way (or the client has gone); false: there is nothing to look up,
 * or it is done. */
bool client_lookup_begin(struct client *c) must_check;
/* The client has failed to prove that it is the user: a kept answer may be an old one. */
void client_lookup_doubt(struct client *c);

/* client_rules.c */
/* Sets method and map. False: the client is closed. */
bool client_choose_method(struct client *c) must_check;
void client_auth_cert(struct client *c);
void client_auth_peer(struct client *c);
/* The operating-system user at the other end; false when there is none to be known. */
bool client_peer_uid(const struct client *c, uid_t *uid) must_check;

#endif
