/* The driver of a partition: its states, its clock, its beat, and what it tells others. */
#include "node/partition.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/apply.h"
#include "node/audience.h"
#include "node/partition_inner.h"
#include "node/retention.h"
#include "node/sender.h"
#include "shared/log.h"

#define CLOCK_JUMP      (2 * USEC_PER_SEC)  /* DESIGN §6 */
#define OFFSET_KEPT     (10 * USEC_PER_SEC) /* clocks drift: a good sample is not good for ever */
#define DUE_COUNT_EVERY (5 * USEC_PER_SEC)
#define ARGS_BYTES      (32u * 1024u)

/* ---- states ---- */

static void effect_none(struct partition *p);
static void effect_look_again(struct partition *p);
static void effect_lose(struct partition *p);
static void effect_rest(struct partition *p);
static void effect_open(struct partition *p);
static void effect_fence(struct partition *p);
static void effect_tell_fenced(struct partition *p);
static void effect_stop(struct partition *p);
static void effect_doubt(struct partition *p);

struct partition_row {
    enum partition_state from;
    enum partition_event event;
    enum partition_state to;
    void (*effect)(struct partition *p);
    const char *why; /* in the log and the diagram */
};

/* clang-format off */
static const struct partition_row partition_table[] = {
    {PARTITION_DOWN, EVENT_UP, PARTITION_CHECKING, take_check, "the database answers"},
    {PARTITION_CLOSED, EVENT_AGAIN, PARTITION_CHECKING, take_check, "looks again each second"},
    {PARTITION_CHECKING, EVENT_FIT, PARTITION_CLEARING, take_clear, "it is ours to take"},
    {PARTITION_CHECKING, EVENT_UNFIT, PARTITION_CLOSED, effect_look_again, "a check does not pass"},
    {PARTITION_CHECKING, EVENT_HIGHER, PARTITION_FENCED, effect_fence, "another driver took it meanwhile"},
    {PARTITION_CLEARING, EVENT_CLEARED, PARTITION_TAKING, take_take, "no other node's session is left"},
    {PARTITION_CLEARING, EVENT_UNFIT, PARTITION_CLOSED, effect_look_again, "the days of message cannot be made"},
    {PARTITION_TAKING, EVENT_TAKEN, PARTITION_QUARANTINE, effect_rest, "a new epoch is ours"},
    {PARTITION_TAKING, EVENT_OVERTAKEN, PARTITION_CHECKING, take_check, "somebody was quicker"},
    {PARTITION_TAKING, EVENT_UNFIT, PARTITION_CLOSED, effect_look_again, "the take was refused"},
    {PARTITION_QUARANTINE, EVENT_RESTED, PARTITION_LOADING, load_start, "no send of an older epoch can start any more"},
    {PARTITION_LOADING, EVENT_LOADED, PARTITION_OPEN, effect_open, "older claims are settled, memory is loaded"},
    {PARTITION_LOADING, EVENT_UNFIT, PARTITION_CLOSED, effect_look_again, "memory cannot be loaded"},

    {PARTITION_QUARANTINE, EVENT_HIGHER, PARTITION_FENCED, effect_fence, "the row names a higher epoch"},
    {PARTITION_LOADING, EVENT_HIGHER, PARTITION_FENCED, effect_fence, "the row names a higher epoch"},
    {PARTITION_OPEN, EVENT_HIGHER, PARTITION_FENCED, effect_fence, "the row names a higher epoch"},
    {PARTITION_FENCED, EVENT_WIRE_EMPTY, PARTITION_FENCED, effect_tell_fenced, "every fact is recorded"},
    {PARTITION_FENCED, EVENT_WIRE_OVER, PARTITION_FENCED, effect_tell_fenced, "the facts cannot be recorded in time"},
    {PARTITION_FENCED, EVENT_LOST, PARTITION_FENCED, effect_none, "facts wait for the database"},

    {PARTITION_CHECKING, EVENT_LOST, PARTITION_DOWN, effect_lose, "connection lost"},
    {PARTITION_CLEARING, EVENT_LOST, PARTITION_DOWN, effect_lose, "connection lost"},
    {PARTITION_TAKING, EVENT_LOST, PARTITION_DOWN, effect_lose, "connection lost, the take is in doubt"},
    {PARTITION_QUARANTINE, EVENT_LOST, PARTITION_DOWN, effect_lose, "connection lost"},
    {PARTITION_LOADING, EVENT_LOST, PARTITION_DOWN, effect_lose, "connection lost"},
    {PARTITION_OPEN, EVENT_LOST, PARTITION_DOWN, effect_lose, "connection lost, writes may be in doubt"},
    {PARTITION_CLOSED, EVENT_LOST, PARTITION_DOWN, effect_lose, "connection lost"},

    {PARTITION_DOWN, EVENT_DRAIN, PARTITION_STOPPING, effect_stop, "asked to end"},
    {PARTITION_CHECKING, EVENT_DRAIN, PARTITION_STOPPING, effect_stop, "asked to end"},
    {PARTITION_CLEARING, EVENT_DRAIN, PARTITION_STOPPING, effect_stop, "asked to end"},
    {PARTITION_TAKING, EVENT_DRAIN, PARTITION_STOPPING, effect_stop, "asked to end"},
    {PARTITION_QUARANTINE, EVENT_DRAIN, PARTITION_STOPPING, effect_stop, "asked to end"},
    {PARTITION_LOADING, EVENT_DRAIN, PARTITION_STOPPING, effect_stop, "asked to end"},
    {PARTITION_OPEN, EVENT_DRAIN, PARTITION_STOPPING, effect_stop, "asked to end"},
    {PARTITION_CLOSED, EVENT_DRAIN, PARTITION_STOPPING, effect_stop, "asked to end"},
    {PARTITION_FENCED, EVENT_DRAIN, PARTITION_STOPPING, effect_stop, "asked to end"},
    {PARTITION_STOPPING, EVENT_LOST, PARTITION_STOPPING, effect_doubt, "facts wait for the database"},
    {PARTITION_STOPPING, EVENT_HIGHER, PARTITION_STOPPING, effect_none, "only facts are left to record"},
    {PARTITION_STOPPING, EVENT_WIRE_EMPTY, PARTITION_STOPPING, take_release, "every fact is recorded"},
    {PARTITION_STOPPING, EVENT_WIRE_OVER, PARTITION_STOPPED, effect_none, "the facts cannot be recorded in time"},
    {PARTITION_STOPPING, EVENT_RELEASED, PARTITION_STOPPED, effect_none, "let go"},
};
/* clang-format on */

