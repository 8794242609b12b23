/* Nodes and partitions as the reports tell, judged; the node's state machine. */
#include "coordinator/fleet.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct node_row_fsm {
    enum node_state from;
    enum node_event event;
    enum node_state to;
    const char *why;
};

static const struct node_row_fsm node_table[] = {
    {NODE_JOINING, NODE_STARTED, NODE_JOINING, "started again before it was ready"},
    {NODE_JOINING, NODE_SOME_OPENING, NODE_JOINING, "is taking its partitions"},
    {NODE_JOINING, NODE_ALL_OPEN, NODE_READY, "every partition it drives is open"},
    {NODE_JOINING, NODE_SOME_CLOSED, NODE_DEGRADED, "a partition's gate is closed"},
    {NODE_JOINING, NODE_SAYS_STOPPING, NODE_STOPPING, "was asked to stop"},
    {NODE_JOINING, NODE_SILENT_TOO_LONG, NODE_SILENT, "no report for D"},
    {NODE_READY, NODE_STARTED, NODE_JOINING, "a new process with its name, the old one is gone"},
    {NODE_READY, NODE_ALL_OPEN, NODE_READY, "goes on"},
    {NODE_READY, NODE_SOME_OPENING, NODE_DEGRADED, "takes a partition again"},
    {NODE_READY, NODE_SOME_CLOSED, NODE_DEGRADED, "a partition's gate closed"},
    {NODE_READY, NODE_SAYS_STOPPING, NODE_STOPPING, "was asked to stop"},
    {NODE_READY, NODE_SILENT_TOO_LONG, NODE_SILENT, "no report for D"},
    {NODE_DEGRADED, NODE_STARTED, NODE_JOINING, "a new process with its name, the old one is gone"},
    {NODE_DEGRADED, NODE_ALL_OPEN, NODE_READY, "every partition is open again"},
    {NODE_DEGRADED, NODE_SOME_OPENING, NODE_DEGRADED, "still takes a partition"},
    {NODE_DEGRADED, NODE_SOME_CLOSED, NODE_DEGRADED, "still has a closed gate"},
    {NODE_DEGRADED, NODE_SAYS_STOPPING, NODE_STOPPING, "was asked to stop"},
    {NODE_DEGRADED, NODE_SILENT_TOO_LONG, NODE_SILENT, "no report for D"},
    {NODE_STOPPING, NODE_STARTED, NODE_JOINING, "started again after an orderly stop"},
    {NODE_STOPPING, NODE_SAYS_STOPPING, NODE_STOPPING, "lets its wire end"},
    {NODE_STOPPING, NODE_SILENT_TOO_LONG, NODE_SILENT, "has stopped"},
    {NODE_SILENT, NODE_STARTED, NODE_JOINING, "reports for the first time"},
    {NODE_SILENT, NODE_ALL_OPEN, NODE_READY, "is heard again"},
    {NODE_SILENT, NODE_SOME_OPENING, NODE_JOINING, "is heard again, takes its partitions"},
    {NODE_SILENT, NODE_SOME_CLOSED, NODE_DEGRADED, "is heard again, with a closed gate"},
    {NODE_SILENT, NODE_SAYS_STOPPING, NODE_STOPPING, "is heard again, on its way out"},
};

const char *
node_state_name(enum node_state s)
{
    static const char *const names[NODE_STATE_COUNT] = {"joining", "ready", "degraded", "stopping",
                                                        "silent"};
    return names[s];
}

bool
node_step(enum node_state *s, enum node_event e)
{
    for (size_t i = 0; i < ARRAY_SIZE(node_table); i++) {
        if (node_table[i].from == *s && node_table[i].event == e) {
            *s = node_table[i].to;
            return true;
        }
    }
    return false;
}

bool
node_transition(unsigned index, struct transition *ret)
{
    static const char *const events[] = {
        [NODE_STARTED] = "started",           [NODE_ALL_OPEN] = "all open",
        [NODE_SOME_OPENING] = "some opening", [NODE_SOME_CLOSED] = "some closed",
        [NODE_SAYS_STOPPING] = "stopping",    [NODE_SILENT_TOO_LONG] = "silent for D"};
    if (index >= ARRAY_SIZE(node_table))
        return false;
    const struct node_row_fsm *r = &node_table[index];
    *ret = (struct transition){node_state_name(r->from), events[r->event], node_state_name(r->to),
                               r->why};
    return true;
}

