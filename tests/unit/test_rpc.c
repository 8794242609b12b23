/* test_rpc.c - calls over real loopback sockets: silence, strangers, garbage, restarts, stops. */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "proto/rpc.h"
#include "shared/secret.h"

#define TEXT(text) ((struct slice){(text), sizeof(text) - 1})

/* ---- a clock that a test may move on; the loop's own timers keep to the true one ---- */

static usec_t moved_on;

usec_t
clock_boot(void)
{
    struct timespec t;

    clock_gettime(CLOCK_BOOTTIME, &t);
    return (usec_t) t.tv_sec * USEC_PER_SEC + (usec_t) t.tv_nsec / 1000 + moved_on;
}

usec_t
clock_real(void)
{
    return clock_boot();
}

/* ---- one loop, one server, one client ---- */

enum mode { AT_ONCE, HOLD };

static uv_loop_t loop;
static uv_timer_t guard; /* wakes the loop, so that a test that waits in vain ends */
static struct identity coordinator, node, stranger;
static struct peers peers;
static char url[64];
static uint16_t port;
static struct rpc_server *server, *old_server;
static struct rpc_client *client;

static enum mode mode;
static struct held {
    struct rpc_ticket ticket;
    char body[64];
    size_t bytes;
} held[256];
static unsigned held_count, requests;
static const struct peer *last_peer;

static void
on_request(void *arg, struct rpc_ticket ticket, const struct peer *peer, struct slice body)
{
    struct rpc_server *s = *(struct rpc_server **) arg;

    requests++;
    last_peer = peer;
    if (mode == AT_ONCE) {
        ck_assert_int_eq(rpc_reply(s, ticket, body), 0);
        return;
    }
    ck_assert_uint_lt(held_count, ARRAY_SIZE(held));
    ck_assert_uint_le(body.bytes, sizeof(held[0].body));
    held[held_count].ticket = ticket;
    held[held_count].bytes = body.bytes;
    memcpy(held[held_count].body, body.data, body.bytes);
    held_count++;
}

static void
answer_held(unsigned i)
{
    ck_assert_int_eq(rpc_reply(server, held[i].ticket, (struct slice){held[i].body, held[i].bytes}),
                     0);
}

static void
on_guard(uv_timer_t *timer)
{
    (void) timer;
}

static uint16_t
free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_eq(bind(fd, (struct sockaddr *) &a, sizeof(a)), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *) &a, &bytes), 0);
    close(fd);
    return ntohs(a.sin_port);
}

static void
setup(void)
{
    ck_assert_int_eq(secret_start(), 0);
    crypto_box_keypair(coordinator.public_key, coordinator.secret_key);
    crypto_box_keypair(node.public_key, node.secret_key);
    crypto_box_keypair(stranger.public_key, stranger.secret_key);
    peers = (struct peers){.cluster = "test", .count = 2};
    peers.peers[0] = (struct peer){.name = "c1", .role = ROLE_COORDINATOR};
    peers.peers[1] = (struct peer){.name = "n1", .role = ROLE_NODE};
    memcpy(peers.peers[0].public_key, coordinator.public_key, SEAL_KEY_BYTES);
    memcpy(peers.peers[1].public_key, node.public_key, SEAL_KEY_BYTES);
    port = free_port();
    snprintf(url, sizeof(url), "tcp://127.0.0.1:%u", port);
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    uv_timer_init(&loop, &guard);
    uv_timer_start(&guard, on_guard, 5, 5);
}

static int
start_server(void)
{
    return rpc_server_start(&server, &loop, url, &coordinator, &peers, on_request, &server);
}

static void
start_client(void)
{
    ck_assert_int_eq(rpc_client_start(&client, &loop, url, &node, &peers, &peers.peers[0]), 0);
}

static bool
run_until(bool (*reached)(unsigned), unsigned argument, unsigned ms)
{
    uint64_t end = uv_hrtime() + (uint64_t) ms * 1000000;

    while (!reached(argument)) {
        if (uv_hrtime() > end)
            return false;
        uv_run(&loop, UV_RUN_ONCE);
    }
    return true;
}

static bool
never(unsigned unused)
{
    (void) unused;
    return false;
}

