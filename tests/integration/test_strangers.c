/* test_strangers.c - frames that nobody of the cluster sent: counted, never answered, no harm. */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/seal.h"
#include "shared/parse.h"
#include "shared/secret.h"
#include "tests/support/cluster.h"
#include "tests/support/process.h"

#define SECONDS(n)     ((n) *USEC_PER_SEC)
#define REQUEST        UINT32_C(0x80000001)
#define RECORD_MAX     (256u * 1024u)
#define ASKED          80u /* 2 devices x 40 leads */
#define SILENCE_MS     50  /* after the counter rose: an answer would have been sent by then */
#define HANDSHAKE      "\0SP\0\0\x30\0"
#define HANDSHAKE_SIZE 8u

static struct cluster *cluster;
static struct peers peers;

static void
begin(void)
{
    char path[128];
    ck_assert_int_eq(secret_start(), 0);
    cluster = cluster_new(&(struct cluster_options){
        .nodes = 1, .devices = 2, .leads = 40, .min_delay = 50, .max_delay = 80});
    snprintf(path, sizeof(path), "%s/peers", cluster_dir(cluster));
    ck_assert_int_eq(peers_load(&peers, path, stderr), 0);
    cluster_campaign(cluster);
}

static void
away(void)
{
    cluster = cluster_free(cluster);
}

static unsigned
rpc_port(const char *name)
{
    char path[128], who[32];
    unsigned rpc, health;
    snprintf(path, sizeof(path), "%s/ports", cluster_dir(cluster));
    FILE *f = fopen(path, "re");
    ck_assert_ptr_nonnull(f);
    while (fscanf(f, "%31s %u %u", who, &rpc, &health) == 3)
        if (strcmp(who, name) == 0) {
            fclose(f);
            return rpc;
        }
    ck_abort_msg("%s has no port", name);
}

/* ---- counters ---- */

static uint64_t
dropped(const char *who, const char *reason)
{
    char label[64], *body = NULL;
    uint64_t value = 0;
    ck_assert_uint_eq(cluster_health(cluster, who, "/metrics", &body), 200);
    snprintf(label, sizeof(label), "dropped_frames_total{reason=\"%s\"} ", reason);
    const char *at = strstr(body, label);
    ck_assert_msg(at, "%s has no counter %s", who, label);
    at += strlen(label);
    ck_assert_int_eq(parse_u64(at, strcspn(at, "\n"), 0, UINT64_MAX, &value), 0);
    free(body);
    return value;
}

struct rise {
    const char *who, *reason;
    uint64_t above;
};

static bool
has_risen(void *arg)
{
    struct rise *r = arg;
    return dropped(r->who, r->reason) > r->above;
}

/* ---- bytes ---- */

static int
dial(unsigned port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t) port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *) &a, sizeof(a)), 0);
    return fd;
}

static void
put(int fd, const void *data, size_t bytes)
{
    ck_assert_int_eq(send(fd, data, bytes, MSG_NOSIGNAL), (ssize_t) bytes);
}

static void
get(int fd, void *data, size_t bytes)
{
    ck_assert_int_eq(recv(fd, data, bytes, MSG_WAITALL), (ssize_t) bytes);
}

static void
put_length(int fd, uint64_t bytes)
{
    uint8_t length[8];
    for (unsigned i = 0; i < 8; i++)
        length[i] = (uint8_t) (bytes >> (56 - 8 * i));
    put(fd, length, sizeof(length));
}

static int
dial_sp(const char *who)
{
    uint8_t theirs[HANDSHAKE_SIZE];
    int fd = dial(rpc_port(who));
    put(fd, HANDSHAKE, HANDSHAKE_SIZE);
    get(fd, theirs, sizeof(theirs));
    ck_assert_uint_eq(theirs[5], 0x31);
    return fd;
}

static void
put_frame(int fd, struct slice frame)
{
    static const uint8_t request[4] = {0x80, 0, 0, 1};
    put_length(fd, sizeof(request) + frame.bytes);
    put(fd, request, sizeof(request));
    if (frame.bytes > 0)
        put(fd, frame.data, frame.bytes);
}

static bool
speaks(int fd, int timeout_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, timeout_ms) > 0;
}

/* The frame is counted under `reason` and nothing comes back. */
static void
dropped_as(int fd, const char *who, const char *reason, struct slice frame)
{
    struct rise r = {who, reason, dropped(who, reason)};
    put_frame(fd, frame);
    ck_assert_msg(process_wait(SECONDS(5), has_risen, &r), "%s: not counted as %s", who, reason);
    ck_assert_msg(!speaks(fd, SILENCE_MS), "%s answered what it counts as %s", who, reason);
    ck_assert_uint_eq(dropped(who, reason), r.above + 1);
}

/* ---- one who asks ---- */

