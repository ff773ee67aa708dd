/*
 * stream.c - sending and receiving on a connected socket, without and with pending output.
 *
 * The sending side has two states. Drained (output == NULL): stream_send() goes
 * to the kernel at once. Pending: everything is appended to the output block and
 * the write event sends it; when it is empty the block is freed and on_drain
 * called. Pending output is what goes on the wire, so that it is the same for raw and TLS.
 * Callbacks may close and free the stream, so nothing touches it after a callback.
 *
 * Threads: the owner of s->loop. Events are only deleted when they are known to be
 * added: between detach and attach, libevent's fields still name the old base, which
 * belongs to another thread.
 * Not here: TLS (stream_tls.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "stream_int.h"

#define OUTPUT_FIRST_BYTES 16384u
#define DROP_READS         64 /* of a read buffer each: more than a receive buffer holds */

/* --- raw transport --- */

/*
 * recv() and send() are cancellation points, for which glibc turns asynchronous cancellation on and
 * off around each call in a program with threads. Nothing is ever cancelled here, so the hot path does
 * without.
 */
static inline ssize_t socket_recv(int fd, void *buf, size_t len_bytes)
{
#ifdef SYS_recvfrom
    return syscall(SYS_recvfrom, fd, buf, len_bytes, 0, NULL, NULL);
#else
    return recv(fd, buf, len_bytes, 0);
#endif
}

static inline ssize_t socket_send(int fd, const void *buf, size_t len_bytes)
{
#ifdef SYS_sendto
    return syscall(SYS_sendto, fd, buf, len_bytes, MSG_NOSIGNAL, NULL, 0);
#else
    return send(fd, buf, len_bytes, MSG_NOSIGNAL);
#endif
}

static hot_path int raw_recv(struct stream *s, void *buf, int len_bytes)
{
    for (;;) {
        ssize_t n = socket_recv(s->fd, buf, (size_t)len_bytes);
        if (n > 0)
            return (int)n;
        if (n == 0)
            return STREAM_EOF;
        if (errno == EINTR)
            continue;
        return errno == EAGAIN || errno == EWOULDBLOCK ? STREAM_AGAIN : STREAM_ERROR;
    }
}

/* Bytes taken, STREAM_AGAIN, or STREAM_ERROR with errno. */
static hot_path int64_t socket_sendv(int fd, const struct iovec *iov, int n)
{
    struct msghdr msg = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)(n < IOV_MAX ? n : IOV_MAX)};
    for (;;) {
        ssize_t sent = sendmsg(fd, &msg, MSG_NOSIGNAL);
        if (sent >= 0)
            return sent;
        if (errno == EINTR)
            continue;
        return errno == EAGAIN || errno == EWOULDBLOCK ? STREAM_AGAIN : STREAM_ERROR;
    }
}

static hot_path bool raw_has_unread(const struct stream *s)
{
    (void)s;
    return false;
}

static void raw_send_end(struct stream *s)
{
    (void)s;
}

bool stream_raw_shutdown(struct stream *s)
{
    shutdown(s->fd, SHUT_WR);
    return true;
}

static void raw_close(struct stream *s)
{
    (void)s;
}

const struct transport stream_raw_transport = {
    .recv = raw_recv,
    .sendv = stream_send_raw,
    .has_unread = raw_has_unread,
    .send_end = raw_send_end,
    .shutdown = stream_raw_shutdown,
    .close = raw_close,
};

/* --- pending output --- */

static void write_cb(evutil_socket_t fd, short what, void *arg);

/* An empty output with its write event. NULL (ENOMEM) when memory is out. */
static struct stream_output *output_new(struct stream *s)
{
    struct stream_output *o = calloc(1, sizeof(*o));
    if (o != NULL) {
        o->stream = s;
        if (event_assign(&o->write_event, s->loop->base, s->fd, EV_WRITE | EV_PERSIST, write_cb, o) == 0 &&
            event_add(&o->write_event, NULL) == 0) {
            s->output = o;
            return o;
        }
        free(o);
    }
    errno = ENOMEM;
    return NULL;
}

static void output_free(struct stream *s)
{
    struct stream_output *o = s->output;
    if (o == NULL)
        return;
    event_del(&o->write_event);
    s->output = NULL;
    free(o->data);
    free(o);
}

/* Room for n more bytes behind the content. */
static bool output_reserve(struct stream_output *o, uint64_t n)
{
    uint32_t used = o->len - o->offset;
    if (used + n > STREAM_PENDING_MAX_BYTES) {
        errno = ENOBUFS;
        return false;
    }
    if (o->capacity - o->len >= n)
        return true;
    if (o->offset >= o->capacity / 2 && o->capacity - used >= n) {
        memmove(o->data, o->data + o->offset, used);
    } else {
        uint64_t capacity = o->capacity > 0 ? o->capacity : OUTPUT_FIRST_BYTES;
        while (capacity < used + n)
            capacity *= 2;
        uint8_t *data = malloc(capacity);
        if (data == NULL) {
            errno = ENOMEM;
            return false;
        }
        if (used > 0)
            memcpy(data, o->data + o->offset, used);
        free(o->data);
        o->data = data;
        o->capacity = (uint32_t)capacity;
    }
    o->offset = 0;
    o->len = used;
    return true;
}

static bool output_append(struct stream_output *o, const struct iovec *iov, int n, uint64_t skip)
{
    uint64_t total = 0;
    for (int i = 0; i < n; i++)
        total += iov[i].iov_len;
    if (!output_reserve(o, total - skip))
        return false;
    for (int i = 0; i < n; i++) {
        size_t len = iov[i].iov_len;
        if (skip >= len) {
            skip -= len;
            continue;
        }
        memcpy(o->data + o->len, (const uint8_t *)iov[i].iov_base + skip, len - skip);
        o->len += (uint32_t)(len - skip);
        skip = 0;
    }
    return true;
}

