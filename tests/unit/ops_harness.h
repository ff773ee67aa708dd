/*
 * ops_harness.h - a console with everything real around it but main/ and the workers.
 *
 * Output is collected, told to be read as lines, one per message; what the console asks of
 * main/ is recorded in `calls`.
 */
#ifndef OPS_HARNESS_H
#define OPS_HARNESS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "ops/console.h"
#include "session/instance.h"
#include "session/shard.h"

#define HARNESS_WORKERS 2

struct harness {
    struct console *console;
    struct instance instance;
    struct session_config config;
    int64_t now_us;
    struct buf calls; /* "reload; pause app; ..." */
    bool reload_fails, reload_changes, set_fails, servers_left, workers_are_behind;
    struct order order;           /* the one that is under way */
    struct mail_gather *asked[8]; /* mails to workers */
    int n_asked;
    struct helper_job *submitted[8]; /* done when what led to them has returned, unless holds_work */
    int n_submitted;
    bool holds_work;
    struct buf out; /* bytes for clients */
    int n_last;     /* answers */
    bool is_closing;
    uint8_t worker; /* of the last output */
    uint64_t client;
};

/* ini: NULL for a small one. */
struct harness *harness_new(const char *ini);
void harness_free(struct harness *h);

/* For cmocka: one with client 1 of worker 0, who has been welcomed. */
int harness_setup(void **state);
int harness_setup_admin(void **state);
int harness_teardown(void **state);

void harness_open(struct harness *h, uint8_t worker, uint64_t client, bool is_admin);
void harness_cancel(struct harness *h, uint8_t worker, uint64_t client);
void harness_gone(struct harness *h, uint8_t worker, uint64_t client);
void harness_data(struct harness *h, uint8_t worker, uint64_t client, const void *data, uint32_t len_bytes);
/* Client 1 of worker 0. */
void harness_send(struct harness *h, struct buf *messages); /* empties it */
void harness_query(struct harness *h, const char *sql);
/* What came since the last call: one line per message. free(). */
char *harness_trace(struct harness *h);
/* A simple query and its trace. */
char *harness_ask(struct harness *h, const char *sql);
/* The trace, and the calls, since the last time. */
void check_trace(struct harness *h, const char *expected);
void check_calls(struct harness *h, const char *expected);
/* Answers a gathering in the order it was asked; rows is taken over. */
void harness_gathered(struct harness *h, int i, struct session_row *rows, uint32_t n_rows);

/* What was submitted is done, also what follows from it. */
void harness_work(struct harness *h);

/* Messages of the extended protocol. */
void put_parse(struct buf *b, const char *name, const char *sql);
void put_bind(struct buf *b, const char *portal, const char *name, int n_formats, int format);
void put_describe(struct buf *b, char kind, const char *name);
void put_execute(struct buf *b, const char *portal, uint32_t max_rows);
void put_close(struct buf *b, char kind, const char *name);
void put_sync(struct buf *b);

#endif
