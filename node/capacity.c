/* A device's days ahead, hour by hour where they differ, at once where they do not. */
#include "node/capacity.h"

#define MINUTE     ((int64_t) (60 * USEC_PER_SEC))
#define HOUR       ((int64_t) (3600 * USEC_PER_SEC))
#define DAY        ((int64_t) (86400 * USEC_PER_SEC))
#define YEARS_DAYS 36500 /* who needs longer never ends */

struct walk {
    const struct capacity_device *d;
    const struct warmup *w;
    int64_t local; /* now, on the local clock */
    int64_t offset;
    uint64_t left;
    uint64_t day_used;
    int64_t ready, last; /* the gap's end; the last send */
    bool hourly_bound;
};

static int64_t
floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

/* Of the zone at that instant, as far as it is known. */
static int64_t
offset_at(const struct zone *z, int64_t at)
{
    unsigned n = 0;

    if (z->piece_count == 0)
        return 0;
    while (n + 1 < z->piece_count && z->pieces[n + 1].from <= at)
        n++;
    return z->pieces[n].offset * (int64_t) USEC_PER_SEC;
}

static bool
inside(struct content_window w, int64_t minute)
{
    if (w.from < w.to)
        return minute >= w.from && minute < w.to;
    return minute >= w.from || minute < w.to;
}

static bool
may_send(const struct capacity_device *d, int64_t minute)
{
    return !(d->quiet.from != d->quiet.to && inside(d->quiet, minute)) &&
           (d->window.from == d->window.to || inside(d->window, minute));
}

static uint32_t
day_limit(const struct walk *k)
{
    uint32_t warm = warmup_limit(k->w, k->d->warm_from, (int32_t) floor_div(k->local, DAY));

    return k->d->daily_cap > 0 ? MIN_OF(warm, k->d->daily_cap) : warm;
}

/* The next minute from `minute` on, before `end`, at which a window begins or ends. */
static int64_t
next_edge(const struct capacity_device *d, int64_t minute, int64_t end)
{
    const int64_t day = floor_div(minute, DAY / MINUTE) * (DAY / MINUTE);
    const int64_t edges[] = {d->quiet.from, d->quiet.to, d->window.from, d->window.to};

    for (size_t n = 0; n < ARRAY_SIZE(edges); n++)
        if (day + edges[n] > minute)
            end = MIN_OF(end, day + edges[n]);
    return end;
}

/* Sends of an open span that ends at `end`, within the hour's and the day's allowance. */
static void
walk_span(struct walk *k, int64_t end, uint64_t day_left, uint64_t *hour_used)
{
    int64_t gap = MAX_OF(k->d->gap_ms, 1u) * (int64_t) USEC_PER_MSEC;
    int64_t at = MAX_OF(k->local, k->ready);
    uint64_t count = at < end ? (uint64_t) ((end - 1 - at) / gap) + 1 : 0;

    if (k->d->hourly_cap > 0 && *hour_used + count > k->d->hourly_cap) {
        k->hourly_bound = true;
        count = k->d->hourly_cap > *hour_used ? k->d->hourly_cap - *hour_used : 0;
    }
    count = MIN_OF(MIN_OF(count, day_left), k->left);
    if (count == 0)
        return;
    k->last = at + (int64_t) (count - 1) * gap;
    k->ready = k->last + gap;
    k->left -= count;
    k->day_used += count;
    *hour_used += count;
}

/* Sends as many as the rest of this hour takes. True: all are sent. */
static bool
walk_hour(struct walk *k, uint64_t hour_used)
{
    int64_t end = (floor_div(k->local, HOUR) + 1) * HOUR;
    uint64_t limit = day_limit(k);

    while (k->local < end && k->left > 0) {
        int64_t minute = floor_div(k->local, MINUTE);
        int64_t edge = next_edge(k->d, minute, end / MINUTE) * MINUTE;

        if (k->day_used < limit &&
            may_send(k->d, minute - floor_div(k->local, DAY) * (DAY / MINUTE)))
            walk_span(k, edge, limit - k->day_used, &hour_used);
        k->local = edge;
    }
    return k->left == 0;
}

/* To the end of the local day. */
static bool
walk_day(struct walk *k, uint64_t hour_used)
{
    int64_t end = (floor_div(k->local, DAY) + 1) * DAY;

    while (k->local < end) {
        if (walk_hour(k, hour_used))
            return true;
        hour_used = 0;
    }
    k->day_used = 0;
    return false;
}

