/*
 * console.c - sessions of the admin console: mail in, simple protocol, mail out.
 *
 * An input holds whole messages of one client. session_run() works through them
 * until they are done or a command has to wait (for workers' rows, for servers to
 * go); session_finish() then goes on where it stopped. Nothing blocks: other
 * sessions are served meanwhile. The answer is collected in session->out and
 * mailed at the end of the input, or in pieces when it grows large.
 *
 * Threads: the control thread only.
 * Invariant: session->wait != WAIT_NONE implies session->input != NULL.
 * Not here: extended protocol (console_extended.c), commands (commands*.c), waiting orders (console_wait.c).
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "ops_int.h"
#include "wire/codec.h"

#define PIECE_BYTES    262144u   /* an answer larger than this goes in pieces */
#define ANSWER_MAX     67108864u /* to one input; no further command is begun behind it */
#define SEVERITY_ERROR "ERROR"
#define SEVERITY_FATAL "FATAL"

static const char *const welcome_parameters[][2] = {
    {"server_version", PACKAGE_VERSION "/bouncer"},
    {"client_encoding", "UTF8"},
    {"server_encoding", "UTF8"},
    {"DateStyle", "ISO"},
    {"TimeZone", "GMT"},
    {"standard_conforming_strings", "on"},
    {"is_superuser", "on"},
    {"integer_datetimes", "on"},
};

bool console_has_select(void)
{
    return select_is_built();
}

const char *console_version_text(void)
{
    return PACKAGE_NAME " " PACKAGE_VERSION;
}

struct console *console_new(const struct console_hooks *hooks)
{
    struct console *c = xcalloc(1, sizeof(*c));

    c->hooks = *hooks;
    c->registry = hooks->instance->registry;
    list_init(&c->sessions);
    list_init(&c->gatherings);
    list_init(&c->selects);
    return c;
}

static void session_free(struct session *s)
{
    gather_abandon(s);
    session_forget_order(s);
    select_abandon(s);
    select_plan_unref(s->statement.plan);
    list_del(&s->node);
    s->console->n_sessions--;
    extended_close_all(s);
    free(s->input);
    buf_free(&s->out);
    free(s);
}

void console_destroy(struct console *c)
{
    if (c == NULL)
        return;
    LIST_FOR_EACH_SAFE (it, &c->sessions)
        session_free(list_entry(it, struct session, node));
    LIST_FOR_EACH_SAFE (it, &c->gatherings)
        gather_free(list_entry(it, struct gathering, node));
    select_free_all(c);
    free(c);
}

void console_interrupt(struct console *c)
{
    select_interrupt_all(c);
}

int console_session_count(const struct console *c)
{
    return c->n_sessions;
}

static struct session *session_find(struct console *c, uint8_t worker, uint64_t client)
{
    LIST_FOR_EACH (it, &c->sessions) {
        struct session *s = list_entry(it, struct session, node);

        if (s->client == client && s->worker == worker)
            return s;
    }
    return NULL;
}

/* ---- answers ---- */

void session_error(struct session *s, const char *sqlstate, const char *message, const char *detail,
                   const char *hint)
{
    wire_put_error(&s->out, SEVERITY_ERROR, sqlstate, message, detail, hint);
}

static void session_fatal(struct session *s, const char *sqlstate, const char *message)
{
    wire_put_error(&s->out, SEVERITY_FATAL, sqlstate, message, NULL, NULL);
    s->is_closing = true;
}

/* False when memory is out; the bytes are still there then. */
static bool session_send(struct session *s, bool is_last)
{
    struct mail_console_output *m;

    if (s->out.failed) {
        /* what was lost cannot be mended: the client would see half a message */
        buf_free(&s->out);
        buf_init(&s->out, 0);
        session_fatal(s, "53200", "out of memory");
    }
    m = calloc(1, sizeof(*m) + s->out.len);
    if (m == NULL)
        return false;
    m->mail.type = MAIL_CONSOLE_OUTPUT;
    m->client = s->client;
    m->is_last = is_last;
    m->is_closing = is_last && s->is_closing;
    m->len_bytes = s->out.len;
    s->answer_bytes += s->out.len;
    if (s->out.len > 0)
        memcpy(m->data, s->out.data, s->out.len);
    buf_free(&s->out);
    s->console->hooks.send(s->console->hooks.arg, s->worker, m);
    return true;
}

