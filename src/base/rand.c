/*
 * rand.c - random bytes from the kernel, and a cheap generator per thread.
 *
 * The cheap one is splitmix64 (Steele, Lea, Flood, "Fast splittable pseudorandom
 * number generators", 2014), seeded from the kernel. Threads: any.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/types.h>

#include "base/rand.h"

void rand_secure(void *buf, size_t len_bytes)
{
    unsigned char *p = buf;
    while (len_bytes > 0) {
        ssize_t n = getrandom(p, len_bytes, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            abort(); /* a predictable cancel key or nonce would be worse */
        p += n;
        len_bytes -= (size_t)n;
    }
}

uint64_t rand_fast(void)
{
    static _Thread_local uint64_t state;
    static _Thread_local bool is_seeded;
    if (!is_seeded) {
        rand_secure(&state, sizeof(state));
        is_seeded = true;
    }
    uint64_t z = (state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

int64_t rand_jitter_us(int64_t us, int percent)
{
    /* Divided first: a span of years in microseconds times 100 still fits, but no caller needs to know. */
    int64_t spread_us = us / 100 * percent + us % 100 * percent / 100;
    if (us <= 0 || spread_us <= 0)
        return us;
    return us - spread_us + (int64_t)(rand_fast() % (2 * (uint64_t)spread_us + 1));
}
