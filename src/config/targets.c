/*
 * targets.c - where PostgreSQL is, as environment variables say it: databases and the users with their
 * passwords.
 *
 * The first of these that is there counts, and one that names another server is named:
 * PGSLUICE_DATABASE_URL(S), PGBOUNCER_URLS, DATABASE_URL(S), PGBOUNCER_DSN_<n> together with POSTGRESQL_*,
 * DB_*, PG_SERVICE, PG*. Each
 * gives lines as [databases] has them, with the user whose password they hold; clients log in with just that
 * user and password.
 *
 * Nothing here prints a value but names of hosts, databases and users.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "auth/userlist.h"
#include "base/mem.h"
#include "base/secret.h"
#include "base/str.h"
#include "config/connstr.h"
#include "targets_int.h"

#define BLANKS " \t\r\n"

static void target_init(struct target *t, const char *source)
{
    *t = (struct target){.source = source, .sslmode = -1};
    buf_init(&t->pairs, 0);
    buf_init(&t->place, 0);
}

static void target_free(struct target *t)
{
    free(t->name);
    free(t->user);
    secret_free(t->password);
    secret_wipe(t->pairs.data, t->pairs.capacity);
    buf_free(&t->pairs);
    buf_free(&t->place);
}

static void problem(struct targets *ts, enum problem_severity severity, const char *source, const char *text)
{
    config_problems_add(ts->vars->problems, severity, NULL, 0, "variable %s: %s", source, text);
}

static void quoted(struct buf *out, const char *text, char quote)
{
    buf_append_byte(out, (uint8_t)quote);
    for (; *text != '\0'; text++) {
        if (*text == quote)
            buf_append_byte(out, (uint8_t)quote);
        buf_append_byte(out, (uint8_t)*text);
    }
    buf_append_byte(out, (uint8_t)quote);
}

void target_pair(struct target *t, const char *key, const char *value)
{
    buf_printf(&t->pairs, "%s%s=", t->pairs.len > 0 ? " " : "", key);
    quoted(&t->pairs, value, '\'');
}

/* ---- users ---- */

struct listed_user {
    char *name;
    char *password;
    char *database; /* NULL: none, a variable says the user */
};

static const struct listed_user *find_listed(const struct targets *ts, const char *user)
{
    for (size_t i = 0; i < ts->n_listed; i++)
        if (strcmp(ts->listed[i].name, user) == 0)
            return &ts->listed[i];
    return NULL;
}

static void free_listed(struct targets *ts)
{
    for (size_t i = 0; i < ts->n_listed; i++) {
        free(ts->listed[i].name);
        secret_free(ts->listed[i].password);
        free(ts->listed[i].database);
    }
    free(ts->listed);
}

/* Clients log in with one password, whatever the database. */
static void two_passwords(struct targets *ts, const char *source, const struct listed_user *before,
                          const char *database)
{
    if (before->database != NULL && database != NULL)
        config_problems_add(ts->vars->problems, PROBLEM_ERROR, NULL, 0,
                            "variable %s: user \"%s\" has one password for database \"%s\" and another for "
                            "database \"%s\": clients log in with one, so give both databases the same, or "
                            "another user",
                            source, before->name, before->database, database);
    else
        config_problems_add(ts->vars->problems, PROBLEM_WARNING, NULL, 0,
                            "variable %s: user \"%s\" has another password already, which counts", source,
                            before->name);
}

/* database: NULL for users of the console. */
static void add_user(struct targets *ts, const char *source, const char *user, const char *password,
                     const char *database)
{
    const struct listed_user *before = find_listed(ts, user);

    if (before != NULL) {
        if (strcmp(before->password, password) != 0)
            two_passwords(ts, source, before, database);
        return;
    }
    if (strlen(user) > USERLIST_NAME_MAX || strlen(password) > USERLIST_SECRET_MAX ||
        strpbrk(user, "\r\n") != NULL || strpbrk(password, "\r\n") != NULL) {
        problem(ts, PROBLEM_ERROR, source,
                "the user's name or the password is too long, or holds a line end");
        return;
    }
    ts->listed = xrealloc(ts->listed, (ts->n_listed + 1) * sizeof(*ts->listed));
    ts->listed[ts->n_listed++] = (struct listed_user){
        .name = xstrdup(user),
        .password = xstrdup(password),
        .database = database != NULL ? xstrdup(database) : NULL,
    };
    quoted(ts->users, user, '"');
    buf_append_byte(ts->users, ' ');
    quoted(ts->users, password, '"');
    buf_append_byte(ts->users, '\n');
}

