/*
 * log_int.h - between log.c (formatting, ring, writer thread) and log_sink.c (outputs).
 */
#ifndef BASE_LOG_INT_H
#define BASE_LOG_INT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"

#define LOG_LINE_MAX 2048 /* bytes, with the newline */

/* One formatted line; its bytes end with a newline and contain no other control character. */
struct log_record {
    uint16_t len;
    uint8_t level;       /* enum log_level */
    uint8_t text_offset; /* where the text begins, behind time, pid and level */
};

/* As log_configure(); makes no call that a stalled output could block. */
bool log_sink_configure(const struct log_config *c) must_check;
/*
 * Writes count lines, which lie in text one behind the other, to all outputs. May block.
 * Returns how many lines some output had to drop.
 */
uint32_t log_sink_write(const char *text, const struct log_record *records, uint32_t count) must_check;
/* Until when a stalled stderr may be waited for (monotonic); 0: without end. */
void log_sink_set_deadline(int64_t deadline_us);

#endif
