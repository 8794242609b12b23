/* One page of content at a time, in steps that may each be repeated. */
#include "node/apply.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/audience.h"
#include "shared/log.h"

#define AUDIENCE_DEVICES 500
#define RANGE_TEXT_MAX   26u /* "[2147483647,2147483647]," and room */
#define PAUSES_MAX       16u
#define AGAIN            (200 * USEC_PER_MSEC)
#define APPLY_TIMEOUT    (5 * USEC_PER_SEC) /* no send depends on it; audiences may be long */

enum apply_step { APPLY_IDLE, APPLY_CONTENT, APPLY_AUDIENCE, APPLY_DONE };

struct parsed {
    struct content_item item;
    uint64_t version;
    struct source_row row; /* its name is a copy */
    char name[CONTENT_NAME_MAX + 3];
    int64_t started_at;
    char because[REASON_BYTES_MAX + 1];
    char *json;
    size_t json_bytes;
    char devices[CONTENT_RANGES_MAX * RANGE_TEXT_MAX + 8];
};

struct content_apply {
    struct partition *p;
    enum apply_step step;
    bool asked;
    usec_t asked_at, not_before;
    uint64_t wanted, target;
    int32_t after; /* last device of the audience pass */
    unsigned count;
    struct parsed *items; /* CONTENT_PER_PAGE_MAX */
    struct db_args templates, sources, args;

    int32_t pauses[PAUSES_MAX]; /* sources to pause, asked for by the sender */
    unsigned pause_count;
    bool pausing;
    struct db_args pause_args;
};

static void
drop_items(struct content_apply *a)
{
    for (unsigned i = 0; i < a->count; i++) {
        if (a->items[i].item.kind != CONTENT_CLUSTER)
            content_item_free(&a->items[i].item);
        free(a->items[i].json);
    }
    a->count = 0;
}

static void
give_up(struct content_apply *a)
{
    drop_items(a);
    a->step = APPLY_IDLE;
    a->wanted = a->p->content_applied;
}

/* ---- a page comes in ---- */

/* As PostgreSQL writes a multirange. */
static void
write_ranges(const struct content_audience *c, char *out, size_t size)
{
    size_t used = 0;

    if (c->range_count == 0) {
        snprintf(out, size, "{(,)}");
        return;
    }
    for (unsigned i = 0; i < c->range_count; i++)
        used += (size_t) snprintf(out + used, size - used, "%c[%" PRId32 ",%" PRId32 "]",
                                  i == 0 ? '{' : ',', c->ranges[i].first, c->ranges[i].last);
    assert(used + 2 <= size);
    memcpy(out + used, "}", 2);
}

static enum device_class
class_of(enum content_kind kind)
{
    return kind == CONTENT_CAMPAIGN   ? CLASS_CAMPAIGN
           : kind == CONTENT_SEQUENCE ? CLASS_SEQUENCE
                                      : CLASS_COUNT;
}

/* A row without a revision comes from an older coordinator: campaigns have one for ever. */
static void
read_source(struct parsed *p, const struct content_row *row)
{
    const struct content_item *item = &p->item;

    p->started_at = row->started_at == 0 ? INT64_MAX : row->started_at;
    p->row = (struct source_row){.source_id = (int32_t) row->id,
                                 .name = p->name,
                                 .class = class_of(item->kind),
                                 .state = (enum source_state) row->state,
                                 .until = row->until == 0 ? INT64_MAX : row->until,
                                 .revision = (int16_t) MAX_OF(row->revision, 1u),
                                 .all_revision = (int16_t) row->all_revision};
    snprintf(p->because, sizeof(p->because), "%.*s", (int) row->because.bytes, row->because.data);
    if (item->kind == CONTENT_CLUSTER) {
        p->row.source_id = SOURCE_CLUSTER;
        snprintf(p->name, sizeof(p->name), "(%s)", CONTENT_CLUSTER_NAME);
        return;
    }
    snprintf(p->name, sizeof(p->name), "%s", content_item_name(item));
    write_ranges(item->kind == CONTENT_CAMPAIGN ? &item->campaign.audience
                                                : &item->sequence.audience,
                 p->devices, sizeof(p->devices));
}

