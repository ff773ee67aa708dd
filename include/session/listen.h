/*
 * listen.h - what SHOW LISTENERS tells.
 */
#ifndef SESSION_LISTEN_H
#define SESSION_LISTEN_H

#include "session/mail.h"
#include "session/shard.h"

/* A row for each channel of a worker; free() them. False: no memory. Threads: the worker's own. */
bool listen_describe(const struct shard *sh, struct listen_row **rows, uint32_t *n) must_check;

#endif
