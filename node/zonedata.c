/* The next days' offsets of the zones that devices name, read from PostgreSQL's zone data. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "node/partition_inner.h"
#include "shared/log.h"

#define ZONES_PER_ASK 32u
#define DAYS_AHEAD    15
#define READ_EVERY    ((int64_t) 12 * 3600 * (int64_t) USEC_PER_SEC)
#define READ_AGAIN    (5 * USEC_PER_SEC)
#define LOOK_EVERY    (60 * USEC_PER_SEC)

struct zonedata {
    struct partition *p;
    struct db_args args;
    unsigned asked_count; /* 0: nothing is asked */
    struct zone *asked[ZONES_PER_ASK];
    usec_t not_before;
    unsigned seen; /* of the partition's zones at the last look */
};

static bool
is_wanted(const struct zone *z, int64_t db_now)
{
    return z->read_at == 0 || db_now - z->read_at >= READ_EVERY;
}

static struct zone
read_pieces(const struct db_reply *reply, unsigned *row, int64_t ordinal)
{
    struct zone z = {.until = db_get_time(reply, 0, *row, 3)};

    for (; *row < db_rows(reply, 0) && db_get_int(reply, 0, *row, 0) == ordinal; ++*row) {
        int64_t from = db_get_time(reply, 0, *row, 1);

        if (z.piece_count == ZONE_PIECES_MAX) {
            z.until = MIN_OF(z.until, from); /* known that far; read again in time */
            continue;
        }
        z.pieces[z.piece_count++] =
            (struct zone_piece){.from = from, .offset = (int32_t) db_get_int(reply, 0, *row, 2)};
    }
    return z;
}

static void
look(void *arg, struct device *d)
{
    struct partition *p = arg;

    if (d->state == DEVICE_IDLE)
        schedule_put(p->devices, d, d->gap_ends);
}

static void
on_zones(void *arg, enum db_outcome outcome, const struct db_reply *reply)
{
    struct zonedata *z = arg;
    unsigned asked = z->asked_count, row = 0;
    bool fresh = false;
    int64_t db_now = partition_db_now(z->p, clock_boot());

    z->asked_count = 0;
    z->not_before = clock_boot() + READ_AGAIN;
    if (outcome == DB_REFUSED)
        partition_log_refused(z->p, "zones", reply);
    if (outcome != DB_DONE)
        return;
    for (unsigned n = 0; n < asked; n++) {
        z->asked[n]->read_at = db_now;
        if (row == db_rows(reply, 0) || db_get_int(reply, 0, row, 0) != n + 1) {
            log_event(LOG_LEVEL_ERROR, "zone.unknown", "partition=%s zone=%s", z->p->config.name,
                      z->asked[n]->name);
            continue;
        }
        struct zone read = read_pieces(reply, &row, n + 1);

        fresh |= z->asked[n]->piece_count == 0;
        read.name = z->asked[n]->name;
        read.read_at = db_now;
        *z->asked[n] = read;
    }
    z->not_before = 0;
    if (fresh) /* who waited for it */
        schedule_each(z->p->devices, look, z->p);
    partition_wake(z->p);
}

static unsigned
choose(struct zonedata *z, int64_t db_now)
{
    struct zones *all = z->p->zones;
    unsigned count = 0;

    for (unsigned n = 0; n < zones_count(all) && count < ZONES_PER_ASK; n++)
        if (is_wanted(zones_at(all, n), db_now))
            z->asked[count++] = zones_at(all, n);
    z->seen = zones_count(all);
    return count;
}

usec_t
zonedata_tick(struct zonedata *z, usec_t now)
{
    struct slice names[ZONES_PER_ASK];
    const struct db_call call = {.statement = STORE_ZONES, .args = &z->args};
    struct db *lane = dbpool_lane(z->p->pool, LANE_QUERY);
    unsigned count;

    if (z->asked_count > 0 || z->p->offset_at == 0 || !db_ready(lane) ||
        (z->p->state != PARTITION_LOADING && z->p->state != PARTITION_OPEN))
        return USEC_INFINITY;
    if (now < z->not_before && z->seen == zones_count(z->p->zones))
        return z->not_before;
    count = choose(z, partition_db_now(z->p, now));
    if (count == 0) {
        z->not_before = now + LOOK_EVERY;
        return z->not_before;
    }
    for (unsigned n = 0; n < count; n++)
        names[n] = (struct slice){z->asked[n]->name, strlen(z->asked[n]->name)};
    db_args_reset(&z->args);
    db_put_texts(&z->args, names, count);
    db_put_int4(&z->args, DAYS_AHEAD);
    if (db_submit(lane, &call, 1, READ_TIMEOUT, on_zones, z) == 0)
        z->asked_count = count;
    else
        z->not_before = now + READ_AGAIN;
    return z->asked_count > 0 ? USEC_INFINITY : z->not_before;
}

int
zonedata_new(struct zonedata **ret, struct partition *p)
{
    struct zonedata *z = calloc(1, sizeof(*z));
    int r = z ? db_args_init(&z->args, 16384) : -ENOMEM;

    if (r < 0) {
        free(z);
        return r;
    }
    z->p = p;
    *ret = z;
    return 0;
}

struct zonedata *
zonedata_free(struct zonedata *z)
{
    if (!z)
        return NULL;
    db_args_done(&z->args);
    free(z);
    return NULL;
}
