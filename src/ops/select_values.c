/*
 * select_values.c - values of SQLite as the console sends them, and our own functions.
 *
 * Threads: a helper.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/str.h"
#include "config.h"
#include "select_db_int.h"

/* ---- results ---- */

/* The shortest text that reads back as the same number, without an exponent. */
static void real_text(double v, char *out, size_t size)
{
    if (fabs(v) >= 1e15) {
        snprintf(out, size, "%.0f", v);
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(out, size, "%.*g", digits, v);
        if (strtod(out, NULL) == v)
            break;
    }
    if (strchr(out, 'e') != NULL) {
        snprintf(out, size, "%.20f", v);
        for (size_t n = strlen(out); n > 1 && out[n - 1] == '0'; n--)
            out[n - 1] = '\0';
    }
}

static bool put_integer(struct result *r, sqlite3_value *v)
{
    double real;
    int64_t i;

    switch (sqlite3_value_type(v)) {
    case SQLITE_INTEGER: result_int(r, sqlite3_value_int64(v)); return true;
    case SQLITE_FLOAT:
        real = sqlite3_value_double(v);
        if (!(fabs(real) < 9e18))
            return false;
        result_int(r, llround(real));
        return true;
    default:
        if (!str_to_int64((const char *)sqlite3_value_text(v), &i))
            return false;
        result_int(r, i);
        return true;
    }
}

static bool put_numeric(struct result *r, sqlite3_value *v)
{
    char text[340]; /* DBL_MAX has 309 digits */
    double real;

    if (sqlite3_value_type(v) == SQLITE_INTEGER) {
        result_int(r, sqlite3_value_int64(v));
        return true;
    }
    if (sqlite3_value_type(v) != SQLITE_FLOAT)
        return false;
    real = sqlite3_value_double(v);
    if (!isfinite(real))
        return false;
    real_text(real, text, sizeof(text));
    result_text(r, text);
    return true;
}

static bool put_bool(struct result *r, sqlite3_value *v)
{
    const char *text;

    if (sqlite3_value_type(v) == SQLITE_INTEGER) {
        result_text(r, sqlite3_value_int64(v) != 0 ? "t" : "f");
        return true;
    }
    text = (const char *)sqlite3_value_text(v);
    if (text == NULL || (strcmp(text, "t") != 0 && strcmp(text, "f") != 0))
        return false;
    result_text(r, text);
    return true;
}

static bool put_text(struct result *r, sqlite3_value *v)
{
    char text[340];

    if (sqlite3_value_type(v) == SQLITE_FLOAT) {
        real_text(sqlite3_value_double(v), text, sizeof(text));
        result_text(r, text);
    } else if (sqlite3_value_type(v) != SQLITE_BLOB) {
        result_text(r, (const char *)sqlite3_value_text(v));
    } else {
        return false;
    }
    return true;
}

bool select_db_put_value(struct select_db *db, struct result *r, uint16_t i)
{
    sqlite3_value *v = sqlite3_column_value(db->statement, i);

    if (sqlite3_value_type(v) == SQLITE_NULL) {
        result_text(r, NULL);
        return true;
    }
    switch (r->columns[i].type) {
    case 'i':
    case 'q': return put_integer(r, v);
    case 'N': return put_numeric(r, v);
    case 'B': return put_bool(r, v);
    default: return put_text(r, v);
    }
}

/* ---- functions ---- */

static void f_constant(sqlite3_context *ctx, int n, sqlite3_value **v)
{
    (void)n;
    (void)v;
    sqlite3_result_text(ctx, sqlite3_user_data(ctx), -1, SQLITE_TRANSIENT);
}

static void f_false(sqlite3_context *ctx, int n, sqlite3_value **v)
{
    (void)n;
    (void)v;
    sqlite3_result_int(ctx, 0);
}

