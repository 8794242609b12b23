/* What an outcome means for its row, its device and its breakers; and its way into the database. */
#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "node/apply.h"
#include "node/audience.h"
#include "node/sender_inner.h"
#include "shared/log.h"

#define RETRY_WAIT        (5 * USEC_PER_SEC) /* doubles with each attempt */
#define UNREACHED_WAIT    USEC_PER_SEC       /* no connection: the breaker does the rest */
#define THROTTLE_WAIT     (60 * USEC_PER_SEC)
#define STOP_WAIT         (300 * USEC_PER_SEC) /* then a probe; or the operator changes the device */
#define PAIR_ATTEMPTS_MAX (ATTEMPTS_MAX - 1)

/* ---- judging ---- */

void
settle_not_sent(struct slot *slot, usec_t now)
{
    slot->sender->p->meter.not_sent++;
    follow_wait(slot, 0, REASON_NONE, now, slot->entry.due, (unsigned) slot->entry.attempt);
    slot_to_fact(slot);
}

void
settle_skipped(struct slot *slot, enum reason reason, usec_t now)
{
    slot->sender->p->meter.ended++;
    follow_skipped(slot, MESSAGE_SKIPPED, reason, now);
    slot_to_fact(slot);
}

void
settle_expired(struct slot *slot, usec_t now)
{
    slot->sender->p->meter.ended++;
    follow_skipped(slot, MESSAGE_EXPIRED, REASON_OVER_TTL, now);
    slot_to_fact(slot);
}

void
settle_through(struct slot *slot, usec_t now)
{
    slot->sender->p->meter.ended++;
    follow_step(slot, 0, REASON_NONE, now);
    slot_to_fact(slot);
}

/* Waits again, its next attempt at `wait` from the end; the refused attempt has its message row. */
static void
wait_again(struct slot *slot, const struct outcome_report *report, usec_t wait, unsigned attempt)
{
    follow_wait(slot, MESSAGE_FAILED, report->reason ? report->reason : REASON_REFUSED,
                report->ended, partition_db_now(slot->sender->p, report->ended + wait), attempt);
}

static void
retry(struct slot *slot, const struct outcome_report *report)
{
    unsigned attempt = (unsigned) slot->entry.attempt + 1;
    unsigned limit = report->retries_max ? report->retries_max + 1 : ATTEMPTS_MAX;
    usec_t wait = RETRY_WAIT << slot->entry.attempt;

    if (attempt >= limit) {
        follow_failed(slot, REASON_RETRIES, report->ended);
        return;
    }
    wait += rng_between(slot->sender->p->rng, 0, wait / 4);
    wait_again(slot, report, MAX_OF(wait, report->retry_after), attempt);
}

/* Only this recipient must wait, 4^attempt s. The attempts give the exponent but end nothing: the
 * limit is ours, not the recipient's fault. */
static void
wait_for_pair(struct slot *slot, const struct outcome_report *report)
{
    unsigned attempt = (unsigned) slot->entry.attempt;
    usec_t wait = USEC_PER_SEC << (2 * MIN_OF(attempt, PAIR_ATTEMPTS_MAX));

    wait_again(slot, report, wait, MIN_OF(attempt + 1, PAIR_ATTEMPTS_MAX));
}

static void
unreached(struct slot *slot, const struct outcome_report *report)
{
    int64_t due = slot->entry.due;

    if (!report->guarded)
        due = partition_db_now(slot->sender->p, report->ended + UNREACHED_WAIT);
    follow_wait(slot, 0, REASON_NONE, report->ended, due, (unsigned) slot->entry.attempt);
}

/* Wrong for every lead alike: the source waits for its operator. A direct message stands alone. */
static bool
pause_source(struct slot *slot, const struct outcome_report *report)
{
    bool direct = slot->class == CLASS_DIRECT;

    if (direct)
        follow_failed(slot,
                      report->refusal == REFUSAL_TEMPLATE ? REASON_TEMPLATE : REASON_PARAMETER,
                      report->ended);
    else
        apply_pause(slot->sender->p->apply, slot->entry.source_id);
    return !direct;
}

static void
hold_device(struct slot *slot, const struct outcome_report *report, usec_t wait)
{
    struct device *d = slot->device;

    d->held_until = MAX_OF(d->held_until, report->ended + MAX_OF(wait, report->retry_after));
}

