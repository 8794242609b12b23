/* The catalog's content in memory, and the judgement on every change of it. */
#include "coordinator/sources.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

struct source_row {
    enum source_state from;
    enum source_state ordered; /* what is ordered is where it goes */
    const char *event, *why;
};

static const struct source_row source_table[] = {
    {SOURCE_DRAFT, SOURCE_ACTIVE, "start", "the audience is frozen, sending begins"},
    {SOURCE_ACTIVE, SOURCE_PAUSED, "pause", "nothing more is claimed, everything is kept"},
    {SOURCE_PAUSED, SOURCE_ACTIVE, "resume", "goes on where it stood"},
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

static void
item_free(struct sources_item *item)
{
    if (item)
        free((char *) item->row.json.data);
    free(item);
}

static struct sources_item *
item_new(struct slice name, const struct content_row *row)
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
    item->row = *row;
    item->row.json.data = json;
    return item;
}

static void
forget_all(struct sources *s)
{
    for (uint32_t i = 0; i < s->count; i++)
        item_free(s->items[i]);
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

static int
reserve(struct sources *s, uint32_t more)
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
        item_free(s->items[i]);
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
           (r->row.kind == CONTENT_TEMPLATE || r->row.kind == CONTENT_CAMPAIGN);
}

int
sources_restore(struct sources *s, uint64_t version, const struct sources_record *rows,
                uint32_t count)
{
    forget_all(s);
    int err = reserve(s, count);
    if (err < 0)
        return err;
    uint64_t before = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (!record_valid(&rows[i], before, version))
            return -EINVAL;
        struct sources_item *item = item_new(rows[i].name, &rows[i].row);
        if (!item)
            return -ENOMEM;
        append(s, item);
        before = rows[i].row.version;
    }
    s->version = version;
    return 0;
}

/* ---- judging APPLY ---- */

struct judge {
    struct sources *s;
    struct sources_change *change;
    struct content_item *items; /* as read, item_count of them */
    uint32_t item_count;
    int32_t next_id;
    size_t bytes;
    char *why;
    size_t why_size;
};

static _printf_(3, 4) enum message_status
    say(struct judge *j, enum message_status status, const char *text, ...)
{
    va_list args;
    va_start(args, text);
    vsnprintf(j->why, j->why_size, text, args);
    va_end(args);
    return status;
}

static const char *
kind_name(enum content_kind kind)
{
    return kind == CONTENT_TEMPLATE ? "template" : "campaign";
}

static bool
asked(const struct judge *j, enum content_kind kind, const char *name, uint32_t before)
{
    for (uint32_t i = 0; i < before; i++) {
        if (j->items[i].kind == kind && strcmp(content_item_name(&j->items[i]), name) == 0)
            return true;
    }
    return false;
}

static bool
same_audience(const struct content_audience *a, const struct content_audience *b)
{
    if (a->range_count != b->range_count || a->where_count != b->where_count)
        return false;
    for (unsigned i = 0; i < a->range_count; i++) {
        if (a->ranges[i].first != b->ranges[i].first || a->ranges[i].last != b->ranges[i].last)
            return false;
    }
    for (unsigned i = 0; i < a->where_count; i++) {
        if (strcmp(a->where[i].column, b->where[i].column) != 0 ||
            strcmp(a->where[i].value, b->where[i].value) != 0)
            return false;
    }
    return true;
}

/* Who was asked and with what is settled when a campaign starts; when it ends may still change. */
static enum message_status
judge_started(struct judge *j, const struct sources_item *stored, const struct content_campaign *c)
{
    if (stored->row.state == SOURCE_DRAFT)
        return STATUS_OK;
    struct content_item old;
    char why[REASON_BYTES_MAX];
    if (content_item_read(&old, stored->row.json, why, sizeof why) < 0)
        return say(j, STATUS_FAILED, "campaign \"%s\" in the catalog does not read: %s",
                   stored->name, why);
    const char *changed = NULL;
    if (strcmp(old.campaign.template_name, c->template_name) != 0)
        changed = "template";
    else if (!same_audience(&old.campaign.audience, &c->audience))
        changed = "audience";
    content_item_free(&old);
    if (changed)
        return say(j, STATUS_REFUSED, "campaign \"%s\" is %s: its %s cannot be changed any more",
                   c->name, source_state_name((enum source_state) stored->row.state), changed);
    return STATUS_OK;
}