/* Everything stops, the loop ends by itself, nothing is left in it. */
static void
teardown(void)
{
    if (client)
        rpc_client_stop(client);
    if (server)
        rpc_server_stop(server);
    uv_close((uv_handle_t *) &guard, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    client = rpc_client_free(client);
    server = rpc_server_free(server);
    old_server = rpc_server_free(old_server);
}

/* ---- calls: each is answered exactly once ---- */

static struct asked {
    char text[32];
    unsigned ends;
    int err;
} asked[300];
static unsigned ended, good;
static bool inside_call;

static void
on_reply(void *arg, int err, struct slice body)
{
    struct asked *a = arg;

    ck_assert(!inside_call);
    ck_assert_uint_eq(a->ends, 0);
    a->ends++;
    a->err = err;
    ended++;
    if (err == 0) {
        good++;
        ck_assert_uint_eq(body.bytes, strlen(a->text));
        ck_assert_mem_eq(body.data, a->text, body.bytes);
    }
}

static int
call(unsigned i, usec_t timeout)
{
    int r;

    snprintf(asked[i].text, sizeof(asked[i].text), "call %u", i);
    inside_call = true;
    r = rpc_call(client, (struct slice){asked[i].text, strlen(asked[i].text)}, timeout, on_reply,
                 &asked[i]);
    inside_call = false;
    return r;
}

static bool
are_ended(unsigned count)
{
    return ended >= count;
}

static bool
are_held(unsigned count)
{
    return held_count >= count;
}

/* ---- faults ---- */

START_TEST(nobody_there)
{
    start_client();
    for (unsigned i = 0; i < 5; i++)
        ck_assert_int_eq(call(i, 50 * USEC_PER_MSEC), 0);
    ck_assert(run_until(are_ended, 5, 2000));
    for (unsigned i = 0; i < 5; i++)
        ck_assert_int_eq(asked[i].err, -ETIMEDOUT);
    ck_assert_uint_eq(rpc_heard_at(client), 0);
}
END_TEST

START_TEST(what_cannot_start)
{
    struct rpc_server *second = NULL;
    struct rpc_client *none = NULL;
    struct peer low = peers.peers[0];

    ck_assert_int_eq(start_server(), 0);
    ck_assert_int_eq(rpc_server_start(&second, &loop, url, &coordinator, &peers, on_request, NULL),
                     -EADDRINUSE);
    ck_assert_ptr_null(second);
    ck_assert_int_lt(rpc_server_start(&second, &loop, "nonsense", &coordinator, &peers, on_request,
                                      NULL),
                     0);
    ck_assert_int_lt(rpc_client_start(&none, &loop, "nonsense", &node, &peers, &peers.peers[0]), 0);
    memset(low.public_key, 0, SEAL_KEY_BYTES);
    ck_assert_int_eq(rpc_client_start(&none, &loop, url, &node, &peers, &low), -EKEYREJECTED);
    ck_assert_ptr_null(none);
}
END_TEST

START_TEST(calls_are_bounded)
{
    char *big = calloc(1, BODY_BYTES_MAX + 1);

    start_client();
    ck_assert_int_eq(rpc_call(client, (struct slice){big, BODY_BYTES_MAX + 1}, USEC_PER_SEC,
                              on_reply, &asked[0]),
                     -E2BIG);
    for (unsigned i = 0; i < 64; i++)
        ck_assert_int_eq(call(i, USEC_INFINITY), 0);
    ck_assert_int_eq(call(64, USEC_INFINITY), -ENOBUFS);
    rpc_client_stop(client);
    ck_assert_uint_eq(ended, 64);
    ck_assert_int_eq(call(64, USEC_INFINITY), -ECANCELED);
    ck_assert_uint_eq(asked[64].ends, 0);
    free(big);
}
END_TEST

START_TEST(a_stranger_gets_no_answer)
{
    ck_assert_int_eq(start_server(), 0);
    ck_assert_int_eq(rpc_client_start(&client, &loop, url, &stranger, &peers, &peers.peers[0]), 0);
    ck_assert_int_eq(call(0, 300 * USEC_PER_MSEC), 0);
    ck_assert(run_until(are_ended, 1, 3000));
    ck_assert_int_eq(asked[0].err, -ETIMEDOUT);
    ck_assert_uint_eq(requests, 0);
    ck_assert_uint_eq(rpc_heard_at(client), 0);
    ck_assert_uint_ge(rpc_server_drops(server)[SEAL_DROP_STRANGER], 1);
}
END_TEST

/* ---- garbage on the port ---- */

static int
connected(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons(port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_eq(connect(fd, (struct sockaddr *) &a, sizeof(a)), 0);
    return fd;
}

static void
throw_at_port(const void *data, size_t bytes)
{
    int fd = connected();

    (void) !send(fd, data, bytes, MSG_NOSIGNAL);
    close(fd);
}

static bool
short_ones_are_dropped(unsigned count)
{
    return rpc_server_drops(server)[SEAL_DROP_SHORT] >= count;
}

START_TEST(garbage_disturbs_nobody)
{
    static const char hand[] = "\0SP\0\0\x30\0\0"; /* how a REQ socket greets */
    static const char huge[] = "\0SP\0\0\x30\0\0\x7f\xff\xff\xff\xff\xff\xff\xff";
    static const char framed[] = "\0SP\0\0\x30\0\0"
                                 "\0\0\0\0\0\0\0\x0c"
                                 "\x80\0\0\1"
                                 "\1\3garbage"; /* request id, then 8 of these bytes */
    char random[512];
    int open_ones[20];

    ck_assert_int_eq(start_server(), 0);
    start_client();
    for (unsigned i = 0; i < 50; i++) {
        randombytes_buf(random, sizeof(random));
        throw_at_port(random, sizeof(random));
        throw_at_port(hand, 3);
        throw_at_port(huge, sizeof(huge) - 1);
        throw_at_port(framed, sizeof(framed) - 1);
        if (i < ARRAY_SIZE(open_ones)) /* and some stay, silent */
            open_ones[i] = connected();
        ck_assert_int_eq(call(i, 10 * USEC_PER_SEC), 0);
        ck_assert(run_until(are_ended, i + 1, 10000));
        ck_assert_int_eq(asked[i].err, 0);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(open_ones); i++)
        close(open_ones[i]);
    /* What is thrown and left at once may die with its connection: this one stays until it is
     * heard. */
    int stays = connected();
    unsigned before = (unsigned) rpc_server_drops(server)[SEAL_DROP_SHORT];
    ck_assert_int_eq(send(stays, framed, sizeof(framed) - 1, MSG_NOSIGNAL), sizeof(framed) - 1);
    ck_assert(run_until(short_ones_are_dropped, before + 1, 10000));
    close(stays);
    ck_assert_uint_gt(rpc_server_drops(server)[SEAL_DROP_SHORT], 0);
    ck_assert_uint_eq(requests, 50);
}
END_TEST

/* ---- stops ---- */

START_TEST(stop_with_calls_in_flight)
{
    mode = HOLD;
    ck_assert_int_eq(start_server(), 0);
    start_client();
    for (unsigned i = 0; i < 20; i++)
        ck_assert_int_eq(call(i, USEC_INFINITY), 0);
    ck_assert(run_until(are_held, 20, 3000));
    rpc_client_stop(client);
    ck_assert_uint_eq(ended, 20);
    for (unsigned i = 0; i < 20; i++)
        ck_assert_int_eq(asked[i].err, -ECANCELED);
    for (unsigned i = 0; i < 20; i++) /* to a peer that is gone, and from a server that is */
        answer_held(i);
    ck_assert(!run_until(never, 0, 50));
    rpc_server_stop(server);
    answer_held(0);
}
END_TEST

/* nng may hang for ever in closing a socket to which a message comes in that moment; neither the
 * loop nor a later client may notice. */
START_TEST(answers_in_the_moment_of_a_stop)
{
    enum { ROUNDS = 60, CALLS = 5 };

    mode = HOLD;
    ck_assert_int_eq(start_server(), 0);
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct rpc_client *done;

        memset(asked, 0, sizeof(asked));
        ended = held_count = 0;
        start_client();
        for (unsigned i = 0; i < CALLS; i++)
            ck_assert_int_eq(call(i, USEC_INFINITY), 0);
        ck_assert(run_until(are_held, CALLS, 5000));
        rpc_client_stop(client);
        ck_assert_uint_eq(ended, CALLS);
        for (unsigned i = 0; i < CALLS; i++)
            answer_held(i);
        for (unsigned i = 0; i < 3; i++) /* the loop closes its handles, the socket goes */
            uv_run(&loop, UV_RUN_ONCE);
        done = TAKE_PTR(client);
        rpc_client_free(done);
    }
}
END_TEST

static void
stop_on_reply(void *arg, int err, struct slice body)
{
    on_reply(arg, err, body);
    rpc_client_stop(client);
    ck_assert_int_eq(call(200, USEC_PER_SEC), -ECANCELED);
}

START_TEST(stop_inside_a_callback)
{
    ck_assert_int_eq(start_server(), 0);
    start_client();
    for (unsigned i = 1; i < 10; i++)
        ck_assert_int_eq(call(i, USEC_INFINITY), 0);
    snprintf(asked[0].text, sizeof(asked[0].text), "call 0");
    ck_assert_int_eq(rpc_call(client, TEXT("call 0"), USEC_INFINITY, stop_on_reply, &asked[0]), 0);
    ck_assert(run_until(are_ended, 10, 3000));
    for (unsigned i = 0; i < 10; i++)
        ck_assert_uint_eq(asked[i].ends, 1);
}
END_TEST

static void
call_on_timeout(void *arg, int err, struct slice body)
{
    on_reply(arg, err, body);
    ck_assert_int_eq(err, -ETIMEDOUT);
    ck_assert_int_eq(call(1, 20 * USEC_PER_MSEC), 0); /* the list changes under the sweep */
}

START_TEST(call_inside_a_timeout)
{
    start_client();
    ck_assert_int_eq(rpc_call(client, TEXT("x"), 20 * USEC_PER_MSEC, call_on_timeout, &asked[0]),
                     0);
    for (unsigned i = 2; i < 6; i++)
        ck_assert_int_eq(call(i, 20 * USEC_PER_MSEC), 0);
    ck_assert(run_until(are_ended, 6, 3000));
    for (unsigned i = 0; i < 6; i++)
        ck_assert_int_eq(asked[i].err, -ETIMEDOUT);
}
END_TEST

/* ---- recovery ---- */

START_TEST(the_server_comes_later)
{
    uint64_t start;

    start_client();
    ck_assert_int_eq(call(0, 20 * USEC_PER_SEC), 0);
    ck_assert(!run_until(never, 0, 1500));
    ck_assert_int_eq(start_server(), 0);
    start = uv_hrtime();
    ck_assert(run_until(are_ended, 1, 5000));
    ck_assert_int_eq(asked[0].err, 0);
    printf("found a server that came later after %llu ms\n",
           (unsigned long long) (uv_hrtime() - start) / 1000000);
}
END_TEST

static bool
can_start_server(unsigned unused)
{
    int r = start_server();

    (void) unused;
    ck_assert(r == 0 || r == -EADDRINUSE); /* the old socket closes with the loop's next rounds */
    return r == 0;
}

START_TEST(the_server_restarts)
{
    enum { CALLS = 200 };
    unsigned next = 0;
    bool restarted = false;
    uint64_t lost_at = 0;

    mode = HOLD;
    ck_assert_int_eq(start_server(), 0);
    start_client();
    while (ended < CALLS) {
        while (next < CALLS && next - ended < 20)
            ck_assert_int_eq(call(next++, 30 * USEC_PER_SEC), 0);
        if (ended >= 100 && !restarted) { /* 20 calls are with the server that dies */
            ck_assert(run_until(are_held, 20, 5000));
            rpc_server_stop(server);
            old_server = TAKE_PTR(server);
            held_count = 0;
            ck_assert(run_until(can_start_server, 0, 5000));
            lost_at = uv_hrtime();
            restarted = true;
        }
        ck_assert(run_until(are_held, MIN_OF(CALLS - ended, 20u), 10000));
        if (lost_at) {
            printf("calls were with the restarted server after %llu ms\n",
                   (unsigned long long) (uv_hrtime() - lost_at) / 1000000);
            lost_at = 0;
        }
        while (held_count > 0) /* newest first */
            answer_held(--held_count);
        ck_assert(run_until(are_ended, MIN_OF(next, CALLS), 5000));
    }
    for (unsigned i = 0; i < CALLS; i++) {
        ck_assert_uint_eq(asked[i].ends, 1);
        ck_assert_int_eq(asked[i].err, 0);
    }
    ck_assert(restarted);
    ck_assert_uint_ge(requests, CALLS);
}
END_TEST

/* A server that is slow, not dead: the request comes again, the answer to the first one counts. */
START_TEST(a_slow_answer_on_the_session_before)
{
    mode = HOLD;
    ck_assert_int_eq(start_server(), 0);
    start_client();
    ck_assert_int_eq(call(0, 20 * USEC_PER_SEC), 0);
    ck_assert(run_until(are_held, 2, 5000)); /* the second one after 1 s of silence */
    ck_assert_uint_ne(held[0].ticket.session, held[1].ticket.session);
    ck_assert_uint_eq(held[0].ticket.request, held[1].ticket.request);
    answer_held(0);
    ck_assert(run_until(are_ended, 1, 1000));
    ck_assert_int_eq(asked[0].err, 0);
    answer_held(1); /* nobody waits for it any more */
    ck_assert(!run_until(never, 0, 100));
    ck_assert_uint_eq(asked[0].ends, 1);
}
END_TEST

/* Silence grows: a call that takes 10 s is not sent ten times. */
START_TEST(asking_again_slows_down)
{
    mode = HOLD;
    ck_assert_int_eq(start_server(), 0);
    start_client();
    ck_assert_int_eq(call(0, 60 * USEC_PER_SEC), 0);
    ck_assert(run_until(are_held, 2, 5000));  /* after 1 s */
    ck_assert(!run_until(are_held, 3, 1500)); /* 2 s more are not over */
    ck_assert(run_until(are_held, 3, 5000));
    answer_held(2);
    ck_assert(run_until(are_ended, 1, 1000));
}
END_TEST

/* A listener that takes connections and says nothing, as a half-open one would. */
START_TEST(a_deaf_connection_is_replaced)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons(port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int one = 1, first, second = -1;

    ck_assert_int_eq(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), 0);
    ck_assert_int_eq(bind(listener, (struct sockaddr *) &a, sizeof(a)), 0);
    ck_assert_int_eq(listen(listener, 5), 0);
    start_client();
    ck_assert_int_eq(call(0, 60 * USEC_PER_SEC), 0);
    for (unsigned i = 0; (first = accept(listener, NULL, NULL)) < 0; i++) {
        ck_assert_uint_lt(i, 300);
        uv_run(&loop, UV_RUN_ONCE);
    }
    moved_on += 16 * USEC_PER_SEC;
    for (unsigned i = 0; (second = accept(listener, NULL, NULL)) < 0; i++) {
        ck_assert_uint_lt(i, 1000);
        uv_run(&loop, UV_RUN_ONCE);
    }
    ck_assert_uint_eq(ended, 0);
    close(first);
    close(second);
    close(listener);
}
END_TEST

