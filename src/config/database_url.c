/*
 * database_url.c - parses connection URLs.
 *
 * Source: libpq, "Connection URIs" (34.1.1.2). Beyond it, since such URLs are in use: a driver in
 * the scheme, and an @ in the password that is not escaped (the last one counts).
 *
 * Pure; configuration time: aborts when memory is out.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/secret.h"
#include "base/str.h"
#include "config/database_url.h"

#define DEFAULT_PORT "5432"
#define NAME_BYTES   "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-"

static int hex(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* A decoded copy, or NULL with a text in why. */
static char *decode(const char *text, size_t len, const char *what, struct buf *why)
{
    char *out = xmalloc(len + 1), *to = out;
    for (size_t i = 0; i < len; i++) {
        if (text[i] != '%') {
            *to++ = text[i];
            continue;
        }
        int high = i + 1 < len ? hex(text[i + 1]) : -1, low = i + 2 < len ? hex(text[i + 2]) : -1;
        if (high < 0 || low < 0 || high + low == 0) {
            secret_wipe(out, len + 1);
            free(out);
            buf_printf(why, "in the %s, a %% is not followed by two hexadecimal digits (write %%25 for a %%)",
                       what);
            return NULL;
        }
        *to++ = (char)(high * 16 + low);
        i += 2;
    }
    *to = '\0';
    return out;
}

/* Takes the part over into *field; an empty one counts as not given. */
static bool take(char **field, const char *text, size_t len, const char *what, struct buf *why)
{
    if (len == 0)
        return true;
    char *value = decode(text, len, what, why);
    if (value == NULL)
        return false;
    secret_free(*field);
    *field = value;
    return true;
}

static bool take_port(struct database_url *out, const char *text, size_t len, struct buf *why)
{
    char digits[8];
    int64_t port = 0;

    if (len == 0) { /* as in libpq, whatever the other hosts' is */
        text = DEFAULT_PORT;
        len = strlen(text);
    }
    if (len < sizeof(digits)) {
        memcpy(digits, text, len);
        digits[len] = '\0';
        if (!str_to_int64(digits, &port))
            port = 0;
    }
    if (port < 1 || port > 65535) {
        buf_append_str(why, "the port is not a number from 1 to 65535");
        return false;
    }
    if (out->port != 0 && out->port != port) {
        buf_append_str(why, "hosts with different ports are not supported (one without a port has 5432)");
        return false;
    }
    out->port = (int)port;
    return true;
}

/* port=5433, or one for each host of a list. */
static bool take_ports(struct database_url *out, const char *text, struct buf *why)
{
    for (;;) {
        size_t len = strcspn(text, ",");
        if (!take_port(out, text, len, why))
            return false;
        if (text[len] == '\0')
            return true;
        text += len + 1;
    }
}