static int
parse_row(struct parsed *p, const struct content_row *row, char *why, size_t why_size)
{
    bool cluster = row->kind == CONTENT_CLUSTER; /* it has no item of its own */
    struct slice json = cluster ? (struct slice){"{}", 2} : row->json;
    int r = 0;

    *p = (struct parsed){.version = row->version, .devices = "{}"};
    p->item.kind = CONTENT_CLUSTER;
    if (!cluster)
        r = content_item_read(&p->item, json, why, why_size);
    if (r < 0)
        return r;
    p->json = malloc(json.bytes);
    if (!p->json) {
        if (!cluster)
            content_item_free(&p->item);
        return -ENOMEM;
    }
    memcpy(p->json, json.data, json.bytes);
    p->json_bytes = json.bytes;
    if (p->item.kind != CONTENT_TEMPLATE)
        read_source(p, row);
    return 0;
}

int
apply_page(struct content_apply *a, const struct content_page *page)
{
    char why[200] = "", quoted[240];

    if (a->step != APPLY_IDLE)
        return -EAGAIN;
    if (page->row_count > CONTENT_PER_PAGE_MAX)
        return -E2BIG;
    for (uint32_t i = 0; i < page->row_count; i++) {
        int r = parse_row(&a->items[i], &page->rows[i], why, sizeof(why));

        if (r < 0) {
            log_event(LOG_LEVEL_ERROR, "content.unreadable",
                      "partition=%s version=%" PRIu64 " why=%s", a->p->config.name,
                      page->rows[i].version, log_quote(quoted, sizeof(quoted), why));
            drop_items(a);
            return r;
        }
        a->count++;
    }
    a->target = page->more && a->count ? page->rows[a->count - 1].version : page->version;
    a->wanted = a->target;
    a->step = a->count ? APPLY_CONTENT : APPLY_AUDIENCE;
    a->after = 0;
    partition_wake(a->p);
    return 0;
}

uint64_t
apply_wanted(const struct content_apply *a)
{
    return MAX_OF(a->wanted, a->p->content_applied);
}

/* ---- content ---- */

static unsigned
encode_templates(struct content_apply *a)
{
    struct slice names[CONTENT_PER_PAGE_MAX], items[CONTENT_PER_PAGE_MAX];
    int64_t versions[CONTENT_PER_PAGE_MAX];
    unsigned n = 0;

    for (unsigned i = 0; i < a->count; i++) {
        const struct parsed *p = &a->items[i];
        const char *name = content_item_name(&p->item);

        if (p->item.kind != CONTENT_TEMPLATE)
            continue;
        names[n] = (struct slice){name, strlen(name)};
        items[n] = (struct slice){p->json, p->json_bytes};
        versions[n++] = (int64_t) p->version;
    }
    db_args_reset(&a->templates);
    db_put_int8(&a->templates, (int64_t) a->p->epoch);
    db_put_texts(&a->templates, names, n);
    db_put_int8s(&a->templates, versions, n);
    db_put_texts(&a->templates, items, n);
    return n;
}

/* One column of the sources at a time, in the order of STORE_PUT_SOURCES. */
struct source_columns {
    int32_t id[CONTENT_PER_PAGE_MAX];
    int16_t state[CONTENT_PER_PAGE_MAX], priority[CONTENT_PER_PAGE_MAX], kind[CONTENT_PER_PAGE_MAX],
        revision[CONTENT_PER_PAGE_MAX], all_revision[CONTENT_PER_PAGE_MAX];
    int64_t version[CONTENT_PER_PAGE_MAX], started[CONTENT_PER_PAGE_MAX],
        not_after[CONTENT_PER_PAGE_MAX], until[CONTENT_PER_PAGE_MAX];
    struct slice name[CONTENT_PER_PAGE_MAX], devices[CONTENT_PER_PAGE_MAX],
        item[CONTENT_PER_PAGE_MAX], trigger[CONTENT_PER_PAGE_MAX], because[CONTENT_PER_PAGE_MAX];
};

static struct slice
slice_of(const char *text)
{
    return (struct slice){text, strlen(text)};
}

