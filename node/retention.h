/*
 * retention.h - what is old goes: days of messages, receipts, uses of triggers, direct messages.
 *
 * Flow. Once an hour, one small step after the other on the lane of questions, never on the tick's:
 * a day is dropped, a closed day gets its index, some rows are deleted. A step that must wait for a
 * lock gives up and comes again, so nothing is held up behind it.
 */
#pragma once
#include "node/partition_inner.h"

int retention_new(struct retention **ret, struct partition *p) _must_check_;
struct retention *retention_free(struct retention *r);
usec_t retention_tick(struct retention *r, usec_t now);
