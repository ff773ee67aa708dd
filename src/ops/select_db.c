/*
 * select_db.c - runs a query in an SQLite that lives as long as the query.
 *
 * First the statement is prepared against empty tables, which tells what relations it
 * names and what its columns are; with their rows it runs in a second database. Both on a
 * helper thread, one job at a time in the whole process (select.c): so the heap limit, which
 * SQLite has for the process only, is that of one query.
 *
 * Who may use the console is no reason to trust the query. The authorizer lets through reading our tables
 * and calling the functions of our table, and nothing else; lengths, rows, memory and
 * time are bounded, and a query whose session has gone is ended.
 *
 * Threads: a helper. Touches the job (which nobody else touches meanwhile, but for
 * is_cancelled) and constant tables.
 */
#include "config.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#ifdef HAVE_MALLOC_TRIM
#include <malloc.h>
#endif

#include "base/clock.h"
#include "base/str.h"
#include "select_db_int.h"
#include "wire/codec.h"

#define PREPARE_TIME_US  (1 * USEC_PER_SEC)
#define RUN_TIME_US      (5 * USEC_PER_SEC)
#define HEAP_BYTES       (INT64_C(192) << 20)
#define LARGE_BYTES      (INT64_C(16) << 20)
#define RESULT_MAX_BYTES (16u << 20)
#define RESULT_MAX_ROWS  100000u
#define PROGRESS_STEPS   1000 /* of the virtual machine, between two looks at the clock */

static const struct {
    int limit, value;
} limits[] = {
    {SQLITE_LIMIT_LENGTH, 1 << 20},
    {SQLITE_LIMIT_SQL_LENGTH, 1 << 18},
    {SQLITE_LIMIT_COLUMN, CONSOLE_MAX_COLUMNS},
    {SQLITE_LIMIT_EXPR_DEPTH, 100},
    {SQLITE_LIMIT_COMPOUND_SELECT, 50},
    {SQLITE_LIMIT_VDBE_OP, 100000},
    {SQLITE_LIMIT_FUNCTION_ARG, 32},
    {SQLITE_LIMIT_ATTACHED, 0},
    {SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 200},
    {SQLITE_LIMIT_VARIABLE_NUMBER, SELECT_MAX_PARAMETERS},
    {SQLITE_LIMIT_TRIGGER_DEPTH, 1},
    {SQLITE_LIMIT_WORKER_THREADS, 0},
};

static bool is_over(const struct select_db *db)
{
    return atomic_load_explicit(&db->job->is_cancelled, memory_order_relaxed) ||
           clock_thread_us() > db->deadline_us;
}

static int on_progress(void *arg)
{
    return is_over(arg);
}

/* The bit of the relation that SQLite calls name, or -1. */
static int relation_index(const char *name)
{
    const struct relation *relation;

    for (size_t i = 0; (relation = select_relation_at(i)) != NULL; i++) {
        if (relation->columns != NULL && strcasecmp(relation->name, name) == 0)
            return (int)i;
    }
    return -1;
}

/* Preparing has no other place where it can be ended: this one is called for each column and sub-query. */
static int on_authorize(void *arg, int action, const char *a, const char *b, const char *c, const char *d)
{
    struct select_db *db = arg;
    int i;

    (void)c;
    (void)d;
    if (is_over(db))
        return SQLITE_DENY;
    if (action == SQLITE_SELECT || action == SQLITE_RECURSIVE)
        return SQLITE_OK;
    if (action == SQLITE_READ && a != NULL && !str_has_prefix(a, "sqlite_")) {
        /* what is none of ours is a recursive WITH: there are no other tables, and no modules */
        i = relation_index(a);
        if (i >= 0)
            db->relations |= UINT64_C(1) << i;
        return SQLITE_OK;
    }
    if (action == SQLITE_FUNCTION && b != NULL && sql_function_find(b) != NULL)
        return SQLITE_OK;
    if (db->denied_action == 0) {
        db->denied_action = action;
        str_copy(db->denied, action == SQLITE_FUNCTION ? (b != NULL ? b : "") : (a != NULL ? a : ""),
                 sizeof(db->denied));
    }
    return SQLITE_DENY;
}

/* ---- errors ---- */

void select_db_fail(struct select_db *db, const char *sqlstate, const char *format, const char *arg)
{
    struct select_job *job = db->job;

    if (job->has_failed)
        return;
    job->has_failed = true;
    job->error.sqlstate = sqlstate;
    if (arg != NULL)
        snprintf(job->error.message, sizeof(job->error.message), format, CONSOLE_NAME_BYTES, arg);
    else
        str_copy(job->error.message, format, sizeof(job->error.message));
}

static void no_memory(struct select_db *db)
{
    select_db_fail(db, "53200", "the query needs more memory than the console gives it", NULL);
}

