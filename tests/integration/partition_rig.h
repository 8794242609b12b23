/*
 * partition_rig.h - a driver in this process on real PostgreSQL, its wire a double.
 *
 * Static functions, for the programs that test one partition's driver: the double remembers every
 * request (wire_log), the loop turns until a condition holds (run_until).
 */
#pragma once
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node/partition.h"
#include "shared/content.h"
#include "tests/integration/partition_fixture.h"

#define LOG_MAX 20000

/* ---- the wire: what left, when, and what was answered ---- */

struct sent {
    int32_t device_id;
    uint64_t phone;
    char token[100], text[100];
    usec_t started, ended; /* started 0: the guard refused; ended 0: no answer was heard */
    enum outcome outcome;
};
static struct sent wire_log[LOG_MAX];
static unsigned wire_count;

struct transport {
    uv_loop_t *loop;
    unsigned slots, in_flight;
    unsigned latency_ms;
    void (*script)(const struct sent *r, unsigned nth, struct outcome_report *ret);
    unsigned process; /* answers to one that is gone are heard by nobody */
};

struct pending {
    uv_timer_t timer;
    struct transport *t;
    unsigned process;
    struct sent *request;
    send_guard_fn *guard;
    send_done_fn *done;
    void *arg;
    struct outcome_report report;
    bool asked;
};

static inline void
on_pending_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static inline void
on_pending(uv_timer_t *timer)
{
    struct pending *w = timer->data;
    struct outcome_report *r = &w->report;
    usec_t now = clock_boot();

    bool heard = w->process == w->t->process;

    if (!w->asked && heard) {
        w->asked = true;
        r->calls = 1;
        if (w->guard(w->arg, now)) {
            w->request->started = r->first_byte = now;
            uv_timer_start(timer, on_pending, w->t->latency_ms, 0);
            return;
        }
        r->guarded = true;
        r->outcome = OUTCOME_NOT_SENT;
    }
    uv_close((uv_handle_t *) timer, on_pending_closed);
    if (!heard)
        return;
    w->t->in_flight--;
    w->request->ended = r->guarded ? 0 : now;
    r->ended = clock_boot();
    w->request->outcome = r->outcome;
    w->done(w->arg, r);
}

int
transport_send(struct transport *t, const struct outgoing *o, send_guard_fn *guard,
               send_done_fn *done, void *arg)
{
    struct pending *w = calloc(1, sizeof(*w));

    if (t->in_flight == t->slots) {
        free(w);
        return -EAGAIN;
    }
    ck_assert(wire_count < LOG_MAX);
    struct sent *r = &wire_log[wire_count];
    *r = (struct sent){.phone = o->phone};
    r->device_id = (int32_t) ((o->phone - 60000000000) / 100000);
    snprintf(r->token, sizeof(r->token), "%.*s", (int) o->token.bytes, o->token.data);
    snprintf(r->text, sizeof(r->text), "%.*s", (int) o->text.bytes, o->text.data);
    *w = (struct pending){
        .t = t, .process = t->process, .request = r, .guard = guard, .done = done, .arg = arg};
    w->report.outcome = OUTCOME_SENT;
    w->report.provider_id = (struct slice){"wamid", 5};
    if (t->script)
        t->script(r, wire_count, &w->report);
    wire_count++;
    t->in_flight++;
    uv_timer_init(t->loop, &w->timer);
    w->timer.data = w;
    uv_timer_start(&w->timer, on_pending, 0, 0);
    return 0;
}

unsigned
transport_in_flight(const struct transport *t)
{
    return t->in_flight;
}

unsigned
transport_free_slots(const struct transport *t)
{
    return t->slots - t->in_flight;
}

const struct gateway *
gateway_find(struct slice name)
{
    return name.bytes == 4 && memcmp(name.data, "null", 4) == 0 ? &gateway_null : NULL;
}

/* ---- a driver and its loop ---- */

struct rig {
    uv_loop_t loop;
    uv_timer_t tick;
    struct transport transport;
    struct rng rng;
    struct partition *p;
    int exit_code;
    bool (*until)(struct rig *rig);
    bool reached;
};
static struct rig rig;
static char state_dir[32];
static uint8_t incarnations;

static const struct timing timing = {.send_window = 500 * USEC_PER_MSEC,
                                     .commit = 200 * USEC_PER_MSEC,
                                     .connect = 200 * USEC_PER_MSEC,
                                     .quarantine = 1100 * USEC_PER_MSEC,
                                     .dead = USEC_PER_SEC,
                                     .http = 2 * USEC_PER_SEC,
                                     .tick = 20 * USEC_PER_MSEC};

static inline void
on_news(void *arg _unused_, struct partition *p _unused_, int exit_code)
{
    if (exit_code)
        rig.exit_code = exit_code;
}

static struct warmup rig_warmup; /* none */

static inline void
start_as(const char *node)
{
    static char dsn[PGTEMP_DSN_MAX];
    static const uint8_t key[32];
    struct partition_config config = {.name = PARTITION,
                                      .dsn = pgtemp_dsn(pg, PARTITION, "fleetcast_node", dsn),
                                      .home = true,
                                      .pool_max = 4,
                                      .node = node,
                                      .state_dir = state_dir,
                                      .token_key = key,
                                      .base_url = "https://example.org",
                                      .version = "v25.0",
                                      .timing = timing,
                                      .warmup = rig_warmup};

    config.incarnation.bytes[0] = ++incarnations;
    ck_assert_int_eq(0, partition_start(&rig.p, &rig.loop, &config, &rig.transport, &rig.rng,
                                        on_news, NULL));
}

