/*
 * ldap_rule.c - options of method ldap: taken, checked, and made into what a server is told.
 *
 * Not here: URLs (ldap_url.c), escaping (ldap_escape.c).
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/secret.h"
#include "base/str.h"
#include "ldap_rule_int.h"
#include "tokens_int.h"

#define USER_WORD "$username"

struct ldap_rule *ldap_rule_new(void)
{
    struct ldap_rule *r = xcalloc(1, sizeof(*r));

    atomic_init(&r->refs, 1);
    r->scope = LDAP_RULE_SUB;
    return r;
}

struct ldap_rule *ldap_rule_ref(struct ldap_rule *r)
{
    atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
    return r;
}

void ldap_rule_unref(struct ldap_rule *r)
{
    if (r == NULL || atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) != 1)
        return;
    free(r->server);
    free(r->prefix);
    free(r->suffix);
    free(r->base_dn);
    free(r->bind_dn);
    secret_free(r->bind_password);
    free(r->attribute);
    free(r->filter);
    free(r);
}

/* ---- options ---- */

static void set_text(char **field, const char *value)
{
    secret_free(*field);
    *field = xstrdup(value);
}

bool ldap_rule_set_server(struct ldap_rule *r, const char *value, struct buf *why)
{
    if (strpbrk(value, "/?#@%\"<>\\") != NULL) {
        buf_printf(why, "ldapserver takes names of hosts, not \"%.64s\"", value);
        return false;
    }
    for (const char *p = value; *p != '\0'; p += strcspn(p, " ")) {
        p += strspn(p, " ");
        const char *colon = memchr(p, ':', strcspn(p, " "));
        if (colon != NULL && *p != '[' && memchr(colon + 1, ':', strcspn(colon + 1, " ")) == NULL) {
            buf_append_str(why, "ldapserver takes names of hosts: write the port as ldapport");
            return false;
        }
    }
    set_text(&r->server, value);
    return true;
}

static bool set_port(struct ldap_rule *r, const char *value, struct buf *why)
{
    int64_t port;

    if (!str_to_int64(value, &port) || port < 1 || port > 65535) {
        buf_printf(why, "invalid LDAP port number: \"%.64s\"", value);
        return false;
    }
    r->port = (int)port;
    return true;
}

static bool set_scheme(struct ldap_rule *r, const char *value, struct buf *why)
{
    r->is_ldaps = strcmp(value, "ldaps") == 0;
    if (r->is_ldaps || strcmp(value, "ldap") == 0)
        return true;
    buf_printf(why, "invalid ldapscheme value: \"%.64s\"", value);
    return false;
}

static bool set_tls(struct ldap_rule *r, const char *value, struct buf *why)
{
    r->starts_tls = strcmp(value, "1") == 0;
    if (r->starts_tls || strcmp(value, "0") == 0)
        return true;
    buf_printf(why, "invalid ldaptls value: \"%.64s\" (it is 1 or 0)", value);
    return false;
}

static bool set_prefix(struct ldap_rule *r, const char *value, struct buf *why)
{
    (void)why;
    set_text(&r->prefix, value);
    return true;
}

static bool set_suffix(struct ldap_rule *r, const char *value, struct buf *why)
{
    (void)why;
    set_text(&r->suffix, value);
    return true;
}

static bool set_base_dn(struct ldap_rule *r, const char *value, struct buf *why)
{
    (void)why;
    set_text(&r->base_dn, value);
    return true;
}

static bool set_bind_dn(struct ldap_rule *r, const char *value, struct buf *why)
{
    (void)why;
    set_text(&r->bind_dn, value);
    return true;
}

static bool set_bind_password(struct ldap_rule *r, const char *value, struct buf *why)
{
    (void)why;
    set_text(&r->bind_password, value);
    return true;
}

static bool set_attribute(struct ldap_rule *r, const char *value, struct buf *why)
{
    (void)why;
    set_text(&r->attribute, value);
    return true;
}

static bool set_filter(struct ldap_rule *r, const char *value, struct buf *why)
{
    (void)why;
    set_text(&r->filter, value);
    return true;
}

static const struct {
    const char *name;
    bool (*set)(struct ldap_rule *r, const char *value, struct buf *why);
} options[] = {
    {"ldapserver", ldap_rule_set_server},
    {"ldapport", set_port},
    {"ldapscheme", set_scheme},
    {"ldaptls", set_tls},
    {"ldapprefix", set_prefix},
    {"ldapsuffix", set_suffix},
    {"ldapbasedn", set_base_dn},
    {"ldapbinddn", set_bind_dn},
    {"ldapbindpasswd", set_bind_password},
    {"ldapsearchattribute", set_attribute},
    {"ldapsearchfilter", set_filter},
    {"ldapurl", ldap_rule_set_url},
};

bool ldap_rule_has_option(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(options); i++)
        if (strcmp(name, options[i].name) == 0)
            return true;
    return false;
}

bool ldap_rule_set(struct ldap_rule *r, const char *name, const char *value, struct buf *why)
{
    for (size_t i = 0; i < ARRAY_SIZE(options); i++)
        if (strcmp(name, options[i].name) == 0)
            return options[i].set(r, value, why);
    buf_printf(why, "authentication option \"%.64s\" is not supported", name);
    return false;
}

static bool wrong(struct buf *why, const char *text)
{
    buf_append_str(why, text);
    return false;
}

/* Letters, digits, hyphens; dots and semicolons for OIDs and options. */
static bool is_attribute(const char *name)
{
    return name[0] != '\0' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.;") == strlen(name);
}

