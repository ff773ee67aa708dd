/*
 * config_int.h - what the files of config/ share.
 *
 * Loading runs on the control thread, once per snapshot; everything here may
 * abort when memory is out. Not for other modules: they see config/config.h.
 */
#ifndef CONFIG_INT_H
#define CONFIG_INT_H

#include <stdatomic.h>
#include <sys/stat.h>

#include "config/config.h"

/* ---- value.c ---- */

/* Whole text as a number, decimal, 0octal or 0xhex, in [min, max]. */
bool value_parse_int(const char *text, int64_t min, int64_t max, int64_t *value, struct buf *why) must_check;
bool value_parse_enum(const char *text, const struct config_option_name *names,
                      const struct config_option_name **found, struct buf *why) must_check;
/* Do the two texts mean the same value ("30" and "30s")? */
bool option_same_value(const struct config_option *o, const char *a, const char *b);
/* Is the value one that needs a library which is not built in? */
bool option_is_refused(const struct config_option *o, const struct settings *s);
/* Appends why, when the option was given this value. */
void option_refusal(const struct config_option *o, const char *value, struct buf *out);
/* The printed value of an OPTION_SECRET, made fit for people's eyes if there is a password in it. */
void option_mask(const struct config_option *o, struct buf *value);
const struct config_option_name *config_pool_mode_names(void);
const struct config_option_name *config_session_state_names(void);
const struct config_option_name *config_load_balance_hosts_names(void);
const struct config_option_name *config_target_session_attrs_names(void);
const struct config_option_name *config_sslmode_names(void);
const struct config_option_name *config_sslnegotiation_names(void);
const struct config_option_name *config_channel_binding_names(void);
const struct config_option_name *config_passwords_names(void);

void settings_init_defaults(struct settings *s);
void settings_copy(struct settings *to, const struct settings *from);
void settings_free(struct settings *s);
/* The string field; only for OPTION_STR. */
const char **settings_string(struct settings *s, const struct config_option *o);
/* Copies one field, the old string of `to` is freed. */
void settings_copy_field(struct settings *to, const struct settings *from, const struct config_option *o);

/* ---- a list of strings ---- */

struct strlist {
    char **items;
    size_t count;
};

void strlist_add(struct strlist *l, const char *s, size_t len);
/* Splits at commas, drops blanks around and empty items. */
void strlist_split(struct strlist *l, const char *text);
void strlist_free(struct strlist *l);

/* ---- file.c ---- */

/* The whole file with a NUL behind it, or NULL with errno. Free with secret_free(). id may be NULL. */
char *file_read(const char *path, size_t *len, struct config_file_id *id) must_check;
struct config_file_id file_identify(const struct stat *st);

/* ---- catalog.c: databases, users and peers, shared by the snapshots that SET makes ---- */

struct userlist;

struct catalog {
    atomic_uint refcount;
    struct database_config *databases; /* sorted by name once finished */
    size_t database_count;
    struct user_config *users; /* sorted by name once finished */
    size_t user_count;
    struct peer_config *peers; /* sorted by id once finished */
    size_t peer_count;
    struct userlist *userlist; /* owns the credentials; NULL = none */
    struct config_file_id userlist_id;
    char *more_users;     /* lines of an auth_file that variables gave; secret; NULL = none */
    struct catalog *base; /* owns all but the users, which were read again since; NULL: this one does */
};

struct catalog *catalog_new(void);
struct catalog *catalog_ref(struct catalog *c);
/* The same databases, and of the users those of [users], without their credentials. */
struct catalog *catalog_without_userlist(struct catalog *old);
void catalog_unref(struct catalog *c);
/* A new entry with all fields unset, valid until the next one is added. Of several entries with one
 * name the last counts. */
struct database_config *catalog_add_database(struct catalog *c, const char *name, const char *file, int line);
struct user_config *catalog_add_user(struct catalog *c, const char *name);
struct peer_config *catalog_add_peer(struct catalog *c, int id);
/* Sorts and drops entries that were repeated; lookups work from then on. */
void catalog_finish(struct catalog *c);
struct database_config *catalog_find_database(const struct catalog *c, const char *name);
struct user_config *catalog_find_user(const struct catalog *c, const char *name);

/* ---- snapshot.c ---- */

struct config {
    atomic_uint refcount;
    struct settings settings;
    char **sources; /* per option */
    char **wanted;  /* per option: what a reload found, where the value needs a restart; else NULL */
    struct catalog *catalog;
    struct rules *rules; /* NULL: none of the files is needed */
    struct strlist admin_users;
    struct strlist stats_users;
    struct strlist ignored_parameters;
};

/* Defaults and no databases; the caller fills it, then calls snapshot_finish() and never changes it again. */
struct config *snapshot_new(void);
/* A copy that shares the catalog, to be changed and finished. */
struct config *snapshot_copy(const struct config *old);
void snapshot_set_source(struct config *c, size_t option, const char *source);
/* Makes the lists that follow from settings. */
void snapshot_finish(struct config *c);

/* ---- sections.c ---- */

struct place {
    const char *file;
    int line;
};

void section_database(struct catalog *c, const char *name, const char *value, struct place at,
                      struct config_problems *problems);
/* Appends the keys that are set, or, other not NULL, those in which the two differ: "host=a pool_size=5". */
void section_database_text(const struct database_config *db, const struct database_config *other,
                           struct buf *out);
void section_user_text(const struct user_config *user, const struct user_config *other, struct buf *out);
void section_peer_text(const struct peer_config *peer, const struct peer_config *other, struct buf *out);
void section_user(struct catalog *c, const char *name, const char *value, struct place at,
                  struct config_problems *problems);

void section_peer(struct catalog *c, const char *name, const char *value, struct place at,
                  struct config_problems *problems);

/* ---- users.c ---- */

/* Reads auth_file ("" = none) and c->more_users into a finished catalog. Problems are warnings at the start,
 * as PgBouncer goes on without the file, too; errors where there are users that can be kept. */
void users_load(struct catalog *c, const char *path, enum problem_severity severity,
                struct config_problems *problems);
void users_free_list(struct userlist *l);
bool users_same_credential(const struct credential *a, const struct credential *b);

/* ---- rules.c ---- */

/* auth_hba_file and auth_ident_file, shared by snapshots that have not read them anew. */
struct rules;
/* Reads what the settings ask for into c; problems are errors. */
void rules_load(struct config *c, struct config_problems *problems);
struct rules *rules_ref(struct rules *r);
void rules_unref(struct rules *r);

/* ---- ini_reader.c ---- */

/* name is NULL when a section begins. Sections have been trimmed, names and values too. */
typedef void (*ini_entry_cb)(void *arg, const char *section, const char *name, const char *value,
                             struct place at);
struct ini_source {
    const char *path;
    const char *variable; /* that names the file; NULL: none does */
    const char *text;     /* NULL: read the file */
    size_t text_len;
    bool no_includes;
};
void ini_read(const struct ini_source *source, ini_entry_cb cb, void *arg, struct config_problems *problems);

/* ---- environment.c ---- */

struct profile_value {
    const char *key;
    const char *value;
};

/* Values of a built-in profile, ending with a NULL key; NULL when there is none of that name. */
const struct profile_value *environment_profile(const char *name);
size_t environment_profile_count(void);
const char *environment_profile_name(size_t i);
struct vars;
/* Calls cb for each PGSLUICE_* variable that names a setting, or whose _FILE twin does; warns about those
 * that name nothing. */
typedef void (*variable_cb)(void *arg, int option, const char *variable, const char *value);
void environment_variables(struct vars *v, bool has_file, variable_cb cb, void *arg);

#endif
