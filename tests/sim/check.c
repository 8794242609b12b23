/* What must hold: at each send, at each commit, and at the end. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "shared/content.h"
#include "tests/sim/world.h"

#define TIME_SLACK      (200 * USEC_PER_MSEC) /* how well a driver knows its database's clock */
#define RATE_SLACK(gap) ((gap) - (gap) / 50)  /* clocks run 1 % wrong, and twice */

/* By phone and what: the requests of one message; by device: its last one. */
struct history {
    char key[112];
    struct receipt *last;
    bool accepted; /* one that was not refused: no second may follow */
    UT_hash_handle hh;
};
struct of_device {
    int32_t device_id;
    struct receipt *last;
    uint64_t epoch;
    unsigned day_count;
    int64_t day;
    UT_hash_handle hh;
};
struct of_token {
    struct uuid token;
    struct receipt *receipt;
    UT_hash_handle hh;
};
static struct history *histories;
static struct of_device *devices;
static struct of_token *tokens;

void
check_open(void)
{
}

void
check_close(void)
{
    struct history *h, *next;
    struct of_device *d, *next_device;
    struct of_token *t, *next_token;

    HASH_ITER(hh, histories, h, next)
    {
        HASH_DEL(histories, h);
        free(h);
    }
    HASH_ITER(hh, devices, d, next_device)
    {
        HASH_DEL(devices, d);
        free(d);
    }
    HASH_ITER(hh, tokens, t, next_token)
    {
        HASH_DEL(tokens, t);
        free(t);
    }
}

static struct history *
history_of(uint64_t phone, const char *what, bool make)
{
    char key[112] = "";
    struct history *h;
    int bytes = snprintf(key, sizeof(key), "%" PRIu64 " %s", phone, what);

    HASH_FIND(hh, histories, key, (unsigned) bytes, h);
    if (h || !make)
        return h;
    h = calloc(1, sizeof(*h));
    assert(h);
    memcpy(h->key, key, sizeof(key));
    HASH_ADD_KEYPTR(hh, histories, h->key, (unsigned) bytes, h);
    return h;
}

static struct of_device *
device_of(int32_t device_id)
{
    struct of_device *d;

    HASH_FIND_INT(devices, &device_id, d);
    if (d)
        return d;
    d = calloc(1, sizeof(*d));
    assert(d);
    d->device_id = device_id;
    HASH_ADD_INT(devices, device_id, d);
    return d;
}

static unsigned
server_of(const char *partition)
{
    for (unsigned i = 0; i < world.server_count; i++)
        if (strcmp(world.servers[i].store.partition, partition) == 0)
            return i;
    sim_fail("a token names no partition: %s", partition);
    return 0;
}

/* "cold/2" -> its plan and step; NULL: a direct message. */
static const struct known_source *
plan_of(const char *what, int *ret_step)
{
    for (unsigned i = 0; i < world.plan_count; i++) {
        size_t n = strlen(world.plans[i].name);

        if (strncmp(what, world.plans[i].name, n) == 0 && what[n] == '/') {
            *ret_step = atoi(what + n + 1);
            return &world.plans[i];
        }
    }
    return NULL;
}

/* ---- the bytes leave ---- */

void
check_leaves(void *arg, const struct receipt *r)
{
    unsigned server = server_of(r->partition);
    const struct known_source *plan;
    int step = 0;

    plan = plan_of(r->what, &step);
    for (unsigned i = 0; i < world.optout_count; i++) {
        const struct optout *o = &world.optouts[i];

        if (o->phone == r->phone && o->since != 0 && o->since <= sim.now)
            sim_fail("%s left for %" PRIu64 " after its opt-out was acknowledged", r->what,
                     r->phone);
    }
    for (unsigned i = 0; plan && i < world.rule_count; i++) {
        const struct rule *rule = &world.rules[i];

        if (!rule->over && &world.plans[rule->source] == plan && rule->since[server] != 0 &&
            rule->since[server] <= sim.now)
            sim_fail("%s left after its pause or cancel was acknowledged", r->what);
    }
}

/* ---- the bytes arrive ---- */

