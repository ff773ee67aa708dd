/*
 * sql_portals_int.h - PREPARE, EXECUTE and DEALLOCATE in portals that are executed later:
 * prepared_sql_portals.c.
 */
#ifndef SQL_PORTALS_INT_H
#define SQL_PORTALS_INT_H

#include "prepared_int.h"

/* The command that prepared_command() has just given is bound by that message. False: no memory. And while
 * server->has_sql_portals: something else is. */
bool prepared_sql_bound(struct server *s, const struct statement_message *m) must_check;
void prepared_sql_unbound(struct server *s, const struct statement_message *m);
/* Is it what an EXECUTE runs that is bound, and perhaps has not been executed yet? Then it is not closed. */
bool prepared_sql_needs(const struct server *s, const struct statement *statement) must_check;
/* While server->has_sql_portals: another unnamed statement; a Bind of the unnamed one; an Execute. PLAIN: it
 * may go. */
void prepared_sql_forget_unnamed(struct server *s);
enum prepared_step prepared_sql_bind_unnamed(struct server *s, const uint8_t *message,
                                             uint32_t here_bytes) must_check;
enum prepared_step prepared_sql_execute(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                                        uint32_t len_bytes) must_check;

#endif
