/* Queues of devices that run low; enrol, fill and sweep, one of each on its way at most. */
#include "node/audience.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "shared/log.h"

#define ENROL_DEVICES_MAX 125u /* x ENROL_LEADS_MIN = ENROL_ROWS_MAX */
#define ENROL_LEADS_MIN   4u
#define ENROL_LOOKS_MAX   500u /* at devices in one tick, while the bucket is empty */
#define ENROL_RATE        2000 /* rows a second, or the sending rate if that is more */
#define ENROL_BURST       1000
#define ENROL_COST_MIN    16u /* of a transaction that enrols nothing: it must not repeat at once */
#define SOURCES_MAX       1024u /* of one class in a fill */
#define SWEEP_DEVICES     100
#define SWEEP_ROWS        500
#define AGAIN             (200 * USEC_PER_MSEC) /* after a refusal, or while a device is busy */

static_assert(ENROL_DEVICES_MAX * ENROL_LEADS_MIN <= ENROL_ROWS_MAX, "rows of one enrol");

struct queue { /* ring of device ids; room for every device, for each stands in one at most */
    int32_t *ids;
    uint32_t first, count, capacity;
};

struct batch {
    unsigned count;
    int32_t ids[FILL_DEVICES_MAX];
    int32_t size[FILL_DEVICES_MAX]; /* rows asked for, behind this key */
    int64_t due[FILL_DEVICES_MAX];
    int32_t source_id[FILL_DEVICES_MAX], lead_no[FILL_DEVICES_MAX];
};

struct audience {
    struct partition *p;
    uint64_t round; /* raised when everything is forgotten: answers of before count nothing */
    struct queue enrol, fill;

    bool enrolling, filling, sweeping;
    uint64_t enrol_round, fill_round;
    struct batch enrolled, filled;
    enum device_class fill_class;
    int32_t sweep_source, sweep_after; /* as asked for */
    unsigned leads;                    /* asked per device */
    struct db_args enrol_args, open_args, fill_args, sweep_args;
    usec_t enrol_at, fill_at, sweep_at; /* not before */
    int32_t sources[SOURCES_MAX];
    struct entry rows[FILL_ENTRIES_MAX];

    uint32_t rate;        /* rows a second by order, 0 = ENROL_RATE */
    int64_t tokens_micro; /* bucket: rows x 10^6; below 0: more was enrolled than was there */
    usec_t tokens_at;
};

static_assert(ENROL_DEVICES_MAX <= FILL_DEVICES_MAX, "a batch holds both");

/* ---- queues ---- */

static bool
queue_grow(struct queue *q)
{
    uint32_t capacity = MAX_OF(q->capacity * 2, 256u);
    int32_t *ids = malloc(capacity * sizeof(*ids));

    if (!ids)
        return false;
    for (uint32_t i = 0; i < q->count; i++)
        ids[i] = q->ids[(q->first + i) % q->capacity];
    free(q->ids);
    *q = (struct queue){.ids = ids, .count = q->count, .capacity = capacity};
    return true;
}

static bool
queue_put(struct queue *q, int32_t device_id)
{
    if (q->count == q->capacity && !queue_grow(q))
        return false;
    q->ids[(q->first + q->count++) % q->capacity] = device_id;
    return true;
}

static struct device *
queue_pop(struct audience *a, struct queue *q)
{
    int32_t id = q->ids[q->first];

    q->first = (q->first + 1) % q->capacity;
    q->count--;
    return schedule_find(a->p->devices, id);
}

/* ---- who is low ---- */

/* A class with rows that memory does not hold, and few that it does. */
static bool
wants_fill(const struct audience *a, const struct device *d, int64_t db_now,
           enum device_class *ret_class)
{
    for (enum device_class c = CLASS_DIRECT; c < CLASS_COUNT; c++) {
        if (!device_wants_fill(d, c, db_now))
            continue;
        if (book_active(a->p->book, c, NULL, 0) == 0)
            continue;
        *ret_class = c;
        return true;
    }
    return false;
}

