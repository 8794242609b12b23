/* Gates in fixed order; the first that holds names itself and the time at which it opens. */
#include "node/pace.h"

#include <assert.h>

/* ---- verdicts: one instant on both clocks ---- */

static struct pace_verdict
open_gate(const struct pace_now *now)
{
    return (struct pace_verdict){.gate = GATE_OPEN, .opens = now->at, .db_opens = now->db_at};
}

static struct pace_verdict
held(enum gate gate, const struct pace_now *now, usec_t opens)
{
    struct pace_verdict v = {.gate = gate, .opens = opens, .db_opens = INT64_MAX};

    if (opens != USEC_INFINITY)
        v.db_opens = now->db_at + (int64_t) (opens - now->at);
    return v;
}

static struct pace_verdict
held_by_date(enum gate gate, const struct pace_now *now, int64_t opens)
{
    struct pace_verdict v = {.gate = gate, .opens = USEC_INFINITY, .db_opens = opens};

    if (opens != INT64_MAX)
        v.opens = now->at + (usec_t) (opens - now->db_at);
    return v;
}

static struct pace_verdict
held_by_zone(enum gate gate, const struct pace_now *now)
{
    struct pace_verdict v = held(gate, now, USEC_INFINITY);

    v.cause = PACE_ZONE;
    return v;
}

/* ---- the gates, each on its own ---- */

static struct pace_verdict
driver(const struct device *d, const struct pace_now *now)
{
    if (!now->driver_open || d->residence != RESIDENCE_OPEN)
        return held(GATE_DRIVER, now, USEC_INFINITY);
    return open_gate(now);
}

static struct pace_verdict
health(const struct device *d, const struct pace_now *now)
{
    if (d->health != 0)
        return held(GATE_HEALTH, now, USEC_INFINITY);
    if (d->held_until > now->at)
        return held(GATE_HEALTH, now, d->held_until);
    return open_gate(now);
}

/* All three must let the send through; of several that hold, the last to open counts. */
static struct pace_verdict
breakers(const struct device *d, const struct pace_now *now)
{
    const struct breaker *all[] = {d->url_breaker, d->scope_breaker, d->account_breaker};
    usec_t latest = 0;
    bool open = true;

    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        usec_t opens;

        assert(all[i]);
        if (breaker_may(all[i], now->at, &opens))
            continue;
        open = false;
        latest = MAX_OF(latest, opens);
    }
    return open ? open_gate(now) : held(GATE_BREAKER, now, latest);
}

/* Of both the later end counts. */
static struct pace_verdict
paused(const struct device *d, const struct pace_now *now)
{
    bool cluster = now->cluster_paused && now->cluster_until > now->db_at;
    bool device = d->paused_until > now->db_at;
    struct pace_verdict v;

    if (!cluster && !device)
        return open_gate(now);
    bool is_cluster = cluster && (!device || now->cluster_until >= d->paused_until);
    v = held_by_date(GATE_PAUSED, now, is_cluster ? now->cluster_until : d->paused_until);
    v.cause = is_cluster ? PACE_CLUSTER : PACE_PLAIN;
    return v;
}

static struct pace_verdict
quiet(const struct device *d, const struct pace_now *now)
{
    int64_t opens;

    if (d->quiet.from == d->quiet.to)
        return open_gate(now);
    if (!zone_known(d->zone, now->db_at))
        return held_by_zone(GATE_QUIET, now);
    if (zone_window_closed(d->zone, d->quiet, now->db_at, &opens))
        return held_by_date(GATE_QUIET, now, opens);
    return open_gate(now);
}

/* A limit of the local day: cap and warm-up count in the same figures. */
static struct pace_verdict
day_limit(enum gate gate, const struct device *d, const struct pace_now *now, uint32_t limit)
{
    if (quota_open(&d->day, zone_day(d->zone, now->db_at), limit))
        return open_gate(now);
    return held_by_date(gate, now, zone_day_after(d->zone, now->db_at, d->day.unit));
}

static struct pace_verdict
daily_cap(const struct device *d, const struct pace_now *now)
{
    if (d->daily_cap == 0)
        return open_gate(now);
    if (!zone_known(d->zone, now->db_at))
        return held_by_zone(GATE_CAP, now);
    return day_limit(GATE_CAP, d, now, d->daily_cap);
}

