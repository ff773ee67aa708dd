/*
 * params_canonical.c - the value that PostgreSQL makes of the value that a client asks for.
 *
 * Without this, a client that asks for "utf-8" and a server that reports "UTF8" would
 * differ at each checkout. Only what is known without asking the server is changed.
 *
 * Threads: none; works on what it is given.
 * Source: PostgreSQL documentation, "Character Set Support", "Date/Time Types" and
 * "Client Connection Defaults"; behaviour checked against running servers.
 */
#include "wire/params.h"

#include <string.h>
#include <strings.h>

#define MAX_NAME_BYTES 63 /* of an identifier in PostgreSQL */

/* ------------------------------------------------------------------ */
/* client_encoding                                                    */

/* Names of encodings as they compare: letters and digits only, lower case. Sorted. */
static const struct encoding_name {
    const char *alias;
    const char *name;
} encoding_names[] = {
    {"abc", "WIN1258"},
    {"alt", "WIN866"},
    {"big5", "BIG5"},
    {"euccn", "EUC_CN"},
    {"eucjis2004", "EUC_JIS_2004"},
    {"eucjp", "EUC_JP"},
    {"euckr", "EUC_KR"},
    {"euctw", "EUC_TW"},
    {"gb18030", "GB18030"},
    {"gbk", "GBK"},
    {"iso88591", "LATIN1"},
    {"iso885910", "LATIN6"},
    {"iso885913", "LATIN7"},
    {"iso885914", "LATIN8"},
    {"iso885915", "LATIN9"},
    {"iso885916", "LATIN10"},
    {"iso88592", "LATIN2"},
    {"iso88593", "LATIN3"},
    {"iso88594", "LATIN4"},
    {"iso88595", "ISO_8859_5"},
    {"iso88596", "ISO_8859_6"},
    {"iso88597", "ISO_8859_7"},
    {"iso88598", "ISO_8859_8"},
    {"iso88599", "LATIN5"},
    {"johab", "JOHAB"},
    {"koi8", "KOI8R"},
    {"koi8r", "KOI8R"},
    {"koi8u", "KOI8U"},
    {"latin1", "LATIN1"},
    {"latin10", "LATIN10"},
    {"latin2", "LATIN2"},
    {"latin3", "LATIN3"},
    {"latin4", "LATIN4"},
    {"latin5", "LATIN5"},
    {"latin6", "LATIN6"},
    {"latin7", "LATIN7"},
    {"latin8", "LATIN8"},
    {"latin9", "LATIN9"},
    {"mskanji", "SJIS"},
    {"muleinternal", "MULE_INTERNAL"},
    {"shiftjis", "SJIS"},
    {"shiftjis2004", "SHIFT_JIS_2004"},
    {"sjis", "SJIS"},
    {"sqlascii", "SQL_ASCII"},
    {"tcvn", "WIN1258"},
    {"tcvn5712", "WIN1258"},
    {"uhc", "UHC"},
    {"unicode", "UTF8"},
    {"utf8", "UTF8"},
    {"vscii", "WIN1258"},
    {"win", "WIN1251"},
    {"win1250", "WIN1250"},
    {"win1251", "WIN1251"},
    {"win1252", "WIN1252"},
    {"win1253", "WIN1253"},
    {"win1254", "WIN1254"},
    {"win1255", "WIN1255"},
    {"win1256", "WIN1256"},
    {"win1257", "WIN1257"},
    {"win1258", "WIN1258"},
    {"win866", "WIN866"},
    {"win874", "WIN874"},
    {"win932", "SJIS"},
    {"win936", "GBK"},
    {"win949", "UHC"},
    {"win950", "BIG5"},
    {"windows1250", "WIN1250"},
    {"windows1251", "WIN1251"},
    {"windows1252", "WIN1252"},
    {"windows1253", "WIN1253"},
    {"windows1254", "WIN1254"},
    {"windows1255", "WIN1255"},
    {"windows1256", "WIN1256"},
    {"windows1257", "WIN1257"},
    {"windows1258", "WIN1258"},
    {"windows866", "WIN866"},
    {"windows874", "WIN874"},
    {"windows932", "SJIS"},
    {"windows936", "GBK"},
    {"windows949", "UHC"},
    {"windows950", "BIG5"},
};

