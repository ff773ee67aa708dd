/*
 * args.c - the command line: PgBouncer's flags, and our own.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>
#include <openssl/crypto.h>

#include "config.h"
#include "main_int.h"
#include "net/password_check.h"

extern char **environ;

static void print_usage(const char *program)
{
    printf("%s is a transparent connection pooler for PostgreSQL.\n\n"
           "Usage: %s [OPTION]... [CONFIG_FILE]\n"
           "Without a file it is configured by environment variables: DATABASE_URL is enough.\n\n"
           "  -d, --daemon         run in the background (needs logfile or syslog, and pidfile)\n"
           "  -q, --quiet          log nothing to stderr\n"
           "  -v, --verbose        log more; twice: still more\n"
           "  -u, --user=NAME      become this user when started as root\n"
           "  -R, --reboot         accepted for PgBouncer's scripts; see pgsluice(1) for the way to restart\n"
           "      --check          print every problem of the configuration and exit (status 1: there are "
           "some)\n"
           "      --print-config   print the configuration that files and variables stand for, and exit\n"
           "      --healthcheck[=live|ready]\n"
           "                       ask the instance that runs with this configuration; status 0: it is well\n"
           "  -V, --version        print the version and what is built in\n"
           "  -h, --help           print this\n\n"
           "Signals: HUP reload, TERM end when the clients have gone, INT end when their servers are free,\n"
           "QUIT end now, USR1 pause, USR2 resume.\n",
           program, program);
}

static void print_version(void)
{
    printf("%s\n", console_version_text());
    printf("libevent %s\n", event_get_version());
    printf("names: %s\n", dial_names_method());
    printf("tls: %s\n", OpenSSL_version(OPENSSL_VERSION));
#ifdef HAVE_LIBIDN
    printf("saslprep: libidn\n");
#else
    printf("saslprep: ASCII only\n");
#endif
    printf("password checks: %s\n", checks_built_in());
    printf("console SELECT: %s\n", console_has_select() ? "SQLite" : "no");
#ifdef HAVE_SYSTEMD
    printf("systemd: yes\n");
#else
    printf("systemd: no\n");
#endif
}

enum { OPT_CHECK = 256, OPT_HEALTHCHECK, OPT_PRINT_CONFIG };

static const struct option long_options[] = {
    {"daemon", no_argument, NULL, 'd'},
    {"quiet", no_argument, NULL, 'q'},
    {"verbose", no_argument, NULL, 'v'},
    {"user", required_argument, NULL, 'u'},
    {"reboot", no_argument, NULL, 'R'},
    {"check", no_argument, NULL, OPT_CHECK},
    {"healthcheck", optional_argument, NULL, OPT_HEALTHCHECK},
    {"print-config", no_argument, NULL, OPT_PRINT_CONFIG},
    {"version", no_argument, NULL, 'V'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

/* What the command line says overrides the file, also at each reload. */
static void set_overrides(struct args *a)
{
    static char verbose[12];
    size_t n = 0;

    if (a->user != NULL)
        a->overrides[n++] = (struct config_override){"user", a->user};
    if (a->verbose > 0) {
        snprintf(verbose, sizeof(verbose), "%d", a->verbose);
        a->overrides[n++] = (struct config_override){"verbose", verbose};
    }
    a->config.ini_path = a->ini_path;
    a->config.overrides = a->overrides;
    a->config.override_count = n;
    a->config.environ = environ;
}

static bool set_health_path(struct args *a, const char *what)
{
    if (what == NULL || strcmp(what, "live") == 0)
        a->health_path = "/livez";
    else if (strcmp(what, "ready") == 0)
        a->health_path = "/readyz";
    else
        fprintf(stderr, "--healthcheck asks for live or ready, not for \"%s\"\n", what);
    return a->health_path != NULL;
}

static bool usage_error(const char *program, int *status)
{
    fprintf(stderr, "Try \"%s --help\" for more information.\n", program);
    *status = 1;
    return false;
}

bool args_parse(struct args *a, int argc, char **argv, int *status)
{
    int opt;

    *status = 0;
    while ((opt = getopt_long(argc, argv, "dqvu:RVh", long_options, NULL)) != -1) {
        switch (opt) {
        case 'd': a->daemonize = true; break;
        case 'q': a->quiet = true; break;
        case 'v': a->verbose++; break;
        case 'u': a->user = optarg; break;
        case 'R': a->reboot = true; break;
        case OPT_CHECK: a->check_only = true; break;
        case OPT_PRINT_CONFIG: a->print_config = true; break;
        case OPT_HEALTHCHECK:
            if (!set_health_path(a, optarg))
                return usage_error(argv[0], status);
            break;
        case 'V': print_version(); return false;
        case 'h': print_usage(argv[0]); return false;
        default: return usage_error(argv[0], status);
        }
    }
    if (optind < argc - 1) {
        fprintf(stderr, "%s: at most one configuration file can be given\n", argv[0]);
        return usage_error(argv[0], status);
    }
    a->ini_path = argv[optind]; /* NULL: variables say which, or all */
    set_overrides(a);
    return true;
}
