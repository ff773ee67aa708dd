/*
 * print_config.c - the configuration as a file: what all variables and files together stand for.
 *
 * For reading by people who wonder where a value comes from; secrets are masked, so it cannot be used
 * as it is where there are some.
 */
#include <string.h>

#include "auth/credential.h"
#include "config_int.h"

/* A line end would begin a new line. */
static void comment(struct buf *out, const char *text)
{
    buf_append_str(out, "; ");
    for (; *text != '\0'; text++)
        buf_append_byte(out, *text == '\n' || *text == '\r' ? ' ' : (uint8_t)*text);
    buf_append_byte(out, '\n');
}

static void print_name(struct buf *out, const struct database_config *db)
{
    if (db->is_fallback) {
        buf_append_byte(out, '*');
        return;
    }
    buf_append_byte(out, '"');
    for (const char *s = db->name; *s != '\0'; s++) {
        if (*s == '"')
            buf_append_byte(out, '"');
        buf_append_byte(out, (uint8_t)*s);
    }
    buf_append_byte(out, '"');
}

static void print_databases(const struct config *c, struct buf *out)
{
    buf_append_str(out, "[databases]\n");
    for (size_t i = 0; i < config_database_count(c); i++) {
        const struct database_config *db = config_database_at(c, i);
        struct buf place, text;
        buf_init(&place, 0);
        buf_init(&text, 0);
        if (db->line > 0)
            buf_printf(&place, "%s:%d", db->file, db->line);
        else
            buf_append_str(&place, db->file);
        comment(out, buf_cstr(&place));
        buf_free(&place);
        section_database_text(db, NULL, &text);
        print_name(out, db);
        buf_printf(out, " = %s\n", buf_cstr(&text));
        buf_free(&text);
    }
}

/* Those with a password stand in an auth_file, or came by a variable. */
static void print_users(const struct config *c, struct buf *out)
{
    buf_append_str(out, "\n; users and what is known of their passwords\n");
    for (size_t i = 0; i < config_user_count(c); i++) {
        const struct user_config *u = config_user_at(c, i);
        const char *what = u->credential == NULL                     ? "in [users] only"
                           : u->credential->kind == CREDENTIAL_PLAIN ? "password ***"
                           : u->credential->kind == CREDENTIAL_MD5   ? "md5 ***"
                           : u->credential->kind == CREDENTIAL_SCRAM ? "SCRAM-SHA-256 ***"
                                                                     : "no password";
        struct buf line;
        buf_init(&line, 0);
        buf_printf(&line, "\"%s\" %s", u->name, what);
        comment(out, buf_cstr(&line));
        buf_free(&line);
    }
}

static void print_settings(const struct config *c, struct buf *out)
{
    struct buf value;

    buf_init(&value, 0);
    buf_append_str(out, "\n[pgsluice]\n");
    for (size_t i = 0; i < option_count_all(); i++) {
        const struct config_option *o = option_at(i);
        if (c->sources[i] == NULL || strcmp(o->name, "conffile") == 0)
            continue;
        buf_clear(&value);
        (void)config_value_text(c, i, &value); /* unset: nothing behind the = */
        comment(out, c->sources[i]);
        buf_printf(out, "%s = %s\n", o->name, buf_cstr(&value));
    }
    buf_free(&value);
}

void config_print(const struct config *c, struct buf *out)
{
    print_databases(c, out);
    print_users(c, out);
    print_settings(c, out);
}
