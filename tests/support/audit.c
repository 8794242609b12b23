/* audit.c - compares the driver's own list with the provider's receipts and the exported states. */
#include "audit.h"

#include <errno.h>
#include <string.h>

#include "audit_inner.h"
#include "audit_read.h"

#define NAMED_MAX     20u
#define TWO_READINGS  (20 * USEC_PER_MSEC) /* of the database's clock: half a round trip each */
#define UNKNOWN_WAITS (24ull * 3600 * USEC_PER_SEC) /* then a step goes on without its outcome */

void
audit_offence(struct audit *a, uint64_t *count, const char *name, const char *what)
{
    if ((*count)++ < NAMED_MAX && a->details)
        fprintf(a->details, "%s: %s\n", name, what);
}

char *
audit_join(const char *x, const char *y)
{
    char *out = NULL;
    return asprintf(&out, "%s\n%s", x, y) < 0 ? NULL : out;
}

static const char *
column(const struct audit_row *h, const struct audit_row *row, const char *name)
{
    int i = audit_column(h, name);
    return i >= 0 && (unsigned) i < row->count ? row->fields[i] : "";
}

/* ---- what we claim ---- */

static void
keep_exported(struct audit *a, const char *token, const char *source, long step, const char *state)
{
    struct audit_exported *e = calloc(1, sizeof(*e)), *known;
    HASH_FIND_STR(a->exported, token, known);
    if (known) {
        audit_offence(a, &a->r.duplicates, "two exported rows with one token", token);
        free(e);
        return;
    }
    e->token = strdup(token);
    e->source = strdup(source);
    e->state = strdup(state);
    e->step = step;
    HASH_ADD_KEYPTR(hh, a->exported, e->token, strlen(e->token), e);
}

static int
on_message(void *arg, const struct audit_row *h, const struct audit_row *row)
{
    struct audit *a = arg;
    long id = atol(column(h, row, "device_id")), step = atol(column(h, row, "step"));
    struct audit_sender *s;
    HASH_FIND(by_id, a->by_id, &id, sizeof(id), s);
    const char *phone = column(h, row, "phone"), *state = column(h, row, "state"),
               *source = column(h, row, "source");
    char plus[40];
    snprintf(plus, sizeof(plus), "%s%.30s", phone[0] == '+' ? "" : "+", phone);
    char *pair = audit_join(s ? s->address : "?", plus), *key = audit_wish_key(source, step, pair);
    struct audit_wish *w;
    HASH_FIND_STR(a->wishes, key, w);
    /* Attempts that failed before a sent one do not hide it. */
    if (w && strcmp(w->state, "sent") != 0 &&
        !(strcmp(w->state, "unknown") == 0 && strcmp(state, "failed") == 0))
        snprintf(w->state, sizeof(w->state), "%s", state);
    free(pair);
    free(key);
    keep_exported(a, column(h, row, "token"), source, step, state);
    return 0;
}

/* ---- what the provider received ---- */

static bool
has_text(const struct audit_wish *w, const char *text)
{
    for (unsigned i = 0; i < w->text_count; i++)
        if (strcmp(w->texts[i], text) == 0)
            return true;
    return false;
}

/* The wish that a receipt answers: by its token's row, else by text, else the first of the pair. */
static struct audit_wish *
wish_of(struct audit *a, const struct audit_receipt *r, const struct audit_exported *e,
        struct audit_wish *head)
{
    if (e) {
        char *key = audit_wish_key(e->source, e->step, head->pair);
        struct audit_wish *w;
        HASH_FIND_STR(a->wishes, key, w);
        free(key);
        if (w)
            return w;
    }
    struct audit_wish *same = NULL;
    for (struct audit_wish *w = head; w; w = w->next_same)
        if (has_text(w, r->text) && (!same || (same->taken && !w->taken)))
            same = w;
    return same ? same : head;
}

static void
keep_send(struct audit *a, const struct audit_receipt *r, const char *source)
{
    if (a->send_count == a->send_room) {
        a->send_room = a->send_room ? a->send_room * 2 : 1024;
        a->sends = realloc(a->sends, a->send_room * sizeof(*a->sends));
        if (!a->sends)
            abort();
    }
    a->sends[a->send_count++] =
        (struct audit_send){r->first,           r->last,          r->end,        r->taken,
                            strdup(r->address), strdup(r->token), strdup(r->to), source};
}

