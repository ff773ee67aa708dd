/*
 * shutdown.c - the end: at once, or when clients or servers have come to theirs.
 *
 * shutdown_mode only rises. While it is neither NONE nor IMMEDIATE the Unix socket stays open, for the
 * console, and the tick looks whether the last client has gone.
 *
 * SHUTDOWN DRAIN closes clients between their transactions, not more than shutdown_rate in a
 * second, so that whoever they turn to next is not overrun. The workers close them; here they are
 * given, tick by tick, how many may go (instance->drain_budget). What was not used is not saved up.
 *
 * Threads: the control thread.
 */
#include "base/log.h"
#include "main_int.h"

#define NO_RATE INT32_MAX

static const char *const mode_texts[] = {
    [SHUTDOWN_NONE] = "",
    [SHUTDOWN_WAIT_FOR_CLIENTS] = "waiting for all clients to disconnect",
    [SHUTDOWN_DRAIN] = "closing clients as their transactions end",
    [SHUTDOWN_WAIT_FOR_SERVERS] = "waiting for all server connections to be released",
    [SHUTDOWN_IMMEDIATE] = "closing all connections",
};

static void fill_budget(struct control *ctl, int64_t now_us)
{
    int64_t rate = control_settings(ctl)->shutdown_rate;
    int64_t most = rate * CONTROL_TICK_US / USEC_PER_SEC + 1;
    int64_t left = atomic_load_explicit(&ctl->in.drain_budget, memory_order_relaxed);
    int64_t n = rate * (now_us - ctl->drain_filled_us) / USEC_PER_SEC;

    if (rate == 0) {
        atomic_store_explicit(&ctl->in.drain_budget, NO_RATE, memory_order_relaxed);
        return;
    }
    if (n == 0 && left <= most)
        return;
    ctl->drain_filled_us += n * USEC_PER_SEC / rate;
    if (left + n > most) { /* not saved up; and less when a lower rate has come into force */
        n = most - left;
        ctl->drain_filled_us = now_us;
    }
    atomic_fetch_add_explicit(&ctl->in.drain_budget, (int)n, memory_order_relaxed);
}

static void begin_drain(struct control *ctl)
{
    ctl->drain_since_us = clock_now_us();
    ctl->drain_filled_us = ctl->drain_since_us - CONTROL_TICK_US; /* a tick's worth may go at once */
    fill_budget(ctl, ctl->drain_since_us);
}

void control_shutdown(struct control *ctl, enum shutdown_mode mode)
{
    int clients = atomic_load(&ctl->in.clients);

    if ((int)mode <= atomic_load(&ctl->in.shutdown_mode))
        return;
    log_info("shutting down, %s (%d client%s)", mode_texts[mode], clients, clients == 1 ? "" : "s");
    atomic_store(&ctl->in.shutdown_mode, (int)mode);
    control_arm_tick(ctl);
    systemd_notify("STOPPING=1");
    if (mode == SHUTDOWN_IMMEDIATE) {
        ctl->is_stopping = true;
        ctl->workers_to_stop = ctl->in.n_workers;
        listeners_close(ctl->listeners, false);
        (void)control_order(ctl, &(struct mail_order){.kind = ORDER_STOP, .why = CLOSE_SHUTDOWN}, false);
        return;
    }
    if (mode == SHUTDOWN_DRAIN)
        begin_drain(ctl);
    listeners_close(ctl->listeners, true); /* the console stays reachable over the Unix socket */
    (void)control_order(ctl, &(struct mail_order){.kind = ORDER_SHUTDOWN, .why = CLOSE_SHUTDOWN}, false);
}

bool control_is_ending(const struct control *ctl)
{
    return !ctl->is_stopping && atomic_load(&ctl->in.shutdown_mode) != SHUTDOWN_NONE;
}

static void drain_tick(struct control *ctl, int clients)
{
    int64_t timeout_us = control_settings(ctl)->shutdown_timeout_us;
    int64_t now_us = clock_now_us();

    fill_budget(ctl, now_us);
    if (timeout_us <= 0 || now_us - ctl->drain_since_us < timeout_us)
        return;
    log_warning("shutdown_timeout: closing the last %d client%s", clients, clients == 1 ? "" : "s");
    control_shutdown(ctl, SHUTDOWN_IMMEDIATE);
}

void control_check_shutdown(struct control *ctl)
{
    int clients = atomic_load(&ctl->in.clients);

    if (!control_is_ending(ctl))
        return;
    /* consoles do not keep the process */
    if (clients <= 0) {
        log_info("last client has gone");
        control_shutdown(ctl, SHUTDOWN_IMMEDIATE);
    } else if (atomic_load(&ctl->in.shutdown_mode) == SHUTDOWN_DRAIN) {
        drain_tick(ctl, clients);
    }
}

void control_on_sigterm(struct control *ctl)
{
    static const enum shutdown_mode modes[] = {
        [SIGTERM_WAIT_FOR_CLIENTS] = SHUTDOWN_WAIT_FOR_CLIENTS,
        [SIGTERM_WAIT_FOR_SERVERS] = SHUTDOWN_WAIT_FOR_SERVERS,
        [SIGTERM_DRAIN] = SHUTDOWN_DRAIN,
        [SIGTERM_IMMEDIATE] = SHUTDOWN_IMMEDIATE,
    };
    control_shutdown(ctl, modes[control_settings(ctl)->sigterm_action]);
}
