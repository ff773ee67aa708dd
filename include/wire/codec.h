/*
 * codec.h - messages of the frontend/backend protocol, version 3: reading and building.
 *
 * Pure: bytes in, facts out. Reading never copies; after a message has been read
 * the cursor must stand exactly at its end, or the message is a protocol
 * violation (wire_reader_done()). Building appends to a struct buf, which
 * remembers failure.
 *
 * Source: PostgreSQL documentation, chapter "Frontend/Backend Protocol".
 */
#ifndef WIRE_CODEC_H
#define WIRE_CODEC_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/compiler.h"

#define WIRE_HEADER_BYTES 5 /* type byte and length word */

/* Big-endian words at p. */
static inline uint32_t wire_u32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline uint16_t wire_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static inline void wire_set_u32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 24);
    p[1] = (uint8_t)(v >> 16);
    p[2] = (uint8_t)(v >> 8);
    p[3] = (uint8_t)v;
}

struct wire_reader {
    const uint8_t *p;
    const uint8_t *end;
    bool bad; /* something was missing; all later reads give zero or "" */
};

void wire_reader_init(struct wire_reader *r, const uint8_t *body, size_t len_bytes);
uint8_t wire_read_u8(struct wire_reader *r);
uint16_t wire_read_u16(struct wire_reader *r);
uint32_t wire_read_u32(struct wire_reader *r);
/* NUL-terminated string inside the message; "" (and bad) when the NUL is missing. */
const char *wire_read_cstr(struct wire_reader *r);
/* n bytes inside the message, or NULL (and bad). */
const uint8_t *wire_read_bytes(struct wire_reader *r, size_t n);
/* True when nothing was missing and nothing is left. */
bool wire_reader_done(const struct wire_reader *r) must_check;

/* wire_begin() starts a message and returns its offset for wire_end(), which sets the length. */
uint32_t wire_begin(struct buf *b, uint8_t type);
void wire_end(struct buf *b, uint32_t offset);
void wire_put_u8(struct buf *b, uint8_t v);
void wire_put_u16(struct buf *b, uint16_t v);
void wire_put_u32(struct buf *b, uint32_t v);
void wire_put_cstr(struct buf *b, const char *s);

/* Backend messages. detail and hint may be NULL. */
void wire_put_error(struct buf *b, const char *severity, const char *sqlstate, const char *message,
                    const char *detail, const char *hint);
void wire_put_notice(struct buf *b, const char *severity, const char *sqlstate, const char *message,
                     const char *detail, const char *hint);
void wire_put_auth(struct buf *b, uint32_t code, const void *data, uint32_t len_bytes);
void wire_put_parameter_status(struct buf *b, const char *name, const char *value);
void wire_put_backend_key(struct buf *b, uint32_t pid, const void *key, uint32_t key_bytes);
void wire_put_ready(struct buf *b, char tx_status);
void wire_put_command_complete(struct buf *b, const char *tag);
/* NegotiateProtocolVersion: newest minor version served, and the options that were not understood. The
 * version goes out whole (3 << 16 | minor), as PostgreSQL sends it and libpq reads it; its manual says
 * otherwise. */
void wire_put_negotiate(struct buf *b, uint32_t newest_minor, const char *const *unknown, uint32_t n_unknown);

/* Rows of a result, text format. */
struct wire_column {
    const char *name;
    uint32_t type_oid;
    int16_t type_len;
};
void wire_put_row_description(struct buf *b, const struct wire_column *columns, uint16_t n);
void wire_begin_row(struct buf *b, uint16_t n_columns, uint32_t *offset);
void wire_row_text(struct buf *b, const char *value); /* NULL = SQL NULL */
void wire_end_row(struct buf *b, uint32_t offset);

/* Frontend messages. */
void wire_put_startup(struct buf *b, uint32_t version, const char *const *names, const char *const *values,
                      uint32_t n);
void wire_put_ssl_request(struct buf *b);
void wire_put_cancel_request(struct buf *b, uint32_t pid, const void *key, uint32_t key_bytes);
void wire_put_query(struct buf *b, const char *sql);
void wire_put_password(struct buf *b, const char *password);
void wire_put_sasl_initial(struct buf *b, const char *mechanism, const void *data, uint32_t len_bytes);
void wire_put_sasl_response(struct buf *b, const void *data, uint32_t len_bytes);
void wire_put_terminate(struct buf *b);

/* Fields of an ErrorResponse or NoticeResponse body; pointers into it, "" when absent. */
struct wire_error {
    const char *severity; /* not localized (V) when there, else S */
    const char *sqlstate;
    const char *message;
    const char *detail;
    const char *hint;
    const char *routine; /* where in PostgreSQL it was raised; unlike the message, in no language */
};
bool wire_parse_error(const uint8_t *body, size_t len_bytes, struct wire_error *e) must_check;
bool wire_parse_parameter_status(const uint8_t *body, size_t len_bytes, const char **name,
                                 const char **value) must_check;

#endif