struct asker {
    struct identity identity;
    struct peers peers;
    struct seal_client *seal;
};

static void
asker_make(struct asker *a, const char *key, const char *cluster_name, const char *server)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s.key", cluster_dir(cluster), key);
    ck_assert_int_eq(access(path, F_OK) == 0 ? identity_load(&a->identity, path)
                                             : identity_create(&a->identity, path),
                     0);
    a->peers = peers;
    if (cluster_name)
        snprintf(a->peers.cluster, sizeof(a->peers.cluster), "%s", cluster_name);
    a->seal = seal_client_new(&a->identity, &a->peers, peers_find(&peers, server));
    ck_assert_ptr_nonnull(a->seal);
}

static struct slice
hello(struct asker *a, uint8_t *copy)
{
    struct slice frame;
    ck_assert_int_eq(seal_client_hello(a->seal, &frame), 0);
    memcpy(copy, frame.data, frame.bytes);
    return (struct slice){(const char *) copy, frame.bytes};
}

static void
open_session(struct asker *a, int fd)
{
    uint8_t copy[256], answer[8 + 4 + 256];
    struct slice body;
    put_frame(fd, hello(a, copy));
    get(fd, answer, 8);
    size_t bytes = (size_t) answer[6] << 8 | answer[7];
    ck_assert(bytes > 4 && bytes <= 260);
    get(fd, answer + 8, bytes);
    struct slice frame = {(const char *) answer + 12, bytes - 4};
    ck_assert_int_eq(seal_client_take(a->seal, REQUEST, frame, &body), SEAL_REPLY_NOW);
}

/* ---- what is sent ---- */

static void
nonsense(int fd, const char *who, struct asker *good)
{
    uint8_t copy[256];
    struct slice frame = hello(good, copy);
    dropped_as(fd, who, "short", (struct slice){"", 0});
    dropped_as(fd, who, "short", (struct slice){frame.data, 1});
    dropped_as(fd, who, "short", (struct slice){frame.data, frame.bytes - 1});
    copy[0] = 2;
    dropped_as(fd, who, "version", frame);
    copy[0] = SEAL_VERSION;
    copy[1] = 9;
    dropped_as(fd, who, "type", frame);
    copy[1] = 1;
    copy[frame.bytes - 1] ^= 1; /* the seal */
    dropped_as(fd, who, "forged", frame);
    copy[2] ^= 1; /* the key: nobody's now */
    dropped_as(fd, who, "stranger", frame);
}

static void
others(int fd, const char *who)
{
    struct asker a;
    uint8_t copy[256];
    asker_make(&a, "stranger", NULL, who);
    dropped_as(fd, who, "stranger", hello(&a, copy));
    seal_client_free(a.seal);
    asker_make(&a, "ops", "elsewhere", who);
    dropped_as(fd, who, "forged", hello(&a, copy));
    seal_client_free(a.seal);
}

static void
within_a_session(int fd, const char *who, struct asker *good)
{
    uint8_t copy[256];
    struct slice frame;
    open_session(good, fd);
    ck_assert_int_eq(seal_client_seal(good->seal, REQUEST, (struct slice){"?", 1}, &frame), 0);
    memcpy(copy, frame.data, frame.bytes);
    frame.data = (const char *) copy;
    for (size_t at = 17; at < frame.bytes; at++) { /* counter, body and seal */
        copy[at] ^= 0x40;
        dropped_as(fd, who, "forged", frame);
        copy[at] ^= 0x40;
        if (at == 17)
            at = frame.bytes - 3;
    }
    copy[4] ^= 1;
    dropped_as(fd, who, "no_session", frame);
    copy[4] ^= 1;
    dropped_as(fd, who, "body", frame); /* opens, and says nothing that is known */
    dropped_as(fd, who, "replay", frame);
}

static void
oversized(const char *who)
{
    char byte;
    int fd = dial_sp(who);
    put_length(fd, 1024 * 1024 + 5);
    put(fd, "\x80\0\0\1", 4);
    ck_assert(speaks(fd, 5000));
    ck_assert_int_le(recv(fd, &byte, 1, 0), 0); /* it hangs up without having read it all */
    close(fd);
}

START_TEST(frames_are_dropped)
{
    static const char *const servers[] = {"n1", "c1"};
    for (unsigned i = 0; i < ARRAY_SIZE(servers); i++) {
        struct asker good;
        int fd = dial_sp(servers[i]);
        asker_make(&good, "ops", NULL, servers[i]);
        nonsense(fd, servers[i], &good);
        others(fd, servers[i]);
        within_a_session(fd, servers[i], &good);
        oversized(servers[i]);
        ck_assert_uint_eq(cluster_health(cluster, servers[i], "/readyz", NULL), 200);
        seal_client_free(good.seal);
        close(fd);
    }
    cluster_finished(cluster, SECONDS(30));
    ck_assert_uint_eq(cluster_audit(cluster).sent, ASKED);
}
END_TEST

