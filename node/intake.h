/*
 * intake.h - devices and leads arrive in batches, are checked and stored.
 *
 * Flow. One transaction per batch on LANE_INTAKE: lock, epoch, rows; a row that the database
 * refuses is found by halving and refused with the database's words. Idempotent: the same batch
 * twice adds nothing. At most INTAKE_WAITING_MAX batches wait (then STATUS_RETRY). The owner frees
 * the partitions' pools before the intake, so that every batch has ended.
 */
#pragma once
#include "node/partition.h"
#include "node/replies.h"
#include "node/rows.h"

#define INTAKE_WAITING_MAX 8u

struct intake_limits {
    uint32_t leads_max;     /* of one device */
    uint32_t disk_free_min; /* percent, of the disk that has `disk`; below it no lead is taken */
    const char *disk;       /* a path, borrowed */
};

struct intake;
/* replies and token_key (SECRET_KEY_BYTES) are borrowed. */
int intake_new(struct intake **ret, const struct replies *replies, const uint8_t *token_key,
               const struct row_limits *rows, const struct intake_limits *limits) _must_check_;
struct intake *intake_free(struct intake *i);
/* Answers through the rpc server, now or later, exactly once. `q` is borrowed for the call. */
void intake_take(struct intake *i, struct partition *p, struct rpc_ticket ticket,
                 const struct request *q);
unsigned intake_waiting(const struct intake *i);
