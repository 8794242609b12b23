/* Where a source's leads are, in buckets that sum to its audience; and the life of one message. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "node/explain.h"
#include "node/outcome.h"
#include "node/sender.h"

/* ---- a campaign, a sequence ---- */

/*
 * Row 0 of STORE_EXPLAIN_SOURCE: audience, not_in_audience, sent, failed, unknown, expired,
 * skipped, cancelled, state, source_id. The others, by device, revision and step: due, later,
 * claimed, when the first of the later ones is due.
 */
enum { DEVICE, REVISION, STEP, DUE, LATER, CLAIMED, FIRST_DUE };

#define HOLDS_MAX (GATE_COUNT + 3u)

struct buckets {
    int64_t later, claimed, first_due;
    struct {
        const char *name;
        int64_t count, opens;
    } held[HOLDS_MAX]; /* due, and held */
    unsigned held_count;
};

static void
add_held(struct buckets *b, const struct explain_verdict *v, int64_t count)
{
    unsigned n = 0;

    while (n < b->held_count && strcmp(b->held[n].name, v->name) != 0)
        n++;
    if (n == b->held_count) {
        b->held[n].name = v->name;
        b->held[n].opens = INT64_MAX;
        b->held_count++;
    }
    b->held[n].count += count;
    if (v->hold != HOLD_NONE)
        b->held[n].opens = MIN_OF(b->held[n].opens, v->opens);
}

static void
gather(struct explain *e, int32_t source_id, struct buckets *b)
{
    const struct db_reply *r = e->reply;

    for (unsigned row = 1; row < db_rows(r, 0); row++) {
        int64_t due = db_get_int(r, 0, row, DUE);

        b->later += db_get_int(r, 0, row, LATER);
        b->claimed += db_get_int(r, 0, row, CLAIMED);
        if (!db_is_null(r, 0, row, 10))
            b->first_due = MIN_OF(b->first_due, db_get_time(r, 0, row, 10));
        if (due == 0)
            continue;
        struct explain_verdict v =
            explain_entry(e, (int32_t) db_get_int(r, 0, row, DEVICE), source_id,
                          (int16_t) db_get_int(r, 0, row, REVISION),
                          (int16_t) db_get_int(r, 0, row, STEP));
        add_held(b, &v, due);
    }
}

static void
put_bucket(struct explain *e, const char *name, int64_t count, int64_t opens)
{
    struct cell *row = explain_row(e);

    row[0] = explain_words(e, "%s", name);
    row[1] = explain_number(count);
    if (opens == INT64_MAX || opens == INT64_MIN)
        row[2] = explain_words(e, "%s", "");
    else
        row[2] = explain_words(e, "the first in %" PRId64 " s",
                               MAX_OF(opens - e->db_now, (int64_t) 0) / (int64_t) USEC_PER_SEC);
}

static void
put_ended(struct explain *e)
{
    static const char *const names[] = {"not_in_audience", "sent",    "failed",   "unknown",
                                        "expired",         "skipped", "cancelled"};

    for (unsigned n = 0; n < ARRAY_SIZE(names); n++)
        put_bucket(e, names[n], db_get_int(e->reply, 0, 0, n + 1), INT64_MAX);
}

void
explain_source(struct explain *e)
{
    const struct db_reply *r = e->reply;
    struct buckets b = {.first_due = INT64_MAX};

    if (db_rows(r, 0) == 0)
        return;
    int64_t left = db_get_int(r, 0, 0, 0);

    gather(e, (int32_t) db_get_int(r, 0, 0, 9), &b);
    put_ended(e);
    for (unsigned n = 1; n <= 7; n++)
        left -= db_get_int(r, 0, 0, n);
    put_bucket(e, "in_flight", b.claimed, INT64_MAX);
    put_bucket(e, "due_later", b.later, b.first_due);
    left -= b.claimed + b.later;
    for (unsigned n = 0; n < b.held_count; n++) {
        put_bucket(e, b.held[n].name, b.held[n].count, b.held[n].opens);
        left -= b.held[n].count;
    }
    /* What no row stands for yet: behind the cursors. */
    put_bucket(e, "not_enrolled", left, INT64_MAX);
}

/* What a pause or a cancel could not call back any more. */
void
explain_on_wire(struct explain *e)
{
    for (unsigned row = 0; row < db_rows(e->reply, 0); row++)
        *explain_row(e) = explain_number(
            sender_on_wire_of(e->p->sender, (int32_t) db_get_int(e->reply, 0, row, 0)));
}

/* ---- a message ---- */

enum life { LIFE_ENROLLED, LIFE_CLAIM, LIFE_END, LIFE_RECEIPT, LIFE_NOW };

/* Columns of STORE_EXPLAIN_MESSAGE: at, event, state, reason, words, step, attempt, epoch. */
static struct cell
event_detail(struct explain *e, unsigned n, enum life event)
{
    const struct db_reply *r = e->reply;
    int state = (int) db_get_int(r, 0, n, 2);
    const char *reason = reason_name((int) db_get_int(r, 0, n, 3));
    struct slice words = db_get_text(r, 0, n, 4);

    switch (event) {
    case LIFE_ENROLLED: return explain_words(e, "trigger \"%.*s\"", (int) words.bytes, words.data);
    case LIFE_CLAIM:
        return explain_words(e, "step %" PRId64 ", attempt %" PRId64 ", epoch %" PRId64 " by %.*s",
                             db_get_int(r, 0, n, 5), db_get_int(r, 0, n, 6), db_get_int(r, 0, n, 7),
                             (int) words.bytes, words.data);
    case LIFE_END:
    case LIFE_RECEIPT:
        return explain_words(e, "%s%s%s%s%.*s", message_state_name(state), *reason ? ": " : "",
                             reason, words.bytes ? ", provider id " : "", (int) words.bytes,
                             words.data);
    case LIFE_NOW: break;
    }
    static const char *const states[] = {"waits", "is claimed", "is unknown", "is through"};
    return explain_words(e, "the lead %s%s%s, step %" PRId64, state < 4 ? states[state] : "?",
                         *reason ? ": " : "", reason, db_get_int(r, 0, n, 5));
}

void
explain_message(struct explain *e)
{
    static const char *const names[] = {"enrolled", "claimed", "settled", "receipt", "now"};
    const struct db_reply *r = e->reply;

    for (unsigned n = 0; n < db_rows(r, 0); n++) {
        struct cell *row = explain_row(e);
        int64_t event = db_get_int(r, 0, n, 1);

        row[0] = explain_time(db_get_time(r, 0, n, 0));
        row[1] = explain_words(e, "%s", event >= 0 && event < 5 ? names[event] : "?");
        row[2] = event_detail(e, n, (enum life) event);
    }
}
