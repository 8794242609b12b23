/* Reads devices' next rows into their lists, one class and one query at a time. */
#include <assert.h>
#include <stdlib.h>

#include "node/audience_inner.h"

#define SOURCE_BYTES 8u /* of an int4 in an array */

/* A class with rows that memory does not hold, and few that it does. */
bool
fill_wanted(const struct audience *a, const struct device *d, int64_t db_now,
            enum device_class *ret_class)
{
    for (enum device_class c = CLASS_DIRECT; c < CLASS_COUNT; c++) {
        unsigned sources;

        if (!device_wants_fill(d, c, db_now))
            continue;
        book_active(a->p->book, c, &sources);
        if (sources == 0)
            continue;
        *ret_class = c;
        return true;
    }
    return false;
}

/* The rows of the class behind its horizon; from the start when nothing is known, or when rows that
 * were held back reopen. */
static void
add_device(struct audience *a, struct device *d, int64_t db_now)
{
    struct fill *f = &a->fill;
    struct entry_list *l = &d->lists[f->class];
    unsigned n = f->count++;

    if (l->reopens != 0 && l->reopens <= db_now)
        device_rewind(d, f->class);
    d->filling = true;
    d->fill_again = false;
    f->ids[n] = d->device_id;
    f->size[n] = (int32_t) device_fill_size(d, f->class);
    f->due[n] = l->horizon;
    f->source_id[n] = l->horizon == 0 ? INT32_MIN : l->horizon_source;
    f->lead_no[n] = l->horizon == 0 ? 0 : abs(l->horizon_lead); /* by size, as the rows */
}

static void
gather(struct audience *a)
{
    struct fill *f = &a->fill;
    int64_t db_now = partition_db_now(a->p, clock_boot());
    uint32_t left = f->queue.count;

    f->count = 0;
    while (left-- > 0 && f->count < FILL_DEVICES_MAX) {
        struct device *d = queue_pop(a, &f->queue);
        enum device_class class;

        if (!d)
            continue;
        if (!fill_wanted(a, d, db_now, &class)) {
            d->fill_queued = false;
            audience_look(a, d);
            continue;
        }
        if (d->transactions > 0 || (f->count > 0 && class != f->class)) {
            queue_put(&f->queue, d->device_id); /* there was room: it came from it */
            continue;
        }
        f->class = class;
        add_device(a, d, db_now);
    }
}

/*
 * The rows of device `id` from `row` on; answers the first row behind them. *ret_last is the last
 * one read; rows that may not be sent (of a revision that is being left) are read and not kept.
 */
static unsigned
read_rows(struct audience *a, const struct db_reply *reply, unsigned row, int32_t id,
          unsigned *ret_count, unsigned *ret_read, struct entry *ret_last)
{
    unsigned n = 0, read = 0;

    for (; row < db_rows(reply, 0) && (int32_t) db_get_int(reply, 0, row, 0) == id; row++) {
        assert(n < FILL_ENTRIES_MAX);
        *ret_last = (struct entry){.source_id = (int32_t) db_get_int(reply, 0, row, 1),
                                   .lead_no = (int32_t) db_get_int(reply, 0, row, 2),
                                   .step = (int16_t) db_get_int(reply, 0, row, 3),
                                   .attempt = (int16_t) db_get_int(reply, 0, row, 4),
                                   .due = db_get_time(reply, 0, row, 5),
                                   .revision = (int16_t) db_get_int(reply, 0, row, 6)};
        read++;
        if (!book_skips(a->p->book, ret_last))
            a->fill.rows[n++] = *ret_last;
    }
    *ret_count = n;
    *ret_read = read;
    return row;
}

/* Of devices that are read for the first time. */
static void
take_live(struct audience *a, const struct db_reply *reply)
{
    for (unsigned row = 0; row < db_rows(reply, 1); row++) {
        struct device *d = schedule_find(a->p->devices, (int32_t) db_get_int(reply, 1, row, 0));

        if (!d || d->fill_again)
            continue;
        audience_live(a->p, d, db_get_int(reply, 1, row, 1) - (int64_t) d->live);
        d->live_known = true;
    }
}

