/*
 * http.h - probes and metrics over HTTP: /livez, /readyz, /metrics.
 *
 * A small server of GET and HEAD: one request per connection, with bounds on its size, on
 * the number of connections and on the time of each step. When there are too many
 * connections the oldest goes, so that slow ones never keep a probe out.
 *
 * Threads: the control thread only; figures of workers are read as atomics, those
 * of pools under their locks, one pool at a time.
 */
#ifndef OPS_HTTP_H
#define OPS_HTTP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"
#include "net/loop.h"
#include "ops/console.h"
#include "session/instance.h"

struct http_hooks {
    void *arg;
    struct instance *instance;
    /* The console, whose SHOW gives the figures; NULL at the end. */
    struct console *(*console)(void *arg);
    /* The settings in force; borrowed for the moment. */
    const struct session_config *(*config)(void *arg);
    /* Sees to it that the pool of this database has a connection, if one can be made without a client. */
    void (*want_server)(void *arg, const struct database_config *database);
};

struct http;

/* addresses: as http_listen. NULL and a text in err when one of them cannot be had. The hooks are copied. */
struct http *http_open(struct loop *loop, const char *addresses, const struct http_hooks *hooks, char *err,
                       size_t err_size) must_check;
/* Closes everything; NULL is fine. */
void http_close(struct http *http);

#endif
