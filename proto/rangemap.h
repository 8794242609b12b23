/*
 * rangemap.h - which partition holds a device: sorted ranges without overlap.
 *
 * Pure value. Ranges cover devices that exist, so there may be gaps.
 */
#pragma once
#include "proto/limits.h"
#include "shared/base.h"

struct range {
    int32_t first, last; /* device IDs, both included */
    uint16_t partition;  /* index into the map's partitions */
};

struct rangemap {
    struct range *ranges; /* heap, sorted by first */
    uint32_t count;
};

void rangemap_done(struct rangemap *m);
int rangemap_copy(struct rangemap *ret, const struct rangemap *from) _must_check_;
/* The range that holds `device`, or NULL. O(log n). */
const struct range *rangemap_find(const struct rangemap *m, int32_t device);
/* Appends or inserts; merges with an adjoining range of the same partition. 0, -EINVAL (empty, or
 * an ID below 1), -EEXIST (overlap), -ENOMEM, -E2BIG. */
int rangemap_put(struct rangemap *m, struct range r) _must_check_;
/* 0, or -EINVAL with *ret_at = index of the first range that is empty, unsorted, overlapping or of
 * a partition >= partition_count. */
int rangemap_check(const struct rangemap *m, uint32_t partition_count,
                   uint32_t *ret_at) _must_check_;
uint64_t rangemap_devices(const struct rangemap *m, uint16_t partition); /* IDs covered */
