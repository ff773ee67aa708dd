/*
 * fuzz_console.c - the console on arbitrary messages of a client.
 *
 * Links libops.a libpool.a libstats.a libconfig.a libwire.a libauth.a libbase.a and inih, OpenSSL, libidn.
 * The first byte chooses the user's rights and the form: raw bytes, a Query of the text, or the
 * extended protocol with binary results, perhaps with a parameter. Output must be whole messages, and each
 * input is answered once, at the latest when what it waited for has come.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "ops/console.h"
#include "session/shard.h"
#include "wire/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char ini[] = "[databases]\na = host=x\n* = host=y\n[pgsluice]\nauth_type = any\n";

static struct session_config session_config;
static struct instance instance;
static struct mail_gather *asked[64];
static struct helper_job *submitted;
static int n_asked, n_last;
static bool is_closing, servers_left;

static void require(bool ok)
{
    if (!ok)
        abort();
}

static void on_send(void *arg, uint8_t worker, struct mail_console_output *m)
{
    (void)arg;
    require(worker == 0 && m->client == 1);
    for (uint32_t at = 0; at < m->len_bytes;) {
        require(m->len_bytes - at >= WIRE_HEADER_BYTES);
        at += 1 + wire_u32(m->data + at + 1);
        require(at <= m->len_bytes);
    }
    n_last += m->is_last;
    is_closing = is_closing || m->is_closing;
    free(m);
}

static void on_gather(void *arg, struct mail_gather *m)
{
    (void)arg;
    require(n_asked < 64);
    asked[n_asked++] = m;
}

static void on_submit(void *arg, struct helper_job *job)
{
    (void)arg;
    require(submitted == NULL); /* one at a time */
    submitted = job;
}

static const struct session_config *on_config(void *arg)
{
    (void)arg;
    return &session_config;
}

static int64_t on_now(void *arg)
{
    (void)arg;
    return 1000 * USEC_PER_SEC;
}

static bool on_reload(void *arg, struct config_changes *changes, struct buf *error)
{
    (void)arg;
    (void)changes;
    buf_append_str(error, "no");
    return false;
}

static bool on_set(void *arg, const char *key, const char *value, struct buf *error)
{
    (void)arg;
    (void)error;
    return strlen(key) < 64 && strlen(value) < 1024;
}

static bool on_is_in_force(void *arg)
{
    (void)arg;
    return !servers_left;
}

static void on_pause(void *arg, struct pool_database *d)
{
    (void)arg;
    registry_set_paused(instance.registry, d, true);
}

static bool on_is_paused_done(void *arg, struct pool_database *d)
{
    (void)arg;
    (void)d;
    return !servers_left;
}

static bool on_resume(void *arg, struct pool_database *d)
{
    bool was = registry_is_paused(instance.registry, d);

    (void)arg;
    registry_set_paused(instance.registry, d, false);
    return was;
}

static void on_reconnect(void *arg, struct pool_database *d)
{
    (void)arg;
    (void)d;
}

static bool on_is_close_done(void *arg, struct pool_database *d)
{
    (void)arg;
    (void)d;
    return !servers_left;
}

static struct order *on_kill(void *arg, struct pool_database *d)
{
    on_pause(arg, d);
    return xcalloc(1, sizeof(struct order));
}

static struct order *on_kill_client(void *arg, uint64_t client_id)
{
    struct order *order = xcalloc(1, sizeof(*order));

    (void)arg;
    order->n_found = client_id % 2 == 1;
    return order;
}

static bool on_is_order_done(void *arg, const struct order *order, int *n_found)
{
    (void)arg;
    *n_found = order->n_found;
    return !servers_left;
}

static void on_order_forget(void *arg, struct order *order)
{
    (void)arg;
    free(order);
}

static void on_shutdown(void *arg, enum shutdown_mode mode)
{
    (void)arg;
    require(mode > SHUTDOWN_NONE);
}

static void init(void)
{
    struct config_args args = {
        .ini_path = "fuzz.ini", .ini_text = ini, .ini_text_len = sizeof(ini) - 1, .no_files = true};
    struct config_problems problems;

    config_problems_init(&problems);
    session_config.config = config_load(&args, &problems);
    require(session_config.config != NULL);
    config_problems_free(&problems);
    instance.n_workers = 1;
    instance.shards[0] = calloc(1, sizeof(struct shard));
    instance.errors = calloc(1, sizeof(struct stats_errors));
    require(instance.shards[0] != NULL && instance.errors != NULL);
}

