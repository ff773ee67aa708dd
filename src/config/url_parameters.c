/*
 * url_parameters.c - what the parameters of a connection URL mean.
 *
 * libpq's, and those that drivers have beside them. What is said of TLS goes to the line of the database, so
 * that each URL of a list has its own. A parameter that asks for safety is heeded or refused, never ignored.
 *
 * Prints no value: one may be (part of) a password that stands in the wrong place.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/str.h"
#include "targets_int.h"

enum parameter_kind { TO_SETTING, TO_DATABASE, NO_MEANING, REFUSED };

static const struct {
    const char *name;
    enum parameter_kind kind;
    const char *to; /* the setting, the key of the database, or what to do instead */
} parameters[] = {
    {"connect_timeout", TO_SETTING, "server_connect_timeout"},
    {"tcp_user_timeout", TO_SETTING, "tcp_user_timeout"},
    {"keepalives", TO_SETTING, "tcp_keepalive"},
    {"keepalives_idle", TO_SETTING, "tcp_keepidle"},
    {"keepalives_interval", TO_SETTING, "tcp_keepintvl"},
    {"keepalives_count", TO_SETTING, "tcp_keepcnt"},
    {"application_name", TO_DATABASE, "application_name"},
    {"client_encoding", TO_DATABASE, "client_encoding"},
    {"target_session_attrs", TO_DATABASE, "target_session_attrs"},
    {"sslnegotiation", TO_DATABASE, "sslnegotiation"},
    {"channel_binding", TO_DATABASE, "channel_binding"},
    {"options", TO_DATABASE, "options"},
    {"fallback_application_name", NO_MEANING, NULL},
    {"gssdelegation", NO_MEANING, NULL},
    {"gssencmode", NO_MEANING, NULL},
    {"gsslib", NO_MEANING, NULL},
    {"krbsrvname", NO_MEANING, NULL},
    {"max_protocol_version", NO_MEANING, NULL}, /* it is 3.0 */
    {"min_protocol_version", NO_MEANING, NULL},
    {"sslcertmode", NO_MEANING, NULL},
    {"sslcompression", NO_MEANING, NULL},
    {"sslsni", NO_MEANING, NULL},
    {"connection_limit", NO_MEANING, NULL}, /* of drivers, about themselves */
    {"pgbouncer", NO_MEANING, NULL},
    {"pool_timeout", NO_MEANING, NULL},
    {"statement_cache_size", NO_MEANING, NULL},
    {"uselibpqcompat", NO_MEANING, NULL},
    /* each of these says something that would not be honoured */
    {"hostaddr", REFUSED, "names another address than the host: write that address as the host"},
    {"oauth_client_id", REFUSED, "is not supported: servers are logged in to with a password"},
    {"oauth_client_secret", REFUSED, "is not supported: servers are logged in to with a password"},
    {"oauth_issuer", REFUSED, "is not supported: servers are logged in to with a password"},
    {"oauth_scope", REFUSED, "is not supported: servers are logged in to with a password"},
    {"passfile", REFUSED, "is not read: let DB_PASSWORD_FILE name a file that holds the password alone"},
    {"replication", REFUSED, "is not for a pool: clients ask for replication themselves"},
    {"require_auth", REFUSED, "is not supported: channel_binding=require asks for SCRAM"},
    {"requirepeer", REFUSED, "is not supported: use TLS with sslmode=verify-full"},
    {"scram_client_key", REFUSED, "is not supported: give the password"},
    {"scram_server_key", REFUSED, "is not supported: give the password"},
    {"service", REFUSED, "is not read: write what the service file says into the URL"},
    {"sslcrl", REFUSED, "is not supported: a revoked certificate would be accepted"},
    {"sslcrldir", REFUSED, "is not supported: a revoked certificate would be accepted"},
    {"sslkeylogfile", REFUSED, "is not supported"},
    {"sslpassword", REFUSED,
     "is not supported: give a key without a password, in a file that nobody else can read"},
};

