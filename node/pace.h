/*
 * pace.h - may this device send at that instant, and if not, which gate holds and until when.
 *
 * Pure: the one place where gates are decided, in fixed order (DESIGN §6): driver, device health,
 * breaker, paused scope, quiet hours, daily cap, warm-up, gap. The first that holds names the
 * verdict. Quiet hours, caps and warm-up come with part 2: their inputs are absent until then.
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
    GATE_WARMUP,
    GATE_GAP
};
struct pace_verdict {
    enum gate gate;
    usec_t opens; /* BOOTTIME; USEC_INFINITY = by an event only */
};
/* driver_open: the partition may claim. `at` = the instant at which the send would start. */
struct pace_verdict pace_decide(const struct device *d, bool driver_open, usec_t at);
/* Gap after a completion: uniform in [min_delay, max_delay]. */
usec_t pace_gap(const struct device *d, struct rng *r);
const char *gate_name(enum gate g);
