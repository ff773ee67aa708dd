/*
 * listen_names.c - statements and portals of the extended protocol that are commands about LISTEN.
 *
 * A command counts when it is executed, which may be in another batch than its Bind, as late as its
 * transaction ends. Of a portal that has gone nobody need be told: PostgreSQL refuses to execute it, and
 * without the command's tag nothing is changed.
 *
 * Threads: the owner's of the client.
 */
#include <stdlib.h>
#include <string.h>

#include "listen_int.h"

struct listen_name *listen_name_find(const struct listening *l, bool is_portal, const char *name,
                                     uint32_t name_bytes)
{
    LIST_FOR_EACH (it, &l->names) {
        struct listen_name *n = list_entry(it, struct listen_name, node);
        if (n->is_portal == is_portal && n->name_bytes == name_bytes &&
            memcmp(n->name, name, name_bytes) == 0)
            return n;
    }
    return NULL;
}

void listen_name_drop(struct listening *l, struct listen_name *n)
{
    l->n_names--;
    list_del(&n->node);
    free(n);
}

enum prepared_step listen_name_set(struct listening *l, bool is_portal, const char *name, uint32_t name_bytes,
                                   const struct listen_command *command, uint32_t position)
{
    struct listen_name *n = listen_name_find(l, is_portal, name, name_bytes);

    if (n != NULL)
        listen_name_drop(l, n);
    if (command == NULL)
        return PREPARED_PLAIN;
    n = malloc(sizeof(*n) + name_bytes);
    if (n == NULL)
        return PREPARED_NO_MEMORY;
    *n = (struct listen_name){
        .command = *command, .is_portal = is_portal, .position = position, .name_bytes = name_bytes};
    memcpy(n->name, name, name_bytes);
    list_push_back(&l->names, &n->node);
    l->n_names++;
    if (l->n_names > LISTEN_MAX_NAMES) /* which may be the statement that has given the command */
        listen_name_drop(l, list_first_entry(&l->names, struct listen_name, node));
    return PREPARED_PLAIN;
}

void listen_portals_end(struct listening *l, uint32_t position)
{
    LIST_FOR_EACH_SAFE (it, &l->names) {
        struct listen_name *n = list_entry(it, struct listen_name, node);
        if (n->is_portal && (int32_t)(n->position - position) < 0)
            listen_name_drop(l, n);
    }
}

void listen_names_free(struct listening *l)
{
    LIST_FOR_EACH_SAFE (it, &l->names)
        listen_name_drop(l, list_entry(it, struct listen_name, node));
}
