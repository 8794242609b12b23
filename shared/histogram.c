/* Buckets: 0..15 exactly, then 16 linear steps in each power of two from 2^4 to 2^35. */
#include "shared/histogram.h"

#include <assert.h>
#include <string.h>

#define STEP_BITS 4u
#define STEPS     (1u << STEP_BITS)

static_assert(HISTOGRAM_BUCKETS == STEPS * 33, "one exact group and 32 powers of two");

static unsigned
bucket_of(usec_t value)
{
    if (value < STEPS)
        return (unsigned) value;
    unsigned power = 63u - (unsigned) __builtin_clzll(value);
    unsigned group = power - STEP_BITS + 1;
    unsigned step = (unsigned) (value >> (power - STEP_BITS)) & (STEPS - 1);
    return MIN_OF(group * STEPS + step, HISTOGRAM_BUCKETS - 1);
}

static usec_t
upper_edge(unsigned bucket)
{
    unsigned group = bucket / STEPS;
    if (group == 0)
        return bucket;
    return (((usec_t) (STEPS + bucket % STEPS) + 1) << (group - 1)) - 1;
}

/* A full bucket stays full: a wrapped count would move every quantile. */
static uint32_t
add_counts(uint32_t a, uint32_t b)
{
    return a > UINT32_MAX - b ? UINT32_MAX : a + b;
}

void
histogram_reset(struct histogram *h)
{
    memset(h, 0, sizeof(*h));
}

void
histogram_add(struct histogram *h, usec_t value)
{
    uint32_t *count = &h->counts[bucket_of(value)];
    *count = add_counts(*count, 1);
    h->total++;
    h->max = MAX_OF(h->max, value);
}

void
histogram_merge(struct histogram *into, const struct histogram *from)
{
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        into->counts[i] = add_counts(into->counts[i], from->counts[i]);
    into->total += from->total;
    into->max = MAX_OF(into->max, from->max);
}

usec_t
histogram_quantile(const struct histogram *h, uint32_t permille)
{
    assert(permille <= 1000);
    if (h->total == 0)
        return 0;
    uint64_t rank = MAX_OF((h->total * permille + 999) / 1000, (uint64_t) 1);
    uint64_t seen = 0;
    /* The last bucket has no upper edge but the largest value. */
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS - 1; i++) {
        seen += h->counts[i];
        if (seen >= rank)
            return MIN_OF(upper_edge(i), h->max);
    }
    return h->max;
}
