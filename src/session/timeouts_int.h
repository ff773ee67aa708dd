/*
 * timeouts_int.h - timeouts of clients that are logged in, and transactions that they end: what the other
 * files of session/ ask of timeouts.c and lost_transaction.c. Included by session_int.h.
 */
#ifndef SESSION_TIMEOUTS_INT_H
#define SESSION_TIMEOUTS_INT_H

#include "session/client.h"
#include "session/server.h"
#include "session/shard.h"

/* timeouts.c: timeouts of what is logged in and not waiting */
void timeouts_tick(struct shard *sh, int64_t now_us);
/* query_timeout has struck a client whose request no server has got anything of: does it keep its session? */
bool timeouts_keep_session(const struct client *c) must_check;
/* Then it is answered. cause: why it got no server, or "". Its next request may begin: not in a walk. */
void timeouts_cancel_unsent(struct client *c, const char *cause);
/* An answer to the client is complete and a cancel or a timeout has to do with it. True: that is seen to, the
 * server is not to be looked at as usual. */
bool timeouts_after_answer(struct server *s);
/* A reason why s is BARRED may have gone. If none is left, its client goes on. */
void timeouts_unbar(struct server *s);

/* lost_transaction.c: a transaction is ended and its client keeps the session */
/* s is ACTIVE and its client idle in a transaction. False: it cannot be done without harm. */
bool lost_begin(struct server *s, enum close_reason why) must_check;
/* STEP_ROLLBACK has been answered well; s has a client. */
void lost_rolled_back(struct server *s);
/* Starts STEP_FAIL on a linked server. */
bool lost_send_failure(struct server *s) must_check;
/* STEP_FAIL has been answered, as it should be. */
bool lost_has_failed(const struct server *s) must_check;
/* Its next message (header at data) may be a ROLLBACK, and has not arrived whole. */
bool lost_wants_more(const struct client *c, const uint8_t *data, uint32_t len_bytes) must_check;
/* A message (header at data) of a client whose c->lost is set, and which has no server that it may use. True:
 * dealt with, to be dropped (or the client has gone). */
bool lost_take_message(struct client *c, const uint8_t *data, uint32_t len_bytes) must_check;
static inline bool lost_must_be_told(const struct client *c)
{
    return c->lost == LOST_UNTOLD || c->lost == LOST_SKIPPING;
}

#endif
