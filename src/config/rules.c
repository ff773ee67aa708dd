/*
 * rules.c - reads auth_hba_file, auth_ident_file and auth_ldap_options, when auth_type needs them.
 *
 * Whatever is wrong in them is an error: a rule that is not understood may be the one that keeps
 * somebody out. Threads: the control thread reads, any thread may look.
 * Not here: the format of the files (auth/).
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "auth/hba.h"
#include "auth/ident.h"
#include "auth/ldap_rule.h"
#include "base/mem.h"
#include "config/login_rules.h"
#include "config_int.h"

#ifdef HAVE_PAM
#define PAM_METHOD (1u << HBA_PAM)
#else
#define PAM_METHOD 0u
#endif
#ifdef HAVE_LDAP
#define LDAP_METHOD (1u << HBA_LDAP)
#else
#define LDAP_METHOD 0u
#endif
#define METHODS                                                                                              \
    (1u << HBA_REJECT | 1u << HBA_TRUST | 1u << HBA_PEER | 1u << HBA_CERT | 1u << HBA_PASSWORD |             \
     1u << HBA_MD5 | 1u << HBA_SCRAM | PAM_METHOD | LDAP_METHOD)

struct rules {
    atomic_uint refcount;
    struct hba *hba;
    struct ident *ident;
    struct ldap_rule *ldap; /* auth_type = ldap */
};

struct rules *rules_ref(struct rules *r)
{
    if (r != NULL)
        atomic_fetch_add_explicit(&r->refcount, 1, memory_order_relaxed);
    return r;
}

void rules_unref(struct rules *r)
{
    if (r == NULL || atomic_fetch_sub_explicit(&r->refcount, 1, memory_order_acq_rel) != 1)
        return;
    hba_free(r->hba);
    ident_free(r->ident);
    ldap_rule_unref(r->ldap);
    free(r);
}

static char *read_cb(void *arg, const char *path, size_t *len_bytes)
{
    (void)arg;
    return file_read(path, len_bytes, NULL);
}

static void problem_cb(void *arg, const char *file, int line, const char *text)
{
    config_problems_add(arg, PROBLEM_ERROR, file, line, "%s", text);
}

static struct auth_source source_of(const char *path, struct config_problems *problems)
{
    return (struct auth_source){.path = path, .read = read_cb, .problem = problem_cb, .arg = problems};
}

static void load_ldap(struct rules *r, const struct settings *s, struct config_problems *problems)
{
    struct buf why;

    if (*s->auth_ldap_options == '\0') {
        config_problems_add(problems, PROBLEM_ERROR, NULL, 0, "auth_type = ldap needs auth_ldap_options");
        return;
    }
    buf_init(&why, 0);
    r->ldap = ldap_rule_parse(s->auth_ldap_options, &why);
    if (r->ldap == NULL)
        config_problems_add(problems, PROBLEM_ERROR, NULL, 0, "auth_ldap_options: %s", buf_cstr(&why));
    buf_free(&why);
}

void rules_load(struct config *c, struct config_problems *problems)
{
    const struct settings *s = &c->settings;
    bool is_hba = s->auth_type == AUTH_TYPE_HBA;
    bool is_mapped = s->auth_type == AUTH_TYPE_CERT || s->auth_type == AUTH_TYPE_PEER;
    struct rules *r = NULL;

    rules_unref(c->rules);
    c->rules = NULL;
    if (!is_hba && !is_mapped && s->auth_type != AUTH_TYPE_LDAP)
        return;
    if (is_hba && *s->auth_hba_file == '\0') {
        config_problems_add(problems, PROBLEM_ERROR, NULL, 0, "auth_type = hba needs auth_hba_file");
        return;
    }
    if (s->auth_type == AUTH_TYPE_CERT && s->client_tls_sslmode < SSLMODE_VERIFY_CA)
        config_problems_add(problems, PROBLEM_ERROR, NULL, 0,
                            "auth_type = cert needs client_tls_sslmode = verify-full");
    r = c->rules = xcalloc(1, sizeof(*r));
    atomic_init(&r->refcount, 1);
    if (s->auth_type == AUTH_TYPE_LDAP) {
        load_ldap(r, s, problems);
        return;
    }
    if (*s->auth_ident_file != '\0') {
        struct auth_source source = source_of(s->auth_ident_file, problems);
        r->ident = ident_parse(&source);
    }
    if (is_hba) {
        struct auth_source source = source_of(s->auth_hba_file, problems);
        r->hba = hba_parse(&source, METHODS, r->ident);
    } else if (*s->auth_ident_map != '\0' && !ident_has_map(r->ident, s->auth_ident_map)) {
        config_problems_add(problems, PROBLEM_ERROR, NULL, 0,
                            "auth_ident_map: there is no map \"%s\" in auth_ident_file", s->auth_ident_map);
    }
}

const struct hba *config_hba(const struct config *c)
{
    return c->rules != NULL ? c->rules->hba : NULL;
}

struct ldap_rule *config_ldap(const struct config *c)
{
    return c->rules != NULL ? c->rules->ldap : NULL;
}

bool config_asks_directory(const struct config *c)
{
    const struct hba *hba = config_hba(c);

    switch (c->settings.auth_type) {
    case AUTH_TYPE_PAM:
    case AUTH_TYPE_LDAP: return true;
    case AUTH_TYPE_HBA: return hba != NULL && (hba_has_method(hba, HBA_PAM) || hba_has_method(hba, HBA_LDAP));
    default: return false;
    }
}

const struct ident *config_ident(const struct config *c)
{
    return c->rules != NULL ? c->rules->ident : NULL;
}
