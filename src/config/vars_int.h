/*
 * vars_int.h - configuration by environment variables: what its files share.
 *
 * PGSLUICE_<SETTING> counts always. The other families count only where no configuration file is given, so
 * that a stray AUTH_TYPE never changes an existing installation; see families.c for who wins over whom.
 *
 * Threads: the control thread, once per load; may abort when memory is out.
 */
#ifndef VARS_INT_H
#define VARS_INT_H

#include "config_int.h"

/* ---- vars.c: the environment with its _FILE twins ---- */

struct var {
    char *name;  /* as it stands in the environment: X, or X_FILE where the value comes from the file */
    char *value; /* may be secret */
};

struct vars {
    char *const *environ;
    struct config_problems *problems;
    struct var **items; /* what has been looked up: each file is read once */
    size_t count;
};

void vars_init(struct vars *v, char *const *environ, struct config_problems *problems);
void vars_free(struct vars *v);
/*
 * The variable, or what the file named by NAME_FILE holds, which wins. NULL when there is neither, or the
 * value is empty, or a file that cannot be read (reported), or a NAME_PORT that an orchestrator has set for a
 * service of that name ("tcp://..."). Valid until vars_free().
 */
const struct var *vars_find(struct vars *v, const char *name);
/* Is it one of those that Docker and Kubernetes set for a service: X_SERVICE_HOST, X_PORT_80_TCP_ADDR ...? */
bool vars_is_injected(const char *name, const char *value);

/* ---- families.c: variables of other poolers' images, and the familiar ones ---- */

/* A value for a setting; source is "variable NAME". Of several for one setting the first counts; the receiver
 * says when they disagree. */
typedef void (*bare_setting_cb)(void *arg, int option, const char *value, const char *source);

/* Settings of all families, those that count most first. Also names unknown variables. */
void families_settings(struct vars *v, bare_setting_cb cb, void *arg);

/* ---- targets.c: where PostgreSQL is, as the variables say it ---- */

/* Settings that belong to a target (sslmode in a URL, say). The databases go to the catalog, users with
 * passwords to *users, as lines of an auth_file. Says what is missing. */
void targets_read(struct vars *v, struct catalog *catalog, struct buf *users, bare_setting_cb cb, void *arg);

#endif
