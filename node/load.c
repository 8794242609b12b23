/* What a new driver reads before it may send; and devices that an import changed afterwards. */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/audience.h"
#include "node/partition_inner.h"
#include "node/sender.h"
#include "shared/log.h"
#include "shared/secret.h"

#define CHANGED_PER_ASK 1000u
#define LEFT_OVER_PAGE  256u
#define GATEWAY_UNKNOWN 1u /* health of a device whose transport this program does not know */

/*
 * Phases in this order: a left-over claim must find its device, for it lengthens the gap; sources
 * name templates; opt-outs name accounts, which devices made.
 */
enum load_phase {
    LOAD_DEVICES,
    LOAD_LEFT_OVER,
    LOAD_TEMPLATES,
    LOAD_SOURCES,
    LOAD_REVISIONS,
    LOAD_OPTOUTS,
    LOAD_COUNT
};

struct load {
    struct partition *p;
    uint64_t epoch;       /* of the load under way */
    uint64_t asked_epoch; /* of the page asked for: an answer to an older load is not wanted */
    enum load_phase phase;
    int64_t after; /* key of the last row */
    int16_t after_revision;
    char after_name[CONTENT_NAME_MAX + 1];
    bool rested; /* the take was one after another process: until the partition is open */
    bool asked;
    struct db_args args;
    struct uuid *tokens; /* of the sender's slots */

    int32_t *changed; /* devices to read again */
    uint32_t changed_count, changed_capacity, changed_asked;
    struct db_args changed_args;
};

static void ask_page(struct load *l);
static void ask_changed(struct load *l);

/* ---- devices ---- */

static char *
copy(struct slice text)
{
    return strndup(text.data ? text.data : "", text.bytes);
}

/* Replaces an owned text. False: out of memory, unchanged. */
static bool
set_text(char **text, struct slice value)
{
    char *fresh = copy(value);

    if (!fresh)
        return false;
    free(*text);
    *text = fresh;
    return true;
}

static bool
set_token(struct device *d, struct slice sealed)
{
    uint8_t *fresh = NULL;

    if (sealed.bytes > UINT16_MAX)
        return false;
    if (sealed.bytes > 0) {
        fresh = malloc(sealed.bytes);
        if (!fresh)
            return false;
        memcpy(fresh, sealed.data, sealed.bytes);
    }
    free(d->sealed_token);
    d->sealed_token = fresh;
    d->sealed_bytes = (uint16_t) sealed.bytes;
    return true;
}

/* Devices without a scope share one by their token: a revoked token is one probe, not 500. */
static void
scope_of_token(struct partition *p, const struct device *d, char name[static 32])
{
    uint8_t plain[DEVICE_TOKEN_BYTES_MAX];
    size_t bytes;

    if (d->sealed_bytes > 0 && sender_open_token(p, d, plain, sizeof(plain), &bytes) == 0)
        snprintf(name, 32, "tok:%016" PRIx64, secret_hash64((struct slice){(char *) plain, bytes}));
    else
        snprintf(name, 32, "dev:%" PRId32, d->device_id);
    secret_wipe(plain, sizeof(plain));
}

static int
set_breakers(struct partition *p, struct device *d)
{
    char of_token[32], scope[256];
    struct breaker *account = book_breaker(p->book, BREAKER_ACCOUNT, d->account);
    struct breaker *url =
        book_breaker(p->book, BREAKER_URL, *d->base_url ? d->base_url : p->config.base_url);

    scope_of_token(p, d, of_token);
    snprintf(scope, sizeof(scope), "%s/%s", d->account, *d->scope ? d->scope : of_token);
    struct breaker *of_scope = book_breaker(p->book, BREAKER_SCOPE, scope);

    if (!account || !url || !of_scope)
        return -ENOMEM;
    d->account_breaker = account;
    d->url_breaker = url;
    d->scope_breaker = of_scope;
    return 0;
}

/* What the device adds to the plan, per 1,000 s at its mean gap. */
static uint64_t
plan_of(const struct device *d)
{
    uint64_t mean_ms = ((uint64_t) d->min_delay_ms + d->max_delay_ms) / 2;

    return 1000000 / MAX_OF(mean_ms, 1u);
}

