/*
 * quota.h - what a device may still send in its local day and hour: caps, warm-up, and the blocks
 * that are reserved for them in its row.
 *
 * Pure. A send counts when its row is asked for; a block stands in the row before the claims that
 * use it, in one transaction. So what a crash loses counts as used, and no counter is written per
 * message. Devices without limits count nothing.
 */
#pragma once
#include "shared/base.h"

#define QUOTA_NONE      UINT32_MAX /* no limit */
#define QUOTA_UNIT_NONE INT32_MIN  /* nothing was ever counted */
#define WARMUP_MAX      16u
#define WARM_FROM_NEVER INT32_MAX

struct quota {
    int32_t unit; /* local day or hour (zone.h) that the figures are of */
    uint32_t used, reserved;
};
struct warmup { /* by age in days, ascending from 0 */
    unsigned count;
    struct {
        uint32_t age;
        uint32_t limit; /* sends of a day; 0 = no limit */
    } steps[WARMUP_MAX];
};

/* "0:20,4:50,31:0". 0 or -EINVAL with words in *ret_why. */
int warmup_parse(struct warmup *ret, const char *text, const char **ret_why) _must_check_;
/* Limit of a day for a device that is warm from `from` on (local day numbers). */
uint32_t warmup_limit(const struct warmup *w, int32_t from, int32_t day);

/* Used in that unit: none in a newer one. The clock may be set back: an older unit's allowance is
 * the one that was begun. */
uint32_t quota_used(const struct quota *q, int32_t unit);
/* One more may be sent in this unit. */
bool quota_open(const struct quota *q, int32_t unit, uint32_t limit);
/* Counts one (quota_open was true). True: it needs a block that the row has not yet; then
 * q->reserved is what the row must say. */
bool quota_take(struct quota *q, int32_t unit, uint32_t limit);
/* One that was counted in `unit` never reached the wire. */
void quota_give(struct quota *q, int32_t unit);
/* The row keeps a local hour as a time: the local clock's, as if it were UTC. */
int64_t quota_hour_time(int32_t hour);
int32_t quota_hour_unit(int64_t time);
/* As the row says, all of it used: a fresh start, or after a doubt. */
void quota_load(struct quota *q, int32_t unit, uint32_t reserved);
