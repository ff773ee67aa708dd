/*
 * load.c - from files, variables and the command line to a snapshot.
 *
 * Every value that is given anywhere is checked and kept with its place, in
 * layers; then the highest layer that has a value wins. So a mistake is found
 * even where a higher layer hides it, and each value knows its source.
 * Threads: the control thread.
 * Not here: lines (ini_reader.c), databases and users (sections.c).
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "auth/credential.h"
#include "base/mem.h"
#include "base/secret.h"
#include "base/str.h"
#include "config/address.h"
#include "config/login_rules.h"
#include "vars_int.h"

/* In order of precedence, lowest first. LAYER_BARE: what is so where no file is given; the families of
 * variables are LAYER_FILE then. */
enum layer {
    LAYER_BARE,
    LAYER_PROFILE,
    LAYER_FILE,
    LAYER_SECTION,
    LAYER_VARIABLE,
    LAYER_COMMAND_LINE,
    LAYER_COUNT
};

/* A value that was given. */
struct given {
    char *value; /* NULL = none */
    char *source;
    char *file; /* NULL when from no file */
    int line;
    bool is_valid;
};

/* A line of an [environment.NAME] section, kept until it is known which one is in force. */
struct section_line {
    char *environment;
    char *value;
    char *file;
    int line;
    int option;
};

struct loader {
    struct config_args args;
    char *file; /* the file that a variable names; NULL: none does */
    const struct var *file_variable;
    struct config_problems *problems;
    struct config *config;
    struct given *given[LAYER_COUNT]; /* per option */
    struct section_line *lines;
    size_t line_count;
    struct strlist sections; /* names of the [environment.NAME] sections */
    struct vars vars;
    bool is_bare; /* no file: variables alone */
};

#define ENVIRONMENT_SECTION "environment."

static void clear_given(struct given *g)
{
    secret_free(g->value);
    free(g->source);
    free(g->file);
    memset(g, 0, sizeof *g);
}

static bool check_value(struct loader *l, const struct config_option *o, const char *value,
                        const char *source, struct place at)
{
    struct settings scratch;
    struct buf why;
    memset(&scratch, 0, sizeof scratch);
    buf_init(&why, 0);
    bool is_valid = option_parse(o, value, &scratch, &why);
    if (!is_valid)
        config_problems_add(l->problems, PROBLEM_ERROR, at.file, at.line, "%s%s%s: %s",
                            at.file == NULL ? source : "", at.file == NULL ? ": " : "", o->name,
                            buf_cstr(&why));
    else if (o->type == OPTION_STR)
        free((char *)*settings_string(&scratch, o));
    buf_free(&why);
    return is_valid;
}

/* Takes over source. Of several in one layer the last counts. */
static void give(struct loader *l, enum layer layer, int option, const char *value, char *source,
                 struct place at)
{
    struct given *g = &l->given[layer][option];
    clear_given(g);
    *g = (struct given){
        .value = xstrdup(value),
        .source = source,
        .file = at.file != NULL ? xstrdup(at.file) : NULL,
        .line = at.line,
        .is_valid = check_value(l, option_at((size_t)option), value, source, at),
    };
}

static int find_setting(struct loader *l, const char *name, const char *prefix, struct place at)
{
    int option = option_find(name);
    if (option < 0) {
        const char *nearest = option_nearest(name);
        config_problems_add(l->problems, PROBLEM_ERROR, at.file, at.line, "%sunknown setting %s%s%s%s",
                            prefix, name, nearest != NULL ? ": did you mean " : "",
                            nearest != NULL ? nearest : "", nearest != NULL ? "?" : "");
    }
    return option;
}

