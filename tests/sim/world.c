/* Draws a cluster, its work and its faults from the seed; runs it until everything has ended. */
#include "tests/sim/world.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/rpc.h"
#include "shared/content.h"
#include "shared/secret.h"

struct world world;

/* ---- faults: each seed draws which there are, and how often ---- */

enum fault {
    FAULT_KILL,
    FAULT_FREEZE,
    FAULT_DRAIN,
    FAULT_SERVER,
    FAULT_BACKEND,
    FAULT_CUT,
    FAULT_CLONE,
    FAULT_CLOCK,
    FAULT_OPTOUT,
    FAULT_PAUSE,
    FAULT_CANCEL,
    FAULT_EDIT,
    FAULT_IMPORT,
    FAULT_TRIGGER,
    FAULT_SEND,
    FAULT_COUNT
};
static struct {
    unsigned weights[FAULT_COUNT];
    usec_t every;
    struct event next, look;
    struct rpc_client *clients[MACHINES_MAX];
    struct event revive[MACHINES_MAX], clear[4];
    unsigned direct_count;
} plan;

struct server *
server_find(const char *dsn)
{
    for (unsigned i = 0; i < world.server_count; i++)
        if (strcmp(world.servers[i].store.partition, dsn) == 0)
            return &world.servers[i];
    assert(!"no such server");
    return NULL;
}

static uint64_t
now_and_then(uint64_t most)
{
    return sim_chance(500000) ? sim_between(0, most) : 0;
}

/* ---- what there is to send ---- */

static const char *const names[] = {"spring", "cold", "warm", "hot"};

/* A revision of a sequence: other words never, for they name the message; other delays. */
static void
write_sequence(const struct known_source *p, char *out, size_t size)
{
    size_t n =
        (size_t) snprintf(out, size,
                          "{\"kind\":\"sequence\",\"name\":\"%s\"%s%s%s%s%s%s,\"steps\":[", p->name,
                          *p->trigger ? ",\"trigger\":\"" : "", p->trigger, *p->trigger ? "\"" : "",
                          *p->next ? ",\"next_sequence\":\"" : "", p->next, *p->next ? "\"" : "");

    for (unsigned i = 0; i < p->step_count; i++)
        n += (size_t) snprintf(out + n, size - n,
                               "%s{\"step\":%u,\"delay\":\"%" PRIu64
                               "s\",\"text\":\"%s/%u hello {{name|friend}}\"}",
                               i ? "," : "", i + 1, p->delays[i] / USEC_PER_SEC, p->name, i + 1);
    snprintf(out + n, size - n, "]}");
}

static void
put_sequence(const struct known_source *p)
{
    char json[2048];

    write_sequence(p, json, sizeof(json));
    authority_put(p->id, CONTENT_SEQUENCE, SOURCE_ACTIVE, 0, json);
}

static void
draw_sources(void)
{
    unsigned sequences = world.capped ? 0 : (unsigned) sim_between(0, 3);

    authority_put(0, CONTENT_TEMPLATE, 0, 0,
                  "{\"kind\":\"template\",\"name\":\"hello\",\"text\":\"spring/0 hi "
                  "{{name|there}}\"}");
    world.plans[0] = (struct known_source){.id = 1, .kind = CONTENT_CAMPAIGN, .name = "spring"};
    world.plan_count = 1 + sequences;
    authority_put(1, CONTENT_CAMPAIGN, SOURCE_ACTIVE, 0,
                  "{\"kind\":\"campaign\",\"name\":\"spring\",\"template\":\"hello\"}");
    for (unsigned i = sequences; i > 0; i--) { /* whom others name comes first */
        struct known_source *p = &world.plans[i];

        *p = (struct known_source){.id = (int32_t) i + 1,
                                   .kind = CONTENT_SEQUENCE,
                                   .step_count = (unsigned) sim_between(1, 3)};
        snprintf(p->name, sizeof(p->name), "%s", names[i]);
        if (i == 1 || sim_chance(300000))
            snprintf(p->trigger, sizeof(p->trigger), "T%u", i);
        if (i < sequences)
            snprintf(p->next, sizeof(p->next), "%s", names[i + 1]);
        for (unsigned k = 0; k < p->step_count; k++)
            p->delays[k] = (k ? sim_between(1, 20) : sim_between(0, 2)) * USEC_PER_SEC;
        put_sequence(p);
    }
}

