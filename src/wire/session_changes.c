/*
 * session_changes.c - settings that a client has changed and whose transaction has not ended.
 */
#include "wire/session_changes.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum change_kind { CHANGE_SET, CHANGE_RESET, CHANGE_RESET_ALL, CHANGE_SAVEPOINT };

struct session_change {
    uint8_t kind; /* enum change_kind */
    bool is_local;
    char *name;
    char *value; /* SET; NULL: it is not known */
};

static const char role_name[] = "role", authorization_name[] = "session_authorization";

/* ---- the journal ---- */

static void drop(struct session_change *c)
{
    free(c->name);
    free(c->value);
}

static void cut(struct session_changes *j, uint32_t n)
{
    while (j->n > n) {
        j->n--;
        drop(&j->items[j->n]);
    }
}

void session_changes_clear(struct session_changes *j)
{
    cut(j, 0);
    j->n_committed = 0;
}

void session_changes_roll_back(struct session_changes *j)
{
    cut(j, j->n_committed);
}

void session_changes_commit(struct session_changes *j)
{
    uint32_t to = j->n_committed;

    for (uint32_t i = to; i < j->n; i++) {
        if (j->items[i].kind == CHANGE_SAVEPOINT || j->items[i].is_local)
            drop(&j->items[i]);
        else
            j->items[to++] = j->items[i];
    }
    j->n = j->n_committed = to;
}

void session_changes_free(struct session_changes *j)
{
    cut(j, 0);
    free(j->items);
    *j = (struct session_changes){0};
}

static bool grow(struct session_changes *j)
{
    if (j->n < j->capacity)
        return true;
    const uint32_t capacity = j->capacity > 0 ? 2 * j->capacity : 8;
    if (j->n >= SESSION_CHANGES_MAX)
        return false;
    struct session_change *items = realloc(j->items, capacity * sizeof(*items));
    if (items == NULL)
        return false;
    j->items = items;
    j->capacity = capacity;
    return true;
}

static bool add(struct session_changes *j, enum change_kind kind, const char *name, const char *value,
                bool is_local)
{
    struct session_change c = {.kind = (uint8_t)kind, .is_local = is_local};

    if (!grow(j))
        return false;
    c.name = strdup(name);
    c.value = value != NULL ? strdup(value) : NULL;
    if (c.name == NULL || (value != NULL && c.value == NULL)) {
        free(c.name);
        free(c.value);
        return false;
    }
    j->items[j->n++] = c;
    return true;
}

/* Since the last savepoint there is one for the same name: it does not count any more. */
static void forget_older(struct session_changes *j, const char *name, bool is_local)
{
    for (uint32_t i = j->n; i > j->n_committed && j->items[i - 1].kind <= CHANGE_RESET; i--) {
        struct session_change *c = &j->items[i - 1];
        if (strcasecmp(c->name, authorization_name) == 0)
            return; /* which is more than itself */
        if (strcasecmp(c->name, name) != 0 || (is_local && !c->is_local))
            continue;
        drop(c);
        memmove(c, c + 1, (j->n - i) * sizeof(*c));
        j->n--;
    }
}

static bool is_of_transaction(const char *name)
{
    static const char *const names[] = {"transaction_isolation", "transaction_read_only",
                                        "transaction_deferrable", "seed"};

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (strcasecmp(name, names[i]) == 0)
            return true;
    }
    return false;
}

static bool add_setting(struct session_changes *j, const struct session_op *op)
{
    const bool is_set = op->kind == SQL_SESSION_SET;

    if (op->name[0] == '\0') /* set_config() of which setting only the server knows */
        return op->is_local || add(j, CHANGE_SET, "", NULL, false);
    if (is_of_transaction(op->name) || strlen(op->name) > PARAMS_MAX_NAME_BYTES)
        return true;
    forget_older(j, op->name, op->is_local);
    if (op->is_call && !op->is_certain) /* nobody knows whether it was made */
        return add(j, CHANGE_SET, op->name, NULL, op->is_local);
    return add(j, is_set ? CHANGE_SET : CHANGE_RESET, op->name, is_set ? op->value : NULL, op->is_local);
}

