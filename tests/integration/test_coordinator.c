/*
 * The real coordinator on a real catalog; this program is its nodes, its admin, and a stranger.
 */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#include "proto/feed.h"
#include "proto/message.h"
#include "proto/rpc.h"
#include "shared/content.h"
#include "shared/log.h"
#include "shared/secret.h"
#include "tests/support/pgtemp.h"
#include "tests/support/process.h"

#define LIMIT (20 * USEC_PER_SEC) /* for what should take well under a second */

extern char **environ;

/* ---- the place: one PostgreSQL for all tests, one catalog for each ---- */

static struct pgtemp *pg;
static char dir[64];
static const char *const catalogs[] = {"k0", "k1", "k2", "k3",  "k4",  "k5", "k6",
                                       "k7", "k8", "k9", "k10", "k11", NULL};
static const char *catalog; /* of this test */
static unsigned rpc_port, feed_port, health_port;

static const struct who {
    const char *name, *role;
} people[] = {{"c1", "coordinator"}, {"n1", "node"},      {"n2", "node"},
              {"ops", "admin"},      {"eye", "observer"}, {"stranger", NULL}};

static const char *
at(const char *name)
{
    static char path[4][160];
    static unsigned next;
    char *p = path[next++ % 4];
    snprintf(p, 160, "%s/%s", dir, name);
    return p;
}

static unsigned
free_port(void)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof in;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *) &in, size), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *) &in, &size), 0);
    close(fd);
    return ntohs(in.sin_port);
}

static void
write_keys(void)
{
    FILE *peers = fopen(at("peers"), "we");
    fprintf(peers, "cluster test\n");
    for (size_t i = 0; i < ARRAY_SIZE(people); i++) {
        struct identity identity;
        char file[64], hex[2 * SEAL_KEY_BYTES + 1];
        snprintf(file, sizeof file, "%s.key", people[i].name);
        ck_assert_int_eq(identity_create(&identity, at(file)), 0);
        secret_hex(hex, sizeof hex, identity.public_key, SEAL_KEY_BYTES);
        if (people[i].role)
            fprintf(peers, "%s %s %s\n", people[i].name, people[i].role, hex);
    }
    fclose(peers);
}

/* CONF for a coordinator on the given ports. */
static void
write_conf(const char *file, unsigned rpc, unsigned feed, unsigned health)
{
    FILE *f = fopen(at(file), "we");
    char dsn[PGTEMP_DSN_MAX];
    fprintf(f,
            "[coordinator]\nname = c1\nkey = %s/c1.key\npeers = %s/peers\n"
            "listen = tcp://127.0.0.1:%u\nfeed = tcp://127.0.0.1:%u\nhealth = 127.0.0.1:%u\n"
            "catalog = %s\n[timing]\ndead = 1s\n",
            dir, dir, rpc, feed, health, pgtemp_dsn(pg, catalog, "fleetcast_coordinator", dsn));
    fclose(f);
}

static const char *
program(void)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/coordinator/fleetcast-coordinator", getenv("FLEETCAST_BUILD"));
    return path;
}

/* ---- the process ---- */

