/*
 * notifiers.c - whose notifications those of a server are.
 *
 * See notifiers.h.
 */
#include "session/notifiers.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/lock.h"
#include "base/mem.h"
#include "wire/sql_lexer.h"

#define BUCKETS           1024u
#define MAX_LITERALS      16u /* of one text */
#define MAX_LITERAL_BYTES 8000u
/* Who said it longer ago and commits now still has the server; or it was rolled back. */
#define SAID_US (10 * (uint32_t)USEC_PER_SEC)

struct notifiers {
    _Atomic int n_listening;
    struct lock lock;
    /* [lock] */
    struct notifier *buckets[BUCKETS];
};

struct notifiers *notifiers_new(void)
{
    struct notifiers *n = xcalloc(1, sizeof(*n));

    lock_init(&n->lock, LOCK_RANK_LEAF);
    return n;
}

void notifiers_free(struct notifiers *n)
{
    for (uint32_t i = 0; i < BUCKETS; i++)
        while (n->buckets[i] != NULL) {
            struct notifier *x = n->buckets[i];
            n->buckets[i] = x->next;
            free(x->said);
            free(x);
        }
    lock_destroy(&n->lock);
    free(n);
}

static struct notifier **bucket_of(struct notifiers *n, uint32_t pid)
{
    return &n->buckets[pid % BUCKETS];
}

struct notifier *notifiers_add(struct notifiers *n, uint64_t endpoint, uint32_t pid)
{
    struct notifier *x = calloc(1, sizeof(*x));

    if (x == NULL)
        return NULL;
    x->endpoint = endpoint;
    x->pid = pid;
    x->n_listening = &n->n_listening;
    lock_acquire(&n->lock);
    x->next = *bucket_of(n, pid);
    *bucket_of(n, pid) = x;
    lock_release(&n->lock);
    return x;
}

void notifiers_remove(struct notifiers *n, struct notifier *x)
{
    if (x == NULL)
        return;
    lock_acquire(&n->lock);
    struct notifier **at = bucket_of(n, x->pid);
    while (*at != x)
        at = &(*at)->next;
    *at = x->next;
    lock_release(&n->lock);
    free(x->said);
    free(x);
}

void notifiers_count_listening(struct notifiers *n, int by)
{
    atomic_fetch_add_explicit(&n->n_listening, by, memory_order_relaxed);
}

/* ---- what is said ---- */

void notifier_says_value(struct notifiers *n, struct notifier *x, uint32_t pid, const uint8_t *value,
                         uint32_t len_bytes, int64_t now_us)
{
    if (len_bytes > MAX_LITERAL_BYTES)
        return;
    const struct notifier_said said = {
        .hash = hash_bytes(value, len_bytes), .pid = pid, .since_us = (uint32_t)now_us};
    struct notifier_said *fresh = NULL;
    if (x->said == NULL && (fresh = calloc(NOTIFIER_SAID, sizeof(*fresh))) == NULL)
        return;
    lock_acquire(&n->lock);
    if (fresh != NULL)
        x->said = fresh; /* only its owner comes here */
    x->said[x->n_said++ % NOTIFIER_SAID] = said;
    lock_release(&n->lock);
}

/* A text is gone through, three tokens at a time. */
struct reader {
    struct sql_lexer l;
    struct sql_token t[3]; /* the newest first */
};

static bool next(struct reader *r)
{
    r->t[2] = r->t[1];
    r->t[1] = r->t[0];
    r->t[0] = sql_lexer_next(&r->l);
    return r->t[1].kind != SQL_TOKEN_END && r->t[0].kind != SQL_TOKEN_BROKEN;
}

static bool is_literal(const struct reader *r)
{
    const struct sql_token *t = &r->t[0];
    return t->kind == SQL_TOKEN_STRING && t->end >= t->start + 2 && r->l.text[t->start] == '\'';
}

