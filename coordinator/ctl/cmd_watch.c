/* cmd_watch.c - campaign watch NAME, sequence watch NAME: who sends how fast, what is left, when it
 * ends. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/ctl/ask.h"
#include "coordinator/ctl/capacity.h"
#include "coordinator/ctl/commands.h"
#include "coordinator/ctl/source_verb.h"
#include "coordinator/ctl/terminal.h"
#include "coordinator/ctl/view.h"

#define POLL_EVERY  (1 * USEC_PER_SEC)
#define POLL_AGAIN  (200 * USEC_PER_MSEC) /* the second look that a finish needs */
#define LINES_MAX   24u
#define BAR_WIDTH   40u
#define RATE_POINTS 6u /* a rate is taken over the last five seconds */

struct point {
    usec_t at;
    uint64_t done;
};

/* One line of the picture: a partition, by its driver's name. */
struct watch_line {
    char partition[NAME_BYTES_MAX + 1];
    struct view_progress progress;
    struct point points[RATE_POINTS]; /* [0] is the oldest */
    unsigned point_count;
};

struct watch {
    const struct invocation *in;
    struct asker *asker;
    struct view *view;
    struct screen screen;
    bool draws;
    unsigned line_count;
    struct watch_line lines[PARTITIONS_MAX];
    usec_t started, deadline;
    uint64_t finished_map; /* the map version under which it was seen finished, 0 = not yet */
    char trouble[320];     /* why the last look was not complete */
};

static uint64_t
done_of(const struct view_progress *p)
{
    return p->audience - MIN_OF(p->waiting, p->audience);
}

static uint64_t
rate_milli(const struct watch_line *l)
{
    if (l->point_count < 2)
        return 0;
    const struct point *first = &l->points[0], *last = &l->points[l->point_count - 1];
    usec_t span = MAX_OF(last->at - first->at, (usec_t) 1);
    return (last->done - MIN_OF(first->done, last->done)) * 1000 * USEC_PER_SEC / span;
}

static int
on_progress(void *arg, struct slice partition, struct view_source *source,
            const struct view_progress *progress)
{
    struct watch *w = arg;
    struct watch_line *l = NULL;
    if (source->kind != source_kind(w->in) || strcmp(source->name, w->in->operands[0]) != 0)
        return 0;
    for (unsigned i = 0; i < w->line_count && !l; i++)
        if (strlen(w->lines[i].partition) == partition.bytes &&
            memcmp(w->lines[i].partition, partition.data, partition.bytes) == 0)
            l = &w->lines[i];
    if (!l && w->line_count == PARTITIONS_MAX)
        return -E2BIG;
    if (!l) {
        l = &w->lines[w->line_count++];
        snprintf(l->partition, sizeof(l->partition), "%.*s", (int) partition.bytes, partition.data);
    }
    l->progress = *progress;
    if (l->point_count == RATE_POINTS)
        memmove(l->points, l->points + 1, --l->point_count * sizeof(l->points[0]));
    l->points[l->point_count++] = (struct point){clock_boot(), done_of(progress)};
    return 0;
}

/* 0 or -errno; partitions that do not answer are only noted: a watch outlives restarts. */
static int
look(struct watch *w)
{
    unsigned silent = 0;
    w->trouble[0] = '\0';
    int err = view_cluster(w->view, w->asker);
    if (err == 0)
        err = view_sources(w->view, w->asker);
    if (err < 0)
        return err;
    for (unsigned i = 0; i < w->view->source_count; i++)
        w->view->sources[i].total = (struct view_progress){0};
    for (unsigned i = 0; i < w->view->partition_count; i++) {
        const char *name = w->view->partitions[i].name;
        err =
            view_progress_of(w->view, w->asker, (struct slice){name, strlen(name)}, on_progress, w);
        if (err == -EINTR || err == -ENOMEM)
            return err;
        if (err < 0)
            snprintf(w->trouble, sizeof(w->trouble), "partition %s: %s", name, asker_why(w->asker));
        silent += err < 0;
    }
    w->view->silent_count = silent;
    return 0;
}

/* A trigger that no device has had room for yet is in nobody's audience. Nodes of the last release
 * do not count them. */
static bool
has_triggers(struct watch *w, const struct view_source *s)
{
    struct capacity c = {0};
    bool open = s->kind == CONTENT_SEQUENCE && s->state != SOURCE_CANCELLED;
    int err = open ? capacity_read(&c, w->asker, s->name) : 0;
    return err == 0 ? c.leads > 0 || c.silent > 0 : err != -EINVAL;
}

/* DETAILS "Campaign finished": every partition has the content, nothing waits, seen twice with one
 * map. */
