/*
 * http_answer.c - what is answered to whom: the paths.
 *
 * Writing /metrics takes the control thread's time, which new connections need too. So a text that took long
 * to write is given out again for a while: all scrapers together, however many or eager, cost at most a fifth
 * of that thread, and a text that is quick to write is always new.
 *
 * Threads: the control thread.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "http_int.h"
#include "metrics_int.h"

#define TEXT_PLAIN     "text/plain; charset=utf-8"
#define TEXT_METRICS   "text/plain; version=0.0.4; charset=utf-8"
#define SMALL_BYTES    (1u << 20)
#define METRICS_FACTOR 4 /* fresh for so many times the time of writing */

struct http_text *http_text_new(uint32_t max_bytes)
{
    struct http_text *t = calloc(1, sizeof(*t));
    if (t == NULL)
        return NULL;
    t->refs = 1;
    buf_init(&t->body, max_bytes);
    return t;
}

struct http_text *http_text_ref(struct http_text *t)
{
    t->refs++;
    return t;
}

void http_text_unref(struct http_text *t)
{
    if (t == NULL || --t->refs > 0)
        return;
    buf_free(&t->body);
    free(t);
}

const char *http_status_text(int status)
{
    switch (status) {
    case 200: return "OK";
    case 400: return "Bad Request";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 414: return "URI Too Long";
    case 431: return "Request Header Fields Too Large";
    case 503: return "Service Unavailable";
    case 505: return "HTTP Version Not Supported";
    default: return "Error";
    }
}

/* ---- answers ---- */

static void answer_health(const struct http_hooks *h, const struct http_request *rq,
                          bool (*check)(const struct http_hooks *h, struct buf *out), struct http_answer *out)
{
    struct http_text *t = http_text_new(SMALL_BYTES);
    bool ok, is_unsure = false;

    if (t == NULL)
        return;
    bool asks_databases = check == health_ready && http_query_has(rq->query, "databases");
    if (asks_databases)
        buf_append_str(&t->body, "pgsluice: ");
    ok = check(h, &t->body);
    if (asks_databases && !health_databases(h, &t->body, &is_unsure))
        ok = false;
    *out = (struct http_answer){ok ? 200 : 503, TEXT_PLAIN, t, is_unsure};
}

static void answer_metrics(const struct http_hooks *h, struct metrics_cache *cache, struct http_answer *out)
{
    int64_t began_us = clock_now_us();
    struct console *console = h->console(h->arg);
    const struct settings *s = config_settings(h->config(h->arg)->config);

    if (cache->text == NULL || began_us >= cache->fresh_until_us || cache->compat != s->metrics_compat) {
        struct http_text *t = http_text_new(METRICS_MAX_BYTES);
        if (t == NULL || console == NULL ||
            !metrics_write(console, s->metrics_compat == METRICS_COMPAT_PGBOUNCER, &t->body)) {
            http_text_unref(t);
            http_refuse(503, out);
            return;
        }
        int64_t now_us = clock_now_us();
        http_text_unref(cache->text);
        cache->text = t;
        cache->compat = s->metrics_compat;
        cache->fresh_until_us = now_us + METRICS_FACTOR * (now_us - began_us);
    }
    *out = (struct http_answer){200, TEXT_METRICS, http_text_ref(cache->text), false};
}

void http_refuse(int status, struct http_answer *out)
{
    struct http_text *t = http_text_new(SMALL_BYTES);

    if (t == NULL)
        return;
    buf_printf(&t->body, "%s\n", http_status_text(status));
    if (status == 404)
        buf_append_str(&t->body, "There are /livez, /readyz, /readyz?databases and /metrics.\n");
    *out = (struct http_answer){status, TEXT_PLAIN, t, false};
}

void http_answer(const struct http_hooks *h, struct metrics_cache *cache, const struct http_request *rq,
                 struct http_answer *out)
{
    if (strcmp(rq->path, "/livez") == 0)
        answer_health(h, rq, health_live, out);
    else if (strcmp(rq->path, "/readyz") == 0)
        answer_health(h, rq, health_ready, out);
    else if (strcmp(rq->path, "/metrics") == 0)
        answer_metrics(h, cache, out);
    else
        http_refuse(404, out);
}
