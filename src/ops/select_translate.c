/*
 * select_translate.c - PostgreSQL's spelling of a query, as SQLite reads it.
 *
 * Drivers and tools write x::type, pg_catalog.f(), ILIKE, current_user. All else goes
 * through as it is. The output has one blank between tokens and no comments, so that
 * nothing hides in what the two read differently (nested comments).
 *
 * Pure: tokens in, text out.
 */
#include <string.h>
#include <strings.h>

#include "select_int.h"

#define MAX_DEPTH 256 /* of brackets; deeper ones are refused by SQLite anyway */

struct translation {
    const struct sql_tokens *t;
    struct buf *out;
    uint32_t primary_at;         /* where in out the last operand begins: what :: applies to */
    uint32_t open_at[MAX_DEPTH]; /* the same for brackets that are open */
    uint32_t depth;
};

static const struct {
    const char *name;
    char type;
} type_names[] = {
    {"int", 'i'},    {"int2", 'i'},   {"int4", 'i'},    {"integer", 'i'}, {"smallint", 'i'}, {"oid", 'i'},
    {"int8", 'q'},   {"bigint", 'q'}, {"numeric", 'N'}, {"decimal", 'N'}, {"float", 'N'},    {"float4", 'N'},
    {"float8", 'N'}, {"real", 'N'},   {"double", 'N'},  {"bool", 'B'},    {"boolean", 'B'},
};

char sql_type_named(const struct sql_token *t)
{
    for (size_t i = 0; i < ARRAY_SIZE(type_names); i++) {
        if (sql_is_word(t, type_names[i].name))
            return type_names[i].type;
    }
    return 's';
}

static const char *cast_to(char type)
{
    switch (type) {
    case 'i':
    case 'q':
    case 'B': return "INTEGER";
    case 'N': return "REAL";
    default: return "TEXT";
    }
}

static void put(struct translation *x, const char *text, uint32_t len)
{
    buf_append_byte(x->out, ' ');
    buf_append(x->out, text, len);
}

static void put_str(struct translation *x, const char *text)
{
    put(x, text, (uint32_t)strlen(text));
}

static const struct sql_token *token(const struct translation *x, uint32_t i)
{
    return &x->t->at[i < x->t->n ? i : x->t->n];
}

/* The tokens of a type's name: double precision, varchar(10), pg_catalog.int4, int4[]. */
static uint32_t skip_type(const struct translation *x, uint32_t i, char *type)
{
    if (sql_is_symbol(token(x, i + 1), "."))
        i += 2;
    *type = sql_type_named(token(x, i));
    if (token(x, i)->kind != SQL_WORD && token(x, i)->kind != SQL_QUOTED)
        return i;
    i++;
    if (sql_is_word(token(x, i), "precision") || sql_is_word(token(x, i), "varying"))
        i++;
    if (sql_is_symbol(token(x, i), "("))
        i = sql_closing(x->t, i, x->t->n) + 1;
    while (sql_is_symbol(token(x, i), "[") && sql_is_symbol(token(x, i + 1), "]"))
        i += 2;
    return i;
}

/* x::type is CAST ( x AS type ): the head goes before the operand, which has been written. */
static uint32_t put_cast(struct translation *x, uint32_t i)
{
    static const char head[] = " CAST(";
    struct buf *out = x->out;
    uint32_t moved = out->len - x->primary_at;
    char type;

    i = skip_type(x, i + 1, &type);
    if (!buf_reserve(out, sizeof(head)))
        return i;
    memmove(out->data + x->primary_at + sizeof(head) - 1, out->data + x->primary_at, moved);
    memcpy(out->data + x->primary_at, head, sizeof(head) - 1);
    out->len += sizeof(head) - 1;
    put_str(x, "AS");
    put_str(x, cast_to(type));
    buf_append_str(out, ")");
    return i;
}

static bool is_name(const struct sql_token *t)
{
    return t->kind == SQL_WORD || t->kind == SQL_QUOTED;
}

