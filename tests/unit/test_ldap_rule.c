/*
 * test_ldap_rule.c - options of method ldap, URLs, and what becomes of users' names: one row per text.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "auth/ldap_rule.h"
#include "base/compiler.h"

#define DN "ldapbasedn=\"dc=example,dc=net\" "

/* All of a rule, as one text. */
static void describe(const struct ldap_rule *r, struct buf *out)
{
    static const char *const scopes[] = {"base", "one", "sub"};
    const struct {
        const char *name, *value;
    } texts[] = {
        {"prefix", r->prefix},  {"suffix", r->suffix},          {"base", r->base_dn},
        {"binddn", r->bind_dn}, {"password", r->bind_password}, {"attribute", r->attribute},
        {"filter", r->filter},
    };
    const char *at = r->server != NULL ? r->server : "";
    struct buf uri;

    buf_init(&uri, 0);
    for (; ldap_rule_next_uri(r, false, &at, &uri); buf_clear(&uri))
        buf_printf(out, "%s ", buf_cstr(&uri));
    buf_free(&uri);
    buf_printf(out, "%s%s", r->starts_tls ? "starttls " : "", scopes[r->scope]);
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        if (texts[i].value != NULL)
            buf_printf(out, " %s=[%s]", texts[i].name, texts[i].value);
}

