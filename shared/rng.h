/*
 * rng.h - a small seedable generator (xoshiro256**): same seed, same sequence, on every machine.
 *
 * Pure. Not for secrets (shared/secret has those).
 */
#pragma once
#include "shared/base.h"

struct rng {
    uint64_t s[4];
};

void rng_seed(struct rng *r, uint64_t seed);
uint64_t rng_next(struct rng *r);
/* Uniform in [low, high], both included; low <= high. */
uint64_t rng_between(struct rng *r, uint64_t low, uint64_t high);
