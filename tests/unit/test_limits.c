/*
 * test_limits.c - limits across pools: places, rings, turns, evictions.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "pool/registry.h"

static struct registry *registry;
static struct ticket tickets[32];
static int n_tickets;

static int setup(void **state)
{
    (void)state;
    registry = registry_new(2);
    memset(tickets, 0, sizeof(tickets));
    n_tickets = 0;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    registry_destroy(registry);
    return 0;
}

static struct pool *make_pool(const char *database, const char *user)
{
    struct pool_config config = {.limit = 5, .login_retry_us = 1000000};
    struct pool_acts acts;
    bool is_new;
    struct pool *pool = registry_get_pool(registry, database, user, &is_new);

    pool_configure(pool, &config, 1, &acts);
    pool->ramp = 5;
    return pool;
}

static struct ticket *checkout(struct pool *pool, int64_t now_us, struct pool_acts *acts)
{
    struct ticket *t = &tickets[n_tickets++];
    t->client = (uint64_t)n_tickets;
    pool_checkout(pool, t, now_us, acts);
    return t;
}

static const struct pool_act *find(const struct pool_acts *acts, enum pool_act_kind kind)
{
    for (int i = 0; i < acts->n; i++)
        if (acts->act[i].kind == kind)
            return &acts->act[i];
    return NULL;
}

static void set_max(struct limits *l, int max)
{
    struct pool_acts acts;
    limits_set_max(l, max, &acts);
    assert_int_equal(acts.n, 0);
}

/* A connection for a new client, linked. */
static struct slot *open_one(struct pool *pool, int64_t now_us)
{
    struct pool_acts acts;
    struct slot *slot;

    checkout(pool, now_us, &acts);
    assert_non_null(find(&acts, POOL_ACT_CONNECT));
    slot = find(&acts, POOL_ACT_CONNECT)->slot;
    pool_connected(pool, slot, NULL, now_us, &acts);
    assert_int_equal(acts.act[0].kind, POOL_ACT_LINK);
    return slot;
}

static void test_starve_and_turns(void **state)
{
    struct pool *a = make_pool("d", "a"), *b = make_pool("d", "b"), *c = make_pool("d", "c");
    struct limits *l = &a->database->limits;
    struct pool_acts acts;

    (void)state;
    set_max(l, 1);
    struct slot *slot = open_one(a, 10);
    struct ticket *waiting = checkout(b, 20, &acts);
    assert_int_equal(acts.n, 1);
    assert_int_equal(acts.act[0].kind, POOL_ACT_EVICT);
    assert_ptr_equal(acts.act[0].limits, l);
    assert_ptr_equal(acts.act[0].pool, b);
    assert_false(limits_evict(l, b, 21, &acts)); /* a's server is in use */
    checkout(c, 30, &acts);
    /* With nobody waiting at a, its server gives way instead of becoming idle. */
    pool_release(a, slot, CLOSE_NONE, 40, &acts);
    assert_int_equal(acts.act[0].kind, POOL_ACT_CLOSE);
    assert_int_equal(slot->close_reason, CLOSE_OVER_LIMIT);
    assert_int_equal(l->count, 1); /* until PostgreSQL has closed */
    pool_closed(a, slot, 50, &acts);
    assert_int_equal(acts.n, 1);
    assert_int_equal(acts.act[0].kind, POOL_ACT_PUMP);
    assert_ptr_equal(acts.act[0].pool, b);
    /* Before b comes, neither a nor c may take the place. */
    checkout(a, 51, &acts);
    assert_null(find(&acts, POOL_ACT_CONNECT));
    pool_pump(c, 0, 52, &acts);
    assert_null(find(&acts, POOL_ACT_CONNECT));
    /* b's client has gone: the turn is passed on. */
    assert_true(pool_cancel(b, waiting, 53));
    pool_pump(b, 0, 54, &acts);
    assert_int_equal(acts.n, 1);
    assert_int_equal(acts.act[0].kind, POOL_ACT_PUMP);
    assert_ptr_equal(acts.act[0].pool, c);
    pool_pump(c, 0, 55, &acts);
    assert_non_null(find(&acts, POOL_ACT_CONNECT));
    assert_int_equal(l->count, 1);
    assert_ptr_equal(a->starves_for, l);
    assert_null(c->starves_for);
}

