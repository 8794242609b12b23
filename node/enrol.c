/* Leads become rows: behind the cursors of campaigns, by trigger into sequences; never in a hurry.
 */
#include <errno.h>
#include <stdlib.h>

#include "node/audience_inner.h"

#define ENROL_LOOKS_MAX 500u /* at devices in one tick, while the bucket is empty */
#define ENROL_RATE      2000 /* rows a second, or the sending rate if that is more */
#define ENROL_COST_MIN  16u  /* of a transaction that enrols nothing: it must not repeat at once */
#define ENROL_ROWS_MIN  16u
#define ENROL_ROWS_INIT 64u

/* ---- who wants leads ---- */

/*
 * Few rows that are due soon, and memory holds all there are. As long as some are unread, a fill
 * comes first: else each restart, pause and resume would enrol 64 more, and what is live would not
 * be bounded by what was started.
 */
static bool
wants(const struct audience *a, const struct device *d, enum device_class class, bool open,
      int64_t db_now)
{
    unsigned sources = 0;

    if (!open || device_wants_fill(d, class, db_now) || !device_is_low(d, class, db_now))
        return false;
    book_active(a->p->book, class, &sources);
    return sources > 0;
}

bool
enrol_wanted(const struct audience *a, const struct device *d, int64_t db_now)
{
    return wants(a, d, CLASS_CAMPAIGN, d->audience_open, db_now) ||
           wants(a, d, CLASS_SEQUENCE, d->triggers_open, db_now);
}

static void
fill_bucket(struct audience *a, usec_t now)
{
    struct enrol *e = &a->enrol;
    int64_t ordered = e->rate ? e->rate : ENROL_RATE;
    int64_t rate = MAX_OF(ordered, meter_rate_milli(&a->p->meter, now) * 2 / 1000);
    int64_t most = rate * (int64_t) USEC_PER_SEC;
    int64_t passed = (int64_t) MIN_OF(now - e->tokens_at, USEC_PER_SEC);

    e->tokens_micro = MIN_OF(e->tokens_micro + passed * rate, most);
    e->tokens_at = now;
}

static void
spend(struct enrol *e, unsigned rows)
{
    e->tokens_micro -= MAX_OF(rows, ENROL_COST_MIN) * (int64_t) USEC_PER_SEC;
}

void
audience_set_rate(struct partition *p, uint32_t rows)
{
    p->audience->enrol.rate = rows;
    partition_wake(p);
}

static void
add(struct enrol_batch *b, int32_t device_id)
{
    b->ids[b->count++] = device_id;
}

/* With an empty bucket only devices that have nothing left to send: they would stand still. */
static bool
add_device(struct audience *a, struct device *d, int64_t db_now)
{
    struct enrol *e = &a->enrol;
    bool empty = e->tokens_micro < 0;
    bool campaign = wants(a, d, CLASS_CAMPAIGN, d->audience_open, db_now) &&
                    !(empty && d->lists[CLASS_CAMPAIGN].count > 0);
    bool trigger = wants(a, d, CLASS_SEQUENCE, d->triggers_open, db_now) &&
                   !(empty && d->lists[CLASS_SEQUENCE].count > 0);

    if (campaign)
        add(&e->campaigns, d->device_id);
    if (trigger)
        add(&e->triggers, d->device_id);
    if (campaign || trigger)
        add(&e->all, d->device_id);
    return campaign || trigger;
}

/* Many at once share what one transaction may enrol: nobody waits for the first one's 64. */
static void
gather(struct audience *a)
{
    struct enrol *e = &a->enrol;
    int64_t db_now = partition_db_now(a->p, clock_boot());
    uint32_t left = MIN_OF(e->queue.count, ENROL_LOOKS_MAX);
    unsigned parts_max = e->rows_max / ENROL_LEADS_MIN, parts = 0;

    e->all.count = e->campaigns.count = e->triggers.count = 0;
    while (left-- > 0 && parts + 2 <= parts_max) {
        struct device *d = queue_pop(a, &e->queue);

        if (!d)
            continue;
        if (!enrol_wanted(a, d, db_now)) {
            d->enrol_queued = false;
            audience_look(a, d);
            continue;
        }
        if (!add_device(a, d, db_now))
            queue_put(&e->queue, d->device_id); /* there was room: it came from it */
        parts = e->campaigns.count + e->triggers.count;
    }
    e->leads = parts ? e->rows_max / parts : 0;
    e->leads = MAX_OF(ENROL_LEADS_MIN, MIN_OF(e->leads, ENROL_LEADS_MAX));
}

/*
 * Whether leads are left tells the answer. Whatever happens meanwhile (a source resumes, a trigger
 * is set) says so again, and the answer, which may be older, does not take that back.
 */
static void
set_open(struct audience *a, bool open)
{
    for (unsigned i = 0; i < a->enrol.all.count; i++) {
        struct device *d = schedule_find(a->p->devices, a->enrol.all.ids[i]);

        if (d)
            d->audience_open = d->triggers_open = open;
    }
}

