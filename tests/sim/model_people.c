/* Statements of people's acts. Erased people (`forgotten`) are not modelled: nobody is. */
#include <stdlib.h>
#include <string.h>

#include "proto/token.h"
#include "tests/sim/store.h"

static bool
same(const char *text, struct slice s)
{
    return strlen(text) == s.bytes && memcmp(text, s.data, s.bytes) == 0;
}

static int
find_optout(const struct store *s, struct slice account, int64_t phone)
{
    for (unsigned i = 0; i < s->optouts.count; i++)
        if (s->optouts.at[i].phone == phone && same(s->optouts.at[i].account, account))
            return (int) i;
    return -1;
}

void
model_optout_add(struct call *c)
{
    struct array n = value_array(c->in, 1), phones = value_array(c->in, 3);
    struct texts accounts = value_texts(c->in, 2), reasons = value_texts(c->in, 4);

    for (unsigned i = 0; i < n.count && mine(c); i++) {
        struct slice account = texts_next(&accounts), reason = texts_next(&reasons);
        struct optout_row o = {.phone = array_int(phones, i), .account = NULL, .reason = NULL};

        if (find_optout(c->s, account, o.phone) >= 0)
            continue;
        store_set_text(&o.account, account.data, account.bytes);
        store_set_text(&o.reason, reason.data, reason.bytes);
        o.number = ++c->s->optout_number;
        *rows_insert(&c->s->optouts, c->s->optouts.count) = o;
        reply_row(c->out);
        reply_int(c->out, array_int(n, i));
    }
}

void
model_optout_remove(struct call *c)
{
    struct array n = value_array(c->in, 1), phones = value_array(c->in, 3);
    struct texts accounts = value_texts(c->in, 2);

    for (unsigned i = 0; i < n.count && mine(c); i++) {
        int at = find_optout(c->s, texts_next(&accounts), array_int(phones, i));

        if (at < 0)
            continue;
        free(c->s->optouts.at[at].account);
        free(c->s->optouts.at[at].reason);
        rows_remove(&c->s->optouts, (unsigned) at);
        reply_row(c->out);
        reply_int(c->out, array_int(n, i));
    }
}

static void
append_message(struct call *c, const struct device_rec *d, const struct enrollment *e,
               int16_t state, int16_t reason)
{
    *rows_insert(&c->s->messages, c->s->messages.count) =
        (struct message_row){.claimed_at = c->now,
                             .settled_at = c->now,
                             .epoch = value_int(c->in, 0),
                             .device_id = d->device_id,
                             .source_id = e->source_id,
                             .lead_no = e->lead_no,
                             .step = e->step,
                             .attempt = e->attempt,
                             .state = state,
                             .reason = reason};
}

static bool
is_live(const struct progress *p)
{
    return p->there && p->audience > p->not_in_audience + p->sent + p->failed + p->expired +
                                         p->skipped + p->cancelled;
}

/* Rows of one lead or direct message, of every source that has live rows. */
static void
end_lead(struct call *c, struct device_rec *d, int32_t lead_no)
{
    int16_t reason = (int16_t) value_int(c->in, 3);

    for (unsigned i = 0; i < c->s->sources.count; i++) {
        struct source_rec *s = &c->s->sources.at[i];
        struct enrollment *e = store_row(d, s->source_id, lead_no);

        if (!e || !is_live(&s->progress) || e->state == 1 ||
            (e->state == 2 && !value_int(c->in, 4)))
            continue;
        if (e->step > 0)
            end_put(d, s->source_id, lead_no, e->step, reason, c->now);
        if (e->state == 0) {
            append_message(c, d, e, 5, reason);
            s->progress.skipped++;
        }
        row_delete(d, e);
        reply_row(c->out);
        reply_int(c->out, d->device_id);
        reply_int(c->out, s->source_id);
        reply_int(c->out, lead_no);
    }
}

void
model_optout_end(struct call *c)
{
    struct texts accounts = value_texts(c->in, 1);
    struct array phones = value_array(c->in, 2);

    for (unsigned i = 0; i < phones.count && mine(c); i++) {
        struct slice account = texts_next(&accounts);
        int64_t phone = array_int(phones, i);

        for (unsigned k = 0; k < c->s->devices.count; k++) {
            struct device_rec *d = &c->s->devices.at[k];

            if (d->residence != 0 || (account.bytes > 0 && !same(d->account, account)))
                continue;
            for (unsigned n = 0; n < d->leads.count; n++)
                if (d->leads.at[n].phone == phone)
                    end_lead(c, d, d->leads.at[n].lead_no);
            for (unsigned n = 0; n < d->direct.count; n++)
                if (d->direct.at[n].phone == phone)
                    end_lead(c, d, d->direct.at[n].lead_no);
        }
    }
}

/* ---- direct messages ---- */

