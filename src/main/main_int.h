/*
 * main_int.h - what the files of main/ share: the command line and the control thread.
 */
#ifndef MAIN_INT_H
#define MAIN_INT_H

#include <stdbool.h>

#include "base/buf.h"
#include "config/changes.h"
#include "config/config.h"
#include "net/listener.h"
#include "ops/console.h"
#include "ops/http.h"
#include "session/instance.h"
#include "worker/worker.h"

/* ---- args.c ---- */

struct args {
    const char *ini_path;
    bool daemonize;
    bool quiet;
    bool check_only;         /* --check: print problems and exit */
    bool print_config;       /* --print-config: print it and exit */
    const char *health_path; /* --healthcheck: what to ask the running instance; NULL: do not */
    bool reboot;             /* -R: accepted, warned about */
    int verbose;
    const char *user; /* -u */
    struct config_override overrides[4];
    struct config_args config;
};

/* Fills a; when the program is to end at once, returns false and sets *status. */
bool args_parse(struct args *a, int argc, char **argv, int *status);

/* ---- process.c: what happens once, at boot ---- */

/* Prints to stderr and gives false when something is wrong. */
bool process_switch_user(const char *user);
/* Forbids core dumps, and debuggers to all but root, or allows them. */
void process_forbid_core_dumps(bool forbid);
/* Before going to the background, while there is a terminal to complain to. */
bool process_check_background(const struct settings *s);
bool process_check_pidfile(const char *path);
bool process_daemonize(void);
bool process_write_pidfile(const char *path);
void process_remove_pidfile(const char *path);
/* To the hard limit; a warning when that is too low for the configuration. */
void process_raise_descriptor_limit(const struct config *cfg);
/* A backtrace in the log when the process crashes. */
void process_catch_crashes(void);
bool process_open_log(const struct settings *s, const struct args *a);
/* Hundredths of a CPU that the control groups of this process allow, 0 = no limit. root: "", but for tests.
 */
int cgroup_quota(const char *root);
/* Workers for so many CPUs, of which quota (as above) allows a part: 1..8. */
int cgroup_workers(int n_cpus, int quota);
/* CPUs that the container or machine grants, 1..8: workers = auto. */
int process_auto_workers(void);

/* ---- healthcheck.c ---- */

/* Asks the instance that runs with these settings; prints its answer. Returns the exit status: 0 or 1. */
int healthcheck(const struct config *cfg, const char *path);

/* ---- systemd.c: the service manager; nothing happens without one ---- */

struct control;

/* Takes note of the sockets that were handed over: before anything forks, or opens a descriptor. */
void systemd_take_sockets(void);
/* How many those are, and the first; the others follow it. */
int systemd_sockets(int *first);
/* "READY=1" and the like: sd_notify(3). */
void systemd_notify(const char *state);
void systemd_notify_reloading(void);
/* One line that the service manager shows. */
void systemd_notify_status(const char *text);
/* False: no memory. */
bool systemd_start_watchdog(struct control *ctl);

/* ---- tls_setup.c ---- */

/* before: what is in force, or NULL; what has not changed is taken over from it. False with a text in error.
 */
bool tls_setup(const struct config *cfg, const struct session_tls *before, struct session_tls *out,
               struct buf *error) must_check;

/* ---- control.c: the control thread ---- */

#define CONTROL_TICK_US (50 * USEC_PER_MSEC)

