/*
 * test_hba.c - rule files and maps: one row per text, and per question to the rules.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "auth/hba.h"
#include "auth/ident.h"
#include "base/compiler.h"
#include "base/mem.h"

#define ALL_METHODS (~0u)

/* ---- files that are only in memory ---- */

struct files {
    const char *text;     /* "dir/main" */
    const char *included; /* "dir/names" and "/abs" */
    char problems[2000];  /* "LINE:TEXT;" with the file's name in front when it is not the main one */
};

static char *read_file(void *arg, const char *path, size_t *len)
{
    const struct files *f = arg;
    const char *text = strcmp(path, "dir/main") == 0                                 ? f->text
                       : strcmp(path, "dir/names") == 0 || strcmp(path, "/abs") == 0 ? f->included
                                                                                     : NULL;
    if (text == NULL) {
        errno = ENOENT;
        return NULL;
    }
    *len = strlen(text);
    return xstrdup(text);
}

static void note_problem(void *arg, const char *file, int line, const char *text)
{
    struct files *f = arg;
    size_t n = strlen(f->problems);
    bool is_main = strcmp(file, "dir/main") == 0;
    snprintf(f->problems + n, sizeof(f->problems) - n, "%s%s%d:%s;", is_main ? "" : file, is_main ? "" : ":",
             line, text);
}

static struct auth_source source_of(struct files *f)
{
    f->problems[0] = '\0';
    return (struct auth_source){.path = "dir/main", .read = read_file, .problem = note_problem, .arg = f};
}

static struct ident *map_m(void)
{
    struct files f = {.text = "m a b\n"};
    struct auth_source s = source_of(&f);
    struct ident *ident = ident_parse(&s);
    assert_string_equal(f.problems, "");
    return ident;
}

/* ---- what is refused ---- */

#define REX "\"/"

