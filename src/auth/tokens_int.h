/*
 * tokens_int.h - rule files as PostgreSQL reads them: lines of fields, fields of words.
 */
#ifndef AUTH_TOKENS_INT_H
#define AUTH_TOKENS_INT_H

#include <stdbool.h>
#include <stddef.h>

#include "auth/source.h"
#include "base/buf.h"
#include "pattern_int.h"

#define AUTH_NAME_MAX 63 /* PostgreSQL cuts names to so many bytes */

struct token {
    char *text;
    bool is_quoted; /* then it is no keyword */
    regex_t *regex; /* of a text that begins with /; token_compile() */
};

struct field {
    struct token *tokens;
    size_t count;
};

struct token_line {
    const char *file; /* of token_file.path */
    int number;       /* from 1: its first line */
    struct field *fields;
    size_t count; /* at least 1 */
};

struct token_file {
    char *path;
    struct token_line *lines;
    size_t count;
};

/* What cannot be read is reported and left out. */
void token_file_read(struct token_file *f, const struct auth_source *source);
void token_file_free(struct token_file *f);
/* Moves a field out of its line. */
struct field field_take(struct field *f);
void field_free(struct field *f);
bool token_is_keyword(const struct token *t, const char *word);
/* Compiles a regular expression; nothing to do for other words. False with why. */
bool token_compile(struct token *t, struct buf *why);
/* By regular expression or by letter. */
bool token_matches(const struct token *t, const char *name);

#endif
