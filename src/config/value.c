/*
 * value.c - values of settings: text to field and back.
 *
 * Pure but for the memory of strings. Not here: which settings there are
 * (options.c) and which value wins (load.c).
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/secret.h"
#include "base/str.h"
#include "config_int.h"

#define TIME_MAX_US (INT64_C(100) * 366 * 24 * 3600 * USEC_PER_SEC)

static const struct {
    const char *name;
    int64_t us;
} time_units[] = {
    {"", USEC_PER_SEC},
    {"us", 1},
    {"ms", USEC_PER_MSEC},
    {"s", USEC_PER_SEC},
    {"min", 60 * USEC_PER_SEC},
    {"h", 3600 * USEC_PER_SEC},
    {"d", 24 * 3600 * USEC_PER_SEC},
};

/* Digits at *p as a number; false when there are none or too many. */
static bool take_digits(const char **p, int64_t *value)
{
    int64_t v = 0;
    const char *start = *p;
    for (; isdigit((unsigned char)**p); (*p)++)
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, **p - '0', &v))
            return false;
    *value = v;
    return *p > start;
}

/* The digits behind the point as millionths; further digits are dropped. */
static int64_t take_fraction(const char **p)
{
    int64_t v = 0;
    int digits = 0;
    for (; isdigit((unsigned char)**p); (*p)++)
        if (digits < 6) {
            v = v * 10 + (**p - '0');
            digits++;
        }
    for (; digits < 6; digits++)
        v *= 10;
    return v;
}

bool config_parse_time(const char *text, int64_t *us)
{
    const char *p = text;
    int64_t whole = 0, millionths = 0;
    if (*p == '.' && !isdigit((unsigned char)p[1]))
        return false;
    if (*p != '.' && !take_digits(&p, &whole))
        return false;
    if (*p == '.') {
        p++;
        millionths = take_fraction(&p);
    }
    while (*p == ' ' || *p == '\t')
        p++;
    for (size_t i = 0; i < ARRAY_SIZE(time_units); i++) {
        if (strcasecmp(p, time_units[i].name) != 0)
            continue;
        int64_t v, part = (int64_t)((__int128)millionths * time_units[i].us / 1000000);
        if (__builtin_mul_overflow(whole, time_units[i].us, &v) || __builtin_add_overflow(v, part, &v) ||
            v > TIME_MAX_US)
            return false;
        *us = v;
        return true;
    }
    return false;
}

void config_print_time(int64_t us, struct buf *out)
{
    buf_printf(out, "%" PRId64, us / USEC_PER_SEC);
    int fraction = (int)(us % USEC_PER_SEC), digits = 6;
    if (fraction == 0)
        return;
    for (; fraction % 10 == 0; fraction /= 10)
        digits--;
    buf_printf(out, ".%0*d", digits, fraction);
}

bool value_parse_int(const char *text, int64_t min, int64_t max, int64_t *value, struct buf *why)
{
    char *end;
    errno = 0;
    /* Base 0, as PgBouncer reads numbers: unix_socket_mode = 0777 is octal. */
    long long v = strtoll(text, &end, 0);
    if (*text == '\0' || isspace((unsigned char)*text) || *end != '\0') {
        buf_printf(why, "\"%s\" is not a number", text);
        return false;
    }
    if (errno == ERANGE || v < min || v > max) {
        if (max == INT_MAX && v < min)
            buf_printf(why, "%s is less than %" PRId64, text, min);
        else
            buf_printf(why, "%s is not between %" PRId64 " and %" PRId64, text, min, max);
        return false;
    }
    *value = v;
    return true;
}

bool value_parse_enum(const char *text, const struct config_option_name *names,
                      const struct config_option_name **found, struct buf *why)
{
    for (const struct config_option_name *n = names; n->name != NULL; n++)
        if (strcasecmp(n->name, text) == 0) {
            *found = n;
            return true;
        }
    buf_printf(why, "\"%s\" is none of ", text);
    for (const struct config_option_name *n = names; n->name != NULL; n++)
        buf_printf(why, "%s%s", n == names ? "" : ", ", n->name);
    return false;
}

