/* A breaker counts doubts, opens, and lets probes through one at a time. */
#include "node/breaker.h"

#include <assert.h>

#define DOUBTS_IN_ROW 5u
#define WINDOW        50u
#define WINDOW_DOUBTS 10u /* 20 % of the window */
#define WAIT_MIN      USEC_PER_SEC
#define WAIT_MAX      (300 * USEC_PER_SEC)

static_assert(WINDOW <= 64, "the window is one word");

void
breaker_init(struct breaker *b)
{
    *b = (struct breaker){.state = BREAKER_CLOSED, .wait = WAIT_MIN};
}

bool
breaker_may(const struct breaker *b, usec_t now, usec_t *ret_opens)
{
    if (b->state == BREAKER_CLOSED)
        return true;
    /* A probe goes alone: what was in flight at the opening must have ended, or its late end could
     * be taken for the probe's. */
    if (b->state == BREAKER_PROBING || b->in_flight > 0) {
        *ret_opens = USEC_INFINITY;
        return false;
    }
    if (now >= b->opens_at)
        return true;
    *ret_opens = b->opens_at;
    return false;
}

void
breaker_claimed(struct breaker *b, usec_t now)
{
    b->in_flight++;
    if (b->state != BREAKER_OPEN)
        return;
    assert(b->in_flight == 1);
    b->state = BREAKER_PROBING;
}

void
breaker_unclaimed(struct breaker *b)
{
    assert(b->in_flight > 0);
    b->in_flight--;
    if (b->state == BREAKER_PROBING)
        b->state = BREAKER_OPEN; /* it told nothing: the next probe may go at once */
}

static void
remember(struct breaker *b, bool doubt)
{
    if (b->window_count == WINDOW)
        b->window_doubts = (uint8_t) (b->window_doubts - (b->window >> (WINDOW - 1) & 1));
    else
        b->window_count++;
    b->window = b->window << 1 | doubt;
    b->window_doubts = (uint8_t) (b->window_doubts + doubt);
    b->doubts_in_row = doubt ? (uint8_t) (b->doubts_in_row + 1) : 0;
}

/* Jitter upwards only, so that the base wait is kept and many nodes do not probe in step. */
static void
open_until(struct breaker *b, usec_t now, usec_t until, struct rng *r)
{
    usec_t next = now + b->wait + rng_between(r, 0, b->wait / 4);

    b->state = BREAKER_OPEN;
    b->opens_at = MAX_OF(next, until);
    b->wait = MIN_OF(b->wait * 2, WAIT_MAX);
}

void
breaker_ended(struct breaker *b, enum breaker_news news, usec_t now, usec_t until, struct rng *r)
{
    assert(b->in_flight > 0);
    b->in_flight--;
    if (news != BREAKER_HOLD)
        until = now;
    switch (b->state) {
    case BREAKER_OPEN: /* in flight at the opening: proves nothing new, but may hold longer */
        b->opens_at = MAX_OF(b->opens_at, until);
        return;
    case BREAKER_PROBING:
        if (news == BREAKER_GOOD) {
            uint32_t in_flight = b->in_flight;

            breaker_init(b);
            b->in_flight = in_flight;
        } else
            open_until(b, now, until, r);
        return;
    case BREAKER_CLOSED:
        if (news != BREAKER_HOLD)
            remember(b, news == BREAKER_DOUBT);
        if (news == BREAKER_HOLD || b->doubts_in_row >= DOUBTS_IN_ROW ||
            b->window_doubts >= WINDOW_DOUBTS)
            open_until(b, now, until, r);
        return;
    }
}

const char *
breaker_state_name(enum breaker_state s)
{
    switch (s) {
    case BREAKER_CLOSED: return "closed";
    case BREAKER_OPEN: return "open";
    case BREAKER_PROBING: return "probing";
    }
    return "?";
}
