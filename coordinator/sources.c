/* The catalog's content in memory, and what orders and time may do to it. */
#include "coordinator/sources.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/sources_inner.h"

struct source_row {
    enum source_state from;
    enum source_state ordered; /* what is ordered is where it goes */
    const char *event, *why;
};

static const struct source_row source_table[] = {
    {SOURCE_DRAFT, SOURCE_DRAFT, "schedule", "it starts by itself at that time"},
    {SOURCE_DRAFT, SOURCE_ACTIVE, "start", "the audience is frozen, sending begins"},
    {SOURCE_ACTIVE, SOURCE_PAUSED, "pause", "nothing more is claimed, everything is kept"},
    {SOURCE_PAUSED, SOURCE_PAUSED, "pause", "until another time"},
    {SOURCE_PAUSED, SOURCE_ACTIVE, "resume", "goes on where it stood, also when its time is up"},
    {SOURCE_DRAFT, SOURCE_CANCELLED, "cancel", "was never started and never will be"},
    {SOURCE_ACTIVE, SOURCE_CANCELLED, "cancel", "waiting rows end as cancelled"},
    {SOURCE_PAUSED, SOURCE_CANCELLED, "cancel", "waiting rows end as cancelled"},
};

const char *
source_state_name(enum source_state s)
{
    static const char *const names[] = {[SOURCE_ACTIVE] = "active",
                                        [SOURCE_PAUSED] = "paused",
                                        [SOURCE_CANCELLED] = "cancelled",
                                        [SOURCE_DRAFT] = "draft"};
    return names[s];
}

bool
source_transition(unsigned index, struct transition *ret)
{
    if (index >= ARRAY_SIZE(source_table))
        return false;
    const struct source_row *r = &source_table[index];
    *ret = (struct transition){source_state_name(r->from), r->event, source_state_name(r->ordered),
                               r->why};
    return true;
}

static bool
may_go(enum source_state from, enum source_state to)
{
    for (size_t i = 0; i < ARRAY_SIZE(source_table); i++) {
        if (source_table[i].from == from && source_table[i].ordered == to)
            return true;
    }
    return false;
}

/* ---- items ---- */

void
sources_item_free(struct sources_item *item)
{
    if (item)
        free((char *) item->row.json.data);
    free(item);
}

struct sources_item *
sources_item_new(struct slice name, const struct content_row *row)
{
    assert(name.bytes <= CONTENT_NAME_MAX);
    struct sources_item *item = calloc(1, sizeof *item);
    char *json = malloc(row->json.bytes + 1);
    if (!item || !json) {
        free(item);
        free(json);
        return NULL;
    }
    memcpy(item->name, name.data, name.bytes);
    memcpy(json, row->json.data, row->json.bytes);
    json[row->json.bytes] = '\0';
    size_t because = MIN_OF(row->because.bytes, LABEL_BYTES_MAX);
    if (because > 0)
        memcpy(item->because, row->because.data, because);
    item->row = *row;
    item->row.json.data = json;
    item->row.because = (struct slice){item->because, because};
    return item;
}

static void
forget_all(struct sources *s)
{
    for (uint32_t i = 0; i < s->count; i++)
        sources_item_free(s->items[i]);
    s->count = 0;
    s->last_id = 0;
    s->bytes = 0;
    s->version = 0;
}

struct sources *
sources_new(void)
{
    return calloc(1, sizeof(struct sources));
}

struct sources *
sources_free(struct sources *s)
{
    if (!s)
        return NULL;
    forget_all(s);
    free(s->items);
    free(s);
    return NULL;
}

int
sources_reserve(struct sources *s, uint32_t more)
{
    if (s->count + more > CONTENT_STORED_MAX)
        return -E2BIG;
    if (s->count + more <= s->room)
        return 0;
    uint32_t room = (s->count + more) * 2;
    struct sources_item **items = realloc(s->items, room * sizeof *items);
    if (!items)
        return -ENOMEM;
    s->items = items;
    s->room = room;
    return 0;
}

static void
append(struct sources *s, struct sources_item *item)
{
    assert(s->count < s->room);
    assert(s->count == 0 || s->items[s->count - 1]->row.version < item->row.version);
    s->items[s->count++] = item;
    s->bytes += item->row.json.bytes;
    s->last_id = MAX_OF(s->last_id, item->row.id);
}

static bool
is_item(const struct sources_item *item, enum content_kind kind, const char *name)
{
    return item->row.kind == kind && strcmp(item->name, name) == 0;
}

