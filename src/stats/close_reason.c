/*
 * close_reason.c - lookups in the table of reasons for which connections are closed.
 *
 * Threads: any; the table is constant. The rows stand in close_reason.h.
 */
#include "stats/close_reason.h"

struct close_reason_row {
    const char *name;
    const char *text;
    const char *sqlstate;
    const char *message;
    const char *hint;
    enum close_side side;
};

static const struct close_reason_row rows[CLOSE_REASONS] = {
#define CLOSE_REASON_ROW(NAME, name_, side_, text_, sqlstate_, message_, hint_)                              \
    [CLOSE_##NAME] = {#name_, text_, sqlstate_, message_, hint_, CLOSE_SIDE_##side_},
    CLOSE_REASON_LIST(CLOSE_REASON_ROW)
#undef CLOSE_REASON_ROW
};

static const struct close_reason_row *row_of(enum close_reason r)
{
    return &rows[(unsigned)r < CLOSE_REASONS ? r : CLOSE_NONE];
}

const char *close_reason_name(enum close_reason r)
{
    return row_of(r)->name;
}

const char *close_reason_text(enum close_reason r)
{
    return row_of(r)->text;
}

const char *close_reason_sqlstate(enum close_reason r)
{
    return row_of(r)->sqlstate;
}

const char *close_reason_message(enum close_reason r)
{
    return row_of(r)->message;
}

const char *close_reason_hint(enum close_reason r)
{
    return row_of(r)->hint;
}

enum close_side close_reason_side(enum close_reason r)
{
    return row_of(r)->side;
}
