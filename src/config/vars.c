/*
 * vars.c - looks variables up, and reads the files of their _FILE twins.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/secret.h"
#include "base/str.h"
#include "vars_int.h"

#define TWIN           "_FILE"
#define TWIN_MAX_BYTES 65536

void vars_init(struct vars *v, char *const *environ, struct config_problems *problems)
{
    *v = (struct vars){.environ = environ, .problems = problems};
}

void vars_free(struct vars *v)
{
    for (size_t i = 0; i < v->count; i++) {
        free(v->items[i]->name);
        secret_free(v->items[i]->value);
        free(v->items[i]);
    }
    free(v->items);
    *v = (struct vars){.environ = NULL};
}

static bool has_suffix(const char *s, size_t len, const char *suffix)
{
    size_t n = strlen(suffix);
    return len >= n && memcmp(s + len - n, suffix, n) == 0;
}

static bool is_service_address(const char *value)
{
    return str_has_prefix(value, "tcp://") || str_has_prefix(value, "udp://") ||
           str_has_prefix(value, "sctp://");
}

bool vars_is_injected(const char *name, const char *value)
{
    static const char *const suffixes[] = {"_SERVICE_HOST", "_SERVICE_PORT"};
    size_t len = strlen(name);

    for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++)
        if (has_suffix(name, len, suffixes[i]))
            return true;
    if (strstr(name, "_SERVICE_PORT_") != NULL ||
        (has_suffix(name, len, "_PORT") && is_service_address(value)))
        return true;
    /* X_PORT_<number>_TCP, and that with _ADDR, _PORT or _PROTO behind it */
    for (const char *at = strstr(name, "_PORT_"); at != NULL; at = strstr(at + 1, "_PORT_")) {
        const char *number = at + strlen("_PORT_");
        size_t digits = strspn(number, "0123456789");
        if (digits > 0 &&
            (str_has_prefix(number + digits, "_TCP") || str_has_prefix(number + digits, "_UDP") ||
             str_has_prefix(number + digits, "_SCTP")))
            return true;
    }
    return false;
}

static const char *lookup(const struct vars *v, const char *name)
{
    size_t len = strlen(name);
    for (char *const *e = v->environ; e != NULL && *e != NULL; e++)
        if (strncmp(*e, name, len) == 0 && (*e)[len] == '=')
            return *e + len + 1;
    return NULL;
}

/* Without the line end that editors and `echo` leave behind. NULL after saying why. */
static char *read_twin(struct vars *v, const char *variable, const char *path)
{
    size_t len = 0;
    char *text = file_read(path, &len, NULL);

    if (text == NULL) {
        config_problems_add(
            v->problems, PROBLEM_ERROR, NULL, 0,
            "variable %s: cannot read \"%s\": %s; mount the file there, or unset the variable", variable,
            path, strerror(errno));
        return NULL;
    }
    if (len > 0 && text[len - 1] == '\n')
        text[--len] = '\0';
    if (len > 0 && text[len - 1] == '\r')
        text[--len] = '\0';
    if (len > TWIN_MAX_BYTES || strlen(text) != len) {
        config_problems_add(v->problems, PROBLEM_ERROR, NULL, 0, "variable %s: \"%s\" is no text file",
                            variable, path);
        secret_wipe(text, len);
        free(text);
        return NULL;
    }
    return text;
}

/* Takes over both; an empty value is kept, too, so that its file is not read again. */
static const struct var *keep(struct vars *v, char *name, char *value)
{
    struct var *item = xmalloc(sizeof(*item));
    *item = (struct var){name, value};
    v->items = xrealloc(v->items, (v->count + 1) * sizeof(struct var *));
    v->items[v->count++] = item;
    return item;
}

const struct var *vars_find(struct vars *v, const char *name)
{
    char *twin = xasprintf("%s" TWIN, name);
    const char *path = lookup(v, twin), *value = lookup(v, name);
    const struct var *found = NULL;

    for (size_t i = 0; i < v->count && found == NULL; i++)
        if (strcmp(v->items[i]->name, name) == 0 || strcmp(v->items[i]->name, twin) == 0)
            found = v->items[i];
    if (found == NULL && path != NULL && *path != '\0') {
        value = read_twin(v, twin, path);
        found = keep(v, twin, value != NULL ? (char *)value : xstrdup(""));
        twin = NULL;
    } else if (found == NULL && value != NULL && !vars_is_injected(name, value)) {
        found = keep(v, xstrdup(name), xstrdup(value));
    }
    free(twin);
    return found != NULL && *found->value != '\0' ? found : NULL;
}
