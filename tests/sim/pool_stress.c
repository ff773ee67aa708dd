/*
 * pool_stress.c - the model's workers on real threads: eight of them fight for one to three servers.
 *
 * Usage: pool_stress [steps per thread [seed]]. Meant for ThreadSanitizer; in any build it
 * finds lost slots and lost tickets, since all has to come to its end when the threads have.
 *
 * Threads: one per worker and one for the control thread; the main thread only before and after them.
 */
#include "pool_model.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define STRESS_WORKERS 8

static struct model model;
static uint64_t steps = 100000;

static void *worker_main(void *arg)
{
    for (uint64_t i = 0; i < steps; i++)
        model_worker_step(arg);
    return NULL;
}

static void *control_main(void *arg)
{
    struct model_worker *w = arg;
    for (uint64_t i = 0; i < steps / 4; i++)
        model_control_step(w);
    return NULL;
}

static void configure(int limit)
{
    for (int i = 0; i < model.n_pools; i++) {
        struct pool_config config = {
            .limit = limit, .reserve = limit - 1, .reserve_after_us = 1000, .login_retry_us = 1000};
        struct pool_acts acts;
        pool_configure(model.pools[i], &config, 1, &acts);
    }
}

static void run(uint64_t seed, int limit, bool with_control)
{
    pthread_t threads[STRESS_WORKERS + 1];
    int n = 0;

    model_init(&model, seed, STRESS_WORKERS, 1 + (int)(seed % 2), 1);
    configure(limit);
    for (int i = 0; i < STRESS_WORKERS; i++)
        model_require(pthread_create(&threads[n++], NULL, worker_main, &model.workers[i]) == 0);
    if (with_control)
        model_require(pthread_create(&threads[n++], NULL, control_main, &model.control) == 0);
    while (n > 0)
        model_require(pthread_join(threads[--n], NULL) == 0);
    model_drain(&model);
    model_destroy(&model);
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;

    if (argc > 1)
        steps = strtoull(argv[1], NULL, 0);
    for (int limit = 1; limit <= 3; limit++) {
        run(seed + (uint64_t)limit, limit, false);
        run(seed + (uint64_t)limit, limit, true);
    }
    printf("pool_stress: done\n");
    return 0;
}
