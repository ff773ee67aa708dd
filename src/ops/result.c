/*
 * result.c - rows of a result, in text or binary.
 *
 * Values arrive as text, which is what nearly everybody asks for; binary forms are
 * made from it for clients that ask for them (asyncpg does for every column).
 *
 * Source: PostgreSQL documentation, "Message Formats"; the binary forms are those
 * of the types' receive functions.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/str.h"
#include "ops_int.h"
#include "wire/codec.h"

#define NUMERIC_MAX_DIGITS 340 /* decimal digits; the largest number of a query has 309 */

struct type {
    char code;
    uint32_t oid;
    int16_t len_bytes;
};

static const struct type types[] = {
    {'s', 25, -1}, {'i', 23, 4}, {'q', 20, 8}, {'N', 1700, -1}, {'b', 17, -1}, {'T', 25, -1}, {'B', 16, 1},
};

static const struct type *type_of(char code)
{
    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        if (types[i].code == code)
            return &types[i];
    }
    return &types[0];
}

uint32_t column_type_oid(char type)
{
    return type_of(type)->oid;
}

void result_describe(struct buf *out, const struct column *columns, uint16_t n,
                     const struct column_set *binary)
{
    uint32_t offset = wire_begin(out, 'T');

    wire_put_u16(out, n);
    for (uint16_t i = 0; i < n; i++) {
        const struct type *t = type_of(columns[i].type);

        wire_put_cstr(out, columns[i].name);
        wire_put_u32(out, 0); /* of no table */
        wire_put_u16(out, 0);
        wire_put_u32(out, t->oid);
        wire_put_u16(out, (uint16_t)t->len_bytes);
        wire_put_u32(out, UINT32_MAX); /* type modifier: none */
        wire_put_u16(out, binary != NULL && column_set_has(binary, i));
    }
    wire_end(out, offset);
}

void result_begin(struct result *r)
{
    if (r->describes)
        result_describe(r->out, r->columns, r->n_columns, &r->binary);
}

void result_row(struct result *r)
{
    r->row_offset = wire_begin(r->out, 'D');
    wire_put_u16(r->out, r->n_columns);
    r->at = 0;
}

void result_row_end(struct result *r)
{
    assert(r->at == r->n_columns);
    wire_end(r->out, r->row_offset);
}

static void put_u64(struct buf *out, uint64_t v)
{
    wire_put_u32(out, (uint32_t)(v >> 32));
    wire_put_u32(out, (uint32_t)v);
}

/* "-12345.678" as digits of base 10000: 0001 2345 . 6780, with weight 1 and display scale 3. */
static bool put_numeric(struct buf *out, const char *text)
{
    char digits[NUMERIC_MAX_DIGITS + 8];
    bool is_negative = *text == '-';
    const char *point, *p;
    size_t n_int, n_frac, lead, n;
    int first, last;

    text += is_negative;
    n_int = strspn(text, "0123456789");
    point = text + n_int;
    p = *point == '.' ? point + 1 : point;
    n_frac = strspn(p, "0123456789");
    if (n_int == 0 || p[n_frac] != '\0' || n_int + n_frac > NUMERIC_MAX_DIGITS)
        return false;

    /* both sides are filled up to whole groups of four */
    lead = (4 - n_int % 4) % 4;
    n = lead + n_int + n_frac;
    memset(digits, '0', sizeof(digits));
    memcpy(digits + lead, text, n_int);
    memcpy(digits + lead + n_int, p, n_frac);
    last = (int)((n + 3) / 4);
    first = 0;
    while (first < last && memcmp(digits + 4 * first, "0000", 4) == 0)
        first++;
    while (last > first && memcmp(digits + 4 * (last - 1), "0000", 4) == 0)
        last--;

    wire_put_u16(out, (uint16_t)(last - first));
    wire_put_u16(out, (uint16_t)(first == last ? 0 : (int)((lead + n_int) / 4) - 1 - first));
    wire_put_u16(out, is_negative && first != last ? 0x4000 : 0);
    wire_put_u16(out, (uint16_t)n_frac);
    for (int i = first; i < last; i++) {
        const char *d = digits + 4 * i;

        wire_put_u16(out,
                     (uint16_t)((d[0] - '0') * 1000 + (d[1] - '0') * 100 + (d[2] - '0') * 10 + d[3] - '0'));
    }
    return true;
}

bool result_binary(struct buf *out, char type, const char *text)
{
    int64_t v;

    switch (type) {
    case 'i':
        if (!str_to_int64(text, &v))
            return false;
        wire_put_u32(out, (uint32_t)v);
        return true;
    case 'q':
        if (!str_to_int64(text, &v))
            return false;
        put_u64(out, (uint64_t)v);
        return true;
    case 'B': wire_put_u8(out, text[0] == 't'); return true;
    case 'N': return put_numeric(out, text);
    default: buf_append_str(out, text); return true;
    }
}

static void put_null(struct buf *out)
{
    wire_put_u32(out, UINT32_MAX);
}

void result_text(struct result *r, const char *value)
{
    uint16_t i = r->at++;
    uint32_t start;

    debug_assert(i < r->n_columns);
    if (value == NULL) {
        put_null(r->out);
        return;
    }
    if (!column_set_has(&r->binary, i)) {
        wire_put_u32(r->out, (uint32_t)strlen(value));
        buf_append_str(r->out, value);
        return;
    }
    start = r->out->len;
    wire_put_u32(r->out, 0);
    if (!result_binary(r->out, r->columns[i].type, value)) {
        if (!r->out->failed)
            r->out->len = start;
        put_null(r->out);
    } else if (!r->out->failed) {
        wire_set_u32(r->out->data + start, r->out->len - start - 4);
    }
}

void result_int(struct result *r, int64_t value)
{
    char text[24];

    if (r->columns[r->at].type == 'i' && (value > INT32_MAX || value < INT32_MIN))
        value = value < 0 ? INT32_MIN : INT32_MAX;
    snprintf(text, sizeof(text), "%" PRId64, value);
    result_text(r, text);
}

void result_uint(struct result *r, uint64_t value)
{
    char text[24];

    /* numeric takes all of it; int8 ends earlier */
    if (r->columns[r->at].type == 'q' && value > INT64_MAX)
        value = INT64_MAX;
    snprintf(text, sizeof(text), "%" PRIu64, value);
    result_text(r, text);
}

void result_real(struct result *r, double value)
{
    char text[64];

    snprintf(text, sizeof(text), "%.3f", value);
    result_text(r, text);
}

void result_time(struct result *r, int64_t wall_us)
{
    time_t seconds = (time_t)(wall_us / USEC_PER_SEC);
    char text[64];
    struct tm tm;

    if (wall_us == 0 || localtime_r(&seconds, &tm) == NULL ||
        strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S %Z", &tm) == 0)
        result_text(r, NULL);
    else
        result_text(r, text);
}
