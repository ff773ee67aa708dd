/*
 * sql_session_value.c - what the values of a SET mean, and the literals of a call.
 *
 * As PostgreSQL makes one string of them (flatten_set_variable_args): joined by ", ", numbers as they print,
 * names folded, and each quoted like an identifier where the setting is a list of names.
 *
 * Pure; any thread.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "wire/sql_session.h"

/* ---- literals ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A character by its number. */
static bool append_character(struct buf *out, uint32_t c)
{
    if (c == 0 || c > 0x7f)
        return false; /* which bytes that makes depends on encodings */
    buf_append_byte(out, (uint8_t)c);
    return true;
}

/* At the character behind a backslash in E''; moves *at behind what it means. */
static bool append_escaped(const char *text, uint32_t end, uint32_t *at, struct buf *out)
{
    static const char letters[] = "bfnrt", values[] = "\b\f\n\r\t";
    const char c = text[(*at)++];
    uint32_t number = 0, digits = 0;

    if (c >= '0' && c <= '7') {
        for (number = (uint32_t)(c - '0'); ++digits < 3 && *at < end && text[*at] >= '0' && text[*at] <= '7';)
            number = number * 8 + (uint32_t)(text[(*at)++] - '0');
        return append_character(out, number & 0xff);
    }
    if (c == 'x' || c == 'u' || c == 'U') {
        const uint32_t most = c == 'x' ? 2 : c == 'u' ? 4 : 8;
        for (; digits < most && *at < end && hex_digit(text[*at]) >= 0; digits++)
            number = number * 16 + (uint32_t)hex_digit(text[(*at)++]);
        if (digits > 0)
            return (c == 'x' || digits == most) && append_character(out, number);
    }
    const char *letter = c != '\0' ? strchr(letters, c) : NULL;
    buf_append_byte(out, (uint8_t)(letter != NULL ? values[letter - letters] : c));
    return true;
}

/* From a quote at `at` to the one that ends it, and the parts behind line ends. */
static bool append_quoted(const char *text, uint32_t at, uint32_t end, bool has_escapes, struct buf *out)
{
    for (at++; at < end;) {
        const char c = text[at++];
        if (c == '\\' && has_escapes && at < end) {
            if (!append_escaped(text, end, &at, out))
                return false;
        } else if (c != '\'') {
            buf_append_byte(out, (uint8_t)c);
        } else if (at < end && text[at] == '\'') {
            buf_append_byte(out, '\'');
            at++;
        } else {
            /* its end, or another part: blanks (and comments, which are left alone) up to its quote */
            while (at < end && text[at] != '\'') {
                if (text[at] == '-')
                    return false;
                at++;
            }
            at++;
        }
    }
    return true;
}

static bool append_string(const struct sql_lexer *l, uint32_t start, uint32_t end, struct buf *out)
{
    const char *text = l->text;

    switch (text[start]) {
    case '\'': return append_quoted(text, start, end, !l->standard_strings, out);
    case 'e':
    case 'E': return append_quoted(text, start + 1, end, true, out);
    case '$': {
        const char *tag_end = memchr(text + start + 1, '$', end - start - 1);
        if (tag_end == NULL)
            return false;
        const uint32_t tag_bytes = (uint32_t)(tag_end - text) + 1 - start;
        if (end - start < 2 * tag_bytes)
            return false;
        buf_append(out, text + start + tag_bytes, end - start - 2 * tag_bytes);
        return true;
    }
    default: return false; /* bits, or U&'' */
    }
}

/* ---- values of SET ---- */

bool sql_is_name_list(const char *setting)
{
    static const char *const name_lists[] = {
        "search_path",
        "temp_tablespaces",
        "local_preload_libraries",
        "session_preload_libraries",
    };

    for (size_t i = 0; i < ARRAY_SIZE(name_lists); i++) {
        if (strcasecmp(setting, name_lists[i]) == 0)
            return true;
    }
    return false;
}

/* Keywords that PostgreSQL quotes where they are names, beyond the reserved ones; sorted. */
static const char *const column_names[] = {
    "between",
    "bigint",
    "bit",
    "boolean",
    "char",
    "character",
    "coalesce",
    "dec",
    "decimal",
    "exists",
    "extract",
    "float",
    "greatest",
    "grouping",
    "inout",
    "int",
    "integer",
    "interval",
    "json_array",
    "json_arrayagg",
    "json_exists",
    "json_object",
    "json_objectagg",
    "json_query",
    "json_scalar",
    "json_serialize",
    "json_table",
    "json_value",
    "least",
    "merge_action",
    "national",
    "nchar",
    "none",
    "normalize",
    "nullif",
    "numeric",
    "out",
    "overlay",
    "position",
    "precision",
    "real",
    "row",
    "setof",
    "smallint",
    "substring",
    "time",
    "timestamp",
    "treat",
    "trim",
    "values",
    "varchar",
    "xmlattributes",
    "xmlconcat",
    "xmlelement",
    "xmlexists",
    "xmlforest",
    "xmlnamespaces",
    "xmlparse",
    "xmlpi",
    "xmlroot",
    "xmlserialize",
    "xmltable",
};

static int compare_names(const void *key, const void *element)
{
    return strcmp(key, *(const char *const *)element);
}

static bool is_keyword(const char *name, uint32_t len_bytes)
{
    const struct sql_lexer l = {.text = name, .len_bytes = len_bytes};
    const struct sql_token t = {SQL_TOKEN_WORD, 0, len_bytes};

    return sql_is_reserved(&l, &t) || bsearch(name, column_names, ARRAY_SIZE(column_names),
                                              sizeof(column_names[0]), compare_names) != NULL;
}

