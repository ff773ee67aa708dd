/*
 * hash.h - keyed hash of bytes, for tables whose keys a client chooses.
 */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

/*
 * SipHash-1-3 under a random key of this process, so that nobody outside can choose
 * keys that collide. The value means nothing to another process: do not store it.
 */
uint64_t hash_bytes(const void *p, size_t len_bytes) must_check;
/* The same under a key of the caller's; for tests and for stable values. */
uint64_t hash_bytes_keyed(const void *p, size_t len_bytes, uint64_t k0, uint64_t k1) must_check hot_path;

#endif
