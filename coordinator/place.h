/*
 * place.h - which partition gets devices that no range holds yet.
 *
 * Pure and deterministic. A device inside a range keeps its partition. The others are dealt to
 * open partitions so that devices / weight are as even as whole devices allow, in ID order, so
 * that at most one cut more than there are partitions is made; a piece goes first to the partition
 * that holds the ID before it, because it then only makes that range longer.
 */
#pragma once
#include "proto/message.h"
#include "proto/rangemap.h"

struct place_partition {
    bool open;
    uint32_t weight;  /* 0 = gets nothing new */
    uint64_t devices; /* that it holds now */
};

struct place_result {
    struct rangemap map; /* the old map with the new ranges; the caller frees it */
    uint64_t placed, known;
};

/* Runs are in ID order, not empty, without overlap, IDs from 1. */
bool place_runs_valid(const struct run *runs, uint32_t run_count);
/*
 * Deals `runs` over `partitions` (index = range.partition). 0; -EAGAIN (something is new and no
 * partition is open), -E2BIG (more than RANGES_MAX ranges), -ENOMEM.
 */
int place_deal(struct place_result *ret, const struct rangemap *map,
               const struct place_partition *partitions, uint32_t partition_count,
               const struct run *runs, uint32_t run_count) _must_check_;
