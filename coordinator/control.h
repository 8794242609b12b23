/*
 * control.h - the coordinator's pulse: each beat interval the catalog's beat, the states of nodes,
 * what is to be saved, what waits too long, and the hint.
 *
 * Flow. Owns the timer and the feed's publisher.
 */
#pragma once
#include "coordinator/fleet.h"
#include "coordinator/holder.h"
#include "coordinator/ledger.h"
#include "coordinator/requests.h"
#include "coordinator/sources.h"
#include "shared/service.h"

struct control_config {
    usec_t dead; /* D: a beat each second, or each third of it if that is less */
    struct fleet *fleet;
    struct sources *sources;
    struct ledger *ledger;
    struct holder *holder;
    struct service *service;
};

struct control;
int control_start(struct control **ret, uv_loop_t *loop,
                  const struct control_config *config) _must_check_;
/* From now on `requests` answers: tick it, and publish the hint on feed_url. 0 or -errno. */
int control_serve(struct control *c, const char *feed_url, struct requests *requests) _must_check_;
/* Something may have changed: writes what the fleet has marked (unless a write is on its way, then
 * after it), and publishes the hint if it is another one. */
void control_changed(struct control *c);
usec_t control_loop_lag(const struct control *c); /* the largest of the last interval */
void control_stop(struct control *c);
struct control *control_free(struct control *c); /* NULL is fine */
