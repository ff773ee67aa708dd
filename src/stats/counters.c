/*
 * counters.c - sums, differences and averages of the counters.
 *
 * Threads: sums are plain memory of the caller; counters_sum_read() may run
 * beside the counters' writer.
 */
#include "stats/counters.h"

#include "base/clock.h"

void counters_sum_read(struct counters_sum *sum, const struct counters *c)
{
#define COUNTER_READ(name, average) sum->name += counter_get(&c->name);
    COUNTER_LIST(COUNTER_READ)
#undef COUNTER_READ
}

void counters_sum_add(struct counters_sum *sum, const struct counters_sum *other)
{
#define COUNTER_ADD(name, average) sum->name += other->name;
    COUNTER_LIST(COUNTER_ADD)
#undef COUNTER_ADD
}

void counters_sum_sub(struct counters_sum *sum, const struct counters_sum *other)
{
#define COUNTER_SUB(name, average) sum->name -= sum->name < other->name ? sum->name : other->name;
    COUNTER_LIST(COUNTER_SUB)
#undef COUNTER_SUB
}

/* Per second, without overflow: a rate of 2^64 / 10^6 in one interval is 18 TB. */
static uint64_t per_second(uint64_t n, uint64_t interval_us)
{
    if (n > UINT64_MAX / USEC_PER_SEC)
        return (uint64_t)((double)n * (double)USEC_PER_SEC / (double)interval_us);
    return n * USEC_PER_SEC / interval_us;
}

static uint64_t per_event(uint64_t n, uint64_t events)
{
    return events == 0 ? 0 : n / events;
}

void counters_average(struct counters_sum *average, const struct counters_sum *newer,
                      const struct counters_sum *older, int64_t interval_us)
{
    struct counters_sum d = *newer;

    if (interval_us <= 0) {
        *average = (struct counters_sum){0};
        return;
    }
    counters_sum_sub(&d, older);
#define AVERAGE_SECOND(name)        per_second(d.name, (uint64_t)interval_us)
#define AVERAGE_XACT(name)          per_event(d.name, d.xact_count)
#define AVERAGE_QUERY(name)         per_event(d.name, d.query_count)
#define COUNTER_AVERAGE(name, kind) average->name = AVERAGE_##kind(name);
    COUNTER_LIST(COUNTER_AVERAGE)
#undef COUNTER_AVERAGE
#undef AVERAGE_QUERY
#undef AVERAGE_XACT
#undef AVERAGE_SECOND
}