/*
 * Few rows that are due soon, of the class whose audiences have cursors, and memory holds all there
 * are. As long as some are unread, a fill comes first: else each restart, pause and resume would
 * enrol 64 more, and what is live would not be bounded by what was started.
 */
static bool
wants_enrol(const struct device *d, int64_t db_now)
{
    return d->audience_open && !device_wants_fill(d, CLASS_CAMPAIGN, db_now) &&
           device_is_low(d, CLASS_CAMPAIGN, db_now);
}

void
audience_look(struct audience *a, struct device *d)
{
    int64_t db_now = partition_db_now(a->p, clock_boot());
    enum device_class class;
    struct queue *q;

    if (d->low || d->residence != RESIDENCE_OPEN)
        return;
    if (wants_enrol(d, db_now))
        q = &a->enrol;
    else if (wants_fill(a, d, db_now, &class))
        q = &a->fill;
    else
        return;
    d->low = queue_put(q, d->device_id); /* without memory: the next look tries again */
    partition_wake(a->p);
}

/* It left its queue, or its answer came. */
static void
look_again(struct audience *a, struct device *d)
{
    d->low = false;
    audience_look(a, d);
}

void
audience_reread(struct audience *a, struct device *d)
{
    device_drop_lists(d);
    d->fill_again = d->filling;
    audience_look(a, d);
}

static void
reread(void *arg, struct device *d)
{
    d->audience_open = true;
    audience_reread(arg, d);
}

void
audience_reread_all(struct audience *a)
{
    schedule_each(a->p->devices, reread, a);
}

static void
forget(void *arg, struct device *d)
{
    device_drop_lists(d);
    d->low = d->filling = d->fill_again = false;
    d->live = 0;
}

void
audience_suspend(struct audience *a)
{
    a->round++;
    a->enrol.count = a->fill.count = 0;
    a->p->live = 0;
    schedule_each(a->p->devices, forget, NULL);
}

static void
joined(struct audience *a, struct device *d)
{
    if (d->state == DEVICE_IDLE)
        schedule_put(a->p->devices, d, d->gap_ends);
}

/* ---- rows that others changed ---- */

static enum device_class
class_of(const struct audience *a, int32_t source_id)
{
    const struct source *s = book_source(a->p->book, source_id);

    return s ? s->class : source_id == 0 ? CLASS_DIRECT : CLASS_CAMPAIGN;
}

void
audience_row_gone(struct partition *p, int32_t device_id, int32_t source_id, int32_t lead_no)
{
    struct device *d = schedule_find(p->devices, device_id);

    if (!d)
        return;
    device_remove(d, class_of(p->audience, source_id), source_id, lead_no);
    d->fill_again |= d->filling; /* it may have read the row before */
    if (d->live > 0) {
        d->live--;
        p->live--;
    }
    audience_look(p->audience, d);
}

void
audience_row_new(struct partition *p, int32_t device_id, int32_t source_id, int32_t lead_no,
                 int16_t revision, int16_t step, int64_t due)
{
    struct device *d = schedule_find(p->devices, device_id);
    enum device_class class = class_of(p->audience, source_id);
    const struct entry e = {
        .due = due, .source_id = source_id, .lead_no = lead_no, .step = step, .revision = revision};

    if (!d)
        return;
    device_remove(d, class, source_id, lead_no); /* a fill was quicker */
    d->fill_again |= d->filling;
    d->live++;
    p->live++;
    if (device_join(d, class, &e))
        joined(p->audience, d);
    audience_look(p->audience, d);
    partition_wake(p);
}

void
audience_set_rate(struct partition *p, uint32_t rows)
{
    p->audience->rate = rows;
    partition_wake(p);
}

/* ---- enrol ---- */

