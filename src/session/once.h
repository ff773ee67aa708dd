/*
 * once.h - log lines that are to be said once for each pair of application and reason.
 */
#ifndef ONCE_H
#define ONCE_H

#include <stdbool.h>

#include "base/compiler.h"

/* True the first time, in this process, for these two. False also when there have been too many of them. Any
 * thread. */
bool once(const char *application, const char *reason) must_check;

#endif
