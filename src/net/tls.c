/*
 * tls.c - TLS contexts for connections to servers: files and words to an SSL_CTX.
 *
 * Threads: made on one thread; then immutable, and shared by reference count.
 * Not here: connections (stream_tls.c).
 */
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "tls_int.h"

enum {
    PROTOCOL_1_0 = 1,
    PROTOCOL_1_1 = 2,
    PROTOCOL_1_2 = 4,
    PROTOCOL_1_3 = 8,
    PROTOCOL_ALL = 15,
    PROTOCOL_SECURE = PROTOCOL_1_2 | PROTOCOL_1_3,
};

static const struct protocol_word {
    const char *word;
    unsigned set;
} protocol_words[] = {
    {"secure", PROTOCOL_SECURE}, {"default", PROTOCOL_SECURE}, {"legacy", PROTOCOL_ALL},
    {"all", PROTOCOL_ALL},       {"tlsv1", PROTOCOL_ALL},      {"tlsv1.0", PROTOCOL_1_0},
    {"tlsv1.1", PROTOCOL_1_1},   {"tlsv1.2", PROTOCOL_1_2},    {"tlsv1.3", PROTOCOL_1_3},
};

static const struct cipher_word {
    const char *word;
    const char *list; /* NULL = OpenSSL's own default */
} cipher_words[] = {
    {"default", NULL},
    {"secure", "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:!aNULL"},
    {"fast", "ECDHE+AESGCM:ECDHE+CHACHA20:HIGH:!aNULL:!eNULL"},
    {"normal", "HIGH:!aNULL:!eNULL"},
    {"all", "ALL:!aNULL:!eNULL"},
};

static bool is_set(const char *s)
{
    return s != NULL && s[0] != '\0';
}

/* The set that one word stands for, 0 when it is unknown. */
static unsigned protocol_lookup(const char *word, size_t len)
{
    for (size_t i = 0; i < ARRAY_SIZE(protocol_words); i++)
        if (strlen(protocol_words[i].word) == len && strncasecmp(protocol_words[i].word, word, len) == 0)
            return protocol_words[i].set;
    return 0;
}

/* The set that a list stands for; 0 when it cannot be understood or leaves nothing. A list that begins with
 * a negation takes away from all. */
static unsigned protocols_parse(const char *list)
{
    unsigned set = 0;
    bool is_first = true;
    if (!is_set(list))
        return PROTOCOL_SECURE;
    for (const char *p = list + strspn(list, ",: \t"); *p != '\0'; p += strspn(p, ",: \t")) {
        bool negate = *p == '!';
        p += negate;
        size_t len = strcspn(p, ",: \t");
        unsigned word = protocol_lookup(p, len);
        if (word == 0)
            return 0;
        if (negate && is_first)
            set = PROTOCOL_ALL;
        set = negate ? set & ~word : set | word;
        is_first = false;
        p += len;
    }
    return set;
}

bool tls_protocols_valid(const char *protocols)
{
    return protocols_parse(protocols) != 0;
}

static void protocols_apply(SSL_CTX *ctx, unsigned set)
{
    static const struct {
        unsigned bit;
        int version;
        uint64_t off;
    } versions[] = {
        {PROTOCOL_1_0, TLS1_VERSION, SSL_OP_NO_TLSv1},
        {PROTOCOL_1_1, TLS1_1_VERSION, SSL_OP_NO_TLSv1_1},
        {PROTOCOL_1_2, TLS1_2_VERSION, SSL_OP_NO_TLSv1_2},
        {PROTOCOL_1_3, TLS1_3_VERSION, SSL_OP_NO_TLSv1_3},
    };
    int lowest = 0;
    for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
        if ((set & versions[i].bit) == 0)
            SSL_CTX_set_options(ctx, versions[i].off);
        else if (lowest == 0)
            lowest = versions[i].version;
    }
    /* The system's openssl.cnf may set a floor; the operator's word is stronger, both ways. */
    SSL_CTX_set_min_proto_version(ctx, lowest);
    SSL_CTX_set_max_proto_version(ctx, 0);
}

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

static bool ciphers_apply(SSL_CTX *ctx, const struct tls_client_options *o, char *err, size_t err_size)
{
    const char *list = is_set(o->ciphers) ? o->ciphers : "default";
    for (size_t i = 0; i < ARRAY_SIZE(cipher_words) && list != NULL; i++) {
        if (strcasecmp(list, cipher_words[i].word) == 0) {
            list = cipher_words[i].list;
            break;
        }
    }
    if (list != NULL && SSL_CTX_set_cipher_list(ctx, list) != 1)
        return fail(err, err_size, "invalid TLS ciphers", o->ciphers);
    if (is_set(o->tls13_ciphers) && SSL_CTX_set_ciphersuites(ctx, o->tls13_ciphers) != 1)
        return fail(err, err_size, "invalid TLS 1.3 ciphers", o->tls13_ciphers);
    return true;
}

static bool files_apply(SSL_CTX *ctx, const struct tls_client_options *o, char *err, size_t err_size)
{
    if (o->verify != TLS_VERIFY_NONE) {
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
        if (!is_set(o->ca_file)) {
            if (SSL_CTX_set_default_verify_paths(ctx) != 1)
                return fail(err, err_size, "could not load CA certificates", "of the system");
        } else if (SSL_CTX_load_verify_locations(ctx, o->ca_file, NULL) != 1) {
            return fail(err, err_size, "could not load CA file", o->ca_file);
        }
    } else {
        SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
    }
    if (!is_set(o->cert_file) && !is_set(o->key_file))
        return true;
    if (!is_set(o->cert_file)) {
        snprintf(err, err_size, "TLS key file \"%s\" is set without a certificate file", o->key_file);
        return false;
    }
    const char *key_file = is_set(o->key_file) ? o->key_file : o->cert_file;
    if (SSL_CTX_use_certificate_chain_file(ctx, o->cert_file) != 1)
        return fail(err, err_size, "could not load certificate file", o->cert_file);
    if (SSL_CTX_use_PrivateKey_file(ctx, key_file, SSL_FILETYPE_PEM) != 1)
        return fail(err, err_size, "could not load key file", key_file);
    if (SSL_CTX_check_private_key(ctx) != 1)
        return fail(err, err_size, "key does not fit the certificate", key_file);
    return true;
}

/* No dialogue about an encrypted key: a daemon has no terminal. */
static int no_password_cb(char *buf, int size, int rwflag, void *arg)
{
    (void)buf, (void)size, (void)rwflag, (void)arg;
    return -1;
}

struct tls_context *tls_client_context_new(const struct tls_client_options *o, char *err, size_t err_size)
{
    unsigned protocols = protocols_parse(o->protocols);
    if (protocols == 0) {
        snprintf(err, err_size, "invalid TLS protocols \"%s\"", o->protocols);
        return NULL;
    }
    ERR_clear_error();
    struct tls_context *c = calloc(1, sizeof(*c));
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    if (c == NULL || ctx == NULL) {
        free(c);
        SSL_CTX_free(ctx);
        snprintf(err, err_size, "could not make a TLS context: out of memory");
        return NULL;
    }
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_default_passwd_cb(ctx, no_password_cb);
    protocols_apply(ctx, protocols);
    if (!ciphers_apply(ctx, o, err, err_size) || !files_apply(ctx, o, err, err_size)) {
        SSL_CTX_free(ctx);
        free(c);
        return NULL;
    }
    atomic_init(&c->refs, 1);
    c->ctx = ctx;
    c->verify = o->verify;
    return c;
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
    free(c);
}
