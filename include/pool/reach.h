/*
 * reach.h - can a database be reached: what its pools say together, and when the log is to say so.
 *
 * Threads: registry_reach() any; outage_step() is pure.
 */
#ifndef POOL_REACH_H
#define POOL_REACH_H

#include "pool/registry.h"

enum reach {
    REACH_UNTRIED, /* nobody has asked for a server lately */
    REACH_FAILS,   /* no servers, and the last attempt has failed */
    REACH_OK,      /* one that has servers speaks for the database */
};

struct reach_report {
    bool was_reached;             /* the last attempt of some pool has succeeded */
    int64_t reached_us;           /* a server was well then; 0 = never, or there is doubt */
    bool is_refused;              /* FAILS: PostgreSQL answers, and lets nobody in */
    int64_t failing_since_us;     /* FAILS: since when */
    char error[POOL_ERROR_BYTES]; /* FAILS: why */
};

/* UNTRIED: nothing speaks against it, and it was not long ago that a server was well. A question may count
 * that as a yes, while it has another attempt made. */
bool reach_is_recent(const struct reach_report *report, int64_t now_us) must_check;

enum reach registry_reach(struct registry *r, const struct pool_database *database, int64_t now_us,
                          struct reach_report *out);

enum outage_news {
    OUTAGE_NO_NEWS,
    OUTAGE_BEGINS,
    OUTAGE_LASTS, /* said again, once a minute */
    OUTAGE_ENDS,
};

/* Called about once a second. out->since_us is valid with each news. */
enum outage_news outage_step(struct outage *o, enum reach reach, const struct reach_report *report,
                             int64_t now_us) must_check;

/* Is it worth a line that an attempt to connect has failed for why? Once, and again when it is for another
 * reason, or when nobody has said anything for a while. Any thread; of two at once both may. */
bool failure_is_news(struct failure_said *said, enum close_reason why, int64_t now_us) must_check;
/* The log has said it in another way. */
void failure_was_said(struct failure_said *said, int64_t now_us);

#endif
