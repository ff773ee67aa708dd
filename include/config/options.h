/*
 * options.h - the option table: every setting with its type, default, flags and text.
 *
 * SHOW CONFIG, the manual, --check and the variables PGSLUICE_<SETTING> are all
 * read from this table. Constant; any thread.
 */
#ifndef CONFIG_OPTIONS_H
#define CONFIG_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/compiler.h"
#include "config/settings.h"

enum option_type {
    OPTION_INT,
    OPTION_UINT,
    OPTION_BOOL,
    OPTION_TIME, /* int64_t microseconds */
    OPTION_STR,
    OPTION_ENUM,
    OPTION_WORKERS, /* int, or "auto" for 0 */
};

enum {
    OPTION_RELOADABLE = 1 << 0,  /* may change by RELOAD and SET; others need a restart */
    OPTION_SECRET = 1 << 1,      /* may hold a password: see option_mask() */
    OPTION_NO_MEANING = 1 << 2,  /* accepted for PgBouncer's files; does nothing here */
    OPTION_OURS = 1 << 3,        /* not PgBouncer's */
    OPTION_NO_SET = 1 << 4,      /* reload may change it, SET may not */
    OPTION_UNSET = 1 << 5,       /* the default is shown as NULL */
    OPTION_LACKS_CARES = 1 << 6, /* refused unless it has its default: c-ares is not built in */
    OPTION_LACKS_LDAP = 1 << 7,  /* the same of libldap */
};

struct config_option_name {
    const char *name;
    int value;
    const char
        *lacks; /* the library without which this one value is refused, where it is not built in; else NULL */
};

struct config_option {
    const char *name;
    enum option_type type;
    unsigned flags;
    size_t offset;                          /* in struct settings */
    const char *default_text;               /* never NULL */
    int64_t min, max;                       /* numbers; microseconds for times */
    const struct config_option_name *names; /* OPTION_ENUM: ends with a NULL name */
    const char *doc;                        /* one paragraph for the manual */
};

/* Options shown by SHOW CONFIG, in its order. Those behind (option_at() goes on to
 * option_count_all()) are accepted and not shown. */
size_t option_count(void);
size_t option_count_all(void);
const struct config_option *option_at(size_t i);
/* By name, case-insensitive; -1 when there is none. */
int option_find(const char *name);
/* The name that was most likely meant, or NULL. */
const char *option_nearest(const char *name);

/* Parses text into the field. Strings are stored as a new copy (xstrdup; the old one is not
 * freed). On failure returns false and writes what is wrong with the value to `why`. */
bool option_parse(const struct config_option *o, const char *text, struct settings *s,
                  struct buf *why) must_check;
/* The value as SHOW CONFIG prints it (times in seconds: 120, 0.2). */
void option_print(const struct config_option *o, const struct settings *s, struct buf *out);

/* "1.5", "200ms", "30 s", "5min" -> microseconds. Units us ms s min h d, seconds without one.
 * False when it is no time or negative or beyond a hundred years. */
bool config_parse_time(const char *text, int64_t *us) must_check;
/* Prints microseconds as seconds with no needless zeros. */
void config_print_time(int64_t us, struct buf *out);

#endif
