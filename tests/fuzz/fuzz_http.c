/*
 * fuzz_http.c - the head of an HTTP request.
 *
 * Links libops.a and what it needs. What is known of a request does not change by bytes behind it,
 * and a request that is not complete is not refused by what comes first.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "http_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_request whole, part;
    int status, before = HTTP_INCOMPLETE;

    if (size > HTTP_REQUEST_MAX_BYTES)
        size = HTTP_REQUEST_MAX_BYTES;
    status = http_request_parse((const char *)data, size, &whole);
    for (size_t len = 0; len <= size && before == HTTP_INCOMPLETE; len++) {
        before = http_request_parse((const char *)data, len, &part);
        if (before != HTTP_INCOMPLETE && len < HTTP_REQUEST_MAX_BYTES &&
            (before != status || memcmp(&whole, &part, sizeof(part)) != 0))
            abort();
    }
    if (status == 200 && (whole.path[0] != '/' || memchr(whole.path, '\0', sizeof(whole.path)) == NULL ||
                          memchr(whole.query, '\0', sizeof(whole.query)) == NULL))
        abort();
    (void)http_query_has(whole.query, "databases");
    return 0;
}