bool session_changes_set(struct session_changes *j, const char *name, const char *value)
{
    return add(j, CHANGE_SET, name, value, false);
}

static bool find_savepoint(const struct session_changes *j, const char *name, uint32_t *at)
{
    for (uint32_t i = j->n; i > j->n_committed; i--) {
        if (j->items[i - 1].kind == CHANGE_SAVEPOINT && strcmp(j->items[i - 1].name, name) == 0) {
            *at = i - 1;
            return true;
        }
    }
    return false;
}

static void roll_back_to(struct session_changes *j, const char *name)
{
    uint32_t at;
    cut(j, find_savepoint(j, name, &at) ? at + 1 : j->n_committed);
}

/* The marks from that savepoint on go, the changes stay. */
static void release(struct session_changes *j, const char *name)
{
    uint32_t at, to;

    if (!find_savepoint(j, name, &at))
        at = j->n_committed;
    to = at;
    for (uint32_t i = at; i < j->n; i++) {
        if (j->items[i].kind == CHANGE_SAVEPOINT)
            free(j->items[i].name);
        else
            j->items[to++] = j->items[i];
    }
    j->n = to;
}

static bool discard_all(struct session_changes *j)
{
    return add(j, CHANGE_RESET, authorization_name, NULL, false) &&
           add(j, CHANGE_RESET, role_name, NULL, false) && add(j, CHANGE_RESET_ALL, "", NULL, false);
}

static bool perform(struct session_changes *j, const struct session_op *op, const char *tag)
{
    switch (op->kind) {
    case SQL_SESSION_SET:
    case SQL_SESSION_RESET:
        /* no row: a call in the select list has not been made */
        return (op->is_call && strcmp(tag, "SELECT 0") == 0) || add_setting(j, op);
    case SQL_SESSION_RESET_ALL: return add(j, CHANGE_RESET_ALL, "", NULL, false);
    case SQL_SESSION_DISCARD_ALL: return discard_all(j);
    case SQL_SESSION_SAVEPOINT: /* those ahead of the first change need not be known */
        return j->n == j->n_committed || add(j, CHANGE_SAVEPOINT, op->name, NULL, false);
    case SQL_SESSION_ROLLBACK_TO: roll_back_to(j, op->name); return true;
    case SQL_SESSION_RELEASE: release(j, op->name); return true;
    default: return true;
    }
}

bool session_changes_perform(struct session_changes *j, const struct session_ops *ops, uint32_t index,
                             const char *tag)
{
    bool goes_back = false, ok = true;

    for (uint32_t i = 0; ops != NULL && i < ops->n && ok; i++) {
        if (ops->items[i].index != index)
            continue;
        goes_back = goes_back || ops->items[i].kind == SQL_SESSION_ROLLBACK_TO;
        ok = perform(j, &ops->items[i], tag);
    }
    if (strcmp(tag, "ROLLBACK") == 0 && !goes_back)
        session_changes_roll_back(j);
    else if (strcmp(tag, "COMMIT") == 0 || strcmp(tag, "PREPARE TRANSACTION") == 0)
        session_changes_commit(j);
    return ok;
}

const char *session_changes_next(const struct session_changes *j, uint32_t *i)
{
    while (*i < j->n) {
        const struct session_change *c = &j->items[(*i)++];
        if (c->kind != CHANGE_SAVEPOINT)
            return c->kind == CHANGE_RESET_ALL ? "" : c->name;
    }
    return NULL;
}

/* ---- what it comes to ---- */

static bool put(struct params **set, const char *name, const char *value)
{
    if (*set == NULL)
        return true;
    struct params *next = value != NULL ? params_with(*set, name, value) : params_without(*set, name);
    if (next == NULL)
        return false;
    params_unref(*set);
    *set = next;
    return true;
}

