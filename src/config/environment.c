/*
 * environment.c - the built-in environment profiles and the PGSLUICE_* variables.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/str.h"
#include "config_int.h"

#define VARIABLE_PREFIX "PGSLUICE_"

/* Pool sizes, clients, and how long to wait for what. */
#define PROFILE(min, max, clients, connect, wait, idle)                                                      \
    {                                                                                                        \
        {"min_pool_size", min}, {"default_pool_size", max}, {"max_client_conn", clients},                    \
            {"server_connect_timeout", connect}, {"query_wait_timeout", wait},                               \
            {"server_idle_timeout", idle}, {NULL, NULL},                                                     \
    }

static const struct {
    const char *name;
    struct profile_value values[7];
} profiles[] = {
    {"development", PROFILE("5", "10", "200", "10s", "10s", "300s")},
    {"test", PROFILE("2", "8", "100", "10s", "10s", "300s")},
    {"staging", PROFILE("10", "20", "500", "30s", "30s", "300s")},
    {"production", PROFILE("20", "50", "5000", "30s", "30s", "300s")},
    {"sidecar", PROFILE("0", "5", "200", "10s", "30s", "60s")},
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

/* Variables that look like ours and are none: the client's, and those that Kubernetes and Docker
 * set for a service called pgsluice (PGSLUICE_SERVICE_HOST, PGSLUICE_PORT_6432_TCP_ADDR, ...). */
static bool is_foreign(const char *name)
{
    return strcmp(name, "DSN") == 0 || strcmp(name, "PORT") == 0 || str_has_prefix(name, "PORT_") ||
           strcmp(name, "SERVICE_HOST") == 0 || strcmp(name, "SERVICE_PORT") == 0 ||
           str_has_prefix(name, "SERVICE_PORT_");
}

static void one_variable(const char *variable, const char *value, variable_cb cb, void *arg,
                         struct config_problems *problems)
{
    const char *name = variable + strlen(VARIABLE_PREFIX);
    int option = option_find(name);
    if (option >= 0) {
        cb(arg, option, variable, value);
        return;
    }
    if (is_foreign(name))
        return;
    const char *nearest = option_nearest(name);
    char *suggestion = NULL;
    if (nearest != NULL) {
        suggestion = xasprintf(": did you mean %s%s?", VARIABLE_PREFIX, nearest);
        for (char *c = suggestion + strlen(": did you mean "); *c != '\0'; c++)
            *c = *c >= 'a' && *c <= 'z' ? (char)(*c - 'a' + 'A') : *c;
    }
    config_problems_add(problems, PROBLEM_WARNING, NULL, 0, "variable %s names no setting%s", variable,
                        suggestion != NULL ? suggestion : "");
    free(suggestion);
}

void environment_variables(char *const *environ, variable_cb cb, void *arg, struct config_problems *problems)
{
    for (; environ != NULL && *environ != NULL; environ++) {
        const char *equals = strchr(*environ, '=');
        if (equals == NULL || !str_has_prefix(*environ, VARIABLE_PREFIX))
            continue;
        char *variable = xstrndup(*environ, (size_t)(equals - *environ));
        one_variable(variable, equals + 1, cb, arg, problems);
        free(variable);
    }
}
