/* The Cloud API: every code under every status, every broken answer, and the bytes of a request. */
#include <check.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/cloudapi_codes.h"
#include "shared/content.h"
#include "shared/rng.h"

#define ID "wamid.HBgLMTY1MDU1NTEyMzQVAgARGBI5QTNDQTVCM0Q0Q0Q2RTY3RTcA"

static struct slice
slice(const char *text)
{
    return (struct slice){.data = text, .bytes = strlen(text)};
}

static char id_buffer[256];

static struct outcome_report
judge_bytes(unsigned status, struct slice body)
{
    struct outcome_report report = {.status = status};

    gateway_cloudapi.judge(status, body, &report, id_buffer);
    return report;
}

static struct outcome_report
judge(unsigned status, const char *body)
{
    return judge_bytes(status, slice(body));
}

static void
doubtful(unsigned status, const char *body, enum reason reason)
{
    struct outcome_report r = judge(status, body);

    ck_assert_msg(r.outcome == OUTCOME_UNKNOWN, "%u %s: outcome %d", status, body, r.outcome);
    ck_assert_msg(r.reason == reason, "%u %s: reason %s", status, body, reason_name(r.reason));
    ck_assert_int_eq(r.refusal, REFUSAL_NONE);
    ck_assert_uint_eq(r.provider_id.bytes, 0);
}

/* ---- codes: written down a second time, from the documents, row by row ---- */

enum sure { NEVER, UNDER_4XX, UNDER_5XX, ALWAYS };
struct expected {
    int code;
    enum sure sure;
    enum outcome outcome;
    enum refusal refusal;
    enum reason reason;
    unsigned wait_s;
};

