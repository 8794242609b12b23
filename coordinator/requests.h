/*
 * requests.h - what peers ask the coordinator: one const dispatch table, default deny.
 *
 * Flow. Owns the server's socket. Reads are answered from memory at once, also while the catalog
 * is away; writes of admins go to orders. A body that does not decode is dropped and counted.
 */
#pragma once
#include "coordinator/fleet.h"
#include "coordinator/holder.h"
#include "coordinator/ledger.h"
#include "coordinator/sources.h"
#include "proto/rpc.h"

struct requests_config {
    const char *name; /* of this coordinator */
    const char *url;
    const struct identity *identity;
    const struct peers *peers;
    struct fleet *fleet;
    struct sources *sources;
    struct ledger *ledger;
    struct holder *holder;
    void (*changed)(void *arg); /* fleet, map or content may have changed */
    void *arg;
};

struct requests;
/* config is copied, what it points to is borrowed. 0 or -errno (-EADDRINUSE). */
int requests_start(struct requests **ret, uv_loop_t *loop,
                   const struct requests_config *config) _must_check_;
void requests_tick(struct requests *r, usec_t now);
const uint64_t *requests_drops(const struct requests *r); /* [SEAL_DROP_COUNT] */
uint64_t requests_bad_bodies(const struct requests *r);
void requests_stop(struct requests *r);
struct requests *requests_free(struct requests *r); /* NULL is fine */
