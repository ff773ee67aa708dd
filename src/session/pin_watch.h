/*
 * pin_watch.h - what a client sends is looked at for what would tie it to its server; and refused beyond the
 * bound.
 */
#ifndef PIN_WATCH_H
#define PIN_WATCH_H

#include "prepared_int.h"
#include "session/pin.h"

/*
 * While client->watches_state: a Query, Parse or Bind at data[at..], of which the header is there; len_bytes
 * is all of data. PLAIN: to be forwarded like any other; TAKEN: refused, something else goes in its place. As
 * prepared_message().
 */
enum prepared_step pin_watch_message(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                                     uint32_t len_bytes, uint8_t type, uint32_t len,
                                     uint32_t *used) must_check;
/* The same for a Bind of a statement that has a name. */
enum prepared_step pin_watch_bind(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                                  uint32_t len_bytes, uint32_t len, struct statement *statement,
                                  uint32_t *used) must_check hot_path;

/* A text is about to go in which an EXECUTE runs that statement: what it may leave is asked about afterwards,
 * and not refused. False: no memory. */
bool pin_watch_execute(struct client *c, struct statement *statement) must_check;

/* While server->n_unread: the tag of a statement of its client's that has been performed. With the second of
 * them, or one that is not of work with data, there is something that nobody has read: the server is asked
 * what it has left. */
void pin_watch_unread(struct server *s, const uint8_t *tag, uint32_t len_bytes);

/* PIN_REFUSED: in place of the Query, Parse, Bind or Execute at data[at..] goes one that PostgreSQL must
 * fail. */
enum prepared_step pin_watch_refuse(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                                    uint32_t len_bytes, uint8_t type, uint32_t len,
                                    uint32_t *used) must_check;

/* While server->refuses: an ErrorResponse to its client. True: it is the answer to what went in a refused
 * one's place, and the error that the client gets instead is in *instead, which the caller frees. */
bool pin_watch_error(struct server *s, const uint8_t *body, uint32_t len_bytes,
                     struct buf *instead) must_check;

#endif
