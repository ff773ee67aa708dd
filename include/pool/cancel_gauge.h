/*
 * cancel_gauge.h - cancel requests against the servers of a pool, or that go to a peer: how many there are.
 *
 * `connections` is also the bound: a place is reserved by adding, and given back when that was one too many.
 *
 * Threads: any; atomics. Two of them read one after the other may not fit together.
 */
#ifndef POOL_CANCEL_GAUGE_H
#define POOL_CANCEL_GAUGE_H

#include <stdatomic.h>

struct cancel_gauge {
    _Atomic int connections; /* that carry a request, or are being opened for one */
    _Atomic int sent;        /* of these: the request has been sent, its end is waited for */
    _Atomic int waiting;     /* requests of clients that have not been sent */
    _Atomic int active;      /* ... and that have */
    _Atomic int held;        /* servers that are done, but have to wait for a connection's end */
};

#endif
