/* node.c - one order to create the modules, its reverse to free them; requests find their way. */
#include "node/node.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <unistd.h>

#include "node/acts.h"
#include "node/answers.h"
#include "node/health.h"
#include "node/intake.h"
#include "node/uplink.h"
#include "shared/log.h"
#include "shared/secret.h"
#include "shared/service.h"

#define PROGRAM       "fleetcast-node: "
#define STOP_MARGIN   (5 * USEC_PER_SEC) /* over what a partition's drain takes at most */
#define FILES_RESERVE 256u               /* sockets of nng and health, logs, the loop itself */

struct node {
    const struct node_settings *settings;
    uv_loop_t loop;
    uv_timer_t stopper; /* ends everything from the loop, never from inside a module's callback */
    bool stopping, closing;
    int exit_code;
    struct rng rng;
    struct uuid incarnation;
    usec_t loop_lag;
    uint64_t frames_bad;
    struct service *service;
    struct transport *transport;
    struct partition *partitions[PARTITIONS_DRIVEN_MAX];
    unsigned partition_count;
    struct message *reader;
    struct replies replies;
    struct rpc_server *server;
    struct intake *intake;
    struct answers *answers;
    struct acts *acts;
    struct uplink *uplink;
    struct health *health;
};

/* ---- requests ---- */

static void
take_rows(struct node *n, struct partition *p, struct rpc_ticket ticket, const struct request *q)
{
    intake_take(n->intake, p, ticket, q);
}

static void
take_question(struct node *n, struct partition *p, struct rpc_ticket ticket,
              const struct request *q)
{
    answers_take(n->answers, p, ticket, q);
}

static void
take_act(struct node *n, struct partition *p, struct rpc_ticket ticket, const struct request *q)
{
    acts_take(n->acts, p, ticket, q);
}

static struct slice
partition_of_act(const struct request *q)
{
    return q->act.partition;
}

static struct slice
partition_of_devices(const struct request *q)
{
    return q->devices.partition;
}

static struct slice
partition_of_leads(const struct request *q)
{
    return q->leads.partition;
}

static struct slice
partition_of_question(const struct request *q)
{
    return q->ask.partition;
}

/* Who may ask what stands in MESSAGE_KINDS; what is not in both tables is refused. */
static const struct dispatch {
    enum message_kind kind;
    struct slice (*partition)(const struct request *q);
    void (*take)(struct node *n, struct partition *p, struct rpc_ticket ticket,
                 const struct request *q);
} dispatch_table[] = {
    {MESSAGE_DEVICES, partition_of_devices, take_rows},
    {MESSAGE_LEADS, partition_of_leads, take_rows},
    {MESSAGE_ASK, partition_of_question, take_question},
    {MESSAGE_ACT, partition_of_act, take_act},
};

static const struct dispatch *
find_dispatch(enum message_kind kind)
{
    for (size_t i = 0; i < ARRAY_SIZE(dispatch_table); i++)
        if (dispatch_table[i].kind == kind)
            return &dispatch_table[i];
    return NULL;
}

static struct partition *
find_partition(const struct node *n, struct slice name)
{
    for (unsigned i = 0; i < n->partition_count; i++) {
        const char *its = partition_name(n->partitions[i]);
        if (strlen(its) == name.bytes && memcmp(its, name.data, name.bytes) == 0)
            return n->partitions[i];
    }
    return NULL;
}

