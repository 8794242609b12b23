/* The table of the Cloud API's error codes. */
#include "node/cloudapi_codes.h"

#define MINUTE 60u
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)

/* Columns: outcome, refusal, reason. */
#define DEVICE_SLOWER  OUTCOME_NOT_SENT, REFUSAL_THROTTLE_DEVICE, REASON_NONE
#define SCOPE_SLOWER   OUTCOME_NOT_SENT, REFUSAL_THROTTLE_SCOPE, REASON_NONE
#define ACCOUNT_SLOWER OUTCOME_NOT_SENT, REFUSAL_THROTTLE_ACCOUNT, REASON_NONE
#define DEVICE_STOPS   OUTCOME_NOT_SENT, REFUSAL_STOP_DEVICE, REASON_NONE
#define SCOPE_STOPS    OUTCOME_NOT_SENT, REFUSAL_STOP_SCOPE, REASON_NONE
#define ACCOUNT_STOPS  OUTCOME_NOT_SENT, REFUSAL_STOP_ACCOUNT, REASON_NONE
#define PAIR_WAITS     OUTCOME_NOT_SENT, REFUSAL_PAIR, REASON_NONE
#define COMES_AGAIN    OUTCOME_NOT_SENT, REFUSAL_RETRY, REASON_RECIPIENT
#define TEMPLATE_WRONG OUTCOME_NOT_SENT, REFUSAL_TEMPLATE, REASON_TEMPLATE
#define REQUEST_WRONG  OUTCOME_NOT_SENT, REFUSAL_PARAMETER, REASON_PARAMETER
#define RECIPIENT_OVER OUTCOME_FAILED, REFUSAL_NONE, REASON_RECIPIENT
#define OPTED_OUT      OUTCOME_FAILED, REFUSAL_NONE, REASON_OPTED_OUT
#define MEDIA_OVER     OUTCOME_FAILED, REFUSAL_NONE, REASON_MEDIA
#define DOUBTFUL       OUTCOME_UNKNOWN, REFUSAL_NONE, REASON_AMBIGUOUS_CODE

