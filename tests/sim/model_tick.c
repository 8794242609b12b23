/* Statements of the tick: facts, refusals, claims. */
#include <assert.h>
#include <string.h>

#include "tests/sim/store.h"

/* One of FACTS in node/store.c, by its place. */
struct fact_row {
    int32_t n, device_id, source_id, lead_no, next_source;
    struct uuid token;
    int16_t goal, to_step, to_attempt, to_revision, state, reason, step, attempt, ends_as,
        next_step, next_revision;
    int64_t due, at, claimed_at, text_hash, epoch, next_due;
};

static struct fact_row
read_fact(const struct call *c, unsigned i)
{
#define NUMBER(column) array_int(value_array(c->in, column), i)
#define TIME(column)   array_time(value_array(c->in, column), i)
    struct fact_row f = {.n = (int32_t) NUMBER(0),
                         .device_id = (int32_t) NUMBER(1),
                         .source_id = (int32_t) NUMBER(2),
                         .lead_no = (int32_t) NUMBER(3),
                         .token = array_uuid(value_array(c->in, 4), i),
                         .goal = (int16_t) NUMBER(5),
                         .to_step = (int16_t) NUMBER(6),
                         .to_attempt = (int16_t) NUMBER(7),
                         .to_revision = (int16_t) NUMBER(8),
                         .due = TIME(9),
                         .state = (int16_t) NUMBER(10),
                         .reason = (int16_t) NUMBER(11),
                         .at = TIME(13),
                         .claimed_at = TIME(14),
                         .step = (int16_t) NUMBER(15),
                         .attempt = (int16_t) NUMBER(16),
                         .text_hash = NUMBER(17)};

    if (c->in->count == 18) /* FACTS; ENDINGS have five columns more */
        return f;
    f.ends_as = (int16_t) NUMBER(18);
    f.next_source = (int32_t) NUMBER(19);
    f.next_step = (int16_t) NUMBER(20);
    f.next_revision = (int16_t) NUMBER(21);
    f.next_due = TIME(22);
    return f;
#undef NUMBER
#undef TIME
}

static struct enrollment *
find(struct call *c, const struct fact_row *f, int state, struct device_rec **ret_device)
{
    struct device_rec *d = store_device(c->s, f->device_id);
    struct enrollment *e = d ? store_row(d, f->source_id, f->lead_no) : NULL;

    *ret_device = d;
    return e && e->state == state && memcmp(&e->token, &f->token, sizeof(f->token)) == 0 ? e : NULL;
}

static struct progress *
progress_of(struct call *c, int32_t source_id)
{
    static struct progress nowhere;
    struct source_rec *s = store_source(c->s, source_id);

    return s && s->progress.there ? &s->progress : &nowhere;
}

static void
goes_on(struct enrollment *e, const struct fact_row *f)
{
    e->step = f->to_step;
    e->attempt = f->to_attempt;
    e->revision = f->to_revision;
    e->due_at = f->due;
}

static void
message_of(struct call *c, const struct fact_row *f)
{
    if (f->state == 0)
        return;
    *rows_insert(&c->s->messages, c->s->messages.count) =
        (struct message_row){.claimed_at = f->claimed_at,
                             .settled_at = f->at,
                             .epoch = f->epoch,
                             .text_hash = f->text_hash,
                             .token = f->token,
                             .device_id = f->device_id,
                             .source_id = f->source_id,
                             .lead_no = f->lead_no,
                             .step = f->step,
                             .attempt = f->attempt,
                             .state = f->state,
                             .reason = f->reason};
}

static void
put_n(struct call *c, int32_t n, bool wide)
{
    reply_row(c->out);
    reply_int(c->out, n);
    for (unsigned i = 0; wide && i < 6; i++)
        reply_null(c->out);
}

void
model_advance(struct call *c)
{
    unsigned count = value_array(c->in, 0).count;

    for (unsigned i = 0; i < count; i++) {
        struct fact_row f = read_fact(c, i);
        struct device_rec *d;
        struct enrollment *e = find(c, &f, 1, &d);

        if (!e)
            continue;
        f.epoch = e->epoch;
        e->state = f.goal;
        goes_on(e, &f);
        progress_of(c, f.source_id)->unknown += f.goal == 2;
        progress_of(c, f.source_id)->messages += f.state == 1;
        message_of(c, &f);
        put_n(c, f.n, false);
    }
}

static void
end_of(struct device_rec *d, const struct fact_row *f)
{
    if (f->step > 0)
        end_put(d, f->source_id, f->lead_no, f->step, f->ends_as == 1 ? 0 : f->reason, f->at);
}

