/*
 * capacity.h - how fast and until when: the drivers' words of their devices, added up.
 */
#pragma once
#include "coordinator/ctl/gather.h"

struct capacity {
    int64_t devices, leads, devices_never, rate_milli;
    int64_t finish_at; /* unix usec; INT64_MAX = never as things stand */
    char limit[128];   /* of the partition that ends last */
    unsigned silent;
};

/* Waits until every partition that is driven has that content version, for 5 s at most: a draft of
 * a second ago is not known everywhere. Loads the map. 0 or as view_cluster. */
int capacity_wait(struct asker *a, uint64_t version) _must_check_;
/* source "" = all that waits. The map must be loaded. 0 or as gather_all. */
int capacity_read(struct capacity *ret, struct asker *a, const char *source) _must_check_;
void capacity_sum(struct capacity *ret, const struct gathered *answers);
/* Would it finish by then, if it starts `later` usec from now? */
bool capacity_fits(const struct capacity *c, int64_t not_after, int64_t later);
/* "88,000 leads on 40 devices at 14,400/h (limit: gap 5-15 s) need 6.1 days; 5.0 are left" */
void capacity_print_need(const struct capacity *c, int64_t not_after, int64_t now, FILE *out);
