/* Counts of one partition and its rate over the last 10 s. */
#include "node/meter.h"

#include <string.h>

#include "shared/base.h"

#define SLOTS        ((unsigned) ARRAY_SIZE(((struct meter *) 0)->slots))
#define LOCK_LONG    (500 * USEC_PER_MSEC)
#define SLOT_SECONDS (SLOTS - 1) /* the slot that is being filled does not count yet */

void
meter_init(struct meter *m, usec_t now)
{
    memset(m, 0, sizeof *m);
    histogram_reset(&m->lateness);
    histogram_reset(&m->tick_time);
    histogram_reset(&m->enrol_time);
    m->slot_at = now;
}

static void
advance(struct meter *m, usec_t now)
{
    usec_t seconds = now > m->slot_at ? (now - m->slot_at) / USEC_PER_SEC : 0;

    m->slot_at += seconds * USEC_PER_SEC;
    for (usec_t i = 0; i < MIN_OF(seconds, SLOTS); i++) {
        m->slot = (m->slot + 1) % SLOTS;
        m->slots[m->slot] = 0;
    }
}

void
meter_sent(struct meter *m, usec_t now, usec_t lateness)
{
    advance(m, now);
    m->sent++;
    m->slots[m->slot]++;
    histogram_add(&m->lateness, lateness);
}

void
meter_lock(struct meter *m, usec_t held)
{
    m->locks_long += held > LOCK_LONG;
}

uint32_t
meter_rate_milli(struct meter *m, usec_t now)
{
    uint64_t sum = 0;

    advance(m, now);
    for (unsigned i = 0; i < SLOTS; i++)
        if (i != m->slot)
            sum += m->slots[i];
    return (uint32_t) MIN_OF(sum * 1000 / SLOT_SECONDS, UINT32_MAX);
}
