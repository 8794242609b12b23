/* Dealing new device IDs to partitions: subtract what is known, fill up evenly, cut in ID order. */
#include "coordinator/place.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

struct dealer {
    struct rangemap map;
    uint64_t quota[PARTITIONS_MAX]; /* devices that each partition still gets */
    uint32_t partition_count;
};

bool
place_runs_valid(const struct run *runs, uint32_t run_count)
{
    int32_t before = 0;
    for (uint32_t i = 0; i < run_count; i++) {
        if (runs[i].first <= before || runs[i].last < runs[i].first)
            return false;
        before = runs[i].last;
    }
    return true;
}

/* Index of the first range that ends at or after `id`. */
static uint32_t
range_from(const struct rangemap *m, int32_t id)
{
    uint32_t low = 0, high = m->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (m->ranges[middle].last < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/*
 * The next part of [*at, last] that no range holds: 1 and *ret, or 0 when there is none. *at goes
 * behind what was looked at; int64_t, because the last ID has no successor in int32_t.
 */
static int
next_gap(const struct rangemap *m, int64_t *at, int32_t last, struct run *ret)
{
    while (*at <= last) {
        uint32_t i = range_from(m, (int32_t) *at);
        if (i < m->count && m->ranges[i].first <= *at) {
            *at = (int64_t) m->ranges[i].last + 1;
            continue;
        }
        int32_t end = last;
        if (i < m->count && m->ranges[i].first <= last)
            end = m->ranges[i].first - 1;
        *ret = (struct run){.first = (int32_t) *at, .last = end};
        *at = (int64_t) end + 1;
        return 1;
    }
    return 0;
}

static uint64_t
count_new(const struct rangemap *m, const struct run *runs, uint32_t run_count)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < run_count; i++) {
        int64_t at = runs[i].first;
        struct run gap;
        while (next_gap(m, &at, runs[i].last, &gap))
            count += (uint64_t) (gap.last - gap.first) + 1;
    }
    return count;
}

static uint64_t
count_asked(const struct run *runs, uint32_t run_count)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < run_count; i++)
        count += (uint64_t) (runs[i].last - runs[i].first) + 1;
    return count;
}

static bool
takes_new(const struct place_partition *p)
{
    return p->open && p->weight > 0;
}

/* a.devices / a.weight < b.devices / b.weight, without rounding. */
static bool
is_emptier(const struct place_partition *a, uint64_t a_devices, const struct place_partition *b,
           uint64_t b_devices)
{
    return (__uint128_t) a_devices * b->weight < (__uint128_t) b_devices * a->weight;
}

/*
 * How many devices each partition holds at most when all open ones are filled to one level
 * L = (devices of those below L + count) / (their weights): those that are already above it get
 * nothing and leave the sum, which can only lower L, so repeat until nobody leaves.
 */
static void
fill_level(const struct place_partition *p, uint32_t partition_count, uint64_t count,
           bool in[static PARTITIONS_MAX], __uint128_t *ret_devices, uint64_t *ret_weight)
{
    for (uint32_t i = 0; i < partition_count; i++)
        in[i] = takes_new(&p[i]);
    for (bool left = true; left;) {
        left = false;
        *ret_devices = count;
        *ret_weight = 0;
        for (uint32_t i = 0; i < partition_count; i++) {
            if (in[i]) {
                *ret_devices += p[i].devices;
                *ret_weight += p[i].weight;
            }
        }
        for (uint32_t i = 0; i < partition_count; i++) {
            if (in[i] && (__uint128_t) p[i].devices * *ret_weight > *ret_devices * p[i].weight) {
                in[i] = false;
                left = true;
            }
        }
    }
}

/* Whole devices below the level, then the few that rounding left to whoever is emptiest. */
static void
set_quotas(struct dealer *d, const struct place_partition *p, uint64_t count)
{
    bool in[PARTITIONS_MAX];
    __uint128_t devices;
    uint64_t weight;
    fill_level(p, d->partition_count, count, in, &devices, &weight);
    assert(weight > 0);
    uint64_t left = count;
    for (uint32_t i = 0; i < d->partition_count; i++) {
        if (!in[i])
            continue;
        uint64_t level = (uint64_t) (devices * p[i].weight / weight);
        d->quota[i] = level > p[i].devices ? level - p[i].devices : 0;
        left -= d->quota[i];
    }
    for (; left > 0; left--) {
        uint32_t best = UINT32_MAX;
        for (uint32_t i = 0; i < d->partition_count; i++) {
            if (in[i] &&
                (best == UINT32_MAX || is_emptier(&p[i], p[i].devices + d->quota[i], &p[best],
                                                  p[best].devices + d->quota[best])))
                best = i;
        }
        d->quota[best]++;
    }
}

static uint16_t
choose(const struct dealer *d, int32_t first)
{
    const struct range *before = first > 1 ? rangemap_find(&d->map, first - 1) : NULL;
    if (before && d->quota[before->partition] > 0)
        return before->partition;
    uint32_t i = 0;
    while (d->quota[i] == 0)
        i++;
    assert(i < d->partition_count);
    return (uint16_t) i;
}

static int
deal_gap(struct dealer *d, struct run gap)
{
    int64_t at = gap.first;
    while (at <= gap.last) {
        uint16_t partition = choose(d, (int32_t) at);
        uint64_t length = (uint64_t) (gap.last - at) + 1;
        uint64_t take = MIN_OF(length, d->quota[partition]);
        struct range r = {(int32_t) at, (int32_t) (at + (int64_t) take - 1), partition};
        int err = rangemap_put(&d->map, r);
        if (err < 0)
            return err;
        d->quota[partition] -= take;
        at += (int64_t) take;
    }
    return 0;
}

static bool
somebody_gets(const struct place_partition *partitions, uint32_t partition_count)
{
    for (uint32_t i = 0; i < partition_count; i++) {
        if (takes_new(&partitions[i]))
            return true;
    }
    return false;
}

int
place_deal(struct place_result *ret, const struct rangemap *map,
           const struct place_partition *partitions, uint32_t partition_count,
           const struct run *runs, uint32_t run_count)
{
    assert(partition_count <= PARTITIONS_MAX);
    assert(place_runs_valid(runs, run_count));
    uint64_t fresh = count_new(map, runs, run_count);
    if (fresh > 0 && !somebody_gets(partitions, partition_count))
        return -EAGAIN;
    struct dealer d = {.partition_count = partition_count};
    int err = rangemap_copy(&d.map, map);
    if (err < 0)
        return err;
    if (fresh > 0)
        set_quotas(&d, partitions, fresh);
    for (uint32_t i = 0; i < run_count && err == 0; i++) {
        int64_t at = runs[i].first;
        struct run gap;
        /* Gaps are read from the old map: what is dealt meanwhile lies behind `at`. */
        while (err == 0 && next_gap(map, &at, runs[i].last, &gap))
            err = deal_gap(&d, gap);
    }
    if (err < 0) {
        rangemap_done(&d.map);
        return err;
    }
    *ret = (struct place_result){.map = d.map,
                                 .placed = fresh,
                                 .known = count_asked(runs, run_count) - fresh};
    return 0;
}
