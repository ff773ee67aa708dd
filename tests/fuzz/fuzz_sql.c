/*
 * fuzz_sql.c - the lexer of SQL and the commands that are found with it, on arbitrary texts. Links libwire.a.
 *
 * The first byte chooses the settings. Tokens and statements must lie inside the text, in order; a command
 * must lie inside its statement, and the quick look must not overlook it.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/sql_command.h"
#include "wire/sql_session.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
    if (!ok)
        abort();
}

static void check_tokens(struct sql_lexer l, bool is_utf8)
{
    uint32_t at = 0;
    for (;;) {
        struct sql_token t = sql_lexer_next(&l);
        char name[SQL_NAME_BYTES];
        require(t.start >= at && t.end >= t.start && t.end <= l.len_bytes);
        if (t.kind == SQL_TOKEN_END || t.kind == SQL_TOKEN_BROKEN) {
            require(sql_lexer_next(&l).kind == t.kind);
            return;
        }
        require(t.end > t.start && l.at == t.end);
        require(sql_name(&l, &t, is_utf8, name) < SQL_NAME_BYTES);
        if (t.kind == SQL_TOKEN_WORD)
            (void)sql_is_reserved(&l, &t);
        at = t.end;
    }
}

static void check_command(const struct sql_lexer *l, const struct sql_statement *s, bool is_utf8)
{
    struct sql_command c;
    sql_command_read(l, s, is_utf8, &c);
    if (c.kind == SQL_OTHER)
        return;
    require(sql_may_have_command(l->text, l->len_bytes));
    char *with_nul = malloc(l->len_bytes + 1u);
    require(with_nul != NULL);
    memcpy(with_nul, l->text, l->len_bytes);
    with_nul[l->len_bytes] = '\0';
    if (memchr(l->text, 0, l->len_bytes) == NULL)
        require((sql_look(with_nul, l->len_bytes + 1) & SQL_LOOK_COMMAND) != 0);
    free(with_nul);
    if (c.kind == SQL_DEALLOCATE_ALL || c.kind == SQL_DISCARD_ALL)
        return;
    require(c.name_start >= s->start && c.name_end > c.name_start && c.name_end <= s->end);
    require(c.name_bytes > 0 && c.name_bytes < SQL_NAME_BYTES);
    if (c.kind == SQL_PREPARE)
        require(c.body_start >= c.name_end && c.body_end == s->end && c.body_start < c.body_end);
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
    struct sql_statement s;
    uint32_t at = 0;

    check_tokens(l, is_utf8);
    (void)sql_may_begin_with_command(text, l.len_bytes);
    (void)sql_may_have_command(text, l.len_bytes);
    while (sql_next_statement(&l, &s) == SQL_STATEMENT_OK) {
        require(s.start >= at && s.end > s.start && s.end <= l.len_bytes);
        at = s.end;
        check_command(&l, &s, is_utf8);
    }
    free(text);
    return 0;
}
