/*
 * answers.h - named questions of the command to a driver: one const table, pages of rows.
 *
 * Flow. Questions read only (LANE_QUERY); the table names columns and statement of each.
 */
#pragma once
#include "node/partition.h"
#include "proto/rpc.h"

struct answers;
int answers_new(struct answers **ret, struct rpc_server *server) _must_check_;
struct answers *answers_free(struct answers *a);
void answers_take(struct answers *a, struct partition *p, struct rpc_ticket ticket,
                  const struct request *q);