static void
judge_refusal(struct slot *slot, const struct outcome_report *report)
{
    slot->sender->p->meter.not_sent++;
    switch (report->refusal) {
    case REFUSAL_NONE: unreached(slot, report); return;
    case REFUSAL_RETRY: retry(slot, report); return;
    case REFUSAL_PAIR: wait_for_pair(slot, report); return;
    case REFUSAL_THROTTLE_DEVICE: hold_device(slot, report, THROTTLE_WAIT); break;
    case REFUSAL_STOP_DEVICE: hold_device(slot, report, STOP_WAIT); break;
    case REFUSAL_TEMPLATE:
    case REFUSAL_PARAMETER:
        if (!pause_source(slot, report))
            return;
        break;
    default: break; /* a breaker holds the scope */
    }
    wait_again(slot, report, 0, (unsigned) slot->entry.attempt);
}

static void
judge(struct slot *slot, const struct outcome_report *report)
{
    struct meter *m = &slot->sender->p->meter;

    switch (report->outcome) {
    case OUTCOME_SENT:
        follow_step(slot, MESSAGE_SENT, REASON_NONE, report->ended);
        meter_sent(m, report->ended,
                   report->first_byte > slot->ready ? report->first_byte - slot->ready : 0);
        return;
    case OUTCOME_FAILED:
        follow_failed(slot, report->reason, report->ended);
        m->failed++;
        return;
    case OUTCOME_UNKNOWN:
        follow_unknown(slot, report->reason, report->ended);
        m->unknown++;
        return;
    case OUTCOME_NOT_SENT: judge_refusal(slot, report); return;
    }
}

/* ---- breakers ---- */

struct news {
    enum breaker_news url, scope, account;
    usec_t wait; /* of a hold */
};

static struct news
news_of(const struct outcome_report *r)
{
    struct news n = {BREAKER_GOOD, BREAKER_GOOD, BREAKER_GOOD, 0};

    if (r->outcome == OUTCOME_UNKNOWN)
        return (struct news){BREAKER_DOUBT, BREAKER_DOUBT, BREAKER_DOUBT, 0};
    if (r->outcome != OUTCOME_NOT_SENT)
        return n;
    switch (r->refusal) {
    case REFUSAL_THROTTLE_SCOPE:
        n.scope = BREAKER_HOLD;
        n.wait = THROTTLE_WAIT;
        break;
    case REFUSAL_STOP_SCOPE: /* one probe at a time, by the breaker's own back-off */
        n.scope = BREAKER_HOLD;
        break;
    case REFUSAL_THROTTLE_ACCOUNT:
        n.account = BREAKER_HOLD;
        n.wait = THROTTLE_WAIT;
        break;
    case REFUSAL_STOP_ACCOUNT:
        n.account = BREAKER_HOLD;
        n.wait = STOP_WAIT;
        break;
    default: break;
    }
    if (r->retry_after > 0)
        n.wait = r->retry_after;
    return n;
}

static void
tell_breakers(struct slot *slot, const struct outcome_report *r)
{
    struct rng *rng = slot->sender->p->rng;
    struct news n = news_of(r);

    if (r->outcome == OUTCOME_NOT_SENT && r->refusal == REFUSAL_NONE) {
        /* It never reached the wire: only the way to the server can be at fault. */
        if (r->guarded)
            breaker_unclaimed(slot->breakers[BREAKER_URL]);
        else
            breaker_ended(slot->breakers[BREAKER_URL], BREAKER_DOUBT, r->ended, 0, rng);
        breaker_unclaimed(slot->breakers[BREAKER_SCOPE]);
        breaker_unclaimed(slot->breakers[BREAKER_ACCOUNT]);
        reserve_uncount(slot);
        return;
    }
    breaker_ended(slot->breakers[BREAKER_URL], n.url, r->ended, r->ended + n.wait, rng);
    breaker_ended(slot->breakers[BREAKER_SCOPE], n.scope, r->ended, r->ended + n.wait, rng);
    breaker_ended(slot->breakers[BREAKER_ACCOUNT], n.account, r->ended, r->ended + n.wait, rng);
}

void
settle_report(struct slot *slot, const struct outcome_report *report)
{
    struct device *d = slot->device;

    slot->provider_id_bytes = (uint8_t) MIN_OF(report->provider_id.bytes, PROVIDER_ID_BYTES_MAX);
    if (slot->provider_id_bytes > 0)
        memcpy(slot->provider_id, report->provider_id.data, slot->provider_id_bytes);
    judge(slot, report);
    tell_breakers(slot, report);
    /* The gap counts from the end of what reached the wire. */
    if (report->calls > 0 && !report->guarded)
        pace_rest(d, report->ended, slot->sender->p->rng);
    slot_to_fact(slot);
    slot_release_device(slot);
}

