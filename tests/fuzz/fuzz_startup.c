/*
 * fuzz_startup.c - start-up packets from anybody. Links libwire.a libbase.a.
 *
 * The input is what has arrived. Every string must lie inside the packet; the options are
 * split into a scratch buffer of exactly the size that is promised to be enough.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/negotiation.h"
#include "wire/startup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *data;
    size_t size;
};

static void require(bool ok)
{
    if (!ok)
        abort();
}

static void require_inside(const char *s, const struct input *in)
{
    if (s)
        require((const uint8_t *)s >= in->data && (const uint8_t *)s + strlen(s) < in->data + in->size);
}

static bool check_setting(void *arg, const char *name, const char *value)
{
    const struct input *scratch = arg;
    require(name[0] != '\0' && strchr(name, '=') == NULL);
    require_inside(name, scratch);
    require_inside(value, scratch);
    return true;
}

static void walk(const char *text)
{
    size_t size = strlen(text) + 1;
    char *scratch = malloc(size);
    struct input in = {(const uint8_t *)scratch, size};
    if (!scratch)
        return;
    (void)!startup_walk_options(text, scratch, check_setting, &in);
    free(scratch);
}

/* The whole beginning of a connection: TLS is spoken at most once, and nobody logs in without it who must. */
static void negotiate(const uint8_t *data, uint32_t size, enum negotiation_policy policy)
{
    static struct startup_packet p;
    struct negotiation n = {0};
    uint32_t at = 0;
    bool is_tls = false;

    while (at < size) {
        enum negotiation_verdict v = negotiation_take(&n, policy, data + at, size - at, &p);
        if (v == NEGOTIATION_TLS || v == NEGOTIATION_DIRECT) {
            require(!is_tls && policy != NEGOTIATE_NO_TLS);
            require(v == NEGOTIATION_DIRECT ? at == 0 : at + p.len_bytes == size);
            is_tls = true;
            negotiation_tls_done(&n);
            at += v == NEGOTIATION_DIRECT ? 1 : p.len_bytes;
            continue;
        }
        require(v != NEGOTIATION_STARTUP || is_tls || policy != NEGOTIATE_MUST_TLS);
        if (v != NEGOTIATION_NO)
            return;
        require(!is_tls && p.len_bytes == 8 && at <= 8);
        at += p.len_bytes;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct startup_packet p;
    if (size > UINT32_MAX)
        return 0;
    for (enum negotiation_policy policy = NEGOTIATE_NO_TLS; policy <= NEGOTIATE_MUST_TLS; policy++)
        negotiate(data, (uint32_t)size, policy);
    enum startup_kind kind = startup_parse(data, (uint32_t)size, &p);
    require(kind == p.kind);
    if (kind == STARTUP_INCOMPLETE)
        require(p.len_bytes == 0 || p.len_bytes > size);
    if (kind == STARTUP_CANCEL)
        require(p.cancel_key + p.cancel_key_bytes <= data + size && p.cancel_key_bytes >= 4);
    if (kind != STARTUP_V3)
        return 0;

    const struct input in = {data, p.len_bytes};
    require(p.len_bytes <= size && p.n_parameters <= STARTUP_MAX_PARAMETERS &&
            p.n_unknown <= STARTUP_MAX_PARAMETERS);
    require_inside(p.user, &in);
    require_inside(p.database, &in);
    require_inside(p.options, &in);
    require_inside(p.replication, &in);
    for (uint32_t i = 0; i < p.n_parameters; i++) {
        require_inside(p.parameters[i].name, &in);
        require_inside(p.parameters[i].value, &in);
    }
    for (uint32_t i = 0; i < p.n_unknown; i++)
        require_inside(p.unknown[i], &in);
    if (p.options)
        walk(p.options);
    return 0;
}
