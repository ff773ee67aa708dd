/*
 * problems.c - the list of what is wrong with a configuration.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "config/problems.h"

/* A hostile file must not fill the memory with complaints. */
#define PROBLEMS_MAX 1000

void config_problems_init(struct config_problems *p)
{
    memset(p, 0, sizeof *p);
}

void config_problems_free(struct config_problems *p)
{
    for (size_t i = 0; i < p->count; i++) {
        free(p->items[i].file);
        free(p->items[i].text);
    }
    free(p->items);
    config_problems_init(p);
}

void config_problems_add(struct config_problems *p, enum problem_severity severity, const char *file,
                         int line, const char *fmt, ...)
{
    p->errors += severity == PROBLEM_ERROR;
    p->warnings += severity == PROBLEM_WARNING;
    if (p->count >= PROBLEMS_MAX)
        return;
    if (p->count == p->capacity) {
        p->capacity = p->capacity == 0 ? 16 : p->capacity * 2;
        p->items = xrealloc(p->items, p->capacity * sizeof *p->items);
    }
    struct buf text;
    char line_text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line_text, sizeof line_text, fmt, ap);
    va_end(ap);
    buf_init(&text, 0);
    /* What stands in a file goes to a terminal or a log: no control characters. */
    for (const char *c = line_text; *c != '\0'; c++)
        buf_append_byte(&text, (unsigned char)*c < ' ' || *c == 0x7f ? '?' : (uint8_t)*c);
    p->items[p->count++] = (struct config_problem){
        .severity = severity,
        .file = file != NULL ? xstrdup(file) : NULL,
        .line = line,
        .text = xstrdup(buf_cstr(&text)),
    };
    buf_free(&text);
}

void config_problem_print(const struct config_problem *p, struct buf *out)
{
    static const char *const severities[] = {"note", "warning", "error"};
    if (p->file != NULL && p->line > 0)
        buf_printf(out, "%s:%d: ", p->file, p->line);
    else if (p->file != NULL)
        buf_printf(out, "%s: ", p->file);
    buf_printf(out, "%s: %s", severities[p->severity], p->text);
}
