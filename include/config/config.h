/*
 * config.h - the configuration: an immutable, reference-counted snapshot.
 *
 * The control thread loads, reloads and changes (SET) by making a new snapshot;
 * whoever holds a reference may read one from any thread without a lock. All
 * pointers handed out live as long as the snapshot.
 *
 * Precedence, lowest first: default, built-in environment profile, [pgsluice]
 * (or [pgbouncer]), [environment.NAME], PGSLUICE_* variable, command line, SET.
 */
#ifndef CONFIG_CONFIG_H
#define CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/compiler.h"
#include "config/options.h"
#include "config/problems.h"
#include "config/settings.h"

struct config;
struct credential; /* auth/: a secret of the userlist */

/* One line of [databases]. Strings are NULL when unset, but for name, host and auth_*. */
struct database_config {
    const char *name; /* as clients say it; "*" for the fallback */
    bool is_fallback;
    const char *file; /* where it was read */
    int line;

    const char *dbname; /* at the server; NULL for the fallback without one: the client's name */
    const char *host;   /* comma list as written; "" = Unix socket in the default directory */
    int port;
    const char *user;     /* forced user */
    const char *password; /* of the forced user */
    const char *auth_user;
    const char *auth_dbname;
    const char *auth_query;
    const char *client_encoding;
    const char *datestyle;
    const char *timezone;
    const char *application_name;
    const char *options; /* of the start-up packet: "-c name=value ..." */
    const char *connect_query;
    int pool_size; /* -1 = unset, as in the next ones */
    int min_pool_size;
    int reserve_pool_size;
    int max_db_connections;
    int max_db_client_connections;
    int64_t query_wait_timeout_us; /* -1 = unset */
    int64_t server_lifetime_us;    /* 0 = unset */
    int pool_mode;                 /* POOL_MODE_INHERIT = unset */
    int session_state;             /* SESSION_STATE_INHERIT = unset */
    int load_balance_hosts;        /* enum config_load_balance_hosts */
    int target_session_attrs;      /* enum config_target_session_attrs */
    int sslmode;                   /* enum config_sslmode; -1 = server_tls_sslmode */
    int sslnegotiation;            /* enum config_sslnegotiation */
    int channel_binding;           /* enum config_channel_binding; -1 = server_tls_channel_binding */
    const char *sslrootcert;       /* NULL: server_tls_ca_file, and so on */
    const char *sslcert;
    const char *sslkey;
};

/* One user: of the userlist, of [users], or of both. */
struct user_config {
    const char *name;
    const struct credential *credential; /* NULL when not in the userlist */
    const struct credential *older;      /* more that are right, with passwords=all */
    uint32_t n_older;
    bool has_section_entry; /* stands in [users] */

    int passwords;     /* enum config_passwords */
    int pool_mode;     /* POOL_MODE_INHERIT = unset */
    int session_state; /* SESSION_STATE_INHERIT = unset */
    int pool_size;     /* -1 = unset, as in the next ones */
    int reserve_pool_size;
    int max_user_connections;
    int max_user_client_connections;
    int64_t query_wait_timeout_us;  /* -1 = unset */
    int64_t transaction_timeout_us; /* 0 = unset, as in the next ones */
    int64_t idle_transaction_timeout_us;
    int64_t query_timeout_us;
    int64_t client_idle_timeout_us;
};

/* One line of [peers]: another pooler, to which cancel requests of its clients are forwarded. */
struct peer_config {
    const char *key; /* the id with leading zeros: what the lines are sorted by */
    int id;
    const char *host; /* comma list; a directory of a Unix socket begins with / or @ */
    int port;
    int pool_size; /* -1 = unset */
};

struct config_override {
    const char *key;
    const char *value;
};

struct config_args {
    const char *ini_path; /* NULL: the one that a variable names; else none, then the families of variables
                             count (src/config/families.c) */
    const char *ini_text; /* when set, read instead of the file (ini_path is then only its name) */
    size_t ini_text_len;
    bool no_files;            /* refuse %include, do not read auth_file */
    bool needs_users;         /* an auth_file that cannot be read, or has a bad line, is an error */
    const char *unread_users; /* ... but not this one: it could not be read before, either. NULL: none */
    const struct config_override *overrides; /* of the command line */
    size_t override_count;
    char *const *environ; /* "NAME=value" ..., NULL-terminated; NULL: none */
};

/* What a file looked like when it was read: changes when the file does. All 0: it could not be read. */
struct config_file_id {
    uint64_t device, inode;
    int64_t size, changed_ns;
};

struct config_fixed_check {
    void (*cb)(void *arg, const struct settings *wanted, const struct settings *in_force,
               struct config_problems *problems);
    void *arg;
};

