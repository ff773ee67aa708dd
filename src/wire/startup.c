/*
 * startup.c - the packets without a type byte that begin a connection.
 *
 * Everything here comes from somebody who has not logged in yet: every length is
 * checked, every string ends inside the packet, and nothing is allocated.
 *
 * Threads: none; works on what it is given.
 */
#include "wire/startup.h"

#include <string.h>

#include "wire/codec.h"

#define CODE_MAJOR       1234 /* of requests that are no start-up; no such version will ever be */
#define CODE_CANCEL      5678
#define CODE_SSL         5679
#define CODE_GSSENC      5680
#define MIN_PACKET_BYTES 8
#define CANCEL_HEAD      12 /* length, code, pid */
#define MIN_CANCEL_KEY   4
#define MAX_CANCEL_KEY   256

#define PROTOCOL_OPTION_PREFIX "_pq_."

static enum startup_kind parse_cancel(const uint8_t *data, struct startup_packet *p)
{
    if (p->len_bytes < CANCEL_HEAD + MIN_CANCEL_KEY || p->len_bytes > CANCEL_HEAD + MAX_CANCEL_KEY)
        return STARTUP_MALFORMED;
    p->cancel_pid = wire_u32(data + 8);
    p->cancel_key = data + CANCEL_HEAD;
    p->cancel_key_bytes = p->len_bytes - CANCEL_HEAD;
    return STARTUP_CANCEL;
}

/* Returns false when there are more than we keep. */
static bool add_parameter(struct startup_packet *p, const char *name, const char *value)
{
    /* As in PostgreSQL, the last one of a name counts. */
    if (strcmp(name, "user") == 0) {
        p->user = value[0] ? value : NULL;
    } else if (strcmp(name, "database") == 0) {
        p->database = value[0] ? value : NULL;
    } else if (strcmp(name, "options") == 0) {
        p->options = value;
    } else if (strcmp(name, "replication") == 0) {
        p->replication = value;
    } else if (strncmp(name, PROTOCOL_OPTION_PREFIX, strlen(PROTOCOL_OPTION_PREFIX)) == 0) {
        if (p->n_unknown == STARTUP_MAX_PARAMETERS)
            return false;
        p->unknown[p->n_unknown++] = name;
    } else {
        if (p->n_parameters == STARTUP_MAX_PARAMETERS)
            return false;
        p->parameters[p->n_parameters++] = (struct startup_parameter){name, value};
    }
    return true;
}

/* Pairs of strings up to an empty name, which must be the last byte of the packet. */
static enum startup_kind parse_v3(const uint8_t *data, struct startup_packet *p)
{
    struct wire_reader r;
    wire_reader_init(&r, data + MIN_PACKET_BYTES, p->len_bytes - MIN_PACKET_BYTES);
    for (;;) {
        const char *name = wire_read_cstr(&r);
        if (name[0] == '\0')
            break;
        const char *value = wire_read_cstr(&r);
        if (r.bad || !add_parameter(p, name, value))
            return STARTUP_MALFORMED;
    }
    if (!wire_reader_done(&r))
        return STARTUP_MALFORMED;
    if (!p->database)
        p->database = p->user;
    p->negotiate = p->minor > STARTUP_NEWEST_MINOR || p->n_unknown > 0;
    return STARTUP_V3;
}

static enum startup_kind parse_whole(const uint8_t *data, struct startup_packet *p)
{
    uint16_t major = wire_u16(data + 4);
    uint16_t minor = wire_u16(data + 6);
    bool is_bare = p->len_bytes == MIN_PACKET_BYTES;

    if (major == CODE_MAJOR) {
        switch (minor) {
        case CODE_CANCEL: return parse_cancel(data, p);
        case CODE_SSL: return is_bare ? STARTUP_SSL : STARTUP_MALFORMED;
        case CODE_GSSENC: return is_bare ? STARTUP_GSSENC : STARTUP_MALFORMED;
        default: return STARTUP_UNSUPPORTED;
        }
    }
    p->minor = minor;
    if (major < 3)
        return STARTUP_OLD;
    if (major > 3)
        return STARTUP_UNSUPPORTED;
    return parse_v3(data, p);
}

enum startup_kind startup_parse(const uint8_t *data, uint32_t len_bytes, struct startup_packet *p)
{
    memset(p, 0, sizeof(*p));
    p->kind = STARTUP_INCOMPLETE;
    if (len_bytes < 4)
        return p->kind;

    p->len_bytes = wire_u32(data);
    if (p->len_bytes < MIN_PACKET_BYTES)
        p->kind = STARTUP_MALFORMED;
    else if (p->len_bytes - 4 > STARTUP_MAX_BYTES)
        p->kind = STARTUP_TOO_LONG;
    else if (len_bytes >= p->len_bytes)
        p->kind = parse_whole(data, p);
    return p->kind;
}

/* ------------------------------------------------------------------ */
/* options                                                            */

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/*
 * Takes the next word off *text and writes it at *out, unescaped and terminated. A
 * backslash takes the next character, whatever it is, as it stands. Returns the word, or
 * NULL at the end.
 */
static char *next_word(const char **text, char **out)
{
    const char *s = *text;
    while (is_space(*s))
        s++;
    if (*s == '\0')
        return NULL;
    char *word = *out, *to = word;
    for (; *s && !is_space(*s); s++) {
        if (*s == '\\' && *++s == '\0')
            break;
        *to++ = *s;
    }
    *to++ = '\0';
    *text = s;
    *out = to;
    return word;
}

/* Splits "name=value" in place; PostgreSQL takes '-' in a name for '_'. */
static bool split_setting(char *setting, const char **name, const char **value)
{
    char *equals = strchr(setting, '=');
    if (!equals || equals == setting)
        return false;
    *equals = '\0';
    for (char *c = setting; *c; c++) {
        if (*c == '-')
            *c = '_';
    }
    *name = setting;
    *value = equals + 1;
    return true;
}

bool startup_walk_options(const char *text, char *scratch,
                          bool (*cb)(void *arg, const char *name, const char *value), void *arg)
{
    char *out = scratch;
    char *word;
    while ((word = next_word(&text, &out)) != NULL) {
        char *setting;
        const char *name, *value;
        if (word[0] != '-')
            return false;
        if (word[1] == '-')
            setting = word + 2;
        else if (word[1] == 'c')
            setting = word[2] ? word + 2 : next_word(&text, &out);
        else
            return false;
        if (!setting || !split_setting(setting, &name, &value) || !cb(arg, name, value))
            return false;
    }
    return true;
}
