/*
 * once.c - log lines that are to be said once for each pair of application and reason.
 *
 * A table of hashes without a lock: a place is taken once, for good. Two pairs with one hash count as one.
 *
 * Threads: any.
 */
#include "once.h"

#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#include "base/hash.h"

#define PLACES 4096u
#define PROBES 16u

static _Atomic uint64_t said[PLACES]; /* [atomic]; 0: free */

bool once(const char *application, const char *reason)
{
    const uint64_t hash =
        (hash_bytes(application, strlen(application)) * 31 ^ hash_bytes(reason, strlen(reason))) | 1;

    for (uint32_t i = 0; i < PROBES; i++) {
        uint64_t there = 0;
        if (atomic_compare_exchange_strong(&said[(hash + i) % PLACES], &there, hash))
            return true;
        if (there == hash)
            return false;
    }
    return false;
}
