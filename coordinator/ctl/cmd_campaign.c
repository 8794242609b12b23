/* cmd_campaign.c - campaign ls, show, start, pause, resume, cancel. */
#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "coordinator/ctl/ask.h"
#include "coordinator/ctl/commands.h"
#include "coordinator/ctl/terminal.h"
#include "coordinator/ctl/view.h"

#define COUNTS(X)                                                                                  \
    X(audience)                                                                                    \
    X(sent) X(waiting) X(unknown) X(failed) X(skipped) X(expired) X(cancelled) X(not_in_audience)

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

/* ---- ls ---- */

static int
print_list(const struct view *v, enum table_format format)
{
    struct table *t = table_new(stdout, format);
    if (!t)
        return -ENOMEM;
    table_column(t, "name", NULL, TABLE_WORDS);
    table_column(t, "state", NULL, TABLE_WORDS);
    table_column(t, "template", NULL, TABLE_WORDS);
    add_counts(t);
    table_column(t, "started_at", "STARTED", TABLE_WORDS);
    for (unsigned i = 0; i < v->source_count; i++) {
        const struct view_source *s = &v->sources[i];
        table_words(t, "%s", s->name);
        table_words(t, "%s", view_state_word(s->state));
        table_words(t, "%s", s->template_name);
        put_counts(t, &s->total);
        if (s->started_at)
            table_time(t, s->started_at);
        else
            table_null(t);
    }
    return table_done(t);
}

int
cmd_campaign_ls(const struct invocation *in)
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
        err = print_list(v, in->format);
    if (err < 0)
        code = ask_failed(a, err, "cannot list the campaigns");
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

static int
print_json(const struct view_source *s, json_t *rows)
{
    char started[40] = "";
    if (s->started_at)
        table_time_text(started, s->started_at, false);
    json_t *total = json_object();
#define X(field) json_object_set_new(total, #field, json_integer((json_int_t) s->total.field));
    COUNTS(X)
#undef X
    json_t *all = json_pack("{s:s, s:s, s:i, s:I, s:s, s:o, s:o, s:O}", "name", s->name, "state",
                            view_state_word(s->state), "source_id", (int) s->id, "content_version",
                            (json_int_t) s->version, "started_at", started, "content",
                            json_loads(s->json, 0, NULL), "progress", total, "partitions", rows);
    int err = all && json_dumpf(all, stdout, JSON_INDENT(2)) == 0 ? 0 : -EPIPE;
    fputc('\n', stdout);
    json_decref(all);
    return fflush(stdout) == 0 ? err : -EPIPE;
}

static void
print_head(const struct view_source *s)
{
    struct table *t = table_new(stdout, TABLE_LIST);
    if (!t)
        return;
    table_column(t, "name", NULL, TABLE_WORDS);
    table_column(t, "state", NULL, TABLE_WORDS);
    table_column(t, "source_id", NULL, TABLE_NUMBER);
    table_column(t, "content_version", NULL, TABLE_NUMBER);
    table_column(t, "started_at", NULL, TABLE_WORDS);
    table_column(t, "not_after", NULL, TABLE_WORDS);
    table_column(t, "content", NULL, TABLE_WORDS);
    table_words(t, "%s", s->name);
    table_words(t, "%s", view_state_word(s->state));
    table_int(t, s->id);
    table_int(t, (int64_t) s->version);
    if (s->started_at)
        table_time(t, s->started_at);
    else
        table_null(t);
    if (s->not_after < INT64_MAX)
        table_time(t, s->not_after);
    else
        table_null(t);
    table_text(t, (struct slice){s->json, strlen(s->json)});
    if (table_done(t) < 0)
        terminal_fault("the output cannot be written");
    fputc('\n', stdout);
}

static int
show(struct view *v, struct asker *a, const struct view_source *s, enum table_format format)
{
    struct by_partition b = {.source = s};
    if (format == TABLE_JSON)
        b.rows = json_array();
    else
        b.table = table_new(stdout, format);
    if (!b.rows && !b.table)
        return -ENOMEM;
    if (b.table) {
        table_column(b.table, "partition", NULL, TABLE_WORDS);
        add_counts(b.table);
    }
    if (format == TABLE_TEXT)
        print_head(s);
    int err = view_progress(v, a, on_partition, &b);
    if (err == 0 && format == TABLE_JSON)
        err = print_json(s, b.rows);
    if (err == 0 && format == TABLE_TEXT && v->partition_count != 1) {
        table_words(b.table, "all");
        put_counts(b.table, &s->total);
    }
    int written = table_done(b.table);
    json_decref(b.rows);
    return err ?: written;
}

static int
no_campaign(const char *name)
{
    terminal_fault("no campaign \"%s\"", name);
    terminal_next("fleetcast campaign ls");
    return CTL_FAILED;
}

int
cmd_campaign_show(const struct invocation *in)
{
    struct asker *a = NULL;
    int code = asker_open(&a, in, in->timeout);
    if (code != CTL_DONE)
        return code;
    struct view *v = view_new();
    int err = v ? view_cluster(v, a) : -ENOMEM;
    if (err == 0)
        err = view_sources(v, a);
    const struct view_source *s = err == 0 ? view_find_source(v, in->operands[0]) : NULL;
    if (s)
        err = show(v, a, s, in->format);
    if (err < 0)
        code = ask_failed(a, err, "cannot show campaign \"%s\"", in->operands[0]);
    else if (!s)
        code = no_campaign(in->operands[0]);
    else if (v->silent_count > 0)
        code = CTL_DEGRADED;
    view_free(v);
    asker_free(a);
    return code;
}

