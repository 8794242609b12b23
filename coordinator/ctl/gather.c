/* gather.c - pages copied row by row. */
#include "coordinator/ctl/gather.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int
copy_row(struct gathered *g, struct slice partition, const struct cell *from)
{
    if (g->row_count == g->room) {
        unsigned room = g->room ? 2 * g->room : 16;
        struct gathered_row *rows = realloc(g->rows, room * sizeof(*rows));
        if (!rows)
            return -ENOMEM;
        g->rows = rows;
        g->room = room;
    }
    size_t bytes = g->column_count * sizeof(*from);
    for (unsigned c = 0; c < g->column_count; c++)
        bytes += from[c].kind == CELL_TEXT ? from[c].text.bytes : 0;
    struct cell *cells = malloc(bytes + 1);
    if (!cells)
        return -ENOMEM;
    char *text = (char *) (cells + g->column_count);
    for (unsigned c = 0; c < g->column_count; c++) {
        cells[c] = from[c];
        if (from[c].kind != CELL_TEXT)
            continue;
        if (from[c].text.bytes > 0)
            memcpy(text, from[c].text.data, from[c].text.bytes);
        cells[c].text.data = text;
        text += from[c].text.bytes;
    }
    struct gathered_row *row = &g->rows[g->row_count++];
    snprintf(row->partition, sizeof(row->partition), "%.*s", (int) partition.bytes, partition.data);
    row->cells = cells;
    return 0;
}

int
gather_page(void *arg, struct slice partition, const struct answer *page)
{
    struct gathered *g = arg;
    if (page->column_count > COLUMNS_MAX ||
        (g->row_count > 0 && page->column_count != g->column_count))
        return -EBADMSG;
    if (g->row_count + page->row_count > GATHER_ROWS_MAX)
        return -E2BIG;
    g->column_count = page->column_count;
    for (unsigned c = 0; c < page->column_count; c++)
        snprintf(g->columns[c], sizeof(g->columns[c]), "%.*s", (int) page->columns[c].bytes,
                 page->columns[c].data);
    int err = 0;
    for (uint32_t row = 0; row < page->row_count && err == 0; row++)
        err = copy_row(g, partition, page->cells + (size_t) row * page->column_count);
    return err;
}

void
gathered_done(struct gathered *g)
{
    for (unsigned i = 0; i < g->row_count; i++)
        free(g->rows[i].cells);
    free(g->rows);
    *g = (struct gathered){0};
}

int
gather_all(struct gathered *g, struct asker *a, const struct question *q)
{
    unsigned silent = 0;
    gathered_done(g);
    int err = ask_all_partitions(a, q, gather_page, g, &silent);
    g->silent = silent;
    return err;
}

int
gather_of(struct gathered *g, struct asker *a, struct slice partition, const struct question *q)
{
    gathered_done(g);
    return ask_pages(a, partition, q, gather_page, g);
}

/* ---- reading ---- */

int
gathered_column(const struct gathered *g, const char *name)
{
    for (unsigned c = 0; c < g->column_count; c++)
        if (strcmp(g->columns[c], name) == 0)
            return (int) c;
    return -1;
}

static const struct cell *
cell_at(const struct gathered *g, unsigned row, const char *column)
{
    int c = gathered_column(g, column);
    return c < 0 || row >= g->row_count ? NULL : &g->rows[row].cells[c];
}

int64_t
gathered_number(const struct gathered *g, unsigned row, const char *column)
{
    const struct cell *c = cell_at(g, row, column);
    return c && c->kind != CELL_NULL && c->kind != CELL_TEXT ? c->number : 0;
}

struct slice
gathered_text(const struct gathered *g, unsigned row, const char *column)
{
    const struct cell *c = cell_at(g, row, column);
    return c && c->kind == CELL_TEXT ? c->text : (struct slice){"", 0};
}

bool
gathered_is_null(const struct gathered *g, unsigned row, const char *column)
{
    const struct cell *c = cell_at(g, row, column);
    return !c || c->kind == CELL_NULL;
}

bool
gathered_is(const struct gathered *g, unsigned row, const char *column, const char *text)
{
    struct slice s = gathered_text(g, row, column);
    return s.bytes == strlen(text) && memcmp(s.data, text, s.bytes) == 0;
}