/* The input has been dealt with. */
static void session_answer(struct session *s)
{
    struct console_hooks *hooks = &s->console->hooks;
    enum shutdown_mode mode = s->shutdown;

    free(s->input);
    s->input = NULL;
    s->sql = NULL;
    s->is_answered = !session_send(s, true);
    if (!s->is_answered && mode != SHUTDOWN_NONE) {
        s->shutdown = SHUTDOWN_NONE;
        hooks->shutdown(hooks->arg, mode);
    }
}

/* ---- simple protocol ---- */

static void simple_end(struct session *s)
{
    s->sql = NULL;
    if (!s->is_in_block)
        extended_close_portals(s);
    wire_put_ready(&s->out, 'I');
}

static void simple_finish(struct session *s, enum command_outcome outcome)
{
    select_plan_unref(s->statement.plan);
    s->statement.plan = NULL;
    if (outcome == COMMAND_DONE)
        wire_put_command_complete(&s->out, s->tag);
    else
        simple_end(s);
}

/* The next statement of the Query. */
static void simple_step(struct session *s)
{
    struct statement *st = &s->statement;
    enum command_outcome outcome;
    struct parse_error e;

    if (!statement_parse(&s->sql, st, &e)) {
        session_error(s, e.sqlstate, e.message, NULL, e.hint[0] != '\0' ? e.hint : NULL);
        simple_end(s);
        return;
    }
    if (st->command == NULL) {
        if (*s->sql != '\0')
            return;
        if (!s->sql_said_something)
            wire_end(&s->out, wire_begin(&s->out, 'I')); /* EmptyQueryResponse */
        simple_end(s);
        return;
    }
    s->sql_said_something = true;
    s->portal = NULL;
    s->result = (struct result){.out = &s->out, .describes = true};
    s->result.columns = statement_columns(st, &s->result.n_columns);
    outcome = command_run(s, st, &s->result);
    if (outcome != COMMAND_WAITS)
        simple_finish(s, outcome);
}

/* ---- input ---- */

static bool simple_query(struct session *s, const uint8_t *body, uint32_t len_bytes)
{
    struct wire_reader r;
    const char *sql;

    wire_reader_init(&r, body, len_bytes);
    sql = wire_read_cstr(&r);
    if (!wire_reader_done(&r))
        return false;
    s->sql = sql; /* inside s->input, which stays until the answer */
    s->sql_said_something = false;
    return true;
}

/* False: the message is a protocol violation. */
static bool session_message(struct session *s, uint8_t type, const uint8_t *body, uint32_t len_bytes)
{
    if (type == 'X') {
        s->is_closing = true;
        return true;
    }
    if (s->skips_to_sync && type != 'S')
        return true;
    switch (type) {
    case 'Q': return simple_query(s, body, len_bytes);
    case 'F':
        session_error(s, "0A000", "the console knows no function calls", NULL, NULL);
        wire_put_ready(&s->out, 'I');
        return true;
    case 'd': /* left over from a COPY that failed: to be ignored */
    case 'c':
    case 'f': return true;
    default: return extended_message(s, type, body, len_bytes);
    }
}

static void session_next_message(struct session *s)
{
    const uint8_t *p = s->input->data + s->input_at;
    uint32_t left = s->input->len_bytes - s->input_at;
    uint32_t len = left < WIRE_HEADER_BYTES ? 0 : wire_u32(p + 1); /* of itself and the body */

    if (len < 4 || len > left - 1) {
        session_fatal(s, "08P01", "bad packet");
        return;
    }
    s->input_at += 1 + len;
    if (!session_message(s, p[0], p + WIRE_HEADER_BYTES, len - 4))
        session_fatal(s, "08P01", "bad packet");
}

