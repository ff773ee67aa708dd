/*
 * client_check.c - a client whose password PAM or an LDAP directory has to say yes to.
 *
 * It is asked for the password in clear text, as for method password, and waits in LOGIN_BUSY while a thread
 * asks (net/password_check.h). auth_file and auth_query have no say: who is right is a user.
 *
 * The password that was right is what the pool logs in with at servers (found_user.is_proved), as it is of
 * use there as often as not, and nobody else knows one.
 *
 * Threads: the worker's own.
 */
#include <stdlib.h>
#include <string.h>

#include "auth/ldap_rule.h"
#include "auth_int.h"
#include "base/secret.h"
#include "base/str.h"
#include "config/login_rules.h"
#include "login_int.h"
#include "net/password_check.h"

/* So that client_login_timeout is what ends a login, not a check that has given up just before. */
#define GRACE_US USEC_PER_SEC

static struct password_check *new_check(const struct client *c, const char *password)
{
    const struct client_login *l = c->login;
    int64_t timeout_us = config_settings(l->config->config)->client_login_timeout_us;
    struct password_check *check = check_new(l->user, password);

    if (check == NULL)
        return NULL;
    check->mail.type = MAIL_PASSWORD_CHECKED;
    check->reply_to = &c->shard->loop;
    check->client = c->handle;
    check->threads = config_settings(l->config->config)->auth_check_threads;
    check->deadline_us = timeout_us > 0 ? c->connected_us + timeout_us + GRACE_US : 0;
    check->family = c->peer_family;
    memcpy(check->addr, c->peer_addr, sizeof(check->addr));
    if (l->method == HBA_LDAP) {
        const struct hba_rule *rule = l->rule;
        check->ldap = ldap_rule_ref(rule != NULL ? rule->ldap : config_ldap(l->config->config));
        return check;
    }
    const char *service = l->rule != NULL ? l->rule->pam_service : NULL;
    (void)str_copy(check->pam_service, service != NULL ? service : CHECK_PAM_SERVICE,
                   sizeof(check->pam_service));
    check->pam_use_hostname = l->rule != NULL && l->rule->pam_use_hostname;
    return check;
}

static void could_not_check(struct client *c, const struct password_check *check)
{
    client_log(c, LOG_LVL_WARNING, "password of user %s cannot be checked: %s", c->login->user, check->why);
    client_close(c, CLOSE_AUTH_UNAVAILABLE, NULL);
}

void client_check_begin(struct client *c, const char *password)
{
    struct client_login *l = c->login;
    struct password_check *check = new_check(c, password);

    if (check == NULL) {
        client_close(c, CLOSE_NO_MEMORY, NULL);
        return;
    }
    l->stage = LOGIN_BUSY;
    if (check_submit(check)) {
        l->check = check;
        return;
    }
    could_not_check(c, check);
    check_free(check);
}

static void let_in(struct client *c, const struct password_check *check)
{
    struct client_login *l = c->login;

    found_user_unref(l->found);
    l->found = found_user_new_proved(check->password);
    if (l->found == NULL)
        client_close(c, CLOSE_NO_MEMORY, NULL);
    else
        client_login_authenticated(c);
}

static void take_outcome(struct client *c, const struct password_check *check)
{
    switch (check->outcome) {
    case CHECK_RIGHT: let_in(c, check); return;
    case CHECK_WRONG: client_password_wrong(c, check->why); return;
    case CHECK_FAILED: could_not_check(c, check); return;
    }
}

void client_check_on_mail(struct shard *sh, struct mail *m)
{
    struct password_check *check = container_of(m, struct password_check, mail);
    struct client *c = handle_get(&sh->clients, check->client);

    if (c != NULL && c->login != NULL && c->login->check == check) {
        c->login->check = NULL;
        if (!client_is_blocked(c)) /* by others that were asked about meanwhile */
            take_outcome(c, check);
        client_login_go_on(c);
    }
    check_free(check);
}

void client_check_leave(struct client *c)
{
    struct client_login *l = c->login;

    if (l == NULL || l->check == NULL)
        return;
    check_abandon(l->check);
    l->check = NULL;
}
