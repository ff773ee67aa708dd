/*
 * login_rules.h - what a configuration says of logins beyond its settings: rules, maps, look-ups.
 *
 * As config.h: an immutable snapshot, any thread.
 */
#ifndef CONFIG_LOGIN_RULES_H
#define CONFIG_LOGIN_RULES_H

#include "config/config.h"

struct hba;       /* auth/ */
struct ident;     /* auth/ */
struct ldap_rule; /* auth/ */

/* The rules of auth_hba_file; NULL unless auth_type = hba. */
const struct hba *config_hba(const struct config *c);
/* The maps of auth_ident_file; NULL: none are needed. */
const struct ident *config_ident(const struct config *c);
/* What auth_ldap_options says; NULL unless auth_type = ldap. */
struct ldap_rule *config_ldap(const struct config *c);
/* May a client's password be one for PAM or an LDAP directory? */
bool config_asks_directory(const struct config *c) must_check;

/* How users are looked up whom auth_file does not name. */
struct config_lookup {
    const char *database; /* of [databases], or falls under * */
    const char *user;
    const char *query;
};
/* For a client that asks for this database (NULL: the console). False: not at all. */
bool config_lookup(const struct config *c, const char *database, struct config_lookup *out) must_check;

#endif
