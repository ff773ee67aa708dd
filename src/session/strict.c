/*
 * strict.c - which settings has a session? The server is asked (strict = on).
 *
 * What functions change cannot be seen in a text, nor what an expression comes to. pg_settings tells what has
 * been set for the session (source 'session'), and whose role it has taken; the sets of client and server are
 * made to agree with it before the client goes on or the server gets another.
 *
 * Without strict, the question is put when a client has set something to a value that is not known.
 *
 * Threads: the owner's of client and server.
 */
#include <string.h>
#include <strings.h>

#include "session/pin.h"
#include "tracking.h"

/* As pg_settings gives them, names and values are what set_config() takes. */
static const char question[] =
    "SELECT name, setting FROM pg_catalog.pg_settings WHERE source OPERATOR(pg_catalog.=) 'session' "
    "UNION ALL SELECT 'role', pg_catalog.current_setting('role') "
    "WHERE pg_catalog.current_setting('role') OPERATOR(pg_catalog.<>) 'none' "
    "UNION ALL SELECT 'session_authorization', session_user";

void strict_begin(struct server *s)
{
    s->is_compared = true;
    s->step = STEP_STRICT;
    s->setup_failed = false;
    params_unref(s->strict);
    s->strict = params_empty();
    server_set_state(s, SERVER_SETUP);
    if (!server_send_internal(s, question))
        server_close(s, CLOSE_CHECK_QUERY_FAILED, NULL);
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

    if (len_bytes < 2 || !take_column(&at, end, name, sizeof(name)) ||
        !take_column(&at, end, value, sizeof(value)) || !put(&s->strict, name, value))
        s->tracker.is_tainted = true; /* it has what cannot be kept: for nobody else */
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

/* What the session has becomes the set's. */
static bool follow(struct params **set, const struct params *found, const struct params *reported)
{
    const char *identity = params_get(found, "session_authorization");
    const char *login = params_get(reported, "session_authorization");
    struct params *before = params_ref(*set);
    bool ok = true;

    for (uint32_t i = 0; ok && i < params_count(before); i++) {
        const char *name = params_name(before, i);
        if (!is_other_kind(reported, name) && params_get(found, name) == NULL)
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

void strict_done(struct server *s)
{
    struct params *reported = pool_welcome(s->pool), *found = s->strict;
    struct client *c = s->client;
    bool ok = !s->setup_failed;

    s->step = STEP_NONE;
    s->strict = NULL;
    if (ok)
        ok = follow(&s->params, found, reported) && (c == NULL || follow(&c->params, found, reported));
    params_unref(found);
    params_unref(reported);
    if (!ok) {
        part(s);
        return;
    }
    if (c == NULL) {
        server_release(s);
        return;
    }
    if (c->tracking != NULL)
        c->tracking->is_doubtful = false;
    tracking_trim(c);
    tracking_unpin(c);
    server_set_state(s, SERVER_ACTIVE);
    server_after_batch(s);
}