static struct pace_verdict
hourly_cap(const struct device *d, const struct pace_now *now)
{
    if (d->hourly_cap == 0)
        return open_gate(now);
    if (!zone_known(d->zone, now->db_at))
        return held_by_zone(GATE_HOURLY, now);
    if (quota_open(&d->hour, zone_hour(d->zone, now->db_at), d->hourly_cap))
        return open_gate(now);
    return held_by_date(GATE_HOURLY, now, zone_hour_after(d->zone, now->db_at, d->hour.unit));
}

static struct pace_verdict
warm_up(const struct device *d, const struct pace_now *now)
{
    if (d->warm_from == WARM_FROM_NEVER)
        return open_gate(now);
    if (!zone_known(d->zone, now->db_at))
        return held_by_zone(GATE_WARMUP, now);
    return day_limit(GATE_WARMUP, d, now,
                     warmup_limit(now->warmup, d->warm_from, zone_day(d->zone, now->db_at)));
}

static struct pace_verdict
gap(const struct device *d, const struct pace_now *now)
{
    return d->gap_ends > now->at ? held(GATE_GAP, now, d->gap_ends) : open_gate(now);
}

static struct pace_verdict (*const gates[GATE_COUNT])(const struct device *d,
                                                      const struct pace_now *now) = {
    [GATE_DRIVER] = driver,     [GATE_HEALTH] = health,  [GATE_BREAKER] = breakers,
    [GATE_PAUSED] = paused,     [GATE_QUIET] = quiet,    [GATE_CAP] = daily_cap,
    [GATE_HOURLY] = hourly_cap, [GATE_WARMUP] = warm_up, [GATE_GAP] = gap,
};

struct pace_verdict
pace_decide(const struct device *d, const struct pace_now *now)
{
    for (enum gate g = GATE_DRIVER; g < GATE_COUNT; g++) {
        struct pace_verdict v = gates[g](d, now);

        if (v.gate != GATE_OPEN)
            return v;
    }
    return open_gate(now);
}

void
pace_explain(const struct device *d, const struct pace_now *now,
             struct pace_verdict ret[static GATE_COUNT])
{
    ret[GATE_OPEN] = open_gate(now);
    for (enum gate g = GATE_DRIVER; g < GATE_COUNT; g++)
        ret[g] = gates[g](d, now);
}

bool
pace_still(const struct device *d, const struct pace_now *now)
{
    return driver(d, now).gate == GATE_OPEN && health(d, now).gate == GATE_OPEN &&
           paused(d, now).gate == GATE_OPEN && quiet(d, now).gate == GATE_OPEN;
}

/* ---- limits ---- */

bool
pace_has_day_limit(const struct device *d)
{
    return d->daily_cap > 0 || d->warm_from != WARM_FROM_NEVER;
}

uint32_t
pace_day_limit(const struct device *d, const struct warmup *w, int32_t day)
{
    uint32_t warm = warmup_limit(w, d->warm_from, day);

    return d->daily_cap > 0 ? MIN_OF(warm, d->daily_cap) : warm;
}

uint32_t
pace_hour_limit(const struct device *d)
{
    return d->hourly_cap > 0 ? d->hourly_cap : QUOTA_NONE;
}

usec_t
pace_gap(const struct device *d, struct rng *r)
{
    assert(d->min_delay_ms <= d->max_delay_ms);
    return rng_between(r, d->min_delay_ms * USEC_PER_MSEC, d->max_delay_ms * USEC_PER_MSEC);
}

void
pace_rest(struct device *d, usec_t from, struct rng *r)
{
    usec_t ends = from + pace_gap(d, r); /* drawn once: MAX_OF would draw twice */

    if (ends > d->gap_ends)
        d->gap_ends = ends;
}

const char *
gate_name(enum gate g)
{
    switch (g) {
    case GATE_OPEN: return "open";
    case GATE_DRIVER: return "driver";
    case GATE_HEALTH: return "health";
    case GATE_BREAKER: return "breaker";
    case GATE_PAUSED: return "paused";
    case GATE_QUIET: return "quiet_hours";
    case GATE_CAP: return "daily_cap";
    case GATE_HOURLY: return "hourly_cap";
    case GATE_WARMUP: return "warm_up";
    case GATE_GAP: return "gap";
    case GATE_COUNT: break;
    }
    return "?";
}
