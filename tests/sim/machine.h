/*
 * machine.h - one fleetcast-node on one host: what node/node.c owns, without its sockets.
 *
 * Its real flows: partition (take, load, sender, audience, apply), acts, uplink. A kill takes its
 * memory down while nothing of it reaches the outside any more; what was on its way goes on.
 */
#pragma once
#include "node/acts.h"
#include "node/partition.h"
#include "node/uplink.h"
#include "shared/secret.h"
#include "tests/sim/server.h"

struct machine {
    struct process process;
    struct host *host;
    char name[25], url[64];
    struct server *server;                  /* its home partition */
    bool running, draining, must_not_start; /* 78: another process of its name took over */
    bool closing;
    struct rng rng;
    struct uuid incarnation;
    struct transport *transport;
    struct partition *partition;
    struct message *reader;
    struct replies replies;
    struct rpc_server *rpc;
    struct acts *acts;
    struct uplink *uplink;
    struct event end;
    uint64_t starts;
};
extern uint8_t machine_key[SECRET_KEY_BYTES];
extern struct timing machine_timing;
void machine_open(struct machine *m, struct host *host, const char *name, struct server *server);
void machine_start(struct machine *m);
void machine_kill(struct machine *m); /* from the world only */
void machine_drain(struct machine *m);
