/*
 * resolve_cares.c - lookups by c-ares, on a thread of their own.
 *
 * All lookups run at a time on one channel, whose sockets and timeouts are events of the thread's
 * loop; a name server that does not answer holds up nobody else. /etc/hosts, resolv.conf (or the
 * file of the setting resolv_conf) and nsswitch.conf count, as c-ares reads them.
 *
 * A channel reads these files when it is made; so a RELOAD makes a new one. Lookups that are under way then
 * begin anew there: the old name servers may be the ones that do not answer, and what they say does not count
 * any more.
 *
 * Threads: any submits; everything else is the names thread's, but for lookups_start() before
 *          it runs and lookups_stop() after.
 */
#define CARES_NO_DEPRECATED /* what newer ones have in its place is not in those of 1.16 */
#include <ares.h>
#include <arpa/nameser.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/str.h"
#include "resolve_int.h"

/* For each name server; the second try may take twice as long. c-ares' own values come to more than a minute.
 */
#define TIMEOUT_MS 2000
#define TRIES      2

enum { MAIL_LOOKUP = 1, MAIL_SOA, MAIL_RELOAD, MAIL_STOP };

/* A socket of the channel. */
struct watch {
    struct list node;
    struct event event;
    ares_socket_t fd;
};

static pthread_t thread;
static struct loop names_loop;
/* [names thread] */
static ares_channel channel;
static char *resolv_conf_path; /* constant while it runs; NULL = the system's */
static struct event timer;
static struct list watches = {&watches, &watches};
static bool is_renewing;      /* what ends now begins anew */
static struct mail *to_renew; /* MAIL_LOOKUP and MAIL_SOA */
static struct mail stop_mail = {.type = MAIL_STOP};

/* ---- the channel's events ---- */

/* The next moment at which c-ares wants to look whether an answer is overdue. */
static void arm_timer(void)
{
    struct timeval tv;
    if (ares_timeout(channel, NULL, &tv) != NULL)
        event_add(&timer, &tv);
    else
        event_del(&timer);
}

