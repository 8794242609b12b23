/* sequence_view.c - positions summed by step, and the tables of `sequence show`. */
#include "coordinator/ctl/sequence_view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/ctl/terminal.h"

int
sequence_view_read(struct sequence_view *ret, struct asker *a, const struct view_source *source)
{
    char why[200];
    struct question question = {.name = "sequence_positions",
                                .argument_count = 1,
                                .arguments = {ask_text(source->name)}};
    int err = content_item_read(&ret->item, ask_text(source->json), why, sizeof(why));
    return err < 0 ? err : gather_all(&ret->positions, a, &question);
}

void
sequence_view_done(struct sequence_view *q)
{
    content_item_free(&q->item);
    gathered_done(&q->positions);
    *q = (struct sequence_view){0};
}

/* ---- sums ---- */

static int
by_place(const void *a, const void *b)
{
    const struct sequence_position *x = a, *y = b;
    if (x->revision != y->revision)
        return x->revision < y->revision ? -1 : 1;
    if (x->step != y->step)
        return x->step < y->step ? -1 : 1;
    return strcmp(x->state, y->state);
}

int
sequence_sum(const struct gathered *positions, struct sequence_position **ret)
{
    struct sequence_position *all = calloc(positions->row_count + 1, sizeof(*all));
    unsigned count = 0;
    if (!all)
        return -ENOMEM;
    for (unsigned row = 0; row < positions->row_count; row++) {
        struct slice state = gathered_text(positions, row, "state");
        all[row] = (struct sequence_position){
            .revision = gathered_number(positions, row, "revision"),
            .step = gathered_number(positions, row, "step"),
            .count = gathered_number(positions, row, "count"),
        };
        snprintf(all[row].state, sizeof(all[row].state), "%.*s", (int) state.bytes, state.data);
    }
    if (positions->row_count > 1)
        qsort(all, positions->row_count, sizeof(*all), by_place);
    for (unsigned row = 0; row < positions->row_count; row++) {
        if (count > 0 && by_place(&all[count - 1], &all[row]) == 0)
            all[count - 1].count += all[row].count;
        else
            all[count++] = all[row];
    }
    *ret = all;
    return (int) count;
}

json_t *
sequence_positions_json(const struct sequence_view *q)
{
    struct sequence_position *all = NULL;
    json_t *rows = json_array();
    int count = sequence_sum(&q->positions, &all);
    for (int i = 0; i < count; i++)
        json_array_append_new(rows, json_pack("{s:I, s:I, s:s, s:I}", "revision",
                                              (json_int_t) all[i].revision, "step",
                                              (json_int_t) all[i].step, "state", all[i].state,
                                              "count", (json_int_t) all[i].count));
    free(all);
    return rows;
}

/* ---- for people ---- */

const char *
sequence_what(char buf[static SEQUENCE_WHAT_BYTES], const struct content_step *step)
{
    if (step->text)
        return table_printable(buf, SEQUENCE_WHAT_BYTES, ask_text(step->text));
    snprintf(buf, SEQUENCE_WHAT_BYTES, "template %s", step->template_name);
    return buf;
}

void
sequence_head_columns(struct table *t)
{
    table_column(t, "trigger", NULL, TABLE_WORDS);
    table_column(t, "chain", NULL, TABLE_WORDS);
    table_column(t, "revision", NULL, TABLE_WORDS);
    table_column(t, "messages", NULL, TABLE_COUNT);
}

/* "cold -> warm -> hot" */
static void
write_chain(char *out, size_t size, struct view *v, const struct view_source *s)
{
    size_t used = (size_t) snprintf(out, size, "%s", s->name);
    for (unsigned i = 0; i < v->source_count && s && s->next_sequence[0] && used < size; i++) {
        used += (size_t) snprintf(out + used, size - used, " -> %s", s->next_sequence);
        s = view_find_source(v, CONTENT_SEQUENCE, s->next_sequence);
    }
}

void
sequence_head_cells(struct table *t, struct view *v, const struct view_source *s)
{
    char chain[512];
    write_chain(chain, sizeof(chain), v, s);
    table_words(t, "%s", s->trigger[0] ? s->trigger : "none: by a chain or lead enrol only");
    table_words(t, "%s", chain);
    if (s->all_revision > 1)
        table_words(t, "%u, followed by who was enrolled in one below %u too", s->revision,
                    s->all_revision);
    else
        table_words(t, "%u", s->revision);
    table_int(t, (int64_t) s->total.messages);
}

static int64_t
count_of(const struct sequence_position *all, int count, int64_t step, const char *state)
{
    int64_t sum = 0;
    for (int i = 0; i < count; i++)
        if (all[i].step == step && strcmp(all[i].state, state) == 0)
            sum += all[i].count;
    return sum;
}

static int
print_steps(const struct content_sequence *s, const struct sequence_position *all, int count,
            FILE *out)
{
    static const char *const states[] = {"waiting", "claimed", "unknown"};
    static const char *const titles[] = {"WAITING", "ON THE WIRE", "UNKNOWN"};
    char text[SEQUENCE_WHAT_BYTES];
    struct table *t = table_new(out, TABLE_TEXT);
    if (!t)
        return -ENOMEM;
    table_column(t, "step", NULL, TABLE_NUMBER);
    table_column(t, "delay", NULL, TABLE_WORDS);
    table_column(t, "window", NULL, TABLE_WORDS);
    table_column(t, "ttl", NULL, TABLE_WORDS);
    for (size_t i = 0; i < ARRAY_SIZE(states); i++)
        table_column(t, states[i], titles[i], TABLE_COUNT);
    table_column(t, "sends", NULL, TABLE_WORDS);
    for (unsigned i = 0; i < s->step_count; i++) {
        const struct content_step *step = &s->steps[i];
        char form[32] = "-";
        table_int(t, step->step);
        content_write_delay(form, sizeof(form), step->delay);
        table_words(t, "%s", form);
        snprintf(form, sizeof(form), "-");
        if (step->window.from != step->window.to)
            content_write_window(form, sizeof(form), step->window);
        table_words(t, "%s", form);
        snprintf(form, sizeof(form), "-");
        if (step->ttl)
            content_write_delay(form, sizeof(form), step->ttl);
        table_words(t, "%s", form);
        for (size_t k = 0; k < ARRAY_SIZE(states); k++)
            table_int(t, count_of(all, count, step->step, states[k]));
        table_words(t, "%s", sequence_what(text, step));
    }
    return table_done(t);
}

static int
print_revisions(const struct sequence_position *all, int count, FILE *out)
{
    struct table *t = table_new(out, TABLE_TEXT);
    if (!t)
        return -ENOMEM;
    table_column(t, "revision", NULL, TABLE_NUMBER);
    table_column(t, "step", NULL, TABLE_NUMBER);
    table_column(t, "state", NULL, TABLE_WORDS);
    table_column(t, "count", "LEADS", TABLE_COUNT);
    for (int i = 0; i < count; i++) {
        table_int(t, all[i].revision);
        table_int(t, all[i].step);
        table_words(t, "%s", all[i].state);
        table_int(t, all[i].count);
    }
    return table_done(t);
}

int
sequence_print_steps(const struct sequence_view *q, FILE *out)
{
    struct sequence_position *all = NULL;
    int count = sequence_sum(&q->positions, &all);
    if (count < 0)
        return count;
    int err = print_steps(&q->item.sequence, all, count, out);
    fputc('\n', out);
    bool several = count > 0 && all[0].revision != all[count - 1].revision;
    if (err == 0 && several) {
        err = print_revisions(all, count, out);
        fputc('\n', out);
    }
    free(all);
    return err;
}