/* schema . name: pg_catalog's is left out, information_schema's tables have it in their names. */
static bool put_schema(struct translation *x, uint32_t *i)
{
    const struct sql_token *t = token(x, *i), *name = token(x, *i + 2);

    if (!sql_is_symbol(token(x, *i + 1), ".") || !is_name(name))
        return false;
    if (sql_is_word(t, "pg_catalog")) {
        *i += 2;
        return false;
    }
    if (!sql_is_word(t, "information_schema") || name->kind != SQL_WORD)
        return false;
    put_str(x, "\"information_schema.");
    buf_append(x->out, name->text, name->len);
    buf_append_byte(x->out, '"');
    *i += 3;
    return true;
}

static void put_word(struct translation *x, uint32_t i)
{
    const struct sql_token *t = token(x, i);
    char name[32];

    if (sql_is_word(t, "ilike")) {
        put_str(x, "MATCH");
    } else if (sql_is_word(t, "string_agg")) {
        put_str(x, "group_concat");
    } else {
        put(x, t->text, t->len);
        if (sql_identifier(t, name, sizeof(name)) && sql_is_keyword_function(name) &&
            !sql_is_symbol(token(x, i + 1), "(") && !sql_is_symbol(token(x, i + 1), ".") &&
            (i == 0 || (!sql_is_symbol(token(x, i - 1), ".") && !sql_is_word(token(x, i - 1), "as"))))
            buf_append_str(x->out, "()");
    }
}

static void put_symbol(struct translation *x, uint32_t i)
{
    const struct sql_token *t = token(x, i);
    uint32_t at = x->out->len;

    put(x, t->text, t->len);
    if (sql_is_symbol(t, "(")) {
        /* of a call the operand begins with the function's name */
        bool is_call = i > 0 && token(x, i - 1)->kind == SQL_WORD;

        if (x->depth < MAX_DEPTH)
            x->open_at[x->depth] = is_call ? x->primary_at : at;
        x->depth++;
    } else if (sql_is_symbol(t, ")") && x->depth > 0) {
        x->depth--;
        if (x->depth < MAX_DEPTH)
            x->primary_at = x->open_at[x->depth];
    }
}

bool sql_may_name(const struct sql_tokens *t, const char *relation)
{
    static const char schema[] = "information_schema.";

    for (uint32_t i = 1; i < t->n; i++) {
        const struct sql_token *before = &t->at[i - 1];
        bool is_in_schema = sql_is_symbol(before, ".");
        char name[CONSOLE_NAME_BYTES];

        if (!is_in_schema && !sql_is_word(before, "from") && !sql_is_word(before, "join") &&
            !sql_is_symbol(before, ",") && !sql_is_symbol(before, "("))
            continue;
        if (i > 1 && sql_is_symbol(before, "(") && sql_is_word(before - 1, "using"))
            continue;
        if (!sql_identifier(&t->at[i], name, sizeof(name)))
            continue;
        if (strcasecmp(name, relation) == 0)
            return true;
        if (is_in_schema && strncasecmp(relation, schema, sizeof(schema) - 1) == 0 &&
            strcasecmp(name, relation + sizeof(schema) - 1) == 0)
            return true;
    }
    return false;
}

void sql_translate(const struct sql_tokens *t, struct buf *out)
{
    struct translation x = {.t = t, .out = out};

    for (uint32_t i = 0; i < t->n;) {
        bool is_behind_dot = i > 0 && sql_is_symbol(&t->at[i - 1], ".");
        uint32_t at = out->len;

        if (sql_is_symbol(&t->at[i], "::")) {
            i = put_cast(&x, i);
            continue;
        }
        if (t->at[i].kind == SQL_SYMBOL) {
            put_symbol(&x, i++);
            continue;
        }
        if (!is_behind_dot)
            x.primary_at = at;
        if (t->at[i].kind == SQL_WORD && put_schema(&x, &i))
            continue;
        if (t->at[i].kind == SQL_WORD)
            put_word(&x, i);
        else
            put(&x, t->at[i].text, t->at[i].len);
        i++;
    }
}
