/*
 * capacity.h - when a device will have sent so many messages, and which limit binds.
 *
 * Pure. Its own day is walked hour by hour on its local clock: the part outside quiet hours and
 * inside the window, at the mean gap, within hourly cap, daily cap and warm-up. Days that are alike
 * are walked once. Behind what is known of its zone its last offset is taken to go on: this is a
 * forecast, no gate.
 */
#pragma once
#include "node/quota.h"
#include "node/zone.h"

enum capacity_limit {
    CAPACITY_GAP,
    CAPACITY_HOURLY,
    CAPACITY_DAILY,
    CAPACITY_WARMUP,
    CAPACITY_DELAYS, /* of the steps: the last one is not due before */
    CAPACITY_CLOSED  /* no hour is left in which it may send, or it is held until an order */
};

struct capacity_device {
    const struct zone *zone;
    struct content_window quiet, window; /* from == to: none */
    uint32_t gap_ms;                     /* mean */
    uint32_t daily_cap, hourly_cap;      /* 0: none */
    int32_t warm_from;
    struct quota day, hour;
    int64_t held_until; /* unix usec: paused; INT64_MIN: not, INT64_MAX: until an order */
    uint64_t sends;
    usec_t delays; /* of the steps that the last lead has before it */
};
struct capacity_end {
    int64_t finish_at; /* unix usec; INT64_MAX: never */
    enum capacity_limit limit;
    uint64_t rate_milli; /* sends per 1,000 s from now to the end */
};

struct capacity_end capacity_device_end(const struct capacity_device *d, const struct warmup *w,
                                        int64_t now);

struct capacity_sum { /* devices side by side: rates add up, the slowest decides */
    uint64_t devices, sends, devices_never, rate_milli;
    struct capacity_end last; /* of the device that ends last, among those that do */
    struct capacity_device slowest;
};
void capacity_add(struct capacity_sum *sum, const struct capacity_device *d,
                  const struct capacity_end *end);
const char *capacity_limit_name(enum capacity_limit l);
