/*
 * ktls_int.h - the kernel's TLS, which protects what a socket sends.
 */
#ifndef NET_KTLS_INT_H
#define NET_KTLS_INT_H

#include "tls13_int.h"

/* The kernel's words for keys: bytes of what it is told, or 0, it has no such cipher. Wipe it after use. */
#define KTLS_INFO_BYTES 64
uint32_t ktls_info(const struct tls13_suite *suite, const struct tls13_keys *k, uint8_t *out);

/* From the next byte on the kernel makes records, by these keys. False: it does not, and nothing has changed.
 */
bool ktls_begin(int fd, const struct tls13_suite *suite, const struct tls13_keys *k) must_check;
/* A record of another type than data, as a whole. False with errno. */
bool ktls_send(int fd, enum tls13_type type, const void *data, uint32_t len_bytes) must_check;

#endif
