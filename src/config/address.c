/*
 * address.c - lists of addresses with ports: "9632, [::1]:9632, *:80".
 *
 * Pure. Whether a host exists is seen by who listens on it.
 */
#include <string.h>

#include "base/str.h"
#include "config/address.h"

static bool take_port(const char *text, struct address *out)
{
    int64_t port;
    if (*text < '0' || *text > '9' || !str_to_int64(text, &port) || port < 1 || port > 65535)
        return false;
    out->port = (int)port;
    return true;
}

static bool take_host(const char *text, size_t len, struct address *out)
{
    if (len == 0 || len >= sizeof(out->host) || memchr(text, ' ', len) != NULL)
        return false;
    memcpy(out->host, text, len);
    out->host[len] = '\0';
    return true;
}

static bool take_entry(const char *text, struct address *out)
{
    if (*text == '[') {
        const char *end = strchr(text, ']');
        return end != NULL && end[1] == ':' && take_host(text + 1, (size_t)(end - text - 1), out) &&
               take_port(end + 2, out);
    }
    const char *colon = strrchr(text, ':');
    if (colon == NULL)
        return take_host("127.0.0.1", strlen("127.0.0.1"), out) && take_port(text, out);
    if (memchr(text, ':', (size_t)(colon - text)) != NULL)
        return false; /* an IPv6 address without brackets: where does the port begin? */
    return take_host(text, (size_t)(colon - text), out) && take_port(colon + 1, out);
}

enum address_result address_next(const char **at, struct address *out)
{
    char entry[ADDRESS_HOST_BYTES + 16];
    const char *begin = *at + strspn(*at, ", \t");
    size_t len = strcspn(begin, ",");

    *at = begin + len;
    while (len > 0 && (begin[len - 1] == ' ' || begin[len - 1] == '\t'))
        len--;
    if (len == 0)
        return ADDRESS_END;
    if (len >= sizeof(entry))
        return ADDRESS_ERR;
    memcpy(entry, begin, len);
    entry[len] = '\0';
    return take_entry(entry, out) ? ADDRESS_OK : ADDRESS_ERR;
}