/* "postgres://": its length; 0 when it is none. */
static size_t scheme_length(const char *text)
{
    static const char *const schemes[] = {"postgresql", "postgres", "postgis"};
    for (size_t i = 0; i < ARRAY_SIZE(schemes); i++) {
        size_t n = strlen(schemes[i]);
        if (strncasecmp(text, schemes[i], n) != 0)
            continue;
        if (text[n] == '+')
            n += 1 + strspn(text + n + 1, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");
        if (strncmp(text + n, "://", 3) == 0)
            return n + 3;
    }
    return 0;
}

bool database_url_begins(const char *text)
{
    return scheme_length(text) > 0;
}

static bool take_userinfo(struct database_url *out, const char *text, size_t len, struct buf *why)
{
    const char *colon = memchr(text, ':', len);
    size_t user_len = colon != NULL ? (size_t)(colon - text) : len;
    return take(&out->user, text, user_len, "user", why) &&
           (colon == NULL || take(&out->password, colon + 1, len - user_len - 1, "password", why));
}

/* One of the hosts; appended to list. */
static bool take_host(struct database_url *out, const char *text, size_t len, bool is_list, struct buf *list,
                      struct buf *why)
{
    const char *port = NULL;
    size_t host_len = len;
    char *host = NULL;

    if (len > 0 && text[0] == '[') {
        const char *end = memchr(text, ']', len);
        if (end == NULL || (end + 1 < text + len && end[1] != ':')) {
            buf_append_str(why, "the brackets of an IPv6 address are not closed");
            return false;
        }
        port = end + 1 < text + len ? end + 2 : NULL;
        text++;
        len--;
        host_len = (size_t)(end - text);
    } else if ((port = memchr(text, ':', len)) != NULL) {
        host_len = (size_t)(port - text);
        port++;
    }
    if (port != NULL || is_list) {
        if (!take_port(out, port != NULL ? port : "", port != NULL ? (size_t)(text + len - port) : 0, why))
            return false;
    }
    if (!take(&host, text, host_len, "host", why))
        return false;
    if (list->len > 0)
        buf_append_byte(list, ',');
    buf_append_str(list, host != NULL ? host : "");
    free(host);
    return true;
}

static bool take_hosts(struct database_url *out, const char *text, size_t len, struct buf *why)
{
    struct buf list;
    bool ok = true, is_list = memchr(text, ',', len) != NULL;

    buf_init(&list, 0);
    for (const char *end = text + len; ok && text < end;) {
        const char *comma = memchr(text, ',', (size_t)(end - text));
        size_t n = comma != NULL ? (size_t)(comma - text) : (size_t)(end - text);
        ok = take_host(out, text, n, is_list, &list, why);
        text += n + 1;
    }
    if (ok && list.len > 0)
        out->host = xstrdup(buf_cstr(&list));
    buf_free(&list);
    return ok;
}

/* What stands behind the slash. One with an @ is the rest of a URL whose password has a slash, or a second
 * URL. */
static bool take_database(struct database_url *out, const char *text, size_t len, struct buf *why)
{
    bool is_name = memchr(text, '@', len) == NULL && take(&out->database, text, len, "database", why);

    if (is_name && (out->database == NULL || strstr(out->database, "://") == NULL))
        return true;
    if (why->len == 0)
        buf_append_str(why, "the name of the database holds an @ or a ://; in a password write %2F for a "
                            "slash, in a name %40 for an @, and between several URLs a comma");
    return false;
}

/* A parameter that is a part of the URL; *found when it is. */
static bool take_known(struct database_url *out, const char *name, const char *value, bool *found,
                       struct buf *why)
{
    const struct {
        const char *name;
        char **field;
    } parts[] = {
        {"host", &out->host}, {"dbname", &out->database}, {"user", &out->user}, {"password", &out->password}};

    *found = true;
    if (strcmp(name, "port") == 0) {
        out->port = 0;
        return take_ports(out, value, why);
    }
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        if (strcmp(name, parts[i].name) == 0) {
            secret_free(*parts[i].field);
            *parts[i].field = xstrdup(value);
            return true;
        }
    *found = false;
    return true;
}

static bool take_parameter(struct database_url *out, const char *text, size_t len, struct buf *why)
{
    const char *equals = memchr(text, '=', len);
    size_t name_len = equals != NULL ? (size_t)(equals - text) : len;
    bool found = false;
    char *name, *value;

    if (len == 0)
        return true;
    name = decode(text, name_len, "name of a parameter", why);
    if (name == NULL)
        return false;
    if (*name == '\0' || name[strspn(name, NAME_BYTES)] != '\0') {
        buf_append_str(why,
                       "a parameter has a name that no parameter can have; in a password write %3F for a "
                       "question mark and %26 for an ampersand");
        secret_free(name);
        return false;
    }
    value =
        equals != NULL ? decode(equals + 1, len - name_len - 1, "value of a parameter", why) : xstrdup("");
    bool ok = value != NULL && take_known(out, name, value, &found, why);
    if (ok && !found && out->n_parameters == DATABASE_URL_MAX_PARAMETERS) {
        buf_append_str(why, "it has too many parameters");
        ok = false;
    }
    if (ok && !found) {
        out->parameters[out->n_parameters++] = (struct database_url_parameter){name, value};
        return true;
    }
    free(name);
    secret_free(value);
    return ok;
}

static bool take_parameters(struct database_url *out, const char *text, struct buf *why)
{
    while (*text != '\0') {
        size_t len = strcspn(text, "&");
        if (!take_parameter(out, text, len, why))
            return false;
        text += len + (text[len] == '&');
    }
    return true;
}

/* The last one of a range, or NULL. */
static const char *last_of(const char *text, size_t len, char c)
{
    while (len > 0)
        if (text[--len] == c)
            return text + len;
    return NULL;
}

bool database_url_parse(const char *text, struct database_url *out, struct buf *why)
{
    size_t scheme = scheme_length(text);

    memset(out, 0, sizeof(*out));
    if (scheme == 0) {
        buf_append_str(why, "it does not begin with postgres:// or postgresql://");
        return false;
    }
    text += scheme;
    size_t authority = strcspn(text, "/?");
    const char *at = last_of(text, authority, '@');
    const char *hosts = at != NULL ? at + 1 : text;
    const char *path = text + authority;
    const char *query = path + strcspn(path, "?");

    return (at == NULL || take_userinfo(out, text, (size_t)(at - text), why)) &&
           take_hosts(out, hosts, (size_t)(path - hosts), why) &&
           (*path != '/' || take_database(out, path + 1, (size_t)(query - path - 1), why)) &&
           (*query == '\0' || take_parameters(out, query + 1, why));
}

void database_url_free(struct database_url *url)
{
    free(url->host);
    free(url->database);
    free(url->user);
    secret_free(url->password);
    for (size_t i = 0; i < url->n_parameters; i++) {
        free(url->parameters[i].name);
        secret_free(url->parameters[i].value);
    }
    memset(url, 0, sizeof(*url));
}
