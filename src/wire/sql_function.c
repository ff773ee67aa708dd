/*
 * sql_function.c - the functions that do something to the session that calls them, by number (FunctionCall)
 * and by name.
 *
 * Numbers of functions in pg_catalog are the same in every version of PostgreSQL.
 */
#include <string.h>

#include "base/compiler.h"
#include "wire/sql_session.h"

static const struct {
    uint32_t oid;
    enum sql_session_kind kind;
    const char *name;
} functions[] = {
    {2078, SQL_SESSION_SET_CONFIG, "set_config"},
    {2880, SQL_SESSION_LOCK, "pg_advisory_lock"},
    {2881, SQL_SESSION_LOCK, "pg_advisory_lock_shared"},
    {2882, SQL_SESSION_LOCK, "pg_try_advisory_lock"},
    {2883, SQL_SESSION_LOCK, "pg_try_advisory_lock_shared"},
    {2884, SQL_SESSION_UNLOCK, "pg_advisory_unlock"},
    {2885, SQL_SESSION_UNLOCK, "pg_advisory_unlock_shared"},
    /* with two numbers */
    {2886, SQL_SESSION_LOCK, "pg_advisory_lock"},
    {2887, SQL_SESSION_LOCK, "pg_advisory_lock_shared"},
    {2888, SQL_SESSION_LOCK, "pg_try_advisory_lock"},
    {2889, SQL_SESSION_LOCK, "pg_try_advisory_lock_shared"},
    {2890, SQL_SESSION_UNLOCK, "pg_advisory_unlock"},
    {2891, SQL_SESSION_UNLOCK, "pg_advisory_unlock_shared"},
    {2892, SQL_SESSION_UNLOCK_ALL, "pg_advisory_unlock_all"},
};

const char *sql_session_function(uint32_t oid, enum sql_session_kind *kind)
{
    for (size_t i = 0; i < ARRAY_SIZE(functions); i++) {
        if (functions[i].oid == oid) {
            *kind = functions[i].kind;
            return functions[i].name;
        }
    }
    return NULL;
}

bool sql_session_call(const char *name, uint32_t len_bytes, enum sql_session_kind *kind)
{
    for (size_t i = 0; i < ARRAY_SIZE(functions); i++) {
        if (strlen(functions[i].name) == len_bytes && memcmp(functions[i].name, name, len_bytes) == 0) {
            *kind = functions[i].kind;
            return true;
        }
    }
    return false;
}
