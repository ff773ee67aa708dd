/*
 * changes.c - the list of what a reload has changed.
 *
 * Threads: the control thread. Not here: finding the differences (change.c).
 */
#include "config/changes.h"

#include <stdlib.h>

#include "base/mem.h"

void config_changes_init(struct config_changes *c)
{
    *c = (struct config_changes){0};
}

void config_changes_free(struct config_changes *c)
{
    for (size_t i = 0; i < c->count; i++) {
        free(c->rows[i].name);
        free(c->rows[i].old_text);
        free(c->rows[i].new_text);
    }
    free(c->rows);
    config_changes_init(c);
}

static char *copy(const char *text)
{
    return text != NULL ? xstrdup(text) : NULL;
}

void config_changes_add(struct config_changes *c, const struct config_change *change)
{
    if ((c->count & (c->count - 1)) == 0) /* full at each power of two */
        c->rows = xrealloc(c->rows, (c->count == 0 ? 1 : 2 * c->count) * sizeof(*c->rows));
    c->rows[c->count++] = (struct config_change_row){
        .kind = change->kind,
        .effect = config_change_effect(change),
        .name = xstrdup(change->name),
        .old_text = copy(change->old_text),
        .new_text = copy(change->new_text),
    };
}

void config_change_row_print(const struct config_change_row *row, struct buf *out)
{
    const char *kind = config_change_kind_text(row->kind);

    if (row->old_text == NULL)
        buf_printf(out, "%s %s added: %s (%s)", kind, row->name, row->new_text, row->effect);
    else if (row->new_text == NULL)
        buf_printf(out, "%s %s removed (%s)", kind, row->name, row->effect);
    else
        buf_printf(out, "%s %s: %s -> %s (%s)", kind, row->name, row->old_text, row->new_text, row->effect);
}
