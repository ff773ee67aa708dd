/*
 * tracker.h - what a server connection owes its client: the protocol tracker.
 *
 * A pure state machine beside each server connection. It is told the type of each
 * message that is forwarded to the server and of each that comes from it, and
 * knows the outstanding requests, Sync and Flush, COPY, transaction status and
 * "failed until Sync". It alone says when a server may be released.
 *
 * Requests are kept in a ring in the order in which they were sent, one byte
 * each. The server answers in that order, so the head of the ring is what a
 * response belongs to.
 *
 * Rules that follow PostgreSQL's main loop:
 *  - An ErrorResponse while the head is an extended-protocol message (Parse, Bind,
 *    Describe, Execute, Close) makes the server skip everything, Query and
 *    FunctionCall included, up to the next Sync. Those entries are dropped; if
 *    no Sync has been sent yet, the tracker is `skipping` until it is.
 *  - Query and FunctionCall are always answered by a ReadyForQuery, errors included.
 *  - While the server is in COPY IN it ignores Flush and Sync until CopyDone or
 *    CopyFail. Outside of COPY IN it ignores CopyData, CopyDone and CopyFail.
 *  - A Sync that was sent before the CopyInResponse arrived is eaten too, and the
 *    batch is then open again; a CopyDone or CopyFail sent that early ends the COPY, so
 *    it has a place in the ring (without an answer).
 *  - COPY BOTH (replication) is over when both sides have said CopyDone; a result may follow (the next
 *    timeline).
 *  - When COPY IN ends in an error and a Sync had been sent inside it or ahead of it, nobody
 *    can know whether the server ate that Sync; the tracker is then `tainted`: the
 *    connection goes on serving its client, but must not be used by another one.
 *  - An error may also strike at a Flush, or just after an answer (statement_timeout between
 *    two messages). With nothing outstanding, an ErrorResponse inside an open batch means
 *    `skipping`; outside of one the server is going away, and the tracker is `tainted`.
 *
 * Threads: the owner of the server. No allocation but the growth of the ring. A tracker may
 * not be moved (the ring may lie inside it).
 * Not here: lengths and contents of messages; which statement is meant; what to do about a verdict.
 */
#ifndef WIRE_TRACKER_H
#define WIRE_TRACKER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"

#define TRACKER_INLINE       16    /* requests in flight without allocation */
#define TRACKER_MAX_REQUESTS 65536 /* beyond this the client has to wait */

enum tracker_copy { TRACKER_COPY_NONE, TRACKER_COPY_IN, TRACKER_COPY_OUT, TRACKER_COPY_BOTH };

struct tracker {
    uint8_t *ring; /* inline_ring or heap; power of two */
    uint32_t capacity;
    uint32_t head; /* free-running indexes; that of a request stays, but for one at which COPY IN begins */
    uint32_t tail;
    uint32_t ready_due;   /* ReadyForQuery messages owed: Sync, Query, FunctionCall entries in the ring */
    uint32_t n_executes;  /* Execute entries in the ring */
    char tx_status;       /* of the last ReadyForQuery: I, T or E */
    uint8_t copy;         /* enum tracker_copy */
    bool copy_ended;      /* COPY IN or BOTH: client has sent CopyDone or CopyFail */
    bool copy_is_half;    /* COPY BOTH: server has sent CopyDone */
    bool is_open;         /* extended messages were sent that no Sync or Query has closed yet */
    bool is_skipping;     /* server discards everything until a Sync that has not been sent yet */
    bool is_tainted;      /* state not known for sure: never give to another client */
    bool is_answered;     /* the Query or FunctionCall at the head has had a result or an error */
    uint32_t copy_syncs;  /* Syncs that this COPY IN eats, unless it fails first */
    uint32_t spare_ready; /* tainted: ReadyForQuery messages that may come beyond those owed */
    uint32_t dropped_statements; /* see tracker_take_dropped() */
    uint8_t inline_ring[TRACKER_INLINE];
};

void tracker_init(struct tracker *t);
void tracker_destroy(struct tracker *t);
/* Forgets everything and starts as after a login: idle, status I. */
void tracker_reset(struct tracker *t);

enum tracker_verdict {
    TRACKER_FORWARD,   /* noted; send it to the server */
    TRACKER_BLOCK,     /* not noted: too many requests in flight; ask again when some are answered */
    TRACKER_VIOLATION, /* no such frontend message, or not allowed now (08P01) */
    TRACKER_NO_MEMORY, /* not noted: the ring cannot grow; close the connection (53200) */
};

/*
 * A message of this type is about to be sent to the server for the client.
 * Types: Q F P B D E C S H d c f. (X and the login messages are the session's
 * business and are violations here.) In COPY IN before CopyDone/CopyFail anything
 * but d c f H S is a violation (PostgreSQL drops the connection then).
 */
enum tracker_verdict tracker_client(struct tracker *t, uint8_t type) must_check hot_path;

/* A Query of our own (SET, reset, check) is about to be sent; its answers are marked TRACKER_INTERNAL.
 * False when memory is out, the ring is full, or a request of the client's is unfinished (outstanding, open
 * batch, COPY): then the server might skip the Query or take it for COPY data. */
bool tracker_internal_query(struct tracker *t) must_check;