/* Values that ask for what there is not, of parameters that are otherwise known. */
static const struct {
    const char *name, *value;
    const char *why;
} refused_values[] = {
    {"gssencmode", "require", "asks for GSSAPI encryption, which there is not: use sslmode=require"},
    {"sslcertmode", "require", "asks that the server demand a certificate, which is not looked at"},
    {"min_protocol_version", "3.2",
     "asks for more than protocol 3.0, which is what servers are talked to in"},
    {"min_protocol_version", "latest",
     "asks for more than protocol 3.0, which is what servers are talked to in"},
};

static void setting(struct targets *ts, const struct target *t, const char *name, const char *value)
{
    char *source = xasprintf("variable %s", t->source);
    ts->cb(ts->arg, option_find(name), value, source);
    free(source);
}

static bool is_one_of(const char *word, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcasecmp(word, words[i]) == 0)
            return true;
    return false;
}

static void refuse(const struct targets *ts, const struct target *t, const char *name, const char *why)
{
    config_problems_add(ts->vars->problems, PROBLEM_ERROR, NULL, 0, "variable %s: the parameter %s %s",
                        t->source, name, why);
}

/* ---- TLS ---- */

/* ssl and sslmode, in the words of libpq and of drivers. Of several the strictest counts. */
static void take_sslmode(struct targets *ts, struct target *t, const struct database_url_parameter *p)
{
    static const char *const on[] = {"true", "yes", "on", "1", "t", "y", "no-verify"};
    static const char *const off[] = {"false", "no", "off", "0", "f", "n"};
    const struct config_option_name *name = NULL;
    struct buf why;
    int mode = -1;

    buf_init(&why, 0);
    if (value_parse_enum(p->value, config_sslmode_names(), &name, &why))
        mode = name->value;
    else if (is_one_of(p->value, on, ARRAY_SIZE(on)) || (strcmp(p->name, "ssl") == 0 && *p->value == '\0'))
        mode = SSLMODE_REQUIRE;
    else if (is_one_of(p->value, off, ARRAY_SIZE(off)))
        mode = SSLMODE_DISABLE;
    else
        refuse(ts, t, p->name,
               "has a value that says neither yes nor no: expected is disable, allow, prefer, require, "
               "verify-ca or verify-full");
    t->is_unchecked |= strcasecmp(p->value, "no-verify") == 0;
    t->sslmode = mode > t->sslmode ? mode : t->sslmode;
    buf_free(&why);
}

/* The names are those of libpq and, in capitals or not, of server_tls_protocols. */
static const char *const protocols[] = {"TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"};
#define DEFAULT_MIN_PROTOCOL 2 /* as in libpq */

/* An index of protocols + 1; 0: none given. */
static int take_protocol(struct targets *ts, struct target *t, const struct database_url_parameter *p)
{
    for (int i = 0; i < (int)ARRAY_SIZE(protocols); i++)
        if (strcasecmp(p->value, protocols[i]) == 0)
            return i + 1;
    if (*p->value != '\0')
        refuse(ts, t, p->name, "is none of TLSv1, TLSv1.1, TLSv1.2 and TLSv1.3");
    return 0;
}

