/*
 * tls.c - TLS contexts: files and words to an SSL_CTX.
 *
 * Each file is read once for a context: what its digest says is what OpenSSL gets, even if the file is
 * replaced meanwhile.
 *
 * Threads: made on one thread; then immutable, and shared by reference count.
 * Not here: connections (stream_tls.c), words (tls_words.c).
 */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/secret.h"
#include "base/str.h"
#include "stream_tls_int.h"
#include "tls_int.h"

#define MAX_FILE_BYTES (16u << 20)
#define ALPN_PROTOCOL  "\012postgresql" /* its length, its name */

/* What the files say. */
struct contents {
    struct buf ca, cert, key;
};

/* --- errors --- */

/* Writes "what: reason of OpenSSL" and returns false. */
static bool fail(char *err, size_t err_size, const char *what, const char *file)
{
    char reason[200] = "unknown error";
    unsigned long code = ERR_peek_last_error();
    if (code != 0) {
        const char *text = ERR_reason_error_string(code);
        if (text != NULL)
            snprintf(reason, sizeof(reason), "%s", text);
        else
            ERR_error_string_n(code, reason, sizeof(reason));
    }
    ERR_clear_error();
    snprintf(err, err_size, "%s \"%s\": %s", what, file, reason);
    return false;
}

/* --- files --- */

static bool file_read(const char *path, struct buf *out, const char *what, char *err, size_t err_size)
{
    char chunk[8192];
    size_t n;

    if (!tls_is_set(path))
        return true;
    FILE *f = fopen(path, "re");
    struct stat st;
    /* at once, so that no copy of a key is left where it has grown */
    if (f != NULL && fstat(fileno(f), &st) == 0 && st.st_size > 0 && st.st_size < MAX_FILE_BYTES)
        (void)buf_reserve(out, (uint32_t)st.st_size + 1);
    while (f != NULL && !out->failed && (n = fread(chunk, 1, sizeof(chunk), f)) > 0)
        buf_append(out, chunk, (uint32_t)n);
    bool ok = f != NULL && !ferror(f) && !out->failed;
    if (!ok)
        snprintf(err, err_size, "could not load %s \"%s\": %s", what, path,
                 out->failed ? "too large" : strerror(errno));
    if (f != NULL)
        fclose(f);
    secret_wipe(chunk, sizeof(chunk));
    return ok;
}

static const char *key_path(const struct tls_options *o)
{
    return tls_is_set(o->key_file) ? o->key_file : o->cert_file;
}

static bool contents_read(struct contents *c, const struct tls_options *o, char *err, size_t err_size)
{
    buf_init(&c->ca, MAX_FILE_BYTES);
    buf_init(&c->cert, MAX_FILE_BYTES);
    buf_init(&c->key, MAX_FILE_BYTES);
    return (o->verify == TLS_VERIFY_NONE || file_read(o->ca_file, &c->ca, "CA file", err, err_size)) &&
           file_read(o->cert_file, &c->cert, "certificate file", err, err_size) &&
           file_read(key_path(o), &c->key, "key file", err, err_size);
}

static void contents_free(struct contents *c)
{
    secret_wipe(c->cert.data, c->cert.capacity); /* may hold the key, too */
    secret_wipe(c->key.data, c->key.capacity);
    buf_free(&c->ca);
    buf_free(&c->cert);
    buf_free(&c->key);
}

/* Of all that makes a context what it is. */
static void digest_all(const struct tls_options *o, const struct contents *c, uint8_t *out)
{
    const char *const words[] = {o->ca_file, o->cert_file,     o->key_file,  o->protocols,
                                 o->ciphers, o->tls13_ciphers, o->dheparams, o->ecdhcurve};
    const struct buf *const files[] = {&c->ca, &c->cert, &c->key};
    struct buf all;

    buf_init(&all, 0);
    buf_printf(&all, "%d %d %d %d %d\n", o->side, o->verify, o->needs_alpn, o->is_compact, o->is_in_kernel);
    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        buf_printf(&all, "%s\n", words[i] != NULL ? words[i] : "");
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        buf_printf(&all, "%u\n", files[i]->len);
        buf_append(&all, files[i]->data, files[i]->len);
    }
    SHA256(all.data, all.len, out);
    secret_wipe(all.data, all.capacity);
    buf_free(&all);
}

static BIO *bio_of(const struct buf *b)
{
    return BIO_new_mem_buf(b->len > 0 ? (const void *)b->data : "", (int)b->len);
}

/* --- authorities --- */

