/*
 * codec.c - messages of the frontend/backend protocol, version 3.
 *
 * Readers never run past the end they were given: whatever is missing sets `bad`
 * and reads as zero. Writers rely on struct buf, which remembers that an append
 * was dropped; a message that was begun in a failed buffer is simply not there.
 *
 * Threads: none; works on what it is given.
 * Not here: start-up packets of clients (startup.c), what messages mean (tracker.c).
 */
#include "wire/codec.h"

#include <string.h>

#define VERSION_3   UINT32_C(0x00030000)
#define CODE_CANCEL UINT32_C(80877102)
#define CODE_SSL    UINT32_C(80877103)
#define NO_LENGTH   UINT32_C(0xffffffff) /* NULL in a row, no initial response in SASL */
#define NO_TYPMOD   UINT32_C(0xffffffff)

/* ------------------------------------------------------------------ */
/* Reading                                                            */

void wire_reader_init(struct wire_reader *r, const uint8_t *body, size_t len_bytes)
{
    r->p = body;
    r->end = len_bytes > 0 ? body + len_bytes : body;
    r->bad = false;
}

const uint8_t *wire_read_bytes(struct wire_reader *r, size_t n)
{
    if (r->bad || (size_t)(r->end - r->p) < n) {
        r->bad = true;
        return NULL;
    }
    const uint8_t *p = r->p;
    if (n > 0)
        r->p += n;
    return p;
}

uint8_t wire_read_u8(struct wire_reader *r)
{
    const uint8_t *p = wire_read_bytes(r, 1);
    return p ? p[0] : 0;
}

uint16_t wire_read_u16(struct wire_reader *r)
{
    const uint8_t *p = wire_read_bytes(r, 2);
    return p ? wire_u16(p) : 0;
}

uint32_t wire_read_u32(struct wire_reader *r)
{
    const uint8_t *p = wire_read_bytes(r, 4);
    return p ? wire_u32(p) : 0;
}

const char *wire_read_cstr(struct wire_reader *r)
{
    const uint8_t *nul = r->bad || r->p == r->end ? NULL : memchr(r->p, 0, (size_t)(r->end - r->p));
    if (!nul) {
        r->bad = true;
        return "";
    }
    const char *s = (const char *)r->p;
    r->p = nul + 1;
    return s;
}

bool wire_reader_done(const struct wire_reader *r)
{
    return !r->bad && r->p == r->end;
}

bool wire_parse_error(const uint8_t *body, size_t len_bytes, struct wire_error *e)
{
    struct wire_reader r;
    bool has_v = false;
    *e = (struct wire_error){"", "", "", "", "", ""};
    wire_reader_init(&r, body, len_bytes);
    for (;;) {
        uint8_t field = wire_read_u8(&r);
        if (field == 0)
            break;
        const char *value = wire_read_cstr(&r);
        switch (field) {
        case 'V':
            e->severity = value;
            has_v = true;
            break;
        case 'S':
            if (!has_v)
                e->severity = value;
            break;
        case 'C': e->sqlstate = value; break;
        case 'M': e->message = value; break;
        case 'D': e->detail = value; break;
        case 'H': e->hint = value; break;
        case 'R': e->routine = value; break;
        default: break;
        }
    }
    return wire_reader_done(&r);
}

bool wire_parse_parameter_status(const uint8_t *body, size_t len_bytes, const char **name, const char **value)
{
    struct wire_reader r;
    wire_reader_init(&r, body, len_bytes);
    *name = wire_read_cstr(&r);
    *value = wire_read_cstr(&r);
    return wire_reader_done(&r);
}

/* ------------------------------------------------------------------ */
/* Building blocks                                                    */

/* Room for a length word that set_length() fills in. */
static uint32_t begin_untyped(struct buf *b)
{
    uint32_t offset = b->len;
    wire_put_u32(b, 0);
    return offset;
}

/* The length counts itself. */
static void set_length(struct buf *b, uint32_t offset)
{
    if (!b->failed)
        wire_set_u32(b->data + offset, b->len - offset);
}

uint32_t wire_begin(struct buf *b, uint8_t type)
{
    uint32_t offset = b->len;
    wire_put_u8(b, type);
    wire_put_u32(b, 0);
    return offset;
}

void wire_end(struct buf *b, uint32_t offset)
{
    set_length(b, offset + 1);
}

void wire_put_u8(struct buf *b, uint8_t v)
{
    buf_append_byte(b, v);
}

void wire_put_u16(struct buf *b, uint16_t v)
{
    uint8_t bytes[2] = {(uint8_t)(v >> 8), (uint8_t)v};
    buf_append(b, bytes, sizeof(bytes));
}

void wire_put_u32(struct buf *b, uint32_t v)
{
    uint8_t bytes[4];
    wire_set_u32(bytes, v);
    buf_append(b, bytes, sizeof(bytes));
}

void wire_put_cstr(struct buf *b, const char *s)
{
    buf_append_str(b, s);
    buf_append_byte(b, 0);
}

static void put_string_message(struct buf *b, uint8_t type, const char *s)
{
    uint32_t offset = wire_begin(b, type);
    wire_put_cstr(b, s);
    wire_end(b, offset);
}

/* ------------------------------------------------------------------ */
/* Backend messages                                                   */

static void put_field(struct buf *b, uint8_t field, const char *value)
{
    if (!value)
        return;
    wire_put_u8(b, field);
    wire_put_cstr(b, value);
}

