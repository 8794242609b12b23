/* Becoming the driver: check, clear, take; then the beat that shows whether we still are. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "node/partition_inner.h"
#include "node/sender.h"
#include "shared/log.h"

#define MARK_INTERVAL (10 * USEC_PER_SEC)
#define DAYS_INTERVAL (3600 * USEC_PER_SEC)
#define DAYS_AGAIN    (60 * USEC_PER_SEC) /* another transaction held the table */
#define CLEAR_TIMEOUT (10 * USEC_PER_SEC) /* no deadline of a send depends on these */

/* A step of the take that could not even be asked: the lane is gone or full. */
static void
ask(struct partition *p, const struct db_call *calls, unsigned count, usec_t timeout,
    db_done_fn *done)
{
    int r = db_submit(partition_tick_lane(p), calls, count, timeout, done, p);

    if (r == 0 || r == -ENOTCONN) /* then EVENT_LOST is on its way */
        return;
    partition_because(p, "cannot ask the database: %s", strerror(-r));
    partition_event(p, EVENT_UNFIT);
}

/* ---- check ---- */

static void
put_our_backends(struct partition *p, struct db_args *args)
{
    int32_t pids[LANE_COUNT];
    unsigned count = 0;

    for (unsigned lane = 0; lane < dbpool_count(p->pool); lane++) {
        int pid = db_backend_pid(dbpool_lane(p->pool, (enum dbpool_lane) lane));

        if (pid != 0)
            pids[count++] = pid;
    }
    db_put_int4s(args, pids, count);
}

struct check {
    uint64_t epoch, lsn;
    struct slice driver;
    struct uuid incarnation;
    bool clean;
};

/* Is the row one that we may take over from? Tells the event. */
static enum partition_event
judge_owner(struct partition *p, const struct check *c)
{
    bool nobody = c->driver.bytes == 0;
    bool our_name = c->driver.bytes == strlen(p->config.node) &&
                    memcmp(c->driver.data, p->config.node, c->driver.bytes) == 0;
    bool our_process = memcmp(&c->incarnation, &p->config.incarnation, sizeof(c->incarnation)) == 0;

    if (p->epoch != 0 && !(our_name && our_process) && c->epoch > p->epoch) {
        p->clone = our_name;
        partition_because(p, "driven by %.*s%s in epoch %" PRIu64 ", ours was %" PRIu64,
                          (int) MIN_OF(c->driver.bytes, (size_t) NAME_BYTES_MAX), c->driver.data,
                          our_name ? " (another process of that name)" : "", c->epoch, p->epoch);
        p->meter.fenced++;
        return EVENT_HIGHER;
    }
    if (!nobody && !our_name) {
        partition_because(p, "driven by %.*s in epoch %" PRIu64,
                          (int) MIN_OF(c->driver.bytes, (size_t) NAME_BYTES_MAX), c->driver.data,
                          c->epoch);
        return EVENT_UNFIT;
    }
    /* This very process knows that nothing of its older epoch can start any more. A rest that was
     * owed before, by a take whose answer was lost, is still owed. */
    p->rest |= !c->clean && !(our_name && our_process);
    p->taken_how = our_process ? "connection lost" : c->clean ? "clean start" : "start";
    return EVENT_FIT;
}

/* A database behind what this host has seen was rolled back: what was sent would wait again. The
 * mark's WAL had been flushed, so its position counts on a later timeline too. */
static bool
behind_the_mark(struct partition *p, const struct check *c)
{
    struct highwater mark;
    uint64_t seen = p->epoch, lsn = p->mark.lsn;
    int r = p->config.home ? highwater_read(p->config.state_dir, p->config.name, &mark) : -ENOENT;

    if (r == 0) {
        seen = MAX_OF(seen, mark.epoch);
        lsn = MAX_OF(lsn, mark.lsn);
    }
    if (c->epoch >= seen && c->lsn >= lsn)
        return false;
    partition_because(p,
                      "rolled back: the database is in epoch %" PRIu64 " at LSN %" PRIu64
                      ", %" PRIu64 " at %" PRIu64 " was seen",
                      c->epoch, c->lsn, seen, lsn);
    return true;
}

/* The name of a condition that does not hold, or NULL. Order of the columns: STORE_CHECK. */
static const char *
judge_settings(struct partition *p, const struct db_reply *r)
{
    if (db_get_int(r, 0, 0, 6) != STORE_SCHEMA_VERSION)
        return "schema version is not the one of this program";
    if (db_get_bool(r, 0, 0, 12))
        return "the database is a standby";
    if (!db_get_bool(r, 0, 0, 7))
        return "durability: fsync is off";
    if (!db_get_bool(r, 0, 0, 8))
        return "durability: full_page_writes is off";
    if (!db_get_bool(r, 0, 0, 9))
        return "durability: synchronous_commit is not on";
    if (!db_get_bool(r, 0, 0, 10))
        return "the session's settings are not those that were set";
    if (db_get_int(r, 0, 0, 11) < (int64_t) p->config.pool_max)
        return "pool: max is above the connections that PostgreSQL has left";
    struct slice name = db_get_text(r, 0, 0, 4);
    if (name.bytes != strlen(p->config.name) || memcmp(name.data, p->config.name, name.bytes) != 0)
        return "this database belongs to another partition";
    /* Several hosts need a strict synchronous standby, or a failover loses what was sent. */
    const char *hosts = strstr(p->config.dsn, "host");
    if (hosts && memchr(hosts, ',', strcspn(hosts, " ")))
        return "durability: several hosts without a synchronous standby";
    return NULL;
}

