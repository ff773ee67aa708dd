/*
 * stream.h - a connected socket with its events, transport and pending output.
 *
 * Client and server sessions embed one. An idle stream holds no buffer: reading
 * goes into the loop's shared buffer, and what the peer does not take at once is
 * copied to an output buffer that exists only until it has drained. The read
 * event is persistent; a write event exists only under backpressure.
 *
 * Whoever forwards from A to B stops reading A (stream_read_stop) while B has
 * pending output, and starts again in B's on_drain: so pending output is bounded
 * by what was read in one go.
 *
 * Threads: the owner's. A stream moves to another loop with stream_detach() and
 * stream_attach(), and only while it is quiet: no pending output, no unread plaintext.
 */
#ifndef NET_STREAM_H
#define NET_STREAM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "net/loop.h"

struct stream;
struct tls_context;

/* Kept apart so that each stream holds one pointer. Each of them may close the stream and free it. */
struct stream_ops {
    void (*on_read)(struct stream *s); /* readable (or at end, or failed: stream_recv tells) */
    /* Pending output has gone to the kernel. Comes from the loop only, never from within stream_send();
     * with TLS also when TLS itself had something pending (handshake, key update). */
    void (*on_drain)(struct stream *s);
    void (*on_error)(struct stream *s, int err); /* sending failed in the background; errno */
};

struct stream {
    int fd;            /* -1 when closed */
    struct loop *loop; /* NULL between stream_detach() and stream_attach() */
    const struct stream_ops *ops;
    const struct transport *transport; /* raw or TLS */
    struct stream_tls *tls;            /* NULL without TLS */
    struct stream_output *output;      /* pending bytes and write event; NULL when there are none */
    struct event read_event;
    bool is_reading; /* read event is added */
};

#define STREAM_PENDING_MAX_BYTES (16u << 20)

enum { STREAM_AGAIN = -1, STREAM_EOF = -2, STREAM_ERROR = -3 };

/* Takes over fd (non-blocking is set here) and starts nothing. */
void stream_init(struct stream *s, struct loop *loop, int fd, const struct stream_ops *ops);
/* Closes the descriptor, drops pending output, frees TLS. Safe on a closed stream. */
void stream_close(struct stream *s);
/* False when the event cannot be added. Plaintext that TLS holds already brings an on_read too. */
bool stream_read_start(struct stream *s) must_check hot_path;
void stream_read_stop(struct stream *s);

/* Bytes received (> 0), or STREAM_AGAIN, STREAM_EOF, STREAM_ERROR (errno; for TLS see stream_tls_error()). */
int stream_recv(struct stream *s, void *buf, int len_bytes) must_check;
/* Bytes that TLS has received and nobody has read (or its end, behind bytes that were): no read event will
 * come for it. */
bool stream_has_unread(const struct stream *s);
/*
 * Sends all pieces in order: what the kernel does not take is kept, and on_drain
 * is called once it has gone. False, with errno, when the connection has failed (for TLS see
 * stream_tls_error()), memory is out (ENOMEM), or pending output would pass STREAM_PENDING_MAX_BYTES
 * (ENOBUFS): close it.
 */
bool stream_send(struct stream *s, const void *data, uint32_t len_bytes) must_check hot_path;
bool stream_sendv(struct stream *s, const struct iovec *iov, int n) must_check hot_path;
/* Pending output in bytes; 0 = drained. */
uint32_t stream_pending(const struct stream *s);
static inline bool stream_is_drained(const struct stream *s)
{
    return s->output == NULL;
}
/* Takes what has been received and nobody will read, within bounds: to close with it unread would reset the
 * connection, and what was sent last might not arrive. */
void stream_drop_unread(struct stream *s);
/* No more will be sent: shuts down the sending side once pending output has gone. */
void stream_shutdown_write(struct stream *s);

/*
 * TLS from here on, as client, to a port of a host; host for SNI and verification (NULL: none, which
 * TLS_VERIFY_FULL refuses). The caller has read nothing beyond the server's answer to SSLRequest. Then call
 * stream_tls_handshake() from on_read/on_drain until it is not STREAM_AGAIN (1 = done; reading is on then.
 * STREAM_ERROR, STREAM_EOF). It arranges its own read and write events.
 */
bool stream_tls_start(struct stream *s, struct tls_context *ctx, const char *host, int port) must_check;
/* The same as server. data: what has been read of the handshake already. */
bool stream_tls_accept(struct stream *s, const struct tls_context *ctx, const void *data,
                       uint32_t len_bytes) must_check;
int stream_tls_handshake(struct stream *s) must_check;
/* A login is under way: what has been decrypted is wiped once it has been read. When it is over, no questions
 * about the handshake will come but stream_tls_describe(). Nothing without TLS. */
void stream_tls_login(struct stream *s, bool is_on);
/* After a handshake that has failed: the rest is raw bytes, to be dropped while the alert is on its way. */
void stream_tls_give_up(struct stream *s);
/* Why the last TLS call failed; static per thread. */
const char *stream_tls_error(void);
/* TLS has begun, and its handshake may not be over yet. */
static inline bool stream_is_tls(const struct stream *s)
{
    return s->tls != NULL;
}
/* "TLSv1.3/CIPHER", with "/kernel" behind it where the kernel encrypts what is sent; or "". */
void stream_tls_describe(const struct stream *s, char *out, size_t size);
/* The common name of the peer's certificate. False when there is no certificate that has been verified
 * against our CA, or its name cannot be right (none, a NUL in it, too long). */
bool stream_peer_cn(const struct stream *s, char *out, size_t size) must_check;
/* tls-server-end-point of RFC 5929, to which a login over this connection may be bound: its length. 0: there
 * is none (no TLS, or a certificate that leaves it undefined). */
#define STREAM_END_POINT_MAX_BYTES 64
uint32_t stream_tls_end_point(const struct stream *s, uint8_t *out) must_check;
/* The handshake was a short one, by a session of an earlier connection. */
bool stream_tls_is_resumed(const struct stream *s);
/* The handshake has agreed on the protocol of PostgreSQL by ALPN. */
bool stream_tls_has_alpn(const struct stream *s);

bool stream_is_quiet(const struct stream *s);
/* Leaves its loop: the kernel knows before this returns. */
void stream_detach(struct stream *s);
/* Joins a loop and starts reading. False when that fails. */
bool stream_attach(struct stream *s, struct loop *loop) must_check;

#endif
