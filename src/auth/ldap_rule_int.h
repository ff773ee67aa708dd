/*
 * ldap_rule_int.h - what the files about LDAP share.
 */
#ifndef AUTH_LDAP_RULE_INT_H
#define AUTH_LDAP_RULE_INT_H

#include "auth/ldap_rule.h"

/* ldap_url.c: takes what the URL says over. False with why. */
bool ldap_rule_set_url(struct ldap_rule *r, const char *url, struct buf *why) must_check;

/* ldap_rule.c: hosts, with blanks between. False with why. */
bool ldap_rule_set_server(struct ldap_rule *r, const char *value, struct buf *why) must_check;

/* ldap_escape.c: a value within a DN (RFC 4514), within a filter (RFC 4515). */
void ldap_escape_dn(const char *value, struct buf *out);
void ldap_escape_filter(const char *value, struct buf *out);

#endif