static void environment_line(struct loader *l, const char *environment, const char *name, const char *value,
                             struct place at)
{
    int option = find_setting(l, name, "", at);
    if (option < 0)
        return;
    if (strcmp(option_at((size_t)option)->name, "environment") == 0) {
        config_problems_add(l->problems, PROBLEM_ERROR, at.file, at.line,
                            "environment cannot be set in the section of an environment");
        return;
    }
    /* Checked here, since only the lines of the section in force become values. */
    (void)check_value(l, option_at((size_t)option), value, "", at);
    l->lines = xrealloc(l->lines, (l->line_count + 1) * sizeof *l->lines);
    l->lines[l->line_count++] = (struct section_line){
        .environment = xstrdup(environment),
        .value = xstrdup(value),
        .file = xstrdup(at.file),
        .line = at.line,
        .option = option,
    };
}

static void begin_section(struct loader *l, const char *section, struct place at)
{
    static const char *const known[] = {"databases", "users", "peers", "pgbouncer", "pgsluice"};
    for (size_t i = 0; i < ARRAY_SIZE(known); i++)
        if (strcmp(section, known[i]) == 0)
            return;
    if (str_has_prefix(section, ENVIRONMENT_SECTION) && section[strlen(ENVIRONMENT_SECTION)] != '\0') {
        const char *name = section + strlen(ENVIRONMENT_SECTION);
        strlist_add(&l->sections, name, strlen(name));
        return;
    }
    const char *nearest = str_nearest(section, known, ARRAY_SIZE(known));
    config_problems_add(l->problems, PROBLEM_ERROR, at.file, at.line, "unknown section [%s]%s%s%s", section,
                        nearest != NULL ? ": did you mean [" : "", nearest != NULL ? nearest : "",
                        nearest != NULL ? "]?" : "");
}

static void ini_entry(void *arg, const char *section, const char *name, const char *value, struct place at)
{
    struct loader *l = arg;
    if (name == NULL) {
        begin_section(l, section, at);
    } else if (strcmp(section, "databases") == 0) {
        section_database(l->config->catalog, name, value, at, l->problems);
    } else if (strcmp(section, "users") == 0) {
        section_user(l->config->catalog, name, value, at, l->problems);
    } else if (strcmp(section, "peers") == 0) {
        section_peer(l->config->catalog, name, value, at, l->problems);
    } else if (strcmp(section, "pgbouncer") == 0 || strcmp(section, "pgsluice") == 0) {
        int option = find_setting(l, name, "", at);
        if (option >= 0)
            give(l, LAYER_FILE, option, value, xasprintf("%s:%d", at.file, at.line), at);
    } else if (str_has_prefix(section, ENVIRONMENT_SECTION)) {
        environment_line(l, section + strlen(ENVIRONMENT_SECTION), name, value, at);
    } else if (*section == '\0') {
        config_problems_add(l->problems, PROBLEM_ERROR, at.file, at.line,
                            "%s stands in front of the first section: write [pgsluice] above it", name);
    } /* else: an unknown section, which has been reported */
}

static void variable(void *arg, int option, const char *name, const char *value)
{
    struct loader *l = arg;
    /* "PGSLUICE_X=" is how compose files and shells leave a variable out. */
    if (*value == '\0' && option_at((size_t)option)->type != OPTION_STR)
        return;
    give(l, LAYER_VARIABLE, option, value, xasprintf("variable %s", name), (struct place){NULL, 0});
}

/* ---- no file: variables alone ---- */

/* Of several values for one setting the first counts, and one of ours before all. */
static void bare_setting(void *arg, int option, const char *value, const char *source)
{
    struct loader *l = arg;
    const struct config_option *o = option_at((size_t)option);
    const struct given *before = &l->given[LAYER_VARIABLE][option];

    if (before->value == NULL)
        before = &l->given[LAYER_FILE][option];
    if (before->value == NULL)
        give(l, LAYER_FILE, option, value, xstrdup(source), (struct place){NULL, 0});
    else if (!option_same_value(o, before->value, value))
        config_problems_add(l->problems, PROBLEM_WARNING, NULL, 0, "%s and %s disagree about %s: %s counts",
                            before->source, source, o->name, before->source);
}

