/*
 * orders.c - what an operator orders: pause, resume, reconnect, kill; and the console's hooks.
 *
 * A pause belongs to a database or to the whole, so pools that appear later are paused too.
 *
 * Threads: the control thread. Not here: the end (shutdown.c), waiting (ops/console_wait.c).
 */
#include <stdlib.h>

#include "base/log.h"
#include "main_int.h"

static bool is_of(const struct pool *pool, const struct pool_database *database)
{
    return database == NULL || pool->database == database;
}

static void set_paused(struct control *ctl, struct pool_database *database, bool paused)
{
    struct registry *r = ctl->in.registry;
    registry_set_paused(r, database, paused);
    for (int i = 0; i < registry_count(r); i++) {
        struct pool *pool = registry_pool(r, i);
        struct pool_acts acts;
        if (!is_of(pool, database))
            continue;
        /* the whole may be resumed while one database stays paused */
        pool_set_paused(pool, registry_is_paused(r, pool->database), clock_now_us(), &acts);
        instance_perform(&ctl->in, pool, &acts);
    }
}

void control_pause(struct control *ctl, struct pool_database *database)
{
    set_paused(ctl, database, true);
}

/* Server connections of the database's pools (NULL: of all): how many there are, and how many of them are to
 * close. */
static void count_servers(struct control *ctl, struct pool_database *database, int *n_there, int *n_to_close)
{
    struct registry *r = ctl->in.registry;
    struct pool_numbers n;

    *n_there = *n_to_close = 0;
    for (int i = 0; i < registry_count(r); i++) {
        struct pool *pool = registry_pool(r, i);
        if (!is_of(pool, database))
            continue;
        pool_read(pool, 0, clock_now_us(), &n);
        *n_there += n.nslots;
        *n_to_close += n.to_close;
    }
}

bool control_is_paused_done(struct control *ctl, struct pool_database *database)
{
    int n_there, n_to_close;

    count_servers(ctl, database, &n_there, &n_to_close);
    return n_there == 0;
}

bool control_resume(struct control *ctl, struct pool_database *database)
{
    struct registry *r = ctl->in.registry;
    bool was_paused =
        database != NULL ? registry_database_is_paused(r, database) : registry_is_paused(r, NULL);
    set_paused(ctl, database, false);
    return was_paused;
}

/* ---- closing ---- */

void control_reconnect(struct control *ctl, struct pool_database *database)
{
    struct registry *r = ctl->in.registry;

    log_info("RECONNECT %s: server connections are replaced as they come free",
             database != NULL ? database->name : "");
    for (int i = 0; i < registry_count(r); i++) {
        struct pool *pool = registry_pool(r, i);
        struct pool_acts acts;
        if (!is_of(pool, database))
            continue;
        pool_recycle(pool, CLOSE_RECONNECT, clock_now_us(), &acts);
        instance_perform(&ctl->in, pool, &acts);
    }
}

bool control_is_close_done(struct control *ctl, struct pool_database *database)
{
    int n_there, n_to_close;

    count_servers(ctl, database, &n_there, &n_to_close);
    return n_to_close == 0;
}

/* ---- hooks of the console ---- */

static void hook_send(void *arg, uint8_t worker, struct mail_console_output *m)
{
    struct control *ctl = arg;
    m->mail.type = MAIL_CONSOLE_OUTPUT;
    loop_post(&ctl->in.shards[worker]->loop, &m->mail);
}

static void hook_gather(void *arg, struct mail_gather *m)
{
    struct control *ctl = arg;
    m->mail.type = MAIL_GATHER;
    loop_post(&ctl->in.shards[m->worker]->loop, &m->mail);
}

static void hook_submit(void *arg, struct helper_job *job)
{
    job->reply_to = &((struct control *)arg)->loop;
    helper_submit(job);
}

static const struct session_config *hook_config(void *arg)
{
    return ((struct control *)arg)->config;
}

static int64_t hook_now(void *arg)
{
    (void)arg;
    return clock_now_us();
}

static bool hook_reload(void *arg, struct config_changes *changes, struct buf *error)
{
    return control_reload(arg, changes, error);
}

static bool hook_set(void *arg, const char *key, const char *value, struct buf *error)
{
    return control_set(arg, key, value, error);
}

static bool hook_is_in_force(void *arg)
{
    return ((struct control *)arg)->configs_under_way == 0;
}

static void hook_pause(void *arg, struct pool_database *database)
{
    control_pause(arg, database);
}

static bool hook_is_paused_done(void *arg, struct pool_database *database)
{
    return control_is_paused_done(arg, database);
}

static bool hook_resume(void *arg, struct pool_database *database)
{
    return control_resume(arg, database);
}

static void hook_reconnect(void *arg, struct pool_database *database)
{
    control_reconnect(arg, database);
}

static bool hook_is_close_done(void *arg, struct pool_database *database)
{
    return control_is_close_done(arg, database);
}

/* The pause comes first, so that what is closed is not opened again. */
static struct order *hook_kill(void *arg, struct pool_database *database)
{
    log_info("KILL %s: closing clients and servers", database != NULL ? database->name : "");
    control_pause(arg, database);
    return control_order(
        arg, &(struct mail_order){.kind = ORDER_KILL, .database = database, .why = CLOSE_ADMIN}, true);
}

static struct order *hook_kill_client(void *arg, uint64_t client_id)
{
    log_info("KILL_CLIENT %llu", (unsigned long long)client_id);
    return control_order(
        arg, &(struct mail_order){.kind = ORDER_KILL_CLIENT, .client_id = client_id, .why = CLOSE_ADMIN},
        true);
}

static bool hook_is_order_done(void *arg, const struct order *order, int *n_found)
{
    (void)arg;
    *n_found = order->n_found;
    return order->outstanding == 0;
}

static void hook_order_forget(void *arg, struct order *order)
{
    (void)arg;
    control_forget_order(order);
}

static void hook_shutdown(void *arg, enum shutdown_mode mode)
{
    control_shutdown(arg, mode);
}

struct console *control_new_console(struct control *ctl)
{
    struct console_hooks h = {
        .arg = ctl,
        .instance = &ctl->in,
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
    return console_new(&h);
}
