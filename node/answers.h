/*
 * answers.h - named questions of the command to a driver: one const table, pages of rows.
 *
 * Flow. Questions read only (LANE_QUERY); the table names columns, arguments and statement of each.
 * A page ends at ROWS_PER_PAGE_MAX rows or before it outgrows a frame; its cursor goes on behind
 * the last row. The owner frees the partitions' pools before the answers.
 */
#pragma once
#include "node/partition.h"
#include "node/replies.h"

#define ANSWERS_WAITING_MAX 16u

struct answers;
int answers_new(struct answers **ret, const struct replies *replies) _must_check_;
struct answers *answers_free(struct answers *a);
/* Answers through the rpc server, now or later, exactly once. `q` is borrowed for the call. */
void answers_take(struct answers *a, struct partition *p, struct rpc_ticket ticket,
                  const struct request *q);