struct control {
    struct loop loop;
    struct instance in;
    const struct args *args;
    struct worker *workers;
    struct listeners *listeners;
    struct console *console;
    struct http *http;             /* NULL: nowhere */
    struct session_config *config; /* in force; one reference */
    struct event *signals[8];
    struct event tick_event; /* control_arm_tick(): shutdown, waiting console commands */
    bool tick_is_armed;
    struct event maintain_event;  /* a second: min_pool_size, idle timeout, lifetime */
    struct event forget_event;    /* sooner than that: idle timeouts of pools */
    struct event *watchdog_event; /* NULL: nobody waits for it */
    int64_t next_stats_us;
    int64_t next_util_us;
    int workers_to_stop; /* ORDER_STOP sent and not acknowledged */
    bool is_stopping;
    int64_t announced_us;    /* SHUTDOWN_ANNOUNCED began */
    bool waits_for_leaving;  /* ... and is the end when the last client has gone: wait_then_drain */
    bool is_last_grace;      /* SHUTDOWN DRAIN comes after such a wait */
    int64_t progress_us;     /* the log has said how far it has come */
    int64_t drain_since_us;  /* SHUTDOWN DRAIN began */
    int64_t drain_filled_us; /* drain_budget was filled up to here */
    int configs_under_way;   /* MAIL_CONFIG sent and not yet taken up */
    bool is_reloading;       /* the service manager waits until they are */
    char **dirty;            /* databases whose connection data have changed since all workers agreed */
    size_t n_dirty;
    struct config_file_id userlist_seen;  /* userlist_watch.c: how the file looked a second ago */
    struct config_file_id userlist_wrong; /* ... when what is in it could not be used */
    int maintain_worker;                  /* whose turn it is to open servers for min_pool_size */
};

bool control_init(struct control *ctl, const struct args *a, struct session_config *config);
/* Runs until the end of the program. */
void control_run(struct control *ctl);
/* False: a thread hangs in a call that does not end. Nothing that it may touch has been freed, and the
 * process is to end without a word to it: _exit(). */
bool control_destroy(struct control *ctl) must_check;
/* console_tick() and control_check_shutdown() in a moment, and again as long as there is something to wait
 * for.
 */
void control_arm_tick(struct control *ctl);
/* Mail to every worker, as in m. wants_end: an order that becomes done when all have answered; the caller
 * gives it up with control_forget_order(). */
struct order *control_order(struct control *ctl, const struct mail_order *m, bool wants_end);
void control_forget_order(struct order *order);

/* maintain.c */
void control_maintain_cb(evutil_socket_t fd, short what, void *arg);
void control_forget_cb(evutil_socket_t fd, short what, void *arg);

/* userlist_watch.c: once a second */
void control_watch_userlist(struct control *ctl);

/* reload.c */
/* changes: what is different now, filled when it is true. error: one line per problem. */
bool control_reload(struct control *ctl, struct config_changes *changes, struct buf *error);
/* auth_file alone is read again. False: it is logged why, and the users in force stay. */
bool control_reload_userlist(struct control *ctl);
bool control_set(struct control *ctl, const char *key, const char *value, struct buf *error);
/* A worker has taken up new settings; when all have, the ledgers are told once more. */
void control_config_taken(struct control *ctl);
/* Pools that are to exist before any client comes: forced users with min_pool_size. */
void control_make_forced_pools(struct control *ctl);

/* restart.c: config_fixed_check; arg: the struct control */
void control_check_fixed(void *arg, const struct settings *wanted, const struct settings *in_force,
                         struct config_problems *problems);

/* web.c: HTTP */
/* False after saying why: an address that was asked for cannot be had. */
bool control_open_http(struct control *ctl);

/* orders.c */
void control_pause(struct control *ctl, struct pool_database *database);
bool control_is_paused_done(struct control *ctl, struct pool_database *database);
bool control_resume(struct control *ctl, struct pool_database *database);
/* Servers close when they come free. */
void control_reconnect(struct control *ctl, struct pool_database *database);
bool control_is_close_done(struct control *ctl, struct pool_database *database);
struct console *control_new_console(struct control *ctl);

/* shutdown.c */
void control_shutdown(struct control *ctl, enum shutdown_mode mode);
/* SHUTDOWN_IMMEDIATE, without waiting for anybody's leave. */
void control_end_at_once(struct control *ctl);
/* As sigterm_action says. */
void control_on_sigterm(struct control *ctl);
/* Shutting down: control_check_shutdown() is to be called in each tick. */
bool control_is_ending(const struct control *ctl);
/* Is it over? */
void control_check_shutdown(struct control *ctl);

static inline const struct settings *control_settings(const struct control *ctl)
{
    return config_settings(ctl->config->config);
}

#endif