static const char *const state_names[] = {[PARTITION_DOWN] = "down",
                                          [PARTITION_CHECKING] = "checking",
                                          [PARTITION_CLEARING] = "clearing",
                                          [PARTITION_TAKING] = "taking",
                                          [PARTITION_QUARANTINE] = "quarantine",
                                          [PARTITION_LOADING] = "loading",
                                          [PARTITION_OPEN] = "open",
                                          [PARTITION_CLOSED] = "closed",
                                          [PARTITION_FENCED] = "fenced",
                                          [PARTITION_STOPPING] = "stopping",
                                          [PARTITION_STOPPED] = "stopped"};

static const char *const event_names[] = {[EVENT_UP] = "up",
                                          [EVENT_LOST] = "lost",
                                          [EVENT_AGAIN] = "again",
                                          [EVENT_FIT] = "fit",
                                          [EVENT_UNFIT] = "unfit",
                                          [EVENT_CLEARED] = "cleared",
                                          [EVENT_TAKEN] = "taken",
                                          [EVENT_OVERTAKEN] = "overtaken",
                                          [EVENT_RESTED] = "rested",
                                          [EVENT_LOADED] = "loaded",
                                          [EVENT_HIGHER] = "higher_epoch",
                                          [EVENT_DRAIN] = "drain",
                                          [EVENT_WIRE_EMPTY] = "wire_empty",
                                          [EVENT_WIRE_OVER] = "wire_over",
                                          [EVENT_RELEASED] = "released"};

const char *
partition_state_name(enum partition_state s)
{
    return (unsigned) s < ARRAY_SIZE(state_names) ? state_names[s] : "?";
}