static void
on_checked(void *arg, enum db_outcome outcome, const struct db_reply *reply)
{
    struct partition *p = arg;
    const char *unfit;

    if (p->state != PARTITION_CHECKING || outcome == DB_LOST)
        return;
    if (outcome != DB_DONE || db_rows(reply, 0) != 1) {
        partition_because(p, "check: %s",
                          outcome == DB_REFUSED ? db_message(reply) : "table owner has no row");
        partition_event(p, EVENT_UNFIT);
        return;
    }
    const struct check c = {.epoch = (uint64_t) db_get_int(reply, 0, 0, 0),
                            .driver = db_get_text(reply, 0, 0, 1),
                            .incarnation = db_get_uuid(reply, 0, 0, 2),
                            .clean = db_get_bool(reply, 0, 0, 3),
                            .lsn = (uint64_t) db_get_int(reply, 0, 0, 13)};

    if ((unfit = judge_settings(p, reply)) != NULL)
        partition_because(p, "%s", unfit);
    if (unfit || behind_the_mark(p, &c)) {
        partition_event(p, EVENT_UNFIT);
        return;
    }
    enum partition_event event = judge_owner(p, &c);
    if (event == EVENT_FIT)
        p->epoch_seen = c.epoch;
    partition_event(p, event);
}

void
take_check(struct partition *p)
{
    const struct db_call call = {.statement = STORE_CHECK, .args = &p->args};

    db_args_reset(&p->args);
    put_our_backends(p, &p->args);
    ask(p, &call, 1, CLEAR_TIMEOUT, on_checked);
}

/* ---- clear ---- */

static void
on_cleared(void *arg, enum db_outcome outcome, const struct db_reply *reply)
{
    struct partition *p = arg;

    if (p->state != PARTITION_CLEARING || outcome == DB_LOST)
        return;
    if (outcome != DB_DONE) {
        partition_because(p, "clear: %s", db_message(reply));
        partition_event(p, EVENT_UNFIT);
        return;
    }
    if (db_get_int(reply, 0, 0, 0) > 0)
        log_event(LOG_LEVEL_INFO, "partition.cleared", "partition=%s sessions=%" PRId64,
                  p->config.name, db_get_int(reply, 0, 0, 0));
    partition_event(p, EVENT_CLEARED);
}

static void
on_first_days(void *arg, enum db_outcome outcome, const struct db_reply *reply)
{
    struct partition *p = arg;

    if (outcome == DB_DONE)
        p->days_due = clock_boot() + DAYS_INTERVAL;
    else if (p->state == PARTITION_CLEARING && outcome == DB_REFUSED) {
        partition_because(p, "days of message: %s", db_message(reply));
        partition_event(p, EVENT_UNFIT);
    }
}

/* First our days: without today's nothing could be recorded. Then everybody else's sessions. */
void
take_clear(struct partition *p)
{
    const struct db_call days = {.statement = STORE_DAYS};
    const struct db_call clear = {.statement = STORE_CLEAR, .args = &p->args};

    db_args_reset(&p->args);
    put_our_backends(p, &p->args);
    ask(p, &days, 1, CLEAR_TIMEOUT, on_first_days);
    if (p->state == PARTITION_CLEARING)
        ask(p, &clear, 1, CLEAR_TIMEOUT, on_cleared);
}

/* ---- take ---- */

static void
on_taken(void *arg, enum db_outcome outcome, const struct db_reply *reply)
{
    struct partition *p = arg;

    if (outcome == DB_LOST)
        return; /* in doubt: the next check finds our own incarnation in the row, or not */
    if (outcome != DB_DONE) {
        partition_because(p, "take: %s", db_message(reply));
        partition_event(p, EVENT_UNFIT);
        return;
    }
    if (db_rows(reply, 1) == 0) {
        partition_event(p, EVENT_OVERTAKEN);
        return;
    }
    p->epoch = (uint64_t) db_get_int(reply, 1, 0, 0);
    p->taken_at = clock_boot();
    p->beat_at = p->taken_at;
    p->clone = false;
    log_event(LOG_LEVEL_INFO, "partition.taken",
              "partition=%s epoch=%" PRIu64 " how=\"%s\" rest=%s", p->config.name, p->epoch,
              p->taken_how, p->rest ? "yes" : "no");
    if (!partition_read_epoch(p, reply, 2, p->asked_at))
        return;
    p->content_applied = (uint64_t) db_get_int(reply, 2, 0, 4);
    partition_event(p, EVENT_TAKEN);
}

