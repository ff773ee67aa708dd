/*
 * replication.c - a client that replicates gets a connection of its own.
 *
 * PostgreSQL makes a connection a walsender at its login, so no pooled connection can serve such a client. It
 * queues for a server like any other, since it counts in the limits like any other. The server that it is
 * granted ends, and in its slot, once PostgreSQL has closed the old one, a new one is opened with the
 * client's own start-up parameters. It stays with the client as in session mode, and is closed after it.
 *
 * While this goes on the slot is ACTIVE, the server CONNECTING with s->client set, and the client LOGIN_WAIT:
 * client_login_timeout and server_connect_timeout watch over it.
 *
 * Threads: the worker's own.
 * Source: PostgreSQL documentation, "Streaming Replication Protocol".
 */
#include <stdio.h>
#include <stdlib.h>

#include "server_login_int.h"

/* The old connection has no words for us any more; what counts is its end. */
static void leaving_on_read(struct stream *st)
{
    struct server *s = container_of(st, struct server, stream);
    int n;

    shard_touch(s->shard);
    do
        n = stream_recv(st, st->loop->read_buffer, LOOP_READ_BUFFER_BYTES);
    while (n > 0);
    if (n != STREAM_AGAIN)
        replication_go_on(s);
}

static void leaving_on_drain(struct stream *st)
{
    (void)st;
}

static void leaving_on_error(struct stream *st, int err)
{
    struct server *s = container_of(st, struct server, stream);

    (void)err;
    shard_touch(s->shard);
    replication_go_on(s);
}

static const struct stream_ops leaving_stream_ops = {
    .on_read = leaving_on_read,
    .on_drain = leaving_on_drain,
    .on_error = leaving_on_error,
};

/* What the old connection was. */
static void forget_connection(struct server *s)
{
    prepared_server_free(s);
    params_unref(s->params);
    s->params = NULL;
    free(s->key);
    s->key = NULL;
    s->key_bytes = 0;
    s->backend_pid = 0;
    s->connected_us = 0;
    s->is_suspect = s->must_recycle = false;
}

void replication_link(struct server *s, struct client *c)
{
    static const uint8_t terminate[5] = {'X', 0, 0, 0, 4};
    const struct database_config *db =
        config_find_database(s->shard->config->config, s->pool->database->name);

    if (db == NULL) {
        server_give_back(s, CLOSE_NONE);
        client_close(c, CLOSE_DATABASE_REMOVED, NULL);
        return;
    }
    s->client = c;
    c->server = s;
    s->replication = c->replication;
    server_log_close(s, CLOSE_REPLICATION_BEGINS, NULL);
    forget_connection(s);
    server_set_state(s, SERVER_CONNECTING);
    if (!server_login_new(s, db)) {
        server_login_failed(s, CLOSE_NO_MEMORY, "53200", NULL);
        return;
    }
    s->login->stage = STAGE_LEAVING;
    s->stream.ops = &leaving_stream_ops;
    if (stream_send(&s->stream, terminate, sizeof(terminate)))
        stream_shutdown_write(&s->stream);
    else
        replication_go_on(s);
}

void replication_go_on(struct server *s)
{
    stream_close(&s->stream);
    buf_clear(&s->partial);
    if (!server_login_dial(s))
        server_login_failed(s, CLOSE_NO_MEMORY, "53200", NULL);
}

void replication_ready(struct server *s, struct params *welcome)
{
    struct client *c = s->client;

    if (!client_login_finish_replication(c, welcome))
        return; /* and the server with it */
    s->was_ready = false;
    s->is_fresh = false;
    s->is_first = true;
    s->struck = CLOSE_NONE;
    s->request_us = s->turn_us = s->shard->now_us;
    s->query_start_us = s->xact_start_us = s->idle_in_xact_us = 0;
    client_set_state(c, CLIENT_ACTIVE);
    server_set_state(s, SERVER_ACTIVE);
    client_resume(c);
}

void replication_failed(struct server *s, enum close_reason why, const char *sqlstate, const char *text)
{
    struct client *c = server_detach_client(s);
    char message[POOL_ERROR_BYTES + 64];
    const char *what = text != NULL ? text : close_reason_text(why);
    const char *state = sqlstate != NULL ? sqlstate : close_reason_sqlstate(why);
    bool was_in = s->login != NULL && s->login->stage >= STAGE_PARAMETERS && s->stream.fd >= 0;

    snprintf(message, sizeof(message), "server login failed: %.*s", POOL_ERROR_BYTES, what);
    if (c != NULL)
        server_log(s, LOG_LVL_WARNING, "replication: %s", message);
    bool is_ours = pool_closing(s->pool, s->slot, why, s->shard->now_us);
    debug_assert(is_ours); /* an ACTIVE slot is */
    (void)is_ours;
    stats_errors_count_close(s->shard->instance->errors, s->shard->index, why);
    server_login_free(s);
    s->stream.ops = &server_stream_ops;
    if (was_in) {
        server_say_goodbye(s);
    } else {
        server_set_state(s, SERVER_CLOSING);
        server_finish_close(s);
    }
    if (c != NULL)
        client_close_error(c, CLOSE_SERVER_LOGIN_FAILED, state != NULL ? state : "08001", message, NULL);
}