static bool parse_bool(const char *text, int64_t *value, struct buf *why)
{
    static const char *const on[] = {"on", "yes", "true", "t", "y"};
    static const char *const off[] = {"off", "no", "false", "f", "n"};
    for (size_t i = 0; i < ARRAY_SIZE(on); i++)
        if (strcasecmp(text, on[i]) == 0 || strcasecmp(text, off[i]) == 0) {
            *value = strcasecmp(text, on[i]) == 0;
            return true;
        }
    /* Older PgBouncers took seconds for what is a switch today (tcp_defer_accept = 45). */
    if (!value_parse_int(text, 0, INT_MAX, value, why))
        return false;
    *value = *value != 0;
    return true;
}

static void *field(const struct config_option *o, const struct settings *s)
{
    return (char *)s + o->offset;
}

const char **settings_string(struct settings *s, const struct config_option *o)
{
    return field(o, s);
}

bool option_parse(const struct config_option *o, const char *text, struct settings *s, struct buf *why)
{
    const struct config_option_name *name;
    int64_t value;
    switch (o->type) {
    case OPTION_INT:
        if (!value_parse_int(text, o->min, o->max, &value, why))
            return false;
        *(int *)field(o, s) = (int)value;
        return true;
    case OPTION_WORKERS:
        value = 0;
        if (strcasecmp(text, "auto") != 0 && !value_parse_int(text, 1, o->max, &value, why)) {
            buf_append_str(why, " (nor is it \"auto\")");
            return false;
        }
        *(int *)field(o, s) = (int)value;
        return true;
    case OPTION_UINT:
        if (!value_parse_int(text, o->min, o->max, &value, why))
            return false;
        *(uint32_t *)field(o, s) = (uint32_t)value;
        return true;
    case OPTION_BOOL:
        if (!parse_bool(text, &value, why))
            return false;
        *(int *)field(o, s) = (int)value;
        return true;
    case OPTION_TIME:
        if (!config_parse_time(text, &value)) {
            buf_printf(
                why,
                "\"%s\" is not a time: seconds such as 30 or 0.5, or a number with us, ms, s, min, h or d",
                text);
            return false;
        }
        *(int64_t *)field(o, s) = value;
        return true;
    case OPTION_STR: *settings_string(s, o) = xstrdup(text); return true;
    case OPTION_ENUM:
        if (!value_parse_enum(text, o->names, &name, why))
            return false;
        *(int *)field(o, s) = name->value;
        return true;
    }
    return false;
}

void option_print(const struct config_option *o, const struct settings *s, struct buf *out)
{
    switch (o->type) {
    case OPTION_INT:
    case OPTION_BOOL: buf_printf(out, "%d", *(int *)field(o, s)); break;
    case OPTION_WORKERS:
        if (*(int *)field(o, s) == 0)
            buf_append_str(out, "auto");
        else
            buf_printf(out, "%d", *(int *)field(o, s));
        break;
    case OPTION_UINT: buf_printf(out, "%" PRIu32, *(uint32_t *)field(o, s)); break;
    case OPTION_TIME: config_print_time(*(int64_t *)field(o, s), out); break;
    case OPTION_STR: buf_append_str(out, *(const char **)field(o, s)); break;
    case OPTION_ENUM:
        for (const struct config_option_name *n = o->names; n->name != NULL; n++)
            if (n->value == *(int *)field(o, s))
                buf_append_str(out, n->name);
        break;
    }
}

/* The one of the value; NULL: of none, as for all values of options that are no words. */
static const struct config_option_name *name_of(const struct config_option *o, int value)
{
    for (const struct config_option_name *n = o->names; n != NULL && n->name != NULL; n++)
        if (n->value == value)
            return n;
    return NULL;
}

