/*
 * stream_int.h - what stream.c and the transports share.
 */
#ifndef NET_STREAM_INT_H
#define NET_STREAM_INT_H

#include "net/stream.h"

struct transport {
    /* As stream_recv(). */
    int (*recv)(struct stream *s, void *buf, int len_bytes);
    /* Bytes taken (> 0; fewer than given: the rest is to wait for the write event), STREAM_AGAIN, or
     * STREAM_ERROR with errno. The pieces are not empty in all. */
    int64_t (*sendv)(struct stream *s, const struct iovec *iov, int n);
    bool (*has_unread)(const struct stream *s);
    void (*shutdown_write)(struct stream *s);
    /* Frees what it holds in s->ssl. The descriptor is still open. */
    void (*close)(struct stream *s);
};

/* Exists while there is something to wait for on the sending side; see stream_is_drained(). */
struct stream_output {
    struct stream *stream;
    struct event write_event;
    uint8_t *data;
    uint32_t offset; /* bytes of data that have gone */
    uint32_t len;    /* end of the content in data */
    uint32_t capacity;
    bool is_waiting;       /* write event is added */
    bool flush_wants_read; /* TLS cannot write before it has read: the read event is on for that */
    bool read_wants_write; /* TLS cannot read before it has written: on_read when writable */
    bool shutdown_when_drained;
};

/* Waits until the descriptor is writable, then on_drain: for a TLS handshake. */
bool stream_wait_writable(struct stream *s) must_check;
/* Waits until the descriptor is writable, then on_read: for a TLS read that must write first. */
bool stream_read_when_writable(struct stream *s) must_check;
/* The same for a TLS write that must read first; called by sendv before it returns STREAM_AGAIN. */
bool stream_flush_when_readable(struct stream *s) must_check;

#endif
