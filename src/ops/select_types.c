/*
 * select_types.c - the types of a query's columns and parameters, as PostgreSQL would have them.
 *
 * SQLite tells the type of a result column only where it is a column of a table, and
 * drivers ask before the first row exists. So the select list is read here: operators,
 * functions and casts say what an expression gives, columns are looked up by name. What is
 * not understood is text, which every driver takes.
 *
 * Pure: tokens in, types out.
 */
#include <string.h>

#include "base/str.h"
#include "select_int.h"

#define MAX_NESTING 32

struct typer {
    const struct sql_tokens *t;
    const struct sql_scope *scope;
    int depth;
};

static char type_of_range(struct typer *x, uint32_t from, uint32_t to);

static const struct sql_token *token(const struct typer *x, uint32_t i)
{
    return &x->t->at[i];
}

/* The next token at this depth: past brackets and CASE ... END that begin at i. */
static uint32_t next_at_depth(const struct sql_tokens *t, uint32_t i, uint32_t to)
{
    int depth = 0;

    if (sql_is_symbol(&t->at[i], "(")) {
        uint32_t close = sql_closing(t, i, to);
        return close < to ? close + 1 : to;
    }
    if (!sql_is_word(&t->at[i], "case"))
        return i + 1;
    for (; i < to; i++) {
        if (sql_is_word(&t->at[i], "case"))
            depth++;
        else if (sql_is_word(&t->at[i], "end") && --depth == 0)
            return i + 1;
    }
    return to;
}

/* The first token at this depth for which is() holds, or to. */
static uint32_t find(const struct sql_tokens *t, uint32_t from, uint32_t to,
                     bool (*is)(const struct sql_token *t))
{
    while (from < to && !is(&t->at[from]))
        from = next_at_depth(t, from, to);
    return from;
}

static bool is_any_word(const struct sql_token *t, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (sql_is_word(t, words[i]))
            return true;
    }
    return false;
}

static bool is_comparison(const struct sql_token *t)
{
    static const char *const words[] = {"or",   "and",   "not",     "is",   "in",
                                        "like", "ilike", "between", "glob", "exists"};
    static const char *const symbols[] = {"=", "<", ">", "<=", ">=", "<>", "!="};

    for (size_t i = 0; i < ARRAY_SIZE(symbols); i++) {
        if (sql_is_symbol(t, symbols[i]))
            return true;
    }
    return is_any_word(t, words, ARRAY_SIZE(words));
}

static bool is_concatenation(const struct sql_token *t)
{
    return sql_is_symbol(t, "||");
}

static bool is_arithmetic(const struct sql_token *t)
{
    return t->kind == SQL_SYMBOL && t->len == 1 && memchr("+-*/%", t->text[0], 5) != NULL;
}

static bool is_cast(const struct sql_token *t)
{
    return sql_is_symbol(t, "::");
}

static bool is_comma(const struct sql_token *t)
{
    return sql_is_symbol(t, ",");
}

static bool is_number(char type)
{
    return type == 'i' || type == 'q' || type == 'N';
}

/* What two have in common; 0 is NULL, which has no type. */
static char unify(char a, char b)
{
    if (a == b || b == 0)
        return a;
    if (a == 0)
        return b;
    if (!is_number(a) || !is_number(b))
        return 's';
    return a == 'N' || b == 'N' ? 'N' : 'q';
}

static char unify_list(struct typer *x, uint32_t from, uint32_t to)
{
    char type = 0;

    while (from < to) {
        uint32_t comma = find(x->t, from, to, is_comma);

        type = unify(type, type_of_range(x, from, comma));
        from = comma + 1;
    }
    return type;
}

/* Integers stay integers, and are wide, as sums and products may be. */
static char type_of_arithmetic(struct typer *x, uint32_t from, uint32_t to)
{
    char type = 'q';

    while (from < to) {
        uint32_t operator= find(x->t, from, to, is_arithmetic);

        if (operator> from && type_of_range(x, from, operator) == 'N')
            type = 'N';
        from = operator+ 1;
    }
    return type;
}

