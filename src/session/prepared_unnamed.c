/*
 * prepared_unnamed.c - the unnamed statement of clients on servers that they share.
 *
 * A server has one, of whoever parsed last (server->unnamed_of, and which of his: he may have parsed others
 * elsewhere since). Mostly it is bound in the batch that parses
 * it, and nothing is to be done. A client that parses in one batch and binds in a later one may have another
 * server by then, or another client's statement on the same one: so what ends a batch unbound is kept
 * (client->unnamed), and goes ahead of a Bind or Describe on a server that has it not. What was not kept is
 * closed there instead, so that PostgreSQL says that there is none, rather than run another client's.
 *
 * An error makes the server skip what follows, perhaps a Parse, which then is not there.
 *
 * Not kept: what has been bound in its batch, and is then bound again on another server; a Parse of more than
 * UNNAMED_MAX_BYTES; commands about statements (prepared_sql.c).
 *
 * Threads: the owner's of client and server.
 * Source: PostgreSQL documentation, "Extended Query" (life of the unnamed statement).
 */
#include <stdlib.h>
#include <string.h>

#include "prepared_int.h"

bool unnamed_forget(struct client *c, struct server *s, struct outgoing *o, uint32_t at)
{
    if (s->tracker.is_skipping) /* the server does not look at what would end it */
        return true;
    if (o->n > 0 && !outgoing_send(s, o, at)) /* it may be among what has been gathered */
        return false;
    free(c->unnamed);
    c->unnamed = NULL;
    return true;
}

void unnamed_on_error(struct server *s, uint32_t position)
{
    struct client *c = s->client;

    if (!unnamed_is_there(c, s) || (int32_t)(s->unnamed_position - position) < 0 ||
        (int32_t)(s->unnamed_position - s->tracker.head) >= 0)
        return;
    if (s->unnamed_is_ours) { /* the client has had its answer elsewhere */
        s->unnamed_of = 0;
        return;
    }
    free(c->unnamed);
    c->unnamed = NULL;
    unnamed_ends(c, s);
}

void unnamed_keep(struct client *c, struct outgoing *o)
{
    const uint8_t *message = o->data + o->unnamed_at;
    const uint32_t whole_bytes = 1 + wire_u32(message + 1);

    o->unnamed_at = OUTGOING_NO_UNNAMED;
    free(c->unnamed); /* none, but for a Parse that was skipped */
    c->unnamed = malloc(whole_bytes);
    if (c->unnamed != NULL)
        memcpy(c->unnamed, message, whole_bytes);
}

/* Is it whole, and are its names what they seem to be? */
static bool is_unnamed(const uint8_t *message, uint32_t here_bytes)
{
    struct statement_message m;
    return statement_look(message, here_bytes, &m) == STATEMENT_NONE && m.head_bytes > 0;
}

enum prepared_step unnamed_use(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                               uint32_t len_bytes)
{
    static const uint8_t close[] = {'C', 0, 0, 0, 6, 'S', 0};
    const uint8_t *message = o->data + at;

    if (unnamed_is_there(c, s) || prepared_is_ignored(s) || !is_unnamed(message, len_bytes - at))
        return PREPARED_PLAIN;
    if (tracker_in_flight(&s->tracker) > TRACKER_MAX_REQUESTS - OUTGOING_MESSAGES_OF_ONE)
        return PREPARED_FULL;
    if (!prepared_ensure(s))
        return PREPARED_NO_MEMORY;
    if (!outgoing_reserve(s, o, at))
        return PREPARED_LOST;
    enum prepared_step step = prepared_step_of(tracker_inject(&s->tracker, c->unnamed != NULL ? 'P' : 'C'));
    if (step != PREPARED_TAKEN)
        return step;
    if (!prepared_note(s, NOTE_OWN_NOTHING, NULL, NULL))
        return PREPARED_NO_MEMORY;
    outgoing_range(o, at);
    if (c->unnamed != NULL)
        outgoing_put(o, c->unnamed, 1 + wire_u32(c->unnamed + 1));
    else
        outgoing_put(o, close, sizeof(close));
    unnamed_is_sent(c, s, s->tracker.tail - 1);
    s->unnamed_is_ours = true;
    return PREPARED_PLAIN;
}
