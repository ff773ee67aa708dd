/*
 * prepared_setting.c - prepared statements that are parsed while settings change.
 *
 * What a query text means is decided by the settings that its Parse meets (the time zone of a literal, how
 * strings are written), and a statement is known by those that the client has at the time of sending
 * (prepared_settings()). Behind a SET that has not been answered these are not the same: such a statement
 * serves its batch, and then is stale, so that nobody gets it under the settings of before.
 *
 * What a function sets is seen by PostgreSQL's report of it, if it is a setting that is reported: behind what
 * has been parsed in that batch, all of which is stale then.
 *
 * In a transaction that has SET something, its end, a ROLLBACK TO, and whatever a portal does that is
 * executed late, may change settings, too. A setting whose name has a dot in it is no part of what a text
 * means.
 *
 * Threads: the owner's of client and server. See prepared.c.
 */
#include <string.h>

#include "sql_work.h"
#include "tracking.h"

static bool may_set(struct client *c, const struct server *s, struct statement *statement)
{
    enum { UNKNOWN, NO, YES };
    uint8_t known = atomic_load_explicit(&statement->may_set, memory_order_relaxed);

    if (known == UNKNOWN) {
        const char *text = (const char *)statement->body;
        known = tracking_may_set(c, s, text, (uint32_t)strlen(text)) ? YES : NO;
        atomic_store_explicit(&statement->may_set, known, memory_order_relaxed);
    }
    return known == YES;
}

/* The text in a message, whose head is there; of one that is not there whole, anything may be. */
static bool text_may_set(struct client *c, const struct server *s, const uint8_t *message,
                         uint32_t head_bytes, uint32_t here_bytes)
{
    const uint32_t whole_bytes = 1 + wire_u32(message + 1);
    const char *text = (const char *)message + head_bytes;

    return here_bytes < whole_bytes ||
           (head_bytes < whole_bytes &&
            tracking_may_set(c, s, text, (uint32_t)strnlen(text, whole_bytes - head_bytes)));
}

void prepared_setting_look(struct client *c, struct server *s, const uint8_t *message, uint32_t here_bytes,
                           unsigned look)
{
    const bool is_close = (look & SQL_LOOK_CLOSELY) != 0;
    bool is_setting = false;

    if (s->tracker.is_skipping)
        return;
    switch (message[0]) {
    case 'Q':
        is_setting = (is_close && text_may_set(c, s, message, WIRE_HEADER_BYTES, here_bytes)) ||
                     ((look & SQL_LOOK_TRANSACTION) != 0 && s->setting != SETTING_NOTHING);
        break;
    case 'P':
        if (!statement_is_named(message, here_bytes))
            c->unnamed_sets = is_close && text_may_set(c, s, message, WIRE_HEADER_BYTES + 1, here_bytes);
        return;
    case 'B': is_setting = c->unnamed_sets && !statement_is_named(message, here_bytes); break;
    case 'E': is_setting = s->setting != SETTING_NOTHING; break;
    case 'F': is_setting = is_close; break;
    default: return;
    }
    if (is_setting)
        s->setting = SETTING_NOW;
}

void prepared_setting_reported(struct server *s)
{
    struct sql_work *w = sql_work_of(s);

    if (s->prepared == NULL)
        return;
    LIST_FOR_EACH (it, &s->prepared->notes)
        list_entry(it, struct note, node)->is_suspect = true;
    if (w != NULL)
        w->effects.is_suspect = true;
    if (s->has_parsed)
        statement_cache_expire_batch(&s->prepared->cache, s->prepared->n_batches);
}

void prepared_setting_bound(struct client *c, struct server *s, struct statement *statement)
{
    const unsigned look = statement_sql_look(statement);

    if (unlikely((look & SQL_LOOK_CLOSELY) != 0 && may_set(c, s, statement)) ||
        unlikely((look & SQL_LOOK_TRANSACTION) != 0 && s->setting != SETTING_NOTHING))
        s->setting = SETTING_NOW;
}
