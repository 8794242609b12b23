/* cmd_source.c - ls and show of campaigns and sequences. */
#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "coordinator/ctl/ask.h"
#include "coordinator/ctl/commands.h"
#include "coordinator/ctl/sequence_view.h"
#include "coordinator/ctl/source_verb.h"
#include "coordinator/ctl/terminal.h"
#include "coordinator/ctl/view.h"

#define COUNTS(X)                                                                                  \
    X(audience)                                                                                    \
    X(sent)                                                                                        \
    X(waiting) X(unknown) X(failed) X(skipped) X(expired) X(cancelled) X(not_in_audience)

static void
add_counts(struct table *t)
{
#define X(field) table_column(t, #field, NULL, TABLE_COUNT);
    COUNTS(X)
#undef X
}

static void
put_counts(struct table *t, const struct view_progress *p)
{
#define X(field) table_int(t, (int64_t) p->field);
    COUNTS(X)
#undef X
}

static void
put_time(struct table *t, int64_t at)
{
    if (at > 0 && at < INT64_MAX)
        table_time(t, at);
    else
        table_null(t);
}

/* ---- ls ---- */

static void
add_list_columns(struct table *t, enum content_kind kind)
{
    table_column(t, "name", NULL, TABLE_WORDS);
    table_column(t, "state", NULL, TABLE_WORDS);
    if (kind == CONTENT_CAMPAIGN) {
        table_column(t, "template", NULL, TABLE_WORDS);
    } else {
        table_column(t, "trigger", NULL, TABLE_WORDS);
        table_column(t, "next_sequence", "NEXT", TABLE_WORDS);
        table_column(t, "steps", NULL, TABLE_COUNT);
        table_column(t, "revision", NULL, TABLE_NUMBER);
        table_column(t, "messages", NULL, TABLE_COUNT);
    }
    add_counts(t);
    table_column(t, "started_at", "STARTED", TABLE_WORDS);
    table_column(t, "starts_at", "STARTS", TABLE_WORDS);
    table_column(t, "paused_until", NULL, TABLE_WORDS);
    table_column(t, "reason", NULL, TABLE_WORDS);
}

static void
put_list_row(struct table *t, const struct view_source *s)
{
    table_words(t, "%s", s->name);
    table_words(t, "%s", view_source_state(s));
    if (s->kind == CONTENT_CAMPAIGN) {
        table_words(t, "%s", s->template_name);
    } else {
        table_words(t, "%s", s->trigger);
        table_words(t, "%s", s->next_sequence);
        table_int(t, s->step_count);
        table_int(t, s->revision);
        table_int(t, (int64_t) s->total.messages);
    }
    put_counts(t, &s->total);
    put_time(t, s->started_at);
    put_time(t, s->state == SOURCE_DRAFT ? s->start_at : 0);
    put_time(t, s->state == SOURCE_PAUSED ? s->until : 0);
    table_words(t, "%s", s->because);
}

static int
print_list(const struct view *v, enum content_kind kind, enum table_format format)
{
    struct table *t = table_new(stdout, format);
    if (!t)
        return -ENOMEM;
    add_list_columns(t, kind);
    for (unsigned i = 0; i < v->source_count; i++)
        if (v->sources[i].kind == kind)
            put_list_row(t, &v->sources[i]);
    return table_done(t);
}

int
cmd_source_ls(const struct invocation *in)
{
    struct asker *a = NULL;
    int code = asker_open(&a, in, in->timeout);
    if (code != CTL_DONE)
        return code;
    struct view *v = view_new();
    int err = v ? ask_map(a) : -ENOMEM;
    if (err == 0)
        err = view_sources(v, a);
    if (err == 0 && v->source_count > 0)
        err = view_progress(v, a, NULL, NULL);
    if (err == 0)
        err = print_list(v, source_kind(in), in->format);
    if (err < 0)
        code = ask_failed(a, err, "cannot list the %ss", in->command->verb);
    else if (v->silent_count > 0)
        code = CTL_DEGRADED;
    view_free(v);
    asker_free(a);
    return code;
}

/* ---- show ---- */

struct by_partition {
    const struct view_source *source;
    struct table *table; /* for people and CSV */
    json_t *rows;        /* else */
};

static int
on_partition(void *arg, struct slice partition, struct view_source *source,
             const struct view_progress *p)
{
    struct by_partition *b = arg;
    if (source != b->source)
        return 0;
    if (b->table) {
        table_text(b->table, partition);
        put_counts(b->table, p);
        return 0;
    }
    json_t *row = json_pack("{s:s%}", "partition", partition.data, partition.bytes);
#define X(field) json_object_set_new(row, #field, json_integer((json_int_t) p->field));
    COUNTS(X)
#undef X
    return json_array_append_new(b->rows, row) < 0 ? -ENOMEM : 0;
}

static json_t *
time_json(int64_t at)
{
    char text[40];
    return at > 0 && at < INT64_MAX ? json_string(table_time_text(text, at, false)) : json_null();
}

