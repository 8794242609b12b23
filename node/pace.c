/* Gates in fixed order; the first that holds names itself and the time at which it opens. */
#include "node/pace.h"

#include <assert.h>

static struct pace_verdict
held(enum gate gate, usec_t opens)
{
    return (struct pace_verdict){.gate = gate, .opens = opens};
}

/* All three must let the send through; of several that hold, the last to open counts. */
static bool
breakers_open(const struct device *d, usec_t at, usec_t *ret_opens)
{
    const struct breaker *breakers[] = {d->url_breaker, d->scope_breaker, d->account_breaker};
    usec_t latest = 0;
    bool open = true;

    for (size_t i = 0; i < ARRAY_SIZE(breakers); i++) {
        usec_t opens;

        assert(breakers[i]);
        if (breaker_may(breakers[i], at, &opens))
            continue;
        open = false;
        latest = MAX_OF(latest, opens);
    }
    *ret_opens = latest;
    return open;
}

struct pace_verdict
pace_decide(const struct device *d, bool driver_open, usec_t at)
{
    usec_t opens;

    if (!driver_open || d->residence != RESIDENCE_OPEN)
        return held(GATE_DRIVER, USEC_INFINITY);
    if (d->health != 0)
        return held(GATE_HEALTH, USEC_INFINITY);
    if (d->held_until > at)
        return held(GATE_HEALTH, d->held_until);
    if (!breakers_open(d, at, &opens))
        return held(GATE_BREAKER, opens);
    if (d->gap_ends > at)
        return held(GATE_GAP, d->gap_ends);
    return held(GATE_OPEN, at);
}

usec_t
pace_gap(const struct device *d, struct rng *r)
{
    assert(d->min_delay_ms <= d->max_delay_ms);
    return rng_between(r, d->min_delay_ms * USEC_PER_MSEC, d->max_delay_ms * USEC_PER_MSEC);
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
    case GATE_WARMUP: return "warm_up";
    case GATE_GAP: return "gap";
    }
    return "?";
}
