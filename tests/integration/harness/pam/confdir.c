/*
 * confdir.c - preloaded: libpam reads its services in a directory of the test's own, not in /etc/pam.d.
 */
#include <stdlib.h>

#include <security/pam_appl.h>

int pam_start(const char *service, const char *user, const struct pam_conv *conv, pam_handle_t **pam)
{
    return pam_start_confdir(service, user, conv, getenv("PGS_TEST_PAM_DIR"), pam);
}
