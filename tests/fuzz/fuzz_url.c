/*
 * fuzz_url.c - connection URLs of DATABASE_URL.
 *
 * Links libconfig.a libauth.a libbase.a and what they need. What is taken has a port that is one, and
 * a reason is given for what is not.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "config/database_url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char scheme[] = "postgres://";
    struct database_url url;
    struct buf why;
    char *text = malloc(sizeof(scheme) + size);

    if (text == NULL)
        return 0;
    memcpy(text, scheme, sizeof(scheme) - 1);
    if (size > 0)
        memcpy(text + sizeof(scheme) - 1, data, size);
    text[sizeof(scheme) - 1 + size] = '\0';
    buf_init(&why, 0);
    bool ok = database_url_parse(text, &url, &why);
    if (ok != (why.len == 0) || url.port < 0 || url.port > 65535)
        abort();
    database_url_free(&url);
    buf_free(&why);
    free(text);
    return 0;
}