static bool
is_finished(struct watch *w, const struct view_source *s)
{
    const struct view *v = w->view;
    bool complete = v->silent_count == 0 && v->partition_count > 0 && s->total.waiting == 0 &&
                    s->state != SOURCE_DRAFT;
    for (unsigned i = 0; i < v->partition_count && complete; i++)
        complete = v->partitions[i].reported && v->partitions[i].content_applied >= s->version;
    complete = complete && !has_triggers(w, s);
    bool before = complete && w->finished_map == v->map_version && v->map_version > 0;
    w->finished_map = complete ? v->map_version : 0;
    return before;
}

/* ---- the picture ---- */

static const struct view_partition *
partition_of(const struct watch *w, const struct watch_line *l)
{
    for (unsigned i = 0; i < w->view->partition_count; i++)
        if (strcmp(w->view->partitions[i].name, l->partition) == 0)
            return &w->view->partitions[i];
    return NULL;
}

static void
draw_line(const struct watch *w, const struct watch_line *l, FILE *out)
{
    const struct view_partition *p = partition_of(w, l);
    uint64_t done = done_of(&l->progress), audience = l->progress.audience;
    unsigned filled = audience ? (unsigned) (done * BAR_WIDTH / audience) : BAR_WIDTH;
    char bar[BAR_WIDTH + 1], a[32], b[32], c[32];
    for (unsigned i = 0; i < BAR_WIDTH; i++)
        bar[i] = i < filled ? '#' : '.';
    bar[BAR_WIDTH] = '\0';
    fprintf(out, "  %-8s %s  %s/%s   %s/s   in flight %u%s%s\n",
            p && p->driver[0] ? p->driver : l->partition, bar, table_thousands(a, (int64_t) done),
            table_thousands(b, (int64_t) audience),
            table_thousands(c, (int64_t) ((rate_milli(l) + 500) / 1000)), p ? p->in_flight : 0,
            p && p->reported && strcmp(p->gate, "open") == 0 ? "" : "   ",
            !p || !p->reported             ? "no report"
            : strcmp(p->gate, "open") == 0 ? ""
                                           : p->gate);
}

static void
draw_sums(const struct watch *w, const struct view_source *s, FILE *out)
{
    const struct view_progress *t = &s->total;
    struct histogram *lateness = calloc(1, sizeof(*lateness));
    uint64_t rate = 0;
    char a[32], b[32], c[32], d[32], span[32] = "-";
    for (unsigned i = 0; i < w->line_count; i++)
        rate += rate_milli(&w->lines[i]);
    for (unsigned i = 0; i < w->view->partition_count && lateness; i++)
        histogram_merge(lateness, &w->view->partitions[i].lateness);
    if (rate > 0 && t->waiting > 0)
        terminal_span(span, t->waiting * 1000 * USEC_PER_SEC / rate);
    fprintf(out,
            "  sent %s   waiting %s   unknown %s   failed %s   ETA %s   late p99 %" PRIu64 " ms\n",
            table_thousands(a, (int64_t) t->sent), table_thousands(b, (int64_t) t->waiting),
            table_thousands(c, (int64_t) t->unknown), table_thousands(d, (int64_t) t->failed), span,
            lateness ? histogram_quantile(lateness, 990) / USEC_PER_MSEC : 0);
    free(lateness);
}

static void
draw(struct watch *w, const struct view_source *s)
{
    if (!w->draws || screen_begin(&w->screen) < 0)
        return;
    FILE *out = w->screen.page;
    char held[VIEW_HELD_BYTES];
    view_held(held, s);
    fprintf(out, "%s   %s\n", s->name, held[0] ? held : view_source_state(s));
    for (unsigned i = 0; i < w->line_count && i < LINES_MAX; i++)
        draw_line(w, &w->lines[i], out);
    if (w->line_count > LINES_MAX)
        fprintf(out, "  ... %u more partitions\n", w->line_count - LINES_MAX);
    draw_sums(w, s, out);
    if (w->trouble[0])
        fprintf(out, "  %s\n", w->trouble);
    screen_show(&w->screen);
}

/* ---- the result ---- */

#define COUNTS(X)                                                                                  \
    X(sent) X(unknown) X(failed) X(skipped) X(expired) X(cancelled) X(not_in_audience) X(waiting)

/* "hello   active   sent 630   unknown 0   failed 0   waiting 0   (= 630 leads)   1.2 s";
 * what is seldom is only told when there is some. */
