/*
 * userlist.c - parser of auth_file.
 *
 * Works line by line on a buffer of the whole file; memory may abort (configuration time).
 * Not here: reading the file and noticing that it changed (config/).
 */
#include "auth/userlist.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/secret.h"

struct parser {
    struct userlist *list;
    uint32_t capacity; /* of list->entries */
    userlist_problem_fn *problem;
    userlist_all_fn *all;
    void *arg;
};

/* The unread rest of one line. */
struct line {
    const char *p;
    const char *end;
    uint32_t number;
};

static void report(const struct parser *parser, uint32_t line, const char *text)
{
    if (parser->problem != NULL)
        parser->problem(parser->arg, line, text);
}

/*
 * Reads a quoted value, of which l->p is the first byte behind the opening quote, into out (max bytes and
 * NUL). Returns NULL or what is wrong.
 */
static const char *read_quoted(struct line *l, char *out, size_t max, const char *too_long)
{
    size_t n = 0;
    while (l->p < l->end) {
        char c = *l->p++;
        if (c == '"') {
            if (l->p == l->end || *l->p != '"') {
                out[n] = '\0';
                return NULL;
            }
            l->p++;
        }
        if (n == max)
            return too_long;
        out[n++] = c;
    }
    return "missing closing quote";
}

static const char *read_line(struct line *l, char name[USERLIST_NAME_MAX + 1],
                             char secret[USERLIST_SECRET_MAX + 1])
{
    if (memchr(l->p, '\0', (size_t)(l->end - l->p)) != NULL)
        return "line holds a NUL byte";
    if (*l->p != '"')
        return "user name must begin with a quote";
    l->p++;
    const char *wrong = read_quoted(l, name, USERLIST_NAME_MAX, "user name is too long");
    if (wrong != NULL)
        return wrong;
    if (name[0] == '\0')
        return "user name is empty";
    const char *quote = memchr(l->p, '"', (size_t)(l->end - l->p));
    if (quote == NULL)
        return "password is missing (write \"\" for none)";
    l->p = quote + 1;
    return read_quoted(l, secret, USERLIST_SECRET_MAX, "password is too long");
}

static void add_entry(struct parser *parser, uint32_t line, const char *name, const char *secret)
{
    struct userlist *list = parser->list;
    if (list->count == parser->capacity) {
        parser->capacity = parser->capacity > 0 ? parser->capacity * 2 : 16;
        struct userlist_entry *entries = xmalloc(parser->capacity * sizeof(*entries));
        if (list->count > 0) {
            /* Not xrealloc: keys would stay behind in freed memory. */
            memcpy(entries, list->entries, list->count * sizeof(*entries));
            secret_wipe(list->entries, list->count * sizeof(*entries));
        }
        free(list->entries);
        list->entries = entries;
    }
    struct userlist_entry *e = &list->entries[list->count];
    *e = (struct userlist_entry){.line = line};
    if (!credential_parse(&e->credential, secret)) {
        report(parser, line, "out of memory");
        return;
    }
    e->name = xstrdup(name);
    list->count++;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f';
}

static void parse_line(struct parser *parser, struct line *l)
{
    char name[USERLIST_NAME_MAX + 1];
    char secret[USERLIST_SECRET_MAX + 1];
    while (l->p < l->end && is_blank(*l->p))
        l->p++;
    if (l->p == l->end || *l->p == ';')
        return;
    const char *wrong = read_line(l, name, secret);
    if (wrong != NULL)
        report(parser, l->number, wrong);
    else
        add_entry(parser, l->number, name, secret);
    secret_wipe(secret, sizeof(secret));
}

static int compare_entries(const void *a, const void *b)
{
    const struct userlist_entry *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    if (order != 0)
        return order;
    return x->line < y->line ? -1 : x->line > y->line;
}

static void wipe_entry(struct userlist_entry *e)
{
    free(e->name);
    credential_wipe(&e->credential);
    for (uint32_t i = 0; i < e->n_older; i++)
        credential_wipe(&e->older[i]);
    free(e->older);
}