static void load_bare(struct loader *l)
{
    /* As all images of poolers have it; nobody gets in without a password. */
    static const char *const defaults[][2] = {{"listen_addr", "*"}, {"auth_type", "scram-sha-256"}};
    struct buf users;

    for (size_t i = 0; i < ARRAY_SIZE(defaults); i++)
        give(l, LAYER_BARE, option_find(defaults[i][0]), defaults[i][1], xstrdup("default without a file"),
             (struct place){NULL, 0});
    buf_init(&users, 0);
    targets_read(&l->vars, l->config->catalog, &users, bare_setting, l);
    if (users.len > 0)
        l->config->catalog->more_users = xstrdup(buf_cstr(&users));
    secret_wipe(users.data, users.capacity);
    buf_free(&users);
    families_settings(&l->vars, bare_setting, l);
}

static const struct given *winner(const struct loader *l, size_t option)
{
    for (int layer = LAYER_COUNT - 1; layer >= 0; layer--)
        if (l->given[layer][option].value != NULL)
            return &l->given[layer][option];
    return NULL;
}

static bool looks_up(const struct config *c)
{
    bool found = *c->settings.auth_user != '\0';
    for (size_t i = 0; i < c->catalog->database_count; i++)
        found = found || *c->catalog->databases[i].auth_user != '\0';
    return found;
}

/* A URL meant for the application, which leads to the pooler itself. */
static bool is_ourselves(const struct settings *s, const struct database_config *db)
{
    static const char *const loopback[] = {"localhost", "127.0.0.1", "::1"};
    for (size_t i = 0; i < ARRAY_SIZE(loopback); i++)
        if (strcmp(db->host, loopback[i]) == 0)
            return db->port == s->listen_port && *s->listen_addr != '\0';
    return false;
}

/* Is everybody's password known as it is, so that all can log in by SCRAM? */
static bool knows_passwords(const struct loader *l)
{
    const struct catalog *c = l->config->catalog;

    if (*l->config->settings.auth_file != '\0' || looks_up(l->config))
        return false; /* md5 hashes may come from there, now or later */
    for (size_t i = 0; i < c->user_count; i++)
        if (c->users[i].credential != NULL && c->users[i].credential->kind == CREDENTIAL_MD5)
            return false;
    return true;
}

/*
 * auth_type from a variable of another image (AUTH_TYPE, PGBOUNCER_AUTH_TYPE), which may have been meant for
 * something else: it never makes logging in weaker than SCRAM without need. Our own variable does.
 */
static void bare_auth_type(struct loader *l)
{
    size_t option = (size_t)option_find("auth_type");
    const struct given *g = winner(l, option);
    struct settings *s = &l->config->settings;

    if (!l->is_bare || g == NULL || g != &l->given[LAYER_FILE][option] || !g->is_valid)
        return;
    if (s->auth_type == AUTH_TYPE_TRUST || s->auth_type == AUTH_TYPE_ANY) {
        config_problems_add(l->problems, PROBLEM_ERROR, NULL, 0,
                            "%s: %s would let everybody in without a password: unset it, or say it with "
                            "PGSLUICE_AUTH_TYPE=%s if that is meant",
                            g->source, g->value, g->value);
    } else if ((s->auth_type == AUTH_TYPE_MD5 || s->auth_type == AUTH_TYPE_PLAIN) && knows_passwords(l)) {
        config_problems_add(l->problems, PROBLEM_NOTE, NULL, 0,
                            "%s: clients log in by scram-sha-256, as all passwords are known; "
                            "PGSLUICE_AUTH_TYPE=%s would make it %s",
                            g->source, g->value, g->value);
        s->auth_type = AUTH_TYPE_SCRAM_SHA_256;
    }
}

