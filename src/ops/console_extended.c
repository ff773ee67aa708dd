/*
 * console_extended.c - the extended protocol of the console.
 *
 * Drivers that know nothing else (asyncpg, JDBC by default) get everything that
 * the simple protocol offers. Only queries have parameters. A portal is run at its
 * first Execute, into its own buffer; each Execute hands out as many rows as it
 * asks for.
 *
 * Threads: the control thread only.
 * Source: PostgreSQL documentation, "Extended Query" in "Message Flow".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "ops_int.h"
#include "wire/codec.h"

/* A prepared statement; the unnamed one has the name "". */
struct prepared {
    struct list node; /* session->prepared */
    struct statement statement;
    char name[];
};

struct portal {
    struct list node; /* session->portals */
    struct statement statement;
    struct column_set binary;
    struct select_value *values; /* of a query's parameters */
    uint16_t n_values;
    bool has_run;
    struct buf rows;  /* DataRow messages, and notices of a command without rows */
    uint32_t rows_at; /* handed out so far */
    char tag[sizeof(((struct session *)0)->tag)];
    char name[];
};

static struct prepared *prepared_find(struct session *s, const char *name)
{
    LIST_FOR_EACH (it, &s->prepared) {
        struct prepared *p = list_entry(it, struct prepared, node);

        if (strcmp(p->name, name) == 0)
            return p;
    }
    return NULL;
}

static struct portal *portal_find(struct session *s, const char *name)
{
    LIST_FOR_EACH (it, &s->portals) {
        struct portal *p = list_entry(it, struct portal, node);

        if (strcmp(p->name, name) == 0)
            return p;
    }
    return NULL;
}

static void prepared_free(struct prepared *p)
{
    select_plan_unref(p->statement.plan);
    free(p);
}

static void prepared_close(struct session *s, struct prepared *p)
{
    if (p == NULL)
        return;
    list_del(&p->node);
    s->n_prepared--;
    prepared_free(p);
}

static void portal_free(struct portal *p)
{
    select_plan_unref(p->statement.plan);
    select_values_free(p->values, p->n_values);
    buf_free(&p->rows);
    free(p);
}

static void portal_close(struct session *s, struct portal *p)
{
    if (p == NULL)
        return;
    list_del(&p->node);
    s->n_portals--;
    portal_free(p);
}

void extended_close_portals(struct session *s)
{
    LIST_FOR_EACH_SAFE (it, &s->portals)
        portal_close(s, list_entry(it, struct portal, node));
}

void extended_close_all(struct session *s)
{
    extended_close_portals(s);
    LIST_FOR_EACH_SAFE (it, &s->prepared)
        prepared_close(s, list_entry(it, struct prepared, node));
    if (s->preparing != NULL)
        prepared_free(s->preparing);
    s->preparing = NULL;
}

/* Every error makes what follows be ignored until Sync. */
static void extended_error(struct session *s, const char *sqlstate, const char *message, const char *hint)
{
    session_error(s, sqlstate, message, NULL, hint != NULL && hint[0] != '\0' ? hint : NULL);
    s->skips_to_sync = true;
}

static void no_such(struct session *s, const char *sqlstate, const char *what, const char *name)
{
    char message[CONSOLE_NAME_BYTES + 64];

    snprintf(message, sizeof(message), "%s \"%.*s\" does not exist", what, CONSOLE_NAME_BYTES, name);
    extended_error(s, sqlstate, message, NULL);
}

static void put_empty(struct session *s, uint8_t type)
{
    wire_end(&s->out, wire_begin(&s->out, type));
}

/* ---- Parse ---- */

static bool parse_one(struct session *s, const char *sql, struct statement *st)
{
    struct parse_error e;

    if (!statement_parse(&sql, st, &e)) {
        extended_error(s, e.sqlstate, e.message, e.hint);
        return false;
    }
    if (!statement_is_last(sql)) {
        extended_error(s, "42601", "cannot insert multiple commands into a prepared statement", NULL);
        return false;
    }
    return true;
}

static void keep_prepared(struct session *s, struct prepared *p)
{
    list_push_back(&s->prepared, &p->node);
    s->n_prepared++;
    put_empty(s, '1');
}

