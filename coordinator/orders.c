/* Admin writes in order: judge, commit, remember, answer. */
#include "coordinator/orders.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/log.h"

#define DUE_AGAIN USEC_PER_SEC /* after an order of time that was not committed */

struct order {
    struct order *next;
    struct uuid incarnation;
    uint64_t id;
    enum message_kind kind;
    struct rpc_ticket ticket;
    char who[NAME_BYTES_MAX + 1];
    struct slice body; /* own copy */
    bool by_time;      /* nobody asked: its time came */
};

struct wait {
    struct uuid incarnation;
    uint64_t id;
    struct rpc_ticket ticket;
    uint64_t version;
    usec_t deadline;
};

struct orders {
    struct orders_config config;
    struct message *message; /* of the current order */
    bool stopped;
    unsigned queued_count;
    struct order *queued; /* oldest first */
    struct order *current;
    struct place_result place; /* of the current PLACE */
    struct sources_change change;
    usec_t due_not_before;
    unsigned wait_count;
    struct wait waits[ORDERS_WAITS_MAX];
};

static void run_next(struct orders *o);

struct orders *
orders_new(const struct orders_config *config)
{
    struct orders *o = calloc(1, sizeof *o);
    if (!o)
        return NULL;
    o->config = *config;
    o->message = message_new();
    return o->message ? o : orders_free(o);
}

static void
order_free(struct order *order)
{
    if (order)
        free((char *) order->body.data);
    free(order);
}

struct orders *
orders_free(struct orders *o)
{
    if (!o)
        return NULL;
    while (o->queued) {
        struct order *next = o->queued->next;
        order_free(o->queued);
        o->queued = next;
    }
    order_free(o->current);
    rangemap_done(&o->place.map);
    sources_change_done(&o->change);
    message_free(o->message);
    free(o);
    return NULL;
}

void
orders_stop(struct orders *o)
{
    o->stopped = true;
}

static struct slice
slice_of(const char *text)
{
    return (struct slice){text, strlen(text)};
}

/* ---- ending the current order ---- */

static void
answer(struct orders *o, struct rpc_ticket ticket, const struct reply *reply)
{
    if (!o->stopped)
        o->config.answer(o->config.arg, ticket, reply);
}

static void
end(struct orders *o)
{
    order_free(o->current);
    o->current = NULL;
    rangemap_done(&o->place.map);
    o->place = (struct place_result){0};
    sources_change_done(&o->change);
}

static void
end_with(struct orders *o, const struct reply *reply)
{
    if (!o->current->by_time)
        answer(o, o->current->ticket, reply);
    end(o);
}

static _printf_(3, 4) void end_because(struct orders *o, enum message_status status,
                                       const char *text, ...)
{
    char why[REASON_BYTES_MAX + 1];
    va_list args;
    va_start(args, text);
    vsnprintf(why, sizeof why, text, args);
    va_end(args);
    char quoted[REASON_BYTES_MAX + 64];
    log_event(LOG_LEVEL_WARNING, "order.not_done", "who=%s kind=%s status=%d why=%s",
              o->current->who, message_kind_name(o->current->kind), (int) status,
              log_quote(quoted, sizeof quoted, why));
    end_with(o,
             &(struct reply){.kind = o->current->kind, .status = status, .reason = slice_of(why)});
}

/* The ledger did not take the call, or its transaction did not end in DONE. */
static void
end_unsubmitted(struct orders *o, int err)
{
    if (err == -ENOTCONN || err == -EAGAIN)
        end_because(o, STATUS_RETRY, "the catalog cannot be written now: %s",
                    err == -EAGAIN ? "too much waits" : ledger_error(o->config.ledger));
    else
        end_because(o, STATUS_FAILED, "the catalog could not be asked: %s", strerror(-err));
}

static void
end_uncommitted(struct orders *o, enum ledger_outcome outcome)
{
    if (outcome == LEDGER_FENCED) {
        end_because(o, STATUS_FAILED, "another coordinator has taken the catalog");
        holder_fenced(o->config.holder);
    } else if (outcome == LEDGER_REFUSED) {
        end_because(o, STATUS_FAILED, "the catalog refused: %s", ledger_error(o->config.ledger));
    } else {
        end_because(o, STATUS_RETRY, "the catalog's connection was lost in the middle: ask again");
    }
}