/* text, and what it means; or, behind "!", what is wrong with it. */
static const struct {
    const char *text;
    const char *means;
} rules[] = {
    {"ldapserver=a ldapprefix=\"cn=\" ldapsuffix=\", dc=x\"",
     "ldap://a:389 sub prefix=[cn=] suffix=[, dc=x]"},
    {"ldapserver=a ldapsuffix=@example.net", "ldap://a:389 sub suffix=[@example.net]"},
    {"ldapserver=\"a  b ::1 [::2]\" ldapport=1389 ldapprefix=x",
     "ldap://a:1389 ldap://b:1389 ldap://[::1]:1389 ldap://[::2]:1389 sub prefix=[x]"},
    {"ldapserver=a ldapscheme=ldaps ldapprefix=x", "ldaps://a:636 sub prefix=[x]"},
    {"ldapserver=a ldapscheme=ldap ldaptls=1 ldapprefix=x", "ldap://a:389 starttls sub prefix=[x]"},
    {"ldapserver=a ldapserver=b ldaptls=1 ldaptls=0 ldapprefix=x", "ldap://b:389 sub prefix=[x]"},
    {"ldapserver=a " DN, "ldap://a:389 sub base=[dc=example,dc=net]"},
    {DN, "sub base=[dc=example,dc=net]"},
    {"ldapserver=a " DN "ldapbinddn=\"cn=r,dc=x\" ldapbindpasswd=\"a \"\"b\" ldapsearchattribute=mail",
     "ldap://a:389 sub base=[dc=example,dc=net] binddn=[cn=r,dc=x] password=[a \"b] attribute=[mail]"},
    {"ldapserver=a " DN "ldapsearchfilter=\"(|(uid=$username)(mail=$username))\"",
     "ldap://a:389 sub base=[dc=example,dc=net] filter=[(|(uid=$username)(mail=$username))]"},
    /* URLs */
    {"ldapurl=\"ldap://127.0.0.1:12345/dc=example,dc=net?uid?sub\"",
     "ldap://127.0.0.1:12345 sub base=[dc=example,dc=net] attribute=[uid]"},
    {"ldapurl=\"LDAPS://a/dc=x??one?(uid=$username)\"",
     "ldaps://a:636 one base=[dc=x] filter=[(uid=$username)]"},
    {"ldapurl=\"ldap://a/dc=x?mail,uid\"", "ldap://a:389 base base=[dc=x] attribute=[mail]"},
    {"ldapurl=\"ldap://a/ou=a%20b%2cc,dc=x?uid?subtree\"",
     "ldap://a:389 sub base=[ou=a b,c,dc=x] attribute=[uid]"},
    {"ldapurl=\"ldap://[::1]:99/dc=x?uid?onelevel\"", "ldap://[::1]:99 one base=[dc=x] attribute=[uid]"},
    {"ldapurl=\"ldap://[::1]/dc=x?uid?base\"", "ldap://[::1]:389 base base=[dc=x] attribute=[uid]"},
    {"ldapurl=\"ldap://a/?uid?sub\"", "ldap://a:389 sub base=[] attribute=[uid]"},
    {"ldapurl=\"ldap://a?uid?sub\"", "ldap://a:389 sub base=[] attribute=[uid]"},
    {"ldapurl=\"ldap:///dc=x?uid?sub\"", "sub base=[dc=x] attribute=[uid]"},
    {"ldapurl=ldap://a ldapprefix=x", "ldap://a:389 base prefix=[x]"},
    {"ldapurl=\"ldap://a/dc=x?uid?sub\" ldapserver=b ldaptls=1 ldapbinddn=c",
     "ldap://b:389 starttls sub base=[dc=x] binddn=[c] attribute=[uid]"},
    {"ldapurl=ldapi:///dc=x", "!unsupported LDAP URL scheme: ldapi"},
    {"ldapurl=http://a/dc=x", "!unsupported LDAP URL scheme: http"},
    {"ldapurl=a/dc=x", "!could not parse LDAP URL"},
    {"ldapurl=ldap://a:0/dc=x", "!could not parse LDAP URL"},
    {"ldapurl=ldap://a:65536/dc=x", "!could not parse LDAP URL"},
    {"ldapurl=ldap://a:/dc=x", "!could not parse LDAP URL"},
    {"ldapurl=ldap://a/dc=%", "!could not parse LDAP URL"},
    {"ldapurl=ldap://a/dc=%2", "!could not parse LDAP URL"},
    {"ldapurl=ldap://a/dc=%zz", "!could not parse LDAP URL"},
    {"ldapurl=ldap://a/dc=%00", "!could not parse LDAP URL"},
    {"ldapurl=ldap://a%20b/dc=x", "!could not parse LDAP URL"},
    {"ldapurl=ldap://u@a/dc=x", "!ldapserver takes names of hosts, not \"u@a\""},
    {"ldapurl=ldap://a/dc=x?uid?tree", "!unsupported scope \"tree\" in LDAP URL"},
    {"ldapurl=ldap://a/dc=x?uid?sub??x=1", "!extensions in an LDAP URL are not supported"},
    /* what is no value */
    {"ldapserver=ldap://a ldapprefix=x", "!ldapserver takes names of hosts, not \"ldap://a\""},
    {"ldapserver=\"a b:389\" ldapprefix=x", "!ldapserver takes names of hosts: write the port as ldapport"},
    {"ldapserver=a ldapport=0 ldapprefix=x", "!invalid LDAP port number: \"0\""},
    {"ldapserver=a ldapport=389x ldapprefix=x", "!invalid LDAP port number: \"389x\""},
    {"ldapserver=a ldapscheme=ldapi ldapprefix=x", "!invalid ldapscheme value: \"ldapi\""},
    {"ldapserver=a ldaptls=yes ldapprefix=x", "!invalid ldaptls value: \"yes\" (it is 1 or 0)"},
    /* what does not go together */
    {"ldapserver=a", "!authentication method \"ldap\" requires argument \"ldapbasedn\", \"ldapprefix\", or "
                     "\"ldapsuffix\" to be set"},
    {"ldapserver=a ldapprefix=x ldapbasedn=y", "!cannot mix options for simple bind and search+bind modes"},
    {"ldapserver=a ldapsuffix=x ldapbinddn=y", "!cannot mix options for simple bind and search+bind modes"},
    {"ldapserver=a ldapprefix=x ldapsearchfilter=y",
     "!cannot mix options for simple bind and search+bind modes"},
    {"ldapserver=a " DN "ldapsearchattribute=uid ldapsearchfilter=(uid=$username)",
     "!cannot use ldapsearchattribute together with ldapsearchfilter"},
    {"ldapserver=a " DN "ldapsearchattribute=\"uid)(\"",
     "!ldapsearchattribute is not the name of an attribute"},
    {"ldapserver=a " DN "ldapsearchfilter=(uid=me)",
     "!ldapsearchfilter does not say $username: it would find the same entry for everyone"},
    {"ldapserver=a " DN "ldapbindpasswd=x", "!ldapbindpasswd needs ldapbinddn"},
    {"ldapserver=a ldapscheme=ldaps ldaptls=1 ldapprefix=x",
     "!ldaptls=1 (StartTLS) cannot be used over ldaps"},
    {"ldapprefix=x", "!LDAP server not specified, and no ldapbasedn to find one by"},
    {"ldapserver=\" \" ldapbasedn=\"\"", "!LDAP server not specified, and no ldapbasedn to find one by"},
    /* what is no option */
    {"ldapserver=a ldapprefix=x map=m", "!authentication option \"map\" is not supported"},
    {"ldapserver=a ldapprefix=x ldap=1", "!authentication option \"ldap\" is not supported"},
    {"ldapserver=a ldapbindpasswd=my secret ldapprefix=x",
     "!there is an option that is not in name=value format"},
    {"ldapserver=a ldapprefix=\"x", "!missing closing quote"},
    {"@secrets ldapserver=a", "!cannot read @file \"secrets\": Permission denied"},
    {"",
     "!authentication method \"ldap\" requires argument \"ldapbasedn\", \"ldapprefix\", or \"ldapsuffix\" to "
     "be set"},
};

