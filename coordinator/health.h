/*
 * health.h - /livez, /readyz, /status and /metrics of the coordinator, on a port of their own.
 *
 * Flow. Every answer comes from memory. Ready = it can do its job now: the loop turns, the catalog
 * is connected, the term in it is ours.
 */
#pragma once
#include "coordinator/control.h"
#include "coordinator/fleet.h"
#include "coordinator/holder.h"
#include "coordinator/ledger.h"
#include "coordinator/requests.h"
#include "coordinator/sources.h"
#include "shared/service.h"

struct health_config { /* all borrowed */
    const char *name, *address;
    const char *version; /* of the program */
    usec_t watchdog;     /* a loop that did not turn for so long is dead */
    const struct fleet *fleet;
    const struct sources *sources;
    const struct ledger *ledger;
    const struct holder *holder;
    const struct control *control;
    const struct service *service;
    struct requests *const *requests; /* *requests is NULL until it serves */
};

struct health;
int health_start(struct health **ret, uv_loop_t *loop,
                 const struct health_config *config) _must_check_;
void health_stop(struct health *h);
struct health *health_free(struct health *h); /* NULL is fine */
