/*
 * meter.h - counts and lateness of one partition, for reports, health and metrics.
 *
 * Pure. Counters since the process started; the rate is over the last 10 s in 1 s slots.
 */
#pragma once
#include "shared/clock.h"
#include "shared/histogram.h"

struct meter {
    uint64_t claimed, sent, failed, unknown, not_sent,
        ended; /* ended = refused at claim for good */
    uint64_t stale, fenced, ticks, tick_failed, poison;
    struct histogram lateness;  /* first byte - ready */
    struct histogram tick_time; /* submit to commit */
    struct histogram enrol_time;
    uint64_t fills;
    uint64_t locks_long; /* transactions that may have held the lock over 500 ms */
    uint32_t slots[11];
    usec_t slot_at; /* start of the current slot */
    unsigned slot;
};
void meter_init(struct meter *m, usec_t now);
void meter_sent(struct meter *m, usec_t now, usec_t lateness);
/* A transaction under the partition's lock took `held` from submit to commit. */
void meter_lock(struct meter *m, usec_t held);
uint32_t meter_rate_milli(struct meter *m, usec_t now); /* messages per 1,000 s */