/* ADMIN_USERS=a,b with ADMIN_PASSWORDS=x,y, or ADMIN_PASSWORD=x for all. */
static void add_listed_users(struct targets *ts, const char *users_name, const char *passwords_name,
                             const char *password_name)
{
    const struct var *users = vars_find(ts->vars, users_name);
    const struct var *list = vars_find(ts->vars, passwords_name);
    const struct var *one = password_name != NULL ? vars_find(ts->vars, password_name) : NULL;
    struct strlist names = {0}, passwords = {0};

    if (users == NULL || (list == NULL && one == NULL))
        return;
    strlist_split(&names, users->value);
    if (list != NULL)
        strlist_split(&passwords, list->value);
    if (list != NULL && passwords.count != names.count)
        problem(ts, PROBLEM_ERROR, list->name, "there must be as many passwords as users");
    for (size_t i = 0; i < names.count; i++)
        if (list == NULL || i < passwords.count)
            add_user(ts, users->name, names.items[i], list != NULL ? passwords.items[i] : one->value, NULL);
    for (size_t i = 0; i < passwords.count; i++)
        secret_wipe(passwords.items[i], strlen(passwords.items[i]));
    strlist_free(&names);
    strlist_free(&passwords);
}

/* ---- from a target to the catalog ---- */

static void add_target(struct targets *ts, struct target *t)
{
    char *file = xasprintf("variable %s", t->source);
    struct place at = {file, 0};
    struct buf name;

    if (t->user != NULL && !t->is_lookup)
        target_pair(t, "user", t->user);
    if (t->user != NULL && t->password != NULL) {
        if (!t->is_lookup)
            target_pair(t, "password", t->password);
        add_user(ts, t->source, t->user, t->password, t->name);
    }
    buf_init(&name, 0);
    if (strcmp(t->name, "*") == 0)
        buf_append_byte(&name, '*');
    else
        quoted(&name, t->name, '"');
    section_database(ts->catalog, buf_cstr(&name), buf_cstr(&t->pairs), at, ts->vars->problems);
    buf_free(&name);
    free(file);
}

static const char *text_of(const struct var *var, const char *otherwise)
{
    return var != NULL ? var->value : otherwise;
}

/* name may be NULL. */
static const char *value_of(struct targets *ts, const char *name, const char *otherwise)
{
    return text_of(name != NULL ? vars_find(ts->vars, name) : NULL, otherwise);
}

/* A variable that says what a URL's parameter would. */
static void variable_parameter(struct targets *ts, struct target *t, const char *variable, const char *name)
{
    const struct var *var = vars_find(ts->vars, variable);
    const char *source = t->source;

    if (var == NULL || !ts->takes)
        return;
    t->source = var->name;
    target_parameter(ts, t, &(struct database_url_parameter){(char *)name, var->value});
    t->source = source;
}

/* CLIENT_ENCODING, behind what was said already (NULL: nothing). */
static void add_encoding(struct targets *ts, struct target *t, const char *said)
{
    const struct var *var = vars_find(ts->vars, "CLIENT_ENCODING");

    if (said == NULL)
        variable_parameter(ts, t, "CLIENT_ENCODING", "client_encoding");
    else if (var != NULL && ts->takes && strcasecmp(var->value, said) != 0)
        config_problems_add(ts->vars->problems, PROBLEM_WARNING, NULL, 0,
                            "variables %s and %s disagree about client_encoding: %s counts", t->source,
                            var->name, t->source);
}

static void add_variable_pair(struct targets *ts, struct target *t, const char *key, const char *variable)
{
    const struct var *var = vars_find(ts->vars, variable);
    if (var != NULL)
        target_pair(t, key, var->value);
}

static char *copy_or_null(const struct var *var)
{
    return var != NULL ? xstrdup(var->value) : NULL;
}

/* ---- URLs ---- */

static const char *parameter_of(const struct database_url *url, const char *name)
{
    for (size_t i = 0; i < url->n_parameters; i++)
        if (strcmp(url->parameters[i].name, name) == 0)
            return url->parameters[i].value;
    return NULL;
}

