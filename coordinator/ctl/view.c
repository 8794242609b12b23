/* view.c - answers copied into plain values. */
#include "coordinator/ctl/view.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/ctl/table.h"
#include "coordinator/ctl/terminal.h"

struct view *
view_new(void)
{
    struct view *v = calloc(1, sizeof(*v));
    if (!v)
        terminal_fault("out of memory");
    return v;
}

static void
drop_sources(struct view *v)
{
    for (unsigned i = 0; i < v->source_count; i++)
        free(v->sources[i].json);
    free(v->sources);
    v->sources = NULL;
    v->source_count = 0;
}

struct view *
view_free(struct view *v)
{
    if (v)
        drop_sources(v);
    free(v);
    return NULL;
}

#define COPY_TEXT(to, from) snprintf(to, sizeof(to), "%.*s", (int) (from).bytes, (from).data)

/* ---- nodes and partitions ---- */

static struct view_partition *
find_partition(struct view *v, struct slice name)
{
    for (unsigned i = 0; i < v->partition_count; i++)
        if (strlen(v->partitions[i].name) == name.bytes &&
            memcmp(v->partitions[i].name, name.data, name.bytes) == 0)
            return &v->partitions[i];
    return NULL;
}

/* A node that lost its partition to another one may still report it: the driver's word counts. */
static void
copy_partition(struct view *v, const struct report *node, const struct partition_report *from)
{
    struct view_partition *p = find_partition(v, from->name);
    if (!p || (p->reported && p->epoch > from->epoch))
        return;
    if (p->driver[0] && (strlen(p->driver) != node->name.bytes ||
                         memcmp(p->driver, node->name.data, node->name.bytes) != 0))
        return;
    p->reported = true;
    COPY_TEXT(p->gate, from->gate);
    COPY_TEXT(p->reason, from->reason);
    p->epoch = from->epoch;
    p->content_applied = from->content_applied;
    p->timeline = from->timeline;
    p->lsn = from->lsn;
    p->devices = from->devices;
    p->live = from->live;
    p->due = from->due;
    p->sent = from->sent;
    p->failed = from->failed;
    p->unknown = from->unknown;
    p->doubts = from->doubts_open;
    p->oldest_due = from->oldest_due;
    p->beat_age = from->beat_age;
    p->in_flight = from->in_flight;
    p->pool_busy = from->pool_busy;
    p->pool_max = from->pool_max;
    p->rate_milli = from->rate_milli;
    p->plan_milli = from->plan_milli;
    p->lateness = from->lateness;
}

static void
copy_map(struct view *v, const struct map *map)
{
    v->partition_count = map->partition_count;
    for (uint32_t i = 0; i < map->partition_count; i++) {
        struct view_partition *p = &v->partitions[i];
        *p = (struct view_partition){0};
        COPY_TEXT(p->name, map->partitions[i].name);
        COPY_TEXT(p->home, map->partitions[i].home);
        COPY_TEXT(p->driver, map->partitions[i].driver);
    }
    for (uint32_t i = 0; i < map->ranges.count; i++)
        v->partitions[map->ranges.ranges[i].partition].range_count++;
}

static void
copy_node(struct view *v, const struct node_row *from)
{
    struct view_node *n = &v->nodes[v->node_count++];
    *n = (struct view_node){.report_age = from->report_age,
                            .loop_lag = from->report.loop_lag,
                            .weight = from->report.weight,
                            .disk_percent = from->report.disk_used_percent,
                            .map_version = from->report.map_version,
                            .content_version = from->report.content_version};
    COPY_TEXT(n->name, from->report.name);
    COPY_TEXT(n->state, from->state);
    COPY_TEXT(n->version, from->report.version);
    COPY_TEXT(n->rpc_address, from->report.rpc_address);
    COPY_TEXT(n->health_address, from->report.health_address);
    for (uint32_t i = 0; i < from->report.partition_count; i++)
        copy_partition(v, &from->report, &from->report.partitions[i]);
}