/* ---- a real order, recorded on its way ---- */

struct relay {
    int listener;
    unsigned upstream;
    uint8_t record[RECORD_MAX]; /* what the asker sent */
    size_t bytes;
};

/* One connection, both ways, until one side ends it. */
static void *
relay_run(void *arg)
{
    struct relay *r = arg;
    uint8_t buffer[16384];
    int ends[2] = {accept(r->listener, NULL, NULL), dial(r->upstream)};
    for (bool open = true; open;) {
        struct pollfd p[2] = {{.fd = ends[0], .events = POLLIN}, {.fd = ends[1], .events = POLLIN}};
        if (poll(p, 2, -1) < 0)
            continue;
        for (int i = 0; i < 2 && open; i++) {
            if (!p[i].revents)
                continue;
            ssize_t n = recv(ends[i], buffer, sizeof(buffer), 0);
            open = n > 0 && send(ends[1 - i], buffer, (size_t) n, MSG_NOSIGNAL) == n;
            if (open && i == 0 && r->bytes + (size_t) n <= RECORD_MAX) {
                memcpy(r->record + r->bytes, buffer, (size_t) n);
                r->bytes += (size_t) n;
            }
        }
    }
    close(ends[0]);
    close(ends[1]);
    return NULL;
}

static int
pause_through(const char *config)
{
    char program[700], *output;
    snprintf(program, sizeof(program), "%s/coordinator/ctl/fleetcast", getenv("FLEETCAST_BUILD"));
    const char *const argv[] = {program, "--config", config, "campaign", "pause", "hello", NULL};
    int code = process_run(argv, &output);
    if (code != 0)
        fprintf(stderr, "campaign pause: %s\n", output);
    free(output);
    return code;
}

static void
record_pause(struct relay *r)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    socklen_t size = sizeof(a);
    char config[128];
    pthread_t thread;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    r->upstream = rpc_port("c1");
    r->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(r->listener, (struct sockaddr *) &a, sizeof(a)), 0);
    ck_assert_int_eq(listen(r->listener, 1), 0);
    ck_assert_int_eq(getsockname(r->listener, (struct sockaddr *) &a, &size), 0);
    snprintf(config, sizeof(config), "%s/relay.conf", cluster_dir(cluster));
    FILE *f = fopen(config, "we");
    ck_assert_ptr_nonnull(f);
    fprintf(f,
            "[fleetcast]\nname = ops\nkey = %s/ops.key\npeers = %s/peers\n"
            "coordinator = tcp://127.0.0.1:%u\ncoordinator_name = c1\n",
            cluster_dir(cluster), cluster_dir(cluster), ntohs(a.sin_port));
    fclose(f);
    ck_assert_int_eq(pthread_create(&thread, NULL, relay_run, r), 0);
    ck_assert_int_eq(pause_through(config), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    close(r->listener);
    ck_assert_uint_gt(r->bytes, HANDSHAKE_SIZE + 2 * 12);
}

START_TEST(recorded_order_is_dropped)
{
    static struct relay relay;
    uint8_t theirs[HANDSHAKE_SIZE];
    char *output;
    record_pause(&relay);
    ck_assert_int_eq(cluster_fleetcast(cluster, NULL, "campaign resume hello"), 0);
    struct rise r = {"c1", "replay", dropped("c1", "replay") + 1}; /* hello and order at least */
    int fd = dial(relay.upstream);
    put(fd, relay.record, relay.bytes);
    get(fd, theirs, sizeof(theirs));
    ck_assert(process_wait(SECONDS(5), has_risen, &r));
    ck_assert(!speaks(fd, SILENCE_MS));
    close(fd);
    ck_assert_int_eq(cluster_fleetcast(cluster, &output, "campaign show hello"), 0);
    ck_assert_msg(!strstr(output, "paused"), "a replayed pause was obeyed: %s", output);
    free(output);
    ck_assert_uint_eq(cluster_health(cluster, "c1", "/readyz", NULL), 200);
    cluster_finished(cluster, SECONDS(30));
    ck_assert_uint_eq(cluster_audit(cluster).sent, ASKED);
}
END_TEST

int
main(int argc, char **argv)
{
    Suite *suite = suite_create("strangers");
    TCase *t = tcase_create("frames");
    tcase_set_timeout(t, 90);
    tcase_add_checked_fixture(t, begin, away);
    tcase_add_test(t, frames_are_dropped);
    tcase_add_test(t, recorded_order_is_dropped);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_FORK);
    srunner_run_all(runner, CK_NORMAL);
    int bad = srunner_ntests_failed(runner);
    srunner_free(runner);
    cluster_sweep();
    return bad == 0 ? 0 : 1;
}
