/*
 * password_ldap.c - is a password right? An LDAP directory says it.
 *
 * As PostgreSQL does it: a bind as the user is the proof; with ldapbasedn the user's entry is searched for
 * first. One connection per login: a bind changes whose connection it is.
 *
 * A connection that cannot be made, breaks or is silent for too long: the next host of the list. Each host
 * gets its share of the time that is left, so that a silent one leaves the others theirs.
 *
 * Only an answer to the bind with result "success" lets anyone in. A password is not sent with an empty DN,
 * nor an empty password with any: directories take both for somebody anonymous and say yes. Referrals are not
 * followed, as the password would go where no rule says.
 *
 * Certificates of servers are checked as ldap.conf(5) says (TLS_CACERT, LDAPTLS_CACERT).
 *
 * Threads: those of password_check.c; a connection belongs to one thread.
 */
#include <ldap.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/secret.h"
#include "hosts_int.h"
#include "password_int.h"

#define MAX_HOSTS     32
#define AVOID_US      (30 * USEC_PER_SEC) /* a host that failed is tried last for so long */
#define TEXT_MAX      8192                /* DNs, filters, URIs */
#define FOUND_AT_MOST 2                   /* entries: more than one is one too many */

/* One connection. */
struct session {
    struct password_check *check;
    const struct ldap_rule *rule;
    const char *uri;
    int64_t until_us;
    LDAP *ld;
};

enum progress {
    PROGRESS_OK,
    PROGRESS_NEXT_HOST, /* nothing has been learned: another host may know */
    PROGRESS_END,       /* the outcome has been said */
};

static struct timeval time_left(const struct session *s)
{
    int64_t us = s->until_us - clock_now_us();

    if (us < USEC_PER_MSEC)
        us = USEC_PER_MSEC;
    return (struct timeval){.tv_sec = us / USEC_PER_SEC, .tv_usec = us % USEC_PER_SEC};
}

/* What the server has added, or nothing: to be given to ldap_memfree(). */
static char *diagnostic(LDAP *ld)
{
    char *text = NULL;

    (void)ldap_get_option(ld, LDAP_OPT_DIAGNOSTIC_MESSAGE, &text);
    return text;
}

static void say(const struct session *s, enum check_outcome outcome, const char *what, int code)
{
    char *more = diagnostic(s->ld);
    bool has_more = more != NULL && more[0] != '\0';

    check_say(s->check, outcome, "LDAP server %s: %s: %s%s%.100s%s", s->uri, what, ldap_err2string(code),
              has_more ? " (" : "", has_more ? more : "", has_more ? ")" : "");
    ldap_memfree(more);
}

/* Is it that there is no answer, rather than a no? Codes below 0 are the library's own. Few others are
 * trouble: what a server says of a wrong password is to count as one. */
static bool is_trouble(int code)
{
    return code < 0 || code == LDAP_BUSY || code == LDAP_UNAVAILABLE;
}

static int last_error(LDAP *ld)
{
    int code = LDAP_SUCCESS;

    (void)ldap_get_option(ld, LDAP_OPT_RESULT_CODE, &code);
    return code != LDAP_SUCCESS ? code : LDAP_LOCAL_ERROR;
}

/* Waits for all of the answer to a request that returned `sent`. Its result code; *answer is to be freed,
 * NULL when none has come. */
static int await(const struct session *s, int sent, int id, LDAPMessage **answer)
{
    struct timeval left = time_left(s);
    int code = LDAP_LOCAL_ERROR;

    *answer = NULL;
    if (sent != LDAP_SUCCESS)
        return sent;
    int got = ldap_result(s->ld, id, LDAP_MSG_ALL, &left, answer);
    if (got > 0) {
        int parsed = ldap_parse_result(s->ld, *answer, &code, NULL, NULL, NULL, NULL, 0);
        return parsed == LDAP_SUCCESS ? code : parsed;
    }
    *answer = NULL;
    return got == 0 ? LDAP_TIMEOUT : last_error(s->ld);
}

static int bind_as(const struct session *s, const char *dn, const char *password)
{
    char *copy = strdup(password); /* the library's type is not const */
    LDAPMessage *answer;
    int id = 0, sent;

    if (copy == NULL)
        return LDAP_NO_MEMORY;
    struct berval secret = {.bv_len = strlen(copy), .bv_val = copy};
    sent = ldap_sasl_bind(s->ld, dn, LDAP_SASL_SIMPLE, &secret, NULL, NULL, &id);
    secret_free(copy);
    int code = await(s, sent, id, &answer);
    bool is_answered = answer != NULL && ldap_msgtype(answer) == LDAP_RES_BIND;
    ldap_msgfree(answer);
    return is_answered || code != LDAP_SUCCESS ? code : LDAP_DECODING_ERROR;
}

/* The proof. */
static enum progress bind_user(const struct session *s, const char *dn)
{
    struct password_check *c = s->check;

