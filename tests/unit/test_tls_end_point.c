/*
 * test_tls_end_point.c - which hash of a certificate a login is bound to.
 */
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "net/stream.h"
#include "tls_int.h"

static EVP_PKEY *rsa; /* one for all: to make it takes long */

static EVP_PKEY *key_new(const char *type)
{
    if (strcmp(type, "RSA") == 0) {
        if (rsa == NULL)
            rsa = EVP_RSA_gen(2048);
        assert_int_equal(EVP_PKEY_up_ref(rsa), 1);
        return rsa;
    }
    if (strcmp(type, "EC") == 0)
        return EVP_EC_gen("P-384");
    return EVP_PKEY_Q_keygen(NULL, NULL, type);
}

/* pss: the padding of RSA-PSS. md NULL: of a kind of key that needs none. */
static X509 *cert_new(const char *type, const char *md, bool pss)
{
    EVP_PKEY *key = key_new(type);
    X509 *cert = X509_new();
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *pkey_ctx;

    assert_non_null(key);
    X509_gmtime_adj(X509_getm_notBefore(cert), 0);
    X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
    X509_set_pubkey(cert, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
                               (const unsigned char *)"localhost", -1, -1, 0);
    X509_set_issuer_name(cert, X509_get_subject_name(cert));
    assert_int_equal(
        EVP_DigestSignInit(ctx, &pkey_ctx, md != NULL ? EVP_get_digestbyname(md) : NULL, NULL, key), 1);
    if (pss)
        assert_true(EVP_PKEY_CTX_set_rsa_padding(pkey_ctx, RSA_PKCS1_PSS_PADDING) > 0);
    assert_true(X509_sign_ctx(cert, ctx) > 0);
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(key);
    return cert;
}

static void test_hashes(void **state)
{
    static const struct {
        const char *type;
        const char *md;
        bool pss;
        const char *expected; /* NULL: there is none */
    } rows[] = {
        {"RSA", "MD5", false, "SHA256"},    {"RSA", "SHA1", false, "SHA256"},
        {"RSA", "SHA224", false, "SHA224"}, {"RSA", "SHA256", false, "SHA256"},
        {"RSA", "SHA384", false, "SHA384"}, {"RSA", "SHA512", false, "SHA512"},
        {"RSA", "SHA1", true, "SHA256"},    {"RSA", "SHA256", true, "SHA256"},
        {"RSA", "SHA512", true, "SHA512"},  {"EC", "SHA1", false, "SHA256"},
        {"EC", "SHA256", false, "SHA256"},  {"EC", "SHA512", false, "SHA512"},
        {"ED25519", NULL, false, NULL},     {"ED448", NULL, false, NULL},
    };
    uint8_t got[STREAM_END_POINT_MAX_BYTES], expected[EVP_MAX_MD_SIZE];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        X509 *cert = cert_new(rows[i].type, rows[i].md, rows[i].pss);
        unsigned char *der = NULL;
        int der_len = i2d_X509(cert, &der);
        unsigned expected_len = 0;
        if (rows[i].expected != NULL)
            EVP_Digest(der, (size_t)der_len, expected, &expected_len, EVP_get_digestbyname(rows[i].expected),
                       NULL);
        assert_int_equal(tls_end_point(cert, got), expected_len);
        assert_memory_equal(got, expected, expected_len);
        OPENSSL_free(der);
        X509_free(cert);
    }
    assert_int_equal(tls_end_point(NULL, got), 0);
    EVP_PKEY_free(rsa);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