static void
fill_bucket(struct audience *a, usec_t now)
{
    int64_t ordered = a->rate ? a->rate : ENROL_RATE;
    int64_t rate = MAX_OF(ordered, meter_rate_milli(&a->p->meter, now) * 2 / 1000);
    int64_t most = MAX_OF(rate, ENROL_BURST) * (int64_t) USEC_PER_SEC;
    int64_t passed = (int64_t) MIN_OF(now - a->tokens_at, USEC_PER_SEC);

    a->tokens_micro = MIN_OF(a->tokens_micro + passed * rate, most);
    a->tokens_at = now;
}

static void
spend(struct audience *a, unsigned rows)
{
    a->tokens_micro -= MAX_OF(rows, ENROL_COST_MIN) * (int64_t) USEC_PER_SEC;
}

/* With an empty bucket only devices that have nothing left to send: they would stand still. */
static void
gather_enrol(struct audience *a)
{
    int64_t db_now = partition_db_now(a->p, clock_boot());
    uint32_t left = MIN_OF(a->enrol.count, ENROL_LOOKS_MAX);

    a->enrolled.count = 0;
    while (left-- > 0 && a->enrolled.count < ENROL_DEVICES_MAX) {
        struct device *d = queue_pop(a, &a->enrol);

        if (!d)
            continue;
        if (!wants_enrol(d, db_now)) {
            look_again(a, d);
            continue;
        }
        if (a->tokens_micro < 0 && d->lists[CLASS_CAMPAIGN].count > 0) {
            queue_put(&a->enrol, d->device_id);
            continue;
        }
        a->enrolled.ids[a->enrolled.count++] = d->device_id;
    }
    /* Many at once share what one transaction may enrol: nobody waits for the first one's 64. */
    a->leads = a->enrolled.count ? ENROL_ROWS_MAX / a->enrolled.count : 0;
    a->leads = MAX_OF(ENROL_LEADS_MIN, MIN_OF(a->leads, ENROL_LEADS_MAX));
}

/* The transaction touches their rows: no fill beside it. */
static void
carry_enrolled(struct audience *a, bool carry)
{
    for (unsigned i = 0; i < a->enrolled.count; i++) {
        struct device *d = schedule_find(a->p->devices, a->enrolled.ids[i]);

        if (!d)
            continue;
        d->transactions = (uint8_t) (d->transactions + (carry ? 1 : -1));
        d->fill_again |= carry && d->filling;
    }
}

static void
join_enrolled(struct audience *a, const struct db_reply *reply)
{
    struct partition *p = a->p;

    for (unsigned row = 0; row < db_rows(reply, 1); row++) {
        struct device *d = schedule_find(p->devices, (int32_t) db_get_int(reply, 1, row, 0));
        const struct entry e = {.source_id = (int32_t) db_get_int(reply, 1, row, 1),
                                .lead_no = (int32_t) db_get_int(reply, 1, row, 2),
                                .revision = 1,
                                .due = db_get_time(reply, 1, row, 3)};

        if (!d)
            continue;
        d->live++;
        p->live++;
        if (device_join(d, CLASS_CAMPAIGN, &e))
            joined(a, d);
    }
}

static void
close_enrolled(struct audience *a, const struct db_reply *reply)
{
    for (unsigned i = 0; i < a->enrolled.count; i++) {
        struct device *d = schedule_find(a->p->devices, a->enrolled.ids[i]);

        if (d)
            d->audience_open = false;
    }
    for (unsigned row = 0; row < db_rows(reply, 2); row++) {
        struct device *d = schedule_find(a->p->devices, (int32_t) db_get_int(reply, 2, row, 0));

        if (d)
            d->audience_open = true;
    }
}

static void
on_enrolled(void *arg, enum db_outcome outcome, const struct db_reply *reply)
{
    struct audience *a = arg;
    usec_t now = clock_boot();

    a->enrolling = false;
    carry_enrolled(a, false);
    if (a->enrol_round != a->round)
        return;
    if (outcome == DB_REFUSED)
        partition_log_refused(a->p, "enrol", reply);
    if (outcome == DB_DONE) {
        spend(a, db_rows(reply, 1));
        join_enrolled(a, reply);
        close_enrolled(a, reply);
    } else
        a->enrol_at = now + AGAIN;
    for (unsigned i = 0; i < a->enrolled.count; i++) {
        struct device *d = schedule_find(a->p->devices, a->enrolled.ids[i]);

        if (d)
            look_again(a, d);
    }
    partition_wake(a->p);
}

