/*
 * errors.c - counts of close reasons and of SQLSTATE classes.
 *
 * Threads: a writer writes its own row only; sums read all rows relaxed.
 */
#include "stats/errors.h"

#include <string.h>

static const struct {
    char code[6];
    const char *text;
} classes[SQLSTATE_CLASSES] = {[SQLSTATE_CLASS_OTHER] = {"other", "other"},
#define SQLSTATE_CLASS_ROW(code, text) [SQLSTATE_CLASS_##code] = {#code, text},
                               SQLSTATE_CLASS_LIST(SQLSTATE_CLASS_ROW)
#undef SQLSTATE_CLASS_ROW
};

enum sqlstate_class sqlstate_class_find(const char *sqlstate)
{
    if (sqlstate[0] == '\0')
        return SQLSTATE_CLASS_OTHER;
    for (int i = SQLSTATE_CLASS_OTHER + 1; i < SQLSTATE_CLASSES; i++) {
        if (memcmp(sqlstate, classes[i].code, 2) == 0)
            return (enum sqlstate_class)i;
    }
    return SQLSTATE_CLASS_OTHER;
}

const char *sqlstate_class_code(enum sqlstate_class c)
{
    return classes[(unsigned)c < SQLSTATE_CLASSES ? c : SQLSTATE_CLASS_OTHER].code;
}

const char *sqlstate_class_text(enum sqlstate_class c)
{
    return classes[(unsigned)c < SQLSTATE_CLASSES ? c : SQLSTATE_CLASS_OTHER].text;
}

void stats_errors_count_sqlstate(struct stats_errors *e, uint32_t writer, const char *sqlstate)
{
    counter_add(&e->rows[writer].sqlstates[sqlstate_class_find(sqlstate)], 1);
}

void stats_errors_sum(const struct stats_errors *e, struct stats_errors_sum *sum)
{
    memset(sum, 0, sizeof(*sum));
    for (uint32_t w = 0; w < STATS_ERRORS_WRITERS; w++) {
        for (int i = 0; i < CLOSE_REASONS; i++)
            sum->closes[i] += counter_get(&e->rows[w].closes[i]);
        for (int i = 0; i < SQLSTATE_CLASSES; i++)
            sum->sqlstates[i] += counter_get(&e->rows[w].sqlstates[i]);
    }
}
