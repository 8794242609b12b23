/* httpd: real sockets on one loop; clients that drip, hang or flood delay nobody. */
#include "shared/httpd.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shared/clock.h"

#define IDLE_SECONDS 1u

static uv_loop_t loop;
static struct httpd *server;
static unsigned requests;
static char seen[200]; /* "METHOD PATH verbose" of the last request */

static void
on_request(void *arg, struct httpd_request *request, const struct httpd_view *view)
{
    ck_assert_ptr_eq(arg, &loop);
    requests++;
    snprintf(seen, sizeof(seen), "%s %s %d", view->method, view->path, view->verbose);
    if (strcmp(view->path, "/big") == 0) {
        static char big[200000];
        memset(big, 'b', sizeof(big));
        httpd_answer(request, 200, "text/plain", big, sizeof(big));
        return;
    }
    bool known = strcmp(view->path, "/livez") == 0;
    char body[32]; /* on the stack: it must be copied */
    int bytes = snprintf(body, sizeof(body), known ? "ok\n" : "none\n");
    httpd_answer(request, known ? 200 : 404, "text/plain", body, (size_t) bytes);
    memset(body, 'X', sizeof(body));
}

static void
start(unsigned connections_max)
{
    signal(SIGPIPE, SIG_IGN);
    requests = 0;
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    ck_assert_int_eq(httpd_start(&server, &loop, "127.0.0.1:0", connections_max, IDLE_SECONDS,
                                 on_request, &loop),
                     0);
}

static void
stop(void)
{
    httpd_stop(server);
    ck_assert_int_eq(uv_run(&loop, UV_RUN_DEFAULT), 0);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    server = httpd_free(server);
}

static int
dial(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(httpd_port(server))};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *) &to, sizeof(to)), 0);
    ck_assert_int_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

static void
say(int fd, const char *text)
{
    ck_assert_int_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t) strlen(text));
}

static void
on_tick(uv_timer_t *timer)
{
    (void) timer;
}

/* Turns the loop for about 10 ms. */
static void
turn(void)
{
    uv_timer_t timer;
    uv_timer_init(&loop, &timer);
    uv_timer_start(&timer, on_tick, 10, 0);
    uv_run(&loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *) &timer, NULL);
    uv_run(&loop, UV_RUN_NOWAIT);
}

struct reply {
    char text[4096];
    size_t used;
    bool closed;
};

static void
drain(int fd, struct reply *r)
{
    for (;;) {
        ssize_t n = recv(fd, r->text + r->used, sizeof(r->text) - 1 - r->used, 0);
        if (n > 0) {
            r->used += (size_t) n;
            continue;
        }
        r->closed |= n == 0 || (errno != EAGAIN && errno != EINTR);
        r->text[r->used] = '\0';
        return;
    }
}

/* Until `end` was received, or the server closed, or 5 s passed. */
static struct reply
wait_for(int fd, const char *end)
{
    struct reply r = {.used = 0};
    usec_t limit = clock_boot() + 5 * USEC_PER_SEC;
    do {
        turn();
        drain(fd, &r);
    } while (!r.closed && !(end && strstr(r.text, end)) && clock_boot() < limit);
    return r;
}

START_TEST(addresses)
{
    struct httpd *h;
    start(4);
    char taken[64];
    snprintf(taken, sizeof(taken), "127.0.0.1:%u", httpd_port(server));
    ck_assert_int_eq(httpd_start(&h, &loop, taken, 4, 1, on_request, NULL), -EADDRINUSE);
    ck_assert_int_eq(httpd_start(&h, &loop, "localhost:80", 4, 1, on_request, NULL), -EINVAL);
    ck_assert_int_eq(httpd_start(&h, &loop, "127.0.0.1", 4, 1, on_request, NULL), -EINVAL);
    ck_assert_int_eq(httpd_start(&h, &loop, "203.0.113.1:0", 4, 1, on_request, NULL),
                     -EADDRNOTAVAIL);
    stop();
}
END_TEST

START_TEST(other_methods)
{
    static const char *const heads[] = {
        "POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
        "DELETE /livez HTTP/1.1\r\nHost: x\r\n\r\n",
        "PATCH /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
    };
    start(4);
    for (size_t i = 0; i < ARRAY_SIZE(heads); i++) {
        int fd = dial();
        say(fd, heads[i]);
        struct reply r = wait_for(fd, "only GET and HEAD\n");
        ck_assert_msg(strstr(r.text, "HTTP/1.1 405 ") == r.text, "%s", r.text);
        ck_assert_ptr_nonnull(strstr(r.text, "Allow: GET, HEAD\r\n"));
        close(fd);
    }
    ck_assert_uint_eq(requests, 0);
    stop();
}
END_TEST

