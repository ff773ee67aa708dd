/*
 * zones.c - serials of the zones of host names in use: when one has risen, its names are asked again.
 *
 * So names may be remembered for long (dns_max_ttl), at one small question per zone and period. As in
 * PgBouncer a name's zone is what comes behind its first dot. A zone whose serial nobody tells is asked again
 * after the next period, and its names follow their own lifetimes.
 *
 * Threads: the list of zones is the control thread's, which alone makes and frees them; answers come on the
 * names thread. zones_lock (a leaf) protects what both touch. A zone that is being asked for is not freed.
 * Not here: asking (resolve_cares.c), names (resolve.c).
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "base/str.h"
#include "resolve_int.h"

/* A zone is due a little early rather than a whole second late. */
#define SLACK_US (USEC_PER_SEC / 2)

struct zone {
    struct soa_query query; /* belongs to those who ask while is_running */
    /* [control thread] */
    int64_t asked_us; /* 0 = never */
    uint32_t n_names; /* in use; 0 = it is kept for its answer */
    /* [zones_lock] */
    bool is_running;
    bool is_known;  /* serial has been answered once */
    bool is_failed; /* the last answer was none */
    uint32_t serial;
    /* constant */
    char name[];
};

static struct lock zones_lock = {PTHREAD_MUTEX_INITIALIZER, LOCK_RANK_LEAF};
/* [control thread] by name */
static struct zone **zones;
static uint32_t zone_count;

const char *zone_of_name(const char *name)
{
    const char *dot = strchr(name, '.');
    return dot != NULL && dot[1] != '\0' ? dot + 1 : NULL;
}

bool zone_serial_is_newer(uint32_t serial, uint32_t than)
{
    return (int32_t)(serial - than) > 0;
}

/* ---- the answer ---- */

/* [names thread] */
void soa_done(struct soa_query *q, bool is_known, uint32_t serial, const char *err)
{
    struct zone *z = container_of(q, struct zone, query);

    lock_acquire(&zones_lock);
    uint32_t before = z->serial;
    bool was_known = z->is_known, was_failed = z->is_failed;
    /* the first one may be newer than what its names were answered */
    bool has_changed = is_known && (!was_known || zone_serial_is_newer(serial, before));
    z->is_failed = !is_known;
    z->is_known = was_known || is_known;
    if (has_changed)
        z->serial = serial;
    lock_release(&zones_lock);

    if (!is_known && !was_failed)
        log_warning("zone \"%s\": its serial could not be asked for: %s", z->name, err);
    if (has_changed && was_known)
        log_info("zone \"%s\": serial has changed from %u to %u: its host names are looked up again", z->name,
                 before, serial);
    if (has_changed)
        resolve_zone_again(z->name);

    lock_acquire(&zones_lock);
    z->is_running = false; /* from here on it may be gone */
    lock_release(&zones_lock);
}

/* ---- which zones there are ---- */

static struct zone *zone_new(const char *name)
{
    size_t size = strlen(name) + 1;
    struct zone *z = calloc(1, sizeof(*z) + size);
    if (z == NULL)
        return NULL;
    memcpy(z->name, name, size);
    z->query.zone = z->name;
    return z;
}

static bool is_running(const struct zone *z)
{
    lock_acquire(&zones_lock);
    bool running = z->is_running;
    lock_release(&zones_lock);
    return running;
}

/* Of this one, or of where it belongs. */
static uint32_t place_of(const char *name)
{
    uint32_t from = 0, to = zone_count;
    while (from < to) {
        uint32_t mid = (from + to) / 2;
        if (strcasecmp(name, zones[mid]->name) <= 0)
            to = mid;
        else
            from = mid + 1;
    }
    return from;
}

static bool insert(uint32_t place, const char *name)
{
    struct zone **more = realloc(zones, (zone_count + 1) * sizeof(*zones));
    struct zone *z = more != NULL ? zone_new(name) : NULL;

    if (more != NULL)
        zones = more;
    if (z == NULL)
        return false;
    memmove(zones + place + 1, zones + place, (zone_count - place) * sizeof(*zones));
    zones[place] = z;
    zone_count++;
    return true;
}

/* Counts a name; its zone is made when there is none. */
static void count_name(const char *name)
{
    const char *zone = zone_of_name(name);
    uint32_t place = zone != NULL ? place_of(zone) : 0;

    if (zone == NULL)
        return;
    bool is_there = place < zone_count && strcasecmp(zones[place]->name, zone) == 0;
    if (is_there || insert(place, zone)) /* without memory: the next second may have some */
        zones[place]->n_names++;
}

static void drop_unused(void)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < zone_count; i++)
        if (zones[i]->n_names > 0 || is_running(zones[i]))
            zones[kept++] = zones[i];
        else
            free(zones[i]);
    zone_count = kept;
}

static void count_names(void)
{
    uint32_t max = dial_cached_names();
    struct resolve_name *names = calloc((size_t)max + 1, sizeof(*names));

    if (names == NULL)
        return;
    uint32_t n = resolve_names_in_use(names, max);
    for (uint32_t i = 0; i < n; i++)
        count_name(names[i].text);
    free(names);
}

/* ---- asking ---- */

static void ask(struct zone *z, int64_t now_us)
{
    if (is_running(z))
        return;
    z->asked_us = now_us;
    lock_acquire(&zones_lock);
    z->is_running = true;
    lock_release(&zones_lock);
    soa_submit(&z->query);
}

void dial_zones_check(int64_t period_us)
{
    int64_t now_us = clock_now_us();

    for (uint32_t i = 0; i < zone_count; i++)
        zones[i]->n_names = 0;
    if (period_us > 0)
        count_names();
    drop_unused();
    for (uint32_t i = 0; i < zone_count; i++) {
        struct zone *z = zones[i];
        if (z->n_names > 0 && (z->asked_us == 0 || now_us + SLACK_US >= z->asked_us + period_us))
            ask(z, now_us);
    }
}

/* ---- observation, the end ---- */

uint32_t dial_zones(void)
{
    return zone_count;
}

void dial_zone_read(uint32_t i, struct dial_zone_row *row)
{
    row->name = zones[i]->name;
    row->n_names = zones[i]->n_names;
    lock_acquire(&zones_lock);
    row->serial = zones[i]->serial;
    lock_release(&zones_lock);
}

void zones_destroy(void)
{
    for (uint32_t i = 0; i < zone_count; i++)
        free(zones[i]);
    free(zones);
    zones = NULL;
    zone_count = 0;
}
