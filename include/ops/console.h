/*
 * console.h - the SQL admin console.
 *
 * Who logs in to database `pgsluice` or `pgbouncer` talks to this module. The
 * worker that has the client forwards its messages by mail (session/mail.h); the
 * console speaks the backend side of the protocol, simple and extended, into
 * byte buffers and mails them back. It touches no socket.
 *
 * What a command does to the whole (reload, pause, ...) is main/'s business,
 * which gives it as hooks; figures are read from the instance, the pools and the
 * settings in force.
 *
 * Threads: the control thread only. No hook may call back into the console.
 */
#ifndef OPS_CONSOLE_H
#define OPS_CONSOLE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "config/changes.h"
#include "net/helper.h"
#include "session/instance.h"
#include "session/mail.h"

struct console;
struct order;

struct console_hooks {
    void *arg;
    struct instance *instance;

    /* Mails m to the worker; m is the receiver's from then on (free()). */
    void (*send)(void *arg, uint8_t worker, struct mail_console_output *m);
    /* Mails m to m->worker; it comes back by console_on_gathered(). */
    void (*gather)(void *arg, struct mail_gather *m);
    /* Runs job->work on a helper thread; it comes back by console_on_worked(). */
    void (*submit)(void *arg, struct helper_job *job);
    /* The settings in force; borrowed until the next call of reload() or set(). */
    const struct session_config *(*config)(void *arg);
    /* clock_now_us(), but for tests. */
    int64_t (*now_us)(void *arg);

    /* False: nothing has changed; error says why, one line per problem. changes: to be filled. */
    bool (*reload)(void *arg, struct config_changes *changes, struct buf *error);
    bool (*set)(void *arg, const char *key, const char *value, struct buf *error);
    /* What the last of these changed holds with every worker. */
    bool (*is_in_force)(void *arg);
    /* database NULL = the whole. Pausing starts here and goes on; is_paused_done(): all servers have gone. */
    void (*pause)(void *arg, struct pool_database *database);
    bool (*is_paused_done)(void *arg, struct pool_database *database);
    /* False: was not paused. */
    bool (*resume)(void *arg, struct pool_database *database);
    /* Servers close when they come free; is_close_done(): none is left that is to close. */
    void (*reconnect)(void *arg, struct pool_database *database);
    bool (*is_close_done)(void *arg, struct pool_database *database);
    /* Orders to all workers; kill() pauses, too. What they return is asked with is_order_done(), which says
     * when all have answered and how many clients they closed, and given back with order_forget(). */
    struct order *(*kill)(void *arg, struct pool_database *database);
    struct order *(*kill_client)(void *arg, uint64_t client_id);
    bool (*is_order_done)(void *arg, const struct order *order, int *n_found);
    void (*order_forget)(void *arg, struct order *order);
    /* Called after the answer has been sent. */
    void (*shutdown)(void *arg, enum shutdown_mode mode);
};

/* Boot: may abort. The hooks are copied. */
struct console *console_new(const struct console_hooks *hooks);
/* Sessions, and what they wait for, are dropped without an answer. */
void console_destroy(struct console *c);

/* MAIL_CONSOLE_INPUT; takes it over. */
void console_on_input(struct console *c, struct mail_console_input *m);
/* MAIL_GATHERED; takes it and its rows over. */
void console_on_gathered(struct console *c, struct mail_gather *m);
/* MAIL_CONSOLE_WORKED. */
void console_on_worked(struct console *c, struct mail *m);
/* What runs on helper threads is to end soon: before helpers_stop(). */
void console_interrupt(struct console *c);
/* A few times a second while console_is_waiting(): PAUSE that has ended, workers that do not answer. */
void console_tick(struct console *c, int64_t now_us);
bool console_is_waiting(const struct console *c);
/* Sessions that are open. */
int console_session_count(const struct console *c);

/* "pgsluice 1.2.3": SHOW VERSION, and the first line of --version. */
const char *console_version_text(void);
/* Whether SELECT reads relations, for --version. */
bool console_has_select(void);
/* The log's line of each stats_period, of averages of the last one: "stats: 12 xacts/s, ...". */
void console_log_stats(struct registry *registry, struct buf *line);

#endif
