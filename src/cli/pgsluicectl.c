/*
 * pgsluicectl.c - command line of the admin console: arguments, running a command,
 * exit status.
 *
 * What it knows of the console is only which first words are commands; anything else gets
 * SHOW in front.
 */
#include "config.h"

#include "cli_int.h"

#include <errno.h>
#include <getopt.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"

/* First words of commands; any other is the name of something to show. */
static const char *const command_names[] = {
    "begin",       "close", "commit",    "disable", "discard", "enable",   "end",        "kill",
    "kill_client", "pause", "reconnect", "reload",  "reset",   "resume",   "rollback",   "select",
    "set",         "show",  "shutdown",  "start",   "suspend", "unlisten", "wait_close",
};

struct cli_options {
    const char *dsn;
    const char *ini_path;
    enum output_format format;
    double watch_seconds; /* 0 = once */
};

static void usage(FILE *out)
{
    fputs(
        "Usage: " CLI_PROGRAM " [options] COMMAND...\n"
        "\n"
        "Sends a command to the admin console of pgsluice (or PgBouncer) and prints the answer.\n"
        "\n"
        "  " CLI_PROGRAM " pools               SHOW POOLS; the names that SHOW knows need no SHOW\n"
        "  " CLI_PROGRAM " 'show latency'      any command of the console; SHOW HELP lists them\n"
        "  " CLI_PROGRAM " pause mydb          words are joined by a blank\n"
        "\n"
        "Options:\n"
        "  --dsn DSN         where the console is: a libpq connection string or URI\n"
        "  --config FILE     where the console is: listen_port and unix_socket_dir of an ini file\n"
        "  --json            print an array of objects\n"
        "  --csv             print CSV (RFC 4180)\n"
        "  --watch SECONDS   repeat until interrupted\n"
        "  -V, --version     print the version and exit\n"
        "  -h, --help        print this and exit\n"
        "\n"
        "Without --dsn and --config: the DSN in PGSLUICE_DSN, else the socket in /tmp with port 6432,\n"
        "user pgbouncer, database pgsluice. PGSLUICE_LISTEN_PORT, PGSLUICE_UNIX_SOCKET_DIR and\n"
        "PGSLUICE_LISTEN_ADDR win over the file. An option that belongs to the command needs -- before it.\n"
        "\n"
        "Exit status: 0, 1 the command failed, 2 no instance or wrong usage.\n",
        out);
}

/* Text of the server for people; where stdout is for a program it goes to stderr. */
static void print_notice(void *arg, const char *message)
{
    const struct cli_options *o = arg;

    output_text(o->format == OUTPUT_TABLE ? stdout : stderr, message);
}

static bool is_command(const char *word, size_t len)
{
    for (size_t i = 0; i < ARRAY_SIZE(command_names); i++) {
        if (strlen(command_names[i]) == len && strncasecmp(word, command_names[i], len) == 0)
            return true;
    }
    return false;
}

static size_t first_word(const char **command)
{
    *command += strspn(*command, " \t\n");
    return strcspn(*command, " \t\n;");
}

/* The words joined by a blank, with SHOW in front where it belongs. The caller frees. */
static char *build_command(char *const *words, int n)
{
    struct buf b;
    const char *start;
    size_t len;
    char *command;

    buf_init(&b, 0);
    for (int i = 0; i < n; i++) {
        buf_append_str(&b, i > 0 ? " " : "");
        buf_append_str(&b, words[i]);
    }
    start = buf_cstr(&b);
    len = first_word(&start);
    command = len > 0 && !is_command(start, len) ? xasprintf("SHOW %s", start) : xstrdup(start);
    buf_free(&b);
    return command;
}

/* An instance that obeys SHUTDOWN may be gone before it answers; that is no failure. */
static bool is_shutdown_done(PGconn *conn, const PGresult *result, const char *command)
{
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *word = command;
    size_t len = first_word(&word);

    if (len != strlen("shutdown") || strncasecmp(word, "shutdown", len) != 0)
        return false;
    return sqlstate != NULL ? strcmp(sqlstate, "57P01") == 0 : PQstatus(conn) == CONNECTION_BAD;
}

static enum cli_exit print_result(PGconn *conn, const PGresult *result, const struct cli_options *o,
                                  const char *command)
{
    switch (PQresultStatus(result)) {
    case PGRES_TUPLES_OK:
    case PGRES_COMMAND_OK: output_result(stdout, o->format, result); return CLI_OK;
    case PGRES_COPY_IN:
    case PGRES_COPY_OUT:
    case PGRES_COPY_BOTH:
        fputs(CLI_PROGRAM ": this is no console: it answers with COPY\n", stderr);
        return CLI_FAILED;
    case PGRES_EMPTY_QUERY: fputs(CLI_PROGRAM ": empty command\n", stderr); return CLI_FAILED;
    default: break;
    }
    if (is_shutdown_done(conn, result, command))
        return CLI_OK;
    output_text(stderr, PQresultErrorMessage(result));
    return CLI_FAILED;
}