static enum message_status
judge_campaign(struct judge *j, const struct sources_item *stored, const struct content_campaign *c)
{
    if (c->at_least_once)
        return say(j, STATUS_REFUSED,
                   "campaign \"%s\": reliability = \"at_least_once\" is not available in this "
                   "version: a send in doubt is shown, never repeated",
                   c->name);
    if (!sources_find(j->s, CONTENT_TEMPLATE, c->template_name) &&
        !asked(j, CONTENT_TEMPLATE, c->template_name, j->item_count))
        return say(j, STATUS_REFUSED, "campaign \"%s\" names template \"%s\", which does not exist",
                   c->name, c->template_name);
    return stored ? judge_started(j, stored, c) : STATUS_OK;
}

static enum message_status
add_item(struct judge *j, const struct content_item *item, const struct sources_item *stored,
         struct slice json)
{
    bool campaign = item->kind == CONTENT_CAMPAIGN;
    const char *name = content_item_name(item);
    struct content_row row = {.version = j->change->old_version + j->change->count + 1,
                              .kind = (uint8_t) item->kind,
                              .state = campaign ? SOURCE_DRAFT : SOURCE_ACTIVE,
                              .json = json};
    if (stored) {
        row.id = stored->row.id;
        row.state = stored->row.state;
        row.started_at = stored->row.started_at;
    } else if (campaign) {
        row.id = j->next_id++;
    }
    struct sources_item *fresh = item_new((struct slice){name, strlen(name)}, &row);
    if (!fresh)
        return say(j, STATUS_FAILED, "the coordinator is out of memory");
    j->change->items[j->change->count++] = fresh;
    j->change->version = row.version;
    *(stored ? &j->change->changed : &j->change->created) += 1;
    j->bytes += json.bytes - (stored ? stored->row.json.bytes : 0);
    if (j->bytes > CONTENT_STORED_BYTES_MAX || row.id > INT32_MAX)
        return say(j, STATUS_REFUSED, "the catalog is full: it keeps %u MiB of content",
                   CONTENT_STORED_BYTES_MAX >> 20);
    return STATUS_OK;
}

static enum message_status
judge_item(struct judge *j, uint32_t index)
{
    const struct content_item *item = &j->items[index];
    const char *name = content_item_name(item);
    if (asked(j, item->kind, name, index))
        return say(j, STATUS_BAD, "%s \"%s\" is in the request twice", kind_name(item->kind), name);
    const struct sources_item *stored = sources_find(j->s, item->kind, name);
    if (item->kind == CONTENT_CAMPAIGN) {
        enum message_status status = judge_campaign(j, stored, &item->campaign);
        if (status != STATUS_OK)
            return status;
    }
    char *text = content_item_write(item);
    if (!text)
        return say(j, STATUS_FAILED, "the coordinator is out of memory");
    struct slice json = {text, strlen(text)};
    enum message_status status = STATUS_OK;
    if (stored && stored->row.json.bytes == json.bytes &&
        memcmp(stored->row.json.data, text, json.bytes) == 0)
        j->change->unchanged++;
    else
        status = add_item(j, item, stored, json);
    free(text);
    return status;
}

static enum message_status
read_items(struct judge *j, const struct apply *apply)
{
    for (; j->item_count < apply->item_count; j->item_count++) {
        char why[REASON_BYTES_MAX];
        int err = content_item_read(&j->items[j->item_count], apply->items[j->item_count], why,
                                    sizeof why);
        if (err == -ENOMEM)
            return say(j, STATUS_FAILED, "the coordinator is out of memory");
        if (err < 0)
            return say(j, STATUS_BAD, "item %u: %s", j->item_count + 1, why);
    }
    return STATUS_OK;
}

