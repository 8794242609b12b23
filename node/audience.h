/*
 * audience.h - keeps devices' lists filled: enrols behind cursors, reads what waits (DESIGN §7).
 *
 * Flow. A device that runs low waits in one of two queues: for a fill as long as rows are unread,
 * then for enrolling as long as leads wait behind a cursor. One enrol and one fill are on their way
 * at most. Enrol and sweep share LANE_TICK with the sender; fills have LANE_FILL.
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
/* All devices: leads may wait (a start, a resume), or rows changed (a pause, a cancel). */
void audience_reread_all(struct audience *a);
/*
 * Rows that somebody else's transaction changed, after its commit. Gone: it ended, was deleted or
 * is claimed no more by anybody. New: it waits now (direct message, enrolment by hand).
 */
void audience_row_gone(struct partition *p, int32_t device_id, int32_t source_id, int32_t lead_no);
void audience_row_new(struct partition *p, int32_t device_id, int32_t source_id, int32_t lead_no,
                      int16_t revision, int16_t step, int64_t due);
/* Rows a second that are enrolled at most, unless more are sent; 0: the default. */
void audience_set_rate(struct partition *p, uint32_t rows);
/* Forgets what waits; transactions on their way end by themselves. */
void audience_suspend(struct audience *a);
