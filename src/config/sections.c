/*
 * sections.c - entries of [databases], [users] and [peers]: their keys, as tables.
 *
 * An entry with a problem is still added, so that --check finds what else is
 * wrong; the load as a whole fails then. Threads: the control thread.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/secret.h"
#include "base/str.h"
#include "config/connstr.h"
#include "config_int.h"

enum key_type {
    KEY_STR,
    KEY_PORT,
    KEY_INT,
    KEY_TIME,
    KEY_POOL_MODE,
    KEY_SESSION_STATE,
    KEY_LOAD_BALANCE,
    KEY_TARGET,
    KEY_SSLMODE,
    KEY_SSLNEGOTIATION,
    KEY_CHANNEL_BINDING,
    KEY_PASSWORDS
};

struct key {
    const char *name;
    enum key_type type;
    size_t offset;
};

#define DB(field)   offsetof(struct database_config, field)
#define USER(field) offsetof(struct user_config, field)
#define PEER(field) offsetof(struct peer_config, field)

#define SECRET_STARS "***"

static const struct key database_keys[] = {
    {"dbname", KEY_STR, DB(dbname)},
    {"host", KEY_STR, DB(host)},
    {"port", KEY_PORT, DB(port)},
    {"user", KEY_STR, DB(user)},
    {"password", KEY_STR, DB(password)},
    {"auth_user", KEY_STR, DB(auth_user)},
    {"auth_dbname", KEY_STR, DB(auth_dbname)},
    {"auth_query", KEY_STR, DB(auth_query)},
    {"client_encoding", KEY_STR, DB(client_encoding)},
    {"datestyle", KEY_STR, DB(datestyle)},
    {"timezone", KEY_STR, DB(timezone)},
    {"application_name", KEY_STR, DB(application_name)},
    {"pool_size", KEY_INT, DB(pool_size)},
    {"min_pool_size", KEY_INT, DB(min_pool_size)},
    {"reserve_pool_size", KEY_INT, DB(reserve_pool_size)},
    {"reserve_pool", KEY_INT, DB(reserve_pool_size)},
    {"query_wait_timeout", KEY_TIME, DB(query_wait_timeout_us)},
    {"max_db_connections", KEY_INT, DB(max_db_connections)},
    {"max_db_client_connections", KEY_INT, DB(max_db_client_connections)},
    {"server_lifetime", KEY_TIME, DB(server_lifetime_us)},
    {"load_balance_hosts", KEY_LOAD_BALANCE, DB(load_balance_hosts)},
    {"pool_mode", KEY_POOL_MODE, DB(pool_mode)},
    {"connect_query", KEY_STR, DB(connect_query)},
    /* ours */
    {"session_state", KEY_SESSION_STATE, DB(session_state)},
    {"target_session_attrs", KEY_TARGET, DB(target_session_attrs)},
    {"sslmode", KEY_SSLMODE, DB(sslmode)},
    {"sslnegotiation", KEY_SSLNEGOTIATION, DB(sslnegotiation)},
    {"channel_binding", KEY_CHANNEL_BINDING, DB(channel_binding)},
    {"sslrootcert", KEY_STR, DB(sslrootcert)},
    {"sslcert", KEY_STR, DB(sslcert)},
    {"sslkey", KEY_STR, DB(sslkey)},
    {"options", KEY_STR, DB(options)},
};

static const struct key user_keys[] = {
    {"pool_mode", KEY_POOL_MODE, USER(pool_mode)},
    {"pool_size", KEY_INT, USER(pool_size)},
    {"reserve_pool_size", KEY_INT, USER(reserve_pool_size)},
    {"max_user_connections", KEY_INT, USER(max_user_connections)},
    {"max_user_client_connections", KEY_INT, USER(max_user_client_connections)},
    {"query_wait_timeout", KEY_TIME, USER(query_wait_timeout_us)},
    {"transaction_timeout", KEY_TIME, USER(transaction_timeout_us)},
    {"idle_transaction_timeout", KEY_TIME, USER(idle_transaction_timeout_us)},
    {"query_timeout", KEY_TIME, USER(query_timeout_us)},
    {"client_idle_timeout", KEY_TIME, USER(client_idle_timeout_us)},
    /* ours */
    {"session_state", KEY_SESSION_STATE, USER(session_state)},
    {"passwords", KEY_PASSWORDS, USER(passwords)},
};

