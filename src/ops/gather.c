/*
 * gather.c - what workers tell of their sessions and memory, for SHOW CLIENTS and the like.
 *
 * Each worker gets a mail and sends it back with its rows; when the last has come
 * the command that waits goes on. A session may go in between: the gathering
 * then stays until all mails are back, and nobody looks at them. A worker that
 * does not answer makes the command fail, not hang.
 *
 * Threads: the control thread only.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "ops_int.h"

#define GATHER_TIMEOUT_US (10 * USEC_PER_SEC)

static void mail_gather_free(struct mail_gather *m)
{
    if (m == NULL)
        return;
    free(m->rows);
    free(m->pins);
    free(m->listeners);
    free(m);
}

void gather_free(struct gathering *g)
{
    list_del(&g->node);
    for (int i = 0; i < POOL_MAX_WORKERS; i++)
        mail_gather_free(g->answers[i]);
    free(g);
}

bool gather_start(struct session *s, unsigned kinds)
{
    struct console *c = s->console;
    int n = c->hooks.instance->n_workers;
    struct mail_gather *mails[POOL_MAX_WORKERS];
    struct gathering *g = calloc(1, sizeof(*g));

    if (g == NULL)
        return false;
    for (int i = 0; i < n; i++) {
        mails[i] = calloc(1, sizeof(*mails[i]));
        if (mails[i] == NULL) {
            while (i-- > 0)
                free(mails[i]);
            free(g);
            return false;
        }
        mails[i]->mail.type = MAIL_GATHER;
        mails[i]->kinds = kinds;
        mails[i]->worker = (uint8_t)i;
        mails[i]->request = c->next_gathering + 1;
    }
    g->session = s;
    g->number = ++c->next_gathering;
    g->started_us = console_now(c);
    g->outstanding = n;
    list_push_back(&c->gatherings, &g->node);
    s->gathering = g;
    s->wait = WAIT_GATHER;
    for (int i = 0; i < n; i++)
        c->hooks.gather(c->hooks.arg, mails[i]);
    return true;
}

void gather_abandon(struct session *s)
{
    struct gathering *g = s->gathering;

    if (g == NULL)
        return;
    s->gathering = NULL;
    g->session = NULL;
    if (g->outstanding == 0)
        gather_free(g);
}

void relation_fill(const struct relation *relation, struct console *c, struct result *r,
                   const struct gathering *g)
{
    if (relation->fill_gathered == NULL) {
        relation->fill(c, r);
        return;
    }
    relation->fill_gathered(c, r, g->answers, c->hooks.instance->n_workers);
}

/* Writes the rows, or why there are none, and lets the session go on. */
static void gather_finish(struct gathering *g)
{
    struct session *s = g->session;
    enum command_outcome outcome = COMMAND_FAILED;

    if (g->outstanding == 0 && !g->is_incomplete && s->select != NULL) {
        select_gathered(s, g);
        return;
    }
    if (s->select != NULL)
        select_abandon(s);
    if (g->outstanding > 0) {
        session_error(s, "57014", "a worker does not answer", NULL, NULL);
    } else if (g->is_incomplete) {
        session_error(s, "53200", "out of memory", NULL, NULL);
    } else {
        result_begin(&s->result);
        relation_fill(s->gathers_for, s->console, &s->result, g);
        outcome = COMMAND_DONE;
    }
    gather_abandon(s);
    session_finish(s, outcome);
}

void console_on_gathered(struct console *c, struct mail_gather *m)
{
    struct gathering *g = NULL;

    LIST_FOR_EACH (it, &c->gatherings) {
        if (list_entry(it, struct gathering, node)->number == m->request)
            g = list_entry(it, struct gathering, node);
    }
    if (g == NULL || m->worker >= POOL_MAX_WORKERS || g->answers[m->worker] != NULL) {
        mail_gather_free(m);
        return;
    }
    g->answers[m->worker] = m;
    if ((m->rows == NULL && m->n_rows > 0) || (m->listeners == NULL && m->n_listeners > 0))
        g->is_incomplete = true;
    if (--g->outstanding > 0)
        return;
    if (g->session != NULL)
        gather_finish(g);
    else
        gather_free(g);
}

void gather_tick(struct console *c, int64_t now_us)
{
    LIST_FOR_EACH_SAFE (it, &c->gatherings) {
        struct gathering *g = list_entry(it, struct gathering, node);

        if (g->session != NULL && now_us - g->started_us > GATHER_TIMEOUT_US)
            gather_finish(g);
    }
}
