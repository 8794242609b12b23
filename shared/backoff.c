/* Decorrelated jitter: each wait is drawn from [min, 3 * last], so that clients spread out. */
#include "shared/backoff.h"

#include <assert.h>

void
backoff_init(struct backoff *b, usec_t min, usec_t max)
{
    assert(min > 0 && min <= max && max <= USEC_INFINITY / 3);
    *b = (struct backoff){.min = min, .max = max, .last = min};
}

usec_t
backoff_next(struct backoff *b, struct rng *r)
{
    b->last = rng_between(r, b->min, MIN_OF(b->last * 3, b->max));
    return b->last;
}

void
backoff_reset(struct backoff *b)
{
    b->last = b->min;
}
