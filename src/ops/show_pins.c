/*
 * show_pins.c - SHOW PINNED and SHOW LEAKS: who keeps servers beyond transactions, and who does so at all.
 *
 * Threads: the control thread only.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "ops_int.h"
#include "session/mail.h"
#include "stats/leaks.h"

static void connection_name(struct result *r, char kind, uint64_t id)
{
    char text[32];

    snprintf(text, sizeof(text), "%c-%" PRIu64, kind, id);
    result_text(r, text);
}

static void fingerprint(struct result *r, uint64_t value)
{
    char text[32];

    snprintf(text, sizeof(text), "%016" PRIx64, value);
    result_text(r, text);
}

static void pinned_row(struct result *r, const struct pin_row *row)
{
    result_row(r);
    connection_name(r, 'C', row->client);
    connection_name(r, 'S', row->server);
    result_text(r, row->database);
    result_text(r, row->user);
    result_text(r, row->application_name);
    result_int(r, row->remote_pid);
    result_text(r, row->reasons);
    fingerprint(r, row->fingerprint);
    result_text(r, row->statement);
    result_time(r, row->since_us);
    result_int(r, row->idle_us / USEC_PER_SEC);
    result_int(r, row->worker);
    result_row_end(r);
}

void show_pinned(struct console *c, struct result *r, struct mail_gather *const *answers, int n)
{
    (void)c;
    for (int i = 0; i < n; i++)
        for (uint32_t k = 0; answers[i] != NULL && k < answers[i]->n_pins; k++)
            pinned_row(r, &answers[i]->pins[k]);
}

void show_leaks(struct console *c, struct result *r)
{
    struct leak leak;

    for (int i = 0; leaks_read(c->hooks.instance->leaks, i, &leak); i++) {
        result_row(r);
        result_text(r, leak.application);
        result_text(r, leak.database);
        result_text(r, leak.user);
        result_text(r, leak.reason);
        fingerprint(r, leak.fingerprint);
        result_text(r, leak.statement);
        result_uint(r, leak.count);
        result_uint(r, leak.abandoned);
        result_time(r, leak.last_wall_us);
        result_row_end(r);
    }
}
