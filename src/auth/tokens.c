/*
 * tokens.c - rule files as PostgreSQL reads them: lines of fields, fields of words.
 *
 * # begins a comment, a backslash at the end of a line joins it with the next, words are separated by blanks
 * (of one field: by commas), @file stands for the words of that file. A quote may begin and end within a
 * word; two of them inside are one.
 *
 * A word may be a password (ldapbindpasswd), so all text is wiped before it is freed.
 */
#include "tokens_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/secret.h"

#define MAX_DEPTH 10 /* of @files, as in PostgreSQL */
#define MAX_READS 1000

struct reader {
    const struct auth_source *source;
    const char *path; /* the file that is read */
    int depth;
    int *reads; /* @files that have been read for the whole: each may name several */
};

/* The unread rest of one (joined) line. */
struct cursor {
    const char *p;
    int number;
};

enum token_result { TOKEN_OK, TOKEN_NONE, TOKEN_ERR };

static void report(const struct reader *r, int line, const char *text)
{
    r->source->problem(r->source->arg, r->path, line, text);
}

static void free_text(struct buf *b)
{
    secret_wipe(b->data, b->capacity);
    buf_free(b);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* is_last: no comma behind it, so its field ends. */
static enum token_result next_token(const struct reader *r, struct cursor *c, struct buf *text,
                                    bool *is_quoted, bool *is_last)
{
    bool in_quotes = false, was_quote = false, is_any = false;

    buf_clear(text);
    *is_quoted = false;
    *is_last = true;
    while (is_blank(*c->p) || *c->p == ',')
        c->p++;
    for (; *c->p != '\0' && (in_quotes || !is_blank(*c->p)); c->p++) {
        if (*c->p == '#' && !in_quotes) {
            c->p += strlen(c->p);
            break;
        }
        if (*c->p == ',' && !in_quotes) {
            *is_last = false;
            c->p++;
            break;
        }
        if (*c->p != '"' || was_quote)
            buf_append_byte(text, (uint8_t)*c->p);
        was_quote = in_quotes && *c->p == '"' && !was_quote;
        if (*c->p == '"') {
            in_quotes = !in_quotes;
            *is_quoted = *is_quoted || !is_any;
        }
        is_any = true;
    }
    if (in_quotes) {
        report(r, c->number, "missing closing quote");
        return TOKEN_ERR;
    }
    return is_any ? TOKEN_OK : TOKEN_NONE;
}

static void add_token(struct field *f, const char *text, bool is_quoted)
{
    f->tokens = xrealloc(f->tokens, (f->count + 1) * sizeof(*f->tokens));
    f->tokens[f->count++] = (struct token){.text = xstrdup(text), .is_quoted = is_quoted};
}

static void include(const struct reader *r, int line, const char *name, struct field *f);

/* False at the end of the line, or when it is broken. */
static bool read_field(const struct reader *r, struct cursor *c, struct field *f)
{
    struct buf text;
    bool is_quoted, is_last = true;
    enum token_result result;

    buf_init(&text, 0);
    do {
        result = next_token(r, c, &text, &is_quoted, &is_last);
        if (result != TOKEN_OK)
            break;
        const char *word = buf_cstr(&text);
        if (!is_quoted && word[0] == '@' && word[1] != '\0')
            include(r, c->number, word + 1, f);
        else
            add_token(f, word, is_quoted);
    } while (!is_last);
    free_text(&text);
    return result != TOKEN_ERR && (result == TOKEN_OK || f->count > 0);
}

/* The next line, joined with what follows a backslash; false at the end. *number becomes that behind it. */
static bool next_line(const char **p, const char *end, int *number, struct buf *line)
{
    bool is_joined;

    buf_clear(line);
    if (*p >= end)
        return false;
    do {
        const char *newline = memchr(*p, '\n', (size_t)(end - *p));
        const char *stop = newline != NULL ? newline : end;
        const char *last = stop;
        while (last > *p && last[-1] == '\r')
            last--;
        is_joined = last > *p && last[-1] == '\\';
        buf_append(line, *p, (uint32_t)(last - *p - is_joined));
        *p = newline != NULL ? newline + 1 : end;
        ++*number;
    } while (is_joined && *p < end);
    return true;
}

typedef void line_fn(const struct reader *r, struct cursor *c, void *arg);

static void read_lines(const struct reader *r, const char *data, size_t len_bytes, line_fn *fn, void *arg)
{
    const char *p = data, *end = data + len_bytes;
    int number = 1;
    struct buf line;

    if (len_bytes >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0)
        p += 3;
    buf_init(&line, 0);
    for (int first = number; next_line(&p, end, &number, &line); first = number) {
        struct cursor c = {.p = buf_cstr(&line), .number = first};
        if (strlen(c.p) != line.len)
            report(r, first, "line holds a NUL byte");
        else
            fn(r, &c, arg);
    }
    free_text(&line);
}

static void all_words(const struct reader *r, struct cursor *c, void *arg)
{
    while (read_field(r, c, arg) && *c->p != '\0')
        ;
}

/* @name: relative to the file that names it. */
static void include(const struct reader *r, int line, const char *name, struct field *f)
{
    const char *slash = strrchr(r->path, '/');
    size_t dir = name[0] == '/' || slash == NULL ? 0 : (size_t)(slash + 1 - r->path);
    char *path = xasprintf("%.*s%s", (int)dir, r->path, name);
    struct reader inner = {.source = r->source, .path = path, .depth = r->depth + 1, .reads = r->reads};
    size_t len = 0;

    if (++*inner.reads > MAX_READS || inner.depth > MAX_DEPTH) {
        if (*inner.reads <= MAX_READS + 1) /* said once */
            report(r, line, "@files name each other, or are too many");
        *inner.reads = MAX_READS + 1;
        free(path);
        return;
    }
    char *data = r->source->read(r->source->arg, path, &len);
    if (data == NULL) {
        char *text = xasprintf("cannot read @file \"%s\": %s", path, strerror(errno));
        report(r, line, text);
        free(text);
    } else {
        read_lines(&inner, data, len, all_words, f);
    }
    free(data);
    free(path);
}

static void add_line(const struct reader *r, struct cursor *c, void *arg)
{
    struct token_file *file = arg;
    struct token_line line = {.file = file->path, .number = c->number};
    struct field f = {0};

    (void)r;
    while (read_field(r, c, &f)) {
        line.fields = xrealloc(line.fields, (line.count + 1) * sizeof(*line.fields));
        line.fields[line.count++] = f;
        f = (struct field){0};
    }
    field_free(&f);
    if (line.count == 0)
        return;
    file->lines = xrealloc(file->lines, (file->count + 1) * sizeof(*file->lines));
    file->lines[file->count++] = line;
}

void token_file_read(struct token_file *f, const struct auth_source *source)
{
    size_t len = 0;
    int reads = 0;

    *f = (struct token_file){.path = xstrdup(source->path)};
    struct reader r = {.source = source, .path = f->path, .reads = &reads};
    char *data = source->read(source->arg, source->path, &len);
    if (data == NULL) {
        char *text = xasprintf("cannot read the file: %s", strerror(errno));
        report(&r, 0, text);
        free(text);
        return;
    }
    read_lines(&r, data, len, add_line, f);
    secret_wipe(data, len);
    free(data);
}

void token_file_free(struct token_file *f)
{
    for (size_t i = 0; i < f->count; i++) {
        for (size_t j = 0; j < f->lines[i].count; j++)
            field_free(&f->lines[i].fields[j]);
        free(f->lines[i].fields);
    }
    free(f->lines);
    free(f->path);
}

struct field field_take(struct field *f)
{
    struct field taken = *f;
    *f = (struct field){0};
    return taken;
}

void field_free(struct field *f)
{
    for (size_t i = 0; i < f->count; i++) {
        secret_free(f->tokens[i].text);
        pattern_free(f->tokens[i].regex);
    }
    free(f->tokens);
    *f = (struct field){0};
}

bool token_is_keyword(const struct token *t, const char *word)
{
    return !t->is_quoted && strcmp(t->text, word) == 0;
}

bool token_compile(struct token *t, struct buf *why)
{
    if (t->text[0] != '/') /* also in quotes: a comma needs them */
        return true;
    t->regex = pattern_compile(t->text + 1, why);
    return t->regex != NULL;
}

bool token_matches(const struct token *t, const char *name)
{
    return t->regex != NULL ? pattern_matches(t->regex, name, NULL) : strcmp(t->text, name) == 0;
}
