/*
 * loop.h - one event loop per thread, with its mailbox.
 *
 * A loop belongs to the thread that runs it; the only function that another
 * thread may call is loop_post(). One pass over the ready events is a turn; what was
 * deferred during a turn is freed at its end, so that a callback may still look at
 * an object that has just been closed.
 *
 * The eventfd is written only when a mailbox goes from empty to non-empty, after
 * its lock has been dropped. A loop that posts to itself takes neither lock nor
 * eventfd: that mail is handled at the end of the turn.
 */
#ifndef NET_LOOP_H
#define NET_LOOP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <event2/event.h>
#include <event2/event_struct.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/lock.h"

#define LOOP_READ_BUFFER_BYTES 65536

/* Embedded in what is sent, or at the head of an allocated message. Belongs to the
 * receiver from loop_post() on. `type` is an enum of the module that dispatches. */
struct mail {
    struct mail *next;
    uint32_t type;
};

struct loop;
struct tls_buffers;

/* Work for the end of the turn: usually a free. Embedded in the object. */
struct deferred {
    struct deferred *next;
    void (*run)(struct deferred *d);
};

struct loop {
    /* constant */
    struct event_base *base;
    void (*on_mail)(struct loop *loop, struct mail *mail);
    void *arg;            /* the thread's own object */
    uint8_t *read_buffer; /* shared by all streams of the thread; LOOP_READ_BUFFER_BYTES */

    /* [mailbox.lock] */
    struct lock lock;   /* rank LEAF */
    struct mail *inbox; /* newest first */

    /* [owner thread] */
    int event_fd;
    struct event wake_event;
    struct mail *local_head; /* mail to itself, oldest first */
    struct mail **local_tail;
    struct deferred *deferred; /* in order */
    struct deferred **deferred_tail;
    bool is_stopping;
    struct tls_buffers *tls_buffers; /* shared by all streams with TLS; NULL until there is one */

    /* [atomic], written by the owner */
    _Atomic int64_t turn_started_us; /* 0 while waiting for events: for liveness and loop time */
    _Atomic uint64_t turns;
    _Atomic uint64_t busy_us;     /* time outside of the wait, in all */
    _Atomic uint64_t max_turn_us; /* longest turn since the last loop_take_max_turn_us() */
};

/* False when the system has no resources for it. */
bool loop_init(struct loop *loop, void (*on_mail)(struct loop *, struct mail *), void *arg) must_check;
/* After the thread has ended, and everybody who may post; work that was deferred is still run, mail that
 * is left is dropped. */
void loop_destroy(struct loop *loop);
/* Runs turns until loop_stop(), on the calling thread. */
void loop_run(struct loop *loop) hot_path;
/* Owner: the turn is finished (its mail and deferred work too), then loop_run() returns. */
void loop_stop(struct loop *loop);
/*
 * Owner: notes that the wait is over. The callbacks of net/ call it; event callbacks of other
 * modules (timers) should begin with it too: libevent does not tell when it woke up, so that
 * the time of a callback before the first loop_enter() of its turn is not counted.
 */
static inline void loop_enter(struct loop *loop)
{
    if (atomic_load_explicit(&loop->turn_started_us, memory_order_relaxed) == 0)
        atomic_store_explicit(&loop->turn_started_us, clock_now_us(), memory_order_relaxed);
}
/* Any thread. */
void loop_post(struct loop *to, struct mail *mail);
/* Owner: runs d->run at the end of this turn (in the order of deferral); what is deferred by such work
 * is run at the end of the next. */
void loop_defer(struct loop *loop, struct deferred *d);
/* The loop that the calling thread is running, or NULL. */
struct loop *loop_current(void);
uint64_t loop_take_max_turn_us(struct loop *loop);
/* After loop_run(), when nobody posts any more: the mail that has come too late, to be freed. */
struct mail *loop_take_leftover(struct loop *loop);

#endif
