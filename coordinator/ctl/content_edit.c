/* content_edit.c - positions of the leads laid upon the steps of the file. */
#include "coordinator/ctl/content_edit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/ctl/terminal.h"

static const struct content_sequence *
steps_of(int64_t revision, const struct edit_revision *revisions, unsigned count,
         const struct view_source *source, const struct content_item *newest)
{
    for (unsigned i = 0; i < count && revision >= source->all_revision; i++)
        if (revisions[i].revision == revision)
            return &revisions[i].item.sequence;
    return &newest->sequence;
}

static bool
same_text(const struct content_step *a, const struct content_step *b)
{
    if (!a || !b || !a->text != !b->text)
        return false;
    return a->text ? strcmp(a->text, b->text) == 0
                   : strcmp(a->template_name, b->template_name) == 0;
}

int
edit_lines(const struct sequence_position *positions, int position_count,
           const struct edit_revision *revisions, unsigned revision_count,
           const struct view_source *source, const struct content_item *newest,
           const struct content_sequence *to, struct edit_line **ret)
{
    struct edit_line *lines = calloc((size_t) position_count + 1, sizeof(*lines));
    int count = 0;
    if (!lines)
        return -ENOMEM;
    for (int i = 0; i < position_count; i++) {
        const struct sequence_position *p = &positions[i];
        if (strcmp(p->state, "waiting") != 0 && strcmp(p->state, "claimed") != 0)
            continue;
        const struct content_sequence *from =
            steps_of(p->revision, revisions, revision_count, source, newest);
        struct edit_line *l = &lines[count++];
        *l = (struct edit_line){.revision = p->revision, .step = p->step, .count = p->count};
        l->to = content_restep(from, (int16_t) p->step, to, &l->shift);
        l->other_text = l->to && !same_text(content_find_step(from, (int16_t) p->step), l->to);
        l->changed = !l->to || l->to->step != p->step || l->shift != 0 || l->other_text;
    }
    *ret = lines;
    return count;
}

/* ---- for people ---- */

static void
write_then(char *out, size_t size, const struct edit_line *l)
{
    char delay[32], what[SEQUENCE_WHAT_BYTES];
    if (!l->to) {
        snprintf(out, size, "through: no step is left");
        return;
    }
    size_t used = (size_t) snprintf(out, size, "step %d", l->to->step);
    if (!l->changed) {
        snprintf(out + used, size - used, " as before");
        return;
    }
    content_write_delay(delay, sizeof(delay), (usec_t) llabs(l->shift));
    if (l->shift != 0)
        used += (size_t) snprintf(out + used, size - used, ", %s %s", delay,
                                  l->shift > 0 ? "later" : "sooner");
    if (l->other_text && used < size)
        snprintf(out + used, size - used, ", sends %s", sequence_what(what, l->to));
}

static int
print_lines(const struct view_source *s, const struct edit_line *lines, int count, FILE *out,
            int64_t *ret_changed)
{
    char then[256], a[32], b[32];
    int64_t all = 0, changed = 0;
    for (int i = 0; i < count; i++) {
        all += lines[i].count;
        changed += lines[i].changed ? lines[i].count : 0;
    }
    fprintf(out, "sequence \"%s\" for all: %s of %s enrolled leads change\n", s->name,
            table_thousands(a, changed), table_thousands(b, all));
    *ret_changed += changed;
    struct table *t = count > 0 ? table_new(out, TABLE_TEXT) : NULL;
    if (!t)
        return count > 0 ? -ENOMEM : 0;
    table_column(t, "leads", NULL, TABLE_COUNT);
    table_column(t, "revision", NULL, TABLE_NUMBER);
    table_column(t, "step", "WAIT FOR", TABLE_NUMBER);
    table_column(t, "then", NULL, TABLE_WORDS);
    for (int i = 0; i < count; i++) {
        table_int(t, lines[i].count);
        table_int(t, lines[i].revision);
        table_int(t, lines[i].step);
        write_then(then, sizeof(then), &lines[i]);
        table_words(t, "%s", then);
    }
    return table_done(t);
}

