/*
 * prepared_int.h - prepared statements of clients on servers that they share.
 */
#ifndef PREPARED_INT_H
#define PREPARED_INT_H

#include <sys/uio.h>

#include "session_int.h"
#include "wire/sql_command.h"
#include "wire/statement_cache.h"
#include "wire/statement_message.h"
#include "wire/statement_names.h"

#define OUTGOING_NO_UNNAMED      UINT32_MAX
#define OUTGOING_PIECES          48
#define OUTGOING_SCRATCH_BYTES   1024
#define OUTGOING_MESSAGES_OF_ONE 12 /* requests that one message may become */
#define OUTGOING_PIECES_OF_ONE   20 /* and the pieces, and bytes of scratch */
#define OUTGOING_SCRATCH_OF_ONE  (STATEMENT_WRAPPED_BYTES + 5 * STATEMENT_HEAD_BYTES)

/* What goes to a server: ranges of its client's input, and between them bytes of ours. */
struct outgoing {
    const uint8_t *data; /* the input */
    uint32_t start;      /* data[start..] has not been gathered */
    uint32_t used_bytes; /* of scratch */
    uint32_t unnamed_at; /* in data: a Parse of the unnamed statement that nothing has bound yet */
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
    NOTE_OWN_PARSE,    /* ours: the Parse, or what tells that a PREPARE of ours was performed */
    NOTE_OWN_CLOSE,    /* ours */
    NOTE_OWN_NOTHING,  /* ours, and changes nothing that is kept */
};

/* A change that has been sent and not answered. */
struct note {
    struct list node; /* prepared->notes, in the order of sending */
    enum note_kind kind;
    struct statement *statement; /* a reference */
    bool is_suspect;             /* sent while settings change */
    /* PARSE, KEPT_PARSE: in the client's table, or in a KEPT_CLOSE behind this one. KEPT_CLOSE: taken out of
     * it, the note's. SECOND_PARSE: a copy, the note's. */
    struct statement_name *name;
};

struct sql_work;

/* What a server has and is about to have. */
struct prepared {
    struct statement_cache cache;
    uint32_t n_batches; /* in which something has been parsed; wraps */
    struct list notes;
    struct sql_work *sql; /* its clients' commands of SQL: sql_work.h; NULL until there are any */
    struct buf replay;    /* input that may have to be sent again */
    bool is_recording;    /* replay is being filled */
    uint32_t record_from; /* while forwarding: where in the input this batch begins */
};

void prepared_note_free(struct note *n);
/* It has been parsed in the batch under way. */
void prepared_parsed(struct server *s, struct cached_statement *x);
/* Sets server->prepared_is_watching, after something has changed. */
void prepared_watch(struct server *s) hot_path;

static inline void outgoing_init(struct outgoing *o, const uint8_t *data)
{
    o->data = data;
    o->start = 0;
    o->used_bytes = 0;
    o->unnamed_at = OUTGOING_NO_UNNAMED;
    o->n = 0;
}

/* prepared_setting.c. A message that is about to go, where its text is to be looked at closely, or settings
 * have changed; and a Bind, or EXECUTE, of a statement that is known, after what it needs has gone. */
void prepared_setting_look(struct client *c, struct server *s, const uint8_t *message, uint32_t here_bytes,
                           unsigned look);
void prepared_setting_bound(struct client *c, struct server *s, struct statement *statement);
/* The server reports that one has another value now, which is not by us. */
void prepared_setting_reported(struct server *s);

/* prepared_provide.c: what goes to the server */
/* Sends what has been gathered, and data[start..end) behind it. False: the server is lost, its client too. */
bool outgoing_send(struct server *s, struct outgoing *o, uint32_t end) must_check hot_path;
/* Room for what one message may become; one piece is left for outgoing_send(). False: as there. */
bool outgoing_reserve(struct server *s, struct outgoing *o, uint32_t at) must_check hot_path;
/* Gathers bytes that stay until they are sent; the input up to there; n bytes of scratch that were written to
 * outgoing_scratch(). */
void outgoing_put(struct outgoing *o, const void *bytes, uint32_t n);
void outgoing_range(struct outgoing *o, uint32_t end);
void outgoing_put_scratch(struct outgoing *o, uint32_t n);
uint8_t *outgoing_scratch(struct outgoing *o);
/* A Flush behind the input up to there. False: as outgoing_reserve(). */
bool outgoing_flush(struct server *s, struct outgoing *o, uint32_t at) must_check;
/* The message's head with another name, in place of the one at data[at..]. */
void outgoing_head(struct outgoing *o, uint32_t at, const struct statement_message *m, const char *name,
                   uint32_t name_bytes) hot_path;

enum prepared_step prepared_step_of(enum tracker_verdict v);
/* Of the names in a message: PLAIN, there are none that matter, or it is malformed. */
static inline enum prepared_step prepared_step_of_look(enum statement_look look)
{
    switch (look) {
    case STATEMENT_NAMED: return PREPARED_TAKEN;
    case STATEMENT_MORE: return PREPARED_MORE;
    case STATEMENT_TOO_LONG: return PREPARED_TOO_LARGE;
    default: return PREPARED_PLAIN;
    }
}
/* Takes its own reference to the statement (NULL: about none). False: no memory. */
bool prepared_note(struct server *s, enum note_kind kind, struct statement *statement,
                   struct statement_name *name) must_check;