/* All certificates and revocation lists of a CA file. NULL: there is none in it, or something is wrong. */
static X509_STORE *authorities_parse(const struct buf *pem)
{
    X509_STORE *store = X509_STORE_new();
    BIO *bio = bio_of(pem);
    STACK_OF(X509_INFO) *all = bio != NULL ? PEM_X509_INFO_read_bio(bio, NULL, NULL, NULL) : NULL;
    int n = 0;
    bool ok = store != NULL && all != NULL;

    for (int i = 0; ok && i < sk_X509_INFO_num(all); i++) {
        const X509_INFO *info = sk_X509_INFO_value(all, i);
        if (info->x509 != NULL) {
            ok = X509_STORE_add_cert(store, info->x509) == 1;
            n++;
        }
        if (ok && info->crl != NULL)
            ok = X509_STORE_add_crl(store, info->crl) == 1;
    }
    sk_X509_INFO_pop_free(all, X509_INFO_free);
    BIO_free(bio);
    if (ok && n > 0)
        return store;
    X509_STORE_free(store);
    return NULL;
}

static X509_STORE *authorities_of_system(void)
{
    X509_STORE *store = X509_STORE_new();
    if (store != NULL && X509_STORE_set_default_paths(store) == 1)
        return store;
    X509_STORE_free(store);
    return NULL;
}

/* The names that a server tells, so that a client knows which of its certificates to show. */
static bool announce_authorities(SSL_CTX *ctx, X509_STORE *store)
{
    STACK_OF(X509_OBJECT) *objects = X509_STORE_get0_objects(store);

    for (int i = 0; i < sk_X509_OBJECT_num(objects); i++) {
        X509 *cert = X509_OBJECT_get0_X509(sk_X509_OBJECT_value(objects, i));
        if (cert != NULL && SSL_CTX_add_client_CA(ctx, cert) != 1)
            return false;
    }
    return true;
}

/* A certificate that does not hold is no reason to refuse the connection: what OpenSSL has found out about it
 * stays in the connection, for whoever asks. */
static int optional_verify_cb(X509_STORE_CTX *store, void *arg)
{
    (void)arg;
    (void)X509_verify_cert(store);
    ERR_clear_error();
    return 1;
}

static bool authorities_apply(struct tls_context *c, const struct tls_maker *m, const struct tls_options *o,
                              const struct buf *pem, char *err, size_t err_size)
{
    bool is_server = o->side == TLS_SERVER;
    bool is_optional = o->verify == TLS_VERIFY_OPTIONAL;
    int mode = SSL_VERIFY_PEER | (is_server && !is_optional ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0);

    if (o->verify == TLS_VERIFY_NONE || (is_optional && !tls_is_set(o->ca_file))) {
        SSL_CTX_set_verify(c->ctx, SSL_VERIFY_NONE, NULL);
        return true;
    }
    if (is_server && !tls_is_set(o->ca_file)) {
        snprintf(err, err_size, "certificates of clients cannot be verified without a CA file");
        return false;
    }
    SHA256(pem->data, pem->len, c->ca_digest);
    for (size_t i = 0; i < m->n_known && c->authorities == NULL; i++) {
        X509_STORE *store = m->known[i]->authorities;
        if (store != NULL && memcmp(m->known[i]->ca_digest, c->ca_digest, sizeof(c->ca_digest)) == 0 &&
            X509_STORE_up_ref(store) == 1)
            c->authorities = store;
    }
    if (c->authorities == NULL)
        c->authorities = tls_is_set(o->ca_file) ? authorities_parse(pem) : authorities_of_system();
    if (c->authorities == NULL)
        return tls_is_set(o->ca_file)
                   ? fail(err, err_size, "could not load CA file", o->ca_file)
                   : fail(err, err_size, "could not load CA certificates", "of the system");
    SSL_CTX_set1_cert_store(c->ctx, c->authorities);
    SSL_CTX_set_verify(c->ctx, mode, NULL);
    if (is_optional)
        SSL_CTX_set_cert_verify_callback(c->ctx, optional_verify_cb, NULL);
    return !is_server || announce_authorities(c->ctx, c->authorities) ||
           fail(err, err_size, "could not load CA file", o->ca_file);
}

/* --- our certificate --- */

/* No dialogue about an encrypted key: a daemon has no terminal. */
static int no_password_cb(char *buf, int size, int rwflag, void *arg)
{
    (void)buf, (void)size, (void)rwflag, (void)arg;
    return -1;
}