/* The transaction touches their rows: no fill beside it. */
static void
carry(struct audience *a, bool begins)
{
    for (unsigned i = 0; i < a->enrol.all.count; i++) {
        struct device *d = schedule_find(a->p->devices, a->enrol.all.ids[i]);

        if (!d)
            continue;
        d->transactions = (uint8_t) (d->transactions + (begins ? 1 : -1));
        d->fill_again |= begins && d->filling;
    }
}

/* ---- the transaction ---- */

/* First step, revision and delay of each sequence: who enrols begins there. */
static void
encode_triggers(struct audience *a, const int32_t *sources, unsigned count)
{
    struct enrol *e = &a->enrol;
    struct db_args *args = &e->trigger_args;

    for (unsigned i = 0; i < count; i++) {
        const struct source *s = book_source(a->p->book, sources[i]);
        const struct source_step *first = source_next(s, s->revision, 0);

        e->steps[i] = first->step;
        e->revisions[i] = s->revision;
        e->delays[i] = (int64_t) first->delay;
    }
    db_args_reset(&e->lock_args);
    db_put_int4s(&e->lock_args, e->triggers.ids, e->triggers.count);
    db_put_int4s(&e->lock_args, sources, count);
    db_args_reset(args);
    db_put_int8(args, (int64_t) a->p->epoch);
    db_put_int4s(args, e->triggers.ids, e->triggers.count);
    db_put_int4(args, (int32_t) e->leads);
    db_put_int4s(args, sources, count);
    db_put_int2s(args, e->steps, count);
    db_put_int2s(args, e->revisions, count);
    db_put_int8s(args, e->delays, count);
}

static unsigned
encode(struct audience *a, struct db_call calls[static 5])
{
    struct enrol *e = &a->enrol;
    unsigned n = 0, campaign_count, sequence_count;
    const int32_t *campaigns = book_active(a->p->book, CLASS_CAMPAIGN, &campaign_count);
    const int32_t *sequences = book_active(a->p->book, CLASS_SEQUENCE, &sequence_count);

    campaign_count = MIN_OF(campaign_count, CONTENT_STORED_MAX);
    sequence_count = MIN_OF(sequence_count, CONTENT_STORED_MAX);
    calls[n++] = partition_lock_timed(a->p);
    e->campaign_call = e->trigger_call = -1;
    if (e->campaigns.count > 0) {
        db_args_reset(&e->campaign_args);
        db_put_int8(&e->campaign_args, (int64_t) a->p->epoch);
        db_put_int4s(&e->campaign_args, e->campaigns.ids, e->campaigns.count);
        db_put_int4(&e->campaign_args, (int32_t) e->leads);
        db_put_int4s(&e->campaign_args, campaigns, campaign_count);
        e->campaign_call = (int) n;
        calls[n++] = (struct db_call){.statement = STORE_ENROL, .args = &e->campaign_args};
    }
    if (e->triggers.count > 0) {
        encode_triggers(a, sequences, sequence_count);
        calls[n++] = (struct db_call){.statement = STORE_ENROL_LOCK, .args = &e->lock_args};
        e->trigger_call = (int) n;
        calls[n++] = (struct db_call){.statement = STORE_ENROL_TRIGGER, .args = &e->trigger_args};
    }
    db_args_reset(&e->open_args);
    db_put_int4s(&e->open_args, e->all.ids, e->all.count);
    db_put_int4s(&e->open_args, campaigns, campaign_count);
    db_put_int4s(&e->open_args, sequences, sequence_count);
    e->open_call = (int) n;
    calls[n++] = (struct db_call){.statement = STORE_ENROL_OPEN, .args = &e->open_args};
    return n;
}

/* ---- its answer ---- */

/* Answers how many rows there were. */
static unsigned
join(struct audience *a, const struct db_reply *reply, int call, enum device_class class)
{
    struct partition *p = a->p;
    unsigned rows = call < 0 ? 0 : db_rows(reply, (unsigned) call);

    for (unsigned row = 0; row < rows; row++) {
        unsigned c = (unsigned) call;
        struct device *d = schedule_find(p->devices, (int32_t) db_get_int(reply, c, row, 0));
        struct entry e = {.source_id = (int32_t) db_get_int(reply, c, row, 1),
                          .lead_no = (int32_t) db_get_int(reply, c, row, 2),
                          .due = db_get_time(reply, c, row, 3),
                          .revision = 1};

        if (class == CLASS_SEQUENCE) {
            e.step = (int16_t) db_get_int(reply, c, row, 4);
            e.revision = (int16_t) db_get_int(reply, c, row, 5);
        }
        if (!d)
            continue;
        audience_live(p, d, 1);
        if (!book_skips(p->book, &e) && device_join(d, class, &e))
            audience_joined(a, d);
    }
    return rows;
}

