/*
 * schedule.h - which device is to be looked at next: a heap of devices by BOOTTIME.
 *
 * Pure. Borrows devices (remove before device_free). Find by id is here too (uthash), because the
 * schedule is the one place that knows all devices of a partition.
 */
#pragma once
#include "node/device.h"

struct schedule;
struct schedule *schedule_new(void);
struct schedule *schedule_free(struct schedule *s); /* frees no devices */
int schedule_add(struct schedule *s,
                 struct device *d) _must_check_; /* 0, -EEXIST, -ENOMEM; not in the heap yet */
void schedule_remove(struct schedule *s, struct device *d);
struct device *schedule_find(const struct schedule *s, int32_t device_id);
void schedule_put(struct schedule *s, struct device *d,
                  usec_t turn); /* USEC_INFINITY = out of the heap */
/* The first device whose turn is <= until, taken out of the heap; NULL = none. */
struct device *schedule_pop(struct schedule *s, usec_t until);
usec_t schedule_next(const struct schedule *s); /* USEC_INFINITY when empty */
unsigned schedule_count(const struct schedule *s);
void schedule_each(struct schedule *s, void (*visit)(void *arg, struct device *d), void *arg);
