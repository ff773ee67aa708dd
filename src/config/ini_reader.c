/*
 * ini_reader.c - ini files: lines, includes and places; inih splits them.
 *
 * inih is fed line by line, with lines that mean to it what they mean to
 * PgBouncer: no indentation (a continuation to inih), names that may hold ':'
 * and quoted ones that may hold '=', values that may hold " ;". The characters
 * at which inih would split too early travel as control bytes, which are
 * refused in files. A value that does not fit into inih's buffer (200 bytes by
 * default) stays here and a control byte travels for it. So nothing depends on
 * how inih was built.
 *
 * Not here: what sections and names mean (load.c, sections.c).
 * Threads: the control thread.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ini.h>

#include "base/mem.h"
#include "base/secret.h"
#include "config_int.h"

#define LINE_MAX_BYTES    (64 * 1024)
#define SECTION_MAX_BYTES 48 /* inih cuts longer ones */
#define INCLUDE_DEPTH_MAX 10
#define INCLUDE_COUNT_MAX 1000

/* What stands for a character at which inih would split. */
static const struct {
    char character;
    char code;
} codes[] = {{':', '\001'}, {'=', '\002'}, {';', '\003'}};

/* What stands for a value that inih has no room for. */
#define KEPT_VALUE "\004"

struct ini_file {
    char *path;
    char *owned; /* content to free, or NULL */
    const char *at;
    const char *end;
    int line;
};

struct ini_reader {
    struct ini_file files[INCLUDE_DEPTH_MAX + 1]; /* the last one is being read */
    int depth;
    int includes;
    bool no_includes;
    bool is_pending;           /* inih has a line and has not called back yet */
    bool is_skipping;          /* the header above was wrong: whose lines these are is not known */
    const char *kept_value;    /* in line: the value, when inih got KEPT_VALUE */
    char line[LINE_MAX_BYTES]; /* the one that is being read */
    ini_entry_cb cb;
    void *arg;
    struct config_problems *problems;
};

static struct place here(const struct ini_reader *r)
{
    const struct ini_file *f = &r->files[r->depth - 1];
    return (struct place){f->path, f->line};
}

#define fail_here(r, ...)                                                                                    \
    config_problems_add((r)->problems, PROBLEM_ERROR, here(r).file, here(r).line, __VA_ARGS__)

static void push(struct ini_reader *r, const char *path, char *owned, const char *text, size_t len)
{
    if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
        text += 3;
        len -= 3;
    }
    r->files[r->depth++] = (struct ini_file){xstrdup(path), owned, text, text + len, 0};
}

static void pop(struct ini_reader *r)
{
    struct ini_file *f = &r->files[--r->depth];
    free(f->path);
    secret_free(f->owned); /* connection strings hold passwords */
}

static void include(struct ini_reader *r, const char *path)
{
    size_t len;
    if (r->no_includes) {
        fail_here(r, "%%include is not allowed here");
        return;
    }
    if (r->depth > INCLUDE_DEPTH_MAX || ++r->includes > INCLUDE_COUNT_MAX) {
        fail_here(r, "too many files include each other");
        return;
    }
    char *data = file_read(path, &len, NULL);
    if (data == NULL)
        fail_here(r, "cannot read \"%s\": %s", path, strerror(errno));
    else
        push(r, path, data, data, len);
}

static void directive(struct ini_reader *r, const char *line)
{
    size_t len = strcspn(line, " \t");
    const char *rest = line + len + strspn(line + len, " \t");
    if (len != strlen("%include") || strncmp(line, "%include", len) != 0)
        fail_here(r, "unknown directive \"%.*s\": did you mean %%include?", (int)len, line);
    else if (*rest == '\0')
        fail_here(r, "%%include needs the name of a file");
    else
        include(r, rest);
}

/* Checks "[name]" and tells the loader that the section begins, even if it stays empty. */
static bool section(struct ini_reader *r, const char *line, size_t len)
{
    if (line[len - 1] != ']' || len < 3 || len - 2 > SECTION_MAX_BYTES) {
        fail_here(r, "this is no section: expected [NAME] of at most %d characters", SECTION_MAX_BYTES);
        return false;
    }
    for (size_t i = 1; i < len - 1; i++)
        if (strchr("[]:=;#", line[i]) != NULL) {
            fail_here(r, "the name of a section must not contain \"%c\"", line[i]);
            return false;
        }
    char *name = xstrndup(line + 1, len - 2);
    r->cb(r->arg, name, NULL, NULL, here(r));
    free(name);
    return true;
}

/* Where the '=' between name and value stands: not inside a quoted name. NULL when there is none. */
static char *find_equals(char *line)
{
    bool is_quoted = false;
    if (*line != '"')
        return strchr(line, '=');
    for (char *c = line; *c != '\0'; c++)
        if (*c == '"')
            is_quoted = !is_quoted;
        else if (*c == '=' && !is_quoted)
            return c;
    return NULL;
}