static void test_max_changes(void **state)
{
    struct pool *a = make_pool("d", "a"), *b = make_pool("d", "b");
    struct limits *l = &a->database->limits;
    struct pool_acts acts;

    (void)state;
    set_max(l, 1);
    struct slot *slot = open_one(a, 10);
    checkout(b, 20, &acts);
    limits_set_max(l, 2, &acts);
    assert_int_equal(acts.n, 1);
    assert_int_equal(acts.act[0].kind, POOL_ACT_PUMP);
    assert_ptr_equal(acts.act[0].pool, b);
    pool_pump(b, 0, 30, &acts);
    assert_non_null(find(&acts, POOL_ACT_CONNECT));
    set_max(l, 1); /* now one too many: the next that comes free goes */
    pool_release(a, slot, CLOSE_NONE, 40, &acts);
    assert_int_equal(acts.act[0].kind, POOL_ACT_CLOSE);
    limits_set_max(l, 0, &acts);
    checkout(a, 50, &acts);
    assert_non_null(find(&acts, POOL_ACT_CONNECT));
}

static void test_evict_longest_idle(void **state)
{
    struct pool *a = make_pool("d", "a"), *b = make_pool("d", "b"), *c = make_pool("d", "c");
    struct limits *l = &a->database->limits;
    struct pool_acts acts;

    (void)state;
    struct slot *of_a = open_one(a, 10), *of_b = open_one(b, 10);
    pool_release(b, of_b, CLOSE_NONE, 20, &acts);
    pool_release(a, of_a, CLOSE_NONE, 30, &acts);
    set_max(l, 2);
    assert_false(limits_evict(l, c, 40, &acts)); /* nobody starves */
    checkout(c, 40, &acts);
    assert_non_null(find(&acts, POOL_ACT_EVICT));
    assert_true(limits_evict(l, c, 41, &acts));
    assert_int_equal(acts.n, 1);
    assert_int_equal(acts.act[0].kind, POOL_ACT_CLOSE);
    assert_ptr_equal(acts.act[0].slot, of_b);
    assert_false(limits_evict(l, c, 42, &acts)); /* one is enough */
    assert_int_equal(of_a->state, SLOT_IDLE);
    pool_closed(b, of_b, 43, &acts);
    assert_ptr_equal(acts.act[0].pool, c);
    pool_pump(c, 0, 44, &acts);
    assert_non_null(find(&acts, POOL_ACT_CONNECT));
}

/* Guards: an older pool of another ring took the place that was to feed the head, and an idle server stayed.
 */
static void test_place_taken_by_older_pool(void **state)
{
    struct pool *x = make_pool("e", "x"), *old = make_pool("d", "x");
    struct pool *idle = make_pool("d", "i"), *young = make_pool("d", "y");
    struct limits *d = &old->database->limits, *u = &x->user->limits;
    struct pool_acts acts;

    (void)state;
    set_max(u, 1);
    set_max(d, 2);
    struct slot *slot_x = open_one(x, 10), *slot_i = open_one(idle, 10);
    open_one(idle, 10);
    pool_release(idle, slot_i, CLOSE_NONE, 11, &acts);
    checkout(old, 20, &acts);
    assert_ptr_equal(old->starves_for, d);
    limits_set_max(d, 3, &acts); /* with room in the database it goes on to starve for its user */
    pool_pump(old, 0, 21, &acts);
    assert_ptr_equal(old->starves_for, u);
    set_max(d, 2);
    checkout(young, 30, &acts);
    assert_ptr_equal(young->starves_for, d);
    limits_set_max(d, 3, &acts); /* young is called, */
    assert_ptr_equal(find(&acts, POOL_ACT_PUMP)->pool, young);
    pool_release(x, slot_x, CLOSE_UNCLEAN, 40, &acts);
    pool_closed(x, slot_x, 41, &acts);
    assert_ptr_equal(find(&acts, POOL_ACT_PUMP)->pool, old);
    pool_pump(old, 0, 42, &acts); /* but old is quicker */
    assert_non_null(find(&acts, POOL_ACT_CONNECT));
    assert_non_null(find(&acts, POOL_ACT_EVICT));
    assert_ptr_equal(find(&acts, POOL_ACT_EVICT)->pool, young);
    assert_true(limits_evict(d, young, 43, &acts));
    assert_ptr_equal(acts.act[0].slot, slot_i);
}

