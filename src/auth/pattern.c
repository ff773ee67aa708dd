/*
 * pattern.c - regular expressions in rule files.
 *
 * PostgreSQL has its own engine; here it is the C library's, for POSIX extended expressions. Where the two
 * would read one text differently the text is refused, but for \d, \s, \w, which are translated. Expressions
 * whose automaton would be huge are refused, too: names are short, so nobody needs them.
 */
#include "pattern_int.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define MAX_TEXT_BYTES 1000
#define MAX_NESTING    20
#define MAX_REPEATS    1000 /* product of all {m,n}: they are written out by the compiler */

struct translation {
    const char *p;
    struct buf out;
    struct buf *why;
    long repeats;
    int nesting;
    bool in_brackets;
    bool after_quantifier;
};

static bool refuse(struct translation *t, const char *text)
{
    buf_clear(t->why);
    buf_append_str(t->why, text);
    return false;
}

static const char *class_of(char c)
{
    switch (c) {
    case 'd':
    case 'D': return "[:digit:]";
    case 's':
    case 'S': return "[:space:]";
    case 'w':
    case 'W': return "[:alnum:]_";
    default: return NULL;
    }
}

static bool take_escape(struct translation *t)
{
    char c = *++t->p;
    const char *class = class_of(c);
    bool is_upper = c >= 'A' && c <= 'Z';

    if (c == '\0')
        return refuse(t, "regular expression ends in a backslash");
    t->p++;
    if (t->in_brackets) {
        if (class == NULL || is_upper)
            return refuse(t, "in brackets only \\d, \\s and \\w are supported after a backslash");
        buf_append_str(&t->out, class);
    } else if (class != NULL) {
        buf_printf(&t->out, "[%s%s]", is_upper ? "^" : "", class);
    } else if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || is_upper) {
        return refuse(t, "regular expression has an escape that is not supported");
    } else {
        buf_append_byte(&t->out, '\\');
        buf_append_byte(&t->out, (uint8_t)c);
    }
    t->after_quantifier = false;
    return true;
}

/* [...]: a ] right behind the opening is part of the set, and so is what stands in [: :]. */
static bool take_brackets(struct translation *t)
{
    buf_append_byte(&t->out, (uint8_t)*t->p++);
    if (*t->p == '^')
        buf_append_byte(&t->out, (uint8_t)*t->p++);
    if (*t->p == ']')
        buf_append_byte(&t->out, (uint8_t)*t->p++);
    t->in_brackets = true;
    while (*t->p != '\0' && *t->p != ']') {
        if (*t->p == '\\') {
            if (!take_escape(t))
                return false;
            continue;
        }
        if (*t->p == '[' && (t->p[1] == ':' || t->p[1] == '.' || t->p[1] == '=')) {
            const char end[] = {t->p[1], ']', '\0'};
            const char *close = strstr(t->p + 2, end);
            if (close == NULL)
                return refuse(t, "regular expression has an open bracket");
            buf_append(&t->out, t->p, (uint32_t)(close + 2 - t->p));
            t->p = close + 2;
            continue;
        }
        buf_append_byte(&t->out, (uint8_t)*t->p++);
    }
    if (*t->p == '\0')
        return refuse(t, "regular expression has an open bracket");
    buf_append_byte(&t->out, (uint8_t)*t->p++);
    t->in_brackets = t->after_quantifier = false;
    return true;
}

/* {m}, {m,}, {m,n} */
static bool take_interval(struct translation *t)
{
    char *end;
    long n = strtol(t->p + 1, &end, 10), most = n;

    if (end == t->p + 1 || t->p[1] < '0' || t->p[1] > '9')
        return refuse(t, "regular expression has a { that begins no number of repetitions");
    if (*end == ',' && end[1] != '}')
        most = strtol(end + 1, &end, 10);
    else if (*end == ',')
        end++;
    if (*end != '}' || n > 255 || most > 255 || most < n)
        return refuse(t, "regular expression has a bad number of repetitions");
    t->repeats *= most > 1 ? most : 1;
    if (t->repeats > MAX_REPEATS)
        return refuse(t, "regular expression repeats too much");
    buf_append(&t->out, t->p, (uint32_t)(end + 1 - t->p));
    t->p = end + 1;
    t->after_quantifier = true;
    return true;
}

static bool take_group(struct translation *t)
{
    if (t->p[1] == '?')
        return refuse(t, "regular expression has (? which is not supported");
    if (t->p[1] == '*' || t->p[1] == '+' || t->p[1] == '{')
        return refuse(t, "regular expression repeats nothing");
    if (++t->nesting > MAX_NESTING)
        return refuse(t, "regular expression is nested too deeply");
    buf_append_byte(&t->out, (uint8_t)*t->p++);
    t->after_quantifier = false;
    return true;
}

static bool take_quantifier(struct translation *t)
{
    if (t->after_quantifier)
        return refuse(t, "regular expression has a quantifier behind another, which is not supported");
    if (t->out.len == 0)
        return refuse(t, "regular expression repeats nothing");
    if (*t->p == '{')
        return take_interval(t);
    buf_append_byte(&t->out, (uint8_t)*t->p++);
    t->after_quantifier = true;
    return true;
}

static bool translate(struct translation *t)
{
    while (*t->p != '\0') {
        bool ok = true;
        switch (*t->p) {
        case '\\': ok = take_escape(t); break;
        case '[': ok = take_brackets(t); break;
        case '(': ok = take_group(t); break;
        case '*':
        case '+':
        case '?':
        case '{': ok = take_quantifier(t); break;
        default:
            t->nesting -= *t->p == ')' && t->nesting > 0;
            t->after_quantifier = false;
            buf_append_byte(&t->out, (uint8_t)*t->p++);
        }
        if (!ok)
            return false;
    }
    return true;
}

regex_t *pattern_compile(const char *text, struct buf *why)
{
    struct translation t = {.p = text, .why = why, .repeats = 1};
    regex_t *re = NULL;
    char error[100];

    buf_init(&t.out, 0);
    if (strlen(text) > MAX_TEXT_BYTES) {
        (void)refuse(&t, "regular expression is too long");
    } else if (translate(&t)) {
        re = xmalloc(sizeof(*re));
        int e = regcomp(re, buf_cstr(&t.out), REG_EXTENDED);
        if (e != 0) {
            regerror(e, re, error, sizeof(error));
            buf_clear(why);
            buf_printf(why, "bad regular expression: %s", error);
            free(re);
            re = NULL;
        }
    }
    buf_free(&t.out);
    return re;
}

void pattern_free(regex_t *re)
{
    if (re == NULL)
        return;
    regfree(re);
    free(re);
}

bool pattern_matches(const regex_t *re, const char *name, regmatch_t *group)
{
    regmatch_t m[2];

    if (regexec(re, name, 2, m, 0) != 0) /* out of memory is no match, either */
        return false;
    if (group != NULL)
        *group = m[1];
    return true;
}

size_t pattern_groups(const regex_t *re)
{
    return re->re_nsub;
}
