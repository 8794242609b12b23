/* provider_judge.c - decides what the fake Cloud API answers, and writes the receipts. */
#include "provider.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    enum fault fault;
} fault_names[] = {
    {"none", FAULT_NONE},
    {"close", FAULT_CLOSE},
    {"reject_close", FAULT_REJECT_CLOSE},
    {"hang", FAULT_HANG},
    {"delay", FAULT_DELAY},
    {"html", FAULT_HTML},
    {"empty", FAULT_EMPTY},
    {"cut_body", FAULT_CUT_BODY},
    {"cut_head", FAULT_CUT_HEAD},
    {"bad_chunk", FAULT_BAD_CHUNK},
    {"reset", FAULT_RESET},
    {"last", FAULT_LAST},
    {"drip", FAULT_DRIP},
    {"reused", FAULT_REUSED},
    {"error", FAULT_ERROR},
};

static void
put_body(struct answer *a, unsigned status, json_t *root)
{
    a->status = status;
    snprintf(a->type, sizeof(a->type), "application/json");
    size_t n = json_dumpb(root, a->body, sizeof(a->body), JSON_COMPACT);
    a->body_bytes = n <= sizeof(a->body) ? n : 0;
    json_decref(root);
}

static void
put_error(struct answer *a, unsigned status, int code, int subcode, bool transient, bool data,
          const char *words)
{
    json_t *e = json_pack("{s:s, s:s, s:i, s:s}", "message", words, "type", "OAuthException",
                          "code", code, "fbtrace_id", "Az8or2yhqkZfEZ-_4Qn_Bam");
    if (subcode != 0)
        json_object_set_new(e, "error_subcode", json_integer(subcode));
    if (transient)
        json_object_set_new(e, "is_transient", json_true());
    if (data)
        json_object_set_new(e, "error_data",
                            json_pack("{s:s, s:s}", "messaging_product", "whatsapp", "details",
                                      words));
    a->code = code;
    a->taken = false;
    put_body(a, status, json_pack("{s:o}", "error", e));
}

static bool
rule_matches(struct provider *p, struct rule *r, const char *address)
{
    if (r->count == 0 || (r->address[0] && strcmp(r->address, address) != 0))
        return false;
    if (r->permille < 1000 && rng_between(&p->rng, 0, 999) >= r->permille)
        return false;
    if (r->count > 0)
        r->count--;
    r->hits++;
    return true;
}

static struct rule *
rule_for(struct provider *p, const char *address, bool reused)
{
    for (unsigned i = 0; i < p->rule_count; i++) {
        struct rule *r = &p->rules[i];
        if (r->fault == FAULT_RESET || (r->fault == FAULT_REUSED && !reused))
            continue;
        if (rule_matches(p, r, address))
            return r;
    }
    return NULL;
}

bool
provider_resets(struct provider *p)
{
    for (unsigned i = 0; i < p->rule_count; i++)
        if (p->rules[i].fault == FAULT_RESET && rule_matches(p, &p->rules[i], ""))
            return true;
    return false;
}

/* The text of a message as the audit compares it; NULL with an error answered. */
static char *
message_text(json_t *root, const char *type, struct answer *a)
{
    if (strcmp(type, "text") == 0) {
        const char *body =
            json_string_value(json_object_get(json_object_get(root, "text"), "body"));
        if (!body) {
            put_error(a, 400, 131008, 0, false, true,
                      "(#131008) Required parameter is missing: text.body");
            return NULL;
        }
        return strdup(body);
    }
    if (strcmp(type, "template") != 0) {
        put_error(a, 400, 131051, 0, false, true, "(#131051) Unsupported message type");
        return NULL;
    }
    json_t *t = json_object_get(root, "template");
    const char *name = json_string_value(json_object_get(t, "name"));
    const char *language =
        json_string_value(json_object_get(json_object_get(t, "language"), "code"));
    if (!name || !language) {
        put_error(a, 400, 131008, 0, false, true,
                  "(#131008) Required parameter is missing: template");
        return NULL;
    }
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    if (!f)
        return NULL;
    fprintf(f, "template:%s:%s", name, language);
    size_t i, k;
    json_t *component, *parameter;
    json_array_foreach(json_object_get(t, "components"), i, component)
        json_array_foreach(json_object_get(component, "parameters"), k, parameter)
            fprintf(f, "\x1f%s", json_string_value(json_object_get(parameter, "text")) ?: "");
    fclose(f);
    return text;
}