/* The deadline is not C: no send depends on it, and the exclusive lock waits for every open
 * transaction, also for one of a session that was told to end. */
void
take_take(struct partition *p)
{
    const struct db_call calls[] = {{.statement = STORE_LOCK_EXCLUSIVE},
                                    {.statement = STORE_TAKE, .args = &p->args},
                                    {.statement = STORE_EPOCH}};
    struct slice node = {p->config.node, strlen(p->config.node)};

    db_args_reset(&p->args);
    db_put_int8(&p->args, (int64_t) p->epoch_seen);
    db_put_text(&p->args, node);
    db_put_uuid(&p->args, &p->config.incarnation);
    db_put_text(&p->args, (struct slice){p->taken_how, strlen(p->taken_how)});
    p->asked_at = clock_boot();
    ask(p, calls, ARRAY_SIZE(calls), CLEAR_TIMEOUT, on_taken);
}

/* ---- beat ---- */

static void
keep_mark(struct partition *p, const struct db_reply *reply)
{
    usec_t now = clock_boot();

    p->mark = (struct highwater){.timeline = (uint32_t) db_get_int(reply, 1, 0, 2),
                                 .lsn = (uint64_t) db_get_int(reply, 1, 0, 1),
                                 .epoch = p->epoch};
    if (!p->config.home || (p->mark_written != 0 && now - p->mark_written < MARK_INTERVAL))
        return;
    p->mark_written = now;
    int r = highwater_write(p->config.state_dir, p->config.name, &p->mark);
    if (r < 0)
        log_event(LOG_LEVEL_ERROR, "highwater.failed", "partition=%s error=\"%s\"", p->config.name,
                  strerror(-r));
}

static void
on_beat(void *arg, enum db_outcome outcome, const struct db_reply *reply)
{
    struct partition *p = arg;

    p->beat_asked = false;
    if (outcome == DB_REFUSED)
        partition_log_refused(p, "beat", reply);
    if (outcome != DB_DONE || !partition_read_epoch(p, reply, 2, p->asked_at))
        return;
    if (db_rows(reply, 1) != 1)
        return; /* taken and read in one transaction: cannot differ */
    p->beat_at = clock_boot();
    keep_mark(p, reply);
}

void
take_beat(struct partition *p)
{
    const struct db_call calls[] = {{.statement = STORE_LOCK_SHARED},
                                    {.statement = STORE_BEAT, .args = &p->args},
                                    {.statement = STORE_EPOCH}};

    if (p->beat_asked)
        return;
    db_args_reset(&p->args);
    db_put_int8(&p->args, (int64_t) p->epoch);
    p->asked_at = clock_boot();
    p->beat_asked = db_submit(partition_tick_lane(p), calls, ARRAY_SIZE(calls),
                              p->config.timing.commit, on_beat, p) == 0;
}

/* ---- days ---- */

static void
on_days(void *arg, enum db_outcome outcome, const struct db_reply *reply)
{
    struct partition *p = arg;

    p->days_asked = false;
    if (outcome == DB_REFUSED)
        partition_log_refused(p, "days", reply);
    p->days_due = clock_boot() + (outcome == DB_DONE ? DAYS_INTERVAL : DAYS_AGAIN);
}

/* On the lane of fills: the lock on the table may have to wait. */
void
take_days(struct partition *p)
{
    const struct db_call call = {.statement = STORE_DAYS};
    struct db *lane = dbpool_lane(p->pool, LANE_FILL);

    if (!p->days_asked)
        p->days_asked = db_submit(lane, &call, 1, READ_TIMEOUT, on_days, p) == 0;
}

/* ---- release ---- */

static void
on_released(void *arg, enum db_outcome outcome, const struct db_reply *reply)
{
    struct partition *p = arg;

    if (outcome == DB_REFUSED)
        partition_log_refused(p, "release", reply);
    partition_event(p, EVENT_RELEASED);
}

static void
release(struct partition *p)
{
    const struct db_call calls[] = {{.statement = STORE_LOCK_EXCLUSIVE},
                                    {.statement = STORE_RELEASE, .args = &p->args}};

    db_args_reset(&p->args);
    db_put_int8(&p->args, (int64_t) p->epoch);
    if (db_submit(partition_tick_lane(p), calls, ARRAY_SIZE(calls), p->config.timing.commit,
                  on_released, p) < 0)
        partition_event(p, EVENT_RELEASED);
}

/* Only an epoch in which older claims were settled and nothing of ours is left may be clean; any
 * other next take waits Q, which is never wrong. */
void
take_release(struct partition *p)
{
    p->release_asked = true;
    if (p->epoch == 0 || p->settled_epoch != p->epoch)
        partition_event(p, EVENT_RELEASED);
    else
        sender_give_back(p, release);
}