/* What the columns are is known when extended_parsed() follows. */
static void parse_query(struct session *s, struct prepared *p, const uint8_t *types, uint16_t n_types)
{
    struct select_plan *plan = select_plan_new(p->statement.query, p->statement.query_bytes);

    p->statement.plan = plan;
    p->statement.query = NULL; /* the plan has its own copy; this one goes with the input */
    if (plan == NULL) {
        extended_error(s, "53200", "out of memory", NULL);
    } else if (!select_plan_set_types(plan, types, n_types)) {
        extended_error(s, "54000", "too many parameters", NULL);
    } else {
        s->preparing = p;
        if (select_prepare(s, plan))
            return;
        s->preparing = NULL;
        extended_error(s, "53200", "out of memory", NULL);
    }
    prepared_free(p);
}

static bool on_parse(struct session *s, struct wire_reader *r)
{
    const char *name = wire_read_cstr(r);
    const char *sql = wire_read_cstr(r);
    uint16_t n_types = wire_read_u16(r);
    const uint8_t *types = wire_read_bytes(r, (size_t)n_types * 4);
    struct prepared *p;
    size_t name_bytes;

    if (!wire_reader_done(r))
        return false;
    name_bytes = strlen(name) + 1;
    if (name[0] == '\0') {
        prepared_close(s, prepared_find(s, name));
    } else if (prepared_find(s, name) != NULL) {
        extended_error(s, "42P05", "prepared statement name is already in use", NULL);
        return true;
    }
    if (s->n_prepared >= CONSOLE_MAX_KEPT) {
        extended_error(s, "54000", "too many prepared statements", NULL);
        return true;
    }
    p = calloc(1, sizeof(*p) + name_bytes);
    if (p == NULL) {
        extended_error(s, "53200", "out of memory", NULL);
        return true;
    }
    if (!parse_one(s, sql, &p->statement)) {
        free(p);
        return true;
    }
    memcpy(p->name, name, name_bytes);
    if (p->statement.query != NULL)
        parse_query(s, p, types, n_types);
    else
        keep_prepared(s, p);
    return true;
}

void extended_parsed(struct session *s, enum command_outcome outcome)
{
    struct prepared *p = s->preparing;

    s->preparing = NULL;
    if (outcome == COMMAND_DONE) {
        keep_prepared(s, p);
        return;
    }
    s->skips_to_sync = true;
    prepared_free(p);
}

/* ---- Bind ---- */

/* Result formats of a Bind: none, one for all, or one each. False: an error has been written. */
static bool read_formats(struct session *s, struct wire_reader *r, uint16_t n_columns,
                         struct column_set *binary)
{
    uint16_t n = wire_read_u16(r);
    const uint8_t *formats = wire_read_bytes(r, (size_t)n * 2);

    memset(binary, 0, sizeof(*binary));
    if (!wire_reader_done(r))
        return true; /* the caller sees it */
    if (n > 1 && n != n_columns) {
        extended_error(s, "08P01", "number of result formats does not match the number of columns", NULL);
        return false;
    }
    for (uint16_t i = 0; i < n_columns && n > 0; i++) {
        uint16_t format = wire_u16(formats + 2 * (n == 1 ? 0 : i));

        if (format > 1) {
            extended_error(s, "22023", "unsupported format code", NULL);
            return false;
        }
        if (format == 1)
            column_set_add(binary, i);
    }
    return true;
}

/* NULL: an error has been written. */
static struct portal *portal_new(struct session *s, const char *name, const struct prepared *from,
                                 uint16_t n_values)
{
    size_t name_bytes = strlen(name) + 1;
    struct portal *p = calloc(1, sizeof(*p) + name_bytes);
    struct select_value *values = calloc((size_t)n_values + 1, sizeof(*values));

    if (p == NULL || values == NULL) {
        free(p);
        free(values);
        extended_error(s, "53200", "out of memory", NULL);
        return NULL;
    }
    p->statement = from->statement;
    select_plan_ref(p->statement.plan);
    p->values = values;
    p->n_values = n_values;
    buf_init(&p->rows, 0);
    memcpy(p->name, name, name_bytes);
    list_init(&p->node);
    return p;
}

