/*
 * password_built_in.c - which of libpam and libldap are built in, and what stands in the place of one that is
 * not.
 *
 * A configuration that needs one that is missing is refused, so nothing of that runs.
 */
#include "config.h"
#include "password_int.h"

#ifndef HAVE_PAM
void check_by_pam(struct password_check *c)
{
    check_say(c, CHECK_FAILED, "PAM is not built in");
}
#endif

#ifndef HAVE_LDAP
void check_by_ldap(struct password_check *c, int64_t until_us)
{
    (void)until_us;
    check_say(c, CHECK_FAILED, "LDAP is not built in");
}
#endif

const char *checks_built_in(void)
{
#if defined(HAVE_PAM) && defined(HAVE_LDAP)
    return "PAM, LDAP";
#elif defined(HAVE_PAM)
    return "PAM";
#elif defined(HAVE_LDAP)
    return "LDAP";
#else
    return "no";
#endif
}