static const struct {
    const char *text;
    size_t rules;
    const char *problems;
} files[] = {
    {"", 0, ""},
    {"# comment\n\n  \t\r\n", 0, ""},
    {"local all all trust", 1, ""},
    {"local all all trust # why\r\nhost all all all reject\n", 2, ""},
    {"local all \\\n all trust\nlocal x y bogus\n", 1, "3:invalid authentication method \"bogus\";"},
    {"\xef\xbb\xbflocal all all trust", 1, ""},
    {"host all all 10.0.0.0/8 md5\nhost all all 10.1.2.3 255.255.255.255 md5\nhost all all ::1/128 md5\n"
     "host all all ::1 ffff:: md5\nhostssl all all samehost md5\nhostnossl all all samenet reject\n",
     6, ""},
    {"hostgssenc all all all reject\nhostnogssenc all all all trust\n", 2, ""},
    {"local all all\n", 0, "1:the line ends before the authentication method;"},
    {"local all\n", 0, "1:the line ends before the user;"},
    {"local\n", 0, "1:the line ends before the database;"},
    {"remote all all trust\n", 0, "1:invalid connection type \"remote\";"},
    {"LOCAL all all trust\n", 0, "1:invalid connection type \"LOCAL\";"},
    {"local,host all all trust\n", 0, "1:multiple values for the connection type;"},
    {"include other.conf\n", 0, "1:include directives are not supported;"},
    {"host all all trust\n", 0,
     "1:\"trust\" is no address: write one as a number (host names are not supported), all, samehost or "
     "samenet;"},
    {"host all all db.example.com md5\n", 0,
     "1:\"db.example.com\" is no address: write one as a number (host names are not supported), all, "
     "samehost or samenet;"},
    {"host all all 10.0.0.1/33 md5\n", 0, "1:invalid CIDR mask in address \"10.0.0.1/33\";"},
    {"host all all 10.0.0.1/ md5\n", 0, "1:invalid CIDR mask in address \"10.0.0.1/\";"},
    {"host all all 10.0.0.1/8x md5\n", 0, "1:invalid CIDR mask in address \"10.0.0.1/8x\";"},
    {"host all all 10.0.0.1/-1 md5\n", 0, "1:invalid CIDR mask in address \"10.0.0.1/-1\";"},
    {"host all all ::1/129 md5\n", 0, "1:invalid CIDR mask in address \"::1/129\";"},
    {"host all all 10.0.0.1 md5\n", 0,
     "1:\"md5\" is no netmask of address \"10.0.0.1\": write one, or /BITS behind the address;"},
    {"host all all 10.0.0.1 ffff:: md5\n", 0,
     "1:\"ffff::\" is no netmask of address \"10.0.0.1\": write one, or /BITS behind the address;"},
    {"local all +admins trust\n", 0,
     "1:+admins is not supported: who is a member of a role is not known here;"},
    {"local all \"+admins\" trust\n", 1, ""},
    {"local samerole all trust\nlocal samegroup all trust\nlocal \"samerole\" all trust\n", 1,
     "1:samerole is not supported: who is a member of a role is not known here;"
     "2:samegroup is not supported: who is a member of a role is not known here;"},
    {"host all all all peer\n", 0, "1:peer authentication is only supported on local sockets;"},
    {"host all all all cert\n", 0, "1:cert authentication is only supported on hostssl connections;"},
    {"local all all ident\nhost all all all ident\n", 1, "2:authentication method ident is not supported;"},
    {"host all all all gss\n", 0, "1:authentication method gss is not supported;"},
    {"host all all all pam\nlocal all all pam pamservice=x pam_use_hostname=1\nlocal all all pam "
     "pam_use_hostname=0\n",
     3, ""},
    {"local all all pam pamservice=\nlocal all all pam pamservice=../x\nlocal all all pam "
     "pam_use_hostname=yes\n",
     0,
     "1:invalid value for option pamservice: \"\";2:invalid value for option pamservice: \"../x\";"
     "3:invalid value for option pam_use_hostname: \"yes\" (it is 1 or 0);"},
    {"local all all md5 pamservice=x\nlocal all all ldap ldapserver=a ldapprefix=b pam_use_hostname=1\n", 0,
     "1:option pamservice is only valid for authentication method pam;"
     "2:option pam_use_hostname is only valid for authentication method pam;"},
    {"host all all all ldap ldapserver=a ldapbasedn=\"dc=x, dc=y\" ldapbindpasswd=\"a b\" ldapbinddn=c\n"
     "hostssl all all all ldap ldapurl=\"ldaps://a/dc=x?uid?sub\" clientcert=verify-full\n",
     2, ""},
    {"host all all all ldap\nhost all all all ldap ldapserver=a ldapport=x ldapprefix=y\n"
     "host all all all ldap ldapserver=a ldapprefix=b ldapbasedn=c\nhost all all all pam ldapserver=a\n"
     "host all all all ldap ldapbindpasswd=my secret\n",
     0,
     "1:authentication method \"ldap\" requires argument \"ldapbasedn\", \"ldapprefix\", or \"ldapsuffix\" "
     "to be set;"
     "2:invalid LDAP port number: \"x\";3:cannot mix options for simple bind and search+bind modes;"
     "4:option ldapserver is only valid for authentication method ldap;"
     "5:authentication option not in name=value format;"},
    {"local all all peer map=m\nhostssl all all all cert map=m clientcert=verify-full\n", 2, ""},
    {"local all all peer map=other\n", 0, "1:there is no map \"other\" in auth_ident_file;"},
    {"local all all trust map=m\n", 0,
     "1:option map is only valid for authentication methods peer and cert;"},
    {"hostssl all all all md5 clientcert=verify-ca\nhostssl all all all trust clientcert=verify-full\n", 2,
     ""},
    {"host all all all md5 clientcert=verify-ca\n", 0,
     "1:option clientcert is only valid on hostssl connections;"},
    {"hostssl all all all md5 clientcert=1\n", 0, "1:invalid value for option clientcert: \"1\";"},
    {"local all all trust whatever\n", 0, "1:authentication option not in name=value format: \"whatever\";"},
    {"local all all trust a=b, c=d\n", 0,
     "1:authentication option \"a\" is not supported;1:authentication option \"c\" is not supported;"},
    {"local \"all all trust\n", 0, "1:missing closing quote;1:the line ends before the database;"},
    {"local all /( trust\n", 0, "1:bad regular expression: Unmatched ( or \\(;"},
    {"local all /a(?:b) trust\n", 0, "1:regular expression has (? which is not supported;"},
    {"local all /a\\1 trust\n", 0, "1:regular expression has an escape that is not supported;"},
    {"local all /a*? trust\n", 0,
     "1:regular expression has a quantifier behind another, which is not supported;"},
    {"local all " REX "^(a{1,200}){1,200}\" trust\n", 0, "1:regular expression repeats too much;"},
    {"local @main @main trust\n", 1, "1:@files name each other, or are too many;"},
    {"local @nowhere all trust\n", 1, "1:cannot read @file \"dir/nowhere\": No such file or directory;"},
};

