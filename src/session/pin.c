/*
 * pin.c - see pin.h.
 *
 * Whether something lives is PostgreSQL's to say: a lock may have been refused, a table rolled back, a
 * cursor closed by an error. What functions have made is seen too, once somebody asks. The question is a
 * query of ours in SETUP, after the client has had its answers; what it sends meanwhile waits.
 *
 * Threads: the worker's own.
 */
#include "session/pin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "tracking.h"
#include "wire/sql_fingerprint.h"

#define ASKED_COLUMNS 3 /* PIN_ASKED, in the order of its bits */

/* Outside of a transaction only a session's locks are there. A session that has never had a temporary object
 * needs no search for one. */
#define IS " OPERATOR(pg_catalog.=) " /* the client's search_path may have another */
#define IN_TEMP(catalog, schema)                                                                             \
    "EXISTS (SELECT FROM pg_catalog." catalog " WHERE " schema IS "pg_catalog.pg_my_temp_schema())"
static const char question[] = "SELECT EXISTS (SELECT FROM pg_catalog.pg_locks WHERE locktype" IS "'advisory'"
                               " AND pid" IS "pg_catalog.pg_backend_pid()),"
                               " CASE WHEN pg_catalog.pg_my_temp_schema()" IS "0 THEN false ELSE "
    /* clang-format off */
                               IN_TEMP("pg_class", "relnamespace") " OR "
                               IN_TEMP("pg_proc", "pronamespace") " OR "
                               IN_TEMP("pg_type", "typnamespace") " END,"
                                   /* clang-format on */
                                   " EXISTS (SELECT FROM pg_catalog.pg_cursors WHERE is_holdable)";

/* By bit. */
static const char *const reason_texts[PIN_REASONS] = {"advisory lock", "temporary object", "holdable cursor",
                                                      "loaded library", "setting"};

_Static_assert(sizeof(((struct pin_row *)0)->reasons) >= PIN_REASON_BYTES, "");

void pin_reason_text(unsigned reasons, char out[PIN_REASON_BYTES])
{
    size_t n = 0;

    out[0] = '\0';
    for (unsigned i = 0; i < PIN_REASONS; i++)
        if ((reasons & (1u << i)) != 0)
            n += (size_t)snprintf(out + n, PIN_REASON_BYTES - n, "%s%s", n > 0 ? ", " : "", reason_texts[i]);
}

const char *pin_cleaning_sql(unsigned left)
{
#define UNLOCK "SELECT pg_catalog.pg_advisory_unlock_all()"
    static const char *const texts[PIN_ASKED + 1] = {
        [PIN_LOCK] = UNLOCK,
        [PIN_TEMP] = "DISCARD TEMP",
        [PIN_LOCK | PIN_TEMP] = UNLOCK "; DISCARD TEMP",
        [PIN_HOLD] = "CLOSE ALL",
        [PIN_LOCK | PIN_HOLD] = "CLOSE ALL; " UNLOCK,
        [PIN_TEMP | PIN_HOLD] = "CLOSE ALL; DISCARD TEMP",
        [PIN_LOCK | PIN_TEMP | PIN_HOLD] = "CLOSE ALL; " UNLOCK "; DISCARD TEMP",
    };
    return (left & PIN_LOAD) != 0 ? NULL : texts[left & PIN_ASKED];
}

/* ---- noting who does it ---- */

static void note(struct client *c, unsigned bit, bool is_abandoned)
{
    const struct pin *pin = c->pin;
    const char *application = c->params != NULL ? params_get(c->params, "application_name") : NULL;
    struct leak leak = {.reason = reason_texts[bit],
                        .fingerprint = pin->of[bit].fingerprint,
                        .count = !is_abandoned,
                        .abandoned = is_abandoned};

    (void)str_copy(leak.application, application != NULL ? application : "", sizeof(leak.application));
    (void)str_copy(leak.database, c->pool->database->name, sizeof(leak.database));
    (void)str_copy(leak.user, c->pool->user->name, sizeof(leak.user));
    (void)str_copy(leak.statement, pin->of[bit].statement, sizeof(leak.statement));
    if (leaks_note(c->shard->instance->leaks, &leak, clock_wall_us()))
        client_log(c, LOG_LVL_LOG,
                   "application \"%s\" keeps its server connection beyond the transaction: %s, from: %s",
                   leak.application, leak.reason, leak.statement);
}

/* What lives has outlived its transaction. */
static void note_living(struct client *c)
{
    for (unsigned i = 0; i < PIN_REASONS; i++) {
        const unsigned bit = 1u << i;
        if ((c->pin->reasons & bit) == 0 || (c->pin->noted & bit) != 0)
            continue;
        c->pin->noted |= (uint8_t)bit;
        note(c, i, false);
    }
}

/* ---- coming and going ---- */

/* There was none, or there is none now. */
static void set_pin(struct client *c, struct pin *pin)
{
    c->pin = pin;
    shard_count_pin(c->shard, pin != NULL ? 1 : -1);
    client_keeps_configure(c);
    if (c->server != NULL)
        c->server->has_pin = pin != NULL;
}

