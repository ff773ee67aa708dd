/*
 * statement_message.h - which prepared statement a message is about, and the same message about another one.
 *
 * For Parse, Bind, Describe and Close of named statements. Everything else, portals and
 * the unnamed statement included, is not looked into.
 *
 * Pure. Source: PostgreSQL documentation, "Message Formats".
 */
#ifndef WIRE_STATEMENT_MESSAGE_H
#define WIRE_STATEMENT_MESSAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/compiler.h"
#include "wire/codec.h"
#include "wire/statement.h"

#define STATEMENT_MAX_NAMES_BYTES 8192 /* of portal and statement in one message */

struct statement_message {
    uint8_t type;
    uint32_t len; /* as in the header: without the type byte */
    const char *portal;
    uint32_t portal_bytes; /* Bind only; with the NUL, else 0 */
    const char *name;
    uint32_t name_bytes; /* without the NUL */
    uint32_t head_bytes; /* from the type byte to behind the names: what another head replaces */
};

enum statement_look {
    STATEMENT_NONE,     /* about no named statement, or malformed: PostgreSQL's business */
    STATEMENT_NAMED,    /* m is filled */
    STATEMENT_MORE,     /* the names have not arrived whole */
    STATEMENT_TOO_LONG, /* names beyond STATEMENT_MAX_NAMES_BYTES */
};

/* Types whose messages may be about a named statement: P, B, D, C. */
static inline bool statement_may_be_named(uint8_t type)
{
    return type == 'P' || type == 'B' || type == 'D' || type == 'C';
}

/*
 * The quick look: false for what is seen at once to be about no named statement. Here, at least the header is
 * there.
 */
static inline bool statement_is_named(const uint8_t *message, uint32_t here_bytes)
{
    if (message[0] == 'P')
        return here_bytes <= WIRE_HEADER_BYTES || message[WIRE_HEADER_BYTES] != 0;
    if (message[0] == 'B')
        return here_bytes <= WIRE_HEADER_BYTES + 1 || message[WIRE_HEADER_BYTES] != 0 ||
               message[WIRE_HEADER_BYTES + 1] != 0;
    return here_bytes <= WIRE_HEADER_BYTES + 1 ||
           (message[WIRE_HEADER_BYTES] == 'S' && message[WIRE_HEADER_BYTES + 1] != 0);
}

/* message: at the type byte, here_bytes of it and of what follows it have arrived (the header at least). */
enum statement_look statement_look(const uint8_t *message, uint32_t here_bytes,
                                   struct statement_message *m) must_check hot_path;
/* The portal of a Bind or Execute, without the NUL; NAMED: it is there, with or without a name. */
enum statement_look statement_look_portal(const uint8_t *message, uint32_t here_bytes, const char **portal,
                                          uint32_t *portal_bytes) must_check;

/*
 * Writes the head of the same message about a statement of another name: type, new length, kind or nothing,
 * name. Returns the bytes written; a portal that has a name goes behind *before of them, which are all of
 * them where there is none. out has room for STATEMENT_HEAD_BYTES.
 */
#define STATEMENT_HEAD_BYTES (WIRE_HEADER_BYTES + 1 + sizeof(((struct statement *)0)->name))
uint32_t statement_put_head(const struct statement_message *m, const char *name, uint32_t name_bytes,
                            uint8_t *out, uint32_t *before) hot_path;
/* A Parse of the statement without its body; and a whole Close. Same room. */
uint32_t statement_put_parse_head(const struct statement *s, uint8_t *out);
uint32_t statement_put_close(const struct statement *s, uint8_t *out);

/*
 * A statement of kind STATEMENT_SQL is made by a PREPARE that is run by a statement and portal of this name:
 * a Close, a Parse whose text is the statement's body behind what is written here (with the NUL and the
 * number of types that end the body), then Bind, Execute, and Close of the portal and of the statement.
 */
#define STATEMENT_WRAPPER       STATEMENT_PREFIX "P"
#define STATEMENT_WRAPPED_BYTES 256 /* room for both */
uint32_t statement_put_wrapped_begin(const struct statement *s, uint8_t *out);
uint32_t statement_put_wrapped_end(uint8_t *out);

/*
 * For an error in which PostgreSQL names a statement by the name that it has there. The number of the first
 * statement that is named in the message text, or 0.
 */
uint64_t statement_number_in_error(const uint8_t *body, uint32_t len_bytes) must_check;
/* Where in the text of the query it is (field P), in characters, from 1 on; 0: nowhere. */
uint32_t statement_position_in_error(const uint8_t *body, uint32_t len_bytes) must_check;
/* Appends the ErrorResponse with that name replaced by the client's (name NULL: none is) and another position
 * (0: as it is; STATEMENT_NO_POSITION: none); body is that of the original. */
#define STATEMENT_NO_POSITION UINT32_MAX
void statement_put_error(struct buf *out, const uint8_t *body, uint32_t len_bytes, uint64_t number,
                         const char *name, uint32_t position);

#endif
