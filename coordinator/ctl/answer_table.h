/*
 * answer_table.h - a driver's pages shown as they come: columns by their names and first values.
 */
#pragma once
#include "coordinator/ctl/ask.h"
#include "coordinator/ctl/table.h"

struct answer_table {
    FILE *out;
    enum table_format format;
    bool with_partition;     /* a column in front: which partition said so */
    const char *const *only; /* NULL-terminated names, in that order; NULL = all */
    struct table *table;     /* made by the first page */
    uint64_t row_count;
};
/* An ask_page_fn; arg is a struct answer_table. */
int answer_table_page(void *arg, struct slice partition, const struct answer *page);
void answer_put_cell(struct table *t, const struct cell *c);
/* Writes what is left; as table_done. */
int answer_table_done(struct answer_table *t);
