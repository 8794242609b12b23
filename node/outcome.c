/* The words of message states, reasons and refusals. */
#include "node/outcome.h"

static const char *const state_names[] = {
    [MESSAGE_SENT] = "sent",       [MESSAGE_FAILED] = "failed",   [MESSAGE_UNKNOWN] = "unknown",
    [MESSAGE_EXPIRED] = "expired", [MESSAGE_SKIPPED] = "skipped", [MESSAGE_CANCELLED] = "cancelled",
};

static const char *const reason_names[] = {
    [REASON_NONE] = "",
    [REASON_OPTED_OUT] = "opted_out",
    [REASON_SOURCE_CANCELLED] = "source_cancelled",
    [REASON_OVER_TTL] = "over_ttl",
    [REASON_MISSING_VARIABLE] = "missing_variable",
    [REASON_TEXT_TOO_LONG] = "text_too_long",
    [REASON_REMOVED] = "removed",
    [REASON_REPLIED] = "replied",
    [REASON_FORGOTTEN] = "forgotten",
    [REASON_NOT_HERE] = "not_here",
    [REASON_SOURCE_PAUSED] = "source_paused",
    [REASON_STALE] = "stale",
    [REASON_EPOCH] = "epoch",
    [REASON_RETRIES] = "retries",
    [REASON_RECIPIENT] = "recipient",
    [REASON_TEMPLATE] = "template",
    [REASON_PARAMETER] = "parameter",
    [REASON_MEDIA] = "media",
    [REASON_UNKNOWN_CODE] = "unknown_code",
    [REASON_REFUSED] = "refused",
    [REASON_TIMEOUT] = "timeout",
    [REASON_CONNECTION_LOST] = "connection_lost",
    [REASON_NO_PROVIDER_ID] = "no_provider_id",
    [REASON_SERVER_ERROR] = "server_error",
    [REASON_AMBIGUOUS_CODE] = "ambiguous_code",
    [REASON_TAKEN_OVER] = "taken_over",
    [REASON_REPEAT_REFUSED] = "repeat_refused",
    [REASON_REPLY_UNREADABLE] = "reply_unreadable",
};

static const char *const refusal_names[] = {
    [REFUSAL_NONE] = "none",
    [REFUSAL_RETRY] = "retry",
    [REFUSAL_PAIR] = "pair",
    [REFUSAL_THROTTLE_DEVICE] = "throttle_device",
    [REFUSAL_THROTTLE_SCOPE] = "throttle_scope",
    [REFUSAL_THROTTLE_ACCOUNT] = "throttle_account",
    [REFUSAL_STOP_DEVICE] = "stop_device",
    [REFUSAL_STOP_SCOPE] = "stop_scope",
    [REFUSAL_STOP_ACCOUNT] = "stop_account",
    [REFUSAL_TEMPLATE] = "template",
    [REFUSAL_PARAMETER] = "parameter",
};

static const char *
name_of(const char *const *names, size_t count, int number)
{
    if (number < 0 || (size_t) number >= count || !names[number])
        return "?";
    return names[number];
}

const char *
message_state_name(int state)
{
    return name_of(state_names, ARRAY_SIZE(state_names), state);
}

const char *
reason_name(int reason)
{
    return name_of(reason_names, ARRAY_SIZE(reason_names), reason);
}

const char *
refusal_name(enum refusal r)
{
    return name_of(refusal_names, ARRAY_SIZE(refusal_names), (int) r);
}
