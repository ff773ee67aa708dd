/*
 * rows.c - what a relation of SHOW says, as rows of text in memory.
 *
 * The relation writes DataRow messages, as for a client of the console; they are taken apart here.
 *
 * Threads: the control thread.
 */
#include <stdlib.h>
#include <string.h>

#include "metrics_int.h"
#include "wire/codec.h"

static bool add_value(struct rows *r, uint32_t at, struct wire_reader *reader)
{
    uint32_t len = wire_read_u32(reader);
    const uint8_t *value;

    r->offsets[at] = ROWS_NULL;
    if (len == UINT32_MAX)
        return true;
    value = wire_read_bytes(reader, len);
    if (value == NULL)
        return false;
    r->offsets[at] = r->text.len;
    buf_append(&r->text, value, len);
    buf_append_byte(&r->text, '\0');
    return !r->text.failed;
}

static bool add_row(struct rows *r, const uint8_t *body, uint32_t len)
{
    uint32_t n = r->relation->n_columns;
    struct wire_reader reader;

    if ((r->n_rows + 1) * n > r->capacity) {
        uint32_t capacity = (r->n_rows + 16) * n * 2;
        uint32_t *offsets = realloc(r->offsets, capacity * sizeof(*offsets));
        if (offsets == NULL)
            return false;
        r->offsets = offsets;
        r->capacity = capacity;
    }
    wire_reader_init(&reader, body, len);
    if (wire_read_u16(&reader) != n)
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (!add_value(r, r->n_rows * n + i, &reader))
            return false;
    r->n_rows++;
    return true;
}

bool rows_read(struct console *c, const struct relation *relation, struct rows *r)
{
    struct buf messages;
    struct result result = {.out = &messages, .columns = relation->columns, .n_columns = relation->n_columns};
    bool ok;

    memset(r, 0, sizeof(*r));
    r->relation = relation;
    buf_init(&r->text, METRICS_MAX_BYTES);
    buf_init(&messages, METRICS_MAX_BYTES);
    relation->fill(c, &result);
    ok = !messages.failed;
    for (uint32_t at = 0; ok && at + 5 <= messages.len;) {
        uint32_t len = wire_u32(messages.data + at + 1);
        ok = len >= 4 && len <= messages.len - at - 1 && add_row(r, messages.data + at + 5, len - 4);
        at += 1 + len;
    }
    buf_free(&messages);
    return ok;
}

void rows_free(struct rows *r)
{
    buf_free(&r->text);
    free(r->offsets);
    r->offsets = NULL;
}

int rows_column(const struct relation *relation, const char *name)
{
    for (int i = 0; i < relation->n_columns; i++)
        if (strcmp(relation->columns[i].name, name) == 0)
            return i;
    return -1;
}

const char *rows_value(const struct rows *r, uint32_t row, int column)
{
    uint32_t offset = r->offsets[row * r->relation->n_columns + (uint32_t)column];
    return offset == ROWS_NULL ? NULL : (const char *)r->text.data + offset;
}
