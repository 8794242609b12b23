/* The inequalities between time-outs, asserted at start-up (DESIGN §4.9). */
#include <errno.h>
#include <stdio.h>

#include "node/partition.h"

#define KILL_MARGIN       (2 * USEC_PER_SEC)
#define CLAIM_BOUND       (250 * USEC_PER_MSEC) /* a send starts at most so long after its claim */
#define QUARANTINE_MARGIN (500 * USEC_PER_MSEC)

/* S(1 + 2 rho), rho = 1 %: both clocks may be wrong. */
static usec_t
stretched(usec_t span)
{
    return span + span / 50;
}

static int
broken(char *why, size_t why_size, const char *text)
{
    snprintf(why, why_size, "%s", text);
    return -EINVAL;
}

int
timing_check(const struct timing *t, char *why, size_t why_size)
{
    if (t->tick == 0 || t->tick > CLAIM_BOUND)
        return broken(why, why_size, "tick must lie between 1 ms and 250 ms");
    if (t->commit + t->connect + t->tick > t->send_window)
        return broken(why, why_size, "commit + connect + tick must not exceed send_window");
    if (t->quarantine < stretched(t->send_window) + QUARANTINE_MARGIN)
        return broken(why, why_size, "quarantine must be at least 1.02 x send_window + 500 ms");
    if (t->watchdog + KILL_MARGIN > t->http + t->gap_min)
        return broken(why, why_size, "watchdog + 2 s must not exceed timeout + smallest gap");
    /* dead / 3 is the interval of the beat: D >= 3 beats holds by that */
    if (t->dead <= t->commit)
        return broken(why, why_size, "dead must be longer than commit");
    return 0;
}