static bool
chain(struct call *c, struct device_rec *d, const struct fact_row *f)
{
    const struct source_rec *s = f->next_source ? store_source(c->s, f->next_source) : NULL;
    struct enrollment *e;

    if (!s || s->state == 2 || end_find(d, f->next_source, f->lead_no))
        return false;
    e = row_new(d, f->next_source, f->lead_no);
    if (!e)
        return false;
    e->step = f->next_step;
    e->revision = f->next_revision;
    e->due_at = f->next_due;
    progress_of(c, f->next_source)->audience++;
    progress_of(c, f->next_source)->enrolled++;
    return true;
}

/* Behind all n. */
static void
put_chained(struct call *c, unsigned i)
{
    struct fact_row f = read_fact(c, i);

    reply_row(c->out);
    reply_null(c->out);
    reply_int(c->out, f.device_id);
    reply_int(c->out, f.next_source);
    reply_int(c->out, f.lead_no);
    reply_int(c->out, f.next_step);
    reply_int(c->out, f.next_revision);
    reply_int(c->out, f.next_due);
}

static void
count_end(struct progress *p, int ends_as)
{
    p->sent += ends_as == 1;
    p->failed += ends_as == 2;
    p->expired += ends_as == 4;
    p->skipped += ends_as == 5;
    p->cancelled += ends_as == 6;
}

void
model_finish(struct call *c)
{
    unsigned count = value_array(c->in, 0).count, chains = 0;
    uint32_t chained[512];

    assert(count <= ARRAY_SIZE(chained));
    for (unsigned i = 0; i < count; i++) {
        struct fact_row f = read_fact(c, i);
        struct device_rec *d;
        struct enrollment *e = find(c, &f, 1, &d);

        if (!e)
            continue;
        f.epoch = e->epoch;
        row_delete(d, e);
        end_of(d, &f);
        if (chain(c, d, &f))
            chained[chains++] = i;
        count_end(progress_of(c, f.source_id), f.ends_as);
        progress_of(c, f.source_id)->messages += f.state == 1;
        message_of(c, &f);
        put_n(c, f.n, true);
    }
    for (unsigned k = 0; k < chains; k++)
        put_chained(c, chained[k]);
}

void
model_evidence(struct call *c)
{
    unsigned count = value_array(c->in, 0).count, chains = 0;
    uint32_t chained[512];

    assert(count <= ARRAY_SIZE(chained));
    for (unsigned i = 0; i < count; i++) {
        struct fact_row f = read_fact(c, i);
        struct device_rec *d;
        struct enrollment *e = find(c, &f, 2, &d);
        struct progress *p = progress_of(c, f.source_id);

        if (!e)
            continue;
        p->unknown--;
        p->messages += f.state == 1;
        if (f.goal == 0) {
            e->state = 0;
            goes_on(e, &f);
        } else {
            row_delete(d, e);
            end_of(d, &f);
            if (chain(c, d, &f))
                chained[chains++] = i;
            p->sent += f.ends_as == 1;
            p->failed += f.ends_as == 2;
        }
        *rows_insert(&c->s->receipts, c->s->receipts.count) =
            (struct receipt_row){f.at, f.token, f.state, f.reason};
        put_n(c, f.n, true);
    }
    for (unsigned k = 0; k < chains; k++)
        put_chained(c, chained[k]);
}

/* ---- claims ---- */

struct asked { /* one row of claim and refuse, with what it joins */
    int32_t n, source_id, lead_no;
    int16_t step, attempt;
    struct uuid token;
    struct device_rec *d;
    struct enrollment *e;
    struct source_rec *s;
    struct lead *l;
    struct direct_row *c;
};

static struct asked
read_asked(const struct call *c, unsigned i)
{
    struct asked a = {.n = (int32_t) array_int(value_array(c->in, 1), i),
                      .source_id = (int32_t) array_int(value_array(c->in, 3), i),
                      .lead_no = (int32_t) array_int(value_array(c->in, 4), i),
                      .step = (int16_t) array_int(value_array(c->in, 5), i),
                      .attempt = (int16_t) array_int(value_array(c->in, 6), i),
                      .token = array_uuid(value_array(c->in, 7), i)};

    a.d = store_device(c->s, (int32_t) array_int(value_array(c->in, 2), i));
    a.s = store_source(c->s, a.source_id);
    if (a.d) {
        a.e = store_row(a.d, a.source_id, a.lead_no);
        a.l = store_lead(a.d, a.lead_no);
        a.c = direct_find(a.d, a.lead_no);
    }
    return a;
}

static int16_t
verdict_of(const struct call *c, const struct asked *a)
{
    if (!mine(c))
        return 24;
    if (!a->d || a->d->residence != 0 || !a->e || !a->s || (!a->l && !a->c))
        return 21;
    if (a->e->state != 0 || a->e->step != a->step || a->e->attempt != a->attempt)
        return 23;
    if (store_opted_out(c->s, a->d->account, a->l ? a->l->phone : a->c->phone))
        return 11;
    if (a->s->state == 2)
        return 12;
    if (a->s->not_after <= c->now || (a->c && a->c->expires_at <= c->now))
        return 13;
    return source_is_open(a->s, c->now) ? 0 : 22;
}

