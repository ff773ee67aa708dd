/*
 * server_login_int.h - what a server needs only until it is ready for queries.
 */
#ifndef SESSION_SERVER_LOGIN_INT_H
#define SESSION_SERVER_LOGIN_INT_H

#include "auth/scram.h"
#include "session_int.h"

enum server_login_stage {
    STAGE_LEAVING, /* the connection that was in the slot has been told to end: replication.c */
    STAGE_DIAL,
    STAGE_TLS_REPLY, /* one byte: S or N */
    STAGE_TLS_HANDSHAKE,
    STAGE_AUTH,       /* from the start-up packet to AuthenticationOk */
    STAGE_PARAMETERS, /* to ReadyForQuery */
    STAGE_ROLE,       /* what target_session_attrs wants to know has been asked */
    STAGE_CONNECT_QUERY,
    STAGE_SETTLING, /* ready; but more has come behind it, which is heard before anybody gets the server */
};

struct server_login {
    enum server_login_stage stage;
    struct session_config *config; /* a reference */
    const struct database_config *db;
    bool use_tls;
    bool is_second_try;
    uint32_t turn;      /* of the hosts; the same for all rounds */
    bool takes_any;     /* prefer-standby: there is no standby */
    bool was_mismatch;  /* a host was not what is wanted */
    int64_t attempt_us; /* connected to the current host */
    char sqlstate[6];   /* of the last host's refusal, "" for none */
    struct scram_client *scram;
    bool scram_is_done;
    bool scram_is_bound; /* to the TLS connection */
    struct params *welcome;
};

/* server_login.c: the attempt has failed; another way is tried where there is one. */
void server_login_fail(struct server *s, enum close_reason why, const char *sqlstate, const char *text);
/* Sends b, wipes and frees it; false when the login has failed over it. */
bool server_login_send(struct server *s, struct buf *b);

/* s->login for a connection to db. False: no memory. */
bool server_login_new(struct server *s, const struct database_config *db) must_check;
/* Begins. False: no memory. */
bool server_login_dial(struct server *s) must_check;

/* server_auth.c: an Authentication message has arrived. */
void server_auth_message(struct server *s, const uint8_t *body, uint32_t len_bytes);

#endif
