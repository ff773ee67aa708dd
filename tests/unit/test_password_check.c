/*
 * test_password_check.c - who waits for whom: bounds, turns, and requests that nobody wants any more.
 *
 * The directory is a socket that takes connections and says nothing, until it is closed.
 */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "net/password_check.h"

#define THREADS 4

static struct loop loop;
static int n_answers, n_wanted;
static char order[4096]; /* the users, as they come back */

static void on_mail(struct loop *l, struct mail *m)
{
    struct password_check *c = container_of(m, struct password_check, mail);

    snprintf(order + strlen(order), sizeof(order) - strlen(order), "%s%s", c->user,
             c->outcome == CHECK_FAILED ? " " : "? ");
    check_free(c);
    if (++n_answers == n_wanted)
        loop_stop(l);
}

static void wait_answers(int n)
{
    n_wanted = n;
    if (n_answers < n)
        loop_run(&loop);
    assert_int_equal(n_answers, n);
}

/* Listens; the port. */
static int silent_server(int *port)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof(in);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
    assert_int_equal(listen(fd, 1024), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &bytes), 0);
    *port = ntohs(in.sin_port);
    return fd;
}

static struct password_check *new_check(const char *user, int port, int address)
{
    char options[100];
    struct buf why;
    struct password_check *c = check_new(user, "secret");

    assert_non_null(c);
    buf_init(&why, 0);
    snprintf(options, sizeof(options), "ldapserver=127.0.0.1 ldapport=%d ldapprefix=x= ldapsuffix=!", port);
    c->ldap = ldap_rule_parse(options, &why);
    assert_non_null(c->ldap);
    buf_free(&why);
    c->reply_to = &loop;
    c->threads = THREADS;
    c->family = AF_INET;
    c->addr[0] = (uint8_t)address;
    return c;
}

static struct password_check *submit(const char *user, int port, int address)
{
    struct password_check *c = new_check(user, port, address);
    assert_true(check_submit(c));
    return c;
}

static void wait_running(int running)
{
    struct check_figures f;
    do {
        usleep(1000);
        check_figures(&f);
    } while (f.running != running);
}

/* Nobody waits and nothing runs: not so for a check that no thread has taken up yet. */
static void wait_idle(void)
{
    struct check_figures f;
    do {
        usleep(1000);
        check_figures(&f);
    } while (f.running != 0 || f.waiting != 0);
}

static void assert_waiting(int waiting)
{
    struct check_figures f;
    check_figures(&f);
    assert_int_equal(f.waiting, waiting);
}

/* Whoever is connected, or comes later, is hung up on. */
static void hang_up(int server)
{
    shutdown(server, SHUT_RDWR);
    close(server);
}

static int setup(void **state)
{
    (void)state;
    n_answers = 0;
    order[0] = '\0';
    return loop_init(&loop, on_mail, NULL) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    assert_true(checks_stop(60 * USEC_PER_SEC));
    loop_destroy(&loop);
    return 0;
}

/* A target has its threads, and another one is not concerned. */
static void test_a_target_that_hangs(void **state)
{
    int hanging, other;
    int server = silent_server(&hanging), closed = silent_server(&other);
    (void)state;
    close(closed);
    for (int i = 0; i < 3 * THREADS; i++)
        (void)submit("h", hanging, i);
    wait_running(THREADS);
    assert_waiting(2 * THREADS);
    for (int i = 0; i < 2 * THREADS; i++)
        (void)submit("o", other, i);
    wait_answers(2 * THREADS);
    assert_string_equal(order, "o o o o o o o o ");
    assert_waiting(2 * THREADS);
    hang_up(server);
    wait_answers(5 * THREADS);
    wait_running(0);
}

/* The next check that has begun, by what it says to the server; its connection. */
static int serve_next(int server, char *user, size_t user_size)
{
    static const char head[] =
        "x="; /* the ldapprefix of new_check(), ahead of the name; its ldapsuffix behind */
    char raw[256];
    size_t have = 0;
    char *at = NULL, *end = NULL;
    int fd = accept(server, NULL, NULL);

    assert_true(fd >= 0);
    while (end == NULL) {
        ssize_t n = read(fd, raw + have, sizeof(raw) - have);
        assert_true(n > 0);
        have += (size_t)n;
        at = memmem(raw, have, head, strlen(head));
        end = at != NULL ? memchr(at, '!', have - (size_t)(at - raw)) : NULL;
    }
    at += strlen(head);
    snprintf(user, user_size, "%.*s", (int)(end - at), at);
    return fd;
}