struct fleet *
fleet_new(usec_t dead)
{
    struct fleet *f = calloc(1, sizeof *f);
    if (f)
        f->dead = dead;
    return f;
}

struct fleet *
fleet_free(struct fleet *f)
{
    if (!f)
        return NULL;
    for (unsigned i = 0; i < f->node_count; i++)
        free(f->nodes[i].report_memory);
    rangemap_done(&f->ranges);
    free(f);
    return NULL;
}

/* ---- values ---- */

static bool
is_name(struct slice s)
{
    if (s.bytes == 0 || s.bytes > NAME_BYTES_MAX)
        return false;
    for (size_t i = 0; i < s.bytes; i++) {
        char c = s.data[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'))
            return false;
    }
    return true;
}

static bool
is_text(struct slice s, const char *text)
{
    return s.bytes == strlen(text) && (s.bytes == 0 || memcmp(s.data, text, s.bytes) == 0);
}

static bool
begins(struct slice s, const char *text)
{
    return s.bytes >= strlen(text) && memcmp(s.data, text, strlen(text)) == 0;
}

static void
copy_text(char *to, size_t size, struct slice from)
{
    assert(from.bytes < size);
    if (from.bytes > 0)
        memcpy(to, from.data, from.bytes);
    to[from.bytes] = '\0';
}

static bool
uuid_equal(const struct uuid *a, const struct uuid *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

static struct fleet_node *
find_node(struct fleet *f, struct slice name)
{
    for (unsigned i = 0; i < f->node_count; i++) {
        if (is_text(name, f->nodes[i].record.name))
            return &f->nodes[i];
    }
    return NULL;
}

const struct fleet_node *
fleet_find_node(const struct fleet *f, const char *name)
{
    for (unsigned i = 0; i < f->node_count; i++) {
        if (strcmp(name, f->nodes[i].record.name) == 0)
            return &f->nodes[i];
    }
    return NULL;
}

static struct fleet_partition *
find_partition(struct fleet *f, struct slice name)
{
    for (unsigned i = 0; i < f->partition_count; i++) {
        if (is_text(name, f->partitions[i].record.name))
            return &f->partitions[i];
    }
    return NULL;
}

static struct slice
slice_of(const char *text)
{
    return (struct slice){text, strlen(text)};
}

/* ---- a report, kept: one block holds the partitions' array and, behind it, all texts ---- */

static size_t
report_bytes(const struct report *r)
{
    size_t bytes = r->partition_count * sizeof *r->partitions + r->name.bytes + r->version.bytes +
                   r->rpc_address.bytes + r->health_address.bytes;
    for (uint32_t i = 0; i < r->partition_count; i++) {
        const struct partition_report *p = &r->partitions[i];
        bytes += p->name.bytes + p->gate.bytes + p->reason.bytes;
    }
    return bytes;
}

static void
move_text(struct slice *s, char **room)
{
    if (s->bytes > 0)
        memcpy(*room, s->data, s->bytes);
    s->data = *room;
    *room += s->bytes;
}

static void *
report_keep(struct report *to, const struct report *from)
{
    struct partition_report *partitions = malloc(report_bytes(from) + 1);
    if (!partitions)
        return NULL;
    char *room = (char *) (partitions + from->partition_count);
    *to = *from;
    to->partitions = partitions;
    if (from->partition_count > 0)
        memcpy(partitions, from->partitions, from->partition_count * sizeof *partitions);
    move_text(&to->name, &room);
    move_text(&to->version, &room);
    move_text(&to->rpc_address, &room);
    move_text(&to->health_address, &room);
    for (uint32_t i = 0; i < to->partition_count; i++) {
        move_text(&partitions[i].name, &room);
        move_text(&partitions[i].gate, &room);
        move_text(&partitions[i].reason, &room);
    }
    return partitions;
}

/* ---- judging a report: nothing is changed before all of it is accepted ---- */

static int
judge_node(struct fleet *f, const struct report *r, usec_t now, char *why, size_t why_size)
{
    struct fleet_node *n = find_node(f, r->name);
    if (!n && f->node_count == NODES_MAX) {
        snprintf(why, why_size, "there are %u nodes already, which is the most", NODES_MAX);
        return -ENOSPC;
    }
    bool same = n && uuid_equal(&n->record.incarnation, &r->incarnation);
    bool alive = n && (n->state != NODE_SILENT && n->state != NODE_STOPPING) &&
                 now - n->reported_at < f->dead;
    if (alive && !same) {
        snprintf(why, why_size, "node %s is already registered by another living process",
                 n->record.name);
        return -EEXIST;
    }
    return 0;
}

static bool
values_valid(const struct report *r)
{
    if (!is_name(r->name) || r->rpc_address.bytes > ADDRESS_BYTES_MAX ||
        r->health_address.bytes > ADDRESS_BYTES_MAX || r->term > FLEET_TERM_MAX ||
        r->weight > INT32_MAX || r->partition_count > PARTITIONS_DRIVEN_MAX)
        return false;
    for (uint32_t i = 0; i < r->partition_count; i++) {
        const struct partition_report *p = &r->partitions[i];
        if (!is_name(p->name) || p->epoch > INT64_MAX || p->lsn > INT64_MAX ||
            p->content_applied > INT64_MAX)
            return false;
    }
    return true;
}

/* A node reports what it drives: its home, or what the catalog says that it drives. */
static int
judge_partitions(struct fleet *f, const struct report *r, char *why, size_t why_size)
{
    unsigned fresh = 0;
    for (uint32_t i = 0; i < r->partition_count; i++) {
        struct fleet_partition *p = find_partition(f, r->partitions[i].name);
        if (!p) {
            fresh++;
        } else if (!is_text(r->name, p->record.home) && !is_text(r->name, p->record.driver)) {
            snprintf(why, why_size,
                     "partition %s is at home on node %s: node %.*s may not claim it",
                     p->record.name, p->record.home, (int) r->name.bytes, r->name.data);
            return -EPERM;
        }
    }
    if (f->partition_count + fresh > PARTITIONS_MAX) {
        snprintf(why, why_size, "there would be more than %u partitions", PARTITIONS_MAX);
        return -ENOSPC;
    }
    return 0;
}

static enum node_event
event_of(const struct report *r)
{
    enum node_event e = r->stopping ? NODE_SAYS_STOPPING : NODE_ALL_OPEN;
    for (uint32_t i = 0; i < r->partition_count && !r->stopping; i++) {
        struct slice gate = r->partitions[i].gate;
        if (begins(gate, "closed") || begins(gate, "fenced"))
            return NODE_SOME_CLOSED;
        if (!is_text(gate, "open"))
            e = NODE_SOME_OPENING;
    }
    return e;
}

/* ---- taking a report in ---- */

static void
set_text(char *to, size_t size, struct slice from, bool *changed)
{
    if (is_text(from, to))
        return;
    copy_text(to, size, from);
    *changed = true;
}

static void
take_record(struct fleet *f, struct fleet_node *n, const struct report *r)
{
    struct node_record *to = &n->record;
    bool addresses = false;
    set_text(to->rpc_address, sizeof to->rpc_address, r->rpc_address, &addresses);
    set_text(to->health_address, sizeof to->health_address, r->health_address, &addresses);
    if (addresses)
        f->map_changed = true;
    if (addresses || to->weight != r->weight || !uuid_equal(&to->incarnation, &r->incarnation))
        n->changed = true;
    to->weight = r->weight;
    to->incarnation = r->incarnation;
}

static struct fleet_partition *
add_partition(struct fleet *f, struct slice name, struct slice home)
{
    struct fleet_partition *p = &f->partitions[f->partition_count++];
    memset(p, 0, sizeof *p);
    copy_text(p->record.name, sizeof p->record.name, name);
    copy_text(p->record.home, sizeof p->record.home, home);
    p->changed = f->map_changed = true;
    return p;
}

/* What is said under an older epoch than one that was seen is history: nothing of it counts. */
static void
take_partition(struct fleet *f, const struct partition_report *r, struct slice node)
{
    struct fleet_partition *p = find_partition(f, r->name);
    if (!p)
        p = add_partition(f, r->name, node);
    struct partition_record *to = &p->record;
    bool mine = is_text(node, to->driver);
    if (r->epoch == 0 || r->epoch < to->epoch ||
        (r->epoch == to->epoch && !mine && to->driver[0] != '\0'))
        return;
    if (!mine) {
        copy_text(to->driver, sizeof to->driver, node);
        p->changed = f->map_changed = true;
    }
    if (r->epoch > to->epoch || r->timeline > to->timeline)
        p->changed = true;
    to->epoch = r->epoch;
    if (r->timeline > to->timeline || (r->timeline == to->timeline && r->lsn > to->lsn)) {
        to->timeline = r->timeline;
        to->lsn = r->lsn;
    }
    to->content_applied = r->content_applied;
}

static struct fleet_node *
add_node(struct fleet *f, struct slice name)
{
    struct fleet_node *n = &f->nodes[f->node_count++];
    memset(n, 0, sizeof *n);
    copy_text(n->record.name, sizeof n->record.name, name);
    n->state = NODE_SILENT;
    return n;
}

int
fleet_report(struct fleet *f, const struct report *report, usec_t now, char *why, size_t why_size)
{
    if (!values_valid(report)) {
        snprintf(why, why_size, "the report holds a name or a number out of bounds");
        return -EINVAL;
    }
    int err = judge_node(f, report, now, why, why_size);
    if (err == 0)
        err = judge_partitions(f, report, why, why_size);
    if (err < 0)
        return err;
    struct report kept;
    void *memory = report_keep(&kept, report);
    if (!memory) {
        snprintf(why, why_size, "the coordinator is out of memory");
        return -ENOMEM;
    }
    struct fleet_node *n = find_node(f, report->name);
    bool started = !n || !uuid_equal(&n->record.incarnation, &report->incarnation);
    if (!n) {
        n = add_node(f, report->name);
        n->changed = f->map_changed = true;
    }
    take_record(f, n, report);
    if (started)
        node_step(&n->state, NODE_STARTED);
    node_step(&n->state, event_of(report));
    free(n->report_memory);
    n->report = kept;
    n->report_memory = memory;
    n->reported_at = now;
    f->term_heard = MAX_OF(f->term_heard, report->term);
    for (uint32_t i = 0; i < report->partition_count; i++)
        take_partition(f, &report->partitions[i], report->name);
    return 0;
}

void
fleet_tick(struct fleet *f, usec_t now)
{
    for (unsigned i = 0; i < f->node_count; i++) {
        struct fleet_node *n = &f->nodes[i];
        if (n->state != NODE_SILENT && now - n->reported_at >= f->dead)
            node_step(&n->state, NODE_SILENT_TOO_LONG);
    }
    for (unsigned i = 0; i < f->partition_count; i++) {
        struct fleet_partition *p = &f->partitions[i];
        if (now - p->marked_at >= FLEET_MARK_EVERY &&
            (p->record.lsn != p->marked.lsn ||
             p->record.content_applied != p->marked.content_applied))
            p->changed = true;
    }
}

/* ---- what goes to the catalog and comes from it ---- */

bool
fleet_changes(struct fleet *f, struct fleet_changes *ret, usec_t now)
{
    ret->node_count = ret->partition_count = 0;
    for (unsigned i = 0; i < f->node_count; i++) {
        if (f->nodes[i].changed)
            ret->nodes[ret->node_count++] = f->nodes[i].record;
        f->nodes[i].changed = false;
    }
    for (unsigned i = 0; i < f->partition_count; i++) {
        struct fleet_partition *p = &f->partitions[i];
        if (!p->changed)
            continue;
        ret->partitions[ret->partition_count++] = p->marked = p->record;
        p->marked_at = now;
        p->changed = false;
    }
    ret->map_changed = f->map_changed;
    f->map_changed = false;
    return ret->map_changed || ret->node_count > 0 || ret->partition_count > 0;
}

void
fleet_changes_saved(struct fleet *f, const struct fleet_changes *c, uint64_t map_version)
{
    f->map_version = map_version;
    for (unsigned i = 0; i < c->partition_count; i++) {
        struct fleet_partition *p = find_partition(f, slice_of(c->partitions[i].name));
        assert(p);
        p->saved = true;
    }
}

void
fleet_changes_lost(struct fleet *f, const struct fleet_changes *c)
{
    f->map_changed = f->map_changed || c->map_changed;
    for (unsigned i = 0; i < c->node_count; i++)
        find_node(f, slice_of(c->nodes[i].name))->changed = true;
    for (unsigned i = 0; i < c->partition_count; i++)
        find_partition(f, slice_of(c->partitions[i].name))->changed = true;
}

void
fleet_ranges_saved(struct fleet *f, struct rangemap *map, uint64_t map_version)
{
    rangemap_done(&f->ranges);
    f->ranges = *map;
    *map = (struct rangemap){0};
    f->map_version = map_version;
}

static int
judge_image(struct fleet *f, const struct fleet_image *image)
{
    unsigned nodes = f->node_count, partitions = f->partition_count;
    for (unsigned i = 0; i < image->node_count; i++)
        nodes += !find_node(f, slice_of(image->nodes[i].name));
    for (unsigned i = 0; i < image->partition_count; i++)
        partitions += !find_partition(f, slice_of(image->partitions[i].name));
    if (nodes > NODES_MAX || partitions > PARTITIONS_MAX)
        return -E2BIG;
    uint32_t at;
    return rangemap_check(&image->ranges, image->partition_count, &at);
}

static void
restore_node(struct fleet *f, const struct node_record *record, usec_t now)
{
    if (find_node(f, slice_of(record->name)))
        return;
    struct fleet_node *n = add_node(f, slice_of(record->name));
    n->record = *record;
    n->reported_at = now;
    n->report = (struct report){.incarnation = record->incarnation,
                                .name = slice_of(n->record.name),
                                .rpc_address = slice_of(n->record.rpc_address),
                                .health_address = slice_of(n->record.health_address),
                                .weight = record->weight};
}

static void
restore_partition(struct fleet *f, const struct partition_record *record, usec_t now)
{
    struct fleet_partition *p = find_partition(f, slice_of(record->name));
    if (!p) {
        p = add_partition(f, slice_of(record->name), slice_of(record->home));
        p->record = p->marked = *record;
        p->marked_at = now;
        p->changed = false;
    } else {
        memcpy(p->record.home, record->home, sizeof record->home);
        if (record->epoch > p->record.epoch)
            p->record = *record;
        else
            p->changed = true;
    }
    p->saved = true;
}

int
fleet_restore(struct fleet *f, const struct fleet_image *image, usec_t now)
{
    int err = judge_image(f, image);
    if (err < 0)
        return err;
    struct rangemap ranges;
    err = rangemap_copy(&ranges, &image->ranges);
    if (err < 0)
        return err;
    bool fresh = f->node_count == 0 && f->partition_count == 0;
    for (unsigned i = 0; i < f->node_count; i++)
        f->nodes[i].changed = true;
    for (unsigned i = 0; i < f->partition_count; i++) {
        f->partitions[i].saved = false;
        f->partitions[i].changed = true;
    }
    for (unsigned i = 0; i < image->node_count; i++)
        restore_node(f, &image->nodes[i], now);
    for (unsigned i = 0; i < image->partition_count; i++)
        restore_partition(f, &image->partitions[i], now);
    for (uint32_t i = 0; i < ranges.count; i++) {
        const char *name = image->partitions[ranges.ranges[i].partition].name;
        struct fleet_partition *p = find_partition(f, slice_of(name));
        ranges.ranges[i].partition = (uint16_t) (p - f->partitions);
    }
    fleet_ranges_saved(f, &ranges, image->map_version);
    /* After a loss nobody knows which of the changes arrived: a new version makes all ask again. */
    f->map_changed = !fresh;
    return 0;
}

/* ---- questions ---- */

static const struct fleet_node *
living_driver(const struct fleet *f, const struct fleet_partition *p)
{
    const struct fleet_node *n = fleet_find_node(f, p->record.driver);
    return n && n->state != NODE_SILENT && n->state != NODE_STOPPING ? n : NULL;
}

bool
fleet_partition_open(const struct fleet *f, unsigned index)
{
    const struct fleet_partition *p = &f->partitions[index];
    const struct fleet_node *n = living_driver(f, p);
    for (uint32_t i = 0; n && i < n->report.partition_count; i++) {
        const struct partition_report *r = &n->report.partitions[i];
        if (is_text(r->name, p->record.name))
            return r->epoch == p->record.epoch && is_text(r->gate, "open");
    }
    return false;
}

void
fleet_place_view(const struct fleet *f, struct place_partition ret[static PARTITIONS_MAX])
{
    for (unsigned i = 0; i < f->partition_count; i++) {
        const struct fleet_node *n = living_driver(f, &f->partitions[i]);
        ret[i] =
            (struct place_partition){.open = f->partitions[i].saved && fleet_partition_open(f, i),
                                     .weight = n ? n->record.weight : 0,
                                     .devices = rangemap_devices(&f->ranges, (uint16_t) i)};
    }
}

unsigned
fleet_content_missing(const struct fleet *f, uint64_t version,
                      struct slice ret[static PARTITIONS_MAX])
{
    unsigned count = 0;
    for (unsigned i = 0; i < f->partition_count; i++) {
        if (f->partitions[i].record.content_applied < version)
            ret[count++] = slice_of(f->partitions[i].record.name);
    }
    return count;
}