static void
read_open(struct audience *a, const struct db_reply *reply)
{
    unsigned call = (unsigned) a->enrol.open_call;

    for (unsigned row = 0; row < db_rows(reply, call); row++) {
        struct device *d = schedule_find(a->p->devices, (int32_t) db_get_int(reply, call, row, 0));

        if (!d)
            continue;
        d->audience_open |= db_get_bool(reply, call, row, 1);
        d->triggers_open |= db_get_bool(reply, call, row, 2);
    }
}

/*
 * A due send must not stand behind an enrolment: when one was slow, or took so long that it was
 * given up with its connection, the next one is half as long; but never so short that fewer leads
 * come in than go out.
 */
static void
adapt(struct audience *a, bool done, usec_t now)
{
    struct enrol *e = &a->enrol;
    usec_t took = now - e->asked_at;
    uint64_t sent = meter_rate_milli(&a->p->meter, now) * 2u * took / (1000 * USEC_PER_SEC);
    unsigned least = (unsigned) MIN_OF(ENROL_ROWS_MIN + sent, ENROL_ROWS_MAX);

    if (done) {
        histogram_add(&a->p->meter.enrol_time, took);
        meter_lock(&a->p->meter, took);
    }
    if (!done || took > AUDIENCE_SLOW)
        e->rows_max /= 2;
    else
        e->rows_max *= 2;
    e->rows_max = MAX_OF(done ? least : ENROL_ROWS_MIN, MIN_OF(e->rows_max, ENROL_ROWS_MAX));
}

static void
on_enrolled(void *arg, enum db_outcome outcome, const struct db_reply *reply)
{
    struct audience *a = arg;
    struct enrol *e = &a->enrol;
    usec_t now = clock_boot();

    e->asked = false;
    carry(a, false);
    adapt(a, outcome == DB_DONE, now);
    if (e->round != a->round)
        return;
    if (outcome == DB_REFUSED)
        partition_log_refused(a->p, "enrol", reply);
    if (outcome == DB_DONE) {
        spend(e, join(a, reply, e->campaign_call, CLASS_CAMPAIGN) +
                     join(a, reply, e->trigger_call, CLASS_SEQUENCE));
        read_open(a, reply);
    } else {
        set_open(a, true);
        e->not_before = now + AUDIENCE_AGAIN;
    }
    for (unsigned i = 0; i < e->all.count; i++) {
        struct device *d = schedule_find(a->p->devices, e->all.ids[i]);

        if (!d)
            continue;
        d->enrol_queued = false;
        audience_look(a, d);
    }
    partition_wake(a->p);
}

usec_t
enrol_tick(struct audience *a, usec_t now)
{
    struct enrol *e = &a->enrol;
    struct db_call calls[5];

    if (e->asked || e->queue.count == 0)
        return USEC_INFINITY;
    if (now < e->not_before)
        return e->not_before;
    fill_bucket(a, now);
    gather(a);
    if (e->all.count == 0) {
        e->not_before = now + a->p->config.timing.tick;
        return e->queue.count ? e->not_before : USEC_INFINITY;
    }
    unsigned count = encode(a, calls);
    carry(a, true);
    e->round = a->round;
    e->asked_at = now;
    e->asked = db_submit(partition_tick_lane(a->p), calls, count, a->p->config.timing.commit,
                         on_enrolled, a) == 0;
    if (e->asked) {
        set_open(a, false);
        return USEC_INFINITY;
    }
    carry(a, false);
    for (unsigned i = 0; i < e->all.count; i++)
        queue_put(&e->queue, e->all.ids[i]); /* there was room: they came from it */
    e->not_before = now + AUDIENCE_AGAIN;
    return e->not_before;
}

/* ---- life ---- */

int
enrol_new(struct enrol *e)
{
    const size_t devices = ENROL_DEVICES_MAX * 8u + 256u, sources = CONTENT_STORED_MAX * 8u;
    int r;

    e->tokens_at = clock_boot();
    e->tokens_micro = ENROL_RATE * (int64_t) USEC_PER_SEC;
    e->rows_max = ENROL_ROWS_INIT;
    e->steps = calloc(CONTENT_STORED_MAX, sizeof(*e->steps));
    e->revisions = calloc(CONTENT_STORED_MAX, sizeof(*e->revisions));
    e->delays = calloc(CONTENT_STORED_MAX, sizeof(*e->delays));
    r = e->steps && e->revisions && e->delays ? 0 : -ENOMEM;
    if (r == 0)
        r = db_args_init(&e->campaign_args, devices + sources);
    if (r == 0)
        r = db_args_init(&e->lock_args, devices + sources);
    if (r == 0)
        r = db_args_init(&e->trigger_args, devices + sources * 5);
    if (r == 0)
        r = db_args_init(&e->open_args, devices + sources * 2);
    return r;
}

void
enrol_done(struct enrol *e)
{
    db_args_done(&e->campaign_args);
    db_args_done(&e->lock_args);
    db_args_done(&e->trigger_args);
    db_args_done(&e->open_args);
    free(e->steps);
    free(e->revisions);
    free(e->delays);
    free(e->queue.ids);
}
