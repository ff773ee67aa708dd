/*
 * config_fixture.h - loads configurations from text, for the tests of config/.
 */
#ifndef CONFIG_FIXTURE_H
#define CONFIG_FIXTURE_H

#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "config/config.h"

#ifdef HAVE_CARES
#define HAS_CARES true
#else
#define HAS_CARES false
#endif
#ifdef HAVE_LDAP
#define HAS_LDAP true
#else
#define HAS_LDAP false
#endif
#ifdef HAVE_PAM
#define HAS_PAM true
#else
#define HAS_PAM false
#endif

/* A load and what it said: one problem a line. */
struct loaded {
    struct config *config; /* NULL when refused */
    char *said;
};

static inline char *fixture_problems_text(const struct config_problems *p)
{
    struct buf out;
    buf_init(&out, 0);
    for (size_t i = 0; i < p->count; i++) {
        config_problem_print(&p->items[i], &out);
        buf_append_str(&out, "\n");
    }
    char *text = strdup(buf_cstr(&out));
    buf_free(&out);
    return text;
}

static inline struct loaded fixture_load_args(const struct config_args *args)
{
    struct config_problems problems;
    config_problems_init(&problems);
    struct loaded l = {.config = config_load(args, &problems)};
    l.said = fixture_problems_text(&problems);
    config_problems_free(&problems);
    return l;
}

static inline struct loaded fixture_load(const char *text)
{
    struct config_args args = {.ini_path = "t.ini", .ini_text = text, .ini_text_len = strlen(text)};
    return fixture_load_args(&args);
}

static inline void fixture_done(struct loaded *l)
{
    config_unref(l->config);
    free(l->said);
}

/* The printed value, "NULL" when unset; valid until the next call. */
static inline const char *fixture_value(const struct config *c, const char *name)
{
    static char text[2048];
    struct buf out;
    buf_init(&out, 0);
    bool is_set = config_value_text(c, (size_t)option_find(name), &out);
    snprintf(text, sizeof text, "%s", is_set ? buf_cstr(&out) : "NULL");
    buf_free(&out);
    return text;
}

static inline const char *fixture_source(const struct config *c, const char *name)
{
    return config_source_text(c, (size_t)option_find(name));
}

/* ---- configuration by variables ---- */

#define MAX_VARIABLES 8
#define URL           "DATABASE_URL=postgres://u:p@h/d"

/* Loads without a file. */
static inline struct loaded fixture_load_variables(const char *const *variables)
{
    struct config_args args = {.environ = (char *const *)variables};
    return fixture_load_args(&args);
}

/* The first database as --print-config shows it. */
static inline const char *fixture_database_line(const struct config *c, char *out, size_t size)
{
    struct buf b;
    buf_init(&b, 0);
    config_print(c, &b);
    const char *begin = strchr(strchr(buf_cstr(&b), '\n') + 1, '\n') + 1;
    snprintf(out, size, "%.*s", (int)strcspn(begin, "\n"), begin);
    buf_free(&b);
    return out;
}

/* A file in the current directory, gone with fixture_remove(). */
static inline void fixture_write(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    if (f == NULL || fputs(text, f) == EOF || fclose(f) != 0)
        abort();
}

#endif
