/*
 * http_int.h - what the files of the HTTP server share.
 *
 * Threads: parsing is pure; everything else belongs to the control thread.
 */
#ifndef HTTP_INT_H
#define HTTP_INT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "ops/http.h"

/* ---- http_request.c: bytes in, request out ---- */

#define HTTP_REQUEST_MAX_BYTES 8192 /* request line and headers; more is answered with 431 */
#define HTTP_PATH_BYTES        128
#define HTTP_QUERY_BYTES       256

struct http_request {
    bool is_head;
    char path[HTTP_PATH_BYTES];   /* as sent: nothing that is served needs escapes */
    char query[HTTP_QUERY_BYTES]; /* behind the ?, "" when there is none */
};

#define HTTP_INCOMPLETE 0
/* HTTP_INCOMPLETE (read on), 200 (*out is filled), or the status to refuse it with. On 405, 414 and other
 * refusals out->is_head is valid. Never reads beyond len. */
int http_request_parse(const char *data, size_t len, struct http_request *out) must_check;
/* Does the query have this word, alone or with a value ("databases", "databases=1")? */
bool http_query_has(const char *query, const char *word);

/* ---- http_answer.c: what to say ---- */

/* A body that several connections may be sending at the same time. */
struct http_text {
    int refs;
    struct buf body;
};

/* One reference, or NULL. */
struct http_text *http_text_new(uint32_t max_bytes);
struct http_text *http_text_ref(struct http_text *t);
void http_text_unref(struct http_text *t);

struct http_answer {
    int status;
    const char *content_type;
    struct http_text *text; /* one reference; NULL: memory is out */
    bool is_unsure;         /* what is being found out now would make it another one */
};

/* /metrics of the last time, kept while it is fresh. */
struct metrics_cache {
    struct http_text *text;
    int64_t fresh_until_us;
    int compat; /* metrics_compat with which it was made */
};

void http_answer(const struct http_hooks *h, struct metrics_cache *cache, const struct http_request *rq,
                 struct http_answer *out);
/* The answer to what is refused. */
void http_refuse(int status, struct http_answer *out);
const char *http_status_text(int status);

/* ---- health.c ---- */

/* Each appends lines that say what is wrong, or "ok"; true when nothing is. */
bool health_live(const struct http_hooks *h, struct buf *out);
bool health_ready(const struct http_hooks *h, struct buf *out);
/* *is_unsure: a server is being connected, and nothing is known of its database otherwise. */
bool health_databases(const struct http_hooks *h, struct buf *out, bool *is_unsure);

#endif
