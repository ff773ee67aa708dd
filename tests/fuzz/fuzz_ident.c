/*
 * fuzz_ident.c - files of maps, and questions to them. Links libauth.a libbase.a, OPENSSL_LIBS, LIBIDN_LIBS.
 *
 * The first line of the input is the name that the system gives; the rest is the file.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "auth/ident.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *data;
    size_t size;
};

static char *read_file(void *arg, const char *path, size_t *len)
{
    const struct input *in = arg;
    if (strcmp(path, "main") != 0)
        return NULL;
    char *copy = xmalloc(in->size + 1);
    memcpy(copy, in->data, in->size);
    copy[in->size] = '\0';
    *len = in->size;
    return copy;
}

static void check_problem(void *arg, const char *file, int line, const char *text)
{
    (void)arg;
    if (file == NULL || line < 0 || text[0] == '\0')
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *newline = memchr(data, '\n', size);
    if (newline == NULL || newline - data > 300 || memchr(data, '@', size) != NULL)
        return 0;
    char *name = xstrndup((const char *)data, (size_t)(newline - data));
    struct input in = {newline + 1, size - (size_t)(newline + 1 - data)};
    struct auth_source source = {.path = "main", .read = read_file, .problem = check_problem, .arg = &in};

    struct ident *ident = ident_parse(&source);
    bool is_there = ident_has_map(ident, "m");
    if (ident_allows(ident, "m", name, "app") && !is_there)
        abort();
    if (ident_allows(ident, NULL, name, "app") != (strcmp(name, "app") == 0))
        abort();
    ident_free(ident);
    free(name);
    return 0;
}
