/*
 * base64.c - strict base64 (RFC 4648, section 4).
 *
 * OpenSSL's decoder ignores white space and counts padding as zero bytes, so it
 * serves for encoding only.
 */
#include "base64_int.h"

#include <openssl/evp.h>

size_t base64_encode(const uint8_t *data, size_t len, char *out)
{
    return (size_t)EVP_EncodeBlock((unsigned char *)out, data, (int)len);
}

static int digit_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+')
        return 62;
    return c == '/' ? 63 : -1;
}

int base64_decode(const char *text, size_t len, uint8_t *out, size_t max)
{
    if (len % 4 != 0)
        return -1;
    size_t digits = len;
    while (digits > 0 && len - digits < 2 && text[digits - 1] == '=')
        digits--;
    size_t bytes = digits * 3 / 4;
    if (bytes > max)
        return -1;

    uint32_t bits = 0;
    unsigned held = 0;
    size_t n = 0;
    for (size_t i = 0; i < digits; i++) {
        int v = digit_value(text[i]);
        if (v < 0)
            return -1;
        bits = bits << 6 | (uint32_t)v;
        held += 6;
        if (held >= 8) {
            held -= 8;
            out[n++] = (uint8_t)(bits >> held);
            bits &= (1u << held) - 1;
        }
    }
    return bits == 0 ? (int)n : -1;
}
