/* cmd_status.c - status: the verdict, nodes, campaigns and sequences, on one screen. */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "coordinator/ctl/ask.h"
#include "coordinator/ctl/commands.h"
#include "coordinator/ctl/terminal.h"
#include "coordinator/ctl/view.h"

/* All partitions of a node as one line. */
struct node_sum {
    uint64_t devices, unknown, rate_milli, plan_milli, pool_busy, pool_max, in_flight;
    usec_t oldest_due;
    const char *gate; /* of the first partition that is not open */
    struct histogram lateness;
};

static void
sum_node(const struct view *v, const char *node, struct node_sum *ret)
{
    memset(ret, 0, sizeof(*ret));
    for (unsigned i = 0; i < v->partition_count; i++) {
        const struct view_partition *p = &v->partitions[i];
        if (strcmp(p->driver, node) != 0)
            continue;
        ret->devices += p->devices;
        ret->unknown += p->doubts;
        ret->rate_milli += p->rate_milli;
        ret->plan_milli += p->plan_milli;
        ret->pool_busy += p->pool_busy;
        ret->pool_max += p->pool_max;
        ret->in_flight += p->in_flight;
        ret->oldest_due = MAX_OF(ret->oldest_due, p->oldest_due);
        histogram_merge(&ret->lateness, &p->lateness);
        if (!ret->gate && strcmp(p->gate, "open") != 0)
            ret->gate = p->gate;
    }
}

/* ---- the verdict ---- */

/* The first thing that is wrong, in words; "" = nothing. */
static void
find_trouble(const struct view *v, char why[static 320], char next[static 96])
{
    why[0] = next[0] = '\0';
    for (unsigned i = 0; i < v->node_count; i++) {
        const struct view_node *n = &v->nodes[i];
        char age[32];
        if (strcmp(n->state, "silent") != 0)
            continue;
        snprintf(why, 320, "node %s is silent (last report %s ago)", n->name,
                 terminal_span(age, n->report_age));
        snprintf(next, 96, "fleetcast node show %s", n->name);
        return;
    }
    for (unsigned i = 0; i < v->partition_count; i++) {
        const struct view_partition *p = &v->partitions[i];
        if (p->reported && strcmp(p->gate, "open") == 0)
            continue;
        snprintf(why, 320, "%s's partition %s is %s%s%s%s", p->driver[0] ? p->driver : p->home,
                 p->name, p->reported ? p->gate : "without a driver", p->reason[0] ? " (" : "",
                 p->reason, p->reason[0] ? ")" : "");
        snprintf(next, 96, "fleetcast partition show %s", p->name);
        return;
    }
    if (v->paused) {
        char text[VIEW_HELD_BYTES];
        snprintf(why, 320, "the cluster is %s",
                 view_pause_text(text, v->paused_until, v->paused_because));
        snprintf(next, 96, "fleetcast resume");
    } else if (v->node_count == 0)
        snprintf(why, 320, "no node has registered");
    else if (v->silent_count > 0)
        snprintf(why, 320, "%u partitions do not tell their progress", v->silent_count);
}

/* ---- for people ---- */