/* Has the server the statement, so that it need not be parsed there? Then it is the most recently used. */
bool prepared_is_there(struct server *s, const struct statement *statement) must_check hot_path;
/* The server has it when what follows arrives there. The input up to `at` goes first. */
enum prepared_step prepared_provide(struct server *s, struct outgoing *o, uint32_t at,
                                    struct statement *statement) must_check;
/* Its place on the server is free, and there is one: what is stale is closed, and others where there are too
 * many. */
enum prepared_step prepared_make_place(struct server *s, struct outgoing *o,
                                       const struct statement *statement) must_check;
/* Makes room for one more. */
enum prepared_step prepared_evict(struct server *s, struct outgoing *o) must_check;
enum prepared_step prepared_close_on_server(struct server *s, struct outgoing *o,
                                            struct cached_statement *x) must_check;
bool prepared_cache_add(struct server *s, struct statement *statement) must_check;

/* prepared.c */
bool prepared_ensure(struct server *s) must_check hot_path; /* server->prepared; false: no memory */
uint32_t prepared_max_on_server(const struct server *s);
/* What decides what the client's statements mean now; borrowed. NULL: no memory. */
struct istr *prepared_settings(struct client *c) must_check;
/* What the name means with the client's settings of now. */
enum prepared_step prepared_follow_settings(struct client *c,
                                            struct statement_name *name) must_check hot_path;

/*
 * The message at data[at..], of which the header is there; len_bytes is all of data. TAKEN: *used bytes are
 * dealt with, and client->remain_bytes says what of the message is still to come.
 */
enum prepared_step prepared_message(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                                    uint32_t len_bytes, uint32_t *used) must_check hot_path;
/*
 * prepared_sql.c. A Query, and a Parse of the unnamed statement, where client->maps_sql: as
 * prepared_message(). PLAIN: there is nothing to do about it.
 */
enum prepared_step prepared_query(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                                  uint32_t len_bytes, uint32_t *used) must_check;
enum prepared_step prepared_unnamed_parse(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                                          uint32_t len_bytes, uint32_t *used) must_check;
/* May the body of a Parse hold a command about statements? And what is it to be on this server now: *now, a
 * reference; for a use, it and what it needs there goes ahead. PLAIN: it is no such command. */
enum prepared_use {
    USE_PARSED,
    USE_DESCRIBED,
    USE_BOUND, /* and is about to be run: what it changes is to be expected */
};
bool prepared_is_command(const uint8_t *body, uint32_t body_bytes) must_check;
enum prepared_step prepared_command(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                                    const uint8_t *body, uint32_t body_bytes, enum prepared_use use,
                                    struct statement **now) must_check;
/* Must what is about statements wait for answers to what SQL does to them? Then for these. TAKEN: it need not
 * any more. */
bool prepared_sql_must_wait(const struct server *s) must_check hot_path;
enum prepared_step prepared_sql_wait(struct server *s, struct outgoing *o, uint32_t at) must_check;
/* Does the server skip what comes, or must it not get anything about statements now? Then that need not be
 * looked into, nor wait. */
bool prepared_is_ignored(struct server *s) must_check;
/* It need not wait any more. */
void prepared_sql_goes_on(struct server *s);
/* Messages of the server: any, of which the tracker has not been told; an error that is not an answer to a
 * query of ours; while server->awaits_tags the tag of a command, and ReadyForQuery. */
void prepared_sql_message(struct server *s, uint8_t type) hot_path;
void prepared_sql_error(struct server *s);
void prepared_sql_tag(struct server *s, enum sql_command_kind kind);
void prepared_sql_ready(struct server *s);
bool prepared_sql_is_watching(const struct sql_work *w) must_check;
/* For that error: what the client calls the statement (NULL: not known here), and the position in its own
 * text (0: the same). */
const char *prepared_sql_name(const struct server *s, uint64_t number);
uint32_t prepared_sql_position(const struct server *s, uint32_t position) must_check;
void prepared_sql_free(struct server *s);

#include "sql_portals_int.h"
#include "unnamed_int.h"

/* The end of one forwarding: data[0..end) has been dealt with. */
void prepared_forwarded(struct server *s, const uint8_t *data, uint32_t end) hot_path;

/*
 * While server->prepared_is_watching: a message of the server is about to be told to the tracker. The answers
 * whose turn has come before it, as bytes for the client (at most PREPARED_ANSWER_BYTES of them at a time: to
 * be called until there are none).
 */
#define PREPARED_ANSWER_BYTES 60
uint32_t prepared_answers(struct server *s, uint8_t out[PREPARED_ANSWER_BYTES]) hot_path;
/* And then: a message of this type is about to be told to the tracker. */
void prepared_on_message(struct server *s, uint8_t type) hot_path;
/* In place of both, mostly: BindComplete comes next. Nothing is watched any more where the only question was
 * whether the batch is to be sent again. */
void prepared_on_bound(struct server *s) hot_path;
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
/* CommandComplete, of a length as DISCARD ALL and DEALLOCATE ALL have; or any, where they count. */
#define PREPARED_TELLING_TAGS (1u << (4 + sizeof("DISCARD ALL")) | 1u << (4 + sizeof("DEALLOCATE ALL")))
static inline bool prepared_is_telling(const struct server *s, uint32_t len)
{
    return (len < 32 && (PREPARED_TELLING_TAGS >> len & 1) != 0) || unlikely(s->awaits_tags);
}
void prepared_on_complete(struct server *s, const uint8_t *body, uint32_t len_bytes, bool is_internal);

#endif