static void
check_pace(const struct receipt *r, struct of_device *d)
{
    unsigned server = server_of(r->partition);
    const struct device_rec *row = store_device(&world.servers[server].store, r->device_id);
    const struct receipt *last = d->last;

    if (last) {
        usec_t ended = last->ended ? last->ended : last->first, gap = r->first - ended;
        usec_t least = RATE_SLACK((usec_t) row->min_delay_ms * USEC_PER_MSEC);

        if (gap < least)
            sim_fail("device %d: a gap of %" PRIu64 " ms, least is %d", r->device_id, gap / 1000,
                     row->min_delay_ms);
    }
    if (r->epoch < d->epoch)
        sim_fail("device %d has two drivers: epoch %" PRIu64 " after %" PRIu64, r->device_id,
                 r->epoch, d->epoch);
    d->epoch = r->epoch;
}

/* By the day of the database's clock, when the bytes left. Around midnight a send may belong to
 * either day: drivers know that clock that well, and a process that was frozen after the guard's
 * word goes on with what it had. */
static void
check_cap(const struct receipt *r, struct of_device *d)
{
    const struct server *s = &world.servers[server_of(r->partition)];
    const struct device_rec *row = store_device(&s->store, r->device_id);
    const int64_t day_usec = INT64_C(86400000000);
    int64_t at = SIM_START + (int64_t) r->left + s->clock, day = at / day_usec;

    if (row->daily_cap == 0 || world.clock_jumps ||
        at % day_usec < (int64_t) machine_timing.watchdog ||
        at % day_usec > day_usec - (int64_t) TIME_SLACK)
        return;
    d->day_count = d->day == day ? d->day_count + 1 : 1;
    d->day = day;
    if (d->day_count > (unsigned) row->daily_cap)
        sim_fail("device %d sent %u on a day, its cap is %d", r->device_id, d->day_count,
                 row->daily_cap);
}

static void
check_steps(const struct receipt *r)
{
    int step = 0;
    const struct known_source *plan = plan_of(r->what, &step);
    char before[80];

    if (!plan || plan->kind != CONTENT_SEQUENCE || step <= 1)
        return;
    snprintf(before, sizeof(before), "%s/%d", plan->name, step - 1);
    const struct history *h = history_of(r->phone, before, false);
    usec_t delay = plan->delays[step - 1];
    if (!h || !h->last)
        return; /* it failed or was skipped without a send: the rest of the rules is a test's */
    usec_t sent = h->last->ended ? h->last->ended : h->last->first;
    if (r->left + TIME_SLACK < sent + RATE_SLACK(delay) && !world.clock_jumps)
        sim_fail("%s left %" PRId64 " ms after %s, its delay is %" PRIu64, r->what,
                 ((int64_t) r->left - (int64_t) sent) / 1000, before, delay / 1000);
}

void
check_arrives(void *arg, struct receipt *r)
{
    struct history *h = history_of(r->phone, r->what, true);
    struct of_device *d = device_of(r->device_id);
    struct of_token *t = calloc(1, sizeof(*t));

    world.sends++;
    sim_say("provider: %s for %" PRIu64 " from device %d, epoch %" PRIu64, r->what, r->phone,
            r->device_id, r->epoch);
    if (h->last && !h->last->refused)
        sim_fail("%s reached %" PRIu64 " twice", r->what, r->phone);
    check_pace(r, d);
    check_cap(r, d);
    check_steps(r);
    h->last = r;
    d->last = r;
    assert(t);
    t->token = r->token;
    t->receipt = r;
    HASH_ADD(hh, tokens, token, sizeof(t->token), t);
}

/* ---- a commit ---- */

static void
check_sums(const struct server *s)
{
    for (unsigned i = 0; i < s->store.sources.count; i++) {
        const struct source_rec *r = &s->store.sources.at[i];
        const struct progress *p = &r->progress;
        int64_t sum = p->not_in_audience + p->sent + p->failed + p->unknown + p->expired +
                      p->skipped + p->cancelled;
        int64_t live = 0, unknown = 0, behind = 0;

        if (!p->there || r->state == 2)
            continue;
        for (unsigned k = 0; k < s->store.devices.count; k++) {
            const struct device_rec *d = &s->store.devices.at[k];
            const struct audience_row *y = audience_find(d, r->source_id);

            for (unsigned n = row_place(d, r->source_id, INT32_MIN);
                 n < d->rows.count && d->rows.at[n].source_id == r->source_id; n++) {
                live += d->rows.at[n].state != 2;
                unknown += d->rows.at[n].state == 2;
            }
            if (y && y->upto != OPEN_END_)
                behind += y->upto - y->cursor;
        }
        if (p->audience != sum + live + behind || p->unknown != unknown)
            sim_fail("%s of %s: audience %" PRId64 ", counted %" PRId64 " + live %" PRId64
                     " + behind %" PRId64 "; unknown %" PRId64 " of %" PRId64,
                     r->name, s->store.partition, p->audience, sum, live, behind, p->unknown,
                     unknown);
    }
}

