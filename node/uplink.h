/*
 * uplink.h - what the node says to the coordinator and hears from it.
 *
 * Flow. REGISTER at start and after each new term, REPORT each second, CONTENT when a partition
 * lacks some, an early ask on a hint (at most one a second). Losing the coordinator changes nothing
 * but uplink_heard_age.
 */
#pragma once
#include "node/partition.h"
#include "proto/feed.h"
#include "proto/rpc.h"

struct uplink;
struct uplink_config { /* texts are borrowed */
    const char *node, *program_version;
    struct uuid incarnation;
    uint32_t weight;
    const char *rpc_address, *health_address;
    const char *coordinator_url, *feed_url, *coordinator_name;
    const char *state_dir; /* disk_used_percent is measured here */
};
/* partitions: borrowed array of the owner, count fixed for the uplink's life. loop_lag: asked for
 * each report. When it fails, *ret may be set all the same: stop it, free it after the loop. */
int uplink_start(struct uplink **ret, uv_loop_t *loop, const struct uplink_config *config,
                 const struct identity *identity, const struct peers *peers,
                 struct partition **partitions, unsigned partition_count,
                 usec_t (*loop_lag)(void *arg), void *arg) _must_check_;
usec_t uplink_heard_age(const struct uplink *u, usec_t now); /* USEC_INFINITY = never */
uint64_t uplink_term(const struct uplink *u);
uint64_t uplink_map_version(const struct uplink *u);
uint64_t uplink_content_version(const struct uplink *u); /* the catalog's, as heard */
uint32_t uplink_disk_used(const struct uplink *u);       /* percent, at the last report */
/* The process is ending: says so in a report now, and in the following ones. */
void uplink_say_stopping(struct uplink *u);
void uplink_stop(struct uplink *u);
struct uplink *uplink_free(struct uplink *u);