static bool can_be_right_with(const struct credential *a, const struct credential *b)
{
    return a->kind != CREDENTIAL_SCRAM || b->kind != CREDENTIAL_SCRAM ||
           (a->scram.iterations == b->scram.iterations && a->scram.salt_len == b->scram.salt_len &&
            memcmp(a->scram.salt, b->scram.salt, a->scram.salt_len) == 0);
}

/* e stands again further down; its secret goes to that line, which may do so in turn. */
static void hand_down(struct parser *parser, struct userlist_entry *e, struct userlist_entry *to)
{
    bool ok = can_be_right_with(&e->credential, &to->credential);

    for (uint32_t i = 0; i < e->n_older; i++)
        ok = ok && can_be_right_with(&e->older[i], &to->credential);
    if (!ok)
        report(
            parser, to->line,
            "SCRAM secrets of one user must have the same salt and iterations to be right at the same time");
    if (e->n_older == USERLIST_OLDER_MAX)
        report(parser, to->line, "user stands here too often: at most four secrets can be right at a time");
    if (!ok || e->n_older == USERLIST_OLDER_MAX)
        return;
    to->n_older = e->n_older + 1;
    to->older = xcalloc(to->n_older, sizeof(*to->older));
    to->older[0] = e->credential;
    for (uint32_t i = 0; i < e->n_older; i++)
        to->older[i + 1] = e->older[i];
    secret_wipe(&e->credential, sizeof(e->credential)); /* the copies have the text */
    if (e->n_older > 0)
        secret_wipe(e->older, e->n_older * sizeof(*e->older));
    e->n_older = 0;
}

/* Of neighbours with one name the last stays. */
static void drop_repeated(struct parser *parser)
{
    struct userlist *list = parser->list;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < list->count; i++) {
        struct userlist_entry *e = &list->entries[i];
        if (i + 1 < list->count && strcmp(e->name, e[1].name) == 0) {
            if (parser->all != NULL && parser->all(parser->arg, e->name))
                hand_down(parser, e, &e[1]);
            else
                report(parser, e->line, "user stands again further down: this line does not count");
            wipe_entry(e);
        } else if (kept++ != i) {
            list->entries[kept - 1] = *e;
        }
    }
    if (list->count > kept)
        secret_wipe(&list->entries[kept], (list->count - kept) * sizeof(*list->entries));
    list->count = kept;
}

struct userlist *userlist_parse(const char *data, size_t len_bytes, userlist_problem_fn *problem,
                                userlist_all_fn *all, void *arg)
{
    static const char byte_order_mark[] = "\xef\xbb\xbf";
    struct parser parser = {
        .list = xcalloc(1, sizeof(struct userlist)), .problem = problem, .all = all, .arg = arg};
    const char *p = data, *end = data + len_bytes;
    if (len_bytes >= 3 && memcmp(p, byte_order_mark, 3) == 0)
        p += 3;
    for (uint32_t number = 1; p < end; number++) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        struct line l = {.p = p, .end = newline != NULL ? newline : end, .number = number};
        p = newline != NULL ? newline + 1 : end;
        parse_line(&parser, &l);
    }
    struct userlist *list = parser.list;
    if (list->count > 1) {
        qsort(list->entries, list->count, sizeof(*list->entries), compare_entries);
        drop_repeated(&parser);
    }
    return list;
}

void userlist_free(struct userlist *l)
{
    if (l == NULL)
        return;
    for (uint32_t i = 0; i < l->count; i++)
        wipe_entry(&l->entries[i]);
    free(l->entries);
    free(l);
}

static int compare_name(const void *key, const void *entry)
{
    return strcmp(key, ((const struct userlist_entry *)entry)->name);
}

const struct userlist_entry *userlist_find(const struct userlist *l, const char *name)
{
    if (l->count == 0)
        return NULL;
    return bsearch(name, l->entries, l->count, sizeof(*l->entries), compare_name);
}
