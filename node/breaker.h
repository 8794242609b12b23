/*
 * breaker.h - stops sending into an outage: one per base URL and one per scope (token or WABA).
 *
 * Pure. Opens at 5 doubts in a row or 20 % of the last 50 outcomes (DESIGN §5.6), or at once on a
 * STOP / THROTTLE of its scope; then one probe at a time with back-off (1 s doubling to 5 min). So
 * an outage costs at most (requests in flight at its start + probes) unknowns.
 */
#pragma once
#include "shared/backoff.h"
#include "shared/base.h"
#include "shared/clock.h"

enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_PROBING };
enum breaker_news {
    BREAKER_GOOD,
    BREAKER_DOUBT,
    BREAKER_HOLD /* throttle or stop until `until` */
};

struct breaker {
    enum breaker_state state;
    uint8_t doubts_in_row;
    uint8_t window_count, window_doubts; /* ring of the last 50 as bits */
    uint64_t window;
    usec_t opens_at;    /* when the next probe may go */
    usec_t wait;        /* current back-off */
    uint32_t in_flight; /* claimed through this breaker and not ended */
};

void breaker_init(struct breaker *b);
/* May one more send be claimed now? If not, *ret_opens is when to ask again; USEC_INFINITY: when
 * what is in flight through it has ended (a probe goes alone). Untouched when it may. */
bool breaker_may(const struct breaker *b, usec_t now, usec_t *ret_opens);
void breaker_claimed(struct breaker *b,
                     usec_t now); /* a send was claimed through it; an open one becomes PROBING */
/* It was held back on our side (stale claim, guard, no slot): tells nothing. A failure to connect
 * is no such thing: it is BREAKER_DOUBT of its base URL. */
void breaker_unclaimed(struct breaker *b);
void breaker_ended(struct breaker *b, enum breaker_news news, usec_t now, usec_t until,
                   struct rng *r);
const char *breaker_state_name(enum breaker_state s);
