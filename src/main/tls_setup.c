/*
 * tls_setup.c - TLS contexts from the settings.
 *
 * Threads: boot and control thread (reads files).
 */
#include "main_int.h"

/* In clear, or TLS with the certificates that are asked for. */
static enum tls_verify verify_servers(int sslmode)
{
    return sslmode == SSLMODE_VERIFY_FULL ? TLS_VERIFY_FULL
           : sslmode == SSLMODE_VERIFY_CA ? TLS_VERIFY_CA
                                          : TLS_VERIFY_NONE;
}

static bool setup_server(const struct settings *s, struct tls_maker *m, struct tls_context **out,
                         struct buf *error)
{
    char text[512] = "";
    struct tls_options o = {
        .side = TLS_CLIENT,
        .verify = verify_servers(s->server_tls_sslmode),
        .ca_file = s->server_tls_ca_file,
        .cert_file = s->server_tls_cert_file,
        .key_file = s->server_tls_key_file,
        .protocols = s->server_tls_protocols,
        .ciphers = s->server_tls_ciphers,
        .tls13_ciphers = s->server_tls13_ciphers,
    };

    if (s->server_tls_sslmode == SSLMODE_DISABLE)
        return true;
    *out = tls_maker_get(m, &o, text, sizeof(text));
    if (*out == NULL)
        buf_printf(error, "server_tls: %s", text);
    return *out != NULL;
}

static bool setup_client(const struct settings *s, struct tls_maker *m, struct tls_context **out,
                         struct buf *error)
{
    char text[512] = "";
    struct tls_options o = {
        .side = TLS_SERVER,
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

    if (s->client_tls_sslmode == SSLMODE_DISABLE)
        return true;
    if (*s->client_tls_key_file == '\0' || *s->client_tls_cert_file == '\0') {
        buf_printf(error, "To allow TLS connections from clients, client_tls_key_file and "
                          "client_tls_cert_file must be set.");
        return false;
    }
    *out = tls_maker_get(m, &o, text, sizeof(text));
    if (*out == NULL)
        buf_printf(error, "client_tls: %s", text);
    return *out != NULL;
}

bool tls_setup(const struct settings *s, const struct session_tls *before, struct session_tls *out,
               struct buf *error)
{
    struct tls_maker m;

    *out = (struct session_tls){0};
    tls_maker_init(&m);
    if (before != NULL) {
        tls_maker_know(&m, before->client);
        tls_maker_know(&m, before->server);
    }
    bool ok = setup_server(s, &m, &out->server, error) && setup_client(s, &m, &out->client, error);
    tls_maker_free(&m);
    if (!ok)
        session_tls_unref(out);
    return ok;
}