/* clang-format off */
static const struct cloudapi_code codes[] = {
    /* the provider may have sent it */
    {1,      1,      PROOF_NEVER,  DOUBTFUL,       0, 0,        "invalid request or server error"},
    {2,      2,      PROOF_NEVER,  DOUBTFUL,       0, 0,        "service temporarily unavailable"},
    {131000, 131000, PROOF_NEVER,  DOUBTFUL,       0, 0,        "unknown error at the provider"},
    {131016, 131016, PROOF_NEVER,  DOUBTFUL,       0, 0,        "service overloaded"},
    {133004, 133004, PROOF_NEVER,  DOUBTFUL,       0, 0,        "server temporarily unavailable"},
    /* limits: nothing was sent */
    {131057, 131057, PROOF_ALWAYS, DEVICE_SLOWER,  0, MINUTE,   "number in maintenance"},
    {130429, 130429, PROOF_ALWAYS, DEVICE_SLOWER,  0, 10,       "throughput of the number reached"},
    {131056, 131056, PROOF_ALWAYS, PAIR_WAITS,     0, 0,        "too many messages to this recipient"},
    {4,      4,      PROOF_ALWAYS, SCOPE_SLOWER,   0, MINUTE,   "call limit of the app reached"},
    {17,     17,     PROOF_ALWAYS, SCOPE_SLOWER,   0, MINUTE,   "call limit of the user reached"},
    {613,    613,    PROOF_ALWAYS, SCOPE_SLOWER,   0, MINUTE,   "call rate limit reached"},
    {80007,  80007,  PROOF_ALWAYS, ACCOUNT_SLOWER, 0, MINUTE,   "rate limit of the account reached"},
    /* token and permission: every device of the token */
    {0,      0,      PROOF_5XX,    SCOPE_STOPS,    0, 0,        "token not accepted"},
    {3,      3,      PROOF_5XX,    SCOPE_STOPS,    0, 0,        "app lacks the capability"},
    {10,     10,     PROOF_5XX,    SCOPE_STOPS,    0, 0,        "permission not granted"},
    {104,    104,    PROOF_5XX,    SCOPE_STOPS,    0, 0,        "token missing"},
    {190,    190,    PROOF_5XX,    SCOPE_STOPS,    0, 0,        "token expired or revoked"},
    {200,    299,    PROOF_5XX,    SCOPE_STOPS,    0, 0,        "permission missing"},
    {131005, 131005, PROOF_5XX,    SCOPE_STOPS,    0, 0,        "access denied"},
    /* account (WABA) */
    {368,    368,    PROOF_4XX,    ACCOUNT_STOPS,  0, HOUR,     "account blocked for policy violations"},
    {131031, 131031, PROOF_4XX,    ACCOUNT_STOPS,  0, HOUR,     "account locked"},
    {131042, 131042, PROOF_4XX,    ACCOUNT_STOPS,  0, HOUR,     "billing problem of the account"},
    {134011, 134011, PROOF_4XX,    ACCOUNT_STOPS,  0, HOUR,     "payment terms not accepted"},
    {131064, 131064, PROOF_4XX,    ACCOUNT_STOPS,  0, HOUR,     "account limited for template violations"},
    /* device (number) */
    {131048, 131048, PROOF_4XX,    DEVICE_STOPS,   0, HOUR,     "number restricted as spam"},
    {33,     33,     PROOF_4XX,    DEVICE_STOPS,   0, HOUR,     "number deleted"},
    {131037, 131037, PROOF_4XX,    DEVICE_STOPS,   0, HOUR,     "display name not approved"},
    {131045, 131045, PROOF_4XX,    DEVICE_STOPS,   0, HOUR,     "number registration failed"},
    {133000, 133000, PROOF_4XX,    DEVICE_STOPS,   0, HOUR,     "deregistration incomplete"},
    {133006, 133006, PROOF_4XX,    DEVICE_STOPS,   0, HOUR,     "number not verified"},
    {133010, 133010, PROOF_4XX,    DEVICE_STOPS,   0, HOUR,     "number not registered"},
    /* recipient */
    {130497, 130497, PROOF_4XX,    RECIPIENT_OVER, 0, 0,        "account may not message this country"},
    {131026, 131026, PROOF_4XX,    RECIPIENT_OVER, 0, 0,        "recipient cannot be reached"},
    {131047, 131047, PROOF_4XX,    RECIPIENT_OVER, 0, 0,        "more than 24 h since the last reply"},
    {131049, 131049, PROOF_4XX,    COMES_AGAIN,    1, DAY,      "marketing limit of the recipient"},
    {131050, 131050, PROOF_4XX,    OPTED_OUT,      0, 0,        "recipient stopped marketing from us"},
    {130403, 130403, PROOF_4XX,    RECIPIENT_OVER, 0, 0,        "we have blocked the recipient"},
    {130472, 130472, PROOF_4XX,    RECIPIENT_OVER, 0, 0,        "dropped by an experiment"},
    {131021, 131021, PROOF_4XX,    RECIPIENT_OVER, 0, 0,        "recipient is the sender"},
    {131030, 131030, PROOF_4XX,    RECIPIENT_OVER, 0, 0,        "recipient not on the test list"},
    {131053, 131053, PROOF_4XX,    MEDIA_OVER,     0, 0,        "media upload failed"},
    /* template */
    {132015, 132015, PROOF_4XX,    TEMPLATE_WRONG, 0, 0,        "template paused"},
    {132016, 132016, PROOF_4XX,    TEMPLATE_WRONG, 0, 0,        "template disabled"},
    {132007, 132007, PROOF_4XX,    TEMPLATE_WRONG, 0, 0,        "template against policy"},
    {132068, 132068, PROOF_4XX,    TEMPLATE_WRONG, 0, 0,        "flow blocked"},
    {132069, 132069, PROOF_4XX,    TEMPLATE_WRONG, 0, 0,        "flow throttled"},
    {131063, 131063, PROOF_4XX,    TEMPLATE_WRONG, 0, 0,        "marketing templates disabled"},
    {132001, 132001, PROOF_4XX,    TEMPLATE_WRONG, 0, 0,        "template missing or not approved"},
    /* request: wrong for every lead alike */
    {132000, 132000, PROOF_5XX,    REQUEST_WRONG,  0, 0,        "wrong number of template parameters"},
    {132005, 132005, PROOF_5XX,    REQUEST_WRONG,  0, 0,        "template text too long"},
    {132012, 132012, PROOF_5XX,    REQUEST_WRONG,  0, 0,        "template parameter format wrong"},
    {132018, 132018, PROOF_5XX,    REQUEST_WRONG,  0, 0,        "template parameters not valid"},
    {100,    100,    PROOF_5XX,    REQUEST_WRONG,  0, 0,        "parameter not valid"},
    {131008, 131008, PROOF_5XX,    REQUEST_WRONG,  0, 0,        "parameter missing"},
    {131009, 131009, PROOF_5XX,    REQUEST_WRONG,  0, 0,        "parameter value not valid"},
    {131051, 131051, PROOF_5XX,    REQUEST_WRONG,  0, 0,        "message type not supported"},
    {135000, 135000, PROOF_5XX,    REQUEST_WRONG,  0, 0,        "request not valid"},
    /* not documented for a send: whatever it was, it is our request */
    {133005, 133005, PROOF_4XX,    REQUEST_WRONG,  0, 0,        "PIN mismatch"},
    {133008, 133009, PROOF_4XX,    REQUEST_WRONG,  0, 0,        "PIN tried too often"},
    {133015, 133016, PROOF_4XX,    REQUEST_WRONG,  0, 0,        "registered or deleted too recently"},
    {131052, 131052, PROOF_4XX,    REQUEST_WRONG,  0, 0,        "media download failed"},
    {131055, 131055, PROOF_4XX,    REQUEST_WRONG,  0, 0,        "marketing messages only"},
    {134100, 134199, PROOF_4XX,    REQUEST_WRONG,  0, 0,        "marketing messages only"},
};
static const struct cloudapi_code too_many_requests =
    {0,      0,      PROOF_4XX,    SCOPE_SLOWER,   0, MINUTE,   "too many requests"};
