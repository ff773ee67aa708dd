/*
 * select_functions.c - the functions that a query may call, and what they give.
 *
 * What is not in this table does not exist, whatever SQLite has: nothing that reads files,
 * loads code or makes megabytes of nothing.
 *
 * Pure: constant tables.
 */
#include <string.h>
#include <strings.h>

#include "base/str.h"
#include "select_int.h"

/* clang-format off */
static const struct sql_function functions[] = {
    {"abs", 'a'}, {"avg", 'N'}, {"bool_and", 'B'}, {"bool_or", 'B'}, {"ceil", 'N'}, {"ceiling", 'N'}, {"char", 's'}, {"coalesce", 'u'},
    {"concat", 's'}, {"count", 'q'}, {"cume_dist", 'N'}, {"current_catalog", 's'}, {"current_database", 's'},
    {"current_date", 's'}, {"current_role", 's'}, {"current_schema", 's'}, {"current_setting", 's'},
    {"current_time", 's'}, {"current_timestamp", 's'}, {"current_user", 's'},
    {"date", 's'}, {"datetime", 's'}, {"dense_rank", 'q'}, {"every", 'B'}, {"exp", 'N'}, {"first_value", 'a'},
    {"floor", 'N'}, {"glob", 'B'}, {"greatest", 'u'}, {"group_concat", 's'}, {"hex", 's'}, {"ifnull", 'u'}, {"iif", '2'},
    {"instr", 'i'}, {"julianday", 'N'}, {"lag", 'a'}, {"last_value", 'a'}, {"lead", 'a'}, {"least", 'u'}, {"length", 'i'},
    {"like", 'B'}, {"ln", 'N'}, {"log", 'N'}, {"lower", 's'}, {"ltrim", 's'}, {"match", 'B'}, {"max", 'u'},
    {"min", 'u'}, {"mod", 'N'}, {"now", 's'}, {"nth_value", 'a'}, {"ntile", 'i'}, {"nullif", 'a'},
    {"percent_rank", 'N'}, {"pg_backend_pid", 'i'}, {"pg_is_in_recovery", 'B'}, {"pow", 'N'},
    {"power", 'N'}, {"quote", 's'}, {"rank", 'q'}, {"replace", 's'}, {"round", 'N'}, {"row_number", 'q'},
    {"rtrim", 's'}, {"session_user", 's'}, {"sign", 'i'}, {"sqrt", 'N'}, {"strftime", 's'},
    {"string_agg", 's'}, {"substr", 's'}, {"substring", 's'}, {"sum", '+'}, {"time", 's'}, {"total", 'N'},
    {"trim", 's'}, {"trunc", 'N'}, {"typeof", 's'}, {"unixepoch", 'q'}, {"upper", 's'}, {"version", 's'},
};

static const char *const keyword_functions[] = {
    "current_catalog", "current_role", "current_schema", "current_user", "session_user",
};
/* clang-format on */

const struct sql_function *sql_function_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(functions); i++) {
        if (strcasecmp(functions[i].name, name) == 0)
            return &functions[i];
    }
    return NULL;
}

const char *sql_function_nearest(const char *name)
{
    const char *names[ARRAY_SIZE(functions)];

    for (size_t i = 0; i < ARRAY_SIZE(functions); i++)
        names[i] = functions[i].name;
    return str_nearest(name, names, ARRAY_SIZE(functions));
}

bool sql_is_keyword_function(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(keyword_functions); i++) {
        if (strcasecmp(keyword_functions[i], name) == 0)
            return true;
    }
    return false;
}
