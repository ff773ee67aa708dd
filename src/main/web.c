/*
 * web.c - where HTTP is answered, and what it asks of the control thread.
 *
 * Threads: the control thread.
 */
#include <string.h>

#include "base/log.h"
#include "main_int.h"

static struct console *hook_console(void *arg)
{
    return ((struct control *)arg)->console;
}

static const struct session_config *hook_config(void *arg)
{
    return ((struct control *)arg)->config;
}

/* The pool is one that is kept at one server while it is asked about, as if min_pool_size were 1. */
static void hook_want_server(void *arg, const struct database_config *db)
{
    struct control *ctl = arg;
    struct pool_acts acts;
    bool is_new = false;
    struct pool *pool = registry_get_pool(ctl->in.registry, db->name, db->user, &is_new);

    if (pool == NULL || atomic_load(&ctl->in.shutdown_mode) != SHUTDOWN_NONE)
        return;
    if (is_new)
        session_configure_pool(&ctl->in, NULL, ctl->config->config, pool);
    ctl->maintain_worker = (ctl->maintain_worker + 1) % ctl->in.n_workers;
    pool_want_one(pool, (uint8_t)ctl->maintain_worker, clock_now_us(), &acts);
    instance_perform(&ctl->in, pool, &acts);
}

bool control_open_http(struct control *ctl)
{
    const struct config *cfg = ctl->config->config;
    const char *source = config_source_text(cfg, (size_t)option_find("http_listen"));
    const char *addresses = config_settings(cfg)->http_listen;
    struct http_hooks hooks = {
        .arg = ctl,
        .instance = &ctl->in,
        .console = hook_console,
        .config = hook_config,
        .want_server = hook_want_server,
    };
    char error[512];

    ctl->http = http_open(&ctl->loop, addresses, &hooks, error, sizeof(error));
    if (ctl->http != NULL)
        return true;
    if (strcmp(source, "default") == 0) { /* nobody asked for it, so nobody is kept from starting by it */
        log_warning("no probes and metrics over HTTP: %s; set http_listen to another port, or to nothing",
                    error);
        return true;
    }
    log_fatal("http_listen (%s): %s; set it to another port, or to nothing", source, error);
    return false;
}
