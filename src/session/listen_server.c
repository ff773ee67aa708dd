/*
 * listen_server.c - the server connection that listens for all clients of one database and user.
 *
 * It has a pool of its own (registry_get_listen_pool()) with one slot, so it counts under the limits of its
 * database and user. It is queued for with a ticket like any other; once it is there, its slot is IDLE, but
 * nobody else asks this pool for a server, and it does not give way to other pools. So PAUSE and RELOAD close
 * it as they close any idle server, and the ticket that is queued then is served after RESUME.
 *
 * Its stream is read here; its tracker is at rest. LISTEN and UNLISTEN go out many in one Query, one Query at
 * a time; when one of them is refused, they go one by one. When the connection has been lost all channels are
 * listened to again, and then everybody is told that something may have been missed.
 *
 * client_encoding is UTF8, whatever that of the clients is.
 *
 * Threads: the worker that listen_owner() names.
 * Not here: which client listens to what (channels.c); what the server's process ids mean (notifiers.c).
 */
#include "session/server.h"

#include <stdlib.h>
#include <string.h>

/* Out of memory while adding: the element is not in the table, and its hh.tbl is NULL. */
#define HASH_NONFATAL_OOM                    1
#define HASH_FUNCTION(keyptr, keylen, hashv) ((hashv) = (unsigned)hash_bytes(keyptr, keylen))
#include <uthash.h>

#include "base/hash.h"
#include "base/str.h"
#include "listen_int.h"
#include "session/notifiers.h"

#define MAX_MESSAGE_BYTES  65536u /* a payload has less than 8000 */
#define MAX_CHANNELS_QUERY 500u   /* in one Query */
#define RETRY_US           USEC_PER_SEC

static const char settings_sql[] = "SET client_encoding = UTF8; SET application_name = 'pgsluice (listen)'";

enum heard_state { HEARD_NOT, HEARD_ASKED_ON, HEARD_STANDS, HEARD_ASKED_OFF };

/* A channel that workers want to hear. */
struct heard {
    struct list node; /* listener->changed or ->asked; in neither: it is as it should be */
    uint64_t workers; /* bits: who wants it */
    uint64_t waiting; /* bits: who wants to know when it stands */
    enum heard_state state;
    UT_hash_handle hh;
    char name[SQL_NAME_BYTES];
};

struct listen_server {
    struct shard *shard;
    struct pool *pool;     /* the key */
    struct server *server; /* NULL: none, and perhaps a ticket for one */
    struct ticket ticket;
    bool has_ticket; /* it waits, or is granted: LINK, IDLE or FAIL will come */
    bool is_used;    /* there have been channels since it was last closed for want of any */
    struct heard *channels;
    struct list changed; /* struct heard: to be asked for, or given up */
    struct list asked;   /* by the Query under way */
    bool is_busy;        /* with a Query */
    bool is_singly;      /* one of several has been refused: one at a time, until all is settled */
    bool was_lost;       /* channels stood on an earlier connection: said when they stand again */
    bool has_error;      /* the Query under way has failed */
    int64_t retry_us;    /* no ticket before that */
    struct buf *news[POOL_MAX_WORKERS]; /* while input is handled; each is malloc'ed, and goes by mail */
    UT_hash_handle hh;
};

uint8_t listen_owner(const struct instance *in, const struct pool *pool)
{
    return (uint8_t)(hash_bytes(&pool, sizeof(pool)) % (uint64_t)in->n_workers);
}

static const struct stream_ops listen_stream_ops;

static struct listen_server *find(struct shard *sh, const struct pool *pool)
{
    struct listen_server *ls;
    HASH_FIND_PTR(sh->listen_servers, &pool, ls);
    return ls;
}

/* ---- news for the workers ---- */

static struct buf *news_of(struct listen_server *ls, int worker)
{
    if (ls->news[worker] == NULL && (ls->news[worker] = malloc(sizeof(struct buf))) != NULL)
        buf_init(ls->news[worker], 0);
    return ls->news[worker];
}

