/*
 * fuzz_connstr.c - connection strings of [databases] and [users], quoted names, times.
 *
 * Links libconfig.a libauth.a libbase.a and inih, OpenSSL, libidn.
 * What has been parsed, written again with every value quoted, must parse to the same.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "config/connstr.h"
#include "config/options.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void quote(struct buf *out, const char *text, char mark)
{
    buf_append_byte(out, (uint8_t)mark);
    for (; *text != '\0'; text++) {
        if (*text == mark)
            buf_append_byte(out, (uint8_t)mark);
        buf_append_byte(out, (uint8_t)*text);
    }
    buf_append_byte(out, (uint8_t)mark);
}

static void check_pairs(const char *text)
{
    struct connstr c, again;
    struct buf quoted;
    connstr_init(&c, text);
    while (connstr_next(&c) == CONNSTR_PAIR) {
        buf_init(&quoted, 0);
        buf_printf(&quoted, "%s=", buf_cstr(&c.key));
        quote(&quoted, buf_cstr(&c.value), '\'');
        connstr_init(&again, buf_cstr(&quoted));
        if (connstr_next(&again) != CONNSTR_PAIR || strcmp(buf_cstr(&c.key), buf_cstr(&again.key)) != 0 ||
            strcmp(buf_cstr(&c.value), buf_cstr(&again.value)) != 0 || connstr_next(&again) != CONNSTR_END)
            abort();
        connstr_free(&again);
        buf_free(&quoted);
    }
    connstr_free(&c);
}

static void check_name(const char *text)
{
    struct buf name, quoted, again;
    buf_init(&name, 0);
    buf_init(&quoted, 0);
    buf_init(&again, 0);
    if (connstr_unquote_name(text, &name)) {
        quote(&quoted, buf_cstr(&name), '"');
        if (!connstr_unquote_name(buf_cstr(&quoted), &again) ||
            strcmp(buf_cstr(&name), buf_cstr(&again)) != 0)
            abort();
    }
    buf_free(&name);
    buf_free(&quoted);
    buf_free(&again);
}

static void check_time(const char *text)
{
    int64_t us, again;
    struct buf out;
    buf_init(&out, 0);
    if (config_parse_time(text, &us)) {
        config_print_time(us, &out);
        if (us < 0 || !config_parse_time(buf_cstr(&out), &again) || us != again)
            abort();
    }
    buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    if (text == NULL)
        return 0;
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    check_pairs(text);
    check_name(text);
    check_time(text);
    free(text);
    return 0;
}
