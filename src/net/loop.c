/*
 * loop.c - the event loop of one thread, its mailbox and its deferred work.
 *
 * A turn: wait and run ready events (the wake event among them, which handles
 * the mail of other threads), handle the mail to itself, run what was deferred,
 * update the counters.
 *
 * Threads: each function belongs to the loop's owner, except loop_post() and the
 * reading of the atomic counters. loop->lock (a leaf) protects the inbox only.
 * Wake-ups: the poster that finds the inbox empty writes the eventfd, after
 * unlocking. The owner reads the eventfd *before* it takes the inbox: a post that
 * comes after the taking finds it empty again and writes again, so no wake-up is
 * lost; the worst case is a wake-up that finds nothing.
 * Not here: timers (callers use libevent's on loop->base).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "net/loop.h"
#include "stream_int.h"

static _Thread_local struct loop *current_loop;

struct loop *loop_current(void)
{
    return current_loop;
}

/* One base without locks; epoll without the changelist, which nobody may switch on from the environment:
 * a removed descriptor must be out of the kernel's set before another thread adopts it. */
static struct event_base *base_new(void)
{
    struct event_config *config = event_config_new();
    if (config == NULL)
        return NULL;
    struct event_base *base = NULL;
    if (event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_IGNORE_ENV) == 0 &&
        event_config_avoid_method(config, "select") == 0 && event_config_avoid_method(config, "poll") == 0)
        base = event_base_new_with_config(config);
    event_config_free(config);
    return base;
}

static void eventfd_clear(int fd)
{
    uint64_t count;
    ssize_t r;
    do
        r = read(fd, &count, sizeof(count));
    while (r < 0 && errno == EINTR);
}

/* EAGAIN (the counter is full) is fine: then the reader will wake up anyway. */
static void eventfd_signal(int fd)
{
    const uint64_t one = 1;
    ssize_t r;
    do
        r = write(fd, &one, sizeof(one));
    while (r < 0 && errno == EINTR);
}

/* Takes the inbox, oldest first. */
static struct mail *inbox_take(struct loop *loop)
{
    lock_acquire(&loop->lock);
    struct mail *newest = loop->inbox;
    loop->inbox = NULL;
    lock_release(&loop->lock);