static void add_news(struct listen_server *ls, uint64_t workers, const uint8_t *message, uint32_t len)
{
    for (int w = 0; workers != 0; w++, workers >>= 1) {
        struct buf *b = (workers & 1) != 0 ? news_of(ls, w) : NULL;
        if (b != NULL)
            buf_append(b, message, len);
        else if ((workers & 1) != 0)
            log_error("out of memory: notifications are lost");
    }
}

static void add_name_news(struct listen_server *ls, uint64_t workers, uint8_t type, const char *name)
{
    struct buf b;

    buf_init(&b, 4096);
    uint32_t at = wire_begin(&b, type);
    wire_put_cstr(&b, name);
    wire_end(&b, at);
    if (!b.failed)
        add_news(ls, workers, b.data, b.len);
    buf_free(&b);
}

static void post_news(struct listen_server *ls)
{
    struct instance *in = ls->shard->instance;

    for (int w = 0; w < in->n_workers; w++) {
        struct buf *b = ls->news[w];
        if (b == NULL)
            continue;
        ls->news[w] = NULL;
        struct mail_listen_news *m = b->failed ? NULL : calloc(1, sizeof(*m));
        if (m != NULL) {
            m->mail.type = MAIL_LISTEN_NEWS;
            m->pool = ls->pool;
            m->news = *b;
            loop_post(&in->shards[w]->loop, &m->mail);
        } else {
            log_error("out of memory: notifications are lost");
            buf_free(b);
        }
        free(b);
    }
}

static uint64_t all_workers(const struct listen_server *ls)
{
    const struct heard *ch, *next;
    uint64_t workers = 0;

    HASH_ITER (hh, ls->channels, ch, next)
        workers |= ch->workers;
    return workers;
}

/* ---- a server ---- */

static void perform(struct listen_server *ls, struct pool_acts *acts)
{
    shard_perform(ls->shard, ls->pool, acts);
}

static void want_server(struct listen_server *ls)
{
    struct pool_acts acts;

    if (ls->server != NULL || ls->has_ticket || ls->channels == NULL || ls->shard->is_stopping)
        return;
    if (ls->shard->now_us < ls->retry_us) {
        shard_arm_tick(ls->shard);
        return;
    }
    ls->has_ticket = true;
    pool_checkout(ls->pool, &ls->ticket, ls->shard->now_us, &acts);
    perform(ls, &acts);
    shard_arm_tick(ls->shard);
}

static bool send_query(struct listen_server *ls, struct buf *sql)
{
    struct server *s = ls->server;
    struct buf b;

    buf_init(&b, 1 << 20);
    wire_put_query(&b, buf_cstr(sql));
    bool is_sent = !sql->failed && !b.failed && stream_send(&s->stream, b.data, b.len);
    buf_free(&b);
    ls->is_busy = true;
    ls->has_error = false;
    if (!is_sent)
        server_close(s, CLOSE_SERVER_CRASHED, NULL);
    return is_sent;
}

static void put_name(struct buf *sql, const char *command, const char *name)
{
    buf_append_str(sql, command);
    buf_append_byte(sql, '"');
    for (; *name != '\0'; name++) {
        if (*name == '"')
            buf_append_byte(sql, '"');
        buf_append_byte(sql, (uint8_t)*name);
    }
    buf_append_str(sql, "\";");
}

static void forget(struct listen_server *ls, struct heard *ch)
{
    list_del(&ch->node);
    HASH_DEL(ls->channels, ch);
    free(ch);
}

/* Nobody listens: the connection is not needed. */
static void end_if_unused(struct listen_server *ls)
{
    if (ls->channels != NULL || !ls->is_used)
        return;
    ls->is_used = ls->was_lost = false;
    if (ls->has_ticket)
        (void)pool_cancel(ls->pool, &ls->ticket, ls->shard->now_us);
    ls->has_ticket = false;
    if (ls->server != NULL)
        server_close(ls->server, CLOSE_LISTEN_ENDED, NULL);
}