/* kind as the partition stores it: 1 campaign, 2 sequence, 4 cluster. */
static void
gather_source(struct source_columns *c, unsigned n, const struct parsed *p)
{
    bool campaign = p->item.kind == CONTENT_CAMPAIGN, sequence = p->item.kind == CONTENT_SEQUENCE;

    c->id[n] = p->row.source_id;
    c->kind[n] = campaign ? 1 : sequence ? 2 : 4;
    c->state[n] = (int16_t) p->row.state;
    c->priority[n] = campaign   ? p->item.campaign.priority
                     : sequence ? p->item.sequence.priority
                                : (int16_t) 0;
    c->revision[n] = p->row.revision;
    c->all_revision[n] = p->row.all_revision;
    c->version[n] = (int64_t) p->version;
    c->started[n] = p->started_at;
    c->not_after[n] = campaign ? p->item.campaign.not_after : INT64_MAX;
    c->until[n] = p->row.until;
    c->name[n] = slice_of(p->name);
    c->devices[n] = slice_of(p->devices);
    c->item[n] = (struct slice){p->json, p->json_bytes};
    c->trigger[n] = slice_of(sequence ? p->item.sequence.trigger : "");
    c->because[n] = slice_of(p->because);
}

static unsigned
encode_sources(struct content_apply *a)
{
    struct source_columns c;
    struct db_args *out = &a->sources;
    unsigned n = 0;

    for (unsigned i = 0; i < a->count; i++)
        if (a->items[i].item.kind != CONTENT_TEMPLATE)
            gather_source(&c, n++, &a->items[i]);
    db_args_reset(out);
    db_put_int8(out, (int64_t) a->p->epoch);
    db_put_int4s(out, c.id, n);
    db_put_int2s(out, c.state, n);
    db_put_int2s(out, c.priority, n);
    db_put_int8s(out, c.version, n);
    db_put_times(out, c.started, n);
    db_put_times(out, c.not_after, n);
    db_put_texts(out, c.name, n);
    db_put_texts(out, c.devices, n);
    db_put_texts(out, c.item, n);
    db_put_int2s(out, c.kind, n);
    db_put_int2s(out, c.revision, n);
    db_put_int2s(out, c.all_revision, n);
    db_put_times(out, c.until, n);
    db_put_texts(out, c.trigger, n);
    db_put_texts(out, c.because, n);
    return n;
}

/* It keeps its sources waiting, and nothing else. */
static void
log_unusable(const struct content_apply *a, const struct parsed *p, const char *what,
             const char *why)
{
    char quoted[240];

    log_event(LOG_LEVEL_ERROR, "content.unusable",
              "partition=%s what=%s version=%" PRIu64 " why=%s", a->p->config.name, what,
              p->version, log_quote(quoted, sizeof(quoted), why));
}

static int
put_template(struct content_apply *a, struct parsed *p, unsigned *change)
{
    char why[200] = "";
    int r = book_put_template(a->p->book, &p->item.template_, change, why, sizeof(why));

    if (r == -EINVAL)
        log_unusable(a, p, "template", why);
    return r == -EINVAL ? 0 : r;
}

static int
put_source(struct content_apply *a, struct parsed *p, unsigned *change)
{
    char why[200] = "";
    int r = book_put_source(a->p->book, &p->row, change);

    if (r < 0 || p->item.kind == CONTENT_CLUSTER)
        return r;
    r = book_put_plan(a->p->book, p->row.source_id, p->row.revision, &p->item, change, why,
                      sizeof(why));
    if (r == -EINVAL)
        log_unusable(a, p, "source", why);
    return r == -EINVAL ? 0 : r;
}

/* Before content_applied is told: after that no send may start by an older state. */
static void
remember(struct content_apply *a)
{
    unsigned change = SOURCE_SAME;
    int r = 0;

    for (unsigned i = 0; i < a->count && r == 0; i++) {
        struct parsed *p = &a->items[i];

        r = p->item.kind == CONTENT_TEMPLATE ? put_template(a, p, &change)
                                             : put_source(a, p, &change);
    }
    if (r < 0) {
        /* The row is right, memory is not: as after any doubt, take and load again. */
        log_event(LOG_LEVEL_ERROR, "content.not_kept", "partition=%s error=\"%s\"",
                  a->p->config.name, strerror(-r));
        db_drop(partition_tick_lane(a->p));
    }
    audience_changed(a->p->audience, change);
}

