/*
 * crowd.c - whose login gives way when there is room for too few of them.
 *
 * Threads: any; no state.
 */
#include "session/crowd.h"

#include <string.h>
#include <sys/socket.h>

#include "base/hash.h"

#define SLOTS (2 * CROWD_MAX) /* of a table that is never more than half full */

/* How many logins each address has. */
struct tally {
    uint64_t keys[SLOTS]; /* 0 = free */
    uint16_t counts[SLOTS];
};

uint64_t address_key(int family, const uint8_t *addr)
{
    uint8_t text[1 + 8] = {(uint8_t)family};

    if (family != AF_UNIX)
        memcpy(text + 1, addr, family == AF_INET ? 4 : 8);
    return hash_bytes(text, sizeof(text)) | 1;
}

bool crowd_add(struct crowd *c, uint64_t key)
{
    if (c->n == CROWD_MAX)
        return false;
    c->keys[c->n++] = key;
    return true;
}

static size_t slot_of(const struct tally *t, uint64_t key)
{
    size_t i = (key >> 8) % SLOTS;

    while (t->keys[i] != 0 && t->keys[i] != key)
        i = (i + 1) % SLOTS;
    return i;
}

static void tally_make(struct tally *t, const struct crowd *c)
{
    memset(t, 0, sizeof(*t));
    for (int i = 0; i < c->n; i++) {
        size_t slot = slot_of(t, c->keys[i]);
        t->keys[slot] = c->keys[i];
        t->counts[slot]++;
    }
}

static int tally_count(const struct tally *t, uint64_t key)
{
    return t->counts[slot_of(t, key)]; /* 0 in a free one */
}

int crowd_yields(const struct crowd *c, uint64_t key)
{
    struct tally t;
    int chosen = -1, most;

    tally_make(&t, c);
    most = tally_count(&t, key) + 1;
    for (int i = 0; i < c->n; i++) {
        int n = tally_count(&t, c->keys[i]);
        if (n > most) {
            most = n;
            chosen = i;
        }
    }
    return chosen;
}

int crowd_next(const struct crowd *waiting, const struct crowd *served)
{
    struct tally t;
    int chosen = -1, least = CROWD_MAX + 1;

    tally_make(&t, served);
    for (int i = 0; i < waiting->n; i++) {
        int n = tally_count(&t, waiting->keys[i]);
        if (n < least) {
            least = n;
            chosen = i;
        }
    }
    return chosen;
}