static void put_report(struct buf *b, uint8_t type, const char *severity, const char *sqlstate,
                       const char *message, const char *detail, const char *hint)
{
    uint32_t offset = wire_begin(b, type);
    put_field(b, 'S', severity);
    put_field(b, 'V', severity);
    put_field(b, 'C', sqlstate);
    put_field(b, 'M', message);
    put_field(b, 'D', detail);
    put_field(b, 'H', hint);
    wire_put_u8(b, 0);
    wire_end(b, offset);
}

void wire_put_error(struct buf *b, const char *severity, const char *sqlstate, const char *message,
                    const char *detail, const char *hint)
{
    put_report(b, 'E', severity, sqlstate, message, detail, hint);
}

void wire_put_notice(struct buf *b, const char *severity, const char *sqlstate, const char *message,
                     const char *detail, const char *hint)
{
    put_report(b, 'N', severity, sqlstate, message, detail, hint);
}

void wire_put_auth(struct buf *b, uint32_t code, const void *data, uint32_t len_bytes)
{
    uint32_t offset = wire_begin(b, 'R');
    wire_put_u32(b, code);
    buf_append(b, data, len_bytes);
    wire_end(b, offset);
}

void wire_put_parameter_status(struct buf *b, const char *name, const char *value)
{
    uint32_t offset = wire_begin(b, 'S');
    wire_put_cstr(b, name);
    wire_put_cstr(b, value);
    wire_end(b, offset);
}

void wire_put_backend_key(struct buf *b, uint32_t pid, const void *key, uint32_t key_bytes)
{
    uint32_t offset = wire_begin(b, 'K');
    wire_put_u32(b, pid);
    buf_append(b, key, key_bytes);
    wire_end(b, offset);
}

void wire_put_ready(struct buf *b, char tx_status)
{
    uint32_t offset = wire_begin(b, 'Z');
    wire_put_u8(b, (uint8_t)tx_status);
    wire_end(b, offset);
}

void wire_put_command_complete(struct buf *b, const char *tag)
{
    put_string_message(b, 'C', tag);
}

void wire_put_negotiate(struct buf *b, uint32_t newest_minor, const char *const *unknown, uint32_t n_unknown)
{
    uint32_t offset = wire_begin(b, 'v');
    wire_put_u32(b, VERSION_3 | newest_minor);
    wire_put_u32(b, n_unknown);
    for (uint32_t i = 0; i < n_unknown; i++)
        wire_put_cstr(b, unknown[i]);
    wire_end(b, offset);
}

void wire_put_row_description(struct buf *b, const struct wire_column *columns, uint16_t n)
{
    uint32_t offset = wire_begin(b, 'T');
    wire_put_u16(b, n);
    for (uint16_t i = 0; i < n; i++) {
        wire_put_cstr(b, columns[i].name);
        wire_put_u32(b, 0); /* of no table */
        wire_put_u16(b, 0);
        wire_put_u32(b, columns[i].type_oid);
        wire_put_u16(b, (uint16_t)columns[i].type_len);
        wire_put_u32(b, NO_TYPMOD);
        wire_put_u16(b, 0); /* text */
    }
    wire_end(b, offset);
}

void wire_begin_row(struct buf *b, uint16_t n_columns, uint32_t *offset)
{
    *offset = wire_begin(b, 'D');
    wire_put_u16(b, n_columns);
}

void wire_row_text(struct buf *b, const char *value)
{
    if (!value) {
        wire_put_u32(b, NO_LENGTH);
        return;
    }
    size_t n = strlen(value);
    wire_put_u32(b, (uint32_t)n);
    buf_append_str(b, value);
}

void wire_end_row(struct buf *b, uint32_t offset)
{
    wire_end(b, offset);
}

/* ------------------------------------------------------------------ */
/* Frontend messages                                                  */

void wire_put_startup(struct buf *b, uint32_t version, const char *const *names, const char *const *values,
                      uint32_t n)
{
    uint32_t offset = begin_untyped(b);
    wire_put_u32(b, version);
    for (uint32_t i = 0; i < n; i++) {
        wire_put_cstr(b, names[i]);
        wire_put_cstr(b, values[i]);
    }
    wire_put_u8(b, 0);
    set_length(b, offset);
}

void wire_put_ssl_request(struct buf *b)
{
    uint32_t offset = begin_untyped(b);
    wire_put_u32(b, CODE_SSL);
    set_length(b, offset);
}

void wire_put_cancel_request(struct buf *b, uint32_t pid, const void *key, uint32_t key_bytes)
{
    uint32_t offset = begin_untyped(b);
    wire_put_u32(b, CODE_CANCEL);
    wire_put_u32(b, pid);
    buf_append(b, key, key_bytes);
    set_length(b, offset);
}

void wire_put_query(struct buf *b, const char *sql)
{
    put_string_message(b, 'Q', sql);
}

void wire_put_password(struct buf *b, const char *password)
{
    put_string_message(b, 'p', password);
}

void wire_put_sasl_initial(struct buf *b, const char *mechanism, const void *data, uint32_t len_bytes)
{
    uint32_t offset = wire_begin(b, 'p');
    wire_put_cstr(b, mechanism);
    wire_put_u32(b, data ? len_bytes : NO_LENGTH);
    if (data)
        buf_append(b, data, len_bytes);
    wire_end(b, offset);
}

void wire_put_sasl_response(struct buf *b, const void *data, uint32_t len_bytes)
{
    uint32_t offset = wire_begin(b, 'p');
    buf_append(b, data, len_bytes);
    wire_end(b, offset);
}

void wire_put_terminate(struct buf *b)
{
    wire_end(b, wire_begin(b, 'X'));
}
