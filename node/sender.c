/* Slots move from claim to fact; one transaction at a time carries what the tick gathered. */
#include "node/sender.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/audience.h"
#include "node/sender_inner.h"
#include "shared/log.h"
#include "shared/secret.h"

#define SLOT_AGAIN      (5 * USEC_PER_MSEC) /* another partition has the transport's last slots */
#define EPOCH_AGAIN     (200 * USEC_PER_MSEC)
#define REFUSED_AGAIN   (200 * USEC_PER_MSEC)
#define NO_DAY          "23514" /* also: "no partition of relation message" */
#define NO_DAY_PATIENCE 20u     /* beats make days: only then is it a row with a day long gone */
#define TOKEN_HOLD      (60 * USEC_PER_SEC) /* a device whose token does not open */
#define FACT_BYTES      512u                /* of one row in a batch of facts, at most */
#define CLAIM_BYTES     128u
#define UNSENDABLE_WAIT (300 * USEC_PER_SEC)

static const enum store_statement part_statements[PART_COUNT] = {
    [PART_ADVANCE] = STORE_ADVANCE,           [PART_FINISH] = STORE_FINISH,
    [PART_EVIDENCE] = STORE_EVIDENCE,         [PART_REFUSE] = STORE_REFUSE,
    [PART_RESERVE] = STORE_RESERVE,           [PART_CLAIM] = STORE_CLAIM,
    [PART_CLAIM_DIRECT] = STORE_CLAIM_DIRECT,
};

/* ---- slots ---- */

struct slot *
slot_take(struct sender *s)
{
    struct slot *slot = TAILQ_FIRST(&s->free);

    assert(slot && slot->state == SLOT_FREE);
    TAILQ_REMOVE(&s->free, slot, link);
    s->busy++;
    slot->carried = slot->confirmed = slot->evidence = slot->retold = slot->bare = false;
    slot->device = NULL;
    slot->source = NULL;
    slot->text_hash = 0;
    slot->day = slot->hour = QUOTA_UNIT_NONE;
    slot->provider_id_bytes = 0;
    slot->room_used = 0;
    return slot;
}

void
slot_give(struct slot *slot)
{
    struct sender *s = slot->sender;

    assert(slot->state != SLOT_FREE && !slot->carried);
    slot->state = SLOT_FREE;
    s->busy--;
    TAILQ_INSERT_HEAD(&s->free, slot, link); /* the one used last: its memory is warm */
}

void
slot_to_fact(struct slot *slot)
{
    assert(!slot->carried);
    slot->state = SLOT_FACT;
    TAILQ_INSERT_TAIL(&slot->sender->facts, slot, link);
}

void
slot_release_device(struct slot *slot)
{
    struct device *d = slot->device;

    if (!d)
        return;
    d->state = DEVICE_IDLE;
    schedule_put(slot->sender->p->devices, d, d->gap_ends);
}

void
slot_unclaim(struct slot *slot)
{
    for (unsigned i = 0; i < BREAKER_KIND_COUNT; i++)
        breaker_unclaimed(slot->breakers[i]);
    reserve_uncount(slot);
}

void
slot_rejoin(struct slot *slot, const struct entry *entry)
{
    struct device *d = slot->device;

    if (!d)
        return;
    /* Beyond the horizon or without memory: then the next fill finds it. Nor does a list take what
     * may not be sent: a change of its source reads it again. */
    if (!book_skips(slot->sender->p->book, entry))
        device_join(d, slot->class, entry);
    if (d->state == DEVICE_IDLE)
        schedule_put(slot->sender->p->devices, d, d->gap_ends);
}

/* ---- starting ---- */

bool
slot_may_start(const struct slot *slot, usec_t now)
{
    const struct partition *p = slot->sender->p;
    const struct pace_now pace = partition_pace_now(p, now);

    return p->epoch == slot->epoch && now < slot->send_by && pace_still(slot->device, &pace) &&
           reserve_still(slot, pace.db_at) && slot->source->state == SOURCE_ACTIVE &&
           !book_opted_out(p->book, slot->breakers[BREAKER_ACCOUNT], slot->out.phone);
}

/* The last word, from the transport, directly before the bytes. */
static bool
guard(void *arg, usec_t now)
{
    return slot_may_start(arg, now);
}

static void
on_sent(void *arg, const struct outcome_report *report)
{
    struct slot *slot = arg;
    struct sender *s = slot->sender;

    assert(slot->state == SLOT_WIRE);
    s->on_wire--;
    secret_wipe(slot->bearer, sizeof(slot->bearer));
    settle_report(slot, report);
    partition_wake(s->p);
}

