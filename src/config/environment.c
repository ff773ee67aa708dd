/*
 * environment.c - the built-in environment profiles and the PGSLUICE_* variables.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/str.h"
#include "vars_int.h"

#define VARIABLE_PREFIX "PGSLUICE_"

/* Pool sizes, clients, how long to wait for what, and what an orchestrator's SIGTERM begins. */
#define PROFILE(min, max, clients, connect, wait, idle, sigterm)                                             \
    {                                                                                                        \
        {"min_pool_size", min}, {"default_pool_size", max}, {"max_client_conn", clients},                    \
            {"server_connect_timeout", connect}, {"query_wait_timeout", wait},                               \
            {"server_idle_timeout", idle}, {"sigterm_action", sigterm}, {NULL, NULL},                        \
    }

static const struct {
    const char *name;
    struct profile_value values[8];
} profiles[] = {
    {"development", PROFILE("5", "10", "200", "10s", "10s", "300s", "drain")},
    {"test", PROFILE("2", "8", "100", "10s", "10s", "300s", "drain")},
    {"staging", PROFILE("10", "20", "500", "30s", "30s", "300s", "drain")},
    {"production", PROFILE("20", "50", "5000", "30s", "30s", "300s", "drain")},
    {"sidecar", PROFILE("0", "5", "200", "10s", "30s", "60s", "wait_then_drain")},
};

const struct profile_value *environment_profile(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(profiles); i++)
        if (strcmp(profiles[i].name, name) == 0)
            return profiles[i].values;
    return NULL;
}

size_t environment_profile_count(void)
{
    return ARRAY_SIZE(profiles);
}

const char *environment_profile_name(size_t i)
{
    return profiles[i].name;
}

/* Variables of ours that are no settings. */
static bool is_other_variable(const char *name, bool *needs_no_file)
{
    *needs_no_file = strcmp(name, "DATABASE_URL") == 0 || strcmp(name, "DATABASE_URLS") == 0;
    return *needs_no_file || strcmp(name, "DSN") == 0; /* pgsluicectl's */
}

static char *upper_nearest(const char *name)
{
    const char *nearest = option_nearest(name);
    if (strcasecmp(name, "PORT") == 0)
        nearest = "listen_port";
    char *copy = nearest != NULL ? xstrdup(nearest) : NULL;
    for (char *c = copy; c != NULL && *c != '\0'; c++)
        *c = *c >= 'a' && *c <= 'z' ? (char)(*c - 'a' + 'A') : *c;
    return copy;
}

/* variable names neither a setting nor anything else. */
static void unknown_variable(struct vars *v, const char *variable, const char *name)
{
    char *nearest = upper_nearest(name);
    config_problems_add(v->problems, PROBLEM_WARNING, NULL, 0, "variable %s names no setting%s%s%s%s",
                        variable, nearest != NULL ? ": did you mean " : "",
                        nearest != NULL ? VARIABLE_PREFIX : "", nearest != NULL ? nearest : "",
                        nearest != NULL ? "?" : "");
    free(nearest);
}

/* The name without _FILE, where that is a twin of something that we know; else as it is. */
static char *without_twin(const char *name)
{
    size_t len = strlen(name), twin = strlen("_FILE");
    bool needs_no_file;
    if (option_find(name) >= 0 || len <= twin || strcmp(name + len - twin, "_FILE") != 0)
        return xstrdup(name);
    char *stem = xstrndup(name, len - twin);
    if (option_find(stem) < 0 && !is_other_variable(stem, &needs_no_file)) {
        free(stem);
        stem = xstrdup(name);
    }
    return stem;
}

static void one_variable(struct vars *v, bool has_file, const char *variable, const char *value,
                         variable_cb cb, void *arg)
{
    bool needs_no_file;
    char *name = without_twin(variable + strlen(VARIABLE_PREFIX));
    int option = option_find(name);
    bool is_twin = strcmp(name, variable + strlen(VARIABLE_PREFIX)) != 0;

    if (vars_is_injected(variable, value) && !is_twin) {
        ; /* also for a service whose name and _PORT make a setting's: pgsluice-listen */
    } else if (option >= 0 && is_twin) {
        char *plain = xasprintf("%s%s", VARIABLE_PREFIX, name);
        const struct var *found = vars_find(v, plain);
        if (found != NULL)
            cb(arg, option, found->name, found->value);
        free(plain);
    } else if (option >= 0) {
        cb(arg, option, variable, value);
    } else if (is_other_variable(name, &needs_no_file)) {
        if (needs_no_file && has_file)
            config_problems_add(v->problems, PROBLEM_WARNING, NULL, 0,
                                "variable %s counts only where no configuration file is given", variable);
    } else {
        unknown_variable(v, variable, name);
    }
    free(name);
}

/* Twins come last, since they win. */
void environment_variables(struct vars *v, bool has_file, variable_cb cb, void *arg)
{
    for (int twins = 0; twins < 2; twins++)
        for (char *const *e = v->environ; e != NULL && *e != NULL; e++) {
            const char *equals = strchr(*e, '=');
            if (equals == NULL || !str_has_prefix(*e, VARIABLE_PREFIX))
                continue;
            char *variable = xstrndup(*e, (size_t)(equals - *e));
            char *name = without_twin(variable + strlen(VARIABLE_PREFIX));
            if ((strcmp(name, variable + strlen(VARIABLE_PREFIX)) != 0) == (twins == 1))
                one_variable(v, has_file, variable, equals + 1, cb, arg);
            free(name);
            free(variable);
        }
}
