/*
 * lost_transaction.c - a timeout ends a client's transaction, and the client keeps its session
 * (timeout_action = cancel).
 *
 * Between two statements there is nothing that PostgreSQL could cancel. So the transaction is
 * rolled back by a query of ours, and in transaction pooling the server goes back to the pool. The client
 * believes that it is still in its transaction, and nothing that it sends may run outside of one:
 *
 *  - Its next statement fails with the timeout's SQLSTATE, whatever it is: a COMMIT that succeeded
 *    would be a lie. Only a plain ROLLBACK succeeds, and ends the matter.
 *  - From then on it believes itself in a failed transaction. It is given a server on which one was
 *    begun and has failed (STEP_FAIL), and PostgreSQL itself answers what follows (25P02) until the client
 *    ends it. So no statement has to be understood here.
 *  - Who has seen its transaction fail before knows already, and begins with the second.
 *
 * In session pooling the server stays with its client, BARRED until the client has been told.
 *
 * Threads: the worker's own.
 */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "session_int.h"

/* The name is for those who read PostgreSQL's log. */
#define FAILING_SQL "BEGIN; ROLLBACK TO SAVEPOINT pgsluice_ended_this_transaction"

#define MAX_ROLLBACK_BYTES 64 /* a Query that is longer is none of these */

static const char hint[] = "The transaction was rolled back; end it before you begin another one.";

bool lost_begin(struct server *s, enum close_reason why)
{
    struct client *c = s->client;

    /* in the middle of a message (COPY data that came too late) ours would be taken for the rest of it */
    if (c->remain_bytes > 0 || s->tracker.is_tainted || !server_send_internal(s, "ROLLBACK"))
        return false;
    c->lost = s->tracker.tx_status == 'E' ? LOST_TOLD : LOST_UNTOLD;
    c->lost_why = (uint8_t)why;
    s->struck = why;
    s->step = STEP_ROLLBACK;
    s->setup_failed = false;
    s->xact_start_us = s->idle_in_xact_us = 0;
    s->turn_us = s->shard->now_us;
    server_set_state(s, SERVER_SETUP);
    return true;
}

void lost_rolled_back(struct server *s)
{
    struct client *c = s->client;

    s->struck = CLOSE_NONE;
    s->step = STEP_NONE;
    if (!c->keeps_server) {
        server_release(s);
        return;
    }
    server_set_state(s, SERVER_BARRED);
    if (shard_ends_client(s->shard, c))
        client_close(c, CLOSE_SHUTDOWN, NULL);
    else if (lost_must_be_told(c))
        client_resume(c);
    else
        timeouts_unbar(s);
}

bool lost_send_failure(struct server *s)
{
    s->step = STEP_FAIL;
    s->setup_failed = false;
    if (s->state != SERVER_SETUP)
        server_set_state(s, SERVER_SETUP);
    return server_send_internal(s, FAILING_SQL);
}

bool lost_has_failed(const struct server *s)
{
    return !tracker_is_busy(&s->tracker) && s->tracker.tx_status == 'E' && s->partial.len == 0 &&
           s->remain_bytes == 0;
}

/* ---- telling ---- */

bool lost_wants_more(const struct client *c, const uint8_t *data, uint32_t len_bytes)
{
    uint32_t len = wire_u32(data + 1);
    return c->lost == LOST_UNTOLD && data[0] == 'Q' && len <= MAX_ROLLBACK_BYTES && len_bytes < 1 + len;
}

/* A simple query that does nothing but end the transaction. False also when it has not arrived whole. */
static bool is_rollback(const uint8_t *data, uint32_t len_bytes)
{
    static const char *const forms[] = {"ROLLBACK", "ABORT", "ROLLBACK TRANSACTION", "ROLLBACK WORK"};
    uint32_t len = wire_u32(data + 1);
    const char *sql = (const char *)data + WIRE_HEADER_BYTES;

    if (data[0] != 'Q' || len < 5 || len_bytes < 1 + len)
        return false;
    size_t n = len - 5; /* without the NUL */
    while (n > 0 && (isspace((unsigned char)sql[n - 1]) || sql[n - 1] == ';'))
        n--;
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++)
        if (n == strlen(forms[i]) && strncasecmp(sql, forms[i], n) == 0)
            return true;
    return false;
}

static void put_error(struct client *c, struct buf *b)
{
    enum close_reason why = c->lost_why;
    wire_put_error(b, "ERROR", close_reason_sqlstate(why), close_reason_message(why), NULL, hint);
}

/* The answer to a message of this type, and what the client knows afterwards. */
static void answer(struct client *c, const uint8_t *data, uint32_t len_bytes, struct buf *b)
{
    uint8_t type = data[0];

    if (type == 'S') {
        wire_put_ready(b, 'E');
        if (c->lost == LOST_SKIPPING)
            c->lost = LOST_TOLD;
    } else if (c->lost == LOST_SKIPPING) {
        return;
    } else if (is_rollback(data, len_bytes)) {
        wire_put_command_complete(b, "ROLLBACK");
        wire_put_ready(b, 'I');
        c->lost = LOST_NOTHING;
    } else if (type == 'Q' || type == 'F') {
        put_error(c, b);
        wire_put_ready(b, 'E');
        c->lost = LOST_TOLD;
    } else {
        put_error(c, b);
        c->lost = LOST_SKIPPING;
    }
}

bool lost_take_message(struct client *c, const uint8_t *data, uint32_t len_bytes)
{
    struct buf b;

    if (!lost_must_be_told(c))
        return false;
    buf_init(&b, 4096);
    answer(c, data, len_bytes, &b);
    bool ok = !b.failed && (b.len == 0 || stream_send(&c->stream, b.data, b.len));
    buf_free(&b);
    if (!ok)
        client_close(c, CLOSE_WORKER_IO, NULL);
    return true;
}