static void
set_token(struct device_rec *d)
{
    char context[48];
    size_t bytes;
    int n = snprintf(context, sizeof(context), "tok1|%d|1", d->device_id);

    d->token = malloc(SECRET_SEAL_OVERHEAD + 5);
    assert(d->token);
    int r = secret_seal(machine_key, 1, (struct slice){context, (size_t) n},
                        (struct slice){"token", 5}, d->token, SECRET_SEAL_OVERHEAD + 5, &bytes);
    assert(r == 0);
    d->token_bytes = (unsigned) bytes;
}

static void
add_lead(struct device_rec *d, unsigned trigger)
{
    char text[32];
    struct lead *l =
        store_lead_new(d, 10000000 + (int64_t) d->device_id * 1000000 + d->next_lead_no);

    snprintf(text, sizeof(text), "lead-%d", l->lead_no);
    store_set_text(&l->name, text, strlen(text));
    if (trigger == 0 || trigger >= world.plan_count || !*world.plans[trigger].trigger)
        return;
    store_set_text(&l->trigger, world.plans[trigger].trigger, strlen(world.plans[trigger].trigger));
}

static void
draw_device(struct store *s, int32_t id)
{
    struct device_rec *d = store_device_new(s, id);
    unsigned leads = (unsigned) sim_between(world.lead_count / 2, world.lead_count);

    store_set_text(&d->transport, "cloudapi", 8);
    store_set_text(&d->address, "12345", 5);
    d->min_delay_ms = (int32_t) sim_between(1000, 2500);
    d->max_delay_ms = d->min_delay_ms + (int32_t) sim_between(0, 1500);
    set_token(d);
    for (unsigned i = 0; i < leads; i++)
        add_lead(d, (unsigned) sim_between(0, 2));
}

/* ---- machines ---- */

static void
on_revive(struct event *e)
{
    struct machine *m = &world.machines[e - plan.revive];

    if (!m->running && !m->must_not_start)
        machine_start(m);
}

static void
start_again(struct machine *m, usec_t in)
{
    sim_put(&plan.revive[m - world.machines], sim.now + in);
}

static struct machine *
any_machine(void)
{
    return &world.machines[sim_between(0, world.machine_count - 1)];
}

static void
kill_machine(struct machine *m)
{
    if (!m->running)
        return;
    machine_kill(m);
    start_again(m, sim_between(100 * USEC_PER_MSEC, 8 * USEC_PER_SEC));
}

/* systemd's watchdog: who is frozen for longer is killed. */
static void
on_watch(void)
{
    for (unsigned i = 0; i < world.machine_count; i++) {
        struct machine *m = &world.machines[i];

        if (m->running && m->process.stopped_until > sim.now + machine_timing.watchdog)
            m->process.stopped_until = 0, kill_machine(m);
    }
}

/* ---- operators ---- */

struct order {
    struct optout *optout; /* NULL: nothing is to be remembered */
};

/* Its row says "done" or "known", not "retry". */
static bool
is_acknowledged(const struct reply *r)
{
    struct slice verdict = r->answer.row_count == 1 ? r->answer.cells[0].text : (struct slice){0};

    return verdict.bytes > 0 && (verdict.data[0] == 'd' || verdict.data[0] == 'k');
}

static void
on_act(void *arg, int err, struct slice body)
{
    struct order *order = arg;
    struct reply reply;

    if (err == 0 && order->optout && message_read_reply(world.message, body, &reply) == 0 &&
        reply.status == STATUS_OK && is_acknowledged(&reply)) {
        sim_say("opt-out of %" PRIu64 " is acknowledged", order->optout->phone);
        order->optout->since = sim.now;
    }
    free(order);
}

static void
act(unsigned server, const char *action, struct slice *cells, unsigned count, struct optout *o)
{
    struct request q = {.kind = MESSAGE_ACT, .id = ++sim.number};
    struct slice body;
    struct machine *m = NULL;
    struct rpc_client *client;
    struct order *order = calloc(1, sizeof(*order));
    struct process *was = sim_enter(&world.operator_);

    for (unsigned i = 0; i < world.machine_count; i++)
        if (world.machines[i].running && world.machines[i].server == &world.servers[server])
            m = &world.machines[i];
    assert(order);
    order->optout = o;
    const char *partition = world.servers[server].store.partition;
    q.act.partition = (struct slice){partition, strlen(partition)};
    q.act.action = (struct slice){action, strlen(action)};
    q.act.column_count = count;
    q.act.cell_count = count;
    q.act.cells = cells;
    int r = message_write_request(world.message, &q, &body);
    assert(r == 0);
    if (!m || rpc_client_start(&client, &world.operator_.loop, m->url, NULL, NULL, NULL) < 0) {
        free(order);
        sim_leave(was);
        return;
    }
    unsigned slot = (unsigned) (m - world.machines);
    if (plan.clients[slot])
        rpc_client_free(client), client = plan.clients[slot];
    else
        plan.clients[slot] = client;
    r = rpc_call_to(client, m->url, body, 8 * USEC_PER_SEC, on_act, order);
    assert(r == 0);
    sim_leave(was);
}

