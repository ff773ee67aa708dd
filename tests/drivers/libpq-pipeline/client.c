/*
 * client.c - the work with libpq: in odd clients one request after the other, in even ones in pipeline mode,
 * where each step is one pipeline. Each client is a process.
 */
#include <libpq-fe.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PIPELINE 40

static PGconn *conn;
static int n;
static bool is_pipelined;

static void fail(const char *what)
{
    fprintf(stderr, "client %d: %s: %s\n", n, what, PQerrorMessage(conn));
    exit(1);
}

/* One write for each line, as the clients have one output. */
__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
    char line[8192];
    va_list args;
    int length = snprintf(line, sizeof(line), "%d ", n);

    va_start(args, format);
    length += vsnprintf(line + length, sizeof(line) - (size_t)length - 1, format, args);
    va_end(args);
    line[length++] = '\n';
    if (write(STDOUT_FILENO, line, (size_t)length) != length)
        exit(1);
}

/* The statement as the environment gives it, with the client's number. */
static const char *text_of(const char *name)
{
    static char sql[1024];
    char variable[64];
    const char *text, *mark;

    snprintf(variable, sizeof(variable), "SQL_%s", name);
    text = getenv(variable);
    mark = strstr(text, "{n}");
    if (mark)
        snprintf(sql, sizeof(sql), "%.*s%d%s", (int)(mark - text), text, n, mark + 3);
    else
        snprintf(sql, sizeof(sql), "%s", text);
    return sql;
}

/* ---- what is prepared; all clients use the same names */

static const char *prepared[16];

static bool is_new(const char *name)
{
    for (size_t i = 0; i < 16; i++) {
        if (!prepared[i]) {
            prepared[i] = name;
            return true;
        }
        if (strcmp(prepared[i], name) == 0)
            return false;
    }
    fail("too many statements");
    return false;
}

/* ---- requests: sent at once, answered one by one; finish() takes what is answered to the end */

struct answers {
    PGresult *results[PIPELINE * 2];
    int count;
};

static void send_query(const char *name, int count, const char *const *values)
{
    if (!PQsendQueryPrepared(conn, name, count, values, NULL, NULL, 0))
        fail("PQsendQueryPrepared");
}

static void send_prepare(const char *name)
{
    if (!PQsendPrepare(conn, name, text_of(name), 0, NULL))
        fail("PQsendPrepare");
}

/* All results of one request; more than one NULL in a row stands for none left. */
static void take(struct answers *all)
{
    PGresult *result;

    while ((result = PQgetResult(conn)) != NULL) {
        ExecStatusType status = PQresultStatus(result);

        if (status == PGRES_PIPELINE_SYNC || PQstatus(conn) == CONNECTION_BAD)
            fail("an answer too few");
        all->results[all->count++] = result;
        if (all->count == PIPELINE * 2)
            fail("too many answers");
    }
}

static void take_sync(void)
{
    PGresult *result = PQgetResult(conn);

    if (!result || PQresultStatus(result) != PGRES_PIPELINE_SYNC)
        fail("no Sync");
    PQclear(result);
}

/* Runs a statement, prepares it first if it is new; the last result counts, or the first error. The caller
 * clears it. */
static PGresult *run(const char *name, int count, const char *const *values)
{
    struct answers all = {.count = 0};
    PGresult *last = NULL;
    bool prepares = is_new(name);

    if (is_pipelined) {
        if (prepares)
            send_prepare(name);
        send_query(name, count, values);
        if (!PQpipelineSync(conn))
            fail("PQpipelineSync");
        if (prepares)
            take(&all);
        take(&all);
        take_sync();
    } else {
        if (prepares) {
            send_prepare(name);
            take(&all);
        }
        send_query(name, count, values);
        take(&all);
    }
    for (int i = 0; i < all.count; i++) {
        ExecStatusType was = last ? PQresultStatus(last) : PGRES_COMMAND_OK;

        if (was == PGRES_COMMAND_OK || was == PGRES_TUPLES_OK) {
            PQclear(last);
            last = all.results[i];
        } else {
            PQclear(all.results[i]);
        }
    }
    return last;
}

static void simple(const char *sql)
{
    PGresult *result;

    if (is_pipelined) {
        struct answers all = {.count = 0};

        if (!PQsendQueryParams(conn, sql, 0, NULL, NULL, NULL, NULL, 0) || !PQpipelineSync(conn))
            fail(sql);
        take(&all);
        take_sync();
        if (all.count != 1)
            fail("not one answer");
        result = all.results[0];
    } else {
        result = PQexec(conn, sql);
    }
    if (PQresultStatus(result) != PGRES_COMMAND_OK)
        fail(sql);
    PQclear(result);
}

/* ---- the work */

static const char *number(int value)
{
    static char texts[8][16];
    static int next;
    char *text = texts[next++ % 8];

    snprintf(text, sizeof(texts[0]), "%d", value);
    return text;
}

static const char *value_of(const char *name, int count, const char *const *values)
{
    static char kept[65536];
    PGresult *result = run(name, count, values);

    if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1)
        snprintf(kept, sizeof(kept), "%s", PQgetvalue(result, 0, 0));
    else
        snprintf(kept, sizeof(kept), "%s",
                 PQresultErrorField(result, PG_DIAG_SQLSTATE) ? PQresultErrorField(result, PG_DIAG_SQLSTATE)
                                                              : "?");
    PQclear(result);
    return kept;
}

#define VALUES(...)                                                                                          \
    (int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)), (const char *[])                          \
    {                                                                                                        \
        __VA_ARGS__                                                                                          \
    }

