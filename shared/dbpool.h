/*
 * dbpool.h - a bounded set of db connections to one database, one per *lane*.
 *
 * Lanes keep outcomes from waiting behind slow reads: what must stay in order shares a lane. With
 * fewer connections than lanes, lanes share (lane modulo count). Never opens more than count.
 */
#pragma once
#include "shared/db.h"

#define DBPOOL_MAX 64u

enum dbpool_lane { LANE_TICK, LANE_FILL, LANE_INTAKE, LANE_QUERY, LANE_COUNT };

struct dbpool;
typedef void dbpool_up_fn(void *arg, enum dbpool_lane lane, bool up);

/* application_name of config gets "/<lane>" appended. */
int dbpool_start(struct dbpool **ret, uv_loop_t *loop, const struct db_config *config,
                 unsigned count, struct rng *rng, dbpool_up_fn *on_up, void *arg) _must_check_;
struct db *dbpool_lane(struct dbpool *p, enum dbpool_lane lane);
unsigned dbpool_count(const struct dbpool *p);
unsigned dbpool_ready(const struct dbpool *p); /* how many are ready now */
unsigned dbpool_busy(const struct dbpool *p);  /* how many have a transaction open */
void dbpool_stop(struct dbpool *p);
struct dbpool *dbpool_free(struct dbpool *p);
