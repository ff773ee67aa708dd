/*
 * session_ops.c - the acts of one text, kept until the server has answered it.
 */
#include "wire/session_ops.h"

#include <stdlib.h>
#include <string.h>

#include "wire/params.h"

#define MAX_VALUE_BYTES (PARAMS_MAX_VALUE_BYTES + 1u) /* one that is longer is not known */

static void drop_op(struct session_op *op)
{
    free(op->name);
    free(op->value);
}

struct session_ops *session_ops_ref(struct session_ops *ops)
{
    if (ops != NULL)
        ops->refs++;
    return ops;
}

void session_ops_unref(struct session_ops *ops)
{
    if (ops == NULL || --ops->refs > 0)
        return;
    for (uint32_t i = 0; i < ops->n; i++)
        drop_op(&ops->items[i]);
    free(ops);
}

/* One of its own, with room for n. */
static struct session_ops *make(uint32_t n)
{
    struct session_ops *ops = calloc(1, sizeof(*ops) + n * sizeof(ops->items[0]));
    if (ops != NULL)
        ops->refs = 1;
    return ops;
}

/* ---- reading ---- */

static char *take_text(struct buf *b, bool is_known)
{
    char *text = is_known && !b->failed && b->len < MAX_VALUE_BYTES ? strdup(buf_cstr(b)) : NULL;
    buf_free(b);
    return text;
}

/* name, value and is_local are there: what the call comes to. */
static void settle_call(struct session_op *op, bool is_local, bool is_null)
{
    op->kind = is_null ? SQL_SESSION_RESET : SQL_SESSION_SET;
    op->is_local = is_local;
    for (char *c = op->name; *c != '\0'; c++) /* names of settings have no case */
        *c = (char)(*c >= 'A' && *c <= 'Z' ? *c | 0x20 : *c);
}

static bool set_text(char **to, const char *text, uint32_t n)
{
    char *copy = strndup(text, n);
    if (copy == NULL)
        return false;
    free(*to);
    *to = copy;
    return true;
}

/* Of a call, what the text itself says; the rest is params. */
static bool read_call(const struct sql_lexer *text, const struct sql_session_act *act, struct session_op *op)
{
    bool is_known[3], is_local = false, has_params = false;
    struct buf b;

    for (int i = 0; i < 3; i++) {
        const struct sql_operand *arg = &act->args[i];
        buf_init(&b, MAX_VALUE_BYTES);
        is_known[i] = sql_operand_value(text, arg, &b) && !b.failed;
        op->params[i] = arg->kind == SQL_OPERAND_PARAMETER ? arg->number : 0;
        has_params = has_params || op->params[i] > 0;
        if (i == 2)
            is_local = is_known[i] && sql_is_true(buf_cstr(&b));
        bool ok = i == 2 || !is_known[i] || set_text(i == 0 ? &op->name : &op->value, buf_cstr(&b), b.len);
        buf_free(&b);
        if (!ok)
            return false;
    }
    op->is_local = is_local;
    op->is_call = true;
    op->is_certain = act->is_certain;
    op->is_hidden = act->is_hidden;
    if (has_params)
        op->kind = SQL_SESSION_SET_CONFIG;
    else
        settle_call(op, is_local, act->args[1].kind == SQL_OPERAND_NULL);
    return true;
}

static bool read_op(const struct sql_lexer *text, const struct sql_session_act *act, uint32_t index,
                    struct session_op *op)
{
    struct buf b;

    *op = (struct session_op){
        .kind = act->kind, .index = index, .is_local = act->is_local, .is_chain = act->is_chain};
    op->name = strdup(act->name);
    if (op->name == NULL)
        return false;
    if (act->kind == SQL_SESSION_SET_CONFIG)
        return read_call(text, act, op);
    op->is_certain = act->is_certain;
    if (act->kind != SQL_SESSION_SET)
        return true;
    buf_init(&b, MAX_VALUE_BYTES);
    op->value = take_text(&b, sql_session_value(text, act, &b));
    return true;
}

