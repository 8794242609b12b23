/* The coordinator's dispatch table and its reading handlers. */
#include "coordinator/requests.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/orders.h"
#include "shared/log.h"

#define PAGE_BYTES_MAX                                                                             \
    (BODY_BYTES_MAX - 16u * 1024u) /* the rest is for what stands around JSON                      \
                                    */

struct requests {
    struct requests_config config;
    struct rpc_server *server;
    struct orders *orders;
    struct message *message;
    uint64_t bad_bodies;
    char refusal[REASON_BYTES_MAX +
                 1]; /* the last one that was logged: said once, not each second */
};

struct question {
    struct rpc_ticket ticket;
    const struct peer *peer;
    const struct request *request;
    struct slice body;
};

static struct slice
slice_of(const char *text)
{
    return (struct slice){text, strlen(text)};
}

/* ---- answering ---- */

static void
answer(void *arg, struct rpc_ticket ticket, const struct reply *reply)
{
    struct requests *r = arg;
    struct slice body;
    int err = message_write_reply(r->message, reply, &body);
    if (err < 0) {
        struct reply failed = {.kind = reply->kind,
                               .status = STATUS_FAILED,
                               .reason = slice_of(err == -E2BIG ? "the answer does not fit a frame"
                                                                : "the answer cannot be encoded")};
        log_event(LOG_LEVEL_ERROR, "request.unanswerable", "kind=%s error=%d",
                  message_kind_name(reply->kind), err);
        err = message_write_reply(r->message, &failed, &body);
    }
    if (err == 0)
        err = rpc_reply(r->server, ticket, body);
    if (err < 0)
        log_event(LOG_LEVEL_WARNING, "request.reply_lost", "kind=%s error=%d",
                  message_kind_name(reply->kind), err);
}

static void
answer_status(struct requests *r, const struct question *q, enum message_status status,
              const char *why)
{
    answer(r, q->ticket,
           &(struct reply){.kind = q->request->kind, .status = status, .reason = slice_of(why)});
}

static _printf_(3, 4) void refuse(struct requests *r, const struct question *q, const char *text,
                                  ...)
{
    char why[REASON_BYTES_MAX + 1], quoted[REASON_BYTES_MAX + 64];
    va_list args;
    va_start(args, text);
    vsnprintf(why, sizeof why, text, args);
    va_end(args);
    if (strcmp(why, r->refusal) != 0)
        log_event(LOG_LEVEL_WARNING, "request.refused", "peer=%s kind=%s why=%s", q->peer->name,
                  message_kind_name(q->request->kind), log_quote(quoted, sizeof quoted, why));
    memcpy(r->refusal, why, sizeof why);
    answer_status(r, q, STATUS_REFUSED, why);
}

/* ---- the map ---- */

static int
fill_map(struct requests *r, struct map *m)
{
    const struct fleet *f = r->config.fleet;
    m->nodes = message_room(r->message, (f->node_count + 1) * sizeof *m->nodes);
    m->partitions = message_room(r->message, (f->partition_count + 1) * sizeof *m->partitions);
    if (!m->nodes || !m->partitions)
        return -ENOMEM;
    for (unsigned i = 0; i < f->node_count; i++) {
        const struct node_record *n = &f->nodes[i].record;
        m->nodes[m->node_count++] = (struct map_node){slice_of(n->name), slice_of(n->rpc_address),
                                                      slice_of(n->health_address)};
    }
    for (unsigned i = 0; i < f->partition_count; i++) {
        const struct partition_record *p = &f->partitions[i].record;
        m->partitions[m->partition_count++] =
            (struct map_partition){slice_of(p->name), slice_of(p->home), slice_of(p->driver)};
    }
    m->ranges = f->ranges;
    return 0;
}

static void
answer_map(struct requests *r, const struct question *q, bool full)
{
    struct reply reply = {.kind = q->request->kind,
                          .map = {.term = ledger_term(r->config.ledger),
                                  .version = r->config.fleet->map_version,
                                  .content_version = r->config.sources->version,
                                  .full = full}};
    if (full && fill_map(r, &reply.map) < 0)
        answer_status(r, q, STATUS_FAILED, "the coordinator is out of memory");
    else
        answer(r, q->ticket, &reply);
}

/* ---- handlers ---- */

static void
on_report(struct requests *r, const struct question *q)
{
    const struct report *report = &q->request->report;
    if (report->name.bytes != strlen(q->peer->name) ||
        memcmp(report->name.data, q->peer->name, report->name.bytes) != 0) {
        refuse(r, q, "the key of %s cannot report for node %.*s", q->peer->name,
               (int) report->name.bytes, report->name.data);
        return;
    }
    char why[REASON_BYTES_MAX + 1];
    usec_t now = clock_boot();
    int err = fleet_report(r->config.fleet, report, now, why, sizeof why);
    if (err == -ENOMEM) {
        answer_status(r, q, STATUS_FAILED, why);
        return;
    }
    if (err < 0) {
        refuse(r, q, "%s", why);
        return;
    }
    answer_map(r, q,
               q->request->kind == MESSAGE_REGISTER ||
                   report->term != ledger_term(r->config.ledger) ||
                   report->map_version != r->config.fleet->map_version ||
                   report->content_version != r->config.sources->version);
    r->config.changed(r->config.arg);
    orders_tick(r->orders, now);
}

