/*
 * select_none.c - built without SQLite: SELECT x is another way to say SHOW x, as in PgBouncer.
 */
#include "select_int.h"

bool select_is_built(void)
{
    return false;
}

/* Nothing is ever submitted: the parser finds no queries. */
void select_work(struct helper_job *helper)
{
    (void)helper;
}
