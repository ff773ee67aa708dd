/*
 * hba.c - the parser of rules of who may log in from where, and how.
 *
 * Not here: words and lines (tokens.c), matching (hba_match.c).
 */
#include "hba_int.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth/ident.h"
#include "auth/ldap_rule.h"
#include "base/mem.h"
#include "base/str.h"

struct parser {
    const struct auth_source *source;
    const struct ident *ident;
    unsigned methods;
    struct token_line *line;
    size_t at; /* the next field */
    struct rule *rule;
};

static const struct {
    const char *name;
    enum hba_type type;
} types[] = {
    {"local", HBA_LOCAL},         {"host", HBA_HOST},          {"hostssl", HBA_HOSTSSL},
    {"hostnossl", HBA_HOSTNOSSL}, {"hostgssenc", HBA_HOSTGSS}, {"hostnogssenc", HBA_HOST},
};

/* Methods of PostgreSQL's that nobody can have here are named too, so that the message is the right one. */
static const struct {
    const char *name;
    int method; /* enum hba_method, or -1 */
} methods[] = {
    {"reject", HBA_REJECT},
    {"trust", HBA_TRUST},
    {"peer", HBA_PEER},
    {"cert", HBA_CERT},
    {"password", HBA_PASSWORD},
    {"md5", HBA_MD5},
    {"scram-sha-256", HBA_SCRAM},
    {"pam", HBA_PAM},
    {"ldap", HBA_LDAP},
    {"gss", -1},
    {"sspi", -1},
    {"ident", -1},
    {"radius", -1},
    {"bsd", -1},
    {"oauth", -1},
};

const char *hba_method_name(enum hba_method method)
{
    for (size_t i = 0; i < ARRAY_SIZE(methods); i++)
        if (methods[i].method == (int)method)
            return methods[i].name;
    return "?";
}

/* Always false, for `return wrong(...)`. */
static bool wrong(const struct parser *p, const char *fmt, ...) printf_like(2, 3);
static bool wrong(const struct parser *p, const char *fmt, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    p->source->problem(p->source->arg, p->line->file, p->line->number, text);
    return false;
}

/* The next field, or NULL with a problem when the line ends before it. */
static struct field *next_field(struct parser *p, const char *what)
{
    if (p->at < p->line->count)
        return &p->line->fields[p->at++];
    (void)wrong(p, "the line ends before the %s", what);
    return NULL;
}

/* A field of one word, or NULL with a problem. */
static const struct token *next_word(struct parser *p, const char *what)
{
    const struct field *f = next_field(p, what);
    if (f == NULL)
        return NULL;
    if (f->count == 1)
        return &f->tokens[0];
    (void)wrong(p, f->count > 1 ? "multiple values for the %s" : "no value for the %s", what);
    return NULL;
}

static bool parse_type(struct parser *p)
{
    const struct token *t = next_word(p, "connection type");
    if (t == NULL)
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(types); i++)
        if (strcmp(t->text, types[i].name) == 0) {
            p->rule->type = types[i].type;
            return true;
        }
    if (strncmp(t->text, "include", strlen("include")) == 0)
        return wrong(p, "include directives are not supported");
    return wrong(p, "invalid connection type \"%.64s\"", t->text);
}

/* Takes a field of names over. */
static bool parse_names(struct parser *p, const char *what, struct field *out)
{
    struct field *f = next_field(p, what);
    struct buf why;
    bool ok = true;

    if (f == NULL)
        return false;
    buf_init(&why, 0);
    for (size_t i = 0; i < f->count && ok; i++) {
        struct token *t = &f->tokens[i];
        bool is_group = !t->is_quoted && out == &p->rule->users && t->text[0] == '+';
        is_group = is_group || (out == &p->rule->databases &&
                                (token_is_keyword(t, "samerole") || token_is_keyword(t, "samegroup")));
        if (is_group)
            ok = wrong(p, "%.64s is not supported: who is a member of a role is not known here", t->text);
        else if (!token_compile(t, &why))
            ok = wrong(p, "%s", buf_cstr(&why));
    }
    buf_free(&why);
    *out = field_take(f);
    return ok;
}

/* An address as a number; its family, or AF_UNSPEC. */
static int parse_ip(const char *text, uint8_t out[16])
{
    if (inet_pton(AF_INET, text, out) == 1)
        return AF_INET;
    return inet_pton(AF_INET6, text, out) == 1 ? AF_INET6 : AF_UNSPEC;
}

static void set_mask(uint8_t mask[16], unsigned bits)
{
    memset(mask, 0, 16);
    for (unsigned i = 0; i < bits; i++)
        mask[i / 8] |= (uint8_t)(0x80 >> (i % 8));
}