/* False after saying why. */
static bool target_of_url(struct targets *ts, const char *source, const char *text, struct target *t)
{
    struct database_url url;
    struct buf why;
    bool ok;

    buf_init(&why, 0);
    ok = database_url_parse(text, &url, &why);
    if (ok && url.host == NULL && parameter_of(&url, "hostaddr") != NULL)
        url.host = xstrdup(parameter_of(&url, "hostaddr"));
    if (ok && url.user == NULL)
        url.user = copy_or_null(vars_find(ts->vars, "DB_USER"));
    if (ok && url.password == NULL)
        url.password = copy_or_null(vars_find(ts->vars, "DB_PASSWORD"));
    if (ok && url.user == NULL)
        buf_append_str(&why, "it names no user");
    if (ok && url.host == NULL)
        buf_append_str(&why, "it names no host");
    ok = ok && why.len == 0;
    if (!ok)
        config_problems_add(ts->vars->problems, ts->takes ? PROBLEM_ERROR : PROBLEM_WARNING, NULL, 0,
                            "variable %s: %s; expected postgres://USER:PASSWORD@HOST:PORT/DATABASE", source,
                            buf_cstr(&why));
    buf_free(&why);
    if (ok) {
        char port[16];
        const char *database = url.database != NULL ? url.database : url.user;
        snprintf(port, sizeof(port), "%d", url.port != 0 ? url.port : 5432);
        t->name = xstrdup(database);
        t->host = url.host;
        target_pair(t, "host", url.host);
        target_pair(t, "port", port);
        target_pair(t, "dbname", database);
        if (strchr(url.host, ',') != NULL)
            target_pair(t, "load_balance_hosts", "disable"); /* as in libpq, unless the URL says otherwise */
        buf_printf(&t->place, "%s %s %s %s", url.host, port, database, url.user);
        for (size_t i = 0; ts->takes && i < url.n_parameters; i++)
            target_parameter(ts, t, &url.parameters[i]);
        if (ts->takes)
            target_tls(ts, t);
        add_encoding(ts, t, parameter_of(&url, "client_encoding"));
        t->user = url.user;
        t->password = url.password;
        url.user = url.password = NULL;
    }
    database_url_free(&url);
    return ok;
}

/* The comma behind one URL of a list: the one before the next scheme, as hosts and passwords may have some.
 */
static const char *next_url(const char *text)
{
    for (const char *comma = strchr(text, ','); comma != NULL; comma = strchr(comma + 1, ',')) {
        const char *next = comma + 1 + strspn(comma + 1, BLANKS);
        if (database_url_begins(next))
            return comma;
    }
    return text + strlen(text);
}

typedef void (*target_cb)(struct targets *ts, struct target *t, void *arg);

/* Calls cb for each URL of the variable. */
static void each_url(struct targets *ts, const struct var *var, target_cb cb, void *arg)
{
    const char *at = var->value + strspn(var->value, BLANKS);
    while (*at != '\0') {
        const char *end = next_url(at);
        size_t len = (size_t)(end - at);
        while (len > 0 && strchr(BLANKS ",", at[len - 1]) != NULL)
            len--;
        char *text = xstrndup(at, len);
        struct target t;
        target_init(&t, var->name);
        if (target_of_url(ts, var->name, text, &t)) {
            add_variable_pair(ts, &t, "timezone", "TIMEZONE");
            cb(ts, &t, arg);
        }
        target_free(&t);
        secret_free(text);
        at = *end != '\0' ? end + 1 + strspn(end + 1, BLANKS) : end;
    }
}

/* What is printed is not to hold a password. */
static bool is_url(const char *text)
{
    return strstr(text, "://") != NULL;
}

/* ---- families of single variables ---- */

static const struct family {
    const char *host, *port, *database, *user, *password; /* NULL: there is no such variable */
    const char *client_name;                              /* what clients say, if not the database's name */
    const char *default_host;                             /* NULL: the host must be given */
    const char *default_database, *default_user;
    const char *connect_query;
    /* The user only asks PostgreSQL for the others' passwords, by a function of this schema. */
    const char *schema, *default_schema; /* NULL in both: not so */
    const char *function;
} families[] = {
    {"POSTGRESQL_HOST", "POSTGRESQL_PORT", "POSTGRESQL_DATABASE", "POSTGRESQL_USERNAME",
     "POSTGRESQL_PASSWORD", "PGBOUNCER_DATABASE", "postgresql", "postgres", "postgres",
     "PGBOUNCER_CONNECT_QUERY", NULL, NULL, NULL},
    {"DB_HOST", "DB_PORT", "DB_NAME", "DB_USER", "DB_PASSWORD", NULL, NULL, "*", "postgres", NULL, NULL, NULL,
     NULL},
    {"PG_SERVICE", NULL, NULL, NULL, "PGBOUNCER_PASSWORD", NULL, NULL, "*", "pgbouncer", NULL, NULL,
     "pgbouncer", "get_auth"},
    {"PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD", NULL, NULL, "*", "postgres", NULL, "PGSCHEMA",
     NULL, "user_lookup"},
};

