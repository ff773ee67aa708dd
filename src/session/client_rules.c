/*
 * client_rules.c - which method decides about a client, and the methods that ask the client nothing.
 *
 * With auth_type = hba the first rule that matches says it. A client that is turned away learns no more
 * than that; which rule it was, and what was wrong, is for the log.
 *
 * The name of an operating-system user comes from a helper thread: where users are kept in a directory,
 * asking for it may take long.
 *
 * Threads: the worker's own, but for the work of a helper.
 * Not here: passwords (client_auth.c).
 */
#include <ifaddrs.h>
#include <netinet/in.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "auth/ident.h"
#include "base/str.h"
#include "config/login_rules.h"
#include "auth_int.h"
#include "login_int.h"
#include "net/helper.h"

#define MAX_NETWORKS 64
#define NAME_BYTES   256

bool client_peer_uid(const struct client *c, uid_t *uid)
{
    struct ucred cred;
    socklen_t len = sizeof(cred);

    if (!c->login->is_unix || getsockopt(c->stream.fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) != 0)
        return false;
    *uid = cred.uid;
    return true;
}

/* ---- which method ---- */

static size_t own_networks(struct hba_network *out, size_t max)
{
    struct ifaddrs *list = NULL;
    size_t n = 0;

    if (getifaddrs(&list) != 0)
        return 0;
    for (const struct ifaddrs *i = list; i != NULL && n < max; i = i->ifa_next) {
        if (i->ifa_addr == NULL || i->ifa_netmask == NULL)
            continue;
        struct hba_network *net = &out[n];
        *net = (struct hba_network){.family = i->ifa_addr->sa_family};
        if (net->family == AF_INET) {
            memcpy(net->addr, &((const struct sockaddr_in *)(const void *)i->ifa_addr)->sin_addr, 4);
            memcpy(net->mask, &((const struct sockaddr_in *)(const void *)i->ifa_netmask)->sin_addr, 4);
        } else if (net->family == AF_INET6) {
            memcpy(net->addr, &((const struct sockaddr_in6 *)(const void *)i->ifa_addr)->sin6_addr, 16);
            memcpy(net->mask, &((const struct sockaddr_in6 *)(const void *)i->ifa_netmask)->sin6_addr, 16);
        } else {
            continue;
        }
        n++;
    }
    freeifaddrs(list);
    return n;
}

/* The console has two names, and a rule about one of them is about both. */
static const char *alias(const struct client_login *l)
{
    if (!l->is_console)
        return NULL;
    return strcmp(l->database, "pgsluice") == 0 ? "pgbouncer" : "pgsluice";
}

static const struct hba_rule *find_rule(const struct client *c, const struct hba *hba)
{
    const struct client_login *l = c->login;
    struct hba_network networks[MAX_NETWORKS];
    struct hba_client who = {
        .user = l->user,
        .database = l->database,
        .database_alias = alias(l),
        .addr = c->peer_addr,
        .family = c->peer_family,
        .is_tls = stream_is_tls(&c->stream),
        .networks = networks,
        .is_replication = c->replication == REPLICATION_PHYSICAL,
    };

    if (hba_needs_networks(hba))
        who.n_networks = own_networks(networks, MAX_NETWORKS);
    return hba_match(hba, &who);
}

static void reject(struct client *c, const struct hba_rule *rule)
{
    const struct client_login *l = c->login;

    if (rule == NULL)
        client_log(c, LOG_LVL_LOG, "login rejected: no rule of auth_hba_file is for user %s, database %s%s",
                   l->user, l->database, stream_is_tls(&c->stream) ? ", TLS" : ", no TLS");
    else
        client_log(c, LOG_LVL_LOG, "login rejected: by rule %s:%d, for user %s, database %s", rule->file,
                   rule->line, l->user, l->database);
    client_close(c, CLOSE_LOGIN_REJECTED, NULL);
}

static void cert_failed(struct client *c, const char *why, const char *cn)
{
    client_log(c, LOG_LVL_LOG, "certificate of user %s is not accepted: %s%s%s%s", c->login->user, why,
               cn != NULL ? " \"" : "", cn != NULL ? cn : "", cn != NULL ? "\"" : "");
    client_auth_failed(c, CLOSE_CERT_FAILED, "28000", close_reason_message(CLOSE_CERT_FAILED));
}

/* What the rule asks for beside its method. False: the client is closed. */
static bool check_client_cert(struct client *c, const struct hba_rule *rule)
{
    char cn[NAME_BYTES];

    if (rule->client_cert == HBA_CERT_NONE)
        return true;
    if (!stream_peer_cn(&c->stream, cn, sizeof(cn))) {
        cert_failed(c, "there is none that was verified", NULL);
        return false;
    }
    if (rule->client_cert == HBA_CERT_FULL && strcmp(cn, c->login->user) != 0) {
        cert_failed(c, "it is for", cn);
        return false;
    }
    return true;
}