static void test_problems(void **state)
{
    struct ident *ident = map_m();
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        struct files f = {.text = files[i].text};
        struct auth_source s = source_of(&f);
        struct hba *h = hba_parse(&s, ALL_METHODS, ident);
        if (strcmp(f.problems, files[i].problems) != 0 || hba_count(h) != files[i].rules)
            fail_msg("row %zu: %s\n%zu rules: %s", i, files[i].text, hba_count(h), f.problems);
        hba_free(h);
    }
    ident_free(ident);
}

static void test_methods_that_are_not_built_in(void **state)
{
    struct files f = {.text = "host all all all pam\nlocal all all md5\n"};
    struct auth_source s = source_of(&f);
    struct hba *h = hba_parse(&s, 1u << HBA_MD5, NULL);
    (void)state;
    assert_string_equal(f.problems, "1:authentication method pam needs libpam, which is not built in;");
    hba_free(h);
}

static void test_no_file(void **state)
{
    struct files f = {0};
    struct auth_source s = source_of(&f);
    (void)state;
    hba_free(hba_parse(&s, ALL_METHODS, NULL));
    assert_string_equal(f.problems, "0:cannot read the file: No such file or directory;");
}

/* ---- which rule ---- */

/* One file for all questions; the answer is the line. */
static const char rules[] =
    /* 1 */ "local    repl      all                            trust\n"
            /* 2 */ "local    sameuser  all                            trust\n"
            /* 3 */ "local    a,\"b c\" x,y                            trust\n"
            /* 4 */ "host     a         all  127.0.0.0/30              trust\n"
            /* 5 */ "host     a         all  10.0.0.0 255.0.255.0      trust\n"
            /* 6 */ "hostssl  b         all  all                       trust\n"
            /* 7 */ "hostnossl b        all  all                       reject\n"
            /* 8 */ "host     c         all  fe80::/10                 trust\n"
            /* 9 */ "host     c         all  ::/0                      reject\n"
            /* 10 */ "host    d         x    samehost                  trust\n"
            /* 11 */ "host    d         x    samenet                   reject\n"
            /* 12 */ "host    replication r  all                       trust\n"
            /* 13 */ "host    \"all\"   \"all\" all                    trust\n"
            /* 14 */ "host    /^db\\d+$ \"/^u[\\d,]{2}$\" all          trust\n"
            /* 15 */ "hostgssenc all    all  all                       trust\n"
            /* 16 */ "host    @names    x    all                       trust\n"
            /* 17 */ "host    f         @/abs all                      trust\n"
            /* 18 */ "host    n12345678901234567890123456789012345678901234567890123456789012 all all "
            "reject\n"
            /* 19 */ "host    pgbouncer all  all                       reject\n"
            /* 20 */ "local   q\"\"\"uote\"\"\" all                    trust\n"
            /* 21 */ "local   g, ,h     z                              trust\n";