static inline void
on_check(uv_timer_t *timer _unused_)
{
    if (rig.until(&rig)) {
        rig.reached = true;
        uv_stop(&rig.loop);
    }
}

static inline void
open_rig(void)
{
    fixture_open();
    memset(&rig, 0, sizeof(rig));
    wire_count = 0;
    snprintf(state_dir, sizeof(state_dir), "/tmp/fc-part-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(state_dir));
    uv_loop_init(&rig.loop);
    uv_timer_init(&rig.loop, &rig.tick);
    rng_seed(&rig.rng, 4711);
    rig.transport = (struct transport){.loop = &rig.loop, .slots = 64, .latency_ms = 5};
}

static inline void
on_too_late(uv_timer_t *timer _unused_)
{
    uv_stop(&rig.loop);
}

/* Turns the loop until `until` holds; fails after `limit_ms`. */
static inline void
run_until(bool (*until)(struct rig *rig), unsigned limit_ms)
{
    uv_timer_t limit;

    rig.until = until;
    rig.reached = false;
    uv_timer_init(&rig.loop, &limit);
    uv_timer_start(&limit, on_too_late, limit_ms, 0);
    uv_timer_start(&rig.tick, on_check, 0, 5);
    uv_run(&rig.loop, UV_RUN_DEFAULT);
    uv_timer_stop(&rig.tick);
    uv_close((uv_handle_t *) &limit, NULL);
    uv_run(&rig.loop, UV_RUN_NOWAIT);
    ck_assert_msg(rig.reached, "not reached: state %s, reason \"%s\", %u requests",
                  partition_state_name(partition_state_of(rig.p)), partition_reason(rig.p),
                  wire_count);
}

static inline bool
handles_closed(struct rig *r _unused_)
{
    return true;
}

/* As kill -9: what is on the wire goes on, but nobody hears of it. */
static inline void
kill_driver(void)
{
    rig.transport.process++;
    partition_stop(rig.p);
    run_until(handles_closed, 5000);
    for (int i = 0; i < 20; i++)
        uv_run(&rig.loop, UV_RUN_NOWAIT);
    rig.p = partition_free(rig.p);
    rig.transport.in_flight = 0;
}

static inline void
close_rig(void)
{
    char command[64];

    if (rig.p)
        kill_driver();
    uv_close((uv_handle_t *) &rig.tick, NULL);
    uv_run(&rig.loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(0, uv_loop_close(&rig.loop));
    snprintf(command, sizeof(command), "%s/highwater-" PARTITION, state_dir);
    unlink(command);
    rmdir(state_dir);
    fixture_close();
}

static inline bool
is_open(struct rig *r)
{
    return partition_state_of(r->p) == PARTITION_OPEN;
}

static inline bool
is_closed(struct rig *r)
{
    return partition_state_of(r->p) == PARTITION_CLOSED;
}

static inline bool
all_done(struct rig *r _unused_)
{
    return pgtemp_int(db_admin,
                      "SELECT coalesce(sum(audience - not_in_audience - sent - failed"
                      " - unknown - expired - skipped - cancelled), -1) FROM progress") == 0;
}

/* ---- the witness ---- */

static inline int
by_phone(const void *a, const void *b)
{
    const struct sent *x = a, *y = b;

    return x->phone < y->phone ? -1 : x->phone > y->phone;
}

static inline int
by_start(const void *a, const void *b)
{
    const struct sent *x = a, *y = b;

    if (x->device_id != y->device_id)
        return x->device_id < y->device_id ? -1 : 1;
    return x->started < y->started ? -1 : x->started > y->started;
}

/* Every request that left is told apart by its phone: none twice. Returns how many left. */
static inline unsigned
check_once(void)
{
    unsigned left = 0;

    qsort(wire_log, wire_count, sizeof(wire_log[0]), by_phone);
    for (unsigned i = 0; i < wire_count; i++) {
        left += wire_log[i].started != 0;
        for (unsigned k = i + 1; k < wire_count && wire_log[k].phone == wire_log[i].phone; k++)
            ck_assert_msg(!wire_log[i].started || !wire_log[k].started,
                          "sent twice to %" PRIu64 ": %s %s", wire_log[i].phone, wire_log[i].token,
                          wire_log[k].token);
    }
    return left;
}

/* From the end of one request of a device to the start of the next: at least the smallest gap. */
static inline void
check_pace(usec_t gap)
{
    const struct sent *last = NULL;

    qsort(wire_log, wire_count, sizeof(wire_log[0]), by_start);
    for (unsigned i = 0; i < wire_count; i++) {
        const struct sent *r = &wire_log[i];

        if (!r->started)
            continue;
        if (last && last->device_id == r->device_id && last->ended)
            ck_assert_msg(r->started >= last->ended + gap, "device %d: gap of %" PRIu64 " us",
                          r->device_id, r->started - last->ended);
        last = r;
    }
}

/* ---- content ---- */

static uint64_t applied_wanted;
static inline bool
is_applied(struct rig *r)
{
    return partition_content_applied(r->p) == applied_wanted;
}

static inline void
apply_rows(struct content_row *rows, unsigned count, uint64_t version)
{
    const struct content_page page = {.version = version, .row_count = count, .rows = rows};

    ck_assert_int_eq(0, partition_apply_content(rig.p, &page));
    ck_assert_int_eq(-EAGAIN, partition_apply_content(rig.p, &page));
    ck_assert_uint_eq(version, partition_content_wanted(rig.p));
    applied_wanted = version;
    run_until(is_applied, 10000);
}
