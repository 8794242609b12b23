/*
 * explain.h - questions that memory answers: which gate holds, when it opens, when all is sent.
 *
 * Flow. The database's part is read first, in one statement and so in one snapshot (answers.c);
 * these functions add what only the driver knows and write the rows. Read only. Columns of each:
 * the tables in answers.c.
 */
#pragma once
#include "node/partition_inner.h"

#define EXPLAIN_ROWS_MAX  ROWS_PER_PAGE_MAX
#define EXPLAIN_WORDS_MAX (128u * 1024u) /* of all texts of an answer */

struct explain {
    struct partition *p;
    const struct db_reply *reply;
    usec_t now;
    int64_t db_now;
    unsigned column_count, row_count;
    struct cell *cells; /* EXPLAIN_ROWS_MAX rows and one that is written over when they are full */
    char *words;
    size_t words_used;
};
typedef void explain_fn(struct explain *e);

explain_fn explain_device, explain_lead, explain_message, explain_source, explain_on_wire,
    explain_capacity;

/* 0 or -ENOMEM; explain_end in any case. */
int explain_begin(struct explain *e, struct partition *p, const struct db_reply *reply,
                  unsigned column_count) _must_check_;
void explain_end(struct explain *e);

/* ---- writing rows ---- */
struct cell *explain_row(struct explain *e); /* column_count cells, all NULL */
struct cell explain_words(struct explain *e, const char *format, ...) _printf_(2, 3);
struct cell explain_text(struct slice text); /* borrowed until the answer is sent */
struct cell explain_number(int64_t n);
struct cell explain_time(int64_t unix_usec); /* not known, never: NULL */

/* ---- what a row of a device waits for ---- */
enum explain_hold { /* besides the gates of its device */
                    HOLD_NONE,
                    HOLD_GATE,
                    HOLD_NOT_HERE, /* the device is not in memory */
                    HOLD_SOURCE,   /* paused, a draft, or its text does not compile */
                    HOLD_WINDOW    /* of its step */
};
struct explain_verdict {
    enum explain_hold hold;
    const char *name; /* "open", a gate's name, "source_paused", "step_window" ... */
    int64_t opens;
};
struct explain_verdict explain_entry(struct explain *e, int32_t device_id, int32_t source_id,
                                     int16_t revision, int16_t step);
