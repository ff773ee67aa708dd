/*
 * ldap_rule.h - what is said of LDAP: the options of method ldap in rule files, and auth_ldap_options.
 *
 * Names and meaning are PostgreSQL's. Refused beyond what PostgreSQL refuses: what contradicts itself
 * (ldaptls over ldaps, a bind password without a bind DN) and a search filter that does not say $username, by
 * which everyone would be one and the same entry.
 *
 * Two ways to log in: a simple bind, as ldapprefix + user + ldapsuffix; or, with ldapbasedn, a search for the
 * user's entry and a bind as what was found. A user's name is escaped wherever it becomes part of a DN (RFC
 * 4514) or of a filter (RFC 4515).
 *
 * Threads: made at configuration time (may abort), then immutable and counted; any thread that has a
 * reference reads it. What is written at run time into a struct buf sets its `failed` when memory is out. Not
 * here: speaking to a server (net/password_ldap.c).
 */
#ifndef AUTH_LDAP_RULE_H
#define AUTH_LDAP_RULE_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/compiler.h"

enum ldap_rule_scope { LDAP_RULE_BASE, LDAP_RULE_ONE, LDAP_RULE_SUB };

/* Texts are NULL when they are not set. */
struct ldap_rule {
    _Atomic int refs;
    char *server;    /* hosts, blanks between them; NULL or "": found through DNS by base_dn */
    int port;        /* 0: the scheme's */
    bool is_ldaps;   /* TLS from the first byte on */
    bool starts_tls; /* StartTLS */
    /* simple bind */
    char *prefix;
    char *suffix;
    /* search and bind */
    char *base_dn;
    char *bind_dn;
    char *bind_password;
    char *attribute;
    char *filter;
    enum ldap_rule_scope scope;
};

struct ldap_rule *ldap_rule_new(void);
struct ldap_rule *ldap_rule_ref(struct ldap_rule *r);
/* Wipes the password with the last reference; NULL is fine. */
void ldap_rule_unref(struct ldap_rule *r);

/* Is it the name of an option of ours (ldap...)? */
bool ldap_rule_has_option(const char *name) must_check;
/* A name that is one; the last of a repeated option counts. False with why. */
bool ldap_rule_set(struct ldap_rule *r, const char *name, const char *value, struct buf *why) must_check;
/* All options have been given: do they go together? False with why. */
bool ldap_rule_check(const struct ldap_rule *r, struct buf *why) must_check;
/* auth_ldap_options: name=value with blanks between, quoted as in rule files. NULL with why. */
struct ldap_rule *ldap_rule_parse(const char *text, struct buf *why) must_check;

/* Does it search for the user's entry? Else a bind is all. */
bool ldap_rule_searches(const struct ldap_rule *r) must_check;
/* The URI of the next host of the list at *at, which moves behind it. hosts: r->server, or what DNS has told
 * (host:port). False: there is no further one. */
bool ldap_rule_next_uri(const struct ldap_rule *r, bool has_ports, const char **at, struct buf *uri);
/* Simple bind: as whom. */
void ldap_rule_bind_name(const struct ldap_rule *r, const char *user, struct buf *out);
/* Search: the filter. */
void ldap_rule_filter(const struct ldap_rule *r, const char *user, struct buf *out);

#endif
