/* Starts a partition's driver in the test's own process, with a client beside it. */
#include "tests/support/driver.h"

#include <arpa/inet.h>
#include <check.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shared/log.h"
#include "shared/secret.h"
#include "tests/support/process.h"

extern char **environ;

#define PATIENCE (10 * USEC_PER_SEC)

void
driver_schema(const struct pgtemp *pg, const char *database)
{
    const char *build = getenv("FLEETCAST_BUILD"), *source = getenv("FLEETCAST_SOURCE");
    char program[512], dir[512], dsn[PGTEMP_DSN_MAX];
    pid_t child;
    int status = -1;

    snprintf(program, sizeof(program), "%s/schema/fleetcast-schema", build ? build : ".");
    snprintf(dir, sizeof(dir), "%s/schema", source ? source : ".");
    pgtemp_dsn(pg, database, NULL, dsn);
    char *const argv[] = {program, "partition", "p1", "--dsn", dsn, "--dir", dir, NULL};
    /* main calls this, where Check's assertions do not work */
    if (posix_spawn(&child, program, NULL, NULL, argv, environ) == 0)
        waitpid(child, &status, 0);
    if (status != 0) {
        fprintf(stderr, "%s did not apply the schema\n", program);
        exit(EXIT_FAILURE);
    }
}

static unsigned
free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *) &a, sizeof(a)), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *) &a, &bytes), 0);
    close(fd);
    return ntohs(a.sin_port);
}

static void
make_key(struct driver *d, const char *name, unsigned role, struct identity *key)
{
    struct peer *peer = &d->peers.peers[d->peers.count++];
    char path[128];

    snprintf(path, sizeof(path), "%s/%s.key", d->state_dir, name);
    ck_assert_int_eq(identity_create(key, path), 0);
    snprintf(peer->name, sizeof(peer->name), "%s", name);
    peer->role = role;
    memcpy(peer->public_key, key->public_key, SEAL_KEY_BYTES);
}

static void
on_request(void *arg, struct rpc_ticket ticket, const struct peer *peer, struct slice body)
{
    struct driver *d = arg;
    struct request q;

    ck_assert_str_eq(peer->name, "ops");
    ck_assert_int_eq(message_read_request(d->reader, body, &q), 0);
    if (q.kind == MESSAGE_ASK)
        answers_take(d->answers, d->partition, ticket, &q);
    else if (q.kind == MESSAGE_ACT)
        acts_take(d->acts, d->partition, ticket, &q);
    else
        intake_take(d->intake, d->partition, ticket, &q);
}

static void
on_news(void *arg, struct partition *p, int exit_code)
{
    struct driver *d = arg;
    d->exit_code = exit_code;
    d->partitions_stopped += partition_state_of(p) == PARTITION_STOPPED;
}

static void
start_partition(struct driver *d)
{
    struct partition_config config = {
        .name = "p1",
        .dsn = d->dsn,
        .home = true,
        .pool_max = 4,
        .node = "n1",
        .state_dir = d->state_dir,
        .token_key = d->token_key,
        .base_url = "http://127.0.0.1:1",
        .version = "v25.0",
        .retention = {.message_days = 3, .direct_days = 7},
        .timing = {.send_window = 500000,
                   .commit = 200000,
                   .connect = 200000,
                   .quarantine = 1100000,
                   .dead = 1000000,
                   .http = 2000000,
                   .tick = 20000},
    };
    struct transport_config transport = {.slots = 8,
                                         .timeout = 2 * USEC_PER_SEC,
                                         .connect_timeout = USEC_PER_SEC,
                                         .allow_http = true};
    secret_random(&config.incarnation, sizeof(config.incarnation));
    ck_assert_int_eq(transport_start(&d->transport, &d->loop, &transport), 0);
    ck_assert_int_eq(partition_start(&d->partition, &d->loop, &config, d->transport, &d->rng,
                                     on_news, d),
                     0);
}

static void
start_rpc(struct driver *d)
{
    struct row_limits rows = {.gap_min_ms = 50, .allow_http = false};
    struct intake_limits limits = {.leads_max = DRIVER_LEADS_MAX,
                                   .disk_free_min = d->disk_free_min,
                                   .disk = d->state_dir};
    char url[64];

    snprintf(url, sizeof(url), "tcp://127.0.0.1:%u", free_port());
    d->reader = message_new();
    d->writer = message_new();
    d->replies.writer = message_new();
    ck_assert_int_eq(rpc_server_start(&d->server, &d->loop, url, &d->node_key, &d->peers,
                                      on_request, d),
                     0);
    d->replies.server = d->server;
    ck_assert_int_eq(intake_new(&d->intake, &d->replies, d->token_key, &rows, &limits), 0);
    ck_assert_int_eq(answers_new(&d->answers, &d->replies), 0);
    ck_assert_int_eq(acts_new(&d->acts, &d->replies, d->token_key), 0);
    ck_assert_int_eq(rpc_client_start(&d->client, &d->loop, url, &d->admin_key, &d->peers,
                                      peers_find(&d->peers, "n1")),
                     0);
}