/* A pool whose own clients go on waiting gives one up after a turn, to a pool that has none. */
static void test_turns_of_busy_pools(void **state)
{
    struct pool *a = make_pool("d", "a"), *b = make_pool("d", "b");
    struct limits *l = &a->database->limits;
    struct pool_acts acts;
    int64_t turn_us = LIMITS_TURN_US;

    (void)state;
    set_max(l, 2);
    struct slot *one = open_one(a, 10), *two = open_one(a, 11);
    for (int i = 0; i < 8; i++)
        checkout(a, 20, &acts);
    checkout(b, 30, &acts);
    pool_release(a, one, CLOSE_NONE, 9 + turn_us, &acts);
    assert_int_equal(acts.act[0].kind, POOL_ACT_LINK); /* its turn is not over */
    pool_release(a, one, CLOSE_NONE, 10 + turn_us, &acts);
    assert_int_equal(acts.act[0].kind, POOL_ACT_CLOSE);
    assert_int_equal(one->close_reason, CLOSE_OVER_LIMIT);
    pool_release(a, two, CLOSE_NONE, 20 + turn_us, &acts);
    assert_int_equal(acts.act[0].kind, POOL_ACT_LINK); /* one is on its way already */
    /* a starves now, too, but behind b */
    pool_closed(a, one, 21 + turn_us, &acts);
    assert_ptr_equal(find(&acts, POOL_ACT_PUMP)->pool, b);
    pool_pump(b, 0, 22 + turn_us, &acts);
    pool_connected(b, find(&acts, POOL_ACT_CONNECT)->slot, NULL, 23 + turn_us, &acts);
    /* With one each, a has no claim to b's, however long it starves. */
    struct slot *of_b = acts.act[0].slot;
    checkout(b, 24 + turn_us, &acts);
    pool_release(b, of_b, CLOSE_NONE, 24 + 3 * turn_us, &acts);
    assert_int_equal(acts.act[0].kind, POOL_ACT_LINK);
    /* With nobody waiting at b it has. */
    pool_release(b, of_b, CLOSE_NONE, 25 + 3 * turn_us, &acts);
    assert_int_equal(acts.act[0].kind, POOL_ACT_CLOSE);
}

/* One that has two fewer is given to; who gives goes behind it in the ring. */
static void test_shares_differ_by_one(void **state)
{
    struct pool *a = make_pool("d", "a"), *b = make_pool("d", "b");
    struct limits *l = &a->database->limits;
    struct pool_acts acts;
    int64_t later_us = 2 * LIMITS_TURN_US;

    (void)state;
    set_max(l, 4);
    struct slot *of_a[3];
    for (int i = 0; i < 3; i++)
        of_a[i] = open_one(a, 10);
    open_one(b, 10);
    for (int i = 0; i < 6; i++)
        checkout(a, 20, &acts); /* a wants more first */
    assert_ptr_equal(a->starves_for, l);
    checkout(b, 30, &acts);
    assert_ptr_equal(b->starves_for, l);
    pool_release(a, of_a[0], CLOSE_NONE, later_us, &acts);
    assert_int_equal(acts.act[0].kind, POOL_ACT_CLOSE);
    pool_closed(a, of_a[0], later_us + 1, &acts);
    assert_ptr_equal(find(&acts, POOL_ACT_PUMP)->pool, b);
    pool_pump(b, 0, later_us + 2, &acts);
    assert_non_null(find(&acts, POOL_ACT_CONNECT));
    pool_release(a, of_a[1], CLOSE_NONE, 2 * later_us, &acts);
    assert_int_equal(acts.act[0].kind, POOL_ACT_LINK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_starve_and_turns, setup, teardown),
        cmocka_unit_test_setup_teardown(test_max_changes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_evict_longest_idle, setup, teardown),
        cmocka_unit_test_setup_teardown(test_place_taken_by_older_pool, setup, teardown),
        cmocka_unit_test_setup_teardown(test_turns_of_busy_pools, setup, teardown),
        cmocka_unit_test_setup_teardown(test_shares_differ_by_one, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