const struct sources_item *
sources_find(const struct sources *s, enum content_kind kind, const char *name)
{
    for (uint32_t i = 0; i < s->count; i++) {
        if (is_item(s->items[i], kind, name))
            return s->items[i];
    }
    return NULL;
}

static void
remove_item(struct sources *s, enum content_kind kind, const char *name)
{
    for (uint32_t i = 0; i < s->count; i++) {
        if (!is_item(s->items[i], kind, name))
            continue;
        s->bytes -= s->items[i]->row.json.bytes;
        sources_item_free(s->items[i]);
        memmove(&s->items[i], &s->items[i + 1], (s->count - i - 1) * sizeof s->items[0]);
        s->count--;
        return;
    }
}

static bool
record_valid(const struct sources_record *r, uint64_t before, uint64_t version)
{
    return r->name.bytes > 0 && r->name.bytes <= CONTENT_NAME_MAX &&
           r->row.json.bytes <= CONTENT_ITEM_BYTES_MAX && r->row.version > before &&
           r->row.version <= version && r->row.state <= SOURCE_DRAFT &&
           r->row.kind >= CONTENT_TEMPLATE && r->row.kind <= CONTENT_CLUSTER;
}

int
sources_restore(struct sources *s, uint64_t version, const struct sources_record *rows,
                uint32_t count)
{
    forget_all(s);
    int err = sources_reserve(s, count);
    if (err < 0)
        return err;
    uint64_t before = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (!record_valid(&rows[i], before, version))
            return -EINVAL;
        struct sources_item *item = sources_item_new(rows[i].name, &rows[i].row);
        if (!item)
            return -ENOMEM;
        append(s, item);
        before = rows[i].row.version;
    }
    s->version = version;
    return 0;
}

/* ---- judging SOURCE ---- */

static enum message_status
refuse_order(const struct sources_item *stored, uint8_t state, char *why, size_t why_size)
{
    const char *kind = content_kind_name((enum content_kind) stored->row.kind);
    if (stored->row.state == SOURCE_CANCELLED)
        snprintf(why, why_size, "%s \"%s\" is cancelled, which is for ever", kind, stored->name);
    else if (stored->row.state == SOURCE_DRAFT)
        snprintf(why, why_size, "%s \"%s\" was not started yet: there is nothing to pause", kind,
                 stored->name);
    else
        snprintf(why, why_size, "%s \"%s\" is %s and cannot become %s", kind, stored->name,
                 source_state_name((enum source_state) stored->row.state),
                 state <= SOURCE_DRAFT ? source_state_name((enum source_state) state) : "that");
    return STATUS_REFUSED;
}

/* The row as it is to be: its version, its state and what goes with it. -ENOMEM. */
static int
change_state(struct sources *s, const struct sources_item *stored, const struct content_row *row,
             struct sources_change *ret)
{
    struct content_row fresh = *row;
    struct sources_change change = {.old_version = s->version, .version = s->version + 1};
    fresh.version = change.version;
    change.items[0] = sources_item_new((struct slice){stored->name, strlen(stored->name)}, &fresh);
    if (!change.items[0])
        return -ENOMEM;
    change.count = change.changed = 1;
    *ret = change;
    return 0;
}

/* The whole cluster stands in the catalog from its first order on. */
#define CLUSTER_JSON "{\"kind\":\"cluster\",\"name\":\"" CONTENT_CLUSTER_NAME "\"}"
static const struct sources_item cluster_before = {.name = CONTENT_CLUSTER_NAME,
                                                   .row = {.kind = CONTENT_CLUSTER,
                                                           .id = CONTENT_CLUSTER_ID,
                                                           .state = SOURCE_ACTIVE,
                                                           .revision = 1,
                                                           .json = {CLUSTER_JSON,
                                                                    sizeof CLUSTER_JSON - 1}}};

static const struct sources_item *
find_ordered(const struct sources *s, const struct source_order *order, char *why, size_t why_size)
{
    enum content_kind kind = order->kind ? (enum content_kind) order->kind : CONTENT_CAMPAIGN;
    char name[CONTENT_NAME_MAX + 1] = "";
    if (kind == CONTENT_CLUSTER)
        memcpy(name, CONTENT_CLUSTER_NAME, sizeof CONTENT_CLUSTER_NAME);
    else if (order->name.bytes <= CONTENT_NAME_MAX && order->name.bytes > 0)
        memcpy(name, order->name.data, order->name.bytes);
    const struct sources_item *stored =
        kind == CONTENT_TEMPLATE ? NULL : sources_find(s, kind, name);
    if (!stored && kind == CONTENT_CLUSTER)
        stored = &cluster_before;
    if (!stored)
        snprintf(why, why_size, "there is no %s \"%s\"", content_kind_name(kind), name);
    return stored;
}