#define NOT_SENT OUTCOME_NOT_SENT
static const struct expected expected[] = {
    {1, NEVER, OUTCOME_UNKNOWN, REFUSAL_NONE, REASON_AMBIGUOUS_CODE, 0},
    {2, NEVER, OUTCOME_UNKNOWN, REFUSAL_NONE, REASON_AMBIGUOUS_CODE, 0},
    {131000, NEVER, OUTCOME_UNKNOWN, REFUSAL_NONE, REASON_AMBIGUOUS_CODE, 0},
    {131016, NEVER, OUTCOME_UNKNOWN, REFUSAL_NONE, REASON_AMBIGUOUS_CODE, 0},
    {133004, NEVER, OUTCOME_UNKNOWN, REFUSAL_NONE, REASON_AMBIGUOUS_CODE, 0},
    {131057, ALWAYS, NOT_SENT, REFUSAL_THROTTLE_DEVICE, REASON_NONE, 60},
    {130429, ALWAYS, NOT_SENT, REFUSAL_THROTTLE_DEVICE, REASON_NONE, 10},
    {131056, ALWAYS, NOT_SENT, REFUSAL_PAIR, REASON_NONE, 0},
    {4, ALWAYS, NOT_SENT, REFUSAL_THROTTLE_SCOPE, REASON_NONE, 60},
    {17, ALWAYS, NOT_SENT, REFUSAL_THROTTLE_SCOPE, REASON_NONE, 60},
    {613, ALWAYS, NOT_SENT, REFUSAL_THROTTLE_SCOPE, REASON_NONE, 60},
    {80007, ALWAYS, NOT_SENT, REFUSAL_THROTTLE_ACCOUNT, REASON_NONE, 60},
    {0, UNDER_5XX, NOT_SENT, REFUSAL_STOP_SCOPE, REASON_NONE, 0},
    {3, UNDER_5XX, NOT_SENT, REFUSAL_STOP_SCOPE, REASON_NONE, 0},
    {10, UNDER_5XX, NOT_SENT, REFUSAL_STOP_SCOPE, REASON_NONE, 0},
    {104, UNDER_5XX, NOT_SENT, REFUSAL_STOP_SCOPE, REASON_NONE, 0},
    {190, UNDER_5XX, NOT_SENT, REFUSAL_STOP_SCOPE, REASON_NONE, 0},
    {200, UNDER_5XX, NOT_SENT, REFUSAL_STOP_SCOPE, REASON_NONE, 0},
    {247, UNDER_5XX, NOT_SENT, REFUSAL_STOP_SCOPE, REASON_NONE, 0},
    {299, UNDER_5XX, NOT_SENT, REFUSAL_STOP_SCOPE, REASON_NONE, 0},
    {131005, UNDER_5XX, NOT_SENT, REFUSAL_STOP_SCOPE, REASON_NONE, 0},
    {368, UNDER_4XX, NOT_SENT, REFUSAL_STOP_ACCOUNT, REASON_NONE, 3600},
    {131031, UNDER_4XX, NOT_SENT, REFUSAL_STOP_ACCOUNT, REASON_NONE, 3600},
    {131042, UNDER_4XX, NOT_SENT, REFUSAL_STOP_ACCOUNT, REASON_NONE, 3600},
    {134011, UNDER_4XX, NOT_SENT, REFUSAL_STOP_ACCOUNT, REASON_NONE, 3600},
    {131064, UNDER_4XX, NOT_SENT, REFUSAL_STOP_ACCOUNT, REASON_NONE, 3600},
    {131048, UNDER_4XX, NOT_SENT, REFUSAL_STOP_DEVICE, REASON_NONE, 3600},
    {33, UNDER_4XX, NOT_SENT, REFUSAL_STOP_DEVICE, REASON_NONE, 3600},
    {131037, UNDER_4XX, NOT_SENT, REFUSAL_STOP_DEVICE, REASON_NONE, 3600},
    {131045, UNDER_4XX, NOT_SENT, REFUSAL_STOP_DEVICE, REASON_NONE, 3600},
    {133000, UNDER_4XX, NOT_SENT, REFUSAL_STOP_DEVICE, REASON_NONE, 3600},
    {133006, UNDER_4XX, NOT_SENT, REFUSAL_STOP_DEVICE, REASON_NONE, 3600},
    {133010, UNDER_4XX, NOT_SENT, REFUSAL_STOP_DEVICE, REASON_NONE, 3600},
    {130497, UNDER_4XX, OUTCOME_FAILED, REFUSAL_NONE, REASON_RECIPIENT, 0},
    {131026, UNDER_4XX, OUTCOME_FAILED, REFUSAL_NONE, REASON_RECIPIENT, 0},
    {131047, UNDER_4XX, OUTCOME_FAILED, REFUSAL_NONE, REASON_RECIPIENT, 0},
    {131049, UNDER_4XX, NOT_SENT, REFUSAL_RETRY, REASON_RECIPIENT, 24 * 3600},
    {131050, UNDER_4XX, OUTCOME_FAILED, REFUSAL_NONE, REASON_OPTED_OUT, 0},
    {130403, UNDER_4XX, OUTCOME_FAILED, REFUSAL_NONE, REASON_RECIPIENT, 0},
    {130472, UNDER_4XX, OUTCOME_FAILED, REFUSAL_NONE, REASON_RECIPIENT, 0},
    {131021, UNDER_4XX, OUTCOME_FAILED, REFUSAL_NONE, REASON_RECIPIENT, 0},
    {131030, UNDER_4XX, OUTCOME_FAILED, REFUSAL_NONE, REASON_RECIPIENT, 0},
    {131053, UNDER_4XX, OUTCOME_FAILED, REFUSAL_NONE, REASON_MEDIA, 0},
    {132015, UNDER_4XX, NOT_SENT, REFUSAL_TEMPLATE, REASON_TEMPLATE, 0},
    {132016, UNDER_4XX, NOT_SENT, REFUSAL_TEMPLATE, REASON_TEMPLATE, 0},
    {132007, UNDER_4XX, NOT_SENT, REFUSAL_TEMPLATE, REASON_TEMPLATE, 0},
    {132068, UNDER_4XX, NOT_SENT, REFUSAL_TEMPLATE, REASON_TEMPLATE, 0},
    {132069, UNDER_4XX, NOT_SENT, REFUSAL_TEMPLATE, REASON_TEMPLATE, 0},
    {131063, UNDER_4XX, NOT_SENT, REFUSAL_TEMPLATE, REASON_TEMPLATE, 0},
    {132001, UNDER_4XX, NOT_SENT, REFUSAL_TEMPLATE, REASON_TEMPLATE, 0},
    {132000, UNDER_5XX, NOT_SENT, REFUSAL_PARAMETER, REASON_PARAMETER, 0},
    {132005, UNDER_5XX, NOT_SENT, REFUSAL_PARAMETER, REASON_PARAMETER, 0},
    {132012, UNDER_5XX, NOT_SENT, REFUSAL_PARAMETER, REASON_PARAMETER, 0},
    {132018, UNDER_5XX, NOT_SENT, REFUSAL_PARAMETER, REASON_PARAMETER, 0},
    {100, UNDER_5XX, NOT_SENT, REFUSAL_PARAMETER, REASON_PARAMETER, 0},
    {131008, UNDER_5XX, NOT_SENT, REFUSAL_PARAMETER, REASON_PARAMETER, 0},
    {131009, UNDER_5XX, NOT_SENT, REFUSAL_PARAMETER, REASON_PARAMETER, 0},
    {131051, UNDER_5XX, NOT_SENT, REFUSAL_PARAMETER, REASON_PARAMETER, 0},
    {135000, UNDER_5XX, NOT_SENT, REFUSAL_PARAMETER, REASON_PARAMETER, 0},
    {133005, UNDER_4XX, NOT_SENT, REFUSAL_PARAMETER, REASON_PARAMETER, 0},
    {133008, UNDER_4XX, NOT_SENT, REFUSAL_PARAMETER, REASON_PARAMETER, 0},
    {133009, UNDER_4XX, NOT_SENT, REFUSAL_PARAMETER, REASON_PARAMETER, 0},
    {133015, UNDER_4XX, NOT_SENT, REFUSAL_PARAMETER, REASON_PARAMETER, 0},
    {133016, UNDER_4XX, NOT_SENT, REFUSAL_PARAMETER, REASON_PARAMETER, 0},
    {131052, UNDER_4XX, NOT_SENT, REFUSAL_PARAMETER, REASON_PARAMETER, 0},
    {131055, UNDER_4XX, NOT_SENT, REFUSAL_PARAMETER, REASON_PARAMETER, 0},
    {134100, UNDER_4XX, NOT_SENT, REFUSAL_PARAMETER, REASON_PARAMETER, 0},
    {134101, UNDER_4XX, NOT_SENT, REFUSAL_PARAMETER, REASON_PARAMETER, 0},
    {134102, UNDER_4XX, NOT_SENT, REFUSAL_PARAMETER, REASON_PARAMETER, 0},
};