struct collected {
    struct session_op *items;
    uint32_t n, capacity;
};

static struct session_op *collect(struct collected *all)
{
    if (all->n == all->capacity) {
        uint32_t capacity = all->capacity > 0 ? 2 * all->capacity : 4;
        struct session_op *items = realloc(all->items, capacity * sizeof(*items));
        if (items == NULL)
            return NULL;
        all->items = items;
        all->capacity = capacity;
    }
    return &all->items[all->n];
}

/* ---- names in code ---- */

#define DOTTED_MAX 8 /* names of one statement */

static bool is_name_byte(char c, bool is_first)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (uint8_t)c > 0x7f ||
           (!is_first && ((c >= '0' && c <= '9') || c == '$'));
}

/* The end of the name of two or more parts that begins at `at`; or `at`: none does. */
static uint32_t dotted_end(const char *text, uint32_t at, uint32_t end)
{
    const uint32_t start = at;
    bool has_dot = false;

    while (at < end && is_name_byte(text[at], at == start || text[at - 1] == '.')) {
        while (at < end && is_name_byte(text[at], false))
            at++;
        if (at + 1 < end && text[at] == '.' && is_name_byte(text[at + 1], true)) {
            has_dot = true;
            at++;
        }
    }
    const bool is_call = at < end && text[at] == '(';
    return has_dot && !is_call && at - start < SQL_SETTING_NAME_BYTES ? at : start;
}

/* The code may set any setting that it names. PostgreSQL lists those whose names have no dot; the others it
 * has to be asked for by name. */
static bool collect_dotted(const struct sql_lexer *text, const struct sql_statement *s, uint32_t index,
                           struct collected *all)
{
    uint32_t n = 0;

    for (uint32_t at = s->start; at < s->end && n < DOTTED_MAX && all->n < SESSION_OPS_MAX;) {
        const bool is_start =
            at == s->start || !(is_name_byte(text->text[at - 1], false) || text->text[at - 1] == '.');
        const uint32_t end = is_start ? dotted_end(text->text, at, s->end) : at;
        if (end == at) {
            at++;
            continue;
        }
        struct session_op *op = collect(all);
        if (op == NULL)
            return false;
        *op =
            (struct session_op){.kind = SQL_SESSION_SET, .index = index, .is_call = true, .is_hidden = true};
        op->name = strndup(text->text + at, end - at);
        if (op->name == NULL)
            return false;
        all->n++;
        n++;
        at = end;
    }
    return true;
}

/* set_config() of nobody knows which setting. */
static bool is_nameless_call(const struct session_op *op, const struct sql_session_act *act)
{
    return act->kind == SQL_SESSION_SET_CONFIG && op->name[0] == '\0' && op->params[0] == 0 && !op->is_local;
}

static bool read_all(const struct sql_lexer *text, bool is_utf8, bool is_cut, struct collected *all)
{
    struct sql_lexer l = *text;
    struct sql_statement s;

    for (uint32_t index = 0; sql_next_statement(&l, &s) == SQL_STATEMENT_OK; index++) {
        struct sql_session_reader r;
        struct sql_session_act act;

        if (is_cut && l.at >= l.len_bytes)
            return true;
        for (sql_session_begin(&r, text, &s, is_utf8);
             all->n < SESSION_OPS_MAX && sql_session_next(&r, &act);) {
            struct session_op *op = collect(all);
            if (op == NULL)
                return false;
            bool ok = read_op(text, &act, index, op);
            all->n++;
            if (!ok || (is_nameless_call(op, &act) && !collect_dotted(text, &s, index, all)))
                return false;
        }
    }
    return true;
}

enum session_ops_result session_ops_read(const struct sql_lexer *text, bool is_utf8, bool is_cut,
                                         struct session_ops **out)
{
    struct collected all = {0};
    struct session_ops *ops = NULL;
    bool ok = read_all(text, is_utf8, is_cut, &all);

