/* A heap of devices by their next turn, and a hash of them by id. */
#include "node/schedule.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* Out of memory is an answer of schedule_add, not the end of the process. */
#define HASH_NONFATAL_OOM         1
#define uthash_nonfatal_oom(seat) ((seat)->lost = true)
#include <uthash.h>

struct seat {
    struct device *device;
    bool lost; /* the hash had no memory for it */
    UT_hash_handle hh;
};

struct schedule {
    struct seat *seats;
    struct heap heap;
};

struct schedule *
schedule_new(void)
{
    struct schedule *s = calloc(1, sizeof *s);

    if (s && heap_init(&s->heap, 64) < 0) {
        free(s);
        return NULL;
    }
    return s;
}

struct schedule *
schedule_free(struct schedule *s)
{
    struct seat *seat, *next;

    if (!s)
        return NULL;
    HASH_ITER(hh, s->seats, seat, next)
    {
        heap_remove(&s->heap, &seat->device->turn);
        HASH_DEL(s->seats, seat);
        free(seat);
    }
    heap_done(&s->heap);
    free(s);
    return NULL;
}

static struct seat *
find_seat(const struct schedule *s, int32_t device_id)
{
    struct seat *seat;

    HASH_FIND(hh, s->seats, &device_id, sizeof device_id, seat);
    return seat;
}

int
schedule_add(struct schedule *s, struct device *d)
{
    uint32_t wanted = schedule_count(s) + 1;
    struct seat *seat;

    if (find_seat(s, d->device_id))
        return -EEXIST;
    if (wanted > s->heap.capacity && heap_reserve(&s->heap, wanted * 2) < 0)
        return -ENOMEM;
    seat = calloc(1, sizeof *seat);
    if (!seat)
        return -ENOMEM;
    seat->device = d;
    HASH_ADD_KEYPTR(hh, s->seats, &d->device_id, sizeof d->device_id, seat);
    if (seat->lost) {
        free(seat);
        return -ENOMEM;
    }
    return 0;
}

void
schedule_remove(struct schedule *s, struct device *d)
{
    struct seat *seat = find_seat(s, d->device_id);

    assert(seat && seat->device == d);
    heap_remove(&s->heap, &d->turn);
    HASH_DEL(s->seats, seat);
    free(seat);
}

struct device *
schedule_find(const struct schedule *s, int32_t device_id)
{
    struct seat *seat = find_seat(s, device_id);

    return seat ? seat->device : NULL;
}

void
schedule_put(struct schedule *s, struct device *d, usec_t turn)
{
    if (turn == USEC_INFINITY)
        heap_remove(&s->heap, &d->turn);
    else
        heap_put(&s->heap, &d->turn, turn);
}

struct device *
schedule_pop(struct schedule *s, usec_t until)
{
    struct heap_item *top = heap_top(&s->heap);

    if (!top || top->key > until)
        return NULL;
    heap_remove(&s->heap, top);
    return container_of(top, struct device, turn);
}

usec_t
schedule_next(const struct schedule *s)
{
    const struct heap_item *top = heap_top(&s->heap);

    return top ? top->key : USEC_INFINITY;
}

unsigned
schedule_count(const struct schedule *s)
{
    return HASH_COUNT(s->seats);
}

void
schedule_each(struct schedule *s, void (*visit)(void *arg, struct device *d), void *arg)
{
    struct seat *seat, *next;

    HASH_ITER(hh, s->seats, seat, next)
    visit(arg, seat->device);
}