static bool flush_output(void)
{
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout))
        return true;
    fprintf(stderr, CLI_PROGRAM ": cannot write the output: %s\n", strerror(errno != 0 ? errno : EIO));
    return false;
}

/* Sends one command and prints all its results. */
static enum cli_exit run_command(PGconn *conn, const char *command, const struct cli_options *o)
{
    enum cli_exit status = CLI_OK;
    PGresult *result;

    if (PQsendQuery(conn, command) == 0) {
        output_text(stderr, PQerrorMessage(conn));
        return CLI_FAILED;
    }
    while ((result = PQgetResult(conn)) != NULL) {
        ExecStatusType kind = PQresultStatus(result);
        enum cli_exit one = print_result(conn, result, o, command);

        status = one != CLI_OK ? one : status;
        PQclear(result);
        if (kind == PGRES_COPY_IN || kind == PGRES_COPY_OUT || kind == PGRES_COPY_BOTH)
            break; /* PQgetResult() would give the same for ever */
    }
    return flush_output() ? status : CLI_FAILED;
}

/* On a terminal the next answer replaces the last one. */
static void begin_watch_round(const struct cli_options *o)
{
    time_t now = time(NULL);
    struct tm tm;
    char text[64];

    if (o->format != OUTPUT_TABLE || localtime_r(&now, &tm) == NULL)
        return;
    if (isatty(STDOUT_FILENO))
        fputs("\033[H\033[2J", stdout);
    strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &tm);
    printf("%s, every %g s\n", text, o->watch_seconds);
}

static enum cli_exit run(const char *command, const struct cli_options *o)
{
    PGconn *conn = instance_connect(o->dsn, o->ini_path);
    enum cli_exit status;

    if (conn == NULL)
        return CLI_NO_INSTANCE;
    PQsetNoticeProcessor(conn, print_notice, (void *)(uintptr_t)o);
    for (;;) {
        time_t whole = (time_t)o->watch_seconds;
        struct timespec pause = {whole, (long)((o->watch_seconds - (double)whole) * 1e9)};

        if (o->watch_seconds > 0)
            begin_watch_round(o);
        status = run_command(conn, command, o);
        if (status != CLI_OK || o->watch_seconds <= 0)
            break;
        (void)nanosleep(&pause, NULL);
    }
    if (status != CLI_OK && PQstatus(conn) == CONNECTION_BAD)
        status = CLI_NO_INSTANCE;
    PQfinish(conn);
    return status;
}

static bool parse_seconds(const char *text, double *seconds)
{
    char *end;

    *seconds = strtod(text, &end);
    return end != text && *end == '\0' && *seconds >= 0.1 && *seconds <= 86400;
}

/* CLI_OK and *go: run; else exit with the status. */
static enum cli_exit parse_options(int argc, char **argv, struct cli_options *o, bool *go)
{
    enum { OPT_DSN = 256, OPT_CONFIG, OPT_JSON, OPT_CSV, OPT_WATCH };
    static const struct option options[] = {
        {"dsn", required_argument, NULL, OPT_DSN},
        {"config", required_argument, NULL, OPT_CONFIG},
        {"json", no_argument, NULL, OPT_JSON},
        {"csv", no_argument, NULL, OPT_CSV},
        {"watch", required_argument, NULL, OPT_WATCH},
        {"version", no_argument, NULL, 'V'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    const char *wrong = NULL;
    int c;

    *go = false;
    while ((c = getopt_long(argc, argv, "hV", options, NULL)) != -1) {
        switch (c) {
        case OPT_DSN: o->dsn = optarg; break;
        case OPT_CONFIG: o->ini_path = optarg; break;
        case OPT_JSON: o->format = OUTPUT_JSON; break;
        case OPT_CSV: o->format = OUTPUT_CSV; break;
        case OPT_WATCH:
            if (!parse_seconds(optarg, &o->watch_seconds))
                wrong = "--watch needs seconds, 0.1 to 86400";
            break;
        case 'V': puts(CLI_PROGRAM " " PACKAGE_VERSION); return CLI_OK;
        case 'h': usage(stdout); return CLI_OK;
        default: fputs("Try '" CLI_PROGRAM " --help'.\n", stderr); return CLI_NO_INSTANCE;
        }
    }
    if (o->dsn != NULL && o->ini_path != NULL)
        wrong = "--dsn and --config exclude each other";
    if (wrong == NULL && optind == argc)
        wrong = "no command given";
    if (wrong != NULL) {
        fprintf(stderr, CLI_PROGRAM ": %s\nTry '" CLI_PROGRAM " --help'.\n", wrong);
        return CLI_NO_INSTANCE;
    }
    *go = true;
    return CLI_OK;
}

int main(int argc, char **argv)
{
    struct cli_options o = {NULL, NULL, OUTPUT_TABLE, 0};
    bool go;
    enum cli_exit status = parse_options(argc, argv, &o, &go);

    if (go) {
        char *command = build_command(argv + optind, argc - optind);

        status = run(command, &o);
        free(command);
    } else if (status == CLI_OK && !flush_output()) {
        status = CLI_FAILED; /* --help, --version */
    }
    return (int)status;
}
