/*
 * ktls.c - keys of TLS 1.3 in the kernel, which then makes the records of what a socket sends.
 *
 * Linux has it, in a module ("tls") that need not be there or loaded. Once a socket has been given keys it
 * cannot go back, and before Linux 6.14 it cannot change them.
 *
 * Threads: the caller's.
 * Not here: when it is used, and what follows (stream_tls13.c).
 */
#include "config.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#ifdef HAVE_KERNEL_TLS
#include <linux/tls.h>
#endif
#include <openssl/ssl.h>

#include "base/secret.h"
#include "ktls_int.h"
#include "net/tls.h"

#ifdef HAVE_KERNEL_TLS

union info {
    struct tls_crypto_info head;
    struct tls12_crypto_info_aes_gcm_128 aes128; /* of TLS 1.3, too */
    struct tls12_crypto_info_aes_gcm_256 aes256;
    struct tls12_crypto_info_chacha20_poly1305 chacha20;
};
_Static_assert(sizeof(union info) <= KTLS_INFO_BYTES, "room for what the kernel is told");

static void put_seq(uint8_t *out, uint64_t seq)
{
    for (int i = 0; i < 8; i++)
        out[i] = (uint8_t)(seq >> (56 - 8 * i));
}

/* What the kernel calls salt and iv are the two parts of TLS 1.3's iv. */
#define FILL(x, k)                                                                                           \
    do {                                                                                                     \
        memcpy((x)->key, (k)->key, sizeof((x)->key));                                                        \
        memcpy((x)->salt, (k)->iv, sizeof((x)->salt));                                                       \
        memcpy((x)->iv, (k)->iv + sizeof((x)->salt), sizeof((x)->iv));                                       \
        put_seq((x)->rec_seq, (k)->seq);                                                                     \
    } while (0)

uint32_t ktls_info(const struct tls13_suite *suite, const struct tls13_keys *k, uint8_t *out)
{
    union info x = {.head = {.version = TLS_1_3_VERSION}};
    uint32_t len = 0;

    switch (tls13_suite_id(suite)) {
    case TLS1_3_CK_AES_128_GCM_SHA256:
        x.head.cipher_type = TLS_CIPHER_AES_GCM_128;
        FILL(&x.aes128, k);
        len = sizeof(x.aes128);
        break;
    case TLS1_3_CK_AES_256_GCM_SHA384:
        x.head.cipher_type = TLS_CIPHER_AES_GCM_256;
        FILL(&x.aes256, k);
        len = sizeof(x.aes256);
        break;
    case TLS1_3_CK_CHACHA20_POLY1305_SHA256:
        x.head.cipher_type = TLS_CIPHER_CHACHA20_POLY1305;
        memcpy(x.chacha20.key, k->key, sizeof(x.chacha20.key));
        memcpy(x.chacha20.iv, k->iv, sizeof(x.chacha20.iv));
        put_seq(x.chacha20.rec_seq, k->seq);
        len = sizeof(x.chacha20);
        break;
    }
    memcpy(out, &x, len);
    secret_wipe(&x, sizeof(x));
    return len;
}

static bool has_module(int fd)
{
    return setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", sizeof("tls")) == 0;
}

bool ktls_begin(int fd, const struct tls13_suite *suite, const struct tls13_keys *k)
{
    uint8_t info[KTLS_INFO_BYTES];
    uint32_t len = ktls_info(suite, k, info);
    bool ok = len > 0 && has_module(fd) && setsockopt(fd, SOL_TLS, TLS_TX, info, len) == 0;

    secret_wipe(info, sizeof(info));
    return ok;
}

bool ktls_send(int fd, enum tls13_type type, const void *data, uint32_t len_bytes)
{
    union {
        struct cmsghdr head;
        uint8_t space[CMSG_SPACE(1)];
    } control = {.space = {0}};
    struct iovec iov = {(void *)data, len_bytes};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.space,
                         .msg_controllen = sizeof(control.space)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    ssize_t n;

    c->cmsg_level = SOL_TLS;
    c->cmsg_type = TLS_SET_RECORD_TYPE;
    c->cmsg_len = CMSG_LEN(1);
    *CMSG_DATA(c) = (uint8_t)type;
    do
        n = sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)len_bytes;
}

bool tls_kernel_is_there(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    /* the module wants a connected socket, and whoever says so is there */
    bool is_there = has_module(fd) || errno == ENOTCONN;
    close(fd);
    return is_there;
}

#else

uint32_t ktls_info(const struct tls13_suite *suite, const struct tls13_keys *k, uint8_t *out)
{
    (void)suite, (void)k, (void)out;
    return 0;
}

bool ktls_begin(int fd, const struct tls13_suite *suite, const struct tls13_keys *k)
{
    (void)fd, (void)suite, (void)k;
    return false;
}

bool ktls_send(int fd, enum tls13_type type, const void *data, uint32_t len_bytes)
{
    (void)fd, (void)type, (void)data, (void)len_bytes;
    errno = EOPNOTSUPP;
    return false;
}

bool tls_kernel_is_there(void)
{
    return false;
}

#endif
