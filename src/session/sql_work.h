/*
 * sql_work.h - PREPARE, EXECUTE and DEALLOCATE in SQL on servers that are shared.
 *
 * A text is rewritten as a whole before any of it is sent (sql_plan.c): the names in it become names of
 * servers, by what the client's names stand for when each statement's turn comes. What that asks of the
 * server, and what it changes once it has been performed, is in the plan. prepared_sql.c sends it.
 */
#ifndef SQL_WORK_H
#define SQL_WORK_H

#include "prepared_int.h"
#include "wire/sql_command.h"

/* A command in the text. What it changes happens when its CommandComplete comes; what an error skips, never.
 */
struct sql_effect {
    enum sql_command_kind kind;
    bool must_fail; /* PREPARE of a name that is in use */
    /* PREPARE, EXECUTE: whose name is in the text; DEALLOCATE: what the server loses. A reference. NULL: the
     * client has no such name, PostgreSQL is to refuse it. */
    struct statement *statement;
    uint32_t index; /* of its statement in the text */
    uint32_t name_bytes;
    char name[SQL_NAME_BYTES]; /* the client's */
};

/* Where the rewritten text differs; all in characters. */
struct sql_edit {
    uint32_t at; /* in the rewritten one */
    uint32_t is;
    uint32_t was;
};

/* What the text takes for granted about a statement on the server. */
struct sql_need {
    struct statement *statement; /* a reference */
    bool is_wanted;              /* must be there when it begins */
    bool must_go;                /* must not */
    bool is_pinned;              /* while others are sent there */
    bool is_there;               /* at this point of the text */
    uint16_t last_taken;         /* of variant 0: the text has taken all of its others up to this one */
};

#define SQL_MAX_COMMANDS    1024  /* noted of one text: those that change something, and some EXECUTEs */
#define SQL_MAX_EXECUTES    65536 /* in one text */
#define SQL_NOTED_EXECUTES  64    /* the first, for names in errors */
#define SQL_MAX_WHOLE_BYTES (STATEMENT_MAX_BODY_BYTES + 65536u)

struct sql_effects {
    struct sql_effect *items;
    uint32_t n;
    struct sql_edit *edits;
    uint32_t n_edits;
    uint32_t serial; /* of the text, on its server; copies have the same */
    bool is_suspect; /* it was sent while settings change */
};

struct sql_plan {
    struct client *client;
    struct server *server;
    const char *text;
    uint32_t len_bytes;
    bool is_utf8;
    struct buf out;     /* the rewritten text, behind what was there when it was begun */
    uint32_t copied;    /* text[0..copied) is in out, or replaced */
    uint32_t out_chars; /* characters of it */
    uint32_t n_statements;
    uint32_t n_executes;
    bool has_too_many; /* PREPARED_TOO_LARGE: commands, not bytes */
    struct sql_effects effects;
    struct sql_need *needs;
    uint32_t n_needs;
};

/* What a server's client has under way. */
enum sql_round { ROUND_NONE, ROUND_SENT, ROUND_FAILED };

struct sql_work {
    struct sql_effects effects; /* of the text that was sent last */
    uint32_t next;              /* effects.items[next..] have not happened */
    uint32_t n_completed;       /* statements of the Query that have been performed */
    uint32_t n_changes;         /* of those, what is not EXECUTE */
    uint64_t client;            /* whose they are: its id */
    bool is_query;    /* they end with its ReadyForQuery; else it is a statement that may be executed */
    uint8_t round;    /* enum sql_round: what a Query needs is sent ahead of it and answered first */
    bool is_fresh;    /* such a statement has not been executed yet, so the next error may be its */
    bool is_used;     /* it has been executed since it was expected */
    bool wants_rest;  /* a message waits until everything before it has been answered */
    bool is_flushed;  /* and a Flush has been sent for it */
    uint32_t n_begun; /* effects.serial */
    struct sql_effects unnamed; /* of the unnamed statement, if that is a command */
    struct list portals;        /* struct sql_portal, the oldest first */
    uint32_t n_portals;
};

static inline struct sql_work *sql_work_of(const struct server *s)
{
    return s->prepared != NULL ? s->prepared->sql : NULL;
}

/* sql_plan.c: plan->out holds what goes ahead of the text. TAKEN: it is done; n_statements is 0 where there
 * is no command in it. Freed by the caller in any case. */
enum prepared_step sql_plan_make(struct sql_plan *plan, struct client *c, struct server *s, const char *text,
                                 uint32_t len_bytes) must_check;
/* The server is to have the statement, too. */
enum prepared_step sql_plan_want(struct sql_plan *plan, struct statement *statement) must_check;
/* What an effect of a text that was rewritten before asks of the server now. */
enum prepared_step sql_plan_again(struct sql_plan *plan, struct sql_effect *e) must_check;
/* An EXECUTE in it runs that: what it may do to the session. False: no memory. */
bool sql_plan_executes(const struct sql_plan *plan, struct statement *statement) must_check;
void sql_plan_free(struct sql_plan *plan);
void sql_effects_free(struct sql_effects *e);
/* The position in the client's text of one in the rewritten text; both from 1 on. */
uint32_t sql_position(const struct sql_effects *e, uint32_t position);

/* prepared_sql.c: what the plan needs goes ahead; then the server's answers are held against its effects,
 * which are taken over. False: no memory. */
enum prepared_step prepared_sql_provide(struct sql_plan *plan, struct outgoing *o, uint32_t at) must_check;
bool prepared_sql_begin(struct sql_plan *plan, bool is_query) must_check;

/* prepared_sql_portals.c; see also sql_portals_int.h */
/* What has begun is the unnamed statement. False: no memory. */
bool sql_portals_note_unnamed(struct server *s) must_check;
/* The server's client goes. */
void sql_portals_end(struct server *s, struct sql_work *w);

#endif
