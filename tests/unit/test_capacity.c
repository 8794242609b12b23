/* Forecasts that were computed by hand. */
#include "node/capacity.h"

#include <check.h>
#include <stdlib.h>

#define SECOND ((int64_t) 1000000)
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)
#define BASE   (20000 * DAY)

static struct zone utc = {.until = BASE + 15 * DAY,
                          .piece_count = 1,
                          .pieces = {{.from = BASE - 2 * DAY, .offset = 0}}};
static struct zone kl = {.until = BASE + 15 * DAY,
                         .piece_count = 1,
                         .pieces = {{.from = BASE - 2 * DAY, .offset = 8 * 3600}}};
static struct warmup ramp;
static struct capacity_device d;

static void
setup(void)
{
    const char *why;

    ck_assert_int_eq(warmup_parse(&ramp, "0:20,4:50,8:100,15:200,31:0", &why), 0);
    d = (struct capacity_device){.zone = &utc,
                                 .gap_ms = 10000,
                                 .warm_from = WARM_FROM_NEVER,
                                 .day = {.unit = QUOTA_UNIT_NONE},
                                 .hour = {.unit = QUOTA_UNIT_NONE},
                                 .held_until = INT64_MIN};
}

static void
ends(uint64_t sends, int64_t now, int64_t finish, enum capacity_limit limit)
{
    d.sends = sends;
    struct capacity_end end = capacity_device_end(&d, &ramp, now);

    ck_assert_msg(end.finish_at == finish, "%.3f days, not %.3f",
                  (double) (end.finish_at - now) / (double) DAY,
                  (double) (finish - now) / (double) DAY);
    ck_assert_str_eq(capacity_limit_name(end.limit), capacity_limit_name(limit));
}

START_TEST(the_gap_alone)
{
    ends(1, BASE, BASE, CAPACITY_GAP);
    ends(360, BASE, BASE + HOUR - 10 * SECOND, CAPACITY_GAP);
    ends(8640, BASE, BASE + DAY - 10 * SECOND, CAPACITY_GAP);
    ends(8641, BASE, BASE + DAY, CAPACITY_GAP);
    ends(8640 * 100 + 1, BASE, BASE + 100 * DAY, CAPACITY_GAP);
    d.gap_ms = 7000; /* does not divide an hour */
    ends(1000, BASE + 5 * MINUTE, BASE + 5 * MINUTE + 999 * 7 * SECOND, CAPACITY_GAP);
}
END_TEST

/* Open 09:00 to 18:00 in Kuala Lumpur: 3,240 a day. */
START_TEST(quiet_hours_and_windows)
{
    int64_t nine = BASE + HOUR; /* 09:00 local */

    d.zone = &kl;
    d.quiet = (struct content_window){.from = 18 * 60, .to = 9 * 60};
    ends(1, BASE, nine, CAPACITY_GAP);
    ends(3240, BASE, nine + 9 * HOUR - 10 * SECOND, CAPACITY_GAP);
    ends(3241, BASE, nine + DAY, CAPACITY_GAP);
    ends(3240 * 7 + 1, BASE, nine + 7 * DAY, CAPACITY_GAP);
    d.window = (struct content_window){.from = 12 * 60 + 30, .to = 20 * 60};
    ends(5 * 360 + 180 + 1, BASE, nine + DAY + 3 * HOUR + 30 * MINUTE, CAPACITY_GAP);
    d.window = (struct content_window){.from = 19 * 60, .to = 20 * 60}; /* never both */
    ends(1, BASE, INT64_MAX, CAPACITY_CLOSED);
}
END_TEST

/* 100 a day: the hundred is done after 1,000 s of each day. */
START_TEST(the_daily_cap)
{
    d.daily_cap = 100;
    ends(250, BASE, BASE + 2 * DAY + 49 * 10 * SECOND, CAPACITY_DAILY);
    ends(300, BASE, BASE + 2 * DAY + 99 * 10 * SECOND, CAPACITY_DAILY);
    d.day = (struct quota){.unit = 20000, .used = 60};
    ends(140, BASE + HOUR, BASE + DAY + 99 * 10 * SECOND, CAPACITY_DAILY);
    d.day.unit = 19999; /* yesterday's figures count no more */
    ends(100, BASE + HOUR, BASE + HOUR + 99 * 10 * SECOND, CAPACITY_GAP);
}
END_TEST