START_TEST(suspend_makes_no_storm)
{
    ck_assert_int_eq(start_server(), 0);
    start_client();
    ck_assert_int_eq(call(0, 5 * USEC_PER_SEC), 0);
    ck_assert(run_until(are_ended, 1, 3000));
    moved_on += 3600 * USEC_PER_SEC; /* an hour of rest: nothing is owed, the session is good */
    ck_assert_int_eq(call(1, 5 * USEC_PER_SEC), 0);
    ck_assert(run_until(are_ended, 2, 500));
    ck_assert_int_eq(asked[1].err, 0);
    ck_assert_uint_eq(requests, 2);
}
END_TEST

/* ---- what must work ---- */

START_TEST(two_hundred_out_of_order)
{
    enum { CALLS = 200, BATCH = 50 };

    mode = HOLD;
    ck_assert_int_eq(start_server(), 0);
    start_client();
    for (unsigned done = 0; done < CALLS; done += BATCH) {
        for (unsigned i = 0; i < BATCH; i++)
            ck_assert_int_eq(call(done + i, 10 * USEC_PER_SEC), 0);
        ck_assert(run_until(are_held, BATCH, 5000));
        for (unsigned i = 0; i < BATCH; i++)
            answer_held(i * 7 % BATCH);
        held_count = 0;
        ck_assert(run_until(are_ended, done + BATCH, 5000));
    }
    ck_assert_uint_eq(good, CALLS);
    ck_assert_uint_eq(requests, CALLS);
    ck_assert_str_eq(last_peer->name, "n1");
    ck_assert_uint_eq(last_peer->role, ROLE_NODE);
    for (int d = 0; d < SEAL_DROP_COUNT; d++)
        ck_assert_uint_eq(rpc_server_drops(server)[d], 0);
    ck_assert_uint_gt(rpc_heard_at(client), 0);
}
END_TEST