int
view_cluster(struct view *v, struct asker *a)
{
    struct request q = {.kind = MESSAGE_NODES};
    struct reply r;
    int err = ask_map(a);
    if (err == 0)
        err = ask_coordinator(a, &q, 0, &r);
    if (err < 0)
        return err;
    copy_map(v, asker_map(a));
    v->term = r.nodes.term;
    v->map_version = r.nodes.map_version;
    v->content_version = r.nodes.content_version;
    COPY_TEXT(v->coordinator, r.nodes.coordinator);
    v->node_count = 0;
    for (uint32_t i = 0; i < r.nodes.node_count && i < NODES_MAX; i++)
        copy_node(v, &r.nodes.nodes[i]);
    return 0;
}

/* ---- sources ---- */

static void
copy_campaign(struct view_source *s, const struct content_campaign *c)
{
    snprintf(s->name, sizeof(s->name), "%s", c->name);
    snprintf(s->template_name, sizeof(s->template_name), "%s", c->template_name);
    s->not_after = c->not_after;
}

static void
copy_sequence(struct view_source *s, const struct content_sequence *q)
{
    snprintf(s->name, sizeof(s->name), "%s", q->name);
    snprintf(s->trigger, sizeof(s->trigger), "%s", q->trigger);
    snprintf(s->next_sequence, sizeof(s->next_sequence), "%s", q->next_sequence);
    s->step_count = q->step_count;
}

static int
copy_source(struct view *v, const struct content_row *row)
{
    struct content_item item;
    char why[200];
    struct view_source *more = realloc(v->sources, (v->source_count + 1) * sizeof(*more));
    if (!more)
        return -ENOMEM;
    v->sources = more;
    if (content_item_read(&item, row->json, why, sizeof(why)) < 0)
        return -EBADMSG;
    struct view_source *s = &v->sources[v->source_count];
    *s = (struct view_source){.kind = item.kind,
                              .id = row->id,
                              .state = (enum source_state) row->state,
                              .version = row->version,
                              .revision = row->revision,
                              .all_revision = row->all_revision,
                              .started_at = row->started_at,
                              .start_at = row->start_at,
                              .until = row->until,
                              .not_after = INT64_MAX,
                              .json = strndup(row->json.data, row->json.bytes)};
    COPY_TEXT(s->because, row->because);
    if (item.kind == CONTENT_CAMPAIGN)
        copy_campaign(s, &item.campaign);
    else
        copy_sequence(s, &item.sequence);
    content_item_free(&item);
    if (!s->json)
        return -ENOMEM;
    v->source_count++;
    return 0;
}

static int
copy_content(struct view *v, const struct content_row *row)
{
    if (row->kind == CONTENT_CAMPAIGN || row->kind == CONTENT_SEQUENCE)
        return copy_source(v, row);
    if (row->kind == CONTENT_CLUSTER) {
        v->paused = row->state == SOURCE_PAUSED;
        v->paused_until = row->until;
        COPY_TEXT(v->paused_because, row->because);
    }
    return 0;
}

