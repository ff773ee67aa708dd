/*
 * strlist.c - lists of strings: admin_users and the like.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "config_int.h"

#define BLANKS " \t\r\n"

void strlist_add(struct strlist *l, const char *s, size_t len)
{
    l->items = xrealloc(l->items, (l->count + 1) * sizeof *l->items);
    l->items[l->count++] = xstrndup(s, len);
}

void strlist_split(struct strlist *l, const char *text)
{
    while (*text != '\0') {
        text += strspn(text, BLANKS ",");
        size_t len = strcspn(text, ",");
        size_t trimmed = len;
        while (trimmed > 0 && strchr(BLANKS, text[trimmed - 1]) != NULL)
            trimmed--;
        if (trimmed > 0)
            strlist_add(l, text, trimmed);
        text += len;
    }
}

void strlist_free(struct strlist *l)
{
    for (size_t i = 0; i < l->count; i++)
        free(l->items[i]);
    free(l->items);
    l->items = NULL;
    l->count = 0;
}