static void
again(struct content_apply *a, enum db_outcome outcome, const struct db_reply *reply,
      const char *what)
{
    if (outcome == DB_REFUSED)
        partition_log_refused(a->p, what, reply);
    a->not_before = clock_boot() + AGAIN;
    partition_wake(a->p);
}

static void
on_content(void *arg, enum db_outcome outcome, const struct db_reply *reply)
{
    struct content_apply *a = arg;

    a->asked = false;
    if (a->step != APPLY_CONTENT)
        return;
    if (outcome != DB_DONE) {
        again(a, outcome, reply, "content");
        return;
    }
    if (!partition_read_epoch(a->p, reply, 1, a->asked_at))
        return;
    remember(a);
    drop_items(a);
    a->step = APPLY_AUDIENCE;
    partition_wake(a->p);
}

static int
ask_content(struct content_apply *a)
{
    struct db_call calls[4] = {{.statement = STORE_LOCK_EXCLUSIVE}, {.statement = STORE_EPOCH}};
    unsigned n = 2;

    if (encode_templates(a) > 0)
        calls[n++] = (struct db_call){.statement = STORE_PUT_TEMPLATES, .args = &a->templates};
    if (encode_sources(a) > 0)
        calls[n++] = (struct db_call){.statement = STORE_PUT_SOURCES, .args = &a->sources};
    return db_submit(partition_tick_lane(a->p), calls, n, APPLY_TIMEOUT, on_content, a);
}

/* ---- audiences ---- */

static void
on_audience(void *arg, enum db_outcome outcome, const struct db_reply *reply)
{
    struct content_apply *a = arg;

    a->asked = false;
    if (a->step != APPLY_AUDIENCE)
        return;
    if (outcome != DB_DONE) {
        again(a, outcome, reply, "audience");
        return;
    }
    for (unsigned row = 0; row < db_rows(reply, 1); row++) {
        int32_t id = (int32_t) db_get_int(reply, 1, row, 0);
        struct device *d = schedule_find(a->p->devices, id);

        a->after = MAX_OF(a->after, id);
        if (!d)
            continue; /* an import made it: its announcement is on the way */
        d->audience_open = d->triggers_open = true;
        audience_look(a->p->audience, d);
    }
    if (db_rows(reply, 1) < AUDIENCE_DEVICES)
        a->step = APPLY_DONE;
    partition_wake(a->p);
}

static int
ask_audience(struct content_apply *a)
{
    const struct db_call calls[] = {{.statement = STORE_LOCK_SHARED},
                                    {.statement = STORE_AUDIENCE, .args = &a->args}};

    db_args_reset(&a->args);
    db_put_int8(&a->args, (int64_t) a->p->epoch);
    db_put_int8(&a->args, (int64_t) a->target);
    db_put_int4(&a->args, a->after);
    db_put_int4(&a->args, AUDIENCE_DEVICES);
    return db_submit(partition_tick_lane(a->p), calls, ARRAY_SIZE(calls), APPLY_TIMEOUT,
                     on_audience, a);
}

static void
on_applied(void *arg, enum db_outcome outcome, const struct db_reply *reply)
{
    struct content_apply *a = arg;

    a->asked = false;
    if (a->step != APPLY_DONE)
        return;
    if (outcome != DB_DONE) {
        again(a, outcome, reply, "applied");
        return;
    }
    if (!partition_read_epoch(a->p, reply, 1, a->asked_at))
        return;
    if (db_rows(reply, 2) == 0) {
        a->step = APPLY_AUDIENCE; /* a device came meanwhile */
        a->after = 0;
    } else {
        a->p->content_applied = (uint64_t) db_get_int(reply, 2, 0, 0);
        a->step = APPLY_IDLE;
        log_event(LOG_LEVEL_INFO, "content.applied", "partition=%s version=%" PRIu64,
                  a->p->config.name, a->p->content_applied);
    }
    partition_wake(a->p);
}

static int
ask_applied(struct content_apply *a)
{
    const struct db_call calls[] = {{.statement = STORE_LOCK_EXCLUSIVE},
                                    {.statement = STORE_EPOCH},
                                    {.statement = STORE_APPLIED, .args = &a->args}};

    db_args_reset(&a->args);
    db_put_int8(&a->args, (int64_t) a->p->epoch);
    db_put_int8(&a->args, (int64_t) a->target);
    return db_submit(partition_tick_lane(a->p), calls, ARRAY_SIZE(calls), APPLY_TIMEOUT, on_applied,
                     a);
}

