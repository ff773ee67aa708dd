/*
 * metrics_text.c - Prometheus' text exposition format, version 0.0.4.
 *
 * Pure: into a buffer.
 */
#include <string.h>

#include "metrics_int.h"

void metrics_family(struct buf *out, const char *name, const char *type, const char *help)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void metrics_sample(struct buf *out, const char *name)
{
    buf_append_str(out, name);
}

/* Bytes of the UTF-8 character at s, 0 when it is none. */
static size_t utf8_length(const unsigned char *s)
{
    size_t n = *s < 0x80                 ? 1
               : *s >= 0xc2 && *s < 0xe0 ? 2
               : *s >= 0xe0 && *s < 0xf0 ? 3
               : *s >= 0xf0 && *s < 0xf5 ? 4
                                         : 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0; /* the NUL at the end is caught here, too */
    if ((*s == 0xe0 && s[1] < 0xa0) || (*s == 0xed && s[1] >= 0xa0) || (*s == 0xf0 && s[1] < 0x90) ||
        (*s == 0xf4 && s[1] >= 0x90))
        return 0; /* overlong, surrogate, beyond Unicode */
    return n;
}

static void escaped(struct buf *out, const char *value)
{
    for (const unsigned char *s = (const unsigned char *)value; *s != '\0';) {
        size_t n = utf8_length(s);
        if (n == 0)
            buf_printf(out, "\\\\x%02x", *s);
        else if (*s == '\n')
            buf_append_str(out, "\\n");
        else if (*s == '"' || *s == '\\')
            buf_printf(out, "\\%c", *s);
        else
            buf_append(out, s, (uint32_t)n);
        s += n > 0 ? n : 1;
    }
}

static void begin_label(struct buf *out)
{
    /* a name ends with a letter, a label with a quote */
    bool is_first = out->len == 0 || out->data[out->len - 1] != '"';
    buf_append_byte(out, is_first ? '{' : ',');
}

void metrics_label(struct buf *out, const char *name, const char *value)
{
    begin_label(out);
    buf_printf(out, "%s=\"", name);
    escaped(out, value);
    buf_append_byte(out, '"');
}

void metrics_value(struct buf *out, const char *value)
{
    if (out->len > 0 && out->data[out->len - 1] == '"')
        buf_append_byte(out, '}');
    buf_append_byte(out, ' ');
    buf_append_str(out, value);
    buf_append_byte(out, '\n');
}

void metrics_seconds(struct buf *out, const char *us)
{
    size_t len = strlen(us);
    size_t whole = len > 6 ? len - 6 : 0;

    if (len == 0 || strspn(us, "0123456789") != len) {
        buf_append_str(out, us);
        return;
    }
    if (whole == 0)
        buf_append_byte(out, '0');
    buf_append(out, us, (uint32_t)whole);
    buf_append_byte(out, '.');
    for (size_t i = len; i < 6; i++)
        buf_append_byte(out, '0');
    buf_append_str(out, us + whole);
}
