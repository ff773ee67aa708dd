/*
 * show_sessions.c - rows of SHOW CLIENTS and SHOW SERVERS, as the workers tell them.
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

void show_session_row(struct result *r, const struct session_row *row)
{
    result_row(r);
    result_text(r, row->is_server ? "S" : "C");
    result_text(r, row->user);
    result_text(r, row->database);
    result_text(r, "none"); /* replication */
    result_text(r, row->state);
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
    result_int(r, row->worker);
    result_row_end(r);
}
