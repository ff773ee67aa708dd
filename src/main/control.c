/*
 * control.c - the control thread: accepts, keeps time, and starts and ends the others.
 *
 * It owns the listeners, the signals, the console and the settings in force. It has
 * no sessions: what it decides about pools goes to the workers by mail.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "main_int.h"
#include "net/password_check.h"
#include "session/failures.h"
#include "session/lookup.h"
#include "stats/leaks.h"
#include "session/notifiers.h"

#define MAX_ARRIVING            256 /* connections beyond max_client_conn on their way to a worker */
#define N_HELPERS               4   /* names without c-ares, and a query of the console */
#define HELPERS_WAIT_US         (1 * USEC_PER_SEC) /* at the end, for what is under way */
#define HELPERS_WAIT_AT_ONCE_US (20 * USEC_PER_MSEC)

/* ---- mail ---- */

static void on_order_done(struct control *ctl, struct mail_order *m)
{
    struct order *order = m->order;

    if (m->kind == ORDER_STOP && --ctl->workers_to_stop == 0)
        loop_stop(&ctl->loop);
    if (order != NULL) {
        order->n_found += m->n_found;
        if (--order->outstanding == 0 && order->is_forgotten)
            free(order);
        else if (order->outstanding == 0)
            console_tick(ctl->console, clock_now_us());
    }
    free(m);
}

static void on_mail(struct loop *loop, struct mail *m)
{
    struct control *ctl = loop->arg;

    switch (m->type) {
    case MAIL_CONSOLE_INPUT: {
        struct mail_console_input *in = container_of(m, struct mail_console_input, mail);
        if (ctl->console != NULL)
            console_on_input(ctl->console, in);
        else
            free(in);
        if (ctl->console != NULL && console_is_waiting(ctl->console))
            control_arm_tick(ctl);
        return;
    }
    case MAIL_GATHERED: console_on_gathered(ctl->console, container_of(m, struct mail_gather, mail)); return;
    case MAIL_CONSOLE_WORKED: console_on_worked(ctl->console, m); return;
    case MAIL_ORDER_DONE: on_order_done(ctl, container_of(m, struct mail_order, mail)); return;
    case MAIL_CONFIG_TAKEN:
        free(container_of(m, struct mail_config, mail));
        control_config_taken(ctl);
        return;
    case MAIL_RESOLVED: dial_on_mail(m); return;
    default: log_error("control: unknown mail %u", m->type); return;
    }
}

struct order *control_order(struct control *ctl, const struct mail_order *m, bool wants_end)
{
    struct order *order = wants_end ? xcalloc(1, sizeof(*order)) : NULL;

    for (int i = 0; i < ctl->in.n_workers; i++) {
        struct mail_order *one = xcalloc(1, sizeof(*one));
        *one = *m;
        one->mail.type = MAIL_ORDER;
        one->order = order;
        if (order != NULL)
            order->outstanding++;
        loop_post(&ctl->in.shards[i]->loop, &one->mail);
    }
    return order;
}

void control_forget_order(struct order *order)
{
    if (order->outstanding == 0)
        free(order);
    else
        order->is_forgotten = true;
}

/* ---- new clients ---- */

static void on_accept(void *arg, int fd, bool is_unix)
{
    struct control *ctl = arg;
    const struct settings *s = control_settings(ctl);
    bool is_over_limit = false;

    if (!places_take_client(&ctl->in, s->max_client_conn)) {
        is_over_limit = true;
        if (atomic_fetch_add(&ctl->in.refused, 1) >=
            ctl->in.n_workers * places_refused_share(ctl->in.n_workers) + MAX_ARRIVING) {
            /* the workers do not keep up with telling them */
            atomic_fetch_sub(&ctl->in.refused, 1);
            close(fd);
            return;
        }
    }
    if (!is_unix) {
        struct dial_options o = {
            .keepalive = s->tcp_keepalive != 0,
            .keepidle_s = s->tcp_keepidle,
            .keepintvl_s = s->tcp_keepintvl,
            .keepcnt = s->tcp_keepcnt,
            .user_timeout_ms = s->tcp_user_timeout,
            .socket_buffer_bytes = s->tcp_socket_buffer,
        };
        dial_set_socket_options(fd, &o);
    }
    workers_dispatch(&ctl->in, fd, is_unix, is_over_limit);
}