/* What its gates go by. Its counters are the caller's. */
static bool
read_limits(struct partition *p, struct device *d, const struct db_reply *r, unsigned row)
{
    struct slice quiet = db_get_text(r, 0, row, 14);
    char text[16];

    d->zone = zones_find(p->zones, db_get_text(r, 0, row, 10));
    if (!d->zone || !set_text(&d->paused_because, db_get_text(r, 0, row, 13)))
        return false;
    d->paused_until = db_get_time(r, 0, row, 12);
    snprintf(text, sizeof(text), "%.*s", (int) quiet.bytes, quiet.data);
    if (quiet.bytes == 0 || content_read_window(text, &d->quiet) < 0)
        d->quiet = (struct content_window){0, 0};
    d->daily_cap = (uint32_t) db_get_int(r, 0, row, 15);
    d->hourly_cap = (uint32_t) db_get_int(r, 0, row, 16);
    d->warm_from = (int32_t) db_get_int(r, 0, row, 17);
    return true;
}

/* A block that an older driver reserved counts as used. */
static void
read_counters(struct device *d, const struct db_reply *r, unsigned row)
{
    quota_load(&d->day, (int32_t) db_get_int(r, 0, row, 18), (uint32_t) db_get_int(r, 0, row, 19));
    quota_load(&d->hour, quota_hour_unit(db_get_time(r, 0, row, 20)),
               (uint32_t) db_get_int(r, 0, row, 21));
}

/* A row of the columns DEVICE_COLUMNS. */
static int
read_device(struct partition *p, struct device *d, const struct db_reply *r, unsigned row)
{
    d->residence = (uint8_t) db_get_int(r, 0, row, 1);
    d->health = (uint8_t) db_get_int(r, 0, row, 2);
    d->min_delay_ms = (uint32_t) db_get_int(r, 0, row, 3);
    d->max_delay_ms = (uint32_t) db_get_int(r, 0, row, 4);
    if (!set_text(&d->account, db_get_text(r, 0, row, 5)) ||
        !set_text(&d->scope, db_get_text(r, 0, row, 6)) ||
        !set_text(&d->address, db_get_text(r, 0, row, 8)) ||
        !set_text(&d->base_url, db_get_text(r, 0, row, 9)) ||
        !set_token(d, db_get_text(r, 0, row, 11)) || !read_limits(p, d, r, row))
        return -ENOMEM;
    d->gateway = gateway_find(db_get_text(r, 0, row, 7));
    if (!d->gateway)
        d->health = GATEWAY_UNKNOWN;
    return set_breakers(p, d);
}

/* One row: creates the device or changes it. A send that is on its way has copies of its own. */
static int
put_device(struct partition *p, const struct db_reply *r, unsigned row, struct device **ret)
{
    int32_t id = (int32_t) db_get_int(r, 0, row, 0);
    struct device *d = schedule_find(p->devices, id);
    bool fresh = !d;
    int err;

    if (fresh)
        d = device_new(id);
    if (!d)
        return -ENOMEM;
    p->plan_milli -= fresh ? 0 : plan_of(d);
    err = read_device(p, d, r, row);
    /* While we drive it memory counts, and an older row may come late. */
    if (err == 0 && (fresh || p->state == PARTITION_LOADING))
        read_counters(d, r, row);
    if (err == 0 && fresh)
        err = schedule_add(p->devices, d);
    if (err < 0 && fresh) {
        device_free(d);
        return err;
    }
    p->plan_milli += plan_of(d);
    *ret = d;
    return err;
}

/* A full fresh gap after the take's commit: nobody knows when an older driver sent last. */
static void
rest_after_take(struct partition *p, struct device *d)
{
    pace_rest(d, p->taken_at, p->rng);
}

static void
run_low(struct partition *p, struct device *d)
{
    d->audience_open = d->triggers_open = true;
    schedule_put(p->devices, d, d->gap_ends);
    audience_look(p->audience, d);
}

