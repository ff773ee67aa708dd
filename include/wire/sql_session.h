/*
 * sql_session.h - what a text of SQL does to the session that runs it: settings, transactions, and what ties
 * a session to its server.
 *
 * Two steps. sql_look() is for every text: one bounded look in few instructions, nothing allocated, for all
 * who want to know something of it, which says for nearly all of them that there is nothing. For the others,
 * the text is divided into its statements (sql_next_statement()), and each of them gives its acts one after
 * the other:
 *
 *     struct sql_lexer l = {.text = text, .len_bytes = n, .standard_strings = ...};
 *     struct sql_statement s;
 *     struct sql_session_reader r;
 *     struct sql_session_act act;
 *     for (index = 0; sql_next_statement(&l, &s) == SQL_STATEMENT_OK; index++)
 *         for (sql_session_begin(&r, &l, &s, is_utf8); sql_session_next(&r, &act);)
 *             ...
 *
 * A statement has no act, one, or several (SELECT set_config(...), pg_advisory_lock(...)). What it says is
 * what happens if PostgreSQL performs it: whether it did, and how often, only its answer tells
 * (CommandComplete with the tag in enum sql_session_kind; an error: the statement has done nothing, and the
 * rest of a Query with several is not run). A text that PostgreSQL refuses may come out as any acts.
 *
 * Code in a DO, and functions whose names are written as U&"...", give acts that are hidden: what it may do,
 * as far as that can be told by words in it.
 *
 * Not seen: what functions, procedures, triggers and rules do (CALL, and DO too, is SQL_SESSION_UNKNOWN, as a
 * reminder), nor what a DO does by names that it puts together; what an EXECUTE runs, whose text is another
 * one (pin_watch_execute()); what a FunctionCall does, which has no text (sql_session_function()); other
 * names written as U&"...".
 *
 * The text must be in an encoding that has no ASCII bytes inside of its characters (sql_encoding_is_safe()).
 *
 * Pure. Source: PostgreSQL documentation, "SQL Commands", "System Administration Functions".
 */
#ifndef WIRE_SQL_SESSION_H
#define WIRE_SQL_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/compiler.h"
#include "wire/sql_lexer.h"

/* ---- the quick look ---- */

/* Bits; what is not set, no statement of the text does. */
enum {
    SQL_LOOK_NOTHING = 0,
    SQL_LOOK_TRANSACTION = 1, /* statements that begin, end or divide transactions */
    SQL_LOOK_CLOSELY = 2,     /* any other act that is below */
    SQL_LOOK_COMMAND =
        4,            /* one of sql_command.h, LISTEN, UNLISTEN, EXPLAIN or CREATE; or another statement */
    SQL_LOOK_ALL = 7, /* nobody has looked */
};

#define SQL_LOOK_MAX_BYTES 4096u

/* Of more than SQL_LOOK_MAX_BYTES only so many are looked at, but for SQL_LOOK_COMMAND, which is about the
 * whole. A NUL may end the text, and be counted in len_bytes. */
unsigned sql_look(const char *text, uint32_t len_bytes) must_check hot_path;

/*
 * May its first statement be one that PostgreSQL performs in a failed transaction: COMMIT, END, ROLLBACK,
 * ABORT, PREPARE TRANSACTION? True, too, where the text does not begin with a word.
 */
bool sql_may_end_transaction(const char *text, uint32_t len_bytes) must_check;

/*
 * Is it certain that the text leaves nothing in its session, whatever the database contains? Transactions,
 * SHOW, SELECTs of nothing but constants; also the empty text. A NUL may end the text, and be counted.
 */
#define SQL_INERT_MAX_BYTES 256u
bool sql_is_inert(const char *text, uint32_t len_bytes) must_check;

/* ---- one statement ---- */

enum sql_session_kind {
    /* Settings. Tag "SET" unless it says another. */
    SQL_SESSION_SET, /* name gets the value of sql_session_value(); SET ROLE, SET TIME ZONE and the like
                      * are settings by their names (role, session_authorization, timezone, ...) */
    SQL_SESSION_SET_CONFIG, /* the call, args[]: name, value, is_local. Tag: of what it stands in */
    SQL_SESSION_RESET,      /* name; also SET name TO DEFAULT (then the tag is "SET", else "RESET") */
    SQL_SESSION_RESET_ALL,  /* tag "RESET"; all but role and session_authorization */

    /* Transactions */
    SQL_SESSION_BEGIN,    /* tag "BEGIN" or "START TRANSACTION" */
    SQL_SESSION_COMMIT,   /* tag "COMMIT", or "ROLLBACK": the transaction had failed. is_chain: another begins
                           */
    SQL_SESSION_ROLLBACK, /* tag "ROLLBACK". is_chain: another begins */
    SQL_SESSION_SAVEPOINT,           /* name; tag "SAVEPOINT" */
    SQL_SESSION_RELEASE,             /* name; tag "RELEASE" */
    SQL_SESSION_ROLLBACK_TO,         /* name; tag "ROLLBACK" */
    SQL_SESSION_PREPARE_TRANSACTION, /* tag "PREPARE TRANSACTION"; to settings a commit */

    /* Channels; the tag is the command */
    SQL_SESSION_LISTEN,   /* name */
    SQL_SESSION_UNLISTEN, /* name */
    SQL_SESSION_UNLISTEN_ALL,
    SQL_SESSION_NOTIFY, /* name */

