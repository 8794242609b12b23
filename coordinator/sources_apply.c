/* What APPLY makes of the content that is there: one judgement over stored and new items. */
#include "coordinator/sources.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/sources_inner.h"

/* One item of the request. What is the same as the stored one was judged when that came. */
struct asked {
    struct content_item item;
    char *json;
    const struct sources_item *stored; /* NULL: it is new */
    bool same;
};

struct judge {
    struct sources *s;
    struct sources_change *change;
    struct asked *asked; /* as read, count of them */
    uint32_t count;
    enum apply_mode mode;
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

static enum message_status
say_no_memory(struct judge *j)
{
    return say(j, STATUS_FAILED, "the coordinator is out of memory");
}

static const struct asked *
find_asked(const struct judge *j, enum content_kind kind, const char *name)
{
    for (uint32_t i = 0; i < j->count; i++) {
        if (j->asked[i].item.kind == kind &&
            strcmp(content_item_name(&j->asked[i].item), name) == 0)
            return &j->asked[i];
    }
    return NULL;
}

static bool
exists(const struct judge *j, enum content_kind kind, const char *name)
{
    return sources_find(j->s, kind, name) || find_asked(j, kind, name);
}

static const char *
state_of(const struct asked *a)
{
    return source_state_name((enum source_state) a->stored->row.state);
}

static bool
is_cancelled(const struct asked *a)
{
    return a->stored && a->stored->row.state == SOURCE_CANCELLED;
}

/* The catalog's item as content; the caller frees it. */
static enum message_status
read_stored(struct judge *j, const struct sources_item *stored, struct content_item *ret)
{
    char why[REASON_BYTES_MAX];
    int err = content_item_read(ret, stored->row.json, why, sizeof why);
    if (err == -ENOMEM)
        return say_no_memory(j);
    if (err < 0)
        return say(j, STATUS_FAILED, "%s \"%s\" in the catalog does not read: %s",
                   content_kind_name((enum content_kind) stored->row.kind), stored->name, why);
    return STATUS_OK;
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

/* ---- campaigns ---- */

/* Who was asked and with what is settled when a campaign starts; when it ends may still change. */
static enum message_status
judge_started(struct judge *j, const struct asked *a)
{
    const struct content_campaign *c = &a->item.campaign;
    if (!a->stored || a->stored->row.state == SOURCE_DRAFT)
        return STATUS_OK;
    struct content_item old;
    enum message_status status = read_stored(j, a->stored, &old);
    if (status != STATUS_OK)
        return status;
    const char *changed = NULL;
    if (strcmp(old.campaign.template_name, c->template_name) != 0)
        changed = "template";
    else if (!same_audience(&old.campaign.audience, &c->audience))
        changed = "audience";
    content_item_free(&old);
    if (changed)
        return say(j, STATUS_REFUSED, "campaign \"%s\" is %s: its %s cannot be changed any more",
                   c->name, state_of(a), changed);
    return STATUS_OK;
}

static enum message_status
judge_campaign(struct judge *j, const struct asked *a)
{
    const struct content_campaign *c = &a->item.campaign;
    if (c->at_least_once)
        return say(j, STATUS_REFUSED,
                   "campaign \"%s\": reliability = \"at_least_once\" is not available in this "
                   "version: a send in doubt is shown, never repeated",
                   c->name);
    if (!exists(j, CONTENT_TEMPLATE, c->template_name))
        return say(j, STATUS_REFUSED, "campaign \"%s\" names template \"%s\", which does not exist",
                   c->name, c->template_name);
    return judge_started(j, a);
}

/* ---- sequences: each by itself ---- */

/* How a started sequence may change: what decides who is in it is settled. */
static enum message_status
judge_edit(struct judge *j, const struct asked *a)
{
    const struct content_sequence *s = &a->item.sequence;
    struct content_item old;
    if (!a->stored || a->stored->row.state == SOURCE_DRAFT)
        return STATUS_OK;
    if (is_cancelled(a))
        return say(j, STATUS_REFUSED, "sequence \"%s\" is cancelled, which is for ever", s->name);
    enum message_status status = read_stored(j, a->stored, &old);
    if (status != STATUS_OK)
        return status;
    const char *changed = NULL;
    if (strcmp(old.sequence.trigger, s->trigger) != 0)
        changed = "trigger";
    else if (!same_audience(&old.sequence.audience, &s->audience))
        changed = "audience";
    content_item_free(&old);
    if (changed)
        return say(j, STATUS_REFUSED, "sequence \"%s\" is %s: its %s cannot be changed any more",
                   s->name, state_of(a), changed);
    if (j->mode == APPLY_UNSAID)
        return say(j, STATUS_REFUSED, "sequence \"%s\" is %s: say --for new or --for all", s->name,
                   state_of(a));
    if (a->stored->row.revision >= INT16_MAX)
        return say(j, STATUS_REFUSED, "sequence \"%s\" was edited too often: make a new one",
                   s->name);
    return STATUS_OK;
}

static enum message_status
judge_sequence(struct judge *j, const struct asked *a)
{
    const struct content_sequence *s = &a->item.sequence;
    for (unsigned i = 0; i < s->step_count; i++) {
        const struct content_step *step = &s->steps[i];
        if (!step->text && !exists(j, CONTENT_TEMPLATE, step->template_name))
            return say(j, STATUS_REFUSED,
                       "sequence \"%s\": step %d names template \"%s\", which does not exist",
                       s->name, step->step, step->template_name);
    }
    return judge_edit(j, a);
}

/* ---- sequences: all together ---- */

/* All sequences as they will be: those of the request, and the stored ones that it does not name.
 */
struct chain {
    char name[CONTENT_NAME_MAX + 1], next[CONTENT_NAME_MAX + 1], trigger[CONTENT_TRIGGER_MAX + 1];
    bool cancelled;
};
struct chains {
    struct chain *chains;
    uint32_t count;
};

static void
add_chain(struct chains *c, const struct content_sequence *s, bool cancelled)
{
    struct chain *to = &c->chains[c->count++];
    memcpy(to->name, s->name, sizeof to->name);
    memcpy(to->next, s->next_sequence, sizeof to->next);
    memcpy(to->trigger, s->trigger, sizeof to->trigger);
    to->cancelled = cancelled;
}

static enum message_status
add_stored_chain(struct judge *j, struct chains *c, const struct sources_item *stored)
{
    struct content_item item;
    if (stored->row.kind != CONTENT_SEQUENCE || find_asked(j, CONTENT_SEQUENCE, stored->name))
        return STATUS_OK;
    enum message_status status = read_stored(j, stored, &item);
    if (status != STATUS_OK)
        return status;
    add_chain(c, &item.sequence, stored->row.state == SOURCE_CANCELLED);
    content_item_free(&item);
    return STATUS_OK;
}

static const struct chain *
find_chain(const struct chains *c, const char *name)
{
    for (uint32_t i = 0; i < c->count; i++)
        if (strcmp(c->chains[i].name, name) == 0)
            return &c->chains[i];
    return NULL;
}

static const char *
next_chain(void *arg, const char *name)
{
    const struct chain *c = find_chain(arg, name);
    return c ? c->next : NULL;
}

static enum message_status
judge_next(struct judge *j, struct chains *c, const struct content_sequence *s)
{
    char path[REASON_BYTES_MAX];
    const struct chain *next = find_chain(c, s->next_sequence);
    if (!next)
        return say(j, STATUS_REFUSED,
                   "sequence \"%s\" names next_sequence \"%s\", which does not exist", s->name,
                   s->next_sequence);
    if (next->cancelled)
        return say(j, STATUS_REFUSED,
                   "sequence \"%s\" names next_sequence \"%s\", which is cancelled", s->name,
                   s->next_sequence);
    if (content_has_cycle(s->name, next_chain, c, path, sizeof path))
        return say(j, STATUS_REFUSED, "sequence \"%s\" goes in a circle: %s", s->name, path);
    return STATUS_OK;
}

/* A trigger enrols in one sequence; who is cancelled enrols nobody. */
static enum message_status
judge_trigger(struct judge *j, const struct chains *c, const struct content_sequence *s)
{
    for (uint32_t i = 0; i < c->count; i++) {
        const struct chain *other = &c->chains[i];
        if (!other->cancelled && strcmp(other->trigger, s->trigger) == 0 &&
            strcmp(other->name, s->name) != 0)
            return say(j, STATUS_REFUSED,
                       "sequence \"%s\": trigger \"%s\" is that of sequence \"%s\"", s->name,
                       s->trigger, other->name);
    }
    return STATUS_OK;
}

static enum message_status
judge_chain(struct judge *j, struct chains *c, const struct asked *a)
{
    const struct content_sequence *s = &a->item.sequence;
    enum message_status status = STATUS_OK;
    if (a->item.kind != CONTENT_SEQUENCE || a->same || is_cancelled(a))
        return STATUS_OK;
    if (*s->next_sequence)
        status = judge_next(j, c, s);
    if (status == STATUS_OK && *s->trigger)
        status = judge_trigger(j, c, s);
    return status;
}

static enum message_status
judge_chains(struct judge *j)
{
    struct chains c = {.chains = calloc(j->s->count + j->count + 1, sizeof *c.chains)};
    enum message_status status = STATUS_OK;
    if (!c.chains)
        return say_no_memory(j);
    for (uint32_t i = 0; i < j->count; i++)
        if (j->asked[i].item.kind == CONTENT_SEQUENCE)
            add_chain(&c, &j->asked[i].item.sequence, is_cancelled(&j->asked[i]));
    /* Nothing of the request is in a chain: the stored ones need not be read. */
    for (uint32_t i = 0; i < j->s->count && c.count > 0 && status == STATUS_OK; i++)
        status = add_stored_chain(j, &c, j->s->items[i]);
    for (uint32_t i = 0; i < j->count && status == STATUS_OK; i++)
        status = judge_chain(j, &c, &j->asked[i]);
    free(c.chains);
    return status;
}

/* ---- what becomes of one item ---- */

/* The row as it is to be. An edit of a started sequence is a revision of its own. */
static struct content_row
changed_row(struct judge *j, const struct asked *a)
{
    bool source = a->item.kind != CONTENT_TEMPLATE;
    struct content_row row = {.kind = (uint8_t) a->item.kind,
                              .state = source ? SOURCE_DRAFT : SOURCE_ACTIVE,
                              .revision = 1};
    if (a->stored)
        row = a->stored->row;
    else if (source)
        row.id = j->next_id++;
    if (a->item.kind == CONTENT_SEQUENCE && row.state != SOURCE_DRAFT) {
        row.revision++;
        if (j->mode == APPLY_FOR_ALL)
            row.all_revision = row.revision;
    }
    row.version = j->change->version + 1;
    row.json = (struct slice){a->json, strlen(a->json)};
    return row;
}

static enum message_status
add_item(struct judge *j, const struct asked *a)
{
    const char *name = content_item_name(&a->item);
    if (!a->stored && j->next_id == INT32_MAX)
        return say(j, STATUS_REFUSED, "the catalog is full: there are no more source ids");
    const struct content_row row = changed_row(j, a);
    struct sources_item *fresh = sources_item_new((struct slice){name, strlen(name)}, &row);
    if (!fresh)
        return say_no_memory(j);
    j->change->items[j->change->count++] = fresh;
    j->change->version = row.version;
    *(a->stored ? &j->change->changed : &j->change->created) += 1;
    j->bytes += row.json.bytes - (a->stored ? a->stored->row.json.bytes : 0);
    if (j->bytes > CONTENT_STORED_BYTES_MAX)
        return say(j, STATUS_REFUSED, "the catalog is full: it keeps %u MiB of content",
                   CONTENT_STORED_BYTES_MAX >> 20);
    return STATUS_OK;
}

static enum message_status
judge_item(struct judge *j, const struct asked *a)
{
    enum message_status status = STATUS_OK;
    if (a->same) {
        j->change->unchanged++;
        return STATUS_OK;
    }
    if (a->item.kind == CONTENT_CAMPAIGN)
        status = judge_campaign(j, a);
    else if (a->item.kind == CONTENT_SEQUENCE)
        status = judge_sequence(j, a);
    return status == STATUS_OK ? add_item(j, a) : status;
}

/* ---- the whole request ---- */

static enum message_status
read_item(struct judge *j, struct slice json)
{
    struct asked *a = &j->asked[j->count];
    char why[REASON_BYTES_MAX];
    int err = content_item_read(&a->item, json, why, sizeof why);
    if (err == -ENOMEM)
        return say_no_memory(j);
    if (err < 0)
        return say(j, STATUS_BAD, "item %u: %s", j->count + 1, why);
    const char *name = content_item_name(&a->item);
    bool twice = find_asked(j, a->item.kind, name) != NULL;
    j->count++; /* from here it is freed with the others */
    if (a->item.kind == CONTENT_CLUSTER)
        return say(j, STATUS_BAD, "item %u: the cluster is no content", j->count);
    if (twice)
        return say(j, STATUS_BAD, "%s \"%s\" is in the request twice",
                   content_kind_name(a->item.kind), name);
    a->json = content_item_write(&a->item);
    if (!a->json)
        return say_no_memory(j);
    a->stored = sources_find(j->s, a->item.kind, name);
    a->same = a->stored && a->stored->row.json.bytes == strlen(a->json) &&
              memcmp(a->stored->row.json.data, a->json, a->stored->row.json.bytes) == 0;
    return STATUS_OK;
}

/* A node sees items by version: what is named gets the lower one. */
static bool
may_follow(const struct judge *j, const bool *judged, uint32_t index)
{
    const struct content_item *item = &j->asked[index].item;
    for (uint32_t i = 0; i < j->count; i++) {
        const struct content_item *other = &j->asked[i].item;
        if (judged[i] || i == index)
            continue;
        if (other->kind == CONTENT_TEMPLATE && item->kind != CONTENT_TEMPLATE)
            return false;
        if (other->kind == CONTENT_SEQUENCE && item->kind == CONTENT_SEQUENCE &&
            strcmp(other->sequence.name, item->sequence.next_sequence) == 0)
            return false;
    }
    return true;
}

/* Ends because there is no circle: judge_chains came before. */
static enum message_status
judge_in_order(struct judge *j)
{
    bool judged[CONTENT_ITEMS_MAX] = {false};
    enum message_status status = STATUS_OK;
    for (uint32_t left = j->count; left > 0 && status == STATUS_OK;) {
        for (uint32_t i = 0; i < j->count && status == STATUS_OK; i++) {
            if (judged[i] || !may_follow(j, judged, i))
                continue;
            status = judge_item(j, &j->asked[i]);
            judged[i] = true;
            left--;
        }
    }
    return status;
}

static enum message_status
judge_all(struct judge *j, const struct apply *apply)
{
    enum message_status status = STATUS_OK;
    for (uint32_t i = 0; i < apply->item_count && status == STATUS_OK; i++)
        status = read_item(j, apply->items[i]);
    if (status == STATUS_OK)
        status = judge_chains(j);
    if (status == STATUS_OK)
        status = judge_in_order(j);
    if (status != STATUS_OK)
        return status;
    int err = sources_reserve(j->s, j->change->created);
    if (err == -E2BIG)
        return say(j, STATUS_REFUSED, "the catalog is full: it keeps %u items", CONTENT_STORED_MAX);
    return err < 0 ? say_no_memory(j) : STATUS_OK;
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
                      .asked = calloc(apply->item_count + 1, sizeof *j.asked),
                      .mode = (enum apply_mode) apply->mode,
                      .next_id = s->last_id + 1,
                      .bytes = s->bytes,
                      .why = why,
                      .why_size = why_size};
    if (!j.asked)
        return say_no_memory(&j);
    enum message_status status = judge_all(&j, apply);
    for (uint32_t i = 0; i < j.count; i++) {
        content_item_free(&j.asked[i].item);
        free(j.asked[i].json);
    }
    free(j.asked);
    if (status == STATUS_OK)
        *ret = change;
    else
        sources_change_done(&change);
    return status;
}