/* As many parameters as the statement has, in formats that there are. False: an error has been written. */
static bool check_parameters(struct session *s, const struct prepared *from, uint16_t n,
                             const uint8_t *formats, uint16_t n_formats)
{
    uint16_t n_wanted = 0;
    char message[128];

    if (from->statement.plan != NULL)
        (void)select_plan_parameters(from->statement.plan, &n_wanted);
    if (n != n_wanted) {
        snprintf(message, sizeof(message),
                 "bind message supplies %u parameters, but the statement requires %u", n, n_wanted);
        extended_error(s, "08P01", message, NULL);
        return false;
    }
    if (n_formats > 1 && n_formats != n) {
        extended_error(s, "08P01", "number of parameter formats does not match the number of parameters",
                       NULL);
        return false;
    }
    for (uint16_t i = 0; i < n_formats; i++) {
        if (wire_u16(formats + 2 * i) > 1) {
            extended_error(s, "22023", "unsupported format code", NULL);
            return false;
        }
    }
    return true;
}

/* The values of the parameters, the formats of the columns. False: an error has been written, or the message
 * is bad. */
static bool portal_read(struct session *s, struct portal *p, struct wire_reader *r, const uint8_t *formats,
                        uint16_t n_formats)
{
    struct parse_error e = {.hint = ""};
    uint16_t n = 0, n_columns;

    if (p->statement.plan != NULL &&
        !select_read_values(r, formats, n_formats, select_plan_parameters(p->statement.plan, &n), p->values,
                            p->n_values, &e)) {
        extended_error(s, e.sqlstate, e.message, NULL);
        return false;
    }
    (void)statement_columns(&p->statement, &n_columns);
    return read_formats(s, r, n_columns, &p->binary) && wire_reader_done(r);
}

static void portal_keep(struct session *s, struct portal *p)
{
    if (p->name[0] == '\0')
        portal_close(s, portal_find(s, p->name));
    if (portal_find(s, p->name) != NULL)
        extended_error(s, "42P03", "portal name is already in use", NULL);
    else if (s->n_portals >= CONSOLE_MAX_KEPT)
        extended_error(s, "54000", "too many portals", NULL);
    if (s->skips_to_sync) {
        portal_free(p);
        return;
    }
    list_push_back(&s->portals, &p->node);
    s->n_portals++;
    put_empty(s, '2');
}

static bool on_bind(struct session *s, struct wire_reader *r)
{
    const char *name = wire_read_cstr(r);
    const char *from_name = wire_read_cstr(r);
    uint16_t n_formats = wire_read_u16(r), n_parameters;
    const uint8_t *formats = wire_read_bytes(r, (size_t)n_formats * 2);
    struct prepared *from;
    struct portal *p;

    n_parameters = wire_read_u16(r);
    if (r->bad)
        return false;
    from = prepared_find(s, from_name);
    if (from == NULL) {
        no_such(s, "26000", "prepared statement", from_name);
        return true;
    }
    if (!check_parameters(s, from, n_parameters, formats, n_formats))
        return true;
    p = portal_new(s, name, from, n_parameters);
    if (p == NULL)
        return true;
    if (portal_read(s, p, r, formats, n_formats)) {
        portal_keep(s, p);
        return true;
    }
    portal_free(p);
    return s->skips_to_sync;
}

/* ---- Describe, Close ---- */

static void describe(struct session *s, const struct statement *st, const struct column_set *binary)
{
    uint16_t n;
    const struct column *columns = statement_columns(st, &n);

    if (columns != NULL)
        result_describe(&s->out, columns, n, binary);
    else
        put_empty(s, 'n'); /* NoData */
}

static void put_parameters(struct session *s, const struct select_plan *plan)
{
    uint32_t offset = wire_begin(&s->out, 't'); /* ParameterDescription */
    const uint32_t *types = NULL;
    uint16_t n = 0;

    if (plan != NULL)
        types = select_plan_parameters(plan, &n);
    wire_put_u16(&s->out, n);
    for (uint16_t i = 0; i < n; i++)
        wire_put_u32(&s->out, types[i]);
    wire_end(&s->out, offset);
}

static bool on_describe(struct session *s, struct wire_reader *r)
{
    uint8_t kind = wire_read_u8(r);
    const char *name = wire_read_cstr(r);

    if (!wire_reader_done(r) || (kind != 'S' && kind != 'P'))
        return false;
    if (kind == 'S') {
        struct prepared *p = prepared_find(s, name);

        if (p == NULL) {
            no_such(s, "26000", "prepared statement", name);
            return true;
        }
        put_parameters(s, p->statement.plan);
        describe(s, &p->statement, NULL);
    } else {
        struct portal *p = portal_find(s, name);

        if (p == NULL)
            no_such(s, "34000", "portal", name);
        else
            describe(s, &p->statement, &p->binary);
    }
    return true;
}