    *out = NULL;
    if (ok && all.n > 0)
        ops = make(all.n);
    if (ops != NULL) {
        memcpy(ops->items, all.items, all.n * sizeof(ops->items[0]));
        ops->n = all.n;
        for (uint32_t i = 0; i < ops->n; i++)
            ops->has_params = ops->has_params || ops->items[i].kind == SQL_SESSION_SET_CONFIG;
        *out = ops;
    }
    for (uint32_t i = 0; ops == NULL && i < all.n; i++)
        drop_op(&all.items[i]);
    free(all.items);
    if (ops != NULL)
        return SESSION_OPS_OK;
    return ok && all.n == 0 ? SESSION_OPS_NONE : SESSION_OPS_NO_MEMORY;
}

/* ---- Bind ---- */

struct bound {
    const uint8_t *bytes;
    uint32_t n;
    bool is_there;
    bool is_null;
    bool is_binary;
};

static uint32_t read_u16(const uint8_t *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}

static uint32_t read_u32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Parameter `number`, from 1 on. */
static struct bound find_bound(const uint8_t *bind, uint32_t len_bytes, uint32_t number)
{
    struct bound b = {0};
    uint32_t at = 2, n_formats = len_bytes >= 2 ? read_u16(bind) : 0;

    if (len_bytes < 4 || n_formats > (len_bytes - 4) / 2)
        return b;
    const uint32_t format = n_formats == 1 ? 0 : number - 1;
    b.is_binary = format < n_formats && read_u16(bind + at + 2 * format) == 1;
    at += 2 * n_formats;
    const uint32_t n_values = read_u16(bind + at);
    at += 2;
    for (uint32_t i = 1; i <= n_values && len_bytes - at >= 4; i++) {
        const uint32_t n = read_u32(bind + at);
        at += 4;
        b.is_null = n == UINT32_MAX;
        if (!b.is_null && n > len_bytes - at)
            break;
        b.bytes = bind + at;
        b.n = b.is_null ? 0 : n;
        if (i == number) {
            b.is_there = true;
            break;
        }
        at += b.n;
    }
    return b;
}

static bool is_true(const struct bound *b)
{
    char text[16] = "";

    if (b->is_null || b->n == 0 || b->n >= sizeof(text))
        return false;
    if (b->is_binary && b->n == 1)
        return b->bytes[0] != 0;
    memcpy(text, b->bytes, b->n);
    return sql_is_true(text);
}

static bool bind_op(const struct session_op *from, const uint8_t *bind, uint32_t len_bytes,
                    struct session_op *op)
{
    bool is_null = false, is_local = from->is_local;

    *op = *from;
    op->name = strdup(from->name);
    op->value = from->value != NULL ? strdup(from->value) : NULL;
    if (op->name == NULL || (from->value != NULL && op->value == NULL))
        return false;
    if (from->kind != SQL_SESSION_SET_CONFIG)
        return true;
    for (int i = 0; i < 3; i++) {
        if (from->params[i] == 0)
            continue;
        /* a text is the same in both formats */
        const struct bound b = find_bound(bind, len_bytes, from->params[i]);
        if (i == 2)
            is_local = is_true(&b);
        else if (b.is_there && !b.is_null && b.n < MAX_VALUE_BYTES &&
                 !set_text(i == 0 ? &op->name : &op->value, (const char *)b.bytes, b.n))
            return false;
        is_null = is_null || (i == 1 && b.is_null);
    }
    settle_call(op, is_local, is_null);
    return true;
}

struct session_ops *session_ops_bind(struct session_ops *ops, const uint8_t *bind, uint32_t len_bytes)
{
    if (!ops->has_params)
        return session_ops_ref(ops);
    struct session_ops *bound = make(ops->n);
    if (bound == NULL)
        return NULL;
    for (uint32_t i = 0; i < ops->n; i++) {
        bound->n = i + 1;
        if (!bind_op(&ops->items[i], bind, len_bytes, &bound->items[i])) {
            session_ops_unref(bound);
            return NULL;
        }
    }
    return bound;
}