void
partition_print_fsm(void)
{
    printf("stateDiagram-v2\n    [*] --> %s\n", partition_state_name(PARTITION_DOWN));
    for (size_t i = 0; i < ARRAY_SIZE(partition_table); i++) {
        const struct partition_row *r = &partition_table[i];

        printf("    %s --> %s: %s (%s)\n", partition_state_name(r->from),
               partition_state_name(r->to), event_names[r->event], r->why);
    }
}

static void
tell(struct partition *p, int exit_code)
{
    p->on_news(p->news_arg, p, exit_code);
}

/* A pair that is not in the table is refused on purpose: a late answer to a question that no longer
 * matters. */
void
partition_event(struct partition *p, enum partition_event event)
{
    for (size_t i = 0; i < ARRAY_SIZE(partition_table); i++) {
        const struct partition_row *r = &partition_table[i];
        char why[128];

        if (r->from != p->state || r->event != event)
            continue;
        p->state = r->to;
        if (r->from != r->to)
            log_event(LOG_LEVEL_INFO, "partition.state",
                      "partition=%s from=%s to=%s epoch=%" PRIu64 " why=%s", p->config.name,
                      partition_state_name(r->from), partition_state_name(r->to), p->epoch,
                      log_quote(why, sizeof(why), r->why));
        r->effect(p);
        partition_wake(p);
        if (r->from != r->to)
            tell(p, 0);
        return;
    }
}

void
partition_because(struct partition *p, const char *format, ...)
{
    char reason[sizeof(p->reason)], quoted[sizeof(p->reason) + 32];
    va_list args;

    if (!format) {
        p->reason[0] = '\0';
        return;
    }
    va_start(args, format);
    vsnprintf(reason, sizeof(reason), format, args);
    va_end(args);
    if (strcmp(reason, p->reason) == 0)
        return; /* said once, not each second */
    memcpy(p->reason, reason, sizeof(reason));
    log_event(LOG_LEVEL_WARNING, "partition.reason", "partition=%s reason=%s", p->config.name,
              log_quote(quoted, sizeof(quoted), reason));
}

void
partition_log_refused(struct partition *p, const char *what, const struct db_reply *reply)
{
    char quoted[300];

    log_event(LOG_LEVEL_ERROR, "partition.refused", "partition=%s what=%s sqlstate=%s message=%s",
              p->config.name, what, db_sqlstate(reply),
              log_quote(quoted, sizeof(quoted), db_message(reply)));
}

/* ---- effects ---- */

static void
effect_none(struct partition *p)
{
}

static void
effect_look_again(struct partition *p)
{
    partition_arm_state(p, LOOK_AGAIN);
}

static void
suspend(struct partition *p)
{
    uv_timer_stop(&p->state_timer);
    sender_suspend(p->sender);
    audience_suspend(p->audience);
    apply_suspend(p->apply);
}

static void
effect_lose(struct partition *p)
{
    suspend(p);
    partition_because(p, "database: %s", db_error(partition_tick_lane(p)));
}

static void
effect_rest(struct partition *p)
{
    partition_because(p, NULL);
    partition_arm_state(p, p->rest ? p->config.timing.quarantine : 0);
}

static void
effect_open(struct partition *p)
{
    p->settled_epoch = p->epoch;
    partition_because(p, NULL);
    load_open(p);
}

static void
effect_fence(struct partition *p)
{
    suspend(p);
    p->news_told = false;
    partition_arm_state(p, p->config.timing.http + p->config.timing.commit);
}

/* A clone ends its process; a driver that was replaced stays, and says by whom. */
static void
effect_tell_fenced(struct partition *p)
{
    p->news_told = true;
    uv_timer_stop(&p->state_timer);
    tell(p, p->clone ? 78 : 0);
}

static void
effect_stop(struct partition *p)
{
    suspend(p);
    partition_arm_state(p, p->config.timing.http + p->config.timing.commit);
}

/* What was lost may still commit: the row is not released as clean. */
static void
effect_doubt(struct partition *p)
{
    p->settled_epoch = 0;
}

/* ---- what may be done ---- */

bool
partition_may_claim(const struct partition *p)
{
    return p->state == PARTITION_OPEN && !p->clock_off;
}

