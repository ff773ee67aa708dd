/*
 * hba.h - rules of who may log in from where, and how: pg_hba.conf.
 *
 * Format and meaning are PostgreSQL's, by the words of PostgreSQL 16: the first rule that matches counts, and
 * where none matches nobody gets in. What cannot be honoured here (groups, host names, methods that are not
 * built in) is a problem with file and line, never a rule that is left out.
 *
 * Unlike PostgreSQL: an open quote at the end of a line and fields behind the last one are problems; regular
 * expressions are POSIX extended ones with \d, \s and \w, and see bytes.
 *
 * Threads: made at configuration time (may abort), then immutable; matching is for any thread.
 * Not here: what a method does (session/), maps of names (ident.h).
 */
#ifndef AUTH_HBA_H
#define AUTH_HBA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "auth/source.h"
#include "base/compiler.h"

struct ident;
struct ldap_rule;

enum hba_method {
    HBA_REJECT,
    HBA_TRUST,
    HBA_PEER,
    HBA_CERT,
    HBA_PASSWORD,
    HBA_MD5,
    HBA_SCRAM,
    HBA_PAM,
    HBA_LDAP,
    HBA_METHODS
};

#define HBA_PAM_SERVICE_BYTES 64 /* of a name and its NUL */

/* Option clientcert: what certificate there must be beside what the method asks for. */
enum hba_client_cert {
    HBA_CERT_NONE,
    HBA_CERT_CA,   /* a verified one */
    HBA_CERT_FULL, /* ... whose common name is the user */
};

struct hba_rule {
    const char *file;
    int line;
    enum hba_method method;
    enum hba_client_cert client_cert;
    const char *map;         /* for peer and cert; NULL = the names must be equal */
    const char *pam_service; /* for pam; NULL = the usual one */
    bool pam_use_hostname;
    struct ldap_rule *ldap; /* for ldap; to be used beyond the rules' life with a reference of one's own */
};

struct hba;

/* Bits 1 << enum hba_method: methods that this build has. ident: the maps that rules may name; NULL = none.
 * Problems go to source; the result is never NULL, and is to be used only when there were none. */
struct hba *hba_parse(const struct auth_source *source, unsigned methods,
                      const struct ident *ident) must_check;
/* NULL is fine. */
void hba_free(struct hba *h);
/* Does any rule ask for the method? */
bool hba_has_method(const struct hba *h, enum hba_method method) must_check;
/* Is there a rule with samehost or samenet? Then hba_client.networks are needed. */
bool hba_needs_networks(const struct hba *h) must_check;
size_t hba_count(const struct hba *h);

struct hba_network {
    int family; /* AF_INET, AF_INET6 */
    uint8_t addr[16], mask[16];
};

struct hba_client {
    const char *user;
    const char *database;
    const char *database_alias; /* a second name of the same database, or NULL */
    const uint8_t *addr;        /* 4 or 16 bytes */
    int family;                 /* AF_UNIX, AF_INET, AF_INET6 */
    bool is_tls;
    bool is_replication;                /* physical: matches the keyword only */
    const struct hba_network *networks; /* addresses of this machine */
    size_t n_networks;
};

/* The rule that decides; NULL: none matches, which is a refusal. */
const struct hba_rule *hba_match(const struct hba *h, const struct hba_client *c) must_check;

/* As in the file. */
const char *hba_method_name(enum hba_method method);

#endif