/* Says who asked for it, as that is what must change. */
static void say_cannot_listen(const struct control *ctl, const char *error)
{
    const struct config *cfg = ctl->config->config;
    log_fatal("%s; use another place, or end the program that has this one. listen_addr is set by: %s, "
              "listen_port by: %s, unix_socket_dir by: %s",
              error, config_source_text(cfg, (size_t)option_find("listen_addr")),
              config_source_text(cfg, (size_t)option_find("listen_port")),
              config_source_text(cfg, (size_t)option_find("unix_socket_dir")));
}

static bool open_listeners(struct control *ctl)
{
    const struct settings *s = control_settings(ctl);
    char error[512];
    struct listener_options o = {
        .listen_addr = s->listen_addr,
        .listen_port = s->listen_port,
        .listen_backlog = s->listen_backlog,
        .reuse_port = s->so_reuseport != 0,
        .defer_accept = s->tcp_defer_accept != 0,
        .unix_socket_dir = s->unix_socket_dir,
        .unix_socket_mode = s->unix_socket_mode,
        .unix_socket_group = s->unix_socket_group,
    };

    o.n_inherited = systemd_sockets(&o.first_inherited);
    ctl->listeners = listeners_open(&ctl->loop, &o, on_accept, ctl, error, sizeof(error));
    if (ctl->listeners == NULL && o.n_inherited > 0)
        log_fatal("%s", error);
    else if (ctl->listeners == NULL)
        say_cannot_listen(ctl, error);
    return ctl->listeners != NULL;
}

/* ---- time ---- */

/* Runs only while something is waited for, so that an idle pooler sleeps. */
void control_arm_tick(struct control *ctl)
{
    static const struct timeval tick = {.tv_usec = CONTROL_TICK_US};

    if (!ctl->tick_is_armed)
        ctl->tick_is_armed = event_add(&ctl->tick_event, &tick) == 0;
}

static void tick_cb(evutil_socket_t fd, short what, void *arg)
{
    struct control *ctl = arg;

    (void)fd;
    (void)what;
    loop_enter(&ctl->loop);
    ctl->tick_is_armed = false;
    console_tick(ctl->console, clock_now_us());
    control_check_shutdown(ctl);
    if (console_is_waiting(ctl->console) || control_is_ending(ctl))
        control_arm_tick(ctl);
}

/* ---- signals ---- */

static void signal_cb(evutil_socket_t sig, short what, void *arg)
{
    struct control *ctl = arg;
    struct config_changes changes;
    struct buf error;
    bool is_second = atomic_load(&ctl->in.shutdown_mode) != SHUTDOWN_NONE;

    (void)what;
    loop_enter(&ctl->loop);
    switch (sig) {
    case SIGHUP:
        log_info("got SIGHUP, re-reading config");
        buf_init(&error, 0);
        config_changes_init(&changes);
        (void)control_reload(ctl, &changes, &error);
        config_changes_free(&changes);
        buf_free(&error);
        return;
    case SIGTERM:
        log_info("got SIGTERM%s", is_second ? " while shutting down: fast exit" : "");
        if (is_second)
            control_end_at_once(ctl);
        else
            control_on_sigterm(ctl);
        return;
    case SIGINT:
        log_info("got SIGINT%s", is_second ? " while shutting down: fast exit" : "");
        if (is_second)
            control_end_at_once(ctl);
        else
            control_shutdown(ctl, SHUTDOWN_WAIT_FOR_SERVERS);
        return;
    case SIGQUIT:
        log_info("got SIGQUIT, fast exit");
        control_end_at_once(ctl);
        return;
    case SIGUSR1:
        log_info("got SIGUSR1, pausing all activity");
        control_pause(ctl, NULL);
        return;
    case SIGUSR2:
        log_info("got SIGUSR2, continuing");
        (void)control_resume(ctl, NULL);
        return;
    }
}

static bool add_signals(struct control *ctl)
{
    static const int signals[] = {SIGHUP, SIGTERM, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2};
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
        signal(signals[i], SIG_IGN); /* as it is in the end: what comes too late is no crash */
        ctl->signals[i] = evsignal_new(ctl->loop.base, signals[i], signal_cb, ctl);
        if (ctl->signals[i] == NULL || event_add(ctl->signals[i], NULL) != 0)
            return false;
    }
    return true;
}

/* ---- construction and end ---- */

static void warn_about_flags(const struct control *ctl)
{
    if (ctl->args->reboot)
        log_warning(
            "-R does not take over a running process: start the new one beside the old one on another "
            "port or host, or use SHUTDOWN WAIT_FOR_CLIENTS; see pgsluice(1)");
}