/* ---- start, pause, resume, cancel: one row each ---- */

struct order {
    const char *verb, *done; /* "start", "started" */
    enum source_state state;
    enum source_state from; /* what it must be now; SOURCE_CANCELLED = anything but that */
    const char *otherwise;
};

static int
refused(const struct invocation *in, const struct order *o, const struct view_source *s)
{
    terminal_fault("cannot %s campaign \"%s\": it is %s%s%s", o->verb, s->name,
                   view_state_word(s->state), o->otherwise[0] ? ": " : "", o->otherwise);
    terminal_next("fleetcast campaign show %s", in->operands[0]);
    return CTL_REFUSED;
}

static int
print_ordered(const struct invocation *in, const struct order *o, const struct source_reply *r)
{
    if (in->format == TABLE_TEXT) {
        printf("campaign \"%s\" %s: content version %llu, in force on %u partitions\n",
               in->operands[0], o->done, (unsigned long long) r->version, r->applied_count);
    } else {
        struct table *t = table_new(stdout, in->format);
        if (!t)
            return CTL_FAILED;
        table_column(t, "name", NULL, TABLE_WORDS);
        table_column(t, "state", NULL, TABLE_WORDS);
        table_column(t, "content_version", NULL, TABLE_NUMBER);
        table_column(t, "partitions_applied", NULL, TABLE_COUNT);
        table_column(t, "partitions_missing", NULL, TABLE_COUNT);
        table_words(t, "%s", in->operands[0]);
        table_words(t, "%s", view_state_word(o->state));
        table_int(t, (int64_t) r->version);
        table_int(t, r->applied_count);
        table_int(t, r->missing_count);
        if (table_done(t) < 0)
            return CTL_FAILED;
    }
    for (uint32_t i = 0; i < r->missing_count; i++)
        terminal_fault("not yet in force on partition %.*s: it takes effect when that is driven"
                       " again",
                       (int) r->missing[i].bytes, r->missing[i].data);
    if (fflush(stdout) != 0)
        return CTL_FAILED;
    return r->missing_count > 0 ? CTL_DEGRADED : CTL_DONE;
}

/* Started now, all of it would expire at once. */
static int
too_late(const struct invocation *in, const struct view_source *s)
{
    char until[40];
    terminal_fault("cannot start campaign \"%s\": its not_after is %s", s->name,
                   table_time_text(until, s->not_after, true));
    terminal_next("correct it, fleetcast apply-content FILE, then fleetcast campaign start %s",
                  in->operands[0]);
    return CTL_REFUSED;
}

static int
give_order(const struct invocation *in, const struct order *o)
{
    const char *because = in->options[OPTION_BECAUSE];
    struct request q = {.kind = MESSAGE_SOURCE,
                        .source = {.name = {in->operands[0], strlen(in->operands[0])},
                                   .state = (uint8_t) o->state,
                                   .because = {because ? because : "",
                                               because ? strlen(because) : 0}}};
    struct asker *a = NULL;
    struct reply r;
    if (q.source.because.bytes > LABEL_BYTES_MAX) {
        terminal_fault("--because: longer than %u bytes", LABEL_BYTES_MAX);
        return CTL_USAGE;
    }
    int code = asker_open(&a, in, in->timeout);
    if (code != CTL_DONE)
        return code;
    struct view *v = view_new();
    int err = v ? view_sources(v, a) : -ENOMEM;
    const struct view_source *s = err == 0 ? view_find_source(v, in->operands[0]) : NULL;
    bool fits =
        s && (s->state == o->state ||
              (o->from == SOURCE_CANCELLED ? s->state != SOURCE_CANCELLED : s->state == o->from));
    bool late = fits && s->state == SOURCE_DRAFT && o->state == SOURCE_ACTIVE &&
                s->not_after < (int64_t) clock_real();
    if (fits && !late) {
        /* the coordinator answers after up to 10 s, with the names of who did not apply it */
        err = ask_coordinator(a, &q, in->timeout ? 0 : ASK_ORDER_TIMEOUT, &r);
        if (err == 0)
            code = print_ordered(in, o, &r.source);
    }
    if (err < 0)
        code = ask_failed(a, err, "cannot %s campaign \"%s\"", o->verb, in->operands[0]);
    else if (!s)
        code = no_campaign(in->operands[0]);
    else if (!fits)
        code = refused(in, o, s);
    else if (late)
        code = too_late(in, s);
    view_free(v);
    asker_free(a);
    return code;
}

int
cmd_campaign_start(const struct invocation *in)
{
    static const struct order order = {"start", "started", SOURCE_ACTIVE, SOURCE_DRAFT,
                                       "a paused one goes on by campaign resume"};
    return give_order(in, &order);
}

int
cmd_campaign_pause(const struct invocation *in)
{
    static const struct order order = {"pause", "paused", SOURCE_PAUSED, SOURCE_ACTIVE, ""};
    return give_order(in, &order);
}

int
cmd_campaign_resume(const struct invocation *in)
{
    static const struct order order = {"resume", "resumed", SOURCE_ACTIVE, SOURCE_PAUSED,
                                       "only a paused one goes on"};
    return give_order(in, &order);
}

int
cmd_campaign_cancel(const struct invocation *in)
{
    static const struct order order = {"cancel", "cancelled", SOURCE_CANCELLED, SOURCE_CANCELLED,
                                       ""};
    return give_order(in, &order);
}
