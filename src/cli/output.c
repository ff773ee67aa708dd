/*
 * output.c - results as an aligned table, JSON or CSV.
 *
 * Rows hold text that clients chose (application_name, queries), and an admin's
 * terminal obeys escape sequences: in tables control characters are printed as
 * \xNN. JSON and CSV are for programs and keep every value as it is.
 */
#include "cli_int.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"

/* Type OIDs of PostgreSQL's catalog; they never change. */
enum {
    OID_BOOL = 16,
    OID_INT8 = 20,
    OID_INT2 = 21,
    OID_INT4 = 23,
    OID_OID = 26,
    OID_FLOAT4 = 700,
    OID_FLOAT8 = 701,
    OID_NUMERIC = 1700,
};

#define ENCODING_UTF8 6 /* PG_UTF8 of libpq; the console speaks UTF8 only */

static bool is_number_column(const PGresult *r, int column)
{
    switch (PQftype(r, column)) {
    case OID_INT8:
    case OID_INT2:
    case OID_INT4:
    case OID_OID:
    case OID_FLOAT4:
    case OID_FLOAT8:
    case OID_NUMERIC: return true;
    default: return false;
    }
}

/* Bytes of the UTF-8 character at s, or 0 when it is none. */
static int utf8_length(const char *s)
{
    const unsigned char *u = (const unsigned char *)s;
    int n = u[0] < 0x80 ? 1 : u[0] < 0xc2 ? 0 : u[0] < 0xe0 ? 2 : u[0] < 0xf0 ? 3 : u[0] < 0xf5 ? 4 : 0;

    for (int i = 1; i < n; i++) {
        if ((u[i] & 0xc0) != 0x80)
            return 0;
    }
    if ((u[0] == 0xe0 && u[1] < 0xa0) || (u[0] == 0xed && u[1] > 0x9f) || (u[0] == 0xf0 && u[1] < 0x90) ||
        (u[0] == 0xf4 && u[1] > 0x8f))
        return 0;
    return n;
}

/* ---- table ---- */

/*
 * Prints text for a terminal and returns its width in columns; with out == NULL only the width.
 * keep: control characters that stay as they are.
 */
static int put_visible(FILE *out, const char *s, const char *keep)
{
    int width = 0;

    while (*s != '\0') {
        int n = utf8_length(s);
        unsigned char c = (unsigned char)*s;
        bool is_control = c < 0x20 || c == 0x7f || (c == 0xc2 && n == 2 && (unsigned char)s[1] < 0xa0);

        if (n == 0 || (is_control && strchr(keep, c) == NULL)) {
            n = n == 0 ? 1 : n;
            for (int i = 0; i < n && out != NULL; i++)
                fprintf(out, "\\x%02x", (unsigned char)s[i]);
            width += 4 * n;
        } else {
            int columns = PQdsplen(s, ENCODING_UTF8);

            if (out != NULL)
                fwrite(s, 1, (size_t)n, out);
            width += columns > 0 ? columns : 0;
        }
        s += n;
    }
    return width;
}

void output_text(FILE *out, const char *text)
{
    put_visible(out, text, "\n\t");
}

static void put_repeated(FILE *out, char c, int n)
{
    while (n-- > 0)
        putc(c, out);
}

/* One field with its blanks around; none behind the last column, as in psql. */
static void put_field(FILE *out, const char *s, int width, int before, bool is_last)
{
    int used = put_visible(NULL, s, "");

    putc(' ', out);
    put_repeated(out, ' ', before < 0 ? width - used : before);
    put_visible(out, s, "");
    if (is_last)
        return;
    put_repeated(out, ' ', before < 0 ? 0 : width - used - before);
    fputs(" |", out);
}

static void output_table(FILE *out, const PGresult *r)
{
    int columns = PQnfields(r), rows = PQntuples(r);
    int *widths = xcalloc((size_t)columns + 1, sizeof(*widths));

    for (int c = 0; c < columns; c++) {
        widths[c] = put_visible(NULL, PQfname(r, c), "");
        for (int i = 0; i < rows; i++) {
            int width = put_visible(NULL, PQgetvalue(r, i, c), "");

            widths[c] = widths[c] < width ? width : widths[c];
        }
    }
    for (int c = 0; c < columns; c++) {
        const char *name = PQfname(r, c);

        put_field(out, name, widths[c], (widths[c] - put_visible(NULL, name, "")) / 2, c == columns - 1);
    }
    putc('\n', out);
    for (int c = 0; c < columns; c++) {
        put_repeated(out, '-', widths[c] + 2);
        if (c < columns - 1)
            putc('+', out);
    }
    putc('\n', out);
    for (int i = 0; i < rows; i++) {
        for (int c = 0; c < columns; c++)
            put_field(out, PQgetvalue(r, i, c), widths[c], is_number_column(r, c) ? -1 : 0, c == columns - 1);
        putc('\n', out);
    }
    fprintf(out, "(%d row%s)\n", rows, rows == 1 ? "" : "s");
    free(widths);
}

