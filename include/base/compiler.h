/*
 * compiler.h - attributes and small macros that every file may use.
 */
#ifndef BASE_COMPILER_H
#define BASE_COMPILER_H

#include <assert.h>
#include <stddef.h>

#define must_check                    __attribute__((warn_unused_result))
#define only_for_checks               __attribute__((unused)) /* what only debug_assert() looks at */
#define printf_like(f, a)             __attribute__((format(printf, f, a)))
#define no_return                     __attribute__((noreturn))
#define hot_path                      __attribute__((hot))  /* of every transaction: placed together */
#define cold_path                     __attribute__((cold)) /* what leads to it is placed out of the way */
#define likely(x)                     __builtin_expect(!!(x), 1)
#define unlikely(x)                   __builtin_expect(!!(x), 0)
#define ARRAY_SIZE(a)                 (sizeof(a) / sizeof((a)[0]))
#define container_of(p, type, member) ((type *)((char *)(p)-offsetof(type, member)))

/* An invariant that is checked in debug builds (configure --enable-debug). */
#ifdef PGSLUICE_DEBUG
#define debug_assert(x) assert(x)
#else
#define debug_assert(x) ((void)sizeof(!(x)))
#endif

#endif
