/*
 * policy.c - bounded overtaking: a waiter of the same worker may go first, but not for ever.
 *
 * Moving a server to another worker costs two epoll_ctl and a wake-up. So a waiter of the worker
 * that has the server may be served before older ones of other workers, each of which
 * counts how often that happened to it, and refuses when its count or its age is at the bound.
 *
 * Threads: any, pool->lock held.
 */
#include "pool_int.h"

#define POLICY_WINDOW 32 /* tickets looked at, so that the lock is held for a bounded time */

struct ticket *policy_pick(struct pool *pool, uint8_t worker, int64_t now_us)
{
    const struct pool_config *config = &pool->config;
    struct ticket *head = list_first_entry(&pool->waiters, struct ticket, node);
    struct ticket *near = NULL;
    int looked = 0;

    lock_assert_held(&pool->lock);
    if (head == NULL || head->worker == worker || config->overtake_max <= 0 || config->overtake_us <= 0 ||
        worker == POOL_NO_WORKER)
        return head;
    LIST_FOR_EACH (it, &pool->waiters) {
        struct ticket *t = list_entry(it, struct ticket, node);
        if (t->worker == worker) {
            near = t;
            break;
        }
        if (t->overtaken >= config->overtake_max || now_us - t->since_us > config->overtake_us ||
            ++looked == POLICY_WINDOW)
            return head;
    }
    if (near == NULL)
        return head;
    for (struct list *it = pool->waiters.next; it != &near->node; it = it->next)
        list_entry(it, struct ticket, node)->overtaken++;
    return near;
}