/* "10.0.0.0/8", or "10.0.0.0 255.0.0.0" in two fields. */
static bool parse_network(struct parser *p, const char *text)
{
    struct rule *r = p->rule;
    const char *slash = strchr(text, '/');
    char *ip = slash != NULL ? xstrndup(text, (size_t)(slash - text)) : xstrdup(text);
    char *end = NULL;
    uint8_t mask[16];

    r->from = HBA_FROM_MASK;
    r->family = parse_ip(ip, r->addr);
    free(ip);
    if (r->family == AF_UNSPEC)
        return wrong(p,
                     "\"%.64s\" is no address: write one as a number (host names are not supported), all, "
                     "samehost or samenet",
                     text);
    if (slash != NULL) {
        unsigned long bits = strtoul(slash + 1, &end, 10);
        if (slash[1] < '0' || slash[1] > '9' || *end != '\0' || bits > (r->family == AF_INET ? 32 : 128))
            return wrong(p, "invalid CIDR mask in address \"%.64s\"", text);
        set_mask(r->mask, (unsigned)bits);
        return true;
    }
    const struct token *t = next_word(p, "netmask");
    if (t == NULL)
        return false;
    if (parse_ip(t->text, mask) != r->family)
        return wrong(p,
                     "\"%.64s\" is no netmask of address \"%.64s\": write one, or /BITS behind the address",
                     t->text, text);
    memcpy(r->mask, mask, sizeof(mask));
    return true;
}

static bool parse_address(struct parser *p)
{
    const struct token *t = next_word(p, "address");
    if (t == NULL)
        return false;
    if (token_is_keyword(t, "all"))
        p->rule->from = HBA_FROM_ALL;
    else if (token_is_keyword(t, "samehost"))
        p->rule->from = HBA_FROM_SAMEHOST;
    else if (token_is_keyword(t, "samenet"))
        p->rule->from = HBA_FROM_SAMENET;
    else
        return parse_network(p, t->text);
    return true;
}

static bool parse_method(struct parser *p)
{
    struct rule *r = p->rule;
    const struct token *t = next_word(p, "authentication method");
    int method = -2;

    if (t == NULL)
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(methods); i++)
        if (strcmp(t->text, methods[i].name) == 0)
            method = methods[i].method;
    if (r->type == HBA_LOCAL && strcmp(t->text, "ident") == 0) /* as in PostgreSQL */
        method = HBA_PEER;
    if (method == -2)
        return wrong(p, "invalid authentication method \"%.64s\"", t->text);
    if (method == -1)
        return wrong(p, "authentication method %s is not supported", t->text);
    if ((p->methods & (1u << method)) == 0)
        return wrong(p, "authentication method %s needs lib%s, which is not built in", t->text, t->text);
    r->told.method = (enum hba_method)method;
    if (method == HBA_LDAP)
        r->told.ldap = ldap_rule_new();
    if (method == HBA_PEER && r->type != HBA_LOCAL)
        return wrong(p, "peer authentication is only supported on local sockets");
    if (method == HBA_CERT && r->type != HBA_HOSTSSL)
        return wrong(p, "cert authentication is only supported on hostssl connections");
    if (method == HBA_CERT)
        r->told.client_cert = HBA_CERT_CA;
    return true;
}

static bool option_map(struct parser *p, const char *value)
{
    if (p->rule->told.method != HBA_PEER && p->rule->told.method != HBA_CERT)
        return wrong(p, "option map is only valid for authentication methods peer and cert");
    if (!ident_has_map(p->ident, value))
        return wrong(p, "there is no map \"%.64s\" in auth_ident_file", value);
    free((char *)p->rule->told.map);
    p->rule->told.map = xstrdup(value);
    return true;
}

static bool option_clientcert(struct parser *p, const char *value)
{
    struct hba_rule *r = &p->rule->told;

    if (p->rule->type != HBA_HOSTSSL)
        return wrong(p, "option clientcert is only valid on hostssl connections");
    if (strcmp(value, "verify-full") == 0) {
        r->client_cert = r->method == HBA_CERT ? HBA_CERT_CA : HBA_CERT_FULL;
        return true;
    }
    if (strcmp(value, "verify-ca") != 0)
        return wrong(p, "invalid value for option clientcert: \"%.64s\"", value);
    if (r->method == HBA_CERT)
        return wrong(p, "option clientcert may be verify-full only with the method cert");
    r->client_cert = HBA_CERT_CA;
    return true;
}

