/* answer_table.c - cells of an answer as cells of a table. */
#include "coordinator/ctl/answer_table.h"

#include <errno.h>
#include <string.h>

/* Names of numbers that are no amounts: nobody reads a phone number with thousands separators. */
static bool
is_plain_number(const char *name)
{
    static const char *const plain[] = {"phone",  "epoch", "step",   "lead_no",
                                        "number", "beat",  "health", "content_applied"};
    size_t n = strlen(name);
    for (size_t i = 0; i < ARRAY_SIZE(plain); i++)
        if (strcmp(name, plain[i]) == 0)
            return true;
    return n >= 3 && strcmp(name + n - 3, "_id") == 0;
}

static enum table_kind
kind_of(const struct answer *page, uint32_t column, const char *name)
{
    for (uint32_t row = 0; row < page->row_count; row++) {
        enum cell_kind kind = page->cells[(size_t) row * page->column_count + column].kind;
        if (kind == CELL_INT)
            return is_plain_number(name) ? TABLE_NUMBER : TABLE_COUNT;
        if (kind != CELL_NULL)
            return TABLE_WORDS;
    }
    return TABLE_WORDS;
}

static void
add_column(struct answer_table *t, const struct answer *page, int column, const char *name)
{
    table_column(t->table, name, NULL,
                 column < 0 ? TABLE_WORDS : kind_of(page, (uint32_t) column, name));
}

static void
add_columns(struct answer_table *t, const struct answer *page)
{
    char name[64];
    if (t->with_partition)
        table_column(t->table, "partition", NULL, TABLE_WORDS);
    for (unsigned i = 0; t->only && t->only[i]; i++)
        add_column(t, page, answer_column(page, t->only[i]), t->only[i]);
    for (uint32_t i = 0; !t->only && i < page->column_count; i++) {
        snprintf(name, sizeof(name), "%.*s", (int) page->columns[i].bytes, page->columns[i].data);
        add_column(t, page, (int) i, name);
    }
}

void
answer_put_cell(struct table *t, const struct cell *c)
{
    switch (c->kind) {
    case CELL_NULL: table_null(t); break;
    case CELL_INT: table_int(t, c->number); break;
    case CELL_TEXT: table_text(t, c->text); break;
    case CELL_TIME: table_time(t, c->number); break;
    case CELL_BOOL: table_bool(t, c->number != 0); break;
    }
}

static void
put_row(struct answer_table *t, struct slice partition, const struct answer *page, uint32_t row)
{
    static const struct cell absent = {.kind = CELL_NULL};
    const struct cell *cells = page->cells + (size_t) row * page->column_count;
    if (t->with_partition)
        table_text(t->table, partition);
    for (unsigned i = 0; t->only && t->only[i]; i++) {
        int column = answer_column(page, t->only[i]);
        answer_put_cell(t->table, column < 0 ? &absent : &cells[column]);
    }
    for (uint32_t i = 0; !t->only && i < page->column_count; i++)
        answer_put_cell(t->table, &cells[i]);
}

int
answer_table_page(void *arg, struct slice partition, const struct answer *page)
{
    struct answer_table *t = arg;
    /* a page without rows does not show what its columns are: the first with rows decides */
    if (t->table && t->row_count == 0 && page->row_count > 0)
        t->table = table_drop(t->table);
    if (!t->table) {
        t->table = table_new(t->out, t->format);
        if (!t->table)
            return -ENOMEM;
        add_columns(t, page);
    }
    for (uint32_t row = 0; row < page->row_count; row++)
        put_row(t, partition, page, row);
    t->row_count += page->row_count;
    return 0;
}

int
answer_table_done(struct answer_table *t)
{
    int err = table_done(t->table);
    t->table = NULL;
    return err;
}
