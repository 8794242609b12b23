/* Statements of fill, enrolment, and the passes over a source's rows. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/store.h"

/* ---- fill ---- */

struct key {
    int64_t due;
    int32_t source_id, lead;
};

static int
compare(const struct key *a, const struct key *b)
{
    if (a->due != b->due)
        return a->due < b->due ? -1 : 1;
    if (a->source_id != b->source_id)
        return a->source_id < b->source_id ? -1 : 1;
    return (a->lead > b->lead) - (a->lead < b->lead);
}

static struct key
key_of(const struct enrollment *e)
{
    return (struct key){e->due_at, e->source_id, abs(e->lead_no)};
}

static int
by_key(const void *a, const void *b)
{
    struct key x = key_of(*(const struct enrollment *const *) a);
    struct key y = key_of(*(const struct enrollment *const *) b);

    return compare(&x, &y);
}

static void
fill_device(struct call *c, const struct device_rec *d, struct array sources, struct key after,
            int64_t k)
{
    const struct enrollment **found =
        malloc((d->rows.count + 1) * sizeof(const struct enrollment *));
    unsigned count = 0;
    int32_t last = INT32_MIN;
    bool wanted = false;

    assert(found);
    for (unsigned i = 0; i < d->rows.count; i++) {
        const struct enrollment *e = &d->rows.at[i];
        struct key key = key_of(e);

        if (e->source_id != last)
            wanted = array_has(sources, e->source_id);
        last = e->source_id;
        if (wanted && e->state == 0 && compare(&key, &after) > 0)
            found[count++] = e;
    }
    qsort(found, count, sizeof(const struct enrollment *), by_key);
    for (unsigned i = 0; i < count && (int64_t) i < k; i++) {
        reply_row(c->out);
        reply_int(c->out, d->device_id);
        reply_int(c->out, found[i]->source_id);
        reply_int(c->out, found[i]->lead_no);
        reply_int(c->out, found[i]->step);
        reply_int(c->out, found[i]->attempt);
        reply_int(c->out, found[i]->due_at);
        reply_int(c->out, found[i]->revision);
    }
    free(found);
}

void
model_fill(struct call *c)
{
    struct array ids = value_array(c->in, 0), k = value_array(c->in, 1),
                 due = value_array(c->in, 2), source = value_array(c->in, 3),
                 lead = value_array(c->in, 4);

    for (unsigned i = 0; i < ids.count; i++) {
        const struct device_rec *d = store_device(c->s, (int32_t) array_int(ids, i));
        struct key after = {array_time(due, i), (int32_t) array_int(source, i),
                            (int32_t) array_int(lead, i)};

        if (d)
            fill_device(c, d, value_array(c->in, 5), after, array_int(k, i));
    }
}

void
model_live(struct call *c)
{
    struct array ids = value_array(c->in, 0);

    for (unsigned i = 0; i < ids.count; i++) {
        int32_t id = (int32_t) array_int(ids, i);
        const struct device_rec *d = store_device(c->s, id);
        int64_t live = 0;

        for (unsigned k = 0; d && k < d->rows.count; k++)
            live += d->rows.at[k].state != 2;
        reply_row(c->out);
        reply_int(c->out, id);
        reply_int(c->out, live);
    }
}

/* ---- enrolment ---- */

static bool
has_trigger_behind(const struct device_rec *d, const char *trigger, int32_t cursor)
{
    if (*trigger == '\0')
        return false;
    for (unsigned i = lead_place(d, cursor + 1); i < d->leads.count; i++)
        if (strcmp(d->leads.at[i].trigger, trigger) == 0)
            return true;
    return false;
}

