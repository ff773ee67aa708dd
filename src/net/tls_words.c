/*
 * tls_words.c - PgBouncer's words for protocols, ciphers, curves and Diffie-Hellman parameters.
 *
 * Threads: any; the functions work on what they are given.
 */
#include <stdio.h>
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
    const char *list;
} cipher_words[] = {
    {"default", "DEFAULT"}, /* OpenSSL's own, as the system's administrator may have set it */
    {"secure", "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:!aNULL"},
    {"fast", "ECDHE+AESGCM:ECDHE+CHACHA20:HIGH:!aNULL:!eNULL"},
    {"normal", "HIGH:!aNULL:!eNULL"},
    {"compat", "HIGH:!aNULL"},
    {"legacy", "HIGH:MEDIUM:!aNULL"},
    {"insecure", "ALL:!aNULL:!eNULL"},
    {"all", "ALL:!aNULL:!eNULL"},
};

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
unsigned tls_protocols_parse(const char *list)
{
    unsigned set = 0;
    bool is_first = true;
    if (!tls_is_set(list))
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
    return tls_protocols_parse(protocols) != 0;
}

void tls_protocols_apply(SSL_CTX *ctx, unsigned set)
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

const char *tls_cipher_list(const char *ciphers)
{
    const char *list = tls_is_set(ciphers) ? ciphers : "default";
    for (size_t i = 0; i < ARRAY_SIZE(cipher_words); i++)
        if (strcasecmp(list, cipher_words[i].word) == 0)
            return cipher_words[i].list;
    return list;
}

bool tls_dheparams_apply(SSL_CTX *ctx, const char *word)
{
    static const struct {
        const char *word;
        int automatic;
    } words[] = {{"auto", 1}, {"none", 0}, {"legacy", 2 /* 1024 bits, where the system still allows them */}};

    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (strcasecmp(tls_is_set(word) ? word : "auto", words[i].word) == 0)
            return SSL_CTX_set_dh_auto(ctx, words[i].automatic) == 1;
    return false;
}
