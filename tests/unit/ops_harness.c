/*
 * ops_harness.c - see ops_harness.h.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/str.h"
#include "ops_harness.h"
#include "wire/codec.h"
#include "stats/leaks.h"

static const char small_ini[] =
    "[databases]\n"
    "app = host=db1,db2 port=5433 dbname=app_prod pool_size=7 pool_mode=transaction\n"
    "other =\n"
    "[users]\n"
    "alice = pool_size=3 max_user_connections=9\n"
    "[pgbouncer]\n"
    "auth_type = trust\n"
    "listen_port = 7000\n"
    "default_pool_size = 11\n"
    "server_tls_sslmode = disable\n";

static void note(struct harness *h, const char *what, const char *arg)
{
    buf_printf(&h->calls, "%s%s%s;", what, arg != NULL ? " " : "", arg != NULL ? arg : "");
}

static void hook_send(void *arg, uint8_t worker, struct mail_console_output *m)
{
    struct harness *h = arg;

    assert_int_equal(m->mail.type, MAIL_CONSOLE_OUTPUT);
    buf_append(&h->out, m->data, m->len_bytes);
    h->n_last += m->is_last;
    h->is_closing = m->is_closing;
    h->worker = worker;
    h->client = m->client;
    free(m);
}

static void hook_gather(void *arg, struct mail_gather *m)
{
    struct harness *h = arg;

    assert_int_equal(m->mail.type, MAIL_GATHER);
    assert_true(h->n_asked < (int)ARRAY_SIZE(h->asked));
    h->asked[h->n_asked++] = m;
}

static void hook_submit(void *arg, struct helper_job *job)
{
    struct harness *h = arg;

    assert_true(h->n_submitted < (int)ARRAY_SIZE(h->submitted));
    h->submitted[h->n_submitted++] = job;
}

static const struct session_config *hook_config(void *arg)
{
    return &((struct harness *)arg)->config;
}

static int64_t hook_now(void *arg)
{
    return ((struct harness *)arg)->now_us;
}

static bool hook_reload(void *arg, struct config_changes *changes, struct buf *error)
{
    struct harness *h = arg;
    struct config_change size = {
        .kind = CHANGE_SETTING, .name = "stats_period", .old_text = "60", .new_text = "5"};
    struct config_change gone = {.kind = CHANGE_DATABASE_REMOVED, .name = "app", .old_text = "host=a"};

    note(h, "reload", NULL);
    if (h->reload_changes) {
        config_changes_add(changes, &size);
        config_changes_add(changes, &gone);
    }
    if (h->reload_fails)
        buf_append_str(error, "pgsluice.ini:3: no");
    return !h->reload_fails;
}

static bool hook_set(void *arg, const char *key, const char *value, struct buf *error)
{
    struct harness *h = arg;

    note(h, key, value);
    if (h->set_fails)
        buf_append_str(error, "not a number");
    return !h->set_fails;
}

static bool hook_is_in_force(void *arg)
{
    return !((struct harness *)arg)->workers_are_behind;
}

static const char *database_name(struct pool_database *d)
{
    return d != NULL ? d->name : "*";
}

static void hook_pause(void *arg, struct pool_database *d)
{
    struct harness *h = arg;

    note(h, "pause", database_name(d));
    registry_set_paused(h->instance.registry, d, true);
}

static bool hook_is_paused_done(void *arg, struct pool_database *d)
{
    (void)d;
    return !((struct harness *)arg)->servers_left;
}

static bool hook_resume(void *arg, struct pool_database *d)
{
    struct harness *h = arg;
    bool was = registry_is_paused(h->instance.registry, d);

    note(h, "resume", database_name(d));
    registry_set_paused(h->instance.registry, d, false);
    return was;
}

static void hook_reconnect(void *arg, struct pool_database *d)
{
    note(arg, "reconnect", database_name(d));
}

static bool hook_is_close_done(void *arg, struct pool_database *d)
{
    (void)d;
    return !((struct harness *)arg)->servers_left;
}

static struct order *hook_kill(void *arg, struct pool_database *d)
{
    struct harness *h = arg;

    note(h, "kill", database_name(d));
    registry_set_paused(h->instance.registry, d, true);
    h->order.outstanding = 1;
    return &h->order;
}

static struct order *hook_kill_client(void *arg, uint64_t client_id)
{
    struct harness *h = arg;
    char text[24];

    snprintf(text, sizeof(text), "%llu", (unsigned long long)client_id);
    note(h, "kill_client", text);
    h->order.outstanding = 1;
    return &h->order;
}

static bool hook_is_order_done(void *arg, const struct order *order, int *n_found)
{
    (void)arg;
    *n_found = order->n_found;
    return order->outstanding == 0;
}

static void hook_order_forget(void *arg, struct order *order)
{
    note(arg, "forget", NULL);
    *order = (struct order){.n_found = 0};
}

static void hook_shutdown(void *arg, enum shutdown_mode mode)
{
    struct harness *h = arg;
    char text[16];

    snprintf(text, sizeof(text), "%d after %d", (int)mode, h->n_last);
    note(h, "shutdown", text);
    atomic_store(&h->instance.shutdown_mode, (int)mode);
}

static void add_pool(struct harness *h, const char *database, const char *user, int limit)
{
    struct pool_config config = {.limit = limit};
    struct pool_acts acts = {.n = 0};
    bool is_new;
    struct pool *p = registry_get_pool(h->instance.registry, database, user, &is_new);

    assert_non_null(p);
    assert_true(is_new);
    pool_configure(p, &config, h->now_us, &acts);
    assert_int_equal(acts.n, 0);
}

struct harness *harness_new(const char *ini)
{
    struct harness *h = xcalloc(1, sizeof(*h));
    struct console_hooks hooks = {
        .arg = h,
        .instance = &h->instance,
        .send = hook_send,
        .gather = hook_gather,
        .submit = hook_submit,
        .config = hook_config,
        .now_us = hook_now,
        .reload = hook_reload,
        .set = hook_set,
        .pause = hook_pause,
        .is_paused_done = hook_is_paused_done,
        .resume = hook_resume,
        .reconnect = hook_reconnect,
        .is_in_force = hook_is_in_force,
        .is_close_done = hook_is_close_done,
        .kill = hook_kill,
        .kill_client = hook_kill_client,
        .is_order_done = hook_is_order_done,
        .order_forget = hook_order_forget,
        .shutdown = hook_shutdown,
    };
    struct config_args args = {
        .ini_path = "test.ini", .ini_text = ini != NULL ? ini : small_ini, .no_files = true};
    struct config_problems problems;

    config_problems_init(&problems);
    args.ini_text_len = strlen(args.ini_text);
    h->config.config = config_load(&args, &problems);
    for (size_t i = 0; h->config.config == NULL && i < problems.count; i++)
        print_message("%s\n", problems.items[i].text);
    assert_non_null(h->config.config);
    config_problems_free(&problems);

    h->now_us = 1000000000;
    h->instance.n_workers = HARNESS_WORKERS;
    for (int i = 0; i < HARNESS_WORKERS; i++)
        h->instance.shards[i] = xcalloc(1, sizeof(struct shard));
    h->instance.registry = registry_new(HARNESS_WORKERS);
    h->instance.errors = xcalloc(1, sizeof(struct stats_errors));
    h->instance.leaks = xcalloc(1, sizeof(struct leaks));
    leaks_init(h->instance.leaks);
    add_pool(h, "other", "alice", 4);
    add_pool(h, "app", "bob", 7);
    add_pool(h, "app", "alice", 3);
    buf_init(&h->out, 0);
    buf_init(&h->calls, 0);
    h->console = console_new(&hooks);
    return h;
}

void harness_free(struct harness *h)
{
    console_destroy(h->console);
    for (int i = 0; i < h->n_asked; i++)
        free(h->asked[i]);
    registry_destroy(h->instance.registry);
    for (int i = 0; i < HARNESS_WORKERS; i++)
        free(h->instance.shards[i]);
    free(h->instance.errors);
    leaks_destroy(h->instance.leaks);
    free(h->instance.leaks);
    config_unref(h->config.config);
    buf_free(&h->out);
    buf_free(&h->calls);
    free(h);
}

/* ---- input ---- */