/* false: an error was put. */
static bool
judge_body(struct provider *p, const struct request *q, struct answer *a)
{
    json_error_t error;
    json_t *root = json_loadb(q->body, q->body_bytes, 0, &error);
    if (!json_is_object(root)) {
        json_decref(root);
        put_error(a, 400, 100, 0, false, false, "(#100) The request body is not JSON");
        return false;
    }
    const char *product = json_string_value(json_object_get(root, "messaging_product"));
    const char *to = json_string_value(json_object_get(root, "to"));
    const char *type = json_string_value(json_object_get(root, "type"));
    const char *token = json_string_value(json_object_get(root, "biz_opaque_callback_data"));
    bool good = false;
    if (!product || strcmp(product, "whatsapp") != 0)
        put_error(a, 400, 100, 0, false, true, "(#100) Invalid parameter: messaging_product");
    else if (!to || !to[0])
        put_error(a, 400, 131008, 0, false, true, "(#131008) Required parameter is missing: to");
    else if (to[0] != '+' || strlen(to) > 30)
        put_error(a, 400, 131009, 0, false, true, "(#131009) Parameter value is not valid: to");
    else {
        snprintf(a->to, sizeof(a->to), "%s", to);
        snprintf(a->token, sizeof(a->token), "%s", token ? token : "");
        a->text = message_text(root, type ? type : "text", a);
        good = a->text != NULL;
    }
    json_decref(root);
    return good;
}

static void
accept_message(struct provider *p, struct answer *a)
{
    a->taken = true;
    snprintf(a->wamid, sizeof(a->wamid), "wamid.HBgLMTY1MDU1NTEyMzQVAgARGBI%08llX%08llX",
             (unsigned long long) (rng_next(&p->rng) & 0xffffffff),
             (unsigned long long) ++p->next_id);
    put_body(a, 200,
             json_pack("{s:s, s:[{s:s, s:s}], s:[{s:s}]}", "messaging_product", "whatsapp",
                       "contacts", "input", a->to, "wa_id", a->to + 1, "messages", "id", a->wamid));
}

static void
apply_rule(const struct rule *r, struct answer *a)
{
    a->fault = r->fault;
    switch (r->fault) {
    case FAULT_REJECT_CLOSE: a->taken = false; break;
    case FAULT_DELAY: a->delay = r->ms * USEC_PER_MSEC; break;
    case FAULT_DRIP: a->drip_ms = r->ms ? r->ms : 20; break;
    case FAULT_HTML:
    case FAULT_EMPTY:
        a->taken = r->taken;
        a->status = r->status ? r->status : 503;
        snprintf(a->type, sizeof(a->type), "text/html");
        a->body_bytes = 0;
        if (r->fault == FAULT_HTML)
            a->body_bytes =
                (size_t) snprintf(a->body, sizeof(a->body),
                                  "<html><body><h1>%u</h1>upstream</body></html>", a->status);
        break;
    case FAULT_ERROR:
        put_error(a, r->status ? r->status : 400, r->code, r->subcode, r->transient, r->data,
                  "(#scripted) refused");
        break;
    default: break;
    }
}

static void
judge_send(struct provider *p, const struct request *q, struct answer *a)
{
    p->requests++;
    if (!judge_body(p, q, a))
        return;
    if (!q->bearer[0]) {
        put_error(a, 401, 104, 0, false, false, "An access token is required");
        return;
    }
    for (unsigned i = 0; i < p->revoked_count; i++)
        if (strcmp(p->revoked[i], q->bearer) == 0) {
            put_error(a, 401, 190, 463, false, false,
                      "Error validating access token: Session has expired");
            return;
        }
    accept_message(p, a);
    if (p->latency_max_ms)
        a->delay = rng_between(&p->rng, p->latency_min_ms, p->latency_max_ms) * USEC_PER_MSEC;
    const struct rule *r = rule_for(p, a->address, q->reused);
    if (r)
        apply_rule(r, a);
}

