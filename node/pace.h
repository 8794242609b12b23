/*
 * pace.h - may this device send at that instant, and if not, which gate holds and until when.
 *
 * Pure: the one place where gates are decided, in fixed order (DESIGN §6): driver, device health,
 * breaker, paused scope (cluster, device; a paused source holds its rows, not the device), quiet
 * hours, daily cap, hourly cap, warm-up, gap. The first that holds names the verdict; of limits
 * that count the same thing the smallest wins by itself.
 */
#pragma once
#include "node/device.h"
#include "shared/rng.h"

enum gate {
    GATE_OPEN,
    GATE_DRIVER,
    GATE_HEALTH,
    GATE_BREAKER,
    GATE_PAUSED,
    GATE_QUIET,
    GATE_CAP,
    GATE_HOURLY,
    GATE_WARMUP,
    GATE_GAP,
    GATE_COUNT
};
enum pace_cause {
    PACE_PLAIN,
    PACE_CLUSTER, /* paused: the whole cluster */
    PACE_ZONE     /* what it needs of the device's zone was not read yet */
};
struct pace_now {     /* the send would start then, and what is not the device's own */
    bool driver_open; /* the partition may claim */
    bool cluster_paused;
    int64_t cluster_until; /* unix usec; INT64_MAX: by an order only */
    usec_t at;             /* BOOTTIME */
    int64_t db_at;         /* the same instant by the database's clock */
    const struct warmup *warmup;
};
struct pace_verdict {
    enum gate gate;
    enum pace_cause cause;
    usec_t opens;     /* BOOTTIME; USEC_INFINITY = by an event only */
    int64_t db_opens; /* the same instant, unix usec; INT64_MAX */
};
struct pace_verdict pace_decide(const struct device *d, const struct pace_now *now);
/* Every gate on its own: ret[g].gate is g while it holds, else GATE_OPEN. */
void pace_explain(const struct device *d, const struct pace_now *now,
                  struct pace_verdict ret[static GATE_COUNT]);
/* What the guard asks directly before the bytes: of this device's gates those that may have shut
 * since its claim. Gap and breakers are the claim's own. */
bool pace_still(const struct device *d, const struct pace_now *now);
/* Sends of the local day and hour: the least of caps and warm-up; QUOTA_NONE. */
uint32_t pace_day_limit(const struct device *d, const struct warmup *w, int32_t day);
uint32_t pace_hour_limit(const struct device *d);
bool pace_has_day_limit(const struct device *d);
/* Gap after a completion: uniform in [min_delay, max_delay]. */
usec_t pace_gap(const struct device *d, struct rng *r);
/* No send before a fresh gap from `from`; what it had to wait already is never shortened. */
void pace_rest(struct device *d, usec_t from, struct rng *r);
const char *gate_name(enum gate g);