static char type_of_case(struct typer *x, uint32_t from, uint32_t to)
{
    char type = 0;

    for (uint32_t i = from + 1; i + 1 < to; i = next_at_depth(x->t, i, to)) {
        uint32_t end = i + 1;

        if (!sql_is_word(token(x, i), "then") && !sql_is_word(token(x, i), "else"))
            continue;
        while (end + 1 < to && !sql_is_word(token(x, end), "when") && !sql_is_word(token(x, end), "else"))
            end = next_at_depth(x->t, end, to);
        type = unify(type, type_of_range(x, i + 1, end));
    }
    return type;
}

/* CAST ( x AS type ) */
static char type_of_cast(struct typer *x, uint32_t from, uint32_t to)
{
    for (uint32_t i = from; i + 1 < to; i = next_at_depth(x->t, i, to)) {
        if (sql_is_word(token(x, i), "as"))
            return sql_type_named(token(x, i + 1));
    }
    return 's';
}

/* name ( arguments ) ... */
static char type_of_call(struct typer *x, uint32_t from, uint32_t to)
{
    uint32_t first = from + 2, last = sql_closing(x->t, from + 1, to), comma;
    const struct sql_function *f;
    char name[CONSOLE_NAME_BYTES], type;

    if (sql_is_word(token(x, from), "cast"))
        return type_of_cast(x, first, last);
    f = sql_identifier(token(x, from), name, sizeof(name)) ? sql_function_find(name) : NULL;
    if (f == NULL)
        return 's';
    if (first < last && sql_is_word(token(x, first), "distinct"))
        first++;
    comma = find(x->t, first, last, is_comma);
    switch (f->rule) {
    case 'a': return first < comma ? type_of_range(x, first, comma) : 's';
    case 'u': return unify_list(x, first, last);
    case '2': return comma < last ? unify_list(x, comma + 1, last) : 's';
    case '+': type = first < comma ? type_of_range(x, first, comma) : 's'; return type == 'N' ? 'N' : 'q';
    default: return f->rule;
    }
}

static char type_of_subquery(struct typer *x, uint32_t from, uint32_t to)
{
    /* the caller's brackets are left out: the list ends where FROM begins */
    const struct sql_tokens inner = {.at = x->t->at + from, .n = to - from};
    struct sql_item item;

    if (sql_select_items(&inner, &item, 1) != 1 || item.is_star)
        return 's';
    return type_of_range(x, from + item.from, from + item.to);
}

static char type_of_column(struct typer *x, uint32_t last)
{
    char name[CONSOLE_NAME_BYTES], type = 0;

    if (sql_identifier(token(x, last), name, sizeof(name)) && x->scope != NULL)
        type = x->scope->column_type(x->scope->arg, name);
    return type != 0 ? type : 's';
}

static char type_of_literal(const struct sql_token *t)
{
    char text[24];
    int64_t v;

    if (t->kind == SQL_NUMBER) {
        if (t->len >= sizeof(text))
            return 'N';
        memcpy(text, t->text, t->len);
        text[t->len] = '\0';
        if (!str_to_int64(text, &v))
            return 'N';
        return v > INT32_MAX ? 'q' : 'i';
    }
    if (sql_is_word(t, "true") || sql_is_word(t, "false"))
        return 'B';
    return sql_is_word(t, "null") ? 0 : 's';
}

static char type_of_primary(struct typer *x, uint32_t from, uint32_t to)
{
    const struct sql_token *first = token(x, from);
    char name[CONSOLE_NAME_BYTES];

    if (sql_is_symbol(first, "(")) {
        uint32_t close = sql_closing(x->t, from, to);

        if (close == to || from + 1 == close)
            return 's';
        if (sql_is_word(token(x, from + 1), "select") || sql_is_word(token(x, from + 1), "with"))
            return type_of_subquery(x, from + 1, close);
        return type_of_range(x, from + 1, close);
    }
    if (sql_is_word(first, "case"))
        return type_of_case(x, from, to);
    if (from + 3 < to && sql_is_word(first, "pg_catalog"))
        return type_of_primary(x, from + 2, to);
    if (from + 1 < to && sql_is_symbol(token(x, from + 1), "("))
        return type_of_call(x, from, to);
    if (sql_identifier(first, name, sizeof(name)) && sql_is_keyword_function(name))
        return 's';
    if (from + 1 == to &&
        (first->kind == SQL_NUMBER || first->kind == SQL_STRING || sql_is_word(first, "true") ||
         sql_is_word(first, "false") || sql_is_word(first, "null")))
        return type_of_literal(first);
    if (from + 1 == to || sql_is_symbol(token(x, to - 2), "."))
        return type_of_column(x, to - 1);
    return 's';
}

