/*
 * sequence_view.h - a sequence's steps and revisions, and how many enrollments stand where.
 *
 * Counts come from the drivers ("sequence_positions"): an enrollment that waits for step 3 was sent
 * what came before it.
 */
#pragma once
#include <jansson.h>

#include "coordinator/ctl/gather.h"
#include "coordinator/ctl/table.h"
#include "coordinator/ctl/view.h"

struct sequence_view {
    struct content_item item;  /* the newest revision */
    struct gathered positions; /* revision, step, state, count; by partition */
};

/* The map must be loaded. 0 or as gather_all. */
int sequence_view_read(struct sequence_view *ret, struct asker *a,
                       const struct view_source *source) _must_check_;
void sequence_view_done(struct sequence_view *q);

/* Of `sequence show`: columns and cells of its head. */
void sequence_head_columns(struct table *t);
void sequence_head_cells(struct table *t, struct view *v, const struct view_source *s);
/* Steps with what each sends and who waits for it; behind it revisions, when there are several. */
int sequence_print_steps(const struct sequence_view *q, FILE *out) _must_check_;
/* [{revision, step, state, count}], summed over partitions. */
json_t *sequence_positions_json(const struct sequence_view *q);

/* One (revision, step, state), summed over partitions. */
struct sequence_position {
    int64_t revision, step;
    char state[16];
    int64_t count;
};
/* Sorted; heap, free() it. Its length or -ENOMEM. */
int sequence_sum(const struct gathered *positions, struct sequence_position **ret);
/* What a step sends, for people: `template hello`, or its text. Returns buf. */
#define SEQUENCE_WHAT_BYTES 96u
const char *sequence_what(char buf[static SEQUENCE_WHAT_BYTES], const struct content_step *step);