/* Many answers back to back: more than nng takes at once go through the queue of our own. */
START_TEST(answers_back_to_back)
{
    enum { CALLS = 60, EACH = 4 };

    mode = HOLD;
    ck_assert_int_eq(start_server(), 0);
    start_client();
    for (unsigned i = 0; i < CALLS; i++)
        ck_assert_int_eq(call(i, 10 * USEC_PER_SEC), 0);
    ck_assert(run_until(are_held, CALLS, 5000));
    for (unsigned i = 0; i < CALLS * EACH; i++) /* the copies are dropped by the asker */
        answer_held(i % CALLS);
    ck_assert(run_until(are_ended, CALLS, 5000));
    ck_assert_uint_eq(good, CALLS);
}
END_TEST

static char *large;

static void
on_large(void *arg, int err, struct slice body)
{
    (void) arg;
    ck_assert_int_eq(err, 0);
    ck_assert_uint_eq(body.bytes, BODY_BYTES_MAX);
    ck_assert_mem_eq(body.data, large, body.bytes);
    ended++;
}

START_TEST(the_largest_body)
{
    large = malloc(BODY_BYTES_MAX);
    randombytes_buf(large, BODY_BYTES_MAX);
    ck_assert_int_eq(start_server(), 0);
    start_client();
    for (unsigned i = 0; i < 5; i++)
        ck_assert_int_eq(rpc_call(client, (struct slice){large, BODY_BYTES_MAX}, 10 * USEC_PER_SEC,
                                  on_large, NULL),
                         0);
    ck_assert(run_until(are_ended, 5, 10000));
    free(large);
}
END_TEST

