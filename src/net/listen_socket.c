/*
 * listen_socket.c - making listening sockets: TCP addresses and the Unix socket with its file; or taking over
 * those that a service manager has made.
 *
 * Threads: the control thread, at boot (names are resolved here, which may block).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"
#include "listener_int.h"

#define DEFER_ACCEPT_S 45

static struct listen_socket *socket_append(struct listeners *l, int fd, bool is_unix)
{
    l->sockets = xrealloc(l->sockets, (size_t)(l->count + 1) * sizeof(*l->sockets));
    struct listen_socket *s = &l->sockets[l->count++];
    memset(s, 0, sizeof(*s));
    s->owner = l;
    s->fd = fd;
    s->is_unix = is_unix;
    return s;
}

/* --- TCP --- */

static int sockaddr_port(const struct sockaddr_storage *ss)
{
    return ntohs(ss->ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)ss)->sin6_port
                                           : ((const struct sockaddr_in *)ss)->sin_port);
}

static void sockaddr_set_port(struct sockaddr_storage *ss, int port)
{
    if (ss->ss_family == AF_INET6)
        ((struct sockaddr_in6 *)ss)->sin6_port = htons((uint16_t)port);
    else
        ((struct sockaddr_in *)ss)->sin_port = htons((uint16_t)port);
}

/* A name can give one address twice, and a list can name it again. */
static bool is_listened(const struct listeners *l, const struct sockaddr_storage *addr, socklen_t bytes)
{
    if (sockaddr_port(addr) == 0)
        return false;
    for (int i = 0; i < l->count; i++) {
        struct sockaddr_storage have = {0};
        socklen_t have_bytes = sizeof(have);
        if (getsockname(l->sockets[i].fd, (struct sockaddr *)&have, &have_bytes) == 0 &&
            have_bytes == bytes && memcmp(&have, addr, bytes) == 0)
            return true;
    }
    return false;
}

void listen_socket_defer(int fd, bool defer)
{
    const int defer_s = defer ? DEFER_ACCEPT_S : 0;
    setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &defer_s, sizeof(defer_s));
}

static void tcp_options_set(int fd, int family, const struct listener_options *o)
{
    const int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    if (o->reuse_port)
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
    if (o->defer_accept)
        listen_socket_defer(fd, true);
}

