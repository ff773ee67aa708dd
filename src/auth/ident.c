/*
 * ident.c - maps from names that the system or a certificate gives to users.
 */
#include "auth/ident.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tokens_int.h"

struct mapping {
    char *map;
    struct token system;
    struct token user;
};

struct ident {
    struct mapping *mappings;
    size_t count;
};

/* What is wrong with a line, or NULL; then *m is set. */
static const char *parse_mapping(struct token_line *l, struct mapping *m, struct buf *why)
{
    if (l->count < 3)
        return "a line needs a map, a system user and a database user";
    if (l->count > 3)
        return "a line has three fields: map, system user, database user";
    for (size_t i = 0; i < 3; i++)
        if (l->fields[i].count != 1)
            return "multiple values in a field";
    struct token *system = &l->fields[1].tokens[0], *user = &l->fields[2].tokens[0];
    if (strncmp(l->fields[0].tokens[0].text, "include", strlen("include")) == 0)
        return "include directives are not supported";
    if (!user->is_quoted && user->text[0] == '+')
        return "+role is not supported: who is a member of a role is not known here";
    if (!token_compile(system, why) || !token_compile(user, why))
        return buf_cstr(why);
    if (user->regex == NULL && strstr(user->text, "\\1") != NULL && system->regex != NULL &&
        pattern_groups(system->regex) == 0)
        return "\\1 stands for a group, and the regular expression has none";
    m->map = l->fields[0].tokens[0].text;
    m->system = *system;
    m->user = *user;
    l->fields[0].tokens[0].text = NULL;
    *system = *user = (struct token){0};
    return NULL;
}

struct ident *ident_parse(const struct auth_source *source)
{
    struct ident *ident = xcalloc(1, sizeof(*ident));
    struct token_file f;
    struct buf why;

    buf_init(&why, 0);
    token_file_read(&f, source);
    ident->mappings = xcalloc(f.count + 1, sizeof(*ident->mappings));
    for (size_t i = 0; i < f.count; i++) {
        const char *wrong = parse_mapping(&f.lines[i], &ident->mappings[ident->count], &why);
        if (wrong != NULL)
            source->problem(source->arg, f.path, f.lines[i].number, wrong);
        else
            ident->count++;
    }
    token_file_free(&f);
    buf_free(&why);
    return ident;
}

void ident_free(struct ident *ident)
{
    if (ident == NULL)
        return;
    for (size_t i = 0; i < ident->count; i++) {
        struct mapping *m = &ident->mappings[i];
        free(m->map);
        free(m->system.text);
        pattern_free(m->system.regex);
        free(m->user.text);
        pattern_free(m->user.regex);
    }
    free(ident->mappings);
    free(ident);
}

bool ident_has_map(const struct ident *ident, const char *map)
{
    for (size_t i = 0; ident != NULL && i < ident->count; i++)
        if (strcmp(ident->mappings[i].map, map) == 0)
            return true;
    return false;
}

size_t ident_count(const struct ident *ident)
{
    return ident->count;
}

/* Is name what the mapping's user says, with \1 (the first one) as in system_name? */
static bool matches_expanded(const struct token *user, const char *backref, const char *system_name,
                             const regmatch_t *group, const char *name)
{
    size_t before = (size_t)(backref - user->text);
    size_t middle = (size_t)(group->rm_eo - group->rm_so);
    const char *after = backref + strlen("\\1");

    if (group->rm_so < 0) /* the group took no part in the match */
        return false;
    return strlen(name) == before + middle + strlen(after) && memcmp(name, user->text, before) == 0 &&
           memcmp(name + before, system_name + group->rm_so, middle) == 0 &&
           strcmp(name + before + middle, after) == 0;
}

static bool mapping_allows(const struct mapping *m, const char *system_name, const char *user)
{
    regmatch_t group = {.rm_so = -1, .rm_eo = -1};

    if (m->system.regex == NULL ? strcmp(m->system.text, system_name) != 0
                                : !pattern_matches(m->system.regex, system_name, &group))
        return false;
    const char *backref =
        m->system.regex != NULL && m->user.regex == NULL ? strstr(m->user.text, "\\1") : NULL;
    if (backref != NULL)
        return matches_expanded(&m->user, backref, system_name, &group, user);
    return token_is_keyword(&m->user, "all") || token_matches(&m->user, user);
}

bool ident_allows(const struct ident *ident, const char *map, const char *system_name, const char *user)
{
    if (map == NULL)
        return strcmp(system_name, user) == 0;
    for (size_t i = 0; ident != NULL && i < ident->count; i++)
        if (strcmp(ident->mappings[i].map, map) == 0 &&
            mapping_allows(&ident->mappings[i], system_name, user))
            return true;
    return false;
}
