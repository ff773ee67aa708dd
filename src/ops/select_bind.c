/*
 * select_bind.c - the parameters of a Bind, for a query.
 *
 * Text of any type; binary forms of integers, booleans, floats and text.
 *
 * Source: PostgreSQL documentation, "Message Formats"; the binary forms are those
 * of the types' send functions.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"
#include "select_int.h"
#include "wire/codec.h"

enum { OID_BOOL = 16, OID_INT8 = 20, OID_INT2 = 21, OID_INT4 = 23, OID_OID = 26 };
enum { OID_TEXT = 25, OID_FLOAT4 = 700, OID_FLOAT8 = 701, OID_UNKNOWN = 705, OID_NUMERIC = 1700 };
enum { OID_NAME = 19, OID_BPCHAR = 1042, OID_VARCHAR = 1043 };

static bool bad_value(struct parse_error *e, const char *what, const char *text)
{
    e->sqlstate = "22P02";
    snprintf(e->message, sizeof(e->message), "invalid input syntax for type %s: \"%.*s\"", what,
             CONSOLE_NAME_BYTES, text);
    return false;
}

static bool text_integer(struct select_value *v, struct parse_error *e)
{
    v->kind = 'i';
    return str_to_int64(v->text, &v->i) || bad_value(e, "bigint", v->text);
}

static bool text_real(struct select_value *v, struct parse_error *e)
{
    char *end;

    v->kind = 'f';
    v->f = strtod(v->text, &end);
    return (end != v->text && *end == '\0') || bad_value(e, "numeric", v->text);
}

static bool text_bool(struct select_value *v, struct parse_error *e)
{
    static const char *const words[] = {"f", "false", "off", "no", "0", "t", "true", "on", "yes", "1"};

    v->kind = 'i';
    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        if (strcasecmp(v->text, words[i]) != 0)
            continue;
        v->i = i >= ARRAY_SIZE(words) / 2;
        return true;
    }
    return bad_value(e, "boolean", v->text);
}

static bool read_text(uint32_t type, struct select_value *v, struct parse_error *e)
{
    switch (type) {
    case OID_INT2:
    case OID_INT4:
    case OID_INT8:
    case OID_OID: return text_integer(v, e);
    case OID_FLOAT4:
    case OID_FLOAT8:
    case OID_NUMERIC: return text_real(v, e);
    case OID_BOOL: return text_bool(v, e);
    default: v->kind = 's'; return true;
    }
}

static uint64_t big_endian(const char *p, uint32_t n)
{
    uint64_t v = 0;

    for (uint32_t i = 0; i < n; i++)
        v = v << 8 | (uint8_t)p[i];
    return v;
}

static bool read_binary(uint32_t type, struct select_value *v, struct parse_error *e)
{
    static const struct {
        uint32_t type, bytes;
    } sizes[] = {{OID_BOOL, 1}, {OID_INT2, 2},   {OID_INT4, 4},  {OID_OID, 4},
                 {OID_INT8, 8}, {OID_FLOAT4, 4}, {OID_FLOAT8, 8}};
    uint64_t bits;
    uint32_t bits32;
    float f;

    v->kind = 's';
    if (type == OID_TEXT || type == OID_UNKNOWN || type == OID_NAME || type == OID_BPCHAR ||
        type == OID_VARCHAR)
        return true;
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        if (sizes[i].type != type)
            continue;
        if (sizes[i].bytes != v->len) {
            e->sqlstate = "22P03";
            str_copy(e->message, "incorrect binary data format in bind parameter", sizeof(e->message));
            return false;
        }
        bits = big_endian(v->text, v->len);
        v->kind = 'i';
        v->i = type == OID_INT2 ? (int16_t)bits : type == OID_INT4 ? (int32_t)bits : (int64_t)bits;
        if (type == OID_FLOAT8) {
            v->kind = 'f';
            memcpy(&v->f, &bits, sizeof(v->f));
        } else if (type == OID_FLOAT4) {
            v->kind = 'f';
            bits32 = (uint32_t)bits;
            memcpy(&f, &bits32, sizeof(f));
            v->f = (double)f;
        }
        return true;
    }
    e->sqlstate = "0A000";
    snprintf(e->message, sizeof(e->message), "the console takes no binary parameters of type %u", type);
    return false;
}

void select_values_free(struct select_value *values, uint16_t n)
{
    for (uint16_t i = 0; i < n; i++)
        free(values[i].text);
    free(values);
}

bool select_read_values(struct wire_reader *r, const uint8_t *formats, uint16_t n_formats,
                        const uint32_t *types, struct select_value *values, uint16_t n, struct parse_error *e)
{
    for (uint16_t i = 0; i < n; i++) {
        uint16_t format = n_formats == 0 ? 0 : wire_u16(formats + 2 * (n_formats == 1 ? 0 : i));
        uint32_t len = wire_read_u32(r);
        const uint8_t *bytes;

        values[i].kind = 'n';
        if (len == UINT32_MAX)
            continue;
        bytes = wire_read_bytes(r, len);
        if (r->bad)
            return true; /* the caller sees it */
        values[i].text = malloc((size_t)len + 1);
        if (values[i].text == NULL) {
            e->sqlstate = "53200";
            str_copy(e->message, "out of memory", sizeof(e->message));
            return false;
        }
        memcpy(values[i].text, bytes, len);
        values[i].text[len] = '\0';
        values[i].len = len;
        if (format == 0 ? !read_text(types[i], &values[i], e) : !read_binary(types[i], &values[i], e))
            return false;
    }
    return true;
}