static bool on_close(struct session *s, struct wire_reader *r)
{
    uint8_t kind = wire_read_u8(r);
    const char *name = wire_read_cstr(r);

    if (!wire_reader_done(r) || (kind != 'S' && kind != 'P'))
        return false;
    if (kind == 'S')
        prepared_close(s, prepared_find(s, name));
    else
        portal_close(s, portal_find(s, name));
    put_empty(s, '3');
    return true;
}

/* ---- Execute ---- */

/* Hands out up to session->max_rows rows (0 = all) of a portal that has run. */
static void portal_emit(struct session *s, struct portal *p)
{
    const uint8_t *rows = p->rows.data;
    uint32_t end = p->rows_at;
    int32_t n = 0;

    while (end < p->rows.len && (s->max_rows <= 0 || n < s->max_rows)) {
        n += rows[end] == 'D';
        end += 1 + wire_u32(rows + end + 1);
    }
    if (end > p->rows_at)
        buf_append(&s->out, rows + p->rows_at, end - p->rows_at);
    p->rows_at = end;
    if (end < p->rows.len)
        put_empty(s, 's'); /* PortalSuspended */
    else
        wire_put_command_complete(&s->out, p->tag);
}

void extended_finish(struct session *s, enum command_outcome outcome)
{
    struct portal *p = s->portal;

    s->portal = NULL;
    if (outcome == COMMAND_FAILED) {
        s->skips_to_sync = true;
        portal_close(s, p);
        return;
    }
    if (p->rows.failed) {
        extended_error(s, "53200", "out of memory", NULL);
        portal_close(s, p);
        return;
    }
    p->has_run = true;
    str_copy(p->tag, s->tag, sizeof(p->tag));
    portal_emit(s, p);
}

static bool on_execute(struct session *s, struct wire_reader *r)
{
    const char *name = wire_read_cstr(r);
    int32_t max_rows = (int32_t)wire_read_u32(r);
    enum command_outcome outcome;
    struct portal *p;

    if (!wire_reader_done(r))
        return false;
    p = portal_find(s, name);
    if (p == NULL) {
        no_such(s, "34000", "portal", name);
        return true;
    }
    if (p->statement.command == NULL) {
        put_empty(s, 'I'); /* EmptyQueryResponse */
        return true;
    }
    s->max_rows = max_rows;
    if (p->has_run) {
        uint16_t n_columns;

        if (statement_columns(&p->statement, &n_columns) == NULL)
            extended_error(s, "55000", "portal has been run to completion", NULL);
        else
            portal_emit(s, p);
        return true;
    }
    s->portal = p;
    s->result = (struct result){.out = &p->rows, .binary = p->binary};
    s->result.columns = statement_columns(&p->statement, &s->result.n_columns);
    outcome = command_run(s, &p->statement, &s->result);
    if (outcome != COMMAND_WAITS)
        extended_finish(s, outcome);
    return true;
}

static bool on_sync(struct session *s, struct wire_reader *r)
{
    if (!wire_reader_done(r))
        return false;
    s->skips_to_sync = false;
    if (!s->is_in_block)
        extended_close_portals(s);
    wire_put_ready(&s->out, 'I');
    return true;
}

const struct select_value *extended_values(const struct session *s, uint16_t *n)
{
    *n = s->portal != NULL ? s->portal->n_values : 0;
    return s->portal != NULL ? s->portal->values : NULL;
}

bool extended_message(struct session *s, uint8_t type, const uint8_t *body, uint32_t len_bytes)
{
    struct wire_reader r;

    wire_reader_init(&r, body, len_bytes);
    switch (type) {
    case 'P': return on_parse(s, &r);
    case 'B': return on_bind(s, &r);
    case 'D': return on_describe(s, &r);
    case 'C': return on_close(s, &r);
    case 'E': return on_execute(s, &r);
    case 'S': return on_sync(s, &r);
    case 'H': return wire_reader_done(&r); /* Flush: the answer goes out as it is anyway */
    default: return false;
    }
}