/* The certificate, and those behind it, which lead to its authority. */
static bool chain_load(SSL_CTX *ctx, const struct buf *pem, bool *has_chain)
{
    BIO *bio = bio_of(pem);
    X509 *cert = bio != NULL ? PEM_read_bio_X509_AUX(bio, NULL, no_password_cb, NULL) : NULL;
    bool ok = cert != NULL && SSL_CTX_use_certificate(ctx, cert) == 1;

    X509_free(cert);
    while (ok && (cert = PEM_read_bio_X509(bio, NULL, no_password_cb, NULL)) != NULL) {
        ok = SSL_CTX_add1_chain_cert(ctx, cert) == 1;
        *has_chain = true;
        X509_free(cert);
    }
    BIO_free(bio);
    if (ok)
        ERR_clear_error(); /* that there was no other */
    return ok;
}

static bool key_load(SSL_CTX *ctx, const struct buf *pem)
{
    BIO *bio = bio_of(pem);
    EVP_PKEY *key = bio != NULL ? PEM_read_bio_PrivateKey(bio, NULL, no_password_cb, NULL) : NULL;
    bool ok = key != NULL && SSL_CTX_use_PrivateKey(ctx, key) == 1;

    EVP_PKEY_free(key);
    BIO_free(bio);
    return ok;
}

static bool certificate_apply(SSL_CTX *ctx, const struct tls_options *o, const struct contents *files,
                              char *err, size_t err_size)
{
    bool has_chain = false;

    if (!tls_is_set(o->cert_file) && !tls_is_set(o->key_file))
        return true;
    if (!tls_is_set(o->cert_file)) {
        snprintf(err, err_size, "TLS key file \"%s\" is set without a certificate file", o->key_file);
        return false;
    }
    if (!chain_load(ctx, &files->cert, &has_chain))
        return fail(err, err_size, "could not load certificate file", o->cert_file);
    if (!key_load(ctx, &files->key))
        return fail(err, err_size, "could not load key file", key_path(o));
    if (SSL_CTX_check_private_key(ctx) != 1)
        return fail(err, err_size, "key does not fit the certificate", key_path(o));
    /* OpenSSL would look for the way to the authority in each handshake */
    if (!has_chain &&
        SSL_CTX_build_cert_chain(ctx, SSL_BUILD_CHAIN_FLAG_NO_ROOT | SSL_BUILD_CHAIN_FLAG_IGNORE_ERROR |
                                          SSL_BUILD_CHAIN_FLAG_CLEAR_ERROR) == 0)
        ERR_clear_error();
    SSL_CTX_set_mode(ctx, SSL_MODE_NO_AUTO_CHAIN);
    return true;
}

/* --- ciphers and curves --- */

static bool ciphers_apply(SSL_CTX *ctx, const struct tls_options *o, char *err, size_t err_size)
{
    struct buf list;
    bool ok;

    buf_init(&list, 0);
    buf_append_str(&list, tls_cipher_list(o->ciphers));
    if (o->ecdhcurve != NULL && strcasecmp(o->ecdhcurve, "none") == 0)
        buf_append_str(&list, ":!kECDHE");
    ok = SSL_CTX_set_cipher_list(ctx, buf_cstr(&list)) == 1;
    buf_free(&list);
    if (!ok)
        return fail(err, err_size, "invalid TLS ciphers", o->ciphers);
    if (tls_is_set(o->tls13_ciphers) && SSL_CTX_set_ciphersuites(ctx, o->tls13_ciphers) != 1)
        return fail(err, err_size, "invalid TLS 1.3 ciphers", o->tls13_ciphers);
    return true;
}

static bool curves_apply(SSL_CTX *ctx, const struct tls_options *o, char *err, size_t err_size)
{
    if (o->side != TLS_SERVER)
        return true;
    if (!tls_dheparams_apply(ctx, o->dheparams)) {
        snprintf(err, err_size, "invalid Diffie-Hellman parameters \"%s\": auto, none or legacy",
                 o->dheparams);
        return false;
    }
    if (!tls_is_set(o->ecdhcurve) || strcasecmp(o->ecdhcurve, "auto") == 0 ||
        strcasecmp(o->ecdhcurve, "none") == 0)
        return true;
    return SSL_CTX_set1_groups_list(ctx, o->ecdhcurve) == 1 ||
           fail(err, err_size, "unknown elliptic curve", o->ecdhcurve);
}

/* --- ALPN --- */

/* A client that says which protocols it speaks must speak PostgreSQL's: whoever was sent here by mistake, or
 * by somebody's malice, ends at once. */
