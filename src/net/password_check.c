/*
 * password_check.c - who waits for PAM and LDAP, and the threads that ask them.
 *
 * Threads: see password_check.h. check_mutex is a leaf: nothing else is taken, called or allocated while it
 * is held. It is a plain mutex, as a condition variable needs one. Not here: PAM (password_pam.c), LDAP
 * (password_ldap.c).
 */
#include "net/password_check.h"

#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/secret.h"
#include "password_int.h"

struct checker {
    pthread_t thread;
    bool is_used;                 /* [check_mutex] the place is taken */
    struct password_check *check; /* [check_mutex] what it is at, or NULL */
};

static pthread_mutex_t check_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t check_cond = PTHREAD_COND_INITIALIZER;
/* [check_mutex] */
static struct list waiting = {&waiting, &waiting}; /* struct password_check, oldest first */
static int n_waiting;
static struct checker checkers[CHECK_MAX_THREADS];
static int n_idle;
static bool is_stopping;

/* ---- requests ---- */

struct password_check *check_new(const char *user, const char *password)
{
    struct password_check *c = calloc(1, sizeof(*c));

    if (c == NULL)
        return NULL;
    list_init(&c->node);
    c->user = strdup(user);
    c->password = strdup(password);
    if (c->user != NULL && c->password != NULL)
        return c;
    check_free(c);
    return NULL;
}

void check_free(struct password_check *c)
{
    if (c == NULL)
        return;
    secret_free(c->password);
    ldap_rule_unref(c->ldap);
    free(c->user);
    free(c);
}

void check_say(struct password_check *c, enum check_outcome outcome, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(c->why, sizeof(c->why), fmt, ap);
    va_end(ap);
    c->outcome = outcome;
}

/* Whom a check keeps busy, and from where it comes. */
static void set_keys(struct password_check *c)
{
    const struct ldap_rule *r = c->ldap;

    if (r == NULL) {
        c->target = c->threads > 1 ? hash_bytes(c->pam_service, strlen(c->pam_service)) : 0;
    } else {
        const char *where = r->server != NULL && r->server[0] != '\0' ? r->server : r->base_dn;
        c->target = ~(hash_bytes(where, strlen(where)) + (uint64_t)r->port * 2 + r->is_ldaps);
    }
    c->address = hash_bytes(c->addr, sizeof(c->addr)) + (uint64_t)c->family;
}

/* ---- who is next ---- */

/* [check_mutex] How many run for its target; *of_address: of these, for its address. */
static int count_running(const struct password_check *c, int *of_address)
{
    int n = 0;

    *of_address = 0;
    for (int i = 0; i < CHECK_MAX_THREADS; i++) {
        const struct password_check *other = checkers[i].check;
        if (other == NULL || other->target != c->target)
            continue;
        n++;
        *of_address += other->address == c->address;
    }
    return n;
}

/* [check_mutex] The one that is to be checked now; NULL: none may be. */
static struct password_check *next_check(void)
{
    struct password_check *best = NULL;
    int fewest = CHECK_MAX_THREADS;

    LIST_FOR_EACH (it, &waiting) {
        struct password_check *c = list_entry(it, struct password_check, node);
        int of_address;
        if (count_running(c, &of_address) >= c->threads || of_address >= fewest)
            continue;
        best = c;
        fewest = of_address;
        if (fewest == 0)
            break;
    }
    return best;
}

/* [check_mutex] */
static int count_waiting(const struct password_check *c)
{
    int n = 0;

    LIST_FOR_EACH (it, &waiting)
        n += list_entry(it, struct password_check, node)->target == c->target;
    return n;
}

/* ---- threads ---- */

/* Its target has a free place then, which this thread itself will fill. */
static void finish(struct checker *self, struct password_check *c)
{
    struct loop *reply_to = c->reply_to;

    if (c->outcome != CHECK_RIGHT) {
        secret_free(c->password);
        c->password = NULL;
    }
    pthread_mutex_lock(&check_mutex);
    bool is_wanted = c->state == CHECK_RUNS;
    c->state = CHECK_ANSWERED;
    self->check = NULL;
    pthread_mutex_unlock(&check_mutex);
    if (is_wanted)
        loop_post(reply_to, &c->mail);
    else
        check_free(c);
}

static void run(struct password_check *c)
{
    int64_t now_us = clock_now_us(), until_us = now_us + CHECK_MAX_US;

    if (c->deadline_us != 0 && c->deadline_us < until_us)
        until_us = c->deadline_us;
    if (until_us <= now_us)
        check_say(c, CHECK_FAILED, "it has waited too long for its turn");
    else if (c->ldap != NULL)
        check_by_ldap(c, until_us);
    else
        check_by_pam(c);
}