/* As server_tls_protocols has it; "" = nothing was said. One setting for all, so all have to say the same. */
static void set_protocols(struct targets *ts, const struct target *t)
{
    int min = t->min_protocol > 0 ? t->min_protocol - 1 : DEFAULT_MIN_PROTOCOL;
    int max = t->max_protocol > 0 ? t->max_protocol - 1 : (int)ARRAY_SIZE(protocols) - 1;
    struct buf list;

    buf_init(&list, 0);
    for (int i = min; (t->min_protocol > 0 || t->max_protocol > 0) && i <= max; i++)
        buf_printf(&list, "%s%s", i > min ? "," : "", i == 0 ? "tlsv1.0" : protocols[i]);
    for (uint8_t *c = list.data; list.len > 0 && c < list.data + list.len; c++)
        *c = *c == 'T' || *c == 'L' || *c == 'S' ? (uint8_t)(*c + 'a' - 'A') : *c;
    if (min > max)
        refuse(ts, t, "ssl_min_protocol_version", "is above ssl_max_protocol_version");
    else if (ts->protocols != NULL && strcmp(ts->protocols, buf_cstr(&list)) != 0)
        refuse(
            ts, t, "ssl_min_protocol_version",
            "(or ssl_max_protocol_version) is another one than that of another URL: server_tls_protocols is "
            "one for all");
    else if (list.len > 0)
        setting(ts, t, "server_tls_protocols", buf_cstr(&list));
    if (ts->protocols == NULL)
        ts->protocols = xstrdup(buf_cstr(&list));
    buf_free(&list);
}

static bool take_tls(struct targets *ts, struct target *t, const struct database_url_parameter *p)
{
    if (strcmp(p->name, "ssl") == 0 || strcmp(p->name, "sslmode") == 0) {
        take_sslmode(ts, t, p);
    } else if (strcmp(p->name, "sslrootcert") == 0) {
        t->has_system_ca = strcmp(p->value, "system") == 0;
        t->sslrootcert = p->value;
    } else if (strcmp(p->name, "sslaccept") == 0 && strcmp(p->value, "strict") == 0) {
        t->sslmode = SSLMODE_VERIFY_FULL;
    } else if (strcmp(p->name, "sslaccept") == 0 && strcmp(p->value, "accept_invalid_certs") == 0) {
        t->is_unchecked = true;
    } else if (strcmp(p->name, "sslcertmode") == 0 && strcmp(p->value, "disable") == 0) {
        t->has_no_cert = true;
    } else if (strcmp(p->name, "ssl_min_protocol_version") == 0) {
        t->min_protocol = take_protocol(ts, t, p);
    } else if (strcmp(p->name, "ssl_max_protocol_version") == 0) {
        t->max_protocol = take_protocol(ts, t, p);
    } else if (strcmp(p->name, "sslcert") == 0) {
        t->sslcert = p->value;
    } else if (strcmp(p->name, "sslkey") == 0) {
        t->sslkey = p->value;
    } else {
        return false;
    }
    return true;
}

/* The variable prefix + setting in capitals; NULL: there is none. */
static const struct var *setting_variable(struct targets *ts, const char *prefix, const char *name)
{
    char *variable = xasprintf("%s%s", prefix, name);
    for (char *c = variable; *c != '\0'; c++)
        *c = *c >= 'a' && *c <= 'z' ? (char)(*c - 'a' + 'A') : *c;
    const struct var *var = vars_find(ts->vars, variable);
    free(variable);
    return var;
}

/* A key of the database's line, unless a variable of ours gives the setting that it stands for; variables of
 * others come behind the URL. */
static void tls_pair(struct targets *ts, struct target *t, const char *key, const char *name,
                     const char *value)
{
    static const char *const prefixes[] = {"PGSLUICE_", "PGBOUNCER_", ""};
    const struct var *ours = setting_variable(ts, prefixes[0], name);

    if (ours == NULL)
        target_pair(t, key, value);
    for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
        const struct var *var = setting_variable(ts, prefixes[i], name);
        if (var != NULL && strcasecmp(var->value, value) != 0)
            config_problems_add(ts->vars->problems, PROBLEM_WARNING, NULL, 0,
                                "variable %s and variable %s disagree about %s: variable %s counts",
                                t->source, var->name, name, ours != NULL ? ours->name : t->source);
    }
}

static const char *sslmode_text(int mode)
{
    const struct config_option_name *n = config_sslmode_names();
    while (n->value != mode)
        n++;
    return n->name;
}