/* 0, or errno. The port at which we listen ourselves is ours again after a restart. */
static int tcp_try(const struct listeners *l, const struct listener_options *o, const struct addrinfo *ai)
{
    struct sockaddr_storage addr = {0};
    int fd, e = 0;

    memcpy(&addr, ai->ai_addr, ai->ai_addrlen);
    sockaddr_set_port(&addr, o->listen_port);
    fd = socket(addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    tcp_options_set(fd, addr.ss_family, o);
    if (bind(fd, (struct sockaddr *)&addr, ai->ai_addrlen) != 0)
        e = errno;
    close(fd);
    return e == EADDRINUSE && o->listen_port == l->tcp_port ? 0 : e;
}

/* 0, or errno. */
static int tcp_listen(struct listeners *l, const struct listener_options *o, const struct addrinfo *ai)
{
    struct sockaddr_storage addr = {0};
    socklen_t bytes = ai->ai_addrlen;
    memcpy(&addr, ai->ai_addr, bytes);
    /* Port 0 means one free port for all addresses. */
    sockaddr_set_port(&addr, l->tcp_port != 0 ? l->tcp_port : o->listen_port);
    if (is_listened(l, &addr, bytes))
        return 0;
    int fd = socket(addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    tcp_options_set(fd, addr.ss_family, o);
    if (bind(fd, (struct sockaddr *)&addr, bytes) != 0 || listen(fd, o->listen_backlog) != 0 ||
        getsockname(fd, (struct sockaddr *)&addr, &bytes) != 0) {
        int e = errno;
        close(fd);
        return e;
    }
    l->tcp_port = sockaddr_port(&addr);
    char text[INET6_ADDRSTRLEN + 1] = "";
    getnameinfo((struct sockaddr *)&addr, bytes, text, sizeof(text), NULL, 0, NI_NUMERICHOST);
    struct listen_socket *s = socket_append(l, fd, false);
    snprintf(s->name, sizeof(s->name), "address \"%s\" port %d", text, l->tcp_port);
    return 0;
}

/* Listens on all addresses of one entry of the list. A machine without IPv6 (or IPv4) lacks some of them:
 * one must work. */
static bool name_listen(struct listeners *l, const struct listener_options *o, const char *name, char *err,
                        size_t err_size)
{
    bool is_any = strcmp(name, "*") == 0;
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *list = NULL;
    int rc = getaddrinfo(is_any ? NULL : name, "0", &hints, &list);
    if (rc != 0) {
        snprintf(err, err_size, "could not resolve listen address \"%s\": %s", name,
                 rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc));
        return false;
    }
    int n_open = 0, first_error = 0;
    bool is_fatal = false;
    for (struct addrinfo *ai = list; ai != NULL && !is_fatal; ai = ai->ai_next) {
        int e = l->is_trial ? tcp_try(l, o, ai) : tcp_listen(l, o, ai);
        if (e == 0) {
            n_open++;
            continue;
        }
        if (first_error == 0)
            first_error = e;
        is_fatal = e != EAFNOSUPPORT && e != EADDRNOTAVAIL && e != EPROTONOSUPPORT;
        if (is_fatal)
            first_error = e;
    }
    freeaddrinfo(list);
    if (!is_fatal && n_open > 0)
        return true;
    snprintf(err, err_size, "could not listen on address \"%s\" port %d: %s", name, o->listen_port,
             strerror(first_error));
    return false;
}

static bool tcp_open(struct listeners *l, const struct listener_options *o, char *err, size_t err_size)
{
    if (o->listen_addr == NULL)
        return true;
    char *list = xstrdup(o->listen_addr);
    char *save = NULL;
    bool ok = true;
    for (char *name = strtok_r(list, ", \t", &save); ok && name != NULL; name = strtok_r(NULL, ", \t", &save))
        ok = name_listen(l, o, name, err, err_size);
    free(list);
    return ok;
}

/* --- Unix socket --- */

/* Makes way for our socket file: a file that nobody answers on is left over and removed. */
static bool unix_make_way(const struct sockaddr_un *addr, socklen_t bytes, char *err, size_t err_size)
{
    struct stat st;
    if (lstat(addr->sun_path, &st) != 0) {
        if (errno == ENOENT)
            return true;
        snprintf(err, err_size, "could not look at Unix socket \"%s\": %s", addr->sun_path, strerror(errno));
        return false;
    }
    if (!S_ISSOCK(st.st_mode)) {
        snprintf(err, err_size, "\"%s\" exists and is not a socket", addr->sun_path);
        return false;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        snprintf(err, err_size, "could not make a Unix socket: %s", strerror(errno));
        return false;
    }
    int e = connect(fd, (const struct sockaddr *)addr, bytes) == 0 ? 0 : errno;
    close(fd);
    if (e == ENOENT)
        return true;
    if (e == 0 || e == EAGAIN || e == EINPROGRESS) { /* EAGAIN: its backlog is full, so it lives */
        snprintf(err, err_size, "Unix socket \"%s\" is already in use", addr->sun_path);
        return false;
    }
    if (e != ECONNREFUSED || (unlink(addr->sun_path) != 0 && errno != ENOENT)) {
        snprintf(err, err_size, "could not remove old Unix socket \"%s\": %s", addr->sun_path,
                 strerror(e != ECONNREFUSED ? e : errno));
        return false;
    }
    return true;
}

/* False with a text when the group is not known. An empty name leaves the group as it is. */
static bool group_lookup(const char *name, gid_t *gid, char *err, size_t err_size)
{
    *gid = (gid_t)-1;
    if (name == NULL || name[0] == '\0')
        return true;
    const struct group *group = getgrnam(name);
    int64_t number;
    if (group != NULL) {
        *gid = group->gr_gid;
        return true;
    }
    if (str_to_int64(name, &number) && number >= 0 && number < UINT32_MAX) {
        *gid = (gid_t)number;
        return true;
    }
    snprintf(err, err_size, "unix_socket_group: no such group: %s", name);
    return false;
}

/* Binds and listens. Rights are set before listen(), so that nobody gets in by the wrong ones. */
static bool unix_listen(int fd, const struct sockaddr_un *addr, socklen_t bytes,
                        const struct listener_options *o, char *err, size_t err_size)
{
    const char *path = addr->sun_path;
    bool is_abstract = path[0] == '\0';
    const char *shown = is_abstract ? path + 1 : path;
    gid_t gid;
    if (!group_lookup(o->unix_socket_group, &gid, err, err_size))
        return false;
    if (bind(fd, (const struct sockaddr *)addr, bytes) != 0) {
        snprintf(err, err_size, "could not bind Unix socket \"%s%s\": %s", is_abstract ? "@" : "", shown,
                 errno == EADDRINUSE ? "already in use" : strerror(errno));
        return false;
    }
    if ((!is_abstract && ((gid != (gid_t)-1 && chown(path, (uid_t)-1, gid) != 0) ||
                          chmod(path, (mode_t)o->unix_socket_mode) != 0)) ||
        listen(fd, o->listen_backlog) != 0) {
        snprintf(err, err_size, "could not set up Unix socket \"%s%s\": %s", is_abstract ? "@" : "", shown,
                 strerror(errno));
        if (!is_abstract)
            unlink(path);
        return false;
    }
    return true;
}

/* False: the directory's name leaves no room for that of the socket. */
static bool unix_address(const char *dir, int port, struct sockaddr_un *addr, char *err, size_t err_size)
{
    *addr = (struct sockaddr_un){.sun_family = AF_UNIX};
    int len = snprintf(addr->sun_path, sizeof(addr->sun_path), "%s/.s.PGSQL.%d", dir, port);
    if (len >= 0 && (size_t)len < sizeof(addr->sun_path))
        return true;
    snprintf(err, err_size, "unix_socket_dir is too long: \"%s\"", dir);
    return false;
}

static bool unix_try(const struct listener_options *o, char *err, size_t err_size)
{
    const char *dir = o->unix_socket_dir;
    struct sockaddr_un addr;
    gid_t gid;

    if (dir == NULL || dir[0] == '\0')
        return true;
    if (!unix_address(dir, o->listen_port, &addr, err, err_size) ||
        !group_lookup(o->unix_socket_group, &gid, err, err_size))
        return false;
    if (dir[0] == '@' || access(dir, W_OK | X_OK) == 0)
        return true;
    snprintf(err, err_size, "could not bind Unix socket \"%s\": %s", addr.sun_path, strerror(errno));
    return false;
}

static bool unix_open(struct listeners *l, const struct listener_options *o, char *err, size_t err_size)
{
    const char *dir = o->unix_socket_dir;
    if (dir == NULL || dir[0] == '\0')
        return true;
    bool is_abstract = dir[0] == '@';
    struct sockaddr_un addr;
    if (!unix_address(dir, o->listen_port != 0 ? o->listen_port : l->tcp_port, &addr, err, err_size))
        return false;
    size_t len = strlen(addr.sun_path);
    char shown[sizeof(addr.sun_path)];
    memcpy(shown, addr.sun_path, sizeof(shown));
    socklen_t bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (is_abstract ? 0 : 1));
    if (is_abstract)
        addr.sun_path[0] = '\0';
    else if (!unix_make_way(&addr, bytes, err, err_size))
        return false;

    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        snprintf(err, err_size, "could not make a Unix socket: %s", strerror(errno));
        return false;
    }
    if (!unix_listen(fd, &addr, bytes, o, err, err_size)) {
        close(fd);
        return false;
    }
    struct listen_socket *s = socket_append(l, fd, true);
    snprintf(s->name, sizeof(s->name), "Unix socket \"%s\"", shown);
    struct stat st;
    if (!is_abstract && lstat(shown, &st) == 0) {
        str_copy(s->path, shown, sizeof(s->path));
        s->path_dev = st.st_dev;
        s->path_ino = st.st_ino;
    }
    return true;
}

