/*
 * fuzz_sql_session.c - what arbitrary texts do to their session. Links libwire.a.
 *
 * The first byte chooses the settings. Readers end; names have their bound and a NUL; what an act points to
 * lies inside its statement; the quick look does not overlook a statement that has an act.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/sql_session.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
    if (!ok)
        abort();
}

static void check_values(const struct sql_lexer *l, const struct sql_session_act *a)
{
    struct buf value;

    buf_init(&value, 1 << 16);
    if (a->kind == SQL_SESSION_SET && sql_session_value(l, a, &value))
        (void)sql_is_true(buf_cstr(&value));
    for (int i = 0; a->kind == SQL_SESSION_SET_CONFIG && i < 3; i++) {
        buf_clear(&value);
        bool is_known = sql_operand_value(l, &a->args[i], &value);
        require(!is_known || a->args[i].kind == SQL_OPERAND_LITERAL);
    }
    buf_free(&value);
}

static bool is_transaction(enum sql_session_kind kind)
{
    return kind >= SQL_SESSION_BEGIN && kind <= SQL_SESSION_ROLLBACK_TO;
}

static void check_act(const struct sql_lexer *l, const struct sql_statement *s,
                      const struct sql_session_act *a)
{
    require(a->kind <= SQL_SESSION_UNKNOWN);
    require(!a->is_hidden ||
            (!a->is_certain && a->name_bytes == 0 && a->args[0].kind == SQL_OPERAND_UNKNOWN));
    require(a->name_bytes < SQL_SETTING_NAME_BYTES && a->name[a->name_bytes] == '\0');
    if (a->kind == SQL_SESSION_SET && a->constant == NULL)
        require(a->name_bytes > 0 && a->value_start >= s->start && a->value_start < a->value_end &&
                a->value_end == s->end);
    for (int i = 0; a->kind == SQL_SESSION_SET_CONFIG && !a->is_hidden && i < 3; i++)
        require(a->args[i].start >= s->start && a->args[i].start <= a->args[i].end &&
                a->args[i].end <= s->end);
    check_values(l, a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const bool is_utf8 = (data[0] & 2) != 0;
    char *text = malloc(size - 1); /* of its exact size, so that a look beyond it is found */
    require(text != NULL || size == 1);
    if (size > 1)
        memcpy(text, data + 1, size - 1);
    struct sql_lexer l = {
        .text = text, .len_bytes = (uint32_t)size - 1, .standard_strings = (data[0] & 1) != 0};
    const struct sql_lexer whole = l;
    const unsigned look = sql_look(text, l.len_bytes);
    struct sql_statement s;

    while (sql_next_statement(&l, &s) == SQL_STATEMENT_OK) {
        struct sql_session_reader r;
        struct sql_session_act a;
        uint32_t n = 0;

        for (sql_session_begin(&r, &whole, &s, is_utf8); sql_session_next(&r, &a); n++) {
            require(n <= s.end - s.start);
            check_act(&whole, &s, &a);
            if (whole.len_bytes <= SQL_LOOK_MAX_BYTES)
                require((look & SQL_LOOK_CLOSELY) != 0 ||
                        ((look & SQL_LOOK_TRANSACTION) != 0 && is_transaction(a.kind)));
        }
    }
    free(text);
    return 0;
}
