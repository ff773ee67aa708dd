/*
 * leaks.h - who leaves state of a session behind at the end of a transaction: application, statement, how
 * often.
 *
 * One bounded table of the process: where it is full, what has been seen least goes.
 *
 * Threads: any; leaks->lock (a leaf). Touched when state was found to outlive its transaction, not before.
 */
#ifndef STATS_LEAKS_H
#define STATS_LEAKS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/lock.h"

#define LEAKS_MAX            256
#define LEAK_NAME_BYTES      64
#define LEAK_STATEMENT_BYTES 160

struct leak {
    char application[LEAK_NAME_BYTES];
    char database[LEAK_NAME_BYTES];
    char user[LEAK_NAME_BYTES];
    const char *reason; /* static text, one address each */
    uint64_t fingerprint;
    char statement[LEAK_STATEMENT_BYTES]; /* its shape */
    uint64_t count;                       /* times it outlived its transaction */
    uint64_t abandoned;                   /* times its client left without having removed it */
    int64_t last_wall_us;
};

struct leaks {
    struct lock lock;
    struct leak entries[LEAKS_MAX]; /* [lock] */
    int n;                          /* [lock] */
};

void leaks_init(struct leaks *l);
void leaks_destroy(struct leaks *l);
/* One more like that (whose count is 1, abandoned 0; or the other way round). True: the first of this
 * application for this reason. */
bool leaks_note(struct leaks *l, const struct leak *leak, int64_t wall_us);
/* A copy of the i-th. False: there is none. */
bool leaks_read(struct leaks *l, int i, struct leak *out);

#endif