static void input(struct harness *h, enum console_input_kind kind, uint8_t worker, uint64_t client,
                  bool is_admin, const void *data, uint32_t len_bytes)
{
    struct mail_console_input *m = xcalloc(1, sizeof(*m) + len_bytes);

    m->kind = kind;
    m->worker = worker;
    m->client = client;
    m->is_admin = is_admin;
    str_copy(m->user, "alice", sizeof(m->user));
    m->len_bytes = len_bytes;
    if (len_bytes > 0)
        memcpy(m->data, data, len_bytes);
    console_on_input(h->console, m);
    if (!h->holds_work)
        harness_work(h);
}

void harness_work(struct harness *h)
{
    while (h->n_submitted > 0) {
        struct helper_job *job = h->submitted[--h->n_submitted];

        assert_int_equal(job->mail.type, MAIL_CONSOLE_WORKED);
        job->work(job);
        console_on_worked(h->console, &job->mail);
    }
}

void harness_open(struct harness *h, uint8_t worker, uint64_t client, bool is_admin)
{
    input(h, CONSOLE_OPEN, worker, client, is_admin, NULL, 0);
}

void harness_cancel(struct harness *h, uint8_t worker, uint64_t client)
{
    input(h, CONSOLE_CANCEL, worker, client, false, NULL, 0);
}