/* ---- the database ---- */

static char affinity(char type)
{
    return type == 'i' || type == 'q' || type == 'B' ? 'i' : type == 'N' ? 'N' : 's';
}

/* The declared type of a column says our type, and to SQLite its affinity. A numeric is REAL, so that
 * dividing two of them gives a fraction. */
static const char *declared_type(char type)
{
    switch (affinity(type)) {
    case 'i': return type == 'i' ? "INT4" : type == 'q' ? "INT8" : "BOOL_INT";
    case 'N': return "REAL";
    default: return type == 'T' ? "TIME_TEXT" : "TEXT";
    }
}

static char type_declared(const char *text)
{
    static const char types[] = {'i', 'q', 'B', 'N', 'T', 's'};

    for (size_t i = 0; text != NULL && i < sizeof(types); i++) {
        if (strcmp(declared_type(types[i]), text) == 0)
            return types[i];
    }
    return 0;
}

static bool create_table(struct select_db *db, const struct relation *relation)
{
    struct buf sql;
    char name[CONSOLE_NAME_BYTES];
    int rc;

    for (size_t i = 0; i == 0 || name[i - 1] != '\0'; i++)
        name[i] = relation->name[i] >= 'A' && relation->name[i] <= 'Z' ? (char)(relation->name[i] + 32)
                                                                       : relation->name[i];
    buf_init(&sql, 0);
    buf_printf(&sql, "CREATE TABLE \"%s\"(", name);
    for (uint16_t i = 0; i < relation->n_columns; i++)
        buf_printf(&sql, "%s\"%s\" %s", i > 0 ? "," : "", relation->columns[i].name,
                   declared_type(relation->columns[i].type));
    buf_append_str(&sql, ")");
    rc = sql.failed ? SQLITE_NOMEM : sqlite3_exec(db->db, buf_cstr(&sql), NULL, NULL, NULL);
    buf_free(&sql);
    return rc == SQLITE_OK;
}

