/*
 * fuzz_statement.c - messages about prepared statements: which one, and with another name. Links libwire.a
 * libbase.a.
 *
 * An input is a message, or the body of an error. Whatever the pieces in which a message arrives, the same
 * must be found in it, and the quick look must not overlook it; a head with another name must be one that is
 * found again.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/statement_message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
    if (!ok)
        abort();
}

static void check_head(const uint8_t *message, uint32_t size, const struct statement_message *m)
{
    static const char name[] = STATEMENT_PREFIX "18446744073709551615";
    uint8_t head[STATEMENT_HEAD_BYTES];
    uint32_t before;
    uint32_t n = statement_put_head(m, name, sizeof(name) - 1, head, &before);
    require(n <= sizeof(head) && before <= n);

    /* as it is sent: the head, with the portal inside of it, and the rest of the message */
    struct buf b;
    struct statement_message again;
    buf_init(&b, 0);
    buf_append(&b, head, before);
    if (before < n)
        buf_append(&b, m->portal, m->portal_bytes);
    buf_append(&b, head + before, n - before);
    buf_append(&b, message + m->head_bytes, size - m->head_bytes);
    require(!b.failed);
    enum statement_look look = statement_look(b.data, b.len, &again);
    require(look == STATEMENT_TOO_LONG || look == STATEMENT_NAMED);
    if (look == STATEMENT_NAMED) {
        require(again.len - again.name_bytes == m->len - m->name_bytes);
        require(again.name_bytes == sizeof(name) - 1 && memcmp(again.name, name, sizeof(name)) == 0);
        require(again.portal_bytes == m->portal_bytes);
    }
    buf_free(&b);
}

static void fuzz_message(const uint8_t *message, uint32_t size)
{
    struct statement_message whole, m;
    /* what forward() lets pass: the header is there and plausible, and says no more than has been given */
    if (size < WIRE_HEADER_BYTES || !statement_may_be_named(message[0]) || wire_u32(message + 1) < 4 ||
        wire_u32(message + 1) > size - 1)
        return;
    enum statement_look look = statement_look(message, size, &whole);
    require(look != STATEMENT_MORE);
    for (uint32_t here = WIRE_HEADER_BYTES; here <= size; here++) {
        uint8_t *copy = malloc(here);
        require(copy != NULL);
        memcpy(copy, message, here);
        enum statement_look part = statement_look(copy, here, &m);
        require(part == look || part == STATEMENT_MORE ||
                (part == STATEMENT_TOO_LONG && here > STATEMENT_MAX_NAMES_BYTES));
        if (part == STATEMENT_NAMED) {
            require(statement_is_named(copy, here));
            require(m.head_bytes <= here && m.head_bytes == whole.head_bytes);
            require(m.name_bytes == whole.name_bytes && memcmp(m.name, whole.name, m.name_bytes) == 0);
        }
        free(copy);
    }
    if (look == STATEMENT_NAMED)
        check_head(message, 1 + wire_u32(message + 1), &whole);
}

static void fuzz_error(const uint8_t *body, uint32_t size)
{
    struct wire_error e, changed;
    struct buf b;
    uint64_t number = statement_number_in_error(body, size);
    uint32_t position = statement_position_in_error(body, size);
    if (!wire_parse_error(body, size, &e))
        return;
    buf_init(&b, 0);
    statement_put_error(&b, body, size, number, number != 0 ? "it" : NULL, position > 1 ? position - 1 : 0);
    require(!b.failed && wire_parse_error(b.data + WIRE_HEADER_BYTES, b.len - WIRE_HEADER_BYTES, &changed));
    require(strcmp(changed.sqlstate, e.sqlstate) == 0);
    buf_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > 65536)
        return 0;
    if (data[0] == 'e')
        fuzz_error(data + 1, (uint32_t)size - 1);
    else
        fuzz_message(data, (uint32_t)size);
    return 0;
}
