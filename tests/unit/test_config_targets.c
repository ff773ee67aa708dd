/*
 * test_config_targets.c - where PostgreSQL is, as environment variables say it, and what they say of TLS.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "auth/credential.h"
#include "config_fixture.h"

/* What stands behind the password, of all databases with a | between; free it. */
static char *keys_of_databases(const struct config *c)
{
    static const char password[] = " password=***";
    struct buf b, out;
    buf_init(&b, 0);
    buf_init(&out, 0);
    config_print(c, &b);
    for (const char *at = strstr(buf_cstr(&b), password); at != NULL; at = strstr(at, password)) {
        at += strlen(password);
        buf_printf(&out, "%s%.*s", strstr(buf_cstr(&b), password) + strlen(password) == at ? "" : "|",
                   (int)(strcspn(at, "\n") - (*at == ' ')), at + (*at == ' '));
    }
    char *keys = strdup(buf_cstr(&out));
    buf_free(&b);
    buf_free(&out);
    return keys;
}

static const char *password_of(const struct config *c, const char *user)
{
    const struct user_config *u = config_find_user(c, user);
    return u != NULL && u->credential != NULL && u->credential->secret != NULL ? u->credential->secret
                                                                               : "none";
}

/* ---- where PostgreSQL is ---- */

static void test_targets(void **state)
{
    static const struct {
        const char *variables[MAX_VARIABLES];
        const char *database;
        const char *user, *password;
        const char *said;
    } rows[] = {
        {{"DATABASE_URL=postgres://app:p%40ss@db:5433/shop"},
         "\"shop\" = dbname=shop host=db port=5433 user=app password=***",
         "app",
         "p@ss",
         ""},
        {{"DATABASE_URL=postgres://app:x@db"},
         "\"app\" = dbname=app host=db user=app password=***",
         "app",
         "x",
         ""},
        {{"DATABASE_URL=postgres://db/d", "DB_USER=u", "DB_PASSWORD=p;'\"q"},
         "\"d\" = dbname=d host=db user=u password=***",
         "u",
         "p;'\"q",
         ""},
        {{"DATABASE_URL=postgres://u:p@h/d?application_name=a%27b&client_encoding=UTF8"},
         "\"d\" = dbname=d host=h user=u password=*** client_encoding=UTF8 "
         "application_name='a''b'",
         "u",
         "p",
         ""},
        {{"DATABASE_URLS=postgres://u:p@h/d,postgres://v:a,b@h2/e"},
         "\"d\" = dbname=d host=h user=u password=***",
         "v",
         "a,b",
         ""},
        {{"DATABASE_URL=postgres://u:p@h/d?options=-c%20search_path%3Da%20endpoint%3Dx"},
         "\"d\" = dbname=d host=h user=u password=*** options='-c search_path=a endpoint=x'",
         "u",
         "p",
         ""},
        {{"DATABASE_URL=postgres://u:p@/d?hostaddr=10.0.0.1"},
         "\"d\" = dbname=d host=10.0.0.1 user=u password=***",
         "u",
         "p",
         ""},
        {{"DATABASE_URLS=postgres://u:p@h/d, POSTGRES://v:q@h2/e"},
         "\"d\" = dbname=d host=h user=u password=***",
         "v",
         "q",
         ""},
        {{"DATABASE_URL=postgres://u:p@h1,h2/d?target_session_attrs=read-write"},
         "\"d\" = dbname=d host=h1,h2 user=u password=*** load_balance_hosts=disable "
         "target_session_attrs=read-write",
         "u",
         "p",
         ""},
        {{"DATABASE_URL=postgres://u:p@h1,h2/d?load_balance_hosts=random"},
         "\"d\" = dbname=d host=h1,h2 user=u password=***",
         "u",
         "p",
         ""},
        {{"DATABASE_URL=postgres://u:p@h/d", "TIMEZONE=UTC"},
         "\"d\" = dbname=d host=h user=u password=*** timezone=UTC",
         "u",
         "p",
         ""},
        {{"PGSLUICE_DATABASE_URL=postgres://u:p@h/d", "DATABASE_URL=postgres://v:q@localhost:6432/d"},
         "\"d\" = dbname=d host=h user=u password=***",
         "u",
         "p",
         "warning: variables PGSLUICE_DATABASE_URL and DATABASE_URL name different servers, databases or "
         "users: "
         "PGSLUICE_DATABASE_URL counts\n"},
        /* images of others */
        {{"DB_HOST=h", "DB_PASSWORD=p"}, "* = host=h user=postgres password=***", "postgres", "p", ""},
        {{"DB_HOST=h", "DB_PORT=77", "DB_NAME=d", "DB_USER=u", "DB_PASSWORD=p", "CLIENT_ENCODING=UTF8"},
         "\"d\" = dbname=d host=h port=77 user=u password=*** client_encoding=UTF8",
         "u",
         "p",
         ""},
        {{"POSTGRESQL_PASSWORD=p"},
         "\"postgres\" = dbname=postgres host=postgresql user=postgres password=***",
         "postgres",
         "p",
         ""},
        {{"POSTGRESQL_HOST=h", "POSTGRESQL_USERNAME=u", "POSTGRESQL_PASSWORD=p", "POSTGRESQL_DATABASE=d",
          "PGBOUNCER_DATABASE=front", "PGBOUNCER_CONNECT_QUERY=SELECT 1"},
         "\"front\" = dbname=d host=h user=u password=*** connect_query='SELECT 1'",
         "u",
         "p",
         ""},
        {{"PGBOUNCER_DSN_0=a=host=h1 port=1", "PGBOUNCER_DSN_1=b=host=h2 dbname=x", "POSTGRESQL_PASSWORD=p"},
         "\"a\" = dbname=a host=h1 port=1",
         "postgres",
         "p",
         ""},
        {{"PGBOUNCER_DSN_0=a=host=@x connect_query='SELECT ''a://b'''", "POSTGRESQL_PASSWORD=p"},
         "\"a\" = dbname=a host=@x connect_query='SELECT ''a://b'''",
         "postgres",
         "p",
         ""},
        {{"PGHOST=h", "PGUSER=u", "PGPASSWORD=p"}, "* = host=h user=u password=***", "u", "p", ""},
        {{"PGHOST=h", "PGUSER=u", "PGPASSWORD=p", "PGDATABASE=d", "PGPORT=3"},
         "\"d\" = dbname=d host=h port=3 user=u password=***",
         "u",
         "p",
         ""},
        {{"PGHOST=h", "PGUSER=u", "PGPASSWORD=p", "PGSCHEMA=\"pooler"},
         "* = host=h auth_user=u auth_query='SELECT * FROM \"\"\"pooler\".user_lookup($1)'",
         "u",
         "p",
         ""},
        {{"PGHOST=h", "PGPASSWORD=p", "PGSSLMODE=require", "PGOPTIONS=-c a=b", "PGCLIENTENCODING=UTF8",
          "CLIENT_ENCODING=utf8"},
         "* = host=h user=postgres password=*** client_encoding=UTF8 sslmode=require options='-c a=b'",
         "postgres",
         "p",
         ""},
        {{"DATABASE_URL=postgres://u:p@h/d", "PGSSLMODE=require"},
         "\"d\" = dbname=d host=h user=u password=***",
         "u",
         "p",
         ""},
        {{"PG_SERVICE=h", "PGBOUNCER_PASSWORD=p"},
         "* = host=h auth_user=pgbouncer auth_query='SELECT * FROM \"pgbouncer\".get_auth($1)'",
         "pgbouncer",
         "p",
         ""},
        {{"PGBOUNCER_URLS=A DATABASE_URL", "A=postgres://v:q@h/a", "DATABASE_URL=postgres://u:p@h/d"},
         "\"a\" = dbname=a host=h user=v password=***",
         "u",
         "p",
         ""},
        {{"PGBOUNCER_URLS=A", "A=postgres://v:q@h/a", "DATABASE_URL=postgres://u:p@h/d"},
         "\"a\" = dbname=a host=h user=v password=***",
         "v",
         "q",
         "warning: variables PGBOUNCER_URLS and DATABASE_URL name different servers, databases or users: "
         "PGBOUNCER_URLS counts\n"},
        {{"DATABASE_URL=postgres://u:p@h/d", "CLIENT_ENCODING=UTF8"},
         "\"d\" = dbname=d host=h user=u password=*** client_encoding=UTF8",
         "u",
         "p",
         ""},
        {{"DATABASE_URL=postgres://u:p@h/d?client_encoding=UTF8", "CLIENT_ENCODING=LATIN1"},
         "\"d\" = dbname=d host=h user=u password=*** client_encoding=UTF8",
         "u",
         "p",
         "warning: variables DATABASE_URL and CLIENT_ENCODING disagree about client_encoding: DATABASE_URL "
         "counts\n"},
        {{"DB_HOST=h", "DB_PASSWORD=p", "ADMIN_USERS=adm,ops", "ADMIN_PASSWORDS=one, two"},
         "* = host=h user=postgres password=***",
         "ops",
         "two",
         ""},
        {{"DB_HOST=h", "DB_PASSWORD=p", "ADMIN_USERS=adm,ops", "ADMIN_PASSWORD=x", "STATS_USERS=s",
          "STATS_PASSWORDS=y"},
         "* = host=h user=postgres password=***",
         "s",
         "y",
         ""},
        {{"DATABASE_URLS=postgres://u:p@h/d,postgres://u:p@h/e"},
         "\"d\" = dbname=d host=h user=u password=***",
         "u",
         "p",
         ""},
        {{"DB_HOST=h", "DB_PASSWORD=p", "ADMIN_USERS=postgres", "ADMIN_PASSWORD=q"},
         "* = host=h user=postgres password=***",
         "postgres",
         "p",
         "warning: variable ADMIN_USERS: user \"postgres\" has another password already, which counts\n"},
        {{"PGBOUNCER_DSN_0=a=host=h1", "PGBOUNCER_USERLIST=\"joe\" \"secret\""},
         "\"a\" = dbname=a host=h1",
         "joe",
         "secret",
         ""},
        /* two that agree, two that do not */
        {{"DATABASE_URL=postgres://u:p@h/d", "PGBOUNCER_DSN_0=d=host=h user=u password=x"},
         "\"d\" = dbname=d host=h user=u password=***",
         "u",
         "p",
         ""},
        {{"DATABASE_URL=postgres://u:p@h/d", "PGBOUNCER_DSN_0=d=host=h2 user=u", "POSTGRESQL_PASSWORD=x"},
         "\"d\" = dbname=d host=h user=u password=***",
         "u",
         "p",
         "warning: variables DATABASE_URL and PGBOUNCER_DSN_0 name different servers, databases or users: "
         "DATABASE_URL counts\n"},
        {{"PGBOUNCER_DSN_0=a=host=h1 user=u password=p", "DB_HOST=h2", "DB_PASSWORD=x",
          "PGBOUNCER_USERLIST=\"u\" \"p\""},
         "\"a\" = dbname=a host=h1 user=u password=***",
         "u",
         "p",
         "warning: variables PGBOUNCER_DSN_0 and DB_HOST name different servers, databases or users: "
         "PGBOUNCER_DSN_0 counts\n"},
        {{"PGBOUNCER_DSN_0=a=host=h1 user=u", "DB_HOST=h1", "DB_NAME=a", "DB_USER=u",
          "PGBOUNCER_USERLIST=\"u\" \"p\""},
         "\"a\" = dbname=a host=h1 user=u",
         "u",
         "p",
         ""},
        {{"PGBOUNCER_DSN_0=a=host=h1", "POSTGRESQL_HOST=h2", "POSTGRESQL_PASSWORD=p"},
         "\"a\" = dbname=a host=h1",
         "postgres",
         "p",
         ""},
        {{"DATABASE_URL=postgres://u:p@h/d", "PGHOST=h", "PGUSER=u", "PGDATABASE=d"},
         "\"d\" = dbname=d host=h user=u password=***",
         "u",
         "p",
         ""},
        {{"DB_HOST=h", "DB_PASSWORD=p", "PGHOST=h2"},
         "* = host=h user=postgres password=***",
         "postgres",
         "p",
         "warning: variables DB_HOST and PGHOST name different servers, databases or users: DB_HOST "
         "counts\n"},
        {{"DATABASE_URL=postgres://u:p@h/d", "DB_HOST=x"},
         "\"d\" = dbname=d host=h user=u password=***",
         "u",
         "p",
         "warning: variables DATABASE_URL and DB_HOST name different servers, databases or users: "
         "DATABASE_URL counts\n"},
        /* what an orchestrator sets for services called db and postgresql */
        {{"DATABASE_URL=postgres://u:p@h/d", "DB_PORT=tcp://10.0.0.1:5432", "DB_PORT_5432_TCP_ADDR=10.0.0.1",
          "POSTGRESQL_PORT=tcp://10.0.0.2:5432", "POSTGRESQL_SERVICE_HOST=10.0.0.2"},
         "\"d\" = dbname=d host=h user=u password=***",
         "u",
         "p",
         ""},
        {{"DB_HOST=h", "DB_PASSWORD=p", "DB_PORT=tcp://10.0.0.1:5432"},
         "* = host=h user=postgres password=***",
         "postgres",
         "p",
         ""},
    };
    char line[512];
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct loaded l = fixture_load_variables(rows[i].variables);
        if (l.config == NULL || strcmp(l.said, rows[i].said) != 0)
            fail_msg("%s: said: %s", rows[i].variables[0], l.said);
        assert_string_equal(fixture_database_line(l.config, line, sizeof line), rows[i].database);
        assert_string_equal(password_of(l.config, rows[i].user), rows[i].password);
        assert_string_equal(fixture_value(l.config, "auth_type"), "scram-sha-256");
        fixture_done(&l);
    }
}

