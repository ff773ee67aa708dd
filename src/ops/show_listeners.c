/*
 * show_listeners.c - SHOW LISTENERS: channels that clients listen to, as the workers tell them.
 *
 * Threads: the control thread only.
 */
#include "ops_int.h"

static void listener_row(struct result *r, const struct listen_row *row)
{
    result_row(r);
    result_text(r, row->database);
    result_text(r, row->user);
    result_text(r, row->channel);
    result_text(r, row->state);
    result_int(r, row->clients);
    result_uint(r, row->notifications);
    result_uint(r, row->queued_bytes);
    result_int(r, row->worker);
    result_row_end(r);
}

void show_listeners(struct console *c, struct result *r, struct mail_gather *const *answers, int n)
{
    (void)c;
    for (int w = 0; w < n; w++)
        for (uint32_t i = 0; answers[w] != NULL && i < answers[w]->n_listeners; i++)
            listener_row(r, &answers[w]->listeners[i]);
}
