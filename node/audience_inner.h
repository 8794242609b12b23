/*
 * audience_inner.h - what audience.c, fill.c, enrol.c and passes.c share.
 *
 * Nobody else includes it. An answer that was asked for before everything was forgotten (`round`)
 * counts nothing.
 */
#pragma once
#include "node/audience.h"

#define AUDIENCE_AGAIN (200 * USEC_PER_MSEC) /* after a refusal, or while a device is busy */

struct queue { /* ring of device ids; room for every device, for each stands in it once at most */
    int32_t *ids;
    uint32_t first, count, capacity;
};

/* Reads what waits: one class, some devices. */
struct fill {
    struct queue queue;
    bool asked;
    uint64_t round;
    usec_t not_before;
    struct db_args args, live_args;
    enum device_class class;
    unsigned count;
    int32_t ids[FILL_DEVICES_MAX], size[FILL_DEVICES_MAX]; /* rows asked for, behind this key */
    int64_t due[FILL_DEVICES_MAX];
    int32_t source_id[FILL_DEVICES_MAX], lead_no[FILL_DEVICES_MAX];
    struct entry rows[FILL_ENTRIES_MAX];
};

/* The sender's transactions stand behind those of enrol and passes, on one lane: one that took
 * longer is followed by a smaller one. */
#define AUDIENCE_SLOW (30 * USEC_PER_MSEC)

#define ENROL_LEADS_MIN   4u
#define ENROL_DEVICES_MAX (ENROL_ROWS_MAX / ENROL_LEADS_MIN)

struct enrol_batch {
    unsigned count;
    int32_t ids[ENROL_DEVICES_MAX];
};

/* Makes rows of leads: behind cursors, and by trigger. */
struct enrol {
    struct queue queue;
    bool asked;
    uint64_t round;
    usec_t not_before, asked_at;
    struct db_args campaign_args, lock_args, trigger_args, open_args;
    struct enrol_batch all, campaigns, triggers; /* all: who is in one of the two, or both */
    int campaign_call, trigger_call, open_call;  /* -1: not asked */
    unsigned leads;                              /* asked per device */
    unsigned rows_max;    /* of one transaction: fewer when the last one was slow */
    uint32_t rate;        /* rows a second by order, 0 = ENROL_RATE */
    int64_t tokens_micro; /* bucket: rows x 10^6; below 0: more was enrolled than was there */
    usec_t tokens_at;
    int16_t *steps, *revisions; /* first steps of the sequences, CONTENT_STORED_MAX */
    int64_t *delays;
};

/* Goes over the devices once, page by page: ends rows of a cancelled source, or moves them. */
struct pass {
    bool asked;
    uint64_t round;
    usec_t not_before, asked_at;
    int32_t source_id, after; /* as asked for */
    unsigned devices, rows;   /* of one page */
    struct db_args args;
};

struct audience {
    struct partition *p;
    uint64_t round;
    struct fill fill;
    struct enrol enrol;
    struct pass sweep, restep;
};

/* ---- audience.c ---- */
bool queue_put(struct queue *q, int32_t device_id);            /* false: no memory */
struct device *queue_pop(struct audience *a, struct queue *q); /* NULL: it is gone */
void audience_joined(struct audience *a, struct device *d);    /* a row joined its lists */

/* ---- fill.c ---- */
int fill_new(struct fill *f) _must_check_;
void fill_done(struct fill *f);
bool fill_wanted(const struct audience *a, const struct device *d, int64_t db_now,
                 enum device_class *ret_class);
usec_t fill_tick(struct audience *a, usec_t now);

/* ---- enrol.c ---- */
int enrol_new(struct enrol *e) _must_check_;
void enrol_done(struct enrol *e);
bool enrol_wanted(const struct audience *a, const struct device *d, int64_t db_now);
usec_t enrol_tick(struct audience *a, usec_t now);

/* ---- passes.c ---- */
int passes_new(struct audience *a) _must_check_;
void passes_done(struct audience *a);
usec_t passes_tick(struct audience *a, usec_t now);
