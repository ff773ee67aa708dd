/*
 * rand.h - random bytes: cryptographic ones, and cheap ones for jitter.
 */
#ifndef BASE_RAND_H
#define BASE_RAND_H

#include <stddef.h>
#include <stdint.h>

/* From the kernel; aborts when the kernel has none. */
void rand_secure(void *buf, size_t len_bytes);
/* Cheap, per thread, for jitter only. */
uint64_t rand_fast(void);
/* us spread evenly over us * [1 - percent/100, 1 + percent/100]. */
int64_t rand_jitter_us(int64_t us, int percent);

#endif
