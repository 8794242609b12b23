/*
 * heap.h - an intrusive binary min-heap by a usec_t key; an item knows its index.
 *
 * Pure. The array is allocated once (capacity fixed in heap_init); put, remove and pop never fail
 * and never allocate. Items are borrowed.
 */
#pragma once
#include "shared/base.h"
#include "shared/clock.h"

#define HEAP_ABSENT UINT32_MAX

struct heap_item {
    usec_t key;
    uint32_t index; /* HEAP_ABSENT when in no heap; set it so before the first put */
};

struct heap {
    struct heap_item **items;
    uint32_t count;
    uint32_t capacity;
};

int heap_init(struct heap *h, uint32_t capacity) _must_check_; /* 0 or -ENOMEM */
void heap_done(struct heap *h);
/* Grows to hold at least `capacity`; 0 or -ENOMEM (then nothing changed). */
int heap_reserve(struct heap *h, uint32_t capacity) _must_check_;
/* Inserts, or moves an item that is already inside, to `key`. */
void heap_put(struct heap *h, struct heap_item *item, usec_t key);
void heap_remove(struct heap *h, struct heap_item *item); /* absent: nothing happens */
struct heap_item *heap_top(const struct heap *h);         /* NULL when empty */
