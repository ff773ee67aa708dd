/*
 * shard.c - the sessions of one worker: construction, mail, deadlines, the end.
 *
 * Deadlines are kept without cost per query: the lists of the states are in the
 * order in which the state was entered, and a tick of 20 ms looks at those that are passed
 * through quickly; it runs only while there is something to look at (see shard_arm_tick()).
 * Clients that work or rest are looked at when the first of their timeouts may strike (deadlines.h).
 *
 * Threads: the worker's own.
 */
#include "session/shard.h"

#include <stdlib.h>
#include <unistd.h>

#include "auth_int.h"
#include "client_tls_int.h"
#include "listen_int.h"
#include "session_int.h"

static bool has_deadlines(const struct shard *sh)
{
    return !list_is_empty(&sh->client_lists[CLIENT_LOGIN]) ||
           !list_is_empty(&sh->client_lists[CLIENT_LOGIN_WAIT]) ||
           !list_is_empty(&sh->client_lists[CLIENT_WAITING]) ||
           !list_is_empty(&sh->client_lists[CLIENT_CANCEL]) ||
           !list_is_empty(&sh->client_lists[CLIENT_CLOSING]) ||
           !list_is_empty(&sh->server_lists[SERVER_CONNECTING]) ||
           !list_is_empty(&sh->server_lists[SERVER_SETUP]) ||
           !list_is_empty(&sh->server_lists[SERVER_RESET]) ||
           !list_is_empty(&sh->server_lists[SERVER_CLOSING]) || !list_is_empty(&sh->cancels) ||
           !list_is_empty(&sh->cancels_queued) || !list_is_empty(&sh->listen_waiting) ||
           listen_servers_have_deadlines(sh);
}

static bool is_empty(const struct shard *sh)
{
    for (int i = 0; i < CLIENT_STATES; i++)
        if (!list_is_empty(&sh->client_lists[i]))
            return false;
    for (int i = 0; i < SERVER_STATES; i++)
        if (!list_is_empty(&sh->server_lists[i]))
            return false;
    return true;
}

/* Not reset: the kernel goes on to deliver what it was told. */
static void stop_client(struct client *c)
{
    stream_drop_unread(&c->stream);
    client_free(c);
}

/* While stopping: ends the loop once clients have read their last message and servers have closed, or after a
 * while; at once when a signal wants it. */
static void stop_tick(struct shard *sh, int64_t now_us)
{
    bool may_wait = !atomic_load_explicit(&sh->instance->ends_at_once, memory_order_relaxed) &&
                    now_us - sh->stopping_since_us < SESSION_SERVER_CLOSE_US;

    if (may_wait && !is_empty(sh))
        return;
    for (int i = 0; i < CLIENT_STATES; i++)
        LIST_FOR_EACH_SAFE (it, &sh->client_lists[i])
            stop_client(list_entry(it, struct client, node));
    for (int i = 0; i < SERVER_STATES; i++)
        LIST_FOR_EACH_SAFE (it, &sh->server_lists[i])
            server_free(list_entry(it, struct server, node)); /* the ledgers end with the process */
    if (sh->stop_order != NULL) {
        loop_post(sh->instance->control, &sh->stop_order->mail);
        sh->stop_order = NULL;
    }
    loop_stop(&sh->loop);
}

static void tick_cb(evutil_socket_t fd, short what, void *arg)
{
    struct shard *sh = arg;
    int64_t now_us = shard_touch(sh);

    (void)fd;
    (void)what;
    loop_enter(&sh->loop);
    sh->tick_at_us = 0;
    client_failed_tick(sh, now_us);
    client_tick(sh, now_us);
    handshakes_tick(sh, now_us);
    server_tick(sh, now_us);
    timeouts_tick(sh, now_us);
    cancel_tick(sh);
    channels_tick(sh, now_us);
    listen_servers_tick(sh, now_us);
    bool is_ending = orders_tick(sh, now_us);
    if (sh->is_stopping)
        stop_tick(sh, now_us);
    if (has_deadlines(sh) || sh->is_stopping || is_ending)
        shard_arm_tick(sh);
    else
        shard_arm_deadlines(sh);
}

