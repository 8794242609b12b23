/* The one coordinator: a table of states, and the ledger call that each state waits for. */
#include "coordinator/holder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/log.h"

enum holder_event {
    EVENT_UP,
    EVENT_DOWN,
    EVENT_MINE,
    EVENT_FREE,
    EVENT_OTHERS,
    EVENT_STILL,
    EVENT_MOVED,
    EVENT_TAKEN,
    EVENT_OUTRUN,
    EVENT_FENCED,
    EVENT_LEAVE,
    EVENT_LEFT
};

struct holder_row {
    enum holder_state from;
    enum holder_event event;
    enum holder_state to;
    const char *why;
};

static const struct holder_row holder_table[] = {
    {HOLDER_AWAY, EVENT_UP, HOLDER_LOADING, "connected: what does the catalog say"},
    {HOLDER_LOADING, EVENT_MINE, HOLDER_HOLDING, "the term in it is ours"},
    {HOLDER_LOADING, EVENT_FREE, HOLDER_TAKING, "the last holder left in order"},
    {HOLDER_LOADING, EVENT_OTHERS, HOLDER_WATCHING, "the last holder did not say good-bye"},
    {HOLDER_LOADING, EVENT_FENCED, HOLDER_GONE, "it was ours and was taken meanwhile"},
    {HOLDER_LOADING, EVENT_DOWN, HOLDER_AWAY, "connection lost"},
    {HOLDER_WATCHING, EVENT_STILL, HOLDER_TAKING, "the beat stood still for D"},
    {HOLDER_WATCHING, EVENT_FREE, HOLDER_TAKING, "the holder left in order"},
    {HOLDER_WATCHING, EVENT_MOVED, HOLDER_GONE, "the holder is alive"},
    {HOLDER_WATCHING, EVENT_DOWN, HOLDER_AWAY, "connection lost"},
    {HOLDER_TAKING, EVENT_TAKEN, HOLDER_LOADING, "a new term: read all under it"},
    {HOLDER_TAKING, EVENT_OUTRUN, HOLDER_GONE, "somebody else moved first"},
    {HOLDER_TAKING, EVENT_DOWN, HOLDER_AWAY, "connection lost: taken or not, the catalog knows"},
    {HOLDER_HOLDING, EVENT_FENCED, HOLDER_GONE, "another term is in the catalog"},
    {HOLDER_HOLDING, EVENT_DOWN, HOLDER_AWAY, "connection lost: writes may be in doubt"},
    {HOLDER_HOLDING, EVENT_LEAVE, HOLDER_LEAVING, "orderly stop: mark it free"},
    {HOLDER_LEAVING, EVENT_FENCED, HOLDER_GONE, "another term is in the catalog"},
    {HOLDER_LEAVING, EVENT_LEFT, HOLDER_GONE, "the next start need not watch"},
    {HOLDER_LEAVING, EVENT_DOWN, HOLDER_GONE, "connection lost: the next start watches"},
    {HOLDER_AWAY, EVENT_LEAVE, HOLDER_GONE, "nothing to mark"},
    {HOLDER_LOADING, EVENT_LEAVE, HOLDER_GONE, "nothing to mark"},
    {HOLDER_WATCHING, EVENT_LEAVE, HOLDER_GONE, "nothing to mark"},
    {HOLDER_TAKING, EVENT_LEAVE, HOLDER_GONE, "the next start watches"},
};

struct holder {
    struct ledger *ledger;
    struct uuid incarnation;
    usec_t dead;
    enum holder_state state;
    bool held;  /* ever: a foreign term means fenced, not refused */
    bool busy;  /* the state's call is on its way */
    usec_t now; /* of the last tick */
    usec_t watched_since;
    struct ledger_holder seen; /* while watching and taking; name is not kept */
    holder_news_fn *on_news;
    void *arg;
};

static void ask(struct holder *h);

const char *
holder_state_name(enum holder_state s)
{
    static const char *const names[HOLDER_STATE_COUNT] = {"away",   "loading", "watching",
                                                          "taking", "holding", "leaving",
                                                          "gone"};
    return names[s];
}

