/*
 * select.c - SELECT over the relations of SHOW: jobs, their rows, their answers.
 *
 * A query is a job for a helper thread, twice: to be prepared, which tells what relations
 * it names; and, when their rows have been copied, to run. In between the workers are
 * asked, once for all that the query needs. One job is with the helpers at a time: the
 * bound of memory is then that of one query, and names can always be looked up. The others wait in
 * order.
 *
 * A session that goes, or that cancels, marks its job; the helper looks at the mark while
 * it runs.
 *
 * Threads: the control thread. While job->is_running the job is the helper's, but for
 * is_cancelled, session and node.
 * Not here: SQLite (select_db.c).
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"
#include "select_int.h"
#include "wire/codec.h"

#define LOAD_MAX_BYTES (64u << 20) /* of the rows of one relation */

const struct relation *select_relation_at(size_t i)
{
    _Static_assert(SELECT_MAX_RELATIONS == 64, "bits of a mask");
    if (i < relation_count())
        return relation_at(i);
    return i - relation_count() < catalog_count() ? catalog_at(i - relation_count()) : NULL;
}

bool select_is_keyword(const char *name)
{
    return sql_is_keyword_function(name) || strcasecmp(name, "current_date") == 0 ||
           strcasecmp(name, "current_time") == 0 || strcasecmp(name, "current_timestamp") == 0 ||
           strcasecmp(name, "user") == 0;
}

const char *select_find_end(const char *sql, size_t len)
{
    const char *p = sql, *end = sql + len;
    struct sql_token t;

    for (;;) {
        p = sql_next(p, end, &t);
        if (t.kind == SQL_BAD)
            return NULL;
        if (t.kind == SQL_END || sql_is_symbol(&t, ";"))
            return t.text;
    }
}

/* ---- plans ---- */

struct select_plan *select_plan_new(const char *sql, uint32_t sql_bytes)
{
    struct select_plan *plan = calloc(1, sizeof(*plan));

    if (plan == NULL)
        return NULL;
    plan->refs = 1;
    plan->sql = strndup(sql, sql_bytes);
    plan->sql_bytes = sql_bytes;
    if (plan->sql == NULL) {
        free(plan);
        return NULL;
    }
    return plan;
}

struct select_plan *select_plan_ref(struct select_plan *plan)
{
    if (plan != NULL)
        plan->refs++;
    return plan;
}

void select_plan_unref(struct select_plan *plan)
{
    if (plan == NULL || --plan->refs > 0)
        return;
    for (uint16_t i = 0; i < plan->n_columns; i++)
        free((void *)(uintptr_t)plan->columns[i].name);
    free(plan->columns);
    free(plan->sql);
    free(plan);
}

const struct column *select_plan_columns(const struct select_plan *plan, uint16_t *n)
{
    *n = plan->n_columns;
    return plan->columns;
}

const uint32_t *select_plan_parameters(const struct select_plan *plan, uint16_t *n)
{
    *n = plan->n_parameters;
    return plan->parameter_types;
}

bool select_plan_set_types(struct select_plan *plan, const uint8_t *oids, uint16_t n)
{
    if (n > SELECT_MAX_PARAMETERS)
        return false;
    for (uint16_t i = 0; i < n; i++)
        plan->parameter_types[i] = wire_u32(oids + 4 * i);
    plan->n_parameters = n; /* at least: they may not all be used */
    return true;
}

/* ---- jobs ---- */

static void job_free(struct select_job *job)
{
    list_del(&job->node);
    for (size_t i = 0; i < SELECT_MAX_RELATIONS; i++)
        buf_free(&job->rows[i]);
    for (uint16_t i = 0; i < job->n_values; i++)
        free(job->values[i].text);
    buf_free(&job->out);
    select_plan_unref(job->plan);
    free(job);
}

static struct select_job *job_new(struct session *s, struct select_plan *plan, enum select_stage stage)
{
    struct select_job *job = calloc(1, sizeof(*job));

    if (job == NULL)
        return NULL;
    list_init(&job->node);
    job->session = s;
    job->plan = select_plan_ref(plan);
    job->stage = stage;
    job->helper.work = select_work;
    job->helper.mail.type = MAIL_CONSOLE_WORKED;
    str_copy(job->user, s->user, sizeof(job->user));
    s->select = job;
    return job;
}

/* Gives the first job to the helpers, unless one is there. */
static void start_next(struct console *c)
{
    struct select_job *job = list_first_entry(&c->selects, struct select_job, node);

    if (job == NULL || job->is_running)
        return;
    job->is_running = true;
    c->hooks.submit(c->hooks.arg, &job->helper);
}

static void job_enqueue(struct session *s, struct select_job *job)
{
    s->wait = WAIT_SELECT;
    list_push_back(&s->console->selects, &job->node);
    start_next(s->console);
}

void select_abandon(struct session *s)
{
    struct select_job *job = s->select;

    if (job == NULL)
        return;
    s->select = NULL;
    job->session = NULL;
    atomic_store_explicit(&job->is_cancelled, true, memory_order_relaxed);
    if (!job->is_running)
        job_free(job);
}