/* A snapshot with one reference, or NULL when there is an error among the problems. */
struct config *config_load(const struct config_args *args, struct config_problems *problems) must_check;
/* Loads again; settings that need a restart keep their old value, with a warning. NULL: the old one stays.
 * Unlike at the start a userlist with a mistake is an error: there is a good one to keep. check: adds what is
 * wrong with the values that only a restart would bring into force; may be NULL. */
struct config *config_reload(const struct config *old, const struct config_args *args,
                             const struct config_fixed_check *check,
                             struct config_problems *problems) must_check;
/* A copy with one setting changed (console SET); databases and users are shared with old. */
struct config *config_with_setting(const struct config *old, const char *key, const char *value,
                                   struct config_problems *problems) must_check;
/* A copy with auth_file read again; all else is shared with old. NULL: it cannot be read, or has a bad line.
 */
struct config *config_with_userlist(const struct config *old, struct config_problems *problems) must_check;
/* auth_file as it was read for this snapshot, and as it lies there now. */
struct config_file_id config_userlist_id(const struct config *c);
struct config_file_id config_userlist_now(const struct config *c);
struct config *config_ref(const struct config *c);
void config_unref(const struct config *c);

/* Never NULL. */
const struct settings *config_settings(const struct config *c);

/* ---- databases and users ---- */

/* The database of that name, else the fallback `*`, else NULL. */
const struct database_config *config_find_database(const struct config *c, const char *name);
/* Without the fallback; name "*" finds the fallback itself. */
const struct database_config *config_find_database_exact(const struct config *c, const char *name);
size_t config_database_count(const struct config *c);
const struct database_config *config_database_at(const struct config *c, size_t i);
/* The other way round; db is one of c's. */
size_t config_database_index(const struct config *c, const struct database_config *db);
const struct user_config *config_find_user(const struct config *c, const char *name);
size_t config_user_count(const struct config *c);
const struct user_config *config_user_at(const struct config *c, size_t i);

/* ---- peers: by id ---- */

size_t config_peer_count(const struct config *c);
const struct peer_config *config_peer_at(const struct config *c, size_t i);
/* Cancel requests that may be under way to it at a time. */
int config_peer_pool_size(const struct config *c, const struct peer_config *peer);

bool config_is_admin(const struct config *c, const char *user);
/* In stats_users; admins are asked for with config_is_admin(). */
bool config_is_stats(const struct config *c, const char *user);
/* In ignore_startup_parameters. */
bool config_ignores_parameter(const struct config *c, const char *name);

/* ---- values in effect: user may be NULL everywhere ---- */

int config_pool_size(const struct config *c, const struct database_config *db,
                     const struct user_config *user);
int config_min_pool_size(const struct config *c, const struct database_config *db);
int config_reserve_pool_size(const struct config *c, const struct database_config *db,
                             const struct user_config *user);
/* db too may be NULL: a pool can outlive its database. */
int config_pool_mode(const struct config *c, const struct database_config *db,
                     const struct user_config *user);
/* The same. */
int config_session_state(const struct config *c, const struct database_config *db,
                         const struct user_config *user);
int config_max_db_connections(const struct config *c, const struct database_config *db);
int config_max_user_connections(const struct config *c, const struct user_config *user);
int config_max_db_client_connections(const struct config *c, const struct database_config *db);
int config_max_user_client_connections(const struct config *c, const struct user_config *user);
/* Times after which something of a client's is ended, in microseconds; 0 = never. */
struct config_timeouts {
    int64_t query_wait_us;
    int64_t query_us;
    int64_t transaction_us;
    int64_t idle_transaction_us;
    int64_t client_idle_us;
    int64_t pin_idle_us;
};
void config_timeouts(const struct config *c, const struct database_config *db, const struct user_config *user,
                     struct config_timeouts *out);
/* The shortest of each that any database and user may have. */
void config_shortest_timeouts(const struct config *c, struct config_timeouts *out);
int64_t config_server_lifetime_us(const struct config *c, const struct database_config *db);

/* ---- printing: i is an index of the option table ---- */

/* False when the value is unset (SHOW CONFIG prints NULL); nothing is written then. */
bool config_value_text(const struct config *c, size_t i, struct buf *out);
/* "default", "environment production", "FILE:LINE", "[environment.NAME] FILE:LINE",
 * "variable NAME", "command line", "SET". */
const char *config_source_text(const struct config *c, size_t i);

/* The whole as a file that says the same, with the source of each value in a comment above it and *** for
 * secrets. Settings that have their default are left out. */
void config_print(const struct config *c, struct buf *out);

#endif