static const struct key peer_keys[] = {
    {"host", KEY_STR, PEER(host)},
    {"port", KEY_PORT, PEER(port)},
    {"pool_size", KEY_INT, PEER(pool_size)},
};

/* The words of an enumeration. */
static const struct config_option_name *names_of(enum key_type type)
{
    switch (type) {
    case KEY_POOL_MODE: return config_pool_mode_names();
    case KEY_SESSION_STATE: return config_session_state_names();
    case KEY_TARGET: return config_target_session_attrs_names();
    case KEY_SSLMODE: return config_sslmode_names();
    case KEY_SSLNEGOTIATION: return config_sslnegotiation_names();
    case KEY_CHANNEL_BINDING: return config_channel_binding_names();
    case KEY_PASSWORDS: return config_passwords_names();
    default: return config_load_balance_hosts_names();
    }
}

/* Stores the value; false with `why` when it does not fit. */
static bool store(const struct key *k, const char *text, void *entry, struct buf *why)
{
    void *field = (char *)entry + k->offset;
    const struct config_option_name *name;
    int64_t v = 0;
    switch (k->type) {
    case KEY_STR:
        secret_free(*(char **)field);
        *(char **)field = xstrdup(text);
        return true;
    case KEY_PORT:
    case KEY_INT:
        if (!value_parse_int(text, k->type == KEY_PORT ? 1 : -1, k->type == KEY_PORT ? 65535 : INT_MAX, &v,
                             why))
            return false;
        *(int *)field = (int)v;
        return true;
    case KEY_TIME:
        if (!config_parse_time(text, &v)) {
            buf_printf(why, "\"%s\" is not a time: seconds, or a number with us, ms, s, min, h or d", text);
            return false;
        }
        *(int64_t *)field = v;
        return true;
    case KEY_POOL_MODE:
    case KEY_SESSION_STATE:
    case KEY_LOAD_BALANCE:
    case KEY_TARGET:
    case KEY_SSLMODE:
    case KEY_SSLNEGOTIATION:
    case KEY_CHANNEL_BINDING:
    case KEY_PASSWORDS:
        if (!value_parse_enum(text, names_of(k->type), &name, why))
            return false;
        *(int *)field = name->value;
        return true;
    }
    return false;
}

static const struct key *find_key(const struct key *keys, size_t n, const char *name, const char **nearest)
{
    const char *names[ARRAY_SIZE(database_keys)];
    for (size_t i = 0; i < n; i++) {
        if (strcasecmp(keys[i].name, name) == 0)
            return &keys[i];
        names[i] = keys[i].name;
    }
    *nearest = str_nearest(name, names, n);
    return NULL;
}