static void
on_request(void *arg, struct rpc_ticket ticket, const struct peer *peer, struct slice body)
{
    struct node *n = arg;
    struct request q;
    int err = message_read_request(n->reader, body, &q);

    if (err == -ENOTSUP) {
        replies_status(&n->replies, ticket, q.kind, STATUS_BAD, "this node does not know that");
        return;
    }
    if (err < 0) {
        n->frames_bad++;
        return;
    }
    const struct dispatch *d = find_dispatch(q.kind);
    if (!d || !message_allowed(q.kind, peer->role, false)) {
        log_event(LOG_LEVEL_WARNING, "request.refused", "peer=%s role=%s kind=%s", peer->name,
                  role_name(peer->role), message_kind_name(q.kind));
        replies_status(&n->replies, ticket, q.kind, STATUS_REFUSED, "not allowed here");
        return;
    }
    struct partition *p = find_partition(n, d->partition(&q));
    if (!p)
        replies_status(&n->replies, ticket, q.kind, STATUS_MOVED,
                       "this node does not drive that partition");
    else if (n->stopping)
        replies_status(&n->replies, ticket, q.kind, STATUS_RETRY, "this node is stopping");
    else
        d->take(n, p, ticket, &q);
}

/* ---- the end ---- */

static void
on_stopper(uv_timer_t *timer)
{
    struct node *n = timer->data;

    n->replies.server = NULL;
    for (unsigned i = 0; i < n->partition_count; i++)
        partition_stop(n->partitions[i]);
    if (n->health)
        health_stop(n->health);
    if (n->uplink)
        uplink_stop(n->uplink);
    if (n->server)
        rpc_server_stop(n->server);
    if (n->transport)
        transport_stop(n->transport);
    if (n->service)
        service_stop(n->service);
    uv_close((uv_handle_t *) &n->stopper, NULL);
}

static void
close_all(struct node *n)
{
    if (n->closing)
        return;
    n->closing = true;
    uv_timer_start(&n->stopper, on_stopper, 0, 0);
}

static void
close_when_drained(struct node *n)
{
    for (unsigned i = 0; i < n->partition_count; i++)
        if (partition_state_of(n->partitions[i]) != PARTITION_STOPPED)
            return;
    close_all(n);
}

/* Not ready from now on; every partition ends what is on the wire, bounded by T_http + C. */
static void
stop(struct node *n, int exit_code)
{
    if (n->exit_code == 0)
        n->exit_code = exit_code;
    if (n->stopping)
        return;
    n->stopping = true;
    log_event(LOG_LEVEL_INFO, "node.stopping", "exit_code=%d in_flight=%u", n->exit_code,
              transport_in_flight(n->transport));
    if (n->uplink)
        uplink_say_stopping(n->uplink);
    for (unsigned i = 0; i < n->partition_count; i++)
        partition_drain(n->partitions[i]);
    close_when_drained(n);
}

static void
on_signal(void *arg)
{
    stop(arg, 0);
}

static void
on_news(void *arg, struct partition *p, int exit_code)
{
    struct node *n = arg;
    char status[128];

    if (exit_code != 0)
        stop(n, exit_code);
    if (n->stopping) {
        close_when_drained(n);
        return;
    }
    snprintf(status, sizeof(status), "%s %s, epoch %" PRIu64, partition_name(p),
             partition_state_name(partition_state_of(p)), partition_epoch(p));
    service_status(n->service, status);
}

/* ---- the start ---- */

static int
failed(int err, const char *what, const char *which)
{
    fprintf(stderr, PROGRAM "%s%s%s: %s\n", what, *which ? " " : "", which, strerror(-err));
    return err;
}

/* Held until the process ends: a second process on this state directory is refused. */
static int
lock_state(const char *dir)
{
    char path[4096];
    int length = snprintf(path, sizeof(path), "%s/lock", dir);
    int fd = length < (int) sizeof(path) ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;

    if (fd < 0)
        return failed(fd == -1 && length >= (int) sizeof(path) ? -ENAMETOOLONG : -errno,
                      "cannot open", path);
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        return fd;
    int err = -errno;
    close(fd);
    if (err == -EWOULDBLOCK)
        fprintf(stderr,
                PROGRAM "another fleetcast-node runs with the state directory %s: stop it first, or"
                        " give this one a directory, name and partition of its own\n",
                dir);
    else
        failed(err, "cannot lock", path);
    return err;
}