bool
holder_transition(unsigned index, struct transition *ret)
{
    static const char *const events[] = {"up",    "down",  "mine",   "free",   "others", "still",
                                         "moved", "taken", "outrun", "fenced", "leave",  "left"};
    if (index >= ARRAY_SIZE(holder_table))
        return false;
    const struct holder_row *r = &holder_table[index];
    *ret = (struct transition){holder_state_name(r->from), events[r->event],
                               holder_state_name(r->to), r->why};
    return true;
}

struct holder *
holder_new(struct ledger *ledger, const struct uuid *incarnation, usec_t dead,
           holder_news_fn *on_news, void *arg)
{
    struct holder *h = calloc(1, sizeof *h);
    if (!h)
        return NULL;
    h->ledger = ledger;
    h->incarnation = *incarnation;
    h->dead = dead;
    h->on_news = on_news;
    h->arg = arg;
    return h;
}

struct holder *
holder_free(struct holder *h)
{
    free(h);
    return NULL;
}

enum holder_state
holder_state(const struct holder *h)
{
    return h->state;
}

/* False: the event means nothing in this state (a late answer). */
static bool
step(struct holder *h, enum holder_event e)
{
    for (size_t i = 0; i < ARRAY_SIZE(holder_table); i++) {
        const struct holder_row *r = &holder_table[i];
        if (r->from != h->state || r->event != e)
            continue;
        char why[96];
        if (r->from != r->to)
            log_event(LOG_LEVEL_INFO, "holder.state", "from=%s to=%s why=%s",
                      holder_state_name(r->from), holder_state_name(r->to),
                      log_quote(why, sizeof why, r->why));
        h->state = r->to;
        return true;
    }
    return false;
}

static void
give_up(struct holder *h, enum holder_event e, enum holder_news news)
{
    if (!step(h, e))
        return;
    ledger_let_go(h->ledger);
    log_event(LOG_LEVEL_ERROR, news == HOLDER_FENCED ? "holder.fenced" : "holder.refused",
              "term=%llu", (unsigned long long) h->seen.term);
    h->on_news(h->arg, news, NULL);
}

void
holder_fenced(struct holder *h)
{
    give_up(h, EVENT_FENCED, HOLDER_FENCED);
}

static bool
is_mine(const struct holder *h, const struct ledger_holder *seen)
{
    return memcmp(&seen->incarnation, &h->incarnation, sizeof h->incarnation) == 0;
}

static void
remember(struct holder *h, const struct ledger_holder *seen)
{
    h->seen = *seen;
    h->seen.name = (struct slice){0};
}

/* ---- answers ---- */

static void
on_loaded(void *arg, enum ledger_outcome outcome, const struct ledger_image *image)
{
    struct holder *h = arg;
    h->busy = false;
    if (h->state != HOLDER_LOADING || outcome == LEDGER_DOUBT)
        return;
    char text[256];
    if (outcome != LEDGER_DONE) {
        log_event(LOG_LEVEL_ERROR, "holder.load_failed", "error=%s",
                  log_quote(text, sizeof text, ledger_error(h->ledger)));
        return; /* the next tick asks again */
    }
    remember(h, &image->holder);
    if (is_mine(h, &image->holder)) {
        h->held = true;
        ledger_hold(h->ledger, image->holder.term);
        step(h, EVENT_MINE);
        log_event(LOG_LEVEL_INFO, "holder.holding",
                  "term=%llu map_version=%llu content_version=%llu",
                  (unsigned long long) image->holder.term,
                  (unsigned long long) image->fleet.map_version,
                  (unsigned long long) image->content_version);
        h->on_news(h->arg, HOLDER_LOADED, image);
    } else if (h->held) {
        holder_fenced(h);
    } else if (image->holder.name.bytes == 0) {
        step(h, EVENT_FREE);
        ask(h);
    } else {
        step(h, EVENT_OTHERS);
        h->watched_since = clock_boot();
        snprintf(text, sizeof text, "%.*s", (int) image->holder.name.bytes,
                 image->holder.name.data);
        log_event(LOG_LEVEL_INFO, "holder.watching", "holder=%s term=%llu beat=%llu", text,
                  (unsigned long long) h->seen.term, (unsigned long long) h->seen.beat);
    }
}

