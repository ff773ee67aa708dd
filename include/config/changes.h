/*
 * changes.h - what is different between two snapshots of the configuration, and as rows for a table or the
 * log.
 *
 * Rows are copies, so they outlive both snapshots. Configuration time: may abort when memory is out.
 */
#ifndef CONFIG_CHANGES_H
#define CONFIG_CHANGES_H

#include "config/config.h"

/* ---- what differs ---- */

enum config_change_kind {
    CHANGE_SETTING,
    CHANGE_DATABASE_ADDED,
    CHANGE_DATABASE_CHANGED,
    CHANGE_DATABASE_REMOVED,
    CHANGE_USER_ADDED,
    CHANGE_USER_CHANGED,
    CHANGE_USER_REMOVED,
    CHANGE_PEER_ADDED,
    CHANGE_PEER_CHANGED,
    CHANGE_PEER_REMOVED,
};

struct config_change {
    enum config_change_kind kind;
    const char *name;
    /* Values as printed, "" when unset; of a database or user the keys that differ, NULL when it was not
     * there before, or is not any more. Secrets are starred out. */
    const char *old_text;
    const char *new_text;
    bool needs_restart; /* settings: new_text is what the files say, old_text what stays in force */
    bool is_dirty;      /* databases: servers connected with the old values must not be used on */
    bool is_for_new;    /* databases: what those are told that are connected from now on */
};

/* "setting", "database", "user" */
const char *config_change_kind_text(enum config_change_kind kind);
/* "applied", "needs restart", "as connections turn over" */
const char *config_change_effect(const struct config_change *change);

typedef void (*config_change_cb)(const struct config_change *change, void *arg);
void config_diff(const struct config *old, const struct config *new, config_change_cb cb, void *arg);

/* ---- rows ---- */

struct config_change_row {
    enum config_change_kind kind;
    const char *effect; /* static: config_change_effect() */
    char *name;
    char *old_text; /* as in struct config_change */
    char *new_text;
};

struct config_changes {
    struct config_change_row *rows;
    size_t count;
};

void config_changes_init(struct config_changes *c);
void config_changes_free(struct config_changes *c);
void config_changes_add(struct config_changes *c, const struct config_change *change);
/* "setting default_pool_size: 5 -> 8 (applied)" */
void config_change_row_print(const struct config_change_row *row, struct buf *out);

#endif