static struct direct_row *
find_key(const struct device_rec *d, struct slice key)
{
    for (unsigned i = 0; i < d->direct.count; i++)
        if (same(d->direct.at[i].key, key))
            return &d->direct.at[i];
    return NULL;
}

static int64_t
waiting_direct(const struct device_rec *d)
{
    int64_t count = 0;

    for (unsigned i = 0; i < d->rows.count; i++)
        count += d->rows.at[i].source_id == 0 && d->rows.at[i].state == 0;
    return count;
}

static int32_t
put_direct(struct call *c, struct device_rec *d, int64_t phone, struct slice key, struct slice text,
           int64_t expires_at)
{
    struct direct_row fresh = {.lead_no = -++d->next_direct_no,
                               .phone = phone,
                               .accepted_at = c->now,
                               .expires_at = expires_at};
    struct progress *p = &store_source(c->s, 0)->progress;

    store_set_text(&fresh.key, key.data, key.bytes);
    store_set_text(&fresh.text, text.data, text.bytes);
    *rows_insert(&d->direct, 0) = fresh; /* numbers go down */
    row_new(d, 0, fresh.lead_no)->due_at = c->now;
    p->audience++;
    p->enrolled++;
    return fresh.lead_no;
}

void
model_send(struct call *c)
{
    struct array n = value_array(c->in, 1);
    struct texts keys = value_texts(c->in, 4), words = value_texts(c->in, 5);

    for (unsigned i = 0; i < n.count && mine(c); i++) {
        struct device_rec *d = store_device(c->s, (int32_t) array_int(value_array(c->in, 2), i));
        int64_t phone = array_int(value_array(c->in, 3), i),
                expires = array_time(value_array(c->in, 6), i), verdict = 0;
        struct slice key = texts_next(&keys), text = texts_next(&words);
        const struct direct_row *known = d ? find_key(d, key) : NULL;
        int32_t lead_no = known ? known->lead_no : 0;

        if (!d)
            verdict = 1;
        else if (known)
            verdict = known->phone == phone && strlen(known->text) == text.bytes &&
                              memcmp(known->text, text.data, text.bytes) == 0
                          ? 3
                          : 13;
        else if (d->residence != 0)
            verdict = 2;
        else if (store_opted_out(c->s, d->account, phone))
            verdict = 4;
        else if (expires <= c->now)
            verdict = 6;
        else if (waiting_direct(d) >= value_int(c->in, 8))
            verdict = 7;
        else
            lead_no = put_direct(c, d, phone, key, text, expires);
        reply_row(c->out);
        reply_int(c->out, array_int(n, i));
        reply_int(c->out, verdict);
        if (lead_no != 0)
            reply_int(c->out, lead_no);
        else
            reply_null(c->out);
        reply_int(c->out, c->now);
    }
}

/* ---- leads ---- */

static struct lead *
find_phone(const struct device_rec *d, int64_t phone)
{
    for (unsigned i = 0; d && i < d->leads.count; i++)
        if (d->leads.at[i].phone == phone)
            return &d->leads.at[i];
    return NULL;
}

struct named { /* a lead in a source, as people name it */
    struct device_rec *d;
    struct source_rec *s;
    struct lead *l;
    struct enrollment *e;
    struct end_row *x;
};

static struct named
read_named(const struct call *c, unsigned i)
{
    struct named m = {.d = store_device(c->s, (int32_t) array_int(value_array(c->in, 2), i)),
                      .s = store_source(c->s, (int32_t) array_int(value_array(c->in, 4), i))};

    m.l = find_phone(m.d, array_int(value_array(c->in, 3), i));
    if (m.l && m.s) {
        m.e = store_row(m.d, m.s->source_id, m.l->lead_no);
        m.x = end_find(m.d, m.s->source_id, m.l->lead_no);
    }
    return m;
}

static int64_t
enrol_verdict(const struct call *c, const struct named *m, bool again)
{
    if (!m->l)
        return 10;
    if (m->d->residence != 0)
        return 2;
    if (m->e)
        return 3;
    if (store_opted_out(c->s, m->d->account, m->l->phone))
        return 4;
    if (!m->s || m->s->state == 2)
        return 8;
    return m->x && !again ? 9 : 0;
}

