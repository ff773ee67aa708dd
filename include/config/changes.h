/*
 * changes.h - what a reload has changed, as rows for a table or the log.
 *
 * Rows are copies, so they outlive both snapshots. Configuration time: may abort when memory is out.
 */
#ifndef CONFIG_CHANGES_H
#define CONFIG_CHANGES_H

#include "config/config.h"

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