void target_tls(struct targets *ts, struct target *t)
{
    if (t->has_system_ca) {
        /* as libpq: the authorities of the system sign for anybody, so the name must be right */
        if (t->sslmode >= 0 && t->sslmode != SSLMODE_VERIFY_FULL)
            refuse(ts, t, "sslrootcert",
                   "is system, which needs sslmode=verify-full: the system's authorities sign for anybody");
        t->sslmode = SSLMODE_VERIFY_FULL;
        t->sslrootcert = ""; /* what stands for those of the system */
    } else if (t->sslrootcert != NULL && t->sslmode == SSLMODE_REQUIRE && !t->is_unchecked) {
        t->sslmode = SSLMODE_VERIFY_CA; /* as libpq with a file of authorities */
    }
    set_protocols(ts, t);
    if (t->has_no_cert)
        t->sslcert = t->sslkey = "";
    if (t->sslmode >= 0)
        tls_pair(ts, t, "sslmode", "server_tls_sslmode", sslmode_text(t->sslmode));
    if (t->sslrootcert != NULL)
        tls_pair(ts, t, "sslrootcert", "server_tls_ca_file", t->sslrootcert);
    if (t->sslcert != NULL)
        tls_pair(ts, t, "sslcert", "server_tls_cert_file", t->sslcert);
    if (t->sslkey != NULL)
        tls_pair(ts, t, "sslkey", "server_tls_key_file", t->sslkey);
}

/* ---- the others ---- */

static void note(struct targets *ts, const struct target *t, enum problem_severity severity, const char *name,
                 const char *what)
{
    config_problems_add(ts->vars->problems, severity, NULL, 0,
                        "variable %s: the parameter %s %s and is ignored", t->source, name, what);
}

/* Words of others for libpq's, and those of libpq's that say what is so anyway. True: done. */
static bool special_parameter(struct targets *ts, struct target *t, const struct database_url_parameter *p)
{
    for (size_t i = 0; i < ARRAY_SIZE(refused_values); i++)
        if (strcmp(p->name, refused_values[i].name) == 0 && strcmp(p->value, refused_values[i].value) == 0) {
            refuse(ts, t, p->name, refused_values[i].why);
            return true;
        }
    if (strcmp(p->name, "client_encoding") == 0 && strcmp(p->value, "auto") == 0) {
        note(ts, t, PROBLEM_NOTE, p->name, "is auto, which is for programs with a locale,");
        return true;
    }
    if (strcmp(p->name, "hostaddr") == 0 && strcmp(p->value, t->host) == 0)
        return true;
    if (strcmp(p->name, "load_balance_hosts") == 0) {
        bool is_random = strcmp(p->value, "random") == 0;
        target_pair(t, "load_balance_hosts", is_random ? "round-robin" : p->value);
        return true;
    }
    return take_tls(ts, t, p);
}

void target_parameter(struct targets *ts, struct target *t, const struct database_url_parameter *p)
{
    if (special_parameter(ts, t, p))
        return;
    for (size_t i = 0; i < ARRAY_SIZE(parameters); i++) {
        if (strcmp(parameters[i].name, p->name) != 0)
            continue;
        switch (parameters[i].kind) {
        case TO_SETTING: setting(ts, t, parameters[i].to, p->value); return;
        case TO_DATABASE: target_pair(t, parameters[i].to, p->value); return;
        case NO_MEANING: note(ts, t, PROBLEM_NOTE, p->name, "has no meaning here"); return;
        case REFUSED: refuse(ts, t, p->name, parameters[i].to); return;
        }
    }
    if (strncmp(p->name, "ssl", 3) == 0)
        refuse(ts, t, p->name, "is not known, and may ask for safety: say it with sslmode and sslrootcert");
    else if (strchr(p->value, '@') != NULL) /* the name may be half of a password with a ? in it */
        config_problems_add(ts->vars->problems, PROBLEM_ERROR, NULL, 0,
                            "variable %s: a parameter is not known, and its value holds an @; in a "
                            "password write %%3F for a question mark",
                            t->source);
    else
        note(ts, t, PROBLEM_WARNING, p->name, "is not known");
}
