/*
 * strict.c - which settings has a session? The server is asked (strict = on).
 *
 * What functions change cannot be seen in a text, nor what an expression comes to. pg_settings tells what has
 * been set for the session (source 'session'), and whose role it has taken; the sets of client and server are
 * made to agree with it before the client goes on or the server gets another.
 *
 * Settings that an application has made up (with a dot in their names) are in no list of PostgreSQL's: those
 * whose names are known are asked for by name. Where others may have been set, the server remembers who did
 * (unlisted_of), and whoever else gets it has it RESET ALL with his own settings: they do not follow, but
 * nobody else sees them.
 *
 * Without strict, the question is put when a client has set something to a value that is not known.
 *
 * Threads: the owner's of client and server.
 */
#include <string.h>
#include <strings.h>

#include "session/pin.h"
#include "tracking.h"

#define KEPT_BYTES "8192"
_Static_assert(PARAMS_MAX_VALUE_BYTES == 8192, "as much as is kept is asked for");

/* As pg_settings gives them, names and values are what set_config() takes; NULL: what cannot be kept. */
static const char question[] =
    "SELECT n, CASE WHEN pg_catalog.octet_length(v) OPERATOR(pg_catalog.<=) " KEPT_BYTES
    " THEN v END FROM (SELECT name, setting FROM pg_catalog.pg_settings WHERE source OPERATOR(pg_catalog.=) "
    "'session' "
    "UNION ALL SELECT 'role', pg_catalog.current_setting('role') "
    "WHERE pg_catalog.current_setting('role') OPERATOR(pg_catalog.<>) 'none' "
    "UNION ALL SELECT 'session_authorization', session_user";

void strict_begin(struct server *s)
{
    const struct client *c = s->client;
    struct buf sql;

    s->is_compared = true;
    s->step = STEP_STRICT;
    s->setup_failed = false;
    if (c->is_strict || c->tracking->is_nameless)
        s->unlisted_of = c->id;
    params_unref(s->strict);
    s->strict = params_empty();
    server_set_state(s, SERVER_SETUP);
    buf_init(&sql, 1 << 20);
    buf_append_str(&sql, question);
    params_put_dotted_query(s->params, c->params, &sql);
    buf_append_str(&sql, ") AS s (n, v)");
    if (sql.failed || !server_send_internal(s, buf_cstr(&sql)))
        server_close(s, CLOSE_CHECK_QUERY_FAILED, NULL);
    buf_free(&sql);
}

static bool put(struct params **set, const char *name, const char *value)
{
    struct params *next = value != NULL ? params_with(*set, name, value) : params_without(*set, name);
    if (next == NULL)
        return false;
    params_unref(*set);
    *set = next;
    return true;
}

/* A column of text, with a NUL behind it in out. False: it is NULL, or too long. */
static bool take_column(const uint8_t **at, const uint8_t *end, char *out, size_t size)
{
    if (end - *at < 4)
        return false;
    const uint32_t n = wire_u32(*at);
    *at += 4;
    if (n >= size || (size_t)(end - *at) < n)
        return false;
    memcpy(out, *at, n);
    out[n] = '\0';
    *at += n;
    return true;
}

void strict_on_row(struct server *s, const uint8_t *body, uint32_t len_bytes)
{
    char name[PARAMS_MAX_NAME_BYTES + 1], value[PARAMS_MAX_VALUE_BYTES + 1];
    const uint8_t *at = body + 2, *end = body + len_bytes;

    if (s->strict == NULL)
        return;
    if (len_bytes < 2 || !take_column(&at, end, name, sizeof(name)) ||
        !take_column(&at, end, value, sizeof(value)) || !put(&s->strict, name, value)) {
        params_unref(s->strict); /* it has what cannot be kept */
        s->strict = NULL;
    }
}

static bool is_other_kind(const struct params *reported, const char *name)
{
    static const char *const of_transaction[] = {"transaction_isolation", "transaction_read_only",
                                                 "transaction_deferrable", "seed"};

    for (size_t i = 0; i < ARRAY_SIZE(of_transaction); i++) {
        if (strcasecmp(name, of_transaction[i]) == 0)
            return true;
    }
    return params_get(reported, name) != NULL || !params_is_settable(name);
}

/* The client's value is not the server's, which is known: it has RESET it, and is to get back its own. */
static bool is_to_be_restored(const struct params *client, const struct params *server, const char *name)
{
    const char *mine = params_get(client, name), *there = params_get(server, name);

    return mine != NULL &&
           (there == NULL || (strcmp(there, PARAMS_UNKNOWN) != 0 && strcmp(there, mine) != 0));
}

/* What the session has become is the set's. server: what was known of it, where the set is its client's. */
static bool follow(struct params **set, const struct params *found, const struct params *reported,
                   const struct params *server)
{
    const char *identity = params_get(found, "session_authorization");
    const char *login = params_get(reported, "session_authorization");
    struct params *before = params_ref(*set);
    bool ok = true;

    for (uint32_t i = 0; ok && i < params_count(before); i++) {
        const char *name = params_name(before, i);
        if (!is_other_kind(reported, name) && params_get(found, name) == NULL &&
            !(server != NULL && is_to_be_restored(before, server, name)))
            ok = put(set, name, NULL);
    }
    for (uint32_t i = 0; ok && i < params_count(found); i++) {
        const char *name = params_name(found, i);
        if (!is_other_kind(reported, name))
            ok = put(set, name, params_value(found, i));
    }
    if (ok && identity != NULL && login != NULL)
        ok = put(set, "session_authorization", strcmp(identity, login) != 0 ? identity : NULL);
    params_unref(before);
    return ok;
}

/* The client has its answer: it goes on with another server, unless this one has more of its. */
static void part(struct server *s)
{
    static const char why[] = "it did not say which settings it has";

    if (s->client != NULL && (s->client->pool_mode == POOL_MODE_SESSION || pin_is_counted(s->client))) {
        server_close(s, CLOSE_UNCLEAN, why);
        return;
    }
    struct client *c = server_detach_client(s);

    if (c != NULL)
        client_set_state(c, CLIENT_IDLE);
    server_close(s, CLOSE_UNCLEAN, why);
    if (c != NULL)
        client_resume(c);
}

/* It has what cannot be kept: neither the client nor the server can go on. */
static void lose(struct server *s)
{
    struct client *c = server_detach_client(s);

    if (c != NULL)
        client_close(c, CLOSE_SETTINGS_LOST, NULL);
    server_close(s, CLOSE_UNCLEAN, close_reason_text(CLOSE_SETTINGS_LOST));
}

void strict_done(struct server *s)
{
    struct params *reported = pool_welcome(s->pool), *found = s->strict;
    struct client *c = s->client;
    bool ok = !s->setup_failed, is_lost = ok && found == NULL;

    s->step = STEP_NONE;
    s->strict = NULL;
    if (ok && !is_lost)
        is_lost = (c != NULL && !follow(&c->params, found, reported, s->params)) ||
                  !follow(&s->params, found, reported, NULL);
    params_unref(found);
    params_unref(reported);
    if (is_lost) {
        lose(s);
        return;
    }
    if (!ok) {
        part(s);
        return;
    }
    if (c == NULL) {
        server_release(s);
        return;
    }
    if (c->tracking != NULL)
        c->tracking->is_doubtful = c->tracking->is_nameless = false;
    tracking_trim(c);
    tracking_unpin(c);
    server_set_state(s, SERVER_ACTIVE);
    server_after_batch(s);
}