static bool open_database(struct select_db *db)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_MEMORY | SQLITE_OPEN_NOMUTEX;

    /* of the process: only one job runs at a time */
    sqlite3_hard_heap_limit64(HEAP_BYTES);
    if (sqlite3_open_v2(":memory:", &db->db, flags, NULL) != SQLITE_OK)
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(limits); i++)
        sqlite3_limit(db->db, limits[i].limit, limits[i].value);
    sqlite3_db_config(db->db, SQLITE_DBCONFIG_MAINDBNAME, "public");
    sqlite3_db_config(db->db, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0, NULL);
    sqlite3_db_config(db->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(db->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    /* "x" is a column, never a string */
    sqlite3_db_config(db->db, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
    /* json_each and the like */
    sqlite3_drop_modules(db->db, NULL);
    sqlite3_progress_handler(db->db, PROGRESS_STEPS, on_progress, db);
    /* sorting stays in memory too, where it is bounded */
    return sqlite3_exec(db->db, "PRAGMA temp_store=MEMORY;PRAGMA case_sensitive_like=ON;BEGIN", NULL, NULL,
                        NULL) == SQLITE_OK &&
           select_db_add_functions(db);
}

/* ---- preparing ---- */

static bool prepare(struct select_db *db)
{
    struct buf sql;
    int rc;

    buf_init(&sql, 0);
    sql_translate(&db->tokens, &sql);
    sqlite3_set_authorizer(db->db, on_authorize, db);
    rc = sql.failed ? SQLITE_NOMEM
                    : sqlite3_prepare_v2(db->db, buf_cstr(&sql), (int)sql.len, &db->statement, NULL);
    buf_free(&sql);
    if (rc != SQLITE_OK) {
        select_db_explain(db, rc);
        return false;
    }
    if (db->statement == NULL || sqlite3_column_count(db->statement) == 0 ||
        !sqlite3_stmt_readonly(db->statement)) {
        select_db_fail(db, "25006", "the console only reads: SELECT", NULL);
        return false;
    }
    return true;
}

/* The type of the column of that name in the relations that the query names; 0 when they do not agree. */
static char scope_column_type(const void *arg, const char *name)
{
    const struct select_db *db = arg;
    const struct relation *relation;
    char type = 0;

    for (size_t i = 0; (relation = select_relation_at(i)) != NULL; i++) {
        if ((db->relations >> i & 1) == 0)
            continue;
        for (uint16_t k = 0; k < relation->n_columns; k++) {
            if (strcmp(relation->columns[k].name, name) != 0)
                continue;
            if (type != 0 && type != relation->columns[k].type)
                return 0;
            type = relation->columns[k].type;
        }
    }
    return type;
}

/* The item of the select list behind column i of n, or NULL: a star stands for what others leave over. */
static const struct sql_item *item_of_column(const struct sql_item *items, uint32_t n_items, uint32_t i,
                                             uint32_t n)
{
    uint32_t star = n_items, stars = 0;

    for (uint32_t k = 0; k < n_items; k++) {
        if (items[k].is_star) {
            star = k;
            stars++;
        }
    }
    if (stars == 0)
        return n == n_items ? &items[i] : NULL;
    if (stars > 1 || n + 1 < n_items)
        return NULL;
    if (i < star)
        return &items[i];
    return n - i < n_items - star ? &items[n_items - (n - i)] : NULL;
}

static bool describe_columns(struct select_db *db)
{
    struct select_plan *plan = db->job->plan;
    int n = sqlite3_column_count(db->statement);
    const struct sql_scope scope = {.column_type = scope_column_type, .arg = db};
    struct sql_item *items = calloc(CONSOLE_MAX_COLUMNS, sizeof(*items));
    uint32_t n_items = 0;

    plan->columns = calloc((size_t)n, sizeof(*plan->columns));
    if (items != NULL)
        n_items = sql_select_items(&db->tokens, items, CONSOLE_MAX_COLUMNS);
    for (int i = 0; items != NULL && plan->columns != NULL && i < n; i++) {
        const struct sql_item *item = item_of_column(items, n_items, (uint32_t)i, (uint32_t)n);
        const char *name =
            item != NULL && item->name[0] != '\0' ? item->name : sqlite3_column_name(db->statement, i);
        char type = type_declared(sqlite3_column_decltype(db->statement, i));

        if (type == 0 && item != NULL)
            type = sql_expression_type(&db->tokens, item->from, item->to, &scope);
        plan->columns[i].type = type != 0 ? type : 's';
        plan->columns[i].name = name != NULL ? strdup(name) : NULL;
        if (plan->columns[i].name == NULL)
            break;
        plan->n_columns++;
    }
    free(items);
    return plan->n_columns == n;
}

/* Parameters are $1 to $n, as in PostgreSQL. */
static void describe_parameters(struct select_db *db)
{
    struct select_plan *plan = db->job->plan;
    const struct sql_scope scope = {.column_type = scope_column_type, .arg = db};
    int count = sqlite3_bind_parameter_count(db->statement);

    for (int i = 1; i <= count; i++) {
        const char *name = sqlite3_bind_parameter_name(db->statement, i);
        int64_t number = 0;

        if (name == NULL || name[0] != '$' || !str_to_int64(name + 1, &number) || number < 1) {
            select_db_fail(db, "42601", "syntax error at or near \"%.*s\"", name != NULL ? name : "?");
            return;
        }
        if (number > SELECT_MAX_PARAMETERS) {
            select_db_fail(db, "54000", "too many parameters: %.*s", name);
            return;
        }
        if (number > plan->n_parameters)
            plan->n_parameters = (uint16_t)number;
    }
    for (uint32_t i = 0; i < plan->n_parameters; i++) {
        if (plan->parameter_types[i] == 0)
            plan->parameter_types[i] = column_type_oid(sql_parameter_type(&db->tokens, i + 1, &scope));
    }
}

static void work_prepare(struct select_db *db)
{
    const struct relation *relation;

    for (size_t i = 0; (relation = select_relation_at(i)) != NULL; i++) {
        if (relation->columns != NULL && !create_table(db, relation)) {
            no_memory(db);
            return;
        }
    }
    if (!prepare(db))
        return;
    db->job->plan->relations = db->relations;
    /* SQLite says nothing of a relation of which only the columns of a USING or a NATURAL JOIN are read */
    for (size_t i = 0; (relation = select_relation_at(i)) != NULL; i++) {
        if (relation->columns != NULL && sql_may_name(&db->tokens, relation->name))
            db->job->plan->relations |= UINT64_C(1) << i;
    }
    if (!describe_columns(db))
        no_memory(db);
    describe_parameters(db);
}

/* ---- running ---- */

/* One DataRow into the insert. */
static int insert_row(sqlite3_stmt *insert, const uint8_t *body, uint32_t len)
{
    struct wire_reader r;
    int n;

    wire_reader_init(&r, body, len);
    n = wire_read_u16(&r);
    for (int i = 1; i <= n; i++) {
        uint32_t bytes = wire_read_u32(&r);

        if (bytes == UINT32_MAX)
            sqlite3_bind_null(insert, i);
        else
            sqlite3_bind_text(insert, i, (const char *)wire_read_bytes(&r, bytes), (int)bytes, SQLITE_STATIC);
    }
    if (sqlite3_step(insert) != SQLITE_DONE)
        return sqlite3_reset(insert);
    return sqlite3_reset(insert);
}

static int load(struct select_db *db, const struct relation *relation, struct buf *rows)
{
    sqlite3_stmt *insert = NULL;
    struct buf sql;
    int rc;

    buf_init(&sql, 0);
    buf_printf(&sql, "INSERT INTO \"%s\" VALUES(", relation->name);
    for (uint16_t i = 0; i < relation->n_columns; i++)
        buf_append_str(&sql, i > 0 ? ",?" : "?");
    buf_append_str(&sql, ")");
    rc = sql.failed ? SQLITE_NOMEM : sqlite3_prepare_v2(db->db, buf_cstr(&sql), -1, &insert, NULL);
    buf_free(&sql);
    for (uint32_t at = 0; rc == SQLITE_OK && at < rows->len;) {
        uint32_t len = wire_u32(rows->data + at + 1);

        rc = insert_row(insert, rows->data + at + WIRE_HEADER_BYTES, len - 4);
        at += 1 + len;
    }
    sqlite3_finalize(insert);
    buf_free(rows);
    return rc;
}

static void bind_values(struct select_db *db)
{
    int count = sqlite3_bind_parameter_count(db->statement);

    for (int i = 1; i <= count; i++) {
        const char *name = sqlite3_bind_parameter_name(db->statement, i);
        const struct select_value *v;
        int64_t number = 0;

        if (name == NULL || !str_to_int64(name + 1, &number) || number < 1 || number > db->job->n_values)
            continue;
        v = &db->job->values[number - 1];
        switch (v->kind) {
        case 'i': sqlite3_bind_int64(db->statement, i, v->i); break;
        case 'f': sqlite3_bind_double(db->statement, i, v->f); break;
        case 's': sqlite3_bind_text(db->statement, i, v->text, (int)v->len, SQLITE_STATIC); break;
        default: sqlite3_bind_null(db->statement, i); break;
        }
    }
}

static bool put_row(struct select_db *db, struct result *r)
{
    result_row(r);
    for (uint16_t i = 0; i < r->n_columns; i++) {
        if (select_db_put_value(db, r, i))
            continue;
        select_db_fail(db, "42804", "column \"%.*s\" has values of different types: cast it, as in x::text",
                       r->columns[i].name);
        return false;
    }
    result_row_end(r);
    return true;
}

static void work_run(struct select_db *db)
{
    struct select_job *job = db->job;
    struct result r = {.out = &job->out,
                       .columns = job->plan->columns,
                       .n_columns = job->plan->n_columns,
                       .binary = job->binary};
    int rc = SQLITE_OK;

    for (size_t i = 0; rc == SQLITE_OK && i < SELECT_MAX_RELATIONS; i++) {
        if ((job->plan->relations >> i & 1) == 0)
            continue;
        rc = create_table(db, select_relation_at(i)) ? load(db, select_relation_at(i), &job->rows[i])
                                                     : SQLITE_NOMEM;
    }
    if (rc != SQLITE_OK) {
        select_db_explain(db, rc);
        return;
    }
    if (!prepare(db))
        return;
    bind_values(db);
    buf_init(&job->out, RESULT_MAX_BYTES);
    while ((rc = sqlite3_step(db->statement)) == SQLITE_ROW) {
        if (job->n_rows == RESULT_MAX_ROWS) {
            select_db_fail(db, "54000", "the result has too many rows: use LIMIT", NULL);
            return;
        }
        if (!put_row(db, &r))
            return;
        if (job->out.failed) {
            select_db_fail(db, "54000", "the result is too large: use LIMIT", NULL);
            return;
        }
        job->n_rows++;
    }
    if (rc != SQLITE_DONE)
        select_db_explain(db, rc);
}

/* What a large query took goes back to the system: malloc keeps it for this thread, and the next one may run
 * on another. */
static void give_back_memory(void)
{
    if (sqlite3_memory_highwater(1) < LARGE_BYTES)
        return;
#ifdef HAVE_MALLOC_TRIM
    malloc_trim(0);
#endif
}

bool select_is_built(void)
{
    return true;
}

void select_work(struct helper_job *helper)
{
    struct select_job *job = container_of(helper, struct select_job, helper);
    struct select_db db = {.job = job};

    db.deadline_us = clock_thread_us() + (job->stage == SELECT_PREPARE ? PREPARE_TIME_US : RUN_TIME_US);
    if (!sql_tokenize(job->plan->sql, job->plan->sql_bytes, &db.tokens))
        select_db_fail(&db, "54001", "the query is too complex", NULL);
    else if (!open_database(&db))
        no_memory(&db);
    else if (job->stage == SELECT_PREPARE)
        work_prepare(&db);
    else
        work_run(&db);
    sqlite3_finalize(db.statement);
    sqlite3_close(db.db);
    give_back_memory();
    free(db.tokens.at);
    if (job->has_failed)
        buf_free(&job->out);
}
