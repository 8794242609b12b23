/* One sender in memory: lists of next enrollments and the turns of their classes. */
#include "node/device.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CAPACITY_MORE 16u
#define LIST_MIN      128u
#define LOW_ROWS      16u
#define LOW_AHEAD     ((int64_t) (60 * USEC_PER_SEC))

/*
 * Turns of the classes, weights 8:4:1. Each class waits a number of turns; the one that waits
 * least is next, the lower class at a tie. Serving a class takes its wait from the others' and
 * makes it wait its stride. A class with nothing due waits one turn less than its stride at least:
 * it saves up no turns, and coming back costs it none. Thus 12 sends of the others (8 + 4) are the
 * most that lie between two of the lowest class, also when they come and go.
 */
static const uint8_t strides[CLASS_COUNT] = {
    [CLASS_DIRECT] = 1, [CLASS_CAMPAIGN] = 2, [CLASS_SEQUENCE] = 8};

struct device *
device_new(int32_t device_id)
{
    struct device *d = calloc(1, sizeof *d);

    if (!d)
        return NULL;
    d->turn.index = HEAP_ABSENT;
    d->device_id = device_id;
    d->paused_until = INT64_MIN;
    d->warm_from = WARM_FROM_NEVER;
    d->day.unit = d->hour.unit = QUOTA_UNIT_NONE;
    return d;
}

struct device *
device_free(struct device *d)
{
    if (!d)
        return NULL;
    assert(d->turn.index == HEAP_ABSENT);
    device_drop_lists(d);
    free(d->account);
    free(d->scope);
    free(d->address);
    free(d->base_url);
    free(d->paused_because);
    free(d->sealed_token);
    free(d);
    return NULL;
}

static struct entry *
first(const struct entry_list *l)
{
    return l->entries + l->head;
}

static void
list_empty(struct entry_list *l)
{
    free(l->entries);
    *l = (struct entry_list){0};
}

/* Entries that one list holds: some more than a fill brings, so that what joins finds room. */
static unsigned
list_max(const struct device *d)
{
    return MAX_OF(LIST_MIN, MIN_OF(d->live / 8, FILL_ENTRIES_MAX));
}

/* Whether `e` comes before the key (due, source, lead), or is it. Numbers of direct messages go
 * down from -1: by size the one that was accepted first comes first. */
static bool
within(const struct entry *e, int64_t due, int32_t source_id, int32_t lead_no)
{
    if (e->due != due)
        return e->due < due;
    if (e->source_id != source_id)
        return e->source_id < source_id;
    return abs(e->lead_no) <= abs(lead_no);
}

static void
set_horizon(struct entry_list *l, const struct entry *last)
{
    l->horizon = last ? last->due : INT64_MAX;
    l->horizon_source = last ? last->source_id : INT32_MAX;
    l->horizon_lead = last ? last->lead_no : INT32_MAX;
}

/* Room for `more` behind the last entry. False: out of memory. */
static bool
reserve(struct entry_list *l, unsigned more, unsigned at_least)
{
    unsigned capacity = MAX_OF(l->count + more, at_least);
    struct entry *grown;

    if (l->head > 0 && l->head + l->count + more > l->capacity) {
        memmove(l->entries, first(l), l->count * sizeof *grown);
        l->head = 0;
    }
    if (l->head + l->count + more <= l->capacity)
        return true;
    grown = realloc(l->entries, capacity * sizeof *grown);
    if (!grown)
        return false;
    l->entries = grown;
    l->capacity = (uint16_t) capacity;
    return true;
}

int
device_fill(struct device *d, enum device_class c, const struct entry *rows, unsigned count,
            const struct entry *last)
{
    struct entry_list *l = &d->lists[c];

    if (l->horizon == 0) { /* what is left of it stands in the rows too */
        l->head = l->count = 0;
        l->reopens = 0;
    }
    assert(l->count + count <= FILL_ENTRIES_MAX);
    if (count > 0 && !reserve(l, count, count)) {
        list_empty(l);
        return -ENOMEM;
    }
    if (count > 0)
        memcpy(first(l) + l->count, rows, count * sizeof *rows);
    l->count = (uint16_t) (l->count + count);
    set_horizon(l, last);
    return 0;
}