static void timer_cb(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
    loop_enter(&names_loop);
    ares_process_fd(channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    arm_timer();
}

static void socket_cb(evutil_socket_t fd, short what, void *arg)
{
    (void)arg;
    loop_enter(&names_loop);
    ares_process_fd(channel, what & EV_READ ? fd : ARES_SOCKET_BAD, what & EV_WRITE ? fd : ARES_SOCKET_BAD);
    arm_timer();
}

static struct watch *watch_find(ares_socket_t fd)
{
    LIST_FOR_EACH (it, &watches) {
        struct watch *w = list_entry(it, struct watch, node);
        if (w->fd == fd)
            return w;
    }
    return NULL;
}

static void watch_free(struct watch *w)
{
    event_del(&w->event);
    list_del(&w->node);
    free(w);
}

/* c-ares wants to hear of this socket, or (neither) is about to close it. */
static void on_socket_state(void *arg, ares_socket_t fd, int is_readable, int is_writable)
{
    struct watch *w = watch_find(fd);
    short what = (short)((is_readable ? EV_READ : 0) | (is_writable ? EV_WRITE : 0) | EV_PERSIST);

    (void)arg;
    if (w != NULL && !is_readable && !is_writable) {
        watch_free(w);
        return;
    }
    if (w != NULL) {
        event_del(&w->event);
    } else {
        w = calloc(1, sizeof(*w));
        if (w == NULL)
            return; /* the lookup will time out */
        w->fd = fd;
        list_push_back(&watches, &w->node);
    }
    event_assign(&w->event, names_loop.base, fd, what, socket_cb, NULL);
    event_add(&w->event, NULL);
}

/* Older c-ares leaves out the port of "nameserver ADDRESS:PORT"; the file of resolv_conf may say one. */
static void set_servers_with_ports(void)
{
    FILE *file = fopen(resolv_conf_path, "re");
    char *line = NULL, *address = NULL;
    size_t size = 0;
    struct buf all;

    if (file == NULL)
        return;
    buf_init(&all, 65536);
    while (getline(&line, &size, file) > 0)
        if (sscanf(line, " nameserver %m[^ \t\r\n]", &address) == 1) {
            buf_printf(&all, "%s%s", all.len > 0 ? "," : "", address);
            free(address);
        }
    if (all.len > 0 && ares_set_servers_ports_csv(channel, buf_cstr(&all)) != ARES_SUCCESS)
        log_error("resolv_conf: a name server in \"%s\" is no address", resolv_conf_path);
    buf_free(&all);
    free(line);
    fclose(file);
}

static bool channel_make(void)
{
    struct ares_options o = {
        .sock_state_cb = on_socket_state,
        .resolvconf_path = resolv_conf_path,
        .timeout = TIMEOUT_MS,
        .tries = TRIES,
    };
    int mask = ARES_OPT_SOCK_STATE_CB | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES |
               (resolv_conf_path != NULL ? ARES_OPT_RESOLVCONF : 0);
    if (ares_init_options(&channel, &o, mask) != ARES_SUCCESS)
        return false;
    if (resolv_conf_path != NULL)
        set_servers_with_ports();
    return true;
}

/* ---- lookups ---- */

/* It has ended with the channel on which it was: true. */
static bool is_put_off(struct mail *m)
{
    if (!is_renewing)
        return false;
    m->next = to_renew;
    to_renew = m;
    return true;
}

static struct address_list *list_of(const struct ares_addrinfo *found, int64_t *ttl_us)
{
    int n = 0, ttl_s = -1;
    for (const struct ares_addrinfo_node *a = found->nodes; a != NULL; a = a->ai_next)
        n++;
    struct address_list *list = address_list_new(n);
    if (list == NULL)
        return NULL;
    n = 0;
    for (const struct ares_addrinfo_node *a = found->nodes; a != NULL; a = a->ai_next, n++) {
        memcpy(&list->items[n].addr, a->ai_addr, a->ai_addrlen);
        list->items[n].bytes = a->ai_addrlen;
        ttl_s = ttl_s < 0 || a->ai_ttl < ttl_s ? a->ai_ttl : ttl_s;
    }
    for (const struct ares_addrinfo_cname *c = found->cnames; c != NULL; c = c->next)
        ttl_s = c->ttl < ttl_s ? c->ttl : ttl_s;
    *ttl_us = ttl_s < 0 ? -1 : ttl_s * USEC_PER_SEC;
    return list;
}

static void on_answer(void *arg, int status, int timeouts, struct ares_addrinfo *found)
{
    struct lookup *l = arg;
    struct address_list *list = NULL;
    int64_t ttl_us = -1;

    (void)timeouts;
    if (is_put_off(&l->mail)) {
        ares_freeaddrinfo(found);
        return;
    }
    if (status == ARES_SUCCESS && found->nodes == NULL)
        status = ARES_ENODATA;
    if (status == ARES_SUCCESS) {
        list = list_of(found, &ttl_us);
        if (list == NULL)
            status = ARES_ENOMEM;
    }
    ares_freeaddrinfo(found);
    bool is_none = status == ARES_ENOTFOUND || status == ARES_ENODATA || status == ARES_EBADNAME;
    lookup_done(l,
                list != NULL ? LOOKUP_FOUND
                : is_none    ? LOOKUP_NOT_FOUND
                             : LOOKUP_FAILED,
                list, ttl_us, list != NULL ? "" : ares_strerror(status));
}

static void begin(struct lookup *l)
{
    const struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};

    ares_getaddrinfo(channel, l->name, NULL, &hints, on_answer, l);
    arm_timer();
}

static void on_soa(void *arg, int status, int timeouts, unsigned char *packet, int packet_bytes)
{
    struct soa_query *q = arg;
    struct ares_soa_reply *soa = NULL;

    (void)timeouts;
    if (is_put_off(&q->mail))
        return;
    if (status == ARES_SUCCESS)
        status = ares_parse_soa_reply(packet, packet_bytes, &soa);
    soa_done(q, status == ARES_SUCCESS, status == ARES_SUCCESS ? soa->serial : 0, ares_strerror(status));
    if (soa != NULL)
        ares_free_data(soa);
}

