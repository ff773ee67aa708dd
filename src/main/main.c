/*
 * main.c - the order of construction and of the end.
 *
 * Nothing is decided here: arguments, settings, user, background, log, then the
 * control thread with its workers until it is told to end.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "main_int.h"
#include "net/helper.h"

/* Prints what is wrong with the settings. */
static void print_problems(const struct config_problems *p, bool all)
{
    struct buf b;
    for (size_t i = 0; i < p->count; i++) {
        if (!all && p->items[i].severity == PROBLEM_NOTE)
            continue;
        buf_init(&b, 0);
        config_problem_print(&p->items[i], &b);
        fprintf(stderr, "%s\n", buf_cstr(&b));
        buf_free(&b);
    }
}

/* The settings with what is made from them; NULL after saying why. */
static struct session_config *load(const struct args *a, struct config_problems *problems)
{
    struct tls_context *tls = NULL;
    struct buf error;
    const struct config *cfg = config_load(&a->config, problems);

    if (cfg == NULL)
        return NULL;
    buf_init(&error, 0);
    if (!tls_setup(config_settings(cfg), &tls, &error)) {
        config_problems_add(problems, PROBLEM_ERROR, a->ini_path, 0, "%s", buf_cstr(&error));
        config_unref(cfg);
        cfg = NULL;
    }
    buf_free(&error);
    return cfg != NULL ? session_config_new(cfg, tls) : NULL;
}

static int run(const struct args *a, struct session_config *config)
{
    const struct settings *s = config_settings(config->config);
    static struct control ctl;
    int status = 1;

    if (!process_switch_user(s->user) || (a->daemonize && !process_daemonize()) || !process_open_log(s, a) ||
        !process_write_pidfile(s->pidfile))
        return 1;
    process_catch_crashes();
    process_raise_descriptor_limit(s->max_client_conn);
    if (control_init(&ctl, a, config)) {
        control_run(&ctl);
        control_destroy(&ctl);
        status = 0;
    }
    process_remove_pidfile(s->pidfile);
    log_stop();
    return status;
}

int main(int argc, char **argv)
{
    struct args a = {0};
    struct config_problems problems;
    int status = 0;

    if (!args_parse(&a, argc, argv, &status))
        return status;
    config_problems_init(&problems);
    struct session_config *config = load(&a, &problems);
    print_problems(&problems, a.check_only);
    if (a.check_only)
        status = config == NULL || problems.errors + problems.warnings > 0 ? 1 : 0;
    else
        status = config != NULL ? run(&a, config) : 1;
    config_problems_free(&problems);
    session_config_unref(config);
    return status;
}
