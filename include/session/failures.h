/*
 * failures.h - failed logins, counted per address and user: a bounded table.
 *
 * Who guesses is slowed down and then blocked. The table has a fixed size and keeps no names, only hashes
 * under the key of the process; when it is full what failed longest ago goes. IPv6 addresses count by their
 * network of 64 bits, which is what one customer gets.
 *
 * Threads: any; failures->lock (a leaf). Not here: what becomes of the client (client_auth.c).
 */
#ifndef SESSION_FAILURES_H
#define SESSION_FAILURES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

struct failures;

/* The settings auth_failure_*. */
struct failure_limits {
    int64_t delay_us;
    int64_t period_us; /* how long a failure counts, and how long a block lasts */
    int limit;         /* 0 = nobody is blocked */
};

/* Hashes of (address, user), and of the address alone. */
struct failure_key {
    uint64_t both;
    uint64_t address;
};

struct failure_verdict {
    int64_t delay_us;     /* the answer is to be held back for so long */
    bool user_blocked;    /* with this failure: (address, user); said once */
    bool address_blocked; /* ... or the address, for all users */
};

/* An address may fail with so many times limit, over all its users. */
#define FAILURE_USERS 5

/* Boot; may abort. */
struct failures *failures_new(void);
void failures_free(struct failures *f);

/* family AF_UNIX: addr is not looked at. */
struct failure_key failure_key(int family, const uint8_t *addr, const char *user);
bool failures_are_blocked(struct failures *f, const struct failure_key *key,
                          const struct failure_limits *limits, int64_t now_us) must_check;
struct failure_verdict failures_note(struct failures *f, const struct failure_key *key,
                                     const struct failure_limits *limits, int64_t now_us);
/* A login of this user from this address has succeeded. */
void failures_forgive(struct failures *f, const struct failure_key *key);
/* All begins anew: RELOAD. */
void failures_forget(struct failures *f);

#endif
