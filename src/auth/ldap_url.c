/*
 * ldap_url.c - option ldapurl: ldap[s]://host[:port]/basedn?attribute?scope?filter (RFC 4516).
 *
 * As in PostgreSQL the first of several attributes counts, and the scope is base unless it is said.
 * Extensions are refused. Threads: configuration time.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/compiler.h"
#include "base/mem.h"
#include "base/str.h"
#include "ldap_rule_int.h"

static const struct {
    const char *name;
    enum ldap_rule_scope scope;
} scopes[] = {
    {"base", LDAP_RULE_BASE}, {"one", LDAP_RULE_ONE},     {"onelevel", LDAP_RULE_ONE},
    {"sub", LDAP_RULE_SUB},   {"subtree", LDAP_RULE_SUB},
};

static int hex_digit(char c)
{
    const char *digits = "0123456789abcdef", *at = c != '\0' ? strchr(digits, c | 0x20) : NULL;
    return at != NULL ? (int)(at - digits) : -1;
}

/* %xx in the first n bytes of text; NULL: a broken one, or a NUL. */
static char *decode(const char *text, size_t n)
{
    char *out = xmalloc(n + 1), *to = out;

    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        if (c == '%') {
            int high = i + 2 < n ? hex_digit(text[i + 1]) : -1;
            int low = i + 2 < n ? hex_digit(text[i + 2]) : -1;
            if (high < 0 || low < 0 || high * 16 + low == 0) {
                free(out);
                return NULL;
            }
            c = (char)(high * 16 + low);
            i += 2;
        }
        *to++ = c;
    }
    *to = '\0';
    return out;
}

static bool broken(struct buf *why)
{
    buf_append_str(why, "could not parse LDAP URL");
    return false;
}

static void replace(char **field, char *value)
{
    free(*field);
    *field = value;
}

/* "host", "host:port", "[::1]:port", "". */
static bool take_host(struct ldap_rule *r, const char *text, size_t n, struct buf *why)
{
    char *host = decode(text, n);
    char *colon = NULL;
    int64_t port = 0;

    if (host == NULL)
        return broken(why);
    colon = strrchr(host, ':');
    if (colon != NULL && strchr(colon, ']') == NULL) {
        *colon = '\0';
        if (!str_to_int64(colon + 1, &port) || port < 1 || port > 65535) {
            free(host);
            return broken(why);
        }
    }
    bool ok = host[0] == '\0' || ldap_rule_set_server(r, host, why);
    if (strchr(host, ' ') != NULL)
        ok = broken(why);
    r->port = (int)port;
    free(host);
    return ok;
}

static bool take_scope(struct ldap_rule *r, const char *text, size_t n, struct buf *why)
{
    r->scope = LDAP_RULE_BASE;
    if (n == 0)
        return true;
    for (size_t i = 0; i < ARRAY_SIZE(scopes); i++)
        if (strlen(scopes[i].name) == n && strncasecmp(text, scopes[i].name, n) == 0) {
            r->scope = scopes[i].scope;
            return true;
        }
    buf_printf(why, "unsupported scope \"%.*s\" in LDAP URL", (int)(n < 64 ? n : 64), text);
    return false;
}

/* A text of the URL, if it says one. */
static bool take_text(char **field, const char *text, size_t n, struct buf *why)
{
    char *value;

    if (n == 0)
        return true;
    value = decode(text, n);
    if (value == NULL)
        return broken(why);
    replace(field, value);
    return true;
}

/* What stands behind the host: dn?attributes?scope?filter. */
static bool take_parts(struct ldap_rule *r, const char *p, struct buf *why)
{
    enum { DN, ATTRIBUTES, SCOPE, FILTER, PARTS };
    const char *part[PARTS] = {0};
    size_t len[PARTS] = {0}, n = 0;

    for (;; p++) {
        part[n] = p;
        len[n] = strcspn(p, "?");
        p += len[n++];
        if (*p == '\0')
            break;
        if (n == PARTS) {
            buf_append_str(why, "extensions in an LDAP URL are not supported");
            return false;
        }
    }
    if (n > 1 || len[DN] > 0) /* an empty DN is one, where a search is asked for */
        replace(&r->base_dn, xstrdup(""));
    return take_text(&r->base_dn, part[DN], len[DN], why) &&
           (n <= ATTRIBUTES ||
            take_text(&r->attribute, part[ATTRIBUTES], strcspn(part[ATTRIBUTES], ",?"), why)) &&
           take_scope(r, n > SCOPE ? part[SCOPE] : "", n > SCOPE ? len[SCOPE] : 0, why) &&
           (n <= FILTER || take_text(&r->filter, part[FILTER], len[FILTER], why));
}

bool ldap_rule_set_url(struct ldap_rule *r, const char *url, struct buf *why)
{
    const char *rest = strstr(url, "://");
    size_t scheme = rest != NULL ? (size_t)(rest - url) : 0, host;

    if (rest == NULL)
        return broken(why);
    if (scheme == 4 && strncasecmp(url, "ldap", scheme) == 0) {
        r->is_ldaps = false;
    } else if (scheme == 5 && strncasecmp(url, "ldaps", scheme) == 0) {
        r->is_ldaps = true;
    } else {
        buf_printf(why, "unsupported LDAP URL scheme: %.*s", (int)(scheme < 64 ? scheme : 64), url);
        return false;
    }
    rest += strlen("://");
    host = strcspn(rest, "/?");
    if (!take_host(r, rest, host, why))
        return false;
    rest += host;
    return take_parts(r, *rest == '/' ? rest + 1 : rest, why);
}