static int
by_id(const void *a, const void *b)
{
    const struct view_source *x = a, *y = b;
    if (x->kind != y->kind)
        return x->kind < y->kind ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

int
view_sources(struct view *v, struct asker *a)
{
    struct request q = {.kind = MESSAGE_CONTENT};
    struct reply r;
    drop_sources(v);
    v->paused = false;
    do {
        int err = ask_coordinator(a, &q, 0, &r);
        for (uint32_t i = 0; err == 0 && i < r.content.row_count; i++) {
            q.content.after = r.content.rows[i].version;
            err = copy_content(v, &r.content.rows[i]);
        }
        if (err < 0)
            return err;
    } while (r.content.more && r.content.row_count > 0);
    if (v->source_count > 1)
        qsort(v->sources, v->source_count, sizeof(*v->sources), by_id);
    return 0;
}

struct view_source *
view_find_source(struct view *v, enum content_kind kind, const char *name)
{
    for (unsigned i = 0; i < v->source_count; i++)
        if (v->sources[i].kind == kind && strcmp(v->sources[i].name, name) == 0)
            return &v->sources[i];
    return NULL;
}

/* ---- progress ---- */

struct progress_reading {
    struct view *view;
    view_progress_fn *each;
    void *arg;
};

#define PROGRESS_FIELDS(X)                                                                         \
    X(audience)                                                                                    \
    X(enrolled)                                                                                    \
    X(sent)                                                                                        \
    X(waiting)                                                                                     \
    X(unknown) X(failed) X(skipped) X(expired) X(cancelled) X(not_in_audience) X(messages)

static int
on_progress(void *arg, struct slice partition, const struct answer *page)
{
    struct progress_reading *r = arg;
    int id_column = answer_column(page, "source_id");
    for (uint32_t row = 0; row < page->row_count; row++) {
        int32_t id = (int32_t) answer_number(page, row, id_column);
        struct view_source *s = NULL;
        for (unsigned i = 0; i < r->view->source_count && !s; i++)
            s = r->view->sources[i].id == id ? &r->view->sources[i] : NULL;
        if (!s)
            continue;
        struct view_progress p;
#define X(field) p.field = (uint64_t) answer_number(page, row, answer_column(page, #field));
        PROGRESS_FIELDS(X)
#undef X
#define X(field) s->total.field += p.field;
        PROGRESS_FIELDS(X)
#undef X
        s->partition_count++;
        int err = r->each ? r->each(r->arg, partition, s, &p) : 0;
        if (err != 0)
            return err;
    }
    return 0;
}

/* A screen is not held up by a partition that does not answer. */
static const struct question progress_question = {.name = "progress", .timeout = 2 * USEC_PER_SEC};

int
view_progress(struct view *v, struct asker *a, view_progress_fn *each, void *arg)
{
    struct progress_reading r = {v, each, arg};
    for (unsigned i = 0; i < v->source_count; i++) {
        v->sources[i].total = (struct view_progress){0};
        v->sources[i].partition_count = 0;
    }
    return ask_all_partitions(a, &progress_question, on_progress, &r, &v->silent_count);
}

int
view_progress_of(struct view *v, struct asker *a, struct slice partition, view_progress_fn *each,
                 void *arg)
{
    struct progress_reading r = {v, each, arg};
    return ask_pages(a, partition, &progress_question, on_progress, &r);
}

const char *
view_state_word(enum source_state state)
{
    static const char *const words[] = {[SOURCE_ACTIVE] = "active",
                                        [SOURCE_PAUSED] = "paused",
                                        [SOURCE_CANCELLED] = "cancelled",
                                        [SOURCE_DRAFT] = "draft"};
    return (size_t) state < ARRAY_SIZE(words) ? words[state] : "?";
}

const char *
view_source_state(const struct view_source *s)
{
    return s->state == SOURCE_DRAFT && s->start_at ? "scheduled" : view_state_word(s->state);
}

const char *
view_kind_word(enum content_kind kind)
{
    return kind == CONTENT_SEQUENCE ? "sequence" : "campaign";
}

const char *
view_pause_text(char buf[static VIEW_HELD_BYTES], int64_t until, const char *because)
{
    char time[40], quoted[LABEL_BYTES_MAX + 1];
    table_printable(quoted, sizeof(quoted), (struct slice){because, strlen(because)});
    snprintf(buf, VIEW_HELD_BYTES, "paused%s%s%s%s%s", until ? " until " : "",
             until ? table_time_text(time, until, true) : "", quoted[0] ? ": \"" : "", quoted,
             quoted[0] ? "\"" : "");
    return buf;
}

const char *
view_held(char buf[static VIEW_HELD_BYTES], const struct view_source *s)
{
    char time[40];
    buf[0] = '\0';
    if (s->state == SOURCE_DRAFT && s->start_at)
        snprintf(buf, VIEW_HELD_BYTES, "starts %s", table_time_text(time, s->start_at, true));
    else if (s->state == SOURCE_PAUSED)
        view_pause_text(buf, s->until, s->because);
    return buf;
}
