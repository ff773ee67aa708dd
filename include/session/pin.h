/*
 * pin.h - a client that keeps its server beyond its transactions, since something lives there that cannot
 * move.
 *
 * In transaction and statement pooling, advisory locks of a session, temporary objects, holdable cursors
 * and loaded libraries are in one server, and the client that has them has to come back to it. So it stays
 * linked (client->keeps_server) while they live:
 *
 *   pin_request()  before a statement goes that may leave something behind. The ledger counts (pool/pins.h);
 *                  beyond its bound the statement is to be refused. A temporary object that is made in a
 *                  transaction counts from its end on, if it is still there: mostly it is not. So does what
 *                  code in a DO may leave;
 *   pin_doubt()    something may have gone, or may not have come at all;
 *   pin_ask()      at the end of a transaction in which there was either, the server is asked what there is;
 *   pin_gone()     that is not there any more. With the last of it the client is an ordinary one again.
 *
 * A client that goes leaves what it has to pin_leave(): the server is cleaned of it, or closed, before
 * anybody else gets it.
 *
 * Threads: the worker's own.
 * Not here: which statements do what (sql_session.h), refusing one (pin_watch.c).
 */
#ifndef SESSION_PIN_H
#define SESSION_PIN_H

#include "session/client.h"
#include "session/server.h"
#include "stats/leaks.h"

/* Bits. */
enum pin_reason {
    PIN_LOCK = 1,      /* advisory locks of the session */
    PIN_TEMP = 2,      /* temporary tables, and other objects in pg_temp */
    PIN_HOLD = 4,      /* cursors WITH HOLD */
    PIN_LOAD = 8,      /* LOAD: until the client goes, and its server then goes too */
    PIN_SETTINGS = 16, /* settings that it has changed (session_state = pin); tracking.c says when they go */
    PIN_ASKED = PIN_LOCK | PIN_TEMP | PIN_HOLD, /* what a server can be asked about */
};
#define PIN_REASONS      5
#define PIN_REASON_BYTES 96 /* room for the names of all */

struct pin {
    uint8_t reasons; /* bits */
    uint8_t noted;   /* of these: have outlived a transaction, and been noted as such */
    uint8_t first;   /* index of the one that was there first */
    bool is_counted; /* by the ledger */
    bool is_doubtful;
    int64_t since_us;
    struct {
        uint64_t fingerprint;
        char statement[LEAK_STATEMENT_BYTES]; /* its shape; "": none that was seen */
    } of[PIN_REASONS];                        /* the last statement that asked for it before it was noted */
};

enum pin_outcome { PIN_GRANTED, PIN_REFUSED, PIN_NO_MEMORY };

/* c has a server, to which text is about to be sent. may_end: at the end of the transaction there may well be
 * nothing, so it counts from then on. Nothing is to be done for a client in session mode: granted. */
enum pin_outcome pin_request(struct client *c, unsigned reasons, bool may_end, const char *text,
                             uint32_t len_bytes) must_check;
/* It keeps its server beyond the transaction, as far as is known. */
static inline bool pin_is_counted(const struct client *c)
{
    return c->pin != NULL && c->pin->is_counted;
}
static inline void pin_doubt(struct client *c)
{
    if (c->pin != NULL)
        c->pin->is_doubtful = true;
}
/* Those are not there any more; with the last of them the server may come free. */
void pin_gone(struct client *c, unsigned reasons);

/* Is the server to be asked, now that a transaction has ended? */
static inline bool pin_must_ask(const struct client *c)
{
    return c->pin != NULL && c->pin->is_doubtful;
}
/* s is quiet and has a client with a pin: SETUP, STEP_PINS. */
void pin_ask(struct server *s);
void pin_row(struct server *s, const uint8_t *body, uint32_t len_bytes);
void pin_answered(struct server *s);
/* CommandComplete to a pinned client. */
void pin_on_complete(struct server *s, const uint8_t *tag, uint32_t len_bytes);

/* c is being taken away from s: what it leaves behind is s->left then. */
void pin_leave(struct server *s, struct client *c);
/* What removes it; NULL: nothing can. */
const char *pin_cleaning_sql(unsigned left);

/* "advisory lock, temporary object" */
void pin_reason_text(unsigned reasons, char out[PIN_REASON_BYTES]);

#endif