/* As quote_identifier() does. name: with a NUL behind it. */
static void append_identifier(struct buf *out, const char *name, uint32_t len_bytes)
{
    bool is_safe = (name[0] >= 'a' && name[0] <= 'z') || name[0] == '_';

    for (uint32_t i = 0; i < len_bytes && is_safe; i++)
        is_safe = (name[i] >= 'a' && name[i] <= 'z') || (name[i] >= '0' && name[i] <= '9') || name[i] == '_';
    if (is_safe && !is_keyword(name, len_bytes)) {
        buf_append(out, name, len_bytes);
        return;
    }
    buf_append_byte(out, '"');
    for (uint32_t i = 0; i < len_bytes; i++) {
        if (name[i] == '"')
            buf_append_byte(out, '"');
        buf_append_byte(out, (uint8_t)name[i]);
    }
    buf_append_byte(out, '"');
}

/* A number, as the parser prints it: an integer without zeros ahead of it. */
static void append_number(const struct sql_lexer *l, const struct sql_token *t, struct buf *out)
{
    uint32_t start = t->start;
    bool is_integer = true;

    for (uint32_t i = start; i < t->end; i++)
        is_integer = is_integer && l->text[i] >= '0' && l->text[i] <= '9';
    while (is_integer && start + 1 < t->end && l->text[start] == '0')
        start++;
    buf_append(out, l->text + start, t->end - start);
}

/* A string or word at *t; the next token is left in *t. */
static bool append_text(struct sql_lexer *l, struct sql_token *t, bool is_name, struct buf *out)
{
    char name[SQL_NAME_BYTES];
    struct buf value;
    bool ok;

    buf_init(&value, out->max_bytes);
    if (t->kind == SQL_TOKEN_STRING) {
        ok = append_string(l, t->start, t->end, &value);
    } else {
        const uint32_t n = sql_name(l, t, true, name);
        ok = n > 0 && n < SQL_NAME_BYTES - 1; /* not cut, which depends on the encoding */
        buf_append(&value, name, n);
    }
    ok = ok && !value.failed;
    if (ok && is_name)
        append_identifier(out, buf_cstr(&value), value.len);
    else if (ok)
        buf_append(out, value.data, value.len);
    buf_free(&value);
    *t = sql_lexer_next(l);
    return ok;
}

static bool append_value(struct sql_lexer *l, struct sql_token *t, bool is_name, struct buf *out)
{
    if (t->kind == SQL_TOKEN_OPERATOR && t->end == t->start + 1 &&
        (l->text[t->start] == '-' || l->text[t->start] == '+')) {
        if (l->text[t->start] == '-')
            buf_append_byte(out, '-');
        *t = sql_lexer_next(l);
        if (t->kind != SQL_TOKEN_NUMBER)
            return false;
    }
    if (t->kind != SQL_TOKEN_NUMBER)
        return append_text(l, t, is_name, out);
    append_number(l, t, out);
    *t = sql_lexer_next(l);
    return true;
}

static bool append_values(struct sql_lexer *l, bool is_name, struct buf *out)
{
    struct sql_token t = sql_lexer_next(l);

    while (append_value(l, &t, is_name, out)) {
        if (t.kind == SQL_TOKEN_END)
            return !out->failed;
        if (!sql_lexer_is_char(l, &t, ','))
            return false;
        buf_append_str(out, ", ");
        t = sql_lexer_next(l);
    }
    return false;
}

bool sql_session_value(const struct sql_lexer *whole, const struct sql_session_act *act, struct buf *out)
{
    const uint32_t before = out->len;
    struct sql_lexer l = *whole;

    if (act->constant != NULL) {
        buf_append_str(out, act->constant);
        return !out->failed;
    }
    l.at = act->value_start;
    l.len_bytes = act->value_end;
    if (append_values(&l, sql_is_name_list(act->name), out))
        return true;
    out->len = before;
    return false;
}

/* ---- arguments of calls ---- */

bool sql_operand_value(const struct sql_lexer *whole, const struct sql_operand *operand, struct buf *out)
{
    struct sql_lexer l = *whole;
    char c;

    if (operand->kind != SQL_OPERAND_LITERAL)
        return false;
    l.at = operand->start;
    l.len_bytes = operand->end;
    const struct sql_token t = sql_lexer_next(&l);
    if (t.kind == SQL_TOKEN_STRING) {
        const uint32_t before = out->len;
        if (append_string(&l, t.start, t.end, out))
            return !out->failed;
        out->len = before;
        return false;
    }
    for (uint32_t i = t.start; i < t.end; i++) {
        c = l.text[i];
        buf_append_byte(out, (uint8_t)(c >= 'A' && c <= 'Z' ? c | 0x20 : c));
    }
    return !out->failed;
}

/* As PostgreSQL's boolean: what begins "true", "yes", "on" or "1", blanks around it left out. */
bool sql_is_true(const char *value)
{
    static const char *const words[] = {"true", "yes", "on", "1"};

    value += strspn(value, " \t\n\r\f\v");
    size_t n = strlen(value);
    while (n > 0 && strchr(" \t\n\r\f\v", value[n - 1]) != NULL)
        n--;
    for (size_t i = 0; n > 0 && i < ARRAY_SIZE(words); i++) {
        if (n <= strlen(words[i]) && strncasecmp(value, words[i], n) == 0)
            return strcmp(words[i], "on") != 0 || n == 2;
    }
    return false;
}