/* Fields around the code: none of them but is_transient may change the verdict. */
static const char *const extras[] = {
    "",
    ",\"error_data\":{\"messaging_product\":\"whatsapp\",\"details\":\"code 190 \\\"code\\\":1\"}",
    ",\"error_subcode\":2494055",
    ",\"is_transient\":false,\"error_user_title\":\"t\",\"error_user_msg\":\"m\"",
    ",\"error_data\":{\"details\":\"d\"},\"error_subcode\":463,\"fbtrace_id\":\"A\"",
    ",\"is_transient\":null",
    ",\"is_transient\":\"true\"", /* not a boolean: not said */
};
static const unsigned statuses[] = {400, 401, 403, 404, 429, 499, 500, 502, 503, 599};

static void
envelope(char *body, size_t size, int code, const char *extra, bool is_transient)
{
    snprintf(body, size,
             "{\"error\":{\"message\":\"(#1) words\",\"type\":\"OAuthException\",\"code\":%d%s%s}}",
             code, is_transient ? ",\"is_transient\":true" : "", extra);
}

static void
check_code(const struct expected *e, unsigned status, const char *extra, bool is_transient)
{
    enum sure needed = is_transient ? ALWAYS : status >= 500 ? UNDER_5XX : UNDER_4XX;
    char body[512];
    struct outcome_report r;

    envelope(body, sizeof body, e->code, extra, is_transient);
    r = judge(status, body);
    ck_assert_int_eq(r.code, e->code);
    ck_assert_uint_eq(r.provider_id.bytes, 0);
    if (e->sure < needed) {
        ck_assert_msg(r.outcome == OUTCOME_UNKNOWN, "%u %s", status, body);
        ck_assert_msg(r.reason == (status >= 500 ? REASON_SERVER_ERROR : REASON_AMBIGUOUS_CODE),
                      "%u %s: %s", status, body, reason_name(r.reason));
        ck_assert_int_eq(r.refusal, REFUSAL_NONE);
        return;
    }
    ck_assert_msg(r.outcome == e->outcome, "%u %s: outcome %d", status, body, r.outcome);
    ck_assert_msg(r.refusal == e->refusal, "%u %s: %s", status, body, refusal_name(r.refusal));
    ck_assert_msg(r.reason == e->reason, "%u %s: %s", status, body, reason_name(r.reason));
    ck_assert_uint_eq(r.retry_after, e->wait_s * USEC_PER_SEC);
    ck_assert_uint_eq(r.retries_max, e->code == 131049 ? 1 : 0);
}

