/*
 * apply.h - pages of content become rows of the partition, and audiences of what was started.
 *
 * Flow. One page at a time: content under the exclusive lock, then memory, then audience rows in
 * pages of devices, then content_applied. Any of it may be repeated.
 */
#pragma once
#include "node/partition_inner.h"

int apply_new(struct content_apply **ret, struct partition *p) _must_check_;
struct content_apply *apply_free(struct content_apply *a);
void apply_suspend(struct content_apply *a);
/* A template or parameter that the provider refuses is wrong for every lead: the source waits. */
void apply_pause(struct content_apply *a, int32_t source_id);
usec_t apply_tick(struct content_apply *a, usec_t now);
int apply_page(struct content_apply *a, const struct content_page *page) _must_check_;
uint64_t apply_wanted(const struct content_apply *a);