/* What one changed channel asks for; false: nothing. */
static bool put_change(struct listen_server *ls, struct heard *ch, struct buf *sql)
{
    list_del(&ch->node);
    if (ch->workers != 0 && ch->state == HEARD_NOT) {
        ch->state = HEARD_ASKED_ON;
        put_name(sql, "LISTEN ", ch->name);
    } else if (ch->workers == 0 && ch->state == HEARD_STANDS) {
        ch->state = HEARD_ASKED_OFF;
        put_name(sql, "UNLISTEN ", ch->name);
    } else {
        if (ch->state == HEARD_STANDS && ch->waiting != 0) {
            add_name_news(ls, ch->waiting, LISTEN_NEWS_STANDS, ch->name);
            ch->waiting = 0;
        }
        if (ch->workers == 0 && ch->state == HEARD_NOT)
            forget(ls, ch);
        return false;
    }
    list_push_back(&ls->asked, &ch->node);
    return true;
}

/* Asks for what has changed, if nothing is under way. */
static void go_on(struct listen_server *ls)
{
    const uint32_t max = ls->is_singly ? 1 : MAX_CHANNELS_QUERY;
    struct list *node;
    struct buf sql;
    uint32_t n = 0;

    if (ls->server == NULL) {
        LIST_FOR_EACH_SAFE (it, &ls->changed)
            if (list_entry(it, struct heard, node)->workers == 0)
                forget(ls, list_entry(it, struct heard, node));
        end_if_unused(ls);
        want_server(ls);
        return;
    }
    if (ls->is_busy)
        return;
    buf_init(&sql, 1 << 20);
    while (n < max && (node = list_pop_front(&ls->changed)) != NULL)
        n += put_change(ls, list_entry(node, struct heard, node), &sql);
    if (n > 0) {
        (void)send_query(ls, &sql);
    } else {
        ls->is_singly = false;
        if (ls->was_lost && ls->channels != NULL)
            add_name_news(ls, all_workers(ls), LISTEN_NEWS_LOST, "");
        ls->was_lost = false;
    }
    buf_free(&sql);
    end_if_unused(ls);
}

/* ---- the connection comes and goes ---- */

static bool is_usable(const struct listen_server *ls)
{
    return ls != NULL && ls->server == NULL && ls->channels != NULL && !ls->shard->is_stopping;
}

static void take(struct listen_server *ls, struct server *s)
{
    struct buf sql;

    ls->server = s;
    s->listens = ls;
    notifiers_count_listening(ls->shard->instance->notifiers, 1);
    s->stream.ops = &listen_stream_ops;
    buf_init(&sql, 4096);
    buf_append_str(&sql, settings_sql);
    if (send_query(ls, &sql))
        server_log(s, LOG_LVL_DEBUG, "listens");
    buf_free(&sql);
}

void listen_server_link(struct shard *sh, struct pool *pool, struct slot *slot)
{
    struct listen_server *ls = find(sh, pool);
    struct pool_acts acts;

    if (ls != NULL)
        ls->has_ticket = false;
    bool is_used = is_usable(ls);
    pool_release(pool, slot, is_used ? CLOSE_NONE : CLOSE_LISTEN_ENDED, sh->now_us, &acts);
    shard_perform(sh, pool, &acts); /* IDLE: listen_server_idle() */
}

void listen_server_idle(struct shard *sh, struct pool *pool, struct slot *slot)
{
    struct listen_server *ls = find(sh, pool);
    struct server *s = slot->server;

    if (s->listens != NULL)
        return;
    if (is_usable(ls))
        take(ls, s);
    else
        server_close(s, CLOSE_LISTEN_ENDED, NULL);
}

