/* explain_view.c - the verdict first, then the gates; buckets added up over partitions. */
#include "coordinator/ctl/explain_view.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/ctl/answer_table.h"
#include "coordinator/ctl/terminal.h"

/* "in 5 h 58 min (2026-11-25 00:00:00Z)"; "" = it is not known when. */
static void
write_opens(char out[static 96], const struct gathered *g, unsigned row)
{
    char span[32], time[40];
    int64_t opens = gathered_number(g, row, "opens"), now = (int64_t) clock_real();
    out[0] = '\0';
    if (gathered_is_null(g, row, "opens") || opens == INT64_MAX)
        return;
    snprintf(out, 96, "in %s (%s)", terminal_span(span, (usec_t) MAX_OF(opens - now, (int64_t) 0)),
             table_time_text(time, opens, true));
}

static void
print_text(FILE *out, const struct gathered *g, unsigned row, const char *column)
{
    char text[512];
    fputs(table_printable(text, sizeof(text), gathered_text(g, row, column)), out);
}

static int
find_item(const struct gathered *g, const char *item)
{
    for (unsigned row = 0; row < g->row_count; row++)
        if (gathered_is(g, row, "item", item))
            return (int) row;
    return -1;
}

/* ---- device ---- */

/* "quiet_hours" is "quiet hours" for people. */
static void
write_item(char out[static 64], const struct gathered *g, unsigned row, const char *column)
{
    table_printable(out, 64, gathered_text(g, row, column));
    for (char *c = out; *c; c++)
        if (*c == '_')
            *c = ' ';
}

static void
print_held(FILE *out, const struct gathered *g)
{
    char opens[96], gate[64];
    int row = find_item(g, "held_by");
    if (row < 0 || gathered_is(g, (unsigned) row, "verdict", "open") ||
        gathered_text(g, (unsigned) row, "verdict").bytes == 0) {
        terminal_verdict(out, MOOD_GOOD, "OPEN");
        fputs("     nothing holds it\n", out);
        return;
    }
    write_item(gate, g, (unsigned) row, "verdict");
    terminal_verdict(out, MOOD_WARNING, "HELD BY");
    fprintf(out, "  %s  ", gate);
    print_text(out, g, (unsigned) row, "detail");
    write_opens(opens, g, (unsigned) row);
    fprintf(out, "%s%s\n", opens[0] ? "        opens " : "", opens);
}

static bool
is_gate(const struct gathered *g, unsigned row)
{
    return !gathered_is(g, row, "item", "device") && !gathered_is(g, row, "item", "held_by") &&
           gathered_text(g, row, "verdict").bytes > 0;
}

static int
print_gates(FILE *out, const struct gathered *g)
{
    char item[64], opens[96];
    struct table *t = table_new(out, TABLE_TEXT);
    if (!t)
        return -ENOMEM;
    table_column(t, "gate", NULL, TABLE_WORDS);
    table_column(t, "now", NULL, TABLE_WORDS);
    table_column(t, "opens", NULL, TABLE_WORDS);
    table_column(t, "detail", NULL, TABLE_WORDS);
    for (unsigned row = 0; row < g->row_count; row++) {
        if (!is_gate(g, row))
            continue;
        write_item(item, g, row, "item");
        write_opens(opens, g, row);
        table_words(t, "%s", item);
        table_words(t, "%s", gathered_is(g, row, "verdict", "open") ? "open" : "HOLDS");
        table_words(t, "%s", opens);
        table_text(t, gathered_text(g, row, "detail"));
    }
    return table_done(t);
}

/* "waiting campaign: 380, first due 21:00": what has no verdict. */
static void
print_rest(FILE *out, const struct gathered *g)
{
    char item[64];
    fputc('\n', out);
    for (unsigned row = 0; row < g->row_count; row++) {
        if (is_gate(g, row) || gathered_is(g, row, "item", "device") ||
            gathered_is(g, row, "item", "held_by"))
            continue;
        write_item(item, g, row, "item");
        fprintf(out, "%s: ", item);
        print_text(out, g, row, "detail");
        fputc('\n', out);
    }
}

static int
print_device(FILE *out, const struct gathered *g, const char *name)
{
    int row = find_item(g, "device");
    fprintf(out, "Device %s  on partition %s  ", name, g->rows[0].partition);
    if (row >= 0)
        print_text(out, g, (unsigned) row, "detail");
    fputc('\n', out);
    print_held(out, g);
    fputc('\n', out);
    int err = print_gates(out, g);
    print_rest(out, g);
    return err;
}

/* ---- lead, message: rows as they came ---- */