/* The row after the order; a start in the future leaves it a draft that is scheduled. */
static struct content_row
ordered_row(const struct sources_item *stored, const struct source_order *order, int64_t now)
{
    struct content_row row = stored->row;
    bool later =
        order->state == SOURCE_ACTIVE && row.state == SOURCE_DRAFT && order->start_at > now;
    row.state = later ? SOURCE_DRAFT : order->state;
    row.start_at = later ? order->start_at : 0;
    row.until = order->state == SOURCE_PAUSED ? order->until : 0;
    row.because = order->because;
    return row;
}

/* What no state allows: times that say nothing. NULL: they are fine. */
static const char *
times_wrong(const struct sources_item *stored, const struct source_order *order, int64_t now)
{
    if (order->state == SOURCE_PAUSED && order->until != 0 && order->until <= now)
        return "the pause would be over before it begins";
    if (order->state == SOURCE_ACTIVE && order->start_at > now &&
        (stored->row.state == SOURCE_ACTIVE || stored->row.state == SOURCE_PAUSED))
        return "it was started already: only a first start can wait for its time";
    return NULL;
}

enum message_status
sources_judge_order(struct sources *s, const struct source_order *order, int64_t now,
                    struct sources_change *ret, char *why, size_t why_size)
{
    const struct sources_item *stored = find_ordered(s, order, why, why_size);
    if (!stored)
        return STATUS_REFUSED;
    const char *wrong = times_wrong(stored, order, now);
    if (wrong) {
        snprintf(why, why_size, "%s \"%s\": %s",
                 content_kind_name((enum content_kind) stored->row.kind), stored->name, wrong);
        return STATUS_REFUSED;
    }
    const struct content_row row = ordered_row(stored, order, now);
    if (row.state == stored->row.state && row.until == stored->row.until &&
        row.start_at == stored->row.start_at) {
        *ret = (struct sources_change){.old_version = s->version,
                                       .version = stored->row.version,
                                       .unchanged = 1};
        return STATUS_OK;
    }
    if (!may_go((enum source_state) stored->row.state, (enum source_state) row.state) ||
        (row.kind == CONTENT_CLUSTER && row.state == SOURCE_CANCELLED))
        return refuse_order(stored, order->state, why, why_size);
    int err = stored == &cluster_before ? sources_reserve(s, 1) : 0;
    if (err == 0)
        err = change_state(s, stored, &row, ret);
    if (err == 0)
        return STATUS_OK;
    snprintf(why, why_size,
             err == -E2BIG ? "the catalog is full" : "the coordinator is out of memory");
    return STATUS_FAILED;
}

bool
sources_judge_due(struct sources *s, int64_t now, struct sources_change *ret)
{
    static const char because[] = "its time came";
    for (uint32_t i = 0; i < s->count; i++) {
        struct content_row row = s->items[i]->row;
        bool starts = row.state == SOURCE_DRAFT && row.start_at != 0 && row.start_at <= now;
        bool ends = row.state == SOURCE_PAUSED && row.until != 0 && row.until <= now;
        if (!starts && !ends)
            continue;
        row.state = SOURCE_ACTIVE;
        row.start_at = row.until = 0;
        row.because = (struct slice){because, sizeof because - 1};
        return change_state(s, s->items[i], &row, ret) == 0;
    }
    return false;
}

/* ---- after the commit ---- */

void
sources_commit(struct sources *s, struct sources_change *change, const int64_t *started_at)
{
    for (uint32_t i = 0; i < change->count; i++) {
        struct sources_item *item = TAKE_PTR(change->items[i]);
        item->row.started_at = started_at[i];
        remove_item(s, (enum content_kind) item->row.kind, item->name);
        append(s, item);
    }
    if (change->count > 0)
        s->version = change->version;
    change->count = 0;
}

void
sources_change_done(struct sources_change *change)
{
    for (uint32_t i = 0; i < change->count; i++)
        sources_item_free(change->items[i]);
    change->count = 0;
}

uint32_t
sources_page(const struct sources *s, uint64_t after, uint32_t max, size_t bytes_max,
             struct content_row *ret, bool *ret_more)
{
    uint32_t at = 0, count = 0;
    size_t bytes = 0;
    while (at < s->count && s->items[at]->row.version <= after)
        at++;
    while (at < s->count && count < max) {
        bytes += s->items[at]->row.json.bytes;
        if (count > 0 && bytes > bytes_max)
            break;
        ret[count++] = s->items[at++]->row;
    }
    *ret_more = at < s->count;
    return count;
}