static bool is_kept(const char *name)
{
    return params_is_settable(name) || strcasecmp(name, authorization_name) == 0;
}

static bool is_reported(const struct session_sets *sets, const char *name)
{
    return strcasecmp(name, authorization_name) != 0 && params_get(sets->reported, name) != NULL;
}

static bool apply_set(const struct session_change *c, struct session_sets *sets)
{
    if (c->name[0] == '\0') {
        sets->is_doubtful = sets->is_nameless = true;
        return true;
    }
    if (is_reported(sets, c->name) || !is_kept(c->name))
        return true;
    if (c->value == NULL) {
        sets->is_doubtful = true;
        return put(&sets->server, c->name, PARAMS_UNKNOWN);
    }
    return put(&sets->client, c->name, c->value) && put(&sets->server, c->name, c->value);
}

static bool apply_reset(const char *name, struct session_sets *sets)
{
    const char *own = params_get(sets->startup, name);

    if (name[0] == '\0') {
        sets->is_doubtful = sets->is_nameless = true;
        return true;
    }
    if (!is_kept(name))
        return true;
    if (is_reported(sets, name)) /* the server has reported what it has now; it is the client's to differ */
        return own == NULL || put(&sets->client, name, own);
    return put(&sets->client, name, own) && put(&sets->server, name, NULL);
}

/* Names are taken from a set that stays while others are made. */
static bool reset_names_of(struct params *set, struct session_sets *sets)
{
    bool ok = true;

    params_ref(set);
    for (uint32_t i = 0; i < params_count(set) && ok; i++) {
        const char *name = params_name(set, i);
        if (strcasecmp(name, role_name) != 0 && strcasecmp(name, authorization_name) != 0)
            ok = apply_reset(name, sets);
    }
    params_unref(set);
    return ok;
}

static bool apply_reset_all(struct session_sets *sets)
{
    return reset_names_of(sets->client, sets) &&
           (sets->server == NULL || reset_names_of(sets->server, sets)) &&
           reset_names_of((struct params *)(uintptr_t)sets->startup, sets);
}

static bool apply_one(const struct session_change *c, struct session_sets *sets)
{
    bool ok = c->kind == CHANGE_SET         ? apply_set(c, sets)
              : c->kind == CHANGE_RESET     ? apply_reset(c->name, sets)
              : c->kind == CHANGE_RESET_ALL ? apply_reset_all(sets)
                                            : true;
    /* who becomes another user has no role any more */
    if (ok && c->kind <= CHANGE_RESET && strcasecmp(c->name, authorization_name) == 0)
        ok = put(&sets->client, role_name, NULL) && put(&sets->server, role_name, NULL);
    return ok;
}

static bool apply(const struct session_changes *j, uint32_t n, struct session_sets *sets)
{
    for (uint32_t i = 0; i < n; i++) {
        if (!apply_one(&j->items[i], sets))
            return false;
    }
    return true;
}

bool session_changes_apply(struct session_changes *j, struct session_sets *sets)
{
    const uint32_t n = j->n_committed;

    if (!apply(j, n, sets))
        return false;
    for (uint32_t i = 0; i < n; i++)
        drop(&j->items[i]);
    if (n > 0)
        memmove(j->items, j->items + n, (j->n - n) * sizeof(j->items[0]));
    j->n -= n;
    j->n_committed = 0;
    return true;
}

bool session_changes_in_force(const struct session_changes *j, struct session_sets *sets)
{
    return apply(j, j->n, sets);
}

bool session_changes_has_reset(const struct session_changes *j, const struct params *startup)
{
    for (uint32_t i = 0; i < j->n; i++) {
        const struct session_change *c = &j->items[i];
        if ((c->kind == CHANGE_RESET && params_get(startup, c->name) != NULL) || c->kind == CHANGE_RESET_ALL)
            return true;
    }
    return false;
}
