/*
 * health.h - /livez, /readyz, /status and /metrics of the node, from counters in memory.
 *
 * Flow. Asks nobody and never waits; a coordinator that is away makes no node unready.
 */
#pragma once
#include "node/intake.h"
#include "node/partition.h"
#include "node/transport.h"
#include "node/uplink.h"
#include "shared/service.h"

struct health_config { /* all borrowed */
    const char *address, *node, *version;
    usec_t watchdog;
    struct service *service;
    struct uplink *uplink;
    struct rpc_server *server;
    struct transport *transport;
    struct intake *intake;
    struct partition **partitions;
    unsigned partition_count;
    const usec_t *loop_lag;     /* at the last report */
    const uint64_t *frames_bad; /* opened, but no request of ours */
    const bool *stopping;
};

struct health;
int health_start(struct health **ret, uv_loop_t *loop,
                 const struct health_config *config) _must_check_;
void health_stop(struct health *h);
struct health *health_free(struct health *h);