static char ascii_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

static bool canonical_encoding(const char *value, struct buf *out)
{
    /* PostgreSQL leaves this one spelling as it is, for the sake of old drivers. */
    if (strcmp(value, "UNICODE") == 0) {
        buf_append_str(out, value);
        return true;
    }
    char key[MAX_NAME_BYTES + 1];
    size_t n = 0;
    if (strlen(value) > MAX_NAME_BYTES)
        return false;
    for (const char *s = value; *s; s++) {
        char c = ascii_lower(*s);
        if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
            key[n++] = c;
    }
    key[n] = '\0';
    for (size_t i = 0; i < ARRAY_SIZE(encoding_names); i++) {
        if (strcmp(key, encoding_names[i].alias) == 0) {
            buf_append_str(out, encoding_names[i].name);
            return true;
        }
    }
    return false;
}

/* ------------------------------------------------------------------ */
/* Booleans and IntervalStyle                                         */

/* Any beginning of these will do, from min_bytes on. */
static const struct boolean_word {
    const char *word;
    size_t min_bytes;
    bool value;
} boolean_words[] = {
    {"true", 1, true}, {"false", 1, false}, {"yes", 1, true}, {"no", 1, false},
    {"on", 2, true},   {"off", 2, false},   {"1", 1, true},   {"0", 1, false},
};

static bool canonical_boolean(const char *value, struct buf *out)
{
    size_t n = strlen(value);
    for (size_t i = 0; i < ARRAY_SIZE(boolean_words); i++) {
        const struct boolean_word *w = &boolean_words[i];
        if (n >= w->min_bytes && n <= strlen(w->word) && strncasecmp(value, w->word, n) == 0) {
            buf_append_str(out, w->value ? "on" : "off");
            return true;
        }
    }
    return false;
}

static bool canonical_interval_style(const char *value, struct buf *out)
{
    static const char *const styles[] = {"postgres", "postgres_verbose", "sql_standard", "iso_8601"};
    for (size_t i = 0; i < ARRAY_SIZE(styles); i++) {
        if (strcasecmp(value, styles[i]) == 0) {
            buf_append_str(out, styles[i]);
            return true;
        }
    }
    return false;
}

/* ------------------------------------------------------------------ */
/* DateStyle                                                          */

/* Words of DateStyle; of some only the beginning counts. */
static const struct date_word {
    const char *word;
    bool is_prefix;
    const char *style; /* as reported, or NULL */
    const char *order; /* or NULL */
} date_words[] = {
    {"ISO", false, "ISO", NULL},       {"SQL", false, "SQL", NULL}, {"POSTGRES", true, "Postgres", NULL},
    {"YMD", false, NULL, "YMD"},       {"DMY", false, NULL, "DMY"}, {"EURO", true, NULL, "DMY"},
    {"MDY", false, NULL, "MDY"},       {"US", false, NULL, "MDY"},  {"NONEURO", true, NULL, "MDY"},
    {"GERMAN", false, "German", NULL},
};

struct date_style {
    const char *style; /* NULL: not named */
    const char *order;
    bool has_default; /* depends on the server's configuration */
};

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Notes one word; false when it is unknown or contradicts an earlier one. */
static bool date_style_add(struct date_style *d, const char *word, size_t n)
{
    if (n == strlen("DEFAULT") && strncasecmp(word, "DEFAULT", n) == 0) {
        d->has_default = true;
        return true;
    }
    for (size_t i = 0; i < ARRAY_SIZE(date_words); i++) {
        const struct date_word *w = &date_words[i];
        size_t len = strlen(w->word);
        if ((w->is_prefix ? n < len : n != len) || strncasecmp(word, w->word, len) != 0)
            continue;
        const char **field = w->style ? &d->style : &d->order;
        const char *named = w->style ? w->style : w->order;
        if (*field && strcmp(*field, named) != 0)
            return false;
        *field = named;
        return true;
    }
    return false;
}