/* What cannot be a key may be (part of) a password, or a URL with one: it is not printed. */
static bool is_word(const char *key)
{
    return key[strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")] == '\0';
}

static void store_pair(const struct key *keys, size_t n, const char *key, const char *value, void *entry,
                       struct place at, struct config_problems *problems)
{
    const char *nearest = NULL;
    struct buf why;
    const struct key *k = find_key(keys, n, key, &nearest);
    if (k == NULL && !is_word(key)) {
        config_problems_add(problems, PROBLEM_ERROR, at.file, at.line,
                            "this is no connection string of the form KEY=VALUE KEY=VALUE");
        return;
    }
    if (k == NULL) {
        config_problems_add(problems, PROBLEM_ERROR, at.file, at.line, "unknown key %s%s%s%s", key,
                            nearest != NULL ? ": did you mean " : "", nearest != NULL ? nearest : "",
                            nearest != NULL ? "?" : "");
        return;
    }
    buf_init(&why, 0);
    if (!store(k, value, entry, &why))
        config_problems_add(problems, PROBLEM_ERROR, at.file, at.line, "%s: %s", k->name, buf_cstr(&why));
    buf_free(&why);
}

static void store_all(const struct key *keys, size_t n, const char *text, void *entry, struct place at,
                      struct config_problems *problems)
{
    struct connstr c;
    enum connstr_result result;
    const char *nearest;
    connstr_init(&c, text);
    while ((result = connstr_next(&c)) == CONNSTR_PAIR)
        store_pair(keys, n, buf_cstr(&c.key), buf_cstr(&c.value), entry, at, problems);
    /* The text itself is not quoted, it may hold a password; nor is a word that is no key. */
    if (result == CONNSTR_ERR) {
        bool is_key = c.key.len > 0 && find_key(keys, n, buf_cstr(&c.key), &nearest) != NULL;
        config_problems_add(problems, PROBLEM_ERROR, at.file, at.line,
                            "syntax error in connection string%s%s: %s",
                            is_key          ? " at "
                            : c.key.len > 0 ? " at a word that is no key"
                                            : "",
                            is_key ? buf_cstr(&c.key) : "", buf_cstr(&c.value));
    }
    secret_wipe(c.value.data, c.value.capacity);
    connstr_free(&c);
}

/* ---- printing: what a reload has changed ---- */

static const char *enum_name(const struct config_option_name *names, int value)
{
    while (names->name != NULL && names->value != value)
        names++;
    return names->name != NULL ? names->name : "default";
}

static void print_string(const char *text, struct buf *out)
{
    if (text[strcspn(text, " '\\\t\n")] == '\0' && *text != '\0') {
        buf_append_str(out, text);
        return;
    }
    buf_append_byte(out, '\'');
    for (; *text != '\0'; text++) {
        if (*text == '\'')
            buf_append_byte(out, '\'');
        buf_append_byte(out, (uint8_t)*text);
    }
    buf_append_byte(out, '\'');
}

static void print_field(const struct key *k, const void *entry, struct buf *out)
{
    const void *field = (const char *)entry + k->offset;

    switch (k->type) {
    case KEY_STR:
        if (*(const char *const *)field == NULL)
            buf_append_str(out, "default");
        else if (strcmp(k->name, "password") == 0)
            buf_append_str(out, SECRET_STARS);
        else
            print_string(*(const char *const *)field, out);
        return;
    case KEY_PORT:
    case KEY_INT:
        if (*(const int *)field < 0)
            buf_append_str(out, "default");
        else
            buf_printf(out, "%d", *(const int *)field);
        return;
    case KEY_TIME:
        if (*(const int64_t *)field < 0)
            buf_append_str(out, "default");
        else
            config_print_time(*(const int64_t *)field, out);
        return;
    case KEY_SESSION_STATE:
    case KEY_POOL_MODE:
    case KEY_LOAD_BALANCE:
    case KEY_TARGET:
    case KEY_SSLMODE:
    case KEY_SSLNEGOTIATION:
    case KEY_CHANNEL_BINDING:
    case KEY_PASSWORDS: buf_append_str(out, enum_name(names_of(k->type), *(const int *)field)); return;
    }
}

static bool same_field(const struct key *k, const void *a, const void *b)
{
    const void *x = (const char *)a + k->offset, *y = (const char *)b + k->offset;
    const char *s, *t;

    switch (k->type) {
    case KEY_STR:
        s = *(const char *const *)x;
        t = *(const char *const *)y;
        return s == NULL || t == NULL ? s == t : strcmp(s, t) == 0;
    case KEY_TIME: return *(const int64_t *)x == *(const int64_t *)y;
    default: return *(const int *)x == *(const int *)y;
    }
}

static void print_differences(const struct key *keys, size_t n, const void *entry, const void *other,
                              struct buf *out)
{
    for (size_t i = 0; i < n; i++) {
        if ((i > 0 && keys[i].offset == keys[i - 1].offset) || same_field(&keys[i], entry, other))
            continue; /* an alias of the one before; or nothing to tell */
        buf_printf(out, "%s%s=", out->len > 0 ? " " : "", keys[i].name);
        print_field(&keys[i], entry, out);
    }
}

void section_database_text(const struct database_config *db, const struct database_config *other,
                           struct buf *out)
{
    struct catalog *empty = catalog_new();

    if (other == NULL)
        other = catalog_add_database(empty, db->name, "", 0);
    print_differences(database_keys, ARRAY_SIZE(database_keys), db, other, out);
    catalog_unref(empty);
}

void section_peer_text(const struct peer_config *peer, const struct peer_config *other, struct buf *out)
{
    struct catalog *empty = catalog_new();

    if (other == NULL)
        other = catalog_add_peer(empty, peer->id);
    print_differences(peer_keys, ARRAY_SIZE(peer_keys), peer, other, out);
    catalog_unref(empty);
}

void section_user_text(const struct user_config *user, const struct user_config *other, struct buf *out)
{
    struct catalog *empty = catalog_new();
    bool has_changed = user->credential != NULL &&
                       (other == NULL || !users_same_credential(user->credential, other->credential));

    if (has_changed)
        buf_append_str(out, "password=" SECRET_STARS);
    if (other == NULL)
        other = catalog_add_user(empty, user->name);
    print_differences(user_keys, ARRAY_SIZE(user_keys), user, other, out);
    catalog_unref(empty);
}

/* ---- entries ---- */

static bool unquote(const char *name, struct buf *plain, const char *what, struct place at,
                    struct config_problems *problems)
{
    if (connstr_unquote_name(name, plain))
        return true;
    config_problems_add(problems, PROBLEM_ERROR, at.file, at.line, "%s is not properly quoted: %s", what,
                        name);
    return false;
}

void section_database(struct catalog *c, const char *name, const char *value, struct place at,
                      struct config_problems *problems)
{
    struct buf plain;
    buf_init(&plain, 0);
    if (unquote(name, &plain, "the name of the database", at, problems)) {
        const char *database = buf_cstr(&plain);
        if (strcmp(database, "pgbouncer") == 0 || strcmp(database, "pgsluice") == 0)
            config_problems_add(problems, PROBLEM_ERROR, at.file, at.line,
                                "database name \"%s\" is reserved for the admin console", database);
        struct database_config *db = catalog_add_database(c, database, at.file, at.line);
        store_all(database_keys, ARRAY_SIZE(database_keys), value, db, at, problems);
        if (db->password != NULL && db->user == NULL)
            config_problems_add(problems, PROBLEM_WARNING, at.file, at.line,
                                "password has no effect without user");
        if (db->dbname == NULL && !db->is_fallback)
            db->dbname = xstrdup(database);
    }
    buf_free(&plain);
}

void section_user(struct catalog *c, const char *name, const char *value, struct place at,
                  struct config_problems *problems)
{
    struct buf plain;
    buf_init(&plain, 0);
    if (unquote(name, &plain, "the name of the user", at, problems)) {
        struct user_config *user = catalog_add_user(c, buf_cstr(&plain));
        user->has_section_entry = true;
        store_all(user_keys, ARRAY_SIZE(user_keys), value, user, at, problems);
    }
    buf_free(&plain);
}

void section_peer(struct catalog *c, const char *name, const char *value, struct place at,
                  struct config_problems *problems)
{
    int64_t id;
    struct buf why;
    buf_init(&why, 0);
    if (value_parse_int(name, 1, UINT16_MAX, &id, &why)) {
        struct peer_config *peer = catalog_add_peer(c, (int)id);
        store_all(peer_keys, ARRAY_SIZE(peer_keys), value, peer, at, problems);
        if (peer->host == NULL || *peer->host == '\0')
            config_problems_add(problems, PROBLEM_ERROR, at.file, at.line,
                                "host was not provided for peer %s", name);
    } else {
        config_problems_add(problems, PROBLEM_ERROR, at.file, at.line, "id of a peer: %s", buf_cstr(&why));
    }
    buf_free(&why);
}
