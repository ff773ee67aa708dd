/*
 * refs.h - references to what a table holds once for many.
 *
 * A count falls from 1 to 0 only under the table's lock, and a lookup raises it only under it, so that the
 * last one that goes and a lookup that finds it cannot cross. All others go without the lock.
 */
#ifndef BASE_REFS_H
#define BASE_REFS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"

/* Gives one back. False: it looks like the last one, and has not been; refs_drop_locked() will tell. */
static inline bool must_check refs_drop_unless_last(_Atomic uint32_t *refs)
{
    uint32_t n = atomic_load_explicit(refs, memory_order_relaxed);

    while (n > 1)
        if (atomic_compare_exchange_weak_explicit(refs, &n, n - 1, memory_order_release,
                                                  memory_order_relaxed))
            return true;
    return false;
}

/* [the table's lock] Gives one back. True: it was the last one, so what it was to is to leave the table. */
static inline bool must_check refs_drop_locked(_Atomic uint32_t *refs)
{
    return atomic_fetch_sub_explicit(refs, 1, memory_order_acq_rel) == 1;
}

#endif
