/*
 * test_tracker.c - the protocol tracker, as a table of situations.
 *
 * A situation is a line of events, each followed by the state that must hold then:
 *
 *   >Q   the client sends a message of this type     <T   the server sends one (<ZI: with status I)
 *   =Q   a Query of our own is sent                  +P   a Parse or Close of our own is injected
 *   ~P   a Parse or Close of the client's is kept    ?P   its turn has come (?- nothing has)
 *   :P   a Parse of the client's is named            -2   so many statement entries were dropped
 *   _y   only kept messages are in the ring, _n      others too
 *   ^y   nothing in the ring runs anything, ^n       something may
 *   %y   the batch may be sent again, %n             may not
 *
 * A '!' behind it: it must be refused (violation, BAD or false). A '*': the answer
 * is internal. A '#': a statement entry has been performed. Behind a slash stands the state: r releasable, b
 * busy, h may hold, o open batch, s skipping, t tainted; exactly these, where a slash is given.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "wire/tracker.h"

static const struct situation {
    const char *name;
    const char *events;
} situations[] = {
    {"simple query", ">Q/bh <T/bh <D/bh <C/bh <ZI/r"},
    {"several statements in one query", ">Q <C/bh <T <D <C/bh <ZI/r"},
    {"empty query", ">Q <I/bh <ZI/r"},
    {"query with error", ">Q <E/bh <ZI/r"},
    {"error after a result", ">Q <T <D <E <ZI/r"},
    {"two queries in flight", ">Q >Q/bh <C <ZI/bh <T <D <C <ZI/r"},
    {"ready without an answer first", ">Q <ZI!"},
    {"second ready must have an answer too", ">Q >Q <C <ZI <ZI!"},
    {"transaction", ">Q <C <ZT/ >Q/bh <T <D <C <ZT/ >Q <C <ZI/r"},
    {"failed transaction", ">Q <C <ZT >Q <E <ZE/ >Q <E <ZE/ >Q <C <ZI/r"},
    {"unknown transaction status", ">Q <C <Z?!"},

    {"extended", ">P/bo >B/bo >D/bo >E/bo >S/bh <1/bh <2 <T <D <C/bh <ZI/r"},
    {"empty extended query", ">P >B >E >S <1 <2 <I <ZI/r"},
    {"sync alone", ">S/bh <ZI/r"},
    {"flush alone", ">H/r"},
    {"several syncs in flight", ">P >B >E >S >B >E >S >B >E >S/bh <1 <2 <C <ZI/bh <2 <C <ZI/bh <2 <C <ZI/r"},
    {"flush and wait", ">P >D >H/bo <1 <t <T/o >B/bo >E >H <2 <D <s/o >E >H <D <C/o >S/bh <ZI/r"},
    {"open batch in a transaction block", ">P >B >E >S <1 <2 <C <ZT/ >B/bo >E >S/bh <2 <C <ZI/r"},
    {"next batch open while one is finishing", ">P >S/bh >P/bo <1 <ZI/bo <1/o >S/bh <ZI/r"},
    {"portal suspended", ">B >E >S <2 <D <D <s/bh <ZT/ >E >S <D <C <ZI/r"},
    {"describe a statement with rows", ">D >S <t/bh <T <ZI/r"},
    {"describe a statement without rows", ">D >S <t <n <ZI/r"},
    {"describe a portal", ">D >D >S <T <n <ZI/r"},
    {"close", ">C/bo >C >S <3 <3 <ZI/r"},

    {"error in parse, sync behind", ">P >B >D >E >S <E/bh <ZI/r"},
    {"error in parse, no sync yet", ">P >B >D >E <E/s >B/s >H/s >S/bh <ZI/r"},
    {"error in bind", ">P >B >E >S <1 <E/bh <ZI/r"},
    {"error in execute", ">P >B >E >S <1 <2 <E/bh <ZI/r"},
    {"error in execute after rows", ">P >B >D >E >S <1 <2 <T <D <E/bh <ZI/r"},
    {"error in describe after its first half", ">D >S <t <E <ZI/r"},
    {"error in close", ">C >S <E <ZI/r"},
    {"error at commit by sync", ">P >B >E >S <1 <2 <C <E/bh <ZI/r"},
    {"error drops one batch only", ">P >B >E >S >P >B >E >S <E/bh <ZI/bh <1 <2 <C <ZI/r"},
    {"error drops one batch, the last is open", ">P >S >P/bo <E/bo <ZI/bo <1/o >S/bh <ZI/r"},
    {"error in both batches", ">P >S >P >S <E <ZI/bh <E <ZI/r"},
    {"error at a flush, batch open", ">P >H <1/o <E/s >B/s >S/bh <ZI/r"},
    {"nothing is answered while skipping", ">P <E/s >B <2!"},
    {"no ready while skipping", ">P <E/s <ZI!"},

    {"query inside an unsynced batch", ">P >B >E >Q/bh <1 <2 <C <T <D <C <ZI/r"},
    {"query inside an unsynced batch, error before it", ">P >B >E >Q/bh <1 <E/s >Q/s >S/bh <ZI/r"},
    {"query inside an unsynced batch, error in it", ">P >B >E >Q <1 <2 <C <E/bh <ZI/r"},
    {"query and sync behind a failing batch", ">P >Q >S/bh <E/bh <ZI/r"},
    {"function call", ">F/bh <V/bh <ZI/r"},
    {"function call with error", ">F <E/bh <ZI/r"},
    {"function call behind a failing batch", ">P >F/bh <E/s >S <ZI/r"},
    {"function call in a batch", ">P >F <1 <V <ZI/r"},
    {"function call gives no rows", ">F <D!"},

    {"copy in", ">Q/bh <G/b >d/b >d >c/bh <C/bh <ZI/r"},
    {"copy in, then another statement", ">Q <G/b >d >c <C <T <D <C <ZI/r"},
    {"two copies in one query", ">Q <G/b >c/bh <C/bh <G/b >d >c/bh <C <ZI/r"},
    {"copy in fails on the server", ">Q <G/b >d >d <E/bh <ZI/r"},
    {"copy in fails on the server, late data", ">Q <G >d <E >d/bh >c/bh <ZI/r"},
    {"copy in fails on the server, very late data", ">Q <G >d <E <ZI/r >d/r >c/r >f/r"},
    {"late end does not end the next copy", ">Q <G >d <E >c >Q/bh <ZI/bh <G/b >c/bh <C <ZI/r"},
    {"copy fail", ">Q <G >d >f/bh <E/bh <ZI/r"},
    {"copy in, extended", ">P >B >E/bo <1 <2 <G/bo >d >c/bo >S/bh <C/bh <ZI/r"},
    {"copy in, extended, no sync yet at its end", ">P >B >E <1 <2 <G >c <C/o >S/bh <ZI/r"},
    {"copy in, extended, fails before the sync", ">P >B >E <1 <2 <G >d <E/s >d >c/s >S/bh <ZI/r"},
    {"copy in, extended, fails after the sync", ">P >B >E <1 <2 <G >d >c >S/bh <E/bh <ZI/r"},
    {"copy fail, extended", ">P >B >E <1 <2 <G >f >S <E/bh <ZI/r"},
    {"sync inside copy in is eaten", ">Q <G >d >S/b >H/b >c/bh <C <ZI/r"},
    {"sync inside extended copy in is eaten", ">B >E <2 <G/bo >S/bo >c/bo <C/o >S/bh <ZI/r"},
    {"sync ahead of copy in is eaten", ">P >B >E >S/bh <1 <2 <G/bo >d >c/bo >S/bh <C <ZI/r"},
    {"two syncs ahead of copy in", ">B >E >S >S/bh <2 <G/bo >c <C/o >S <ZI/r"},
    {"sync ahead of a simple copy in", ">Q >S/bh <G/b >c/bh <C <ZI/r"},
    {"whole copy pipelined", ">Q >d >d >c/bh <G/bh <C/bh <ZI/r"},
    {"whole copy pipelined, extended", ">P >B >E >d >c >S/bh <1 <2 <G/bh <C/bh <ZI/r"},
    {"sync, data, end, sync, all pipelined", ">B >E >S >d >c >S/bh <2 <G/bh <C/bh <ZI/r"},
    {"pipelined end of no copy", ">Q >c/bh >Q <C <ZI/bh <G/b >c <C <ZI/r"},
    {"pipelined end behind the last request", ">Q >c >f <C <ZI/r"},
    {"pipelined end behind a failing request", ">P >c >B <E/s >S <ZI/r"},
    {"sync inside failing copy in", ">Q <G >S >d <E/bht <ZI/t <ZI/t >Q/bht <C <ZI/t"},
    {"sync inside failing copy in, eaten", ">Q <G >S >d <E <ZI/t >Q/bht <T <D <C <ZI/t"},
    {"sync inside failing copy in, its ready comes late", ">Q <G >S <E <ZI/t >Q <ZI/bht <C <ZI/t <ZI!"},
    {"sync ahead of failing copy in", ">B >E >S <2 <G/bo >d <E/st >S/bht <ZI/t <ZI/t"},
    {"sync ahead of failing copy in, not eaten", ">B >E >S <2 <G <E/st <ZI/t >Q <C <ZI/t"},
    {"only data within copy in", ">Q <G >Q!"},
    {"no parse within copy in", ">Q <G >P!"},
    {"parse behind the end of copy in", ">Q <G >c >P/bo >S/bh <C <ZI <1 <ZI/r"},
    {"server ends a copy in that the client has not ended", ">Q <G >d <C!"},
    {"no ready within copy in", ">Q <G >c <ZI!"},
    {"no copy data from the server in copy in", ">Q <G <d!"},
    {"no rows in copy in", ">Q <G <D!"},

    {"copy out", ">Q <H/bh <d <d <c/bh <C <ZI/r"},
    {"copy out, extended", ">P >B >E >S <1 <2 <H/bh <d <c <C <ZI/r"},
    {"copy out fails", ">Q <H <d <E/bh <ZI/r"},
    {"copy out fails, extended", ">B >E >S <2 <H <d <E/bh <ZI/r"},
    {"pipelining behind copy out", ">Q <H >Q/bh <d <c <C <ZI/bh <C <ZI/r"},
    {"copy data outside of a copy", ">Q <d!"},
    {"copy done outside of a copy", ">Q <c!"},
    {"copy both", ">Q/bh <W/b <d/b >d/b >c/bh <c/bh <C <C <ZI/r"},
    {"copy both, server ends first", ">Q <W/b <d <c/b >c/bh <C <ZI/r"},
    {"copy both, then the next timeline", ">Q <W <d <c/b >c/bh <T/bh <D <C <C <ZI/r"},
    {"copy both, client ends first, then a result", ">Q <W >c/bh <d <c/bh <T <D <C <ZI/r"},
    {"copy both, no result before both have ended", ">Q <W <c <T!"},
    {"copy both again on one connection", ">Q <W <c >c/bh <C <ZI/r >Q <W/b <d >c/bh <c <C <ZI/r"},
    {"copy both, nothing but data", ">Q <W >S!"},

    {"own query before the client's", "=Q/bh >Q/bh <C* <ZI*/bh <T <D <C <ZI/r"},
    {"two own queries", "=Q =Q/bh <C* <C* <ZI* <T* <D* <C* <ZI*/r"},
    {"own query before an extended batch", "=Q >P/bo >B >E >S <S* <N* <C* <ZI* <1 <2 <C <ZI/r"},
    {"own query fails", "=Q >Q <E* <ZI* <C <ZI/r"},
    {"notification amid an own query", "=Q <A <C* <A <ZI*/r"},
    {"own query within an open batch", ">P <1/o =Q!"},
    {"own query while the server skips", ">P <E =Q!"},
    {"own query behind the client's", ">Q =Q!"},
    {"own query in a transaction", ">Q <C <ZT =Q/bh <C* <ZT*/"},

    {"injected parse", "+P/bo >B >E >S <1*# <2 <C <ZI/r -0"},
    {"injected close", ">P +C >S <1 <3*# <ZI/r"},
    {"injected close and parse ahead of a bind", "+C +P >B >D >E >S/bh <3*# <1*# <2 <T <C <ZI/r -0"},
    {"injected parse fails", "+P >B >E >S <E/bh -1 -0 <ZI/r"},
    {"injected parse is skipped", ">B +P >B >S <E/bh -1 <ZI/r"},
    {"injected parse while skipping", ">B <E/s +P/s >S -0 <ZI/r"},
    {"the second of two injected fails", "+C +P >B >S <3*# <E -1 <ZI/r"},
    {"no answer to an injected one is another's", "+P <3!"},
    {"injected within copy in", ">Q <G +P! ~P! :P!"},
    {"named parse", ":P/bo >B >E >S/bh <1# <2 <C <ZI/r"},
    {"named parse and unnamed ones", ">P :P >P >S <1 <1# <1 <ZI/r"},
    {"named parse with flush", ":P >D >H/bo <1# <t <n/o >S <ZI/r"},
    {"named parse fails", ":P >D >S <E/bh -1 <ZI/r"},
    {"named parse while skipping", ">B <E/s :P/s >S -0 <ZI/r"},
    {"error drops what is named, kept and injected", ">B :P ~C +P >B ~P >S <E -4 <ZI/r"},
    {"error drops to its sync only", ">B :P >S ~P :P >S <E -1 <ZI ?P <1# <ZI/r -0"},
    {"error behind what is named", ":P >B >E >S <1# <E -0 <ZI/r"},
    {"error of a query drops nothing", ":P >Q :P >S <1# <E -0 <ZI <1# <ZI/r"},
    {"error of the batch before drops nothing of the next", ">B >S :P >S <E -0 <ZI <1# <ZI/r"},
    {"error with nothing outstanding drops nothing", ":P <1#/o <E/s -0 >S <ZI/r"},
    {"batch again, its sync has been sent", ">B >D >E >S <E/bh %y <ZI*/r +C +P >B >S <3*# <1*# <2 <ZI/r"},
    {"batch again, no sync yet", ">B >E <E/s %y/bh <ZI*/r >B >E >S <2 <C <ZI/r"},
    {"batch again fails at its sync", ">B <E %y <E <ZI*/r"},
    {"batch not again in a transaction", ">Q <C <ZT >B >S <E %n <ZE >B <E %n"},
    {"batch not again when more follows", ">B >S >B >S <E %n <ZI %n <2 <ZI/r %n"},
    {"batch not again when the next is open", ">B >S >B <E %n"},
    {"batch not again behind its query", ">Q <E %n <ZI/r"},
    {"nothing is run",
     "^y :P ~P >P +C >B >D >C ^y >E ^n >S ^n <1# ?P <1 <3*# <2 <n <3 <C ^n <ZI ^y >Q ^n <C <ZI/r"},
    {"only kept ones", "_y ~P ~C _y >S _n ?P ?C <ZI/r"},
    {"only kept ones, but behind another", ">B ~P _n >H <2 _y ?P _y >S <ZI/r"},
    {"what is not injected or kept", "+Q! +F! +D! +d! +H! ~B! ~S!"},
    {"injected execute", "+C +P +B +E +C >Q/bh <3*# <1*# <2* <C* <3*# <T <D <C <ZI/r"},
    {"injected execute fails", "+C +P +B +E +C >B >S <3*# <1*# <2* <E -1 <ZI/r"},
    {"injected sync", "+P +S/bh <1*# <ZI*/r >Q <C <ZI/r"},
    {"injected sync of what fails", "+P +S/bh <E -1 <ZI*/r"},
    {"injected sync fails", "+P +S <1*# <E <ZE*"},
    {"kept parse, nothing before it", "~P/bo ?P/o ?- >B >E >S <2 <C <ZI/r"},
    {"kept parse behind others", ">P ~P ~C ?- >B >S <1 ?P ?C ?- <2 <ZI/r"},
    {"kept parse behind a failing one", ">P ~P >S ?- <E/bh ?- <ZI/r"},
    {"kept parse while skipping", ">P <E/s ~P/s ?- >S <ZI/r"},
    {"kept parse behind a sync", ">S ~P/bo ?- <ZI/bo ?P/o >S <ZI/r"},

    {"kept close ahead of copy in", ">B >E ~C >S ~P >c ~C >S <2 <G/bh <C ?C ?P ?C ?- <ZI/r"},

    {"asynchronous messages while idle", "<S/r <N/r <A/r"},
    {"asynchronous messages anywhere", ">P <N >B <S <1 >S <A <2 <N <ZI/r <A/r"},
    {"asynchronous messages in copy", ">Q <G/b <N/b <S/b >c <C <ZI/r"},
    {"asynchronous messages while skipping", ">P <E/s <N/s <S/s >S <ZI/r"},
    {"error with nothing outstanding", "<E/t"},
    {"error with nothing outstanding that was not fatal", "<E/t <ZI/t <ZI!"},
    {"error while idle in a transaction", ">Q <C <ZT <E/t"},
    {"error while idle in an open batch", ">P <1/o <E/s <E/s"},
    {"two errors for one query", ">Q <E <E/bh <ZI/r"},

    {"client: no such message", ">z!"},
    {"client: terminate is not for the tracker", ">X!"},
    {"client: password is not for the tracker", ">p!"},
    {"client: zero byte", ">0!"},
    {"client: data with nothing outstanding", ">d/r >c/r >f/r"},
    {"server: no such message", ">Q <y!"},
    {"server: authentication", ">Q <R!"},
    {"server: key data", "<K!"},
    {"server: ready with nothing outstanding", "<ZI!"},
    {"server: row with nothing outstanding", "<D!"},
    {"server: parse complete for a query", ">Q <1!"},
    {"server: bind complete for a parse", ">P <2!"},
    {"server: row for a bind", ">B <D!"},
    {"server: row description for an execute", ">E <T!"},
    {"server: parameter description for a query", ">Q <t!"},
    {"server: complete for a sync", ">S <C!"},
    {"server: suspended for a query", ">Q <s!"},
    {"server: copy for a parse", ">P <G!"},
    {"server: copy within a copy", ">Q <G <H!"},
    {"server: ready for a parse", ">P <ZI!"},
};

