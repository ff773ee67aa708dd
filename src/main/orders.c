/*
 * orders.c - what an operator orders: pause, resume, shut down; and the console's hooks.
 *
 * Threads: the control thread.
 */
#include <stdlib.h>

#include "base/log.h"
#include "main_int.h"

static void set_paused(struct control *ctl, struct pool_database *database, bool paused)
{
    struct registry *r = ctl->in.registry;
    registry_set_paused(r, database, paused);
    for (int i = 0; i < registry_count(r); i++) {
        struct pool *pool = registry_pool(r, i);
        struct pool_acts acts;
        if (database != NULL && pool->database != database)
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

bool control_is_paused_done(struct control *ctl, struct pool_database *database)
{
    struct registry *r = ctl->in.registry;
    struct pool_numbers n;

    for (int i = 0; i < registry_count(r); i++) {
        struct pool *pool = registry_pool(r, i);
        if (database != NULL && pool->database != database)
            continue;
        pool_read(pool, 0, clock_now_us(), &n);
        if (n.nslots > 0)
            return false;
    }
    return true;
}

bool control_resume(struct control *ctl, struct pool_database *database)
{
    struct registry *r = ctl->in.registry;
    bool was_paused =
        database != NULL ? registry_database_is_paused(r, database) : registry_is_paused(r, NULL);
    set_paused(ctl, database, false);
    return was_paused;
}

/* ---- the end ---- */

void control_shutdown(struct control *ctl, enum shutdown_mode mode)
{
    if ((int)mode <= atomic_load(&ctl->in.shutdown_mode))
        return;
    atomic_store(&ctl->in.shutdown_mode, (int)mode);
    control_arm_tick(ctl);
    process_notify("STOPPING=1");
    if (mode == SHUTDOWN_IMMEDIATE) {
        if (ctl->is_stopping)
            return;
        ctl->is_stopping = true;
        ctl->workers_to_stop = ctl->in.n_workers;
        listeners_close(ctl->listeners, false);
        control_order(ctl, ORDER_STOP, NULL, CLOSE_SHUTDOWN);
        return;
    }
    listeners_close(ctl->listeners, true); /* the console stays reachable over the Unix socket */
    control_order(ctl, ORDER_SHUTDOWN, NULL, CLOSE_SHUTDOWN);
}

bool control_is_ending(const struct control *ctl)
{
    return !ctl->is_stopping && atomic_load(&ctl->in.shutdown_mode) != SHUTDOWN_NONE;
}

void control_check_shutdown(struct control *ctl)
{
    if (!control_is_ending(ctl))
        return;
    /* consoles do not keep the process */
    if (atomic_load(&ctl->in.clients) > 0)
        return;
    log_info("last client has gone");
    control_shutdown(ctl, SHUTDOWN_IMMEDIATE);
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

static const struct session_config *hook_config(void *arg)
{
    return ((struct control *)arg)->config;
}

static int64_t hook_now(void *arg)
{
    (void)arg;
    return clock_now_us();
}

static bool hook_reload(void *arg, struct buf *error)
{
    return control_reload(arg, error);
}

static bool hook_set(void *arg, const char *key, const char *value, struct buf *error)
{
    return control_set(arg, key, value, error);
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
        .config = hook_config,
        .now_us = hook_now,
        .reload = hook_reload,
        .set = hook_set,
        .pause = hook_pause,
        .is_paused_done = hook_is_paused_done,
        .resume = hook_resume,
        .shutdown = hook_shutdown,
    };
    return console_new(&h);
}
