/*
 * startup.h - the packets without a type byte that begin a connection.
 *
 * Source: protocol documentation, sections "Start-up", "Canceling Requests in
 * Progress", "SSL Session Encryption", "GSSAPI Session Encryption".
 */
#ifndef WIRE_STARTUP_H
#define WIRE_STARTUP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"

#define STARTUP_MAX_BYTES      10000 /* PostgreSQL's own bound; the length word does not count */
#define STARTUP_MAX_PARAMETERS 64    /* more are malformed */
#define STARTUP_NEWEST_MINOR   2     /* protocol 3.2 */

enum startup_kind {
    STARTUP_INCOMPLETE, /* more bytes are needed */
    STARTUP_V3,
    STARTUP_SSL,
    STARTUP_GSSENC,
    STARTUP_CANCEL,
    STARTUP_OLD,         /* protocol 2 or older */
    STARTUP_UNSUPPORTED, /* major version other than 3 */
    STARTUP_TOO_LONG,
    STARTUP_MALFORMED,
};

struct startup_parameter {
    const char *name;
    const char *value;
};

/* Pointers go into the packet. */
struct startup_packet {
    enum startup_kind kind;
    uint32_t len_bytes;      /* of the whole packet; 0 while the length word is incomplete */
    uint32_t minor;          /* as asked for */
    bool negotiate;          /* minor above STARTUP_NEWEST_MINOR or unknown _pq_. options: answer
                                NegotiateProtocolVersion */
    const char *user;        /* NULL when missing or empty */
    const char *database;    /* user's name when missing or empty */
    const char *options;     /* NULL when missing */
    const char *replication; /* NULL when missing */
    uint32_t n_parameters;   /* all others */
    struct startup_parameter parameters[STARTUP_MAX_PARAMETERS];
    uint32_t n_unknown; /* _pq_. options */
    const char *unknown[STARTUP_MAX_PARAMETERS];
    /* STARTUP_CANCEL: */
    uint32_t cancel_pid;
    const uint8_t *cancel_key;
    uint32_t cancel_key_bytes; /* 4 with protocol 3.0, up to 256 with 3.2 */
};

/* Parses the packet at data; len_bytes is what has arrived so far. Returns p->kind. */
enum startup_kind startup_parse(const uint8_t *data, uint32_t len_bytes, struct startup_packet *p);

/*
 * Walks the "-c name=value" and "--name=value" settings of an `options` parameter
 * (backslash takes the next character as it stands; '-' in names means '_').
 * text is copied to scratch (of at least strlen(text) + 1 bytes), into which the
 * results point. cb returns false to stop. Returns false on a switch that is
 * neither form, or when cb stopped.
 */
bool startup_walk_options(const char *text, char *scratch,
                          bool (*cb)(void *arg, const char *name, const char *value), void *arg) must_check;

#endif
