/* rangemap.c - which partition holds a device: a sorted array and binary search. */
#include "proto/rangemap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void
rangemap_done(struct rangemap *m)
{
    free(m->ranges);
    *m = (struct rangemap){0};
}

int
rangemap_copy(struct rangemap *ret, const struct rangemap *from)
{
    struct range *copy = NULL;

    if (from->count > 0) {
        copy = malloc(from->count * sizeof(*copy));
        if (!copy)
            return -ENOMEM;
        memcpy(copy, from->ranges, from->count * sizeof(*copy));
    }
    *ret = (struct rangemap){.ranges = copy, .count = from->count};
    return 0;
}

/* Index of the first range whose last device is not below `device`; count when there is none. */
static uint32_t
lower_bound(const struct rangemap *m, int32_t device)
{
    uint32_t low = 0, high = m->count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (m->ranges[middle].last < device)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const struct range *
rangemap_find(const struct rangemap *m, int32_t device)
{
    uint32_t at = lower_bound(m, device);

    return at < m->count && m->ranges[at].first <= device ? &m->ranges[at] : NULL;
}

static bool
adjoins(const struct range *left, const struct range *right)
{
    return left->partition == right->partition && left->last < INT32_MAX &&
           left->last + 1 == right->first;
}

static void
remove_at(struct rangemap *m, uint32_t at)
{
    m->count--;
    memmove(&m->ranges[at], &m->ranges[at + 1], (m->count - at) * sizeof(*m->ranges));
}

static int
insert_at(struct rangemap *m, uint32_t at, struct range r)
{
    struct range *grown;

    if (m->count >= RANGES_MAX)
        return -E2BIG;
    grown = reallocarray(m->ranges, m->count + 1, sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    m->ranges = grown;
    memmove(&m->ranges[at + 1], &m->ranges[at], (m->count - at) * sizeof(*m->ranges));
    m->ranges[at] = r;
    m->count++;
    return 0;
}

int
rangemap_put(struct rangemap *m, struct range r)
{
    uint32_t at = lower_bound(m, r.first);
    bool left, right;

    if (r.first > r.last || r.first < 1)
        return -EINVAL;
    if (at < m->count && m->ranges[at].first <= r.last)
        return -EEXIST;
    left = at > 0 && adjoins(&m->ranges[at - 1], &r);
    right = at < m->count && adjoins(&r, &m->ranges[at]);
    if (left && right) {
        m->ranges[at - 1].last = m->ranges[at].last;
        remove_at(m, at);
    } else if (left) {
        m->ranges[at - 1].last = r.last;
    } else if (right) {
        m->ranges[at].first = r.first;
    } else {
        return insert_at(m, at, r);
    }
    return 0;
}

int
rangemap_check(const struct rangemap *m, uint32_t partition_count, uint32_t *ret_at)
{
    for (uint32_t i = 0; i < m->count; i++) {
        const struct range *r = &m->ranges[i];

        if (r->first < 1 || r->first > r->last || r->partition >= partition_count ||
            (i > 0 && m->ranges[i - 1].last >= r->first)) {
            *ret_at = i;
            return -EINVAL;
        }
    }
    return 0;
}

uint64_t
rangemap_devices(const struct rangemap *m, uint16_t partition)
{
    uint64_t devices = 0;

    for (uint32_t i = 0; i < m->count; i++)
        if (m->ranges[i].partition == partition)
            devices += (uint64_t) ((int64_t) m->ranges[i].last - m->ranges[i].first + 1);
    return devices;
}