static usec_t
tick_enrol(struct audience *a, usec_t now)
{
    const struct db_call calls[] = {{.statement = STORE_LOCK_SHARED},
                                    {.statement = STORE_ENROL, .args = &a->enrol_args},
                                    {.statement = STORE_ENROL_OPEN, .args = &a->open_args}};

    if (a->enrolling || a->enrol.count == 0)
        return USEC_INFINITY;
    if (now < a->enrol_at)
        return a->enrol_at;
    fill_bucket(a, now);
    gather_enrol(a);
    if (a->enrolled.count == 0) {
        a->enrol_at = now + a->p->config.timing.tick;
        return a->enrol.count ? a->enrol_at : USEC_INFINITY;
    }
    db_args_reset(&a->enrol_args);
    db_put_int8(&a->enrol_args, (int64_t) a->p->epoch);
    db_put_int4s(&a->enrol_args, a->enrolled.ids, a->enrolled.count);
    db_put_int4(&a->enrol_args, (int32_t) a->leads);
    db_args_reset(&a->open_args);
    db_put_int4s(&a->open_args, a->enrolled.ids, a->enrolled.count);
    carry_enrolled(a, true);
    a->enrol_round = a->round;
    a->enrolling = db_submit(partition_tick_lane(a->p), calls, ARRAY_SIZE(calls),
                             a->p->config.timing.commit, on_enrolled, a) == 0;
    if (a->enrolling)
        return USEC_INFINITY;
    carry_enrolled(a, false);
    for (unsigned i = 0; i < a->enrolled.count; i++)
        queue_put(&a->enrol, a->enrolled.ids[i]); /* there was room: they came from it */
    a->enrol_at = now + AGAIN;
    return a->enrol_at;
}

/* ---- fill ---- */

/* The rows of the class behind its horizon; from the start when nothing is known, or when rows that
 * were held back reopen. */
static void
ask_fill(struct audience *a, struct device *d)
{
    struct entry_list *l = &d->lists[a->fill_class];
    struct batch *b = &a->filled;
    unsigned n = b->count++;

    if (l->reopens != 0 && l->reopens <= partition_db_now(a->p, clock_boot()))
        device_rewind(d, a->fill_class);
    d->filling = true;
    d->fill_again = false;
    b->ids[n] = d->device_id;
    b->size[n] = (int32_t) device_fill_size(d, a->fill_class);
    b->due[n] = l->horizon;
    b->source_id[n] = l->horizon == 0 ? INT32_MIN : l->horizon_source;
    b->lead_no[n] = l->horizon == 0 ? 0 : l->horizon_lead;
}

/* Devices of one class: its active sources are one parameter of the whole query. */
static void
gather_fill(struct audience *a)
{
    int64_t db_now = partition_db_now(a->p, clock_boot());
    uint32_t left = a->fill.count;

    a->filled.count = 0;
    while (left-- > 0 && a->filled.count < FILL_DEVICES_MAX) {
        struct device *d = queue_pop(a, &a->fill);
        enum device_class class;

        if (!d)
            continue;
        if (wants_enrol(d, db_now) || !wants_fill(a, d, db_now, &class)) {
            look_again(a, d);
            continue;
        }
        if (d->transactions > 0 || (a->filled.count > 0 && class != a->fill_class)) {
            queue_put(&a->fill, d->device_id);
            continue;
        }
        a->fill_class = class;
        ask_fill(a, d);
    }
}