static const struct {
    const char *addr; /* NULL: Unix */
    const char *database, *user;
    const char *flags; /* s: TLS, r: replication, p: the alias is pgbouncer */
    int line;          /* 0: none */
} questions[] = {
    {NULL, "repl", "x", "", 1},
    {NULL, "x", "x", "", 2},
    {NULL, "x", "y", "", 0},
    {NULL, "a", "x", "", 3},
    {NULL, "b c", "y", "", 3},
    {NULL, "b", "y", "", 0},
    {NULL, "a", "z", "", 0},
    {NULL, "A", "x", "", 0},
    {"127.0.0.0", "a", "q", "", 4},
    {"127.0.0.3", "a", "q", "s", 4},
    {"127.0.0.4", "a", "q", "", 0},
    {"10.7.0.200", "a", "q", "", 5},
    {"10.7.1.200", "a", "q", "", 0},
    {"::1", "a", "q", "", 0},
    {"127.0.0.1", "b", "q", "s", 6},
    {"127.0.0.1", "b", "q", "", 7},
    {"fe80::1", "c", "q", "", 8},
    {"fec0::1", "c", "q", "", 9},
    {"127.0.0.1", "c", "q", "", 0},
    {"192.168.7.7", "d", "x", "", 10},
    {"192.168.7.8", "d", "x", "", 11},
    {"192.168.8.7", "d", "x", "", 0},
    {"127.0.0.1", "a", "r", "r", 12},
    {"127.0.0.1", "replication", "r", "", 0},
    {"127.0.0.1", "all", "r", "", 0},
    {"127.0.0.1", "all", "all", "", 13},
    {"127.0.0.1", "db12", "u1,", "", 14},
    {"127.0.0.1", "db12x", "u1,", "", 0},
    {"127.0.0.1", "db12", "u1x", "", 0},
    {"127.0.0.1", "e", "x", "", 16},
    {"127.0.0.1", "e2", "x", "", 16},
    {"127.0.0.1", "f", "e2", "", 17},
    {"127.0.0.1", "f", "x", "", 0},
    {"127.0.0.1", "n12345678901234567890123456789012345678901234567890123456789012", "x", "", 18},
    {"127.0.0.1", "n12345678901234567890123456789012345678901234567890123456789012and more", "x", "", 18},
    {"127.0.0.1", "pgbouncer", "x", "", 19},
    {"127.0.0.1", "pgsluice", "x", "p", 19},
    {"127.0.0.1", "pgsluice", "x", "", 0},
    {NULL, "q\"uote\"", "z", "", 20},
    {NULL, "g", "z", "", 21},
    {NULL, "h", "z", "", 21},
};

static void test_matches(void **state)
{
    struct files f = {.text = rules, .included = "# names\ne, e2\n\ne3 e4\n"};
    struct auth_source s = source_of(&f);
    struct hba *h = hba_parse(&s, ALL_METHODS, NULL);
    struct hba_network own = {.family = AF_INET, .addr = {192, 168, 7, 7}, .mask = {255, 255, 255, 0}};
    (void)state;

    assert_string_equal(f.problems, "");
    assert_true(hba_needs_networks(h));
    assert_true(hba_has_method(h, HBA_REJECT));
    assert_false(hba_has_method(h, HBA_SCRAM));
    for (size_t i = 0; i < ARRAY_SIZE(questions); i++) {
        uint8_t addr[16] = {0};
        const char *at = questions[i].addr;
        struct hba_client c = {
            .user = questions[i].user,
            .database = questions[i].database,
            .database_alias = strchr(questions[i].flags, 'p') != NULL ? "pgbouncer" : NULL,
            .addr = addr,
            .family = at == NULL                ? AF_UNIX
                      : strchr(at, ':') != NULL ? AF_INET6
                                                : AF_INET,
            .is_tls = strchr(questions[i].flags, 's') != NULL,
            .is_replication = strchr(questions[i].flags, 'r') != NULL,
            .networks = &own,
            .n_networks = 1,
        };
        if (at != NULL)
            assert_int_equal(inet_pton(c.family, at, addr), 1);
        const struct hba_rule *r = hba_match(h, &c);
        int line = r != NULL ? r->line : 0;
        if (line != questions[i].line)
            fail_msg("row %zu: line %d", i, line);
    }
    hba_free(h);
}

