/*
 * fuzz_userlist.c - auth_file and the secrets in it. Links libauth.a libbase.a, OPENSSL_LIBS, LIBIDN_LIBS.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "auth/userlist.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void count_problem(void *arg, uint32_t line, const char *text)
{
    uint32_t *last = arg;
    if (line == 0 || text[0] == '\0')
        abort();
    *last = line;
}

static bool all_of_some(void *arg, const char *name)
{
    (void)arg;
    return name[0] & 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint32_t last = 0;
    struct userlist *l = userlist_parse((const char *)data, size, count_problem, all_of_some, &last);
    for (uint32_t i = 0; i < l->count; i++) {
        const struct userlist_entry *e = &l->entries[i];
        if (e->name[0] == '\0' || strlen(e->name) > USERLIST_NAME_MAX || userlist_find(l, e->name) != e)
            abort();
        if (i > 0 && strcmp(l->entries[i - 1].name, e->name) >= 0)
            abort();
        if (e->credential.kind != CREDENTIAL_NONE && strlen(e->credential.secret) > USERLIST_SECRET_MAX)
            abort();
    }
    userlist_free(l);
    return 0;
}