static struct slice
words(const char *text)
{
    return (struct slice){text, strlen(text)};
}

static struct device_rec *
any_device(unsigned *ret_server)
{
    *ret_server = (unsigned) sim_between(0, world.server_count - 1);
    struct store *s = &world.servers[*ret_server].store;

    return &s->devices.at[sim_between(0, s->devices.count - 1)];
}

static void
opt_out(void)
{
    unsigned server;
    const struct device_rec *d = any_device(&server);
    const struct lead *l = &d->leads.at[sim_between(0, d->leads.count - 1)];
    char phone[24];

    if (world.optout_count == ARRAY_SIZE(world.optouts))
        return;
    struct optout *o = &world.optouts[world.optout_count++];
    *o = (struct optout){.phone = (uint64_t) l->phone, .server = server};
    snprintf(phone, sizeof(phone), "%" PRId64, l->phone);
    sim_say("operator: opt-out of %s", phone);
    act(server, "optout.add", (struct slice[]){words("main"), words(phone), words("asked")}, 3, o);
}

static void
send_direct(void)
{
    unsigned server;
    const struct device_rec *d = any_device(&server);
    const struct lead *l = &d->leads.at[sim_between(0, d->leads.count - 1)];
    char phone[24], device[16], key[16], text[32], until[32];

    snprintf(phone, sizeof(phone), "%" PRId64, l->phone);
    snprintf(device, sizeof(device), "%d", d->device_id);
    snprintf(key, sizeof(key), "k%u", ++plan.direct_count);
    snprintf(text, sizeof(text), "direct/%s hello", key);
    snprintf(until, sizeof(until), "%" PRId64, SIM_START + INT64_C(86400000000) * 20);
    sim_say("operator: send %s", text);
    act(server, "send",
        (struct slice[]){words(device), words(phone), words(key), words(text), words(until)}, 5,
        NULL);
}

static void
add_rule(unsigned source, uint64_t version)
{
    if (world.rule_count < ARRAY_SIZE(world.rules))
        world.rules[world.rule_count++] = (struct rule){.source = source, .version = version};
}

static void
end_rules(unsigned source)
{
    for (unsigned i = 0; i < world.rule_count; i++)
        if (world.rules[i].source == source)
            world.rules[i].over = true;
}

static void
resume(unsigned source)
{
    const struct known_source *p = &world.plans[source];
    const struct item *it = authority_item(p->id, p->kind);

    if (it->state != SOURCE_PAUSED)
        return;
    end_rules(source);
    sim_say("operator: resume %s", p->name);
    authority_put(p->id, p->kind, SOURCE_ACTIVE, 0, NULL);
}

static void
pause_or_resume(void)
{
    unsigned source = (unsigned) sim_between(0, world.plan_count - 1);
    const struct known_source *p = &world.plans[source];
    const struct item *it = authority_item(p->id, p->kind);

    if (it->state == SOURCE_PAUSED)
        resume(source);
    else if (it->state == SOURCE_ACTIVE) {
        sim_say("operator: pause %s", p->name);
        add_rule(source, authority_put(p->id, p->kind, SOURCE_PAUSED, 0, NULL));
    }
}

static void
cancel(void)
{
    unsigned source = (unsigned) sim_between(0, world.plan_count - 1);
    const struct known_source *p = &world.plans[source];

    if (authority_item(p->id, p->kind)->state == SOURCE_CANCELLED)
        return;
    sim_say("operator: cancel %s", p->name);
    add_rule(source, authority_put(p->id, p->kind, SOURCE_CANCELLED, 0, NULL));
}