static void session_run(struct session *s)
{
    while (s->wait == WAIT_NONE && !s->is_closing && !s->out.failed) {
        if (s->answer_bytes > ANSWER_MAX)
            session_fatal(s, "54000", "answer too large: ask for less at once");
        else if (s->sql != NULL)
            simple_step(s);
        else if (s->input_at < s->input->len_bytes)
            session_next_message(s);
        else
            break;
        if (s->out.len >= PIECE_BYTES && !s->out.failed)
            (void)session_send(s, false); /* kept when memory is out */
    }
    if (s->wait == WAIT_NONE)
        session_answer(s);
}

void session_finish(struct session *s, enum command_outcome outcome)
{
    s->wait = WAIT_NONE;
    if (s->preparing != NULL)
        extended_parsed(s, outcome);
    else if (s->portal != NULL)
        extended_finish(s, outcome);
    else
        simple_finish(s, outcome);
    session_run(s);
}

static void session_welcome(struct session *s, uint64_t cancel_key)
{
    uint8_t key[4];

    wire_put_auth(&s->out, 0, NULL, 0);
    for (size_t i = 0; i < ARRAY_SIZE(welcome_parameters); i++)
        wire_put_parameter_status(&s->out, welcome_parameters[i][0], welcome_parameters[i][1]);
    wire_set_u32(key, (uint32_t)cancel_key);
    wire_put_backend_key(&s->out, (uint32_t)(cancel_key >> 32), key, sizeof(key));
    wire_put_ready(&s->out, 'I');
    session_answer(s);
}

static void console_open_session(struct console *c, const struct mail_console_input *m)
{
    struct session *s = session_find(c, m->worker, m->client);

    if (s != NULL) {
        session_wait_abandon(s);
        session_free(s);
    }
    s = calloc(1, sizeof(*s));
    if (s == NULL) {
        /* there is no memory for an answer either; the login timeout ends the client */
        log_error("no memory for a console session");
        return;
    }
    s->console = c;
    s->client = m->client;
    s->worker = m->worker;
    s->is_admin = m->is_admin;
    str_copy(s->user, m->user, sizeof(s->user));
    buf_init(&s->out, 0);
    list_init(&s->prepared);
    list_init(&s->portals);
    list_push_back(&c->sessions, &s->node);
    c->n_sessions++;
    session_welcome(s, m->cancel_key);
}

void console_on_input(struct console *c, struct mail_console_input *m)
{
    struct session *s;

    if (m->kind == CONSOLE_OPEN) {
        console_open_session(c, m);
        free(m);
        return;
    }
    s = session_find(c, m->worker, m->client);
    if (s == NULL) {
        free(m);
    } else if (m->kind == CONSOLE_GONE) {
        free(m);
        session_wait_abandon(s);
        session_free(s);
    } else if (m->kind == CONSOLE_CANCEL) {
        free(m);
        session_cancel(s);
    } else if (s->input != NULL || s->is_answered) {
        log_error("console: input of client %llx while the last one is being worked on",
                  (unsigned long long)m->client);
        free(m);
    } else {
        s->input = m;
        s->input_at = 0;
        s->answer_bytes = 0;
        session_run(s);
    }
}

/* ---- time ---- */

static void session_tick(struct session *s)
{
    if (s->is_answered)
        session_answer(s);
    else
        session_wait_tick(s);
}

void console_tick(struct console *c, int64_t now_us)
{
    LIST_FOR_EACH_SAFE (it, &c->sessions)
        session_tick(list_entry(it, struct session, node));
    gather_tick(c, now_us);
}

bool console_is_waiting(const struct console *c)
{
    LIST_FOR_EACH (it, &c->sessions) {
        const struct session *s = list_entry(it, struct session, node);

        if (s->wait != WAIT_NONE || s->is_answered)
            return true;
    }
    return !list_is_empty(&c->gatherings);
}