/* nofile >= slots + pools + 256 (DESIGN §4.9): the soft limit is raised, the hard one is judged. */
static int
raise_files(const struct node_settings *s, unsigned partition_count)
{
    rlim_t need = s->slots + (rlim_t) s->pool_max * partition_count + FILES_RESERVE;
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return failed(-errno, "getrlimit", "");
    if (limit.rlim_cur >= need)
        return 0;
    if (limit.rlim_max < need) {
        fprintf(stderr,
                PROGRAM "%u slots and %u connections need %llu open files, the limit is %llu: raise"
                        " LimitNOFILE or lower [send] slots\n",
                s->slots, s->pool_max * partition_count, (unsigned long long) need,
                (unsigned long long) limit.rlim_max);
        return -EMFILE;
    }
    limit.rlim_cur = need;
    return setrlimit(RLIMIT_NOFILE, &limit) < 0 ? failed(-errno, "setrlimit", "") : 0;
}

static usec_t
sample_lag(void *arg)
{
    struct node *n = arg;
    n->loop_lag = service_loop_lag(n->service);
    return n->loop_lag;
}

static int
start_transport(struct node *n)
{
    const struct node_settings *s = n->settings;
    struct transport_config config = {.slots = s->slots,
                                      .timeout = s->timing.http,
                                      .connect_timeout = s->connect_timeout,
                                      .ca_file = *s->ca_file ? s->ca_file : NULL,
                                      .allow_http = s->allow_http};
    int err = transport_start(&n->transport, &n->loop, &config);
    return err < 0 ? failed(err, "cannot start sending", "") : 0;
}

static int
start_partition(struct node *n, const struct partition_settings *p)
{
    const struct node_settings *s = n->settings;
    struct partition_config config = {.name = p->name,
                                      .dsn = p->dsn,
                                      .home = p->home,
                                      .pool_max = s->pool_max,
                                      .node = s->name,
                                      .incarnation = n->incarnation,
                                      .state_dir = s->state_dir,
                                      .token_key = s->token_key,
                                      .base_url = s->base_url,
                                      .version = s->api_version,
                                      .retention = s->retention,
                                      .timing = s->timing,
                                      .warmup = s->warmup};
    int err = partition_start(&n->partitions[n->partition_count], &n->loop, &config, n->transport,
                              &n->rng, on_news, n);
    if (err < 0)
        return failed(err, "cannot start partition", p->name);
    n->partition_count++;
    return 0;
}

static int
start_partitions(struct node *n)
{
    int err = 0;
    for (uint32_t i = 0; i < n->settings->partition_count && err == 0; i++)
        if (n->settings->partitions[i].home)
            err = start_partition(n, &n->settings->partitions[i]);
    return err;
}

static int
start_requests(struct node *n)
{
    const struct node_settings *s = n->settings;
    struct row_limits rows = {.gap_min_ms = (uint32_t) (s->timing.gap_min / USEC_PER_MSEC),
                              .allow_http = s->allow_http};
    struct intake_limits limits = s->intake;

    limits.disk = s->state_dir;

    n->reader = message_new();
    n->replies.writer = message_new();
    if (!n->reader || !n->replies.writer)
        return failed(-ENOMEM, "cannot start", "");
    int err = intake_new(&n->intake, &n->replies, s->token_key, &rows, &limits);
    if (err == 0)
        err = answers_new(&n->answers, &n->replies);
    if (err == 0)
        err = acts_new(&n->acts, &n->replies, s->token_key);
    if (err < 0)
        return failed(err, "cannot start", "");
    err = rpc_server_start(&n->server, &n->loop, s->listen, &s->identity, &s->peers, on_request, n);
    if (err < 0)
        return failed(err, "cannot listen on", s->listen);
    n->replies.server = n->server;
    return 0;
}

