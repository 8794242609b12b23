/*
 * gather.h - the rows of one question from one or all partitions, kept in memory for a screen.
 *
 * For answers of a screen's size; what may be long is streamed (answer_table). Columns are those of
 * the first page; cells are copies.
 */
#pragma once
#include "coordinator/ctl/ask.h"

#define GATHER_ROWS_MAX 100000u

struct gathered_row {
    char partition[NAME_BYTES_MAX + 1];
    struct cell *cells; /* one block with their texts */
};
struct gathered {
    unsigned column_count, row_count, room;
    char columns[COLUMNS_MAX][64];
    struct gathered_row *rows;
    unsigned silent; /* partitions that did not answer; named on stderr */
};

/* An ask_page_fn; arg is a struct gathered. -E2BIG: more than GATHER_ROWS_MAX rows. */
int gather_page(void *arg, struct slice partition, const struct answer *page);
/* The map must be loaded. `g` is emptied first; 0 or as ask_all_partitions. */
int gather_all(struct gathered *g, struct asker *a, const struct question *q) _must_check_;
int gather_of(struct gathered *g, struct asker *a, struct slice partition,
              const struct question *q) _must_check_;
void gathered_done(struct gathered *g);

int gathered_column(const struct gathered *g, const char *name); /* -1: none */
/* Absent columns and other kinds: 0, "". */
int64_t gathered_number(const struct gathered *g, unsigned row, const char *column);
struct slice gathered_text(const struct gathered *g, unsigned row, const char *column);
bool gathered_is_null(const struct gathered *g, unsigned row, const char *column);
bool gathered_is(const struct gathered *g, unsigned row, const char *column, const char *text);