static int
print_rows(FILE *out, const struct gathered *g, enum table_format format)
{
    struct table *t = table_new(out, format);
    if (!t)
        return -ENOMEM;
    if (format != TABLE_TEXT)
        table_column(t, "partition", NULL, TABLE_WORDS);
    for (unsigned c = 0; c < g->column_count; c++)
        table_column(t, g->columns[c], NULL, TABLE_WORDS);
    for (unsigned row = 0; row < g->row_count; row++) {
        if (format != TABLE_TEXT)
            table_words(t, "%s", g->rows[row].partition);
        for (unsigned c = 0; c < g->column_count; c++)
            answer_put_cell(t, &g->rows[row].cells[c]);
    }
    return table_done(t);
}

/* Of the rows that wait the next one first: what holds it is the answer. */
static void
print_lead_verdict(FILE *out, const struct gathered *g)
{
    char gate[64], opens[96];
    int first = -1;
    for (unsigned row = 0; row < g->row_count; row++) {
        if (!gathered_is(g, row, "state", "waiting"))
            continue;
        if (first < 0 ||
            gathered_number(g, row, "due") < gathered_number(g, (unsigned) first, "due"))
            first = (int) row;
    }
    if (first < 0) {
        fputs("Nothing waits.\n\n", out);
        return;
    }
    struct slice source = gathered_text(g, (unsigned) first, "source");
    write_item(gate, g, (unsigned) first, "held_by");
    write_opens(opens, g, (unsigned) first);
    bool held = gate[0] && strcmp(gate, "open") != 0;
    terminal_verdict(out, held ? MOOD_WARNING : MOOD_GOOD, held ? "HELD BY" : "OPEN");
    fprintf(out, "  %s%sstep %" PRId64 " of \"%.*s\"", held ? gate : "", held ? ": " : "",
            gathered_number(g, (unsigned) first, "step"), (int) source.bytes, source.data);
    fprintf(out, "%s%s\n\n", opens[0] ? "        opens " : "", opens);
}

/* ---- campaign, sequence: buckets ---- */

struct bucket {
    struct slice name;
    int64_t count;
    unsigned detail_row; /* the first partition's words */
};

static unsigned
add_up(const struct gathered *g, struct bucket *buckets)
{
    unsigned count = 0;
    for (unsigned row = 0; row < g->row_count; row++) {
        struct slice name = gathered_text(g, row, "bucket");
        unsigned i = 0;
        while (i < count && (buckets[i].name.bytes != name.bytes ||
                             memcmp(buckets[i].name.data, name.data, name.bytes) != 0))
            i++;
        if (i == count)
            buckets[count++] = (struct bucket){name, 0, row};
        buckets[i].count += gathered_number(g, row, "count");
        if (gathered_text(g, buckets[i].detail_row, "detail").bytes == 0)
            buckets[i].detail_row = row;
    }
    return count;
}

static int
print_source(FILE *out, const struct gathered *g, const char *name, enum table_format format)
{
    char item[64], sum_text[32];
    int64_t sum = 0;
    struct bucket *buckets = calloc(g->row_count + 1, sizeof(*buckets));
    struct table *t = buckets ? table_new(out, format) : NULL;
    if (!t) {
        free(buckets);
        return -ENOMEM;
    }
    unsigned count = add_up(g, buckets);
    for (unsigned i = 0; i < count; i++)
        sum += buckets[i].count;
    if (format == TABLE_TEXT)
        fprintf(out, "%s   audience %s, each lead in one line\n\n", name,
                table_thousands(sum_text, sum));
    table_column(t, "bucket", "WHERE", TABLE_WORDS);
    table_column(t, "count", "LEADS", TABLE_COUNT);
    table_column(t, "detail", NULL, TABLE_WORDS);
    for (unsigned i = 0; i < count; i++) {
        write_item(item, g, buckets[i].detail_row, "bucket");
        if (format == TABLE_TEXT && buckets[i].count == 0)
            continue;
        if (format == TABLE_TEXT)
            table_words(t, "%s", item);
        else
            table_text(t, buckets[i].name);
        table_int(t, buckets[i].count);
        table_text(t, gathered_text(g, buckets[i].detail_row, "detail"));
    }
    free(buckets);
    return table_done(t);
}

int
explain_print(FILE *out, const struct gathered *g, const char *noun, const char *name,
              enum table_format format)
{
    int err = 0;
    if (strcmp(noun, "campaign") == 0 || strcmp(noun, "sequence") == 0) {
        err = print_source(out, g, name, format);
    } else if (strcmp(noun, "device") == 0 && format == TABLE_TEXT) {
        err = print_device(out, g, name);
    } else {
        if (strcmp(noun, "lead") == 0 && format == TABLE_TEXT)
            print_lead_verdict(out, g);
        err = print_rows(out, g, format);
    }
    return err < 0 ? err : fflush(out) == 0 ? 0 : -EPIPE;
}