int
sender_open_token(struct partition *p, const struct device *d, uint8_t *out, size_t size,
                  size_t *ret_bytes)
{
    char context[48];
    struct slice sealed = {(const char *) d->sealed_token, d->sealed_bytes};

    if (d->sealed_bytes < SECRET_SEAL_OVERHEAD)
        return -EBADMSG;
    if (d->sealed_bytes - SECRET_SEAL_OVERHEAD > size)
        return -E2BIG;
    unsigned kid = (unsigned) d->sealed_token[0] << 8 | d->sealed_token[1];
    int n = snprintf(context, sizeof(context), "tok1|%d|%u", d->device_id, kid);
    return secret_open(p->config.token_key, (struct slice){context, (size_t) n}, sealed, out, size,
                       ret_bytes);
}

/* False: the device is held, its row goes back. */
static bool
open_token(struct slot *slot, usec_t now)
{
    struct partition *p = slot->sender->p;
    struct device *d = slot->device;
    size_t bytes = 0;
    int r = 0;

    /* A gateway that builds no request needs no token. */
    if (d->sealed_bytes > 0 || d->gateway->build)
        r = sender_open_token(p, d, slot->bearer, sizeof(slot->bearer), &bytes);
    slot->out.bearer = (struct slice){(const char *) slot->bearer, bytes};
    if (r == 0)
        return true;
    d->held_until = now + TOKEN_HOLD;
    log_event(LOG_LEVEL_ERROR, "device.token_unreadable", "partition=%s device=%d error=\"%s\"",
              p->config.name, d->device_id, strerror(-r));
    return false;
}

/* Its token or address cannot stand in a request: no send of this device can work until it is
 * imported again (--update), so its rows wait. */
static void
hold_unsendable(struct slot *slot, usec_t now)
{
    struct device *d = slot->device;

    d->held_until = MAX_OF(d->held_until, now + UNSENDABLE_WAIT);
    log_event(LOG_LEVEL_WARNING, "device.unsendable",
              "partition=%s device=%d why=\"its token or address cannot stand in a request\"",
              slot->sender->p->config.name, d->device_id);
}

static void
start_slot(struct sender *s, struct slot *slot, usec_t now)
{
    int r = -ECANCELED;

    if (slot_may_start(slot, now) && open_token(slot, now))
        r = transport_send(s->p->transport, &slot->out, guard, on_sent, slot);
    if (r == -EAGAIN) {
        secret_wipe(slot->bearer, sizeof(slot->bearer));
        heap_put(&s->starting, &slot->start, now + SLOT_AGAIN);
        return;
    }
    s->ready--;
    if (r == 0) {
        slot->state = SLOT_WIRE;
        slot->device->state = DEVICE_ON_WIRE;
        s->on_wire++;
        return;
    }
    secret_wipe(slot->bearer, sizeof(slot->bearer));
    slot_unclaim(slot);
    if (r == -E2BIG)
        settle_skipped(slot, REASON_TEXT_TOO_LONG, now);
    else
        settle_not_sent(slot, now);
    if (r == -EINVAL)
        hold_unsendable(slot, now);
    slot_release_device(slot);
}

/* Bounded, so that one callback never holds the loop long. Answers when the next one starts. */
static usec_t
start_ready(struct sender *s, usec_t now)
{
    struct heap_item *top;

    for (unsigned n = 0; (top = heap_top(&s->starting)) != NULL && top->key <= now; n++) {
        if (n == SENDS_PER_CALLBACK_MAX)
            return now;
        heap_remove(&s->starting, top);
        start_slot(s, container_of(top, struct slot, start), now);
    }
    return top ? top->key : USEC_INFINITY;
}

/* ---- the transaction ---- */

static void
carry_refused(struct sender *s)
{
    struct slot_list *list = &s->parts[PART_REFUSE];
    struct slot *slot;

    while (list->count < CLAIM_BATCH_MAX && (slot = TAILQ_FIRST(&s->refused)) != NULL) {
        TAILQ_REMOVE(&s->refused, slot, link);
        list->slots[list->count++] = slot;
    }
}

/* A transaction carries it: a fill that runs beside it may have seen the row before or after. */
static void
carry_all(struct sender *s)
{
    for (unsigned part = 0; part < PART_COUNT; part++)
        for (unsigned i = 0; i < s->parts[part].count; i++) {
            struct slot *slot = s->parts[part].slots[i];

            slot->carried = true;
            slot->confirmed = false;
            if (!slot->device)
                continue;
            slot->device->transactions++;
            slot->device->fill_again |= slot->device->filling;
        }
}