static void check_bare(struct loader *l, bool asks_password)
{
    const struct catalog *c = l->config->catalog;
    const struct settings *s = &l->config->settings;

    for (size_t i = 0; i < c->database_count; i++)
        if (is_ourselves(s, &c->databases[i]))
            config_problems_add(
                l->problems, PROBLEM_ERROR, NULL, 0,
                "%s: %s port %d is where pgsluice itself listens: name the host of PostgreSQL, or "
                "another listen_port",
                c->databases[i].file, c->databases[i].host, c->databases[i].port);
    if (asks_password && c->database_count > 0 && *s->auth_file == '\0' && c->more_users == NULL)
        config_problems_add(
            l->problems, PROBLEM_ERROR, NULL, 0,
            "%s: no password is known, so that nobody could log in: give one in the URL, DB_PASSWORD or "
            "DB_PASSWORD_FILE",
            c->databases[0].file);
}

/* ---- the whole ---- */

static void command_line(struct loader *l)
{
    struct place nowhere = {NULL, 0};
    for (size_t i = 0; i < l->args.override_count; i++) {
        const struct config_override *o = &l->args.overrides[i];
        int option = find_setting(l, o->key, "command line: ", nowhere);
        if (option >= 0)
            give(l, LAYER_COMMAND_LINE, option, o->value, xstrdup("command line"), nowhere);
    }
}

static bool has_section(const struct loader *l, const char *environment)
{
    for (size_t i = 0; i < l->sections.count; i++)
        if (strcmp(l->sections.items[i], environment) == 0)
            return true;
    return false;
}

static void unknown_environment(struct loader *l, const struct given *g)
{
    struct buf known;
    buf_init(&known, 0);
    for (size_t i = 0; i < environment_profile_count(); i++)
        buf_printf(&known, "%s%s", i > 0 ? ", " : "", environment_profile_name(i));
    for (size_t i = 0; i < l->sections.count; i++)
        if (environment_profile(l->sections.items[i]) == NULL)
            buf_printf(&known, ", %s", l->sections.items[i]);
    config_problems_add(l->problems, PROBLEM_ERROR, g->file, g->line,
                        "%s%sunknown environment \"%s\": known are %s, or write a section [environment.%s]",
                        g->file == NULL ? g->source : "", g->file == NULL ? ": " : "", g->value,
                        buf_cstr(&known), g->value);
    buf_free(&known);
}

/* Gives the values of the environment in force: its built-in profile and its section. */
static void apply_environment(struct loader *l)
{
    const struct given *g = winner(l, (size_t)option_find("environment"));
    if (g == NULL || *g->value == '\0')
        return;
    const struct profile_value *profile = environment_profile(g->value);
    if (profile == NULL && !has_section(l, g->value)) {
        unknown_environment(l, g);
        return;
    }
    for (; profile != NULL && profile->key != NULL; profile++)
        give(l, LAYER_PROFILE, option_find(profile->key), profile->value,
             xasprintf("environment %s", g->value), (struct place){NULL, 0});
    for (size_t i = 0; i < l->line_count; i++) {
        const struct section_line *line = &l->lines[i];
        if (strcmp(line->environment, g->value) != 0)
            continue;
        struct given *kept = &l->given[LAYER_SECTION][line->option];
        clear_given(kept);
        *kept = (struct given){
            .value = xstrdup(line->value),
            .source = xasprintf("[environment.%s] %s:%d", g->value, line->file, line->line),
            .file = xstrdup(line->file),
            .line = line->line,
            .is_valid = true, /* or reported, which fails the load */
        };
    }
}

/* Refuses what is not there yet, or not built in; says once what has no meaning. */
static void check_support(struct loader *l, const struct config_option *o, const struct given *g)
{
    const char *from = g->file == NULL ? g->source : "", *colon = g->file == NULL ? ": " : "";
    if (option_is_refused(o, &l->config->settings)) {
        struct buf why;
        buf_init(&why, 0);
        option_refusal(o, g->value, &why);
        config_problems_add(l->problems, PROBLEM_ERROR, g->file, g->line, "%s%s%s", from, colon,
                            buf_cstr(&why));
        buf_free(&why);
    } else if (o->flags & OPTION_NO_MEANING) {
        config_problems_add(l->problems, PROBLEM_NOTE, g->file, g->line,
                            "%s%ssetting %s has no meaning here and is ignored", from, colon, o->name);
    }
}