static uint32_t find_last_cast(const struct sql_tokens *t, uint32_t from, uint32_t to)
{
    uint32_t at = to;

    for (uint32_t i = find(t, from, to, is_cast); i < to; i = find(t, i + 1, to, is_cast))
        at = i;
    return at;
}

static char type_of_operators(struct typer *x, uint32_t from, uint32_t to)
{
    uint32_t at;

    if (find(x->t, from, to, is_comparison) < to)
        return 'B';
    if (find(x->t, from, to, is_concatenation) < to)
        return 's';
    at = find(x->t, from, to, is_arithmetic);
    if (at == from && at + 1 < to && token(x, from)->text[0] != '*' &&
        find(x->t, from + 1, to, is_arithmetic) == to)
        return type_of_range(x, from + 1, to); /* a sign */
    if (at < to)
        return type_of_arithmetic(x, from, to);
    at = find_last_cast(x->t, from, to);
    if (at < to && at + 1 < to) {
        uint32_t name = at + 3 < to && sql_is_symbol(token(x, at + 2), ".") ? at + 3 : at + 1;
        return sql_type_named(token(x, name));
    }
    return type_of_primary(x, from, to);
}

static char type_of_range(struct typer *x, uint32_t from, uint32_t to)
{
    char type;

    if (from >= to || x->depth >= MAX_NESTING)
        return 's';
    x->depth++;
    type = type_of_operators(x, from, to);
    x->depth--;
    return type;
}

char sql_expression_type(const struct sql_tokens *t, uint32_t from, uint32_t to,
                         const struct sql_scope *scope)
{
    struct typer x = {.t = t, .scope = scope};
    char type = type_of_range(&x, from, to);

    return type != 0 ? type : 's';
}

/* ---- the select list ---- */

static bool ends_list(const struct sql_token *t)
{
    static const char *const words[] = {"from",   "where",     "group", "having", "window", "union",
                                        "except", "intersect", "order", "limit",  "offset", "fetch"};

    return is_any_word(t, words, ARRAY_SIZE(words));
}

static bool is_select(const struct sql_token *t)
{
    return sql_is_word(t, "select");
}

static bool is_operand_end(const struct sql_token *t)
{
    return t->kind == SQL_WORD || t->kind == SQL_QUOTED || t->kind == SQL_STRING || t->kind == SQL_NUMBER ||
           t->kind == SQL_PARAMETER || sql_is_symbol(t, ")");
}

/* PostgreSQL's name of an expression without an alias. */
static const char *default_name(const struct sql_tokens *t, struct sql_item *item, char *name, size_t size)
{
    uint32_t from = item->from, to = item->to;
    uint32_t at = find(t, from, to, is_cast);

    if (from < to && sql_is_word(&t->at[from], "case"))
        return "case";
    if (from + 2 < to && sql_is_word(&t->at[from], "pg_catalog"))
        from += 2;
    if (at < to && from + 1 < at && !sql_is_symbol(&t->at[at - 2], "."))
        return "?column?";
    if (at < to)
        to = at;
    if (find(t, from, to, is_comparison) < to || find(t, from, to, is_concatenation) < to ||
        find(t, from, to, is_arithmetic) < to || from >= to)
        return "?column?";
    if (from + 1 < to && sql_is_symbol(&t->at[from + 1], "("))
        return sql_identifier(&t->at[from], name, size) ? name : "?column?";
    if (sql_is_word(&t->at[from], "true") || sql_is_word(&t->at[from], "false"))
        return "bool";
    if (sql_is_word(&t->at[from], "null"))
        return "?column?";
    return sql_identifier(&t->at[to - 1], name, size) ? name : "?column?";
}

