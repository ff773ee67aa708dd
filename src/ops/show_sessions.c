/*
 * show_sessions.c - SHOW CLIENTS, SERVERS, SOCKETS, ACTIVE_SOCKETS: rows as the workers tell them.
 *
 * ptr and link are names, not addresses: those of the log's lines.
 *
 * Threads: the control thread only.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "ops_int.h"

static void connection_name(struct result *r, bool is_server, uint64_t id)
{
    char text[32] = "";

    if (id != 0)
        snprintf(text, sizeof(text), "%c-%" PRIu64, is_server ? 'S' : 'C', id);
    result_text(r, text);
}

static void session_values(struct result *r, const struct session_row *row, const char *state)
{
    result_row(r);
    result_text(r, row->is_server ? "S" : "C");
    result_text(r, row->user);
    result_text(r, row->database);
    result_text(r, row->replication);
    result_text(r, state);
    result_text(r, row->addr);
    result_int(r, row->port);
    result_text(r, row->local_addr);
    result_int(r, row->local_port);
    result_time(r, row->connect_time_us);
    result_time(r, row->request_time_us);
    result_int(r, row->wait_us / USEC_PER_SEC);
    result_int(r, row->wait_us % USEC_PER_SEC);
    result_int(r, row->close_needed);
    connection_name(r, row->is_server, row->id);
    connection_name(r, !row->is_server, row->link);
    result_int(r, row->remote_pid);
    result_text(r, row->tls);
    result_text(r, row->application_name);
    result_int(r, row->prepared_statements);
    result_int(r, (int64_t)(row->id & INT32_MAX));
}

static void session_row(struct result *r, const struct session_row *row)
{
    session_values(r, row, row->state);
    result_int(r, row->worker);
    result_row_end(r);
}

/* As if what is passed on and what is not yet looked at lay in one buffer, as they do in PgBouncer. */
static void socket_row(struct result *r, const struct session_row *row)
{
    session_values(r, row, row->socket_state);
    result_uint(r, (uint64_t)row->send_avail + row->pkt_avail); /* recv_pos */
    result_uint(r, row->send_avail);                            /* pkt_pos */
    result_uint(r, row->pkt_remain);
    result_int(r, 0); /* send_pos */
    result_int(r, 0); /* send_remain: always 0 in PgBouncer too */
    result_uint(r, row->pkt_avail);
    result_uint(r, row->send_avail);
    result_int(r, row->worker);
    result_row_end(r);
}

enum { OF_CLIENTS = 1, OF_SERVERS = 2, ONLY_ACTIVE = 4 };

static void each_row(struct result *r, struct mail_gather *const *answers, int n, unsigned which,
                     void (*show)(struct result *r, const struct session_row *row))
{
    for (int i = 0; i < n; i++) {
        for (uint32_t k = 0; answers[i] != NULL && k < answers[i]->n_rows; k++) {
            const struct session_row *row = &answers[i]->rows[k];

            if ((which & (row->is_server ? OF_SERVERS : OF_CLIENTS)) == 0)
                continue;
            if ((which & ONLY_ACTIVE) == 0 || row->pkt_avail > 0 || row->send_avail > 0)
                show(r, row);
        }
    }
}

void show_clients(struct console *c, struct result *r, struct mail_gather *const *answers, int n)
{
    (void)c;
    each_row(r, answers, n, OF_CLIENTS, session_row);
}

void show_servers(struct console *c, struct result *r, struct mail_gather *const *answers, int n)
{
    (void)c;
    each_row(r, answers, n, OF_SERVERS, session_row);
}

void show_sockets(struct console *c, struct result *r, struct mail_gather *const *answers, int n)
{
    (void)c;
    each_row(r, answers, n, OF_CLIENTS | OF_SERVERS, socket_row);
}

void show_active_sockets(struct console *c, struct result *r, struct mail_gather *const *answers, int n)
{
    (void)c;
    each_row(r, answers, n, OF_CLIENTS | OF_SERVERS | ONLY_ACTIVE, socket_row);
}