static unsigned
place_of(const struct entry_list *l, const struct entry *e)
{
    unsigned low = 0, high = l->count;

    while (low < high) {
        unsigned middle = (low + high) / 2;

        if (within(first(l) + middle, e->due, e->source_id, e->lead_no))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void
insert(struct entry_list *l, unsigned place, const struct entry *e)
{
    memmove(first(l) + place + 1, first(l) + place, (l->count - place) * sizeof *e);
    first(l)[place] = *e;
    l->count++;
}

/* A fill behind the horizon would not find its row: the list is read anew. */
static void
leave_out(struct entry_list *l, const struct entry *e)
{
    if (e->held)
        l->reopens = l->reopens ? MIN_OF(l->reopens, e->due) : e->due;
}

bool
device_join(struct device *d, enum device_class c, const struct entry *e)
{
    struct entry_list *l = &d->lists[c];
    const struct entry joining = *e; /* it may stand in the list that moves */
    unsigned room = MAX_OF(list_max(d), l->count), place;
    unsigned capacity = MIN_OF(l->capacity + CAPACITY_MORE, room);
    bool full = l->count == room;

    if (l->horizon == 0 || !within(e, l->horizon, l->horizon_source, l->horizon_lead)) {
        leave_out(l, &joining);
        return false;
    }
    place = place_of(l, e);
    if (full && place == l->count) {
        set_horizon(l, first(l) + l->count - 1);
        leave_out(l, &joining);
        return false;
    }
    if (full)
        leave_out(l, first(l) + --l->count);
    if (!reserve(l, 1, capacity)) {
        list_empty(l); /* the next fill finds all of them */
        return false;
    }
    insert(l, place, &joining);
    if (full)
        set_horizon(l, first(l) + l->count - 1);
    return true;
}

/* The earliest entry that is not skipped, or NULL. */
static const struct entry *
earliest(const struct entry_list *l, entry_skip_fn *skip, void *arg)
{
    for (unsigned i = 0; i < l->count; i++)
        if (!skip || !skip(arg, first(l) + i))
            return first(l) + i;
    return NULL;
}

/* When rows that are not listed may come due; a time that has passed is being seen to. */
static int64_t
looks_again(const struct entry_list *l, int64_t db_now)
{
    int64_t next = INT64_MAX;

    if (l->horizon != INT64_MAX && l->horizon - LOW_AHEAD > db_now)
        next = l->horizon - LOW_AHEAD;
    if (l->reopens > db_now)
        next = MIN_OF(next, l->reopens);
    return next;
}

const struct entry *
device_peek(struct device *d, int64_t db_now, entry_skip_fn *skip, void *arg,
            enum device_class *ret_class, int64_t *ret_next)
{
    const struct entry *best = NULL;
    enum device_class best_class = CLASS_DIRECT;
    int64_t next = INT64_MAX;

    for (unsigned c = 0; c < CLASS_COUNT; c++) {
        const struct entry *e = earliest(&d->lists[c], skip, arg);

        next = MIN_OF(next, looks_again(&d->lists[c], db_now));
        if (!e || e->due > db_now) {
            next = e ? MIN_OF(next, e->due) : next;
            d->deficit[c] = (uint8_t) MAX_OF(d->deficit[c], strides[c] - 1);
        } else if (!best || d->deficit[c] <= d->deficit[best_class]) {
            best = e;
            best_class = (enum device_class) c;
        }
    }
    if (best)
        *ret_class = best_class;
    else
        *ret_next = next;
    return best;
}

bool
device_remove(struct device *d, enum device_class c, int32_t source_id, int32_t lead_no)
{
    struct entry_list *l = &d->lists[c];

    for (unsigned i = 0; i < l->count; i++) {
        struct entry *at = first(l) + i;

        if (at->source_id != source_id || at->lead_no != lead_no)
            continue;
        if (i == 0)
            l->head++;
        else
            memmove(at, at + 1, (l->count - i - 1) * sizeof *at);
        l->count--;
        return true;
    }
    return false;
}

void
device_take(struct device *d, enum device_class c, const struct entry *e)
{
    uint8_t waited = d->deficit[c];

    for (unsigned i = 0; i < CLASS_COUNT; i++)
        d->deficit[i] = (uint8_t) (d->deficit[i] - MIN_OF(d->deficit[i], waited));
    d->deficit[c] = strides[c];
    device_remove(d, c, e->source_id, e->lead_no);
}

void
device_hold(struct device *d, enum device_class c, const struct entry *e, int64_t until)
{
    struct entry held = *e;

    device_remove(d, c, held.source_id, held.lead_no);
    held.due = until;
    held.held = true;
    (void) device_join(d, c, &held);
}

void
device_purge(struct device *d, enum device_class c, entry_skip_fn *skip, void *arg)
{
    struct entry_list *l = &d->lists[c];
    unsigned kept = 0;

    for (unsigned i = 0; i < l->count; i++)
        if (!skip(arg, first(l) + i))
            first(l)[kept++] = first(l)[i];
    l->count = (uint16_t) kept;
}

void
device_rewind(struct device *d, enum device_class c)
{
    d->lists[c].horizon = 0;
    d->fill_again = d->filling;
}

void
device_drop_lists(struct device *d)
{
    for (unsigned c = 0; c < CLASS_COUNT; c++)
        list_empty(&d->lists[c]);
}

bool
device_is_low(const struct device *d, enum device_class c, int64_t db_now)
{
    const struct entry_list *l = &d->lists[c];

    return l->count < LOW_ROWS || first(l)[LOW_ROWS - 1].due > db_now + LOW_AHEAD;
}

bool
device_wants_fill(const struct device *d, enum device_class c, int64_t db_now)
{
    const struct entry_list *l = &d->lists[c];

    if (l->horizon == 0 || (l->reopens != 0 && l->reopens <= db_now))
        return true;
    return l->horizon <= db_now + LOW_AHEAD && device_is_low(d, c, db_now);
}

unsigned
device_fill_size(const struct device *d, enum device_class c)
{
    const struct entry_list *l = &d->lists[c];
    unsigned size = MAX_OF(FILL_ENTRIES_MIN, MIN_OF(d->live / 10, FILL_ENTRIES_MAX));

    return l->horizon == 0 ? size : MIN_OF(size, FILL_ENTRIES_MAX - l->count);
}