static void test_rules(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
        struct buf why, got;
        buf_init(&why, 0);
        buf_init(&got, 0);
        struct ldap_rule *r = ldap_rule_parse(rules[i].text, &why);
        if (r != NULL)
            describe(r, &got);
        else
            buf_printf(&got, "!%s", buf_cstr(&why));
        if (strcmp(buf_cstr(&got), rules[i].means) != 0)
            fail_msg("%s\nis       %s\nexpected %s", rules[i].text, buf_cstr(&got), rules[i].means);
        ldap_rule_unref(r);
        buf_free(&got);
        buf_free(&why);
    }
}

/* ---- names of users ---- */

static const struct {
    const char *options;
    const char *user;
    const char *said;
} names[] = {
    {"ldapprefix=\"cn=\" ldapsuffix=\",dc=x\"", "alice", "cn=alice,dc=x"},
    {"ldapprefix=\"cn=\" ldapsuffix=\",dc=x\"", "a,ou=b", "cn=a\\,ou\\=b,dc=x"},
    {"ldapprefix=\"cn=\"", "\"+,;<>=\\", "cn=\\\"\\+\\,\\;\\<\\>\\=\\\\"},
    {"ldapprefix=\"cn=\"", " # a# ", "cn=\\ # a#\\ "},
    {"ldapprefix=\"cn=\"", "#a", "cn=\\#a"},
    {"ldapprefix=\"cn=\"", " ", "cn=\\ "},
    {"ldapprefix=\"cn=\"", "a\nb\x7f", "cn=a\\0ab\\7f"},
    {"ldapprefix=\"cn=\"", "j\xc3\xb6rg", "cn=j\xc3\xb6rg"},
    {"ldapprefix=\"CORP\\\"", "a,b", "CORP\\a,b"},
    {"ldapsuffix=\"@example.net\"", "a.b", "a.b@example.net"},
    {DN, "alice", "(uid=alice)"},
    {DN "ldapsearchattribute=mail", "a@b", "(mail=a@b)"},
    {DN, "*", "(uid=\\2a)"},
    {DN, "a)(uid=*", "(uid=a\\29\\28uid=\\2a)"},
    {DN, "a\\b\x01", "(uid=a\\5cb\\01)"},
    {DN, "j\xc3\xb6rg", "(uid=j\xc3\xb6rg)"},
    {DN "ldapsearchfilter=\"(|(uid=$username)(cn=$username x))\"", "a*$username",
     "(|(uid=a\\2a$username)(cn=a\\2a$username x))"},
};

static void test_names_are_escaped(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        char text[300];
        struct buf why, got;
        buf_init(&why, 0);
        buf_init(&got, 0);
        snprintf(text, sizeof(text), "ldapserver=a %s", names[i].options);
        struct ldap_rule *r = ldap_rule_parse(text, &why);
        if (r == NULL)
            fail_msg("%s: %s", text, buf_cstr(&why));
        if (ldap_rule_searches(r))
            ldap_rule_filter(r, names[i].user, &got);
        else
            ldap_rule_bind_name(r, names[i].user, &got);
        if (strcmp(buf_cstr(&got), names[i].said) != 0)
            fail_msg("%s, user %s: %s, not %s", names[i].options, names[i].user, buf_cstr(&got),
                     names[i].said);
        ldap_rule_unref(r);
        buf_free(&got);
        buf_free(&why);
    }
}

static void test_hosts_from_dns(void **state)
{
    struct buf why, uri;
    const char *at = "a.example.net:389 b.example.net:3890";
    (void)state;
    buf_init(&why, 0);
    buf_init(&uri, 0);
    struct ldap_rule *r = ldap_rule_parse(DN, &why);
    while (ldap_rule_next_uri(r, true, &at, &uri))
        buf_append_byte(&uri, ' ');
    assert_string_equal(buf_cstr(&uri), "ldap://a.example.net:389 ldap://b.example.net:3890 ");
    ldap_rule_unref(r);
    buf_free(&uri);
    buf_free(&why);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_names_are_escaped),
        cmocka_unit_test(test_hosts_from_dns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
