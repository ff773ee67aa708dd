/*
 * ahead.h - the client's settings go ahead of its request: see ahead.c.
 *
 * Threads: the owner's of client and server.
 */
#ifndef SESSION_AHEAD_H
#define SESSION_AHEAD_H

#include "prepared_int.h"

/* Its settings are the client's from here on. */
void server_takes_settings(struct server *s, const struct client *c);
/* Linked, with a client that is about to send a request? */
bool ahead_may_begin(const struct server *s) must_check;
/* The Query of these SETs is the next that the server gets, with what client_resume() forwards; the server is
 * its client's now. False: no memory, the server is to be closed. */
bool ahead_begin(struct server *s, const char *sets) must_check;
/* Unanswered: must the message, whose header is there, wait for the answer? Asked ahead of any look at it. */
bool ahead_must_wait(const struct client *c, const struct server *s, const uint8_t *message,
                     uint32_t here_bytes) must_check;
/* ReadyForQuery to the Query of ours. False: it has failed; client and server are closed. */
bool ahead_answered(struct server *s) must_check;

/* A message of this type has gone. */
static inline void ahead_took(struct server *s, uint8_t type)
{
    if (type == 'Q' || type == 'S' || type == 'F')
        s->ahead_state = AHEAD_FULL;
}

/* What is not the client's among the ReadyForQuery messages that are owed. */
static inline uint32_t ahead_ready_due(const struct server *s)
{
    return unlikely(s->ahead_state != AHEAD_NONE) ? 1 : 0;
}

#endif