static int
start_uplink(struct node *n, const char *version)
{
    const struct node_settings *s = n->settings;
    struct uplink_config config = {.node = s->name,
                                   .program_version = version,
                                   .incarnation = n->incarnation,
                                   .weight = s->weight,
                                   .rpc_address = s->listen,
                                   .health_address = s->health,
                                   .coordinator_url = s->coordinator_url,
                                   .feed_url = s->feed_url,
                                   .coordinator_name = s->coordinator_name,
                                   .state_dir = s->state_dir};
    int err = uplink_start(&n->uplink, &n->loop, &config, &s->identity, &s->peers, n->partitions,
                           n->partition_count, sample_lag, n);
    return err < 0 ? failed(err, "cannot ask the coordinator at", s->coordinator_url) : 0;
}

static int
start_health(struct node *n, const char *version)
{
    struct health_config config = {.address = n->settings->health,
                                   .node = n->settings->name,
                                   .version = version,
                                   .watchdog = n->settings->timing.watchdog,
                                   .service = n->service,
                                   .uplink = n->uplink,
                                   .server = n->server,
                                   .transport = n->transport,
                                   .intake = n->intake,
                                   .partitions = n->partitions,
                                   .partition_count = n->partition_count,
                                   .loop_lag = &n->loop_lag,
                                   .frames_bad = &n->frames_bad,
                                   .stopping = &n->stopping};
    int err = health_start(&n->health, &n->loop, &config);
    return err < 0 ? failed(err, "cannot serve health on", n->settings->health) : 0;
}

static int
start_all(struct node *n, const char *version)
{
    const struct timing *t = &n->settings->timing;
    int err = service_start(&n->service, &n->loop, t->http + t->commit + STOP_MARGIN, on_signal, n);
    if (err < 0)
        return failed(err, "cannot start", "");
    err = start_transport(n);
    if (err == 0)
        err = start_requests(n);
    if (err == 0)
        err = start_partitions(n);
    if (err == 0)
        err = start_uplink(n, version);
    if (err == 0)
        err = start_health(n, version);
    return err;
}

static void
free_all(struct node *n)
{
    health_free(n->health);
    uplink_free(n->uplink);
    for (unsigned i = 0; i < n->partition_count; i++)
        partition_free(n->partitions[i]);
    acts_free(n->acts);
    answers_free(n->answers); /* after the pools, which end what waits */
    intake_free(n->intake);
    rpc_server_free(n->server);
    message_free(n->reader);
    message_free(n->replies.writer);
    transport_free(n->transport);
    service_free(n->service);
}

static void
run(struct node *n, const char *version)
{
    uint64_t seed;

    secret_random(&seed, sizeof(seed));
    rng_seed(&n->rng, seed);
    secret_random(&n->incarnation, sizeof(n->incarnation));
    uv_timer_init(&n->loop, &n->stopper); /* cannot fail */
    n->stopper.data = n;
    if (start_all(n, version) == 0) {
        log_event(LOG_LEVEL_INFO, "node.started", "version=%s partitions=%u listen=%s", version,
                  n->partition_count, n->settings->listen);
        service_ready(n->service, "started");
    } else {
        n->stopping = true;
        n->exit_code = 1;
        close_all(n);
    }
    uv_run(&n->loop, UV_RUN_DEFAULT);
    int open_handles = uv_loop_close(&n->loop);
    assert(open_handles == 0); /* a forgotten handle shows here */
    free_all(n);
}

int
node_run(const struct node_settings *settings, const char *version)
{
    struct node n = {.settings = settings};
    unsigned home_count = 0;

    log_open("fleetcast-node", settings->name, LOG_LEVEL_INFO);
    for (uint32_t i = 0; i < settings->partition_count; i++)
        home_count += settings->partitions[i].home;
    if (raise_files(settings, home_count) < 0)
        return 1;
    int lock = lock_state(settings->state_dir);
    if (lock < 0)
        return 1;
    int err = uv_loop_init(&n.loop);
    if (err < 0) {
        failed(err, "cannot start the loop", "");
        n.exit_code = 1;
    } else {
        run(&n, version);
        log_event(LOG_LEVEL_INFO, "node.stopped", "exit_code=%d", n.exit_code);
    }
    close(lock);
    return n.exit_code;
}
