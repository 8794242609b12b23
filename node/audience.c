/* Who is low: queues of devices, and what a change of content or of a row means for their lists. */
#include "node/audience.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "node/audience_inner.h"

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

bool
queue_put(struct queue *q, int32_t device_id)
{
    if (q->count == q->capacity && !queue_grow(q))
        return false;
    q->ids[(q->first + q->count++) % q->capacity] = device_id;
    return true;
}

struct device *
queue_pop(struct audience *a, struct queue *q)
{
    int32_t id = q->ids[q->first];

    q->first = (q->first + 1) % q->capacity;
    q->count--;
    return schedule_find(a->p->devices, id);
}

/* ---- who is low ---- */

/* Without memory for the queue the next look tries again. */
void
audience_look(struct audience *a, struct device *d)
{
    int64_t db_now = partition_db_now(a->p, clock_boot());
    enum device_class class;

    if (d->residence != RESIDENCE_OPEN)
        return;
    if (!d->enrol_queued && enrol_wanted(a, d, db_now)) {
        d->enrol_queued = queue_put(&a->enrol.queue, d->device_id);
        partition_wake(a->p);
    }
    if (!d->fill_queued && fill_wanted(a, d, db_now, &class)) {
        d->fill_queued = queue_put(&a->fill.queue, d->device_id);
        partition_wake(a->p);
    }
}

void
audience_reread(struct audience *a, struct device *d)
{
    device_drop_lists(d);
    d->fill_again = d->filling;
    audience_look(a, d);
}

static void
forget(void *arg, struct device *d)
{
    device_drop_lists(d);
    d->fill_queued = d->enrol_queued = d->filling = d->fill_again = false;
    d->live = 0;
    d->live_known = false;
}

void
audience_suspend(struct audience *a)
{
    a->round++;
    a->enrol.queue.count = a->fill.queue.count = 0;
    a->p->live = 0;
    schedule_each(a->p->devices, forget, NULL);
}

void
audience_joined(struct audience *a, struct device *d)
{
    if (d->state == DEVICE_IDLE)
        schedule_put(a->p->devices, d, d->gap_ends);
}

/* ---- the book changed ---- */

struct change {
    struct audience *a;
    unsigned change;
};

static bool
is_skipped(void *arg, const struct entry *e)
{
    return book_skips(arg, e);
}

/* Lists keep what may still be sent: a pause of one source costs the others nothing. */
static void
follow_change(void *arg, struct device *d)
{
    struct change *c = arg;

    for (enum device_class class = CLASS_DIRECT; class < CLASS_COUNT; class ++) {
        if (c->change & SOURCE_FEWER)
            device_purge(d, class, is_skipped, c->a->p->book);
        if (c->change & (unsigned) SOURCE_MORE << class)
            device_rewind(d, class);
    }
    d->audience_open |= (c->change & (unsigned) SOURCE_MORE << CLASS_CAMPAIGN) != 0;
    d->triggers_open |= (c->change & (unsigned) SOURCE_MORE << CLASS_SEQUENCE) != 0;
    if (c->change & SOURCE_WAKE)
        audience_joined(c->a, d);
    audience_look(c->a, d);
}

void
audience_changed(struct audience *a, unsigned change)
{
    struct change c = {a, change};

    if (change == SOURCE_SAME)
        return;
    schedule_each(a->p->devices, follow_change, &c);
    partition_wake(a->p);
}

static usec_t
tick_pauses(struct audience *a, usec_t now)
{
    int64_t next;

    audience_changed(a, book_end_pauses(a->p->book, partition_db_now(a->p, now), &next));
    return partition_boot_of(a->p, next);
}

/* ---- rows that others changed ---- */

void
audience_live(struct partition *p, struct device *d, int64_t more)
{
    int64_t live = MAX_OF((int64_t) d->live + more, 0);

    p->live += (uint64_t) (live - (int64_t) d->live);
    d->live = (uint32_t) live;
}

static enum device_class
class_of(const struct partition *p, int32_t source_id)
{
    const struct source *s = book_source(p->book, source_id);

    return s && s->class != CLASS_COUNT ? s->class : CLASS_CAMPAIGN;
}

void
audience_row_gone(struct partition *p, int32_t device_id, int32_t source_id, int32_t lead_no)
{
    struct device *d = schedule_find(p->devices, device_id);

    if (!d)
        return;
    device_remove(d, class_of(p, source_id), source_id, lead_no);
    d->fill_again |= d->filling; /* it may have read the row before */
    audience_live(p, d, -1);
    audience_look(p->audience, d);
}

void
audience_row_new(struct partition *p, int32_t device_id, int32_t source_id, int32_t lead_no,
                 int16_t revision, int16_t step, int64_t due)
{
    struct device *d = schedule_find(p->devices, device_id);
    enum device_class class = class_of(p, source_id);
    struct source *s = book_source(p->book, source_id);
    const struct entry e = {
        .due = due, .source_id = source_id, .lead_no = lead_no, .step = step, .revision = revision};

    if (s)
        book_passed_over(p->book, s, &e, device_id); /* the pass may have gone by meanwhile */
    if (!d)
        return;
    device_remove(d, class, source_id, lead_no); /* a fill was quicker */
    d->fill_again |= d->filling;
    audience_live(p, d, 1);
    if (!book_skips(p->book, &e) && device_join(d, class, &e))
        audience_joined(p->audience, d);
    audience_look(p->audience, d);
    partition_wake(p);
}

/* ---- the tick ---- */

usec_t
audience_tick(struct audience *a, usec_t now)
{
    usec_t next;

    if (!partition_may_claim(a->p))
        return USEC_INFINITY;
    next = tick_pauses(a, now);
    next = MIN_OF(next, enrol_tick(a, now));
    next = MIN_OF(next, fill_tick(a, now));
    return MIN_OF(next, passes_tick(a, now));
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
    r = fill_new(&a->fill);
    if (r == 0)
        r = enrol_new(&a->enrol);
    if (r == 0)
        r = passes_new(a);
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
    fill_done(&a->fill);
    enrol_done(&a->enrol);
    passes_done(a);
    free(a);
    return NULL;
}
