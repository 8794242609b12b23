/* bareloop.c - how late a bare loop's 20 ms timer is on this machine now: p50 p99 max in ms. */
#include <stdio.h>
#include <string.h>
#include <uv.h>

#include "shared/base.h"
#include "shared/clock.h"
#include "shared/histogram.h"
#include "shared/parse.h"

static struct histogram lag;
static usec_t due, end;

static void
on_timer(uv_timer_t *t)
{
    usec_t now = clock_boot();
    histogram_add(&lag, now > due ? now - due : 0);
    if (now >= end) {
        uv_close((uv_handle_t *) t, NULL);
        return;
    }
    uv_update_time(t->loop);
    due = clock_boot() + 20 * USEC_PER_MSEC;
    uv_timer_start(t, on_timer, 20, 0);
}

int
main(int argc, char **argv)
{
    uint32_t seconds;
    if (argc != 2 || parse_u32(argv[1], strlen(argv[1]), 1, 86400, &seconds) < 0) {
        fprintf(stderr, "usage: bareloop SECONDS\n");
        return 2;
    }
    uv_loop_t loop;
    uv_timer_t timer;
    uv_loop_init(&loop);
    uv_timer_init(&loop, &timer);
    end = clock_boot() + seconds * USEC_PER_SEC;
    due = clock_boot() + 20 * USEC_PER_MSEC;
    uv_timer_start(&timer, on_timer, 20, 0);
    uv_run(&loop, UV_RUN_DEFAULT);
    printf("%.1f %.1f %.1f\n", (double) histogram_quantile(&lag, 500) / 1e3,
           (double) histogram_quantile(&lag, 990) / 1e3, (double) lag.max / 1e3);
    return uv_loop_close(&loop) == 0 ? 0 : 1;
}