/* ---- from the cluster ---- */

/* A long item comes in several rows, one behind the other: a cell holds 8 KiB. */
static char *
join_item(const struct gathered *rows, unsigned first, unsigned *ret_end)
{
    int64_t revision = gathered_number(rows, first, "revision");
    size_t bytes = 0;
    unsigned end = first;
    for (; end < rows->row_count && gathered_number(rows, end, "revision") == revision &&
           strcmp(rows->rows[end].partition, rows->rows[first].partition) == 0;
         end++)
        bytes += gathered_text(rows, end, "item").bytes;
    *ret_end = end;
    char *item = malloc(bytes + 1), *at = item;
    for (unsigned row = first; item && row < end; row++) {
        struct slice part = gathered_text(rows, row, "item");
        memcpy(at, part.data, part.bytes);
        at += part.bytes;
    }
    if (item)
        *at = '\0';
    return item;
}

static int
read_revisions(struct asker *a, const struct view_source *s, struct edit_revision **ret,
               unsigned *ret_count)
{
    char why[200];
    struct question question = {.name = "sequence_revisions",
                                .argument_count = 1,
                                .arguments = {ask_text(s->name)}};
    struct gathered rows = {0};
    int err = gather_all(&rows, a, &question);
    struct edit_revision *all = err == 0 ? calloc(rows.row_count + 1, sizeof(*all)) : NULL;
    if (err == 0 && !all)
        err = -ENOMEM;
    for (unsigned i = 0, end; i < rows.row_count && err == 0; i = end) {
        struct edit_revision *r = &all[*ret_count];
        char *json = join_item(&rows, i, &end);
        err = json ? content_item_read(&r->item, ask_text(json), why, sizeof(why)) : -ENOMEM;
        free(json);
        r->revision = gathered_number(&rows, i, "revision");
        *ret_count += err == 0;
        if (err == 0 && r->item.kind != CONTENT_SEQUENCE)
            err = -EBADMSG;
    }
    gathered_done(&rows);
    *ret = all;
    return err;
}

static int
print_one(struct asker *a, const struct view_source *s, const struct content_sequence *to,
          FILE *out, int64_t *ret_changed, unsigned *ret_silent)
{
    struct sequence_view q = {0};
    struct sequence_position *positions = NULL;
    struct edit_revision *revisions = NULL;
    struct edit_line *lines = NULL;
    unsigned revision_count = 0;
    int err = sequence_view_read(&q, a, s);
    *ret_silent += q.positions.silent;
    if (err == 0)
        err = read_revisions(a, s, &revisions, &revision_count);
    int count = err == 0 ? sequence_sum(&q.positions, &positions) : 0;
    if (err == 0 && count >= 0)
        count = edit_lines(positions, count, revisions, revision_count, s, &q.item, to, &lines);
    err = err ?: count < 0 ? count : print_lines(s, lines, count, out, ret_changed);
    for (unsigned i = 0; i < revision_count; i++)
        content_item_free(&revisions[i].item);
    free(revisions);
    free(positions);
    free(lines);
    sequence_view_done(&q);
    return err;
}

int
edit_print(struct asker *a, struct view *v, const struct content *content, FILE *out,
           int64_t *ret_changed, unsigned *ret_silent)
{
    int err = 0;
    for (unsigned i = 0; i < content->count && err == 0; i++) {
        const struct content_item *item = &content->items[i];
        const struct view_source *s =
            item->kind == CONTENT_SEQUENCE
                ? view_find_source(v, CONTENT_SEQUENCE, item->sequence.name)
                : NULL;
        if (!s || (s->state != SOURCE_ACTIVE && s->state != SOURCE_PAUSED))
            continue;
        char *json = content_item_write(item);
        if (!json)
            return -ENOMEM;
        if (strcmp(json, s->json) != 0)
            err = print_one(a, s, &item->sequence, out, ret_changed, ret_silent);
        free(json);
    }
    return err;
}