START_TEST(code_row)
{
    for (size_t s = 0; s < ARRAY_SIZE(statuses); s++)
        for (size_t x = 0; x < ARRAY_SIZE(extras); x++) {
            check_code(&expected[_i], statuses[s], extras[x], false);
            if (!strstr(extras[x], "is_transient"))
                check_code(&expected[_i], statuses[s], extras[x], true);
        }
}
END_TEST

/* No row of the table is untested, and none hides behind another. */
START_TEST(table_is_whole)
{
    for (unsigned i = 0; cloudapi_code_row(i); i++) {
        const struct cloudapi_code *row = cloudapi_code_row(i);
        bool listed = false;

        ck_assert_int_le(row->first, row->last);
        ck_assert_ptr_eq(cloudapi_code_find(row->first), row);
        ck_assert_ptr_eq(cloudapi_code_find(row->last), row);
        ck_assert_uint_gt(strlen(row->words), 0);
        ck_assert((row->proof == PROOF_NEVER) == (row->outcome == OUTCOME_UNKNOWN));
        for (size_t e = 0; e < ARRAY_SIZE(expected); e++)
            listed |= expected[e].code >= row->first && expected[e].code <= row->last;
        ck_assert_msg(listed, "code %d has no test", row->first);
    }
}
END_TEST

START_TEST(unknown_codes)
{
    static const int codes[] = {5,      99,     101,    199,    300,      612,
                                131001, 131099, 134200, 999999, INT32_MAX};
    char body[512];

    for (size_t i = 0; i < ARRAY_SIZE(codes); i++) {
        struct outcome_report r;

        ck_assert_ptr_null(cloudapi_code_find(codes[i]));
        envelope(body, sizeof body, codes[i], "", false);
        r = judge(400, body);
        ck_assert_int_eq(r.outcome, OUTCOME_FAILED);
        ck_assert_int_eq(r.reason, REASON_UNKNOWN_CODE);
        ck_assert_int_eq(r.code, codes[i]);
        r = judge(429, body);
        ck_assert_int_eq(r.outcome, OUTCOME_NOT_SENT);
        ck_assert_int_eq(r.refusal, REFUSAL_THROTTLE_SCOPE);
        doubtful(500, body, REASON_SERVER_ERROR);
        envelope(body, sizeof body, codes[i], "", true);
        doubtful(400, body, REASON_AMBIGUOUS_CODE);
        doubtful(429, body, REASON_AMBIGUOUS_CODE);
        doubtful(503, body, REASON_SERVER_ERROR);
    }
    ck_assert_ptr_null(cloudapi_code_find(-1));
}
END_TEST

/* ---- answers without a code ---- */

static const char *const no_envelopes[] = {
    "",
    "<html><body>502 Bad Gateway</body></html>",
    "{}",
    "[]",
    "null",
    "190",
    "\"error\"",
    "{\"error\":190}",
    "{\"error\":{}}",
    "{\"error\":{\"code\":\"190\"}}",
    "{\"error\":{\"code\":190.0}}",
    "{\"error\":{\"code\":-1}}",
    "{\"error\":{\"code\":4294967486}}", /* 190 in 32 bits */
    "{\"error\":{\"code\":99999999999999999999}}",
    "{\"error\":{\"code\":null}}",
    "{\"error\":[{\"code\":190}]}",
    "[{\"error\":{\"code\":190}}]",
    "{\"code\":190}",
    "{\"error\":{\"code\":190}", /* cut */
    "{\"error\":{\"code\":19",
    "{\"error\":{\"code\":190}} trailing",
};

