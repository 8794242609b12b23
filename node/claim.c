/* Which rows to ask for, what came back, and why the rest did not. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "node/audience.h"
#include "node/sender_inner.h"
#include "shared/log.h"
#include "shared/secret.h"

#define BREAKER_AGAIN USEC_PER_SEC /* a probe is out: look again so often */
#define REFUSED_WAIT  USEC_PER_SEC
#define ZONE_AGAIN    ((int64_t) (5 * USEC_PER_SEC)) /* its zone is being read */

/* ---- choosing ---- */

static bool
is_skipped(void *arg, const struct entry *e)
{
    return book_skips(arg, e);
}

/* A window of its step holds the row, not the device: it is due when the window opens. */
static bool
held_by_window(struct partition *p, struct device *d, enum device_class class,
               const struct entry *e, int64_t db_at)
{
    const struct source_step *step =
        source_step(book_source(p->book, e->source_id), e->revision, e->step);
    int64_t opens;

    if (!step || zone_window_open(d->zone, step->window, db_at, &opens))
        return false;
    device_hold(d, class, e, opens == ZONE_NEVER ? db_at + ZONE_AGAIN : opens);
    return true;
}

/*
 * The entry that this device may send at some instant up to `limit`, all gates judged for that
 * instant; NULL: not so soon, and it got its next turn. *ret_at is the instant. Ends because `at`
 * only grows, and rows that are held are due later.
 */
static const struct entry *
find_entry(struct partition *p, struct device *d, usec_t now, usec_t limit, usec_t *ret_at,
           enum device_class *ret_class)
{
    usec_t at = now;

    for (;;) {
        const struct pace_now pace = partition_pace_now(p, at);
        struct pace_verdict v = pace_decide(d, &pace);
        const struct entry *e;
        int64_t due;
        usec_t next;

        if (v.gate == GATE_OPEN) {
            e = device_peek(d, pace.db_at, is_skipped, p->book, ret_class, &due);
            if (e && held_by_window(p, d, *ret_class, e, pace.db_at))
                continue;
            if (e) {
                *ret_at = at;
                return e;
            }
            next = partition_boot_of(p, due);
            /* The offset may have moved by less than the clocks' grain. */
            next = MAX_OF(next, at + 1);
        } else {
            next = v.opens;
            if (v.gate == GATE_BREAKER && next == USEC_INFINITY)
                next = now + BREAKER_AGAIN;
            if (v.gate != GATE_GAP)
                d->veto_ends = next;
        }
        if (next > limit) {
            schedule_put(p->devices, d, next);
            return NULL;
        }
        at = next;
    }
}

static void
ask_for(struct sender *s, struct device *d, enum device_class class, const struct entry *e,
        usec_t now)
{
    struct partition *p = s->p;
    struct slot *slot = slot_take(s);
    usec_t due = partition_boot_of(p, e->due);

    slot->state = SLOT_ASKED;
    slot->device = d;
    slot->device_id = d->device_id;
    slot->class = class;
    slot->entry = *e;
    slot->source = book_source(p->book, e->source_id);
    slot->epoch = p->epoch;
    /* A gate may have opened before the time it had said: somebody resumed. */
    slot->ready = MIN_OF(MAX_OF(MAX_OF(due, d->gap_ends), d->veto_ends), now);
    slot->breakers[BREAKER_URL] = d->url_breaker;
    slot->breakers[BREAKER_SCOPE] = d->scope_breaker;
    slot->breakers[BREAKER_ACCOUNT] = d->account_breaker;
    for (unsigned i = 0; i < BREAKER_KIND_COUNT; i++)
        breaker_claimed(slot->breakers[i], now);
    reserve_count(slot, partition_db_now(p, now));
    device_take(d, class, &slot->entry);
    d->state = DEVICE_CLAIMING;
    struct slot_list *list = &s->parts[class == CLASS_DIRECT ? PART_CLAIM_DIRECT : PART_CLAIM];
    list->slots[list->count++] = slot;
}

/* Free wire slots that no claimed row of ours waits for. */
static unsigned
room(const struct sender *s)
{
    unsigned wire = transport_free_slots(s->p->transport);
    unsigned left = wire > s->ready ? wire - s->ready : 0;

    return MIN_OF(MIN_OF(left, sender_slots_free(s)), CLAIM_BATCH_MAX);
}

