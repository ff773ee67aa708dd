/*
 * systemd.c - what the service manager is told, and the sockets that it hands over.
 *
 * Told: READY, RELOADING and STOPPING, a line of figures as STATUS with each stats_period, and WATCHDOG
 * while every worker's loop turns: twice in the time that the unit allows, so that one late line ends
 * nothing. Sockets of a .socket unit take the place of listen_addr and unix_socket_dir.
 *
 * Without libsystemd, or when started by somebody else, all of this does nothing.
 *
 * Threads: the control thread.
 * Source: sd_notify(3), sd_listen_fds(3), sd_watchdog_enabled(3).
 */
#include <stdio.h>

#include "config.h"

#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

#include "base/log.h"
#include "main_int.h"

#ifdef HAVE_SYSTEMD

static int first_socket, n_sockets;

void systemd_take_sockets(void)
{
    int n = sd_listen_fds(1); /* for us alone: what we start must not take them for its own */

    if (n < 0)
        log_warning("cannot use the sockets of the service manager: error %d", -n);
    first_socket = SD_LISTEN_FDS_START;
    n_sockets = n > 0 ? n : 0;
}

int systemd_sockets(int *first)
{
    *first = first_socket;
    return n_sockets;
}

void systemd_notify(const char *state)
{
    (void)sd_notify(0, state);
}

void systemd_notify_reloading(void)
{
    /* the time tells this reload from an earlier one; the clock is the one that CLOCK_MONOTONIC is */
    (void)sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%lld", (long long)clock_now_us());
}

void systemd_notify_status(const char *text)
{
    (void)sd_notifyf(0, "STATUS=%s", text);
}

static void watchdog_cb(evutil_socket_t fd, short what, void *arg)
{
    struct control *ctl = arg;
    struct buf why;

    (void)fd;
    (void)what;
    loop_enter(&ctl->loop);
    buf_init(&why, 4096);
    if (workers_are_live(&ctl->in, &why))
        (void)sd_notify(0, "WATCHDOG=1");
    else
        log_error("watchdog: %s", buf_cstr(&why)); /* a few of these, then the service manager ends us */
    buf_free(&why);
}

bool systemd_start_watchdog(struct control *ctl)
{
    uint64_t limit_us = 0;

    if (sd_watchdog_enabled(0, &limit_us) <= 0)
        return true;
    struct timeval period = {.tv_sec = (time_t)(limit_us / 2 / USEC_PER_SEC),
                             .tv_usec = (suseconds_t)(limit_us / 2 % USEC_PER_SEC)};
    ctl->watchdog_event = event_new(ctl->loop.base, -1, EV_PERSIST, watchdog_cb, ctl);
    return ctl->watchdog_event != NULL && event_add(ctl->watchdog_event, &period) == 0;
}

#else

void systemd_take_sockets(void)
{
}

int systemd_sockets(int *first)
{
    *first = 0;
    return 0;
}

void systemd_notify(const char *state)
{
    (void)state;
}

void systemd_notify_reloading(void)
{
}

void systemd_notify_status(const char *text)
{
    (void)text;
}

bool systemd_start_watchdog(struct control *ctl)
{
    (void)ctl;
    return true;
}

#endif