/* It asks for the reasons `bits`. */
static void note_statement(struct pin *pin, unsigned bits, const char *text, uint32_t len_bytes)
{
    char shape[LEAK_STATEMENT_BYTES];

    if (bits == 0)
        return;
    const uint64_t fingerprint = sql_fingerprint(text, len_bytes, shape, sizeof(shape));
    for (unsigned i = 0; i < PIN_REASONS; i++) {
        if ((bits & (1u << i)) == 0)
            continue;
        if (pin->reasons == 0)
            pin->first = (uint8_t)i;
        pin->of[i].fingerprint = fingerprint;
        memcpy(pin->of[i].statement, shape, sizeof(shape));
    }
}

/* False: as many are pinned as may be. */
static bool count(struct server *s, struct pin *pin)
{
    pin->is_counted = pin->is_counted || pool_pin(s->pool, s->slot);
    return pin->is_counted;
}

enum pin_outcome pin_request(struct client *c, unsigned reasons, bool may_end, const char *text,
                             uint32_t len_bytes)
{
    struct server *s = c->server;
    struct pin *pin = c->pin;

    if (c->pool_mode == POOL_MODE_SESSION)
        return PIN_GRANTED;
    if (pin == NULL) {
        pin = calloc(1, sizeof(*pin));
        if (pin == NULL)
            return PIN_NO_MEMORY;
        pin->since_us = c->shard->now_us;
        if (!may_end && !count(s, pin)) {
            free(pin);
            return PIN_REFUSED;
        }
        set_pin(c, pin);
    } else if (!may_end && !count(s, pin)) {
        return PIN_REFUSED;
    }
    note_statement(pin, reasons & ~(unsigned)pin->noted, text, len_bytes);
    pin->reasons |= (uint8_t)reasons;
    pin->is_doubtful = true;
    return PIN_GRANTED;
}

void pin_gone(struct client *c, unsigned reasons)
{
    struct pin *pin = c->pin;

    if (pin == NULL)
        return;
    pin->reasons &= (uint8_t)~reasons;
    pin->noted &= pin->reasons;
    for (unsigned i = 0; pin->reasons != 0 && (pin->reasons & (1u << pin->first)) == 0; i++)
        pin->first = (uint8_t)i;
    if (pin->reasons != 0)
        return;
    pool_unpin(c->pool, c->server->slot);
    set_pin(c, NULL);
    free(pin);
}

void pin_leave(struct server *s, struct client *c)
{
    struct pin *pin = c->pin;

    if (pin == NULL)
        return;
    s->left |= pin->reasons & (uint8_t)~PIN_SETTINGS; /* those are in server->params, as all others */
    for (unsigned i = 0; i < PIN_REASONS; i++)
        if ((pin->noted & (1u << i)) != 0)
            note(c, i, true);
    set_pin(c, NULL);
    s->has_pin = false;
    free(pin);
}

/* ---- asking ---- */

void pin_ask(struct server *s)
{
    struct pin *pin = s->client->pin;

    pin->is_doubtful = false;
    s->pins_known = false;
    s->step = STEP_PINS;
    s->setup_failed = false;
    server_set_state(s, SERVER_SETUP);
    if (!server_send_internal(s, question))
        server_close(s, CLOSE_WORKER_IO, NULL);
}

void pin_row(struct server *s, const uint8_t *body, uint32_t len_bytes)
{
    struct wire_reader r;
    unsigned found = 0;

    wire_reader_init(&r, body, len_bytes);
    if (wire_read_u16(&r) != ASKED_COLUMNS)
        return;
    for (unsigned i = 0; i < ASKED_COLUMNS; i++) {
        if (wire_read_u32(&r) != 1)
            return;
        const uint8_t *value = wire_read_bytes(&r, 1);
        if (value == NULL)
            return;
        found |= *value == 't' ? 1u << i : 0;
    }
    if (!wire_reader_done(&r))
        return;
    s->pins_known = true;
    s->pins_found = (uint8_t)found;
}

void pin_answered(struct server *s)
{
    struct client *c = s->client;

    s->step = STEP_NONE;
    if (c == NULL) { /* it has left pin_leave() what was known then */
        if (s->pins_known && !s->setup_failed)
            s->left |= s->pins_found;
        server_release(s);
        return;
    }
    /* no answer (a statement_timeout of the client's, say): as before, until there is doubt again */
    if (s->pins_known && !s->setup_failed) {
        c->pin->reasons |= s->pins_found; /* what functions have made, too */
        pin_gone(c, PIN_ASKED & ~(unsigned)s->pins_found);
    }
    tracking_unpin(c);
    server_set_state(s, SERVER_ACTIVE);
    if (c->pin != NULL && !count(s, c->pin)) {
        client_close(c, CLOSE_MAX_PINNED, NULL);
        return;
    }
    if (c->pin != NULL)
        note_living(c);
    server_after_batch(s);
}

/* Commands that may remove what lives; calls that unlock are seen in the text (pin_watch.c). */
void pin_on_complete(struct server *s, const uint8_t *tag, uint32_t len_bytes)
{
    static const char *const tags[] = {"DROP ", "DISCARD ", "CLOSE CURSOR"};

    for (size_t i = 0; i < ARRAY_SIZE(tags); i++)
        if (len_bytes > strlen(tags[i]) && memcmp(tag, tags[i], strlen(tags[i])) == 0)
            pin_doubt(s->client);
}