struct pace_now
partition_pace_now(const struct partition *p, usec_t at)
{
    struct pace_now now = {.driver_open = partition_may_claim(p),
                           .at = at,
                           .db_at = partition_db_now(p, at),
                           .warmup = &p->config.warmup};

    now.cluster_paused = book_cluster_paused(p->book, &now.cluster_until);
    return now;
}

/* Facts carry no epoch: they are recorded whenever the schema was found right. */
bool
partition_may_settle(const struct partition *p)
{
    switch (p->state) {
    case PARTITION_QUARANTINE:
    case PARTITION_LOADING:
    case PARTITION_OPEN:
    case PARTITION_FENCED:
    case PARTITION_STOPPING: return true;
    default: return false;
    }
}

struct db *
partition_tick_lane(struct partition *p)
{
    return dbpool_lane(p->pool, LANE_TICK);
}

bool
partition_judge(struct partition *p, int64_t epoch, struct slice driver,
                const struct uuid *incarnation)
{
    bool ours = memcmp(incarnation, &p->config.incarnation, sizeof(*incarnation)) == 0;

    if ((uint64_t) epoch == p->epoch && ours)
        return true;
    bool our_name = driver.bytes == strlen(p->config.node) &&
                    memcmp(driver.data, p->config.node, driver.bytes) == 0;

    p->clone = our_name && !ours;
    partition_because(p, "driven by %.*s%s in epoch %" PRId64 ", ours was %" PRIu64,
                      (int) MIN_OF(driver.bytes, (size_t) NAME_BYTES_MAX), driver.data,
                      p->clone ? " (another process of that name)" : "", epoch, p->epoch);
    p->meter.fenced++;
    partition_event(p, EVENT_HIGHER);
    return false;
}

/*
 * By a clock that jumped nothing is claimed, enrolled or expired; what was known stays the measure
 * until the database's clock is back there, or a new process begins with another.
 */
static void
judge_clock(struct partition *p, int64_t off, usec_t error)
{
    int64_t away = off < 0 ? -off : off;
    bool jumped = away > (int64_t) (CLOCK_JUMP + error + p->offset_error);

    if (jumped) {
        p->clock_off = true;
        partition_because(p, "clock: the database's jumped by %+.1f s",
                          (double) off / (double) USEC_PER_SEC);
    } else if (p->clock_off) {
        p->clock_off = false;
        partition_because(p, NULL);
        log_event(LOG_LEVEL_INFO, "partition.clock", "partition=%s back=yes", p->config.name);
        partition_wake(p);
    }
}

/* What runs before us on the lane may take its time: the transaction begins later. */
struct db_call
partition_lock_timed(struct partition *p)
{
    int64_t now = partition_db_now(p, clock_boot());
    int64_t jump = (int64_t) (CLOCK_JUMP + p->offset_error);

    db_args_reset(&p->timed_args);
    db_put_time(&p->timed_args, now - jump);
    db_put_time(&p->timed_args, now + jump + (int64_t) p->config.timing.commit);
    return (struct db_call){.statement = STORE_LOCK_TIMED, .args = &p->timed_args};
}

void
partition_judge_refused(struct partition *p, const struct db_reply *reply)
{
    if (strcmp(db_sqlstate(reply), "22012") == 0 && db_failed_call(reply) == 0)
        partition_suspect(p); /* the beat brings the time */
}

/* The shortest way there and back bounds the error best; but no sample is good for ever. */
static void
keep_offset(struct partition *p, int64_t db_time, usec_t submitted, usec_t now)
{
    usec_t error = (now - submitted) / 2;

    if (p->offset_at != 0)
        judge_clock(p, db_time - (int64_t) (submitted + error) - p->db_offset, error);
    if (p->clock_off)
        return;
    if (p->offset_at != 0 && error > p->offset_error && now - p->offset_at < OFFSET_KEPT)
        return;
    p->db_offset = db_time - (int64_t) (submitted + error);
    p->offset_error = error;
    p->offset_at = now;
}