/* The open audience row that comes first; sequences have no end. */
static struct audience_row *
first_open(const struct call *c, const struct device_rec *d, struct array sources, bool sequences)
{
    struct audience_row *best = NULL;

    for (unsigned i = 0; i < d->audience.count; i++) {
        struct audience_row *y = &d->audience.at[i];
        const struct source_rec *s = store_source(c->s, y->source_id);

        if (!s || !array_has(sources, y->source_id) || !source_is_open(s, c->now) ||
            (y->upto == OPEN_END_) != sequences || y->cursor >= y->upto)
            continue;
        if (sequences && !has_trigger_behind(d, s->trigger, y->cursor))
            continue;
        if (!best || y->priority > best->priority ||
            (y->priority == best->priority && y->cursor < best->cursor))
            best = y;
    }
    return best;
}

static void
enrol_device(struct call *c, struct device_rec *d, struct audience_row *y, int64_t limit)
{
    struct source_rec *s = store_source(c->s, y->source_id);
    bool over = s->not_after <= c->now;
    int32_t was = y->cursor, last = 0;
    int64_t seen = 0, enrolled = 0;

    for (unsigned i = lead_place(d, was + 1); !over && i < d->leads.count && seen < limit; i++) {
        const struct lead *l = &d->leads.at[i];

        if (l->lead_no > y->upto)
            break;
        seen++;
        last = l->lead_no;
        if (!json_contains(l->attributes, s->filter))
            continue;
        enrolled++;
        struct enrollment *e = row_new(d, y->source_id, l->lead_no);
        if (!e)
            continue;
        e->due_at = c->now;
        reply_row(c->out);
        reply_int(c->out, d->device_id);
        reply_int(c->out, y->source_id);
        reply_int(c->out, l->lead_no);
        reply_int(c->out, c->now);
    }
    y->cursor = seen < limit ? y->upto : last;
    s->progress.enrolled += enrolled;
    if (over)
        s->progress.expired += y->cursor - was;
    else
        s->progress.not_in_audience += y->cursor - was - enrolled;
}

void
model_enrol(struct call *c)
{
    struct array ids = value_array(c->in, 1);

    for (unsigned i = 0; i < ids.count && mine(c); i++) {
        struct device_rec *d = store_device(c->s, (int32_t) array_int(ids, i));
        struct audience_row *y =
            d && d->residence == 0 ? first_open(c, d, value_array(c->in, 3), false) : NULL;

        if (y)
            enrol_device(c, d, y, value_int(c->in, 2));
    }
}

void
model_enrol_lock(struct call *c)
{
    struct array ids = value_array(c->in, 0);

    for (unsigned i = 0; i < ids.count; i++) {
        const struct device_rec *d = store_device(c->s, (int32_t) array_int(ids, i));

        for (unsigned k = 0; d && k < d->audience.count; k++)
            if (d->audience.at[k].upto == OPEN_END_ &&
                array_has(value_array(c->in, 1), d->audience.at[k].source_id))
                reply_row(c->out);
    }
}

static void
enrol_by_trigger(struct call *c, struct device_rec *d, struct audience_row *y, unsigned at)
{
    struct source_rec *s = store_source(c->s, y->source_id);
    int64_t limit = value_int(c->in, 2);

    for (unsigned i = lead_place(d, y->cursor + 1); i < d->leads.count && limit > 0; i++) {
        struct lead *l = &d->leads.at[i];

        if (strcmp(l->trigger, s->trigger) != 0)
            continue;
        limit--;
        y->cursor = l->lead_no;
        store_set_text(&l->trigger, "", 0);
        *rows_insert(&c->s->uses, c->s->uses.count) =
            (struct trigger_use_row){c->now, d->device_id, l->lead_no, y->source_id,
                                     strdup(s->trigger)};
        if (!json_contains(l->attributes, s->filter)) {
            s->progress.audience++;
            s->progress.not_in_audience++;
            continue;
        }
        struct enrollment *e =
            end_find(d, y->source_id, l->lead_no) ? NULL : row_new(d, y->source_id, l->lead_no);
        if (!e)
            continue;
        s->progress.audience++;
        s->progress.enrolled++;
        e->step = (int16_t) array_int(value_array(c->in, 4), at);
        e->revision = (int16_t) array_int(value_array(c->in, 5), at);
        e->due_at = c->now + array_int(value_array(c->in, 6), at);
        reply_row(c->out);
        reply_int(c->out, d->device_id);
        reply_int(c->out, e->source_id);
        reply_int(c->out, e->lead_no);
        reply_int(c->out, e->due_at);
        reply_int(c->out, e->step);
        reply_int(c->out, e->revision);
    }
}