START_TEST(replies_that_are_no_envelope)
{
    static const unsigned others[] = {0, 100, 101, 301, 302, 304, 307, 600, 999};

    for (size_t i = 0; i < ARRAY_SIZE(no_envelopes); i++) {
        struct outcome_report r = judge(429, no_envelopes[i]);

        ck_assert_int_eq(r.outcome, OUTCOME_NOT_SENT);
        ck_assert_int_eq(r.refusal, REFUSAL_THROTTLE_SCOPE);
        ck_assert_uint_eq(r.retry_after, 60 * USEC_PER_SEC);
        doubtful(400, no_envelopes[i], REASON_REPLY_UNREADABLE);
        doubtful(404, no_envelopes[i], REASON_REPLY_UNREADABLE);
        doubtful(500, no_envelopes[i], REASON_SERVER_ERROR);
        doubtful(503, no_envelopes[i], REASON_SERVER_ERROR);
        doubtful(200, no_envelopes[i], REASON_NO_PROVIDER_ID);
        for (size_t s = 0; s < ARRAY_SIZE(others); s++)
            ck_assert_int_eq(judge(others[s], no_envelopes[i]).outcome, OUTCOME_UNKNOWN);
    }
}
END_TEST

START_TEST(an_envelope_under_a_strange_status)
{
    static const char body[] = "{\"error\":{\"code\":190}}";

    doubtful(302, body, REASON_REPLY_UNREADABLE);
    doubtful(200, body, REASON_NO_PROVIDER_ID);
    ck_assert_int_eq(judge(200, body).code, 190); /* seen by people all the same */
}
END_TEST

START_TEST(success_without_an_id)
{
    static const char *const bodies[] = {
        "{\"messages\":[]}",
        "{\"messages\":{}}",
        "{\"messages\":[{}]}",
        "{\"messages\":[\"wamid.A\"]}",
        "{\"messages\":[{\"id\":\"\"}]}",
        "{\"messages\":[{\"id\":7}]}",
        "{\"messages\":[{\"id\":null}]}",
        "{\"messages\":[{\"id\":\"wamid.\\u00e9\"}]}",
        "{\"messages\":[{\"id\":\"wamid A\"}]}",
        "{\"messages\":[{\"id\":\"wamid\\nA\"}]}",
        "{\"messages\":[{\"id\":\"wamid\\u0000A\"}]}",
        "{\"messages\":[{\"id\":\"wamid.\\u007f\"}]}",
        "{\"message\":[{\"id\":\"wamid.A\"}]}",
        "{\"id\":\"wamid.A\"}",
        "[{\"messages\":[{\"id\":\"wamid.A\"}]}]",
    };
    char body[512], id[300];

    for (size_t i = 0; i < ARRAY_SIZE(bodies); i++)
        doubtful(200, bodies[i], REASON_NO_PROVIDER_ID);
    memset(id, 'x', 256);
    id[256] = '\0';
    snprintf(body, sizeof body, "{\"messages\":[{\"id\":\"%s\"}]}", id);
    doubtful(200, body, REASON_NO_PROVIDER_ID);
    id[255] = '\0';
    snprintf(body, sizeof body, "{\"messages\":[{\"id\":\"%s\"}]}", id);
    ck_assert_int_eq(judge(200, body).outcome, OUTCOME_SENT);
    ck_assert_uint_eq(judge(200, body).provider_id.bytes, 255);
}
END_TEST

static const char accepted[] =
    "{\"messaging_product\":\"whatsapp\",\"contacts\":[{\"input\":\"+16505551234\",\"wa_id\":"
    "\"16505551234\"}],\"messages\":[{\"id\":\"" ID "\",\"message_status\":\"accepted\"}]}";

START_TEST(success)
{
    static const unsigned good[] = {200, 201, 202, 299};

    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        struct outcome_report r = judge(good[i], accepted);

        ck_assert_int_eq(r.outcome, OUTCOME_SENT);
        ck_assert_int_eq(r.reason, REASON_NONE);
        ck_assert_int_eq(r.code, 0);
        ck_assert_uint_eq(r.provider_id.bytes, strlen(ID));
        ck_assert_int_eq(memcmp(r.provider_id.data, ID, strlen(ID)), 0);
    }
    ck_assert_int_eq(judge(200, "\r\n{\"messages\": [ {\"id\" : \"a\"} ], \"new\": 1}\n").outcome,
                     OUTCOME_SENT);
    doubtful(400, accepted, REASON_REPLY_UNREADABLE);
    doubtful(500, accepted, REASON_SERVER_ERROR);
}
END_TEST

/* In a buffer of that very size, so that a read behind it is seen. */
static struct outcome_report
judge_exact(unsigned status, const char *bytes, size_t count)
{
    char *copy = malloc(count + 1);
    struct outcome_report r;

    memcpy(copy, bytes, count);
    copy = realloc(copy, count > 0 ? count : 1);
    r = judge_bytes(status, (struct slice){.data = copy, .bytes = count});
    free(copy);
    return r;
}

