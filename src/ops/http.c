/*
 * http.c - the HTTP server's connections: accept, read one request, send one answer, close.
 *
 * Each connection is in one of four steps, each with its own deadline: READING, WAITING where the answer is
 * not known yet but will be in a moment, SENDING, and CLOSING, in
 * which what the peer still sends is read and dropped, since closing with unread input would destroy
 * the answer on its way. The body is shared and goes out in pieces as the peer takes them, so a slow reader
 * holds a piece and a reference.
 *
 * Threads: the control thread.
 * Not here: the request's text (http_request.c), what is answered (http_answer.c), sockets (net/).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/mem.h"
#include "config/address.h"
#include "http_int.h"
#include "net/listener.h"
#include "net/stream.h"

#define MAX_CONNECTIONS 64
#define MAX_ADDRESSES   16
#define BACKLOG         64
#define READING_US      (5 * USEC_PER_SEC)
#define SENDING_US      (20 * USEC_PER_SEC)
#define CLOSING_US      (2 * USEC_PER_SEC)
#define LOOK_AGAIN_US   (10 * USEC_PER_MSEC)
#define UNSURE_US       (500 * USEC_PER_MSEC) /* then it is answered as it is: probes give up after a second */
#define PIECE_BYTES     65536u

enum step { READING, WAITING, SENDING, CLOSING };

struct connection {
    struct deferred deferred;
    struct stream stream;
    struct http *http;
    struct list node; /* http->connections, oldest first */
    struct event deadline;
    enum step step;
    struct buf input; /* READING */
    struct http_request request;
    int64_t answer_by_us;   /* WAITING: when the answer may not be better any more */
    struct http_text *text; /* SENDING: the body, one reference; NULL: none is sent */
    uint32_t sent;          /* of the body */
};

struct http {
    struct loop *loop;
    struct http_hooks hooks;
    struct listeners *listeners[MAX_ADDRESSES];
    int n_listeners;
    struct list connections;
    int n_connections;
    struct metrics_cache cache;
};

/* ---- the end of a connection ---- */

static void connection_free(struct deferred *d)
{
    struct connection *c = container_of(d, struct connection, deferred);
    buf_free(&c->input);
    free(c);
}

static void connection_close(struct connection *c)
{
    if (c->stream.fd < 0)
        return;
    stream_close(&c->stream);
    event_del(&c->deadline);
    list_del(&c->node);
    c->http->n_connections--;
    http_text_unref(c->text);
    c->text = NULL;
    loop_defer(c->http->loop, &c->deferred); /* a callback of it may still be running */
}

/* False: closed. */
static bool set_step(struct connection *c, enum step step, int64_t us)
{
    struct timeval tv = {.tv_sec = us / USEC_PER_SEC, .tv_usec = us % USEC_PER_SEC};
    c->step = step;
    if (event_add(&c->deadline, &tv) == 0)
        return true;
    connection_close(c);
    return false;
}

/* ---- answering ---- */

static void begin_close(struct connection *c)
{
    if (!set_step(c, CLOSING, CLOSING_US))
        return;
    stream_shutdown_write(&c->stream);
    if (!stream_read_start(&c->stream))
        connection_close(c);
}

/* Sends as much as the peer takes; goes on in on_drain(). */
static void send_body(struct connection *c)
{
    while (c->text != NULL && c->sent < c->text->body.len) {
        uint32_t left = c->text->body.len - c->sent;
        uint32_t n = left < PIECE_BYTES ? left : PIECE_BYTES;
        if (!stream_send(&c->stream, c->text->body.data + c->sent, n)) {
            connection_close(c);
            return;
        }
        c->sent += n;
        if (!stream_is_drained(&c->stream))
            return;
    }
    begin_close(c);
}

static void send_answer(struct connection *c, const struct http_answer *a, bool is_head)
{
    char head[512];
    int len = snprintf(head, sizeof(head),
                       "HTTP/1.1 %d %s\r\n"
                       "Content-Type: %s\r\n"
                       "Content-Length: %u\r\n"
                       "%s"
                       "Cache-Control: no-store\r\n"
                       "X-Content-Type-Options: nosniff\r\n"
                       "Connection: close\r\n\r\n",
                       a->status, http_status_text(a->status), a->content_type, a->text->body.len,
                       a->status == 405 ? "Allow: GET, HEAD\r\n" : "");

    if (!is_head)
        c->text = http_text_ref(a->text);
    if (!set_step(c, SENDING, SENDING_US))
        return;
    if (!stream_send(&c->stream, head, (uint32_t)len))
        connection_close(c);
    else if (stream_is_drained(&c->stream))
        send_body(c);
}

