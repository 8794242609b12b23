/*
 * backoff.h - exponential waiting with decorrelated jitter.
 *
 * Pure.
 */
#pragma once
#include "shared/clock.h"
#include "shared/rng.h"

struct backoff {
    usec_t min;
    usec_t max;
    usec_t last;
};

void backoff_init(struct backoff *b, usec_t min, usec_t max);
/* The next wait, within [min, max]. */
usec_t backoff_next(struct backoff *b, struct rng *r);
void backoff_reset(struct backoff *b);