/* As the times of SHOW CLIENTS. */
static void f_now(sqlite3_context *ctx, int n, sqlite3_value **v)
{
    time_t seconds = (time_t)(clock_wall_us() / USEC_PER_SEC);
    char text[64];
    struct tm tm;

    (void)n;
    (void)v;
    if (localtime_r(&seconds, &tm) != NULL && strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S %Z", &tm) > 0)
        sqlite3_result_text(ctx, text, -1, SQLITE_TRANSIENT);
}

static void f_current_setting(sqlite3_context *ctx, int n, sqlite3_value **v)
{
    const char *name = (const char *)sqlite3_value_text(v[0]);
    const struct fixed *fixed = name != NULL ? fixed_find(false, name) : NULL;

    (void)n;
    if (fixed != NULL)
        sqlite3_result_text(ctx, fixed->value, -1, SQLITE_STATIC);
}

static void f_concat(sqlite3_context *ctx, int n, sqlite3_value **v)
{
    struct buf b;

    buf_init(&b, 1 << 20);
    for (int i = 0; i < n; i++) {
        const char *text = (const char *)sqlite3_value_text(v[i]);

        if (text != NULL)
            buf_append_str(&b, text);
    }
    if (b.failed)
        sqlite3_result_error_toobig(ctx);
    else
        sqlite3_result_text(ctx, buf_cstr(&b), (int)b.len, SQLITE_TRANSIENT);
    buf_free(&b);
}

/* text ILIKE pattern, which is match(pattern, text). */
static void f_match(sqlite3_context *ctx, int n, sqlite3_value **v)
{
    const char *pattern = (const char *)sqlite3_value_text(v[0]);
    const char *text = (const char *)sqlite3_value_text(v[1]);

    (void)n;
    if (pattern == NULL || text == NULL)
        return;
    if (sqlite3_value_bytes(v[0]) > 200)
        sqlite3_result_error(ctx, "LIKE or GLOB pattern too complex", -1);
    else
        sqlite3_result_int(ctx, sqlite3_strlike(pattern, text, '\\') == 0);
}

/* As SQLite sorts: numbers, then texts. */
static bool is_greater(sqlite3_value *a, sqlite3_value *b)
{
    bool is_number_a = sqlite3_value_type(a) != SQLITE_TEXT,
         is_number_b = sqlite3_value_type(b) != SQLITE_TEXT;

    if (is_number_a != is_number_b)
        return is_number_b;
    if (!is_number_a)
        return strcmp((const char *)sqlite3_value_text(a), (const char *)sqlite3_value_text(b)) > 0;
    if (sqlite3_value_type(a) == SQLITE_INTEGER && sqlite3_value_type(b) == SQLITE_INTEGER)
        return sqlite3_value_int64(a) > sqlite3_value_int64(b);
    return sqlite3_value_double(a) > sqlite3_value_double(b);
}

/* greatest() and least(): as in PostgreSQL NULL does not count. */
static void f_extreme(sqlite3_context *ctx, int n, sqlite3_value **v)
{
    bool wants_least = sqlite3_user_data(ctx) != NULL;
    sqlite3_value *best = NULL;

    for (int i = 0; i < n; i++) {
        if (sqlite3_value_type(v[i]) == SQLITE_NULL)
            continue;
        if (best == NULL || (wants_least ? is_greater(best, v[i]) : is_greater(v[i], best)))
            best = v[i];
    }
    if (best != NULL)
        sqlite3_result_value(ctx, best);
}

bool select_db_add_functions(struct select_db *db)
{
    const struct {
        const char *name;
        int n;
        void (*f)(sqlite3_context *ctx, int n, sqlite3_value **v);
        const char *text;
    } functions[] = {
        {"version", 0, f_constant, CONSOLE_POSTGRES_VERSION},
        {"current_database", 0, f_constant, "pgsluice"},
        {"current_catalog", 0, f_constant, "pgsluice"},
        {"current_schema", 0, f_constant, "public"},
        {"current_user", 0, f_constant, db->job->user},
        {"session_user", 0, f_constant, db->job->user},
        {"current_role", 0, f_constant, db->job->user},
        {"pg_is_in_recovery", 0, f_false, NULL},
        {"pg_backend_pid", 0, f_false, NULL},
        {"current_setting", 1, f_current_setting, NULL},
        {"current_setting", 2, f_current_setting, NULL},
        {"now", 0, f_now, NULL},
        {"concat", -1, f_concat, NULL},
        {"match", 2, f_match, NULL},
        {"greatest", -1, f_extreme, NULL},
        {"least", -1, f_extreme, "least"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(functions); i++) {
        if (sqlite3_create_function_v2(db->db, functions[i].name, functions[i].n, SQLITE_UTF8,
                                       (void *)(uintptr_t)functions[i].text, functions[i].f, NULL, NULL,
                                       NULL) != SQLITE_OK)
            return false;
    }
    return true;
}