static int
take_devices(struct load *l, const struct db_reply *r)
{
    struct partition *p = l->p;

    for (unsigned row = 0; row < db_rows(r, 0); row++) {
        struct device *d;
        int err = put_device(p, r, row, &d);

        if (err < 0)
            return err;
        rest_after_take(p, d);
        l->after = d->device_id;
    }
    return 0;
}

/* ---- claims of older epochs ---- */

/* Its request may have started S after the claim and last T_http: only then the gap begins. */
static void
rest_after_claim(struct partition *p, struct device *d)
{
    usec_t ends = p->taken_at + p->config.timing.send_window + p->config.timing.http;

    pace_rest(d, ends, p->rng);
}

static int
take_left_over(struct load *l, const struct db_reply *r)
{
    struct partition *p = l->p;

    if (db_rows(r, 0) > 0)
        log_event(LOG_LEVEL_WARNING, "partition.doubts", "partition=%s claims=%u", p->config.name,
                  db_rows(r, 0));
    for (unsigned row = 0; row < db_rows(r, 0); row++) {
        const struct left_over left = {.device_id = (int32_t) db_get_int(r, 0, row, 0),
                                       .source_id = (int32_t) db_get_int(r, 0, row, 1),
                                       .lead_no = (int32_t) db_get_int(r, 0, row, 2),
                                       .step = (int16_t) db_get_int(r, 0, row, 3),
                                       .attempt = (int16_t) db_get_int(r, 0, row, 4),
                                       .token = db_get_uuid(r, 0, row, 5),
                                       .epoch = (uint64_t) db_get_int(r, 0, row, 6),
                                       .revision = (int16_t) db_get_int(r, 0, row, 7)};
        struct device *d = schedule_find(p->devices, left.device_id);

        if (d)
            rest_after_claim(p, d);
        sender_left_over(p->sender, &left);
    }
    return 0;
}

/* ---- content and opt-outs ---- */

/* Content of a newer program, perhaps: what names it waits, all else goes on. */
static void
not_usable(struct partition *p, const char *what, struct slice name, const char *why)
{
    char quoted[240];

    log_event(LOG_LEVEL_ERROR, "content.unusable", "partition=%s what=%s name=%.*s why=%s",
              p->config.name, what, (int) name.bytes, name.data,
              log_quote(quoted, sizeof(quoted), why));
}

static int
take_templates(struct load *l, const struct db_reply *r)
{
    struct partition *p = l->p;

    for (unsigned row = 0; row < db_rows(r, 0); row++) {
        struct slice name = db_get_text(r, 0, row, 0);
        struct content_item item;
        unsigned change = SOURCE_SAME;
        char why[200] = "";
        int err = content_item_read(&item, db_get_text(r, 0, row, 1), why, sizeof(why));

        if (err == 0)
            err = book_put_template(p->book, &item.template_, &change, why, sizeof(why));
        if (err == -ENOMEM)
            return err;
        if (err < 0)
            not_usable(p, "template", name, why);
        snprintf(l->after_name, sizeof(l->after_name), "%.*s", (int) name.bytes, name.data);
    }
    return 0;
}

static enum device_class
class_of(int64_t kind)
{
    static const enum device_class classes[] = {CLASS_DIRECT, CLASS_CAMPAIGN, CLASS_SEQUENCE};

    return kind >= 0 && kind < (int64_t) ARRAY_SIZE(classes) ? classes[kind] : CLASS_COUNT;
}

/* What rows of a revision go through. Direct messages and the cluster's own scope have none. */
static int
take_plan(struct partition *p, int32_t source_id, int16_t revision, struct slice json,
          struct slice name)
{
    struct content_item item;
    char why[200] = "";
    unsigned change = SOURCE_SAME;
    int err = content_item_read(&item, json, why, sizeof(why));

    if (err == 0)
        err = book_put_plan(p->book, source_id, revision, &item, &change, why, sizeof(why));
    if (err == -EINVAL)
        not_usable(p, "source", name, why);
    return err == -EINVAL ? 0 : err;
}

