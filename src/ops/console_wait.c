/*
 * console_wait.c - orders that wait: until they are done, cancelled, or given up.
 *
 * PAUSE that is given up, by a cancel request or because its client goes, is undone as in
 * PgBouncer, unless somebody else wants the same; the others just end.
 *
 * Threads: the control thread only. Not here: SHOWs that wait for rows (gather.c).
 */
#include "ops_int.h"

/* A session other than s whose PAUSE waits for the same, or NULL. */
static struct session *find_pauser(struct console *c, const struct session *s,
                                   const struct pool_database *database)
{
    LIST_FOR_EACH (it, &c->sessions) {
        struct session *other = list_entry(it, struct session, node);

        if (other != s && other->wait == WAIT_PAUSE && other->waits_for == database)
            return other;
    }
    return NULL;
}

static void undo_pause(struct session *s)
{
    struct console_hooks *hooks = &s->console->hooks;
    struct session *heir = find_pauser(s->console, s, s->waits_for);

    if (!s->undoes_pause)
        return;
    s->undoes_pause = false;
    if (heir != NULL)
        heir->undoes_pause = true;
    else
        (void)hooks->resume(hooks->arg, s->waits_for);
}

void console_keep_pause(struct console *c, const struct pool_database *database)
{
    LIST_FOR_EACH (it, &c->sessions) {
        struct session *s = list_entry(it, struct session, node);

        if (s->wait == WAIT_PAUSE && s->waits_for == database)
            s->undoes_pause = false;
    }
}

void session_forget_order(struct session *s)
{
    struct console_hooks *hooks = &s->console->hooks;

    if (s->order != NULL)
        hooks->order_forget(hooks->arg, s->order);
    s->order = NULL;
}

/* All workers have answered; *n_found of what was looked for. */
static bool is_order_done(struct session *s, int *n_found)
{
    struct console_hooks *hooks = &s->console->hooks;

    if (s->order == NULL)
        return true;
    if (!hooks->is_order_done(hooks->arg, s->order, n_found))
        return false;
    session_forget_order(s);
    return true;
}

static enum command_outcome check_pause(struct session *s)
{
    struct console *c = s->console;

    if (!registry_is_paused(c->registry, s->waits_for))
        return command_failed(s, "57014", "PAUSE was ended by RESUME", NULL);
    return c->hooks.is_paused_done(c->hooks.arg, s->waits_for) ? COMMAND_DONE : COMMAND_WAITS;
}

/* What was there when it was ordered has gone; RESUME may have let others in meanwhile. */
static enum command_outcome check_kill(struct session *s)
{
    struct console *c = s->console;
    int n_found;

    if (!is_order_done(s, &n_found))
        return COMMAND_WAITS;
    if (!registry_is_paused(c->registry, s->waits_for) || c->hooks.is_paused_done(c->hooks.arg, s->waits_for))
        return COMMAND_DONE;
    return COMMAND_WAITS;
}

static enum command_outcome check_kill_client(struct session *s)
{
    int n_found = 0;

    if (!is_order_done(s, &n_found))
        return COMMAND_WAITS;
    return n_found > 0 ? COMMAND_DONE
                       : command_failed(s, "42704", "no such client",
                                        "SHOW CLIENTS lists the clients; id is their number.");
}

static enum command_outcome check(struct session *s)
{
    struct console_hooks *hooks = &s->console->hooks;

    switch (s->wait) {
    case WAIT_PAUSE: return check_pause(s);
    case WAIT_KILL: return check_kill(s);
    case WAIT_KILL_CLIENT: return check_kill_client(s);
    case WAIT_SETTINGS: return hooks->is_in_force(hooks->arg) ? COMMAND_DONE : COMMAND_WAITS;
    case WAIT_CLOSE: return hooks->is_close_done(hooks->arg, s->waits_for) ? COMMAND_DONE : COMMAND_WAITS;
    case WAIT_NONE:
    case WAIT_GATHER:
    case WAIT_SELECT: break;
    }
    return COMMAND_WAITS;
}

void session_wait_tick(struct session *s)
{
    enum command_outcome outcome = check(s);

    if (outcome != COMMAND_WAITS)
        session_finish(s, outcome);
}

void session_wait_abandon(struct session *s)
{
    if (s->wait == WAIT_PAUSE)
        undo_pause(s);
    session_forget_order(s);
}

void session_cancel(struct session *s)
{
    const char *message;

    if (select_cancel(s))
        return;
    switch (s->wait) {
    case WAIT_PAUSE:
        message = s->undoes_pause && find_pauser(s->console, s, s->waits_for) == NULL
                      ? "PAUSE was cancelled: what it had paused goes on"
                      : "PAUSE was cancelled: the pause stays, as others have asked for it too";
        break;
    case WAIT_KILL: message = "KILL was cancelled: what it has closed stays closed and paused"; break;
    case WAIT_CLOSE: message = "WAIT_CLOSE was cancelled"; break;
    default: return; /* nothing that takes long */
    }
    session_wait_abandon(s);
    session_error(s, "57014", message, NULL, NULL);
    session_finish(s, COMMAND_FAILED);
}
