/*
 * targets_int.h - where PostgreSQL is, as variables say it: what the files that read them share.
 *
 * Threads: the control thread, once per load; may abort when memory is out.
 */
#ifndef TARGETS_INT_H
#define TARGETS_INT_H

#include "config/database_url.h"
#include "vars_int.h"

struct listed_user;

struct targets {
    struct vars *vars;
    struct catalog *catalog;
    struct buf *users;
    struct listed_user *listed; /* those in users */
    size_t n_listed;
    char *
        protocols; /* server_tls_protocols, as the first database says it; "" = it does not. NULL: none yet */
    bare_setting_cb cb;
    void *arg;
    bool takes; /* the source at hand counts: otherwise it is only compared with the one that does */
};

/* One database to be. */
struct target {
    const char *source; /* the variable */
    char *name;         /* for clients */
    char *user;
    char *password;
    const char *host; /* until the parameters have been taken */
    struct buf pairs; /* connection string, without user and password */
    struct buf place; /* host, port, database, user: to tell whether two mean the same */

    bool is_lookup; /* the user only looks the others up */

    /* what was said of TLS, until target_tls() */
    int sslmode;       /* enum config_sslmode; -1 = nothing */
    bool is_unchecked; /* by a word that asks for no verification */
    bool has_system_ca, has_no_cert;
    int min_protocol, max_protocol; /* 0 = nothing */
    const char *sslrootcert;        /* of the parameters; NULL = nothing, as in the next ones */
    const char *sslcert;
    const char *sslkey;
};

/* Adds KEY='VALUE'. */
void target_pair(struct target *t, const char *key, const char *value);

/* ---- url_parameters.c ---- */

/* What one parameter means for the database, or why it is refused. Its value is kept until target_tls(). */
void target_parameter(struct targets *ts, struct target *t, const struct database_url_parameter *p);
/* After all parameters: what they together say of TLS. */
void target_tls(struct targets *ts, struct target *t);

#endif
