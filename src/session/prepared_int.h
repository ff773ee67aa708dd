/*
 * prepared_int.h - prepared statements of clients on servers that they share.
 */
#ifndef PREPARED_INT_H
#define PREPARED_INT_H

#include <sys/uio.h>

#include "session_int.h"
#include "wire/statement_cache.h"
#include "wire/statement_message.h"
#include "wire/statement_names.h"

#define OUTGOING_PIECES        48
#define OUTGOING_SCRATCH_BYTES 1024

/* What goes to a server: ranges of its client's input, and between them bytes of ours. */
struct outgoing {
    const uint8_t *data; /* the input */
    uint32_t start;      /* data[start..] has not been gathered */
    uint32_t used_bytes; /* of scratch */
    int n;
    struct iovec pieces[OUTGOING_PIECES];
    uint8_t scratch[OUTGOING_SCRATCH_BYTES];
};

/* What becomes of a client's message that may be about a named statement. */
enum prepared_step {
    PREPARED_PLAIN,     /* to be forwarded like any other */
    PREPARED_TAKEN,     /* gathered (or kept) so far as *used says, and the tracker told */
    PREPARED_MORE,      /* too little of it has arrived */
    PREPARED_HOLD,      /* it has to wait for answers to earlier ones: HOLD_STATEMENT */
    PREPARED_FULL,      /* too many requests unanswered */
    PREPARED_FORBIDDEN, /* not allowed now (08P01) */
    PREPARED_TOO_LARGE, /* beyond our bounds */
    PREPARED_NO_MEMORY,
    PREPARED_LOST, /* the server is gone, its client too */
};

#define MAX_REPLAY_BYTES 16384u

enum note_kind {
    NOTE_PARSE,        /* the client's, under our name */
    NOTE_SECOND_PARSE, /* the client's, of a name that it has: to fail */
    NOTE_KEPT_PARSE,   /* the client's, answered by us */
    NOTE_KEPT_CLOSE,   /* the client's, answered by us; has the name */
    NOTE_OWN_PARSE,    /* ours */
    NOTE_OWN_CLOSE,    /* ours */
};

/* A change that has been sent and not answered. */
struct note {
    struct list node; /* prepared->notes, in the order of sending */
    enum note_kind kind;
    struct statement *statement; /* a reference */
    /* PARSE, KEPT_PARSE: in the client's table, or in a KEPT_CLOSE behind this one. KEPT_CLOSE: taken out of
     * it, the note's. SECOND_PARSE: a copy, the note's. */
    struct statement_name *name;
};

/* What a server has and is about to have. */
struct prepared {
    struct statement_cache cache;
    struct list notes;
    struct buf replay;    /* input that may have to be sent again */
    bool is_recording;    /* replay is being filled */
    uint32_t record_from; /* while forwarding: where in the input this batch begins */
};

void prepared_note_free(struct note *n);
/* Sets server->prepared_is_watching, after something has changed. */
void prepared_watch(struct server *s);

static inline void outgoing_init(struct outgoing *o, const uint8_t *data)
{
    o->data = data;
    o->start = 0;
    o->used_bytes = 0;
    o->n = 0;
}

/* Sends what has been gathered, and data[start..end) behind it. False: the server is lost, its client too. */
bool outgoing_send(struct server *s, struct outgoing *o, uint32_t end) must_check;

/*
 * The message at data[at..], of which the header is there; len_bytes is all of data. TAKEN: *used bytes are
 * dealt with, and client->remain_bytes says what of the message is still to come.
 */
enum prepared_step prepared_message(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                                    uint32_t len_bytes, uint32_t *used) must_check;
/* The end of one forwarding: data[0..end) has been dealt with. */
void prepared_forwarded(struct server *s, const uint8_t *data, uint32_t end);

/*
 * While server->prepared_is_watching: a message of the server is about to be told to the tracker. The answers
 * whose turn has come before it, as bytes for the client (at most PREPARED_ANSWER_BYTES of them at a time: to
 * be called until there are none).
 */
#define PREPARED_ANSWER_BYTES 60
uint32_t prepared_answers(struct server *s, uint8_t out[PREPARED_ANSWER_BYTES]);
/* And then: a message of this type is about to be told to the tracker. */
void prepared_on_message(struct server *s, uint8_t type);
/* TRACKER_STATEMENT */
void prepared_on_performed(struct server *s);
/*
 * TRACKER_ERROR. body is NULL when it is not there whole. RETRIED: the client need not know, its batch is
 * sent again. CHANGED: what it is to see instead is in *instead, which the caller frees. Only for errors that
 * are not an answer to a query of ours.
 */
enum prepared_error {
    PREPARED_ERROR_PASSES,
    PREPARED_ERROR_CHANGED,
    PREPARED_ERROR_RETRIED,
    PREPARED_ERROR_LOST, /* the server cannot be written to */
};
enum prepared_error prepared_on_error(struct server *s, const uint8_t *body, uint32_t len_bytes,
                                      struct buf *instead) must_check;
/* CommandComplete, one that may be of DISCARD ALL or DEALLOCATE ALL by its length. */
static inline bool prepared_is_telling(uint32_t len)
{
    return len == 4 + sizeof("DISCARD ALL") || len == 4 + sizeof("DEALLOCATE ALL");
}
void prepared_on_complete(struct server *s, const uint8_t *body, uint32_t len_bytes, bool is_internal);

#endif