void harness_gone(struct harness *h, uint8_t worker, uint64_t client)
{
    input(h, CONSOLE_GONE, worker, client, false, NULL, 0);
}

void harness_data(struct harness *h, uint8_t worker, uint64_t client, const void *data, uint32_t len_bytes)
{
    input(h, CONSOLE_DATA, worker, client, false, data, len_bytes);
}

void harness_send(struct harness *h, struct buf *messages)
{
    harness_data(h, 0, 1, messages->data, messages->len);
    buf_clear(messages);
}

void harness_query(struct harness *h, const char *sql)
{
    struct buf b;

    buf_init(&b, 0);
    wire_put_query(&b, sql);
    harness_send(h, &b);
    buf_free(&b);
}

void harness_gathered(struct harness *h, int i, struct session_row *rows, uint32_t n_rows)
{
    struct mail_gather *m = h->asked[i];

    assert_non_null(m);
    h->asked[i] = NULL;
    m->rows = rows;
    m->n_rows = n_rows;
    console_on_gathered(h->console, m);
    if (!h->holds_work)
        harness_work(h);
}

/* ---- output ---- */

static void trace_value(struct buf *t, const uint8_t *p, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (p[i] >= ' ' && p[i] < 127)
            buf_append_byte(t, p[i]);
        else
            buf_printf(t, "\\x%02x", p[i]);
    }
}

static void trace_columns(struct buf *t, struct wire_reader *r)
{
    for (int n = wire_read_u16(r); n > 0; n--) {
        buf_printf(t, " %s:", wire_read_cstr(r));
        (void)wire_read_u32(r);
        (void)wire_read_u16(r);
        buf_printf(t, "%u", wire_read_u32(r));
        (void)wire_read_u16(r);
        (void)wire_read_u32(r);
        buf_append_str(t, wire_read_u16(r) != 0 ? "b" : "");
    }
}

static void trace_parameters(struct buf *t, struct wire_reader *r)
{
    int n = wire_read_u16(r);

    buf_printf(t, " %d", n);
    for (int i = 0; i < n; i++)
        buf_printf(t, ":%u", wire_read_u32(r));
}

static void trace_row(struct buf *t, struct wire_reader *r)
{
    for (int n = wire_read_u16(r), i = 0; i < n; i++) {
        uint32_t len = wire_read_u32(r);

        buf_append_byte(t, i == 0 ? ' ' : ',');
        if (len == UINT32_MAX)
            buf_append_byte(t, '~');
        else
            trace_value(t, wire_read_bytes(r, len), len);
    }
}

static void trace_error(struct buf *t, const uint8_t *body, uint32_t len)
{
    struct wire_error e;

    assert_true(wire_parse_error(body, len, &e));
    buf_printf(t, " %s %s %s", e.severity, e.sqlstate, e.message);
    if (e.detail[0] != '\0')
        buf_printf(t, " DETAIL %s", e.detail);
    if (e.hint[0] != '\0')
        buf_printf(t, " HINT %s", e.hint);
}

