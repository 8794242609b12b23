/*
 * cloudapi_codes.h - what an error code of the Cloud API means for a send: one const table.
 *
 * Pure. Keyed on `error.code` alone: HTTP status, subcode and title differ between places and
 * versions of the provider. A row says whom the code holds, and how far the reply proves that
 * nothing was sent.
 */
#pragma once
#include "node/transport.h"

/* Under which replies a code proves that the message was not sent. */
enum code_proof {
    PROOF_NEVER, /* may have been sent: always unknown */
    PROOF_4XX,   /* a 4xx proves it, a 5xx or is_transient does not */
    PROOF_5XX,   /* a 5xx proves it too, is_transient does not */
    PROOF_ALWAYS /* a limit was met: nothing was sent, transient or not */
};

struct cloudapi_code {
    int first, last; /* codes first..last */
    enum code_proof proof;
    enum outcome outcome; /* where proven; else unknown */
    enum refusal refusal;
    enum reason reason;
    uint8_t retries_max; /* 0 = ATTEMPTS_MAX */
    uint32_t wait_s;     /* before the next try; 0 = the caller's choice */
    const char *words;   /* for people: explain, events */
};

/* NULL = a code that we do not know. */
const struct cloudapi_code *cloudapi_code_find(int code);
/* Row by number, NULL behind the last: for listing and tests. */
const struct cloudapi_code *cloudapi_code_row(unsigned row);
/* Judges a 4xx or 5xx reply with a parsed error envelope: sets outcome, refusal, reason, code,
 * retry_after and retries_max of ret, nothing else. */
void cloudapi_code_judge(unsigned status, int code, bool is_transient, struct outcome_report *ret);
/* The same for a 429 whose body is no envelope. */
void cloudapi_code_throttled(struct outcome_report *ret);
