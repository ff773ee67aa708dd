/*
 * listen_sql.c - LISTEN and UNLISTEN in the texts of clients.
 *
 * Savepoints that were set before the first change of a transaction are not in its list, since nobody looked
 * at the texts then: a name that is unknown stands for one of those, and going back to it takes everything
 * back.
 *
 * Pure; any thread.
 */
#include "wire/listen_sql.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "wire/sql_session.h"

/* ---- the quick look ---- */

static bool has_word(const char *text, uint32_t len_bytes, const char *word, uint32_t word_bytes)
{
    const char first = word[0];

    for (uint32_t i = 0; i + word_bytes <= len_bytes; i++)
        if ((text[i] | 0x20) == first && strncasecmp(text + i, word, word_bytes) == 0)
            return true;
    return false;
}

bool listen_may_have_command(const char *text, uint32_t len_bytes, bool knows_channels)
{
    return has_word(text, len_bytes, "listen", 6) ||
           (knows_channels && has_word(text, len_bytes, "discard", 7));
}

bool listen_may_notify(const char *text, uint32_t len_bytes)
{
    return has_word(text, len_bytes, "notify", 6);
}

/* ---- commands ---- */

static enum listen_command_kind kind_of(enum sql_session_kind kind)
{
    switch (kind) {
    case SQL_SESSION_LISTEN: return LISTEN_ON;
    case SQL_SESSION_UNLISTEN: return LISTEN_OFF;
    case SQL_SESSION_UNLISTEN_ALL:
    case SQL_SESSION_DISCARD_ALL: return LISTEN_OFF_ALL;
    case SQL_SESSION_SAVEPOINT: return LISTEN_SAVEPOINT;
    case SQL_SESSION_RELEASE: return LISTEN_RELEASE;
    case SQL_SESSION_ROLLBACK_TO: return LISTEN_ROLLBACK_TO;
    default: return LISTEN_OTHER;
    }
}

static bool add_command(struct listen_command **commands, uint32_t *n, const struct listen_command *command)
{
    if (*n == 0 || (*n >= 4 && (*n & (*n - 1)) == 0)) {
        struct listen_command *grown = realloc(*commands, (*n == 0 ? 4 : 2 * (size_t)*n) * sizeof(*grown));
        if (grown == NULL)
            return false;
        *commands = grown;
    }
    (*commands)[(*n)++] = *command;
    return true;
}

bool listen_read_commands(const char *text, uint32_t len_bytes, bool standard_strings, bool is_utf8,
                          struct listen_command **commands, uint32_t *n)
{
    struct sql_lexer l = {.text = text, .len_bytes = len_bytes, .standard_strings = standard_strings};
    struct sql_session_reader r;
    struct sql_session_act act;
    struct sql_statement s;

    *commands = NULL;
    *n = 0;
    for (uint32_t index = 0; sql_next_statement(&l, &s) == SQL_STATEMENT_OK; index++) {
        sql_session_begin(&r, &l, &s, is_utf8);
        while (sql_session_next(&r, &act)) {
            struct listen_command command = {.kind = kind_of(act.kind), .index = index};
            /* a name that is not understood is not seen */
            if (command.kind == LISTEN_OTHER || act.name_bytes >= sizeof(command.name) ||
                (act.name_bytes == 0 && command.kind != LISTEN_OFF_ALL))
                continue;
            memcpy(command.name, act.name, act.name_bytes);
            if (add_command(commands, n, &command))
                continue;
            free(*commands);
            *commands = NULL;
            *n = 0;
            return false;
        }
    }
    return true;
}

/* ---- changes ---- */

void listen_changes_clear(struct list *changes)
{
    LIST_FOR_EACH_SAFE (it, changes)
        free(list_entry(it, struct listen_change, node));
    list_init(changes);
}

static struct listen_change *find_savepoint(struct list *changes, const char *name)
{
    for (struct list *it = changes->prev; it != changes; it = it->prev) {
        struct listen_change *x = list_entry(it, struct listen_change, node);
        if (x->kind == LISTEN_SAVEPOINT && strcmp(x->name, name) == 0)
            return x;
    }
    return NULL;
}

static void drop(struct listen_change *x)
{
    list_del(&x->node);
    free(x);
}

static void roll_back_to(struct list *changes, const char *name)
{
    const struct listen_change *savepoint = find_savepoint(changes, name);
    const struct list *stop = savepoint != NULL ? &savepoint->node : changes;

    while (changes->prev != stop)
        drop(list_entry(changes->prev, struct listen_change, node));
}

/* The savepoint goes, and those that were set after it; what was done since stays. */
static void release(struct list *changes, const char *name)
{
    const struct listen_change *savepoint = find_savepoint(changes, name);
    struct list *it = changes->prev;

    while (it != changes) {
        struct listen_change *x = list_entry(it, struct listen_change, node);
        const bool is_last = x == savepoint;
        it = it->prev;
        if (x->kind == LISTEN_SAVEPOINT)
            drop(x);
        if (is_last)
            return;
    }
}

bool listen_changes_add(struct list *changes, enum listen_command_kind kind, const char *name)
{
    switch (kind) {
    case LISTEN_OTHER: return true;
    case LISTEN_ROLLBACK_TO: roll_back_to(changes, name); return true;
    case LISTEN_RELEASE: release(changes, name); return true;
    case LISTEN_SAVEPOINT:
        if (list_is_empty(changes))
            return true;
        break;
    case LISTEN_ON:
    case LISTEN_OFF:
    case LISTEN_OFF_ALL: break;
    }
    struct listen_change *x = calloc(1, sizeof(*x));
    if (x == NULL)
        return false;
    x->kind = kind;
    memcpy(x->name, name, sizeof(x->name));
    list_push_back(changes, &x->node);
    return true;
}