/* with_parameter: $1 = '7'. */
static void put_extended(struct buf *b, const char *sql, size_t len, bool with_parameter)
{
    uint32_t at = wire_begin(b, 'P');

    wire_put_u8(b, 0);
    buf_append(b, sql, (uint32_t)len);
    wire_put_u8(b, 0);
    wire_put_u16(b, 0);
    wire_end(b, at);
    if (with_parameter)
        buf_append(b,
                   "B\0\0\0\x13\0\0\0\0\0\1\0\0\0\1"
                   "7"
                   "\0\1\0\1",
                   20);
    else
        buf_append(b, "B\0\0\0\x0e\0\0\0\0\0\0\0\1\0\1", 15);
    buf_append(b, "D\0\0\0\6S\0", 7);
    buf_append(b, "D\0\0\0\6P\0", 7);
    buf_append(b, "E\0\0\0\x09\0\0\0\0\2", 10);
    buf_append(b, "E\0\0\0\x09\0\0\0\0\0", 10);
    buf_append(b, "S\0\0\0\4", 5);
}

static void input(struct console *c, enum console_input_kind kind, bool is_admin, const void *data,
                  size_t len)
{
    struct mail_console_input *m = calloc(1, sizeof(*m) + len);

    require(m != NULL);
    m->kind = kind;
    m->client = 1;
    m->is_admin = is_admin;
    m->len_bytes = (uint32_t)len;
    if (len > 0)
        memcpy(m->data, data, len);
    console_on_input(c, m);
}

static void gathered(struct console *c, struct mail_gather *m)
{
    m->rows = calloc(1, sizeof(*m->rows));
    require(m->rows != NULL);
    m->rows->state = "idle";
    m->rows->id = 1;
    m->n_rows = 1;
    console_on_gathered(c, m);
}

static void work(struct console *c)
{
    while (submitted != NULL) {
        struct helper_job *job = submitted;

        submitted = NULL;
        job->work(job);
        console_on_worked(c, &job->mail);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct console_hooks hooks = {
        .instance = &instance,
        .send = on_send,
        .gather = on_gather,
        .submit = on_submit,
        .config = on_config,
        .now_us = on_now,
        .reload = on_reload,
        .set = on_set,
        .is_in_force = on_is_in_force,
        .pause = on_pause,
        .is_paused_done = on_is_paused_done,
        .resume = on_resume,
        .reconnect = on_reconnect,
        .is_close_done = on_is_close_done,
        .kill = on_kill,
        .kill_client = on_kill_client,
        .is_order_done = on_is_order_done,
        .order_forget = on_order_forget,
        .shutdown = on_shutdown,
    };
    struct console *c;
    struct buf b;

    if (size == 0 || size > 65536)
        return 0;
    if (instance.n_workers == 0)
        init();
    n_asked = n_last = 0;
    is_closing = false;
    servers_left = (data[0] & 2) != 0;
    instance.registry = registry_new(1);
    c = console_new(&hooks);
    input(c, CONSOLE_OPEN, (data[0] & 1) != 0, NULL, 0);
    require(n_last == 1 && !is_closing);

    buf_init(&b, 0);
    if ((data[0] & 12) == 4) {
        uint32_t at = wire_begin(&b, 'Q');
        buf_append(&b, data + 1, (uint32_t)size - 1);
        wire_put_u8(&b, 0);
        wire_end(&b, at);
    } else if ((data[0] & 12) == 8) {
        put_extended(&b, (const char *)data + 1, size - 1, (data[0] & 32) != 0);
    } else {
        buf_append(&b, data + 1, (uint32_t)size - 1);
    }
    input(c, CONSOLE_DATA, false, b.data, b.len);
    if (!servers_left || (data[0] & 16) == 0) {
        /* what waits gets what it waits for */
        for (int done = 0; n_last == 1 && done < 100000; done++) {
            servers_left = false;
            while (n_asked > 0)
                gathered(c, asked[--n_asked]);
            work(c);
            console_tick(c, on_now(NULL));
        }
        require(n_last == 2);
        require(!console_is_waiting(c));
    }
    /* or its client goes */
    input(c, CONSOLE_GONE, false, NULL, 0);
    while (n_asked > 0)
        gathered(c, asked[--n_asked]);
    work(c);
    require(!console_is_waiting(c));
    console_destroy(c);
    registry_destroy(instance.registry);
    buf_free(&b);
    return 0;
}
