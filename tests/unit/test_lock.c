/*
 * test_lock.c - locks keep threads apart; debug builds abort on a wrong order of ranks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include "config.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/compiler.h"
#include "base/lock.h"

static struct lock counter_lock = LOCK_INITIALIZER(LOCK_RANK_LEAF);
static long counter; /* [counter_lock] */

static void *count(void *arg)
{
    (void)arg;
    for (int i = 0; i < 20000; i++) {
        lock_acquire(&counter_lock);
        counter++;
        lock_release(&counter_lock);
    }
    return NULL;
}

static void test_mutual_exclusion(void **state)
{
    pthread_t threads[4];
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count, NULL), 0);
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(counter, 4 * 20000);
}

static void test_rising_ranks(void **state)
{
    struct lock registry, pool;
    (void)state;
    lock_init(&registry, LOCK_RANK_REGISTRY);
    lock_init(&pool, LOCK_RANK_POOL);
    lock_assert_below(LOCK_RANK_REGISTRY);
    lock_acquire(&registry);
    lock_assert_below(LOCK_RANK_POOL);
    lock_acquire(&pool);
    lock_assert_held(&registry);
    lock_assert_held(&pool);
    lock_release(&registry); /* not the last one taken */
    lock_assert_held(&pool);
    lock_release(&pool);
    lock_assert_below(LOCK_RANK_REGISTRY);
    lock_destroy(&registry);
    lock_destroy(&pool);
}

static void take_falling(void)
{
    struct lock a, b;
    lock_init(&a, LOCK_RANK_POOL);
    lock_init(&b, LOCK_RANK_REGISTRY);
    lock_acquire(&a);
    lock_acquire(&b);
}

static void take_two_of_one_rank(void)
{
    struct lock a, b;
    lock_init(&a, LOCK_RANK_POOL);
    lock_init(&b, LOCK_RANK_POOL);
    lock_acquire(&a);
    lock_acquire(&b);
}

static void claim_not_held(void)
{
    lock_assert_held(&counter_lock);
}

static void claim_below(void)
{
    lock_acquire(&counter_lock);
    lock_assert_below(LOCK_RANK_LEAF);
}

/* Runs f in a child; true when it died of a failed assertion. */
static int aborts(void (*f)(void))
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        const struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        signal(SIGABRT, SIG_DFL);
        close(STDERR_FILENO);
        f();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void test_wrong_order_aborts_in_debug(void **state)
{
    void (*const wrong[])(void) = {take_falling, take_two_of_one_rank, claim_not_held, claim_below};
#ifdef PGSLUICE_DEBUG
    const int expected = 1;
#else
    const int expected = 0;
#endif
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
        assert_int_equal(aborts(wrong[i]), expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mutual_exclusion),
        cmocka_unit_test(test_rising_ranks),
        cmocka_unit_test(test_wrong_order_aborts_in_debug),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
