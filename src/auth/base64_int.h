/*
 * base64_int.h - base64 as SCRAM wants it: padded, no line breaks, nothing else accepted.
 */
#ifndef AUTH_BASE64_INT_H
#define AUTH_BASE64_INT_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

/* Room for the text of n bytes, with the NUL. */
#define BASE64_TEXT_BYTES(n) (((n) + 2) / 3 * 4 + 1)

/* Writes text and NUL; out has BASE64_TEXT_BYTES(len). Returns the text's length. */
size_t base64_encode(const uint8_t *data, size_t len, char *out);
/*
 * Returns the number of bytes, or -1: wrong length, foreign characters (white space too), padding
 * elsewhere than at the end, bits that no byte uses, more than max bytes.
 */
int base64_decode(const char *text, size_t len, uint8_t *out, size_t max) must_check;

#endif