static void test_targets_refused(void **state)
{
    static const struct {
        const char *variables[MAX_VARIABLES];
        const char *says;
    } rows[] = {
        {{NULL}, "error: neither a configuration file nor a variable says where PostgreSQL is"},
        {{"DATABASE_URL="}, "error: neither a configuration file nor a variable"},
        {{"DATABASE_URL=SECRET"}, "error: variable DATABASE_URL: it does not begin with postgres://"},
        {{"DATABASE_URL=postgres://u:SECRET@h:x/d"}, "error: variable DATABASE_URL: the port"},
        {{"DATABASE_URL=postgres://h/d"}, "error: variable DATABASE_URL: it names no user"},
        {{"DATABASE_URL=postgres:///d?user=u&password=SECRET"},
         "error: variable DATABASE_URL: it names no host"},
        {{"DATABASE_URL=postgres://u@h/d"}, "error: variable DATABASE_URL: no password is known"},
        {{"DATABASE_URL=postgres://u:SECRET@localhost:6432/d"},
         "error: variable DATABASE_URL: localhost port 6432 is where pgsluice itself"},
        {{"DATABASE_URL=postgres://u:SECRET@h/pgbouncer"},
         "variable DATABASE_URL: error: database name \"pgbouncer\" is reserved"},
        {{"DATABASE_URL=postgres://u:SECRET@h/d?service=SECRET"}, "the parameter service is not read: write"},
        {{"DATABASE_URL=postgres://u:SECRET@h/d?passfile=SECRET"}, "the parameter passfile is not read: let"},
        {{"DATABASE_URL=postgres://u:SECRET@h/d?hostaddr=SECRET"}, "the parameter hostaddr names another"},
        {{"DATABASE_URL=postgres://u:SECRET@h/d?require_auth=SECRET"},
         "the parameter require_auth is not sup"},
        {{"DATABASE_URL=postgres://u:SECRET@h/d?scram_client_key=SECRET"},
         "the parameter scram_client_key is"},
        {{"DATABASE_URL=postgres://u:SECRET@h/d?scram_server_key=SECRET"},
         "the parameter scram_server_key is"},
        {{"DATABASE_URL=postgres://u:SECRET@h/d?sslpassword=SECRET"}, "the parameter sslpassword is not sup"},
        {{"DATABASE_URL=postgres://u:SECRET@h/d?sslcrl=SECRET"}, "the parameter sslcrl is not supported"},
        {{"DATABASE_URL=postgres://u:SECRET@h/d?sslcrldir=SECRET"}, "the parameter sslcrldir is not supp"},
        {{"DATABASE_URL=postgres://u:SECRET@h/d?sslkeylogfile=SECRET"}, "the parameter sslkeylogfile is"},
        {{"DATABASE_URL=postgres://u:SECRET@h/d?requirepeer=SECRET"}, "the parameter requirepeer is not"},
        {{"DATABASE_URL=postgres://u:SECRET@h/d?replication=true"}, "the parameter replication is not for"},
        {{"DATABASE_URL=postgres://u:SECRET@h/d?oauth_issuer=SECRET"}, "the parameter oauth_issuer is not"},
        {{"DATABASE_URL=postgres://u:SECRET@h/d?sslcertmode=require"}, "the parameter sslcertmode asks that"},
        {{"DATABASE_URL=postgres://u:SECRET@h/d?min_protocol_version=3.2"},
         "min_protocol_version asks for more"},
        {{"DATABASE_URL=postgres://u:SECRET@h/d?sslfactory=SECRET"},
         "the parameter sslfactory is not known, and"},
        {{"DATABASE_URL=postgres://u:SECRET@h/d?ssl_min_protocol_version=SECRET"},
         "the parameter ssl_min_protocol_version is none of TLSv1, "},
        {{"DATABASE_URL=postgres://u:SECRET@h/"
          "d?ssl_min_protocol_version=TLSv1.3&ssl_max_protocol_version=TLSv1.2"},
         "the parameter ssl_min_protocol_version is above ssl_max"},
        {{"DATABASE_URLS=postgres://u:SECRET@h/d?ssl_min_protocol_version=TLSv1.3,postgres://u:SECRET@h/e"},
         "(or ssl_max_protocol_version) is another one than that of another URL"},
        {{"DATABASE_URL=postgres://u:SECRET@h/d?channel_binding=SECRET2"}, "channel_binding: "},
        {{"DATABASE_URL=postgres://u:SECRET@h/d?sslmode=SECRET"},
         "error: variable DATABASE_URL: the parameter sslmode has a value that says neither"},
        {{"DATABASE_URL=postgres://u:SECRET@h/d?sslmode="},
         "parameter sslmode has a value that says neither"},
        {{"DATABASE_URL=postgres://u:SECRET@h/d?ssl=maybe"}, "parameter ssl has a value that says neither"},
        {{"DATABASE_URL=postgres://u:SECRET@h/d?sslmode=require&sslrootcert=system"},
         "parameter sslrootcert is system, which needs sslmode=verify-full"},
        {{"DATABASE_URL=postgres://u:SECRET@h/d?gssencmode=require"},
         "parameter gssencmode asks for GSSAPI encryption, which there is not"},
        {{"DATABASE_URL=postgres://u:SECRET%0A@h/d"},
         "error: variable DATABASE_URL: the user's name or the password"},
        {{"DATABASE_URLS=postgres://u:SECRET@h/d,postgres://u:SECRET@h2/d"},
         "error: variable DATABASE_URLS: database \"d\" is named twice"},
        /* a password in the wrong place */
        {{"DATABASE_URLS=postgres://u:p@h/d;postgres://u:SECRET@h2/e"},
         "error: variable DATABASE_URLS: the name of the database holds"},
        {{"DATABASE_URLS=postgres://u:p@h/d postgres://u:SECRET@h2/e"},
         "error: variable DATABASE_URLS: the name of the database holds"},
        {{"DATABASE_URLS=postgres://u:p@h/d;POSTGRES://u:SECRET@h2/e"},
         "error: variable DATABASE_URLS: the name of the database holds"},
        {{"DATABASE_URL=postgres://u:12?SECRET@h/d"}, "a parameter has a name that no parameter can have"},
        {{"DATABASE_URL=postgres://u:12?SECRET=x@h/d", "DB_USER=u", "DB_PASSWORD=p"},
         "a parameter is not known, and its value holds an @"},
        {{"PGBOUNCER_DSN_0=postgres://u:SECRET@h/d?a=b"}, "error: variable PGBOUNCER_DSN_0: expected NAME="},
        {{"DB_HOST=postgres://u:SECRET@h/d", "DB_PASSWORD=p"}, "error: variable DB_HOST: a name is expected"},
        {{"DB_HOST=u:SECRET@h", "DB_PASSWORD=p"}, "error: variable DB_HOST: a name is expected"},
        {{"PGBOUNCER_DSN_0=d=postgres://u:SECRET@h/d?a=b", "POSTGRESQL_PASSWORD=SECRET"},
         "variable PGBOUNCER_DSN_0: error: this is no connection string"},
        {{"PGHOST=h", "PGDATABASE=postgres://u:SECRET@h/d", "PGPASSWORD=p"},
         "error: variable PGHOST: a name is expected"},
        {{"DATABASE_URLS=postgres://u:SECRET@h/d,postgres://u:SECRETS@h2/e"},
         "error: variable DATABASE_URLS: user \"u\" has one password for database \"d\" and another for "
         "database "
         "\"e\": clients log in with one"},
        {{"DB_NAME=d"}, "error: variable DB_NAME: DB_HOST is missing"},
        {{"DB_HOST=h", "DB_NAME=d"}, "error: variable DB_HOST: no password is known"},
        {{"DB_HOST=h", "DB_PASSWORD=SECRET", "DB_PORT=x"}, "variable DB_HOST: error: port: "},
        {{"DB_HOST=h", "DB_PASSWORD=SECRET", "POOL_MODE=often"},
         "error: variable POOL_MODE: pool_mode: \"often\" is none of"},
        {{"DB_HOST=h", "DB_PASSWORD=SECRET", "CLIENT_TLS_SSLMODE=yes"},
         "error: variable CLIENT_TLS_SSLMODE: client_tls_sslmode: \"yes\" is none of"},
        {{"DATABASE_URL=postgres://u:SECRET@h/d", "AUTH_TYPE=trust"},
         "error: variable AUTH_TYPE: trust would let everybody in without a password: unset it, or say it "
         "with PGSLUICE_AUTH_TYPE=trust"},
        {{"DATABASE_URL=postgres://u:SECRET@h/d", "AUTH_TYPE=any"}, "error: variable AUTH_TYPE: any would"},
        {{"DB_HOST=h", "DB_PASSWORD=SECRET", "PGBOUNCER_AUTH_TYPE=trust"},
         "error: variable PGBOUNCER_AUTH_TYPE: trust would"},
        {{"DB_HOST=h", "DB_PASSWORD_FILE=/no/such"},
         "error: variable DB_PASSWORD_FILE: cannot read \"/no/such\": No such file"},
        {{"DATABASE_URL_FILE=/no/such"}, "error: variable DATABASE_URL_FILE: cannot read"},
        {{"PGBOUNCER_DSN_0=d=host=h", "POSTGRESQL_HOST=h2", "POSTGRESQL_DATABASE=d",
          "POSTGRESQL_PASSWORD=SECRET"},
         "error: variable POSTGRESQL_HOST: database \"d\" is named twice"},
        {{"PGHOST=h", "PGPASSWORD=SECRET", "PGSSLMODE=SECRET"},
         "error: variable PGSSLMODE: the parameter sslmode has"},
        {{"PGHOST=h", "PGPASSWORD=SECRET", "PGREQUIREAUTH=x"},
         "error: variable PGREQUIREAUTH: the parameter"},
        {{"PGBOUNCER_URLS=A B", "A=postgres://u:SECRET@h/d"},
         "error: variable PGBOUNCER_URLS: names of variables are expected, each of which holds a URL"},
        {{"PGBOUNCER_URLS=postgres://u:SECRET@h/d"},
         "error: variable PGBOUNCER_URLS: names of variables are expected, each of which holds a URL"},
        {{"PG_SERVICE=h"}, "error: variable PG_SERVICE: no password is known"},
        {{"PGBOUNCER_DSN_0=SECRET"}, "error: variable PGBOUNCER_DSN_0: expected NAME="},
        {{"DB_HOST=h", "DB_PASSWORD=p", "ADMIN_USERS=a,b", "ADMIN_PASSWORDS=SECRET"},
         "error: variable ADMIN_PASSWORDS: there must be as many"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct loaded l = fixture_load_variables(rows[i].variables);
        if (l.config != NULL || strstr(l.said, rows[i].says) == NULL)
            fail_msg("%s: said: %s", rows[i].variables[0] != NULL ? rows[i].variables[0] : "nothing", l.said);
        if (strstr(l.said, "SECRET") != NULL && strstr(l.said, "SECRET2") == NULL)
            fail_msg("%s", l.said);
        fixture_done(&l);
    }
}

/* ---- TLS, as URLs say it ---- */

/* What stands in the databases' lines behind the password, and what is said. */
static void test_tls(void **state)
{
    static const struct {
        const char *variables[MAX_VARIABLES];
        const char *keys;
        const char *said;
    } rows[] = {
        {{URL}, "", ""},
        {{URL "?sslmode=disable"}, "sslmode=disable", ""},
        {{URL "?sslmode=allow"}, "sslmode=allow", ""},
        {{URL "?sslmode=prefer"}, "sslmode=prefer", ""},
        {{URL "?sslmode=require"}, "sslmode=require", ""},
        {{URL "?sslmode=verify-ca"}, "sslmode=verify-ca", ""},
        {{URL "?sslmode=verify-full"}, "sslmode=verify-full", ""},
        {{URL "?sslmode=no-verify"}, "sslmode=require", ""},
        {{URL "?sslmode=True"}, "sslmode=require", ""},
        {{URL "?ssl"}, "sslmode=require", ""},
        {{URL "?ssl=true"}, "sslmode=require", ""},
        {{URL "?ssl=True"}, "sslmode=require", ""},
        {{URL "?ssl=1"}, "sslmode=require", ""},
        {{URL "?ssl=yes"}, "sslmode=require", ""},
        {{URL "?ssl=on"}, "sslmode=require", ""},
        {{URL "?ssl=no-verify"}, "sslmode=require", ""},
        {{URL "?ssl=require"}, "sslmode=require", ""},
        {{URL "?ssl=prefer"}, "sslmode=prefer", ""},
        {{URL "?ssl=verify-full"}, "sslmode=verify-full", ""},
        {{URL "?ssl=false"}, "sslmode=disable", ""},
        {{URL "?ssl=0"}, "sslmode=disable", ""},
        {{URL "?ssl=no"}, "sslmode=disable", ""},
        {{URL "?ssl=off"}, "sslmode=disable", ""},
        {{URL "?ssl=disable"}, "sslmode=disable", ""},
        /* of several the strictest */
        {{URL "?ssl=false&sslmode=require"}, "sslmode=require", ""},
        {{URL "?sslmode=verify-full&ssl=true"}, "sslmode=verify-full", ""},
        /* files, as in libpq */
        {{URL "?sslrootcert=/ca"}, "sslrootcert=/ca", ""},
        {{URL "?sslmode=require&sslrootcert=/ca"}, "sslmode=verify-ca sslrootcert=/ca", ""},
        {{URL "?sslrootcert=/ca&ssl=no-verify"}, "sslmode=require sslrootcert=/ca", ""},
        {{URL "?sslrootcert=system"}, "sslmode=verify-full sslrootcert=''", ""},
        {{URL "?sslmode=verify-full&sslrootcert=system"}, "sslmode=verify-full sslrootcert=''", ""},
        {{URL "?sslcert=/c&sslkey=/k"}, "sslcert=/c sslkey=/k", ""},
        {{URL "?sslcert=/c&sslkey=/k&sslcertmode=disable"}, "sslcert='' sslkey=''", ""},
        {{URL "?sslaccept=strict"}, "sslmode=verify-full", ""},
        {{URL "?sslaccept=accept_invalid_certs&ssl=1&sslrootcert=/c"}, "sslmode=require sslrootcert=/c", ""},
        /* each of several has its own */
        {{"DATABASE_URLS=postgres://u:p@h/d?sslmode=verify-full&sslrootcert=/ca,postgres://u:p@h/"
          "e?sslmode=disable,postgres://u:p@h/f"},
         "sslmode=verify-full sslrootcert=/ca|sslmode=disable|",
         ""},
        /* beside the settings: ours before the URL, those of others behind it */
        {{URL "?sslmode=require", "SERVER_TLS_SSLMODE=disable"},
         "sslmode=require",
         "warning: variable DATABASE_URL and variable SERVER_TLS_SSLMODE disagree about server_tls_sslmode: "
         "variable DATABASE_URL counts\n"},
        {{URL "?sslmode=require", "PGBOUNCER_SERVER_TLS_SSLMODE=require"}, "sslmode=require", ""},
        {{URL "?sslmode=require", "PGSLUICE_SERVER_TLS_SSLMODE=verify-full"},
         "",
         "warning: variable DATABASE_URL and variable PGSLUICE_SERVER_TLS_SSLMODE disagree about "
         "server_tls_sslmode: variable PGSLUICE_SERVER_TLS_SSLMODE counts\n"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct loaded l = fixture_load_variables(rows[i].variables);
        if (l.config == NULL || strcmp(l.said, rows[i].said) != 0)
            fail_msg("%s: said: %s", rows[i].variables[0], l.said);
        char *keys = keys_of_databases(l.config);
        if (strcmp(keys, rows[i].keys) != 0)
            fail_msg("%s: %s", rows[i].variables[0], keys);
        free(keys);
        fixture_done(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_targets),
        cmocka_unit_test(test_targets_refused),
        cmocka_unit_test(test_tls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
