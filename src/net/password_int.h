/*
 * password_int.h - the two ways to check a password. On a thread of password_check.c.
 *
 * Both set outcome and why. until_us: when it is to have ended (monotonic).
 */
#ifndef NET_PASSWORD_INT_H
#define NET_PASSWORD_INT_H

#include "net/password_check.h"

void check_by_pam(struct password_check *c);
void check_by_ldap(struct password_check *c, int64_t until_us);

/* The answer. */
void check_say(struct password_check *c, enum check_outcome outcome, const char *fmt, ...) printf_like(3, 4);

#endif
