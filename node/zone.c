/* Local time from pieces of constant offset; and the zones that devices name. */
#include "node/zone.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define MINUTE ((int64_t) (60 * USEC_PER_SEC))
#define HOUR   ((int64_t) (3600 * USEC_PER_SEC))
#define DAY    ((int64_t) (86400 * USEC_PER_SEC))

static int64_t
floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

bool
zone_known(const struct zone *z, int64_t at)
{
    return z->piece_count > 0 && at >= z->pieces[0].from && at < z->until;
}

static unsigned
piece_at(const struct zone *z, int64_t at)
{
    unsigned n = z->piece_count - 1;

    assert(zone_known(z, at));
    while (z->pieces[n].from > at)
        n--;
    return n;
}

static int64_t
piece_end(const struct zone *z, unsigned n)
{
    return n + 1 < z->piece_count ? z->pieces[n + 1].from : z->until;
}

static int64_t
offset_of(const struct zone *z, unsigned n)
{
    return z->pieces[n].offset * (int64_t) USEC_PER_SEC;
}

/* ---- windows ---- */

static bool
inside(struct content_window w, int64_t local)
{
    int64_t minute = floor_div(local, MINUTE) - floor_div(local, DAY) * (DAY / MINUTE);

    if (w.from < w.to)
        return minute >= w.from && minute < w.to;
    return minute >= w.from || minute < w.to;
}

/* The first instant from `at` on that is inside: the window's begin by the local clock, or the
 * change of the clock that skipped it. */
static int64_t
next_inside(const struct zone *z, struct content_window w, int64_t at)
{
    for (unsigned n = piece_at(z, at); n < z->piece_count; n++) {
        int64_t from = MAX_OF(at, z->pieces[n].from), local = from + offset_of(z, n);
        int64_t begin = floor_div(local, DAY) * DAY + w.from * MINUTE;

        if (inside(w, local))
            return from;
        if (begin < local)
            begin += DAY;
        if (begin - offset_of(z, n) < piece_end(z, n))
            return begin - offset_of(z, n);
    }
    return ZONE_NEVER;
}

bool
zone_window_open(const struct zone *z, struct content_window w, int64_t at, int64_t *ret_opens)
{
    int64_t next;

    if (w.from == w.to)
        return true;
    next = zone_known(z, at) ? next_inside(z, w, at) : ZONE_NEVER;
    if (next == at)
        return true;
    *ret_opens = next;
    return false;
}

bool
zone_window_closed(const struct zone *z, struct content_window quiet, int64_t at,
                   int64_t *ret_opens)
{
    const struct content_window rest = {.from = quiet.to, .to = quiet.from};

    return !zone_window_open(z, rest, at, ret_opens);
}

/* ---- days and hours ---- */

static int32_t
number_at(const struct zone *z, int64_t at, int64_t unit)
{
    return (int32_t) floor_div(at + offset_of(z, piece_at(z, at)), unit);
}

static int64_t
after(const struct zone *z, int64_t at, int32_t number, int64_t unit)
{
    if (!zone_known(z, at))
        return ZONE_NEVER;
    for (unsigned n = piece_at(z, at); n < z->piece_count; n++) {
        int64_t from = MAX_OF(at, z->pieces[n].from);
        int64_t begin = (number + (int64_t) 1) * unit - offset_of(z, n);

        if (begin < piece_end(z, n))
            return MAX_OF(begin, from);
    }
    return ZONE_NEVER;
}

int32_t
zone_day(const struct zone *z, int64_t at)
{
    return number_at(z, at, DAY);
}

int32_t
zone_hour(const struct zone *z, int64_t at)
{
    return number_at(z, at, HOUR);
}

int64_t
zone_day_after(const struct zone *z, int64_t at, int32_t day)
{
    return after(z, at, day, DAY);
}

int64_t
zone_hour_after(const struct zone *z, int64_t at, int32_t hour)
{
    return after(z, at, hour, HOUR);
}

/* ---- the zones of a partition ---- */

struct zones {
    struct zone **list;
    unsigned count, capacity;
};

struct zones *
zones_new(void)
{
    return calloc(1, sizeof(struct zones));
}

struct zones *
zones_free(struct zones *z)
{
    if (!z)
        return NULL;
    for (unsigned n = 0; n < z->count; n++) {
        free(z->list[n]->name);
        free(z->list[n]);
    }
    free(z->list);
    free(z);
    return NULL;
}

static bool
grow(struct zones *z)
{
    unsigned capacity = MAX_OF(z->capacity * 2, 16u);
    struct zone **list = realloc(z->list, capacity * sizeof(*list));

    if (!list)
        return false;
    z->list = list;
    z->capacity = capacity;
    return true;
}

/* Some hundred at most, and the last one that was asked for is likely the next. */
struct zone *
zones_find(struct zones *z, struct slice name)
{
    struct zone *zone;

    for (unsigned n = z->count; n-- > 0;)
        if (strlen(z->list[n]->name) == name.bytes &&
            memcmp(z->list[n]->name, name.data, name.bytes) == 0)
            return z->list[n];
    if (z->count == z->capacity && !grow(z))
        return NULL;
    zone = calloc(1, sizeof(*zone));
    if (zone)
        zone->name = strndup(name.data, name.bytes);
    if (!zone || !zone->name) {
        free(zone);
        return NULL;
    }
    z->list[z->count++] = zone;
    return zone;
}

unsigned
zones_count(const struct zones *z)
{
    return z->count;
}

struct zone *
zones_at(struct zones *z, unsigned n)
{
    return z->list[n];
}