/* libpq's variables beside PGHOST, with the parameters that they stand for. */
static const char *const libpq_variables[][2] = {
    {"PGAPPNAME", "application_name"},
    {"PGCHANNELBINDING", "channel_binding"},
    {"PGCLIENTENCODING", "client_encoding"},
    {"PGCONNECT_TIMEOUT", "connect_timeout"},
    {"PGGSSENCMODE", "gssencmode"},
    {"PGHOSTADDR", "hostaddr"},
    {"PGLOADBALANCEHOSTS", "load_balance_hosts"},
    {"PGOPTIONS", "options"},
    {"PGREQUIREAUTH", "require_auth"},
    {"PGREQUIREPEER", "requirepeer"},
    {"PGSERVICE", "service"},
    {"PGSSLCERT", "sslcert"},
    {"PGSSLCERTMODE", "sslcertmode"},
    {"PGSSLCRL", "sslcrl"},
    {"PGSSLCRLDIR", "sslcrldir"},
    {"PGSSLKEY", "sslkey"},
    {"PGSSLMAXPROTOCOLVERSION", "ssl_max_protocol_version"},
    {"PGSSLMINPROTOCOLVERSION", "ssl_min_protocol_version"},
    {"PGSSLMODE", "sslmode"},
    {"PGSSLNEGOTIATION", "sslnegotiation"},
    {"PGSSLROOTCERT", "sslrootcert"},
    {"PGTARGETSESSIONATTRS", "target_session_attrs"},
};

/* The variable by which the family is known to be there, or NULL. */
static const struct var *family_sign(struct targets *ts, const struct family *f)
{
    const struct var *host = vars_find(ts->vars, f->host);
    const struct var *password = f->default_host != NULL ? vars_find(ts->vars, f->password) : NULL;
    return host != NULL ? host : password;
}

static void add_lookup(struct target *t, const char *schema, const char *function)
{
    struct buf query;

    buf_init(&query, 0);
    buf_append_str(&query, "SELECT * FROM ");
    quoted(&query, schema, '"');
    buf_printf(&query, ".%s($1)", function);
    target_pair(t, "auth_user", t->user);
    target_pair(t, "auth_query", buf_cstr(&query));
    t->is_lookup = true;
    buf_free(&query);
}

static void add_family_parameters(struct targets *ts, struct target *t, const struct family *f)
{
    bool is_libpq = strcmp(f->host, "PGHOST") == 0;

    for (size_t i = 0; is_libpq && i < ARRAY_SIZE(libpq_variables); i++)
        variable_parameter(ts, t, libpq_variables[i][0], libpq_variables[i][1]);
    if (ts->takes)
        target_tls(ts, t);
    add_encoding(ts, t, is_libpq ? value_of(ts, "PGCLIENTENCODING", NULL) : NULL);
    add_variable_pair(ts, t, "timezone", "TIMEZONE");
    if (f->connect_query != NULL)
        add_variable_pair(ts, t, "connect_query", f->connect_query);
}

static void each_of_family(struct targets *ts, const struct family *f, const struct var *sign, target_cb cb,
                           void *arg)
{
    struct target t;
    const char *name = value_of(ts, f->client_name, NULL);
    const char *database = value_of(ts, f->database, name != NULL ? name : f->default_database);
    const char *host = value_of(ts, f->host, f->default_host), *port = value_of(ts, f->port, "5432");
    const char *schema = value_of(ts, f->schema, f->default_schema);

    if (is_url(host) || strchr(host + 1, '@') != NULL || is_url(database)) {
        problem(ts, ts->takes ? PROBLEM_ERROR : PROBLEM_WARNING, sign->name,
                "a name is expected, and for the database another one; URLs go into DATABASE_URL");
        return;
    }
    target_init(&t, sign->name);
    t.user = xstrdup(value_of(ts, f->user, f->default_user));
    t.password = copy_or_null(vars_find(ts->vars, f->password));
    t.name = xstrdup(name != NULL ? name : database);
    t.host = host;
    target_pair(&t, "host", host);
    target_pair(&t, "port", port);
    if (strcmp(database, "*") != 0)
        target_pair(&t, "dbname", database);
    if (schema != NULL)
        add_lookup(&t, schema, f->function);
    add_family_parameters(ts, &t, f);
    buf_printf(&t.place, "%s %s %s %s", host, port, database, t.user);
    cb(ts, &t, arg);
    target_free(&t);
}

