/*
 * ldap_escape.c - names of users as parts of DNs and filters.
 *
 * Nothing that a name holds may end the value that it is: who could write a DN or a filter by choosing a name
 * would choose the entry whose password counts. Threads: any.
 */
#include <string.h>

#include "ldap_rule_int.h"

static void put_hex(struct buf *out, unsigned char c)
{
    buf_printf(out, "\\%02x", c);
}

void ldap_escape_dn(const char *value, struct buf *out)
{
    size_t n = strlen(value);

    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)value[i];
        bool is_at_edge = (c == ' ' && (i == 0 || i == n - 1)) || (c == '#' && i == 0);
        if (c < ' ' || c == 0x7f) {
            put_hex(out, c);
            continue;
        }
        if (is_at_edge || strchr("\"+,;<>=\\", c) != NULL)
            buf_append_byte(out, '\\');
        buf_append_byte(out, c);
    }
}

void ldap_escape_filter(const char *value, struct buf *out)
{
    for (const unsigned char *c = (const unsigned char *)value; *c != '\0'; c++)
        if (*c < ' ' || *c == 0x7f || strchr("*()\\", *c) != NULL)
            put_hex(out, *c);
        else
            buf_append_byte(out, *c);
}