static unsigned
asked(const struct sender *s)
{
    return s->parts[PART_CLAIM].count + s->parts[PART_CLAIM_DIRECT].count;
}

void
claim_choose(struct sender *s, usec_t now)
{
    struct partition *p = s->p;
    usec_t limit = now + CLAIM_AHEAD;
    unsigned count = room(s);
    struct device *d;

    while (asked(s) < count && (d = schedule_pop(p->devices, limit)) != NULL) {
        enum device_class class;
        usec_t at;

        if (d->state != DEVICE_IDLE)
            continue; /* its send's end looks at it again */
        const struct entry *e = find_entry(p, d, now, limit, &at, &class);
        if (e)
            ask_for(s, d, class, e, at);
        audience_look(p->audience, d);
    }
}

static void
make_tokens(struct sender *s, enum tick_part part)
{
    struct slot_list *list = &s->parts[part];
    int64_t now = partition_db_now(s->p, s->tick_sent);

    secret_random(s->random, list->count * sizeof(s->random[0]));
    for (unsigned i = 0; i < list->count; i++)
        list->slots[i]->token = token_uuid(now, s->random[i]);
}

/* The seven columns that claim and refuse share. */
static void
encode_asked(struct sender *s, enum tick_part part)
{
    struct slot_list *list = &s->parts[part];
    struct columns *c = &s->columns;
    struct db_args *a = &s->args[part];
    unsigned n = list->count;

    for (unsigned i = 0; i < n; i++) {
        const struct slot *slot = list->slots[i];

        c->n[i] = slot_index(slot);
        c->device_id[i] = slot->device_id;
        c->source_id[i] = slot->entry.source_id;
        c->lead_no[i] = slot->entry.lead_no;
        c->step[i] = slot->entry.step;
        c->attempt[i] = slot->entry.attempt;
        c->token[i] = slot->token;
    }
    db_put_int8(a, (int64_t) s->p->epoch);
    db_put_int4s(a, c->n, n);
    db_put_int4s(a, c->device_id, n);
    db_put_int4s(a, c->source_id, n);
    db_put_int4s(a, c->lead_no, n);
    db_put_int2s(a, c->step, n);
    db_put_int2s(a, c->attempt, n);
    db_put_uuids(a, c->token, n);
}

void
claim_encode(struct sender *s, enum tick_part part)
{
    make_tokens(s, part);
    encode_asked(s, part);
}

void
refuse_encode(struct sender *s)
{
    encode_asked(s, PART_REFUSE);
}

/* ---- what came back ---- */

/* A copy that lives as long as the send; false: no room. */
static bool
keep(struct slot *slot, const char *text, size_t bytes, struct slice *ret)
{
    if (bytes > SLOT_ROOM - slot->room_used)
        return false;
    *ret = (struct slice){slot->room + slot->room_used, bytes};
    memcpy(slot->room + slot->room_used, text, bytes);
    slot->room_used += bytes;
    return true;
}

static enum compose_verdict
compose_part(struct slot *slot, const struct compose *c, const struct lead_fields *lead,
             struct slice *ret)
{
    char *out = slot->room + slot->room_used;
    size_t size = CONTENT_TEXT_BYTES_MAX - MIN_OF(slot->room_used, CONTENT_TEXT_BYTES_MAX), bytes;
    enum compose_verdict v = compose_render(c, lead, out, size, &bytes);

    if (v != COMPOSE_OK)
        return v;
    *ret = (struct slice){out, bytes};
    slot->room_used += bytes;
    return COMPOSE_OK;
}

/* Body parameters stand one behind the other with \x1f between: that is also what is hashed. */
static enum compose_verdict
compose_parameters(struct slot *slot, const struct template_entry *t,
                   const struct lead_fields *lead)
{
    for (unsigned i = 0; i < t->content.parameter_count; i++) {
        struct slice separator;
        enum compose_verdict v;

        if (i > 0 && !keep(slot, "\x1f", 1, &separator))
            return COMPOSE_TOO_LONG;
        v = compose_part(slot, t->parameters[i], lead, &slot->parameters[i]);
        if (v != COMPOSE_OK)
            return v;
    }
    slot->out.parameter_count = t->content.parameter_count;
    slot->out.parameters = slot->parameters;
    return COMPOSE_OK;
}