struct ticket *listen_server_ticket(struct shard *sh, const struct pool *pool, const struct grant *grant)
{
    struct listen_server *ls = find(sh, pool);
    return ls != NULL && ls->has_ticket && ls->ticket.number == grant->number ? &ls->ticket : NULL;
}

/* Nothing stands any more. Asked for again as soon as there is a connection. */
static void all_lost(struct listen_server *ls)
{
    struct heard *ch, *next;

    HASH_ITER (hh, ls->channels, ch, next) {
        ls->was_lost = ls->was_lost || ch->state == HEARD_STANDS || ch->state == HEARD_ASKED_OFF;
        ch->state = HEARD_NOT;
        list_del(&ch->node);
        if (ch->workers == 0)
            forget(ls, ch);
        else
            list_push_back(&ls->changed, &ch->node);
    }
    ls->is_busy = ls->is_singly = false;
}

void listen_server_lost(struct server *s)
{
    struct listen_server *ls = s->listens;

    notifiers_count_listening(ls->shard->instance->notifiers, -1);
    s->listens = NULL;
    s->stream.ops = &server_stream_ops;
    buf_clear(&s->partial);
    ls->server = NULL;
    all_lost(ls);
    end_if_unused(ls);
    /* not now: the ledger has not heard of it yet */
    shard_arm_tick(ls->shard);
}

/* There is none to be had. Those who wait are told; who listened goes on hoping. */
void listen_server_failed(struct shard *sh, struct pool *pool, const struct grant *grant)
{
    struct listen_server *ls = find(sh, pool);
    char sqlstate[6], text[POOL_ERROR_BYTES];
    struct heard *ch, *next;
    uint64_t waiting = 0;
    struct buf b;

    if (ls == NULL || !ls->has_ticket || ls->ticket.number != grant->number)
        return;
    ls->has_ticket = false;
    ls->retry_us = sh->now_us + RETRY_US;
    HASH_ITER (hh, ls->channels, ch, next) {
        waiting |= ch->waiting;
        ch->workers &= ~ch->waiting;
        ch->waiting = 0;
        if (ch->workers == 0 && ch->state == HEARD_NOT)
            forget(ls, ch);
    }
    pool_last_error(pool, sqlstate, text, sizeof(text));
    buf_init(&b, 4096);
    uint32_t at = wire_begin(&b, LISTEN_NEWS_FAILED);
    wire_put_cstr(&b, sqlstate);
    wire_put_cstr(&b, text);
    wire_end(&b, at);
    if (!b.failed)
        add_news(ls, waiting, b.data, b.len);
    buf_free(&b);
    post_news(ls);
    end_if_unused(ls);
    shard_arm_tick(sh);
}

/* ---- what it says ---- */

static void take_notification(struct listen_server *ls, uint8_t *message, uint32_t len)
{
    struct wire_reader r;
    struct heard *ch;

    wire_reader_init(&r, message + WIRE_HEADER_BYTES, len - WIRE_HEADER_BYTES);
    const uint32_t pid = wire_read_u32(&r);
    const char *channel = wire_read_cstr(&r), *payload = wire_read_cstr(&r);
    if (!wire_reader_done(&r)) {
        server_log(ls->server, LOG_LVL_WARNING, "broken notification");
        return;
    }
    HASH_FIND_STR(ls->channels, channel, ch);
    if (ch == NULL)
        return;
    wire_set_u32(message + WIRE_HEADER_BYTES,
                 notifiers_find(ls->shard->instance->notifiers, ls->server->slot->endpoint, pid, channel,
                                payload, ls->shard->now_us));
    add_news(ls, ch->workers, message, len);
}

static void answer_one(struct listen_server *ls, struct heard *ch)
{
    if (ch->state == HEARD_ASKED_OFF) {
        ch->state = HEARD_NOT;
    } else if (!ls->has_error) {
        ch->state = HEARD_STANDS;
        add_name_news(ls, ch->waiting, LISTEN_NEWS_STANDS, ch->name);
        ch->waiting = 0;
    } else {
        ch->state = HEARD_NOT;
        if (!ls->is_singly)
            return;
        add_name_news(ls, ch->workers | ch->waiting, LISTEN_NEWS_REFUSED, ch->name);
        ch->workers = ch->waiting = 0;
    }
}