static void
take_receipt(struct audit_wish *w, const struct audit_receipt *r)
{
    if (w->taken++ == 0 || r->first < w->first) {
        w->first = r->first;
        w->done = r->end ? r->end : r->last;
    }
}

static int
on_receipt(void *arg, const struct audit_receipt *r)
{
    struct audit *a = arg;
    struct audit_exported *e;
    HASH_FIND_STR(a->exported, r->token, e);
    char *pair = audit_join(r->address, r->to);
    struct audit_wish *head, *w;
    HASH_FIND(by_pair, a->pairs, pair, strlen(pair), head);
    free(pair);
    w = head ? wish_of(a, r, e, head) : NULL;
    keep_send(a, r, e ? e->source : w && w->source ? w->source->name : "");
    if (!r->taken)
        return 0;
    a->r.received++;
    if (!a->first_seen || r->first < a->first_seen)
        a->first_seen = r->first;
    if (r->first > a->last_seen)
        a->last_seen = r->first;
    if (!w) {
        audit_offence(a, &a->r.phantom, "phantom: nobody asked for it", r->token);
        return 0;
    }
    take_receipt(w, r);
    if (!has_text(w, r->text))
        audit_offence(a, &a->r.wrong_text, "wrong text", r->token);
    return 0;
}

/* ---- wishes against both ---- */

static bool
is(const struct audit_wish *w, const char *state)
{
    return strcmp(w->state, state) == 0;
}

static bool
is_sent(const struct audit_wish *w)
{
    return is(w, "sent") || is(w, "delivered") || is(w, "read");
}

static bool
is_skipped(const struct audit_wish *w)
{
    return is(w, "skipped") || is(w, "expired");
}

/* Only one of two contents has this step, and the lead went by the other one. */
static bool
left_out(const struct audit *a, const struct audit_wish *w)
{
    return a->in->older && w->contents != 3 && w->taken == 0 && w->state[0] == '\0';
}

static const struct audit_wish *
step_before(const struct audit *a, const struct audit_wish *w)
{
    const struct audit_wish *b = w->before;
    while (b && left_out(a, b))
        b = b->before;
    return b;
}

/* What came of the step before lets this one be sent. */
static bool
may_follow(const struct audit_wish *before)
{
    if (!before)
        return true;
    return is_sent(before) ||
           (is(before, "failed") && before->source && before->source->goes_on_after_failure) ||
           (is_skipped(before) && before->source && !before->source->stops_on_skip);
}

/* Steps in order, each only after the one before was settled, and not before its delay. */
static void
judge_order(struct audit *a, const struct audit_wish *w)
{
    const struct audit_wish *b = step_before(a, w);
    if (!b || w->taken == 0)
        return;
    bool after_doubt = is(b, "unknown") && b->taken && w->first >= b->first + UNKNOWN_WAITS;
    if (!may_follow(b) && !after_doubt && !audit_forgotten(a, b)) /* its row names nobody */
        audit_offence(a, &a->r.out_of_order, "sent although the step before does not allow it",
                      w->key);
    while (b && b->taken == 0)
        b = step_before(a, b);
    if (b && w->first + MIN_OF(w->delay, TWO_READINGS) < b->done + w->delay) {
        char what[512];
        snprintf(what, sizeof(what), "%.1f ms after the step before, not %.1f: %s",
                 ((double) w->first - (double) b->done) / 1e3, (double) w->delay / 1e3, w->key);
        audit_offence(a, w->first < b->done ? &a->r.out_of_order : &a->r.step_too_soon,
                      "step too early", what);
    }
}

static void
judge_receipts_of(struct audit *a, const struct audit_wish *w, bool not_due)
{
    bool unknown = is(w, "unknown"), ended = is(w, "failed") || is_skipped(w) || is(w, "cancelled");
    for (unsigned i = 1; i < w->taken; i++)
        audit_offence(a, &a->r.duplicates, "sent twice", w->key);
    if (is_sent(w) && w->taken == 0)
        audit_offence(a, &a->r.false_sent, "said to be sent, never received", w->key);
    if (w->taken == 0 && !is_sent(w) && !unknown && !ended && !not_due)
        audit_offence(a, &a->r.lost, "lost", w->key);
    if (w->taken > 0 && !is_sent(w) && !unknown && !audit_forgotten(a, w))
        audit_offence(a, &a->r.hidden_unknown, "received, but not shown as sent or unknown",
                      w->key);
    judge_order(a, w);
}

