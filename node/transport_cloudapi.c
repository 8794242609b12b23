/* The official Cloud API: builds its requests, judges its answers. */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "node/cloudapi_codes.h"
#include "node/transport.h"
#include "proto/limits.h"
#include "shared/parse.h"

/* ---- request: written straight into the caller's buffers ---- */

struct text {
    char *bytes;
    size_t used, size;
    int error; /* first one: -E2BIG or -EINVAL */
};

static void
put(struct text *t, const char *data, size_t bytes)
{
    if (bytes > t->size - t->used)
        t->error = t->error ? t->error : -E2BIG;
    if (t->error || bytes == 0)
        return;
    memcpy(t->bytes + t->used, data, bytes);
    t->used += bytes;
}

static void
put_words(struct text *t, const char *words)
{
    put(t, words, strlen(words));
}

static void
put_escape(struct text *t, unsigned char byte)
{
    char hex[8];

    switch (byte) {
    case '"': put_words(t, "\\\""); return;
    case '\\': put_words(t, "\\\\"); return;
    case '\n': put_words(t, "\\n"); return;
    case '\r': put_words(t, "\\r"); return;
    case '\t': put_words(t, "\\t"); return;
    default: put(t, hex, (size_t) snprintf(hex, sizeof hex, "\\u%04x", byte));
    }
}

/* A JSON string with its quotes. UTF-8 passes as it is; what is no UTF-8 is refused. */
static void
put_string(struct text *t, struct slice value)
{
    size_t plain = 0;

    if (!parse_utf8_valid(value))
        t->error = t->error ? t->error : -EINVAL;
    put_words(t, "\"");
    for (size_t i = 0; i < value.bytes && !t->error; i++) {
        unsigned char byte = (unsigned char) value.data[i];

        if (byte >= 0x20 && byte != '"' && byte != '\\')
            continue;
        put(t, value.data + plain, i - plain);
        put_escape(t, byte);
        plain = i + 1;
    }
    if (plain < value.bytes)
        put(t, value.data + plain, value.bytes - plain);
    put_words(t, "\"");
}

static void
put_template(struct text *t, const struct outgoing *o)
{
    put_words(t, ",\"type\":\"template\",\"template\":{\"name\":");
    put_string(t, o->template_name);
    put_words(t, ",\"language\":{\"code\":");
    put_string(t, o->language);
    put_words(t, "}");
    if (o->parameter_count > 0)
        put_words(t, ",\"components\":[{\"type\":\"body\",\"parameters\":[");
    for (unsigned i = 0; i < o->parameter_count; i++) {
        put_words(t, i > 0 ? ",{\"type\":\"text\",\"text\":" : "{\"type\":\"text\",\"text\":");
        put_string(t, o->parameters[i]);
        put_words(t, "}");
    }
    put_words(t, o->parameter_count > 0 ? "]}]}}" : "}}");
}

static void
put_text(struct text *t, const struct outgoing *o)
{
    put_words(t, ",\"type\":\"text\",\"text\":{\"preview_url\":false,\"body\":");
    put_string(t, o->text);
    put_words(t, "}}");
}

static int
build_body(const struct outgoing *o, char *body, size_t size, size_t *ret_bytes)
{
    struct text t = {.bytes = body, .size = size};
    char to[24];

    /* Without the + the provider puts the sender's own country code before the digits. */
    snprintf(to, sizeof to, "\"+%" PRIu64 "\"", o->phone);
    put_words(&t, "{\"messaging_product\":\"whatsapp\",\"recipient_type\":\"individual\",\"to\":");
    put_words(&t, to);
    put_words(&t, ",\"biz_opaque_callback_data\":");
    put_string(&t, o->token);
    if (o->is_template)
        put_template(&t, o);
    else
        put_text(&t, o);
    if (t.error)
        return t.error;
    *ret_bytes = t.used;
    return 0;
}

/* One path segment: nothing that could lead elsewhere on the server. */
static bool
is_segment(struct slice s)
{
    for (size_t i = 0; i < s.bytes; i++) {
        char c = s.data[i];

        if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') &&
            c != '_' && c != '-' && (c != '.' || i == 0))
            return false;
    }
    return s.bytes > 0;
}