static void
print_nodes(const struct view *v, FILE *out, enum table_format format)
{
    struct table *t = table_new(out, format);
    struct node_sum *sum = malloc(sizeof(*sum));
    if (!t || !sum) {
        free(sum);
        return;
    }
    table_column(t, "node", NULL, TABLE_WORDS);
    table_column(t, "state", NULL, TABLE_WORDS);
    table_column(t, "devices", NULL, TABLE_COUNT);
    table_column(t, "messages_per_second", "RATE /s", TABLE_COUNT);
    table_column(t, "plan_messages_per_second", "PLAN /s", TABLE_COUNT);
    table_column(t, "oldest_due_seconds", "OLDEST DUE", TABLE_COUNT);
    table_column(t, "late_p99_microseconds", "LATE p99", TABLE_COUNT);
    table_column(t, "in_flight", NULL, TABLE_COUNT);
    table_column(t, "unknown", NULL, TABLE_COUNT);
    table_column(t, "pool_busy", "POOL", TABLE_COUNT);
    table_column(t, "disk_percent", "DISK", TABLE_COUNT);
    for (unsigned i = 0; i < v->node_count; i++) {
        const struct view_node *n = &v->nodes[i];
        sum_node(v, n->name, sum);
        bool known = strcmp(n->state, "silent") != 0;
        table_words(t, "%s", n->name);
        table_words(t, "%s", known && sum->gate ? sum->gate : n->state);
        table_int(t, (int64_t) sum->devices);
        table_milli(t, (int64_t) sum->rate_milli, 1);
        table_milli(t, (int64_t) sum->plan_milli, 1);
        int64_t due = (int64_t) (sum->oldest_due / USEC_PER_SEC);
        table_shown(t, due, "%" PRId64 " s", due);
        usec_t late = histogram_quantile(&sum->lateness, 990);
        if (sum->lateness.total > 0)
            table_shown(t, (int64_t) late, "%" PRIu64 " ms", (uint64_t) (late / USEC_PER_MSEC));
        else
            table_null(t);
        table_int(t, (int64_t) sum->in_flight);
        table_int(t, (int64_t) sum->unknown);
        table_shown(t, (int64_t) sum->pool_busy, "%" PRIu64 "/%" PRIu64, sum->pool_busy,
                    sum->pool_max);
        table_shown(t, n->disk_percent, "%u %%", n->disk_percent);
    }
    free(sum);
    if (table_done(t) < 0)
        terminal_fault("the output cannot be written");
}

static uint64_t
cluster_rate_milli(const struct view *v)
{
    uint64_t rate = 0;
    for (unsigned i = 0; i < v->partition_count; i++)
        rate += v->partitions[i].rate_milli;
    return rate;
}

/* All active sources share the rate: each ends, about, when all of them do. */
static void
put_finish(struct table *t, const struct view *v, const struct view_source *s, int64_t now)
{
    uint64_t waiting = 0, rate = cluster_rate_milli(v);
    for (unsigned i = 0; i < v->source_count; i++)
        if (v->sources[i].state == SOURCE_ACTIVE)
            waiting += v->sources[i].total.waiting;
    char held[VIEW_HELD_BYTES];
    if (s->state != SOURCE_ACTIVE || s->total.waiting == 0 || rate == 0) {
        bool idle = s->state == SOURCE_ACTIVE && s->total.waiting == 0;
        view_held(held, s);
        table_words(t, "%s%s%s", idle ? "nothing waits" : "-", held[0] ? " " : "", held);
        return;
    }
    char text[64];
    struct tm tm;
    time_t at = (time_t) ((uint64_t) now / USEC_PER_SEC + waiting * 1000 / rate);
    gmtime_r(&at, &tm);
    strftime(text, sizeof(text), "%a %d %b %H:%MZ", &tm);
    table_words(t, "%s", text);
}

static void
print_sources(const struct view *v, FILE *out)
{
    static const char *const counts[] = {"audience", "sent",   "waiting",
                                         "unknown",  "failed", "skipped"};
    struct table *t = table_new(out, TABLE_TEXT);
    if (!t)
        return;
    table_column(t, "source", NULL, TABLE_WORDS);
    table_column(t, "kind", NULL, TABLE_WORDS);
    table_column(t, "state", NULL, TABLE_WORDS);
    for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
        table_column(t, counts[i], NULL, TABLE_COUNT);
    table_column(t, "finish", NULL, TABLE_WORDS);
    for (unsigned i = 0; i < v->source_count; i++) {
        const struct view_source *s = &v->sources[i];
        table_words(t, "%s", s->name);
        table_words(t, "%s", view_kind_word(s->kind));
        table_words(t, "%s", view_source_state(s));
        table_int(t, (int64_t) s->total.audience);
        table_int(t, (int64_t) s->total.sent);
        table_int(t, (int64_t) s->total.waiting);
        table_int(t, (int64_t) s->total.unknown);
        table_int(t, (int64_t) s->total.failed);
        table_int(t, (int64_t) (s->total.skipped + s->total.expired + s->total.cancelled));
        put_finish(t, v, s, (int64_t) clock_real());
    }
    if (table_done(t) < 0)
        terminal_fault("the output cannot be written");
}

