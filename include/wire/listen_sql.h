/*
 * listen_sql.h - LISTEN and UNLISTEN in the texts of clients, and what decides whether they count.
 *
 * Only at top level: what functions and DO blocks do is in literals, which nobody looks into.
 *
 * Pure. Source: PostgreSQL documentation, "SQL Commands".
 */
#ifndef WIRE_LISTEN_SQL_H
#define WIRE_LISTEN_SQL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "wire/sql_lexer.h"

#define LISTEN_LOOK_BYTES 65536u /* in a longer text nobody looks for it */

enum listen_command_kind {
    LISTEN_OTHER,   /* or one that PostgreSQL will refuse */
    LISTEN_ON,      /* LISTEN name */
    LISTEN_OFF,     /* UNLISTEN name */
    LISTEN_OFF_ALL, /* UNLISTEN *, DISCARD ALL */
    LISTEN_SAVEPOINT,
    LISTEN_RELEASE,
    LISTEN_ROLLBACK_TO,
};

struct listen_command {
    enum listen_command_kind kind;
    uint32_t index; /* of its statement in the text */
    char name[SQL_NAME_BYTES];
};

/*
 * The quick look. False: there is no LISTEN or UNLISTEN in the text, nor (knows_channels: the client may have
 * some) DISCARD ALL.
 */
bool listen_may_have_command(const char *text, uint32_t len_bytes, bool knows_channels) must_check;

/* Is "notify" anywhere in it? */
bool listen_may_notify(const char *text, uint32_t len_bytes) must_check;

/*
 * The commands of a text, in order; LISTEN_OTHER are left out. *commands is to be freed; NULL when there are
 * none. False: memory is out. What follows a part that has no end is not looked at: PostgreSQL refuses the
 * whole.
 */
bool listen_read_commands(const char *text, uint32_t len_bytes, bool standard_strings, bool is_utf8,
                          struct listen_command **commands, uint32_t *n) must_check;

/*
 * What a transaction has done so far: LISTEN and UNLISTEN take effect at its end, and a savepoint takes them
 * back.
 */
struct listen_change {
    struct list node;
    enum listen_command_kind kind; /* ON, OFF, OFF_ALL or SAVEPOINT */
    char name[SQL_NAME_BYTES];
};

/* A command has been performed. False: memory is out. */
bool listen_changes_add(struct list *changes, enum listen_command_kind kind, const char *name) must_check;
void listen_changes_clear(struct list *changes);

#endif