/* Days from here on that have the same limit as this one. */
static int64_t
days_alike(const struct walk *k)
{
    int32_t day = (int32_t) floor_div(k->local, DAY);
    int64_t age = k->d->warm_from == WARM_FROM_NEVER ? INT64_MAX : day - (int64_t) k->d->warm_from;

    for (unsigned n = 0; n < k->w->count && age != INT64_MAX; n++)
        if (k->w->steps[n].age > age)
            return k->w->steps[n].age - age;
    return YEARS_DAYS;
}

static enum capacity_limit
what_binds(const struct walk *k, uint64_t sent, uint32_t limit)
{
    if (sent >= limit)
        return limit == k->d->daily_cap ? CAPACITY_DAILY : CAPACITY_WARMUP;
    return k->hourly_bound ? CAPACITY_HOURLY : CAPACITY_GAP;
}

/* The days after today; *ret_limit is what put the rest off, the last time. False: it never ends.
 */
static bool
walk_days(struct walk *k, enum capacity_limit *ret_limit)
{
    int64_t first = floor_div(k->local, DAY);

    for (;;) {
        struct walk day = *k;
        uint32_t limit = day_limit(k);
        int64_t alike = days_alike(k);

        day.hourly_bound = false;
        if (walk_day(&day, 0)) {
            *k = day;
            return true;
        }
        uint64_t sent = k->left - day.left, days = (uint64_t) alike;
        if (floor_div(k->local, DAY) - first > YEARS_DAYS || (sent == 0 && alike == YEARS_DAYS))
            return false;
        *ret_limit = what_binds(&day, sent, limit);
        if (sent > 0)
            days = MIN_OF(days, (k->left - 1) / sent);
        k->left -= days * sent;
        k->local += (int64_t) days * DAY;
        k->ready = k->local;
    }
}

static struct walk
begin(const struct capacity_device *d, const struct warmup *w, int64_t at)
{
    struct walk k = {.d = d, .w = w, .offset = offset_at(d->zone, at), .left = d->sends};

    k.local = at + k.offset;
    k.day_used = quota_used(&d->day, (int32_t) floor_div(k.local, DAY));
    return k;
}

static struct capacity_end
ends(const struct capacity_device *d, int64_t now, int64_t finish, enum capacity_limit limit)
{
    struct capacity_end end = {.finish_at = finish, .limit = limit};

    if (d->delays > 0 && finish < now + (int64_t) d->delays) {
        end.finish_at = now + (int64_t) d->delays;
        end.limit = CAPACITY_DELAYS;
    }
    end.rate_milli = d->sends * 1000 * USEC_PER_SEC /
                     (uint64_t) MAX_OF(end.finish_at - now, (int64_t) USEC_PER_SEC);
    return end;
}

struct capacity_end
capacity_device_end(const struct capacity_device *d, const struct warmup *w, int64_t now)
{
    const struct capacity_end never = {.finish_at = INT64_MAX, .limit = CAPACITY_CLOSED};
    enum capacity_limit limit = CAPACITY_GAP;
    int64_t at = MAX_OF(now, d->held_until);

    if (d->sends == 0)
        return (struct capacity_end){.finish_at = now};
    if (d->held_until == INT64_MAX)
        return never;
    struct walk k = begin(d, w, at);
    uint32_t today = day_limit(&k);
    uint64_t used = quota_used(&d->hour, (int32_t) floor_div(k.local, HOUR));
    struct walk first = k;
    bool done = walk_day(&first, used);

    /* The day's own count is over at its end: whether it was full is asked of what went out. */
    limit = done ? (first.hourly_bound ? CAPACITY_HOURLY : CAPACITY_GAP)
                 : what_binds(&first, k.day_used + k.left - first.left, today);
    k = first;
    if (!done && !walk_days(&k, &limit))
        return never;
    return ends(d, now, k.last - k.offset, limit);
}

void
capacity_add(struct capacity_sum *sum, const struct capacity_device *d,
             const struct capacity_end *end)
{
    if (d->sends == 0)
        return;
    sum->devices++;
    sum->sends += d->sends;
    if (end->finish_at == INT64_MAX) {
        sum->devices_never++;
        return;
    }
    sum->rate_milli += end->rate_milli;
    if (end->finish_at <= sum->last.finish_at)
        return;
    sum->last = *end;
    sum->slowest = *d;
}

const char *
capacity_limit_name(enum capacity_limit l)
{
    switch (l) {
    case CAPACITY_GAP: return "gap";
    case CAPACITY_HOURLY: return "hourly cap";
    case CAPACITY_DAILY: return "daily cap";
    case CAPACITY_WARMUP: return "warm-up";
    case CAPACITY_DELAYS: return "delays of the steps";
    case CAPACITY_CLOSED: return "no open hour";
    }
    return "?";
}