/* --- inherited --- */

static bool inherit(struct listeners *l, const struct listener_options *o, int fd, char *err, size_t err_size)
{
    struct sockaddr_storage addr = {0};
    socklen_t bytes = sizeof(addr);
    int type = 0, listens = 0, flags = fcntl(fd, F_GETFL);
    socklen_t int_bytes = sizeof(int);
    char text[INET6_ADDRSTRLEN + 1] = "";

    if (flags < 0 || getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &int_bytes) != 0 || type != SOCK_STREAM ||
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &int_bytes) != 0 || listens == 0 ||
        getsockname(fd, (struct sockaddr *)&addr, &bytes) != 0 ||
        (addr.ss_family != AF_INET && addr.ss_family != AF_INET6 && addr.ss_family != AF_UNIX)) {
        snprintf(err, err_size, "descriptor %d from the service manager is no listening stream socket", fd);
        return false;
    }
    fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    bool is_unix = addr.ss_family == AF_UNIX;
    struct listen_socket *s = socket_append(l, fd, is_unix);
    if (is_unix) { /* the file is not ours to remove */
        snprintf(s->name, sizeof(s->name), "Unix socket \"%.100s\"", ((struct sockaddr_un *)&addr)->sun_path);
        return true;
    }
    if (o->defer_accept)
        listen_socket_defer(fd, true);
    l->tcp_port = sockaddr_port(&addr);
    getnameinfo((struct sockaddr *)&addr, bytes, text, sizeof(text), NULL, 0, NI_NUMERICHOST);
    snprintf(s->name, sizeof(s->name), "address \"%s\" port %d", text, l->tcp_port);
    return true;
}

static bool inherit_all(struct listeners *l, const struct listener_options *o, char *err, size_t err_size)
{
    for (int i = 0; i < o->n_inherited; i++)
        if (!inherit(l, o, o->first_inherited + i, err, err_size))
            return false;
    return true;
}

bool listen_sockets_open(struct listeners *l, const struct listener_options *o, char *err, size_t err_size)
{
    if (o->n_inherited > 0)
        return inherit_all(l, o, err, err_size);
    if (!tcp_open(l, o, err, err_size) || !unix_open(l, o, err, err_size))
        return false;
    if (l->count == 0) {
        snprintf(err, err_size, "nothing to listen on: set listen_addr or unix_socket_dir");
        return false;
    }
    return true;
}

bool listeners_check(const struct listener_options *o, int own_port, char *err, size_t err_size)
{
    struct listeners trial = {.is_trial = true, .tcp_port = own_port};

    return tcp_open(&trial, o, err, err_size) && unix_try(o, err, err_size);
}
