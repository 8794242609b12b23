/* What becomes of a request: not connected, lost, refused, answered, answered in vain. */
#include "tests/sim/provider.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/limits.h"
#include "proto/token.h"

struct provider provider;

enum fate {
    ANSWER_OK,
    ANSWER_GARBAGE,
    ANSWER_500,
    ANSWER_REFUSED,
    ANSWER_FAILED,
    NO_ANSWER,
    REPEAT
};

struct request { /* at the provider: it outlives the node */
    struct event event;
    struct receipt *receipt;
    struct send *send; /* NULL: the node is gone, or gave it up */
    enum fate fate;
    bool answered;
};

struct send {
    struct send *next, **back;
    struct event event, timeout;
    struct transport *t;
    struct request *request;
    const struct gateway *gateway;
    send_guard_fn *guard;
    send_done_fn *done;
    void *arg;
    struct receipt receipt;
    usec_t send_by, first_byte;
    unsigned calls;
    bool guarded;
    int status;
    const char *body;
};

struct transport {
    struct process *process;
    struct transport_config config;
    unsigned busy;
    bool stopping;
    struct send *sends;
};

/* ---- the end of a send ---- */

static const char refused_body[] = "{\"error\":{\"message\":\"x\",\"code\":131056}}";
static const char failed_body[] = "{\"error\":{\"message\":\"x\",\"code\":131026}}";

static void
finish(struct send *s, enum verdict verdict, enum reason doubt)
{
    struct transport *t = s->t;
    char id[256], body[160];
    struct outcome_report report = {.verdict = verdict,
                                    .calls = s->calls,
                                    .guarded = s->guarded,
                                    .first_byte = s->first_byte,
                                    .ended = clock_boot()};

    if (verdict == VERDICT_ANSWERED) {
        report.status = (unsigned) s->status;
        snprintf(body, sizeof(body), "%s", s->body);
        if (s->status == 200 && !*s->body)
            snprintf(body, sizeof(body), "{\"messages\":[{\"id\":\"wamid.%llu\"}]}",
                     (unsigned long long) s->receipt.phone);
        s->gateway->judge(report.status, (struct slice){body, strlen(body)}, &report, id);
    } else if (verdict == VERDICT_NOT_SENT)
        report.outcome = OUTCOME_NOT_SENT;
    else {
        report.outcome = OUTCOME_UNKNOWN;
        report.reason = doubt;
    }
    if (s->request)
        s->request->send = NULL;
    sim_take_out(&s->event);
    sim_take_out(&s->timeout);
    *s->back = s->next;
    if (s->next)
        s->next->back = s->back;
    t->busy--;
    send_done_fn *done = s->done;
    void *arg = s->arg;
    free(s);
    done(arg, &report);
}

static void
on_timeout(struct event *e)
{
    struct send *s = container_of(e, struct send, timeout);

    finish(s, s->calls == 0 ? VERDICT_NOT_SENT : VERDICT_DOUBT, REASON_TIMEOUT);
}

static void
on_answered(struct event *e)
{
    struct send *s = container_of(e, struct send, event);

    if (s->status > 0)
        finish(s, VERDICT_ANSWERED, REASON_NONE);
    else
        finish(s, VERDICT_DOUBT, s->calls > 1 ? REASON_REPEAT_REFUSED : REASON_CONNECTION_LOST);
}

/* ---- the provider ---- */

static enum fate
draw_fate(void)
{
    const struct provider_faults *f = &provider.faults;

    if (sim_chance(f->refuse))
        return ANSWER_REFUSED;
    if (sim_chance(f->fail))
        return ANSWER_FAILED;
    if (sim_chance(f->garbage))
        return ANSWER_GARBAGE;
    if (sim_chance(f->server_error))
        return ANSWER_500;
    if (sim_chance(f->repeat))
        return REPEAT;
    return sim_chance(f->lose_answer) ? NO_ANSWER : ANSWER_OK;
}

/* The answer, or the end of the connection, reaches the node if it still listens. */
static void
tell_node(struct request *r)
{
    struct send *s = r->send;

    if (!s || r->fate == NO_ANSWER)
        return;
    s->status = r->fate == REPEAT       ? 0
                : r->fate == ANSWER_500 ? 500
                : r->fate < ANSWER_500  ? 200
                                        : 400;
    s->body = r->fate == ANSWER_OK        ? ""
              : r->fate == ANSWER_REFUSED ? refused_body
              : r->fate == ANSWER_FAILED  ? failed_body
                                          : "<html>";
    s->calls += r->fate == REPEAT;
    s->event.run = on_answered;
    s->event.what = "answered";
    sim_put(&s->event, sim.now + sim_between(100, 20000));
}

static void
on_request_event(struct event *e)
{
    struct request *r = container_of(e, struct request, event);

    if (!r->answered) {
        usec_t takes = sim_between(5000, MAX_OF(provider.faults.answer_max, (usec_t) 10000));

        r->answered = true;
        r->receipt->first = sim.now;
        provider.arrives(provider.arg, r->receipt);
        r->fate = draw_fate();
        if (sim_chance(provider.faults.slow))
            takes += sim_between(0, 40 * USEC_PER_SEC);
        sim_put(&r->event, sim.now + takes);
        return;
    }
    if (r->send && r->fate != NO_ANSWER && r->fate != REPEAT)
        r->receipt->ended = sim.now; /* whoever gave it up closed the connection */
    r->receipt->refused = r->fate == ANSWER_REFUSED;
    tell_node(r);
    if (r->send)
        r->send->request = NULL;
    free(r);
}

static void
drop_request(struct event *e)
{
    free(container_of(e, struct request, event));
}

