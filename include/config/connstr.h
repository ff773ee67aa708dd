/*
 * connstr.h - values of [databases] and [users]: "key=value key='quoted value'".
 *
 * Pure: text in, pairs out.
 */
#ifndef CONFIG_CONNSTR_H
#define CONFIG_CONNSTR_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/compiler.h"

/* Walks the pairs of a connection string; both buffers are reused by every step. */
struct connstr {
    const char *at;
    struct buf key;
    struct buf value;
};

enum connstr_result { CONNSTR_PAIR, CONNSTR_END, CONNSTR_ERR };

void connstr_init(struct connstr *c, const char *text);
void connstr_free(struct connstr *c);
/* The next pair is in c->key and c->value (buf_cstr()). On CONNSTR_ERR, c->value holds what is
 * wrong. Blanks around '=' are allowed; a value in single quotes has '' for one quote. */
enum connstr_result connstr_next(struct connstr *c) must_check;

/* A name of [databases] or [users] as written: bare, `*`, or "quoted" with "" for one quote.
 * Replaces *out; false when the quoting is broken or the name is empty. */
bool connstr_unquote_name(const char *text, struct buf *out) must_check;

#endif
