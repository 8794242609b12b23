/* Allowances: what a send counts in, and blocks that the rows must have before it. */
#include <stdlib.h>

#include "node/sender_inner.h"

void
reserve_count(struct slot *slot, int64_t db_at)
{
    struct sender *s = slot->sender;
    struct device *d = slot->device;
    bool block = false;

    slot->day = slot->hour = QUOTA_UNIT_NONE;
    if (pace_has_day_limit(d)) {
        int32_t day = zone_day(d->zone, db_at);

        slot->day_was = day > d->day.unit ? 0 : d->day.reserved;
        block |= quota_take(&d->day, day, pace_day_limit(d, &s->p->config.warmup, day));
        slot->day = d->day.unit;
    }
    if (d->hourly_cap > 0) {
        int32_t hour = zone_hour(d->zone, db_at);

        slot->hour_was = hour > d->hour.unit ? 0 : d->hour.reserved;
        block |= quota_take(&d->hour, hour, pace_hour_limit(d));
        slot->hour = d->hour.unit;
    }
    if (block)
        s->parts[PART_RESERVE].slots[s->parts[PART_RESERVE].count++] = slot;
}

void
reserve_uncount(struct slot *slot)
{
    if (!slot->device)
        return;
    quota_give(&slot->device->day, slot->day);
    quota_give(&slot->device->hour, slot->hour);
    slot->day = slot->hour = QUOTA_UNIT_NONE; /* once */
}

/* A device has one slot that is being claimed, so nothing else changed what it reserved. */
void
reserve_undone(struct sender *s)
{
    struct slot_list *list = &s->parts[PART_RESERVE];

    for (unsigned i = 0; i < list->count; i++) {
        struct slot *slot = list->slots[i];
        struct device *d = slot->device;

        if (slot->day != QUOTA_UNIT_NONE && d->day.unit == slot->day)
            d->day.reserved = slot->day_was;
        if (slot->hour != QUOTA_UNIT_NONE && d->hour.unit == slot->hour)
            d->hour.reserved = slot->hour_was;
    }
}

bool
reserve_still(const struct slot *slot, int64_t db_now)
{
    const struct zone *z = slot->device->zone;

    if (slot->day == QUOTA_UNIT_NONE && slot->hour == QUOTA_UNIT_NONE)
        return true;
    return zone_known(z, db_now) &&
           (slot->day == QUOTA_UNIT_NONE || zone_day(z, db_now) <= slot->day) &&
           (slot->hour == QUOTA_UNIT_NONE || zone_hour(z, db_now) <= slot->hour);
}

/* Day and hour stand in one row: both are written, as reserved or as used. */
static void
put_device(struct columns *c, unsigned i, const struct device *d, bool used)
{
    c->device_id[i] = d->device_id;
    c->n[i] = MAX_OF(d->day.unit, 0); /* none was counted: 1970 */
    c->source_id[i] = (int32_t) (used ? d->day.used : d->day.reserved);
    c->at[i] = quota_hour_time(d->hour.unit);
    c->lead_no[i] = (int32_t) (used ? d->hour.used : d->hour.reserved);
}

static void
put_columns(struct sender *s, unsigned n)
{
    struct columns *c = &s->columns;
    struct db_args *a = &s->args[PART_RESERVE];

    db_put_int8(a, (int64_t) s->p->epoch);
    db_put_int4s(a, c->device_id, n);
    db_put_int4s(a, c->n, n);
    db_put_int4s(a, c->source_id, n);
    db_put_times(a, c->at, n);
    db_put_int4s(a, c->lead_no, n);
}

void
reserve_encode(struct sender *s)
{
    struct slot_list *list = &s->parts[PART_RESERVE];

    for (unsigned i = 0; i < list->count; i++)
        put_device(&s->columns, i, list->slots[i]->device, false);
    put_columns(s, list->count);
}

/* ---- a clean stop ---- */

static bool
has_left(const struct device *d)
{
    return d->day.used < d->day.reserved || d->hour.used < d->hour.reserved;
}

static void
count_left(void *arg, struct device *d)
{
    *(unsigned *) arg += has_left(d);
}

static void
list_left(void *arg, struct device *d)
{
    struct sender *s = arg;

    if (has_left(d))
        s->giving[s->giving_count++] = d;
}

static void give_page(struct sender *s);

static void
on_given(void *arg, enum db_outcome outcome, const struct db_reply *reply)
{
    struct sender *s = arg;

    if (outcome == DB_REFUSED)
        partition_log_refused(s->p, "give_back", reply);
    if (outcome != DB_DONE)
        s->giving_at = s->giving_count; /* it counts as used */
    give_page(s);
}

static void
give_page(struct sender *s)
{
    const struct db_call calls[] = {{.statement = STORE_LOCK_SHARED},
                                    {.statement = STORE_GIVE_BACK, .args = &s->args[PART_RESERVE]}};
    unsigned n = MIN_OF(s->giving_count - s->giving_at, CLAIM_BATCH_MAX);

    for (unsigned i = 0; i < n; i++)
        put_device(&s->columns, i, s->giving[s->giving_at + i], true);
    s->giving_at += n;
    db_args_reset(&s->args[PART_RESERVE]);
    put_columns(s, n);
    if (n == 0 || db_submit(partition_tick_lane(s->p), calls, ARRAY_SIZE(calls),
                            s->p->config.timing.commit, on_given, s) < 0)
        s->given(s->p);
}

void
sender_give_back(struct partition *p, void (*done)(struct partition *p))
{
    struct sender *s = p->sender;
    unsigned count = 0;

    s->given = done;
    schedule_each(p->devices, count_left, &count);
    s->giving = count > 0 ? calloc(count, sizeof(struct device *)) : NULL;
    if (s->giving)
        schedule_each(p->devices, list_left, s);
    give_page(s);
}
