/*
 * restart.c - RELOAD: would a start with the settings that only a start brings into force succeed?
 *
 * Who edits the file finds out now, and not at the next start, what could not be listened on
 * or read. Only what differs from what is in force is looked at: the rest has been proved.
 *
 * Threads: the control thread, which waits for the name of a changed listen_addr.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "config/address.h"
#include "main_int.h"
#include "net/dial.h"

static bool listens_elsewhere(const struct settings *a, const struct settings *b)
{
    return strcmp(a->listen_addr, b->listen_addr) != 0 || a->listen_port != b->listen_port ||
           strcmp(a->unix_socket_dir, b->unix_socket_dir) != 0 ||
           strcmp(a->unix_socket_group, b->unix_socket_group) != 0 || a->so_reuseport != b->so_reuseport;
}

static void check_listeners(const struct settings *s, int own_port, struct config_problems *problems)
{
    const struct listener_options o = {
        .listen_addr = s->listen_addr,
        .listen_port = s->listen_port,
        .reuse_port = s->so_reuseport != 0,
        .unix_socket_dir = s->unix_socket_dir,
        .unix_socket_group = s->unix_socket_group,
    };
    char error[512];

    if (!listeners_check(&o, own_port, error, sizeof(error)))
        config_problems_add(problems, PROBLEM_ERROR, NULL, 0, "%s", error);
}

static bool is_port_of(const char *list, int port)
{
    struct address address;

    while (address_next(&list, &address) == ADDRESS_OK)
        if (address.port == port)
            return true;
    return false;
}

static void check_http(const struct settings *wanted, const struct settings *in_force,
                       struct config_problems *problems)
{
    const char *at = wanted->http_listen;
    struct address address;
    char error[512];

    while (address_next(&at, &address) == ADDRESS_OK) {
        const struct listener_options o = {.listen_addr = address.host, .listen_port = address.port};
        int own_port = is_port_of(in_force->http_listen, address.port) ? address.port : 0;

        if (!listeners_check(&o, own_port, error, sizeof(error)))
            config_problems_add(problems, PROBLEM_ERROR, NULL, 0, "http_listen: %s", error);
    }
}

/* It is written at the start; its directory may be gone, or not be ours. */
static void check_pidfile(const char *path, struct config_problems *problems)
{
    const char *slash = strrchr(path, '/');
    char *directory = slash == NULL   ? xstrdup(".")
                      : slash == path ? xstrdup("/")
                                      : xasprintf("%.*s", (int)(slash - path), path);

    if (*path != '\0' && access(path, W_OK) != 0 && (errno != ENOENT || access(directory, W_OK | X_OK) != 0))
        config_problems_add(problems, PROBLEM_ERROR, NULL, 0, "could not write pidfile \"%s\": %s", path,
                            strerror(errno));
    free(directory);
}

void control_check_fixed(void *arg, const struct settings *wanted, const struct settings *in_force,
                         struct config_problems *problems)
{
    const struct control *ctl = arg;
    char error[512];
    int first;

    if (systemd_sockets(&first) == 0 && listens_elsewhere(wanted, in_force))
        check_listeners(wanted, listeners_port(ctl->listeners), problems);
    if (strcmp(wanted->http_listen, in_force->http_listen) != 0)
        check_http(wanted, in_force, problems);
    if (strcmp(wanted->resolv_conf, in_force->resolv_conf) != 0 &&
        !dial_names_check(wanted->resolv_conf, error, sizeof(error)))
        config_problems_add(problems, PROBLEM_ERROR, NULL, 0, "%s", error);
    if (strcmp(wanted->pidfile, in_force->pidfile) != 0)
        check_pidfile(wanted->pidfile, problems);
}