static bool check_search(const struct ldap_rule *r, struct buf *why)
{
    if (r->attribute != NULL && r->filter != NULL)
        return wrong(why, "cannot use ldapsearchattribute together with ldapsearchfilter");
    if (r->attribute != NULL && !is_attribute(r->attribute))
        return wrong(why, "ldapsearchattribute is not the name of an attribute");
    if (r->filter != NULL && strstr(r->filter, USER_WORD) == NULL)
        return wrong(why, "ldapsearchfilter does not say " USER_WORD
                          ": it would find the same entry for everyone");
    if (r->bind_password != NULL && r->bind_dn == NULL)
        return wrong(why, "ldapbindpasswd needs ldapbinddn");
    return true;
}

bool ldap_rule_check(const struct ldap_rule *r, struct buf *why)
{
    bool has_server = r->server != NULL && r->server[strspn(r->server, " ")] != '\0';

    if (r->prefix != NULL || r->suffix != NULL) {
        if (r->base_dn != NULL || r->bind_dn != NULL || r->bind_password != NULL || r->attribute != NULL ||
            r->filter != NULL)
            return wrong(why, "cannot mix options for simple bind and search+bind modes");
    } else if (r->base_dn == NULL) {
        return wrong(why,
                     "authentication method \"ldap\" requires argument \"ldapbasedn\", \"ldapprefix\", or "
                     "\"ldapsuffix\" to be set");
    }
    if (r->is_ldaps && r->starts_tls)
        return wrong(why, "ldaptls=1 (StartTLS) cannot be used over ldaps");
    if (!has_server && (r->base_dn == NULL || r->base_dn[0] == '\0'))
        return wrong(why, "LDAP server not specified, and no ldapbasedn to find one by");
    return check_search(r, why);
}

/* ---- auth_ldap_options ---- */

struct text_source {
    const char *text;
    struct buf *why;
};

/* No other file may be named in it. */
static char *read_text(void *arg, const char *path, size_t *len_bytes)
{
    const struct text_source *t = arg;

    if (path[0] != '\0') {
        errno = EACCES;
        return NULL;
    }
    *len_bytes = strlen(t->text);
    return xstrdup(t->text);
}

static void note_problem(void *arg, const char *file, int line, const char *text)
{
    const struct text_source *t = arg;

    (void)file;
    (void)line;
    if (t->why->len == 0)
        buf_append_str(t->why, text);
}

/* The text is not shown: it may be the second word of a password that lacks its quotes. */
static bool take_word(struct ldap_rule *r, const char *text, struct buf *why)
{
    size_t n = strcspn(text, "=");
    char name[64];

    if (text[n] == '\0')
        return wrong(why, "there is an option that is not in name=value format");
    if (n >= sizeof(name))
        return wrong(why, "there is an option that is not known");
    memcpy(name, text, n);
    name[n] = '\0';
    return ldap_rule_set(r, name, text + n + 1, why);
}

static bool take_words(struct ldap_rule *r, const struct token_file *f, struct buf *why)
{
    for (size_t i = 0; i < f->count; i++)
        for (size_t j = 0; j < f->lines[i].count; j++)
            for (size_t k = 0; k < f->lines[i].fields[j].count; k++)
                if (!take_word(r, f->lines[i].fields[j].tokens[k].text, why))
                    return false;
    return true;
}

struct ldap_rule *ldap_rule_parse(const char *text, struct buf *why)
{
    struct text_source t = {.text = text, .why = why};
    struct auth_source source = {.path = "", .read = read_text, .problem = note_problem, .arg = &t};
    struct ldap_rule *r = ldap_rule_new();
    struct token_file f;

    token_file_read(&f, &source);
    bool ok = why->len == 0 && take_words(r, &f, why) && ldap_rule_check(r, why);
    token_file_free(&f);
    if (ok)
        return r;
    ldap_rule_unref(r);
    return NULL;
}

/* ---- what a server is told ---- */

bool ldap_rule_searches(const struct ldap_rule *r)
{
    return r->base_dn != NULL;
}

bool ldap_rule_next_uri(const struct ldap_rule *r, bool has_ports, const char **at, struct buf *uri)
{
    const char *host = *at + strspn(*at, " ");
    int n = (int)strcspn(host, " ");
    /* an IPv6 address without brackets */
    bool needs_brackets = host[0] != '[' && !has_ports && memchr(host, ':', (size_t)n) != NULL;

    *at = host + n;
    if (n == 0)
        return false;
    buf_printf(uri, "%s://%s%.*s%s", r->is_ldaps ? "ldaps" : "ldap", needs_brackets ? "[" : "", n, host,
               needs_brackets ? "]" : "");
    if (!has_ports)
        buf_printf(uri, ":%d", r->port != 0 ? r->port : r->is_ldaps ? 636 : 389);
    return true;
}

void ldap_rule_bind_name(const struct ldap_rule *r, const char *user, struct buf *out)
{
    const char *prefix = r->prefix != NULL ? r->prefix : "", *suffix = r->suffix != NULL ? r->suffix : "";

    buf_append_str(out, prefix);
    if (strchr(prefix, '=') != NULL)
        ldap_escape_dn(user, out);
    else /* DOMAIN\user, user@domain: no DN */
        buf_append_str(out, user);
    buf_append_str(out, suffix);
}

void ldap_rule_filter(const struct ldap_rule *r, const char *user, struct buf *out)
{
    const char *p = r->filter, *word;

    if (p == NULL) {
        buf_printf(out, "(%s=", r->attribute != NULL ? r->attribute : "uid");
        ldap_escape_filter(user, out);
        buf_append_byte(out, ')');
        return;
    }
    for (; (word = strstr(p, USER_WORD)) != NULL; p = word + strlen(USER_WORD)) {
        buf_append(out, p, (uint32_t)(word - p));
        ldap_escape_filter(user, out);
    }
    buf_append_str(out, p);
}
