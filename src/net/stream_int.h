/*
 * stream_int.h - what stream.c and the transports share.
 */
#ifndef NET_STREAM_INT_H
#define NET_STREAM_INT_H

#include "net/stream.h"

struct transport {
    /* As stream_recv(). */
    int (*recv)(struct stream *s, void *buf, int len_bytes);
    /* As stream_sendv(); there is something to send and the descriptor is open. */
    bool (*sendv)(struct stream *s, const struct iovec *iov, int n);
    bool (*has_unread)(const struct stream *s);
    /* Sends what marks the end, if anything, before the sending side is shut down. */
    void (*send_end)(struct stream *s);
    /* Shuts the sending side down: all that was sent has gone to the kernel. False: not yet, it is full. */
    bool (*shutdown)(struct stream *s);
    /* Frees what it holds in s->tls. The descriptor is still open. */
    void (*close)(struct stream *s);
};

/* Bytes for the wire that the kernel has not taken; with TLS they are encrypted already. */
struct stream_output {
    struct stream *stream;
    struct event write_event; /* added as long as the output exists */
    uint8_t *data;
    uint32_t offset; /* bytes of data that have gone */
    uint32_t len;    /* end of the content in data */
    uint32_t capacity;
    bool shutdown_when_drained;
};

extern const struct transport stream_raw_transport;

/* The shutdown of transports that have sent their end before. */
bool stream_raw_shutdown(struct stream *s);

/* NULL is fine. */
void tls_buffers_free(struct tls_buffers *b);

/* Sends bytes as they are, behind what is pending; what the kernel does not take becomes pending. False with
 * errno. */
bool stream_send_raw(struct stream *s, const struct iovec *iov, int n) must_check hot_path;

#endif