/* ---- who counts ---- */

/* What has been found: the first source, and places that others are compared with. */
struct found {
    const char *winner; /* the variable; NULL: none yet */
    struct strlist places;
};

static bool is_place(const struct found *f, const char *place)
{
    for (size_t i = 0; i < f->places.count; i++)
        if (strcmp(f->places.items[i], place) == 0)
            return true;
    return false;
}

/* Names a source that does not count, and is about something else. */
static void compare_place(struct targets *ts, const struct found *f, const char *source, const char *place)
{
    if (!is_place(f, place))
        config_problems_add(ts->vars->problems, PROBLEM_WARNING, NULL, 0,
                            "variables %s and %s name different servers, databases or users: %s counts",
                            f->winner, source, f->winner);
}

static bool is_named_twice(struct targets *ts, const char *source, const char *name)
{
    for (size_t i = 0; i < ts->catalog->database_count; i++)
        if (strcmp(ts->catalog->databases[i].name, name) == 0) {
            config_problems_add(ts->vars->problems, PROBLEM_ERROR, NULL, 0,
                                "variable %s: database \"%s\" is named twice", source, name);
            return true;
        }
    return false;
}

static void on_target(struct targets *ts, struct target *t, void *arg)
{
    struct found *f = arg;

    if (!ts->takes) {
        compare_place(ts, f, t->source, buf_cstr(&t->place));
    } else if (!is_named_twice(ts, t->source, t->name)) {
        strlist_add(&f->places, buf_cstr(&t->place), t->place.len);
        add_target(ts, t);
    }
}

static void read_urls(struct targets *ts, const char *one, const char *several, struct found *f)
{
    const struct var *vars[] = {vars_find(ts->vars, one), vars_find(ts->vars, several)};

    ts->takes = f->winner == NULL; /* both together are one source */
    for (size_t i = 0; i < ARRAY_SIZE(vars); i++) {
        if (vars[i] == NULL)
            continue;
        if (f->winner == NULL)
            f->winner = vars[i]->name;
        each_url(ts, vars[i], on_target, f);
    }
}

/* PGBOUNCER_URLS: names of variables that hold URLs. */
static void read_named_urls(struct targets *ts, struct found *f)
{
    const struct var *list = vars_find(ts->vars, "PGBOUNCER_URLS");

    if (list == NULL)
        return;
    ts->takes = f->winner == NULL;
    if (f->winner == NULL)
        f->winner = list->name;
    for (const char *at = list->value + strspn(list->value, BLANKS ","); *at != '\0';) {
        size_t len = strcspn(at, BLANKS ",");
        char *name = xstrndup(at, len);
        const struct var *var = vars_find(ts->vars, name);
        at += len + strspn(at + len, BLANKS ",");
        if (var != NULL)
            each_url(ts, var, on_target, f);
        else /* the name may be a URL that was given instead, and is not printed */
            problem(ts, PROBLEM_ERROR, list->name,
                    "names of variables are expected, each of which holds a URL: one of them is not set");
        free(name);
    }
}

/* ---- PGBOUNCER_DSN_<n>: NAME=CONNECTION-STRING ---- */

/* As struct target has it. Mistakes are found by who takes the string. */
static void place_of_dsn(struct targets *ts, const char *name, const char *text, struct buf *place)
{
    const char *user = value_of(ts, "POSTGRESQL_USERNAME", "postgres");
    char *parts[] = {xstrdup(""), xstrdup("5432"), xstrdup(name), xstrdup(user)};
    static const char *const keys[] = {"host", "port", "dbname", "user"};
    struct connstr c;

    connstr_init(&c, text);
    while (connstr_next(&c) == CONNSTR_PAIR)
        for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
            if (strcasecmp(buf_cstr(&c.key), keys[i]) == 0) {
                free(parts[i]);
                parts[i] = xstrdup(buf_cstr(&c.value));
            }
    secret_wipe(c.value.data, c.value.capacity);
    connstr_free(&c);
    buf_printf(place, "%s %s %s %s", parts[0], parts[1], parts[2], parts[3]);
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        free(parts[i]);
}

