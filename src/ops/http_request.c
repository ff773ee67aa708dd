/*
 * http_request.c - the head of an HTTP request: bytes in, request out.
 *
 * Strict, since everything that asks us is a program: a request line of three words, headers of
 * "name: value", no folding, no control bytes. Headers mean nothing here, but for Host, which HTTP/1.1
 * demands. A body is not read: every answer ends the connection.
 *
 * Pure. Source: RFC 9112, sections 2 to 5.
 */
#include <string.h>
#include <strings.h>

#include "http_int.h"

/* A line without its end; a CR before the LF belongs to the end. */
struct line {
    const char *text;
    size_t len;
};

enum line_result { LINE_OK, LINE_MORE };

static enum line_result take_line(const char **at, const char *end, struct line *out)
{
    const char *lf = memchr(*at, '\n', (size_t)(end - *at));
    if (lf == NULL)
        return LINE_MORE;
    out->text = *at;
    out->len = (size_t)(lf - *at);
    if (out->len > 0 && out->text[out->len - 1] == '\r')
        out->len--;
    *at = lf + 1;
    return LINE_OK;
}

static bool is_token_byte(unsigned char c)
{
    return c > ' ' && c < 127 && strchr("\"(),/:;<=>?@[\\]{}", c) == NULL;
}

static bool is_token(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!is_token_byte((unsigned char)text[i]))
            return false;
    return len > 0;
}

/* No blank, no control byte; bytes above ASCII are nobody's harm. */
static bool is_target(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] <= ' ' || text[i] == 127)
            return false;
    return len > 0;
}

/* "/path?query", or the same behind "http://host". */
static int take_target(const char *text, size_t len, struct http_request *out)
{
    if (len > 7 && strncasecmp(text, "http://", 7) == 0) {
        const char *slash = memchr(text + 7, '/', len - 7);
        if (slash == NULL) {
            text = "/";
            len = 1;
        } else {
            len -= (size_t)(slash - text);
            text = slash;
        }
    }
    if (text[0] != '/')
        return 400;
    const char *mark = memchr(text, '?', len);
    size_t path_len = mark != NULL ? (size_t)(mark - text) : len;
    size_t query_len = mark != NULL ? len - path_len - 1 : 0;
    if (path_len >= sizeof(out->path) || query_len >= sizeof(out->query))
        return 414;
    memcpy(out->path, text, path_len);
    out->path[path_len] = '\0';
    if (query_len > 0)
        memcpy(out->query, mark + 1, query_len);
    out->query[query_len] = '\0';
    return 200;
}

static bool is_word(const char *text, size_t len, const char *word)
{
    return len == strlen(word) && memcmp(text, word, len) == 0;
}

/* 200, or what is wrong with the line. *needs_host: HTTP/1.1. */
static int take_request_line(const struct line *l, struct http_request *out, bool *needs_host)
{
    const char *end = l->text + l->len;
    const char *target = memchr(l->text, ' ', l->len);
    if (target == NULL || !is_token(l->text, (size_t)(target - l->text)))
        return 400;
    size_t method_len = (size_t)(target++ - l->text);
    const char *version = memchr(target, ' ', (size_t)(end - target));
    if (version == NULL || !is_target(target, (size_t)(version - target)))
        return 400;
    size_t target_len = (size_t)(version++ - target);
    size_t version_len = (size_t)(end - version);
    if (version_len != 8 || memcmp(version, "HTTP/", 5) != 0 || version[6] != '.' || version[5] < '0' ||
        version[5] > '9' || version[7] < '0' || version[7] > '9')
        return 400;
    if (version[5] != '1')
        return 505;
    *needs_host = version[7] != '0';
    out->is_head = is_word(l->text, method_len, "HEAD");
    if (!out->is_head && !is_word(l->text, method_len, "GET"))
        return 405;
    return take_target(target, target_len, out);
}

static bool is_header(const struct line *l)
{
    const char *colon = memchr(l->text, ':', l->len);
    if (colon == NULL || !is_token(l->text, (size_t)(colon - l->text)))
        return false;
    for (const char *c = colon + 1; c < l->text + l->len; c++)
        if (((unsigned char)*c < ' ' && *c != '\t') || *c == 127)
            return false;
    return true;
}

static int parse(const char *at, const char *end, struct http_request *out)
{
    struct line line;
    bool needs_host = false;

    do /* empty lines in front of a request are passed over */
        if (take_line(&at, end, &line) != LINE_OK)
            return HTTP_INCOMPLETE;
    while (line.len == 0);
    int status = take_request_line(&line, out, &needs_host);
    if (status != 200)
        return status;
    while (take_line(&at, end, &line) == LINE_OK) {
        if (line.len == 0)
            return needs_host ? 400 : 200;
        if (!is_header(&line))
            return 400;
        if (line.len >= 5 && strncasecmp(line.text, "host:", 5) == 0)
            needs_host = false;
    }
    return HTTP_INCOMPLETE;
}

int http_request_parse(const char *data, size_t len, struct http_request *out)
{
    memset(out, 0, sizeof(*out));
    int status = parse(data, data + len, out);
    return status == HTTP_INCOMPLETE && len >= HTTP_REQUEST_MAX_BYTES ? 431 : status;
}

bool http_query_has(const char *query, const char *word)
{
    size_t len = strlen(word);
    while (*query != '\0') {
        size_t part = strcspn(query, "&");
        if (part >= len && memcmp(query, word, len) == 0 && (part == len || query[len] == '='))
            return true;
        query += part + (query[part] == '&');
    }
    return false;
}
