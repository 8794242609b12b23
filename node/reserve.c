/* Allowances: what a send counts in, and blocks that the rows must have before it. */
#include "node/pace.h"
#include "node/sender_inner.h"

#define HOUR ((int64_t) (3600 * USEC_PER_SEC))

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

int64_t
reserve_hour(int32_t hour)
{
    return hour == QUOTA_UNIT_NONE ? INT64_MIN : hour * HOUR;
}

/* Day and hour stand in one row: both are written as they are. */
void
reserve_encode(struct sender *s)
{
    struct slot_list *list = &s->parts[PART_RESERVE];
    struct columns *c = &s->columns;
    struct db_args *a = &s->args[PART_RESERVE];
    unsigned n = list->count;

    for (unsigned i = 0; i < n; i++) {
        const struct device *d = list->slots[i]->device;

        c->device_id[i] = d->device_id;
        c->n[i] = MAX_OF(d->day.unit, RESERVE_DAY_MIN);
        c->source_id[i] = (int32_t) d->day.reserved;
        c->at[i] = reserve_hour(d->hour.unit);
        c->lead_no[i] = (int32_t) d->hour.reserved;
    }
    db_put_int8(a, (int64_t) s->p->epoch);
    db_put_int4s(a, c->device_id, n);
    db_put_int4s(a, c->n, n);
    db_put_int4s(a, c->source_id, n);
    db_put_times(a, c->at, n);
    db_put_int4s(a, c->lead_no, n);
}