static void
check_claims(const struct server *s)
{
    for (unsigned k = 0; k < s->store.devices.count; k++) {
        const struct device_rec *d = &s->store.devices.at[k];
        unsigned claimed = 0;

        for (unsigned n = 0; n < d->rows.count; n++)
            claimed += d->rows.at[n].state == 1 && d->rows.at[n].epoch == s->store.epoch;
        if (claimed > 64)
            sim_fail("device %d has %u claims of one epoch", d->device_id, claimed);
    }
}

void
check_committed(void *arg, struct server *s)
{
    if (world.day)
        return;
    check_sums(s);
    check_claims(s);
}

/* ---- the end ---- */

static void
check_message(const struct message_row *m)
{
    struct of_token *t;

    if (m->state != 1)
        return;
    HASH_FIND(hh, tokens, &m->token, sizeof(m->token), t);
    if (!t)
        sim_fail("a message of device %d, lead %d is told as sent and was not", m->device_id,
                 m->lead_no);
    else if (t->receipt->refused)
        sim_fail("a message of device %d, lead %d is told as sent and was refused", m->device_id,
                 m->lead_no);
}

/* Some sequence that goes on looks for it. */
static bool
trigger_is_used(const struct store *s, const char *trigger)
{
    for (unsigned i = 0; *trigger && i < s->sources.count; i++)
        if (s->sources.at[i].state != 2 && strcmp(s->sources.at[i].trigger, trigger) == 0)
            return true;
    return false;
}

const char *
check_waits(void)
{
    static char words[160];

    for (unsigned i = 0; i < world.server_count; i++) {
        const struct store *s = &world.servers[i].store;

        for (unsigned k = 0; k < s->devices.count; k++) {
            const struct device_rec *d = &s->devices.at[k];

            for (unsigned n = 0; n < d->rows.count; n++) {
                const struct enrollment *e = &d->rows.at[n];

                if (e->state == 2)
                    continue;
                snprintf(words, sizeof(words),
                         "%s: device %d source %d lead %d step %d stands as %s, epoch %" PRId64,
                         s->partition, d->device_id, e->source_id, e->lead_no, e->step,
                         e->state == 0 ? "waiting" : "claimed", e->epoch);
                return words;
            }
            for (unsigned n = 0; n < d->audience.count; n++)
                if (d->audience.at[n].upto != OPEN_END_ &&
                    d->audience.at[n].cursor < d->audience.at[n].upto) {
                    snprintf(words, sizeof(words), "%s: device %d source %d: leads behind %d",
                             s->partition, d->device_id, d->audience.at[n].source_id,
                             d->audience.at[n].cursor);
                    return words;
                }
            for (unsigned n = 0; n < d->leads.count; n++)
                if (trigger_is_used(s, d->leads.at[n].trigger)) {
                    snprintf(words, sizeof(words), "%s: device %d lead %d: its trigger waits",
                             s->partition, d->device_id, d->leads.at[n].lead_no);
                    return words;
                }
        }
    }
    return NULL;
}

/* Every receipt that was not refused has its message: sent, failed or unknown, never none. */
static void
check_receipts(const struct store *s)
{
    struct of_token *t, *next;

    for (unsigned i = 0; i < s->messages.count; i++) {
        HASH_FIND(hh, tokens, &s->messages.at[i].token, sizeof(t->token), t);
        if (t && strcmp(t->receipt->partition, s->partition) == 0) {
            HASH_DEL(tokens, t);
            free(t);
        }
    }
    HASH_ITER(hh, tokens, t, next)
    if (strcmp(t->receipt->partition, s->partition) == 0)
        sim_fail("%s reached %" PRIu64 " and no message tells of it", t->receipt->what,
                 t->receipt->phone);
}

void
check_end(void)
{
    const char *waits = check_waits();

    if (waits)
        sim_fail("it never ends: %s", waits);
    for (unsigned i = 0; i < world.server_count && !sim.failure; i++) {
        const struct store *s = &world.servers[i].store;

        for (unsigned k = 0; k < s->messages.count; k++)
            check_message(&s->messages.at[k]);
        check_sums(&world.servers[i]);
        check_receipts(s);
    }
}
