/*
 * lanes.h - batches of an import on their way to the drivers: one lane per partition.
 *
 * A lane fills one batch while two are on their way, so all nodes work at once and memory is
 * bounded by the number of partitions, never by the file. A batch that is told RETRY or MOVED, or
 * hears nothing, is sent again with a fresh map (it is idempotent); when its time is over the
 * partition is given up. Every row ends exactly once: with its verdict, or as not done.
 */
#pragma once
#include "coordinator/ctl/ask.h"
#include "coordinator/ctl/import_rows.h"

struct lanes_row {
    uint64_t line;
    struct slice raw; /* the row as in the file, to be told again with its end */
    union {
        struct device_row device;
        struct lead_row lead;
    };
};

/* verdict ROW_RETRY: not done. reason: of a refusal. Texts are borrowed. */
typedef void lanes_end_fn(void *arg, uint64_t line, struct slice raw, enum row_verdict verdict,
                          struct slice reason);

struct lanes_config {
    struct asker *asker; /* its map loaded */
    enum import_kind kind;
    bool update, refuse_shared;
    usec_t batch_timeout;
    lanes_end_fn *on_end; /* never inside lanes_put of that row, but when it is given up at once */
    void *arg;
};

struct lanes;
int lanes_new(struct lanes **ret, const struct lanes_config *config) _must_check_;
struct lanes *lanes_free(struct lanes *l); /* nothing may be on its way */

enum lanes_put { LANES_TAKEN, LANES_FULL /* wait, then put it again */, LANES_NO_RANGE };
/* Copies the row's texts. */
enum lanes_put lanes_put(struct lanes *l, const struct lanes_row *row);
void lanes_flush(struct lanes *l); /* no more rows come: half-filled batches go too */
/* Nothing is sent twice any more: what waits for its next try, and every later row, is not done.
 * all: what was never sent too. */
void lanes_stop(struct lanes *l, bool all);
/* Sends what is due; true while a batch is under way. *ret_wait is lowered to the next thing due.
 */
bool lanes_tend(struct lanes *l, usec_t now, usec_t *ret_wait);
uint64_t lanes_shared(const struct lanes *l);
/* 0, or why the whole import must end: -EPERM (a node refuses us), -EINVAL, -ENOMEM. */
int lanes_error(const struct lanes *l, const char **ret_why);
/* A line on stderr for each partition with rows that are not done; how many partitions. */
unsigned lanes_tell_not_done(const struct lanes *l);
