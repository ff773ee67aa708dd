/*
 * target.h - is a server what target_session_attrs asks for? The rules and the words are libpq's.
 *
 * Pure. Threads: any.
 */
#ifndef SESSION_TARGET_H
#define SESSION_TARGET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "config/settings.h"

/* What a server has said of itself. From PostgreSQL 14 on both are reported at login; before, it is asked. */
enum tri { TRI_UNKNOWN, TRI_NO, TRI_YES };

struct server_role {
    uint8_t in_hot_standby;    /* enum tri */
    uint8_t default_read_only; /* enum tri; of a new session */
};

enum target_verdict { TARGET_FITS, TARGET_MISMATCH, TARGET_ASK };

/* "on" and "off" (also "t" and "f") as a tri; NULL and anything else are unknown. */
enum tri target_tri(const char *value);
/* ASK: not enough is known; target_query() tells the rest. TARGET_PREFER_STANDBY asks for a standby: what
 * happens when there is none is the caller's. */
enum target_verdict target_check(enum config_target_session_attrs wanted,
                                 const struct server_role *role) must_check;
/* Why a mismatch is one: "session is read-only". */
const char *target_mismatch_text(enum config_target_session_attrs wanted);
/* One row of two columns, "t" or "f": in recovery; new sessions are read-only. What a session has SET does
 * not count. */
const char *target_query(void);
/* The first DataRow of that query; false when it is something else. */
bool target_parse_row(const uint8_t *body, uint32_t len_bytes, struct server_role *out) must_check;

#endif