/* 36 an hour instead of 360: in the first 6 minutes of each. */
START_TEST(the_hourly_cap)
{
    d.hourly_cap = 36;
    ends(73, BASE, BASE + 2 * HOUR, CAPACITY_HOURLY);
    ends(24 * 36 * 5 + 36, BASE, BASE + 5 * DAY + 35 * 10 * SECOND, CAPACITY_HOURLY);
    d.hour = (struct quota){.unit = 20000 * 24, .used = 30};
    ends(7, BASE + MINUTE, BASE + HOUR, CAPACITY_HOURLY);
}
END_TEST

/* 4 x 20 + 4 x 50 + 7 x 100 + 16 x 200 = 4,180 until day 31, then 8,640 a day. */
START_TEST(the_warm_up)
{
    d.warm_from = 20000;
    ends(81, BASE, BASE + 4 * DAY, CAPACITY_WARMUP);
    ends(80, BASE, BASE + 3 * DAY + 19 * 10 * SECOND, CAPACITY_WARMUP);
    ends(281, BASE, BASE + 8 * DAY, CAPACITY_WARMUP);
    ends(4180, BASE, BASE + 30 * DAY + 199 * 10 * SECOND, CAPACITY_WARMUP);
    ends(4180 + 8641, BASE, BASE + 32 * DAY, CAPACITY_GAP);
    d.daily_cap = 30; /* the smaller one wins: 4 x 20, then 30 */
    ends(80 + 31, BASE, BASE + 5 * DAY, CAPACITY_DAILY);
    ends(80 + 60, BASE, BASE + 5 * DAY + 29 * 10 * SECOND, CAPACITY_DAILY);
}
END_TEST

START_TEST(pauses_and_delays)
{
    d.held_until = BASE + 3 * DAY;
    ends(2, BASE, BASE + 3 * DAY + 10 * SECOND, CAPACITY_GAP);
    d.held_until = INT64_MAX;
    ends(2, BASE, INT64_MAX, CAPACITY_CLOSED);
    d.held_until = INT64_MIN;
    d.delays = (usec_t) (5 * DAY); /* eleven steps over five days: the last is not due before */
    ends(11, BASE, BASE + 5 * DAY, CAPACITY_DELAYS);
    d.delays = 0;
    ends(0, BASE, BASE, CAPACITY_GAP);
}
END_TEST

/* The clock is set back by an hour on day 1: the day has one more. */
START_TEST(behind_a_change_of_the_clock_it_is_a_forecast)
{
    struct zone z = utc;

    z.pieces[z.piece_count++] = (struct zone_piece){.from = BASE + DAY, .offset = -3600};
    d.zone = &z;
    ends(8641, BASE, BASE + DAY, CAPACITY_GAP);
    d.zone = &(struct zone){0}; /* nothing known: UTC */
    ends(8641, BASE, BASE + DAY, CAPACITY_GAP);
}
END_TEST

/* Rates add up, the slowest device decides, one that never opens is counted apart. */
START_TEST(devices_side_by_side)
{
    struct capacity_sum sum = {0};
    struct capacity_device fast = d, slow = d, never = d, idle = d;

    fast.sends = 361;
    slow.sends = 361;
    slow.gap_ms = 20000;
    never.sends = 5;
    never.held_until = INT64_MAX;
    const struct capacity_device *all[] = {&fast, &slow, &never, &idle};
    for (size_t n = 0; n < ARRAY_SIZE(all); n++) {
        struct capacity_end end = capacity_device_end(all[n], &ramp, BASE);
        capacity_add(&sum, all[n], &end);
    }
    ck_assert_uint_eq(sum.devices, 3);
    ck_assert_uint_eq(sum.devices_never, 1);
    ck_assert_uint_eq(sum.sends, 361 + 361 + 5);
    ck_assert_int_eq(sum.last.finish_at, BASE + 2 * HOUR);
    ck_assert_uint_eq(sum.slowest.gap_ms, 20000);
    ck_assert_uint_eq(sum.rate_milli, 361 * 1000 / 3600 + 361 * 1000 / 7200);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("capacity");
    TCase *all = tcase_create("capacity");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(all, setup, NULL);
    tcase_add_test(all, the_gap_alone);
    tcase_add_test(all, quiet_hours_and_windows);
    tcase_add_test(all, the_daily_cap);
    tcase_add_test(all, the_hourly_cap);
    tcase_add_test(all, the_warm_up);
    tcase_add_test(all, pauses_and_delays);
    tcase_add_test(all, behind_a_change_of_the_clock_it_is_a_forecast);
    tcase_add_test(all, devices_side_by_side);
    suite_add_tcase(suite, all);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