static void
take_filled(struct audience *a, const struct db_reply *reply)
{
    struct fill *f = &a->fill;
    unsigned row = 0, count, read;

    for (unsigned i = 0; i < f->count; i++) {
        struct device *d = schedule_find(a->p->devices, f->ids[i]);
        struct entry last;

        /* Devices come in the order in which they were asked for: a nested loop, never another. */
        row = read_rows(a, reply, row, f->ids[i], &count, &read, &last);
        if (!d || d->fill_again)
            continue; /* overtaken: what was read may be older than memory */
        if (device_fill(d, f->class, f->rows, count, read < (unsigned) f->size[i] ? NULL : &last) <
            0)
            continue; /* no memory: asked again */
        audience_joined(a, d);
    }
    assert(row == db_rows(reply, 0));
}

static void
on_filled(void *arg, enum db_outcome outcome, const struct db_reply *reply)
{
    struct audience *a = arg;
    struct fill *f = &a->fill;

    f->asked = false;
    a->p->meter.fills++;
    if (f->round != a->round)
        return;
    if (outcome == DB_REFUSED)
        partition_log_refused(a->p, "fill", reply);
    if (outcome == DB_DONE) {
        take_live(a, reply);
        take_filled(a, reply);
    } else
        f->not_before = clock_boot() + AUDIENCE_AGAIN;
    for (unsigned i = 0; i < f->count; i++) {
        struct device *d = schedule_find(a->p->devices, f->ids[i]);

        if (!d)
            continue;
        d->filling = d->fill_again = d->fill_queued = false;
        audience_look(a, d);
    }
    partition_wake(a->p);
}

static void
encode(struct audience *a)
{
    struct fill *f = &a->fill;
    int32_t fresh[FILL_DEVICES_MAX];
    unsigned sources, fresh_count = 0;
    const int32_t *active = book_active(a->p->book, f->class, &sources);

    db_args_reset(&f->args);
    db_put_int4s(&f->args, f->ids, f->count);
    db_put_int4s(&f->args, f->size, f->count);
    db_put_times(&f->args, f->due, f->count);
    db_put_int4s(&f->args, f->source_id, f->count);
    db_put_int4s(&f->args, f->lead_no, f->count);
    db_put_int4s(&f->args, active, MIN_OF(sources, CONTENT_STORED_MAX));
    for (unsigned i = 0; i < f->count; i++)
        if (!schedule_find(a->p->devices, f->ids[i])->live_known)
            fresh[fresh_count++] = f->ids[i];
    db_args_reset(&f->live_args);
    db_put_int4s(&f->live_args, fresh, fresh_count);
}

usec_t
fill_tick(struct audience *a, usec_t now)
{
    struct fill *f = &a->fill;
    const struct db_call calls[] = {{.statement = STORE_FILL, .args = &f->args},
                                    {.statement = STORE_LIVE, .args = &f->live_args}};

    if (f->asked || f->queue.count == 0)
        return USEC_INFINITY;
    if (now < f->not_before)
        return f->not_before;
    gather(a);
    if (f->count == 0) {
        f->not_before = now + a->p->config.timing.tick; /* all of them are in a transaction */
        return f->queue.count ? f->not_before : USEC_INFINITY;
    }
    encode(a);
    f->round = a->round;
    f->asked = db_submit(dbpool_lane(a->p->pool, LANE_FILL), calls, ARRAY_SIZE(calls), READ_TIMEOUT,
                         on_filled, a) == 0;
    if (f->asked)
        return USEC_INFINITY;
    for (unsigned i = 0; i < f->count; i++) {
        struct device *d = schedule_find(a->p->devices, f->ids[i]);

        d->filling = false;
        queue_put(&f->queue, d->device_id);
    }
    f->not_before = now + AUDIENCE_AGAIN;
    return f->not_before;
}

int
fill_new(struct fill *f)
{
    int r =
        db_args_init(&f->args, FILL_DEVICES_MAX * 64u + CONTENT_STORED_MAX * SOURCE_BYTES + 512);

    return r < 0 ? r : db_args_init(&f->live_args, FILL_DEVICES_MAX * 8u + 64u);
}

void
fill_done(struct fill *f)
{
    db_args_done(&f->args);
    db_args_done(&f->live_args);
    free(f->queue.ids);
}
