/*
 * database_url.h - postgres://user:password@host:port/database?parameter=value, as DATABASE_URL has it.
 *
 * Pure: text in, parts out. What the parameters mean is the caller's business.
 */
#ifndef CONFIG_DATABASE_URL_H
#define CONFIG_DATABASE_URL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/compiler.h"

#define DATABASE_URL_MAX_PARAMETERS 32

struct database_url_parameter {
    char *name;
    char *value;
};

/* Strings are decoded, and NULL when the URL does not have them. */
struct database_url {
    char *host; /* name, number without brackets, directory of a Unix socket, or a comma list of them */
    int port;   /* 0: none given */
    char *database;
    char *user;
    char *password;
    struct database_url_parameter parameters[DATABASE_URL_MAX_PARAMETERS];
    size_t n_parameters;
};

/*
 * Parses text into *out, which is overwritten; free it with database_url_free() in both cases. Taken
 * are the schemes postgres, postgresql and postgis, with a driver behind a plus ("postgresql+psycopg"); of
 * libpq's parameters those that name parts of the URL (host, port, dbname, user, password) are put in their
 * place. False: *why says what is wrong, and holds no part of the text that may be secret. What may be a
 * password in the wrong place (an unescaped / or ? in it, a second URL) is refused: names are printed.
 */
bool database_url_parse(const char *text, struct database_url *out, struct buf *why) must_check;
/* Does the text begin with one of those schemes and "://"? */
bool database_url_begins(const char *text) must_check;
void database_url_free(struct database_url *url);

#endif
