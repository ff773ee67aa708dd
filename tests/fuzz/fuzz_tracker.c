/*
 * fuzz_tracker.c - arbitrary events for the protocol tracker. Links libwire.a libbase.a.
 *
 * Each event is two bytes: who acts, and a message type; a ReadyForQuery takes a third. After each
 * event the tracker must agree with itself and its memory must be bounded.
 */
#include <stdint.h>
#include <stdlib.h>

#include "wire/tracker.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
    if (!ok)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tracker t;
    tracker_init(&t);
    for (size_t i = 0; i + 1 < size; i += 2) {
        uint8_t type = data[i + 1];
        uint32_t repeat = 1;
        switch (data[i]) {
        case '>': (void)!tracker_client(&t, type); break;
        case '*': /* many of one kind */
            for (repeat = 0; repeat < 20000; repeat++)
                (void)!tracker_client(&t, type);
            break;
        case '=': (void)!tracker_internal_query(&t); break;
        case '+': (void)!tracker_inject(&t, type); break;
        case '~': (void)!tracker_keep(&t, type); break;
        case '?': (void)!tracker_take_kept(&t); break;
        case '0': tracker_reset(&t); break;
        default: {
            uint32_t facts = tracker_server(&t, type, i + 2 < size ? data[i + 2] : 0);
            /* a real session closes the server then, but the tracker must stay sane all the same */
            if (!(facts & TRACKER_BAD) && type == 'Z')
                require(facts & TRACKER_READY);
            break;
        }
        }
        require(tracker_check(&t));
        require(t.capacity <= TRACKER_MAX_REQUESTS);
        if (tracker_is_releasable(&t))
            require(!tracker_is_busy(&t) && !tracker_may_hold(&t));
    }
    tracker_destroy(&t);
    return 0;
}