static void arm_in(struct shard *sh, int64_t in_us)
{
    if (sh->tick_at_us != 0 && sh->tick_at_us <= sh->now_us + in_us)
        return;
    struct timeval interval = {.tv_sec = in_us / USEC_PER_SEC, .tv_usec = in_us % USEC_PER_SEC};
    if (event_add(&sh->tick_event, &interval) == 0)
        sh->tick_at_us = sh->now_us + in_us;
}

void shard_arm_tick(struct shard *sh)
{
    arm_in(sh, SESSION_TICK_US);
}

void shard_arm_deadlines(struct shard *sh)
{
    const int64_t due_us[] = {sh->idle.due_us, sh->linked.due_us};

    for (size_t i = 0; i < ARRAY_SIZE(due_us); i++)
        if (due_us[i] != 0)
            arm_in(sh, due_us[i] - sh->now_us > USEC_PER_MSEC ? due_us[i] - sh->now_us : USEC_PER_MSEC);
}

bool shard_init(struct shard *sh, struct instance *in, uint8_t index, struct session_config *config,
                void (*on_mail)(struct loop *, struct mail *))
{
    *sh = (struct shard){.instance = in, .index = index, .config = config};
    sh->acts_capacity = 64;
    sh->acts = xcalloc(sh->acts_capacity, sizeof(*sh->acts));
    slab_init(&sh->client_slab, sizeof(struct client));
    handle_table_init(&sh->clients);
    for (int i = 0; i < CLIENT_STATES; i++)
        list_init(&sh->client_lists[i]);
    for (int i = 0; i < SERVER_STATES; i++)
        list_init(&sh->server_lists[i]);
    list_init(&sh->cancels);
    list_init(&sh->cancels_queued);
    list_init(&sh->held_back);
    list_init(&sh->listen_waiting);
    list_init(&sh->listen_doomed);
    cancel_table_init(&sh->cancel_keys);
    handshakes_init(sh);
    if (!loop_init(&sh->loop, on_mail, sh))
        return false;
    if (event_assign(&sh->tick_event, sh->loop.base, -1, 0, tick_cb, sh) != 0)
        return false;
    shard_touch(sh);
    shard_apply_config(sh);
    return true;
}

/* It has come when the worker had stopped. Other kinds belong to somebody. */
static void drop_mail(struct mail *m)
{
    switch (m->type) {
    case MAIL_CLIENT:
        close(container_of(m, struct mail_client, mail)->fd);
        free(container_of(m, struct mail_client, mail));
        return;
    case MAIL_GRANT_FAILED:
    case MAIL_CONNECT:
    case MAIL_FAIL_CLIENT: free(container_of(m, struct mail_slot, mail)); return;
    case MAIL_CANCEL:
    case MAIL_CANCEL_DONE: cancel_drop(container_of(m, struct mail_cancel, mail)); return;
    case MAIL_CONSOLE_OUTPUT: free(container_of(m, struct mail_console_output, mail)); return;
    case MAIL_CONFIG:
        session_config_unref(container_of(m, struct mail_config, mail)->config);
        free(container_of(m, struct mail_config, mail));
        return;
    case MAIL_ORDER: free(container_of(m, struct mail_order, mail)); return;
    case MAIL_LISTEN: free(container_of(m, struct mail_listen, mail)); return;
    case MAIL_LISTEN_NEWS:
        buf_free(&container_of(m, struct mail_listen_news, mail)->news);
        free(container_of(m, struct mail_listen_news, mail));
        return;
    default: return;
    }
}