/* Which of the variants a lead gets is its own: the same at each step and on each node. */
static enum compose_verdict
compose_content(struct slot *slot, const struct template_entry *t, const struct lead_fields *lead)
{
    slot->out.is_template = !t->content.is_text;
    if (!t->content.is_text)
        return compose_parameters(slot, t, lead);
    return compose_part(slot, t->texts[compose_variant(lead->phone, t->text_count)], lead,
                        &slot->out.text);
}

/* Everything that the request borrows is copied: device and template may change meanwhile. */
static bool
address_it(struct slot *slot, const struct content_template *t)
{
    const struct partition *p = slot->sender->p;
    const struct device *d = slot->device;
    const char *url = *d->base_url ? d->base_url : p->config.base_url;
    struct token token = {.epoch = slot->epoch, .device_id = d->device_id, .id = slot->token};

    snprintf(token.partition, sizeof(token.partition), "%s", p->config.name);
    slot->text_hash = compose_hash((struct slice){slot->room, slot->room_used});
    slot->out.gateway = d->gateway;
    slot->out.version = (struct slice){p->config.version, strlen(p->config.version)};
    slot->out.token = (struct slice){slot->token_text, token_write(slot->token_text, &token)};
    slot->out.send_by = slot->send_by;
    return keep(slot, url, strlen(url), &slot->out.base_url) &&
           keep(slot, d->address, strlen(d->address), &slot->out.address) &&
           keep(slot, t->template_name, strlen(t->template_name), &slot->out.template_name) &&
           keep(slot, t->language, strlen(t->language), &slot->out.language);
}

static enum compose_verdict
compose_slot(struct slot *slot, const struct template_entry *t, const struct lead_fields *lead)
{
    enum compose_verdict v;

    slot->out = (struct outgoing){.phone = lead->phone};
    slot->room_used = 0;
    v = compose_content(slot, t, lead);
    if (v == COMPOSE_OK && !address_it(slot, &t->content))
        return COMPOSE_TOO_LONG;
    return v;
}

/* A direct message's text stands as it was given. */
static enum compose_verdict
copy_text(struct slot *slot, uint64_t phone, struct slice text)
{
    static const struct content_template none;

    slot->out = (struct outgoing){.phone = phone};
    slot->room_used = 0;
    return keep(slot, text.data, text.bytes, &slot->out.text) && address_it(slot, &none)
               ? COMPOSE_OK
               : COMPOSE_TOO_LONG;
}

/* Claimed, but it is not to be sent: its fact says what becomes of it. */
static void
claimed_for_nothing(struct slot *slot, void (*settle)(struct slot *slot, usec_t now), usec_t now)
{
    slot_unclaim(slot);
    settle(slot, now);
    slot_release_device(slot);
}

static void
make_ready(struct slot *slot, enum compose_verdict v, usec_t now)
{
    struct sender *s = slot->sender;

    if (v != COMPOSE_OK) {
        slot_unclaim(slot);
        settle_skipped(slot, v == COMPOSE_TOO_LONG ? REASON_TEXT_TOO_LONG : REASON_MISSING_VARIABLE,
                       now);
        slot_release_device(slot);
        return;
    }
    slot->state = SLOT_READY;
    slot->device->state = DEVICE_READY;
    s->ready++;
    heap_put(&s->starting, &slot->start, MAX_OF(now, slot->ready));
}

/* `lead` is who it goes to; text: what, if it stands in the row. */
static void
claimed(struct slot *slot, const struct lead_fields *lead, struct slice text, usec_t now)
{
    struct partition *p = slot->sender->p;
    const struct source_step *step;

    p->meter.claimed++;
    if (!partition_may_claim(p)) { /* stopping */
        claimed_for_nothing(slot, settle_not_sent, now);
        return;
    }
    if (slot->class == CLASS_DIRECT) {
        make_ready(slot, copy_text(slot, lead->phone, text), now);
        return;
    }
    step = source_step(slot->source, slot->entry.revision, slot->entry.step);
    if (step)
        slot->entry.step = step->step; /* a draft may have lost its own: this one is sent instead */
    if (!step)
        claimed_for_nothing(slot, settle_through, now);
    else if (step->ttl > 0 && slot->entry.due + (int64_t) step->ttl < partition_db_now(p, now))
        claimed_for_nothing(slot, settle_expired, now);
    else
        make_ready(slot, compose_slot(slot, step->template_, lead), now);
}

