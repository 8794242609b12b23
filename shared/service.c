/* The part of a daemon that the system speaks to: signals, notify, watchdog. */
#include "shared/service.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "shared/log.h"

#define TURN_MS          100u
#define STATUS_BYTES_MAX 200

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED true
#endif
#endif
#ifndef SANITIZED
#define SANITIZED false
#endif

struct service {
    uv_signal_t term, interrupt;
    uv_timer_t turn, watchdog, grace;
    usec_t grace_time;
    service_stop_fn *on_stop;
    void *arg;
    bool stopping; /* a signal came */
    bool closed;
    usec_t turned_at;
    usec_t lag_max;
};

static void
notify(const char *text)
{
    int rc = sd_notify(0, text);
    if (rc < 0)
        log_event(LOG_LEVEL_WARNING, "service.notify", "errno=%d", -rc);
}

static void
on_grace(uv_timer_t *timer _unused_)
{
    log_event(LOG_LEVEL_ERROR, "service.forced", "reason=grace_over");
    _exit(1); /* what still holds the loop would hold atexit functions too */
}

static void
on_signal(uv_signal_t *handle, int number)
{
    struct service *s = handle->data;
    if (s->stopping)
        return;
    s->stopping = true;
    log_event(LOG_LEVEL_INFO, "service.stopping", "signal=%d", number);
    notify("STOPPING=1");
    uv_timer_start(&s->grace, on_grace, s->grace_time / USEC_PER_MSEC, 0);
    s->on_stop(s->arg);
}

static usec_t
current_lag(const struct service *s, usec_t now)
{
    usec_t expected = s->turned_at + TURN_MS * USEC_PER_MSEC;
    return now > expected ? now - expected : 0;
}

static void
on_turn(uv_timer_t *timer)
{
    struct service *s = timer->data;
    usec_t now = clock_boot();
    s->lag_max = MAX_OF(s->lag_max, current_lag(s, now));
    s->turned_at = now;
}

static void
on_watchdog(uv_timer_t *timer _unused_)
{
    notify("WATCHDOG=1");
}

/* Keys live in this process: no core file and no debugger of another process gets them. */
static int
keep_memory_private(void)
{
    const struct rlimit none = {0, 0};
    if (SANITIZED) /* the leak checker reads its own process as a debugger does */
        return 0;
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || setrlimit(RLIMIT_CORE, &none) < 0)
        return -errno;
    return 0;
}

static int
start_handles(struct service *s, uv_loop_t *loop, uint64_t watchdog_usec)
{
    uv_timer_init(loop, &s->turn);
    uv_timer_init(loop, &s->watchdog);
    uv_timer_init(loop, &s->grace);
    uv_signal_init(loop, &s->term);
    uv_signal_init(loop, &s->interrupt);
    s->turn.data = s->term.data = s->interrupt.data = s;
    uv_timer_start(&s->turn, on_turn, TURN_MS, TURN_MS);
    if (watchdog_usec) {
        uint64_t ms = MAX_OF(watchdog_usec / 3 / USEC_PER_MSEC, (uint64_t) 1);
        uv_timer_start(&s->watchdog, on_watchdog, ms, ms);
    }
    int rc = uv_signal_start(&s->term, on_signal, SIGTERM);
    return rc < 0 ? rc : uv_signal_start(&s->interrupt, on_signal, SIGINT);
}

int
service_start(struct service **ret, uv_loop_t *loop, usec_t grace, service_stop_fn *on_stop,
              void *arg)
{
    uint64_t watchdog_usec = 0;
    int rc = sd_watchdog_enabled(0, &watchdog_usec);
    if (rc >= 0)
        rc = keep_memory_private();
    if (rc < 0)
        return rc;
    struct service *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    signal(SIGPIPE, SIG_IGN);
    s->grace_time = grace;
    s->on_stop = on_stop;
    s->arg = arg;
    s->turned_at = clock_boot();
    rc = start_handles(s, loop, watchdog_usec);
    assert(rc == 0); /* libuv refuses only signals that cannot be caught */
    *ret = s;
    return 0;
}

static void
notify_status(const char *prefix, const char *status)
{
    char text[STATUS_BYTES_MAX + 32];
    int bytes = (int) strcspn(status, "\r\n"); /* a second line would be another message */
    snprintf(text, sizeof(text), "%sSTATUS=%.*s", prefix, MIN_OF(bytes, STATUS_BYTES_MAX), status);
    notify(text);
}

void
service_ready(struct service *s _unused_, const char *status)
{
    notify_status("READY=1\n", status);
}

void
service_status(struct service *s _unused_, const char *status)
{
    notify_status("", status);
}

usec_t
service_loop_lag(struct service *s)
{
    usec_t lag = MAX_OF(s->lag_max, current_lag(s, clock_boot()));
    s->lag_max = 0;
    return lag;
}

bool
service_turning(const struct service *s, usec_t now, usec_t limit)
{
    return now <= s->turned_at || now - s->turned_at <= limit;
}

void
service_stop(struct service *s)
{
    if (s->closed)
        return;
    s->closed = true;
    uv_close((uv_handle_t *) &s->turn, NULL);
    uv_close((uv_handle_t *) &s->watchdog, NULL);
    uv_close((uv_handle_t *) &s->grace, NULL);
    uv_close((uv_handle_t *) &s->term, NULL);
    uv_close((uv_handle_t *) &s->interrupt, NULL);
}

struct service *
service_free(struct service *s)
{
    assert(!s || s->closed);
    free(s);
    return NULL;
}