/* ReadyForQuery */
static void take_ready(struct listen_server *ls)
{
    struct list *node;

    ls->is_busy = false;
    if (ls->has_error && !list_is_empty(&ls->asked) && ls->asked.next->next == &ls->asked)
        ls->is_singly = true; /* there was one only: its error */
    while ((node = list_pop_front(&ls->asked)) != NULL) {
        struct heard *ch = list_entry(node, struct heard, node);
        if (ls->has_error && ch->state == HEARD_ASKED_OFF && !ls->is_singly)
            ch->state = HEARD_STANDS;
        else
            answer_one(ls, ch);
        list_push_back(&ls->changed, &ch->node);
    }
    ls->is_singly = ls->is_singly || ls->has_error;
    go_on(ls);
}

static void take_error(struct listen_server *ls, const uint8_t *body, uint32_t len_bytes)
{
    struct wire_error e;

    ls->has_error = true;
    if (wire_parse_error(body, len_bytes, &e))
        server_log(ls->server, LOG_LVL_WARNING, "while it listens, server said: %s: %s", e.severity,
                   e.message);
}

/* All whole messages. False: the server is not ours any more. */
static bool take_messages(struct server *s)
{
    struct listen_server *ls = s->listens;
    uint32_t at = 0;

    while (s->partial.len - at >= WIRE_HEADER_BYTES) {
        uint8_t *message = s->partial.data + at;
        uint32_t len = 1 + wire_u32(message + 1);
        if (len < WIRE_HEADER_BYTES || len > MAX_MESSAGE_BYTES) {
            server_close(s, CLOSE_PROTOCOL_SERVER, "bad length");
            return false;
        }
        if (s->partial.len - at < len)
            break;
        at += len;
        if (message[0] == 'A')
            take_notification(ls, message, len);
        else if (message[0] == 'E')
            take_error(ls, message + WIRE_HEADER_BYTES, len - WIRE_HEADER_BYTES);
        else if (message[0] == 'Z')
            take_ready(ls);
        if (s->listens != ls)
            return false;
    }
    buf_consume(&s->partial, at);
    if (s->partial.len == 0)
        buf_free(&s->partial);
    return true;
}

static void hear_on_read(struct stream *st)
{
    struct server *s = container_of(st, struct server, stream);
    struct listen_server *ls = s->listens;

    shard_touch(s->shard);
    do {
        int n = stream_recv(st, st->loop->read_buffer, LOOP_READ_BUFFER_BYTES);
        if (n == STREAM_AGAIN)
            break;
        if (n < 0) {
            server_close(s, CLOSE_SERVER_CRASHED, NULL);
            break;
        }
        buf_append(&s->partial, st->loop->read_buffer, (uint32_t)n);
        if (s->partial.failed) {
            server_close(s, CLOSE_NO_MEMORY, NULL);
            break;
        }
        if (!take_messages(s))
            break;
    } while (stream_has_unread(st));
    post_news(ls);
}

static void hear_on_drain(struct stream *st)
{
    (void)st;
}

static void hear_on_error(struct stream *st, int err)
{
    struct server *s = container_of(st, struct server, stream);
    (void)err;
    shard_touch(s->shard);
    server_close(s, CLOSE_SERVER_CRASHED, NULL);
}

static const struct stream_ops listen_stream_ops = {
    .on_read = hear_on_read,
    .on_drain = hear_on_drain,
    .on_error = hear_on_error,
};

/* ---- what the workers say ---- */

static struct listen_server *get(struct shard *sh, struct pool *pool)
{
    struct listen_server *ls = find(sh, pool);