bool
partition_read_epoch(struct partition *p, const struct db_reply *reply, unsigned call,
                     usec_t submitted)
{
    struct uuid incarnation = db_get_uuid(reply, call, 0, 2);

    keep_offset(p, db_get_time(reply, call, 0, 3), submitted, clock_boot());
    return partition_judge(p, db_get_int(reply, call, 0, 0), db_get_text(reply, call, 0, 1),
                           &incarnation);
}

unsigned
partition_breakers_open(const struct partition *p, enum breaker_kind kind)
{
    return book_breakers_open(p->book, kind);
}

int64_t
partition_db_now(const struct partition *p, usec_t now)
{
    return (int64_t) now + p->db_offset;
}

usec_t
partition_boot_of(const struct partition *p, int64_t unix_usec)
{
    if (unix_usec == INT64_MAX)
        return USEC_INFINITY;
    return unix_usec > p->db_offset ? (usec_t) (unix_usec - p->db_offset) : 0;
}

/* ---- timers ---- */

static void
arm(uv_timer_t *timer, uv_timer_cb fn, usec_t in)
{
    /* Up to the next whole millisecond, counted from now and not from the loop's cached time. */
    uv_update_time(timer->loop);
    uv_timer_start(timer, fn, (in + USEC_PER_MSEC - 1) / USEC_PER_MSEC, 0);
}

static void
on_state_timer(uv_timer_t *timer)
{
    struct partition *p = timer->data;

    switch (p->state) {
    case PARTITION_CLOSED: partition_event(p, EVENT_AGAIN); break;
    case PARTITION_QUARANTINE: partition_event(p, EVENT_RESTED); break;
    case PARTITION_FENCED:
    case PARTITION_STOPPING: partition_event(p, EVENT_WIRE_OVER); break;
    default: break;
    }
}

void
partition_arm_state(struct partition *p, usec_t in)
{
    arm(&p->state_timer, on_state_timer, in);
}

static bool
driving(const struct partition *p)
{
    return p->epoch != 0 && partition_may_settle(p) && p->state != PARTITION_FENCED;
}

static void
on_beat_timer(uv_timer_t *timer)
{
    struct partition *p = timer->data;

    if (!driving(p) || !db_ready(partition_tick_lane(p)))
        return;
    take_beat(p);
    if (p->state == PARTITION_OPEN && clock_boot() >= p->days_due)
        take_days(p);
}

static void
on_step(uv_timer_t *timer)
{
    struct partition *p = timer->data;
    usec_t now = clock_boot(), next;

    p->step_due = USEC_INFINITY;
    next = sender_tick(p->sender, now);
    next = MIN_OF(next, audience_tick(p->audience, now));
    next = MIN_OF(next, retention_tick(p->retention, now));
    next = MIN_OF(next, apply_tick(p->apply, now));
    next = MIN_OF(next, zonedata_tick(p->zonedata, now));
    load_tick(p->load);
    if (sender_busy(p->sender) == 0) {
        if (p->state == PARTITION_FENCED && !p->news_told)
            partition_event(p, EVENT_WIRE_EMPTY);
        else if (p->state == PARTITION_STOPPING && !p->release_asked)
            partition_event(p, EVENT_WIRE_EMPTY);
    }
    if (p->stopped || next >= p->step_due)
        return; /* woken meanwhile, earlier */
    now = clock_boot();
    p->step_due = next;
    arm(&p->step_timer, on_step, next > now ? next - now : 0);
}

void
partition_wake(struct partition *p)
{
    if (p->stopped || p->step_due == 0)
        return;
    p->step_due = 0;
    uv_timer_start(&p->step_timer, on_step, 0, 0);
}

static void
on_lane(void *arg, enum dbpool_lane lane, bool up)
{
    struct partition *p = arg;

    if (p->stopped)
        return;
    if (lane == LANE_TICK) {
        if (!up && p->state == PARTITION_DOWN)
            partition_because(p, "database: %s", db_error(partition_tick_lane(p)));
        partition_event(p, up ? EVENT_UP : EVENT_LOST);
    }
    partition_wake(p);
}

/* ---- life ---- */

