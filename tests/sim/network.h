/* network.h - faults between coordinator, nodes and operators. */
#pragma once
#include "proto/rpc.h"
#include "tests/sim/sim.h"

struct network {
    uint64_t lose, twice; /* chances in a million, per packet */
    usec_t delay_max;
    bool cut; /* nothing passes */
};
extern struct network network;
void network_open(void);
int rpc_call_to(struct rpc_client *client, const char *url, struct slice body, usec_t timeout,
                rpc_reply_fn *on_reply, void *arg);