/* A new revision with other delays, for all; what is judged is the shorter of both. */
static void
edit(void)
{
    unsigned source = (unsigned) sim_between(0, world.plan_count - 1);
    struct known_source *p = &world.plans[source], fresh = *p;
    struct item *it = authority_item(p->id, p->kind);
    char json[2048];

    if (p->kind != CONTENT_SEQUENCE || it->state != SOURCE_ACTIVE)
        return;
    for (unsigned k = 1; k < fresh.step_count; k++)
        fresh.delays[k] = sim_between(1, 20) * USEC_PER_SEC;
    write_sequence(&fresh, json, sizeof(json));
    for (unsigned k = 0; k < p->step_count; k++)
        p->delays[k] = MIN_OF(p->delays[k], fresh.delays[k]);
    sim_say("operator: edit %s", p->name);
    it->revision++;
    if (sim_chance(700000))
        it->all_revision = it->revision;
    authority_put(p->id, p->kind, SOURCE_ACTIVE, 0, json);
}

static bool
is_driving(const struct machine *m)
{
    return m->running && m->process.stopped_until <= sim.now && partition_may_write(m->partition) &&
           m->server->store.epoch == (int64_t) partition_epoch(m->partition);
}

/* What intake does after its commit. */
static void
announce(struct machine *m, int32_t device_id)
{
    struct process *was = sim_enter(&m->process);
    int r = partition_device_changed(m->partition, device_id);

    assert(r == 0);
    sim_leave(was);
}

/* As an import does in one transaction; leads behind the campaign's end are not in its audience. */
static void
import(void)
{
    unsigned server, trigger = (unsigned) sim_between(1, 3), count = (unsigned) sim_between(1, 5);
    struct device_rec *d = any_device(&server);
    struct machine *m = &world.machines[server];

    if (!is_driving(m))
        return;
    sim_say("import: %u leads for device %d", count, d->device_id);
    while (count-- > 0)
        add_lead(d, trigger);
    announce(m, d->device_id);
}

/* A known lead gets a trigger again, as an import with --update does: the cursor steps back. */
static void
trigger_again(void)
{
    unsigned server, source = (unsigned) sim_between(1, 3);
    struct device_rec *d = any_device(&server);
    struct machine *m = &world.machines[server];
    struct lead *l = &d->leads.at[sim_between(0, d->leads.count - 1)];

    if (!is_driving(m) || source >= world.plan_count || !*world.plans[source].trigger)
        return;
    const char *trigger = world.plans[source].trigger;
    sim_say("import: lead %d of device %d gets trigger %s", l->lead_no, d->device_id, trigger);
    store_set_text(&l->trigger, trigger, strlen(trigger));
    struct audience_row *y = audience_find(d, world.plans[source].id);
    if (y)
        y->cursor = MIN_OF(y->cursor, l->lead_no - 1);
    announce(m, d->device_id);
}

/* ---- faults ---- */

static void
on_clear(struct event *e)
{
    if (e == &plan.clear[3])
        network.cut = false;
    else if (!world.servers[e - plan.clear].up)
        server_up(&world.servers[e - plan.clear]);
}

static void
server_fault(void)
{
    unsigned n = (unsigned) sim_between(0, world.server_count - 1);

    if (!world.servers[n].up)
        return;
    server_down(&world.servers[n]);
    sim_put(&plan.clear[n], sim.now + sim_between(200 * USEC_PER_MSEC, 5 * USEC_PER_SEC));
}

/* A second process with the node's name, on another host; often because the first one stands still:
 * it may come back in the middle of a send. */
static void
start_clone(void)
{
    unsigned server = (unsigned) sim_between(0, world.server_count - 1);

    if (world.machine_count == MACHINES_MAX)
        return;
    for (unsigned i = world.server_count; i < world.machine_count; i++)
        if (world.machines[i].server == &world.servers[server])
            return;
    unsigned n = world.machine_count++;
    char name[25];

    snprintf(name, sizeof(name), "clone%u", n);
    machine_open(&world.machines[n], &world.hosts[n], name, &world.servers[server]);
    plan.revive[n] = (struct event){.what = "revive", .run = on_revive};
    machine_start(&world.machines[n]);
    if (world.machines[server].running && sim_chance(700000))
        process_stop_for(&world.machines[server].process, sim_between(1000, 5 * USEC_PER_SEC));
}

static void
freeze(void)
{
    struct machine *m = any_machine();

    if (m->running)
        process_stop_for(&m->process, sim_between(1000, 8 * USEC_PER_SEC));
}