/*
 * For prepared statements that are kept on the server under names of ours. What these functions put into the
 * ring is a statement entry. When the server has answered one, the fact is TRACKER_STATEMENT; when it skips
 * some because of an error, tracker_take_dropped() says how many. So whoever keeps a list of what the
 * statement entries mean, in the order of sending, knows what has become of the first of them.
 *
 * tracker_named_parse(): a Parse of the client's is about to be sent, under a name of ours; its answer is the
 * client's.
 *
 * tracker_inject(): a Parse ('P'), Close ('C'), Bind ('B') or Execute ('E') of our own is about to be sent
 * amid the client's batch; the first two are statement entries. Its answers are marked TRACKER_INTERNAL;
 * an ErrorResponse to it is the client's. A Sync ('S') ends such a batch; its ReadyForQuery is
 * TRACKER_INTERNAL also when the batch has failed.
 *
 * tracker_keep(): a Parse or Close of the client's is not sent, because the server has (or lacks) that
 * statement already; its answer comes from us when its turn comes. While the server skips, it has no turn.
 *
 * tracker_take_kept(): the type ('P' or 'C') of a kept message whose turn has come, or 0. To be called, and
 * the answer given, until it is 0: after tracker_keep(), and before the next message of the server is
 * reported.
 */
enum tracker_verdict tracker_named_parse(struct tracker *t) must_check;
enum tracker_verdict tracker_inject(struct tracker *t, uint8_t type) must_check;
enum tracker_verdict tracker_keep(struct tracker *t, uint8_t type) must_check;
uint8_t tracker_take_kept(struct tracker *t) must_check hot_path;
/* Is there nothing in the ring that may run something or end a transaction: Query, Execute, Sync? */
bool tracker_runs_nothing(const struct tracker *t) must_check;
/* Is there nothing in the ring but kept messages? Then no message of the server will give them their turn. */
bool tracker_has_only_kept(const struct tracker *t) must_check;
/* Is the next answer one to a request of our own? */
bool tracker_is_at_ours(const struct tracker *t) must_check;
/* Statement entries that an error has made the server skip since this was asked last: the first ones. */
uint32_t tracker_take_dropped(struct tracker *t) must_check;

/*
 * The batch that the server has just answered with an error is to be sent again. True when that error was
 * all there was: one batch outside of a transaction, nothing behind it. What is left of the batch is ours
 * then: the ReadyForQuery to its Sync, which has been sent (it was not skipping) or is to be sent now (it
 * was).
 */
bool tracker_retry(struct tracker *t) must_check;

/* Facts about a message from the server: bits. */
#define TRACKER_BAD 0x01 /* impossible now: close the server, its state is unknown */
#define TRACKER_INTERNAL                                                                                     \
    0x02 /* answers our own query: not for the client. A ParameterStatus may carry it too                    \
          * but counts all the same; a NotificationResponse is always the client's */
#define TRACKER_READY      0x04 /* ReadyForQuery; tx_status is new */
#define TRACKER_ASYNC      0x08 /* ParameterStatus, NoticeResponse, NotificationResponse */
#define TRACKER_ERROR      0x10 /* ErrorResponse */
#define TRACKER_COPY_BEGIN 0x20 /* CopyInResponse, CopyOutResponse, CopyBothResponse */
#define TRACKER_STATEMENT  0x40 /* the first statement entry has been performed */

/* first_byte is the first byte of the body (needed for Z only; else anything). */
uint32_t tracker_server(struct tracker *t, uint8_t type, uint8_t first_byte) must_check hot_path;

/*
 * Many messages at once, those that are the most and ask for nothing: each is noted as tracker_client() or
 * tracker_server() would. From the front of data[0..len_bytes), at which a message begins, they take what is
 * there whole and shorter than max_len bytes, up to the first message that needs more than being passed on;
 * how many bytes that is.
 *
 * tracker_pass_requests(): within an open batch, Describe of a portal, Execute, and the Sync that ends it.
 * tracker_pass_answers(): rows, their description, what ends a request of the client's that is no statement
 * entry, outside of COPY; and the ReadyForQuery that ends it all, which is told by ready_due. Not what ends a
 * statement, and no ReadyForQuery, whose length is n (as in the message) where bit n of not_lengths is set;
 * bit 31 stands for all that are longer than 30.
 */
uint32_t tracker_pass_requests(struct tracker *t, const uint8_t *data, uint32_t len_bytes,
                               uint32_t max_len) must_check hot_path;
uint32_t tracker_pass_answers(struct tracker *t, const uint8_t *data, uint32_t len_bytes, uint32_t max_len,
                              uint32_t not_lengths) must_check hot_path;

/* Nothing outstanding, status I, no COPY, no open extended batch, not tainted: may serve someone else. */
static inline bool tracker_is_releasable(const struct tracker *t)
{
    return t->head == t->tail && t->tx_status == 'I' && t->copy == TRACKER_COPY_NONE && !t->is_open &&
           !t->is_skipping && !t->is_tainted;
}

/* Requests sent and not answered. */
static inline uint32_t tracker_in_flight(const struct tracker *t)
{
    return t->tail - t->head;
}

/* Is a request being worked on (as opposed to idle, or idle in a transaction)? */
static inline bool tracker_is_busy(const struct tracker *t)
{
    return t->head != t->tail || t->copy != TRACKER_COPY_NONE;
}

/*
 * May the client's next message be kept back without hanging it? True when a
 * ReadyForQuery is owed and everything sent so far leads up to it, so that the
 * connection comes to rest without another byte from the client. Ask again after
 * each message of the server: a CopyInResponse or CopyBothResponse makes it false.
 */
static inline bool tracker_may_hold(const struct tracker *t)
{
    return t->ready_due > 0 && !t->is_open && !t->is_skipping &&
           (t->copy == TRACKER_COPY_NONE || t->copy == TRACKER_COPY_OUT || t->copy_ended);
}

/* Structural self-check for tests and debug builds: counts agree with the ring. */
bool tracker_check(const struct tracker *t);

#endif
