/*
 * errors.h - process-wide counts of why connections ended and of the errors that
 * servers sent, by SQLSTATE class.
 *
 * Threads: one row per writer (a worker, or the control thread), relaxed; any thread sums.
 */
#ifndef STATS_ERRORS_H
#define STATS_ERRORS_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/compiler.h"
#include "stats/close_reason.h"
#include "stats/counters.h"

#define STATS_ERRORS_CONTROL 64 /* the control thread's row; workers are 0..63 */
#define STATS_ERRORS_WRITERS 65

/* The classes of PostgreSQL's appendix A; what is not among them counts as OTHER. X(CODE, text) */
#define SQLSTATE_CLASS_LIST(X)                                                                               \
    X(00, "successful completion")                                                                           \
    X(01, "warning")                                                                                         \
    X(02, "no data")                                                                                         \
    X(03, "SQL statement not yet complete")                                                                  \
    X(08, "connection exception")                                                                            \
    X(09, "triggered action exception")                                                                      \
    X(0A, "feature not supported")                                                                           \
    X(0B, "invalid transaction initiation")                                                                  \
    X(0F, "locator exception")                                                                               \
    X(0L, "invalid grantor")                                                                                 \
    X(0P, "invalid role specification")                                                                      \
    X(0Z, "diagnostics exception")                                                                           \
    X(20, "case not found")                                                                                  \
    X(21, "cardinality violation")                                                                           \
    X(22, "data exception")                                                                                  \
    X(23, "integrity constraint violation")                                                                  \
    X(24, "invalid cursor state")                                                                            \
    X(25, "invalid transaction state")                                                                       \
    X(26, "invalid SQL statement name")                                                                      \
    X(27, "triggered data change violation")                                                                 \
    X(28, "invalid authorization specification")                                                             \
    X(2B, "dependent privilege descriptors still exist")                                                     \
    X(2D, "invalid transaction termination")                                                                 \
    X(2F, "SQL routine exception")                                                                           \
    X(34, "invalid cursor name")                                                                             \
    X(38, "external routine exception")                                                                      \
    X(39, "external routine invocation exception")                                                           \
    X(3B, "savepoint exception")                                                                             \
    X(3D, "invalid catalog name")                                                                            \
    X(3F, "invalid schema name")                                                                             \
    X(40, "transaction rollback")                                                                            \
    X(42, "syntax error or access rule violation")                                                           \
    X(44, "WITH CHECK OPTION violation")                                                                     \
    X(53, "insufficient resources")                                                                          \
    X(54, "program limit exceeded")                                                                          \
    X(55, "object not in prerequisite state")                                                                \
    X(57, "operator intervention")                                                                           \
    X(58, "system error")                                                                                    \
    X(72, "snapshot failure")                                                                                \
    X(F0, "configuration file error")                                                                        \
    X(HV, "foreign data wrapper error")                                                                      \
    X(P0, "PL/pgSQL error")                                                                                  \
    X(XX, "internal error")

enum sqlstate_class {
    SQLSTATE_CLASS_OTHER,
#define SQLSTATE_CLASS_ENUM(code, text) SQLSTATE_CLASS_##code,
    SQLSTATE_CLASS_LIST(SQLSTATE_CLASS_ENUM)
#undef SQLSTATE_CLASS_ENUM
        SQLSTATE_CLASSES
};

struct stats_errors_row {
    _Atomic uint64_t closes[CLOSE_REASONS];
    _Atomic uint64_t sqlstates[SQLSTATE_CLASSES];
    char padding[64]; /* rows of two workers share no cache line */
};

/* All zero is valid. */
struct stats_errors {
    struct stats_errors_row rows[STATS_ERRORS_WRITERS];
};

struct stats_errors_sum {
    uint64_t closes[CLOSE_REASONS];
    uint64_t sqlstates[SQLSTATE_CLASSES];
};

static inline void stats_errors_count_close(struct stats_errors *e, uint32_t writer, enum close_reason reason)
{
    counter_add(&e->rows[writer].closes[reason], 1);
}

/* sqlstate: five characters (no NUL needed) of an ErrorResponse of a server. */
void stats_errors_count_sqlstate(struct stats_errors *e, uint32_t writer, const char *sqlstate);
/* sum = all writers. Any thread. */
void stats_errors_sum(const struct stats_errors *e, struct stats_errors_sum *sum);

/* Class of a SQLSTATE, from its first two characters. */
enum sqlstate_class sqlstate_class_find(const char *sqlstate) must_check;
/* "40"; "other". */
const char *sqlstate_class_code(enum sqlstate_class c) must_check;
/* "transaction rollback" */
const char *sqlstate_class_text(enum sqlstate_class c) must_check;

#endif
