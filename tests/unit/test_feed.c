/* test_feed.c - the hint over real loopback sockets: garbage is ignored, silence takes a new
 * socket. */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <nng/nng.h>
#include <nng/protocol/pubsub0/pub.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/feed.h"
#include "proto/rpc.h"

/* A clock that a test may move on; the loop's own timers keep to the true one. */
static usec_t moved_on;

usec_t
clock_boot(void)
{
    return uv_hrtime() / 1000 + moved_on;
}

usec_t
clock_real(void)
{
    return clock_boot();
}

static uv_loop_t loop;
static uv_timer_t tick; /* publishes, and wakes the loop so that a test that waits in vain ends */
static char url[64];
static uint16_t port;
static struct feed_publisher *publisher;
static struct feed_subscriber *subscriber;
static struct hint published, heard;
static unsigned heard_count;

static void
on_tick(uv_timer_t *timer)
{
    (void) timer;
    if (publisher)
        feed_publish(publisher, &published);
}

static void
on_hint(void *arg, const struct hint *hint)
{
    ck_assert_ptr_eq(arg, &loop);
    heard = *hint;
    heard_count++;
}

static void
setup(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_eq(bind(fd, (struct sockaddr *) &a, sizeof(a)), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *) &a, &bytes), 0);
    close(fd);
    port = ntohs(a.sin_port);
    snprintf(url, sizeof(url), "tcp://127.0.0.1:%u", port);
    published = (struct hint){7, 41, INT64_MAX};
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    uv_timer_init(&loop, &tick);
    uv_timer_start(&tick, on_tick, 10, 10);
}

static void
teardown(void)
{
    if (subscriber)
        feed_subscribe_stop(subscriber);
    if (publisher)
        feed_publish_stop(publisher);
    uv_close((uv_handle_t *) &tick, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    subscriber = feed_subscribe_free(subscriber);
    publisher = feed_publish_free(publisher);
}

static void
subscribe(void)
{
    ck_assert_int_eq(feed_subscribe_start(&subscriber, &loop, url, on_hint, &loop), 0);
}

static bool
hear(unsigned count, unsigned ms)
{
    uint64_t end = uv_hrtime() + (uint64_t) ms * 1000000;

    while (heard_count < count) {
        if (uv_hrtime() > end)
            return false;
        uv_run(&loop, UV_RUN_ONCE);
    }
    return true;
}

START_TEST(what_cannot_start)
{
    struct feed_publisher *second = NULL;
    struct feed_subscriber *none = NULL;

    ck_assert_int_eq(feed_publish_start(&publisher, &loop, url), 0);
    ck_assert_int_eq(feed_publish_start(&second, &loop, url), -EADDRINUSE);
    ck_assert_int_lt(feed_publish_start(&second, &loop, "nonsense"), 0);
    ck_assert_int_lt(feed_subscribe_start(&none, &loop, "nonsense", on_hint, NULL), 0);
    ck_assert_ptr_null(second);
    ck_assert_ptr_null(none);
}
END_TEST

/* A publisher that says everything but a hint, then one hint, so that the rest surely went by. */
START_TEST(anything_else_is_ignored)
{
    static const struct {
        const char *data;
        size_t bytes;
    } garbage[] = {
        {"", 0},
        {"\x94", 1},                                                  /* cut */
        {"\x93\x01\x07\x08", 4},                                      /* one number too few */
        {"\x94\x02\x07\x08\x09", 5},                                  /* another version */
        {"\x94\x01\x07\xa1x\x09", 6},                                 /* a text for a number */
        {"\x94\x01\x07\x08\x09\x00", 6},                              /* something behind */
        {"\x94\x01\x07\x08\xcf\xff\xff\xff\xff\xff\xff\xff\xff", 13}, /* above 2^63-1 */
        {"\xdd\xff\xff\xff\xff", 5},
    };
    char large[100] = "\xc4\x62"; /* well-formed, but no hint is as long as this */
    nng_socket s;

    ck_assert_int_eq(nng_pub0_open_raw(&s), 0);
    ck_assert_int_eq(nng_listen(s, url, NULL, 0), 0);
    subscribe();
    for (unsigned round = 0; heard_count == 0; round++) { /* until the subscriber is connected */
        ck_assert_uint_lt(round, 500);
        for (size_t i = 0; i < ARRAY_SIZE(garbage); i++)
            ck_assert_int_eq(nng_send(s, (void *) garbage[i].data, garbage[i].bytes, 0), 0);
        ck_assert_int_eq(nng_send(s, large, sizeof(large), 0), 0);
        /* of a newer minor revision: one element more than we know */
        ck_assert_int_eq(nng_send(s, (void *) "\x95\x01\x01\x02\x03\xa3new", 9, 0), 0);
        uv_run(&loop, UV_RUN_ONCE);
    }
    ck_assert_uint_eq(heard.term, 1);
    ck_assert_uint_eq(heard.map_version, 2);
    ck_assert_uint_eq(heard.content_version, 3);
    nng_close(s);
}
END_TEST

START_TEST(a_publisher_without_hearers_never_waits)
{
    uint64_t start = uv_hrtime();

    ck_assert_int_eq(feed_publish_start(&publisher, &loop, url), 0);
    for (unsigned i = 0; i < 5000; i++)
        feed_publish(publisher, &published);
    ck_assert_uint_lt((uv_hrtime() - start) / 1000000, 1000);
    feed_publish_stop(publisher);
    feed_publish(publisher, &published); /* after the stop: nothing */
}
END_TEST

/* Half-open: connected, and silent for ever. The subscriber comes again on a new connection. */
START_TEST(silence_takes_a_new_socket)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons(port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    static const char hand[] = {'\0', 'S',    'P',  '\0',
                                '\0', '\x20', '\0', '\0'}; /* of a PUB socket */
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int one = 1, first, second;
    uint64_t start;

    ck_assert_int_eq(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), 0);
    ck_assert_int_eq(bind(listener, (struct sockaddr *) &a, sizeof(a)), 0);
    ck_assert_int_eq(listen(listener, 5), 0);
    subscribe();
    for (start = uv_hrtime(); (first = accept(listener, NULL, NULL)) < 0;) {
        ck_assert_uint_lt((uv_hrtime() - start) / 1000000, 5000);
        uv_run(&loop, UV_RUN_ONCE);
    }
    ck_assert_int_eq(send(first, hand, sizeof(hand), 0), sizeof(hand)); /* nng is content with it */
    moved_on += 14 * USEC_PER_SEC;
    for (start = uv_hrtime(); (second = accept(listener, NULL, NULL)) < 0;) {
        ck_assert_uint_lt((uv_hrtime() - start) / 1000000, 10000);
        uv_run(&loop, UV_RUN_ONCE);
    }
    ck_assert_uint_ge((uv_hrtime() - start) / 1000000, 500); /* not before the 15 s were over */
    close(first);
    close(second);
    close(listener);
}
END_TEST

