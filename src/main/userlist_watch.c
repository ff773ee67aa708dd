/*
 * userlist_watch.c - auth_file is read again when it has changed, without a RELOAD.
 *
 * A look at the file once a second. A change counts when the file has looked the same twice, so
 * that one which is still being written is left alone; a reader who comes too early all the same finds, as a
 * rule, a line without an end, and the users in force stay. What could not be used is said once, and
 * not looked at again before the file changes again.
 *
 * Threads: the control thread.
 */
#include "base/log.h"
#include "main_int.h"

static bool is_same(const struct config_file_id *a, const struct config_file_id *b)
{
    return a->device == b->device && a->inode == b->inode && a->size == b->size &&
           a->changed_ns == b->changed_ns;
}

void control_watch_userlist(struct control *ctl)
{
    const struct config *cfg = ctl->config->config;
    const char *path = control_settings(ctl)->auth_file;
    struct config_file_id in_force, now;

    if (path[0] == '\0')
        return;
    in_force = config_userlist_id(cfg);
    now = config_userlist_now(cfg);
    if (is_same(&now, &in_force) || is_same(&now, &ctl->userlist_wrong))
        return;
    if (!is_same(&now, &ctl->userlist_seen)) {
        ctl->userlist_seen = now;
        return;
    }
    log_info("auth_file %s has changed, re-reading it", path);
    if (control_reload_userlist(ctl))
        return;
    log_error("auth_file %s is not used: the users in force stay", path);
    ctl->userlist_wrong = now;
}