    if (dn[0] == '\0' || c->password[0] == '\0') {
        check_say(c, CHECK_WRONG, "LDAP: an empty %s proves nothing", dn[0] == '\0' ? "DN" : "password");
        return PROGRESS_END;
    }
    int code = bind_as(s, dn, c->password);
    if (code == LDAP_SUCCESS) {
        check_say(c, CHECK_RIGHT, "%s", "");
        return PROGRESS_END;
    }
    say(s, is_trouble(code) ? CHECK_FAILED : CHECK_WRONG, "bind as the user", code);
    return is_trouble(code) ? PROGRESS_NEXT_HOST : PROGRESS_END;
}

/* ---- search and bind ---- */

static int ldap_scope(enum ldap_rule_scope scope)
{
    switch (scope) {
    case LDAP_RULE_BASE: return LDAP_SCOPE_BASE;
    case LDAP_RULE_ONE: return LDAP_SCOPE_ONELEVEL;
    case LDAP_RULE_SUB: break;
    }
    return LDAP_SCOPE_SUBTREE;
}

/* There is no such user. A bind all the same, so that the answer takes about as long as one to a wrong
 * password. */
static enum progress no_such_user(const struct session *s, const char *what)
{
    struct password_check *c = s->check;

    (void)bind_as(s, s->rule->base_dn[0] != '\0' ? s->rule->base_dn : "cn=nobody", c->password);
    check_say(c, CHECK_WRONG, "LDAP server %s: %s", s->uri, what);
    return PROGRESS_END;
}

/* entries: the answer to the search. */
static enum progress bind_found(const struct session *s, LDAPMessage *entries, int code)
{
    int n = ldap_count_entries(s->ld, entries);

    if (n > 1 || code == LDAP_SIZELIMIT_EXCEEDED)
        return no_such_user(s, "there are several entries for this user");
    if (n < 1)
        return no_such_user(s, "there is no entry for this user");
    char *dn = ldap_get_dn(s->ld, ldap_first_entry(s->ld, entries));
    if (dn == NULL) {
        say(s, CHECK_FAILED, "DN of what was found", last_error(s->ld));
        return PROGRESS_END;
    }
    enum progress result = bind_user(s, dn);
    ldap_memfree(dn);
    return result;
}

static enum progress search_and_bind(const struct session *s, const char *filter)
{
    const struct ldap_rule *r = s->rule;
    char no_attributes[] = LDAP_NO_ATTRS, *attributes[] = {no_attributes, NULL};
    LDAPMessage *entries;
    int id = 0;

    int code =
        bind_as(s, r->bind_dn != NULL ? r->bind_dn : "", r->bind_password != NULL ? r->bind_password : "");
    if (code != LDAP_SUCCESS) {
        say(s, CHECK_FAILED, "bind for the search (ldapbinddn)", code);
        return is_trouble(code) ? PROGRESS_NEXT_HOST : PROGRESS_END;
    }
    struct timeval left = time_left(s);
    int sent = ldap_search_ext(s->ld, r->base_dn, ldap_scope(r->scope), filter, attributes, 0, NULL, NULL,
                               &left, FOUND_AT_MOST, &id);
    code = await(s, sent, id, &entries);
    enum progress result = PROGRESS_NEXT_HOST;
    if (code == LDAP_SUCCESS || code == LDAP_SIZELIMIT_EXCEEDED) {
        result = bind_found(s, entries, code);
    } else {
        say(s, CHECK_FAILED, "search", code);
        result = is_trouble(code) ? PROGRESS_NEXT_HOST : PROGRESS_END;
    }
    ldap_msgfree(entries);
    return result;
}

/* ---- connections ---- */

/* For connecting, and once more for a TLS handshake. */
static bool limit_network(const struct session *s)
{
    struct timeval left = time_left(s);

    return ldap_set_option(s->ld, LDAP_OPT_NETWORK_TIMEOUT, &left) == LDAP_OPT_SUCCESS;
}

static int start_tls(const struct session *s)
{
    LDAPMessage *answer;
    int id = 0;
    int sent = ldap_start_tls(s->ld, NULL, NULL, &id);
    int code = await(s, sent, id, &answer);

    ldap_msgfree(answer);
    if (code != LDAP_SUCCESS)
        return code;
    return limit_network(s) ? ldap_install_tls(s->ld) : LDAP_LOCAL_ERROR;
}

static int set_up(struct session *s)
{
    int version = LDAP_VERSION3;
    int code = ldap_initialize(&s->ld, s->uri);

    if (code != LDAP_SUCCESS)
        return code;
    if (ldap_set_option(s->ld, LDAP_OPT_PROTOCOL_VERSION, &version) != LDAP_OPT_SUCCESS ||
        ldap_set_option(s->ld, LDAP_OPT_REFERRALS, LDAP_OPT_OFF) != LDAP_OPT_SUCCESS || !limit_network(s))
        return LDAP_LOCAL_ERROR;
    return s->rule->starts_tls ? start_tls(s) : LDAP_SUCCESS;
}

