/*
 * lookup.h - secrets of users that auth_file does not name, asked of a database (auth_query).
 *
 * One entry per (pool of look-ups, query, user): its answer for a bounded time, and who waits for the one
 * that is under way. Each waits with a mail of its own, so nobody needs to be taken out when it goes.
 *
 * Threads: any; lookups->lock (a leaf). An entry that is under way is left alone by all but the one who got
 * LOOKUP_LEAD, until that one has ended it.
 */
#ifndef SESSION_LOOKUP_H
#define SESSION_LOOKUP_H

#include <stdbool.h>
#include <stdint.h>

#include "auth/found_user.h"
#include "base/list.h"
#include "session/instance.h"

struct lookups;
struct lookup_entry;

enum lookup_outcome {
    LOOKUP_FOUND,  /* an answer, which may be that there is no such user */
    LOOKUP_FAILED, /* the query could not be run, or its answer is none */
    LOOKUP_AGAIN,  /* who asked has gone: the next one asks */
};

/* MAIL_LOOKED_UP: to each who waited. */
struct mail_lookup {
    struct mail mail;
    struct list node;      /* [lookups.lock] of an entry's waiters */
    struct loop *reply_to; /* whose */
    uint64_t client;       /* handle */
    enum lookup_outcome outcome;
    struct found_user *found; /* FOUND: a reference */
};

/* Boot; may abort. */
struct lookups *lookups_new(void);
/* When all threads have ended. */
void lookups_free(struct lookups *l);

enum lookup_step {
    LOOKUP_KNOWN, /* *found is a reference to the answer */
    LOOKUP_WAIT,  /* waiter is taken over and comes as mail */
    LOOKUP_LEAD,  /* the caller asks, and ends *entry; waiter is taken over, too: also for itself */
    LOOKUP_NO_MEMORY,
};

/* max_age_us: how old an answer may be. */
enum lookup_step lookup_ask(struct lookups *l, const struct pool *pool, const char *query, const char *user,
                            int64_t max_age_us, int64_t now_us, struct mail_lookup *waiter,
                            struct lookup_entry **entry, struct found_user **found) must_check;
/* found: FOUND only; a reference is taken over. Mail goes to all who wait. */
void lookup_end(struct lookups *l, struct lookup_entry *entry, enum lookup_outcome outcome,
                struct found_user *found, int64_t now_us);
/* A login failed with this answer, which had been kept: the next one asks anew, unless it is quite new. */
void lookup_doubt(struct lookups *l, const struct pool *pool, const char *query, const char *user,
                  int64_t now_us);
/* All answers are too old, also those that are still to come: RELOAD. */
void lookups_forget(struct lookups *l);
/* What kind of secret the answers have held lately: users who are not there get what the others get. */
enum credential_kind lookups_usual_kind(const struct lookups *l) must_check;
const char *lookup_entry_user(const struct lookup_entry *entry);
const char *lookup_entry_query(const struct lookup_entry *entry);

#endif