static void trace_message(struct buf *t, uint8_t type, const uint8_t *body, uint32_t len)
{
    struct wire_reader r;

    wire_reader_init(&r, body, len);
    buf_append_byte(t, type);
    switch (type) {
    case 'T': trace_columns(t, &r); break;
    case 'D': trace_row(t, &r); break;
    case 'C': buf_printf(t, " %s", wire_read_cstr(&r)); break;
    case 'Z': buf_printf(t, " %c", wire_read_u8(&r)); break;
    case 'R': buf_printf(t, " %u", wire_read_u32(&r)); break;
    case 't': trace_parameters(t, &r); break;
    case 'S':
        buf_printf(t, " %s", wire_read_cstr(&r));
        buf_printf(t, "=%s", wire_read_cstr(&r));
        break;
    case 'E':
    case 'N': trace_error(t, body, len); return;
    case 'K': return;
    default: break;
    }
    assert_true(wire_reader_done(&r));
}

char *harness_trace(struct harness *h)
{
    struct buf t;
    char *text;

    buf_init(&t, 0);
    for (uint32_t at = 0; at < h->out.len;) {
        uint32_t len = wire_u32(h->out.data + at + 1);

        assert_true(at + 1 + len <= h->out.len);
        trace_message(&t, h->out.data[at], h->out.data + at + 5, len - 4);
        buf_append_byte(&t, '\n');
        at += 1 + len;
    }
    buf_clear(&h->out);
    text = xstrdup(buf_cstr(&t));
    buf_free(&t);
    return text;
}

char *harness_ask(struct harness *h, const char *sql)
{
    harness_query(h, sql);
    return harness_trace(h);
}

/* ---- messages ---- */

void put_parse(struct buf *b, const char *name, const char *sql)
{
    uint32_t offset = wire_begin(b, 'P');

    wire_put_cstr(b, name);
    wire_put_cstr(b, sql);
    wire_put_u16(b, 0);
    wire_end(b, offset);
}

void put_bind(struct buf *b, const char *portal, const char *name, int n_formats, int format)
{
    uint32_t offset = wire_begin(b, 'B');

    wire_put_cstr(b, portal);
    wire_put_cstr(b, name);
    wire_put_u16(b, 0);
    wire_put_u16(b, 0);
    wire_put_u16(b, (uint16_t)n_formats);
    for (int i = 0; i < n_formats; i++)
        wire_put_u16(b, (uint16_t)format);
    wire_end(b, offset);
}

static void put_named(struct buf *b, uint8_t type, char kind, const char *name)
{
    uint32_t offset = wire_begin(b, type);

    wire_put_u8(b, (uint8_t)kind);
    wire_put_cstr(b, name);
    wire_end(b, offset);
}

void put_describe(struct buf *b, char kind, const char *name)
{
    put_named(b, 'D', kind, name);
}

void put_close(struct buf *b, char kind, const char *name)
{
    put_named(b, 'C', kind, name);
}

void put_execute(struct buf *b, const char *portal, uint32_t max_rows)
{
    uint32_t offset = wire_begin(b, 'E');

    wire_put_cstr(b, portal);
    wire_put_u32(b, max_rows);
    wire_end(b, offset);
}

void put_sync(struct buf *b)
{
    wire_end(b, wire_begin(b, 'S'));
}

static int set_up(void **state, bool is_admin)
{
    struct harness *h = harness_new(NULL);

    harness_open(h, 0, 1, is_admin);
    free(harness_trace(h));
    *state = h;
    return 0;
}

int harness_setup(void **state)
{
    return set_up(state, false);
}

int harness_setup_admin(void **state)
{
    return set_up(state, true);
}

int harness_teardown(void **state)
{
    harness_free(*state);
    return 0;
}

void check_trace(struct harness *h, const char *expected)
{
    char *trace = harness_trace(h);

    assert_string_equal(trace, expected);
    free(trace);
}

void check_calls(struct harness *h, const char *expected)
{
    assert_string_equal(buf_cstr(&h->calls), expected);
    buf_clear(&h->calls);
}
