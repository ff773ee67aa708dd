/*
 * address.h - lists of addresses with ports, as http_listen has them.
 *
 * Pure: text in, addresses out.
 */
#ifndef CONFIG_ADDRESS_H
#define CONFIG_ADDRESS_H

#include <stdbool.h>

#include "base/compiler.h"

#define ADDRESS_HOST_BYTES 256

struct address {
    char host[ADDRESS_HOST_BYTES]; /* name or number without brackets; "*" for all addresses */
    int port;                      /* 1..65535 */
};

enum address_result { ADDRESS_OK, ADDRESS_END, ADDRESS_ERR };

/*
 * The next entry of a comma-separated list, and moves *at behind it: "PORT" (which is 127.0.0.1:PORT, so that
 * nobody opens a port to the world by leaving something out), "HOST:PORT", "[IPV6]:PORT", "*:PORT".
 */
enum address_result address_next(const char **at, struct address *out) must_check;

#endif