/* The channel, as the first argument of pg_notify(). */
static bool is_argument(const struct reader *r)
{
    return sql_lexer_is_char(&r->l, &r->t[1], '(') && sql_lexer_is_word(&r->l, &r->t[2], "PG_NOTIFY");
}

/* NOTIFY channel, and no payload behind it; then the channel is what is searched for. */
static uint32_t take_bare_notify(const struct reader *r, char name[SQL_NAME_BYTES])
{
    if (!sql_lexer_is_word(&r->l, &r->t[2], "NOTIFY") || sql_lexer_is_char(&r->l, &r->t[0], ','))
        return 0;
    return sql_name(&r->l, &r->t[1], true, name);
}

void notifier_says_text(struct notifiers *n, struct notifier *x, uint32_t pid, const char *text,
                        uint32_t len_bytes, int64_t now_us)
{
    struct reader r = {.l = {.text = text, .len_bytes = len_bytes, .standard_strings = true}};
    char name[SQL_NAME_BYTES];

    r.t[0].kind = r.t[1].kind = SQL_TOKEN_CHAR;
    for (uint32_t n_said = 0; n_said < MAX_LITERALS && next(&r);) {
        const uint32_t bytes = take_bare_notify(&r, name);
        if (bytes > 0)
            notifier_says_value(n, x, pid, (const uint8_t *)name, bytes, now_us);
        const bool is_payload = is_literal(&r) && !is_argument(&r);
        if (is_payload)
            notifier_says_value(n, x, pid, (const uint8_t *)text + r.t[0].start + 1,
                                r.t[0].end - r.t[0].start - 2, now_us);
        n_said += (bytes > 0) + is_payload;
    }
}

/* ---- who it was ---- */

/* [lock] The oldest that fits, which is then used up. 0: nobody was seen to say that. */
static uint32_t find_said(struct notifier *x, const char *channel, const char *payload, int64_t now_us)
{
    const char *word = payload[0] != '\0' ? payload : channel;
    const uint64_t hash = hash_bytes(word, strlen(word));

    if (x->n_said - x->first_said > NOTIFIER_SAID)
        x->first_said = x->n_said - NOTIFIER_SAID;
    for (uint32_t i = x->first_said; i != x->n_said; i++) {
        struct notifier_said *said = &x->said[i % NOTIFIER_SAID];
        if (said->pid == 0 && i == x->first_said)
            x->first_said++;
        if (said->hash == hash && said->pid != 0 && (uint32_t)now_us - said->since_us < SAID_US) {
            const uint32_t pid = said->pid;
            said->pid = 0;
            return pid;
        }
    }
    return 0;
}

/* Who had it a moment ago. 0: nobody yet. */
static uint32_t find_link(const struct notifier *x, int64_t now_us)
{
    const uint32_t n = atomic_load_explicit(&x->n_links, memory_order_acquire);

    if (n == 0)
        return 0;
    const struct notifier_link *newest = &x->links[(n - 1) % NOTIFIER_LINKS];
    const struct notifier_link *before = &x->links[(n - 2) % NOTIFIER_LINKS];
    const uint32_t age_us = (uint32_t)now_us - atomic_load_explicit(&newest->since_us, memory_order_relaxed);
    const struct notifier_link *link = n > 1 && age_us < NOTIFIER_LAG_US ? before : newest;
    return atomic_load_explicit(&link->pid, memory_order_relaxed);
}

uint32_t notifiers_find(struct notifiers *n, uint64_t endpoint, uint32_t pid, const char *channel,
                        const char *payload, int64_t now_us)
{
    uint32_t found = 0;

    lock_acquire(&n->lock);
    struct notifier *x = *bucket_of(n, pid);
    while (x != NULL && (x->pid != pid || x->endpoint != endpoint))
        x = x->next;
    if (x != NULL) {
        found = find_said(x, channel, payload, now_us);
        if (found == 0)
            found = find_link(x, now_us);
    }
    lock_release(&n->lock);
    return found != 0 ? found : pid;
}
