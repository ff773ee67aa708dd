/*
 * hba_match.c - which rule decides about a client.
 *
 * Follows PostgreSQL's check_hba(), check_db(), check_role(), check_same_host_or_net().
 */
#include <string.h>

#include "base/str.h"
#include "hba_int.h"

static size_t addr_bytes(int family)
{
    return family == AF_INET ? 4 : 16;
}

static bool in_network(const uint8_t *addr, const uint8_t *net, const uint8_t *mask, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (((addr[i] ^ net[i]) & mask[i]) != 0)
            return false;
    return true;
}

static bool is_own_address(const struct hba_client *c, bool whole_net)
{
    static const uint8_t all_bits[16] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                         0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

    for (size_t i = 0; i < c->n_networks; i++) {
        const struct hba_network *n = &c->networks[i];
        if (n->family == c->family &&
            in_network(c->addr, n->addr, whole_net ? n->mask : all_bits, addr_bytes(n->family)))
            return true;
    }
    return false;
}

static bool matches_connection(const struct rule *r, const struct hba_client *c)
{
    switch (r->type) {
    case HBA_LOCAL: return c->family == AF_UNIX;
    case HBA_HOST: break;
    case HBA_HOSTSSL:
        if (!c->is_tls)
            return false;
        break;
    case HBA_HOSTNOSSL:
        if (c->is_tls)
            return false;
        break;
    case HBA_HOSTGSS: return false; /* nobody is encrypted by GSSAPI here */
    }
    if (c->family == AF_UNIX)
        return false;
    switch (r->from) {
    case HBA_FROM_ALL: return true;
    case HBA_FROM_SAMEHOST: return is_own_address(c, false);
    case HBA_FROM_SAMENET: return is_own_address(c, true);
    case HBA_FROM_MASK: break;
    }
    return r->family == c->family && in_network(c->addr, r->addr, r->mask, addr_bytes(r->family));
}

static bool matches_database(const struct rule *r, const struct hba_client *c, const char *database)
{
    for (size_t i = 0; i < r->databases.count; i++) {
        const struct token *t = &r->databases.tokens[i];
        bool is_replication = token_is_keyword(t, "replication");
        if (c->is_replication || is_replication) {
            if (c->is_replication && is_replication)
                return true;
        } else if (token_is_keyword(t, "all")) {
            return true;
        } else if (token_is_keyword(t, "sameuser")) {
            if (strcmp(database, c->user) == 0)
                return true;
        } else if (token_matches(t, database)) {
            return true;
        }
    }
    return false;
}

static bool matches_user(const struct rule *r, const char *user)
{
    for (size_t i = 0; i < r->users.count; i++)
        if (token_is_keyword(&r->users.tokens[i], "all") || token_matches(&r->users.tokens[i], user))
            return true;
    return false;
}

/* PostgreSQL cuts long names before it looks at its rules, so that they cannot be had by a longer name. */
static void cut(const char *name, char out[AUTH_NAME_MAX + 1])
{
    (void)str_copy(out, name, AUTH_NAME_MAX + 1);
}

const struct hba_rule *hba_match(const struct hba *h, const struct hba_client *client)
{
    char user[AUTH_NAME_MAX + 1], database[AUTH_NAME_MAX + 1], alias[AUTH_NAME_MAX + 1];
    struct hba_client c = *client;

    cut(client->user, user);
    cut(client->database, database);
    cut(client->database_alias != NULL ? client->database_alias : client->database, alias);
    c.user = user;
    for (size_t i = 0; i < h->count; i++) {
        const struct rule *r = &h->rules[i];
        if (matches_connection(r, &c) &&
            (matches_database(r, &c, database) || matches_database(r, &c, alias)) && matches_user(r, user))
            return &r->told;
    }
    return NULL;
}

bool hba_has_method(const struct hba *h, enum hba_method method)
{
    for (size_t i = 0; i < h->count; i++)
        if (h->rules[i].told.method == method)
            return true;
    return false;
}

bool hba_needs_networks(const struct hba *h)
{
    for (size_t i = 0; i < h->count; i++)
        if (h->rules[i].from == HBA_FROM_SAMEHOST || h->rules[i].from == HBA_FROM_SAMENET)
            return true;
    return false;
}

size_t hba_count(const struct hba *h)
{
    return h->count;
}
