/* One sender in memory: lists of next enrollments and the turns of their classes. */
#include "node/device.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CAPACITY_MIN 8u
#define LOW_ROWS     16u
#define LOW_AHEAD    ((int64_t) (60 * USEC_PER_SEC))

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
    free(d->zone);
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

int
device_fill(struct device *d, enum device_class c, const struct entry *rows, unsigned count,
            bool complete)
{
    struct entry_list *l = &d->lists[c];

    assert(count <= FILL_ENTRIES_MAX);
    if (count > l->capacity) {
        list_empty(l);
        l->entries = malloc(count * sizeof *rows);
        if (!l->entries)
            return -ENOMEM;
        l->capacity = (uint16_t) count;
    }
    if (count > 0)
        memcpy(l->entries, rows, count * sizeof *rows);
    l->head = 0;
    l->count = (uint16_t) count;
    l->horizon = complete ? INT64_MAX : count > 0 ? rows[count - 1].due : 0;
    return 0;
}

/* Room for one more behind the last entry. False: out of memory. */
static bool
make_room(struct entry_list *l)
{
    unsigned capacity = MAX_OF(CAPACITY_MIN, MIN_OF(l->capacity * 2u, FILL_ENTRIES_MAX));
    struct entry *grown;

    if (l->head > 0 && l->head + l->count == l->capacity) {
        memmove(l->entries, first(l), l->count * sizeof *grown);
        l->head = 0;
    }
    if (l->count < l->capacity)
        return true;
    grown = realloc(l->entries, capacity * sizeof *grown);
    if (!grown)
        return false;
    l->entries = grown;
    l->capacity = (uint16_t) capacity;
    return true;
}

/* Where an entry of that due time goes: behind those that are due at the same time. */
static unsigned
place_of(const struct entry_list *l, int64_t due)
{
    unsigned low = 0, high = l->count;

    while (low < high) {
        unsigned middle = (low + high) / 2;

        if (first(l)[middle].due <= due)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool
device_join(struct device *d, enum device_class c, const struct entry *e)
{
    struct entry_list *l = &d->lists[c];
    unsigned place;

    if (e->due >= l->horizon)
        return false;
    place = place_of(l, e->due);
    if (l->count == FILL_ENTRIES_MAX) {
        if (place == l->count) {
            l->horizon = e->due;
            return false;
        }
        l->count--;
        l->horizon = first(l)[l->count].due;
    }
    if (!make_room(l)) {
        l->horizon = e->due; /* the next fill finds it */
        return false;
    }
    memmove(first(l) + place + 1, first(l) + place, (l->count - place) * sizeof *e);
    first(l)[place] = *e;
    l->count++;
    return true;
}

/* The earliest entry that is not skipped, or NULL. */
static const struct entry *
earliest(const struct entry_list *l, bool (*skip)(void *arg, int32_t source_id), void *arg)
{
    for (unsigned i = 0; i < l->count; i++)
        if (!skip || !skip(arg, first(l)[i].source_id))
            return first(l) + i;
    return NULL;
}

const struct entry *
device_peek(struct device *d, int64_t db_now, bool (*skip)(void *arg, int32_t source_id), void *arg,
            enum device_class *ret_class, int64_t *ret_next)
{
    const struct entry *best = NULL;
    enum device_class best_class = CLASS_DIRECT;
    int64_t next = INT64_MAX;

    for (unsigned c = 0; c < CLASS_COUNT; c++) {
        const struct entry *e = earliest(&d->lists[c], skip, arg);

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

void
device_take(struct device *d, enum device_class c, const struct entry *e)
{
    struct entry_list *l = &d->lists[c];
    uint8_t waited = d->deficit[c];

    for (unsigned i = 0; i < CLASS_COUNT; i++)
        d->deficit[i] = (uint8_t) (d->deficit[i] - MIN_OF(d->deficit[i], waited));
    d->deficit[c] = strides[c];
    for (unsigned i = 0; i < l->count; i++) {
        struct entry *at = first(l) + i;

        if (at->source_id != e->source_id || at->lead_no != e->lead_no)
            continue;
        if (i == 0)
            l->head++;
        else
            memmove(at, at + 1, (l->count - i - 1) * sizeof *at);
        l->count--;
        return;
    }
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

unsigned
device_fill_size(const struct device *d)
{
    return MAX_OF(FILL_ENTRIES_MIN, MIN_OF(d->live / 10, FILL_ENTRIES_MAX));
}