static void state_string(const struct tracker *t, char *out)
{
    if (tracker_is_releasable(t))
        *out++ = 'r';
    if (tracker_is_busy(t))
        *out++ = 'b';
    if (tracker_may_hold(t))
        *out++ = 'h';
    if (t->is_open)
        *out++ = 'o';
    if (t->is_skipping)
        *out++ = 's';
    if (t->is_tainted)
        *out++ = 't';
    *out = '\0';
}

static uint32_t expected_facts(char type, bool is_internal, bool is_statement)
{
    uint32_t facts = (is_internal ? TRACKER_INTERNAL : 0) | (is_statement ? TRACKER_STATEMENT : 0);
    switch (type) {
    case 'Z': return facts | TRACKER_READY;
    case 'E': return facts | TRACKER_ERROR;
    case 'S':
    case 'N':
    case 'A': return facts | TRACKER_ASYNC;
    case 'G':
    case 'H':
    case 'W': return facts | TRACKER_COPY_BEGIN;
    default: return facts;
    }
}

/* Plays one event; returns whether all was as the token says. */
static bool play(struct tracker *t, const char *token)
{
    char op = token[0], type = token[1];
    size_t event_len = strcspn(token, "/");
    bool is_refused = memchr(token, '!', event_len) != NULL;
    bool is_internal = memchr(token, '*', event_len) != NULL;
    bool is_statement = memchr(token, '#', event_len) != NULL;
    uint8_t byte = type == '0' ? 0 : (uint8_t)type;

    switch (op) {
    case '>':
        if (tracker_client(t, byte) != (is_refused ? TRACKER_VIOLATION : TRACKER_FORWARD))
            return false;
        break;
    case '<':
        /* a BAD answer may carry what was known besides */
        if (is_refused ? !(tracker_server(t, byte, (uint8_t)token[2]) & TRACKER_BAD)
                       : tracker_server(t, byte, (uint8_t)token[2]) !=
                             expected_facts(type, is_internal, is_statement))
            return false;
        break;
    case '=':
        if (tracker_internal_query(t) == is_refused)
            return false;
        break;
    case '+':
        if (tracker_inject(t, byte) != (is_refused ? TRACKER_VIOLATION : TRACKER_FORWARD))
            return false;
        break;
    case '~':
        if (tracker_keep(t, byte) != (is_refused ? TRACKER_VIOLATION : TRACKER_FORWARD))
            return false;
        break;
    case ':':
        if (tracker_named_parse(t) != (is_refused ? TRACKER_VIOLATION : TRACKER_FORWARD))
            return false;
        break;
    case '-':
        if (tracker_take_dropped(t) != (uint32_t)(type - '0'))
            return false;
        break;
    case '^':
        if (tracker_runs_nothing(t) != (type == 'y'))
            return false;
        break;
    case '%':
        if (tracker_retry(t) != (type == 'y'))
            return false;
        break;
    case '_':
        if (tracker_has_only_kept(t) != (type == 'y'))
            return false;
        break;
    case '?':
        if (tracker_take_kept(t) != (type == '-' ? 0 : byte))
            return false;
        break;
    default: return false;
    }

    char state[8];
    state_string(t, state);
    return tracker_check(t) && (token[event_len] != '/' || strcmp(token + event_len + 1, state) == 0);
}