/* ---- PLACE ---- */

static void
end_placed(struct orders *o)
{
    end_with(o, &(struct reply){.kind = MESSAGE_PLACE,
                                .place = {.map_version = o->config.fleet->map_version,
                                          .placed = o->place.placed,
                                          .known = o->place.known}});
}

static void
on_placed(void *arg, enum ledger_outcome outcome, uint64_t map_version)
{
    struct orders *o = arg;
    if (outcome == LEDGER_DONE) {
        fleet_ranges_saved(o->config.fleet, &o->place.map, map_version);
        log_event(LOG_LEVEL_INFO, "order.placed", "who=%s devices=%llu map_version=%llu",
                  o->current->who, (unsigned long long) o->place.placed,
                  (unsigned long long) map_version);
        end_placed(o);
        o->config.changed(o->config.arg);
    } else {
        end_uncommitted(o, outcome);
    }
    run_next(o);
}

static void
refuse_place(struct orders *o, int err)
{
    if (err == -EAGAIN)
        end_because(o, STATUS_REFUSED,
                    "no partition is open to take new devices: look at fleetcast status");
    else if (err == -E2BIG)
        end_because(o, STATUS_REFUSED,
                    "the map would need more than %u ranges: use contiguous device ids",
                    RANGES_MAX);
    else
        end_because(o, STATUS_FAILED, "the coordinator is out of memory");
}

static void
begin_place(struct orders *o, const struct request *q)
{
    struct fleet *f = o->config.fleet;
    if (!place_runs_valid(q->place.runs, q->place.run_count)) {
        end_because(o, STATUS_BAD, "device ids must be sorted runs from 1 without overlap");
        return;
    }
    struct place_partition view[PARTITIONS_MAX];
    fleet_place_view(f, view);
    int err = place_deal(&o->place, &f->ranges, view, f->partition_count, q->place.runs,
                         q->place.run_count);
    if (err < 0) {
        refuse_place(o, err);
        return;
    }
    if (o->place.placed == 0) {
        end_placed(o);
        return;
    }
    struct slice names[PARTITIONS_MAX];
    for (unsigned i = 0; i < f->partition_count; i++)
        names[i] = slice_of(f->partitions[i].record.name);
    char what[96];
    snprintf(what, sizeof what, "place %llu devices", (unsigned long long) o->place.placed);
    struct ledger_audit audit = {slice_of(o->current->who), slice_of(what), slice_of("")};
    err = ledger_place(o->config.ledger, &f->ranges, &o->place.map, names, &audit, on_placed, o);
    if (err < 0)
        end_unsubmitted(o, err);
}

/* ---- APPLY ---- */

static void
end_applied(struct orders *o, const struct sources_change *c)
{
    end_with(o, &(struct reply){.kind = MESSAGE_APPLY,
                                .apply = {.version = o->config.sources->version,
                                          .created = c->created,
                                          .changed = c->changed,
                                          .unchanged = c->unchanged}});
}

static void
on_applied(void *arg, enum ledger_outcome outcome, const int64_t *started_at)
{
    struct orders *o = arg;
    if (outcome == LEDGER_DONE) {
        sources_commit(o->config.sources, &o->change, started_at);
        log_event(LOG_LEVEL_INFO, "order.applied",
                  "who=%s created=%u changed=%u content_version=%llu", o->current->who,
                  o->change.created, o->change.changed,
                  (unsigned long long) o->config.sources->version);
        end_applied(o, &o->change);
        o->config.changed(o->config.arg);
    } else {
        end_uncommitted(o, outcome);
    }
    run_next(o);
}

