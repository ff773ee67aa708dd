/*
 * list.h - intrusive doubly linked list.
 *
 * A head is a node whose neighbours are the first and last element. An element
 * that is in no list points at itself, so list_del() on it is harmless and
 * list_is_linked() can be asked at any time after list_init().
 */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>

#include "base/compiler.h"

struct list {
    struct list *next;
    struct list *prev;
};

static inline void list_init(struct list *l)
{
    l->next = l->prev = l;
}

static inline bool list_is_empty(const struct list *head)
{
    return head->next == head;
}

static inline bool list_is_linked(const struct list *node)
{
    return node->next != node;
}

static inline void list_insert_after(struct list *pos, struct list *node)
{
    node->prev = pos;
    node->next = pos->next;
    pos->next->prev = node;
    pos->next = node;
}

static inline void list_push_front(struct list *head, struct list *node)
{
    list_insert_after(head, node);
}

static inline void list_push_back(struct list *head, struct list *node)
{
    list_insert_after(head->prev, node);
}

static inline void list_del(struct list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}

static inline struct list *list_pop_front(struct list *head)
{
    struct list *node = head->next;
    if (node == head)
        return NULL;
    list_del(node);
    return node;
}

#define list_entry(p, type, member) container_of(p, type, member)
#define list_first_entry(head, type, member)                                                                 \
    (list_is_empty(head) ? NULL : list_entry((head)->next, type, member))

#define LIST_FOR_EACH(it, head) for (struct list *it = (head)->next; it != (head); it = it->next)

/* Allows the current element to be unlinked or freed in the body. */
#define LIST_FOR_EACH_SAFE(it, head)                                                                         \
    for (struct list *it = (head)->next, *it##_next = it->next; it != (head);                                \
         it = it##_next, it##_next = it->next)

#endif