/* Writes r->line for inih, which gives room for size bytes. */
static bool entry(struct ini_reader *r, char *str, size_t size)
{
    char *equals = find_equals(r->line);
    if (equals == NULL || equals == r->line) {
        fail_here(r, "expected NAME = VALUE");
        return false;
    }
    for (char *c = r->line; *c != '\0'; c++)
        for (size_t i = 0; i < ARRAY_SIZE(codes) && c != equals; i++)
            if (*c == codes[i].character)
                *c = codes[i].code;
    size_t name_len = (size_t)(equals - r->line);
    if (strlen(r->line) + sizeof "\n" <= size) {
        snprintf(str, size, "%s\n", r->line);
    } else if (name_len + sizeof "=" KEPT_VALUE "\n" <= size) {
        r->kept_value = equals + 1 + strspn(equals + 1, " \t");
        snprintf(str, size, "%.*s=" KEPT_VALUE "\n", (int)name_len, r->line);
    } else {
        fail_here(r, "this name is too long");
        return false;
    }
    return true;
}

/* Puts the next line, trimmed, into r->line. False when it is too long or is no text; that is reported. */
static bool take_line(struct ini_reader *r)
{
    struct ini_file *f = &r->files[r->depth - 1];
    const char *start = f->at;
    const char *newline = memchr(start, '\n', (size_t)(f->end - start));
    const char *end = newline != NULL ? newline : f->end;
    f->at = newline != NULL ? newline + 1 : f->end;
    f->line++;
    while (start < end && strchr(" \t\r\v\f", *start) != NULL && *start != '\0')
        start++;
    while (start < end && strchr(" \t\r\v\f", end[-1]) != NULL && end[-1] != '\0')
        end--;
    size_t len = (size_t)(end - start);
    bool is_comment = len > 0 && (*start == ';' || *start == '#');
    r->line[0] = '\0';
    if (is_comment)
        return true;
    if (len >= LINE_MAX_BYTES) {
        fail_here(r, "this line is longer than %d bytes", LINE_MAX_BYTES - 1);
        return false;
    }
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)start[i] < ' ' && start[i] != '\t') {
            fail_here(r, "this line contains a control character (code %d)", start[i]);
            return false;
        }
    memcpy(r->line, start, len);
    r->line[len] = '\0';
    return true;
}

/* inih's fgets: the next line that means something to it. */
static char *next_line(char *str, int num, void *stream)
{
    struct ini_reader *r = stream;
    if (r->is_pending)
        fail_here(r, "this line cannot be read");
    r->is_pending = false;
    while (r->depth > 0) {
        struct ini_file *f = &r->files[r->depth - 1];
        if (f->at == f->end) {
            pop(r);
            continue;
        }
        if (!take_line(r))
            continue;
        if (r->line[0] == '%')
            directive(r, r->line);
        else if (r->line[0] == '[') {
            r->is_skipping = !section(r, r->line, strlen(r->line));
            if (r->is_skipping)
                continue;
            snprintf(str, (size_t)num, "%s\n", r->line);
            return str;
        } else if (r->line[0] != '\0' && !r->is_skipping && entry(r, str, (size_t)num)) {
            r->is_pending = true;
            return str;
        }
    }
    return NULL;
}

static char *decode(const char *text)
{
    char *copy = xstrdup(text);
    for (char *c = copy; *c != '\0'; c++)
        for (size_t i = 0; i < ARRAY_SIZE(codes); i++)
            if (*c == codes[i].code)
                *c = codes[i].character;
    return copy;
}

static int handle(void *user, const char *section_name, const char *name, const char *value)
{
    struct ini_reader *r = user;
    if (name == NULL)
        return 1; /* a new section, in builds of inih that tell: we know already */
    if (value == NULL)
        value = ""; /* "NAME =", in builds of inih that tell the difference */
    if (strcmp(value, KEPT_VALUE) == 0)
        value = r->kept_value;
    char *plain_name = decode(name), *plain_value = decode(value);
    r->is_pending = false;
    r->cb(r->arg, section_name, plain_name, plain_value, here(r));
    free(plain_name);
    secret_free(plain_value);
    return 1;
}

void ini_read(const struct ini_source *source, ini_entry_cb cb, void *arg, struct config_problems *problems)
{
    struct ini_reader *r = xcalloc(1, sizeof *r);
    r->no_includes = source->no_includes;
    r->cb = cb;
    r->arg = arg;
    r->problems = problems;
    size_t len = source->text_len;
    char *data = NULL;
    if (source->text == NULL)
        data = file_read(source->path, &len, NULL);
    if (source->text == NULL && data == NULL && source->variable != NULL) {
        config_problems_add(
            problems, PROBLEM_ERROR, NULL, 0,
            "variable %s: cannot read \"%s\": %s; mount the file there, or unset the variable",
            source->variable, source->path, strerror(errno));
    } else if (source->text == NULL && data == NULL) {
        config_problems_add(problems, PROBLEM_ERROR, source->path, 0, "cannot read it: %s", strerror(errno));
    } else {
        push(r, source->path != NULL ? source->path : "(memory)", data, data != NULL ? data : source->text,
             len);
        int result = ini_parse_stream(next_line, r, handle, r);
        if (result < 0)
            config_problems_add(problems, PROBLEM_ERROR, source->path, 0, "out of memory");
    }
    while (r->depth > 0)
        pop(r);
    secret_wipe(r->line, sizeof r->line);
    free(r);
}
