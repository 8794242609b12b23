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
    const char *optouts; /* "phone,boottime_usec" lines: acknowledged opt-outs; or NULL */
    const char *country; /* calling code that was given at import, or NULL */
};

struct audit_result {
    uint64_t asked, received, sent, unknown, failed, ended /* expired, skipped, cancelled */,
        waiting;
    uint64_t lost, duplicates, phantom, false_sent, hidden_unknown, wrong_text;
    uint64_t pacing_violations, after_optout, two_drivers;
    usec_t shortest_gap; /* 0 = none seen */
    double messages_per_s;
};

/* 0, or -errno with the reason written to `errors`. Offences are named on `details` (first 20 of
 * each). */
int audit_run(const struct audit_input *in, struct audit_result *ret, FILE *details, FILE *errors);
uint64_t audit_offences(const struct audit_result *r);
/* Two lines for people; without receipts nothing is said of what was received. */
void audit_print(const struct audit_result *r, bool receipts, FILE *out);