static int
print_words(const struct view_source *s, usec_t spent)
{
    const struct view_progress *p = &s->total;
    const struct {
        const char *name;
        uint64_t count;
        bool always;
    } counts[] = {
        {"sent", p->sent, true},
        {"unknown", p->unknown, true},
        {"failed", p->failed, true},
        {"skipped", p->skipped, false},
        {"expired", p->expired, false},
        {"cancelled", p->cancelled, false},
        {"not in audience", p->not_in_audience, false},
        {"waiting", p->waiting, true},
    };
    char text[32], span[32];
    printf("%s   %s", s->name, view_source_state(s));
    for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
        if (counts[i].always || counts[i].count > 0)
            printf("   %s %s", counts[i].name, table_thousands(text, (int64_t) counts[i].count));
    printf("   (= %s leads)", table_thousands(text, (int64_t) p->audience));
    if (s->kind == CONTENT_SEQUENCE)
        printf("   %s messages", table_thousands(text, (int64_t) p->messages));
    printf("   %s\n", terminal_span(span, spent));
    return fflush(stdout) == 0 ? 0 : -EPIPE;
}

static int
print_result(const struct watch *w, const struct view_source *s)
{
    usec_t spent = clock_boot() - w->started;
    if (w->in->format == TABLE_TEXT)
        return print_words(s, spent);
    struct table *t = table_new(stdout, w->in->format);
    if (!t)
        return -ENOMEM;
    table_column(t, "name", NULL, TABLE_WORDS);
    table_column(t, "state", NULL, TABLE_WORDS);
    table_column(t, "audience", NULL, TABLE_COUNT);
#define X(field) table_column(t, #field, NULL, TABLE_COUNT);
    COUNTS(X)
#undef X
    table_column(t, "watched_seconds", NULL, TABLE_NUMBER);
    table_words(t, "%s", s->name);
    table_words(t, "%s", view_source_state(s));
    table_int(t, (int64_t) s->total.audience);
#define X(field) table_int(t, (int64_t) s->total.field);
    COUNTS(X)
#undef X
    table_milli(t, (int64_t) (spent / USEC_PER_MSEC), 3);
    return table_done(t);
}

static int
goes_on(const struct watch *w, const char *why)
{
    const char *kind = w->in->command->verb;
    terminal_fault("%s; %s \"%s\" goes on", why, kind, w->in->operands[0]);
    terminal_next("fleetcast %s watch %s%s", kind, w->in->operands[0],
                  w->in->options[OPTION_UNTIL_FINISHED] ? " --until-finished" : "");
    return CTL_TIMED_OUT;
}

static int
end_watch(const struct watch *w, const struct view_source *s, int code)
{
    return s && print_result(w, s) < 0 ? CTL_FAILED : code;
}

static int
watch(struct watch *w)
{
    const char *kind = w->in->command->verb, *name = w->in->operands[0];
    for (bool first = true;; first = false) {
        int err = look(w);
        const struct view_source *s =
            err == 0 ? view_find_source(w->view, source_kind(w->in), name) : NULL;
        if (err < 0 && err != -EINTR && first)
            return ask_failed(w->asker, err, "cannot watch %s \"%s\"", kind, name);
        if (err == 0 && !s)
            return source_missing(w->in);
        bool until = w->in->options[OPTION_UNTIL_FINISHED] != NULL;
        if (s && until && s->state == SOURCE_DRAFT && !s->start_at) {
            terminal_fault("%s \"%s\" was not started", kind, name);
            terminal_next("fleetcast %s start %s", kind, name);
            return CTL_REFUSED;
        }
        if (s)
            draw(w, s);
        if (s && is_finished(w, s) && until)
            return end_watch(w, s, CTL_DONE);
        usec_t pause = until && w->finished_map ? POLL_AGAIN : POLL_EVERY, now = clock_boot();
        if (err != -EINTR && now < w->deadline)
            err = asker_wait(w->asker, MIN_OF(pause, w->deadline - now));
        if (err == -EINTR)
            return end_watch(w, s, goes_on(w, "no longer watched"));
        if (clock_boot() >= w->deadline)
            return end_watch(w, s, goes_on(w, "the time is over"));
    }
}

int
cmd_source_watch(const struct invocation *in)
{
    if (!in->options[OPTION_UNTIL_FINISHED] && !in->timeout && !terminal_draws()) {
        terminal_fault("%s watch draws on a terminal; elsewhere it needs --until-finished or"
                       " --timeout",
                       in->command->verb);
        return CTL_USAGE;
    }
    struct watch *w = calloc(1, sizeof(*w));
    if (!w) {
        terminal_fault("out of memory");
        return CTL_FAILED;
    }
    w->in = in;
    w->draws = terminal_draws() && !in->options[OPTION_PLAIN] && in->format == TABLE_TEXT;
    w->started = clock_boot();
    w->deadline = in->timeout ? w->started + in->timeout : USEC_INFINITY;
    int code = asker_open(&w->asker, in, 0);
    if (code == CTL_DONE) {
        w->view = view_new();
        code = w->view ? watch(w) : CTL_FAILED;
    }
    view_free(w->view);
    asker_free(w->asker);
    free(w);
    return code;
}