static void
uncarry_all(struct sender *s)
{
    for (unsigned part = 0; part < PART_COUNT; part++)
        for (unsigned i = 0; i < s->parts[part].count; i++) {
            struct slot *slot = s->parts[part].slots[i];

            slot->carried = false;
            if (slot->device)
                slot->device->transactions--;
        }
}

static void
clear_parts(struct sender *s)
{
    for (unsigned part = 0; part < PART_COUNT; part++)
        s->parts[part].count = 0;
}

static void
on_committed(struct sender *s, const struct db_reply *reply)
{
    for (enum tick_part part = PART_ADVANCE; part <= PART_EVIDENCE; part++)
        if (s->calls[part] >= 0)
            settle_answered(s, part, reply);
    if (s->calls[PART_REFUSE] >= 0)
        refuse_answered(s, reply);
    for (enum tick_part part = PART_CLAIM; part <= PART_CLAIM_DIRECT; part++)
        if (s->calls[part] >= 0)
            claim_answered(s, part, reply);
    s->fact_limit = MIN_OF(s->fact_limit * 2, CLAIM_BATCH_MAX);
    s->no_day_count = 0;
}

/* Was it one of the facts that the database would not take? Class 22: data, 23: constraint. */
static bool
fact_refused(const struct sender *s, const struct db_reply *reply)
{
    int failed = (int) db_failed_call(reply);
    const char *state = db_sqlstate(reply);

    if (strncmp(state, "22", 2) != 0 && strncmp(state, "23", 2) != 0)
        return false;
    for (enum tick_part part = PART_ADVANCE; part <= PART_EVIDENCE; part++)
        if (s->calls[part] == failed)
            return true;
    return false;
}

static void
on_not_committed(struct sender *s, enum db_outcome outcome, const struct db_reply *reply)
{
    bool no_day = outcome == DB_REFUSED && strcmp(db_sqlstate(reply), NO_DAY) == 0;

    s->p->meter.tick_failed++;
    reserve_undone(s);
    claim_undone(s);
    if (no_day) {
        s->p->days_due = 0; /* made by the next beat */
        s->no_day_count++;
    }
    if (outcome == DB_REFUSED && fact_refused(s, reply) &&
        (!no_day || s->no_day_count > NO_DAY_PATIENCE)) {
        settle_halve(s, no_day);
        return;
    }
    settle_again(s, false);
    if (outcome == DB_REFUSED) {
        partition_log_refused(s->p, "tick", reply);
        partition_judge_refused(s->p, reply);
    }
    s->not_before = clock_boot() + REFUSED_AGAIN;
}

/* What was asked for may be claimed or not: this process knows that it was never sent. */
static void
on_lost(struct sender *s)
{
    usec_t now = clock_boot();

    s->p->meter.tick_failed++;
    for (enum tick_part part = PART_CLAIM; part <= PART_CLAIM_DIRECT; part++)
        for (unsigned i = 0; i < s->parts[part].count; i++) {
            struct slot *slot = s->parts[part].slots[i];

            slot->retold = true;
            slot_unclaim(slot);
            settle_not_sent(slot, now);
            slot_release_device(slot);
        }
    for (unsigned i = 0; i < s->parts[PART_REFUSE].count; i++)
        slot_give(s->parts[PART_REFUSE].slots[i]);
    settle_again(s, true);
}

static void
on_tick(void *arg, enum db_outcome outcome, const struct db_reply *reply)
{
    struct sender *s = arg;
    struct partition *p = s->p;

    s->ticking = false;
    uncarry_all(s);
    if (outcome == DB_DONE) {
        p->meter.ticks++;
        histogram_add(&p->meter.tick_time, clock_boot() - s->tick_sent);
        meter_lock(&p->meter, clock_boot() - s->tick_sent);
        on_committed(s, reply);
    } else if (outcome == DB_LOST)
        on_lost(s);
    else
        on_not_committed(s, outcome, reply);
    clear_parts(s);
    if (outcome == DB_DONE && s->epoch_call >= 0 && p->state != PARTITION_FENCED)
        partition_read_epoch(p, reply, (unsigned) s->epoch_call, s->tick_sent);
    partition_wake(p);
}

/*
 * Who drives, and the database's time: five times a second, and whenever rows were refused, for a
 * claim that another epoch made void answers no row. What comes back from a claim was ours.
 */
