/* What holds a device, and the rows of a lead: gates from memory beside rows from the database. */
#include "node/explain.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/outcome.h"

/* ---- rows ---- */

int
explain_begin(struct explain *e, struct partition *p, const struct db_reply *reply,
              unsigned column_count)
{
    usec_t now = clock_boot();

    *e = (struct explain){.p = p,
                          .reply = reply,
                          .now = now,
                          .db_now = partition_db_now(p, now),
                          .column_count = column_count,
                          .cells =
                              calloc((EXPLAIN_ROWS_MAX + 1) * column_count, sizeof(struct cell)),
                          .words = malloc(EXPLAIN_WORDS_MAX)};
    return e->cells && e->words ? 0 : -ENOMEM;
}

void
explain_end(struct explain *e)
{
    free(e->cells);
    free(e->words);
}

struct cell *
explain_row(struct explain *e)
{
    struct cell *row = e->cells + (size_t) e->row_count * e->column_count;

    memset(row, 0, e->column_count * sizeof(*row));
    e->row_count += e->row_count < EXPLAIN_ROWS_MAX;
    return row;
}

struct cell
explain_text(struct slice text)
{
    return (struct cell){.kind = CELL_TEXT, .text = text};
}

struct cell
explain_words(struct explain *e, const char *format, ...)
{
    char *at = e->words + e->words_used;
    size_t room = EXPLAIN_WORDS_MAX - e->words_used;
    va_list args;

    va_start(args, format);
    int n = vsnprintf(at, room, format, args);
    va_end(args);
    if (n < 0 || (size_t) n >= room)
        return explain_text((struct slice){"", 0});
    e->words_used += (size_t) n;
    return explain_text((struct slice){at, (size_t) n});
}

struct cell
explain_number(int64_t n)
{
    return (struct cell){.kind = CELL_INT, .number = n};
}

struct cell
explain_time(int64_t unix_usec)
{
    if (unix_usec == INT64_MAX || unix_usec == INT64_MIN)
        return (struct cell){.kind = CELL_NULL};
    return (struct cell){.kind = CELL_TIME, .number = unix_usec};
}

/* ---- verdicts ---- */

static struct explain_verdict
held_by(enum explain_hold hold, const char *name, int64_t opens)
{
    return (struct explain_verdict){.hold = hold, .name = name, .opens = opens};
}

static const char *
source_hold(const struct source *s)
{
    if (!s)
        return "source_unknown";
    switch (s->state) {
    case SOURCE_PAUSED: return "source_paused";
    case SOURCE_CANCELLED: return "source_cancelled";
    case SOURCE_DRAFT: return "source_not_started";
    case SOURCE_ACTIVE: break;
    }
    return "text_unusable";
}

struct explain_verdict
explain_entry(struct explain *e, int32_t device_id, int32_t source_id, int16_t revision,
              int16_t step)
{
    const struct pace_now now = partition_pace_now(e->p, e->now);
    const struct device *d = schedule_find(e->p->devices, device_id);
    const struct source *s = book_source(e->p->book, source_id);
    const struct source_step *st = s ? source_step(s, revision, step) : NULL;
    int64_t opens = INT64_MAX;

    if (!d)
        return held_by(HOLD_NOT_HERE, "driver", INT64_MAX);
    if (!s || !source_sends(s))
        return held_by(HOLD_SOURCE, source_hold(s),
                       s && s->state == SOURCE_PAUSED ? s->until : INT64_MAX);
    if (st && !zone_window_open(d->zone, st->window, e->db_now, &opens))
        return held_by(HOLD_WINDOW, "step_window", opens);
    struct pace_verdict v = pace_decide(d, &now);
    return held_by(v.gate == GATE_OPEN ? HOLD_NONE : HOLD_GATE, gate_name(v.gate), v.db_opens);
}

/* ---- a device ---- */

static void
window_words(char out[static 24], struct content_window w)
{
    content_write_window(out, 24, w);
}

static struct cell
breaker_detail(struct explain *e, const struct device *d)
{
    const struct breaker *all[] = {d->url_breaker, d->scope_breaker, d->account_breaker};
    static const char *const names[] = {"server", "token", "account"};
    char words[256] = "";
    size_t used = 0;

    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        used += (size_t) snprintf(words + used, sizeof(words) - used,
                                  "%s%s %s, %u of the last %u in doubt", i ? "; " : "", names[i],
                                  breaker_state_name(all[i]->state), all[i]->window_doubts,
                                  all[i]->window_count);
    return explain_words(e, "%s", words);
}

static struct cell
paused_detail(struct explain *e, const struct device *d, const struct pace_verdict *v)
{
    if (v->gate != GATE_PAUSED)
        return explain_words(e, "%s", "");
    if (v->cause == PACE_CLUSTER)
        return explain_words(e, "the whole cluster is paused");
    return explain_words(e, "%s", *d->paused_because ? d->paused_because : "this device is paused");
}