/* The address with the fewest under way is next, and of one address the oldest. */
static void test_turns(void **state)
{
    int port, running[THREADS];
    int server = silent_server(&port);
    char user[20];
    (void)state;
    for (int i = 0; i < THREADS; i++)
        (void)submit("running", port, 1);
    for (int i = 0; i < THREADS; i++) {
        running[i] = serve_next(server, user, sizeof(user));
        assert_string_equal(user, "running");
    }
    for (int i = 0; i < 8; i++) {
        snprintf(user, sizeof(user), "many%d", i);
        (void)submit(user, port, 1);
    }
    (void)submit("two", port, 2);
    (void)submit("three", port, 3);
    (void)submit("two again", port, 2);
    struct password_check *late = submit("late", port, 2);
    check_abandon(late);
    assert_waiting(11);

    /* one place at a time: the others still run */
    static const char *const turns[THREADS] = {"two", "three", "many0", "many1"};
    for (int i = 0; i < THREADS; i++) {
        close(running[i]);
        running[i] = serve_next(server, user, sizeof(user));
        assert_string_equal(user, turns[i]);
    }
    hang_up(server);
    for (int i = 0; i < THREADS; i++)
        close(running[i]);
    wait_answers(THREADS + 11);
    assert_null(strstr(order, "late"));
    wait_idle();
}

static void test_too_many(void **state)
{
    int port;
    int server = silent_server(&port);
    struct password_check *one_more, *waiting[CHECK_MAX_WAITING], *running[THREADS];
    (void)state;
    for (int i = 0; i < THREADS; i++)
        running[i] = submit("r", port, 1);
    wait_running(THREADS);
    for (int i = 0; i < CHECK_MAX_WAITING; i++)
        waiting[i] = submit("w", port, 1);
    one_more = new_check("x", port, 2);
    assert_false(check_submit(one_more));
    assert_int_equal(one_more->outcome, CHECK_FAILED);
    assert_string_equal(one_more->why, "too many logins wait for it");
    for (int i = 0; i < CHECK_MAX_WAITING; i++)
        check_abandon(waiting[i]);
    assert_waiting(0);
    assert_true(check_submit(one_more));
    check_abandon(one_more);
    for (int i = 0; i < THREADS; i++)
        check_abandon(running[i]);
    hang_up(server);
    wait_running(0);
    assert_int_equal(n_answers, 0);
}

/* One at a time. */
static void test_one_thread(void **state)
{
    int port;
    int server = silent_server(&port);
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct password_check *c = new_check("o", port, i);
        c->threads = 1;
        assert_true(check_submit(c));
    }
    wait_running(1);
    assert_waiting(2);
    hang_up(server);
    wait_answers(3);
}

/* The answer is nobody's any more, but its mail has been posted. */
static void test_abandoned_after_the_answer(void **state)
{
    int port;
    int server = silent_server(&port);
    (void)state;
    close(server);
    struct password_check *c = submit("o", port, 1);
    wait_idle();
    check_abandon(c);
    wait_answers(1);
}

static void test_deadline(void **state)
{
    int port;
    int server = silent_server(&port);
    (void)state;
    struct password_check *c = new_check("o", port, 1);
    c->deadline_us = clock_now_us() + 200 * USEC_PER_MSEC;
    assert_true(check_submit(c));
    wait_answers(1);
    c = new_check("p", port, 1);
    c->deadline_us = clock_now_us() - 1;
    assert_true(check_submit(c));
    wait_answers(2);
    assert_string_equal(order, "o p ");
    close(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_target_that_hangs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_turns, setup, teardown),
        cmocka_unit_test_setup_teardown(test_too_many, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_thread, setup, teardown),
        cmocka_unit_test_setup_teardown(test_abandoned_after_the_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_deadline, setup, teardown),
    };
    alarm(120);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
