/*
 * outcome.h - what became of a message: states, reasons and error classes, with their words.
 *
 * Pure tables. The numbers are stored in `message.state` and `message.reason`: never renumber.
 */
#pragma once
#include "shared/base.h"

enum message_state {
    MESSAGE_SENT = 1,
    MESSAGE_FAILED = 2,
    MESSAGE_UNKNOWN = 3,
    MESSAGE_EXPIRED = 4,
    MESSAGE_SKIPPED = 5,
    MESSAGE_CANCELLED = 6
};

enum reason {
    REASON_NONE = 0,
    /* ended without a send */
    REASON_OPTED_OUT = 11,
    REASON_SOURCE_CANCELLED = 12,
    REASON_OVER_TTL = 13,
    REASON_MISSING_VARIABLE = 14,
    REASON_TEXT_TOO_LONG = 15,
    REASON_REMOVED = 16,   /* by an operator */
    REASON_REPLIED = 17,   /* the lead answered */
    REASON_FORGOTTEN = 18, /* erased */
    /* not claimed, row untouched */
    REASON_NOT_HERE = 21,
    REASON_SOURCE_PAUSED = 22,
    REASON_STALE = 23,
    REASON_EPOCH = 24,
    /* failed */
    REASON_RETRIES = 31,
    REASON_RECIPIENT = 32,
    REASON_TEMPLATE = 33,
    REASON_PARAMETER = 34,
    REASON_MEDIA = 35,
    REASON_UNKNOWN_CODE = 36,
    REASON_REFUSED = 37, /* this attempt: the row waits again */
    /* unknown (doubt) */
    REASON_TIMEOUT = 41,
    REASON_CONNECTION_LOST = 42,
    REASON_NO_PROVIDER_ID = 43,
    REASON_SERVER_ERROR = 44,
    REASON_AMBIGUOUS_CODE = 45,
    REASON_TAKEN_OVER = 46,
    REASON_REPEAT_REFUSED = 47,
    REASON_REPLY_UNREADABLE = 48
};

/* DESIGN §5.4: what an answer means for the row and for its scope. */
enum outcome {
    OUTCOME_SENT,     /* provider id parsed */
    OUTCOME_NOT_SENT, /* proven: back to waiting; class says for whom it holds */
    OUTCOME_FAILED,   /* this message is over; reason */
    OUTCOME_UNKNOWN   /* doubt; reason */
};

/* Scope and effect of a refusal (transports.md §6 with DESIGN §5.4). */
enum refusal {
    REFUSAL_NONE,  /* never reached the wire, or guard: no attempt counted */
    REFUSAL_RETRY, /* this message again later: counts an attempt */
    REFUSAL_PAIR,  /* this recipient later (131056): 4^X s; holds the row */
    REFUSAL_THROTTLE_DEVICE,
    REFUSAL_THROTTLE_SCOPE,
    REFUSAL_THROTTLE_ACCOUNT, /* hold the scope, no attempt */
    REFUSAL_STOP_DEVICE,
    REFUSAL_STOP_SCOPE,
    REFUSAL_STOP_ACCOUNT, /* hold until the operator or a probe */
    REFUSAL_TEMPLATE,     /* pauses the source, row waits */
    REFUSAL_PARAMETER     /* same: the request is wrong for every lead alike */
};

const char *message_state_name(int state); /* "sent", "unknown", ... "?" */
const char *reason_name(int reason);       /* "opted_out", "timeout", ... "" for none */
const char *refusal_name(enum refusal r);
