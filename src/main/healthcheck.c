/*
 * healthcheck.c - pgsluice --healthcheck: asks the running instance how it is.
 *
 * For HEALTHCHECK of an image that has no curl. Reads the same settings as the instance, so that it
 * knows where that listens. Blocks, in a process of its own.
 */
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "config/address.h"
#include "main_int.h"

#define TIMEOUT_S 3

/* A connected socket, or -1. */
static int dial(const struct address *address)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *list = NULL;
    struct timeval timeout = {.tv_sec = TIMEOUT_S};
    char port[16];
    int fd = -1;

    snprintf(port, sizeof(port), "%d", address->port);
    /* "*" listens on the loopback address too, which NULL stands for */
    if (getaddrinfo(strcmp(address->host, "*") == 0 ? NULL : address->host, port, &hints, &list) != 0)
        return -1;
    for (struct addrinfo *ai = list; ai != NULL && fd < 0; ai = ai->ai_next) {
        fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
            continue;
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)); /* also of connect() */
        if (connect(fd, ai->ai_addr, ai->ai_addrlen) != 0) {
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(list);
    return fd;
}

/* The answer as far as it fits, with a NUL; false when none came. */
static bool ask(int fd, const char *path, char *answer, size_t size)
{
    char request[128];
    size_t have = 0;
    ssize_t n;
    int len = snprintf(request, sizeof(request), "GET %s HTTP/1.0\r\n\r\n", path);

    if (send(fd, request, (size_t)len, MSG_NOSIGNAL) != len)
        return false;
    while (have < size - 1 && (n = recv(fd, answer + have, size - 1 - have, 0)) > 0)
        have += (size_t)n;
    answer[have] = '\0';
    return have > 0;
}

int healthcheck(const struct config *cfg, const char *path)
{
    const char *at = config_settings(cfg)->http_listen;
    struct address address;
    char answer[4096];

    if (address_next(&at, &address) != ADDRESS_OK) {
        fprintf(stderr, "http_listen is empty: there is nobody to ask\n");
        return 1;
    }
    int fd = dial(&address);
    if (fd < 0 || !ask(fd, path, answer, sizeof(answer))) {
        fprintf(stderr, "no answer from %s port %d\n", address.host, address.port);
        if (fd >= 0)
            close(fd);
        return 1;
    }
    close(fd);
    const char *body = strstr(answer, "\r\n\r\n");
    bool is_ok = strncmp(answer, "HTTP/1.1 200 ", 13) == 0;
    fprintf(is_ok ? stdout : stderr, "%s", body != NULL ? body + 4 : "this is no answer of pgsluice\n");
    return is_ok ? 0 : 1;
}
