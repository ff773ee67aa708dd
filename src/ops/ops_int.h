/*
 * ops_int.h - what the files of the admin console share.
 *
 * Everything here belongs to the control thread.
 */
#ifndef OPS_INT_H
#define OPS_INT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/list.h"
#include "ops/console.h"
#include "pool/registry.h"
#include "query_int.h"
#include "show_int.h"

#define CONSOLE_NAME_BYTES  64   /* identifiers, as in PostgreSQL */
#define CONSOLE_VALUE_BYTES 1024 /* SET key = value */
#define CONSOLE_MAX_KEPT    256  /* prepared statements, and portals, of a session */

/* ---- statements: console_parse.c ---- */

struct command;
struct relation;
struct fixed;

/* What stands behind the first word. */
enum command_arg {
    ARG_NONE,
    ARG_RELATION,      /* SHOW */
    ARG_EXPRESSION,    /* SELECT: a relation, one of the fixed answers, or a query */
    ARG_QUERY,         /* WITH, VALUES: a query */
    ARG_OPTIONAL_NAME, /* a database */
    ARG_NAME,
    ARG_MODE,     /* SHUTDOWN */
    ARG_SETTING,  /* SET key = value */
    ARG_ANYTHING, /* accepted and ignored */
};

struct statement {
    const struct command *command;   /* NULL: empty */
    const struct relation *relation; /* SHOW: one of these two, or neither for SHOW alone */
    const struct fixed *fixed;
    const char *query; /* a query, in the text that was parsed; NULL: none */
    uint32_t query_bytes;
    struct select_plan *plan; /* what is known of it; a reference of whoever keeps the statement */
    enum shutdown_mode mode;
    char name[CONSOLE_NAME_BYTES]; /* "" = none */
    char value[CONSOLE_VALUE_BYTES];
};

struct parse_error {
    const char *sqlstate;
    char message[256];
    char hint[128]; /* "" = none */
};

/*
 * Reads one statement at *sql, up to its ; or the end, and moves *sql behind it. False: e is filled, and *sql
 * is anywhere.
 */
bool statement_parse(const char **sql, struct statement *st, struct parse_error *e) must_check;
/* Nothing but blanks, comments and semicolons is left. */
bool statement_is_last(const char *sql) must_check;
const struct column *statement_columns(const struct statement *st, uint16_t *n);

/* ---- commands: commands.c ---- */

struct session;

enum command_outcome {
    COMMAND_DONE,   /* session->tag is set */
    COMMAND_FAILED, /* the error has been written */
    COMMAND_WAITS,  /* session_finish() follows later */
};

struct command {
    const char *name;
    enum command_arg arg;
    bool admin_only;
    /* what run_on_database() does: to one database, or to all when it is NULL */
    enum command_outcome (*order)(struct session *s, struct pool_database *db);
    enum command_outcome (*run)(struct session *s, const struct statement *st, struct result *r);
    const char *usage; /* behind the name in SHOW HELP */
    const char *help;  /* NULL: not in SHOW HELP */
};

/* ORMs and dashboards choose their SQL by the version, and read it from this text. */
#define CONSOLE_POSTGRES_VERSION "PostgreSQL 15.0 (" PACKAGE_NAME " " PACKAGE_VERSION ")"

/* An answer that clients ask for at start-up, always the same. */
struct fixed {
    bool is_select; /* SELECT text, else SHOW text */
    const char *text;
    struct column column;
    const char *value;
};

const struct command *command_find(const char *name);
/* What it answers with, beside the relations of SHOW; NULL: no rows. */
const struct column *command_columns(const struct command *c, uint16_t *n);
/* "" or a sentence with the nearest command. */
void command_hint(const char *name, char *hint, size_t size);
const struct fixed *fixed_find(bool is_select, const char *text);
/* A variable of PostgreSQL that drivers set and that means nothing here. */
bool guc_is_ignored(const char *name);
/* Text of SHOW HELP. */
void show_help(struct buf *detail);
/* Runs st, with its access check. */
enum command_outcome command_run(struct session *s, const struct statement *st, struct result *r);
/* How a command ends; detail may be NULL, format holds one %s. */
enum command_outcome command_done(struct session *s, const char *tag);
enum command_outcome command_failed(struct session *s, const char *sqlstate, const char *message,
                                    const char *detail);
enum command_outcome command_failed_name(struct session *s, const char *sqlstate, const char *format,
                                         const char *name);

/* ---- orders: commands_orders.c ---- */

