/*
 * saslprep.c - SASLprep by GNU libidn, with PostgreSQL's fallback to the raw password.
 */
#include "config.h"

#include "saslprep_int.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#ifdef HAVE_LIBIDN
#include <stringprep.h>
#endif

#include "base/secret.h"

#ifdef HAVE_LIBIDN
static bool is_ascii(const char *s)
{
    for (; *s; s++) {
        if ((unsigned char)*s > 0x7f)
            return false;
    }
    return true;
}
#endif

char *saslprep_password(const char *password)
{
#ifdef HAVE_LIBIDN
    /* ASCII is left alone even where the profile would refuse it (control characters). */
    if (!is_ascii(password)) {
        char *prepared = NULL;
        int rc = stringprep_profile(password, &prepared, "SASLprep", STRINGPREP_NO_UNASSIGNED);
        if (rc == STRINGPREP_OK && prepared[0] != '\0')
            return prepared;
        if (rc == STRINGPREP_MALLOC_ERROR)
            return NULL;
        if (rc == STRINGPREP_OK)
            secret_free(prepared);
    }
#endif
    return strdup(password);
}
