/*
 * histogram.h - log-linear counts of microseconds, mergeable by addition.
 *
 * Pure, plain data. 16 linear steps per power of two: a quantile is at most 6.25 % too high.
 * Values from 0 to about 19 hours; larger ones count in the last bucket.
 */
#pragma once
#include "shared/base.h"
#include "shared/clock.h"

#define HISTOGRAM_BUCKETS 528u

struct histogram {
    uint64_t total;
    usec_t max;
    uint32_t counts[HISTOGRAM_BUCKETS];
};

void histogram_reset(struct histogram *h);
void histogram_add(struct histogram *h, usec_t value);
void histogram_merge(struct histogram *into, const struct histogram *from);
/* Upper edge of the bucket that holds the permille-th value (990 = p99), never above max; 0 if
 * empty. */
usec_t histogram_quantile(const struct histogram *h, uint32_t permille);