void
model_lead_enrol(struct call *c)
{
    struct array n = value_array(c->in, 1);

    for (unsigned i = 0; i < n.count && mine(c); i++) {
        struct named m = read_named(c, i);
        int64_t verdict = enrol_verdict(c, &m, array_int(value_array(c->in, 8), i) != 0);
        struct enrollment *e = NULL;

        if (verdict == 0) {
            if (m.x)
                rows_remove(&m.d->ends, (unsigned) (m.x - m.d->ends.at));
            e = row_new(m.d, m.s->source_id, m.l->lead_no);
            e->step = (int16_t) array_int(value_array(c->in, 5), i);
            e->revision = (int16_t) array_int(value_array(c->in, 6), i);
            e->due_at = c->now + array_int(value_array(c->in, 7), i);
            *rows_insert(&c->s->uses, c->s->uses.count) =
                (struct trigger_use_row){c->now, m.d->device_id, m.l->lead_no, m.s->source_id,
                                         strdup("")};
            m.s->progress.audience++;
            m.s->progress.enrolled++;
        }
        reply_row(c->out);
        reply_int(c->out, array_int(n, i));
        reply_int(c->out, verdict);
        if (m.l)
            reply_int(c->out, m.l->lead_no);
        else
            reply_null(c->out);
        if (e)
            reply_int(c->out, e->due_at);
        else
            reply_null(c->out);
    }
}

static int64_t
remove_verdict(const struct named *m)
{
    if (!m->l)
        return 10;
    if (m->d->residence != 0)
        return 2;
    if (m->e)
        return m->e->state == 1 ? 11 : 0;
    return m->x ? 3 : 12;
}

void
model_lead_remove(struct call *c)
{
    struct array n = value_array(c->in, 1);

    for (unsigned i = 0; i < n.count && mine(c); i++) {
        struct named m = read_named(c, i);
        int64_t verdict = remove_verdict(&m);

        if (verdict == 0) {
            if (m.e->step > 0)
                end_put(m.d, m.s->source_id, m.l->lead_no, m.e->step, 16, c->now);
            if (m.e->state == 0) {
                append_message(c, m.d, m.e, 6, 16);
                m.s->progress.cancelled++;
            }
            row_delete(m.d, m.e);
        }
        reply_row(c->out);
        reply_int(c->out, array_int(n, i));
        reply_int(c->out, verdict);
        if (m.l)
            reply_int(c->out, m.l->lead_no);
        else
            reply_null(c->out);
    }
}

void
model_device_pause(struct call *c)
{
    struct array n = value_array(c->in, 1);
    struct texts becauses = value_texts(c->in, 4);

    for (unsigned i = 0; i < n.count && mine(c); i++) {
        struct device_rec *d = store_device(c->s, (int32_t) array_int(value_array(c->in, 2), i));
        struct slice because = texts_next(&becauses);
        bool here = d && d->residence == 0;

        if (here) {
            d->paused_until = array_time(value_array(c->in, 3), i);
            store_set_text(&d->paused_because, because.data, because.bytes);
        }
        reply_row(c->out);
        reply_int(c->out, array_int(n, i));
        reply_int(c->out, here);
        if (d)
            reply_int(c->out, d->residence);
        else
            reply_null(c->out);
    }
}

/* ---- retention: the days of `message` are not modelled, so none is old ---- */

static void
no_day(struct call *c)
{
    reply_row(c->out);
    reply_null(c->out);
}

void
model_day_drop(struct call *c)
{
    no_day(c);
}

void
model_day_index(struct call *c)
{
    no_day(c);
}

#define DAY INT64_C(86400000000)

static int64_t
first_kept_day(const struct call *c)
{
    return c->now - c->now % DAY - value_int(c->in, 1) * DAY;
}

static void
count_deleted(struct call *c)
{
    c->out->results[c->out->call_count - 1].affected++;
}

void
model_old_receipts(struct call *c)
{
    int64_t left = value_int(c->in, 2);

    for (unsigned i = 0; i < c->s->receipts.count && left > 0 && mine(c);) {
        if (token_uuid_time(&c->s->receipts.at[i].token) >= first_kept_day(c)) {
            i++;
            continue;
        }
        rows_remove(&c->s->receipts, i);
        left--;
        count_deleted(c);
    }
}

void
model_old_triggers(struct call *c)
{
    int64_t left = value_int(c->in, 2);

    for (unsigned i = 0; i < c->s->uses.count && left > 0 && mine(c);) {
        if (c->s->uses.at[i].at >= first_kept_day(c)) {
            i++;
            continue;
        }
        free(c->s->uses.at[i].trigger);
        rows_remove(&c->s->uses, i);
        left--;
        count_deleted(c);
    }
}

void
model_old_direct(struct call *c)
{
    int64_t left = value_int(c->in, 2);

    for (unsigned k = 0; k < c->s->devices.count && mine(c); k++) {
        struct device_rec *d = &c->s->devices.at[k];

        for (unsigned i = 0; i < d->direct.count && left > 0;) {
            struct direct_row *r = &d->direct.at[i];

            if (r->accepted_at >= c->now - value_int(c->in, 1) * DAY ||
                store_row(d, 0, r->lead_no)) {
                i++;
                continue;
            }
            free(r->key);
            free(r->text);
            rows_remove(&d->direct, i);
            left--;
            count_deleted(c);
        }
    }
}