static void
on_map(struct requests *r, const struct question *q)
{
    answer_map(r, q, true);
}

static void
on_content(struct requests *r, const struct question *q)
{
    struct content_row rows[CONTENT_PER_PAGE_MAX];
    struct reply reply = {.kind = MESSAGE_CONTENT,
                          .content = {.version = r->config.sources->version, .rows = rows}};
    reply.content.row_count =
        sources_page(r->config.sources, q->request->content.after, CONTENT_PER_PAGE_MAX,
                     PAGE_BYTES_MAX, rows, &reply.content.more);
    answer(r, q->ticket, &reply);
}

static void
on_nodes(struct requests *r, const struct question *q)
{
    const struct fleet *f = r->config.fleet;
    struct node_row rows[NODES_MAX];
    usec_t now = clock_boot();
    for (unsigned i = 0; i < f->node_count; i++)
        rows[i] = (struct node_row){.state = slice_of(node_state_name(f->nodes[i].state)),
                                    .report_age = now - f->nodes[i].reported_at,
                                    .report = f->nodes[i].report};
    answer(r, q->ticket,
           &(struct reply){.kind = MESSAGE_NODES,
                           .nodes = {.term = ledger_term(r->config.ledger),
                                     .map_version = f->map_version,
                                     .content_version = r->config.sources->version,
                                     .coordinator = slice_of(r->config.name),
                                     .node_count = f->node_count,
                                     .nodes = rows}});
}

static void
on_order(struct requests *r, const struct question *q)
{
    orders_put(r->orders, q->ticket, q->peer, q->request, q->body);
}

/* ---- dispatch: the roles of a kind stand in MESSAGE_KINDS, once for both sides ---- */

static const struct {
    enum message_kind kind;
    void (*handle)(struct requests *r, const struct question *q);
} dispatch[] = {
    {MESSAGE_REGISTER, on_report}, {MESSAGE_REPORT, on_report}, {MESSAGE_MAP, on_map},
    {MESSAGE_CONTENT, on_content}, {MESSAGE_NODES, on_nodes},   {MESSAGE_PLACE, on_order},
    {MESSAGE_APPLY, on_order},     {MESSAGE_SOURCE, on_order},
};

static void
on_request(void *arg, struct rpc_ticket ticket, const struct peer *peer, struct slice body)
{
    struct requests *r = arg;
    struct request request;
    struct question q = {ticket, peer, &request, body};
    int err = message_read_request(r->message, body, &request);
    if (err == -ENOTSUP) {
        answer_status(r, &q, STATUS_BAD, "unknown request");
        return;
    }
    if (err < 0) {
        r->bad_bodies++;
        return;
    }
    if (message_allowed(request.kind, peer->role, true)) {
        for (size_t i = 0; i < ARRAY_SIZE(dispatch); i++) {
            if (dispatch[i].kind == request.kind) {
                dispatch[i].handle(r, &q);
                return;
            }
        }
    }
    refuse(r, &q, "role %s may not ask %s of the coordinator", role_name(peer->role),
           message_kind_name(request.kind));
}

/* ---- life ---- */

static void
changed(void *arg)
{
    struct requests *r = arg;
    r->config.changed(r->config.arg);
}

int
requests_start(struct requests **ret, uv_loop_t *loop, const struct requests_config *config)
{
    struct requests *r = calloc(1, sizeof *r);
    if (!r)
        return -ENOMEM;
    r->config = *config;
    r->message = message_new();
    r->orders = orders_new(&(struct orders_config){.fleet = config->fleet,
                                                   .sources = config->sources,
                                                   .ledger = config->ledger,
                                                   .holder = config->holder,
                                                   .answer = answer,
                                                   .changed = changed,
                                                   .arg = r});
    int err = r->message && r->orders ? 0 : -ENOMEM;
    if (err == 0)
        err = rpc_server_start(&r->server, loop, config->url, config->identity, config->peers,
                               on_request, r);
    if (err < 0)
        requests_free(r);
    else
        *ret = r;
    return err;
}

void
requests_tick(struct requests *r, usec_t now)
{
    orders_tick(r->orders, now);
}

const uint64_t *
requests_drops(const struct requests *r)
{
    return rpc_server_drops(r->server);
}

uint64_t
requests_bad_bodies(const struct requests *r)
{
    return r->bad_bodies;
}

void
requests_stop(struct requests *r)
{
    orders_stop(r->orders);
    rpc_server_stop(r->server);
}

struct requests *
requests_free(struct requests *r)
{
    if (!r)
        return NULL;
    rpc_server_free(r->server);
    orders_free(r->orders);
    message_free(r->message);
    free(r);
    return NULL;
}