static int
take_source(struct partition *p, const struct db_reply *r, unsigned row)
{
    struct slice text = db_get_text(r, 0, row, 6);
    char *name = copy(text);
    struct source_row source = {.source_id = (int32_t) db_get_int(r, 0, row, 0),
                                .name = name,
                                .class = class_of(db_get_int(r, 0, row, 1)),
                                .state = (enum source_state) db_get_int(r, 0, row, 2),
                                .revision = (int16_t) db_get_int(r, 0, row, 7),
                                .all_revision = (int16_t) db_get_int(r, 0, row, 8),
                                .until = db_get_time(r, 0, row, 9)};
    unsigned change = SOURCE_SAME;
    int err = name ? book_put_source(p->book, &source, &change) : -ENOMEM;

    free(name);
    if (err < 0)
        return err;
    /* A sweep that ended is not begun again at each start. */
    book_set_sweep(p->book, source.source_id,
                   source.state == SOURCE_CANCELLED && db_get_bool(r, 0, row, 4));
    if (source.class != CLASS_CAMPAIGN && source.class != CLASS_SEQUENCE)
        return 0;
    return take_plan(p, source.source_id, source.revision, db_get_text(r, 0, row, 3), text);
}

static int
take_sources(struct load *l, const struct db_reply *r)
{
    for (unsigned row = 0; row < db_rows(r, 0); row++) {
        int err = take_source(l->p, r, row);

        if (err < 0)
            return err;
        l->p->doubts += (uint64_t) db_get_int(r, 0, row, 5);
        l->after = db_get_int(r, 0, row, 0);
    }
    return 0;
}

/* Older revisions of sequences, which rows may follow still. */
static int
take_revisions(struct load *l, const struct db_reply *r)
{
    for (unsigned row = 0; row < db_rows(r, 0); row++) {
        int32_t id = (int32_t) db_get_int(r, 0, row, 0);
        int16_t revision = (int16_t) db_get_int(r, 0, row, 1);
        const struct source *s = book_source(l->p->book, id);
        int err = 0;

        if (s) /* else it came after the sources were read: its page of content brings it */
            err = take_plan(l->p, id, revision, db_get_text(r, 0, row, 2),
                            (struct slice){s->name, strlen(s->name)});
        if (err < 0)
            return err;
        l->after = id;
        l->after_revision = revision;
    }
    return 0;
}

static int
take_optouts(struct load *l, const struct db_reply *r)
{
    for (unsigned row = 0; row < db_rows(r, 0); row++) {
        char *account = copy(db_get_text(r, 0, row, 0));
        int err = -ENOMEM;

        if (account)
            err = book_put_optout(l->p->book, account, (uint64_t) db_get_int(r, 0, row, 1));
        free(account);
        if (err < 0)
            return err;
        l->after = db_get_int(r, 0, row, 2);
    }
    return 0;
}

/* ---- pages ---- */

static void
put_key(struct load *l, unsigned limit)
{
    if (l->phase == LOAD_TEMPLATES)
        db_put_text(&l->args, (struct slice){l->after_name, strlen(l->after_name)});
    else if (l->phase == LOAD_OPTOUTS)
        db_put_int8(&l->args, l->after);
    else
        db_put_int4(&l->args, (int32_t) l->after);
    db_put_int4(&l->args, (int32_t) limit);
}

static void
put_revision_key(struct load *l, unsigned limit)
{
    db_put_int4(&l->args, (int32_t) l->after);
    db_put_int2(&l->args, l->after_revision);
    db_put_int4(&l->args, (int32_t) limit);
}

static void
put_left_over(struct load *l, unsigned limit)
{
    struct sender *s = l->p->sender;

    db_put_int8(&l->args, (int64_t) l->epoch);
    db_put_uuids(&l->args, l->tokens, sender_tokens(s, l->tokens, sender_slots(s)));
    db_put_int4(&l->args, (int32_t) limit);
}

