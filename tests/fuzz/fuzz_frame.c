/*
 * fuzz_frame.c - the codec's readers on arbitrary bodies. Links libwire.a libbase.a.
 *
 * The first byte chooses: a parser, or a series of reads whose kinds the second half of the
 * input gives. Whatever a reader returns must lie inside the body.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/codec.h"
#include "wire/params.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
    if (!ok)
        abort();
}

/* "" stands for what is missing and lies elsewhere. */
static void require_inside(const char *s, const uint8_t *body, size_t len)
{
    if (s[0] != '\0')
        require((const uint8_t *)s >= body && (const uint8_t *)s + strlen(s) < body + len);
}

static void fuzz_parsers(const uint8_t *body, size_t len)
{
    struct wire_error e;
    const char *name, *value;
    (void)!wire_parse_error(body, len, &e);
    require_inside(e.severity, body, len);
    require_inside(e.sqlstate, body, len);
    require_inside(e.message, body, len);
    require_inside(e.detail, body, len);
    require_inside(e.hint, body, len);
    (void)!wire_parse_parameter_status(body, len, &name, &value);
    require_inside(name, body, len);
    require_inside(value, body, len);
}

static void fuzz_reads(const uint8_t *data, size_t size)
{
    const uint8_t *body = data + size / 2;
    size_t len = size - size / 2;
    struct wire_reader r;
    wire_reader_init(&r, body, len);
    for (size_t i = 0; i < size / 2; i++) {
        bool was_bad = r.bad;
        const uint8_t *p = r.p;
        switch (data[i] % 5) {
        case 0: wire_read_u8(&r); break;
        case 1: wire_read_u16(&r); break;
        case 2: wire_read_u32(&r); break;
        case 3: require_inside(wire_read_cstr(&r), body, len); break;
        default: {
            const uint8_t *bytes = wire_read_bytes(&r, data[i]);
            require(!bytes || bytes + data[i] <= body + len);
            break;
        }
        }
        require(r.p >= p && r.p <= body + len);
        require(!was_bad || r.bad);
    }
    require(!wire_reader_done(&r) || r.p == body + len);
}

/* A parameter that was reported finds its way into a set, SQL and back into a message. */
static void fuzz_params(const uint8_t *body, size_t len)
{
    const char *name, *value, *again_name, *again_value;
    if (!wire_parse_parameter_status(body, len, &name, &value))
        return;
    struct buf out;
    buf_init(&out, 1 << 20);
    (void)!params_canonical(name, value, "ISO, MDY", 160000, &out);
    struct params *p = params_with(params_empty(), name, value);
    if (p) {
        buf_clear(&out);
        params_put_status(p, &out);
        require(wire_parse_parameter_status(out.data + WIRE_HEADER_BYTES, out.len - WIRE_HEADER_BYTES,
                                            &again_name, &again_value));
        require(strcmp(again_value, value) == 0);
        buf_clear(&out);
        require(params_diff_sql(params_empty(), p, &out) <= 1 && !out.failed);
        params_unref(p);
    }
    buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    switch (data[0] % 3) {
    case 0: fuzz_parsers(data + 1, size - 1); break;
    case 1: fuzz_reads(data + 1, size - 1); break;
    default: fuzz_params(data + 1, size - 1); break;
    }
    return 0;
}