/* ---- into the database ---- */

void
settle_choose(struct sender *s)
{
    struct slot *slot;

    for (unsigned n = 0; n < s->fact_limit && (slot = TAILQ_FIRST(&s->facts)) != NULL; n++) {
        enum tick_part part = slot->evidence                  ? PART_EVIDENCE
                              : slot->fact.goal == GOAL_ENDED ? PART_FINISH
                                                              : PART_ADVANCE;
        struct slot_list *list = &s->parts[part];

        TAILQ_REMOVE(&s->facts, slot, link);
        list->slots[list->count++] = slot;
    }
}

static void
gather(struct columns *c, unsigned i, const struct slot *slot)
{
    c->n[i] = slot_index(slot);
    c->device_id[i] = slot->device_id;
    c->source_id[i] = slot->entry.source_id;
    c->lead_no[i] = slot->entry.lead_no;
    c->token[i] = slot->token;
    c->goal[i] = slot->fact.goal;
    c->to_step[i] = slot->fact.to_step;
    c->to_attempt[i] = slot->fact.to_attempt;
    c->to_revision[i] = slot->fact.to_revision;
    c->due[i] = slot->fact.due;
    c->state[i] = slot->fact.state;
    c->reason[i] = slot->fact.reason;
    c->provider_id[i] =
        (struct slice){slot->provider_id, slot->bare ? 0u : slot->provider_id_bytes};
    c->at[i] = slot->fact.at;
    /* The day of a message is that of its token; but it may be so old that the day is gone. */
    c->claimed_at[i] = slot->bare ? slot->fact.at : token_uuid_time(&slot->token);
    c->step[i] = slot->entry.step;
    c->attempt[i] = slot->entry.attempt;
    c->text_hash[i] = (int64_t) slot->text_hash;
    c->ends_as[i] = slot->fact.ends_as;
    c->next_source[i] = slot->fact.next_source;
    c->next_step[i] = slot->fact.next_step;
    c->next_revision[i] = slot->fact.next_revision;
    c->next_due[i] = slot->fact.next_due;
}

/* In the order of FACTS and, behind it, ENDINGS in store.c. */
void
settle_encode(struct sender *s, enum tick_part part)
{
    struct slot_list *list = &s->parts[part];
    struct columns *c = &s->columns;
    struct db_args *a = &s->args[part];
    unsigned n = list->count;

    for (unsigned i = 0; i < n; i++)
        gather(c, i, list->slots[i]);
    db_put_int4s(a, c->n, n);
    db_put_int4s(a, c->device_id, n);
    db_put_int4s(a, c->source_id, n);
    db_put_int4s(a, c->lead_no, n);
    db_put_uuids(a, c->token, n);
    db_put_int2s(a, c->goal, n);
    db_put_int2s(a, c->to_step, n);
    db_put_int2s(a, c->to_attempt, n);
    db_put_int2s(a, c->to_revision, n);
    db_put_times(a, c->due, n);
    db_put_int2s(a, c->state, n);
    db_put_int2s(a, c->reason, n);
    db_put_texts(a, c->provider_id, n);
    db_put_times(a, c->at, n);
    db_put_times(a, c->claimed_at, n);
    db_put_int2s(a, c->step, n);
    db_put_int2s(a, c->attempt, n);
    db_put_int8s(a, c->text_hash, n);
    if (part == PART_ADVANCE)
        return;
    db_put_int2s(a, c->ends_as, n);
    db_put_int4s(a, c->next_source, n);
    db_put_int2s(a, c->next_step, n);
    db_put_int2s(a, c->next_revision, n);
    db_put_times(a, c->next_due, n);
}

/* The row is as the fact says: memory follows. A pass over the devices (sweep, new revision) may
 * have gone by while it was claimed. */