static bool add_timers(struct control *ctl)
{
    static const struct timeval second = {.tv_sec = 1};
    return event_assign(&ctl->tick_event, ctl->loop.base, -1, 0, tick_cb, ctl) == 0 &&
           event_assign(&ctl->forget_event, ctl->loop.base, -1, 0, control_forget_cb, ctl) == 0 &&
           event_assign(&ctl->maintain_event, ctl->loop.base, -1, EV_PERSIST, control_maintain_cb, ctl) ==
               0 &&
           event_add(&ctl->maintain_event, &second) == 0;
}

bool control_init(struct control *ctl, const struct args *a, struct session_config *config)
{
    struct instance *in = &ctl->in;
    const struct settings *s = config_settings(config->config);
    char error[512];

    ctl->args = a;
    ctl->config = session_config_ref(config);
    if (!loop_init(&ctl->loop, on_mail, ctl))
        return false;
    in->control = &ctl->loop;
    in->n_workers = s->workers > 0 ? s->workers : process_auto_workers();
    in->registry = registry_new(in->n_workers);
    in->lookups = lookups_new();
    in->notifiers = notifiers_new();
    in->failures = failures_new();
    in->errors = xcalloc(1, sizeof(*in->errors));
    in->leaks = xcalloc(1, sizeof(*in->leaks));
    leaks_init(in->leaks);
    in->started_wall_us = clock_wall_us();
    atomic_store(&in->next_connection_id, 1);
    ctl->next_stats_us = clock_now_us() + s->stats_period * USEC_PER_SEC;
    /* before anybody can find us: a signal waits until the loop runs, and kills nobody */
    if (!add_signals(ctl) || !open_listeners(ctl) || !control_open_http(ctl))
        return false;
    log_start();
    ctl->console = control_new_console(ctl);
    if (!helpers_start(N_HELPERS)) {
        log_fatal("cannot start the helper threads");
        return false;
    }
    if (!dial_names_start(s->resolv_conf, error, sizeof(error))) {
        log_fatal("%s", error);
        return false;
    }
    ctl->workers = workers_start(in, ctl->config);
    if (ctl->workers == NULL || !add_timers(ctl) || !systemd_start_watchdog(ctl)) {
        log_fatal("cannot start the worker threads");
        return false;
    }
    log_info("process up: %s, libevent %s (%s), %d worker%s", console_version_text(), event_get_version(),
             event_base_get_method(ctl->loop.base), in->n_workers, in->n_workers == 1 ? "" : "s");
    warn_about_flags(ctl);
    control_make_forced_pools(ctl);
    systemd_notify("READY=1");
    return true;
}

void control_run(struct control *ctl)
{
    loop_run(&ctl->loop);
}

bool control_destroy(struct control *ctl)
{
    int64_t wait_us = atomic_load(&ctl->in.ends_at_once) ? HELPERS_WAIT_AT_ONCE_US : HELPERS_WAIT_US;

    systemd_notify("STOPPING=1");
    workers_join(&ctl->in, ctl->workers);
    listeners_close(ctl->listeners, false);
    console_interrupt(ctl->console);
    if (!checks_stop(wait_us)) {
        log_info("shutdown complete; a password is still being checked");
        return false;
    }
    if (!helpers_stop(wait_us) || !dial_names_stop(HELPERS_WAIT_US)) { /* which waits for nothing itself */
        log_info("shutdown complete; a host name is still being looked up");
        return false;
    }
    http_close(ctl->http);
    ctl->http = NULL;
    console_destroy(ctl->console);
    ctl->console = NULL;
    listeners_free(ctl->listeners);
    for (size_t i = 0; i < ARRAY_SIZE(ctl->signals); i++)
        if (ctl->signals[i] != NULL)
            event_free(ctl->signals[i]);
    if (ctl->watchdog_event != NULL)
        event_free(ctl->watchdog_event);
    event_del(&ctl->tick_event);
    event_del(&ctl->maintain_event);
    event_del(&ctl->forget_event);
    workers_free(&ctl->in, ctl->workers);
    loop_destroy(&ctl->loop);
    dial_cache_destroy();
    lookups_free(ctl->in.lookups);
    notifiers_free(ctl->in.notifiers);
    failures_free(ctl->in.failures);
    registry_destroy(ctl->in.registry);
    free(ctl->in.errors);
    leaks_destroy(ctl->in.leaks);
    free(ctl->in.leaks);
    for (size_t i = 0; i < ctl->n_dirty; i++)
        free(ctl->dirty[i]);
    free(ctl->dirty);
    session_config_unref(ctl->config);
    log_info("shutdown complete");
    return true;
}
