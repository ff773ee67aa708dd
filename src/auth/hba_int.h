/*
 * hba_int.h - a rule as parser and matcher know it.
 */
#ifndef AUTH_HBA_INT_H
#define AUTH_HBA_INT_H

#include "auth/hba.h"
#include "tokens_int.h"

enum hba_type { HBA_LOCAL, HBA_HOST, HBA_HOSTSSL, HBA_HOSTNOSSL, HBA_HOSTGSS };

enum hba_from { HBA_FROM_MASK, HBA_FROM_ALL, HBA_FROM_SAMEHOST, HBA_FROM_SAMENET };

struct rule {
    struct hba_rule told; /* what hba_match() gives */
    enum hba_type type;
    struct field databases, users;
    enum hba_from from;
    int family; /* HBA_FROM_MASK: AF_INET or AF_INET6 */
    uint8_t addr[16], mask[16];
};

struct hba {
    char *path; /* told.file of all rules */
    struct rule *rules;
    size_t count;
};

#endif
