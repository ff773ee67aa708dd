/*
 * crowd.h - whose login gives way when there is room for too few of them.
 *
 * Addresses share what there is: the one that has the most gives, the one that has the least is served. As
 * long as there is enough for all, nobody asks here; so many clients of one address, behind a router for
 * example, may log in at a time.
 *
 * Pure: addresses in, a choice out. Looks at CROWD_MAX logins at most, the oldest, as those that stay
 * are found there.
 */
#ifndef SESSION_CROWD_H
#define SESSION_CROWD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"

#define CROWD_MAX 256

/* Addresses of logins, the oldest first. */
struct crowd {
    uint64_t keys[CROWD_MAX]; /* address_key() */
    int n;
};

/* IPv6 addresses count by their network of 64 bits, which is what one customer gets; all that is behind Unix
 * sockets counts as one. Not 0. */
uint64_t address_key(int family, const uint8_t *addr);

/* False when it is full. */
bool crowd_add(struct crowd *c, uint64_t key);
/*
 * Which of them is to make place for one more of the address `key`: the oldest of the address that has the
 * most, if that is more than `key` would have then. -1: none.
 */
int crowd_yields(const struct crowd *c, uint64_t key) must_check;
/* Which of those who wait is next: the first whose address has the least among those who are served. -1:
 * nobody waits. */
int crowd_next(const struct crowd *waiting, const struct crowd *served) must_check;

#endif