static enum message_status
judge_all(struct judge *j, const struct apply *apply)
{
    enum message_status status = read_items(j, apply);
    for (uint32_t i = 0; i < j->item_count && status == STATUS_OK; i++)
        status = judge_item(j, i);
    if (status != STATUS_OK)
        return status;
    int err = reserve(j->s, j->change->created);
    if (err == -E2BIG)
        return say(j, STATUS_REFUSED, "the catalog is full: it keeps %u items", CONTENT_STORED_MAX);
    return err < 0 ? say(j, STATUS_FAILED, "the coordinator is out of memory") : STATUS_OK;
}

enum message_status
sources_judge_apply(struct sources *s, const struct apply *apply, struct sources_change *ret,
                    char *why, size_t why_size)
{
    if (apply->item_count > CONTENT_ITEMS_MAX) {
        snprintf(why, why_size, "more than %u items in one request", CONTENT_ITEMS_MAX);
        return STATUS_BAD;
    }
    struct sources_change change = {.old_version = s->version, .version = s->version};
    struct judge j = {.s = s,
                      .change = &change,
                      .items = calloc(apply->item_count + 1, sizeof *j.items),
                      .next_id = s->last_id + 1,
                      .bytes = s->bytes,
                      .why = why,
                      .why_size = why_size};
    if (!j.items)
        return say(&j, STATUS_FAILED, "the coordinator is out of memory");
    enum message_status status = judge_all(&j, apply);
    for (uint32_t i = 0; i < j.item_count; i++)
        content_item_free(&j.items[i]);
    free(j.items);
    if (status == STATUS_OK)
        *ret = change;
    else
        sources_change_done(&change);
    return status;
}

/* ---- judging SOURCE ---- */

static enum message_status
refuse_order(const struct sources_item *stored, uint8_t state, char *why, size_t why_size)
{
    if (stored->row.state == SOURCE_CANCELLED)
        snprintf(why, why_size, "campaign \"%s\" is cancelled, which is for ever", stored->name);
    else if (stored->row.state == SOURCE_DRAFT)
        snprintf(why, why_size, "campaign \"%s\" was not started yet: there is nothing to pause",
                 stored->name);
    else
        snprintf(why, why_size, "campaign \"%s\" is %s and cannot become %s", stored->name,
                 source_state_name((enum source_state) stored->row.state),
                 state <= SOURCE_DRAFT ? source_state_name((enum source_state) state) : "that");
    return STATUS_REFUSED;
}

enum message_status
sources_judge_order(struct sources *s, const struct source_order *order, struct sources_change *ret,
                    char *why, size_t why_size)
{
    char name[CONTENT_NAME_MAX + 1] = "";
    if (order->name.bytes <= CONTENT_NAME_MAX && order->name.bytes > 0)
        memcpy(name, order->name.data, order->name.bytes);
    const struct sources_item *stored = sources_find(s, CONTENT_CAMPAIGN, name);
    if (!stored) {
        snprintf(why, why_size, "there is no campaign \"%s\"", name);
        return STATUS_REFUSED;
    }
    struct sources_change change = {.old_version = s->version, .version = stored->row.version};
    if (stored->row.state == order->state) {
        change.unchanged = 1;
        *ret = change;
        return STATUS_OK;
    }
    if (!may_go((enum source_state) stored->row.state, (enum source_state) order->state))
        return refuse_order(stored, order->state, why, why_size);
    struct content_row row = stored->row;
    row.version = change.version = s->version + 1;
    row.state = order->state;
    change.items[0] = item_new((struct slice){stored->name, strlen(stored->name)}, &row);
    if (!change.items[0]) {
        snprintf(why, why_size, "the coordinator is out of memory");
        return STATUS_FAILED;
    }
    change.count = change.changed = 1;
    *ret = change;
    return STATUS_OK;
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
        item_free(change->items[i]);
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