    struct mail *oldest = NULL;
    while (newest != NULL) {
        struct mail *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    return oldest;
}

static void handle_mail(struct loop *loop, struct mail *mail)
{
    while (mail != NULL) {
        struct mail *next = mail->next; /* the handler may free it */
        loop->on_mail(loop, mail);
        mail = next;
    }
}

static void wake_cb(evutil_socket_t fd, short what, void *arg)
{
    struct loop *loop = arg;
    (void)what;
    loop_enter(loop);
    eventfd_clear(fd);
    handle_mail(loop, inbox_take(loop));
}

bool loop_init(struct loop *loop, void (*on_mail)(struct loop *, struct mail *), void *arg)
{
    memset(loop, 0, sizeof(*loop));
    loop->on_mail = on_mail;
    loop->arg = arg;
    loop->local_tail = &loop->local_head;
    loop->deferred_tail = &loop->deferred;
    loop->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (loop->event_fd < 0)
        return false;
    loop->read_buffer = malloc(LOOP_READ_BUFFER_BYTES);
    if (loop->read_buffer == NULL)
        goto fail;
    loop->base = base_new();
    if (loop->base == NULL)
        goto fail;
    if (event_assign(&loop->wake_event, loop->base, loop->event_fd, EV_READ | EV_PERSIST, wake_cb, loop) !=
            0 ||
        event_add(&loop->wake_event, NULL) != 0)
        goto fail;
    lock_init(&loop->lock, LOCK_RANK_LEAF);
    return true;

fail:
    if (loop->base != NULL)
        event_base_free(loop->base);
    free(loop->read_buffer);
    close(loop->event_fd);
    memset(loop, 0, sizeof(*loop));
    loop->event_fd = -1;
    return false;
}

static void run_deferred(struct loop *loop)
{
    struct deferred *d = loop->deferred;
    loop->deferred = NULL;
    loop->deferred_tail = &loop->deferred;
    while (d != NULL) {
        struct deferred *next = d->next; /* run usually frees it */
        d->run(d);
        d = next;
    }
}

void loop_destroy(struct loop *loop)
{
    if (loop->base == NULL)
        return;
    while (loop->deferred != NULL)
        run_deferred(loop);
    event_del(&loop->wake_event);
    event_base_free(loop->base);
    close(loop->event_fd);
    free(loop->read_buffer);
    tls_buffers_free(loop->tls_buffers);
    lock_destroy(&loop->lock);
    memset(loop, 0, sizeof(*loop));
    loop->event_fd = -1;
}

static void handle_local_mail(struct loop *loop)
{
    struct mail *mail = loop->local_head;
    loop->local_head = NULL;
    loop->local_tail = &loop->local_head;
    handle_mail(loop, mail);
}

static void count_turn(struct loop *loop)
{
    int64_t started_us = atomic_load_explicit(&loop->turn_started_us, memory_order_relaxed);
    int64_t us = clock_now_us() - started_us;
    uint64_t turn_us = us > 0 ? (uint64_t)us : 0;

    atomic_store_explicit(&loop->turns, atomic_load_explicit(&loop->turns, memory_order_relaxed) + 1,
                          memory_order_relaxed);
    atomic_store_explicit(&loop->busy_us,
                          atomic_load_explicit(&loop->busy_us, memory_order_relaxed) + turn_us,
                          memory_order_relaxed);
    if (turn_us > atomic_load_explicit(&loop->max_turn_us, memory_order_relaxed))
        atomic_store_explicit(&loop->max_turn_us, turn_us, memory_order_relaxed);
    atomic_store_explicit(&loop->turn_started_us, 0, memory_order_relaxed);
}

/* Mail and deferred work that arise from mail and deferred work wait for the next turn, which then does
 * not wait for events: two objects that mail each other cannot starve the sockets. */
static void end_turn(struct loop *loop)
{
    loop_enter(loop);
    handle_local_mail(loop);
    run_deferred(loop);
    count_turn(loop);
}

void loop_run(struct loop *loop)
{
    struct loop *outer = current_loop;
    current_loop = loop;
    while (!loop->is_stopping) {
        bool has_work = loop->local_head != NULL || loop->deferred != NULL;
        event_base_loop(loop->base, EVLOOP_ONCE | (has_work ? EVLOOP_NONBLOCK : 0));
        end_turn(loop);
    }
    loop->is_stopping = false;
    current_loop = outer;
}

void loop_stop(struct loop *loop)
{
    loop->is_stopping = true;
}

void loop_post(struct loop *to, struct mail *mail)
{
    if (to == current_loop) {
        mail->next = NULL;
        *to->local_tail = mail;
        to->local_tail = &mail->next;
        return;
    }
    lock_acquire(&to->lock);
    bool was_empty = to->inbox == NULL;
    mail->next = to->inbox;
    to->inbox = mail;
    lock_release(&to->lock);
    if (was_empty)
        eventfd_signal(to->event_fd);
}

void loop_defer(struct loop *loop, struct deferred *d)
{
    d->next = NULL;
    *loop->deferred_tail = d;
    loop->deferred_tail = &d->next;
}

struct mail *loop_take_leftover(struct loop *loop)
{
    *loop->local_tail = inbox_take(loop);
    struct mail *oldest = loop->local_head;
    loop->local_head = NULL;
    loop->local_tail = &loop->local_head;
    return oldest;
}

uint64_t loop_take_max_turn_us(struct loop *loop)
{
    return atomic_exchange_explicit(&loop->max_turn_us, 0, memory_order_relaxed);
}