START_TEST(cut_anywhere)
{
    char body[512];

    for (size_t cut = 0; cut < strlen(accepted); cut++) {
        struct outcome_report r = judge_exact(200, accepted, cut);

        ck_assert_int_eq(r.outcome, OUTCOME_UNKNOWN);
        ck_assert_int_eq(r.reason, REASON_NO_PROVIDER_ID);
    }
    envelope(body, sizeof body, 131026, extras[1], false);
    for (size_t cut = 0; cut < strlen(body); cut++) {
        ck_assert_int_eq(judge_exact(400, body, cut).outcome, OUTCOME_UNKNOWN);
        ck_assert_int_eq(judge_exact(500, body, cut).outcome, OUTCOME_UNKNOWN);
    }
}
END_TEST

/* Whatever the bytes are: SENT only with a storable id, an id only with SENT, nothing crashes. */
START_TEST(garbled)
{
    struct rng rng;
    char body[512];

    rng_seed(&rng, (uint64_t) _i);
    for (int round = 0; round < 5000; round++) {
        unsigned status = (unsigned) rng_between(&rng, 1, 9) * 100 + (round % 7 == 0 ? 29 : 0);
        int code = expected[rng_between(&rng, 0, ARRAY_SIZE(expected) - 1)].code;
        size_t bytes, hits = rng_between(&rng, 0, 4);
        struct outcome_report r;

        if (round % 2)
            snprintf(body, sizeof body, "%s", accepted);
        else
            envelope(body, sizeof body, code, extras[rng_between(&rng, 0, 6)], round % 3 == 0);
        bytes = rng_between(&rng, 0, 3) ? strlen(body) : rng_between(&rng, 0, strlen(body));
        for (size_t h = 0; h < hits && bytes > 0; h++)
            body[rng_between(&rng, 0, bytes - 1)] = (char) rng_between(&rng, 0, 255);
        r = judge_exact(status, body, bytes);
        ck_assert((r.outcome == OUTCOME_SENT) == (r.provider_id.bytes > 0));
        ck_assert_uint_le(r.provider_id.bytes, 255);
        for (size_t i = 0; i < r.provider_id.bytes; i++)
            ck_assert(r.provider_id.data[i] > ' ' && r.provider_id.data[i] <= '~');
        if (r.outcome == OUTCOME_SENT)
            ck_assert(status >= 200 && status < 300);
        if (r.outcome == OUTCOME_NOT_SENT || r.outcome == OUTCOME_FAILED)
            ck_assert(status >= 400 && status < 600);
        if (r.outcome == OUTCOME_UNKNOWN)
            ck_assert(r.reason >= REASON_TIMEOUT && r.reason <= REASON_REPLY_UNREADABLE);
    }
}
END_TEST

/* ---- requests ---- */

static char url[256], authorization[256], body[64 * 1024];

static struct outgoing
text_message(struct slice text)
{
    return (struct outgoing){.gateway = &gateway_cloudapi,
                             .base_url = slice("https://graph.facebook.com"),
                             .version = slice("v25.0"),
                             .address = slice("106540352242922"),
                             .bearer = slice("EAAJB-secret_token.1"),
                             .phone = 16505551234u,
                             .token = slice("v1.p1.7.42.018f2b1e-0000-7000-8000-000000000001"),
                             .text = text};
}

static int
build(const struct outgoing *o, size_t body_size, size_t *ret_bytes)
{
    return gateway_cloudapi.build(o, url, sizeof url, authorization, sizeof authorization, body,
                                  body_size, ret_bytes);
}

/* Builds, reads the body back with jansson; the caller frees it. */
static json_t *
built(const struct outgoing *o)
{
    size_t bytes = 0;
    json_error_t error;
    json_t *json;

    ck_assert_int_eq(build(o, sizeof body, &bytes), 0);
    json = json_loadb(body, bytes, JSON_REJECT_DUPLICATES, &error);
    ck_assert_msg(json, "%s: %.*s", error.text, (int) bytes, body);
    return json;
}

