/*
 * session_config.c - the settings in force with what was made from them.
 *
 * Keys of SCRAM for users whose password is stored in plain text are derived here, once,
 * and not at each login: that would cost the worker milliseconds, and the time it takes would tell
 * who is in the user list.
 *
 * Threads: made on the control thread, then immutable; the reference count is atomic.
 */
#include <stdlib.h>
#include <string.h>

#include <uthash.h>

#include "auth/hba.h"
#include "auth/scram.h"
#include "base/mem.h"
#include "base/secret.h"
#include "config/login_rules.h"
#include "session/peer.h"
#include "session_int.h"

#define MAX_DERIVED 500 /* users beyond this are derived when they log in */

struct derived {
    const struct user_config *user; /* key; lives as long as the snapshot */
    struct scram_secret secret;
    UT_hash_handle hh;
};

/* The keys that a login of this user would derive, from the snapshot before when nothing has changed. */
static bool derive(const struct user_config *user, uint32_t iterations, const uint8_t *process_secret,
                   const struct session_config *before, struct scram_secret *out)
{
    struct scram_server_params p = {
        .mechanism = SCRAM_SHA_256,
        .user = user->name,
        .credential = user->credential,
        .iterations = iterations,
        .process_secret = process_secret,
    };
    const struct user_config *old = before != NULL ? config_find_user(before->config, user->name) : NULL;

    if (old != NULL && old->credential != NULL && old->credential->kind == CREDENTIAL_PLAIN &&
        strcmp(old->credential->secret, user->credential->secret) == 0)
        p.derived = session_config_derived(before, old);
    struct scram_server *s = scram_server_new(&p);
    const struct scram_secret *secret = s != NULL ? scram_server_secret(s) : NULL;
    if (secret != NULL)
        *out = *secret;
    scram_server_free(s);
    return secret != NULL;
}

static void derive_all(struct session_config *c, const uint8_t *process_secret,
                       const struct session_config *before)
{
    const struct settings *set = config_settings(c->config);
    int n = 0;

    const struct hba *hba = config_hba(c->config);

    if (set->auth_type != AUTH_TYPE_SCRAM_SHA_256 && (hba == NULL || !hba_has_method(hba, HBA_SCRAM)))
        return;
    for (size_t i = 0; i < config_user_count(c->config) && n < MAX_DERIVED; i++) {
        const struct user_config *user = config_user_at(c->config, i);
        if (user->credential == NULL || user->credential->kind != CREDENTIAL_PLAIN)
            continue;
        struct derived *d = xcalloc(1, sizeof(*d));
        d->user = user;
        if (!derive(user, (uint32_t)set->scram_iterations, process_secret, before, &d->secret)) {
            free(d);
            continue;
        }
        HASH_ADD_PTR(c->derived, user, d);
        n++;
    }
}

struct session_tls session_tls_ref(const struct session_tls *tls)
{
    struct session_tls copy = {
        .client = tls_context_ref(tls->client),
        .servers = xcalloc(tls->n_servers + 1, sizeof(*copy.servers)),
        .n_servers = tls->n_servers,
    };

    for (size_t i = 0; i < tls->n_servers; i++) {
        copy.servers[i] = tls->servers[i];
        tls_context_ref(copy.servers[i].context);
    }
    return copy;
}

void session_tls_unref(struct session_tls *tls)
{
    tls_context_unref(tls->client);
    for (size_t i = 0; i < tls->n_servers; i++)
        tls_context_unref(tls->servers[i].context);
    free(tls->servers);
    *tls = (struct session_tls){0};
}

const struct server_tls *session_config_server_tls(const struct session_config *c,
                                                   const struct database_config *db)
{
    return &c->tls.servers[config_database_index(c->config, db)];
}

struct session_config *session_config_new(const struct config *config, const struct session_tls *tls,
                                          const uint8_t *process_secret, const struct session_config *before)
{
    struct session_config *c = xcalloc(1, sizeof(*c));
    c->config = config;
    c->tls = *tls;
    atomic_init(&c->refs, 1);
    for (size_t i = 0; i < config_user_count(config) && !c->has_scram_secrets; i++) {
        const struct credential *cred = config_user_at(config, i)->credential;
        c->has_scram_secrets = cred != NULL && cred->kind == CREDENTIAL_SCRAM;
    }
    derive_all(c, process_secret, before);
    c->peers = peers_new(config, before);
    return c;
}

const struct scram_secret *session_config_derived(const struct session_config *c,
                                                  const struct user_config *user)
{
    struct derived *d = NULL;
    if (user != NULL)
        HASH_FIND_PTR(c->derived, &user, d);
    return d != NULL ? &d->secret : NULL;
}

struct session_config *session_config_ref(struct session_config *c)
{
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

void session_config_unref(struct session_config *c)
{
    struct derived *d, *next;

    if (c == NULL || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
        return;
    HASH_ITER (hh, c->derived, d, next) {
        HASH_DEL(c->derived, d);
        secret_wipe(&d->secret, sizeof(d->secret));
        free(d);
    }
    peers_free(c->peers, c->config);
    config_unref(c->config);
    session_tls_unref(&c->tls);
    free(c);
}