static void
not_claimed(struct slot *slot)
{
    struct sender *s = slot->sender;

    slot_unclaim(slot);
    slot_release_device(slot);
    if (!partition_may_claim(s->p)) {
        slot_give(slot);
        return;
    }
    slot->state = SLOT_REFUSED;
    TAILQ_INSERT_TAIL(&s->refused, slot, link);
}

/* One row: of a lead n, phone, name, attributes, due; of a direct message n, phone, text, due. The
 * due time in memory may be later: the row was held. */
static void
read_claimed(struct sender *s, enum tick_part part, const struct db_reply *reply, unsigned row,
             usec_t now)
{
    unsigned call = (unsigned) s->calls[part];
    bool direct = part == PART_CLAIM_DIRECT;
    int64_t n = db_get_int(reply, call, row, 0);
    struct slice text = db_get_text(reply, call, row, 2);
    struct lead_fields lead = {.phone = (uint64_t) db_get_int(reply, call, row, 1)};
    struct slot *slot = &s->slots[n];

    assert(n >= 0 && n < s->count && slot->state == SLOT_ASKED && !slot->confirmed);
    if (!direct) {
        lead.name = text;
        lead.attributes = db_get_text(reply, call, row, 3);
    }
    slot->entry.due = db_get_time(reply, call, row, direct ? 3 : 4);
    slot->entry.held = false;
    slot->confirmed = true;
    claimed(slot, &lead, text, now);
}

void
claim_answered(struct sender *s, enum tick_part part, const struct db_reply *reply)
{
    struct slot_list *list = &s->parts[part];
    usec_t now = clock_boot();

    for (unsigned row = 0; row < db_rows(reply, (unsigned) s->calls[part]); row++)
        read_claimed(s, part, reply, row, now);
    for (unsigned i = 0; i < list->count; i++)
        if (!list->slots[i]->confirmed)
            not_claimed(list->slots[i]);
}

void
claim_undone(struct sender *s)
{
    struct slot_list *refused = &s->parts[PART_REFUSE];

    for (enum tick_part part = PART_CLAIM; part <= PART_CLAIM_DIRECT; part++)
        for (unsigned i = 0; i < s->parts[part].count; i++) {
            struct slot *slot = s->parts[part].slots[i];

            slot_unclaim(slot);
            slot_release_device(slot);
            slot_rejoin(slot, &slot->entry);
            slot_give(slot);
        }
    for (unsigned i = refused->count; i-- > 0;)
        TAILQ_INSERT_HEAD(&s->refused, refused->slots[i], link);
}

/* ---- refusals ---- */

/* The database does not let it be sent now, memory would: the two see a pause end some milliseconds
 * apart. */
static void
ask_later(struct slot *slot)
{
    int64_t now = partition_db_now(slot->sender->p, clock_boot());

    slot->entry.due = MAX_OF(slot->entry.due, now + (int64_t) REFUSED_WAIT);
    slot->entry.held = true;
    slot_rejoin(slot, &slot->entry);
}

static void
on_verdict(struct slot *slot, int64_t verdict)
{
    struct partition *p = slot->sender->p;
    struct device *d = slot->device;

    switch (verdict) {
    case REASON_OPTED_OUT:
    case REASON_SOURCE_CANCELLED:
    case REASON_OVER_TTL:
        p->meter.ended++;
        audience_live(p, d, -1);
        break;
    case REASON_STALE:
        p->meter.stale++;
        log_event(LOG_LEVEL_WARNING, "claim.stale", "partition=%s device=%d source=%d lead=%d",
                  p->config.name, slot->device_id, slot->entry.source_id, slot->entry.lead_no);
        audience_reread(p->audience, d);
        break;
    case REASON_NOT_HERE: audience_reread(p->audience, d); break;
    case REASON_EPOCH: break; /* the same transaction's STORE_EPOCH is judged */
    default: ask_later(slot); break;
    }
    slot_give(slot);
}

void
refuse_answered(struct sender *s, const struct db_reply *reply)
{
    unsigned call = (unsigned) s->calls[PART_REFUSE];

    for (unsigned row = 0; row < db_rows(reply, call); row++) {
        int64_t n = db_get_int(reply, call, row, 0);

        assert(n >= 0 && n < s->count && s->slots[n].state == SLOT_REFUSED);
        on_verdict(&s->slots[n], db_get_int(reply, call, row, 1));
    }
}