static const char *global_map(const struct settings *set)
{
    return *set->auth_ident_map != '\0' ? set->auth_ident_map : NULL;
}

bool client_choose_method(struct client *c)
{
    struct client_login *l = c->login;
    const struct config *cfg = l->config->config;
    const struct settings *set = config_settings(cfg);

    l->map = global_map(set);
    switch (set->auth_type) {
    case AUTH_TYPE_ANY: l->is_any = true; /* fallthrough */
    case AUTH_TYPE_TRUST: l->method = HBA_TRUST; return true;
    case AUTH_TYPE_PLAIN: l->method = HBA_PASSWORD; return true;
    case AUTH_TYPE_MD5: l->method = HBA_MD5; return true;
    case AUTH_TYPE_SCRAM_SHA_256: l->method = HBA_SCRAM; return true;
    case AUTH_TYPE_CERT: l->method = HBA_CERT; return true;
    case AUTH_TYPE_PEER: l->method = HBA_PEER; return true;
    case AUTH_TYPE_PAM: l->method = HBA_PAM; return true;
    case AUTH_TYPE_LDAP: l->method = HBA_LDAP; return true;
    case AUTH_TYPE_HBA: break;
    default: client_close(c, CLOSE_AUTH_UNAVAILABLE, NULL); return false;
    }
    const struct hba_rule *rule = find_rule(c, config_hba(cfg));
    if (rule == NULL || rule->method == HBA_REJECT) {
        reject(c, rule);
        return false;
    }
    client_log(c, LOG_LVL_DEBUG, "rule %s:%d: %s", rule->file, rule->line, hba_method_name(rule->method));
    l->method = rule->method;
    l->map = rule->map;
    l->rule = rule;
    return check_client_cert(c, rule);
}

/* ---- certificates ---- */

void client_auth_cert(struct client *c)
{
    struct client_login *l = c->login;
    char cn[NAME_BYTES];

    if (!stream_peer_cn(&c->stream, cn, sizeof(cn)))
        cert_failed(c, "there is none that was verified", NULL);
    else if (!ident_allows(config_ident(l->config->config), l->map, cn, l->user))
        cert_failed(c, l->map != NULL ? "its map does not allow" : "it is for", cn);
    else
        client_auth_trusted(c);
}

/* ---- operating-system users ---- */

/* From worker to helper and back. */
struct peer_job {
    struct helper_job job;
    uint64_t client; /* handle */
    uid_t uid;
    char name[NAME_BYTES]; /* "" = none */
};

static void find_name(struct helper_job *job)
{
    struct peer_job *p = container_of(job, struct peer_job, job);
    struct passwd pw, *found = NULL;
    char scratch[4096];

    if (getpwuid_r(p->uid, &pw, scratch, sizeof(scratch), &found) == 0 && found != NULL &&
        strlen(found->pw_name) < sizeof(p->name))
        (void)str_copy(p->name, found->pw_name, sizeof(p->name));
}

static void peer_failed(struct client *c, const char *name)
{
    client_log(c, LOG_LVL_LOG, "peer authentication of user %s failed: %s%s", c->login->user,
               name == NULL      ? "the connection is no Unix socket"
               : name[0] != '\0' ? "the operating-system user is "
                                 : "the operating-system user has no name",
               name != NULL ? name : "");
    client_auth_failed(c, CLOSE_PEER_FAILED, "28000", close_reason_message(CLOSE_PEER_FAILED));
}

void client_auth_peer(struct client *c)
{
    uid_t uid;

    if (!client_peer_uid(c, &uid)) {
        peer_failed(c, NULL);
        return;
    }
    struct peer_job *p = calloc(1, sizeof(*p));
    if (p == NULL) {
        client_close(c, CLOSE_NO_MEMORY, NULL);
        return;
    }
    p->client = c->handle;
    p->uid = uid;
    p->job.work = find_name;
    p->job.reply_to = &c->shard->loop;
    p->job.mail.type = MAIL_PEER_NAMED;
    c->login->stage = LOGIN_BUSY;
    helper_submit(&p->job);
}

void client_peer_on_mail(struct shard *sh, struct mail *m)
{
    struct peer_job *p = container_of(m, struct peer_job, job.mail);
    struct client *c = handle_get(&sh->clients, p->client);

    if (c != NULL && c->state == CLIENT_LOGIN && c->login->stage == LOGIN_BUSY) {
        struct client_login *l = c->login;
        if (p->name[0] != '\0' && ident_allows(config_ident(l->config->config), l->map, p->name, l->user))
            client_auth_trusted(c);
        else
            peer_failed(c, p->name);
        client_login_go_on(c);
    }
    free(p);
}