static void
confirmed(struct slot *slot)
{
    struct partition *p = slot->sender->p;
    struct device *d = slot->device;
    struct entry again = {.due = slot->fact.due,
                          .source_id = slot->entry.source_id,
                          .lead_no = slot->entry.lead_no,
                          .step = slot->fact.to_step,
                          .attempt = slot->fact.to_attempt,
                          .revision = slot->fact.to_revision};

    if (slot->fact.goal == GOAL_WAITING) {
        if (slot->source)
            book_passed_over(p->book, slot->source, &again, slot->device_id);
        slot_rejoin(slot, &again);
    } else if (d)
        audience_live(p, d, -1);
    if (slot->fact.goal == GOAL_UNKNOWN)
        p->doubts++;
    else if (slot->evidence && p->doubts > 0)
        p->doubts--;
    slot_give(slot);
}

/* Who was through a sequence is in the next one now. */
static void
chained(struct sender *s, const struct db_reply *reply, unsigned call, unsigned row)
{
    audience_row_new(s->p, (int32_t) db_get_int(reply, call, row, 1),
                     (int32_t) db_get_int(reply, call, row, 2),
                     (int32_t) db_get_int(reply, call, row, 3),
                     (int16_t) db_get_int(reply, call, row, 5),
                     (int16_t) db_get_int(reply, call, row, 4), db_get_time(reply, call, row, 6));
}

/*
 * No row was claimed with that token. A sent or failed one may stand as unknown since another take
 * (or our own): that is asked next. Else nothing is to be done: the claim never committed, or the
 * fact is recorded already, by the transaction that was lost.
 */
static void
unmatched(struct slot *slot)
{
    struct partition *p = slot->sender->p;
    bool told = slot->fact.state == MESSAGE_SENT || slot->fact.state == MESSAGE_FAILED;

    bool over = slot->fact.goal == GOAL_ENDED || slot->fact.to_step != slot->entry.step;

    if (!slot->evidence && told && over) {
        slot->evidence = true;
        slot_to_fact(slot);
        return;
    }
    if (!slot->retold && told)
        log_event(LOG_LEVEL_WARNING, "fact.unmatched",
                  "partition=%s device=%d source=%d lead=%d state=%s", p->config.name,
                  slot->device_id, slot->entry.source_id, slot->entry.lead_no,
                  message_state_name(slot->fact.state));
    slot_give(slot);
}

void
settle_answered(struct sender *s, enum tick_part part, const struct db_reply *reply)
{
    unsigned call = (unsigned) s->calls[part];
    struct slot_list *list = &s->parts[part];

    for (unsigned row = 0; row < db_rows(reply, call); row++) {
        if (db_is_null(reply, call, row, 0)) {
            chained(s, reply, call, row);
            continue;
        }
        int64_t n = db_get_int(reply, call, row, 0);

        assert(n >= 0 && n < s->count && s->slots[n].state == SLOT_FACT);
        s->slots[n].confirmed = true;
    }
    for (unsigned i = 0; i < list->count; i++)
        if (list->slots[i]->confirmed)
            confirmed(list->slots[i]);
        else
            unmatched(list->slots[i]);
}

void
settle_again(struct sender *s, bool lost)
{
    for (enum tick_part part = PART_ADVANCE; part <= PART_EVIDENCE; part++) {
        struct slot_list *list = &s->parts[part];

        for (unsigned i = list->count; i-- > 0;) {
            list->slots[i]->retold |= lost;
            TAILQ_INSERT_HEAD(&s->facts, list->slots[i], link);
        }
    }
}

/* The last resort for a row that the database does not take even bare: it stays claimed, and the
 * next take makes it unknown. */
static void
drop_poison(struct slot *slot)
{
    struct partition *p = slot->sender->p;

    log_event(LOG_LEVEL_ERROR, "fact.poison", "partition=%s device=%d source=%d lead=%d state=%s",
              p->config.name, slot->device_id, slot->entry.source_id, slot->entry.lead_no,
              message_state_name(slot->fact.state));
    p->settled_epoch = 0;
    slot_give(slot);
}

void
settle_halve(struct sender *s, bool no_day)
{
    struct slot *last = NULL;
    unsigned count = 0;

    for (enum tick_part part = PART_ADVANCE; part <= PART_EVIDENCE; part++)
        for (unsigned i = 0; i < s->parts[part].count; i++, count++)
            last = s->parts[part].slots[i];
    assert(last);
    if (count > 1) {
        s->fact_limit = count / 2;
        settle_again(s, false);
        return;
    }
    s->p->meter.poison++;
    if (last->bare && !no_day) {
        drop_poison(last);
        return;
    }
    last->bare = true;
    settle_again(s, false);
}