START_TEST(the_publisher_restarts)
{
    struct feed_publisher *old;
    int r;

    ck_assert_int_eq(feed_publish_start(&publisher, &loop, url), 0);
    subscribe();
    ck_assert(hear(1, 5000));
    feed_publish_stop(publisher);
    old = TAKE_PTR(publisher);
    feed_publish_free(old);
    heard_count = 0;
    published.term = 8;
    for (unsigned i = 0; (r = feed_publish_start(&publisher, &loop, url)) == -EADDRINUSE; i++) {
        ck_assert_uint_lt(i, 100);
        uv_run(&loop, UV_RUN_ONCE);
    }
    ck_assert_int_eq(r, 0);
    for (unsigned i = 1; heard.term != 8; i++) /* hints of the old one may still come first */
        ck_assert(hear(i, 5000));
}
END_TEST

START_TEST(hints_arrive)
{
    subscribe(); /* also when the hearer is there first */
    ck_assert_int_eq(feed_publish_start(&publisher, &loop, url), 0);
    ck_assert(hear(20, 5000));
    ck_assert_uint_eq(heard.term, 7);
    ck_assert_uint_eq(heard.map_version, 41);
    ck_assert_uint_eq(heard.content_version, INT64_MAX);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("feed");
    TCase *tc = tcase_create("feed");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, what_cannot_start);
    tcase_add_test(tc, anything_else_is_ignored);
    tcase_add_test(tc, a_publisher_without_hearers_never_waits);
    tcase_add_test(tc, silence_takes_a_new_socket);
    tcase_add_test(tc, the_publisher_restarts);
    tcase_add_test(tc, hints_arrive);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
