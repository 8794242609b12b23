/*
 * act.h - an action on rows at drivers: asked, asked again where "retry" was the answer, counted.
 *
 * Actions are idempotent by content, so a lost answer is asked for again. Rows are given as cells,
 * row-major, and are borrowed for the call.
 */
#pragma once
#include "coordinator/ctl/ask.h"

/* In rising order of what a person must know of: of several partitions' words the highest counts.
 */
enum act_verdict {
    ACT_NOT_FOUND,
    ACT_KNOWN, /* it was so before */
    ACT_DONE,
    ACT_RETRY, /* until the time was over */
    ACT_REFUSED
};
struct act_result {
    enum act_verdict verdict;
    char detail[REASON_BYTES_MAX + 1];
};
struct action {
    const char *name;
    unsigned column_count, row_count; /* at most ARGUMENTS_MAX, ACT_ROWS_MAX */
    struct slice *cells;
    usec_t timeout; /* 0 = as ask_driver */
};

/* One partition. results: [row_count]. 0 or as ask_driver. */
int act_on(struct asker *a, struct slice partition, const struct action *action,
           struct act_result *results) _must_check_;

/* Every partition; results are merged. Those that were not reached once are not asked again. */
struct act_reach {
    unsigned asked, silent;
    bool is_silent[PARTITIONS_MAX];
    char names[PARTITIONS_MAX][NAME_BYTES_MAX + 1];
    char why[PARTITIONS_MAX][128];
};
void act_reach_start(struct act_reach *r, struct asker *a); /* the map must be loaded */
/* 0, or -EPERM, -EINVAL, -EINTR, -ENOMEM: nobody would have answered otherwise. */
int act_everywhere(struct asker *a, struct act_reach *reach, const struct action *action,
                   struct act_result *results) _must_check_;
/* Names who was not reached on stderr; "" = nobody. CTL_DONE or CTL_DEGRADED. */
int act_reach_tell(const struct act_reach *r, const char *what);

/* What an answer's row says; a word that is none of them is a refusal. */
enum act_verdict act_verdict_of(struct slice word);
/* What one row came to: words for people, a row for programs. Returns the exit code. */
int act_print(const struct invocation *in, const char *what, const struct act_result *r,
              const char *next);