static bool option_pamservice(struct parser *p, const char *value)
{
    if (p->rule->told.method != HBA_PAM)
        return wrong(p, "option pamservice is only valid for authentication method pam");
    /* libpam makes the name of a file of it */
    if (value[0] == '\0' || strchr(value, '/') != NULL || strlen(value) >= HBA_PAM_SERVICE_BYTES)
        return wrong(p, "invalid value for option pamservice: \"%.64s\"", value);
    free((char *)p->rule->told.pam_service);
    p->rule->told.pam_service = xstrdup(value);
    return true;
}

static bool option_pam_use_hostname(struct parser *p, const char *value)
{
    struct hba_rule *r = &p->rule->told;

    if (r->method != HBA_PAM)
        return wrong(p, "option pam_use_hostname is only valid for authentication method pam");
    r->pam_use_hostname = strcmp(value, "1") == 0;
    if (!r->pam_use_hostname && strcmp(value, "0") != 0)
        return wrong(p, "invalid value for option pam_use_hostname: \"%.64s\" (it is 1 or 0)", value);
    return true;
}

static bool option_ldap(struct parser *p, const char *name, const char *value)
{
    struct buf why;

    if (p->rule->told.method != HBA_LDAP)
        return wrong(p, "option %s is only valid for authentication method ldap", name);
    buf_init(&why, 0);
    bool ok = ldap_rule_set(p->rule->told.ldap, name, value, &why) || wrong(p, "%s", buf_cstr(&why));
    buf_free(&why);
    return ok;
}

static bool parse_option(struct parser *p, const char *text)
{
    static const struct {
        const char *name;
        bool (*parse)(struct parser *, const char *);
    } options[] = {{"map", option_map},
                   {"clientcert", option_clientcert},
                   {"pamservice", option_pamservice},
                   {"pam_use_hostname", option_pam_use_hostname}};
    size_t n = strcspn(text, "=");
    char name[64] = "";

    if (text[n] == '\0' && p->rule->told.method == HBA_LDAP) /* it may be of a password with a blank */
        return wrong(p, "authentication option not in name=value format");
    if (text[n] == '\0')
        return wrong(p, "authentication option not in name=value format: \"%.64s\"", text);
    if (n < sizeof(name))
        (void)str_copy(name, text, n + 1);
    for (size_t i = 0; i < ARRAY_SIZE(options); i++)
        if (strcmp(name, options[i].name) == 0)
            return options[i].parse(p, text + n + 1);
    if (ldap_rule_has_option(name))
        return option_ldap(p, name, text + n + 1);
    return wrong(p, "authentication option \"%.*s\" is not supported", (int)(n < 64 ? n : 64), text);
}

static bool parse_options(struct parser *p)
{
    bool ok = true;
    for (; p->at < p->line->count; p->at++)
        for (size_t i = 0; i < p->line->fields[p->at].count; i++)
            ok = parse_option(p, p->line->fields[p->at].tokens[i].text) && ok;
    return ok;
}

/* Do the options go together? */
static bool check_options(struct parser *p)
{
    struct buf why;

    if (p->rule->told.method != HBA_LDAP)
        return true;
    buf_init(&why, 0);
    bool ok = ldap_rule_check(p->rule->told.ldap, &why) || wrong(p, "%s", buf_cstr(&why));
    buf_free(&why);
    return ok;
}

static bool parse_rule(struct parser *p)
{
    return parse_type(p) && parse_names(p, "database", &p->rule->databases) &&
           parse_names(p, "user", &p->rule->users) && (p->rule->type == HBA_LOCAL || parse_address(p)) &&
           parse_method(p) && parse_options(p) && check_options(p);
}

static void rule_free(struct rule *r)
{
    field_free(&r->databases);
    field_free(&r->users);
    free((char *)r->told.map);
    free((char *)r->told.pam_service);
    ldap_rule_unref(r->told.ldap);
}

struct hba *hba_parse(const struct auth_source *source, unsigned supported, const struct ident *ident)
{
    struct hba *h = xcalloc(1, sizeof(*h));
    struct token_file f;

    token_file_read(&f, source);
    h->path = xstrdup(source->path);
    h->rules = xcalloc(f.count + 1, sizeof(*h->rules));
    for (size_t i = 0; i < f.count; i++) {
        struct rule *r = &h->rules[h->count];
        struct parser p = {
            .source = source, .ident = ident, .methods = supported, .line = &f.lines[i], .rule = r};
        *r = (struct rule){.told = {.file = h->path, .line = f.lines[i].number}};
        if (parse_rule(&p))
            h->count++;
        else
            rule_free(r);
    }
    token_file_free(&f);
    return h;
}

void hba_free(struct hba *h)
{
    if (h == NULL)
        return;
    for (size_t i = 0; i < h->count; i++)
        rule_free(&h->rules[i]);
    free(h->rules);
    free(h->path);
    free(h);
}
