/*
 * params_sql.c - the SQL that gives a server the parameters that a session has.
 *
 * Values come from clients, so quoting must hold whatever they contain, under any
 * client_encoding and with standard_conforming_strings on or off:
 *  - a quote is doubled; no encoding of PostgreSQL has a quote for a trailing byte;
 *  - a backslash is doubled inside E'', unless there are bytes above 0x7f too: in SJIS, BIG5, GBK and the
 * like a backslash may be the second half of a character, and doubling it would leave one that escapes what
 * follows. Such a value is put together from pieces with chr(92) between them.
 *
 * Threads: none; works on what it is given.
 */
#include "wire/params.h"

#include <string.h>

#include "wire/sql_session.h"

static bool has_high_bytes(const char *s)
{
    for (; *s; s++) {
        if ((unsigned char)*s > 0x7f)
            return true;
    }
    return false;
}

static bool is_plain_name(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bool is_letter = (s[i] >= 'a' && s[i] <= 'z') || (s[i] >= 'A' && s[i] <= 'Z') || s[i] == '_';
        bool is_digit = s[i] >= '0' && s[i] <= '9';
        if (!is_letter && !(is_digit && i > 0))
            return false;
    }
    return n > 0;
}

/* A name of one or more parts with dots between. Parts may be reserved words, unless PostgreSQL itself
 * has made up the name. */
static void put_name(struct buf *sql, const char *name)
{
    bool has_parts = strchr(name, '.') != NULL;
    for (;;) {
        size_t n = strcspn(name, ".");
        bool is_plain = !has_parts && is_plain_name(name, n);
        if (!is_plain)
            buf_append_byte(sql, '"');
        for (size_t i = 0; i < n; i++) {
            if (name[i] == '"')
                buf_append_byte(sql, '"');
            buf_append_byte(sql, (uint8_t)name[i]);
        }
        if (!is_plain)
            buf_append_byte(sql, '"');
        if (name[n] == '\0')
            return;
        buf_append_byte(sql, '.');
        name += n + 1;
    }
}

/* '...' of n bytes, or E'...' where there is a backslash. */
static void put_literal(struct buf *sql, const char *s, size_t n)
{
    buf_append_str(sql, memchr(s, '\\', n) ? "E'" : "'");
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '\'' || s[i] == '\\')
            buf_append_byte(sql, (uint8_t)s[i]);
        buf_append_byte(sql, (uint8_t)s[i]);
    }
    buf_append_byte(sql, '\'');
}

/* The value as an expression without a backslash in it. */
static void put_pieces(struct buf *sql, const char *value)
{
    if (!strchr(value, '\\')) {
        put_literal(sql, value, strlen(value));
        return;
    }
    buf_append_str(sql, "pg_catalog.concat(");
    for (;;) {
        size_t n = strcspn(value, "\\");
        put_literal(sql, value, n);
        if (value[n] == '\0')
            break;
        buf_append_str(sql, ",pg_catalog.chr(92),");
        value += n + 1;
    }
    buf_append_byte(sql, ')');
}

static void put_setting(struct buf *sql, const char *name, const char *value)
{
    bool needs_pieces = strchr(value, '\\') && has_high_bytes(value);
    if (!needs_pieces && !sql_is_name_list(name)) { /* SET takes 'a, b' for one name there */
        buf_append_str(sql, "SET ");
        put_name(sql, name);
        buf_append_byte(sql, '=');
        put_literal(sql, value, strlen(value));
        buf_append_byte(sql, ';');
        return;
    }
    buf_append_str(sql, "SELECT pg_catalog.set_config(");
    put_pieces(sql, name);
    buf_append_byte(sql, ',');
    put_pieces(sql, value);
    buf_append_str(sql, ",false);");
}

static bool is_same(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

/* Who the session acts as: other settings are set as whoever it began as. */
static const char *const identities[] = {"session_authorization", "role"};

static bool is_identity(const char *name)
{
    return strcasecmp(name, identities[0]) == 0 || strcasecmp(name, identities[1]) == 0;
}

static void put_reset(struct buf *sql, const char *name)
{
    buf_append_str(sql, "RESET ");
    put_name(sql, name);
    buf_append_byte(sql, ';');
}

static uint32_t put_others(const struct params *have, const struct params *want, struct buf *sql)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < params_count(want); i++) {
        const char *name = params_name(want, i), *value = params_value(want, i);
        if (is_identity(name) || !params_is_settable(name) || is_same(params_get(have, name), value))
            continue;
        put_setting(sql, name, value);
        n++;
    }
    for (uint32_t i = 0; i < params_count(have); i++) {
        const char *name = params_name(have, i);
        if (is_identity(name) || !params_is_settable(name) || params_get(want, name) != NULL)
            continue;
        put_reset(sql, name);
        n++;
    }
    return n;
}

/* A role ends first, and comes last. */
static uint32_t leave_identities(const struct params *have, struct buf *sql)
{
    uint32_t n = 0;

    for (size_t i = ARRAY_SIZE(identities); i-- > 0;) {
        if (params_get(have, identities[i]) == NULL)
            continue;
        put_reset(sql, identities[i]);
        n++;
    }
    return n;
}

static uint32_t take_identities(const struct params *want, struct buf *sql)
{
    uint32_t n = 0;

    for (size_t i = 0; i < ARRAY_SIZE(identities); i++) {
        const char *value = params_get(want, identities[i]);
        if (value == NULL)
            continue;
        put_setting(sql, identities[i], value);
        n++;
    }
    return n;
}

uint32_t params_diff_sql(const struct params *have, const struct params *want, struct buf *sql)
{
    const uint32_t start = sql->len;
    uint32_t n;

    if (have == want)
        return 0;
    bool is_other = false;
    for (size_t i = 0; i < ARRAY_SIZE(identities); i++)
        is_other = is_other || !is_same(params_get(have, identities[i]), params_get(want, identities[i]));
    n = leave_identities(have, sql);
    const uint32_t n_others = put_others(have, want, sql);
    if (n_others == 0 && !is_other) {
        sql->len = start;
        return 0;
    }
    return n + n_others + take_identities(want, sql);
}

uint32_t params_reset_sql(const struct params *have, const struct params *want, struct buf *sql)
{
    struct params *none = params_empty();
    uint32_t n = leave_identities(have, sql);

    buf_append_str(sql, "RESET ALL;");
    n += 1 + put_others(none, want, sql) + take_identities(want, sql);
    params_unref(none);
    return n;
}

/* ---- asking ---- */

static void put_dotted(struct buf *sql, const char *name, bool is_wanted)
{
    buf_append_str(sql, " UNION ALL SELECT n, v FROM (SELECT ");
    put_literal(sql, name, strlen(name));
    buf_append_str(sql, ", pg_catalog.current_setting(");
    put_literal(sql, name, strlen(name));
    buf_append_str(sql, ", true)) AS x (n, v) WHERE v IS NOT NULL");
    if (!is_wanted)
        buf_append_str(sql, " AND v OPERATOR(pg_catalog.<>) ''");
}

void params_put_dotted_query(const struct params *have, const struct params *want, struct buf *sql)
{
    for (uint32_t i = 0; i < params_count(want); i++) {
        if (strchr(params_name(want, i), '.') != NULL)
            put_dotted(sql, params_name(want, i), true);
    }
    for (uint32_t i = 0; i < params_count(have); i++) {
        const char *name = params_name(have, i);
        if (strchr(name, '.') != NULL && params_get(want, name) == NULL)
            put_dotted(sql, name, false);
    }
}
