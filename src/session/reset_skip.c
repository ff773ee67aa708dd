/*
 * reset_skip.c - may a DISCARD ALL be left out, as there is nothing to discard (server_reset_query_skip)?
 *
 * From when a server is linked each message is looked at, until the first that may leave something behind:
 * one that is not known not to. Messages of our own leave nothing that is not known otherwise: settings are
 * compared with those of the next client, what has been found pinned and LISTENs are cleaned up after apart.
 *
 * A query of another text than DISCARD ALL is never left out: it may be there for something else.
 *
 * Threads: the server's owner. Not here: when a reset query is due at all (link.c).
 */
#include <string.h>
#include <strings.h>

#include "session_int.h"
#include "wire/codec.h"
#include "wire/sql_session.h"
#include "wire/statement_message.h"

/* Nothing but blanks and a semicolon may follow. */
static bool is_discard_all(const char *sql)
{
    static const char text[] = "DISCARD ALL";

    return strncasecmp(sql, text, sizeof(text) - 1) == 0 &&
           strspn(sql + sizeof(text) - 1, " \t\n;") == strlen(sql + sizeof(text) - 1);
}

void reset_skip_begin(struct server *s)
{
    const struct settings *set = shard_settings(s->shard);

    s->has_inert_unnamed = false;
    s->may_skip_reset = (s->client->pool_mode == POOL_MODE_SESSION || set->server_reset_query_always) &&
                        set->server_reset_query_skip != RESET_QUERY_SKIP_OFF &&
                        is_discard_all(set->server_reset_query);
}

static bool leaves_nothing(const struct server *s, const char *text, uint32_t len_bytes)
{
    if (sql_is_inert(text, len_bytes))
        return true;
    return shard_settings(s->shard)->server_reset_query_skip == RESET_QUERY_SKIP_SEEN &&
           len_bytes <= SQL_LOOK_MAX_BYTES &&
           (sql_look(text, len_bytes) & ~(unsigned)SQL_LOOK_TRANSACTION) == SQL_LOOK_NOTHING;
}

/* The text of a Query, or of a Parse of the unnamed statement, that has arrived whole. */
static bool is_harmless_text(const struct server *s, uint8_t type, const uint8_t *message, uint32_t len)
{
    const uint32_t name_bytes = type == 'P' ? 1 : 0;
    const char *text = (const char *)message + WIRE_HEADER_BYTES + name_bytes;

    if (len < 4 + name_bytes + 1)
        return false;
    return leaves_nothing(s, text, (uint32_t)strnlen(text, len - 4 - name_bytes));
}

void reset_skip_look(struct server *s, uint8_t type, const uint8_t *message, uint32_t here_bytes,
                     uint32_t len)
{
    switch (type) {
    case 'P':
        s->has_inert_unnamed = here_bytes > len && !statement_is_named(message, here_bytes) &&
                               is_harmless_text(s, type, message, len);
        s->may_skip_reset = s->has_inert_unnamed;
        return;
    case 'Q':
        s->has_inert_unnamed = false;
        s->may_skip_reset = here_bytes > len && is_harmless_text(s, type, message, len);
        return;
    case 'B': /* of a Parse that went before the link nothing is known here */
        s->may_skip_reset =
            s->has_inert_unnamed && here_bytes > len && !statement_is_named(message, here_bytes);
        return;
    case 'D':
    case 'E':
    case 'C':
    case 'S':
    case 'H': return; /* of what Parse and Bind have brought */
    case 'd':
    case 'c':
    case 'f': return; /* of a COPY, whose text has been looked at */
    default: s->may_skip_reset = false; return;
    }
}
