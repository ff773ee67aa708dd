/*
 * print_options.c - fills the manual with the option table, at build time.
 *
 * Copies a template from stdin to stdout; the lines @PGBOUNCER_OPTIONS@,
 * @OUR_OPTIONS@ and @HIDDEN_OPTIONS@ become the rows of the table (mdoc).
 */
#include <stdio.h>
#include <string.h>

#include "config/options.h"

#define LINE_WIDTH 72

/* Text as mdoc: short lines, one sentence a line, nothing that roff would take for its own. */
static void print_text(const char *text)
{
    int column = 0;
    for (const char *c = text; *c != '\0'; c++) {
        int word = (int)strcspn(c + 1, " ");
        if (*c == ' ' && (c[-1] == '.' || column + word > LINE_WIDTH)) {
            putchar('\n');
            column = 0;
            continue;
        }
        if (column == 0 && (*c == '.' || *c == '\''))
            fputs("\\&", stdout);
        if (*c == '\\')
            fputs("\\e", stdout);
        else if (*c == '-')
            fputs("\\-", stdout);
        else
            putchar(*c);
        column++;
    }
}

static void print_default(const struct config_option *o)
{
    if (o->flags & OPTION_UNSET)
        fputs("Not set by default", stdout);
    else if (*o->default_text == '\0')
        fputs("Empty by default", stdout);
    else {
        fputs(strlen(o->default_text) > LINE_WIDTH / 2 ? "Default:\n" : "Default: ", stdout);
        print_text(o->default_text);
        if (o->type == OPTION_TIME && strcmp(o->default_text, "0") != 0)
            fputs(" seconds", stdout);
    }
    puts(o->flags & OPTION_RELOADABLE ? "." : "; a change needs a restart.");
}

static void print_option(const struct config_option *o)
{
    static const char *const types[] = {
        [OPTION_INT] = "number",     [OPTION_UINT] = "number", [OPTION_BOOL] = "switch",
        [OPTION_TIME] = "time",      [OPTION_STR] = "text",    [OPTION_ENUM] = "word",
        [OPTION_WORKERS] = "number",
    };
    printf(".It Va %s Pq %s\n", o->name, types[o->type]);
    print_text(o->doc);
    putchar('\n');
    print_default(o);
    if (o->flags & OPTION_NO_MEANING)
        puts("Accepted for the sake of existing files; it has no meaning here.");
}

static void print_rows(size_t from, size_t to, unsigned with, unsigned without)
{
    puts(".Bl -tag -width Ds");
    for (size_t i = from; i < to; i++)
        if ((option_at(i)->flags & with) == with && !(option_at(i)->flags & without))
            print_option(option_at(i));
    puts(".El");
}

int main(void)
{
    char line[1024];
    while (fgets(line, sizeof line, stdin) != NULL) {
        if (strcmp(line, "@PGBOUNCER_OPTIONS@\n") == 0)
            print_rows(0, option_count(), 0, OPTION_OURS);
        else if (strcmp(line, "@OUR_OPTIONS@\n") == 0)
            print_rows(0, option_count(), OPTION_OURS, 0);
        else if (strcmp(line, "@HIDDEN_OPTIONS@\n") == 0)
            print_rows(option_count(), option_count_all(), 0, 0);
        else
            fputs(line, stdout);
    }
    return ferror(stdin) || fflush(stdout) != 0 || ferror(stdout);
}
