/*
 * audit.h - the independent check: what was asked for, what the provider received, what we claim.
 *
 * Shares no code with the product but base and clock: it reads the same input files with readers of
 * its own, renders the expected text itself, and compares sets (DESIGN §11). Every count names
 * offences; all zero = clean.
 */
#pragma once
#include <stdio.h>

#include "shared/base.h"
#include "shared/clock.h"

struct audit_input {
    const char *devices, *leads, *content;       /* CSV, CSV, YAML: the driver's own list */
    const char *refused_devices, *refused_leads; /* what their imports refused, or NULL */
    const char *receipts;                        /* the provider's log; NULL = not ours to check */
    const char *messages;                        /* fleetcast export messages */
    const char *silences;   /* what was acknowledged and when: below; or NULL */
    const char *country;    /* calling code that was given at import, or NULL */
    const char *older;      /* content that ran before it was edited, or NULL */
    const char *direct;     /* CSV device_id,phone,text: direct messages that were accepted */
    const char *enrolments; /* CSV device_id,phone,sequence: enrolled by a person */
    const char *sources;    /* "hello,cold": those that were started; NULL = all of the content */
};
/*
 * A line of `silences`: "KIND,WHAT,FROM,UNTIL", BOOTTIME microseconds; UNTIL 0 = for ever. FROM is
 * when the acknowledgement was there: no first byte may come after it.
 *   optout, forget, remove           WHAT = phone; its later messages need not exist
 *   cancel                           WHAT = source; the same
 *   pause-source, quiet-source       WHAT = source
 *   pause-device, quiet-device       WHAT = device_id
 *   pause-cluster                    WHAT = *
 * `remove` ends a person's enrollment only, so it forbids nothing by time.
 */

struct audit_result {
    uint64_t asked, received, sent, unknown, failed, ended /* expired, skipped, cancelled */,
        waiting, not_due /* of waiting: a step before it, or an order, explains it */;
    uint64_t lost, duplicates, phantom, false_sent, hidden_unknown, wrong_text;
    uint64_t pacing_violations, after_optout, two_drivers;
    uint64_t out_of_order, step_too_soon, after_order, in_quiet_hours, over_cap;
    usec_t shortest_gap; /* 0 = none seen */
    double messages_per_s;
};

/* 0, or -errno with the reason written to `errors`. Offences are named on `details` (first 20 of
 * each). */
int audit_run(const struct audit_input *in, struct audit_result *ret, FILE *details, FILE *errors);
uint64_t audit_offences(const struct audit_result *r);
/* Some lines for people; without receipts nothing is said of what was received. */
void audit_print(const struct audit_result *r, bool receipts, FILE *out);