/* ---- pauses of our own ---- */

void
apply_pause(struct content_apply *a, int32_t source_id)
{
    struct source *s = book_source(a->p->book, source_id);

    if (!s || s->state != SOURCE_ACTIVE || a->pause_count == PAUSES_MAX)
        return; /* done already, or the next refusal asks again */
    book_pause(a->p->book, s);
    a->pauses[a->pause_count++] = source_id;
    log_event(LOG_LEVEL_ERROR, "source.paused",
              "partition=%s source=%" PRId32
              " why=\"the provider refuses its template or parameters\"",
              a->p->config.name, source_id);
    audience_changed(a->p->audience, SOURCE_FEWER);
    partition_wake(a->p);
}

static void
on_paused(void *arg, enum db_outcome outcome, const struct db_reply *reply)
{
    struct content_apply *a = arg;

    a->pausing = false;
    if (outcome != DB_DONE) {
        again(a, outcome, reply, "pause_source");
        return;
    }
    if (a->pause_count == 0)
        return; /* given up meanwhile */
    a->pause_count--;
    memmove(a->pauses, a->pauses + 1, a->pause_count * sizeof(a->pauses[0]));
    partition_wake(a->p);
}

static void
ask_pause(struct content_apply *a)
{
    const struct db_call calls[] = {{.statement = STORE_LOCK_EXCLUSIVE},
                                    {.statement = STORE_PAUSE_SOURCE, .args = &a->pause_args}};

    db_args_reset(&a->pause_args);
    db_put_int8(&a->pause_args, (int64_t) a->p->epoch);
    db_put_int4(&a->pause_args, a->pauses[0]);
    a->pausing = db_submit(partition_tick_lane(a->p), calls, ARRAY_SIZE(calls), APPLY_TIMEOUT,
                           on_paused, a) == 0;
}

/* ---- the tick ---- */

usec_t
apply_tick(struct content_apply *a, usec_t now)
{
    static int (*const steps[])(struct content_apply *) = {
        [APPLY_CONTENT] = ask_content, [APPLY_AUDIENCE] = ask_audience, [APPLY_DONE] = ask_applied};

    if (!partition_may_write(a->p)) /* orders come through while the clock is off */
        return USEC_INFINITY;
    if (now < a->not_before)
        return a->not_before;
    if (a->pause_count > 0 && !a->pausing)
        ask_pause(a);
    if (a->step == APPLY_IDLE || a->asked)
        return USEC_INFINITY;
    a->asked_at = now;
    int r = steps[a->step](a);
    a->asked = r == 0;
    if (a->asked)
        return USEC_INFINITY;
    a->not_before = now + AGAIN;
    return a->not_before;
}

/* The page is given up: uplink hands it in again, for content_applied did not move. What is paused
 * here but not in the row is refused by the provider again. */
void
apply_suspend(struct content_apply *a)
{
    a->pause_count = 0;
    give_up(a);
}

/* ---- life ---- */

int
apply_new(struct content_apply **ret, struct partition *p)
{
    struct content_apply *a = calloc(1, sizeof(*a));
    const size_t page = CONTENT_PER_PAGE_MAX * (CONTENT_ITEM_BYTES_MAX + 4096u);
    int r;

    if (!a)
        return -ENOMEM;
    a->p = p;
    a->items = calloc(CONTENT_PER_PAGE_MAX, sizeof(*a->items));
    r = a->items ? db_args_init(&a->templates, page) : -ENOMEM;
    if (r == 0)
        r = db_args_init(&a->sources, page);
    if (r == 0)
        r = db_args_init(&a->args, 256u);
    if (r == 0)
        r = db_args_init(&a->pause_args, 64u);
    if (r < 0) {
        apply_free(a);
        return r;
    }
    *ret = a;
    return 0;
}

struct content_apply *
apply_free(struct content_apply *a)
{
    if (!a)
        return NULL;
    if (a->items)
        drop_items(a);
    free(a->items);
    db_args_done(&a->templates);
    db_args_done(&a->sources);
    db_args_done(&a->args);
    db_args_done(&a->pause_args);
    free(a);
    return NULL;
}