static struct cell
quiet_detail(struct explain *e, const struct device *d)
{
    char window[24];

    if (d->quiet.from == d->quiet.to)
        return explain_words(e, "none; zone %s", d->zone->name);
    window_words(window, d->quiet);
    return explain_words(e, "%s %s", window, d->zone->name);
}

static struct cell
cap_detail(struct explain *e, const struct quota *q, bool known, int32_t unit, uint32_t cap)
{
    if (cap == 0)
        return explain_words(e, "none");
    if (!known)
        return explain_words(e, "%u", cap);
    return explain_words(e, "%u of %u used", quota_used(q, unit), cap);
}

static struct cell
warmup_detail(struct explain *e, const struct device *d, bool known)
{
    const struct warmup *w = &e->p->config.warmup;

    if (d->warm_from == WARM_FROM_NEVER)
        return explain_words(e, "no age was given, no limit");
    if (!known)
        return explain_words(e, "%s", "");
    int32_t day = zone_day(d->zone, e->db_now), age = day - d->warm_from;
    uint32_t limit = warmup_limit(w, d->warm_from, day);
    if (limit == QUOTA_NONE)
        return explain_words(e, "day %" PRId32 ", no limit", age);
    return explain_words(e, "day %" PRId32 ", %u of %u used", age, quota_used(&d->day, day), limit);
}

static struct cell
gap_detail(struct explain *e, const struct device *d)
{
    usec_t since = e->now > d->gap_ends ? e->now - d->gap_ends : 0;

    return explain_words(e, "%.3g-%.3g s; over since %.3g s", d->min_delay_ms / 1e3,
                         d->max_delay_ms / 1e3, (double) since / 1e6);
}

static struct cell
health_detail(struct explain *e, const struct device *d)
{
    if (!d->gateway)
        return explain_words(e, "this program does not know its transport");
    if (d->health != 0)
        return explain_words(e, "health %u", d->health);
    return explain_words(e, "%s",
                         d->held_until > e->now ? "the provider or its token holds it" : "");
}

static struct cell
gate_detail(struct explain *e, const struct device *d, enum gate g, const struct pace_verdict *v)
{
    bool known = zone_known(d->zone, e->db_now);

    if (v->cause == PACE_ZONE)
        return explain_words(e, "zone data not read yet: %s", d->zone->name);
    switch (g) {
    case GATE_DRIVER:
        return explain_words(e, "%s", v->gate == GATE_DRIVER ? e->p->reason : e->p->config.node);
    case GATE_HEALTH: return health_detail(e, d);
    case GATE_BREAKER: return breaker_detail(e, d);
    case GATE_PAUSED: return paused_detail(e, d, v);
    case GATE_QUIET: return quiet_detail(e, d);
    case GATE_CAP:
        return cap_detail(e, &d->day, known, known ? zone_day(d->zone, e->db_now) : 0,
                          d->daily_cap);
    case GATE_HOURLY:
        return cap_detail(e, &d->hour, known, known ? zone_hour(d->zone, e->db_now) : 0,
                          d->hourly_cap);
    case GATE_WARMUP: return warmup_detail(e, d, known);
    case GATE_GAP: return gap_detail(e, d);
    case GATE_OPEN:
    case GATE_COUNT: break;
    }
    return explain_words(e, "%s", "");
}

static void
put_gate(struct explain *e, const char *item, const struct device *d, enum gate g,
         const struct pace_verdict *v, const char *verdict)
{
    struct cell *row = explain_row(e);

    row[0] = explain_words(e, "%s", item);
    row[1] = explain_words(e, "%s", verdict);
    if (v->gate != GATE_OPEN)
        row[2] = explain_time(v->db_opens);
    row[3] = gate_detail(e, d, g, v);
}

static void
put_item(struct explain *e, const char *item, struct cell detail)
{
    struct cell *row = explain_row(e);

    row[0] = explain_words(e, "%s", item);
    row[1] = explain_words(e, "%s", "");
    row[3] = detail;
}

/* The row of STORE_EXPLAIN_DEVICE: name, transport, address, residence; per kind how many wait and
 * when the first is due; claimed, unknown; leads behind a campaign's cursor. */
static void
put_waiting(struct explain *e, const char *item, unsigned column, int64_t behind)
{
    const struct db_reply *r = e->reply;
    int64_t due = db_is_null(r, 0, 0, column + 1) ? INT64_MAX : db_get_time(r, 0, 0, column + 1);
    char first[64] = "", more[64] = "";

    if (due <= e->db_now)
        snprintf(first, sizeof(first), ", due now");
    else if (due != INT64_MAX)
        snprintf(first, sizeof(first), ", first due in %" PRId64 " s",
                 (due - e->db_now) / (int64_t) USEC_PER_SEC);
    if (behind > 0)
        snprintf(more, sizeof(more), ", %" PRId64 " leads not enrolled yet", behind);
    put_item(e, item,
             explain_words(e, "%" PRId64 "%s%s", db_get_int(r, 0, 0, column), first, more));
}

