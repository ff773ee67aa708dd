/*
 * main.c - the order of construction and of the end.
 *
 * Nothing is decided here: arguments, settings, user, background, log, then the
 * control thread with its workers until it is told to end.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/rand.h"
#include "main_int.h"
#include "net/helper.h"

#define BIT(severity) (1u << (severity))

/* Says what was found in the settings: on stderr, or in the log once it is open. */
static void say_problems(const struct config_problems *p, unsigned severities, bool in_log)
{
    struct buf b;
    for (size_t i = 0; i < p->count; i++) {
        if ((severities & BIT(p->items[i].severity)) == 0)
            continue;
        buf_init(&b, 0);
        config_problem_print(&p->items[i], &b);
        if (in_log)
            log_info("%s", buf_cstr(&b));
        else
            fprintf(stderr, "%s\n", buf_cstr(&b));
        buf_free(&b);
    }
}

/* The settings with what is made from them; NULL after saying why. */
static struct session_config *load(const struct args *a, const uint8_t *process_secret,
                                   struct config_problems *problems)
{
    struct session_tls tls = {0};
    struct buf error;
    const struct config *cfg = config_load(&a->config, problems);

    if (cfg == NULL)
        return NULL;
    buf_init(&error, 0);
    if (!tls_setup(cfg, NULL, &tls, &error)) {
        config_problems_add(problems, PROBLEM_ERROR, a->ini_path, 0, "%s", buf_cstr(&error));
        config_unref(cfg);
        cfg = NULL;
    }
    buf_free(&error);
    return cfg != NULL ? session_config_new(cfg, &tls, process_secret, NULL) : NULL;
}

static int run(struct control *ctl, const struct args *a, struct session_config *config,
               const struct config_problems *problems)
{
    const struct settings *s = config_settings(config->config);
    int status = 1;
    bool is_clean = true;

    systemd_take_sockets();
    bool is_switched = process_switch_user(s->user);
    process_forbid_core_dumps(s->allow_core_dumps == 0); /* a change of user sets it anew */
    if (!is_switched || !process_check_pidfile(s->pidfile) ||
        (a->daemonize && !process_check_background(s)) || !process_open_log(s, a) ||
        (a->daemonize && !process_daemonize()) || !process_write_pidfile(s->pidfile))
        return 1;
    say_problems(problems, BIT(PROBLEM_NOTE), true); /* only at the start: RELOAD does not repeat them */
    process_catch_crashes();
    process_raise_descriptor_limit(config->config);
    if (control_init(ctl, a, config)) {
        control_run(ctl);
        is_clean = control_destroy(ctl);
        status = 0;
    }
    process_remove_pidfile(s->pidfile);
    log_stop();
    if (!is_clean)
        _exit(status);
    return status;
}

static void print_config(const struct config *cfg)
{
    struct buf text;
    buf_init(&text, 0);
    config_print(cfg, &text);
    fputs(buf_cstr(&text), stdout);
    buf_free(&text);
}

/* What needs the settings and nothing else. */
static int only_read(const struct args *a, struct config_problems *problems)
{
    struct config *cfg = config_load(&a->config, problems);
    int status = cfg != NULL ? 0 : 1;

    say_problems(problems, BIT(PROBLEM_ERROR) | (a->print_config ? BIT(PROBLEM_WARNING) : 0), false);
    if (cfg != NULL && a->print_config)
        print_config(cfg);
    else if (cfg != NULL)
        status = healthcheck(cfg, a->health_path);
    if (cfg != NULL)
        config_unref(cfg);
    config_problems_free(problems);
    return status;
}

int main(int argc, char **argv)
{
    static struct control ctl;
    struct args a = {0};
    struct config_problems problems;
    int status = 0;

    if (!args_parse(&a, argc, argv, &status))
        return status;
    process_forbid_core_dumps(true); /* until the settings say otherwise */
    config_problems_init(&problems);
    if (a.health_path != NULL || a.print_config)
        return only_read(&a, &problems);
    rand_secure(ctl.in.scram_process_secret, sizeof(ctl.in.scram_process_secret));
    struct session_config *config = load(&a, ctl.in.scram_process_secret, &problems);
    say_problems(&problems,
                 BIT(PROBLEM_ERROR) | BIT(PROBLEM_WARNING) | (a.check_only ? BIT(PROBLEM_NOTE) : 0), false);
    if (a.check_only)
        status = config == NULL || problems.errors + problems.warnings > 0 ? 1 : 0;
    else
        status = config != NULL ? run(&ctl, &a, config, &problems) : 1;
    config_problems_free(&problems);
    session_config_unref(config);
    return status;
}
