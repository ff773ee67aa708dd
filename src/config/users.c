/*
 * users.c - the userlist file joins the users of [users].
 *
 * Not here: the format of the file and of secrets (auth/userlist.c).
 */
#include <errno.h>
#include <string.h>

#include "auth/userlist.h"
#include "base/secret.h"
#include "config_int.h"

struct report {
    const char *path;
    enum problem_severity severity;
    struct config_problems *problems;
    struct catalog *catalog;
};

static void report_line(void *arg, uint32_t line, const char *text)
{
    struct report *r = arg;
    config_problems_add(r->problems, r->severity, r->path, (int)line, "%s", text);
}

static bool wants_all(void *arg, const char *name)
{
    const struct report *r = arg;
    const struct user_config *user = catalog_find_user(r->catalog, name);
    return user != NULL && user->passwords == PASSWORDS_ALL;
}

void users_load(struct catalog *c, const char *path, enum problem_severity severity,
                struct config_problems *problems)
{
    struct buf all; /* the file, and behind it the lines that variables gave */
    size_t len = 0;
    char *data = *path != '\0' ? file_read(path, &len, &c->userlist_id) : NULL;
    if (data == NULL && *path != '\0')
        config_problems_add(problems, severity, path, 0, "cannot read auth_file: %s", strerror(errno));
    if (data == NULL && c->more_users == NULL)
        return;
    buf_init(&all, 0);
    buf_append(&all, data, (uint32_t)len);
    if (c->more_users != NULL) {
        buf_append_byte(&all, '\n');
        buf_append_str(&all, c->more_users);
    }
    struct report r = {*path != '\0' ? path : "PGBOUNCER_USERLIST", severity, problems, c};
    c->userlist = userlist_parse(buf_cstr(&all), all.len, report_line, wants_all, &r);
    secret_wipe(all.data, all.capacity);
    buf_free(&all);
    if (data != NULL)
        secret_wipe(data, len);
    secret_free(data);

    /* Those that stand in [users] as well get their credential now, so that the others can be
     * appended without being looked for among each other. */
    size_t listed = c->user_count;
    for (uint32_t i = 0; i < c->userlist->count; i++) {
        struct userlist_entry *entry = &c->userlist->entries[i];
        struct catalog known = {.users = c->users, .user_count = listed};
        struct user_config *user = catalog_find_user(&known, entry->name);
        if (user == NULL)
            user = catalog_add_user(c, entry->name);
        user->credential = &entry->credential;
        user->older = entry->older;
        user->n_older = entry->n_older;
    }
    catalog_finish(c);
}

struct config_file_id config_userlist_id(const struct config *c)
{
    return c->catalog->userlist_id;
}

struct config_file_id config_userlist_now(const struct config *c)
{
    struct stat st;
    return stat(c->settings.auth_file, &st) == 0 ? file_identify(&st) : (struct config_file_id){0};
}

void users_free_list(struct userlist *l)
{
    userlist_free(l);
}

bool users_same_credential(const struct credential *a, const struct credential *b)
{
    if (a == NULL || b == NULL)
        return a == b;
    if (a->kind != b->kind || (a->secret == NULL) != (b->secret == NULL))
        return false;
    return a->secret == NULL || strcmp(a->secret, b->secret) == 0;
}