static pid_t
start(const char *conf)
{
    pid_t pid;
    char log[64];
    const char *const argv[] = {program(), at(conf), NULL};
    posix_spawn_file_actions_t actions;
    snprintf(log, sizeof log, "%s.log", conf);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 2, at(log), O_WRONLY | O_CREAT | O_APPEND, 0600);
    ck_assert_int_eq(posix_spawn(&pid, argv[0], &actions, NULL, (char *const *) argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    return pid;
}

static bool
has_ended(void *arg)
{
    siginfo_t info = {0};
    ck_assert_int_eq(waitid(P_PID, (id_t) * (pid_t *) arg, &info, WEXITED | WNOHANG | WNOWAIT), 0);
    return info.si_pid != 0;
}

static int
wait_exit(pid_t pid)
{
    int status;
    ck_assert_msg(process_wait(LIMIT, has_ended, &pid), "the coordinator does not end");
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int
stop(pid_t pid, int number)
{
    kill(pid, number);
    return wait_exit(pid);
}

static bool
is_ready(void *arg)
{
    return process_http(health_port, "/readyz", NULL, NULL) == 200;
}

static pid_t
start_ready(void)
{
    pid_t pid = start("c1.conf");
    ck_assert_msg(process_wait(LIMIT, is_ready, NULL), "not ready");
    return pid;
}

static char *
log_of(const char *conf)
{
    static char text[65536];
    char file[64];
    snprintf(file, sizeof file, "%s.log", conf);
    FILE *f = fopen(at(file), "re");
    ck_assert_ptr_nonnull(f);
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    fclose(f);
    return text;
}

static int64_t
in_catalog(const char *sql)
{
    PGconn *c = pgtemp_open(pg, catalog, NULL);
    int64_t value = pgtemp_int(c, "%s", sql);
    PQfinish(c);
    return value;
}

/* ---- speaking to it ---- */

static uv_loop_t loop;
static struct peers peers;

struct speaker {
    struct identity identity;
    struct rpc_client *client;
    struct message *message;
    uint64_t next_id;
    bool answered;
    int err;
    struct reply reply;
};

static struct speaker *speakers[8];
static unsigned speaker_count;

static struct speaker *
speak_as(const char *name)
{
    struct speaker *s = speakers[speaker_count++] = calloc(1, sizeof *s);
    char file[64], url[64];
    snprintf(file, sizeof file, "%s.key", name);
    snprintf(url, sizeof url, "tcp://127.0.0.1:%u", rpc_port);
    ck_assert_int_eq(identity_load(&s->identity, at(file)), 0);
    s->message = message_new();
    ck_assert_int_eq(rpc_client_start(&s->client, &loop, url, &s->identity, &peers,
                                      peers_find(&peers, "c1")),
                     0);
    return s;
}

static void
on_reply(void *arg, int err, struct slice body)
{
    struct speaker *s = arg;
    s->answered = true;
    s->err = err;
    if (err == 0)
        ck_assert_int_eq(message_read_reply(s->message, body, &s->reply), 0);
}

static void
begin(struct speaker *s, struct request *q, usec_t timeout)
{
    struct slice body;
    q->incarnation.bytes[0] = 77;
    q->id = ++s->next_id;
    ck_assert_int_eq(message_write_request(s->message, q, &body), 0);
    s->answered = false;
    ck_assert_int_eq(rpc_call(s->client, body, timeout, on_reply, s), 0);
}

static void
await(struct speaker *s)
{
    while (!s->answered)
        uv_run(&loop, UV_RUN_ONCE);
}

static struct reply *
ask(struct speaker *s, struct request q)
{
    begin(s, &q, 15 * USEC_PER_SEC);
    await(s);
    ck_assert_msg(s->err == 0, "%s: %s", message_kind_name(q.kind), strerror(-s->err));
    ck_assert_int_eq((int) s->reply.kind, (int) q.kind);
    return &s->reply;
}

static struct reply *
ask_ok(struct speaker *s, struct request q)
{
    struct reply *r = ask(s, q);
    ck_assert_msg(r->status == STATUS_OK, "%s: status %d: %.*s", message_kind_name(q.kind),
                  (int) r->status, (int) r->reason.bytes, r->reason.data);
    return r;
}

static struct slice
text(const char *t)
{
    return (struct slice){t, strlen(t)};
}

static void
check_text(struct slice s, const char *expected)
{
    ck_assert_msg(s.bytes == strlen(expected) && memcmp(s.data, expected, s.bytes) == 0,
                  "\"%.*s\" is not \"%s\"", (int) s.bytes, s.data, expected);
}

static void
check_refused(const struct reply *r, const char *why)
{
    ck_assert_int_eq((int) r->status, STATUS_REFUSED);
    check_text(r->reason, why);
}

/* A node's state as it would report it; one partition, open. */
struct node {
    struct partition_report partition;
    struct report report;
};

static void
node_make(struct node *n, const char *name, const char *partition, uint8_t process)
{
    *n = (struct node){.partition = {.name = text(partition),
                                     .epoch = 1,
                                     .gate = text("open"),
                                     .timeline = 1,
                                     .lsn = 1000},
                       .report = {.incarnation = {{process}},
                                  .name = text(name),
                                  .version = text("0.1"),
                                  .rpc_address = text("tcp://127.0.0.1:7410"),
                                  .health_address = text("127.0.0.1:7411"),
                                  .weight = 1,
                                  .partition_count = 1}};
    n->report.partitions = &n->partition;
}

static struct reply *
tell(struct speaker *s, struct node *n, enum message_kind kind)
{
    return ask(s, (struct request){.kind = kind, .report = n->report});
}

/* Reports until the coordinator's map has version >= `version`, then holds its numbers. */
static void
follow(struct speaker *s, struct node *n, uint64_t version)
{
    usec_t end = clock_boot() + LIMIT;
    do {
        ck_assert_msg(clock_boot() < end, "map version %llu does not come",
                      (unsigned long long) version);
        struct reply *r = tell(s, n, MESSAGE_REPORT);
        ck_assert_int_eq((int) r->status, STATUS_OK);
        n->report.term = r->map.term;
        n->report.map_version = r->map.version;
        n->report.content_version = r->map.content_version;
    } while (n->report.map_version < version);
}

static const char hello[] = "{\"kind\":\"template\",\"name\":\"hello\",\"text\":\"Hi {{name}}\"}";
static const char spring[] = "{\"kind\":\"campaign\",\"name\":\"spring\",\"template\":\"hello\"}";

static struct request
apply_request(void)
{
    static struct slice items[2];
    items[0] = text(spring);
    items[1] = text(hello);
    return (struct request){.kind = MESSAGE_APPLY, .apply = {.item_count = 2, .items = items}};
}

static struct request
place_request(int32_t first, int32_t last)
{
    static struct run run;
    run = (struct run){first, last};
    return (struct request){.kind = MESSAGE_PLACE, .place = {1, &run}};
}

static struct request
source_request(enum source_state state)
{
    return (struct request){.kind = MESSAGE_SOURCE,
                            .source = {.name = text("spring"),
                                       .state = (uint8_t) state,
                                       .because = text("test")}};
}

/* ---- fixture ---- */

static pid_t c1;
static struct speaker *n1, *n2, *ops, *eye;
static struct node node1, node2;

static void
place_of(int test)
{
    catalog = catalogs[test];
    snprintf(dir, sizeof dir, "%s/k%d", pgtemp_dir(pg), test);
    ck_assert_int_eq(mkdir(dir, 0700), 0);
    rpc_port = free_port();
    feed_port = free_port();
    health_port = free_port();
    write_keys();
    write_conf("c1.conf", rpc_port, feed_port, health_port);
    ck_assert_int_eq(peers_load(&peers, at("peers"), stderr), 0);
    uv_loop_init(&loop);
    char schema[512], source[512], dsn[PGTEMP_DSN_MAX];
    snprintf(schema, sizeof schema, "%s/schema/fleetcast-schema", getenv("FLEETCAST_BUILD"));
    snprintf(source, sizeof source, "%s/schema", getenv("FLEETCAST_SOURCE"));
    const char *const argv[] = {schema,  "catalog", "--dsn", pgtemp_dsn(pg, catalog, NULL, dsn),
                                "--dir", source,    NULL};
    char *output;
    int code = process_run(argv, &output);
    ck_assert_msg(code == 0, "%s", output);
    free(output);
}

/* Coordinator ready; n1 with p1 and n2 with p2 joined and in its map. */
static void
join_all(int test)
{
    place_of(test);
    c1 = start_ready();
    n1 = speak_as("n1");
    n2 = speak_as("n2");
    ops = speak_as("ops");
    eye = speak_as("eye");
    node_make(&node1, "n1", "p1", 1);
    node_make(&node2, "n2", "p2", 2);
    ck_assert_int_eq((int) tell(n1, &node1, MESSAGE_REGISTER)->status, STATUS_OK);
    follow(n1, &node1, 1);
    ck_assert_int_eq((int) tell(n2, &node2, MESSAGE_REGISTER)->status, STATUS_OK);
    follow(n2, &node2, node1.report.map_version + 1);
}

/* ---- tests ---- */

/* What was stopped may be freed when the loop is done. */
static struct feed_subscriber *old_subscribers[2];
static unsigned old_subscriber_count;

static void
leave(void)
{
    for (unsigned i = 0; i < speaker_count; i++)
        rpc_client_stop(speakers[i]->client);
    uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    for (unsigned i = 0; i < speaker_count; i++) {
        rpc_client_free(speakers[i]->client);
        message_free(speakers[i]->message);
        free(speakers[i]);
    }
    for (unsigned i = 0; i < old_subscriber_count; i++)
        feed_subscribe_free(old_subscribers[i]);
}

START_TEST(bad_configurations)
{
    static const struct {
        const char *line, *expected;
    } table[] = {
        {"listen = 127.0.0.1:7400", "listen = \"127.0.0.1:7400\": not of the form tcp://ip:port"},
        {"colour = red", "[coordinator] colour"},
        {"key = /nowhere/c1.key", "[coordinator] key = \"/nowhere/c1.key\""},
        {"name = n1", "[coordinator] name = \"n1\""},
        {"name = c9", "has no coordinator of that name"},
        {"key = %s/n1.key", "not the key that"},
    };
    place_of(_i);
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        char line[256], key[32];
        snprintf(line, sizeof line, table[i].line, dir);
        snprintf(key, sizeof key, "%.*s", (int) strcspn(line, "=") + 1, line);
        FILE *good = fopen(at("c1.conf"), "re"), *bad = fopen(at("bad.conf"), "we");
        char row[512];
        while (fgets(row, sizeof row, good)) {
            if (strncmp(row, key, strlen(key)) != 0)
                fputs(row, bad);
            if (strcmp(row, "[coordinator]\n") == 0)
                fprintf(bad, "%s\n", line);
        }
        fclose(good);
        fclose(bad);
        const char *const check[] = {program(), "--check", at("bad.conf"), NULL};
        const char *const run[] = {program(), at("bad.conf"), NULL};
        char *output;
        ck_assert_int_eq(process_run(check, &output), 1);
        ck_assert_msg(strstr(output, table[i].expected) != NULL, "%s: %s", line, output);
        ck_assert_int_eq(strncmp(output, "fleetcast-coordinator: ", 23), 0);
        free(output);
        ck_assert_int_eq(process_run(run, NULL), 1);
    }
    const char *const check[] = {program(), "--check", at("c1.conf"), NULL};
    ck_assert_int_eq(process_run(check, NULL), 0);
    const char *const usage[] = {program(), "--nonsense", NULL};
    ck_assert_int_eq(process_run(usage, NULL), 2);
    const char *const fsm[] = {program(), "--fsm", NULL};
    char *output;
    ck_assert_int_eq(process_run(fsm, &output), 0);
    ck_assert_ptr_nonnull(strstr(output, "watching --> gone: moved"));
    ck_assert_ptr_nonnull(strstr(output, "ready --> silent: silent for D"));
    free(output);
}
END_TEST

START_TEST(roles_and_strangers)
{
    join_all(_i);
    check_refused(ask(eye, place_request(1, 10)),
                  "role observer may not ask PLACE of the coordinator");
    check_refused(ask(n1, place_request(1, 10)), "role node may not ask PLACE of the coordinator");
    check_refused(ask(n1, (struct request){.kind = MESSAGE_NODES}),
                  "role node may not ask NODES of the coordinator");
    check_refused(tell(ops, &node1, MESSAGE_REPORT),
                  "role admin may not ask REPORT of the coordinator");
    check_refused(tell(n2, &node1, MESSAGE_REPORT), "the key of n2 cannot report for node n1");
    check_refused(ask(ops, (struct request){.kind = MESSAGE_ASK,
                                            .ask = {.partition = text("p1"),
                                                    .question = text("devices")}}),
                  "role admin may not ask ASK of the coordinator");
    ck_assert_int_eq((int) ask(eye, (struct request){.kind = MESSAGE_NODES})->status, STATUS_OK);
    struct speaker *stranger = speak_as("stranger");
    struct request q = {.kind = MESSAGE_MAP};
    begin(stranger, &q, 500 * USEC_PER_MSEC);
    await(stranger);
    ck_assert_int_eq(stranger->err, -ETIMEDOUT);
    char *metrics;
    ck_assert_uint_eq(process_http(health_port, "/metrics", NULL, &metrics), 200);
    ck_assert_ptr_nonnull(strstr(metrics, "dropped_frames_total{reason=\"stranger\"}"));
    ck_assert_ptr_null(strstr(metrics, "dropped_frames_total{reason=\"stranger\"} 0\n"));
    free(metrics);
    ck_assert_int_eq(in_catalog("SELECT count(*) FROM range"), 0);
    ck_assert_int_eq(stop(c1, SIGTERM), 0);
    leave();
}
END_TEST

START_TEST(two_claims_are_refused)
{
    join_all(_i);
    struct node twin, thief;
    node_make(&twin, "n1", "p1", 99);
    check_refused(tell(n1, &twin, MESSAGE_REGISTER),
                  "node n1 is already registered by another living process");
    node_make(&thief, "n2", "p1", 2);
    check_refused(tell(n2, &thief, MESSAGE_REPORT),
                  "partition p1 is at home on node n1: node n2 may not claim it");
    ck_assert_int_eq(in_catalog("SELECT count(*) FROM partition WHERE home = 'n1'"), 1);
    ck_assert_int_eq(stop(c1, SIGTERM), 0);
    leave();
}
END_TEST

static void
check_map(struct speaker *s)
{
    struct reply *r = ask_ok(s, (struct request){.kind = MESSAGE_MAP});
    ck_assert(r->map.full);
    ck_assert_uint_eq(r->map.partition_count, 2);
    ck_assert_uint_eq(r->map.node_count, 2);
    ck_assert_uint_eq(r->map.ranges.count, 2);
    for (unsigned i = 0; i < 2; i++) {
        const struct map_partition *p = &r->map.partitions[r->map.ranges.ranges[i].partition];
        check_text(p->name, i == 0 ? "p1" : "p2");
        check_text(p->driver, i == 0 ? "n1" : "n2");
        ck_assert_int_eq(r->map.ranges.ranges[i].first, i == 0 ? 1 : 31);
        ck_assert_int_eq(r->map.ranges.ranges[i].last, i == 0 ? 30 : 60);
    }
}

static void
check_content(struct speaker *s, enum source_state state)
{
    struct reply *r = ask_ok(s, (struct request){.kind = MESSAGE_CONTENT});
    ck_assert_uint_eq(r->content.version, 3);
    ck_assert_uint_eq(r->content.row_count, 2);
    ck_assert(!r->content.more);
    ck_assert_uint_eq(r->content.rows[0].kind, CONTENT_TEMPLATE);
    ck_assert_uint_eq(r->content.rows[1].id, 1);
    ck_assert_uint_eq(r->content.rows[1].version, 3);
    ck_assert_uint_eq(r->content.rows[1].state, state);
    ck_assert_int_gt(r->content.rows[1].started_at, 1700000000000000);
}

/* Devices placed, content applied and started; both nodes have applied it. */
static void
fill(void)
{
    struct reply *r = ask_ok(ops, place_request(1, 60));
    ck_assert_uint_eq(r->place.placed, 60);
    ck_assert_uint_eq(r->place.map_version, (uint64_t) in_catalog("SELECT map_version FROM"
                                                                  " coordinator"));
    r = ask_ok(ops, place_request(1, 60));
    ck_assert_uint_eq(r->place.known, 60);
    r = ask_ok(ops, apply_request());
    ck_assert_uint_eq(r->apply.created, 2);
    r = ask_ok(ops, apply_request());
    ck_assert_uint_eq(r->apply.unchanged, 2);
    node1.partition.content_applied = node2.partition.content_applied = 3;
    tell(n1, &node1, MESSAGE_REPORT);
    tell(n2, &node2, MESSAGE_REPORT);
    check_refused(ask(ops, source_request(SOURCE_PAUSED)),
                  "campaign \"spring\" was not started yet: there is nothing to pause");
    r = ask_ok(ops, source_request(SOURCE_ACTIVE));
    ck_assert_uint_eq(r->source.version, 3);
    ck_assert_uint_eq(r->source.applied_count, 2);
    ck_assert_uint_eq(r->source.missing_count, 0);
}

static void
on_hint(void *arg, const struct hint *hint)
{
    *(struct hint *) arg = *hint;
}

/* The feed says what the catalog has. */
static void
check_hint(uint64_t term, uint64_t content_version)
{
    struct feed_subscriber *subscriber;
    struct hint hint = {0};
    char url[64];
    snprintf(url, sizeof url, "tcp://127.0.0.1:%u", feed_port);
    ck_assert_int_eq(feed_subscribe_start(&subscriber, &loop, url, on_hint, &hint), 0);
    uint64_t map_version = (uint64_t) in_catalog("SELECT map_version FROM coordinator");
    usec_t end = clock_boot() + LIMIT;
    while (hint.term != term || hint.map_version != map_version ||
           hint.content_version != content_version) {
        ck_assert_msg(clock_boot() < end, "no such hint");
        uv_run(&loop, UV_RUN_ONCE);
    }
    feed_subscribe_stop(subscriber);
    old_subscribers[old_subscriber_count++] = subscriber;
}

START_TEST(journey_and_restart)
{
    join_all(_i);
    check_hint(1, 0);
    fill();
    check_hint(1, 3);
    check_map(eye);
    check_content(n1, SOURCE_ACTIVE);
    struct reply *r = ask_ok(eye, (struct request){.kind = MESSAGE_NODES});
    ck_assert_uint_eq(r->nodes.node_count, 2);
    check_text(r->nodes.coordinator, "c1");
    check_text(r->nodes.nodes[0].state, "ready");
    check_text(r->nodes.nodes[0].report.partitions[0].gate, "open");
    ck_assert_int_eq(in_catalog("SELECT count(*) FROM audit WHERE who = 'ops' AND term = 1"), 3);
    ck_assert_int_eq(in_catalog("SELECT epoch FROM partition WHERE name = 'p1'"), 1);
    char *body;
    ck_assert_uint_eq(process_http(health_port, "/readyz?verbose", NULL, &body), 200);
    ck_assert_ptr_nonnull(strstr(body, "[+] term ok (1, mine)"));
    free(body);
    ck_assert_uint_eq(process_http(health_port, "/status", NULL, &body), 200);
    ck_assert_ptr_nonnull(strstr(body, "\"content_version\":3"));
    free(body);
    ck_assert_uint_eq(process_http(health_port, "/metrics", NULL, &body), 200);
    ck_assert_ptr_nonnull(strstr(body, "fleetcast_coordinator_nodes{state=\"ready\"} 2\n"));
    free(body);
    ck_assert_uint_eq(process_http(health_port, "/livez", NULL, NULL), 200);

    ck_assert_int_eq(stop(c1, SIGTERM), 0);
    ck_assert_int_eq(in_catalog("SELECT count(*) FROM coordinator WHERE holder = ''"), 1);
    usec_t before = clock_boot();
    c1 = start_ready();
    ck_assert_uint_lt(clock_boot() - before, LIMIT);
    ck_assert_ptr_null(strstr(log_of("c1.conf"), "holder.watching"));
    check_map(eye);
    check_content(n1, SOURCE_ACTIVE);
    r = tell(n1, &node1, MESSAGE_REPORT);
    ck_assert(r->map.full);
    ck_assert_uint_eq(r->map.term, 2);
    ck_assert_int_eq(stop(c1, SIGTERM), 0);
    leave();
}
END_TEST

START_TEST(killed_in_the_middle)
{
    join_all(_i);
    fill();
    struct request pause = source_request(SOURCE_PAUSED);
    node1.partition.content_applied = node2.partition.content_applied = 99;
    tell(n1, &node1, MESSAGE_REPORT);
    tell(n2, &node2, MESSAGE_REPORT);
    begin(ops, &pause, 15 * USEC_PER_SEC); /* asked before, answered after: nobody notices */
    ck_assert_int_eq(stop(c1, SIGKILL), 128 + SIGKILL);
    usec_t killed = clock_boot();
    c1 = start_ready();
    ck_assert_uint_ge(clock_boot() - killed, USEC_PER_SEC); /* D: the beat was watched */
    ck_assert_ptr_nonnull(strstr(log_of("c1.conf"), "holder.watching"));
    check_map(eye);
    /* the catalog kept what partitions had applied at the last mark only: reports say it again */
    tell(n1, &node1, MESSAGE_REPORT);
    tell(n2, &node2, MESSAGE_REPORT);
    await(ops);
    ck_assert_int_eq(ops->err, 0);
    ck_assert_int_eq((int) ops->reply.status, STATUS_OK);
    ck_assert_int_eq(in_catalog("SELECT state FROM content WHERE name = 'spring'"), SOURCE_PAUSED);
    ck_assert_int_eq(in_catalog("SELECT term FROM coordinator"), 2);
    ck_assert_int_eq(stop(c1, SIGTERM), 0);
    leave();
}
END_TEST

START_TEST(a_second_coordinator_is_refused)
{
    join_all(_i);
    write_conf("c2.conf", free_port(), free_port(), free_port());
    pid_t second = start("c2.conf");
    ck_assert_int_eq(wait_exit(second), 1);
    ck_assert_ptr_nonnull(strstr(log_of("c2.conf"), "another coordinator holds this catalog"));
    ck_assert(is_ready(NULL));
    ck_assert_int_eq(in_catalog("SELECT term FROM coordinator"), 1);
    ck_assert_int_eq((int) tell(n1, &node1, MESSAGE_REPORT)->status, STATUS_OK);
    ck_assert_int_eq(stop(c1, SIGTERM), 0);
    leave();
}
END_TEST

START_TEST(a_frozen_coordinator_is_fenced)
{
    join_all(_i);
    kill(c1, SIGSTOP);
    rpc_port = free_port();
    feed_port = free_port();
    health_port = free_port();
    write_conf("c2.conf", rpc_port, feed_port, health_port);
    pid_t second = start("c2.conf");
    ck_assert_msg(process_wait(LIMIT, is_ready, NULL), "the second one does not take over");
    ck_assert_int_eq(in_catalog("SELECT term FROM coordinator"), 2);
    kill(c1, SIGCONT);
    ck_assert_int_eq(wait_exit(c1), 1);
    ck_assert_ptr_nonnull(strstr(log_of("c1.conf"), "another coordinator has taken this catalog"));
    ck_assert(is_ready(NULL));
    ck_assert_int_eq(stop(second, SIGTERM), 0);
    leave();
}
END_TEST

START_TEST(a_higher_term_is_outbid)
{
    join_all(_i);
    node1.report.term = 40;
    usec_t end = clock_boot() + LIMIT;
    while (tell(n1, &node1, MESSAGE_REPORT)->map.term != 41)
        ck_assert_msg(clock_boot() < end, "the term is not raised");
    ck_assert_int_eq((int) ask(ops, place_request(1, 10))->status, STATUS_OK);
    ck_assert_int_eq(in_catalog("SELECT term FROM coordinator"), 41);
    ck_assert_int_eq(stop(c1, SIGTERM), 0);
    leave();
}
END_TEST

static bool
is_not_ready(void *arg)
{
    return process_http(health_port, "/readyz", NULL, NULL) == 503;
}

START_TEST(the_catalog_dies_and_comes_back)
{
    join_all(_i);
    fill();
    pgtemp_crash(pg);
    ck_assert_msg(process_wait(LIMIT, is_not_ready, NULL), "still ready");
    check_map(eye); /* reads go on */
    ck_assert_int_eq((int) ask(ops, place_request(61, 90))->status, STATUS_RETRY);
    pgtemp_run(pg);
    ck_assert_msg(process_wait(LIMIT, is_ready, NULL), "not ready again");
    check_map(eye);
    check_content(n1, SOURCE_ACTIVE);
    follow(n1, &node1, 1);
    follow(n2, &node2, 1);
    ck_assert_uint_eq(ask_ok(ops, place_request(61, 90))->place.placed, 30);
    ck_assert_int_eq(in_catalog("SELECT term FROM coordinator"), 1);
    ck_assert_int_eq(in_catalog("SELECT sum(last - first + 1) FROM range"), 90);
    ck_assert_int_eq(stop(c1, SIGTERM), 0);
    leave();
}
END_TEST

START_TEST(an_order_waits_for_its_partitions)
{
    join_all(_i);
    fill();
    struct request pause = source_request(SOURCE_PAUSED);
    usec_t asked = clock_boot();
    begin(ops, &pause, 15 * USEC_PER_SEC);
    node1.partition.content_applied = 4;
    /* the asker loses patience after 1 s and asks the same on a new session */
    while (clock_boot() < asked + 2500 * USEC_PER_MSEC) {
        tell(n1, &node1, MESSAGE_REPORT);
        tell(n2, &node2, MESSAGE_REPORT);
        ck_assert(!ops->answered);
    }
    node2.partition.content_applied = 4;
    tell(n2, &node2, MESSAGE_REPORT);
    await(ops);
    ck_assert_int_eq(ops->err, 0);
    ck_assert_int_eq((int) ops->reply.status, STATUS_OK);
    ck_assert_uint_eq(ops->reply.source.version, 4);
    ck_assert_uint_eq(ops->reply.source.applied_count, 2);
    ck_assert_int_eq(in_catalog("SELECT count(*) FROM audit WHERE what LIKE 'campaign paused%'"),
                     1);
    ck_assert_int_eq(stop(c1, SIGTERM), 0);
    leave();
}
END_TEST

START_TEST(an_order_names_who_did_not_apply)
{
    join_all(_i);
    fill();
    node1.partition.content_applied = 4;
    tell(n1, &node1, MESSAGE_REPORT);
    struct reply *r = ask_ok(ops, source_request(SOURCE_PAUSED));
    ck_assert_uint_eq(r->source.applied_count, 1);
    ck_assert_uint_eq(r->source.missing_count, 1);
    check_text(r->source.missing[0], "p2");
    ck_assert_int_eq(stop(c1, SIGTERM), 0);
    leave();
}
END_TEST

/* ---- sequences ---- */

#define SEQUENCE(name, fields, delay)                                                              \
    "{\"kind\":\"sequence\",\"name\":\"" name "\"," fields                                         \
    "\"steps\":[{\"step\":1,\"delay\":\"" delay "\",\"template\":\"hello\"}]}"
#define HOUR ((int64_t) (3600 * USEC_PER_SEC))

static struct reply *
apply_sequences(enum apply_mode mode, const char *delay)
{
    static struct slice items[3];
    static char warm[256];
    snprintf(warm, sizeof warm, SEQUENCE("warm", "\"trigger\":\"WARM\",", "%s"), delay);
    items[0] = text(SEQUENCE("cold", "\"next_sequence\":\"warm\",", "0"));
    items[1] = text(warm);
    items[2] = text(hello);
    return ask(
        ops, (struct request){.kind = MESSAGE_APPLY,
                              .apply = {.item_count = 3, .items = items, .mode = (uint8_t) mode}});
}

static void
order(enum content_kind kind, const char *name, enum source_state state, int64_t start_at,
      int64_t until)
{
    struct reply *r = ask_ok(ops, (struct request){.kind = MESSAGE_SOURCE,
                                                   .source = {.name = text(name),
                                                              .state = (uint8_t) state,
                                                              .because = text("a test"),
                                                              .kind = (uint8_t) kind,
                                                              .start_at = start_at,
                                                              .until = until}});
    ck_assert_uint_eq(r->source.missing_count, 0);
}

static int64_t
catalog_time(void)
{
    return in_catalog("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint");
}

/* The row of `kind` as anybody reads it; borrowed until the next answer. */
static struct content_row
row_of(enum content_kind kind, const char *word)
{
    struct reply *r = ask_ok(eye, (struct request){.kind = MESSAGE_CONTENT});
    for (uint32_t i = 0; i < r->content.row_count; i++) {
        const struct content_row *row = &r->content.rows[i];
        if (row->kind == kind && memmem(row->json.data, row->json.bytes, word, strlen(word)))
            return *row;
    }
    ck_abort_msg("no row of %s", word);
}

#define COLD row_of(CONTENT_SEQUENCE, "\"name\":\"cold\"")
#define WARM row_of(CONTENT_SEQUENCE, "\"name\":\"warm\"")

static bool
warm_is_active(void *arg)
{
    return in_catalog("SELECT state FROM content WHERE name = 'warm'") == SOURCE_ACTIVE;
}

static bool
all_came(void *arg)
{
    return in_catalog("SELECT count(*) FROM content WHERE kind > 2 AND state = 0") == 3;
}

/* Started, edited for new and for all, scheduled, and paused for a while, each by an order. */
static void
order_sequences(void)
{
    ck_assert_uint_eq(apply_sequences(APPLY_UNSAID, "0")->apply.created, 3);
    ck_assert_uint_lt(WARM.version, COLD.version); /* who is named comes first */
    order(CONTENT_SEQUENCE, "cold", SOURCE_ACTIVE, catalog_time() + HOUR, 0);
    order(CONTENT_SEQUENCE, "warm", SOURCE_ACTIVE, 0, 0);
    check_refused(apply_sequences(APPLY_UNSAID, "1d"),
                  "sequence \"warm\" is active: say --for new or --for all");
    ck_assert_uint_eq(apply_sequences(APPLY_FOR_NEW, "1d")->apply.changed, 1);
    ck_assert_uint_eq(WARM.revision, 2);
    ck_assert_uint_eq(WARM.all_revision, 0);
    ck_assert_uint_eq(apply_sequences(APPLY_FOR_ALL, "2d")->apply.changed, 1);
    order(CONTENT_CLUSTER, "", SOURCE_PAUSED, 0, catalog_time() + HOUR);
    int64_t until = catalog_time() + (int64_t) USEC_PER_SEC;
    order(CONTENT_SEQUENCE, "warm", SOURCE_PAUSED, 0, until);
    ck_assert_msg(process_wait(LIMIT, warm_is_active, NULL), "the pause does not end");
    ck_assert_int_ge(catalog_time(), until);
    order(CONTENT_SEQUENCE, "warm", SOURCE_PAUSED, 0, catalog_time() + HOUR);
}

static void
check_sequences(void)
{
    struct content_row cold = COLD;
    ck_assert_uint_eq(cold.state, SOURCE_DRAFT);
    ck_assert_int_gt(cold.start_at, catalog_time());
    check_text(cold.because, "a test");
    struct content_row warm = WARM;
    ck_assert_uint_eq(warm.state, SOURCE_PAUSED);
    ck_assert_uint_eq(warm.revision, 3);
    ck_assert_uint_eq(warm.all_revision, 3);
    ck_assert_int_gt(warm.started_at, 0);
    struct content_row all = row_of(CONTENT_CLUSTER, "cluster");
    ck_assert_int_eq(all.id, CONTENT_CLUSTER_ID);
    ck_assert_uint_eq(all.state, SOURCE_PAUSED);
    ck_assert_int_gt(all.until, catalog_time());
}

START_TEST(sequences_and_their_times_survive)
{
    join_all(_i);
    node1.partition.content_applied = node2.partition.content_applied = 99;
    tell(n1, &node1, MESSAGE_REPORT);
    tell(n2, &node2, MESSAGE_REPORT);
    order_sequences();
    check_sequences();
    ck_assert_int_eq(stop(c1, SIGKILL), 128 + SIGKILL);
    c1 = start_ready();
    check_sequences();
    ck_assert_int_eq(stop(c1, SIGKILL), 128 + SIGKILL);
    /* the hour passes while nobody coordinates */
    PGconn *c = pgtemp_open(pg, catalog, NULL);
    pgtemp_do(c, "UPDATE content SET start_at = start_at - interval '2 hours',"
                 " paused_until = paused_until - interval '2 hours'");
    PQfinish(c);
    c1 = start_ready();
    ck_assert_msg(process_wait(LIMIT, all_came, NULL), "what was due does not come");
    ck_assert_int_eq(in_catalog("SELECT count(*) FROM audit WHERE who = 'coordinator' AND"
                                " because = 'its time came'"),
                     4);
    ck_assert_int_eq(in_catalog("SELECT count(*) FROM content WHERE start_at IS NULL AND"
                                " paused_until IS NULL"),
                     4);
    ck_assert_int_eq(in_catalog("SELECT revision FROM content WHERE name = 'warm'"), 3);
    ck_assert_int_eq(in_catalog("SELECT count(*) FROM content WHERE name = 'cold' AND started_at >"
                                " now() - interval '1 minute'"),
                     1);
    ck_assert_int_eq(in_catalog("SELECT count(*) FROM audit WHERE what = 'sequence scheduled cold'"
                                " AND who = 'ops' AND because = 'a test'"),
                     1);
    ck_assert_int_eq(stop(c1, SIGTERM), 0);
    leave();
}
END_TEST

int
main(void)
{
    if (secret_start() < 0)
        return 1;
    log_open("test_coordinator", "", LOG_LEVEL_ERROR);
    pg = pgtemp_start(catalogs);
    Suite *suite = suite_create("coordinator");
    TCase *t = tcase_create("coordinator");
    tcase_set_timeout(t, 60);
    const TTest *const tests[] = {bad_configurations,
                                  roles_and_strangers,
                                  two_claims_are_refused,
                                  journey_and_restart,
                                  killed_in_the_middle,
                                  a_second_coordinator_is_refused,
                                  a_frozen_coordinator_is_fenced,
                                  a_higher_term_is_outbid,
                                  the_catalog_dies_and_comes_back,
                                  an_order_waits_for_its_partitions,
                                  an_order_names_who_did_not_apply,
                                  sequences_and_their_times_survive};
    static_assert(ARRAY_SIZE(tests) + 1 == ARRAY_SIZE(catalogs), "a catalog for each test");
    for (int i = 0; i < (int) ARRAY_SIZE(tests); i++)
        tcase_add_loop_test(t, tests[i], i, i + 1); /* _i = the test's own place */
    suite_add_tcase(suite, t);
    SRunner *sr = srunner_create(suite);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    pgtemp_free(pg);
    return failed == 0 ? 0 : 1;
}