static void
read_rule(json_t *j, struct rule *r)
{
    const char *name = json_string_value(json_object_get(j, "fault"));
    r->fault = FAULT_NONE;
    for (size_t i = 0; name && i < ARRAY_SIZE(fault_names); i++)
        if (strcmp(fault_names[i].name, name) == 0)
            r->fault = fault_names[i].fault;
    const char *address = json_string_value(json_object_get(j, "address"));
    snprintf(r->address, sizeof(r->address), "%s", address ? address : "");
    json_t *v = json_object_get(j, "permille");
    r->permille = v ? (unsigned) json_integer_value(v) : 1000;
    v = json_object_get(j, "count");
    r->count = v ? json_integer_value(v) : -1;
    r->ms = (unsigned) json_integer_value(json_object_get(j, "ms"));
    r->status = (unsigned) json_integer_value(json_object_get(j, "status"));
    r->code = (int) json_integer_value(json_object_get(j, "code"));
    r->subcode = (int) json_integer_value(json_object_get(j, "subcode"));
    r->transient = json_is_true(json_object_get(j, "transient"));
    r->data = json_is_true(json_object_get(j, "data"));
    r->taken = json_is_true(json_object_get(j, "taken"));
}

/* POST /control {"rules":[...], "latency_ms":[a,b], "revoke":["bearer"], "restore":true}; GET =
 * counts. */
static void
judge_control(struct provider *p, const struct request *q, struct answer *a)
{
    json_t *root = q->body_bytes ? json_loadb(q->body, q->body_bytes, 0, NULL) : NULL;
    json_t *rules = json_object_get(root, "rules"), *latency = json_object_get(root, "latency_ms"),
           *j;
    size_t i;
    if (json_is_array(rules)) {
        p->rule_count = 0;
        memset(p->rules, 0, sizeof(p->rules));
        json_array_foreach(rules, i, j) if (p->rule_count < RULES_MAX)
            read_rule(j, &p->rules[p->rule_count++]);
    }
    if (json_is_array(latency)) {
        p->latency_min_ms = (unsigned) json_integer_value(json_array_get(latency, 0));
        p->latency_max_ms = (unsigned) json_integer_value(json_array_get(latency, 1));
    }
    if (json_is_true(json_object_get(root, "restore")))
        p->revoked_count = 0;
    json_array_foreach(json_object_get(root, "revoke"), i, j) if (p->revoked_count < NAMES_MAX)
        snprintf(p->revoked[p->revoked_count++], sizeof(p->revoked[0]), "%s",
                 json_string_value(j) ?: "");
    json_decref(root);
    json_t *hits = json_array();
    for (unsigned k = 0; k < p->rule_count; k++)
        json_array_append_new(hits, json_integer((json_int_t) p->rules[k].hits));
    fflush(p->receipts);
    put_body(a, 200,
             json_pack("{s:I, s:I, s:I, s:o}", "requests", (json_int_t) p->requests, "taken",
                       (json_int_t) p->taken, "refused", (json_int_t) p->refused, "hits", hits));
}

void
provider_judge(struct provider *p, const struct request *q, struct answer *a)
{
    memset(a, 0, offsetof(struct answer, body));
    a->body_bytes = 0;
    a->address[0] = a->to[0] = a->token[0] = a->wamid[0] = '\0';
    a->text = NULL;
    a->code = 0;
    if (strcmp(q->path, "/control") == 0) {
        judge_control(p, q, a);
        return;
    }
    unsigned major, minor;
    char tail[16] = "";
    if (strcmp(q->method, "POST") != 0 ||
        sscanf(q->path, "/v%u.%u/%63[^/]/%15s", &major, &minor, a->address, tail) != 4 ||
        strcmp(tail, "messages") != 0) {
        put_error(a, 404, 2500, 0, false, false, "Unknown path components");
        a->address[0] = '\0';
        return;
    }
    judge_send(p, q, a);
}

void
provider_receipt(struct provider *p, const struct request *q, struct answer *a, usec_t ended)
{
    if (!a->address[0])
        return;
    if (a->taken)
        p->taken++;
    else
        p->refused++;
    json_t *line = json_pack("{s:I, s:I, s:I, s:s, s:s, s:s, s:s*, s:b, s:s, s:i, s:i, s:i}",
                             "first", (json_int_t) q->first_byte, "last", (json_int_t) q->last_byte,
                             "end", (json_int_t) ended, "address", a->address, "to", a->to, "token",
                             a->token, "text", a->text, "taken", (int) a->taken, "id", a->wamid,
                             "status", (int) a->status, "code", a->code, "fault", (int) a->fault);
    json_dumpf(line, p->receipts, JSON_COMPACT);
    fputc('\n', p->receipts);
    json_decref(line);
    free(TAKE_PTR(a->text));
}
