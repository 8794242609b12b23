/*
 * acts.h - named actions of people on rows: opt-outs, direct messages, leads, devices.
 *
 * Flow. acts.c has one const table: action, columns, lock, how a row is judged, what is done. Rows
 * of waiting requests of one action go into one transaction on LANE_TICK (a round); a partition has
 * one round at a time, so acts are in one order with the sender's ticks and with each other. What
 * memory must know it is told after the commit and before the answer: after the answer nothing is
 * sent that the act forbids. All are idempotent by content. The owner frees the partitions' pools
 * before the acts, so that every round has ended.
 */
#pragma once
#include "node/partition.h"
#include "node/replies.h"

#define ACTS_WAITING_MAX   64u   /* requests; then STATUS_RETRY */
#define DIRECT_WAITING_MAX 1000u /* direct messages of one device; then "retry" */

struct acts;
/* replies and token_key (SECRET_KEY_BYTES: hashes of erased phones) are borrowed. */
int acts_new(struct acts **ret, const struct replies *replies,
             const uint8_t *token_key) _must_check_;
struct acts *acts_free(struct acts *a);
/* Answers through the rpc server, now or later, exactly once. `q` is borrowed for the call. */
void acts_take(struct acts *a, struct partition *p, struct rpc_ticket ticket,
               const struct request *q);
unsigned acts_waiting(const struct acts *a);