/* A list of identifiers, quoted or not, with commas between. */
static bool date_style_parse(const char *s, struct date_style *d)
{
    *d = (struct date_style){NULL, NULL, false};
    while (is_blank(*s))
        s++;
    if (*s == '\0')
        return true;
    for (;;) {
        while (is_blank(*s))
            s++;
        bool is_quoted = *s == '"';
        if (is_quoted)
            s++;
        const char *word = s;
        while (*s && (is_quoted ? *s != '"' : *s != ',' && !is_blank(*s)))
            s++;
        if (!date_style_add(d, word, (size_t)(s - word)))
            return false;
        if (is_quoted && *s++ != '"')
            return false;
        while (is_blank(*s))
            s++;
        if (*s == '\0')
            return true;
        if (*s++ != ',')
            return false;
    }
}

static bool canonical_date_style(const char *value, const char *current, struct buf *out)
{
    struct date_style want, have;
    if (!date_style_parse(value, &want))
        return false;
    if (want.has_default && !(want.style && want.order)) {
        buf_append_str(out, value);
        return true;
    }
    if (!current || !date_style_parse(current, &have))
        have = (struct date_style){NULL, NULL, false};

    const char *style = want.style ? want.style : have.style ? have.style : "ISO";
    const char *order = want.order;
    if (!order && want.style && strcmp(want.style, "German") == 0)
        order = "DMY";
    if (!order)
        order = have.order ? have.order : "MDY";
    buf_append_str(out, style);
    buf_append_str(out, ", ");
    buf_append_str(out, order);
    return true;
}

/* ------------------------------------------------------------------ */
/* application_name                                                   */

/* How many bytes are left of a name of n bytes, cut between characters if it is UTF-8. */
static size_t name_cut(const char *s, size_t n)
{
    if (n <= MAX_NAME_BYTES)
        return n;
    n = MAX_NAME_BYTES;
    while (n > 0 && ((unsigned char)s[n] & 0xc0) == 0x80)
        n--;
    return n > 0 ? n : MAX_NAME_BYTES;
}

static bool canonical_application_name(const char *value, int server_version_num, struct buf *out)
{
    static const char hex[] = "0123456789abcdef";
    size_t n = name_cut(value, strlen(value));
    for (size_t i = 0; i < n; i++) {
        uint8_t c = (uint8_t)value[i];
        if (c >= 32 && c <= 126) {
            buf_append_byte(out, c);
        } else if (server_version_num < 160000) {
            buf_append_byte(out, '?');
        } else {
            buf_append_str(out, "\\x");
            buf_append_byte(out, (uint8_t)hex[c >> 4]);
            buf_append_byte(out, (uint8_t)hex[c & 15]);
        }
    }
    return true;
}

/* ------------------------------------------------------------------ */

static bool is_boolean(const char *name)
{
    static const char *const names[] = {
        "standard_conforming_strings",
        "default_transaction_read_only",
        "default_transaction_deferrable",
        "integer_datetimes",
        "is_superuser",
        "in_hot_standby",
        "escape_string_warning",
        "row_security",
        "check_function_bodies",
        "array_nulls",
        "quote_all_identifiers",
        "transform_null_equals",
        "lo_compat_privileges",
        "synchronize_seqscans",
        "jit",
    };
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (strcasecmp(name, names[i]) == 0)
            return true;
    }
    return false;
}

bool params_canonical(const char *name, const char *value, const char *current, int server_version_num,
                      struct buf *out)
{
    buf_clear(out);
    if (strcasecmp(name, "client_encoding") == 0)
        return canonical_encoding(value, out);
    if (strcasecmp(name, "DateStyle") == 0)
        return canonical_date_style(value, current, out);
    if (strcasecmp(name, "IntervalStyle") == 0)
        return canonical_interval_style(value, out);
    if (strcasecmp(name, "application_name") == 0)
        return canonical_application_name(value, server_version_num, out);
    if (is_boolean(name))
        return canonical_boolean(value, out);
    buf_append_str(out, value);
    return true;
}
