/*
 * instance.c - finds the console of an instance and connects to it.
 *
 * Of an ini file only the three settings that lead to the socket are read, and
 * whatever else stands there is passed over: an operator who has just broken the
 * file must still be able to reach the instance that runs with the old one. The
 * configuration proper is read by config/ in the pooler.
 */
#include "config.h"

#include "cli_int.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <ini.h>

#include "base/mem.h"
#include "base/str.h"

#define DEFAULT_PORT       "6432"
#define DEFAULT_SOCKET_DIR "/tmp"
#define CONSOLE_DATABASE   "pgsluice"
#define CONSOLE_USER       "pgbouncer" /* needs no password over the Unix socket, for the pooler's own uid */
#define CONNECT_TIMEOUT    "10"
#define INCLUDE_DEPTH_MAX  10

/* Where an instance listens; strings are owned, NULL where nothing says. */
struct place {
    char *port;
    char *socket_dir; /* "" = no Unix socket */
    char *addr;
};

static const struct {
    const char *setting;
    const char *variable; /* wins over the file, as in the pooler */
    size_t offset;
} place_settings[] = {
    {"listen_port", "PGSLUICE_LISTEN_PORT", offsetof(struct place, port)},
    {"unix_socket_dir", "PGSLUICE_UNIX_SOCKET_DIR", offsetof(struct place, socket_dir)},
    {"listen_addr", "PGSLUICE_LISTEN_ADDR", offsetof(struct place, addr)},
};

static void place_set(struct place *p, size_t i, const char *value)
{
    char **field = (char **)(void *)((char *)p + place_settings[i].offset);

    free(*field);
    *field = xstrdup(value);
}

/* ---- the ini file ---- */

struct lines {
    FILE *files[INCLUDE_DEPTH_MAX]; /* the last one is being read */
    int depth;
    char *line; /* of getline() */
    size_t size_bytes;
};

static bool lines_push(struct lines *l, const char *path)
{
    FILE *f;

    if (l->depth == INCLUDE_DEPTH_MAX) {
        fprintf(stderr, CLI_PROGRAM ": %s: too many files include each other\n", path);
        return false;
    }
    f = fopen(path, "re");
    if (f == NULL) {
        fprintf(stderr, CLI_PROGRAM ": cannot read %s: %s\n", path, strerror(errno));
        return false;
    }
    l->files[l->depth++] = f;
    return true;
}

/* The line without blanks around it; NULL at the end of the last file. */
static char *lines_next(struct lines *l)
{
    ssize_t n = 0;
    char *s;

    while (l->depth > 0 && (n = getline(&l->line, &l->size_bytes, l->files[l->depth - 1])) < 0)
        fclose(l->files[--l->depth]);
    if (l->depth == 0)
        return NULL;
    while (n > 0 && isspace((unsigned char)l->line[n - 1]))
        l->line[--n] = '\0';
    for (s = l->line; isspace((unsigned char)*s); s++) /* an indented line is a continuation to inih */
        continue;
    return s;
}

/* inih's fgets. What is longer than its buffer holds none of our settings, and inih would cut it in two. */
static char *lines_read(char *str, int size, void *stream)
{
    struct lines *l = stream;
    char *s;

    while ((s = lines_next(l)) != NULL) {
        if (str_has_prefix(s, "%include") && isspace((unsigned char)s[strlen("%include")])) {
            for (s += strlen("%include"); isspace((unsigned char)*s); s++)
                continue;
            (void)lines_push(l, s); /* said on stderr; the rest may still tell */
        } else if (strlen(s) < (size_t)size) {
            str_copy(str, s, (size_t)size);
            return str;
        }
    }
    return NULL;
}

static int ini_entry(void *arg, const char *section, const char *name, const char *value)
{
    struct place *p = arg;

    if (name == NULL || (strcmp(section, "pgsluice") != 0 && strcmp(section, "pgbouncer") != 0))
        return 1;
    for (size_t i = 0; i < ARRAY_SIZE(place_settings); i++) {
        if (strcmp(name, place_settings[i].setting) == 0)
            place_set(p, i, value != NULL ? value : "");
    }
    return 1;
}

static bool place_read(struct place *p, const char *ini_path)
{
    struct lines l = {.depth = 0};

    if (!lines_push(&l, ini_path))
        return false;
    (void)ini_parse_stream(lines_read, &l, ini_entry,
                           p); /* lines that it cannot read are the pooler's matter */
    while (l.depth > 0)
        fclose(l.files[--l.depth]);
    free(l.line);
    return true;
}

