/*
 * statement_names.c - what one client calls its prepared statements.
 *
 * Invariant: bytes is the sum of cost() of all names in the table.
 *
 * Threads: the owner's.
 */
#include "wire/statement_names.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/hash.h"
#include "statement_int.h"

static struct statement_name *name_of(struct statement_link *link)
{
    return container_of(link, struct statement_name, link);
}

static uint64_t cost(const struct statement_name *name)
{
    return sizeof(*name) + name->name_bytes + 1 + statement_bytes(name->statement) +
           (name->source != NULL ? statement_bytes(name->source) : 0);
}

struct statement_names *statement_names_new(void)
{
    return calloc(1, sizeof(struct statement_names));
}

void statement_name_free(struct statement_name *name)
{
    statement_unref(name->statement);
    statement_unref(name->source);
    free(name);
}

static void clear(struct statement_names *n, bool with_pending)
{
    for (uint32_t i = 0; i < n->table.n_buckets; i++)
        for (struct statement_link *l = n->table.buckets[i], *next; l != NULL; l = next) {
            struct statement_name *name = name_of(l);
            next = l->next;
            if (name->is_pending && !with_pending)
                continue;
            statement_names_take(n, name);
            statement_name_free(name);
        }
}

void statement_names_clear(struct statement_names *n)
{
    clear(n, false);
}

void statement_names_free(struct statement_names *n)
{
    if (n == NULL)
        return;
    clear(n, true);
    statement_table_free(&n->table);
    params_unref(n->params);
    istr_unref(n->settings);
    free(n);
}

/* Settings that change nothing in what a statement is. */
static bool means_nothing(const char *setting)
{
    static const char *const names[] = {"application_name",
                                        "statement_timeout",
                                        "lock_timeout",
                                        "transaction_timeout",
                                        "idle_in_transaction_session_timeout",
                                        "idle_session_timeout"};

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (strcasecmp(setting, names[i]) == 0)
            return true;
    }
    return false;
}

static struct istr *make_settings(const struct params *params)
{
    struct buf text;

    buf_init(&text, 0);
    for (uint32_t i = 0; i < params_count(params); i++) {
        if (means_nothing(params_name(params, i)))
            continue;
        buf_append(&text, params_name(params, i), (uint32_t)strlen(params_name(params, i)) + 1);
        buf_append(&text, params_value(params, i), (uint32_t)strlen(params_value(params, i)) + 1);
    }
    struct istr *s = text.failed ? NULL : istr_get((const char *)text.data, text.len);
    buf_free(&text);
    return s;
}

struct istr *statement_names_settings(struct statement_names *n, struct params *params)
{
    if (likely(n->params == params))
        return n->settings;
    struct istr *settings = make_settings(params);
    if (settings == NULL)
        return NULL;
    istr_unref(n->settings);
    n->settings = settings;
    params_unref(n->params);
    n->params = params_ref(params);
    return settings;
}

static inline bool is_called(const struct statement_name *n, const char *name, uint32_t name_bytes)
{
    return n->name_bytes == name_bytes && memcmp(n->name, name, name_bytes) == 0;
}

static inline uint32_t counting_bytes(uint32_t name_bytes)
{
    return unlikely(name_bytes > STATEMENT_NAME_COUNTS_BYTES) ? STATEMENT_NAME_COUNTS_BYTES : name_bytes;
}

struct statement_name *statement_names_find(struct statement_names *n, const char *name, uint32_t name_bytes)
{
    name_bytes = counting_bytes(name_bytes);
    if (n->last != NULL && is_called(n->last, name, name_bytes))
        return n->last;
    uint64_t hash = hash_bytes(name, name_bytes);
    for (struct statement_link *l = statement_table_first(&n->table, hash); l != NULL; l = l->next) {
        if (l->hash == hash && is_called(name_of(l), name, name_bytes))
            return n->last = name_of(l);
    }
    return NULL;
}

struct statement_name *statement_names_find_number(const struct statement_names *n, uint64_t number)
{
    for (uint32_t i = 0; i < n->table.n_buckets; i++)
        for (struct statement_link *l = n->table.buckets[i]; l != NULL; l = l->next)
            if (name_of(l)->statement->number == number)
                return name_of(l);
    return NULL;
}

static bool insert(struct statement_names *n, struct statement_name *name)
{
    if (!statement_table_reserve(&n->table)) {
        statement_name_free(name);
        return false;
    }
    statement_table_insert(&n->table, &name->link);
    n->has_listen = n->has_listen || name->statement->may_listen;
    n->bytes += cost(name);
    atomic_fetch_add_explicit(&name->statement->n_clients, 1, memory_order_relaxed);
    return true;
}

struct statement_name *statement_name_new(const char *name, uint32_t name_bytes, struct statement *statement)
{
    struct statement_name *n = malloc(sizeof(*n) + name_bytes + 1);

    if (n == NULL) {
        statement_unref(statement);
        return NULL;
    }
    *n = (struct statement_name){.statement = statement, .name_bytes = name_bytes};
    n->link.hash = hash_bytes(name, name_bytes);
    memcpy(n->name, name, name_bytes);
    n->name[name_bytes] = '\0';
    return n;
}

struct statement_name *statement_names_add(struct statement_names *n, const char *name, uint32_t name_bytes,
                                           struct statement *statement)
{
    struct statement_name *added = statement_name_new(name, counting_bytes(name_bytes), statement);

    if (added == NULL)
        return NULL;
    if (n->bytes + cost(added) > STATEMENT_NAMES_MAX_BYTES) {
        statement_name_free(added);
        return NULL;
    }
    return insert(n, added) ? added : NULL;
}

void statement_names_take(struct statement_names *n, struct statement_name *name)
{
    statement_table_remove(&n->table, &name->link);
    n->last = NULL;
    n->bytes -= cost(name);
    atomic_fetch_sub_explicit(&name->statement->n_clients, 1, memory_order_relaxed);
}

bool statement_names_put(struct statement_names *n, struct statement_name *name)
{
    return insert(n, name);
}

void statement_names_set_source(struct statement_names *n, struct statement_name *name,
                                struct statement *source)
{
    n->bytes -= cost(name);
    statement_unref(name->source);
    name->source = source;
    n->bytes += cost(name);
}

void statement_names_change(struct statement_names *n, struct statement_name *name,
                            struct statement *statement)
{
    struct statement *before = name->statement;

    n->bytes -= cost(name);
    atomic_fetch_sub_explicit(&before->n_clients, 1, memory_order_relaxed);
    name->statement = statement;
    n->has_listen = n->has_listen || statement->may_listen;
    n->bytes += cost(name);
    atomic_fetch_add_explicit(&statement->n_clients, 1, memory_order_relaxed);
    statement_unref(before);
}