static void
put_counts(struct explain *e)
{
    const struct db_reply *r = e->reply;

    put_waiting(e, "waiting_direct", 4, 0);
    put_waiting(e, "waiting_campaign", 6, db_get_int(r, 0, 0, 12));
    put_waiting(e, "waiting_sequence", 8, 0);
    put_item(e, "in_flight", explain_words(e, "%" PRId64, db_get_int(r, 0, 0, 10)));
    put_item(e, "unknown", explain_words(e, "%" PRId64, db_get_int(r, 0, 0, 11)));
}

/* Frozen, gone, or it came a moment ago. */
static void
put_not_here(struct explain *e)
{
    static const char *const where[] = {"it is being read", "it is moving away", "it moved away"};
    int64_t residence = db_get_int(e->reply, 0, 0, 3);
    struct cell *row = explain_row(e);

    row[0] = explain_words(e, "held_by");
    row[1] = explain_words(e, "driver");
    row[3] = explain_words(e, "%s", residence >= 0 && residence < 3 ? where[residence] : "?");
    put_counts(e);
}

void
explain_device(struct explain *e)
{
    const struct db_reply *r = e->reply;
    const struct pace_now now = partition_pace_now(e->p, e->now);
    struct pace_verdict all[GATE_COUNT], first;

    if (db_rows(r, 0) == 0)
        return;
    int32_t id = (int32_t) db_get_int(r, 0, 0, 13);
    const struct device *d = schedule_find(e->p->devices, id);
    struct slice name = db_get_text(r, 0, 0, 0), transport = db_get_text(r, 0, 0, 1),
                 address = db_get_text(r, 0, 0, 2);

    put_item(e, "device",
             explain_words(e, "\"%.*s\" %.*s %.*s, epoch %" PRIu64, (int) name.bytes, name.data,
                           (int) transport.bytes, transport.data, (int) address.bytes, address.data,
                           e->p->epoch));
    if (!d) {
        put_not_here(e);
        return;
    }
    pace_explain(d, &now, all);
    first = pace_decide(d, &now);
    put_gate(e, "held_by", d, first.gate, &first, gate_name(first.gate));
    for (enum gate g = GATE_DRIVER; g < GATE_COUNT; g++)
        put_gate(e, gate_name(g), d, g, &all[g], all[g].gate == GATE_OPEN ? "open" : "holds");
    put_counts(e);
}

/* ---- the rows of a lead ---- */

static const char *
kind_name(int64_t kind)
{
    static const char *const names[] = {"direct", "campaign", "sequence"};

    return kind >= 0 && kind < 3 ? names[kind] : "?";
}

/* What a row of STORE_EXPLAIN_LEAD says: 0 waiting, 1 claimed, 2 unknown, 3 ended, 4 behind the
 * cursor, 5 the cursor passed it and nothing waits. */
static const char *
lead_state(int64_t state)
{
    static const char *const names[] = {"waiting", "claimed",      "unknown",
                                        "ended",   "not_enrolled", "ended"};

    return state >= 0 && state < 6 ? names[state] : "?";
}

static void
put_hold(struct explain *e, struct cell *row, const struct explain_verdict *v)
{
    row[9] = explain_words(e, "%s", v->name);
    if (v->hold != HOLD_NONE)
        row[10] = explain_time(v->opens);
}

static void
put_held(struct explain *e, struct cell *row, unsigned n)
{
    const struct db_reply *r = e->reply;
    int64_t due = db_get_time(r, 0, n, 7), state = db_get_int(r, 0, n, 6);
    struct explain_verdict v =
        explain_entry(e, (int32_t) db_get_int(r, 0, n, 0), (int32_t) db_get_int(r, 0, n, 8),
                      (int16_t) db_get_int(r, 0, n, 4), (int16_t) db_get_int(r, 0, n, 5));

    if (db_get_bool(r, 0, n, 10)) {
        row[9] = explain_words(e, "opted_out");
        return;
    }
    if (state == 0 && due > e->db_now && v.hold != HOLD_SOURCE) {
        v.hold = HOLD_WINDOW; /* anything that has a time */
        v.name = "due";
        v.opens = due;
    }
    put_hold(e, row, &v);
}

void
explain_lead(struct explain *e)
{
    const struct db_reply *r = e->reply;

    for (unsigned n = 0; n < db_rows(r, 0); n++) {
        struct cell *row = explain_row(e);
        int64_t state = db_get_int(r, 0, n, 6);

        row[0] = explain_number(db_get_int(r, 0, n, 0));
        row[1] = explain_number(db_get_int(r, 0, n, 1));
        row[2] = explain_text(db_get_text(r, 0, n, 2));
        row[3] = explain_words(e, "%s", kind_name(db_get_int(r, 0, n, 3)));
        row[4] = explain_number(db_get_int(r, 0, n, 4));
        row[5] = explain_number(db_get_int(r, 0, n, 5));
        row[6] = explain_number(db_get_int(r, 0, n, 9));
        row[7] = explain_words(e, "%s", lead_state(state));
        row[8] = explain_time(db_get_time(r, 0, n, 7));
        row[11] = explain_words(e, "%s", reason_name((int) db_get_int(r, 0, n, 11)));
        if (state == 0 || state == 4)
            put_held(e, row, n);
    }
}
