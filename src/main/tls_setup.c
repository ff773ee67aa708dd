/*
 * tls_setup.c - TLS contexts from the settings.
 *
 * Threads: boot and control thread (reads files).
 */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "main_int.h"

static enum tls_verify verify_servers(int sslmode)
{
    return sslmode == SSLMODE_VERIFY_FULL ? TLS_VERIFY_FULL
           : sslmode == SSLMODE_VERIFY_CA ? TLS_VERIFY_CA
                                          : TLS_VERIFY_NONE;
}

static const char *or_else(const char *own, const char *common)
{
    return own != NULL ? own : common;
}

static bool is_word(const char *text, const char *word)
{
    return text == NULL || *text == '\0' || strcmp(text, word) == 0;
}

/* Words that are out of use while there is no TLS: a mistake in them is told before they are needed. The
 * files may come later. */
static bool check_words(const struct tls_options *o, char *err, size_t err_size)
{
    struct tls_options words = *o;
    struct tls_context *context;
    struct tls_maker m;

    if (is_word(o->protocols, "secure") && is_word(o->ciphers, "default") && is_word(o->tls13_ciphers, "") &&
        is_word(o->dheparams, "auto") && is_word(o->ecdhcurve, "auto"))
        return true;
    words.verify = TLS_VERIFY_NONE;
    words.ca_file = words.cert_file = words.key_file = NULL;
    tls_maker_init(&m);
    context = tls_maker_get(&m, &words, err, err_size);
    tls_context_unref(context);
    tls_maker_free(&m);
    return context != NULL;
}

/* As for all databases (db is NULL), or with what the line of a database says. */
static bool setup_server(const struct settings *s, const struct database_config *db, struct tls_maker *m,
                         struct server_tls *out, struct buf *error)
{
    static const struct database_config none = {.sslmode = -1, .channel_binding = -1};
    const struct database_config *d = db != NULL ? db : &none;
    char text[512] = "";

    out->sslmode = d->sslmode >= 0 ? d->sslmode : s->server_tls_sslmode;
    out->channel_binding = d->channel_binding >= 0 ? d->channel_binding : s->server_tls_channel_binding;
    out->is_direct = d->sslnegotiation == SSLNEGOTIATION_DIRECT;
    struct tls_options o = {
        .side = TLS_CLIENT,
        .verify = verify_servers(out->sslmode),
        .needs_alpn = out->is_direct,
        .ca_file = or_else(d->sslrootcert, s->server_tls_ca_file),
        .cert_file = or_else(d->sslcert, s->server_tls_cert_file),
        .key_file = or_else(d->sslkey, s->server_tls_key_file),
        .protocols = s->server_tls_protocols,
        .ciphers = s->server_tls_ciphers,
        .tls13_ciphers = s->server_tls13_ciphers,
    };
    if (out->is_direct && out->sslmode < SSLMODE_REQUIRE) /* as libpq: nothing could be fallen back to */
        snprintf(text, sizeof(text), "sslnegotiation=direct needs sslmode require, verify-ca or verify-full");
    else if (out->sslmode != SSLMODE_DISABLE)
        out->context = tls_maker_get(m, &o, text, sizeof(text));
    else if (check_words(&o, text, sizeof(text)))
        return true;
    if (out->context == NULL && db != NULL)
        buf_printf(error, "%s:%d: database %s: server_tls: %s", db->file, db->line, db->name, text);
    else if (out->context == NULL)
        buf_printf(error, "server_tls: %s", text);
    return out->context != NULL;
}

static bool setup_servers(const struct config *cfg, struct tls_maker *m, struct session_tls *out,
                          struct buf *error)
{
    const struct settings *s = config_settings(cfg);
    struct server_tls common = {0};
    bool ok = setup_server(s, NULL, m, &common, error);

    out->n_servers = config_database_count(cfg);
    out->servers = xcalloc(out->n_servers + 1, sizeof(*out->servers));
    for (size_t i = 0; ok && i < out->n_servers; i++) {
        const struct database_config *db = config_database_at(cfg, i);
        bool is_plain = db->sslmode < 0 && db->sslnegotiation == SSLNEGOTIATION_POSTGRES &&
                        db->channel_binding < 0 && db->sslrootcert == NULL && db->sslcert == NULL &&
                        db->sslkey == NULL;
        if (!is_plain) {
            ok = setup_server(s, db, m, &out->servers[i], error);
            continue;
        }
        out->servers[i] = common;
        tls_context_ref(common.context);
    }
    tls_context_unref(common.context);
    return ok;
}

/* What the kernel encrypts is what we encrypt otherwise, not OpenSSL. */
static bool wants_kernel(const struct settings *s)
{
    return s->client_tls_sslmode != SSLMODE_DISABLE && s->client_tls_compact != 0 &&
           s->client_tls_kernel != 0;
}

static bool setup_client(const struct settings *s, struct tls_maker *m, struct tls_context **out,
                         struct buf *error)
{
    char text[512] = "";
    struct tls_options o = {
        .side = TLS_SERVER,
        .is_compact = s->client_tls_compact != 0,
        .is_in_kernel = wants_kernel(s) && tls_kernel_is_there(),
        .verify = s->client_tls_sslmode >= SSLMODE_VERIFY_CA ? TLS_VERIFY_CA : TLS_VERIFY_OPTIONAL,
        .ca_file = s->client_tls_ca_file,
        .cert_file = s->client_tls_cert_file,
        .key_file = s->client_tls_key_file,
        .protocols = s->client_tls_protocols,
        .ciphers = s->client_tls_ciphers,
        .tls13_ciphers = s->client_tls13_ciphers,
        .dheparams = s->client_tls_dheparams,
        .ecdhcurve = s->client_tls_ecdhcurve,
    };

    if (s->client_tls_sslmode == SSLMODE_DISABLE) {
        if (check_words(&o, text, sizeof(text)))
            return true;
        buf_printf(error, "client_tls: %s", text);
        return false;
    }
    if (*s->client_tls_key_file == '\0' || *s->client_tls_cert_file == '\0') {
        buf_printf(error, "To allow TLS connections from clients, client_tls_key_file and "
                          "client_tls_cert_file must be set.");
        return false;
    }
    *out = tls_maker_get(m, &o, text, sizeof(text));
    if (*out == NULL)
        buf_printf(error, "client_tls: %s", text);
    else if (o.is_in_kernel)
        log_info("client_tls_kernel: the kernel has TLS, for what clients are sent");
    else if (wants_kernel(s))
        log_warning("client_tls_kernel: the kernel has no TLS (is its module tls loaded?): pgsluice encrypts "
                    "as ever");
    return *out != NULL;
}

bool tls_setup(const struct config *cfg, const struct session_tls *before, struct session_tls *out,
               struct buf *error)
{
    struct tls_maker m;

    *out = (struct session_tls){0};
    tls_maker_init(&m);
    if (before != NULL)
        tls_maker_know(&m, before->client);
    for (size_t i = 0; before != NULL && i < before->n_servers; i++)
        tls_maker_know(&m, before->servers[i].context);
    bool ok =
        setup_servers(cfg, &m, out, error) && setup_client(config_settings(cfg), &m, &out->client, error);
    tls_maker_free(&m);
    if (!ok)
        session_tls_unref(out);
    return ok;
}
