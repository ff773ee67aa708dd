/*
 * str.c - strings: numbers, nearest names. Threads: any.
 */
#include <string.h>

#include "base/str.h"

#define DISTANCE_MAX_LEN 64

size_t str_copy(char *dst, const char *src, size_t size)
{
    size_t len = strlen(src);
    if (size > 0) {
        size_t n = len < size ? len : size - 1;
        memcpy(dst, src, n);
        dst[n] = '\0';
    }
    return len;
}

bool str_to_int64(const char *s, int64_t *value)
{
    bool is_negative = *s == '-';
    int64_t v = 0;
    if (*s == '-' || *s == '+')
        s++;
    if (*s == '\0')
        return false;
    for (; *s != '\0'; s++) {
        if (*s < '0' || *s > '9')
            return false;
        /* Built on the negative side, which is the one that holds INT64_MIN. */
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_sub_overflow(v, *s - '0', &v))
            return false;
    }
    if (!is_negative && __builtin_sub_overflow((int64_t)0, v, &v))
        return false;
    *value = v;
    return true;
}

/* ASCII only: the locale must not change what a name in a file means. */
static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static int min3(int a, int b, int c)
{
    int m = a < b ? a : b;
    return m < c ? m : c;
}

int str_distance(const char *a, const char *b)
{
    /* Optimal string alignment; only the last three rows of the matrix are kept. */
    int rows[3][DISTANCE_MAX_LEN + 1];
    int *before = rows[0], *previous = rows[1], *row = rows[2];
    int na = (int)strnlen(a, DISTANCE_MAX_LEN), nb = (int)strnlen(b, DISTANCE_MAX_LEN);

    for (int j = 0; j <= nb; j++)
        previous[j] = before[j] = j;
    for (int i = 1; i <= na; i++) {
        row[0] = i;
        for (int j = 1; j <= nb; j++) {
            char ca = lower(a[i - 1]), cb = lower(b[j - 1]);
            row[j] = min3(previous[j] + 1, row[j - 1] + 1, previous[j - 1] + (ca != cb));
            if (i > 1 && j > 1 && ca == lower(b[j - 2]) && lower(a[i - 2]) == cb &&
                before[j - 2] + 1 < row[j])
                row[j] = before[j - 2] + 1;
        }
        int *oldest = before;
        before = previous;
        previous = row;
        row = oldest;
    }
    return previous[nb];
}

const char *str_nearest(const char *s, const char *const *names, size_t n)
{
    /* One mistake in three characters: beyond that a suggestion confuses more than it helps. */
    int best = ((int)strnlen(s, DISTANCE_MAX_LEN) + 2) / 3;
    const char *nearest = NULL;
    for (size_t i = 0; i < n; i++) {
        int distance = str_distance(s, names[i]);
        bool has_common_part = distance < (int)strnlen(names[i], DISTANCE_MAX_LEN);
        if (has_common_part && (distance < best || (distance == best && nearest == NULL))) {
            best = distance;
            nearest = names[i];
        }
    }
    return nearest;
}

bool str_has_prefix(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}
