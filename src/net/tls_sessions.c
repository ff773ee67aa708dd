/*
 * tls_sessions.c - what servers have given us to make the next handshake a short one.
 *
 * One small table per context, of the last session with each server, by the name that the certificate was
 * checked for. A session of TLS 1.3 is used once, as the standard asks, so that connections cannot be told to
 * be of one client.
 *
 * Threads: any; the table has a leaf lock, under which nothing is allocated, freed or copied but names.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/lock.h"
#include "base/mem.h"
#include "base/str.h"
#include "tls_int.h"

#define MAX_SESSIONS 32 /* servers; of more, those that were used longest ago make full handshakes */

struct tls_sessions {
    struct lock lock;
    /* [lock] */
    unsigned next; /* to be overwritten */
    struct {
        char server[TLS_SERVER_NAME_BYTES];
        SSL_SESSION *session; /* NULL: free */
    } slots[MAX_SESSIONS];
};

struct tls_sessions *tls_sessions_new(void)
{
    struct tls_sessions *t = xcalloc(1, sizeof(*t));
    lock_init(&t->lock, LOCK_RANK_LEAF);
    return t;
}

void tls_sessions_free(struct tls_sessions *t)
{
    if (t == NULL)
        return;
    for (int i = 0; i < MAX_SESSIONS; i++)
        SSL_SESSION_free(t->slots[i].session);
    lock_destroy(&t->lock);
    free(t);
}

static int find(const struct tls_sessions *t, const char *server)
{
    for (int i = 0; i < MAX_SESSIONS; i++)
        if (t->slots[i].session != NULL && strcmp(t->slots[i].server, server) == 0)
            return i;
    return -1;
}

void tls_sessions_put(struct tls_sessions *t, const char *server, SSL_SESSION *session)
{
    lock_acquire(&t->lock);
    int i = find(t, server);
    if (i < 0) {
        i = (int)(t->next++ % MAX_SESSIONS);
        str_copy(t->slots[i].server, server, sizeof(t->slots[i].server));
    }
    SSL_SESSION *old = t->slots[i].session;
    t->slots[i].session = session;
    lock_release(&t->lock);
    SSL_SESSION_free(old);
}

SSL_SESSION *tls_sessions_take(struct tls_sessions *t, const char *server)
{
    SSL_SESSION *session = NULL;

    lock_acquire(&t->lock);
    int i = find(t, server);
    if (i >= 0) {
        session = t->slots[i].session;
        t->slots[i].session = NULL;
    }
    lock_release(&t->lock);
    return session;
}
