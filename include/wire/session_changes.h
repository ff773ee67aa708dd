/*
 * session_changes.h - settings that a client has changed and whose transaction has not ended.
 *
 * A journal of what the server has accepted, in order: settings and savepoints. A rollback to a savepoint
 * takes back what stands behind it; the end of the transaction makes all of it the session's, or nothing.
 * What has been committed stands first, until it is applied: at the next ReadyForQuery, ahead of which
 * servers report. Savepoints older than the first change need not be known: who goes back to one of them
 * takes back everything.
 *
 * What the server reports by itself (ParameterStatus) is kept elsewhere, by these reports, and left alone
 * here. But its RESET gives the server's value, not the client's: that is this file's.
 *
 * Pure; of one thread.
 */
#ifndef WIRE_SESSION_CHANGES_H
#define WIRE_SESSION_CHANGES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "wire/params.h"
#include "wire/session_ops.h"

#define SESSION_CHANGES_MAX 16384 /* entries of one journal */

struct session_change;

struct session_changes {
    struct session_change *items;
    uint32_t n;
    uint32_t n_committed; /* items[0..n_committed): nothing can take them back */
    uint32_t capacity;
};

/*
 * A statement has been performed, the index-th of its text, with this tag. ops: those of the text; NULL: none
 * are known. False: no memory, or SESSION_CHANGES_MAX has been reached.
 */
bool session_changes_perform(struct session_changes *j, const struct session_ops *ops, uint32_t index,
                             const char *tag) must_check;
/* As a SET that has been performed. False: as there. */
bool session_changes_set(struct session_changes *j, const char *name, const char *value) must_check;
/* The transaction has been committed, as by COMMIT; or rolled back. */
void session_changes_commit(struct session_changes *j);
void session_changes_roll_back(struct session_changes *j);
/* The name of the first setting from items[*i] on that the open transaction has set or reset ("": of all of
 * them), and *i behind it; NULL: no more. Begin with *i = j->n_committed. */
const char *session_changes_next(const struct session_changes *j, uint32_t *i);
/* Forgets everything. */
void session_changes_clear(struct session_changes *j);
void session_changes_free(struct session_changes *j);
static inline bool session_changes_is_empty(const struct session_changes *j)
{
    return j->n == 0;
}

/* What a session and its server have. */
struct session_sets {
    struct params *client;         /* a reference, replaced */
    struct params *server;         /* the same; NULL: not wanted */
    const struct params *startup;  /* the client's at its login: what a RESET gives */
    const struct params *reported; /* names that servers report */
    bool is_doubtful; /* set when there was a value that is not known: only the server can tell */
    bool is_nameless; /* set when it is not known which setting it was: with a dot in its name, nobody can */
};

/* What has been committed, in these sets; it leaves the journal. False: no memory. */
bool session_changes_apply(struct session_changes *j, struct session_sets *sets) must_check;
/* What is in force at this point of the transaction, SET LOCAL included, instead. */
bool session_changes_in_force(const struct session_changes *j, struct session_sets *sets) must_check;
/* Has one of the settings that servers report been reset to a value of the client's own? Then the server has
 * another one until it is told. */
bool session_changes_has_reset(const struct session_changes *j, const struct params *startup) must_check;

#endif
