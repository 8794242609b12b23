/* retention.c - the steps of a round, and when the next one is. */
#include "node/retention.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "shared/log.h"

#define ROUND_INTERVAL (3600 * USEC_PER_SEC)
#define BUSY_AGAIN     (3 * USEC_PER_SEC) /* somebody holds the lock: a question, a backup */
#define FAULT_AGAIN    (60 * USEC_PER_SEC)
#define PAUSE          (200 * USEC_PER_MSEC) /* between steps: others use the lane too */
#define STEP_TIMEOUT   (600 * USEC_PER_SEC)  /* an index of a large day */
#define ROWS           1000

enum step { STEP_DROP, STEP_INDEX, STEP_RECEIPTS, STEP_TRIGGERS, STEP_DIRECT, STEP_COUNT };

struct retention {
    struct partition *p;
    enum step step;
    bool asked;
    usec_t due;
    struct db_args args;
};

static const enum store_statement statements[STEP_COUNT] = {
    [STEP_DROP] = STORE_DAY_DROP,         [STEP_INDEX] = STORE_DAY_INDEX,
    [STEP_RECEIPTS] = STORE_OLD_RECEIPTS, [STEP_TRIGGERS] = STORE_OLD_TRIGGERS,
    [STEP_DIRECT] = STORE_OLD_DIRECT,
};

static bool
is_of_days(enum step step)
{
    return step == STEP_DROP || step == STEP_INDEX;
}

/* Nothing is left for the step: the next one, or the next round. */
static void
next_step(struct retention *r, usec_t now)
{
    r->step = (enum step)((r->step + 1) % STEP_COUNT);
    r->due = now + (r->step == STEP_DROP ? ROUND_INTERVAL : PAUSE);
}

static void
tell_day(const struct retention *r, struct slice name)
{
    log_event(LOG_LEVEL_INFO, r->step == STEP_DROP ? "retention.dropped" : "retention.indexed",
              "partition=%s day=%.*s", r->p->config.name, (int) name.bytes, name.data);
}

static void
done(struct retention *r, const struct db_reply *reply, usec_t now)
{
    bool more;

    if (is_of_days(r->step)) {
        more = db_rows(reply, 0) == 1 && !db_is_null(reply, 0, 0, 0);
        if (more)
            tell_day(r, db_get_text(reply, 0, 0, 0));
    } else {
        more = db_affected(reply, 1) == ROWS;
    }
    if (more)
        r->due = now + PAUSE;
    else
        next_step(r, now);
}

static void
on_done(void *arg, enum db_outcome outcome, const struct db_reply *reply)
{
    struct retention *r = arg;
    usec_t now = clock_boot();

    r->asked = false;
    if (outcome == DB_DONE) {
        done(r, reply, now);
    } else if (outcome == DB_REFUSED && strcmp(db_sqlstate(reply), "55P03") == 0) {
        r->due = now + BUSY_AGAIN;
    } else {
        if (outcome == DB_REFUSED)
            partition_log_refused(r->p, "retention", reply);
        r->due = now + FAULT_AGAIN;
    }
    partition_wake(r->p);
}

static void
put_args(struct retention *r)
{
    const struct retention_settings *keep = &r->p->config.retention;
    uint32_t days = r->step == STEP_DIRECT ? keep->direct_days : keep->message_days;

    db_args_reset(&r->args);
    if (r->step == STEP_INDEX)
        return;
    if (r->step != STEP_DROP)
        db_put_int8(&r->args, (int64_t) r->p->epoch);
    db_put_int4(&r->args, (int32_t) days);
    if (r->step != STEP_DROP)
        db_put_int4(&r->args, ROWS);
}

static void
ask(struct retention *r, struct db *lane, usec_t now)
{
    const struct db_call call = {statements[r->step], &r->args};
    const struct db_call locked[] = {{STORE_LOCK_SHARED, NULL}, call};

    put_args(r);
    int err = is_of_days(r->step) ? db_submit(lane, &call, 1, STEP_TIMEOUT, on_done, r)
                                  : db_submit(lane, locked, 2, STEP_TIMEOUT, on_done, r);
    r->asked = err == 0;
    r->due = now + BUSY_AGAIN;
}

/* Claims of a dead driver were settled before the partition opened, some moments ago: no closed day
 * is written any more. */
usec_t
retention_tick(struct retention *r, usec_t now)
{
    struct partition *p = r->p;

    if (r->asked || !partition_may_claim(p))
        return USEC_INFINITY;
    r->due = MAX_OF(r->due, p->taken_at + p->config.retention.rest);
    if (now < r->due)
        return r->due;
    struct db *lane = dbpool_lane(p->pool, LANE_QUERY);
    /* With one connection for all an index would hold up the sends. */
    if (r->step == STEP_INDEX && lane == partition_tick_lane(p))
        next_step(r, now);
    else
        ask(r, lane, now);
    return r->asked ? USEC_INFINITY : r->due;
}

int
retention_new(struct retention **ret, struct partition *p)
{
    struct retention *r = calloc(1, sizeof(*r));

    if (!r)
        return -ENOMEM;
    r->p = p;
    int err = db_args_init(&r->args, 256);
    if (err < 0)
        free(r);
    else
        *ret = r;
    return err;
}

struct retention *
retention_free(struct retention *r)
{
    if (!r)
        return NULL;
    db_args_done(&r->args);
    free(r);
    return NULL;
}