void select_interrupt_all(struct console *c)
{
    LIST_FOR_EACH (it, &c->selects)
        atomic_store_explicit(&list_entry(it, struct select_job, node)->is_cancelled, true,
                              memory_order_relaxed);
}

void select_free_all(struct console *c)
{
    LIST_FOR_EACH_SAFE (it, &c->selects)
        job_free(list_entry(it, struct select_job, node));
}

bool select_cancel(struct session *s)
{
    if (s->select == NULL)
        return false;
    if (s->select->is_running) {
        atomic_store_explicit(&s->select->is_cancelled, true, memory_order_relaxed);
        return true;
    }
    select_fail(s, "57014", "canceling statement due to user request", NULL);
    return true;
}

void select_fail(struct session *s, const char *sqlstate, const char *message, const char *hint)
{
    gather_abandon(s);
    select_abandon(s);
    session_error(s, sqlstate, message, NULL, hint);
    session_finish(s, COMMAND_FAILED);
}

/* ---- preparing ---- */

bool select_prepare(struct session *s, struct select_plan *plan)
{
    struct select_job *job = job_new(s, plan, SELECT_PREPARE);

    if (job == NULL)
        return false;
    job_enqueue(s, job);
    return true;
}

/* ---- running ---- */

static unsigned kinds_of(const struct select_plan *plan)
{
    const struct relation *relation;
    unsigned kinds = 0;

    for (size_t i = 0; (relation = select_relation_at(i)) != NULL; i++) {
        if ((plan->relations >> i & 1) != 0)
            kinds |= relation->gather;
    }
    return kinds;
}

/* Copies the rows of all relations that the query names. False: too many. */
static bool load(struct session *s, const struct gathering *g)
{
    struct select_job *job = s->select;
    const struct relation *relation;

    for (size_t i = 0; (relation = select_relation_at(i)) != NULL; i++) {
        struct result r = {
            .out = &job->rows[i], .columns = relation->columns, .n_columns = relation->n_columns};

        if ((job->plan->relations >> i & 1) == 0)
            continue;
        buf_init(r.out, LOAD_MAX_BYTES);
        relation_fill(relation, s->console, &r, g);
        if (r.out->failed)
            return false;
    }
    return true;
}

bool select_execute(struct session *s, struct select_plan *plan, const struct select_value *values,
                    uint16_t n_values)
{
    struct select_job *job = job_new(s, plan, SELECT_RUN);
    unsigned kinds = kinds_of(plan);

    if (job == NULL)
        return false;
    job->binary = s->result.binary;
    for (uint16_t i = 0; i < n_values; i++) {
        job->values[i] = values[i];
        job->values[i].text = NULL;
        job->n_values = (uint16_t)(i + 1);
        if (values[i].text == NULL)
            continue;
        job->values[i].text = malloc((size_t)values[i].len + 1);
        if (job->values[i].text == NULL) {
            select_abandon(s);
            return false;
        }
        memcpy(job->values[i].text, values[i].text, (size_t)values[i].len + 1);
    }
    if (kinds != 0 && gather_start(s, kinds))
        return true; /* select_gathered() follows */
    if (kinds != 0 || !load(s, NULL)) {
        select_abandon(s);
        return false;
    }
    job_enqueue(s, job);
    return true;
}

void select_gathered(struct session *s, const struct gathering *g)
{
    bool is_loaded = load(s, g);

    gather_abandon(s);
    if (is_loaded)
        job_enqueue(s, s->select);
    else
        select_fail(s, "53200", "the rows of the relation need more memory than the console gives a query",
                    NULL);
}

/* ---- answers ---- */

/* A simple Query runs at once; what Parse has asked for waits for Bind. */
static void on_prepared(struct session *s, struct select_plan *plan)
{
    if (s->preparing != NULL) {
        session_finish(s, COMMAND_DONE);
        return;
    }
    s->statement.plan = select_plan_ref(plan);
    s->result.columns = select_plan_columns(plan, &s->result.n_columns);
    if (plan->n_parameters > 0)
        select_fail(s, "42P02", "there is no parameter $1", NULL);
    else if (!select_execute(s, plan, NULL, 0))
        select_fail(s, "53200", "out of memory", NULL);
}

static void on_rows(struct session *s, const struct select_job *job)
{
    result_begin(&s->result);
    buf_append(s->result.out, job->out.data, job->out.len);
    snprintf(s->tag, sizeof(s->tag), "SELECT %" PRIu64, job->n_rows);
    session_finish(s, COMMAND_DONE);
}

void console_on_worked(struct console *c, struct mail *mail)
{
    struct select_job *job =
        container_of(container_of(mail, struct helper_job, mail), struct select_job, helper);
    struct session *s = job->session;

    job->is_running = false;
    list_del(&job->node);
    start_next(c);
    if (s != NULL) {
        s->select = NULL;
        if (job->has_failed)
            select_fail(s, job->error.sqlstate, job->error.message,
                        job->error.hint[0] != '\0' ? job->error.hint : NULL);
        else if (job->stage == SELECT_PREPARE)
            on_prepared(s, job->plan);
        else
            on_rows(s, job);
    }
    job_free(job);
}