static void
end_refused(struct call *c, const struct asked *a, int16_t verdict)
{
    struct progress *p = progress_of(c, a->source_id);
    struct fact_row f = {.device_id = a->d->device_id,
                         .source_id = a->source_id,
                         .lead_no = a->lead_no,
                         .token = a->token,
                         .step = a->step,
                         .attempt = a->attempt,
                         .state = verdict == 12   ? 6
                                  : verdict == 13 ? 4
                                                  : 5,
                         .reason = verdict,
                         .at = c->now,
                         .claimed_at = c->now,
                         .epoch = value_int(c->in, 0)};

    row_delete(a->d, a->e);
    if (a->step > 0)
        end_put(a->d, a->source_id, a->lead_no, a->step, verdict, c->now);
    message_of(c, &f);
    p->skipped += verdict == 11;
    p->cancelled += verdict == 12;
    p->expired += verdict == 13;
}

void
model_refuse(struct call *c)
{
    unsigned count = value_array(c->in, 1).count;

    for (unsigned i = 0; i < count; i++) {
        struct asked a = read_asked(c, i);
        int16_t verdict = verdict_of(c, &a);

        if (verdict >= 11 && verdict <= 13)
            end_refused(c, &a, verdict);
        reply_row(c->out);
        reply_int(c->out, a.n);
        reply_int(c->out, verdict);
    }
}

static bool
claims(struct call *c, const struct asked *a, int64_t phone)
{
    if (!a->e || a->e->state != 0 || a->e->step != a->step || a->e->attempt != a->attempt ||
        a->d->residence != 0 || !a->s || !source_is_open(a->s, c->now) ||
        !cluster_is_open(c->s, c->now) || !mine(c) || store_opted_out(c->s, a->d->account, phone))
        return false;
    a->e->state = 1;
    a->e->epoch = value_int(c->in, 0);
    a->e->token = a->token;
    return true;
}

void
model_claim(struct call *c)
{
    unsigned count = value_array(c->in, 1).count;

    for (unsigned i = 0; i < count; i++) {
        struct asked a = read_asked(c, i);

        if (!a.l || !a.s || a.s->not_after <= c->now || !claims(c, &a, a.l->phone))
            continue;
        reply_row(c->out);
        reply_int(c->out, a.n);
        reply_int(c->out, a.l->phone);
        reply_text(c->out, a.l->name, strlen(a.l->name));
        reply_text(c->out, a.l->attributes, strlen(a.l->attributes));
        reply_int(c->out, a.e->due_at);
    }
}

void
model_claim_direct(struct call *c)
{
    unsigned count = value_array(c->in, 1).count;

    for (unsigned i = 0; i < count; i++) {
        struct asked a = read_asked(c, i);

        if (!a.c || a.c->expires_at <= c->now || !claims(c, &a, a.c->phone))
            continue;
        reply_row(c->out);
        reply_int(c->out, a.n);
        reply_int(c->out, a.c->phone);
        reply_text(c->out, a.c->text, strlen(a.c->text));
        reply_int(c->out, a.e->due_at);
    }
}

/* ---- allowances ---- */

void
model_reserve(struct call *c)
{
    struct array ids = value_array(c->in, 1);

    for (unsigned i = 0; i < ids.count && mine(c); i++) {
        struct device_rec *d = store_device(c->s, (int32_t) array_int(ids, i));

        if (!d || d->residence != 0)
            continue;
        d->day = (int32_t) array_int(value_array(c->in, 2), i);
        d->day_reserved = (int32_t) array_int(value_array(c->in, 3), i);
        d->hour = array_time(value_array(c->in, 4), i);
        d->hour_reserved = (int32_t) array_int(value_array(c->in, 5), i);
    }
}

void
model_give_back(struct call *c)
{
    struct array ids = value_array(c->in, 1);

    for (unsigned i = 0; i < ids.count && mine(c); i++) {
        struct device_rec *d = store_device(c->s, (int32_t) array_int(ids, i));
        int32_t day_used = (int32_t) array_int(value_array(c->in, 3), i);
        int32_t hour_used = (int32_t) array_int(value_array(c->in, 5), i);

        if (!d || d->residence != 0)
            continue;
        if (d->day == array_int(value_array(c->in, 2), i))
            d->day_reserved = MIN_OF(d->day_reserved, day_used);
        if (d->hour == array_time(value_array(c->in, 4), i))
            d->hour_reserved = MIN_OF(d->hour_reserved, hour_used);
    }
}