/* The rows of device `id` from `row` on; answers the first row behind them. */
static unsigned
read_rows(struct audience *a, const struct db_reply *reply, unsigned row, int32_t id,
          unsigned *ret_count)
{
    unsigned n = 0;

    for (; row < db_rows(reply, 0) && (int32_t) db_get_int(reply, 0, row, 0) == id; row++) {
        assert(n < FILL_ENTRIES_MAX);
        a->rows[n++] = (struct entry){.source_id = (int32_t) db_get_int(reply, 0, row, 1),
                                      .lead_no = (int32_t) db_get_int(reply, 0, row, 2),
                                      .step = (int16_t) db_get_int(reply, 0, row, 3),
                                      .attempt = (int16_t) db_get_int(reply, 0, row, 4),
                                      .due = db_get_time(reply, 0, row, 5),
                                      .revision = (int16_t) db_get_int(reply, 0, row, 6)};
    }
    *ret_count = n;
    return row;
}

static void
count_live(struct partition *p, struct device *d)
{
    uint32_t listed = 0;

    for (unsigned c = 0; c < CLASS_COUNT; c++)
        listed += d->lists[c].count;
    if (listed <= d->live)
        return;
    p->live += listed - d->live;
    d->live = listed;
}

static void
take_filled(struct audience *a, const struct db_reply *reply)
{
    unsigned row = 0, count;

    for (unsigned i = 0; i < a->filled.count; i++) {
        struct device *d = schedule_find(a->p->devices, a->filled.ids[i]);

        /* Devices come in the order in which they were asked for: a nested loop, never another. */
        row = read_rows(a, reply, row, a->filled.ids[i], &count);
        if (!d || d->fill_again)
            continue; /* overtaken: what was read may be older than memory */
        const struct entry *last =
            count < (unsigned) a->filled.size[i] ? NULL : &a->rows[count - 1];
        if (device_fill(d, a->fill_class, a->rows, count, last) < 0)
            continue; /* no memory: asked again */
        count_live(a->p, d);
        joined(a, d);
    }
    assert(row == db_rows(reply, 0));
}

static void
on_filled(void *arg, enum db_outcome outcome, const struct db_reply *reply)
{
    struct audience *a = arg;

    a->filling = false;
    if (a->fill_round != a->round)
        return;
    if (outcome == DB_REFUSED)
        partition_log_refused(a->p, "fill", reply);
    if (outcome == DB_DONE)
        take_filled(a, reply);
    else
        a->fill_at = clock_boot() + AGAIN;
    for (unsigned i = 0; i < a->filled.count; i++) {
        struct device *d = schedule_find(a->p->devices, a->filled.ids[i]);

        if (!d)
            continue;
        d->filling = d->fill_again = false;
        look_again(a, d);
    }
    partition_wake(a->p);
}

static usec_t
tick_fill(struct audience *a, usec_t now)
{
    const struct db_call call = {.statement = STORE_FILL, .args = &a->fill_args};
    unsigned sources;

    if (a->filling || a->fill.count == 0)
        return USEC_INFINITY;
    if (now < a->fill_at)
        return a->fill_at;
    gather_fill(a);
    if (a->filled.count == 0) {
        a->fill_at = now + a->p->config.timing.tick; /* all of them are in a transaction */
        return a->fill.count ? a->fill_at : USEC_INFINITY;
    }
    sources = book_active(a->p->book, a->fill_class, a->sources, SOURCES_MAX);
    db_args_reset(&a->fill_args);
    db_put_int4s(&a->fill_args, a->filled.ids, a->filled.count);
    db_put_int4s(&a->fill_args, a->filled.size, a->filled.count);
    db_put_times(&a->fill_args, a->filled.due, a->filled.count);
    db_put_int4s(&a->fill_args, a->filled.source_id, a->filled.count);
    db_put_int4s(&a->fill_args, a->filled.lead_no, a->filled.count);
    db_put_int4s(&a->fill_args, a->sources, MIN_OF(sources, SOURCES_MAX));
    a->fill_round = a->round;
    a->filling =
        db_submit(dbpool_lane(a->p->pool, LANE_FILL), &call, 1, READ_TIMEOUT, on_filled, a) == 0;
    if (a->filling)
        return USEC_INFINITY;
    for (unsigned i = 0; i < a->filled.count; i++) {
        struct device *d = schedule_find(a->p->devices, a->filled.ids[i]);

        d->filling = false;
        queue_put(&a->fill, d->device_id);
    }
    a->fill_at = now + AGAIN;
    return a->fill_at;
}