static void
drain(void)
{
    struct machine *m = any_machine();

    if (!m->running || m->process.stopped_until > sim.now)
        return;
    machine_drain(m);
    start_again(m, 30 * USEC_PER_SEC);
}

static void
jump(void)
{
    struct server *s = &world.servers[sim_between(0, world.server_count - 1)];

    s->clock += (int64_t) sim_between(0, 20 * USEC_PER_SEC) - (int64_t) (10 * USEC_PER_SEC);
    sim_say("the clock of %s jumps", s->store.partition);
}

static void
do_fault(enum fault f)
{
    switch (f) {
    case FAULT_KILL: kill_machine(any_machine()); return;
    case FAULT_FREEZE: freeze(); return;
    case FAULT_DRAIN: drain(); return;
    case FAULT_SERVER: server_fault(); return;
    case FAULT_BACKEND:
        server_kill_one(&world.servers[sim_between(0, world.server_count - 1)]);
        return;
    case FAULT_CUT:
        network.cut = true;
        sim_put(&plan.clear[3], sim.now + sim_between(USEC_PER_SEC, 10 * USEC_PER_SEC));
        return;
    case FAULT_CLONE: start_clone(); return;
    case FAULT_CLOCK: jump(); return;
    case FAULT_OPTOUT: opt_out(); return;
    case FAULT_PAUSE: pause_or_resume(); return;
    case FAULT_CANCEL: cancel(); return;
    case FAULT_EDIT: edit(); return;
    case FAULT_IMPORT: import(); return;
    case FAULT_TRIGGER: trigger_again(); return;
    case FAULT_SEND: send_direct(); return;
    case FAULT_COUNT: return;
    }
}

static void
on_next(struct event *e)
{
    uint64_t sum = 0, drawn;

    if (sim.now >= world.faults_end)
        return;
    for (unsigned i = 0; i < FAULT_COUNT; i++)
        sum += plan.weights[i];
    drawn = sum ? sim_between(1, sum) : 0;
    for (unsigned i = 0; i < FAULT_COUNT && drawn > 0; i++) {
        if (drawn <= plan.weights[i]) {
            do_fault((enum fault) i);
            break;
        }
        drawn -= plan.weights[i];
    }
    on_watch();
    sim_put(e, sim.now + sim_between(plan.every / 4, plan.every * 2));
}

static void
draw_server_faults(struct server_faults *f)
{
    *f = (struct server_faults){.stall = now_and_then(5000),
                                .stall_max = sim_between(10000, 4 * USEC_PER_SEC),
                                .refuse = now_and_then(3000),
                                .lose_answer = now_and_then(5000),
                                .kill_before = now_and_then(5000),
                                .kill_after = now_and_then(5000),
                                .latency_max = sim_between(200, 20000)};
}

static void
draw_provider_faults(struct provider_faults *f)
{
    *f = (struct provider_faults){.no_connection = now_and_then(50000),
                                  .lose_request = now_and_then(50000),
                                  .lose_answer = now_and_then(50000),
                                  .repeat = now_and_then(30000),
                                  .slow = now_and_then(50000),
                                  .garbage = now_and_then(20000),
                                  .server_error = now_and_then(20000),
                                  .refuse = now_and_then(50000),
                                  .fail = now_and_then(50000),
                                  .freeze = now_and_then(10000),
                                  .freeze_max = sim_between(1000, 8 * USEC_PER_SEC),
                                  .answer_max = sim_between(10000, 2 * USEC_PER_SEC)};
}

static void
draw_faults(void)
{
    for (unsigned i = 0; i < FAULT_COUNT; i++)
        plan.weights[i] = (unsigned) now_and_then(10);
    if (plan.weights[FAULT_CANCEL] > 0)
        plan.weights[FAULT_CANCEL] = 1;
    world.clock_jumps = plan.weights[FAULT_CLOCK] > 0;
    plan.every = sim_between(500 * USEC_PER_MSEC, 10 * USEC_PER_SEC);
    for (unsigned i = 0; i < world.server_count; i++)
        draw_server_faults(&world.servers[i].faults);
    draw_provider_faults(&provider.faults);
    network.lose = now_and_then(200000);
    network.twice = now_and_then(200000);
    network.delay_max = sim_between(2000, 500 * USEC_PER_MSEC);
    world.faults_end = sim_between(20 * USEC_PER_SEC, 150 * USEC_PER_SEC);
}