static void choose_values(struct loader *l)
{
    struct buf why;
    buf_init(&why, 0);
    for (size_t i = 0; i < option_count_all(); i++) {
        const struct config_option *o = option_at(i);
        const struct given *g = winner(l, i);
        if (g == NULL || !g->is_valid)
            continue;
        if (o->type == OPTION_STR)
            free((char *)*settings_string(&l->config->settings, o));
        if (!option_parse(o, g->value, &l->config->settings, &why))
            continue; /* reported when it was read */
        snapshot_set_source(l->config, i, g->source);
        check_support(l, o, g);
    }
    buf_free(&why);
}

/* conffile names the file that the next reload reads: this one, unless told otherwise. */
static void default_conffile(struct loader *l)
{
    size_t option = (size_t)option_find("conffile");
    if (l->args.ini_path == NULL || winner(l, option) != NULL)
        return;
    struct settings *s = &l->config->settings;
    free((char *)s->conffile);
    s->conffile = xstrdup(l->args.ini_path);
    char *source = l->args.ini_path == l->file ? xasprintf("variable %s", l->file_variable->name)
                                               : xstrdup("command line");
    snapshot_set_source(l->config, option, source);
    free(source);
}

static void check_http_listen(struct loader *l)
{
    size_t option = (size_t)option_find("http_listen");
    const struct given *g = winner(l, option);
    const char *at = l->config->settings.http_listen;
    enum address_result result;
    struct address address;

    while ((result = address_next(&at, &address)) == ADDRESS_OK)
        ;
    if (result == ADDRESS_ERR && g != NULL)
        config_problems_add(l->problems, PROBLEM_ERROR, g->file, g->line,
                            "%s%shttp_listen: \"%s\" is no list of PORT, ADDRESS:PORT, [IPV6]:PORT or *:PORT",
                            g->file == NULL ? g->source : "", g->file == NULL ? ": " : "", g->value);
}

static void no_auth_dbname(struct loader *l, const char *name, const char *file, int line)
{
    if (*name != '\0' && config_find_database(l->config, name) == NULL)
        config_problems_add(l->problems, PROBLEM_ERROR, file, line,
                            "auth_dbname = %s: there is no such database in [databases]", name);
}

static void check_lookups(struct loader *l)
{
    const struct catalog *c = l->config->catalog;
    const struct given *g = winner(l, (size_t)option_find("auth_dbname"));

    if (!looks_up(l->config))
        return;
    no_auth_dbname(l, l->config->settings.auth_dbname, g != NULL ? g->file : NULL, g != NULL ? g->line : 0);
    for (size_t i = 0; i < c->database_count; i++)
        no_auth_dbname(l, c->databases[i].auth_dbname, c->databases[i].file, c->databases[i].line);
}

static void check_sense(struct loader *l)
{
    const struct settings *s = &l->config->settings;
    const char *file = l->args.ini_path;
    bool asks_password =
        s->auth_type != AUTH_TYPE_ANY && s->auth_type != AUTH_TYPE_TRUST && !config_asks_directory(l->config);
    bool has_databases = l->config->catalog->database_count > 0;
    check_http_listen(l);
    check_lookups(l);
    if (l->is_bare)
        check_bare(l, asks_password);
    else if (has_databases && asks_password && *s->auth_file == '\0' && !looks_up(l->config))
        config_problems_add(l->problems, PROBLEM_WARNING, file, 0,
                            "auth_type = %s needs auth_file: nobody can log in without it",
                            config_auth_type_name(s->auth_type));
    if (*s->unix_socket_dir == '\0' && (*s->listen_addr == '\0' || s->listen_port == 0))
        config_problems_add(l->problems, PROBLEM_WARNING, file, 0,
                            "there is nowhere to listen: set listen_addr or unix_socket_dir");
    if (l->config->catalog->peer_count > 0 && s->peer_id == 0)
        config_problems_add(l->problems, PROBLEM_WARNING, file, 0,
                            "[peers] has no effect: peer_id says which of them this one is, and is not set");
    if (!has_databases && !l->is_bare && l->problems->errors == 0)
        config_problems_add(l->problems, PROBLEM_NOTE, file, 0, "no database is configured in [databases]");
}