static void
keep_receipt(struct receipt *r)
{
    if (provider.receipts.count == provider.receipts.capacity) {
        provider.receipts.capacity = MAX_OF(provider.receipts.capacity * 2, 256u);
        provider.receipts.at = realloc(provider.receipts.at,
                                       provider.receipts.capacity * sizeof(*provider.receipts.at));
        assert(provider.receipts.at);
    }
    provider.receipts.at[provider.receipts.count++] = r;
}

/* ---- the way out ---- */

static void
on_written(struct event *e)
{
    struct send *s = container_of(e, struct send, event);
    struct receipt *kept = malloc(sizeof(*kept));
    struct request *r = calloc(1, sizeof(*r));

    assert(kept && r);
    s->receipt.left = sim.now;
    *kept = s->receipt;
    provider.leaves(provider.arg, kept);
    if (sim_chance(provider.faults.lose_request)) {
        free(kept);
        free(r);
        if (sim_chance(500000)) { /* a reset; else silence until the time-out */
            s->event.run = on_answered;
            s->event.what = "reset";
            s->status = 0;
            sim_put(&s->event, sim.now + sim_between(100, 100000));
        }
        return;
    }
    keep_receipt(kept);
    r->receipt = kept;
    r->send = s;
    s->request = r;
    r->event = (struct event){.what = "request", .run = on_request_event, .drop = drop_request};
    sim_put(&r->event, sim.now + sim_between(100, 30000));
}

/* Directly before the bytes. */
static void
on_connected(struct event *e)
{
    struct send *s = container_of(e, struct send, event);
    usec_t now = clock_boot();

    if (sim_chance(provider.faults.no_connection)) {
        finish(s, VERDICT_NOT_SENT, REASON_NONE);
        return;
    }
    s->calls = 1;
    s->guarded = now >= s->send_by || !s->guard(s->arg, now);
    if (s->guarded) {
        finish(s, VERDICT_NOT_SENT, REASON_NONE);
        return;
    }
    s->first_byte = now;
    s->event.run = on_written;
    s->event.what = "written";
    sim_put(&s->event, sim.now + 1);
    if (sim_chance(provider.faults.freeze))
        process_stop_for(s->t->process, sim_between(0, provider.faults.freeze_max));
}

static void
describe(struct receipt *r, const struct outgoing *o)
{
    struct token token;
    int n = 0;

    assert(token_parse(&token, o->token) == 0);
    *r = (struct receipt){.phone = o->phone,
                          .device_id = token.device_id,
                          .epoch = token.epoch,
                          .token = token.id};
    snprintf(r->partition, sizeof(r->partition), "%s", token.partition);
    while ((size_t) n < o->text.bytes && n < (int) sizeof(r->what) - 1 && o->text.data[n] != ' ')
        n++;
    snprintf(r->what, sizeof(r->what), "%.*s", n, o->text.data ? o->text.data : "");
}

int
transport_send(struct transport *t, const struct outgoing *o, send_guard_fn *guard,
               send_done_fn *done, void *arg)
{
    static char url[512], authorization[2048], body[40000];
    size_t bytes;
    int r;

    if (t->stopping || t->process->dying)
        return -ESHUTDOWN;
    if (t->busy == t->config.slots)
        return -EAGAIN;
    r = o->gateway->build(o, url, sizeof(url), authorization, sizeof(authorization), body,
                          sizeof(body), &bytes);
    if (r < 0)
        return r;
    struct send *s = calloc(1, sizeof(*s));
    assert(s);
    *s = (struct send){.next = t->sends,
                       .back = &t->sends,
                       .t = t,
                       .gateway = o->gateway,
                       .guard = guard,
                       .done = done,
                       .arg = arg,
                       .send_by = o->send_by};
    if (t->sends)
        t->sends->back = &s->next;
    t->sends = s;
    t->busy++;
    describe(&s->receipt, o);
    s->event = (struct event){.process = t->process, .what = "connected", .run = on_connected};
    s->timeout = (struct event){.process = t->process, .what = "timeout", .run = on_timeout};
    sim_put(&s->event, sim.now + sim_between(100, 3000));
    sim_put(&s->timeout, host_when(t->process->host, clock_boot() + t->config.timeout));
    return 0;
}

unsigned
transport_in_flight(const struct transport *t)
{
    return t->busy;
}

unsigned
transport_free_slots(const struct transport *t)
{
    return t->config.slots - t->busy;
}

int
transport_start(struct transport **ret, uv_loop_t *loop, const struct transport_config *config)
{
    struct transport *t = calloc(1, sizeof(*t));

    if (!t)
        return -ENOMEM;
    *t = (struct transport){.process = process_of(loop), .config = *config};
    *ret = t;
    return 0;
}

void
transport_stop(struct transport *t)
{
    t->stopping = true;
    while (t->sends)
        finish(t->sends, t->sends->calls == 0 ? VERDICT_NOT_SENT : VERDICT_DOUBT,
               REASON_CONNECTION_LOST);
}

struct transport *
transport_free(struct transport *t)
{
    free(t);
    return NULL;
}

void
provider_open(void)
{
    provider = (struct provider){0};
}

void
provider_close(void)
{
    for (unsigned i = 0; i < provider.receipts.count; i++)
        free(provider.receipts.at[i]);
    free(provider.receipts.at);
    provider.receipts.at = NULL;
    provider.receipts.count = 0;
}

const struct gateway *
gateway_find(struct slice name)
{
    return name.bytes == strlen(gateway_cloudapi.name) &&
                   memcmp(name.data, gateway_cloudapi.name, name.bytes) == 0
               ? &gateway_cloudapi
               : NULL;
}
