/*
 * tls_end_point.c - what ties a login to the TLS connection that carries it: tls-server-end-point of RFC
 * 5929.
 *
 * A hash of the server's certificate in this very connection: one that RELOAD has replaced meanwhile still
 * counts for those who were shown it. The hash is the one of the certificate's signature, and SHA-256 in
 * place of MD5 and SHA-1. A signature that has no hash function of its own (Ed25519, Ed448) leaves it
 * undefined; PostgreSQL and libpq end a login then that was to be bound, and we do not offer to bind it.
 *
 * Threads: the stream's owner.
 */
#include <openssl/err.h>
#include <openssl/objects.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <string.h>

#include "stream_tls_int.h"

_Static_assert(STREAM_END_POINT_MAX_BYTES >= EVP_MAX_MD_SIZE, "every hash has room");

/* RSA-PSS names its hash in its parameters, so the name of the algorithm alone would not do. */
static const EVP_MD *hash_of(X509 *cert)
{
    int hash;

    if (X509_get_signature_info(cert, &hash, NULL, NULL, NULL) != 1)
        return NULL;
    return hash == NID_md5 || hash == NID_sha1 ? EVP_sha256() : EVP_get_digestbynid(hash);
}

uint32_t tls_end_point(X509 *cert, uint8_t *out)
{
    const EVP_MD *hash = cert != NULL ? hash_of(cert) : NULL;
    unsigned len = 0;

    if (hash == NULL || X509_digest(cert, hash, out, &len) != 1)
        len = 0;
    ERR_clear_error();
    return len;
}

uint32_t stream_tls_end_point(const struct stream *s, uint8_t *out)
{
    const struct tls_handshake *result = s->tls != NULL ? s->tls->result : NULL;
    SSL *ssl = s->tls != NULL ? s->tls->ssl : NULL;

    if (result != NULL)
        return tls_end_point(result->own, out);
    if (ssl == NULL || SSL_in_init(ssl))
        return 0;
    if (SSL_is_server(ssl))
        return tls_end_point(SSL_get_certificate(ssl), out);
    X509 *cert = SSL_get_peer_certificate(ssl);
    uint32_t len = tls_end_point(cert, out);
    X509_free(cert);
    return len;
}