START_TEST(requests_that_cannot_be)
{
    struct {
        const char *base, *version, *address, *bearer, *text;
    } bad[] = {
        {"", "v25.0", "1", "t", "x"},
        {"https://a b", "v25.0", "1", "t", "x"},
        {"https://a", "", "1", "t", "x"},
        {"https://a", "v25.0/x", "1", "t", "x"},
        {"https://a", "..", "1", "t", "x"},
        {"https://a", "v25.0", "", "t", "x"},
        {"https://a", "v25.0", "1/2", "t", "x"},
        {"https://a", "v25.0", "1?x=2", "t", "x"},
        {"https://a", "v25.0", "1#", "t", "x"},
        {"https://a", "v25.0", "1%2f", "t", "x"},
        {"https://a", "v25.0", "..", "t", "x"},
        {"https://a", "v25.0", "1 2", "t", "x"},
        {"https://a", "v25.0", "1", "", "x"},
        {"https://a", "v25.0", "1", "t\r\nX: y", "x"},
        {"https://a", "v25.0", "1", "t t", "x"},
        {"https://a", "v25.0", "1", "t\xc3\xa9", "x"},
        {"https://a", "v25.0", "1", "t", "\xff"},
        {"https://a", "v25.0", "1", "t", "cut \xe2\x82"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct outgoing o = text_message(slice(bad[i].text));
        size_t bytes = 7777;

        o.base_url = slice(bad[i].base);
        o.version = slice(bad[i].version);
        o.address = slice(bad[i].address);
        o.bearer = slice(bad[i].bearer);
        ck_assert_msg(build(&o, sizeof body, &bytes) == -EINVAL, "request %zu", i);
        ck_assert_uint_eq(bytes, 7777);
    }
}
END_TEST

/* Too small by one byte is too small; the exact size is enough; nothing is written behind it. */
START_TEST(buffers_that_are_too_small)
{
    struct outgoing o = text_message(slice("a \"quote\" and \x01"));
    size_t whole = 0, bytes = 7777;

    ck_assert_int_eq(build(&o, sizeof body, &whole), 0);
    for (size_t size = 0; size < whole; size++) {
        char *tight = malloc(size + 1);

        ck_assert_int_eq(gateway_cloudapi.build(&o, url, sizeof url, authorization,
                                                sizeof authorization, tight, size, &bytes),
                         -E2BIG);
        ck_assert_uint_eq(bytes, 7777);
        free(tight);
    }
    ck_assert_int_eq(build(&o, whole, &bytes), 0);
    ck_assert_uint_eq(bytes, whole);
    for (size_t size = 0; size <= strlen(url); size++)
        ck_assert_int_eq(gateway_cloudapi.build(&o, (char[256]){0}, size, authorization,
                                                sizeof authorization, body, sizeof body, &bytes),
                         -E2BIG);
    for (size_t size = 0; size <= strlen(authorization); size++)
        ck_assert_int_eq(gateway_cloudapi.build(&o, url, sizeof url, (char[256]){0}, size, body,
                                                sizeof body, &bytes),
                         -E2BIG);
}
END_TEST

START_TEST(text_request)
{
    struct outgoing o = text_message(slice("Hello, Ann"));
    size_t bytes;

    ck_assert_int_eq(build(&o, sizeof body, &bytes), 0);
    ck_assert_str_eq(url, "https://graph.facebook.com/v25.0/106540352242922/messages");
    ck_assert_str_eq(authorization, "Authorization: Bearer EAAJB-secret_token.1");
    body[bytes] = '\0';
    ck_assert_str_eq(body, "{\"messaging_product\":\"whatsapp\",\"recipient_type\":\"individual\","
                           "\"to\":\"+16505551234\",\"biz_opaque_callback_data\":"
                           "\"v1.p1.7.42.018f2b1e-0000-7000-8000-000000000001\",\"type\":\"text\","
                           "\"text\":{\"preview_url\":false,\"body\":\"Hello, Ann\"}}");
}
END_TEST

START_TEST(template_request)
{
    struct slice parameters[] = {slice("Ann"), slice("A-\"1\""), slice("")};
    struct outgoing o = text_message((struct slice){0});
    json_t *json, *wanted;

    o.is_template = true;
    o.template_name = slice("order_update");
    o.language = slice("en_US");
    o.parameters = parameters;
    for (o.parameter_count = 0; o.parameter_count <= 3; o.parameter_count++) {
        json_t *components = json_array(), *list = json_array();

        for (unsigned i = 0; i < o.parameter_count; i++)
            json_array_append_new(list, json_pack("{s:s,s:s%}", "type", "text", "text",
                                                  parameters[i].data, parameters[i].bytes));
        json_array_append_new(components,
                              json_pack("{s:s,s:o}", "type", "body", "parameters", list));
        wanted =
            json_pack("{s:s,s:s,s:s,s:s%,s:s,s:{s:s,s:{s:s}}}", "messaging_product", "whatsapp",
                      "recipient_type", "individual", "to", "+16505551234",
                      "biz_opaque_callback_data", o.token.data, o.token.bytes, "type", "template",
                      "template", "name", "order_update", "language", "code", "en_US");
        if (o.parameter_count > 0)
            json_object_set(json_object_get(wanted, "template"), "components", components);
        json = built(&o);
        ck_assert(json_equal(json, wanted));
        json_decref(json);
        json_decref(wanted);
        json_decref(components);
    }
}
END_TEST

/* Every character of Unicode but NUL, in texts of 4,096, comes back as it went in. */
START_TEST(any_text)
{
    static char text[4 * CONTENT_CHARACTERS_MAX];
    size_t used = 0;
    unsigned characters = 0;

    for (uint32_t code = 1; code <= 0x10FFFF; code++) {
        if (code >= 0xD800 && code < 0xE000)
            continue;
        if (code < 0x80)
            text[used++] = (char) code;
        else {
            static const unsigned char leads[] = {0, 0xC0, 0xE0, 0xF0};
            unsigned more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;

            text[used++] = (char) (leads[more] | code >> (6 * more));
            while (more-- > 0)
                text[used++] = (char) (0x80 | (code >> (6 * more) & 0x3F));
        }
        if (++characters < CONTENT_CHARACTERS_MAX && code < 0x10FFFF)
            continue;
        struct outgoing o = text_message((struct slice){text, used});
        json_t *json = built(&o);
        const json_t *back = json_object_get(json_object_get(json, "text"), "body");

        ck_assert_uint_eq(json_string_length(back), used);
        ck_assert_int_eq(memcmp(json_string_value(back), text, used), 0);
        json_decref(json);
        used = characters = 0;
    }
}
END_TEST

START_TEST(longest_text)
{
    static char text[CONTENT_CHARACTERS_MAX];
    struct outgoing o = text_message((struct slice){text, sizeof text});
    size_t bytes;

    memset(text, 1, sizeof text); /* six bytes each */
    ck_assert_int_eq(build(&o, sizeof body, &bytes), 0);
    ck_assert_uint_gt(bytes, 6 * CONTENT_CHARACTERS_MAX);
    ck_assert_uint_lt(bytes, 6 * CONTENT_CHARACTERS_MAX + 1024);
}
END_TEST

START_TEST(found_by_name)
{
    ck_assert_ptr_null(gateway_find(slice("")));
    ck_assert_ptr_null(gateway_find((struct slice){0}));
    ck_assert_ptr_null(gateway_find(slice("cloudap")));
    ck_assert_ptr_null(gateway_find(slice("cloudapi2")));
    ck_assert_ptr_eq(gateway_find(slice("cloudapi")), &gateway_cloudapi);
    ck_assert_ptr_eq(gateway_find(slice("null")), &gateway_null);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("cloudapi");
    TCase *answers = tcase_create("answers"), *requests = tcase_create("requests");
    SRunner *runner;
    int failed;

    tcase_add_loop_test(answers, code_row, 0, (int) ARRAY_SIZE(expected));
    tcase_add_test(answers, table_is_whole);
    tcase_add_test(answers, unknown_codes);
    tcase_add_test(answers, replies_that_are_no_envelope);
    tcase_add_test(answers, an_envelope_under_a_strange_status);
    tcase_add_test(answers, success_without_an_id);
    tcase_add_test(answers, success);
    tcase_add_test(answers, cut_anywhere);
    tcase_add_loop_test(answers, garbled, 0, 8);
    tcase_add_test(requests, requests_that_cannot_be);
    tcase_add_test(requests, buffers_that_are_too_small);
    tcase_add_test(requests, text_request);
    tcase_add_test(requests, template_request);
    tcase_add_test(requests, any_text);
    tcase_add_test(requests, longest_text);
    tcase_add_test(requests, found_by_name);
    tcase_set_timeout(answers, 30);
    tcase_set_timeout(requests, 30);
    suite_add_tcase(suite, answers);
    suite_add_tcase(suite, requests);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
