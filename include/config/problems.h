/*
 * problems.h - what is wrong with a configuration: a list that --check prints.
 */
#ifndef CONFIG_PROBLEMS_H
#define CONFIG_PROBLEMS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/compiler.h"

enum problem_severity { PROBLEM_NOTE, PROBLEM_WARNING, PROBLEM_ERROR };

struct config_problem {
    enum problem_severity severity;
    char *file; /* NULL when it comes from no file */
    int line;   /* 0 = the file as a whole */
    char *text;
};

struct config_problems {
    struct config_problem *items;
    size_t count;
    size_t capacity;
    size_t errors;
    size_t warnings;
};

void config_problems_init(struct config_problems *p);
void config_problems_free(struct config_problems *p);
void config_problems_add(struct config_problems *p, enum problem_severity severity, const char *file,
                         int line, const char *fmt, ...) printf_like(5, 6);
/* "FILE:LINE: error: TEXT" (or without what is not known), no newline. */
void config_problem_print(const struct config_problem *p, struct buf *out);

#endif
