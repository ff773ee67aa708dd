/*
 * resolve_libc.c - lookups by getaddrinfo(), for builds without c-ares.
 *
 * It blocks, so helper threads call it; and it does not tell how long an answer is good.
 *
 * Threads: any submits; the helpers answer.
 */
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "resolve_int.h"

static bool is_temporary(int rc)
{
    return rc == EAI_AGAIN || rc == EAI_SYSTEM || rc == EAI_MEMORY || rc == EAI_FAIL;
}

static struct address_list *list_of(const struct addrinfo *found)
{
    int n = 0;
    for (const struct addrinfo *ai = found; ai != NULL; ai = ai->ai_next)
        n++;
    struct address_list *list = address_list_new(n);
    if (list == NULL)
        return NULL;
    n = 0;
    for (const struct addrinfo *ai = found; ai != NULL; ai = ai->ai_next, n++) {
        memcpy(&list->items[n].addr, ai->ai_addr, ai->ai_addrlen);
        list->items[n].bytes = ai->ai_addrlen;
    }
    return list;
}

static void work(struct helper_job *job)
{
    struct lookup *l = container_of(job, struct lookup, job);
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    struct addrinfo *found = NULL;
    struct address_list *list = NULL;
    char err[RESOLVE_ERROR_BYTES] = "out of memory";

    int rc = getaddrinfo(l->name, NULL, &hints, &found);
    if (rc == EAI_NONAME || rc == EAI_ADDRFAMILY || rc == EAI_BADFLAGS) {
        /* AI_ADDRCONFIG does not count loopback: without other interfaces it hides even "localhost". */
        hints.ai_flags = 0;
        rc = getaddrinfo(l->name, NULL, &hints, &found);
    }
    if (rc != 0) {
        str_copy(err, rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc), sizeof(err));
        lookup_done(l, is_temporary(rc) ? LOOKUP_FAILED : LOOKUP_NOT_FOUND, NULL, -1, err);
        return;
    }
    list = list_of(found);
    freeaddrinfo(found);
    lookup_done(l, list != NULL ? LOOKUP_FOUND : LOOKUP_FAILED, list, -1, list != NULL ? "" : err);
}

bool lookups_check(const char *resolv_conf, char *err, size_t err_size)
{
    if (resolv_conf[0] == '\0')
        return true;
    snprintf(err, err_size, "resolv_conf needs c-ares, which is not built in");
    return false;
}

bool lookups_start(const char *resolv_conf, char *err, size_t err_size)
{
    return lookups_check(resolv_conf, err, err_size);
}

/* The helpers are stopped by whoever started them. */
bool lookups_stop(int64_t wait_us)
{
    (void)wait_us;
    return true;
}

/* The library looks at the time of resolv.conf itself. */
void lookups_reload(void)
{
}

void lookup_submit(struct lookup *l)
{
    l->job = (struct helper_job){.work = work};
    helper_submit(&l->job);
}

/* The library asks for addresses only. The setting that would need more is refused. */
void soa_submit(struct soa_query *q)
{
    soa_done(q, false, 0, "c-ares is not built in");
}

const char *dial_names_method(void)
{
    return "getaddrinfo";
}