static void
print_screen(const struct view *v, FILE *out)
{
    char why[320], next[96], now[40];
    find_trouble(v, why, next);
    terminal_verdict(out, why[0] ? MOOD_WARNING : MOOD_GOOD, why[0] ? "DEGRADED" : "OK");
    fprintf(out, "   %s%smap %" PRIu64 " · term %" PRIu64 " · %s\n", why, why[0] ? "   " : "",
            v->map_version, v->term, table_time_text(now, (int64_t) clock_real(), true));
    if (next[0])
        fprintf(out, "           next: %s\n", next);
    fputc('\n', out);
    print_nodes(v, out, TABLE_TEXT);
    if (v->source_count > 0) {
        fputc('\n', out);
        print_sources(v, out);
    }
    if (v->silent_count > 0)
        fprintf(out, "sources without %u partitions that do not answer\n", v->silent_count);
    fprintf(out, "coordinator %s active\n", v->coordinator);
}

/* ---- for programs ---- */

static double
ms(usec_t span)
{
    return (double) span / (double) USEC_PER_MSEC;
}

static json_t *
lateness_json(const struct histogram *h)
{
    return json_pack("{s:f, s:f, s:f}", "p50", ms(histogram_quantile(h, 500)), "p99",
                     ms(histogram_quantile(h, 990)), "max", ms(h->max));
}

static json_t *
nodes_json(const struct view *v)
{
    json_t *nodes = json_array();
    for (unsigned i = 0; i < v->node_count; i++) {
        const struct view_node *n = &v->nodes[i];
        json_array_append_new(nodes,
                              json_pack("{s:s, s:s, s:s, s:f, s:f, s:i, s:s, s:s}", "name", n->name,
                                        "state", n->state, "version", n->version, "report_age_ms",
                                        ms(n->report_age), "loop_lag_ms", ms(n->loop_lag),
                                        "disk_percent", (int) n->disk_percent, "rpc_address",
                                        n->rpc_address, "health_address", n->health_address));
    }
    return nodes;
}

static json_t *
partitions_json(const struct view *v)
{
    json_t *partitions = json_array();
    for (unsigned i = 0; i < v->partition_count; i++) {
        const struct view_partition *p = &v->partitions[i];
        json_array_append_new(
            partitions,
            json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:I, s:i, s:i, s:i}",
                      "name", p->name, "driver", p->driver, "gate", p->reported ? p->gate : "",
                      "reason", p->reason, "epoch", (json_int_t) p->epoch, "content_applied",
                      (json_int_t) p->content_applied, "devices", (json_int_t) p->devices,
                      "messages_per_second", p->rate_milli / 1000.0, "plan_messages_per_second",
                      p->plan_milli / 1000.0, "oldest_due_ms", ms(p->oldest_due), "late_p99_ms",
                      ms(histogram_quantile(&p->lateness, 990)), "unknown_open",
                      (json_int_t) p->doubts, "in_flight", (int) p->in_flight, "pool_busy",
                      (int) p->pool_busy, "pool_max", (int) p->pool_max));
    }
    return partitions;
}

static json_t *
sources_json(const struct view *v)
{
    json_t *sources = json_array();
    for (unsigned i = 0; i < v->source_count; i++) {
        const struct view_source *s = &v->sources[i];
        const struct view_progress *p = &s->total;
        char time[40];
        json_array_append_new(
            sources,
            json_pack("{s:s, s:s, s:s, s:o, s:o, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I,"
                      " s:I}",
                      "name", s->name, "kind", view_kind_word(s->kind), "state",
                      view_source_state(s), "starts_at",
                      s->start_at ? json_string(table_time_text(time, s->start_at, false))
                                  : json_null(),
                      "paused_until",
                      s->until ? json_string(table_time_text(time, s->until, false)) : json_null(),
                      "reason", s->because, "messages", (json_int_t) p->messages, "audience",
                      (json_int_t) p->audience, "sent", (json_int_t) p->sent, "waiting",
                      (json_int_t) p->waiting, "unknown", (json_int_t) p->unknown, "failed",
                      (json_int_t) p->failed, "skipped", (json_int_t) p->skipped, "expired",
                      (json_int_t) p->expired, "cancelled", (json_int_t) p->cancelled,
                      "not_in_audience", (json_int_t) p->not_in_audience));
    }
    return sources;
}

