/* Starts and ends the modules of a node in node/node.c's order. */
#include "tests/sim/machine.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "shared/secret.h"

uint8_t machine_key[SECRET_KEY_BYTES];
struct timing machine_timing = {.send_window = 4 * USEC_PER_SEC,
                                .commit = 1500 * USEC_PER_MSEC,
                                .connect = 2 * USEC_PER_SEC,
                                .quarantine = 5 * USEC_PER_SEC,
                                .dead = 3 * USEC_PER_SEC,
                                .watchdog = 5 * USEC_PER_SEC,
                                .http = 20 * USEC_PER_SEC,
                                .tick = 20 * USEC_PER_MSEC,
                                .gap_min = 1 * USEC_PER_SEC};

static struct identity identity;
static struct peers peers = {.count = 1, .peers = {{.name = "coordinator", .role = 4}}};

static void take_down(struct machine *m);

static void
on_end(struct event *e)
{
    struct machine *m = container_of(e, struct machine, end);

    sim_say("%s ends", m->name);
    take_down(m);
}

static void
on_news(void *arg, struct partition *p, int exit_code)
{
    struct machine *m = arg;

    if (exit_code != 0) {
        sim_say("%s must end: %d", m->name, exit_code);
        m->must_not_start = true;
        m->draining = true;
        partition_drain(p);
    }
    if (m->draining && partition_state_of(p) == PARTITION_STOPPED && m->end.place == 0)
        sim_put(&m->end, sim.now + 1);
}

static void
on_request(void *arg, struct rpc_ticket ticket, const struct peer *peer, struct slice body)
{
    struct machine *m = arg;
    struct request q;

    if (message_read_request(m->reader, body, &q) < 0 || q.kind != MESSAGE_ACT) {
        sim_fail("a request that nobody made reached %s", m->name);
        return;
    }
    acts_take(m->acts, m->partition, ticket, &q);
}

static usec_t
no_lag(void *arg)
{
    return 0;
}

static void
start_requests(struct machine *m)
{
    m->reader = message_new();
    m->replies.writer = message_new();
    int r = acts_new(&m->acts, &m->replies, machine_key);
    assert(r == 0 && m->reader && m->replies.writer);
    r = rpc_server_start(&m->rpc, &m->process.loop, m->url, &identity, &peers, on_request, m);
    assert(r == 0);
    m->replies.server = m->rpc;
}

static void
start_uplink(struct machine *m)
{
    struct uplink_config config = {.node = m->name,
                                   .program_version = "simulation",
                                   .incarnation = m->incarnation,
                                   .weight = 1,
                                   .rpc_address = m->url,
                                   .health_address = m->url,
                                   .coordinator_url = "coordinator",
                                   .feed_url = "feed",
                                   .coordinator_name = "coordinator",
                                   .state_dir = ""};
    int r = uplink_start(&m->uplink, &m->process.loop, &config, &identity, &peers, &m->partition, 1,
                         no_lag, m);
    assert(r == 0);
}

void
machine_open(struct machine *m, struct host *host, const char *name, struct server *server)
{
    *m = (struct machine){.host = host, .server = server};
    snprintf(m->name, sizeof(m->name), "%s", name);
}

void
machine_start(struct machine *m)
{
    uint64_t seed;

    assert(!m->running);
    m->draining = m->closing = false;
    m->running = true;
    process_open(&m->process, m->host, m->name);
    m->end = (struct event){.what = "end", .run = on_end};
    snprintf(m->url, sizeof(m->url), "%s-%llu", m->name, (unsigned long long) ++m->starts);
    struct process *was = sim_enter(&m->process);
    sim_say("%s starts", m->name);
    secret_random(&seed, sizeof(seed));
    rng_seed(&m->rng, seed);
    secret_random(&m->incarnation, sizeof(m->incarnation));
    struct transport_config transport = {.slots = 256,
                                         .timeout = machine_timing.http,
                                         .connect_timeout = 2 * USEC_PER_SEC};
    struct partition_config config = {.name = m->server->store.partition,
                                      .dsn = m->server->store.partition,
                                      .home = true,
                                      .pool_max = 4,
                                      .node = m->server->store.partition,
                                      .incarnation = m->incarnation,
                                      .state_dir = "",
                                      .token_key = machine_key,
                                      .base_url = "https://provider.example",
                                      .version = "v25.0",
                                      .timing = machine_timing,
                                      .retention = {.message_days = 90,
                                                    .direct_days = 7,
                                                    .rest = 60 * USEC_PER_SEC}};
    int r = transport_start(&m->transport, &m->process.loop, &transport);
    assert(r == 0);
    r = partition_start(&m->partition, &m->process.loop, &config, m->transport, &m->rng, on_news,
                        m);
    assert(r == 0);
    start_requests(m);
    start_uplink(m);
    sim_leave(was);
}

static void
take_down(struct machine *m)
{
    bool muted = sim.muted;

    sim_take_out(&m->end);
    m->process.dying = true;
    m->process.stopped_until = 0;
    sim.muted = true;
    struct process *was = sim_enter(&m->process);
    m->replies.server = NULL;
    partition_stop(m->partition);
    uplink_stop(m->uplink);
    rpc_server_stop(m->rpc);
    transport_stop(m->transport);
    process_close_handles(&m->process);
    uplink_free(m->uplink);
    partition_free(m->partition);
    acts_free(m->acts);
    rpc_server_free(m->rpc);
    message_free(m->reader);
    message_free(m->replies.writer);
    transport_free(m->transport);
    sim_leave(was);
    sim.muted = muted;
    m->running = false;
}

void
machine_kill(struct machine *m)
{
    if (!m->running)
        return;
    sim_say("%s is killed", m->name);
    take_down(m);
}

void
machine_drain(struct machine *m)
{
    if (!m->running || m->draining)
        return;
    struct process *was = sim_enter(&m->process);

    sim_say("%s is told to end", m->name);
    m->draining = true;
    uplink_say_stopping(m->uplink);
    partition_drain(m->partition);
    sim_leave(was);
}