/* status: that of the request. */
static void answer(struct connection *c, int status)
{
    struct http_answer a = {0};

    if (status == 200)
        http_answer(&c->http->hooks, &c->http->cache, &c->request, &a);
    else
        http_refuse(status, &a);
    if (a.text == NULL) {
        connection_close(c);
        return;
    }
    if (a.is_unsure && clock_now_us() < c->answer_by_us)
        (void)set_step(c, WAITING, LOOK_AGAIN_US);
    else
        send_answer(c, &a, c->request.is_head);
    http_text_unref(a.text);
}

/* ---- events of a connection ---- */

static void on_read(struct stream *s)
{
    struct connection *c = container_of(s, struct connection, stream);
    uint8_t *data = c->http->loop->read_buffer;

    int n = stream_recv(s, data, c->step == READING ? HTTP_REQUEST_MAX_BYTES : LOOP_READ_BUFFER_BYTES);
    if (n == STREAM_AGAIN)
        return;
    if (n < 0) {
        connection_close(c);
        return;
    }
    if (c->step != READING)
        return; /* dropped */
    uint32_t room = HTTP_REQUEST_MAX_BYTES - c->input.len;
    buf_append(&c->input, data, (uint32_t)n < room ? (uint32_t)n : room);
    if (c->input.failed) {
        connection_close(c);
        return;
    }
    int status = http_request_parse((const char *)c->input.data, c->input.len, &c->request);
    if (status == HTTP_INCOMPLETE)
        return;
    stream_read_stop(&c->stream);
    c->answer_by_us = clock_now_us() + UNSURE_US;
    answer(c, status);
}

static void deadline_cb(evutil_socket_t fd, short what, void *arg)
{
    struct connection *c = arg;
    (void)fd, (void)what;
    loop_enter(c->http->loop);
    if (c->step == WAITING)
        answer(c, 200);
    else
        connection_close(c);
}

static void on_drain(struct stream *s)
{
    struct connection *c = container_of(s, struct connection, stream);
    if (c->step == SENDING)
        send_body(c);
}

static void on_error(struct stream *s, int err)
{
    (void)err;
    connection_close(container_of(s, struct connection, stream));
}

static const struct stream_ops stream_callbacks = {
    .on_read = on_read, .on_drain = on_drain, .on_error = on_error};

/* ---- accepting ---- */

/* The oldest that has not said what it wants, else the oldest. */
static struct connection *find_victim(struct http *http)
{
    LIST_FOR_EACH (it, &http->connections) {
        struct connection *c = list_entry(it, struct connection, node);
        if (c->step == READING)
            return c;
    }
    return list_first_entry(&http->connections, struct connection, node);
}

static void on_accept(void *arg, int fd, bool is_unix)
{
    struct http *http = arg;
    struct connection *c = calloc(1, sizeof(*c));

    (void)is_unix;
    if (c == NULL) {
        close(fd);
        return;
    }
    if (http->n_connections >= MAX_CONNECTIONS)
        connection_close(find_victim(http));
    c->http = http;
    c->deferred.run = connection_free;
    buf_init(&c->input, HTTP_REQUEST_MAX_BYTES);
    stream_init(&c->stream, http->loop, fd, &stream_callbacks);
    event_assign(&c->deadline, http->loop->base, -1, 0, deadline_cb, c);
    list_push_back(&http->connections, &c->node);
    http->n_connections++;
    if (set_step(c, READING, READING_US) && !stream_read_start(&c->stream))
        connection_close(c);
}

static bool listen_on(struct http *http, const struct address *address, char *err, size_t err_size)
{
    struct listener_options o = {
        .listen_addr = address->host, .listen_port = address->port, .listen_backlog = BACKLOG};
    struct listeners *l = listeners_open(http->loop, &o, on_accept, http, err, err_size);
    if (l == NULL)
        return false;
    http->listeners[http->n_listeners++] = l;
    return true;
}

struct http *http_open(struct loop *loop, const char *addresses, const struct http_hooks *hooks, char *err,
                       size_t err_size)
{
    struct http *http = xcalloc(1, sizeof(*http));
    struct address address;
    enum address_result result;
    bool ok = true;

    http->loop = loop;
    http->hooks = *hooks;
    list_init(&http->connections);
    while (ok && (result = address_next(&addresses, &address)) != ADDRESS_END) {
        ok = result == ADDRESS_OK && http->n_listeners < MAX_ADDRESSES;
        if (!ok)
            snprintf(err, err_size, "no list of at most %d addresses", MAX_ADDRESSES);
        else
            ok = listen_on(http, &address, err, err_size);
    }
    if (ok)
        return http;
    http_close(http);
    return NULL;
}

void http_close(struct http *http)
{
    if (http == NULL)
        return;
    for (int i = 0; i < http->n_listeners; i++)
        listeners_free(http->listeners[i]);
    LIST_FOR_EACH_SAFE (it, &http->connections)
        connection_close(list_entry(it, struct connection, node));
    http_text_unref(http->cache.text);
    free(http);
}