START_TEST(head_too_large)
{
    char header[20001];
    start(4);
    int fd = dial();
    memset(header, 'h', 20000);
    header[20000] = '\0';
    say(fd, "GET /livez HTTP/1.1\r\nHost: x\r\nX: ");
    (void) !send(fd, header, 20000, MSG_NOSIGNAL);
    struct reply r = wait_for(fd, "\r\n\r\n");
    ck_assert_msg(strncmp(r.text, "HTTP/1.1 4", 10) == 0, "%s", r.text);
    ck_assert_uint_eq(requests, 0);
    close(fd);
    stop();
}
END_TEST

START_TEST(get_and_head)
{
    start(4);
    int fd = dial(); /* all on one connection: it is kept */
    say(fd, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
    struct reply r = wait_for(fd, "ok\n");
    ck_assert_ptr_nonnull(strstr(r.text, "HTTP/1.1 200 OK\r\n"));
    ck_assert_ptr_nonnull(strstr(r.text, "Content-Type: text/plain\r\n"));
    ck_assert_ptr_nonnull(strstr(r.text, "Cache-Control: no-store\r\n"));
    ck_assert_ptr_nonnull(strstr(r.text, "\r\n\r\nok\n"));
    ck_assert_str_eq(seen, "GET /livez 0");

    say(fd, "GET /readyz?verbose HTTP/1.1\r\nHost: x\r\n\r\n");
    r = wait_for(fd, "none\n");
    ck_assert_ptr_nonnull(strstr(r.text, "HTTP/1.1 404 "));
    ck_assert_str_eq(seen, "GET /readyz 1");

    say(fd, "HEAD /livez HTTP/1.1\r\nHost: x\r\n\r\n");
    r = wait_for(fd, "\r\n\r\n");
    ck_assert_ptr_nonnull(strstr(r.text, "Content-Length: 3\r\n"));
    ck_assert_ptr_null(strstr(r.text, "ok"));
    ck_assert_str_eq(seen, "HEAD /livez 0");

    say(fd, "GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody");
    r = wait_for(fd, "ok\n");
    ck_assert_ptr_nonnull(strstr(r.text, "HTTP/1.1 200 OK\r\n"));
    ck_assert_uint_eq(requests, 4);
    close(fd);
    stop();
}
END_TEST

START_TEST(pipelined)
{
    start(4);
    int fd = dial();
    say(fd, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\nGET /x HTTP/1.1\r\nHost: x\r\n\r\n");
    struct reply r = wait_for(fd, "none\n");
    ck_assert_ptr_nonnull(strstr(r.text, "ok\n"));
    ck_assert_uint_eq(requests, 2);
    close(fd);
    stop();
}
END_TEST

/* One byte per 200 ms resets an idle timeout for ever: only the deadline of the head ends it. */
START_TEST(dripping_client_is_cut_and_delays_nobody)
{
    static const char head[] = "GET /livez HTTP/1.1\r\nHost: aaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n\r\n";
    start(4);
    int dripping = dial();
    struct reply dripped = {.used = 0};
    usec_t began = clock_boot(), next_drip = began, slowest = 0, cut_after = 0;
    for (unsigned i = 0, asked = 0; !cut_after && clock_boot() < began + 5 * USEC_PER_SEC;) {
        if (clock_boot() >= next_drip && i < sizeof(head) - 1) {
            if (send(dripping, &head[i++], 1, MSG_NOSIGNAL) < 0)
                cut_after = clock_boot() - began;
            next_drip += 200 * USEC_PER_MSEC;
        }
        if (asked++ % 5 == 0) {
            usec_t from = clock_boot();
            int fd = dial();
            say(fd, "GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            struct reply r = wait_for(fd, "ok\n");
            ck_assert_ptr_nonnull(strstr(r.text, "200 OK"));
            slowest = MAX_OF(slowest, clock_boot() - from);
            close(fd);
        }
        turn();
        drain(dripping, &dripped);
        if (dripped.closed)
            cut_after = clock_boot() - began;
    }
    ck_assert_uint_ge(cut_after, IDLE_SECONDS * USEC_PER_SEC);
    ck_assert_uint_le(cut_after, 2500 * USEC_PER_MSEC);
    ck_assert_uint_lt(slowest, 500 * USEC_PER_MSEC);
    close(dripping);
    stop();
}
END_TEST

START_TEST(second_head_has_a_deadline_too)
{
    start(4);
    int fd = dial();
    say(fd, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
    ck_assert_ptr_nonnull(strstr(wait_for(fd, "ok\n").text, "200 OK"));
    usec_t began = clock_boot(), next = began;
    struct reply r = {.used = 0};
    while (!r.closed && clock_boot() < began + 5 * USEC_PER_SEC) {
        if (clock_boot() >= next) {
            (void) !send(fd, "G", 1, MSG_NOSIGNAL);
            next += 200 * USEC_PER_MSEC;
        }
        turn();
        drain(fd, &r);
    }
    ck_assert(r.closed);
    ck_assert_uint_le(clock_boot() - began, 3500 * USEC_PER_MSEC);
    close(fd);
    stop();
}
END_TEST

START_TEST(silent_client_is_closed)
{
    start(4);
    int fd = dial();
    usec_t began = clock_boot();
    ck_assert(wait_for(fd, NULL).closed);
    ck_assert_uint_ge(clock_boot() - began, 900 * USEC_PER_MSEC);
    ck_assert_uint_le(clock_boot() - began, 3 * USEC_PER_SEC);
    close(fd);
    stop();
}
END_TEST

/* An answer that is not taken must not hold a place for ever either. */
START_TEST(client_that_does_not_read_is_cut)
{
    start(1);
    int fd = dial();
    int small = 4096;
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
    for (unsigned i = 0; i < 40; i++)
        say(fd, "GET /big HTTP/1.1\r\nHost: x\r\n\r\n");
    /* Its kernel holds what it did not read; that the server closed shows when it sends. */
    usec_t began = clock_boot();
    ssize_t n = 1;
    while (n == 1 && clock_boot() < began + 4 * USEC_PER_SEC) {
        for (unsigned i = 0; i < 10; i++)
            turn();
        n = send(fd, "x", 1, MSG_NOSIGNAL);
    }
    ck_assert_int_eq(n, -1);
    ck_assert_uint_ge(clock_boot() - began, IDLE_SECONDS * USEC_PER_SEC);
    ck_assert_uint_lt(requests, 40);
    close(fd);
    stop();
}
END_TEST

START_TEST(flood_of_half_open_clients)
{
    int held[40];
    start(8);
    for (size_t i = 0; i < ARRAY_SIZE(held); i++) {
        held[i] = dial();
        say(held[i], "GET /li");
        turn();
    }
    usec_t from = clock_boot();
    int fd = dial();
    say(fd, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
    ck_assert_ptr_nonnull(strstr(wait_for(fd, "ok\n").text, "200 OK"));
    ck_assert_uint_lt(clock_boot() - from, 500 * USEC_PER_MSEC); /* not their deadline */
    struct reply first = {.used = 0};
    drain(held[0], &first);
    ck_assert(first.closed);
    for (size_t i = 0; i < ARRAY_SIZE(held); i++)
        close(held[i]);
    close(fd);
    stop();
}
END_TEST

START_TEST(stop_with_open_connections)
{
    start(4);
    int half = dial(), kept = dial();
    say(half, "GET /");
    say(kept, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
    wait_for(kept, "ok\n");
    httpd_stop(server);
    stop(); /* a second stop does nothing */
    close(half);
    close(kept);
    ck_assert_ptr_null(httpd_free(NULL));
}
END_TEST

START_TEST(ipv6)
{
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    int rc = httpd_start(&server, &loop, "[::1]:0", 4, IDLE_SECONDS, on_request, &loop);
    if (rc == -EAFNOSUPPORT || rc == -EADDRNOTAVAIL) { /* a machine without IPv6 */
        ck_assert_int_eq(uv_loop_close(&loop), 0);
        return;
    }
    ck_assert_int_eq(rc, 0);
    struct sockaddr_in6 to = {.sin6_family = AF_INET6, .sin6_port = htons(httpd_port(server))};
    to.sin6_addr = in6addr_loopback;
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *) &to, sizeof(to)), 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    say(fd, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
    ck_assert_ptr_nonnull(strstr(wait_for(fd, "ok\n").text, "200 OK"));
    close(fd);
    stop();
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("httpd");
    TCase *t = tcase_create("httpd");
    tcase_set_timeout(t, 20);
    tcase_add_test(t, addresses);
    tcase_add_test(t, other_methods);
    tcase_add_test(t, head_too_large);
    tcase_add_test(t, get_and_head);
    tcase_add_test(t, pipelined);
    tcase_add_test(t, dripping_client_is_cut_and_delays_nobody);
    tcase_add_test(t, second_head_has_a_deadline_too);
    tcase_add_test(t, silent_client_is_closed);
    tcase_add_test(t, client_that_does_not_read_is_cut);
    tcase_add_test(t, flood_of_half_open_clients);
    tcase_add_test(t, stop_with_open_connections);
    tcase_add_test(t, ipv6);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
