/*
 * device.h - one sender in memory: its limits, its gap, its next enrollments.
 *
 * Pure; `now` is handed in. Plain struct so that the sender can walk it; lists change only through
 * these functions. Memory: this struct + 24 bytes per listed entry: a list holds an eighth of what
 * is live, within [128, FILL_ENTRIES_MAX].
 */
#pragma once
#include "node/breaker.h"
#include "node/quota.h"
#include "node/zone.h"
#include "proto/limits.h"
#include "shared/base.h"
#include "shared/clock.h"
#include "shared/heap.h"

enum device_class { CLASS_DIRECT, CLASS_CAMPAIGN, CLASS_SEQUENCE, CLASS_COUNT };

struct entry {   /* a waiting enrollment */
    int64_t due; /* unix usec, database time */
    int32_t source_id;
    int32_t lead_no;
    int16_t step, attempt;
    int16_t revision; /* of the source; campaigns and direct messages: 1 */
    bool held;        /* `due` is later than in its row: no fill behind a horizon finds it again */
};
/*
 * Sorted by (due, source, size of lead_no). Every waiting row up to the horizon, a key of the same
 * three, is in the list or was held back until `reopens`; rows behind it need not be in memory.
 */
struct entry_list {
    struct entry *entries; /* the list is entries[head .. head + count) */
    uint16_t head, count, capacity;
    int64_t horizon; /* its due time; INT64_MAX: all rows are here; 0: nothing is known */
    int32_t horizon_source, horizon_lead;
    int64_t reopens; /* held rows were dropped: read anew from then on (unix usec); 0 = none */
};

enum device_state {
    DEVICE_IDLE,
    DEVICE_CLAIMING,
    DEVICE_READY /* claimed, waits for its start */,
    DEVICE_ON_WIRE
};

/* device.residence as the partition stores it. */
enum residence { RESIDENCE_OPEN, RESIDENCE_FROZEN, RESIDENCE_GONE };

struct device {
    struct heap_item turn; /* schedule: when it should be looked at next (BOOTTIME) */
    int32_t device_id;
    enum device_state state;
    uint8_t residence, health;         /* health: 0 may send */
    bool filling, fill_again;          /* a fill is on its way; it was overtaken */
    uint8_t transactions;              /* on their way that touch its rows: no fill may start now */
    bool fill_queued, enrol_queued;    /* waits for it */
    bool audience_open, triggers_open; /* leads wait behind a cursor; or with a trigger */
    uint32_t min_delay_ms, max_delay_ms;
    usec_t gap_ends;   /* BOOTTIME: earliest start of the next send */
    usec_t held_until; /* device throttle or stop; 0 = none */
    usec_t veto_ends;  /* when the last gate that held it longer than its gap opened */
    struct breaker *url_breaker, *scope_breaker, *account_breaker; /* borrowed, never NULL */
    uint8_t deficit[CLASS_COUNT]; /* turns each class still waits; weights 8:4:1 (device.c) */
    struct entry_list lists[CLASS_COUNT];
    uint32_t live;   /* enrollments in the table as far as known */
    bool live_known; /* they were counted once; every change is followed since */
    bool changed;    /* its row is to be read again */
    const struct gateway *gateway;
    char *account, *scope, *address, *base_url, *paused_because; /* heap, owned */
    const struct zone *zone;                                     /* borrowed, never NULL */
    int64_t paused_until;        /* unix usec; INT64_MIN: not paused, INT64_MAX: by an order only */
    struct content_window quiet; /* from == to: none */
    uint32_t daily_cap, hourly_cap; /* 0: none */
    int32_t warm_from;              /* local day number; WARM_FROM_NEVER */
    struct quota day, hour;         /* what counts against the limits above */
    uint8_t *sealed_token;          /* heap, owned: opened only for the request */
    uint16_t sealed_bytes;
};

struct device *device_new(int32_t device_id);
struct device *device_free(struct device *d);
/*
 * Rows of a fill, sorted, behind the horizon: they are appended, or replace a list of which nothing
 * is known. `last` is the last row that was read, listed or not; NULL: there are no more. At most
 * device_fill_size rows. -ENOMEM: the list is empty, nothing is known.
 */
int device_fill(struct device *d, enum device_class c, const struct entry *rows, unsigned count,
                const struct entry *last) _must_check_;
/* Joins if its key lies within the horizon (true), else forgets it (false: the next fill finds it).
 * A full list drops its last entry and lowers the horizon. A held one that is forgotten so has the
 * list read anew when it is due. */
bool device_join(struct device *d, enum device_class c, const struct entry *e);
/* A skip is asked for each entry from the earliest on; NULL skips nothing. */
typedef bool entry_skip_fn(void *arg, const struct entry *e);
/* The entry that is due at or before db_now by class weights, or NULL; *ret_next = unix usec at
 * which to look again: the next entry's due time, a horizon that comes near, held rows that reopen
 * (INT64_MAX: by an event only). A class waits at most 12 sends of the others, also when they come
 * and go. The entry is borrowed until the list changes. */
const struct entry *device_peek(struct device *d, int64_t db_now, entry_skip_fn *skip, void *arg,
                                enum device_class *ret_class, int64_t *ret_next);
/* Removes the entry (same source and lead) from its list and charges its class. */
void device_take(struct device *d, enum device_class c, const struct entry *e);
/* Removes it without a charge; false: it is not listed. */
bool device_remove(struct device *d, enum device_class c, int32_t source_id, int32_t lead_no);
/* This row may not be sent before `until`, the device may send others: due again then, in memory
 * only. `e` may be the borrowed entry of device_peek. */
void device_hold(struct device *d, enum device_class c, const struct entry *e, int64_t until);
/* Removes the entries that skip names; the others and the horizon stay. */
void device_purge(struct device *d, enum device_class c, entry_skip_fn *skip, void *arg);
/* Rows may wait that a fill left out: the list stays, but is read again from the start. */
void device_rewind(struct device *d, enum device_class c);
/* Empties all lists; nothing is known then (horizon 0), so nothing joins before the next fill. */
void device_drop_lists(struct device *d);
/* Fewer than 16 rows of the class that are due within 60 s. */
bool device_is_low(const struct device *d, enum device_class c, int64_t db_now);
/* A fill is needed: nothing is known, or few rows are left and more may be due within 60 s. A list
 * full of tomorrow's rows is low, but needs none before its horizon comes near. */
bool device_wants_fill(const struct device *d, enum device_class c, int64_t db_now);
/* Rows to ask for: a tenth of live, within [100, 512], as many as the list takes. */
unsigned device_fill_size(const struct device *d, enum device_class c);