/* ---- healing ---- */

static bool
somebody_drives(const struct server *s)
{
    for (unsigned i = 0; i < world.machine_count; i++)
        if (world.machines[i].server == s && world.machines[i].running &&
            !world.machines[i].draining)
            return true;
    return false;
}

static void
restart_all(void)
{
    for (unsigned i = 0; i < world.machine_count; i++)
        kill_machine(&world.machines[i]);
}

static void
heal(void)
{
    sim_say("all faults end");
    world.healed = true;
    network = (struct network){.delay_max = 2000};
    provider.faults = (struct provider_faults){.answer_max = 50000};
    for (unsigned i = 0; i < world.server_count; i++) {
        world.servers[i].faults = (struct server_faults){.latency_max = 500};
        world.servers[i].clock = world.clock; /* who drives it waits for that */
        if (!world.servers[i].up)
            server_up(&world.servers[i]);
    }
    for (unsigned i = 0; i < world.plan_count; i++)
        resume(i);
    if (world.clock_jumps)
        restart_all(); /* one that began by the wrong clock keeps to it */
}

/* Facts that a fenced process records after another one has loaded are not told to that one: its
 * next take finds the rows. */
static void
after_clones(void)
{
    bool any = false;

    for (unsigned i = 0; i < world.machine_count; i++)
        any |= world.machines[i].must_not_start;
    if (!any || world.restarted || sim.now < world.faults_end + 60 * USEC_PER_SEC)
        return;
    world.restarted = true;
    restart_all();
}

/* An operator starts again what nobody drives. */
static void
keep_driven(void)
{
    for (unsigned i = 0; i < world.server_count; i++)
        if (!somebody_drives(&world.servers[i]) && !world.machines[i].running) {
            world.machines[i].must_not_start = false;
            machine_start(&world.machines[i]);
        }
}

/* A source that a driver paused itself, for the provider's sake, is an operator's to resume: there
 * is no such refusal here. */
static void
on_look(struct event *e)
{
    on_watch();
    if (sim.now >= world.faults_end && !world.healed)
        heal();
    if (world.healed) {
        after_clones();
        keep_driven();
    }
    sim_put(e, sim.now + USEC_PER_SEC);
}

/* ---- life ---- */

static void
open_parts(void)
{
    world = (struct world){.message = message_new()};
    assert(world.message);
    memset(&plan, 0, sizeof(plan));
    memset(machine_key, 7, sizeof(machine_key));
    provider_open();
    network_open();
    authority_open();
    check_open();
    provider.leaves = check_leaves;
    provider.arrives = check_arrives;
    process_open(&world.operator_, &world.operator_host, "operator");
    plan.next = (struct event){.what = "fault", .run = on_next};
    plan.look = (struct event){.what = "look", .run = on_look};
    for (unsigned i = 0; i < ARRAY_SIZE(plan.clear); i++)
        plan.clear[i] = (struct event){.what = "clear", .run = on_clear};
}

static void
on_commit(void *arg, struct server *s)
{
    unsigned n = (unsigned) (s - world.servers);

    for (unsigned i = 0; i < world.rule_count; i++) {
        struct rule *r = &world.rules[i];

        if (r->since[n] == 0 && s->store.content_applied >= (int64_t) r->version) {
            r->since[n] = sim.now;
            sim_say("%s acknowledges %s", s->store.partition, world.plans[r->source].name);
        }
    }
    check_committed(arg, s);
}

static void
open_machine(unsigned n)
{
    char name[25];

    snprintf(name, sizeof(name), "n%u", n + 1);
    server_open(&world.servers[n], name);
    world.servers[n].committed = on_commit;
    machine_open(&world.machines[n], &world.hosts[n], name, &world.servers[n]);
    plan.revive[n] = (struct event){.what = "revive", .run = on_revive};
}

static void
draw_hosts(void)
{
    bool wrong = sim_chance(500000);

    for (unsigned i = 0; i < MACHINES_MAX; i++)
        world.hosts[i] = (struct host){.boot = (int64_t) sim_between(1, 1000000) * 1000000,
                                       .ppm = wrong ? (int64_t) sim_between(0, 20000) - 10000 : 0};
}