static void
begin_apply(struct orders *o, const struct request *q)
{
    char why[REASON_BYTES_MAX + 1];
    enum message_status status =
        sources_judge_apply(o->config.sources, &q->apply, &o->change, why, sizeof why);
    if (status != STATUS_OK) {
        end_because(o, status, "%s", why);
        return;
    }
    if (q->apply.dry_run || o->change.count == 0) {
        end_applied(o, &o->change);
        return;
    }
    char what[REASON_BYTES_MAX];
    int at = snprintf(what, sizeof what, "apply-content");
    for (uint32_t i = 0; i < o->change.count && at < (int) sizeof what; i++)
        at += snprintf(what + at, sizeof what - (size_t) at, " %s", o->change.items[i]->name);
    struct ledger_audit audit = {slice_of(o->current->who), slice_of(what), slice_of("")};
    int err = ledger_content(o->config.ledger, &o->change, &audit, on_applied, o);
    if (err < 0)
        end_unsubmitted(o, err);
}

/* ---- SOURCE ---- */

/* From here the order is no longer the current one: others run while it waits. */
static void
wait_for(struct orders *o, uint64_t version)
{
    if (o->current->by_time) {
        end(o);
        return;
    }
    struct wait *w = &o->waits[o->wait_count++];
    *w = (struct wait){.incarnation = o->current->incarnation,
                       .id = o->current->id,
                       .ticket = o->current->ticket,
                       .version = version,
                       .deadline = clock_boot() + ORDERS_WAIT};
    end(o);
}

static void
on_ordered(void *arg, enum ledger_outcome outcome, const int64_t *started_at)
{
    struct orders *o = arg;
    if (outcome == LEDGER_DONE) {
        uint64_t version = o->change.version;
        o->due_not_before = 0;
        log_event(LOG_LEVEL_INFO, "order.source",
                  "who=%s kind=%s name=%s state=%s content_version=%llu", o->current->who,
                  content_kind_name((enum content_kind) o->change.items[0]->row.kind),
                  o->change.items[0]->name,
                  source_state_name((enum source_state) o->change.items[0]->row.state),
                  (unsigned long long) version);
        sources_commit(o->config.sources, &o->change, started_at);
        wait_for(o, version);
        orders_tick(o, clock_boot());
        o->config.changed(o->config.arg);
    } else {
        end_uncommitted(o, outcome);
    }
    run_next(o);
}

static void
write_order(struct orders *o, struct slice because)
{
    char what[160];
    const struct sources_item *item = o->change.items[0];
    snprintf(what, sizeof what, "%s %s %s", content_kind_name((enum content_kind) item->row.kind),
             item->row.start_at ? "scheduled"
                                : source_state_name((enum source_state) item->row.state),
             item->name);
    struct ledger_audit audit = {slice_of(o->current->who), slice_of(what), because};
    int err = ledger_content(o->config.ledger, &o->change, &audit, on_ordered, o);
    if (err < 0)
        end_unsubmitted(o, err);
}

static void
begin_source(struct orders *o, const struct request *q)
{
    char why[REASON_BYTES_MAX + 1];
    if (o->wait_count == ORDERS_WAITS_MAX) {
        end_because(o, STATUS_RETRY, "%u orders wait for the partitions", ORDERS_WAITS_MAX);
        return;
    }
    enum message_status status = sources_judge_order(o->config.sources, &q->source,
                                                     ledger_db_now(o->config.ledger, clock_boot()),
                                                     &o->change, why, sizeof why);
    if (status != STATUS_OK) {
        end_because(o, status, "%s", why);
        return;
    }
    if (o->change.count == 0) {
        wait_for(o, o->change.version);
        orders_tick(o, clock_boot());
        return;
    }
    write_order(o, q->source.because);
}

/*
 * What time itself orders: one after the other, before the orders of people (it has an end). Lost
 * in a crash before its commit, it is still due when the next coordinator looks; after it, it is
 * done.
 */
static void
begin_due(struct orders *o, usec_t now)
{
    if (o->current || o->stopped || now < o->due_not_before || !ledger_held(o->config.ledger) ||
        !sources_judge_due(o->config.sources, ledger_db_now(o->config.ledger, now), &o->change))
        return;
    o->due_not_before = now + DUE_AGAIN; /* a ledger that refuses is not asked without end */
    o->current = calloc(1, sizeof *o->current);
    if (!o->current) {
        sources_change_done(&o->change);
        return;
    }
    *o->current = (struct order){.kind = MESSAGE_SOURCE, .who = "coordinator", .by_time = true};
    write_order(o, o->change.items[0]->row.because);
}