static const struct phase {
    enum store_statement statement;
    unsigned limit;
    void (*put)(struct load *l, unsigned limit);
    int (*take)(struct load *l, const struct db_reply *r);
} phases[LOAD_COUNT] = {
    [LOAD_DEVICES] = {STORE_LOAD_DEVICES, LOAD_PAGE, put_key, take_devices},
    [LOAD_LEFT_OVER] = {STORE_LEFT_OVER, LEFT_OVER_PAGE, put_left_over, take_left_over},
    [LOAD_TEMPLATES] = {STORE_LOAD_TEMPLATES, LOAD_PAGE, put_key, take_templates},
    [LOAD_SOURCES] = {STORE_LOAD_SOURCES, LOAD_PAGE, put_key, take_sources},
    [LOAD_REVISIONS] = {STORE_LOAD_REVISIONS, LOAD_PAGE, put_revision_key, take_revisions},
    [LOAD_OPTOUTS] = {STORE_LOAD_OPTOUTS, LOAD_PAGE, put_key, take_optouts},
};

static bool
current(const struct load *l)
{
    return l->p->state == PARTITION_LOADING && l->epoch == l->p->epoch;
}

static void
next_phase(struct load *l)
{
    l->phase++;
    l->after = l->phase == LOAD_SOURCES ? INT32_MIN : 0;
    l->after_revision = 0;
    l->after_name[0] = '\0';
    if (l->phase == LOAD_SOURCES)
        l->p->doubts = 0; /* its rows tell all, also the left-over claims that we just settled */
    if (l->phase < LOAD_COUNT)
        ask_page(l);
    else
        partition_event(l->p, EVENT_LOADED);
}

static void
on_page(void *arg, enum db_outcome outcome, const struct db_reply *reply)
{
    struct load *l = arg;
    const struct phase *phase = &phases[l->phase];

    l->asked = false;
    if (!current(l))
        return;
    if (l->asked_epoch != l->epoch) {
        ask_page(l); /* an answer to an older load: begin the one that waits */
        return;
    }
    if (outcome == DB_LOST || outcome == DB_NOT_RUN)
        return; /* the tick asks again when the lane is back */
    int err = outcome == DB_DONE ? phase->take(l, reply) : -EIO;
    if (err < 0) {
        partition_because(l->p, "load %s: %s", store_statements[phase->statement].name,
                          outcome == DB_REFUSED ? db_message(reply) : strerror(-err));
        partition_event(l->p, EVENT_UNFIT);
        return;
    }
    /* Left-over claims come until there is none: each page frees its slots when it is settled. */
    if (db_rows(reply, 0) < phase->limit && (l->phase != LOAD_LEFT_OVER || db_rows(reply, 0) == 0))
        next_phase(l);
    else
        ask_page(l);
}

static void
ask_page(struct load *l)
{
    const struct phase *phase = &phases[l->phase];
    const struct db_call call = {.statement = phase->statement, .args = &l->args};
    unsigned limit = phase->limit;

    if (l->phase == LOAD_LEFT_OVER) {
        limit = MIN_OF(limit, sender_slots_free(l->p->sender));
        if (limit == 0 || sender_settling(l->p->sender))
            return; /* load_tick asks when the page before is settled */
    }
    db_args_reset(&l->args);
    phase->put(l, limit);
    l->asked_epoch = l->epoch;
    l->asked =
        db_submit(dbpool_lane(l->p->pool, LANE_FILL), &call, 1, READ_TIMEOUT, on_page, l) == 0;
}

void
load_start(struct partition *p)
{
    struct load *l = p->load;

    l->rested |= p->rest;
    p->rest = false; /* served */
    p->doubts = 0;
    l->epoch = p->epoch;
    l->phase = LOAD_DEVICES;
    l->after = 0;
    if (!l->asked)
        ask_page(l);
}

/* Goes on when something was in the way: the lane was down, or slots were full. */
void
load_tick(struct load *l)
{
    if (!l->asked && current(l))
        ask_page(l);
    if (l->changed_count > 0 && l->changed_asked == 0)
        ask_changed(l);
}

/* An older driver's send that was on the wire during the rest may have ended, and been recorded,
 * just before its claim was looked for: nothing tells of it but the time. */
