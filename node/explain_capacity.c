/* When what waits will be sent: each device by its own limits, added up. */
#include <string.h>

#include "node/capacity.h"
#include "node/explain.h"

/* STORE_EXPLAIN_CAPACITY: device, source, revision, step (-1: not begun), rows. By device. */
enum { DEVICE, SOURCE, REVISION, STEP, ROWS };

struct adding {
    struct explain *e;
    struct capacity_sum sum;
    struct capacity_device device;
    const struct device *d;
    int32_t device_id;
    int64_t leads;
};

static struct capacity_device
limits_of(struct explain *e, const struct device *d)
{
    struct capacity_device c = {.zone = d->zone,
                                .quiet = d->quiet,
                                .gap_ms = (d->min_delay_ms + d->max_delay_ms) / 2,
                                .daily_cap = d->daily_cap,
                                .hourly_cap = d->hourly_cap,
                                .warm_from = d->warm_from,
                                .day = d->day,
                                .hour = d->hour,
                                .held_until = d->paused_until};
    int64_t until;

    if (book_cluster_paused(e->p->book, &until))
        c.held_until = MAX_OF(c.held_until, until);
    if (d->health != 0)
        c.held_until = INT64_MAX;
    return c;
}

/* Steps that a row has before it, and how long they take at least. A source with one step has its
 * window; those of several differ. */
static unsigned
steps_left(struct capacity_device *c, const struct source *s, int16_t revision, int64_t step)
{
    const struct source_step *st =
        step < 0 ? source_next(s, revision, -1) : source_step(s, revision, (int16_t) step);
    unsigned count = 0;
    usec_t delays = 0;

    if (st && step < 0)
        delays = st->delay;
    for (; st; st = source_next(s, revision, st->step)) {
        delays += count > 0 ? st->delay : 0;
        c->window = st->window;
        count++;
    }
    if (count > 1)
        c->window = (struct content_window){0, 0};
    c->delays = MAX_OF(c->delays, delays);
    return count;
}

static void
end_device(struct adding *a)
{
    if (a->device.sends == 0)
        return;
    struct capacity_end end =
        capacity_device_end(&a->device, &a->e->p->config.warmup, a->e->db_now);

    capacity_add(&a->sum, &a->device, &end);
}

static void
add_row(struct adding *a, unsigned row)
{
    const struct db_reply *r = a->e->reply;
    int32_t id = (int32_t) db_get_int(r, 0, row, DEVICE);
    const struct source *s = book_source(a->e->p->book, (int32_t) db_get_int(r, 0, row, SOURCE));

    if (id != a->device_id) {
        end_device(a);
        a->device_id = id;
        a->d = schedule_find(a->e->p->devices, id);
        a->device = a->d ? limits_of(a->e, a->d) : (struct capacity_device){0};
    }
    if (!a->d || !s)
        return; /* it came or went this moment */
    a->leads += db_get_int(r, 0, row, ROWS);
    a->device.sends += (uint64_t) db_get_int(r, 0, row, ROWS) *
                       steps_left(&a->device, s, (int16_t) db_get_int(r, 0, row, REVISION),
                                  db_get_int(r, 0, row, STEP));
}

static struct cell
limit_words(struct explain *e, const struct capacity_sum *sum)
{
    const struct capacity_device *d = &sum->slowest;

    if (sum->devices_never > 0)
        return explain_words(e, "%s", capacity_limit_name(CAPACITY_CLOSED));
    switch (sum->devices > 0 ? sum->last.limit : CAPACITY_CLOSED) {
    case CAPACITY_GAP: return explain_words(e, "gap %.3g s", d->gap_ms / 1e3);
    case CAPACITY_HOURLY: return explain_words(e, "hourly cap %u", d->hourly_cap);
    case CAPACITY_DAILY: return explain_words(e, "daily cap %u", d->daily_cap);
    case CAPACITY_WARMUP:
    case CAPACITY_DELAYS: return explain_words(e, "%s", capacity_limit_name(sum->last.limit));
    case CAPACITY_CLOSED: break;
    }
    return explain_words(e, "%s", "");
}

void
explain_capacity(struct explain *e)
{
    struct adding a = {.e = e};

    for (unsigned row = 0; row < db_rows(e->reply, 0); row++)
        add_row(&a, row);
    end_device(&a);

    struct cell *row = explain_row(e);
    row[0] = explain_number((int64_t) a.sum.devices);
    row[1] = explain_number(a.leads);
    row[2] = explain_number((int64_t) a.sum.rate_milli);
    if (a.sum.devices > 0 && a.sum.devices_never == 0)
        row[3] = explain_time(a.sum.last.finish_at);
    row[4] = limit_words(e, &a.sum);
    row[5] = explain_number((int64_t) a.sum.devices_never);
}