static enum progress ask(struct session *s, const char *text)
{
    enum progress result = PROGRESS_NEXT_HOST;
    int code = set_up(s);

    if (code == LDAP_SUCCESS)
        result = ldap_rule_searches(s->rule) ? search_and_bind(s, text) : bind_user(s, text);
    else if (s->ld != NULL)
        say(s, CHECK_FAILED, s->rule->starts_tls ? "StartTLS" : "connection", code);
    else
        check_say(s->check, CHECK_FAILED, "LDAP server %s: %s", s->uri, ldap_err2string(code));
    if (s->ld != NULL)
        (void)ldap_unbind_ext(s->ld, NULL, NULL);
    s->ld = NULL;
    return result;
}

/* ---- hosts ---- */

/* The hosts that DNS names for the domain of base_dn (SRV records of _ldap._tcp): host:port, to be freed by
 * ldap_memfree(). NULL: said. */
static char *find_servers(struct password_check *c)
{
    char *domain = NULL, *hosts = NULL;

    if (ldap_dn2domain(c->ldap->base_dn, &domain) != LDAP_SUCCESS || domain == NULL)
        check_say(c, CHECK_FAILED, "LDAP: ldapbasedn says no domain to find a server by");
    else if (ldap_domain2hostlist(domain, &hosts) != LDAP_SUCCESS)
        check_say(c, CHECK_FAILED, "LDAP: no SRV records of _ldap._tcp.%.100s are found", domain);
    ldap_memfree(domain);
    return hosts;
}

struct hosts {
    char *uris[MAX_HOSTS];
    int count;
};

static void hosts_free(struct hosts *h)
{
    for (int i = 0; i < h->count; i++)
        free(h->uris[i]);
}

static uint64_t endpoint_of(const char *uri)
{
    return hash_bytes(uri, strlen(uri));
}

/* Those that failed lately come last. */
static void hosts_make(struct hosts *h, const struct ldap_rule *r, bool has_ports, const char *list)
{
    int64_t now_us = clock_now_us();
    struct hosts late = {.count = 0};
    struct buf uri;

    buf_init(&uri, TEXT_MAX);
    h->count = 0;
    for (; h->count + late.count < MAX_HOSTS && ldap_rule_next_uri(r, has_ports, &list, &uri);
         buf_clear(&uri)) {
        char *copy = uri.failed ? NULL : strdup(buf_cstr(&uri));
        if (copy == NULL)
            break;
        if (avoid_has(endpoint_of(copy), 0, now_us))
            late.uris[late.count++] = copy;
        else
            h->uris[h->count++] = copy;
    }
    for (int i = 0; i < late.count; i++)
        h->uris[h->count++] = late.uris[i];
    buf_free(&uri);
}

static void ask_hosts(struct password_check *c, const struct hosts *h, const char *text, int64_t until_us)
{
    check_say(c, CHECK_FAILED,
              h->count > 0 ? "LDAP: no time is left" : "LDAP: there is no server, or no memory");
    for (int i = 0; i < h->count; i++) {
        int64_t now_us = clock_now_us();
        struct session s = {.check = c, .rule = c->ldap, .uri = h->uris[i]};
        if (now_us >= until_us)
            return;
        s.until_us = now_us + (until_us - now_us) / (h->count - i);
        if (ask(&s, text) == PROGRESS_END) {
            avoid_remove(endpoint_of(h->uris[i]), 0);
            return;
        }
        avoid_add(endpoint_of(h->uris[i]), 0, clock_now_us() + AVOID_US);
    }
}

/* The library reads ldap.conf when it is first used; not all versions expect several threads to be first. */
static pthread_once_t library_once = PTHREAD_ONCE_INIT;

static void init_library(void)
{
    int level = 0;
    (void)ldap_get_option(NULL, LDAP_OPT_DEBUG_LEVEL, &level);
}

void check_by_ldap(struct password_check *c, int64_t until_us)
{
    const struct ldap_rule *r = c->ldap;
    bool is_listed = r->server != NULL && r->server[0] != '\0';

    (void)pthread_once(&library_once, init_library);
    char *found = is_listed ? NULL : find_servers(c);
    struct hosts hosts;
    struct buf text;

    if (!is_listed && found == NULL)
        return;
    hosts_make(&hosts, r, !is_listed, is_listed ? r->server : found);
    buf_init(&text, TEXT_MAX);
    if (ldap_rule_searches(r))
        ldap_rule_filter(r, c->user, &text);
    else
        ldap_rule_bind_name(r, c->user, &text);
    if (text.failed)
        check_say(c, CHECK_WRONG, "LDAP: the name of the user is too long");
    else
        ask_hosts(c, &hosts, buf_cstr(&text), until_us);
    buf_free(&text);
    hosts_free(&hosts);
    ldap_memfree(found);
}
