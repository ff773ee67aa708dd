/*
 * fuzz_hba.c - rule files, and questions to the rules. Links libauth.a libbase.a, OPENSSL_LIBS, LIBIDN_LIBS.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "auth/hba.h"
#include "auth/ldap_rule.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *data;
    size_t size;
    int problems;
};

/* Only "main" is there, which may include itself. */
static char *read_file(void *arg, const char *path, size_t *len)
{
    const struct input *in = arg;
    if (strcmp(path, "main") != 0) {
        errno = ENOENT;
        return NULL;
    }
    char *copy = xmalloc(in->size + 1);
    memcpy(copy, in->data, in->size);
    copy[in->size] = '\0';
    *len = in->size;
    return copy;
}

static void count_problem(void *arg, const char *file, int line, const char *text)
{
    struct input *in = arg;
    if (file == NULL || line < 0 || text[0] == '\0')
        abort();
    in->problems++;
}

/* A name, whatever it is, stays a value: no filter begins, ends or matches anything in it. */
static void ask_directory(const struct ldap_rule *r, const char *user)
{
    const char *hosts = r->server != NULL ? r->server : "";
    struct buf text;

    buf_init(&text, 0);
    while (ldap_rule_next_uri(r, false, &hosts, &text))
        buf_clear(&text);
    if (!ldap_rule_searches(r))
        ldap_rule_bind_name(r, user, &text);
    else
        ldap_rule_filter(r, user, &text);
    if (ldap_rule_searches(r) && r->filter == NULL) {
        const char *filter = buf_cstr(&text);
        if (strcspn(filter + 1, "(*)") != text.len - 2 || filter[text.len - 1] != ')')
            abort();
    }
    buf_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int families[] = {AF_UNIX, AF_INET, AF_INET6};
    static const uint8_t addr[16] = {127, 0, 0, 1};
    struct input in = {data, size, 0};
    struct auth_source source = {.path = "main", .read = read_file, .problem = count_problem, .arg = &in};

    if (memchr(data, '@', size) != NULL && size > 200) /* few of them: each reads the file anew */
        return 0;
    struct hba *h = hba_parse(&source, ~0u, NULL);
    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++)
        for (int flags = 0; flags < 4; flags++) {
            struct hba_client c = {
                .user = "app",
                .database = "postgres",
                .addr = addr,
                .family = families[i],
                .is_tls = flags & 1,
                .is_replication = flags & 2,
            };
            const struct hba_rule *r = hba_match(h, &c);
            if (r != NULL && (r->line < 1 || r->method >= HBA_METHODS))
                abort();
            if (r != NULL && r->map != NULL) /* there are no maps */
                abort();
            if (r != NULL && (r->method == HBA_LDAP) != (r->ldap != NULL))
                abort();
            if (r != NULL && r->ldap != NULL && flags == 0) {
                size_t len;
                char *user = read_file(&in, "main", &len);
                if (user == NULL)
                    continue;
                ask_directory(r->ldap, user);
                free(user);
            }
        }
    hba_free(h);
    return 0;
}