void
model_enrol_trigger(struct call *c)
{
    struct array ids = value_array(c->in, 1), sources = value_array(c->in, 3);

    for (unsigned i = 0; i < ids.count && mine(c); i++) {
        struct device_rec *d = store_device(c->s, (int32_t) array_int(ids, i));
        struct audience_row *y = d && d->residence == 0 ? first_open(c, d, sources, true) : NULL;

        for (unsigned at = 0; y && at < sources.count; at++)
            if (array_int(sources, at) == y->source_id) {
                enrol_by_trigger(c, d, y, at);
                break;
            }
    }
}

void
model_enrol_open(struct call *c)
{
    struct array ids = value_array(c->in, 0);

    for (unsigned i = 0; i < ids.count; i++) {
        int32_t id = (int32_t) array_int(ids, i);
        const struct device_rec *d = store_device(c->s, id);

        reply_row(c->out);
        reply_int(c->out, id);
        reply_int(c->out, d && first_open(c, d, value_array(c->in, 1), false));
        reply_int(c->out, d && first_open(c, d, value_array(c->in, 2), true));
    }
}

void
model_trigger_back(struct call *c)
{
    struct array ids = value_array(c->in, 1), phones = value_array(c->in, 2);
    struct texts triggers = value_texts(c->in, 3);

    for (unsigned i = 0; i < ids.count; i++) {
        struct device_rec *d = store_device(c->s, (int32_t) array_int(ids, i));
        struct slice trigger = texts_next(&triggers);
        const struct lead *l = NULL;

        for (unsigned k = 0; d && k < d->leads.count; k++)
            if (d->leads.at[k].phone == array_int(phones, i))
                l = &d->leads.at[k];
        for (unsigned k = 0; l && k < d->audience.count; k++) {
            struct audience_row *y = &d->audience.at[k];
            const struct source_rec *s = store_source(c->s, y->source_id);

            if (mine(c) && y->upto == OPEN_END_ && trigger.bytes > 0 && s->kind == 2 &&
                s->state != 2 && strlen(s->trigger) == trigger.bytes &&
                memcmp(s->trigger, trigger.data, trigger.bytes) == 0)
                y->cursor = MIN_OF(y->cursor, l->lead_no - 1);
        }
    }
}

/* ---- passes ---- */

/* Devices of the page: residence open, behind $3, at most $4. */
static unsigned
page(const struct call *c, unsigned *ret, unsigned max)
{
    int64_t limit = value_int(c->in, 3);
    unsigned count = 0;

    for (unsigned i = device_place(c->s, (int32_t) value_int(c->in, 2) + 1);
         i < c->s->devices.count && count < limit && count < max && mine(c); i++)
        if (c->s->devices.at[i].residence == 0)
            ret[count++] = i;
    return count;
}