static int
print_json(const struct view_source *s, json_t *rows, const struct sequence_view *q)
{
    json_t *total = json_object();
#define X(field) json_object_set_new(total, #field, json_integer((json_int_t) s->total.field));
    COUNTS(X)
#undef X
    json_object_set_new(total, "messages", json_integer((json_int_t) s->total.messages));
    json_t *all =
        json_pack("{s:s, s:s, s:s, s:i, s:I, s:i, s:i, s:o, s:o, s:o, s:s, s:o, s:o, s:O}", "kind",
                  view_kind_word(s->kind), "name", s->name, "state", view_source_state(s),
                  "source_id", (int) s->id, "content_version", (json_int_t) s->version, "revision",
                  (int) s->revision, "all_revision", (int) s->all_revision, "started_at",
                  time_json(s->started_at), "starts_at", time_json(s->start_at), "paused_until",
                  time_json(s->until), "reason", s->because, "content",
                  json_loads(s->json, 0, NULL), "progress", total, "partitions", rows);
    if (all && s->kind == CONTENT_SEQUENCE)
        json_object_set_new(all, "positions", sequence_positions_json(q));
    int err = all && json_dumpf(all, stdout, JSON_INDENT(2)) == 0 ? 0 : -EPIPE;
    fputc('\n', stdout);
    json_decref(all);
    return fflush(stdout) == 0 ? err : -EPIPE;
}

static void
print_head(struct view *v, const struct view_source *s)
{
    char held[VIEW_HELD_BYTES];
    struct table *t = table_new(stdout, TABLE_LIST);
    if (!t)
        return;
    table_column(t, "name", NULL, TABLE_WORDS);
    table_column(t, "state", NULL, TABLE_WORDS);
    table_column(t, "source_id", NULL, TABLE_NUMBER);
    table_column(t, "content_version", NULL, TABLE_NUMBER);
    table_column(t, "started_at", NULL, TABLE_WORDS);
    if (s->kind == CONTENT_CAMPAIGN)
        table_column(t, "not_after", NULL, TABLE_WORDS);
    else
        sequence_head_columns(t);
    table_column(t, "content", NULL, TABLE_WORDS);
    table_words(t, "%s", s->name);
    view_held(held, s);
    table_words(t, "%s%s%s", view_source_state(s), held[0] ? ": " : "", held);
    table_int(t, s->id);
    table_int(t, (int64_t) s->version);
    put_time(t, s->started_at);
    if (s->kind == CONTENT_CAMPAIGN)
        put_time(t, s->not_after);
    else
        sequence_head_cells(t, v, s);
    table_text(t, (struct slice){s->json, strlen(s->json)});
    if (table_done(t) < 0)
        terminal_fault("the output cannot be written");
    fputc('\n', stdout);
}

static int
show(struct view *v, struct asker *a, const struct view_source *s, enum table_format format)
{
    struct by_partition b = {.source = s};
    struct sequence_view q = {0};
    int err = s->kind == CONTENT_SEQUENCE ? sequence_view_read(&q, a, s) : 0;
    if (format == TABLE_JSON)
        b.rows = json_array();
    else
        b.table = table_new(stdout, format);
    if (err == 0 && !b.rows && !b.table)
        err = -ENOMEM;
    if (b.table) {
        table_column(b.table, "partition", NULL, TABLE_WORDS);
        add_counts(b.table);
    }
    if (err == 0)
        err = view_progress(v, a, on_partition, &b); /* rows are kept until the table is done */
    if (err == 0 && format == TABLE_TEXT) {
        print_head(v, s);
        if (s->kind == CONTENT_SEQUENCE)
            err = sequence_print_steps(&q, stdout);
    }
    if (err == 0 && format == TABLE_JSON)
        err = print_json(s, b.rows, &q);
    if (err == 0 && format == TABLE_TEXT && v->partition_count != 1) {
        table_words(b.table, "all");
        put_counts(b.table, &s->total);
    }
    int written = table_done(b.table);
    json_decref(b.rows);
    v->silent_count += q.positions.silent;
    sequence_view_done(&q);
    return err ?: written;
}

int
cmd_source_show(const struct invocation *in)
{
    struct asker *a = NULL;
    int code = asker_open(&a, in, in->timeout);
    if (code != CTL_DONE)
        return code;
    struct view *v = view_new();
    int err = v ? view_cluster(v, a) : -ENOMEM;
    if (err == 0)
        err = view_sources(v, a);
    const struct view_source *s =
        err == 0 ? view_find_source(v, source_kind(in), in->operands[0]) : NULL;
    if (s)
        err = show(v, a, s, in->format);
    if (err < 0)
        code = ask_failed(a, err, "cannot show %s \"%s\"", in->command->verb, in->operands[0]);
    else if (!s)
        code = source_missing(in);
    else if (v->silent_count > 0)
        code = CTL_DEGRADED;
    view_free(v);
    asker_free(a);
    return code;
}