static void
on_patience(uv_timer_t *timer)
{
    struct driver *d = timer->data;
    d->impatient = true;
}

/* Turns the loop until done(arg), at most 10 s. */
static void
turn_until(struct driver *d, bool (*done)(struct driver *d, void *arg), void *arg, const char *what)
{
    d->impatient = false;
    uv_timer_start(&d->patience, on_patience, PATIENCE / USEC_PER_MSEC, 0);
    while (!d->impatient && !done(d, arg))
        uv_run(&d->loop, UV_RUN_ONCE);
    ck_assert_msg(!d->impatient, "waited too long for %s (partition %s: %s)", what,
                  partition_state_name(partition_state_of(d->partition)),
                  partition_reason(d->partition));
    uv_timer_stop(&d->patience);
}

static bool
has_state(struct driver *d, void *arg)
{
    return partition_state_of(d->partition) == *(enum partition_state *) arg;
}

void
driver_until(struct driver *d, enum partition_state state)
{
    turn_until(d, has_state, &state, partition_state_name(state));
}

/* All lanes: the partition is open when one of them is. */
static bool
is_connected(struct driver *d, void *arg _unused_)
{
    struct dbpool *pool = partition_pool(d->partition);
    return dbpool_ready(pool) == dbpool_count(pool);
}

void
driver_start(struct driver *d, const struct pgtemp *pg, const char *database)
{
    *d = (struct driver){.state_dir = "/tmp/fleetcast-driver-XXXXXX",
                         .disk_free_min = d->disk_free_min};
    log_open("test", database, LOG_LEVEL_WARNING);
    ck_assert_int_eq(secret_start(), 0);
    ck_assert_ptr_nonnull(mkdtemp(d->state_dir));
    ck_assert_int_eq(uv_loop_init(&d->loop), 0);
    uv_timer_init(&d->loop, &d->patience);
    d->patience.data = d;
    pgtemp_dsn(pg, database, "fleetcast_node", d->dsn);
    rng_seed(&d->rng, 4711);
    secret_random(d->token_key, sizeof(d->token_key));
    snprintf(d->peers.cluster, sizeof(d->peers.cluster), "test");
    make_key(d, "n1", ROLE_NODE, &d->node_key);
    make_key(d, "ops", ROLE_ADMIN, &d->admin_key);
    start_partition(d);
    start_rpc(d);
    driver_until(d, PARTITION_OPEN);
    turn_until(d, is_connected, NULL, "the pool");
}

static void
on_reply(void *arg, int err, struct slice body)
{
    struct driver_answer *a = arg;
    a->err = err;
    if (err == 0)
        a->err = message_read_reply(a->message, body, &a->reply);
    a->done = true;
}

void
driver_send(struct driver *d, struct request *q, struct driver_answer *ret)
{
    struct slice body;

    *ret = (struct driver_answer){.message = message_new()};
    q->id = ++d->request_id;
    ck_assert_int_eq(message_write_request(d->writer, q, &body), 0);
    ck_assert_int_eq(rpc_call(d->client, body, PATIENCE, on_reply, ret), 0);
}

static bool
is_done(struct driver *d _unused_, void *arg)
{
    return ((struct driver_answer *) arg)->done;
}

void
driver_wait(struct driver *d, struct driver_answer *a)
{
    turn_until(d, is_done, a, "an answer");
    ck_assert_int_eq(a->err, 0);
}

void
driver_answer_done(struct driver_answer *a)
{
    a->message = message_free(a->message);
}

void
driver_stop(struct driver *d)
{
    char path[128];

    partition_drain(d->partition);
    driver_until(d, PARTITION_STOPPED);
    partition_stop(d->partition);
    d->replies.server = NULL;
    rpc_client_stop(d->client);
    rpc_server_stop(d->server);
    transport_stop(d->transport);
    uv_close((uv_handle_t *) &d->patience, NULL);
    uv_run(&d->loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&d->loop), 0);
    partition_free(d->partition);
    intake_free(d->intake);
    answers_free(d->answers);
    acts_free(d->acts);
    rpc_client_free(d->client);
    rpc_server_free(d->server);
    transport_free(d->transport);
    message_free(d->reader);
    message_free(d->writer);
    message_free(d->replies.writer);
    snprintf(path, sizeof(path), "%s", d->state_dir);
    const char *const argv[] = {"/bin/rm", "-rf", path, NULL};
    ck_assert_int_eq(process_run(argv, NULL), 0);
}