void shard_destroy(struct shard *sh)
{
    for (struct mail *m = loop_take_leftover(&sh->loop), *next; m != NULL; m = next) {
        next = m->next;
        drop_mail(m);
    }
    event_del(&sh->tick_event);
    loop_destroy(&sh->loop);
    channels_destroy(sh);
    listen_servers_destroy(sh);
    handle_table_destroy(&sh->clients);
    cancel_table_destroy(&sh->cancel_keys);
    slab_destroy(&sh->client_slab);
    session_config_unref(sh->config);
    client_login_forget(&sh->last_login);
    free(sh->acts);
}

bool shard_on_mail(struct shard *sh, struct mail *m)
{
    shard_touch(sh);
    switch (m->type) {
    case MAIL_RESOLVED: dial_on_mail(m); return true;
    case MAIL_ADOPT:
    case MAIL_YIELD:
    case MAIL_GRANT_FAILED:
    case MAIL_CONNECT:
    case MAIL_CLOSE_SERVER:
    case MAIL_FAIL_CLIENT: acts_on_mail(sh, m); return true;
    case MAIL_CLIENT: shard_accept(sh, container_of(m, struct mail_client, mail)); return true;
    case MAIL_CONFIG: {
        struct mail_config *mc = container_of(m, struct mail_config, mail);
        session_config_unref(sh->config);
        sh->config = mc->config;
        shard_apply_config(sh);
        m->type = MAIL_CONFIG_TAKEN;
        mc->config = NULL;
        loop_post(sh->instance->control, m);
        return true;
    }
    case MAIL_CANCEL: cancel_on_mail(sh, container_of(m, struct mail_cancel, mail)); return true;
    case MAIL_CANCEL_DONE: cancel_on_done(sh, container_of(m, struct mail_cancel, mail)); return true;
    case MAIL_CONSOLE_OUTPUT:
        console_output(sh, container_of(m, struct mail_console_output, mail));
        return true;
    case MAIL_ORDER: orders_on_mail(sh, container_of(m, struct mail_order, mail)); return true;
    case MAIL_LOOKED_UP: client_lookup_on_mail(sh, m); return true;
    case MAIL_PEER_NAMED: client_peer_on_mail(sh, m); return true;
    case MAIL_PASSWORD_CHECKED: client_check_on_mail(sh, m); return true;
    case MAIL_LISTEN: listen_on_mail(sh, container_of(m, struct mail_listen, mail)); return true;
    case MAIL_LISTEN_NEWS: listen_on_news(sh, container_of(m, struct mail_listen_news, mail)); return true;
    default: return false;
    }
}

static int64_t shorter(int64_t a, int64_t b)
{
    return a <= 0 || (b > 0 && b < a) ? b : a;
}

/* The next tick looks at everybody: with the new settings, some may be late already. */
static void apply_timeouts(struct shard *sh, const struct config *cfg)
{
    struct config_timeouts t;

    config_shortest_timeouts(cfg, &t);
    int64_t linked_us = shorter(shorter(t.query_us, t.transaction_us), t.idle_transaction_us);
    if (sh->n_pinned > 0)
        linked_us = shorter(linked_us, t.pin_idle_us);
    deadlines_configure(&sh->idle, t.client_idle_us, sh->now_us);
    deadlines_configure(&sh->linked, shorter(linked_us, t.client_idle_us), sh->now_us);
    shard_arm_deadlines(sh);
}

void shard_count_pin(struct shard *sh, int n)
{
    bool had_any = sh->n_pinned > 0;

    sh->n_pinned += n;
    if (had_any == (sh->n_pinned > 0))
        return;
    apply_timeouts(sh, sh->config->config);
    shard_arm_tick(sh); /* which comes sooner than what has been armed */
}

void shard_apply_config(struct shard *sh)
{
    const struct config *cfg = sh->config->config;

    sh->settings = config_settings(cfg);
    for (uint32_t i = 0; i < sh->clients.used; i++) {
        struct client *c = handle_at(&sh->clients, i);
        if (c != NULL && c->pool != NULL)
            client_apply_config(c, cfg);
    }
    apply_timeouts(sh, cfg);
}