static void begin_soa(struct soa_query *q)
{
    ares_query(channel, q->zone, C_IN, T_SOA, on_soa, q);
    arm_timer();
}

static void begin_mail(struct mail *m)
{
    if (m->type == MAIL_LOOKUP)
        begin(container_of(m, struct lookup, mail));
    else
        begin_soa(container_of(m, struct soa_query, mail));
}

static void channel_renew(void)
{
    ares_channel old = channel;

    if (!channel_make()) {
        log_error("the name servers cannot be read again: the old ones are asked until the next RELOAD");
        channel = old;
        return;
    }
    is_renewing = true;
    ares_destroy(old);
    is_renewing = false;
    while (to_renew != NULL) {
        struct mail *m = to_renew;
        to_renew = m->next;
        begin_mail(m);
    }
    arm_timer();
}

static void on_mail(struct loop *loop, struct mail *m)
{
    switch (m->type) {
    case MAIL_LOOKUP:
    case MAIL_SOA: begin_mail(m); return;
    case MAIL_RELOAD:
        channel_renew();
        free(m);
        return;
    case MAIL_STOP:
        ares_cancel(channel); /* each lookup is answered: it has failed */
        loop_stop(loop);
        return;
    }
}

static void *names_main(void *arg)
{
    (void)arg;
    loop_run(&names_loop);
    return NULL;
}

/* ---- start and end ---- */

static void free_all(void)
{
    if (channel != NULL)
        ares_destroy(channel);
    channel = NULL;
    while (!list_is_empty(&watches))
        watch_free(list_entry(watches.next, struct watch, node));
    event_del(&timer);
    loop_destroy(&names_loop);
    free(resolv_conf_path);
    resolv_conf_path = NULL;
    ares_library_cleanup();
}

static bool thread_start(void)
{
    sigset_t set, old;
    log_thread_signals(&set);
    pthread_sigmask(SIG_SETMASK, &set, &old);
    bool ok = pthread_create(&thread, NULL, names_main, NULL) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return ok;
}

bool lookups_check(const char *resolv_conf, char *err, size_t err_size)
{
    if (resolv_conf[0] == '\0' || access(resolv_conf, R_OK) == 0)
        return true;
    snprintf(err, err_size, "resolv_conf: cannot read \"%s\": %s", resolv_conf, strerror(errno));
    return false;
}

bool lookups_start(const char *resolv_conf, char *err, size_t err_size)
{
    if (!lookups_check(resolv_conf, err, err_size))
        return false;
    snprintf(err, err_size, "cannot start the thread for host names");
    if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS)
        return false;
    if (!loop_init(&names_loop, on_mail, NULL)) {
        ares_library_cleanup();
        return false;
    }
    event_assign(&timer, names_loop.base, -1, 0, timer_cb, NULL);
    resolv_conf_path = resolv_conf[0] != '\0' ? strdup(resolv_conf) : NULL;
    if (channel_make() && thread_start())
        return true;
    free_all();
    return false;
}

bool lookups_stop(int64_t wait_us)
{
    struct timespec until = clock_wall_in(wait_us);

    loop_post(&names_loop, &stop_mail);
    if (pthread_timedjoin_np(thread, NULL, &until) != 0)
        return false;
    free_all();
    return true;
}

void lookups_reload(void)
{
    struct mail *m = calloc(1, sizeof(*m));
    if (m == NULL)
        return; /* the old name servers stay until the next RELOAD */
    m->type = MAIL_RELOAD;
    loop_post(&names_loop, m);
}

void lookup_submit(struct lookup *l)
{
    l->mail = (struct mail){.type = MAIL_LOOKUP};
    loop_post(&names_loop, &l->mail);
}

void soa_submit(struct soa_query *q)
{
    q->mail = (struct mail){.type = MAIL_SOA};
    loop_post(&names_loop, &q->mail);
}

const char *dial_names_method(void)
{
    static char text[40]; /* the same each time */
    snprintf(text, sizeof(text), "c-ares %s", ares_version(NULL));
    return text;
}