static const struct cloudapi_code unheard_of =
    {0,      0,      PROOF_4XX,    OUTCOME_FAILED, REFUSAL_NONE, REASON_UNKNOWN_CODE, 0, 0, "unknown code"};
/* clang-format on */

const struct cloudapi_code *
cloudapi_code_row(unsigned row)
{
    return row < ARRAY_SIZE(codes) ? &codes[row] : NULL;
}

const struct cloudapi_code *
cloudapi_code_find(int code)
{
    for (size_t i = 0; i < ARRAY_SIZE(codes); i++)
        if (code >= codes[i].first && code <= codes[i].last)
            return &codes[i];
    return NULL;
}

static void
apply(const struct cloudapi_code *row, struct outcome_report *ret)
{
    ret->outcome = row->outcome;
    ret->refusal = row->refusal;
    ret->reason = row->reason;
    ret->retries_max = row->retries_max;
    ret->retry_after = row->wait_s * USEC_PER_SEC;
}

void
cloudapi_code_throttled(struct outcome_report *ret)
{
    apply(&too_many_requests, ret);
}

void
cloudapi_code_judge(unsigned status, int code, bool is_transient, struct outcome_report *ret)
{
    const struct cloudapi_code *row = cloudapi_code_find(code);
    enum code_proof needed = is_transient ? PROOF_ALWAYS : status >= 500 ? PROOF_5XX : PROOF_4XX;

    if (!row)
        row = status == 429 ? &too_many_requests : &unheard_of;
    ret->code = code;
    if (row->proof >= needed) {
        apply(row, ret);
        return;
    }
    ret->outcome = OUTCOME_UNKNOWN;
    ret->refusal = REFUSAL_NONE;
    ret->reason = status >= 500 ? REASON_SERVER_ERROR : REASON_AMBIGUOUS_CODE;
}