static void
on_looked(void *arg, enum ledger_outcome outcome, const struct ledger_holder *seen)
{
    struct holder *h = arg;
    h->busy = false;
    if (h->state != HOLDER_WATCHING || outcome != LEDGER_DONE)
        return;
    if (seen->term != h->seen.term || seen->beat != h->seen.beat) {
        give_up(h, EVENT_MOVED, HOLDER_REFUSED);
    } else if (seen->name.bytes == 0) {
        step(h, EVENT_FREE);
        ask(h);
    } else if (h->now >= h->watched_since + h->dead) {
        step(h, EVENT_STILL);
        ask(h);
    }
}

static void
on_taken(void *arg, enum ledger_outcome outcome)
{
    struct holder *h = arg;
    h->busy = false;
    if (h->state != HOLDER_TAKING)
        return;
    char text[256];
    switch (outcome) {
    case LEDGER_DONE:
        step(h, EVENT_TAKEN);
        ask(h);
        break;
    case LEDGER_FENCED: give_up(h, EVENT_OUTRUN, HOLDER_REFUSED); break;
    case LEDGER_REFUSED:
        log_event(LOG_LEVEL_ERROR, "holder.take_failed", "error=%s",
                  log_quote(text, sizeof text, ledger_error(h->ledger)));
        break;
    case LEDGER_DOUBT: break; /* the connection's end is told to holder_up */
    }
}

/* A beat that failed for another reason is beaten again at the next tick. */
static void
on_beaten(void *arg, enum ledger_outcome outcome)
{
    struct holder *h = arg;
    h->busy = false;
    if (outcome == LEDGER_FENCED)
        holder_fenced(h);
}

static void
on_raised(void *arg, enum ledger_outcome outcome)
{
    struct holder *h = arg;
    h->busy = false;
    if (outcome == LEDGER_FENCED || outcome == LEDGER_REFUSED)
        holder_fenced(h);
}

static void
on_released(void *arg, enum ledger_outcome outcome)
{
    struct holder *h = arg;
    if (h->state == HOLDER_LEAVING && step(h, EVENT_LEFT))
        h->on_news(h->arg, HOLDER_LEFT, NULL);
}

/* ---- asking ---- */

/* Starts the call that the state waits for; a call that cannot start is tried at the next tick. */
static void
ask(struct holder *h)
{
    int err = 0;
    if (h->busy)
        return;
    switch (h->state) {
    case HOLDER_LOADING: err = ledger_load(h->ledger, on_loaded, h); break;
    case HOLDER_WATCHING: err = ledger_look(h->ledger, on_looked, h); break;
    case HOLDER_TAKING: err = ledger_take(h->ledger, &h->seen, on_taken, h); break;
    case HOLDER_HOLDING: err = ledger_beat(h->ledger, on_beaten, h); break;
    case HOLDER_AWAY:
    case HOLDER_LEAVING:
    case HOLDER_GONE:
    case HOLDER_STATE_COUNT: return;
    }
    h->busy = err == 0;
}

void
holder_up(struct holder *h, bool up)
{
    bool leaving = h->state == HOLDER_LEAVING;
    if (!step(h, up ? EVENT_UP : EVENT_DOWN))
        return;
    if (leaving)
        h->on_news(h->arg, HOLDER_LEFT, NULL);
    else
        ask(h);
}

void
holder_tick(struct holder *h, usec_t now, uint64_t term_heard)
{
    h->now = now;
    if (h->state == HOLDER_HOLDING && !h->busy && term_heard > ledger_term(h->ledger)) {
        log_event(LOG_LEVEL_WARNING, "holder.higher_term", "heard=%llu own=%llu",
                  (unsigned long long) term_heard, (unsigned long long) ledger_term(h->ledger));
        h->busy = ledger_raise(h->ledger, term_heard + 1, on_raised, h) == 0;
    }
    ask(h);
}

void
holder_leave(struct holder *h)
{
    if (!step(h, EVENT_LEAVE))
        return;
    if (h->state == HOLDER_LEAVING && ledger_release(h->ledger, on_released, h) == 0)
        return;
    h->state = HOLDER_GONE;
    h->on_news(h->arg, HOLDER_LEFT, NULL);
}
