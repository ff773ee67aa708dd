/*
 * select_translate.c - PostgreSQL's spelling of a query, as SQLite reads it.
 *
 * Drivers and tools write x::type, pg_catalog.f(), ILIKE, current_user, = ANY(ARRAY[...]), OFFSET without
 * LIMIT. All else goes
 * through as it is. The output has one blank between tokens and no comments, so that
 * nothing hides in what the two read differently (nested comments).
 *
 * Pure: tokens in, text out.
 */
#include <string.h>
#include <strings.h>

#include "base/str.h"
#include "select_int.h"

#define MAX_DEPTH   256  /* of brackets; deeper ones are refused by SQLite anyway */
#define MAX_NESTING 32   /* of what is translated within what is translated */
#define MAX_LIMIT   256  /* tokens of a LIMIT */
#define MAX_ARRAY   2048 /* ... and of an ARRAY[...]: what is longer goes through as it is */

struct translation {
    const struct sql_tokens *t;
    struct buf *out;
    uint32_t primary_at;         /* where in out the last operand begins: what :: applies to */
    uint32_t open_at[MAX_DEPTH]; /* the same for brackets that are open */
    uint32_t depth;
    uint32_t nesting;
    bool has_from; /* else user is who asks, and no column */
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

static const struct {
    const char *postgres, *sqlite;
} other_words[] = {
    {"ilike", "MATCH"}, {"string_agg", "group_concat"}, {"bool_or", "max"}, {"bool_and", "min"},
    {"every", "min"},
};

static bool put_other_word(struct translation *x, const struct sql_token *t)
{
    for (size_t i = 0; i < ARRAY_SIZE(other_words); i++) {
        if (!sql_is_word(t, other_words[i].postgres))
            continue;
        put_str(x, other_words[i].sqlite);
        return true;
    }
    return false;
}

/* In PostgreSQL user is reserved, and current_user; beside relations it is rather the column that most of
 * them have. */
static bool is_who_asks(const struct translation *x, uint32_t i)
{
    return !x->has_from && sql_is_word(token(x, i), "user") && !sql_is_symbol(token(x, i + 1), "(") &&
           (i == 0 || !sql_is_word(token(x, i - 1), "as"));
}

static void put_word(struct translation *x, uint32_t i)
{
    const struct sql_token *t = token(x, i);
    char name[32];

    if (is_who_asks(x, i)) {
        put_str(x, "current_user()");
    } else if (!put_other_word(x, t)) {
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

static void translate(struct translation *x, uint32_t from, uint32_t to);

/* ---- LIMIT, OFFSET, FETCH ---- */

static bool begins_limit(const struct sql_token *t)
{
    return sql_is_word(t, "limit") || sql_is_word(t, "offset") || sql_is_word(t, "fetch");
}

static bool is_rows(const struct sql_token *t)
{
    return sql_is_word(t, "row") || sql_is_word(t, "rows");
}

/* The end of the number or expression behind LIMIT, OFFSET or FETCH FIRST; 0: it is too long. */
static uint32_t end_of_limit(const struct translation *x, uint32_t i, uint32_t to)
{
    uint32_t end = to - i < MAX_LIMIT ? to : i + MAX_LIMIT;

    while (i < end && !begins_limit(token(x, i)) && !is_rows(token(x, i)) &&
           !sql_is_symbol(token(x, i), ")") && !sql_is_symbol(token(x, i), ","))
        i = sql_is_symbol(token(x, i), "(") ? sql_closing(x->t, i, end) + 1 : i + 1;
    return i < end ? i : end == to ? to : 0;
}

struct limit {
    uint32_t from, to; /* of its expression; none: from == to */
    bool is_given;
};

/* One of the three, in whatever order they come; 0: it is not understood. */
static uint32_t read_limit(const struct translation *x, uint32_t i, uint32_t to, struct limit *limit,
                           struct limit *offset)
{
    bool is_fetch = sql_is_word(token(x, i), "fetch");
    struct limit *one = sql_is_word(token(x, i), "offset") ? offset : limit;

    if (one->is_given ||
        (is_fetch && !sql_is_word(token(x, i + 1), "first") && !sql_is_word(token(x, i + 1), "next")))
        return 0;
    i += is_fetch ? 2 : 1;
    one->is_given = true;
    one->from = i;
    one->to = i = end_of_limit(x, i, to);
    if (i == 0)
        return 0;
    if (is_fetch)
        return is_rows(token(x, i)) && sql_is_word(token(x, i + 1), "only") ? i + 2 : 0;
    if (one->from >= one->to)
        return 0;
    return one == offset && is_rows(token(x, i)) ? i + 1 : i;
}

static void put_limit(struct translation *x, const struct limit *l, const char *none)
{
    bool is_none = l->from == l->to || (l->to == l->from + 1 && (sql_is_word(token(x, l->from), "all") ||
                                                                 sql_is_word(token(x, l->from), "null")));

    if (is_none)
        put_str(x, none);
    else
        translate(x, l->from, l->to);
}

/* SQLite has LIMIT n OFFSET m alone, and -1 for all rows. Returns where to go on; i: nothing to translate. */
static uint32_t put_limits(struct translation *x, uint32_t i, uint32_t to)
{
    struct limit limit = {.is_given = false}, offset = {.is_given = false};
    uint32_t end = i;

    while (end < to && begins_limit(token(x, end))) {
        end = read_limit(x, end, to, &limit, &offset);
        if (end == 0)
            return i;
    }
    put_str(x, "LIMIT");
    put_limit(x, &limit, !limit.is_given || limit.from < limit.to ? "-1" : "1");
    if (offset.is_given) {
        put_str(x, "OFFSET");
        put_limit(x, &offset, "0");
    }
    return end;
}

/* ---- = ANY (ARRAY[...]) ---- */

/* x = ANY (ARRAY[...]) is x IN (...), x <> ALL (ARRAY[...]) is x NOT IN (...). Returns where to go on; i: it
 * is something else. */
static uint32_t put_array(struct translation *x, uint32_t i, uint32_t to)
{
    bool is_in = sql_is_symbol(token(x, i), "=") &&
                 (sql_is_word(token(x, i + 1), "any") || sql_is_word(token(x, i + 1), "some"));
    bool is_not_in = (sql_is_symbol(token(x, i), "<>") || sql_is_symbol(token(x, i), "!=")) &&
                     sql_is_word(token(x, i + 1), "all");
    uint32_t first = i + 5, end = first, close;
    int depth = 1;
    char type;

    if (i + 5 >= to || !(is_in || is_not_in) || !sql_is_symbol(token(x, i + 2), "(") ||
        !sql_is_word(token(x, i + 3), "array") || !sql_is_symbol(token(x, i + 4), "["))
        return i;
    for (; end < to && end - first < MAX_ARRAY; end++) {
        depth += sql_is_symbol(token(x, end), "[") ? 1 : sql_is_symbol(token(x, end), "]") ? -1 : 0;
        if (depth == 0)
            break;
    }
    close = end + 1;
    if (sql_is_symbol(token(x, close), "::"))
        close = skip_type(x, close + 1, &type);
    if (close >= to || !sql_is_symbol(token(x, close), ")"))
        return i;
    put_str(x, is_in ? "IN (" : "NOT IN (");
    translate(x, first, end);
    put_str(x, ")");
    return close + 1;
}

/* ---- the whole ---- */

static uint32_t translate_one(struct translation *x, uint32_t i, uint32_t to)
{
    const struct sql_token *t = token(x, i);
    bool is_behind_dot = i > 0 && sql_is_symbol(token(x, i - 1), ".");
    uint32_t at = x->out->len, next = i;

    if (sql_is_symbol(t, "::"))
        return put_cast(x, i);
    if (t->kind == SQL_SYMBOL) {
        next = x->nesting < MAX_NESTING ? put_array(x, i, to) : i;
        if (next > i)
            return next;
        put_symbol(x, i);
        return i + 1;
    }
    if (!is_behind_dot)
        x->primary_at = at;
    if (!is_behind_dot && begins_limit(t) && x->nesting < MAX_NESTING) {
        next = put_limits(x, i, to);
        if (next > i)
            return next;
    }
    if (t->kind == SQL_WORD && put_schema(x, &i))
        return i;
    t = token(x, i); /* behind pg_catalog. */
    if (t->kind == SQL_WORD)
        put_word(x, i);
    else
        put(x, t->text, t->len);
    return i + 1;
}

static void translate(struct translation *x, uint32_t from, uint32_t to)
{
    x->nesting++;
    while (from < to)
        from = translate_one(x, from, to);
    x->nesting--;
}

void sql_translate(const struct sql_tokens *t, struct buf *out)
{
    struct translation x = {.t = t, .out = out};

    for (uint32_t i = 0; i < t->n; i++)
        x.has_from = x.has_from || sql_is_word(&t->at[i], "from");
    translate(&x, 0, t->n);
}