static void one_dsn(struct targets *ts, const struct var *dsn, struct found *f)
{
    const char *equals = strchr(dsn->value, '=');
    const char *url = strstr(dsn->value, "://");
    if (equals == NULL || (url != NULL && url < equals)) { /* the name is printed */
        problem(ts, ts->takes ? PROBLEM_ERROR : PROBLEM_WARNING, dsn->name,
                "expected NAME=CONNECTION-STRING");
        return;
    }
    char *name = xstrndup(dsn->value, (size_t)(equals - dsn->value));
    char *file = xasprintf("variable %s", dsn->name);
    struct buf place;

    buf_init(&place, 0);
    place_of_dsn(ts, name, equals + 1, &place);
    if (!ts->takes) {
        compare_place(ts, f, dsn->name, buf_cstr(&place));
    } else if (!is_named_twice(ts, dsn->name, name)) {
        strlist_add(&f->places, buf_cstr(&place), place.len);
        section_database(ts->catalog, name, equals + 1, (struct place){file, 0}, ts->vars->problems);
    }
    buf_free(&place);
    free(file);
    free(name);
}

static const struct var *find_dsn(struct targets *ts, size_t n)
{
    char *name = xasprintf("PGBOUNCER_DSN_%zu", n);
    const struct var *dsn = vars_find(ts->vars, name);
    free(name);
    return dsn;
}

static void read_dsns(struct targets *ts, struct found *f)
{
    const struct var *dsn;

    ts->takes = f->winner == NULL;
    for (size_t n = 0; (dsn = find_dsn(ts, n)) != NULL; n++) {
        if (f->winner == NULL)
            f->winner = dsn->name;
        one_dsn(ts, dsn, f);
    }
}

/* The first family belongs to the DSNs: one more database, or only who their clients are. */
static void read_families(struct targets *ts, struct found *f)
{
    const struct var *dsn = find_dsn(ts, 0);
    bool is_of_dsns = dsn != NULL && f->winner == dsn->name;

    for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
        const struct var *sign = family_sign(ts, &families[i]);
        if (sign == NULL)
            continue;
        if (dsn != NULL && i == 0 && vars_find(ts->vars, families[i].host) == NULL) {
            if (is_of_dsns)
                add_user(ts, sign->name, value_of(ts, families[i].user, families[i].default_user),
                         sign->value, NULL);
            continue;
        }
        ts->takes = f->winner == NULL || (is_of_dsns && i == 0);
        if (f->winner == NULL)
            f->winner = sign->name;
        each_of_family(ts, &families[i], sign, on_target, f);
    }
}

static void say_nothing_found(struct targets *ts)
{
    const struct var *half = vars_find(ts->vars, "DB_NAME");
    if (half == NULL)
        half = vars_find(ts->vars, "DB_PASSWORD");
    if (half != NULL)
        problem(ts, PROBLEM_ERROR, half->name, "DB_HOST is missing beside it: it says where PostgreSQL is");
    else
        config_problems_add(
            ts->vars->problems, PROBLEM_ERROR, NULL, 0,
            "neither a configuration file nor a variable says where PostgreSQL is: name a file, or "
            "set DATABASE_URL=postgres://USER:PASSWORD@HOST:PORT/DATABASE");
}

void targets_read(struct vars *v, struct catalog *catalog, struct buf *users, bare_setting_cb cb, void *arg)
{
    struct targets ts = {.vars = v, .catalog = catalog, .users = users, .cb = cb, .arg = arg};
    struct found f = {.winner = NULL};

    read_urls(&ts, "PGSLUICE_DATABASE_URL", "PGSLUICE_DATABASE_URLS", &f);
    read_named_urls(&ts, &f);
    read_urls(&ts, "DATABASE_URL", "DATABASE_URLS", &f);
    read_dsns(&ts, &f);
    read_families(&ts, &f);
    if (f.winner == NULL && v->problems->errors == 0)
        say_nothing_found(&ts);
    add_listed_users(&ts, "ADMIN_USERS", "ADMIN_PASSWORDS", "ADMIN_PASSWORD");
    add_listed_users(&ts, "STATS_USERS", "STATS_PASSWORDS", NULL);
    const struct var *list = vars_find(v, "PGBOUNCER_USERLIST");
    if (list != NULL)
        buf_printf(users, "%s\n", list->value);
    strlist_free(&f.places);
    free_listed(&ts);
    free(ts.protocols);
}
