/*
 * sql_fingerprint.h - the shape of a text of SQL: what is the same when only its values differ.
 *
 * Literals, numbers and parameters become ?, lists of them one ?; words are in lower case, comments and
 * blanks do not count. So texts that differ in nothing else have one fingerprint, the same in all processes.
 *
 * The text must be in an encoding that has no ASCII bytes inside of its characters (sql_encoding_is_safe()).
 *
 * Pure.
 */
#ifndef WIRE_SQL_FINGERPRINT_H
#define WIRE_SQL_FINGERPRINT_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

#define SQL_FINGERPRINT_MAX_BYTES 4096u

/* Of more than SQL_FINGERPRINT_MAX_BYTES only so many count. out: the shape with its NUL, cut to size - 1
 * bytes. */
uint64_t sql_fingerprint(const char *text, uint32_t len_bytes, char *out, size_t size) must_check;

#endif