static int
new_parts(struct partition *p)
{
    int r = db_args_init(&p->args, ARGS_BYTES);

    if (r == 0)
        r = db_args_init(&p->timed_args, 256);
    if (r < 0)
        return r;
    p->devices = schedule_new();
    p->book = book_new();
    p->zones = zones_new();
    if (!p->devices || !p->book || !p->zones)
        return -ENOMEM;
    if ((r = sender_new(&p->sender, p)) < 0 || (r = audience_new(&p->audience, p)) < 0 ||
        (r = retention_new(&p->retention, p)) < 0 || (r = apply_new(&p->apply, p)) < 0 ||
        (r = load_new(&p->load, p)) < 0 || (r = zonedata_new(&p->zonedata, p)) < 0)
        return r;
    return 0;
}

static int
start_pool(struct partition *p)
{
    snprintf(p->application_name, sizeof(p->application_name), "fleetcast-node/%s", p->config.node);
    p->pool_config = (struct db_config){.dsn = p->config.dsn,
                                        .application_name = p->application_name,
                                        .statements = store_statements,
                                        .statement_count = STORE_COUNT,
                                        .connect_timeout = p->config.timing.connect,
                                        .reconnect = true,
                                        .settings = store_settings};
    return dbpool_start(&p->pool, p->loop, &p->pool_config, p->config.pool_max, p->rng, on_lane, p);
}

static void
free_device(void *arg, struct device *d)
{
    struct partition *p = arg;

    schedule_remove(p->devices, d);
    device_free(d);
}

struct partition *
partition_free(struct partition *p)
{
    if (!p)
        return NULL;
    assert(p->timers_open == 0);
    p->zonedata = zonedata_free(p->zonedata);
    p->load = load_free(p->load);
    p->apply = apply_free(p->apply);
    p->audience = audience_free(p->audience);
    p->retention = retention_free(p->retention);
    p->sender = sender_free(p->sender);
    if (p->devices)
        schedule_each(p->devices, free_device, p);
    p->devices = schedule_free(p->devices);
    p->book = book_free(p->book);
    p->zones = zones_free(p->zones);
    p->pool = dbpool_free(p->pool);
    db_args_done(&p->args);
    db_args_done(&p->timed_args);
    free(p);
    return NULL;
}

static void
start_timers(struct partition *p)
{
    uv_timer_t *timers[] = {&p->state_timer, &p->beat_timer, &p->step_timer};
    uint64_t beat_ms = p->config.timing.dead / 3 / USEC_PER_MSEC;

    for (size_t i = 0; i < ARRAY_SIZE(timers); i++) {
        uv_timer_init(p->loop, timers[i]); /* cannot fail */
        timers[i]->data = p;
        p->timers_open++;
    }
    uv_timer_start(&p->beat_timer, on_beat_timer, beat_ms, beat_ms);
}

int
partition_start(struct partition **ret, uv_loop_t *loop, const struct partition_config *config,
                struct transport *transport, struct rng *rng, partition_news_fn *on_news, void *arg)
{
    struct partition *p = calloc(1, sizeof(*p));
    int r;

    if (!p)
        return -ENOMEM;
    *p = (struct partition){.loop = loop,
                            .config = *config,
                            .transport = transport,
                            .rng = rng,
                            .on_news = on_news,
                            .news_arg = arg,
                            .step_due = USEC_INFINITY};
    meter_init(&p->meter, clock_boot());
    r = new_parts(p);
    if (r == 0)
        r = start_pool(p);
    if (r < 0) {
        partition_free(p);
        return r;
    }
    start_timers(p);
    *ret = p;
    return 0;
}

void
partition_drain(struct partition *p)
{
    partition_event(p, EVENT_DRAIN);
}

static void
on_closed(uv_handle_t *handle)
{
    struct partition *p = handle->data;

    p->timers_open--;
}

void
partition_stop(struct partition *p)
{
    if (p->stopped)
        return;
    p->stopped = true;
    p->state = PARTITION_STOPPED;
    uv_close((uv_handle_t *) &p->state_timer, on_closed);
    uv_close((uv_handle_t *) &p->beat_timer, on_closed);
    uv_close((uv_handle_t *) &p->step_timer, on_closed);
    dbpool_stop(p->pool);
}

