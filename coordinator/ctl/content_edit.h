/*
 * content_edit.h - what `apply-content --for all` would change for those who are enrolled.
 */
#pragma once
#include "coordinator/ctl/sequence_view.h"

/* Leads that stand at one place, and where the new steps put them. */
struct edit_line {
    int64_t revision, step, count;
    const struct content_step *to; /* of the new steps; NULL: through, nothing is left */
    int64_t shift;                 /* of their due time, usec */
    bool other_text, changed;
};
struct edit_revision { /* the sequence's former items */
    int64_t revision;
    struct content_item item;
};

/*
 * revisions: of the source, any order; a row of revision r follows the newest when r is below
 * all_revision (or when its own is not known). Heap: free() *ret. Its length or -ENOMEM.
 */
int edit_lines(const struct sequence_position *positions, int position_count,
               const struct edit_revision *revisions, unsigned revision_count,
               const struct view_source *source, const struct content_item *newest,
               const struct content_sequence *to, struct edit_line **ret);
/* Prints every sequence of the file that was started and changes. *ret_changed: leads that do. 0 or
 * as ask_all_partitions. The map and the sources must be loaded. */
int edit_print(struct asker *a, struct view *v, const struct content *content, FILE *out,
               int64_t *ret_changed, unsigned *ret_silent) _must_check_;