void
orders_tick(struct orders *o, usec_t now)
{
    struct slice missing[PARTITIONS_MAX];
    for (unsigned i = 0; i < o->wait_count;) {
        struct wait *w = &o->waits[i];
        unsigned count = fleet_content_missing(o->config.fleet, w->version, missing);
        if (count > 0 && now < w->deadline) {
            i++;
            continue;
        }
        struct reply reply = {.kind = MESSAGE_SOURCE,
                              .source = {.version = w->version,
                                         .applied_count = o->config.fleet->partition_count - count,
                                         .missing_count = count,
                                         .missing = missing}};
        answer(o, w->ticket, &reply);
        *w = o->waits[--o->wait_count];
    }
    begin_due(o, now);
}

/* ---- the queue ---- */

static void
begin(struct orders *o)
{
    struct request q;
    int err = message_read_request(o->message, o->current->body, &q);
    if (err < 0) {
        end_because(o, STATUS_FAILED, "the request does not read again: %s", strerror(-err));
        return;
    }
    switch (q.kind) {
    case MESSAGE_PLACE: begin_place(o, &q); break;
    case MESSAGE_APPLY: begin_apply(o, &q); break;
    case MESSAGE_SOURCE: begin_source(o, &q); break;
    default: end_because(o, STATUS_BAD, "%s is no order", message_kind_name(q.kind));
    }
}

static void
run_next(struct orders *o)
{
    begin_due(o, clock_boot());
    while (!o->current && o->queued && !o->stopped) {
        o->current = o->queued;
        o->queued = o->current->next;
        o->queued_count--;
        begin(o);
    }
}

static bool
is_same(const struct uuid *incarnation, uint64_t id, const struct request *q)
{
    return id == q->id && memcmp(incarnation, &q->incarnation, sizeof *incarnation) == 0;
}

/* The same request again: the asker hears on its newest session only. */
static bool
move_ticket(struct orders *o, const struct request *q, struct rpc_ticket ticket)
{
    for (unsigned i = 0; i < o->wait_count; i++) {
        if (is_same(&o->waits[i].incarnation, o->waits[i].id, q)) {
            o->waits[i].ticket = ticket;
            return true;
        }
    }
    if (o->current && !o->current->by_time &&
        is_same(&o->current->incarnation, o->current->id, q)) {
        o->current->ticket = ticket;
        return true;
    }
    for (struct order *order = o->queued; order; order = order->next) {
        if (is_same(&order->incarnation, order->id, q)) {
            order->ticket = ticket;
            return true;
        }
    }
    return false;
}

static struct order *
order_new(struct rpc_ticket ticket, const struct peer *peer, const struct request *q,
          struct slice body)
{
    struct order *order = calloc(1, sizeof *order);
    char *copy = malloc(body.bytes);
    if (!order || !copy) {
        free(order);
        free(copy);
        return NULL;
    }
    memcpy(copy, body.data, body.bytes);
    *order = (struct order){.incarnation = q->incarnation,
                            .id = q->id,
                            .kind = q->kind,
                            .ticket = ticket,
                            .body = {copy, body.bytes}};
    memcpy(order->who, peer->name, sizeof order->who);
    return order;
}

void
orders_put(struct orders *o, struct rpc_ticket ticket, const struct peer *peer,
           const struct request *q, struct slice body)
{
    if (move_ticket(o, q, ticket))
        return;
    struct order *order = NULL;
    const char *why = "the coordinator is out of memory";
    if (!ledger_held(o->config.ledger))
        why = "the catalog cannot be reached now";
    else if (o->queued_count == ORDERS_QUEUED_MAX)
        why = "too many orders wait";
    else
        order = order_new(ticket, peer, q, body);
    if (!order) {
        answer(o, ticket,
               &(struct reply){.kind = q->kind, .status = STATUS_RETRY, .reason = slice_of(why)});
        return;
    }
    struct order **last = &o->queued;
    while (*last)
        last = &(*last)->next;
    *last = order;
    o->queued_count++;
    run_next(o);
}