static int
print_json(const struct view *v)
{
    char why[320], next[96], now[40];
    struct histogram *all = calloc(1, sizeof(*all));
    if (!all)
        return -ENOMEM;
    find_trouble(v, why, next);
    for (unsigned i = 0; i < v->partition_count; i++)
        histogram_merge(all, &v->partitions[i].lateness);
    json_t *status =
        json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:o, s:o, s:o, s:I, s:f, s:o}", "verdict",
                  why[0] ? "degraded" : "ok", "why", why, "at",
                  table_time_text(now, (int64_t) clock_real(), false), "coordinator",
                  v->coordinator, "term", (json_int_t) v->term, "map_version",
                  (json_int_t) v->map_version, "content_version", (json_int_t) v->content_version,
                  "nodes", nodes_json(v), "partitions", partitions_json(v), "sources",
                  sources_json(v), "partitions_silent", (json_int_t) v->silent_count,
                  "messages_per_second", (double) cluster_rate_milli(v) / 1000.0, "lateness_ms",
                  lateness_json(all));
    free(all);
    if (!status)
        return -ENOMEM;
    int err = json_dumpf(status, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) < 0 ? -EIO : 0;
    fputc('\n', stdout);
    json_decref(status);
    return fflush(stdout) == 0 ? err : -EIO;
}

/* ---- the verb ---- */

static int
gather(struct view *v, struct asker *a)
{
    int err = view_cluster(v, a);
    if (err == 0)
        err = view_sources(v, a);
    if (err == 0 && v->source_count > 0)
        err = view_progress(v, a, NULL, NULL);
    return err;
}

static int
watch(struct view *v, struct asker *a)
{
    struct screen screen = {0};
    for (;;) {
        int err = screen_begin(&screen);
        if (err < 0)
            return ask_failed(a, err, "status");
        print_screen(v, screen.page);
        screen_show(&screen);
        if (asker_wait(a, USEC_PER_SEC) < 0)
            return CTL_DONE;
        err = gather(v, a);
        if (err == -EINTR)
            return CTL_DONE;
        if (err < 0)
            return ask_failed(a, err, "cannot read the cluster's status");
    }
}

int
cmd_status(const struct invocation *in)
{
    struct asker *a = NULL;
    bool watching = in->options[OPTION_WATCH] != NULL;
    if (watching && (!terminal_draws() || in->format != TABLE_TEXT)) {
        terminal_fault("--watch draws on a terminal; for programs: fleetcast status --format json");
        return CTL_USAGE;
    }
    int code = asker_open(&a, in, in->timeout);
    struct view *v = code == CTL_DONE ? view_new() : NULL;
    if (!v) {
        asker_free(a);
        return code ?: CTL_FAILED;
    }
    char why[320], next[96];
    int err = gather(v, a);
    if (err < 0) {
        code = ask_failed(a, err, "cannot read the cluster's status");
    } else if (watching) {
        code = watch(v, a);
    } else {
        if (in->format == TABLE_JSON)
            err = print_json(v);
        else if (in->format == TABLE_CSV)
            print_nodes(v, stdout, TABLE_CSV);
        else
            print_screen(v, stdout);
        find_trouble(v, why, next);
        code = err < 0 || fflush(stdout) != 0 ? CTL_FAILED : why[0] ? CTL_DEGRADED : CTL_DONE;
    }
    view_free(v);
    asker_free(a);
    return code;
}