/* ---- maps ---- */

static const char maps[] = "m   alice    al\n"
                           "m   alice    al2\n"
                           "re  /^(.*)@example\\.com$ \\1\n"
                           "re  /^adm_(\\w+)@x$ \"u_\\1_z\"\n"
                           "re  \"/^(x)?y$\" a\\1\n"
                           "any bob      all\n"
                           "any carl     \"all\"\n"
                           "any dora     /^d\n"
                           "lit e        \\1\n";

static const struct {
    const char *map, *system, *user;
    bool is_allowed;
} mappings[] = {
    {NULL, "x", "x", true},
    {NULL, "x", "y", false},
    {"m", "alice", "al", true},
    {"m", "alice", "al2", true},
    {"m", "alice", "alice", false},
    {"m", "Alice", "al", false},
    {"re", "joe@example.com", "joe", true},
    {"re", "joe@example.com", "joe@example.com", false},
    {"re", "joe@examplexcom", "joe", false},
    {"re", "all@example.com", "anybody", false}, /* a name that is put in is no keyword */
    {"re", "adm_q@x", "u_q_z", true},
    {"re", "adm_q@x", "u_q_", false},
    {"re", "adm_q@x", "u_qq_z", false},
    {"re", "xy", "ax", true},
    {"re", "y", "a", false}, /* the group took no part */
    {"any", "bob", "whoever", true},
    {"any", "carl", "whoever", false},
    {"any", "carl", "all", true},
    {"any", "dora", "dd", true},
    {"any", "dora", "xd", false},
    {"lit", "e", "\\1", true},
    {"nomap", "x", "x", false},
};

static void test_maps(void **state)
{
    struct files f = {.text = maps};
    struct auth_source s = source_of(&f);
    struct ident *ident = ident_parse(&s);
    (void)state;

    assert_string_equal(f.problems, "");
    assert_true(ident_has_map(ident, "re"));
    assert_false(ident_has_map(ident, "r"));
    for (size_t i = 0; i < ARRAY_SIZE(mappings); i++)
        if (ident_allows(ident, mappings[i].map, mappings[i].system, mappings[i].user) !=
            mappings[i].is_allowed)
            fail_msg("row %zu", i);
    ident_free(ident);
    assert_true(ident_allows(NULL, NULL, "x", "x"));
    assert_false(ident_allows(NULL, "m", "x", "x"));
}

static void test_maps_that_are_refused(void **state)
{
    struct files f = {.text =
                          "m x\nm x y z\nm x,y z\nm x +z\nm /^x$ a\\1\nm /( x\ninclude a b\nm x \"+z\"\n"};
    struct auth_source s = source_of(&f);
    struct ident *ident = ident_parse(&s);
    (void)state;

    assert_string_equal(f.problems, "1:a line needs a map, a system user and a database user;"
                                    "2:a line has three fields: map, system user, database user;"
                                    "3:multiple values in a field;"
                                    "4:+role is not supported: who is a member of a role is not known here;"
                                    "5:\\1 stands for a group, and the regular expression has none;"
                                    "6:bad regular expression: Unmatched ( or \\(;"
                                    "7:include directives are not supported;");
    assert_int_equal(ident_count(ident), 1);
    ident_free(ident);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_problems), cmocka_unit_test(test_methods_that_are_not_built_in),
        cmocka_unit_test(test_no_file),  cmocka_unit_test(test_matches),
        cmocka_unit_test(test_maps),     cmocka_unit_test(test_maps_that_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
