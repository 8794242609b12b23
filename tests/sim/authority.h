/*
 * authority.h - the coordinator's side of the network, in its smallest form: a catalog of content
 * that nodes ask for by REPORT and CONTENT, through the real encoding.
 *
 * Not the product's coordinator: that one's fleet and orders have their own tests, and nothing that
 * a node does here depends on more than these two answers.
 */
#pragma once
#include "proto/message.h"
#include "tests/sim/sim.h"

#define AUTHORITY_ITEMS_MAX 32u

struct item {
    uint64_t version;
    uint8_t kind, state;
    int32_t id;
    uint32_t revision, all_revision;
    int64_t started_at, until;
    char *json;
};
struct authority {
    struct process process;
    struct host host;
    struct message *message;
    struct rpc_server *server;
    uint64_t version;
    unsigned count;
    struct item items[AUTHORITY_ITEMS_MAX];
};
extern struct authority authority;
void authority_open(void);
void authority_close(void);
/* An item's new state: version + 1. NULL json: as it was. Returns the version. */
uint64_t authority_put(int32_t id, uint8_t kind, uint8_t state, int64_t until, const char *json);
struct item *authority_item(int32_t id, uint8_t kind);