static void test_situations(void **unused)
{
    (void)unused;
    uint32_t n_failed = 0;
    for (size_t i = 0; i < ARRAY_SIZE(situations); i++) {
        struct tracker t;
        char events[256], *save = NULL;
        tracker_init(&t);
        assert_true(strlen(situations[i].events) < sizeof(events));
        strcpy(events, situations[i].events);
        uint32_t n = 0;
        for (char *token = strtok_r(events, " ", &save); token; token = strtok_r(NULL, " ", &save)) {
            n++;
            if (!play(&t, token)) {
                char state[8];
                state_string(&t, state);
                print_error("%s: event %u, \"%s\": state is now \"%s\"\n", situations[i].name, n, token,
                            state);
                n_failed++;
                break;
            }
        }
        tracker_destroy(&t);
    }
    assert_int_equal(n_failed, 0);
}

static void test_ring_grows_and_blocks(void **unused)
{
    (void)unused;
    struct tracker t;
    tracker_init(&t);
    for (int round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < TRACKER_MAX_REQUESTS - 1; i++)
            assert_int_equal(tracker_client(&t, i % 3 == 0 ? 'P' : i % 3 == 1 ? 'B' : 'E'), TRACKER_FORWARD);
        assert_int_equal(tracker_client(&t, 'S'), TRACKER_FORWARD);
        assert_int_equal(tracker_client(&t, 'P'), TRACKER_BLOCK);
        assert_int_equal(tracker_client(&t, 'c'), TRACKER_BLOCK);
        assert_int_equal(tracker_client(&t, 'H'), TRACKER_FORWARD);
        assert_false(tracker_internal_query(&t));
        assert_true(tracker_check(&t));
        assert_true(tracker_may_hold(&t));
        assert_int_equal(tracker_server(&t, '1', 0), 0);
        assert_int_equal(tracker_client(&t, 'S'), TRACKER_FORWARD);
        assert_int_equal(t.ready_due, 2);
        for (uint32_t i = 1; i < TRACKER_MAX_REQUESTS - 1; i++)
            assert_int_equal(tracker_server(&t, i % 3 == 0 ? '1' : i % 3 == 1 ? '2' : 'C', 0), 0);
        assert_int_equal(tracker_server(&t, 'Z', 'I'), TRACKER_READY);
        assert_false(tracker_is_releasable(&t));
        assert_int_equal(tracker_server(&t, 'Z', 'I'), TRACKER_READY);
        assert_true(tracker_is_releasable(&t));
        assert_int_equal(t.capacity, TRACKER_INLINE); /* a large ring is given back */
    }
    tracker_destroy(&t);
}