static bool
asks_epoch(const struct sender *s)
{
    return s->parts[PART_REFUSE].count > 0 || s->tick_sent - s->epoch_read >= EPOCH_AGAIN;
}

static unsigned
encode_all(struct sender *s, struct db_call *calls)
{
    unsigned count = 0;
    bool by_the_clock = s->parts[PART_CLAIM].count + s->parts[PART_CLAIM_DIRECT].count +
                            s->parts[PART_REFUSE].count >
                        0;

    calls[count++] = by_the_clock ? partition_lock_timed(s->p)
                                  : (struct db_call){.statement = STORE_LOCK_SHARED};
    s->epoch_call = -1;
    if (asks_epoch(s)) {
        s->epoch_call = (int) count;
        s->epoch_read = s->tick_sent;
        calls[count++] = (struct db_call){.statement = STORE_EPOCH};
    }
    for (enum tick_part part = PART_ADVANCE; part < PART_COUNT; part++) {
        s->calls[part] = -1;
        if (s->parts[part].count == 0)
            continue;
        db_args_reset(&s->args[part]);
        if (part >= PART_CLAIM)
            claim_encode(s, part);
        else if (part == PART_RESERVE)
            reserve_encode(s);
        else if (part == PART_REFUSE)
            refuse_encode(s);
        else
            settle_encode(s, part);
        s->calls[part] = (int) count;
        calls[count++] =
            (struct db_call){.statement = part_statements[part], .args = &s->args[part]};
    }
    return count;
}

/* send_by counts from a clock read before the claim could reach the database. */
static void
submit(struct sender *s)
{
    struct db_call calls[2 + PART_COUNT];
    usec_t now = clock_boot();

    s->tick_sent = now;
    for (enum tick_part part = PART_CLAIM; part <= PART_CLAIM_DIRECT; part++)
        for (unsigned i = 0; i < s->parts[part].count; i++)
            s->parts[part].slots[i]->send_by = now + s->p->config.timing.send_window;
    unsigned count = encode_all(s, calls);
    carry_all(s);
    s->ticking = true;
    int r =
        db_submit(partition_tick_lane(s->p), calls, count, s->p->config.timing.commit, on_tick, s);
    if (r == 0)
        return;
    /* Never given to the server: as if it had been rolled back. */
    s->ticking = false;
    uncarry_all(s);
    reserve_undone(s);
    claim_undone(s);
    settle_again(s, false);
    clear_parts(s);
    s->not_before = now + REFUSED_AGAIN;
}

static unsigned
gathered(const struct sender *s)
{
    unsigned n = 0;

    for (unsigned part = 0; part < PART_COUNT; part++)
        n += s->parts[part].count;
    return n;
}

/* When the next transaction has something to carry. */
static usec_t
next_work(const struct sender *s)
{
    usec_t next;

    if (!TAILQ_EMPTY(&s->facts))
        return 0;
    if (!partition_may_claim(s->p))
        return USEC_INFINITY;
    if (!TAILQ_EMPTY(&s->refused))
        return 0;
    if (TAILQ_EMPTY(&s->free))
        return USEC_INFINITY;
    next = schedule_next(s->p->devices);
    return next == USEC_INFINITY || next < CLAIM_AHEAD ? next : next - CLAIM_AHEAD;
}

usec_t
sender_tick(struct sender *s, usec_t now)
{
    usec_t starts = start_ready(s, now);

    if (s->ticking || !partition_may_settle(s->p) || !db_ready(partition_tick_lane(s->p)))
        return starts;
    usec_t due = MAX_OF(s->tick_sent + s->p->config.timing.tick, s->not_before);
    due = MAX_OF(due, next_work(s));
    if (due > now)
        return MIN_OF(starts, due);
    settle_choose(s);
    if (partition_may_claim(s->p)) {
        carry_refused(s); /* it may end rows by the clock */
        claim_choose(s, now);
    }
    if (gathered(s) > 0) {
        submit(s);
        return starts; /* its end wakes us */
    }
    return MIN_OF(starts, MAX_OF(now + s->p->config.timing.tick, next_work(s)));
}

/* ---- from outside ---- */

void
sender_suspend(struct sender *s)
{
    usec_t now = clock_boot();

    for (unsigned i = 0; i < s->count; i++) {
        struct slot *slot = &s->slots[i];

        if (slot->carried)
            continue; /* its transaction's end decides */
        if (slot->state == SLOT_READY) {
            heap_remove(&s->starting, &slot->start);
            s->ready--;
            slot_unclaim(slot);
            settle_not_sent(slot, now);
            slot_release_device(slot);
        } else if (slot->state == SLOT_REFUSED) {
            TAILQ_REMOVE(&s->refused, slot, link);
            slot_give(slot);
        }
    }
}

