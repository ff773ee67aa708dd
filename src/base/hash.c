/*
 * hash.c - SipHash-1-3 under a random key per process.
 *
 * From the paper: Aumasson and Bernstein, "SipHash: a fast short-input PRF" (2012),
 * with one compression and three finalisation rounds. Threads: any.
 */
#include <pthread.h>
#include <string.h>

#include "base/hash.h"
#include "base/rand.h"

static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static uint64_t process_key[2]; /* constant after key_once */

static inline uint64_t rotate_left(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

static inline void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotate_left(v[1], 13) ^ v[0];
    v[3] = rotate_left(v[3], 16) ^ v[2];
    v[0] = rotate_left(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = rotate_left(v[1], 17) ^ v[2];
    v[3] = rotate_left(v[3], 21) ^ v[0];
    v[2] = rotate_left(v[2], 32);
}

static inline void sip_word(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
}

/* n <= 8 bytes, little-endian, so that keyed values are the same on every machine. */
static inline uint64_t load_le(const unsigned char *p, size_t n)
{
    uint64_t word = 0;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    if (n == sizeof(word)) {
        memcpy(&word, p, sizeof(word));
        return word;
    }
#endif
    for (size_t i = 0; i < n; i++)
        word |= (uint64_t)p[i] << (8 * i);
    return word;
}

uint64_t hash_bytes_keyed(const void *data, size_t len_bytes, uint64_t k0, uint64_t k1)
{
    /* The initial state spells "somepseudorandomlygeneratedbytes". */
    uint64_t v[4] = {
        UINT64_C(0x736f6d6570736575) ^ k0,
        UINT64_C(0x646f72616e646f6d) ^ k1,
        UINT64_C(0x6c7967656e657261) ^ k0,
        UINT64_C(0x7465646279746573) ^ k1,
    };
    const unsigned char *p = data;
    size_t left = len_bytes;
    for (; left >= 8; left -= 8, p += 8)
        sip_word(v, load_le(p, 8));
    sip_word(v, (uint64_t)len_bytes << 56 | load_le(p, left));
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static void make_process_key(void)
{
    rand_secure(process_key, sizeof(process_key));
}

uint64_t hash_bytes(const void *p, size_t len_bytes)
{
    pthread_once(&key_once, make_process_key);
    return hash_bytes_keyed(p, len_bytes, process_key[0], process_key[1]);
}