/* ---- what others ask ---- */

const char *
partition_name(const struct partition *p)
{
    return p->config.name;
}

enum partition_state
partition_state_of(const struct partition *p)
{
    return p->state;
}

bool
partition_may_write(const struct partition *p)
{
    return p->state == PARTITION_OPEN;
}

bool
partition_clock_ok(const struct partition *p)
{
    return !p->clock_off;
}

uint64_t
partition_epoch(const struct partition *p)
{
    return p->epoch;
}

const char *
partition_reason(const struct partition *p)
{
    return p->reason;
}

struct dbpool *
partition_pool(struct partition *p)
{
    return p->pool;
}

struct schedule *
partition_devices(struct partition *p)
{
    return p->devices;
}

struct meter *
partition_meter(struct partition *p)
{
    return &p->meter;
}

struct due_count {
    int64_t db_now, oldest;
    uint64_t due;
};

static void
count_due(void *arg, struct device *d)
{
    struct due_count *c = arg;

    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        const struct entry_list *l = &d->lists[class];

        for (unsigned i = 0; i < l->count && l->entries[l->head + i].due <= c->db_now; i++) {
            c->oldest = MIN_OF(c->oldest, l->entries[l->head + i].due);
            c->due++;
        }
    }
}

/* A walk over all devices, so not at each report: idle devices must cost nothing. */
static void
refresh_due(struct partition *p, usec_t now)
{
    struct due_count c = {.db_now = partition_db_now(p, now), .oldest = INT64_MAX};

    if (p->due_counted != 0 && now - p->due_counted < DUE_COUNT_EVERY)
        return;
    schedule_each(p->devices, count_due, &c);
    p->due = c.due;
    p->oldest_due = c.due ? (usec_t) (c.db_now - c.oldest) : 0;
    p->due_counted = now;
}

void
partition_report(struct partition *p, usec_t now, struct partition_report *ret)
{
    const char *gate =
        p->clock_off && p->state == PARTITION_OPEN ? "clock" : partition_state_name(p->state);
    uint64_t wire = sender_on_wire(p->sender);

    refresh_due(p, now);
    *ret = (struct partition_report){
        .name = {p->config.name, strlen(p->config.name)},
        .epoch = p->epoch,
        .state = (uint8_t) p->state,
        .gate = {gate, strlen(gate)},
        .reason = {p->reason, strlen(p->reason)},
        .timeline = p->mark.timeline,
        .lsn = p->mark.lsn,
        .content_applied = p->content_applied,
        .beat_age = p->beat_at ? now - p->beat_at : USEC_INFINITY,
        .devices = schedule_count(p->devices),
        .live = p->live,
        .due = p->due,
        .oldest_due = p->oldest_due,
        .sent = p->meter.sent,
        .failed = p->meter.failed,
        .unknown = p->meter.unknown,
        .doubts_open = p->doubts,
        .in_flight = (uint32_t) wire,
        .pool_busy = dbpool_busy(p->pool),
        .pool_max = p->config.pool_max,
        .rate_milli = meter_rate_milli(&p->meter, now),
        .plan_milli = (uint32_t) MIN_OF(p->plan_milli, (uint64_t) UINT32_MAX),
        .lateness = p->meter.lateness,
    };
}

int
partition_device_changed(struct partition *p, int32_t device_id)
{
    return load_ask_device(p->load, device_id);
}

void
partition_triggers_set(struct partition *p, int32_t device_id)
{
    struct device *d = schedule_find(p->devices, device_id);

    if (!d)
        return; /* it was not read yet, and is looked at when it is */
    d->triggers_open = true;
    audience_look(p->audience, d);
}

int
partition_apply_content(struct partition *p, const struct content_page *page)
{
    return p->state == PARTITION_OPEN ? apply_page(p->apply, page) : -EAGAIN;
}

uint64_t
partition_content_applied(const struct partition *p)
{
    return p->content_applied;
}

uint64_t
partition_content_wanted(const struct partition *p)
{
    return apply_wanted(p->apply);
}

void
partition_suspect(struct partition *p)
{
    if (driving(p) && db_ready(partition_tick_lane(p)))
        take_beat(p);
}
