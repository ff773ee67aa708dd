/*
 * shutdown.c - the end: at once, or when clients or servers have come to theirs.
 *
 * SHUTDOWN gives clients and servers up to a second to take their leave. A second signal, or SIGQUIT, does
 * not: what clients are told is with the kernel then.
 *
 * shutdown_mode only rises. While it is neither NONE nor IMMEDIATE the Unix socket stays open, for the
 * console, and the tick looks whether the last client has gone.
 *
 * What an orchestrator's SIGTERM begins has two parts. drain: drain_grace_time (ANNOUNCED: only /readyz
 * says so, since whoever sends clients here must hear of it first), then SHUTDOWN DRAIN until
 * shutdown_timeout. wait_then_drain: shutdown_timeout (ANNOUNCED: a sidecar's application may still be at
 * work), then SHUTDOWN DRAIN for drain_grace_time; but when the last client has gone, that is the end.
 *
 * SHUTDOWN DRAIN closes clients between their transactions, not more than shutdown_rate in a
 * second, so that whoever they turn to next is not overrun. The workers close them; here they are
 * given, tick by tick, how many may go (instance->drain_budget). What was not used is not saved up.
 *
 * Threads: the control thread.
 */
#include "base/log.h"
#include "main_int.h"

#define NO_RATE     INT32_MAX
#define PROGRESS_US (3 * USEC_PER_SEC) /* how often the log says how far it has come */
#define SELDOM_US   (60 * USEC_PER_SEC)

static const char *const mode_texts[] = {
    [SHUTDOWN_NONE] = "",
    [SHUTDOWN_ANNOUNCED] = "going on until others know",
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
    atomic_store(&ctl->in.shutdown_mode, (int)mode);
    log_info("shutting down, %s (%d client%s)", mode_texts[mode], clients, clients == 1 ? "" : "s");
    ctl->progress_us = clock_now_us();
    control_arm_tick(ctl);
    systemd_notify("STOPPING=1");
    if (mode == SHUTDOWN_ANNOUNCED) {
        ctl->announced_us = ctl->progress_us;
        listeners_defer_accept(ctl->listeners, false); /* what waits for data would be reset in the end */
        return;
    }
    listeners_accept_pending(ctl->listeners); /* they are told; closing would reset them */
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

void control_end_at_once(struct control *ctl)
{
    atomic_store(&ctl->in.ends_at_once, true);
    control_shutdown(ctl, SHUTDOWN_IMMEDIATE);
}

bool control_is_ending(const struct control *ctl)
{
    return !ctl->is_stopping && atomic_load(&ctl->in.shutdown_mode) != SHUTDOWN_NONE;
}

static void announced_tick(struct control *ctl, int64_t now_us)
{
    const struct settings *s = control_settings(ctl);
    int64_t wait_us = ctl->waits_for_leaving ? s->shutdown_timeout_us : s->drain_grace_time_us;

    if ((ctl->waits_for_leaving && wait_us <= 0) || now_us - ctl->announced_us < wait_us)
        return;
    ctl->is_last_grace = ctl->waits_for_leaving;
    control_shutdown(ctl, SHUTDOWN_DRAIN);
}

static void drain_tick(struct control *ctl, int clients, int64_t now_us)
{
    const struct settings *s = control_settings(ctl);
    int64_t timeout_us = ctl->is_last_grace ? s->drain_grace_time_us : s->shutdown_timeout_us;

    fill_budget(ctl, now_us);
    if ((timeout_us <= 0 && !ctl->is_last_grace) || now_us - ctl->drain_since_us < timeout_us)
        return;
    log_warning("%s: closing the last %d client%s",
                ctl->is_last_grace ? "drain_grace_time" : "shutdown_timeout", clients,
                clients == 1 ? "" : "s");
    control_shutdown(ctl, SHUTDOWN_IMMEDIATE);
}

static int count_servers(struct control *ctl, int64_t now_us)
{
    struct pool_numbers n;
    int count = 0;

    for (int i = 0; i < registry_count(ctl->in.registry); i++) {
        pool_read(registry_pool(ctl->in.registry, i), 0, now_us, &n);
        count += n.nslots;
    }
    return count;
}

/* Seldom where it may last for days. */
static void log_progress(struct control *ctl, int mode, int clients, int64_t now_us)
{
    bool is_bounded = mode == SHUTDOWN_ANNOUNCED || mode == SHUTDOWN_DRAIN;

    if (now_us - ctl->progress_us < (is_bounded ? PROGRESS_US : SELDOM_US))
        return;
    int servers = count_servers(ctl, now_us);
    ctl->progress_us = now_us;
    log_info("shutting down: %d client%s and %d server connection%s left", clients, clients == 1 ? "" : "s",
             servers, servers == 1 ? "" : "s");
}

void control_check_shutdown(struct control *ctl)
{
    int clients = atomic_load(&ctl->in.clients);
    int mode = atomic_load(&ctl->in.shutdown_mode);
    int64_t now_us = clock_now_us();

    if (!control_is_ending(ctl))
        return;
    log_progress(ctl, mode, clients, now_us);
    /* consoles do not keep the process; who is still sent here in the grace must find somebody */
    if (clients <= 0 && (mode != SHUTDOWN_ANNOUNCED || ctl->waits_for_leaving)) {
        log_info("last client has gone");
        control_shutdown(ctl, SHUTDOWN_IMMEDIATE);
    } else if (mode == SHUTDOWN_ANNOUNCED) {
        announced_tick(ctl, now_us);
    } else if (mode == SHUTDOWN_DRAIN) {
        drain_tick(ctl, clients, now_us);
    }
}

void control_on_sigterm(struct control *ctl)
{
    static const enum shutdown_mode modes[] = {
        [SIGTERM_WAIT_FOR_CLIENTS] = SHUTDOWN_WAIT_FOR_CLIENTS,
        [SIGTERM_WAIT_FOR_SERVERS] = SHUTDOWN_WAIT_FOR_SERVERS,
        [SIGTERM_DRAIN] = SHUTDOWN_ANNOUNCED,
        [SIGTERM_WAIT_THEN_DRAIN] = SHUTDOWN_ANNOUNCED,
        [SIGTERM_IMMEDIATE] = SHUTDOWN_IMMEDIATE,
    };
    int action = control_settings(ctl)->sigterm_action;

    ctl->waits_for_leaving = action == SIGTERM_WAIT_THEN_DRAIN;
    control_shutdown(ctl, modes[action]);
}