static void
judge_wishes(struct audit *a)
{
    for (struct audit_wish *w = a->wishes; w; w = w->hh.next) {
        bool absent = w->state[0] == '\0',
             not_due = absent &&
                       (!may_follow(step_before(a, w)) || left_out(a, w) || audit_excused(a, w));
        a->r.sent += is_sent(w);
        a->r.unknown += is(w, "unknown");
        a->r.failed += is(w, "failed");
        a->r.ended += is_skipped(w) || is(w, "cancelled");
        a->r.waiting += absent;
        a->r.not_due += not_due;
        if (a->in->receipts)
            judge_receipts_of(a, w, not_due);
    }
}

static void
audit_done(struct audit *a)
{
    struct audit_exported *e, *e2;
    HASH_ITER(hh, a->exported, e, e2)
    {
        HASH_DEL(a->exported, e);
        free(e->token);
        free(e->source);
        free(e->state);
        free(e);
    }
    for (size_t i = 0; i < a->send_count; i++) {
        free(a->sends[i].address);
        free(a->sends[i].token);
        free(a->sends[i].to);
    }
    free(a->sends);
    free(a->silences);
    audit_wishes_done(a);
}

int
audit_run(const struct audit_input *in, struct audit_result *ret, FILE *details, FILE *errors)
{
    struct audit a = {.in = in, .details = details, .errors = errors};
    int rc = audit_wishes_read(&a);
    if (rc == 0)
        rc = audit_silences_read(&a);
    if (rc == 0)
        rc = audit_read_csv(in->messages, NULL, on_message, &a, errors);
    if (rc == 0 && in->receipts)
        rc = audit_read_receipts(in->receipts, on_receipt, &a, errors);
    if (rc == 0) {
        judge_wishes(&a);
        audit_judge_time(&a);
        if (a.last_seen > a.first_seen)
            a.r.messages_per_s =
                (double) (a.r.received - 1) * 1e6 / (double) (a.last_seen - a.first_seen);
        *ret = a.r;
    }
    audit_done(&a);
    return rc;
}

uint64_t
audit_offences(const struct audit_result *r)
{
    return r->lost + r->duplicates + r->phantom + r->false_sent + r->hidden_unknown +
           r->wrong_text + r->pacing_violations + r->after_optout + r->two_drivers +
           r->out_of_order + r->step_too_soon + r->after_order + r->in_quiet_hours + r->over_cap;
}

void
audit_print(const struct audit_result *r, bool receipts, FILE *out)
{
    char received[32] = "not checked";
    if (receipts)
        snprintf(received, sizeof(received), "%llu", (unsigned long long) r->received);
    fprintf(out,
            "  asked %llu   received %s   sent %llu   unknown %llu   failed %llu   ended %llu   "
            "waiting %llu\n",
            (unsigned long long) r->asked, received, (unsigned long long) r->sent,
            (unsigned long long) r->unknown, (unsigned long long) r->failed,
            (unsigned long long) r->ended, (unsigned long long) r->waiting);
    if (!receipts)
        return;
    fprintf(out,
            "  lost %llu   twice %llu   phantom %llu   false sent %llu   hidden unknown %llu   "
            "wrong text %llu   too early %llu   after opt-out %llu   two drivers %llu\n",
            (unsigned long long) r->lost, (unsigned long long) r->duplicates,
            (unsigned long long) r->phantom, (unsigned long long) r->false_sent,
            (unsigned long long) r->hidden_unknown, (unsigned long long) r->wrong_text,
            (unsigned long long) r->pacing_violations, (unsigned long long) r->after_optout,
            (unsigned long long) r->two_drivers);
    fprintf(
        out,
        "  out of order %llu   step too soon %llu   after pause or cancel %llu   in quiet hours "
        "%llu   over a cap %llu\n",
        (unsigned long long) r->out_of_order, (unsigned long long) r->step_too_soon,
        (unsigned long long) r->after_order, (unsigned long long) r->in_quiet_hours,
        (unsigned long long) r->over_cap);
}
