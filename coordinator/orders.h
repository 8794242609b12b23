/*
 * orders.h - what admins change: PLACE, APPLY, SOURCE, one at a time.
 *
 * Flow. Each order is judged against memory, committed by the ledger, then made in memory, then
 * answered; the next one is judged only after that. An order that is asked again while it waits
 * (the asker opens a new session after a second of silence) only moves its answer to the newest
 * ticket. A SOURCE order is answered when every partition has applied its version, or after 10 s.
 */
#pragma once
#include "coordinator/fleet.h"
#include "coordinator/holder.h"
#include "coordinator/ledger.h"
#include "coordinator/sources.h"
#include "proto/message.h"
#include "proto/rpc.h"

#define ORDERS_QUEUED_MAX 16u /* each may be a frame: 16 MiB */
#define ORDERS_WAITS_MAX  64u
#define ORDERS_WAIT       (10 * USEC_PER_SEC)

/* reply is borrowed; texts too. */
typedef void orders_answer_fn(void *arg, struct rpc_ticket ticket, const struct reply *reply);

struct orders_config {
    struct fleet *fleet;
    struct sources *sources;
    struct ledger *ledger;
    struct holder *holder;
    orders_answer_fn *answer;
    void (*changed)(void *arg); /* map or content were committed */
    void *arg;
};

struct orders;
struct orders *orders_new(const struct orders_config *config); /* copied; NULL: out of memory */
struct orders *orders_free(struct orders *o);                  /* after the ledger's loop is done */
/* Answers later or at once. `body` is the encoded request. */
void orders_put(struct orders *o, struct rpc_ticket ticket, const struct peer *peer,
                const struct request *q, struct slice body);
/* Answers SOURCE orders whose partitions have all applied, or whose time is up. */
void orders_tick(struct orders *o, usec_t now);
void orders_stop(struct orders *o); /* answers nobody any more */
