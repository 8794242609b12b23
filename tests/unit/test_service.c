/* service: signals, systemd's socket, the forced end, and the lag of a loop that was held. */
#include "shared/service.h"

#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static uv_loop_t loop;
static struct service *service;
static unsigned stops;
static int notified = -1; /* the socket that systemd would hold */
static struct sockaddr_un at = {.sun_family = AF_UNIX};

static void
on_stop(void *arg)
{
    ck_assert_ptr_eq(arg, &stops);
    stops++;
}

static void
on_timer(uv_timer_t *timer _unused_)
{
}

/* Turns the loop for `ms`. */
static void
turn(unsigned ms)
{
    usec_t end = clock_boot() + ms * USEC_PER_MSEC;
    uv_timer_t timer;
    uv_timer_init(&loop, &timer);
    uv_timer_start(&timer, on_timer, 5, 5);
    while (clock_boot() < end)
        uv_run(&loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *) &timer, NULL);
    uv_run(&loop, UV_RUN_NOWAIT);
}

static void
listen_to_notify(void)
{
    snprintf(at.sun_path, sizeof(at.sun_path), "/tmp/test_service.%d", (int) getpid());
    unlink(at.sun_path);
    notified = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    ck_assert_int_eq(bind(notified, (struct sockaddr *) &at, sizeof(at)), 0);
    setenv("NOTIFY_SOCKET", at.sun_path, 1);
}

static const char *
next_notice(void)
{
    static char text[1000];
    ssize_t n = recv(notified, text, sizeof(text) - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static void
setup(void)
{
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    unsetenv("NOTIFY_SOCKET");
    ck_assert_int_eq(uv_loop_init(&loop), 0);
}

static void
start(usec_t grace)
{
    stops = 0;
    ck_assert_int_eq(service_start(&service, &loop, grace, on_stop, &stops), 0);
}

static void
stop(void)
{
    service_stop(service);
    service_stop(service);
    ck_assert_int_eq(uv_run(&loop, UV_RUN_DEFAULT), 0);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    service = service_free(service);
    ck_assert_ptr_null(service_free(NULL));
    if (notified >= 0)
        unlink(at.sun_path);
}

START_TEST(bad_watchdog_is_told)
{
    setenv("WATCHDOG_USEC", "soon", 1);
    ck_assert_int_eq(service_start(&service, &loop, USEC_PER_SEC, on_stop, NULL), -EINVAL);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
}
END_TEST

START_TEST(many_signals_stop_once)
{
    start(10 * USEC_PER_SEC);
    turn(20);
    ck_assert_uint_eq(stops, 0);
    raise(SIGPIPE); /* ignored */
    raise(SIGTERM);
    turn(20);
    ck_assert_uint_eq(stops, 1);
    raise(SIGTERM);
    raise(SIGINT);
    turn(20);
    ck_assert_uint_eq(stops, 1);
    stop();
}
END_TEST

START_TEST(interrupt_stops_too)
{
    start(10 * USEC_PER_SEC);
    raise(SIGINT);
    turn(20);
    ck_assert_uint_eq(stops, 1);
    stop();
}
END_TEST

START_TEST(grace_ends_the_process)
{
    usec_t began = clock_boot();
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) { /* asks to stop, and nobody does */
        uv_loop_t own;
        if (uv_loop_init(&own) < 0 ||
            service_start(&service, &own, 200 * USEC_PER_MSEC, on_stop, &stops) < 0)
            _exit(9);
        raise(SIGTERM);
        uv_run(&own, UV_RUN_DEFAULT);
        _exit(8);
    }
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 1);
    ck_assert_uint_ge(clock_boot() - began, 190 * USEC_PER_MSEC);
}
END_TEST

START_TEST(systemd_hears_everything)
{
    listen_to_notify();
    setenv("WATCHDOG_USEC", "150000", 1);
    start(10 * USEC_PER_SEC);
    ck_assert_str_eq(next_notice(), "");
    service_ready(service, "p1 epoch 12");
    ck_assert_str_eq(next_notice(), "READY=1\nSTATUS=p1 epoch 12");
    service_status(service, "line\nMAINPID=1");
    ck_assert_str_eq(next_notice(), "STATUS=line");
    unsigned beats = 0;
    turn(320);
    while (strcmp(next_notice(), "WATCHDOG=1") == 0)
        beats++;
    ck_assert(beats >= 4 && beats <= 7); /* each 50 ms */
    raise(SIGTERM);
    turn(20);
    ck_assert_str_eq(next_notice(), "STOPPING=1");
    stop();
}
END_TEST

START_TEST(watchdog_of_another_process)
{
    listen_to_notify();
    setenv("WATCHDOG_USEC", "60000", 1);
    setenv("WATCHDOG_PID", "1", 1);
    start(10 * USEC_PER_SEC);
    turn(100);
    ck_assert_str_eq(next_notice(), "");
    stop();
}
END_TEST

/* Holds the loop's thread: that is the fault which is measured. */
static void
hold(unsigned ms)
{
    usec_t end = clock_boot() + ms * USEC_PER_MSEC;
    while (clock_boot() < end)
        ;
}

START_TEST(held_loop_shows)
{
    start(10 * USEC_PER_SEC);
    turn(250);
    service_loop_lag(service);
    turn(250);
    ck_assert_uint_lt(service_loop_lag(service), 90 * USEC_PER_MSEC);
    ck_assert(service_turning(service, clock_boot(), 200 * USEC_PER_MSEC));
    hold(400);
    ck_assert(!service_turning(service, clock_boot(), 200 * USEC_PER_MSEC));
    ck_assert_uint_ge(service_loop_lag(service), 300 * USEC_PER_MSEC); /* before it turned */
    turn(150);
    ck_assert_uint_ge(service_loop_lag(service), 290 * USEC_PER_MSEC); /* as the timer saw it */
    ck_assert(service_turning(service, clock_boot(), 200 * USEC_PER_MSEC));
    turn(150);
    ck_assert_uint_lt(service_loop_lag(service), 250 * USEC_PER_MSEC); /* each only once */
    stop();
}
END_TEST

START_TEST(memory_is_private)
{
    struct rlimit limit;
    start(10 * USEC_PER_SEC);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__clang__)
    ck_assert_int_eq(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), 0);
    ck_assert_int_eq(getrlimit(RLIMIT_CORE, &limit), 0);
    ck_assert_uint_eq(limit.rlim_cur, 0);
    ck_assert_uint_eq(limit.rlim_max, 0);
#else
    ck_assert_int_eq(getrlimit(RLIMIT_CORE, &limit), 0);
#endif
    stop();
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("service");
    TCase *t = tcase_create("service");
    tcase_add_checked_fixture(t, setup, NULL);
    tcase_add_test(t, bad_watchdog_is_told);
    tcase_add_test(t, many_signals_stop_once);
    tcase_add_test(t, interrupt_stops_too);
    tcase_add_test(t, grace_ends_the_process);
    tcase_add_test(t, systemd_hears_everything);
    tcase_add_test(t, watchdog_of_another_process);
    tcase_add_test(t, held_loop_shows);
    tcase_add_test(t, memory_is_private);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
