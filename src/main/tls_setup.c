/*
 * tls_setup.c - TLS contexts from the settings.
 *
 * Threads: boot and control thread (reads files).
 */
#include "main_int.h"

bool tls_setup(const struct settings *s, struct tls_context **out, struct buf *error)
{
    char text[512] = "";
    struct tls_client_options o = {
        .verify = s->server_tls_sslmode == SSLMODE_VERIFY_FULL ? TLS_VERIFY_FULL
                  : s->server_tls_sslmode == SSLMODE_VERIFY_CA ? TLS_VERIFY_CA
                                                               : TLS_VERIFY_NONE,
        .ca_file = s->server_tls_ca_file,
        .cert_file = s->server_tls_cert_file,
        .key_file = s->server_tls_key_file,
        .protocols = s->server_tls_protocols,
        .ciphers = s->server_tls_ciphers,
        .tls13_ciphers = s->server_tls13_ciphers,
    };

    *out = NULL;
    if (s->server_tls_sslmode == SSLMODE_DISABLE)
        return true;
    *out = tls_client_context_new(&o, text, sizeof(text));
    if (*out == NULL)
        buf_printf(error, "server_tls: %s", text);
    return *out != NULL;
}