/* A day of 3,000 devices with 200 leads each, one campaign, no faults. */
static void
draw_day(void)
{
    world.day = true;
    world.server_count = world.machine_count = 3;
    for (unsigned n = 0; n < 3; n++)
        open_machine(n);
    world.lead_count = 200;
    authority_put(0, CONTENT_TEMPLATE, 0, 0,
                  "{\"kind\":\"template\",\"name\":\"hello\",\"text\":\"spring/0 hi\"}");
    authority_put(1, CONTENT_CAMPAIGN, SOURCE_ACTIVE, 0,
                  "{\"kind\":\"campaign\",\"name\":\"spring\",\"template\":\"hello\"}");
    world.plan_count = 1;
    world.plans[0] = (struct known_source){.id = 1, .kind = CONTENT_CAMPAIGN, .name = "spring"};
    for (int32_t id = 1; id <= 3000; id++) {
        struct store *s = &world.servers[id % 3].store;
        struct device_rec *d = store_device_new(s, id);

        store_set_text(&d->transport, "cloudapi", 8);
        store_set_text(&d->address, "12345", 5);
        d->min_delay_ms = 380000;
        d->max_delay_ms = 480000;
        set_token(d);
        for (unsigned i = 0; i < 200; i++)
            add_lead(d, 0);
    }
    provider.faults.answer_max = 200000;
    network.delay_max = 2000;
    world.healed = true;
}

/* Midnight comes while they send; what the first day's cap leaves, the second one's takes. */
static void
draw_caps(void)
{
    world.clock = INT64_C(86400000000) - (int64_t) sim_between(70, 110) * 1000000;
    plan.weights[FAULT_CLOCK] = plan.weights[FAULT_SEND] = plan.weights[FAULT_IMPORT] = 0;
    world.clock_jumps = false;
    for (unsigned n = 0; n < world.server_count; n++) {
        struct server *s = &world.servers[n];

        s->clock = world.clock;
        for (unsigned i = 0; i < s->store.devices.count; i++)
            s->store.devices.at[i].daily_cap =
                (int32_t) s->store.devices.at[i].leads.count * 3 / 4 + 1;
    }
}

static void
draw_cluster(void)
{
    world.capped = sim_chance(30000);
    world.server_count = (unsigned) sim_between(1, SERVERS_MAX);
    world.machine_count = world.server_count;
    draw_hosts();
    for (unsigned n = 0; n < world.server_count; n++)
        open_machine(n);
    world.lead_count = (unsigned) sim_between(2, 16);
    draw_sources();
    for (unsigned n = 0; n < world.server_count; n++) {
        unsigned devices = (unsigned) sim_between(1, 4);

        for (unsigned i = 0; i < devices; i++)
            draw_device(&world.servers[n].store, (int32_t) (n * 100 + i + 1));
    }
    draw_faults();
    if (world.capped)
        draw_caps();
}

void
world_open(uint64_t seed, bool day)
{
    open_parts();
    if (day)
        draw_day();
    else
        draw_cluster();
    for (unsigned n = 0; n < world.server_count; n++)
        machine_start(&world.machines[n]);
    if (!day)
        sim_put(&plan.next, plan.every);
    sim_put(&plan.look, USEC_PER_SEC);
}

/* All content reached every partition, and nothing waits. */
static bool
all_is_done(void)
{
    for (unsigned i = 0; i < world.server_count; i++)
        if (world.servers[i].store.content_applied < (int64_t) authority.version)
            return false;
    return !check_waits();
}

void
world_run(void)
{
    usec_t limit = (world.day || world.capped ? 90000 : 3600) * USEC_PER_SEC + world.faults_end;
    usec_t look = 0;

    while (sim_step(limit)) {
        if (!world.healed || sim.now < look)
            continue;
        look = sim.now + (world.day ? 60 : 2) * USEC_PER_SEC;
        if (all_is_done())
            break;
    }
    if (!sim.failure)
        check_end();
}

void
world_close(void)
{
    for (unsigned i = 0; i < world.machine_count; i++)
        machine_kill(&world.machines[i]);
    sim.muted = true;
    world.operator_.dying = true;
    for (unsigned i = 0; i < MACHINES_MAX; i++)
        if (plan.clients[i]) {
            rpc_client_stop(plan.clients[i]);
            process_close_handles(&world.operator_);
            rpc_client_free(plan.clients[i]);
        }
    authority_close();
    for (unsigned i = 0; i < world.server_count; i++)
        server_close(&world.servers[i]);
    sim_close();
    provider_close();
    check_close();
    message_free(world.message);
}
