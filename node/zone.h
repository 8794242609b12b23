/*
 * zone.h - local time of a device: is a window open, when does it open, which day and hour is it.
 *
 * Pure. What is known of a zone are pieces of constant offset over the next days, as PostgreSQL's
 * zone data gave them (libc has no safe call for many zones). Instants are unix usec of the
 * database's clock. Outside of what is known nothing is guessed: a window is closed, a cap holds.
 *
 * Local days and hours are numbered on the local clock since 1970. Where the clock is set back a
 * number comes twice: who counts by it keeps the highest one that was seen, so that the doubled
 * hour has one allowance and not two.
 */
#pragma once
#include "shared/base.h"
#include "shared/clock.h"
#include "shared/content.h"

#define ZONE_PIECES_MAX 6u /* of 17 days; more end what is known earlier */
#define ZONE_NEVER      INT64_MAX

struct zone_piece {
    int64_t from;   /* from then on, until the next piece */
    int32_t offset; /* seconds east of UTC */
};
struct zone {
    int64_t read_at; /* unix usec; 0: never asked for */
    int64_t until;   /* known from pieces[0].from up to here; 0: nothing was read yet */
    unsigned piece_count;
    struct zone_piece pieces[ZONE_PIECES_MAX];
    char *name;
};

bool zone_known(const struct zone *z, int64_t at);
/* A window that may cross midnight; from == to: none, always open. False: *ret_opens is the next
 * instant at which it opens: also the end of a skipped hour in which it would have opened;
 * ZONE_NEVER when that is not known. */
bool zone_window_open(const struct zone *z, struct content_window w, int64_t at,
                      int64_t *ret_opens);
/* The complement, for quiet hours: *ret_opens is when they end. */
bool zone_window_closed(const struct zone *z, struct content_window quiet, int64_t at,
                        int64_t *ret_opens);
/* Only while zone_known. */
int32_t zone_day(const struct zone *z, int64_t at);
int32_t zone_hour(const struct zone *z, int64_t at);
/* The first instant from `at` on whose day (hour) is above that number; ZONE_NEVER: not known. */
int64_t zone_day_after(const struct zone *z, int64_t at, int32_t day);
int64_t zone_hour_after(const struct zone *z, int64_t at, int32_t hour);

/* All zones that devices of a partition name. They live until zones_free, so pointers stay good. */
struct zones;
struct zones *zones_new(void);
struct zones *zones_free(struct zones *z);
/* The one of that name, added when it is new (nothing is known of it then). NULL: no memory. */
struct zone *zones_find(struct zones *z, struct slice name);
unsigned zones_count(const struct zones *z);
struct zone *zones_at(struct zones *z, unsigned n);
