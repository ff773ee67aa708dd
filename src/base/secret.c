/*
 * secret.c - wiping and comparing passwords and keys. Threads: any.
 */
#include <stdlib.h>
#include <string.h>

#include "base/secret.h"

void secret_wipe(void *p, size_t len_bytes)
{
    if (len_bytes > 0)
        explicit_bzero(p, len_bytes);
}

void secret_free(char *s)
{
    if (s == NULL)
        return;
    secret_wipe(s, strlen(s));
    free(s);
}

bool secret_equal(const void *a, const void *b, size_t len_bytes)
{
    /* volatile: the loop may not stop at the first difference. */
    const volatile unsigned char *x = a;
    const volatile unsigned char *y = b;
    unsigned char difference = 0;
    for (size_t i = 0; i < len_bytes; i++)
        difference |= (unsigned char)(x[i] ^ y[i]);
    return difference == 0;
}
