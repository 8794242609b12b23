/* xoshiro256** by Blackman and Vigna, seeded through splitmix64 as they advise. */
#include "shared/rng.h"

#include <assert.h>

static uint64_t
splitmix(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static uint64_t
rotate_left(uint64_t x, unsigned bits)
{
    return (x << bits) | (x >> (64 - bits));
}

void
rng_seed(struct rng *r, uint64_t seed)
{
    for (size_t i = 0; i < ARRAY_SIZE(r->s); i++)
        r->s[i] = splitmix(&seed);
}

uint64_t
rng_next(struct rng *r)
{
    uint64_t *s = r->s;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

uint64_t
rng_between(struct rng *r, uint64_t low, uint64_t high)
{
    assert(low <= high);
    uint64_t count = high - low + 1;
    if (count == 0) /* all 2^64 values */
        return rng_next(r);
    uint64_t uneven = -count % count; /* 2^64 mod count: drawn again, or low values win */
    for (;;) {
        uint64_t x = rng_next(r);
        if (x >= uneven)
            return low + x % count;
    }
}
