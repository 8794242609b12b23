/*
 * audience.h - keeps devices' lists filled: enrols behind cursors, reads what waits (DESIGN §7).
 *
 * Flow. A device that runs low waits for a fill as long as rows may be unread, then for enrolling
 * as long as leads wait. One enrol, one fill and one pass of each kind are on their way at most.
 * Enrol and passes share LANE_TICK with the sender; fills have LANE_FILL.
 */
#pragma once
#include "node/partition_inner.h"

int audience_new(struct audience **ret, struct partition *p) _must_check_;
struct audience *audience_free(struct audience *a);
usec_t audience_tick(struct audience *a, usec_t now);
/* The device may be low: looks, and queues it. */
void audience_look(struct audience *a, struct device *d);
/* Its rows are not what memory says: forgets them and reads again. */
void audience_reread(struct audience *a, struct device *d);
/* The book changed (enum source_change): lists follow. */
void audience_changed(struct audience *a, unsigned change);
/*
 * Rows that somebody else's transaction changed, after its commit. Gone: it ended or was deleted.
 * New: it waits now (a direct message, an enrolment by hand or by a chain).
 */
void audience_row_gone(struct partition *p, int32_t device_id, int32_t source_id, int32_t lead_no);
void audience_row_new(struct partition *p, int32_t device_id, int32_t source_id, int32_t lead_no,
                      int16_t revision, int16_t step, int64_t due);
/* The device has so many more enrollments (or fewer), in its count and the partition's. */
void audience_live(struct partition *p, struct device *d, int64_t more);
/* Rows a second that are enrolled at most, unless more are sent; 0: the default. */
void audience_set_rate(struct partition *p, uint32_t rows);
/* Forgets what waits; transactions on their way end by themselves. */
void audience_suspend(struct audience *a);