/* ---- JSON ---- */

static void put_json_string(FILE *out, const char *s)
{
    putc('"', out);
    while (*s != '\0') {
        int n = utf8_length(s);

        if (n == 0) {
            fputs("\\ufffd", out);
            n = 1;
        } else if (*s == '"' || *s == '\\') {
            fprintf(out, "\\%c", *s);
        } else if (*s == '\n') {
            fputs("\\n", out);
        } else if (n == 1 && ((unsigned char)*s < 0x20 || *s == 0x7f)) {
            fprintf(out, "\\u%04x", (unsigned)*s);
        } else {
            fwrite(s, 1, (size_t)n, out);
        }
        s += n;
    }
    putc('"', out);
}

static const char *skip_digits(const char *s)
{
    return s + strspn(s, "0123456789");
}

/* A number by JSON's grammar; "NaN", "Infinity" and " 7" are not. */
static bool is_json_number(const char *s)
{
    const char *digits;

    s += *s == '-';
    digits = s;
    s = skip_digits(s);
    if (s == digits || (*digits == '0' && s > digits + 1))
        return false;
    if (*s == '.') {
        digits = ++s;
        s = skip_digits(s);
        if (s == digits)
            return false;
    }
    if (*s == 'e' || *s == 'E') {
        s++;
        s += *s == '-' || *s == '+';
        digits = s;
        s = skip_digits(s);
        if (s == digits)
            return false;
    }
    return *s == '\0';
}

static void put_json_value(FILE *out, const PGresult *r, int row, int column)
{
    const char *s = PQgetvalue(r, row, column);

    if (PQgetisnull(r, row, column))
        fputs("null", out);
    else if (is_number_column(r, column) && is_json_number(s))
        fputs(s, out);
    else if (PQftype(r, column) == OID_BOOL && (strcmp(s, "t") == 0 || strcmp(s, "f") == 0))
        fputs(*s == 't' ? "true" : "false", out);
    else
        put_json_string(out, s);
}

/* An object per line, so that the array can be read by people and compared by diff. */
static void output_json(FILE *out, const PGresult *r)
{
    putc('[', out);
    for (int i = 0; i < PQntuples(r); i++) {
        fputs(i == 0 ? "\n  {" : ",\n  {", out);
        for (int c = 0; c < PQnfields(r); c++) {
            fputs(c == 0 ? "" : ", ", out);
            put_json_string(out, PQfname(r, c));
            fputs(": ", out);
            put_json_value(out, r, i, c);
        }
        putc('}', out);
    }
    fputs(PQntuples(r) > 0 ? "\n]\n" : "]\n", out);
}

/* ---- CSV (RFC 4180) ---- */

/* Null is an empty field, an empty text a quoted one. */
static void put_csv(FILE *out, const char *s, bool is_null, bool is_last)
{
    if (*s != '\0' && strpbrk(s, ",\"\r\n") == NULL) {
        fputs(s, out);
    } else if (!is_null) {
        putc('"', out);
        for (; *s != '\0'; s++) {
            if (*s == '"')
                putc('"', out);
            putc(*s, out);
        }
        putc('"', out);
    }
    fputs(is_last ? "\r\n" : ",", out);
}

static void output_csv(FILE *out, const PGresult *r)
{
    int columns = PQnfields(r);

    for (int c = 0; c < columns; c++)
        put_csv(out, PQfname(r, c), false, c == columns - 1);
    for (int i = 0; i < PQntuples(r); i++) {
        for (int c = 0; c < columns; c++)
            put_csv(out, PQgetvalue(r, i, c), PQgetisnull(r, i, c) != 0, c == columns - 1);
    }
}

void output_result(FILE *out, enum output_format format, const PGresult *result)
{
    bool has_rows = PQresultStatus(result) == PGRES_TUPLES_OK;
    const char *tag = PQcmdStatus((PGresult *)result); /* only reads, by its documentation */

    switch (format) {
    case OUTPUT_TABLE:
        if (has_rows)
            output_table(out, result);
        else
            fprintf(out, "%s\n", tag);
        break;
    case OUTPUT_JSON:
        if (has_rows) {
            output_json(out, result);
        } else {
            fputs("{\"command\": ", out);
            put_json_string(out, tag);
            fputs("}\n", out);
        }
        break;
    case OUTPUT_CSV:
        if (has_rows)
            output_csv(out, result);
        break;
    }
}