/* ---- connecting ---- */

enum { PARAMS_MAX = 64 };

struct params {
    const char *keys[PARAMS_MAX + 1];
    const char *values[PARAMS_MAX + 1];
    int count;
};

/* The first one of a name counts. */
static void params_add(struct params *p, const char *key, const char *value)
{
    for (int i = 0; i < p->count; i++) {
        if (strcmp(p->keys[i], key) == 0)
            return;
    }
    if (p->count == PARAMS_MAX)
        return;
    p->keys[p->count] = key;
    p->values[p->count++] = value;
}

static PGconn *params_connect(struct params *p, const char *hint)
{
    PGconn *conn;

    params_add(p, "dbname", CONSOLE_DATABASE);
    params_add(p, "connect_timeout", CONNECT_TIMEOUT);
    params_add(p, "fallback_application_name", CLI_PROGRAM);
    conn = PQconnectdbParams(p->keys, p->values, 0);
    if (conn != NULL && PQstatus(conn) == CONNECTION_OK)
        return conn;
    fprintf(stderr, CLI_PROGRAM ": ");
    output_text(stderr, conn != NULL ? PQerrorMessage(conn) : "out of memory\n");
    if (hint != NULL)
        fprintf(stderr, "%s\n", hint);
    PQfinish(conn);
    return NULL;
}

static PGconn *connect_by_dsn(const char *dsn)
{
    char *error = NULL;
    PQconninfoOption *options = PQconninfoParse(dsn, &error);
    struct params p = {.count = 0};
    PGconn *conn;

    if (options == NULL) {
        fprintf(stderr, CLI_PROGRAM ": bad DSN: %s", error != NULL ? error : "out of memory\n");
        PQfreemem(error);
        return NULL;
    }
    for (PQconninfoOption *o = options; o->keyword != NULL; o++) {
        if (o->val != NULL)
            params_add(&p, o->keyword, o->val);
    }
    if (getenv("PGUSER") == NULL)
        params_add(&p, "user", CONSOLE_USER);
    conn = params_connect(&p, NULL);
    PQconninfoFree(options);
    return conn;
}

/* An address to reach the pooler on this machine: the first of the list; all addresses include localhost. */
static char *local_host(const char *addr)
{
    size_t skip = strspn(addr, ", \t"), len = strcspn(addr + skip, ", \t");
    char *host = xstrndup(addr + skip, len);

    if (host[0] == '\0' || strcmp(host, "*") == 0 || strcmp(host, "0.0.0.0") == 0 ||
        strcmp(host, "::") == 0) {
        free(host);
        host = xstrdup("localhost");
    }
    return host;
}

static PGconn *connect_by_place(const struct place *place)
{
    const char *port = place->port != NULL ? place->port : DEFAULT_PORT;
    const char *dir = place->socket_dir != NULL ? place->socket_dir : DEFAULT_SOCKET_DIR;
    struct params p = {.count = 0};
    char *host = NULL;
    int64_t number;
    PGconn *conn;

    if (!str_to_int64(port, &number) || number < 1 || number > 65535) {
        fprintf(stderr, CLI_PROGRAM ": listen_port is no port: %s\n", port);
        return NULL;
    }
    params_add(&p, "port", port);
    if (dir[0] != '\0') {
        params_add(&p, "host", dir);
        params_add(&p, "user", CONSOLE_USER);
    } else {
        host = local_host(place->addr != NULL ? place->addr : "");
        params_add(&p, "host", host);
    }
    conn = params_connect(&p, "Is it running there? Run " CLI_PROGRAM
                              " as the user that runs pgsluice, or say where it is with --config or --dsn.");
    free(host);
    return conn;
}

PGconn *instance_connect(const char *dsn, const char *ini_path)
{
    struct place place = {NULL, NULL, NULL};
    PGconn *conn = NULL;

    if (dsn == NULL && ini_path == NULL)
        dsn = getenv("PGSLUICE_DSN");
    if (dsn != NULL && dsn[0] != '\0')
        return connect_by_dsn(dsn);
    if (ini_path == NULL || place_read(&place, ini_path)) {
        for (size_t i = 0; i < ARRAY_SIZE(place_settings); i++) {
            const char *value = getenv(place_settings[i].variable);

            if (value != NULL)
                place_set(&place, i, value);
        }
        conn = connect_by_place(&place);
    }
    free(place.port);
    free(place.socket_dir);
    free(place.addr);
    return conn;
}
