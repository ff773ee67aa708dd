/*
 * password_check.h - passwords that PAM or an LDAP directory has to say yes to.
 *
 * Both block, for as long as a module or a server likes. So they run on threads of their own, made when they
 * are first needed: at most auth_check_threads for one target (a PAM service, the servers of an LDAP rule;
 * with 1 all PAM services are one target) and CHECK_MAX_THREADS altogether. A target that hangs keeps its own
 * threads busy and nobody else's. What waits is bounded by CHECK_MAX_WAITING for each target. The next to be
 * checked is the oldest of those whose address has the fewest checks under way, so that one address cannot
 * keep the others out.
 *
 * A request is the caller's until check_submit(), which takes it over; it comes back as mail, or, after
 * check_abandon(), not at all. Its password is wiped when it is freed, and when it was wrong, at once.
 *
 * Threads: any thread submits and abandons. Nothing of a request but what is named below may be looked at
 * between check_submit() and its mail.
 */
#ifndef NET_PASSWORD_CHECK_H
#define NET_PASSWORD_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "auth/hba.h"
#include "auth/ldap_rule.h"
#include "base/compiler.h"
#include "base/list.h"
#include "net/loop.h"

#define CHECK_MAX_THREADS 32
#define CHECK_MAX_WAITING 1000
#define CHECK_MAX_US      (15 * USEC_PER_SEC) /* for one check, from when a thread takes it; LDAP only */
#define CHECK_PAM_SERVICE "pgbouncer"         /* where no rule says another one */

enum check_outcome {
    CHECK_RIGHT,
    CHECK_WRONG,  /* not the password, no such user, locked, expired: `why` says it, for the log */
    CHECK_FAILED, /* it could not be checked */
};

struct password_check {
    struct mail mail; /* type set by the caller */
    struct loop *reply_to;
    uint64_t client;        /* handle; not looked at here */
    int64_t deadline_us;    /* nobody wants the answer after it; 0 = none */
    struct ldap_rule *ldap; /* a reference; NULL: PAM */
    char pam_service[HBA_PAM_SERVICE_BYTES];
    bool pam_use_hostname;
    int threads; /* auth_check_threads */
    int family;  /* the client's address, as in struct hba_client */
    uint8_t addr[16];
    char *user;     /* own copies */
    char *password; /* NULL once it has been checked and was wrong */
    /* the answer */
    enum check_outcome outcome;
    char why[256];
    /* [check_mutex] */
    struct list node;
    uint64_t target, address; /* hashes */
    enum { CHECK_WAITS, CHECK_RUNS, CHECK_ABANDONED, CHECK_ANSWERED } state;
};

/* Copies user and password. NULL when memory is out. */
struct password_check *check_new(const char *user, const char *password) must_check;
/* Wipes and frees a request that has not been submitted, or has come back. NULL is fine. */
void check_free(struct password_check *c);
/* False: too many wait, or no thread can be had; the request is still the caller's, and `why` says it. */
bool check_submit(struct password_check *c) must_check;
/* Nobody wants the answer any more: one that waits is freed, one that runs is freed at its end. Only by the
 * thread that gets the mail, and not once it has come. */
void check_abandon(struct password_check *c);

struct check_figures {
    int running;
    int waiting;
};
void check_figures(struct check_figures *f);

/* What is built in: "PAM, LDAP". */
const char *checks_built_in(void);

/* After the loops have ended and before they are destroyed. False when a thread still hangs after wait_us:
 * then nothing that it may touch can be freed, and the process ends without waiting for it. */
bool checks_stop(int64_t wait_us) must_check;

#endif
