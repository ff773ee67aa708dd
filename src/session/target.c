/*
 * target.c - is a server what target_session_attrs asks for?
 *
 * Pure. Threads: any.
 */
#include "session/target.h"

#include <string.h>

#include "wire/codec.h"

enum tri target_tri(const char *value)
{
    if (value == NULL)
        return TRI_UNKNOWN;
    if (strcmp(value, "on") == 0 || strcmp(value, "t") == 0)
        return TRI_YES;
    return strcmp(value, "off") == 0 || strcmp(value, "f") == 0 ? TRI_NO : TRI_UNKNOWN;
}

/* A standby is read-only whatever its settings say. */
static enum tri is_read_only(const struct server_role *role)
{
    if (role->in_hot_standby == TRI_YES || role->default_read_only == TRI_YES)
        return TRI_YES;
    return role->in_hot_standby == TRI_NO && role->default_read_only == TRI_NO ? TRI_NO : TRI_UNKNOWN;
}

enum target_verdict target_check(enum config_target_session_attrs wanted, const struct server_role *role)
{
    enum tri is, must;

    switch (wanted) {
    case TARGET_READ_WRITE:
    case TARGET_READ_ONLY:
        is = is_read_only(role);
        must = wanted == TARGET_READ_ONLY ? TRI_YES : TRI_NO;
        break;
    case TARGET_PRIMARY:
    case TARGET_STANDBY:
    case TARGET_PREFER_STANDBY:
        is = (enum tri)role->in_hot_standby;
        must = wanted == TARGET_PRIMARY ? TRI_NO : TRI_YES;
        break;
    case TARGET_ANY:
    default: return TARGET_FITS;
    }
    if (is == TRI_UNKNOWN)
        return TARGET_ASK;
    return is == must ? TARGET_FITS : TARGET_MISMATCH;
}

const char *target_mismatch_text(enum config_target_session_attrs wanted)
{
    switch (wanted) {
    case TARGET_READ_WRITE: return "session is read-only";
    case TARGET_READ_ONLY: return "session is not read-only";
    case TARGET_PRIMARY: return "server is in hot standby mode";
    case TARGET_STANDBY:
    case TARGET_PREFER_STANDBY: return "server is not in hot standby mode";
    case TARGET_ANY:
    default: return "server is not what is wanted";
    }
}

const char *target_query(void)
{
    return "SELECT pg_catalog.pg_is_in_recovery(), reset_val OPERATOR(pg_catalog.=) 'on' "
           "FROM pg_catalog.pg_settings WHERE name OPERATOR(pg_catalog.=) 'default_transaction_read_only'";
}

bool target_parse_row(const uint8_t *body, uint32_t len_bytes, struct server_role *out)
{
    struct wire_reader r;
    char value[2][2] = {{0}};

    wire_reader_init(&r, body, len_bytes);
    if (wire_read_u16(&r) != 2)
        return false;
    for (int i = 0; i < 2; i++) {
        const uint8_t *byte = wire_read_u32(&r) == 1 ? wire_read_bytes(&r, 1) : NULL;
        if (byte == NULL || r.bad)
            return false;
        value[i][0] = (char)*byte;
    }
    out->in_hot_standby = (uint8_t)target_tri(value[0]);
    out->default_read_only = (uint8_t)target_tri(value[1]);
    return wire_reader_done(&r) && out->in_hot_standby != TRI_UNKNOWN &&
           out->default_read_only != TRI_UNKNOWN;
}