/* ---- sweep ---- */

/* A row that came back meanwhile set the source to an earlier device: then it goes on from there.
 */
static void
on_swept(void *arg, enum db_outcome outcome, const struct db_reply *reply)
{
    struct audience *a = arg;
    struct source *s = book_source(a->p->book, a->sweep_source);

    a->sweeping = false;
    if (outcome == DB_REFUSED)
        partition_log_refused(a->p, "sweep", reply);
    if (outcome != DB_DONE) {
        a->sweep_at = clock_boot() + AGAIN;
        return;
    }
    partition_wake(a->p);
    if (s->sweep_after != a->sweep_after)
        return;
    if (db_is_null(reply, 1, 0, 0))
        s->sweep = false; /* behind the last device */
    else if (db_get_int(reply, 1, 0, 1) < SWEEP_ROWS)
        s->sweep_after = (int32_t) db_get_int(reply, 1, 0, 0);
}

/* At most one a tick: the sender shares the lane. */
static usec_t
tick_sweep(struct audience *a, usec_t now)
{
    const struct db_call calls[] = {{.statement = STORE_LOCK_SHARED},
                                    {.statement = STORE_SWEEP, .args = &a->sweep_args}};
    const struct source *s = book_to_sweep(a->p->book);

    if (!s || a->sweeping)
        return USEC_INFINITY;
    if (now < a->sweep_at)
        return a->sweep_at;
    a->sweep_source = s->source_id;
    a->sweep_after = s->sweep_after;
    db_args_reset(&a->sweep_args);
    db_put_int8(&a->sweep_args, (int64_t) a->p->epoch);
    db_put_int4(&a->sweep_args, s->source_id);
    db_put_int4(&a->sweep_args, s->sweep_after);
    db_put_int4(&a->sweep_args, SWEEP_DEVICES);
    db_put_int4(&a->sweep_args, SWEEP_ROWS);
    a->sweep_at = now + a->p->config.timing.tick;
    a->sweeping = db_submit(partition_tick_lane(a->p), calls, ARRAY_SIZE(calls),
                            a->p->config.timing.commit, on_swept, a) == 0;
    return a->sweeping ? USEC_INFINITY : a->sweep_at;
}

usec_t
audience_tick(struct audience *a, usec_t now)
{
    usec_t next;

    if (!partition_may_claim(a->p))
        return USEC_INFINITY;
    next = tick_enrol(a, now);
    next = MIN_OF(next, tick_fill(a, now));
    return MIN_OF(next, tick_sweep(a, now));
}

/* ---- life ---- */

int
audience_new(struct audience **ret, struct partition *p)
{
    struct audience *a = calloc(1, sizeof(*a));
    int r;

    if (!a)
        return -ENOMEM;
    a->p = p;
    a->tokens_at = clock_boot();
    a->tokens_micro = ENROL_BURST * (int64_t) USEC_PER_SEC;
    r = db_args_init(&a->enrol_args, ENROL_DEVICES_MAX * 8u + 128u);
    if (r == 0)
        r = db_args_init(&a->open_args, ENROL_DEVICES_MAX * 8u + 128u);
    if (r == 0)
        r = db_args_init(&a->fill_args, (FILL_DEVICES_MAX * 6 + SOURCES_MAX) * 8u + 256u);
    if (r == 0)
        r = db_args_init(&a->sweep_args, 256u);
    if (r < 0) {
        audience_free(a);
        return r;
    }
    *ret = a;
    return 0;
}

struct audience *
audience_free(struct audience *a)
{
    if (!a)
        return NULL;
    db_args_done(&a->enrol_args);
    db_args_done(&a->open_args);
    db_args_done(&a->fill_args);
    db_args_done(&a->sweep_args);
    free(a->enrol.ids);
    free(a->fill.ids);
    free(a);
    return NULL;
}