void
model_sweep(struct call *c)
{
    int32_t source_id = (int32_t) value_int(c->in, 1);
    int64_t left = value_int(c->in, 4);
    struct source_rec *s = store_source(c->s, source_id);
    unsigned places[1024];
    unsigned count = s && s->state == 2 ? page(c, places, ARRAY_SIZE(places)) : 0;

    for (unsigned i = 0; i < count; i++) {
        struct device_rec *d = &c->s->devices.at[places[i]];
        struct audience_row *y = audience_find(d, source_id);
        int64_t ended = 0;

        for (unsigned k = row_place(d, source_id, INT32_MIN); k < d->rows.count && left > 0;) {
            struct enrollment *e = &d->rows.at[k];

            if (e->source_id != source_id)
                break;
            if (e->state != 0) {
                k++;
                continue;
            }
            if (e->step > 0)
                end_put(d, source_id, e->lead_no, e->step, 12, c->now);
            row_delete(d, e);
            left--;
            ended++;
        }
        s->progress.cancelled += ended;
        if (y && y->cursor < y->upto) {
            s->progress.cancelled += y->upto < OPEN_END_ ? y->upto - y->cursor : 0;
            y->cursor = y->upto;
        }
        reply_row(c->out);
        reply_int(c->out, d->device_id);
        reply_int(c->out, ended);
    }
}

/* Where a row of that revision and step stands now: a place in the arrays $6 to $9, or -1. */
static int
restep_place(const struct call *c, const struct enrollment *e)
{
    struct array revisions = value_array(c->in, 5), steps = value_array(c->in, 6);
    int best = -1;

    for (unsigned i = 0; i < revisions.count; i++)
        if (array_int(revisions, i) == e->revision && array_int(steps, i) >= e->step &&
            (best < 0 || array_int(steps, i) < array_int(steps, (unsigned) best)))
            best = (int) i;
    return best;
}

/* True: it ended. */
static bool
restep_row(struct call *c, struct device_rec *d, struct enrollment *e, struct source_rec *s,
           bool *ret_chained)
{
    int at = restep_place(c, e);
    int16_t to_step = at < 0 ? 0 : (int16_t) array_int(value_array(c->in, 7), (unsigned) at);
    int32_t next = (int32_t) value_int(c->in, 9), lead_no = e->lead_no;
    struct source_rec *to = next ? store_source(c->s, next) : NULL;

    if (to_step != 0) {
        e->attempt = e->step == to_step ? e->attempt : 0;
        e->step = to_step;
        e->revision = (int16_t) value_int(c->in, 10);
        e->due_at += array_int(value_array(c->in, 8), (unsigned) at);
        return false;
    }
    if (e->step > 0)
        end_put(d, s->source_id, lead_no, e->step, 0, c->now);
    row_delete(d, e);
    s->progress.sent++;
    if (!to || to->state == 2 || end_find(d, next, lead_no) || !(e = row_new(d, next, lead_no)))
        return true;
    e->step = (int16_t) value_int(c->in, 11);
    e->revision = (int16_t) value_int(c->in, 12);
    e->due_at = c->now + value_int(c->in, 13);
    to->progress.audience++;
    to->progress.enrolled++;
    *ret_chained = true;
    return true;
}

void
model_restep(struct call *c)
{
    int32_t source_id = (int32_t) value_int(c->in, 1);
    int64_t left = value_int(c->in, 4);
    struct source_rec *s = store_source(c->s, source_id);
    unsigned places[1024];
    unsigned count = s ? page(c, places, ARRAY_SIZE(places)) : 0;

    for (unsigned i = 0; i < count; i++) {
        struct device_rec *d = &c->s->devices.at[places[i]];
        int64_t touched = 0, ended = 0;

        for (unsigned k = row_place(d, source_id, INT32_MIN); k < d->rows.count && left > 0;) {
            struct enrollment *e = &d->rows.at[k];
            bool chained = false;

            if (e->source_id != source_id)
                break;
            if (e->state != 0 || e->revision >= value_int(c->in, 10) ||
                !array_has(value_array(c->in, 5), e->revision)) {
                k++;
                continue;
            }
            left--;
            touched++;
            bool gone = restep_row(c, d, e, s, &chained);
            ended += gone - chained;
            k = gone ? row_place(d, source_id, INT32_MIN) : k + 1;
        }
        reply_row(c->out);
        reply_int(c->out, d->device_id);
        reply_int(c->out, touched);
        reply_int(c->out, ended);
    }
}