static void test_ring_grows_when_wrapped(void **unused)
{
    (void)unused;
    struct tracker t;
    tracker_init(&t);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(tracker_client(&t, 'P'), TRACKER_FORWARD);
        assert_int_equal(tracker_server(&t, '1', 0), 0);
    }
    /* P B S in turns, 60 in all, over the end of the small ring. */
    for (int i = 0; i < 60; i++)
        assert_int_equal(tracker_client(&t, (uint8_t) "PBS"[i % 3]), TRACKER_FORWARD);
    for (int i = 0; i < 60; i++) {
        assert_true(tracker_check(&t));
        assert_false(tracker_is_releasable(&t));
        assert_false(tracker_server(&t, (uint8_t) "12Z"[i % 3], 'I') & TRACKER_BAD);
    }
    assert_true(tracker_is_releasable(&t));
    tracker_reset(&t);
    assert_int_equal(t.capacity, TRACKER_INLINE);
    tracker_destroy(&t);
}

static void test_reset_forgets(void **unused)
{
    (void)unused;
    struct tracker t;
    tracker_init(&t);
    assert_int_equal(tracker_server(&t, 'E', 0), TRACKER_ERROR);
    assert_int_equal(tracker_client(&t, 'P'), TRACKER_FORWARD);
    assert_false(tracker_is_releasable(&t));
    tracker_reset(&t);
    assert_true(tracker_is_releasable(&t));
    assert_true(tracker_check(&t));
    tracker_destroy(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_situations),
        cmocka_unit_test(test_ring_grows_and_blocks),
        cmocka_unit_test(test_ring_grows_when_wrapped),
        cmocka_unit_test(test_reset_forgets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