static bool has_default(const struct config_option *o, const struct settings *s)
{
    struct settings defaults;
    struct buf now, usual;
    buf_init(&now, 0);
    buf_init(&usual, 0);
    memset(&defaults, 0, sizeof defaults);
    bool is_valid = option_parse(o, o->default_text, &defaults, &usual);
    option_print(o, s, &now);
    option_print(o, &defaults, &usual);
    bool is_default = strcmp(buf_cstr(&now), buf_cstr(&usual)) == 0;
    if (is_valid && o->type == OPTION_STR)
        free((char *)*settings_string(&defaults, o));
    buf_free(&now);
    buf_free(&usual);
    return is_default;
}

bool option_is_refused(const struct config_option *o, const struct settings *s)
{
    if (o->type == OPTION_ENUM) {
        const struct config_option_name *n = name_of(o, *(int *)field(o, s));
        return n != NULL && n->lacks != NULL;
    }
    return (o->flags & (OPTION_LACKS_CARES | OPTION_LACKS_LDAP)) && !has_default(o, s);
}

void option_refusal(const struct config_option *o, const char *value, struct buf *out)
{
    const char *library = o->flags & OPTION_LACKS_CARES ? "c-ares" : "libldap";

    for (const struct config_option_name *n = o->names; n != NULL && n->name != NULL; n++)
        if (n->lacks != NULL && strcasecmp(n->name, value) == 0) {
            buf_printf(out, "setting %s = %s needs %s, which is not built in", o->name, n->name, n->lacks);
            return;
        }
    buf_printf(out, "setting %s needs %s, which is not built in", o->name, library);
}

void option_mask(const struct config_option *o, struct buf *value)
{
    if (!(o->flags & OPTION_SECRET) || strstr(buf_cstr(value), "ldapbindpasswd") == NULL)
        return;
    secret_wipe(value->data, value->len);
    buf_clear(value);
    buf_append_str(value, "***");
}

void settings_init_defaults(struct settings *s)
{
    struct buf why;
    buf_init(&why, 0);
    memset(s, 0, sizeof *s);
    for (size_t i = 0; i < option_count_all(); i++)
        if (!option_parse(option_at(i), option_at(i)->default_text, s, &why))
            assert(!"the default of an option is not valid");
    buf_free(&why);
}

void settings_copy_field(struct settings *to, const struct settings *from, const struct config_option *o)
{
    switch (o->type) {
    case OPTION_TIME: *(int64_t *)field(o, to) = *(int64_t *)field(o, from); break;
    case OPTION_UINT: *(uint32_t *)field(o, to) = *(uint32_t *)field(o, from); break;
    case OPTION_STR: {
        const char **s = settings_string(to, o);
        free((char *)*s);
        *s = xstrdup(*(const char **)field(o, from));
        break;
    }
    case OPTION_INT:
    case OPTION_BOOL:
    case OPTION_ENUM:
    case OPTION_WORKERS: *(int *)field(o, to) = *(int *)field(o, from); break;
    }
}

void settings_copy(struct settings *to, const struct settings *from)
{
    memset(to, 0, sizeof *to);
    for (size_t i = 0; i < option_count_all(); i++)
        settings_copy_field(to, from, option_at(i));
}

void settings_free(struct settings *s)
{
    for (size_t i = 0; i < option_count_all(); i++)
        if (option_at(i)->type == OPTION_STR)
            secret_free((char *)*settings_string(s, option_at(i))); /* one may be a password */
    memset(s, 0, sizeof *s);
}

bool option_same_value(const struct config_option *o, const char *a, const char *b)
{
    struct settings x = {0}, y = {0};
    struct buf why, one, other;
    bool is_same = strcmp(a, b) == 0;

    if (is_same || o->type == OPTION_STR)
        return is_same;
    buf_init(&why, 0);
    buf_init(&one, 0);
    buf_init(&other, 0);
    if (option_parse(o, a, &x, &why) && option_parse(o, b, &y, &why)) {
        option_print(o, &x, &one);
        option_print(o, &y, &other);
        is_same = strcmp(buf_cstr(&one), buf_cstr(&other)) == 0;
    }
    buf_free(&why);
    buf_free(&one);
    buf_free(&other);
    return is_same;
}