static void one_round(int i)
{
    char text[128], piece[32], answer[65536] = "";
    PGresult *result;
    long sum = 0;

    snprintf(text, sizeof(text), "client %d, round %d: \xc3\xa4 'quoted'", n, i);
    PQclear(run("INSERT", VALUES(number(n), number(i), text)));
    say("%d row %s", i, value_of("SELECT", VALUES(number(n), number(i))));
    say("%d sum %s", i, value_of("SUM", VALUES(number(n), number(i))));
    say("%d own %s", i, value_of("OWN", VALUES(number(i))));
    simple("BEGIN");
    PQclear(run("UPDATE", VALUES(number(n), number(i))));
    say("%d tx %s", i, value_of("SELECT", VALUES(number(n), number(i))));
    simple("COMMIT");
    say("%d error %s", i, value_of("DIVIDE", VALUES("0")));
    say("%d after %s", i, value_of("DIVIDE", VALUES("2")));
    simple("BEGIN");
    PQclear(run("INSERT", VALUES(number(n), number(1000 + i), text)));
    say("%d txerror %s", i, value_of("INSERT", VALUES(number(n), number(1000 + i), text)));
    simple("ROLLBACK");
    say("%d lost %s", i, value_of("COUNT", VALUES(number(n), "1000")));
    result = run("SERIES", VALUES(number(100 + i)));
    for (int row = 0; row < PQntuples(result); row++)
        sum += atol(PQgetvalue(result, row, 0));
    say("%d series %d %ld", i, PQntuples(result), sum);
    PQclear(result);
    say("%d null %s", i, value_of("NULL", VALUES(NULL)));
    snprintf(piece, sizeof(piece), "%d/%d ", n, i);
    for (int k = 0; k < 2000; k++) {
        if (k == 1000)
            memcpy(answer + 32768, answer, 1000 * strlen(piece) + 1);
        memcpy(answer + (size_t)k * strlen(piece), piece, strlen(piece) + 1);
    }
    if (strcmp(value_of("LONG", VALUES(answer + 32768)), answer) == 0)
        say("%d long %zu", i, strlen(answer));
    else
        say("%d long wrong", i);
}

/* Many requests before the first answer: statements prepared and used in one go, errors between two Syncs. */
static void pipelines(void)
{
    struct answers all = {.count = 0};
    char sums[2048] = "";

    if (!PQenterPipelineMode(conn))
        fail("PQenterPipelineMode");
    for (int turn = 0; turn < 2; turn++) {
        const char *name = turn ? "second" : "first";

        if (!PQsendPrepare(conn, name, text_of("SUM"), 0, NULL))
            fail("PQsendPrepare");
        for (int i = 0; i < PIPELINE / 2 - 1; i++)
            send_query(name, VALUES(number(n), number(i)));
        if (!PQsendQueryPrepared(conn, "DIVIDE", VALUES(turn ? "1" : "0"), NULL, NULL, 0))
            fail("PQsendQueryPrepared");
        send_query(name, VALUES(number(n), "7"));
        if (!PQpipelineSync(conn))
            fail("PQpipelineSync");
    }
    for (int turn = 0; turn < 2; turn++) {
        for (int i = 0; i < PIPELINE / 2 + 2; i++)
            take(&all);
        take_sync();
    }
    if (PQexitPipelineMode(conn) != 1)
        fail("PQexitPipelineMode");
    for (int i = 0; i < all.count; i++) {
        PGresult *result = all.results[i];
        const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

        snprintf(sums + strlen(sums), sizeof(sums) - strlen(sums), " %s",
                 PQresultStatus(result) == PGRES_TUPLES_OK          ? PQgetvalue(result, 0, 0)
                 : PQresultStatus(result) == PGRES_PIPELINE_ABORTED ? "aborted"
                 : state                                            ? state
                                                                    : "done");
        PQclear(result);
    }
    say("+ pipeline%s", sums);
}

static void described(void)
{
    PGresult *result = PQdescribePrepared(conn, "SELECT");

    say("+ described %d parameters, %s", PQnparams(result),
        PQnfields(result) == 1 ? PQfname(result, 0) : "?");
    PQclear(result);
    result = PQdescribePrepared(conn, "unheard");
    say("+ unknown %s", PQresultErrorField(result, PG_DIAG_SQLSTATE));
    PQclear(result);
    result = PQprepare(conn, "SELECT", "SELECT 1", 0, NULL);
    say("+ twice %s", PQresultErrorField(result, PG_DIAG_SQLSTATE));
    PQclear(result);
}

static void work(void)
{
    int rounds = atoi(getenv("ROUNDS"));

    conn = PQconnectdb("");
    if (PQstatus(conn) != CONNECTION_OK)
        fail("PQconnectdb");
    is_pipelined = n % 2 == 0;
    if (is_pipelined && !PQenterPipelineMode(conn))
        fail("PQenterPipelineMode");
    for (int i = 1; i <= rounds; i++) {
        one_round(i);
        if (i % 4 == 0) {
            simple("DEALLOCATE ALL");
            memset(prepared, 0, sizeof(prepared));
        }
    }
    value_of("SELECT", VALUES(number(n), "1"));
    value_of("DIVIDE", VALUES("1"));
    if (is_pipelined && PQexitPipelineMode(conn) != 1)
        fail("PQexitPipelineMode");
    is_pipelined = false;
    described();
    pipelines();
    say("end %s", value_of("END", VALUES(number(n))));
    PQfinish(conn);
}

int main(void)
{
    int clients = atoi(getenv("CLIENTS")), failed = 0, status;

    for (n = 0; n < clients; n++) {
        pid_t pid = fork();

        if (pid < 0)
            return 1;
        if (pid == 0) {
            work();
            return 0;
        }
    }
    while (wait(&status) > 0)
        failed |= status != 0;
    return failed;
}