static void
open_device(void *arg, struct device *d)
{
    struct partition *p = arg;

    if (p->load->rested)
        pace_rest(d, clock_boot(), p->rng);
    run_low(p, d);
}

void
load_open(struct partition *p)
{
    schedule_each(p->devices, open_device, p);
    p->load->rested = false;
}

/* ---- devices that an import changed ---- */

static int
keep_changed(struct load *l, int32_t device_id)
{
    if (l->changed_count == l->changed_capacity) {
        uint32_t capacity = MAX_OF(l->changed_capacity * 2, 64u);
        int32_t *grown = realloc(l->changed, capacity * sizeof(*grown));

        if (!grown)
            return -ENOMEM;
        l->changed = grown;
        l->changed_capacity = capacity;
    }
    l->changed[l->changed_count++] = device_id;
    return 0;
}

/* What is being read may be older than this change: it is read once more. */
int
load_ask_device(struct load *l, int32_t device_id)
{
    struct device *d = schedule_find(l->p->devices, device_id);
    int r = d && d->changed ? 0 : keep_changed(l, device_id);

    if (d && r == 0)
        d->changed = true;
    partition_wake(l->p);
    return r;
}

static void
on_changed(void *arg, enum db_outcome outcome, const struct db_reply *reply)
{
    struct load *l = arg;
    uint32_t asked = l->changed_asked;

    l->changed_asked = 0;
    if (outcome == DB_REFUSED)
        partition_log_refused(l->p, "devices_by_id", reply);
    if (outcome != DB_DONE)
        return; /* asked again */
    l->changed_count -= asked;
    memmove(l->changed, l->changed + asked, l->changed_count * sizeof(*l->changed));
    for (unsigned row = 0; row < db_rows(reply, 0); row++) {
        int32_t id = (int32_t) db_get_int(reply, 0, row, 0);
        struct device *d = schedule_find(l->p->devices, id);
        int err;

        if (d && d->changed)
            continue; /* since it was asked for: an acknowledged pause is not taken back */
        err = put_device(l->p, reply, row, &d);
        if (err == 0)
            run_low(l->p, d);
        else
            log_event(LOG_LEVEL_ERROR, "device.not_read",
                      "partition=%s device=%" PRId32 " error=%s", l->p->config.name, id,
                      strerror(-err));
    }
    partition_wake(l->p);
}

static void
ask_changed(struct load *l)
{
    const struct db_call call = {.statement = STORE_DEVICES_BY_ID, .args = &l->changed_args};
    uint32_t count = MIN_OF(l->changed_count, CHANGED_PER_ASK);

    if (!partition_may_write(l->p))
        return;
    db_args_reset(&l->changed_args);
    db_put_int4s(&l->changed_args, l->changed, count);
    if (db_submit(dbpool_lane(l->p->pool, LANE_FILL), &call, 1, READ_TIMEOUT, on_changed, l) < 0)
        return;
    l->changed_asked = count;
    for (uint32_t i = 0; i < count; i++) {
        struct device *d = schedule_find(l->p->devices, l->changed[i]);

        if (d)
            d->changed = false;
    }
}

/* ---- life ---- */

int
load_new(struct load **ret, struct partition *p)
{
    struct load *l = calloc(1, sizeof(*l));
    unsigned slots = sender_slots(p->sender);

    if (!l)
        return -ENOMEM;
    l->p = p;
    l->tokens = calloc(slots, sizeof(*l->tokens));
    int r = l->tokens ? db_args_init(&l->args, slots * 20u + 1024u) : -ENOMEM;
    if (r == 0)
        r = db_args_init(&l->changed_args, CHANGED_PER_ASK * 8u + 64u);
    if (r < 0) {
        load_free(l);
        return r;
    }
    *ret = l;
    return 0;
}

struct load *
load_free(struct load *l)
{
    if (!l)
        return NULL;
    db_args_done(&l->args);
    db_args_done(&l->changed_args);
    free(l->tokens);
    free(l->changed);
    free(l);
    return NULL;
}