static int alpn_select_cb(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                          const unsigned char *in, unsigned in_len, void *arg)
{
    unsigned char *chosen = NULL;

    (void)ssl, (void)arg;
    if (SSL_select_next_proto(&chosen, out_len, (const unsigned char *)ALPN_PROTOCOL,
                              sizeof(ALPN_PROTOCOL) - 1, in, in_len) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static bool alpn_apply(SSL_CTX *ctx, const struct tls_options *o, char *err, size_t err_size)
{
    if (o->side == TLS_SERVER)
        SSL_CTX_set_alpn_select_cb(ctx, alpn_select_cb, NULL);
    else if (o->needs_alpn && SSL_CTX_set_alpn_protos(ctx, (const unsigned char *)ALPN_PROTOCOL,
                                                      sizeof(ALPN_PROTOCOL) - 1) != 0)
        return fail(err, err_size, "could not set", "ALPN");
    return true;
}

/* --- the whole --- */

static bool options_apply(SSL_CTX *ctx, const struct tls_options *o)
{
    static const unsigned char id[] = "pgsluice";

    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_default_passwd_cb(ctx, no_password_cb);
    if (o->side != TLS_SERVER) {
        SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(ctx, stream_tls_new_session_cb);
        return true;
    }
    SSL_CTX_set_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_session_id_context(ctx, id, sizeof(id) - 1);
    if (o->is_compact)
        SSL_CTX_set_keylog_callback(ctx, tls13_keylog_cb);
    SSL_CTX_set_num_tickets(ctx, 1); /* nobody needs more for the one connection that follows */
    return tls_tickets_apply(ctx);
}

static bool context_fill(struct tls_context *c, const struct tls_maker *m, const struct tls_options *o,
                         const struct contents *files, char *err, size_t err_size)
{
    unsigned protocols = tls_protocols_parse(o->protocols);

    if (protocols == 0) {
        snprintf(err, err_size, "invalid TLS protocols \"%s\"", o->protocols);
        return false;
    }
    if (!options_apply(c->ctx, o))
        return fail(err, err_size, "could not set up", "tickets");
    tls_protocols_apply(c->ctx, protocols);
    return ciphers_apply(c->ctx, o, err, err_size) && curves_apply(c->ctx, o, err, err_size) &&
           alpn_apply(c->ctx, o, err, err_size) && authorities_apply(c, m, o, &files->ca, err, err_size) &&
           certificate_apply(c->ctx, o, files, err, err_size);
}

static struct tls_context *context_new(const struct tls_maker *m, const struct tls_options *o,
                                       const struct contents *files, char *err, size_t err_size)
{
    struct tls_context *c = xcalloc(1, sizeof(*c));

    ERR_clear_error();
    atomic_init(&c->refs, 1);
    c->verify = o->verify;
    c->is_in_kernel = o->is_in_kernel;
    c->sessions = o->side == TLS_CLIENT ? tls_sessions_new() : NULL;
    c->ctx = SSL_CTX_new(o->side == TLS_SERVER ? TLS_server_method() : TLS_client_method());
    if (c->ctx == NULL)
        (void)fail(err, err_size, "could not make a", "TLS context");
    if (c->ctx != NULL && context_fill(c, m, o, files, err, err_size))
        return c;
    tls_context_unref(c);
    return NULL;
}

struct tls_context *tls_context_ref(struct tls_context *c)
{
    if (c != NULL)
        atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

void tls_context_unref(struct tls_context *c)
{
    if (c == NULL || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
        return;
    SSL_CTX_free(c->ctx);
    X509_STORE_free(c->authorities);
    tls_sessions_free(c->sessions);
    free(c);
}

/* --- many at a time --- */

void tls_maker_init(struct tls_maker *m)
{
    *m = (struct tls_maker){0};
}

void tls_maker_free(struct tls_maker *m)
{
    for (size_t i = 0; i < m->n_known; i++)
        tls_context_unref(m->known[i]);
    free(m->known);
    tls_maker_init(m);
}

void tls_maker_know(struct tls_maker *m, struct tls_context *c)
{
    for (size_t i = 0; i < m->n_known; i++)
        if (m->known[i] == c)
            return;
    if (c == NULL)
        return;
    m->known = xrealloc(m->known, (m->n_known + 1) * sizeof(*m->known));
    m->known[m->n_known++] = tls_context_ref(c);
}

struct tls_context *tls_maker_get(struct tls_maker *m, const struct tls_options *o, char *err,
                                  size_t err_size)
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    struct contents files;
    struct tls_context *c = NULL;

    if (contents_read(&files, o, err, err_size)) {
        digest_all(o, &files, digest);
        for (size_t i = 0; i < m->n_known && c == NULL; i++)
            if (memcmp(m->known[i]->digest, digest, sizeof(digest)) == 0)
                c = tls_context_ref(m->known[i]);
        if (c == NULL && (c = context_new(m, o, &files, err, err_size)) != NULL) {
            memcpy(c->digest, digest, sizeof(digest));
            tls_maker_know(m, c);
        }
    }
    contents_free(&files);
    return c;
}