    if (ls != NULL)
        return ls;
    ls = calloc(1, sizeof(*ls));
    if (ls == NULL)
        return NULL;
    ls->shard = sh;
    ls->pool = pool;
    ls->ticket.client = 1; /* found by its pool */
    ls->ticket.worker = sh->index;
    list_init(&ls->ticket.node);
    list_init(&ls->changed);
    list_init(&ls->asked);
    HASH_ADD_PTR(sh->listen_servers, pool, ls);
    if (ls->hh.tbl != NULL)
        return ls;
    free(ls);
    return NULL;
}

static struct heard *get_channel(struct listen_server *ls, const char *name)
{
    struct heard *ch;

    HASH_FIND_STR(ls->channels, name, ch);
    if (ch != NULL)
        return ch;
    ch = calloc(1, sizeof(*ch));
    if (ch == NULL)
        return NULL;
    str_copy(ch->name, name, sizeof(ch->name));
    list_init(&ch->node);
    HASH_ADD_STR(ls->channels, name, ch);
    if (ch->hh.tbl == NULL) {
        free(ch);
        return NULL;
    }
    ls->is_used = true;
    return ch;
}

void listen_on_mail(struct shard *sh, struct mail_listen *m)
{
    struct listen_server *ls = get(sh, m->pool);
    struct heard *ch = NULL;
    const uint64_t worker = (uint64_t)1 << m->worker;

    if (ls != NULL && m->is_wanted)
        ch = get_channel(ls, m->channel);
    else if (ls != NULL)
        HASH_FIND_STR(ls->channels, m->channel, ch);
    if (ch == NULL) {
        if (m->is_wanted)
            log_error("out of memory: nobody listens to a channel");
        free(m);
        return;
    }
    ch->workers = m->is_wanted ? ch->workers | worker : ch->workers & ~worker;
    ch->waiting = m->is_wanted ? ch->waiting | worker : ch->waiting & ~worker;
    if (!list_is_linked(&ch->node))
        list_push_back(&ls->changed, &ch->node);
    free(m);
    go_on(ls);
    post_news(ls);
}

/* ---- time, and the end ---- */

bool listen_servers_have_deadlines(const struct shard *sh)
{
    const struct listen_server *ls, *next;

    HASH_ITER (hh, sh->listen_servers, ls, next)
        if (ls->server == NULL && ls->channels != NULL)
            return true;
    return false;
}

void listen_servers_tick(struct shard *sh, int64_t now_us)
{
    struct listen_server *ls, *next;
    struct pool_acts acts;

    HASH_ITER (hh, sh->listen_servers, ls, next) {
        if (ls->server != NULL || ls->channels == NULL)
            continue;
        if (!ls->has_ticket) {
            want_server(ls);
            continue;
        }
        int64_t retry_us = atomic_load_explicit(&ls->pool->retry_hint_us, memory_order_relaxed);
        if (retry_us != 0 && now_us >= retry_us) {
            pool_pump(ls->pool, sh->index, now_us, &acts);
            perform(ls, &acts);
        }
    }
}

void listen_servers_stop(struct shard *sh)
{
    struct listen_server *ls, *next;

    HASH_ITER (hh, sh->listen_servers, ls, next) {
        if (ls->has_ticket)
            (void)pool_cancel(ls->pool, &ls->ticket, sh->now_us);
        ls->has_ticket = false;
    }
}

void listen_servers_destroy(struct shard *sh)
{
    struct listen_server *ls, *next;

    HASH_ITER (hh, sh->listen_servers, ls, next) {
        struct heard *ch, *next_ch;
        HASH_ITER (hh, ls->channels, ch, next_ch)
            forget(ls, ch);
        HASH_DEL(sh->listen_servers, ls);
        for (int w = 0; w < POOL_MAX_WORKERS; w++)
            if (ls->news[w] != NULL) {
                buf_free(ls->news[w]);
                free(ls->news[w]);
            }
        free(ls);
    }
}