static void *checker_main(void *arg)
{
    struct checker *self = arg;

    for (;;) {
        struct password_check *c = NULL;
        pthread_mutex_lock(&check_mutex);
        while (!is_stopping && (c = next_check()) == NULL) {
            n_idle++;
            pthread_cond_wait(&check_cond, &check_mutex);
            n_idle--;
        }
        if (c != NULL) {
            list_del(&c->node);
            n_waiting--;
            c->state = CHECK_RUNS;
            self->check = c;
        }
        pthread_mutex_unlock(&check_mutex);
        if (c == NULL)
            return NULL;
        run(c);
        finish(self, c);
    }
}

/* A thread in a place that has been taken for it. */
static bool start_thread(struct checker *self)
{
    sigset_t set, old;

    log_thread_signals(&set);
    pthread_sigmask(SIG_SETMASK, &set, &old);
    bool ok = pthread_create(&self->thread, NULL, checker_main, self) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (ok)
        return true;
    pthread_mutex_lock(&check_mutex);
    self->is_used = false;
    pthread_mutex_unlock(&check_mutex);
    return false;
}

/* [check_mutex] A place for one more thread, or NULL. */
static struct checker *take_place(void)
{
    for (int i = 0; i < CHECK_MAX_THREADS; i++)
        if (!checkers[i].is_used) {
            checkers[i].is_used = true;
            return &checkers[i];
        }
    return NULL;
}

/* ---- for all threads ---- */

/* Takes it out of the queue again; false when a thread has it, or has had it. */
static bool take_back_locked(struct password_check *c)
{
    if (c->state != CHECK_WAITS)
        return false;
    list_del(&c->node);
    n_waiting--;
    return true;
}

/* [check_mutex] More threads than this are harmless, fewer are not: one that is idle may have been woken for
 * another target, which may hang. */
static struct checker *place_for(const struct password_check *c)
{
    int of_address;

    if (n_idle >= n_waiting || count_running(c, &of_address) >= c->threads)
        return NULL;
    return take_place();
}

/* A thread could not be made. False: there is none at all, and c is not in the queue any more. */
static bool can_wait(struct password_check *c)
{
    bool has_threads = false;

    pthread_mutex_lock(&check_mutex);
    for (int i = 0; i < CHECK_MAX_THREADS; i++)
        has_threads = has_threads || checkers[i].is_used;
    bool is_back = !has_threads && take_back_locked(c);
    pthread_mutex_unlock(&check_mutex);
    return !is_back;
}

bool check_submit(struct password_check *c)
{
    struct checker *place = NULL;

    set_keys(c);
    c->state = CHECK_WAITS;
    pthread_mutex_lock(&check_mutex);
    bool is_full = count_waiting(c) >= CHECK_MAX_WAITING;
    if (!is_full) {
        list_push_back(&waiting, &c->node);
        n_waiting++;
        pthread_cond_signal(&check_cond);
        place = place_for(c);
    }
    pthread_mutex_unlock(&check_mutex);
    if (is_full) {
        check_say(c, CHECK_FAILED, "too many logins wait for it");
        return false;
    }
    if (place == NULL || start_thread(place) || can_wait(c))
        return true;
    check_say(c, CHECK_FAILED, "no thread can be made for it");
    return false;
}

void check_abandon(struct password_check *c)
{
    pthread_mutex_lock(&check_mutex);
    bool is_ours = take_back_locked(c);
    if (!is_ours && c->state == CHECK_RUNS)
        c->state = CHECK_ABANDONED;
    pthread_mutex_unlock(&check_mutex);
    if (is_ours)
        check_free(c);
}

void check_figures(struct check_figures *f)
{
    *f = (struct check_figures){0};
    pthread_mutex_lock(&check_mutex);
    f->waiting = n_waiting;
    for (int i = 0; i < CHECK_MAX_THREADS; i++)
        f->running += checkers[i].check != NULL;
    pthread_mutex_unlock(&check_mutex);
}

static bool is_at_work(const struct checker *x)
{
    pthread_mutex_lock(&check_mutex);
    const bool is = x->check != NULL;
    pthread_mutex_unlock(&check_mutex);
    return is;
}

bool checks_stop(int64_t wait_us)
{
    struct timespec until = clock_wall_in(wait_us);
    struct list *node;

    pthread_mutex_lock(&check_mutex);
    is_stopping = true;
    pthread_cond_broadcast(&check_cond);
    pthread_mutex_unlock(&check_mutex);
    bool is_clean = true;
    for (int i = 0; i < CHECK_MAX_THREADS; i++) {
        if (!checkers[i].is_used)
            continue;
        if (!is_at_work(&checkers[i])) {
            (void)pthread_join(checkers[i].thread, NULL); /* it ends when it gets a processor */
        } else if (pthread_timedjoin_np(checkers[i].thread, NULL, &until) != 0) {
            (void)pthread_detach(checkers[i].thread);
            is_clean = false;
        }
        checkers[i].is_used = false;
    }
    if (!is_clean)
        return false;
    while ((node = list_pop_front(&waiting)) != NULL)
        check_free(list_entry(node, struct password_check, node));
    n_waiting = 0;
    is_stopping = false;
    return true;
}