/* Printable, without blanks: it cannot end its header line, and no URL holds others. */
static bool
is_visible(struct slice s)
{
    for (size_t i = 0; i < s.bytes; i++)
        if (s.data[i] <= ' ' || s.data[i] > '~')
            return false;
    return s.bytes > 0;
}

static int
build(const struct outgoing *o, char *url, size_t url_size, char *authorization,
      size_t authorization_size, char *body, size_t body_size, size_t *ret_body_bytes)
{
    struct text u = {.bytes = url, .size = url_size};
    struct text a = {.bytes = authorization, .size = authorization_size};

    if (!is_visible(o->base_url) || !is_segment(o->version) || !is_segment(o->address) ||
        !is_visible(o->bearer))
        return -EINVAL;
    put(&u, o->base_url.data, o->base_url.bytes);
    put_words(&u, "/");
    put(&u, o->version.data, o->version.bytes);
    put_words(&u, "/");
    put(&u, o->address.data, o->address.bytes);
    put(&u, "/messages", sizeof "/messages");
    put_words(&a, "Authorization: Bearer ");
    put(&a, o->bearer.data, o->bearer.bytes);
    put(&a, "", 1);
    if (u.error || a.error)
        return -E2BIG;
    return build_body(o, body, body_size, ret_body_bytes);
}

/* ---- answer ---- */

/* The id of the one message that was asked for; empty when the reply holds none we could store. */
static struct slice
read_id(const json_t *reply, char id_buffer[static 256])
{
    const json_t *id = json_object_get(json_array_get(json_object_get(reply, "messages"), 0), "id");
    struct slice text = {.data = json_string_value(id), .bytes = json_string_length(id)};

    if (text.bytes > PROVIDER_ID_BYTES_MAX || !is_visible(text))
        return (struct slice){0};
    memcpy(id_buffer, text.data, text.bytes);
    return (struct slice){.data = id_buffer, .bytes = text.bytes};
}

/* True when the reply is an error envelope with a code. */
static bool
read_error(const json_t *reply, int *ret_code, bool *ret_transient)
{
    const json_t *error = json_object_get(reply, "error"), *code = json_object_get(error, "code");

    if (!json_is_integer(code) || json_integer_value(code) < 0 ||
        json_integer_value(code) > INT32_MAX)
        return false;
    *ret_code = (int) json_integer_value(code);
    *ret_transient = json_is_true(json_object_get(error, "is_transient"));
    return true;
}

static void
doubt(struct outcome_report *ret, enum reason reason)
{
    ret->outcome = OUTCOME_UNKNOWN;
    ret->refusal = REFUSAL_NONE;
    ret->reason = reason;
}

static void
judge_reply(unsigned status, const json_t *reply, struct outcome_report *ret,
            char id_buffer[static 256])
{
    bool is_transient = false;
    int code = 0;
    bool envelope = read_error(reply, &code, &is_transient);

    if (status >= 200 && status < 300) {
        ret->provider_id = read_id(reply, id_buffer);
        if (ret->provider_id.bytes == 0) {
            doubt(ret, REASON_NO_PROVIDER_ID);
            ret->code = code;
            return;
        }
        ret->outcome = OUTCOME_SENT;
        ret->refusal = REFUSAL_NONE;
        ret->reason = REASON_NONE;
    } else if (status >= 400 && status < 600 && envelope)
        cloudapi_code_judge(status, code, is_transient, ret);
    else if (status == 429)
        cloudapi_code_throttled(ret);
    else
        doubt(ret, status >= 500 ? REASON_SERVER_ERROR : REASON_REPLY_UNREADABLE);
}

static void
judge(unsigned status, struct slice body, struct outcome_report *ret, char id_buffer[static 256])
{
    /* NULL when it is not whole JSON: the readers of json_t answer "absent" for it. */
    json_t *reply = json_loadb(body.data ? body.data : "", body.bytes, 0, NULL);

    judge_reply(status, reply, ret, id_buffer);
    json_decref(reply);
}

const struct gateway gateway_cloudapi = {.name = "cloudapi",
                                         .echoes_token = true,
                                         .build = build,
                                         .judge = judge};