/* PGSLUICE_CONFFILE is read from the start on, not only by RELOAD. PG_CONFIG_FILE and PG_CONFIG_DIR are those
 * of an image that makes the file where it is not there: so variables count then. */
static void file_by_variable(struct loader *l)
{
    static const char *const names[] = {"PGSLUICE_CONFFILE", "PG_CONFIG_FILE", "PG_CONFIG_DIR"};

    for (size_t i = 0; i < ARRAY_SIZE(names) && l->args.ini_path == NULL && l->args.ini_text == NULL; i++) {
        l->file_variable = vars_find(&l->vars, names[i]);
        if (l->file_variable == NULL)
            continue;
        free(l->file);
        l->file = i == 2 ? xasprintf("%s/pgbouncer.ini", l->file_variable->value)
                         : xstrdup(l->file_variable->value);
        if (i == 0 || access(l->file, F_OK) == 0)
            l->args.ini_path = l->file;
        else
            config_problems_add(l->problems, PROBLEM_NOTE, NULL, 0,
                                "variable %s: there is no \"%s\", so variables say it all",
                                l->file_variable->name, l->file);
    }
}

static void loader_init(struct loader *l, const struct config_args *args, struct config_problems *problems)
{
    memset(l, 0, sizeof *l);
    l->args = *args;
    l->problems = problems;
    l->config = snapshot_new();
    vars_init(&l->vars, args->environ, problems);
    file_by_variable(l);
    l->is_bare = l->args.ini_path == NULL && args->ini_text == NULL && args->environ != NULL;
    for (int layer = 0; layer < LAYER_COUNT; layer++)
        l->given[layer] = xcalloc(option_count_all(), sizeof *l->given[layer]);
}

static void loader_free(struct loader *l)
{
    for (int layer = 0; layer < LAYER_COUNT; layer++) {
        for (size_t i = 0; i < option_count_all(); i++)
            clear_given(&l->given[layer][i]);
        free(l->given[layer]);
    }
    for (size_t i = 0; i < l->line_count; i++) {
        free(l->lines[i].environment);
        free(l->lines[i].value);
        free(l->lines[i].file);
    }
    free(l->lines);
    strlist_free(&l->sections);
    vars_free(&l->vars);
    free(l->file);
}

static void load_users(struct loader *l)
{
    const char *path = l->config->settings.auth_file, *unread = l->args.unread_users;
    bool is_needed = l->args.needs_users && (unread == NULL || strcmp(path, unread) != 0);

    if (!l->args.no_files)
        users_load(l->config->catalog, path, is_needed ? PROBLEM_ERROR : PROBLEM_WARNING, l->problems);
}

struct config *config_load(const struct config_args *args, struct config_problems *problems)
{
    struct loader l;
    size_t errors_before = problems->errors;
    loader_init(&l, args, problems);
    if (l.args.ini_path != NULL || args->ini_text != NULL) {
        struct ini_source source = {
            .path = l.args.ini_path,
            .variable = l.file != NULL && l.args.ini_path == l.file ? l.file_variable->name : NULL,
            .text = args->ini_text,
            .text_len = args->ini_text_len,
            .no_includes = args->no_files};
        ini_read(&source, ini_entry, &l, problems);
    }
    environment_variables(&l.vars, !l.is_bare, variable, &l);
    if (l.is_bare)
        load_bare(&l);
    command_line(&l);
    apply_environment(&l);
    choose_values(&l);
    default_conffile(&l);
    catalog_finish(l.config->catalog);
    load_users(&l);
    bare_auth_type(&l);
    if (!args->no_files)
        rules_load(l.config, problems);
    snapshot_finish(l.config);
    check_sense(&l);
    loader_free(&l);
    if (problems->errors > errors_before) {
        config_unref(l.config);
        return NULL;
    }
    return l.config;
}