static void write_cb(evutil_socket_t fd, short what, void *arg)
{
    struct stream_output *o = arg;
    struct stream *s = o->stream;
    (void)what;
    loop_enter(s->loop);
    int64_t n = 0;
    if (o->offset < o->len) {
        struct iovec iov = {o->data + o->offset, o->len - o->offset};
        n = socket_sendv(fd, &iov, 1);
    }
    if (n == STREAM_AGAIN)
        return;
    if (n < 0) {
        int err = errno;
        output_free(s);
        s->ops->on_error(s, err);
        return;
    }
    o->offset += (uint32_t)n;
    if (o->offset < o->len)
        return; /* a short write: the socket is full again */
    if (o->shutdown_when_drained && !s->transport->shutdown(s))
        return; /* there is an end to be sent, and no room for it */
    output_free(s);
    s->ops->on_drain(s);
}

bool stream_send_raw(struct stream *s, const struct iovec *iov, int n)
{
    if (s->output != NULL)
        return output_append(s->output, iov, n, 0);
    uint64_t total = 0;
    for (int i = 0; i < n; i++)
        total += iov[i].iov_len;
    int64_t sent = socket_sendv(s->fd, iov, n);
    if (sent == (int64_t)total)
        return true;
    if (sent == STREAM_ERROR)
        return false;
    struct stream_output *o = output_new(s);
    if (o == NULL)
        return false;
    if (output_append(o, iov, n, sent > 0 ? (uint64_t)sent : 0))
        return true;
    int err = errno;
    output_free(s);
    errno = err;
    return false;
}

/* --- receiving --- */

static hot_path void read_cb(evutil_socket_t fd, short what, void *arg)
{
    struct stream *s = arg;
    (void)fd, (void)what;
    loop_enter(s->loop);
    s->ops->on_read(s);
}

bool stream_read_start(struct stream *s)
{
    if (s->is_reading)
        return true;
    if (event_add(&s->read_event, NULL) != 0) {
        errno = ENOMEM;
        return false;
    }
    s->is_reading = true;
    if (s->transport->has_unread(s))
        event_active(&s->read_event, EV_READ, 1);
    return true;
}

void stream_read_stop(struct stream *s)
{
    if (!s->is_reading)
        return;
    s->is_reading = false;
    event_del(&s->read_event);
}

int stream_recv(struct stream *s, void *buf, int len_bytes)
{
    return s->transport->recv(s, buf, len_bytes);
}

bool stream_has_unread(const struct stream *s)
{
    return s->fd >= 0 && s->transport->has_unread(s);
}

/* --- life --- */

static void read_event_assign(struct stream *s)
{
    event_assign(&s->read_event, s->loop->base, s->fd, EV_READ | EV_PERSIST, read_cb, s);
}

void stream_init(struct stream *s, struct loop *loop, int fd, const struct stream_ops *ops)
{
    memset(s, 0, sizeof(*s));
    s->fd = fd;
    s->loop = loop;
    s->ops = ops;
    s->transport = &stream_raw_transport;
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0 && (flags & O_NONBLOCK) == 0)
        fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    read_event_assign(s);
}

void stream_close(struct stream *s)
{
    if (s->fd < 0)
        return;
    stream_read_stop(s);
    s->transport->close(s);
    output_free(s);
    s->tls = NULL;
    s->transport = &stream_raw_transport;
    close(s->fd);
    s->fd = -1;
}

bool stream_is_quiet(const struct stream *s)
{
    return s->fd >= 0 && s->output == NULL && !s->transport->has_unread(s);
}

void stream_detach(struct stream *s)
{
    debug_assert(stream_is_quiet(s));
    stream_read_stop(s);
    s->loop = NULL;
}

bool stream_attach(struct stream *s, struct loop *loop)
{
    debug_assert(s->loop == NULL && s->fd >= 0);
    s->loop = loop;
    read_event_assign(s);
    return stream_read_start(s);
}

/* --- sending --- */

bool stream_sendv(struct stream *s, const struct iovec *iov, int n)
{
    bool is_empty = true;
    for (int i = 0; i < n && is_empty; i++)
        is_empty = iov[i].iov_len == 0;
    if (is_empty)
        return true;
    if (s->fd < 0) {
        errno = EBADF;
        return false;
    }
    return s->transport->sendv(s, iov, n);
}

bool stream_send(struct stream *s, const void *data, uint32_t len_bytes)
{
    if (likely(s->tls == NULL && s->output == NULL)) {
        /* the usual case, without a message header for the kernel to copy */
        ssize_t sent = socket_send(s->fd, data, len_bytes);
        if (likely(sent == (ssize_t)len_bytes))
            return true;
        if (sent > 0) {
            data = (const uint8_t *)data + sent;
            len_bytes -= (uint32_t)sent;
        }
    }
    struct iovec iov = {(void *)data, len_bytes};
    return stream_sendv(s, &iov, 1);
}

uint32_t stream_pending(const struct stream *s)
{
    return s->output != NULL ? s->output->len - s->output->offset : 0;
}

void stream_drop_unread(struct stream *s)
{
    for (int i = 0; s->fd >= 0 && i < DROP_READS; i++)
        if (raw_recv(s, s->loop->read_buffer, LOOP_READ_BUFFER_BYTES) <= 0)
            return;
}

void stream_shutdown_write(struct stream *s)
{
    if (s->fd < 0)
        return;
    s->transport->send_end(s);
    if (s->output == NULL && (s->transport->shutdown(s) || output_new(s) == NULL))
        return;
    s->output->shutdown_when_drained = true;
}