    /* What ties a session to its server */
    SQL_SESSION_LOCK,       /* a call that takes a session's advisory lock (or tries to) */
    SQL_SESSION_UNLOCK,     /* a call that gives one back */
    SQL_SESSION_UNLOCK_ALL, /* pg_advisory_unlock_all() */
    SQL_SESSION_TEMP,      /* makes a temporary table, view, sequence, or another object in pg_temp. is_local:
                            * ON COMMIT DROP. Tag "CREATE ...", "SELECT n" (also of CREATE TABLE AS) */
    SQL_SESSION_HOLD,      /* name: DECLARE ... WITH HOLD; tag "DECLARE CURSOR" */
    SQL_SESSION_CLOSE,     /* name: a cursor, perhaps one of those; tag "CLOSE CURSOR" */
    SQL_SESSION_CLOSE_ALL, /* tag "CLOSE CURSOR ALL" */
    SQL_SESSION_LOAD,      /* tag "LOAD" */
    SQL_SESSION_DISCARD_ALL, /* the tag is the command; of all that is above nothing is left */
    SQL_SESSION_DISCARD_PLANS,
    SQL_SESSION_DISCARD_SEQUENCES,
    SQL_SESSION_DISCARD_TEMP,

    SQL_SESSION_UNKNOWN, /* DO, CALL: any of it, perhaps; what is known about it are hidden acts behind it */
};

/* An argument of a call. */
enum sql_operand_kind {
    SQL_OPERAND_UNKNOWN,   /* an expression */
    SQL_OPERAND_NULL,      /* NULL */
    SQL_OPERAND_LITERAL,   /* a string; TRUE or FALSE; a number: start..end in the text */
    SQL_OPERAND_PARAMETER, /* $number, from Bind */
};
struct sql_operand {
    enum sql_operand_kind kind;
    uint32_t start;
    uint32_t end;
    uint32_t number;
};

/* As many bytes as the name of a setting may have here (parts with dots between), with a NUL. */
#define SQL_SETTING_NAME_BYTES 128

struct sql_session_act {
    enum sql_session_kind kind;
    bool is_local; /* until the end of the transaction: SET LOCAL; see SQL_SESSION_TEMP */
    bool is_chain; /* AND CHAIN */
    /* of a call: it is an item of the outermost select list, so performed for each row of the answer; else it
     * may be performed or not */
    bool is_certain;
    /* it may be this one or none; of these kinds: LOCK, UNLOCK (_ALL, too), TEMP, HOLD, SET_CONFIG (SET and
     * RESET, too; args are not known), LOAD */
    bool is_hidden;
    struct sql_operand args[3]; /* SET_CONFIG */
    const char *constant;       /* SET: the value where no text says it; see sql_session_value() */
    uint32_t value_start;       /* SET: the values in the text */
    uint32_t value_end;
    /* folded to lower case or without its quotes, as PostgreSQL does; "" where the kind has no name, or it is
     * none that can be understood here */
    uint32_t name_bytes;
    char name[SQL_SETTING_NAME_BYTES];
};

struct sql_session_reader {
    struct sql_lexer l;
    struct sql_token before; /* the last one that was not a blank */
    struct sql_token t;      /* the next one */
    uint32_t depth;          /* parentheses */
    uint8_t hidden;          /* acts that are hidden and still to be given (sql_body_int.h) */
    uint8_t at;              /* where it goes on */
    bool is_utf8;
    bool is_select; /* it begins with SELECT, and the select list has not ended */
    bool is_insert; /* INTO is part of a command */
};

/* s: a statement of whole, as sql_next_statement() gives it; whole is not changed. */
void sql_session_begin(struct sql_session_reader *r, const struct sql_lexer *whole,
                       const struct sql_statement *s, bool is_utf8);
/* False: no more. */
bool sql_session_next(struct sql_session_reader *r, struct sql_session_act *out) must_check;

/* A function that is called by its number in pg_proc: its name and what kind of act it is; NULL: none. */
const char *sql_session_function(uint32_t oid, enum sql_session_kind *kind) must_check;
/* By its name, in lower case. False: none. */
bool sql_session_call(const char *name, uint32_t len_bytes, enum sql_session_kind *kind) must_check;

/* ---- values ---- */

/*
 * Appends the value that a SET gives, as set_config() would have to be told it (lists joined, names in
 * search_path and the like quoted where they need it). False: it cannot be known (an interval, a literal of
 * an unusual kind), or the text is none that PostgreSQL takes; then nothing is appended.
 */
bool sql_session_value(const struct sql_lexer *whole, const struct sql_session_act *act,
                       struct buf *out) must_check;
/* Appends what a literal of kind SQL_OPERAND_LITERAL means; for TRUE, FALSE and numbers, their text. */
bool sql_operand_value(const struct sql_lexer *whole, const struct sql_operand *operand,
                       struct buf *out) must_check;
/* Is that, as the third argument of set_config(), true? False also for what PostgreSQL refuses. */
bool sql_is_true(const char *value) must_check;
/* Is it a setting whose value is a list of names, each quoted where it needs to be? */
bool sql_is_name_list(const char *setting) must_check;

#endif