extern const struct column reload_columns[];
extern const uint16_t n_reload_columns;
/* What was changed is answered for when all workers have taken it up: from then on nobody meets what was. */
enum command_outcome wait_for_settings(struct session *s);
enum command_outcome run_reload(struct session *s, const struct statement *st, struct result *r);
enum command_outcome run_suspend(struct session *s, const struct statement *st, struct result *r);
enum command_outcome run_kill_client(struct session *s, const struct statement *st, struct result *r);
enum command_outcome run_shutdown(struct session *s, const struct statement *st, struct result *r);
/* Finds the database that is named, or none, and gives the command's order. */
enum command_outcome run_on_database(struct session *s, const struct statement *st, struct result *r);
enum command_outcome order_pause(struct session *s, struct pool_database *db);
enum command_outcome order_resume(struct session *s, struct pool_database *db);
enum command_outcome order_disable(struct session *s, struct pool_database *db);
enum command_outcome order_enable(struct session *s, struct pool_database *db);
enum command_outcome order_reconnect(struct session *s, struct pool_database *db);
enum command_outcome order_kill(struct session *s, struct pool_database *db);
enum command_outcome order_wait_close(struct session *s, struct pool_database *db);

/* ---- waiting: console_wait.c ---- */

/* Has what the command waits for come about? */
void session_wait_tick(struct session *s);
/* A cancel request. */
void session_cancel(struct session *s);
/* The session goes: what its command had begun is undone where it can be. */
void session_wait_abandon(struct session *s);
/* Nobody waits for session->order any more. */
void session_forget_order(struct session *s);
/* A pause of database (NULL = the whole) that somebody waits for is no longer theirs to undo. */
void console_keep_pause(struct console *c, const struct pool_database *database);

/* ---- sessions: console.c, console_extended.c ---- */

enum session_wait {
    WAIT_NONE,
    WAIT_GATHER,
    WAIT_PAUSE,       /* for servers to go */
    WAIT_KILL,        /* for the workers, then for servers to go */
    WAIT_KILL_CLIENT, /* for the workers */
    WAIT_CLOSE,       /* for servers that are to go */
    WAIT_SETTINGS,    /* for the workers to have taken them up */
    WAIT_SELECT,      /* for a query */
};

struct portal;
struct prepared;

/* One client of the console. */
struct session {
    struct list node; /* console->sessions */
    struct console *console;
    uint64_t client;
    uint8_t worker;
    bool is_admin;
    bool is_in_block;            /* said BEGIN: its portals outlive a Sync */
    bool skips_to_sync;          /* after an error in the extended protocol */
    bool is_closing;             /* close the client behind this answer */
    bool is_answered;            /* the answer is whole, but memory for its mail was out: console_tick() */
    enum shutdown_mode shutdown; /* to be called once the answer has been sent */
    char user[CONSOLE_NAME_BYTES];
    struct buf out;

    /* the input being worked on */
    struct mail_console_input *input;
    uint32_t input_at;
    uint64_t answer_bytes; /* sent for it so far */
    const char *sql;       /* rest of a simple Query; NULL when none is being run */
    bool sql_said_something;

    /* the command being run */
    enum session_wait wait;
    struct pool_database *waits_for;    /* of an order; NULL = the whole */
    bool undoes_pause;                  /* WAIT_PAUSE: this command began it, so when given up it ends it */
    struct order *order;                /* WAIT_KILL, WAIT_KILL_CLIENT: as the hooks gave it */
    struct gathering *gathering;        /* WAIT_GATHER */
    const struct relation *gathers_for; /* SHOW; NULL: a query */
    struct select_job *select;          /* the query under way, also while its rows are gathered */
    struct statement statement;         /* of a simple Query */
    struct result result;
    struct portal *portal;      /* being executed; NULL: simple Query */
    struct prepared *preparing; /* Parse of a query */
    int32_t max_rows;
    char tag[CONSOLE_NAME_BYTES + CONSOLE_VALUE_BYTES + 8];

    /* extended protocol */
    struct list prepared;
    struct list portals;
    int n_prepared, n_portals;
};

struct console {
    struct console_hooks hooks;
    struct registry *registry;
    struct list sessions;
    struct list gatherings;
    struct list selects; /* of struct select_job: in order; the first one is with the helpers */
    int n_sessions;
    uint64_t next_gathering;
};

static inline const struct config *console_config(const struct console *c)
{
    return c->hooks.config(c->hooks.arg)->config;
}

static inline int64_t console_now(const struct console *c)
{
    return c->hooks.now_us(c->hooks.arg);
}

/* An ErrorResponse; detail and hint may be NULL. */
void session_error(struct session *s, const char *sqlstate, const char *message, const char *detail,
                   const char *hint);
/* The command that waited has ended; goes on with the input. */
void session_finish(struct session *s, enum command_outcome outcome);

/* One message of the extended protocol. False: it is a protocol violation. */
bool extended_message(struct session *s, uint8_t type, const uint8_t *body, uint32_t len_bytes) must_check;
/* The Parse of session->preparing has ended. */
void extended_parsed(struct session *s, enum command_outcome outcome);
/* After command_run() of a portal. */
void extended_finish(struct session *s, enum command_outcome outcome);
void extended_close_all(struct session *s);
void extended_close_portals(struct session *s);
/* Values of the portal that is being executed. */
const struct select_value *extended_values(const struct session *s, uint16_t *n);

#endif
