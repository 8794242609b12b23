/* A binary min-heap whose items know where they are, so that any of them can be moved. */
#include "shared/heap.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

int
heap_init(struct heap *h, uint32_t capacity)
{
    *h = (struct heap){0};
    return heap_reserve(h, capacity);
}

void
heap_done(struct heap *h)
{
    free(h->items);
    *h = (struct heap){0};
}

int
heap_reserve(struct heap *h, uint32_t capacity)
{
    assert(capacity < HEAP_ABSENT);
    if (capacity <= h->capacity)
        return 0;
    struct heap_item **items = reallocarray(h->items, capacity, sizeof(struct heap_item *));
    if (!items)
        return -ENOMEM;
    h->items = items;
    h->capacity = capacity;
    return 0;
}

static void
place(struct heap *h, uint32_t index, struct heap_item *item)
{
    h->items[index] = item;
    item->index = index;
}

static void
move_up(struct heap *h, uint32_t index, struct heap_item *item)
{
    while (index > 0) {
        uint32_t parent = (index - 1) / 2;
        if (h->items[parent]->key <= item->key)
            break;
        place(h, index, h->items[parent]);
        index = parent;
    }
    place(h, index, item);
}

static void
move_down(struct heap *h, uint32_t index, struct heap_item *item)
{
    for (;;) {
        uint64_t child = 2 * (uint64_t) index + 1;
        if (child >= h->count)
            break;
        if (child + 1 < h->count && h->items[child + 1]->key < h->items[child]->key)
            child++;
        if (item->key <= h->items[child]->key)
            break;
        place(h, index, h->items[child]);
        index = (uint32_t) child;
    }
    place(h, index, item);
}

void
heap_put(struct heap *h, struct heap_item *item, usec_t key)
{
    if (item->index == HEAP_ABSENT) {
        assert(h->count < h->capacity);
        item->key = key;
        move_up(h, h->count++, item);
        return;
    }
    assert(item->index < h->count && h->items[item->index] == item);
    bool earlier = key < item->key;
    item->key = key;
    if (earlier)
        move_up(h, item->index, item);
    else
        move_down(h, item->index, item);
}

void
heap_remove(struct heap *h, struct heap_item *item)
{
    uint32_t index = item->index;
    if (index == HEAP_ABSENT)
        return;
    assert(index < h->count && h->items[index] == item);
    item->index = HEAP_ABSENT;
    struct heap_item *last = h->items[--h->count];
    if (last == item)
        return;
    /* `last` may come from another branch: it can belong above or below the hole. */
    last->index = index;
    h->items[index] = last;
    move_up(h, index, last);
    move_down(h, last->index, last);
}

struct heap_item *
heap_top(const struct heap *h)
{
    return h->count ? h->items[0] : NULL;
}