START_TEST(a_first_call_is_quick)
{
    usec_t best = USEC_INFINITY;

    ck_assert_int_eq(start_server(), 0);
    for (unsigned i = 0; i < 10; i++) {
        uint64_t start = uv_hrtime(), took;
        struct rpc_client *done;

        start_client();
        ck_assert_int_eq(call(i, 5 * USEC_PER_SEC), 0);
        ck_assert(run_until(are_ended, i + 1, 5000));
        took = (uv_hrtime() - start) / 1000;
        best = MIN_OF(best, took);
        rpc_client_stop(client);
        ck_assert(!run_until(never, 0, 20)); /* the loop closes its handles */
        done = TAKE_PTR(client);
        rpc_client_free(done);
    }
    printf("connect, hello and first call: %llu us at best\n", (unsigned long long) best);
    ck_assert_uint_eq(good, 10);
    ck_assert_uint_lt(best, 50 * USEC_PER_MSEC);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("rpc");
    TCase *tc = tcase_create("rpc");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, nobody_there);
    tcase_add_test(tc, what_cannot_start);
    tcase_add_test(tc, calls_are_bounded);
    tcase_add_test(tc, a_stranger_gets_no_answer);
    tcase_add_test(tc, garbage_disturbs_nobody);
    tcase_add_test(tc, stop_with_calls_in_flight);
    tcase_add_test(tc, answers_in_the_moment_of_a_stop);
    tcase_add_test(tc, stop_inside_a_callback);
    tcase_add_test(tc, call_inside_a_timeout);
    tcase_add_test(tc, the_server_comes_later);
    tcase_add_test(tc, the_server_restarts);
    tcase_add_test(tc, a_slow_answer_on_the_session_before);
    tcase_add_test(tc, asking_again_slows_down);
    tcase_add_test(tc, a_deaf_connection_is_replaced);
    tcase_add_test(tc, suspend_makes_no_storm);
    tcase_add_test(tc, two_hundred_out_of_order);
    tcase_add_test(tc, answers_back_to_back);
    tcase_add_test(tc, the_largest_body);
    tcase_add_test(tc, a_first_call_is_quick);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
