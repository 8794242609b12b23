/*
 * world.h - one simulated cluster: partitions, nodes, work, faults drawn from the seed, and what
 * must hold.
 */
#pragma once
#include "tests/sim/authority.h"
#include "tests/sim/machine.h"
#include "tests/sim/network.h"
#include "tests/sim/provider.h"

#define MACHINES_MAX 6u
#define SERVERS_MAX  3u

struct known_source { /* what the world knows of a source, to judge sends by */
    int32_t id;
    uint8_t kind;
    char name[16], trigger[16], next[16];
    unsigned step_count;
    usec_t delays[4];
};
struct rule { /* from when on nothing of it may start: acknowledged by its driver */
    uint64_t version;
    unsigned source;           /* index into plans */
    usec_t since[SERVERS_MAX]; /* 0: not acknowledged there */
    bool over;
};
struct optout {
    uint64_t phone;
    unsigned server;
    usec_t since; /* 0: asked for only */
};
struct sent { /* by phone: what reached the provider */
    uint64_t phone;
    const struct receipt *last[8];
    unsigned count;
};

struct world {
    unsigned server_count, machine_count, device_count, lead_count;
    struct server servers[SERVERS_MAX];
    struct host hosts[MACHINES_MAX];
    struct machine machines[MACHINES_MAX]; /* of server i: i; clones behind them */
    unsigned plan_count;
    struct known_source plans[4];
    unsigned rule_count;
    struct rule rules[64];
    unsigned optout_count;
    struct optout optouts[64];
    usec_t faults_end;
    int64_t clock; /* of every server, when none is wrong */
    bool healed, restarted, capped, day, clock_jumps;
    uint64_t sends;
    struct process operator_;
    struct host operator_host;
    struct message *message;
};
extern struct world world;
void world_open(uint64_t seed, bool day);
void world_close(void);
void world_run(void); /* until all is done, or something failed */

/* ---- check.c ---- */
void check_open(void);
void check_close(void);
void check_leaves(void *arg, const struct receipt *r);
void check_arrives(void *arg, struct receipt *r);
void check_committed(void *arg, struct server *s);
void check_end(void);
const char *check_waits(void); /* NULL: every enrollment ended, or is unknown */