unsigned
sender_busy(const struct sender *s)
{
    return s->busy;
}

unsigned
sender_on_wire(const struct sender *s)
{
    return s->on_wire;
}

unsigned
sender_on_wire_of(const struct sender *s, int32_t source_id)
{
    unsigned count = 0;

    for (unsigned n = 0; n < s->count; n++)
        count += s->slots[n].state == SLOT_WIRE && s->slots[n].entry.source_id == source_id;
    return count;
}

bool
sender_settling(const struct sender *s)
{
    return s->ticking || !TAILQ_EMPTY(&s->facts);
}

unsigned
sender_tokens(const struct sender *s, struct uuid *ret, unsigned max)
{
    unsigned n = 0;

    for (unsigned i = 0; i < s->count && n < max; i++)
        if (s->slots[i].state != SLOT_FREE)
            ret[n++] = s->slots[i].token;
    return n;
}

unsigned
sender_slots(const struct sender *s)
{
    return s->count;
}

unsigned
sender_slots_free(const struct sender *s)
{
    return s->count - s->busy;
}

void
sender_left_over(struct sender *s, const struct left_over *row)
{
    struct slot *slot = slot_take(s);
    struct source *source = book_source(s->p->book, row->source_id);
    int64_t now = partition_db_now(s->p, clock_boot());

    slot->device_id = row->device_id;
    slot->device = schedule_find(s->p->devices, row->device_id);
    slot->class = source ? source->class : CLASS_CAMPAIGN;
    slot->entry = (struct entry){.source_id = row->source_id,
                                 .lead_no = row->lead_no,
                                 .step = row->step,
                                 .attempt = row->attempt,
                                 .revision = row->revision,
                                 .due = now};
    slot->token = row->token;
    slot->epoch = row->epoch;
    follow_unknown(slot, REASON_TAKEN_OVER, clock_boot());
    s->p->meter.unknown++;
    slot_to_fact(slot);
    partition_wake(s->p);
}

/* ---- life ---- */

static int
new_slots(struct sender *s)
{
    s->slots = calloc(s->count, sizeof(*s->slots));
    /* Untouched until a slot is used: a page costs nothing before. */
    s->rooms = calloc(s->count, SLOT_ROOM);
    if (!s->slots || !s->rooms)
        return -ENOMEM;
    for (unsigned i = s->count; i-- > 0;) {
        struct slot *slot = &s->slots[i];

        slot->sender = s;
        slot->start.index = HEAP_ABSENT;
        slot->room = s->rooms + (size_t) i * SLOT_ROOM;
        TAILQ_INSERT_HEAD(&s->free, slot, link);
    }
    return heap_init(&s->starting, s->count);
}

static int
new_args(struct sender *s)
{
    int r = 0;

    for (unsigned part = 0; part < PART_COUNT && r == 0; part++)
        r = db_args_init(&s->args[part],
                         CLAIM_BATCH_MAX * (part < PART_REFUSE ? FACT_BYTES : CLAIM_BYTES) + 4096);
    return r;
}

int
sender_new(struct sender **ret, struct partition *p)
{
    struct sender *s = calloc(1, sizeof(*s));
    unsigned wire;
    int r;

    if (!s)
        return -ENOMEM;
    s->p = p;
    TAILQ_INIT(&s->free);
    TAILQ_INIT(&s->facts);
    TAILQ_INIT(&s->refused);
    s->fact_limit = CLAIM_BATCH_MAX;
    /* As many as the wire holds, and as many again whose facts wait for their commit. */
    wire = transport_free_slots(p->transport) + transport_in_flight(p->transport);
    s->count = wire + MIN_OF(wire, CLAIM_BATCH_MAX);
    r = new_slots(s);
    if (r == 0)
        r = new_args(s);
    if (r < 0) {
        sender_free(s);
        return r;
    }
    *ret = s;
    return 0;
}

struct sender *
sender_free(struct sender *s)
{
    if (!s)
        return NULL;
    heap_done(&s->starting);
    free(s->giving);
    for (unsigned part = 0; part < PART_COUNT; part++)
        db_args_done(&s->args[part]);
    free(s->rooms);
    free(s->slots);
    free(s);
    return NULL;
}