static void read_item(const struct sql_tokens *t, uint32_t from, uint32_t to, struct sql_item *item)
{
    char name[CONSOLE_NAME_BYTES];
    bool has_alias = false;

    memset(item, 0, sizeof(*item));
    item->from = from;
    item->to = to;
    if (to > from && sql_is_symbol(&t->at[to - 1], "*") &&
        (to == from + 1 || sql_is_symbol(&t->at[to - 2], "."))) {
        item->is_star = true;
        return;
    }
    if (to >= from + 3 && sql_is_word(&t->at[to - 2], "as")) {
        item->to = to - 2;
        has_alias = sql_identifier(&t->at[to - 1], item->name, sizeof(item->name));
    } else if (to >= from + 2 && is_operand_end(&t->at[to - 2]) && !sql_is_word(&t->at[to - 1], "end") &&
               !is_comparison(&t->at[to - 2]) && sql_identifier(&t->at[to - 1], name, sizeof(name))) {
        item->to = to - 1;
        str_copy(item->name, name, sizeof(item->name));
        has_alias = true;
    }
    if (!has_alias)
        str_copy(item->name, default_name(t, item, name, sizeof(name)), sizeof(item->name));
}

uint32_t sql_select_items(const struct sql_tokens *t, struct sql_item *items, uint32_t max)
{
    uint32_t from = find(t, 0, t->n, is_select), to, n = 0;

    if (from == t->n)
        return 0;
    from++;
    if (from < t->n && (sql_is_word(&t->at[from], "all") || sql_is_word(&t->at[from], "distinct")))
        from++;
    to = find(t, from, t->n, ends_list);
    while (from < to) {
        uint32_t comma = find(t, from, to, is_comma);

        if (n == max)
            return 0;
        read_item(t, from, comma, &items[n++]);
        from = comma + 1;
    }
    return n;
}

/* ---- parameters ---- */

static char column_or_zero(const struct sql_tokens *t, uint32_t i, const struct sql_scope *scope)
{
    char name[CONSOLE_NAME_BYTES];

    return sql_identifier(&t->at[i], name, sizeof(name)) ? scope->column_type(scope->arg, name) : 0;
}

/* Beside a comparison or in col IN (...): as the column; behind LIMIT and OFFSET a number. */
static char type_beside(const struct sql_tokens *t, uint32_t i, const struct sql_scope *scope)
{
    char type = 0;

    if (i + 2 <= t->n && sql_is_symbol(&t->at[i + 1], "::"))
        return sql_type_named(&t->at[i + 2]);
    if (i == 0)
        return 0;
    if (sql_is_word(&t->at[i - 1], "limit") || sql_is_word(&t->at[i - 1], "offset") ||
        (i >= 2 && sql_is_word(&t->at[i - 2], "fetch")))
        return 'q';
    if (i >= 2 && (is_comparison(&t->at[i - 1]) || is_arithmetic(&t->at[i - 1])))
        type = column_or_zero(t, i - 2, scope);
    if (type != 0)
        return type;
    for (uint32_t k = i; k > 1; k--) {
        const struct sql_token *before = &t->at[k - 1];

        if (sql_is_symbol(before, "(") && sql_is_word(&t->at[k - 2], "in") && k >= 3)
            return column_or_zero(t, k - 3 - (sql_is_word(&t->at[k - 3], "not") && k >= 4), scope);
        if (before->kind != SQL_PARAMETER && before->kind != SQL_NUMBER && !sql_is_symbol(before, ","))
            break;
    }
    if (i + 2 < t->n && is_comparison(&t->at[i + 1]))
        type = column_or_zero(t, i + 2, scope);
    return type;
}

char sql_parameter_type(const struct sql_tokens *t, uint32_t number, const struct sql_scope *scope)
{
    for (uint32_t i = 0; i < t->n; i++) {
        uint32_t n = 0;
        char type;

        if (t->at[i].kind != SQL_PARAMETER)
            continue;
        for (uint32_t k = 1; k < t->at[i].len && n <= SELECT_MAX_PARAMETERS; k++)
            n = n * 10 + (uint32_t)(t->at[i].text[k] - '0');
        if (n != number)
            continue;
        type = type_beside(t, i, scope);
        if (type != 0)
            return type == 'T' ? 's' : type;
    }
    return 's';
}
