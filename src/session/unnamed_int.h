/*
 * unnamed_int.h - the unnamed statement of clients on servers that they share: prepared_unnamed.c.
 */
#ifndef UNNAMED_INT_H
#define UNNAMED_INT_H

#include "prepared_int.h"

#define UNNAMED_MAX_BYTES 32768u
/* Is the server's the client's, and the one that it has now? */
static inline bool unnamed_is_there(const struct client *c, const struct server *s)
{
    return s->unnamed_of == c->id && s->unnamed_number == c->unnamed_number;
}
/* It is, from now on: its Parse is the next request, or has been the last one (position: tracker.tail, or 1
 * less). */
static inline void unnamed_is_sent(const struct client *c, struct server *s, uint32_t position)
{
    s->unnamed_of = c->id;
    s->unnamed_is_ours = false;
    s->unnamed_position = position;
    s->unnamed_number = c->unnamed_number;
}
/* It is not, neither there nor where the client has been before. */
static inline void unnamed_ends(struct client *c, struct server *s)
{
    s->unnamed_of = 0;
    c->unnamed_number++;
}
/* The client's unnamed statement ends: by another Parse, a Query, a Close. What has been gathered up to `at`
 * may be sent first; false: the server is lost, its client too. */
bool unnamed_forget(struct client *c, struct server *s, struct outgoing *o, uint32_t at) must_check;
/* o->unnamed_at stays unbound as its batch ends: keeps it. */
void unnamed_keep(struct client *c, struct outgoing *o);
/* An error, which the tracker has been told of, an answer to the request at that position of the ring: a
 * Parse from there up to what comes next has not been performed. */
void unnamed_on_error(struct server *s, uint32_t position);
/* A Bind or Describe of the unnamed statement at data[at..]: what the server must get before it. PLAIN: it
 * follows as it is. */
enum prepared_step unnamed_use(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                               uint32_t len_bytes) must_check;

#endif
