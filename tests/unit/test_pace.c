/* Gates: each one holds, and of several the first in order names the verdict. */
#include "node/pace.h"

#include <check.h>
#include <stdlib.h>

#define NOW (100 * USEC_PER_SEC)
#define DAY ((int64_t) 86400000000)
#define DB  1764000000000000 /* the database's clock at BOOTTIME 0: 2025-11-24 16:00 UTC */

static struct breaker url, scope, account;
static struct device *device;
static struct rng rng;
static struct warmup warmup;

static void
setup(void)
{
    rng_seed(&rng, 3);
    breaker_init(&url);
    breaker_init(&scope);
    breaker_init(&account);
    device = device_new(1);
    device->url_breaker = &url;
    device->scope_breaker = &scope;
    device->account_breaker = &account;
    device->min_delay_ms = 5000;
    device->max_delay_ms = 15000;
    ck_assert_int_eq(warmup_parse(&warmup, "0:20,4:50,31:0", &(const char *){NULL}), 0);
}

static void
teardown(void)
{
    device = device_free(device);
}

static void
hold(struct breaker *b, usec_t until)
{
    breaker_claimed(b, NOW);
    breaker_ended(b, BREAKER_HOLD, NOW, until, &rng);
}

static void
expect(bool driver_open, usec_t at, enum gate gate, usec_t opens)
{
    const struct pace_now now = {.driver_open = driver_open,
                                 .at = at,
                                 .db_at = DB + (int64_t) at,
                                 .warmup = &warmup};
    struct pace_verdict v = pace_decide(device, &now);

    ck_assert_str_eq(gate_name(v.gate), gate_name(gate));
    ck_assert_uint_eq(v.opens, opens);
}

/* Everything is shut; gates are opened one by one in the fixed order. */
START_TEST(order)
{
    device->residence = RESIDENCE_FROZEN;
    device->health = 2;
    device->held_until = NOW + 50;
    hold(&url, NOW + 10 * USEC_PER_SEC);
    hold(&scope, NOW + 30 * USEC_PER_SEC);
    hold(&account, NOW + 20 * USEC_PER_SEC);
    device->gap_ends = NOW + 900 * USEC_PER_SEC;

    expect(false, NOW, GATE_DRIVER, USEC_INFINITY);
    expect(true, NOW, GATE_DRIVER, USEC_INFINITY);
    device->residence = RESIDENCE_GONE;
    expect(true, NOW, GATE_DRIVER, USEC_INFINITY);
    device->residence = RESIDENCE_OPEN;
    expect(false, NOW, GATE_DRIVER, USEC_INFINITY);
    expect(true, NOW, GATE_HEALTH, USEC_INFINITY);
    device->health = 0;
    expect(true, NOW, GATE_HEALTH, NOW + 50);
    expect(true, NOW + 50, GATE_BREAKER, NOW + 30 * USEC_PER_SEC);
    expect(true, NOW + 29 * USEC_PER_SEC, GATE_BREAKER, NOW + 30 * USEC_PER_SEC);
    expect(true, NOW + 30 * USEC_PER_SEC, GATE_GAP, NOW + 900 * USEC_PER_SEC);
    expect(true, NOW + 900 * USEC_PER_SEC - 1, GATE_GAP, NOW + 900 * USEC_PER_SEC);
    expect(true, NOW + 900 * USEC_PER_SEC, GATE_OPEN, NOW + 900 * USEC_PER_SEC);
}
END_TEST

START_TEST(each_breaker_holds)
{
    struct breaker *all[] = {&url, &scope, &account};

    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        expect(true, NOW, GATE_OPEN, NOW);
        hold(all[i], NOW + 5 * USEC_PER_SEC);
        expect(true, NOW, GATE_BREAKER, NOW + 5 * USEC_PER_SEC);
        breaker_claimed(all[i], NOW + 5 * USEC_PER_SEC);
        expect(true, NOW + 6 * USEC_PER_SEC, GATE_BREAKER, USEC_INFINITY); /* a probe is out */
        breaker_ended(all[i], BREAKER_GOOD, NOW, 0, &rng);
    }
}
END_TEST

START_TEST(gap_within_bounds)
{
    usec_t low = USEC_INFINITY, high = 0;

    for (int i = 0; i < 10000; i++) {
        usec_t gap = pace_gap(device, &rng);

        low = MIN_OF(low, gap);
        high = MAX_OF(high, gap);
    }
    ck_assert_uint_ge(low, 5 * USEC_PER_SEC);
    ck_assert_uint_lt(low, 5 * USEC_PER_SEC + 20 * USEC_PER_MSEC);
    ck_assert_uint_le(high, 15 * USEC_PER_SEC);
    ck_assert_uint_gt(high, 15 * USEC_PER_SEC - 20 * USEC_PER_MSEC);
    device->min_delay_ms = device->max_delay_ms = 4000000000u; /* no overflow */
    ck_assert_uint_eq(pace_gap(device, &rng), 4000000000u * USEC_PER_MSEC);
    device->min_delay_ms = device->max_delay_ms = 0;
    ck_assert_uint_eq(pace_gap(device, &rng), 0);
}
END_TEST

/* ---- gates by the database's clock ---- */

static struct zone utc;

/* BOOTTIME at which the device's local clock (UTC) stands `minutes` behind midnight. */
static usec_t
at_minute(int minutes)
{
    return (usec_t) ((DB / DAY + 1) * DAY - DB + (int64_t) minutes * 60000000);
}

static void
with_zone(void)
{
    utc = (struct zone){.until = DB + 15 * DAY,
                        .piece_count = 1,
                        .pieces = {{.from = DB - 2 * DAY, .offset = 0}},
                        .name = (char *) "UTC"};
    device->zone = &utc;
}

START_TEST(a_paused_device_goes_on_by_itself)
{
    device->paused_until = DB + (int64_t) NOW + 7;
    expect(true, NOW, GATE_PAUSED, NOW + 7);
    expect(true, NOW + 7, GATE_OPEN, NOW + 7);
    device->paused_until = INT64_MAX;
    expect(true, NOW, GATE_PAUSED, USEC_INFINITY);
}
END_TEST

START_TEST(the_later_of_two_pauses_counts)
{
    struct pace_now now = {.driver_open = true,
                           .at = NOW,
                           .db_at = DB + (int64_t) NOW,
                           .cluster_paused = true,
                           .cluster_until = DB + (int64_t) NOW + 10};

    struct pace_verdict v = pace_decide(device, &now);
    ck_assert_int_eq(v.gate, GATE_PAUSED);
    ck_assert_int_eq(v.cause, PACE_CLUSTER);
    ck_assert_int_eq(v.db_opens, DB + (int64_t) NOW + 10);
    ck_assert_uint_eq(v.opens, NOW + 10);
    device->paused_until = DB + (int64_t) NOW + 11;
    v = pace_decide(device, &now);
    ck_assert_int_eq(v.cause, PACE_PLAIN);
    ck_assert_uint_eq(v.opens, NOW + 11);
    ck_assert(!pace_still(device, &now));
    device->paused_until = INT64_MIN;
    now.cluster_until = now.db_at; /* over */
    ck_assert_int_eq(pace_decide(device, &now).gate, GATE_OPEN);
    ck_assert(pace_still(device, &now));
}
END_TEST

START_TEST(quiet_hours_hold_until_they_end)
{
    with_zone();
    device->quiet = (struct content_window){.from = 21 * 60, .to = 8 * 60};
    expect(true, at_minute(21 * 60) - 1, GATE_OPEN, at_minute(21 * 60) - 1);
    expect(true, at_minute(21 * 60), GATE_QUIET, at_minute(32 * 60));
    expect(true, at_minute(32 * 60), GATE_OPEN, at_minute(32 * 60));
    device->zone = &(struct zone){.name = (char *) "Asia/Kuala_Lumpur"};
    expect(true, at_minute(12 * 60), GATE_QUIET, USEC_INFINITY); /* not read yet: no guess */
}
END_TEST

/* The smallest limit wins; each opens when its own unit ends. */
START_TEST(caps_and_warm_up)
{
    int32_t today = (int32_t) (DB / DAY) + 1;

    with_zone();
    device->warm_from = today - 4; /* 50 */
    device->daily_cap = 60;
    device->hourly_cap = 10;
    device->day = (struct quota){.unit = today, .used = 49};
    device->hour = (struct quota){.unit = today * 24 + 13, .used = 9};
    expect(true, at_minute(13 * 60), GATE_OPEN, at_minute(13 * 60));
    device->hour.used = 10;
    expect(true, at_minute(13 * 60 + 59), GATE_HOURLY, at_minute(14 * 60));
    expect(true, at_minute(14 * 60), GATE_OPEN, at_minute(14 * 60));
    device->day.used = 50;
    expect(true, at_minute(13 * 60), GATE_HOURLY, at_minute(14 * 60));
    expect(true, at_minute(14 * 60), GATE_WARMUP, at_minute(24 * 60));
    device->day.used = 60;
    expect(true, at_minute(24 * 60) - 1, GATE_CAP, at_minute(24 * 60));
    expect(true, at_minute(24 * 60), GATE_OPEN, at_minute(24 * 60));
    ck_assert_uint_eq(pace_day_limit(device, &warmup, today), 50);
    device->daily_cap = 30;
    ck_assert_uint_eq(pace_day_limit(device, &warmup, today), 30);
    device->zone = &(struct zone){.name = (char *) "UTC"};
    expect(true, at_minute(24 * 60), GATE_CAP, USEC_INFINITY);
}
END_TEST

START_TEST(explained_each_on_its_own)
{
    struct pace_verdict all[GATE_COUNT];
    struct pace_now now = {.at = NOW, .db_at = DB + (int64_t) NOW, .warmup = &warmup};

    with_zone();
    device->health = 3;
    device->gap_ends = NOW + 5;
    device->paused_until = INT64_MAX;
    pace_explain(device, &now, all);
    for (enum gate g = GATE_OPEN; g < GATE_COUNT; g++) {
        bool holds = g == GATE_DRIVER || g == GATE_HEALTH || g == GATE_PAUSED || g == GATE_GAP;
        ck_assert_str_eq(gate_name(all[g].gate), gate_name(holds ? g : GATE_OPEN));
    }
    ck_assert_uint_eq(all[GATE_GAP].opens, NOW + 5);
    ck_assert_int_eq(all[GATE_GAP].db_opens, DB + (int64_t) NOW + 5);
    ck_assert_int_eq(all[GATE_PAUSED].db_opens, INT64_MAX);
}
END_TEST

/* Found by the simulation: a gap that was drawn twice, once to compare and once to keep. */
START_TEST(a_rest_never_shortens_a_gap)
{
    struct rng r;

    rng_seed(&r, 7);
    device->min_delay_ms = 1000;
    device->max_delay_ms = 9000;
    device->gap_ends = 0;
    for (unsigned i = 0; i < 1000; i++) {
        usec_t was = device->gap_ends, from = i * 100 * USEC_PER_MSEC;

        pace_rest(device, from, &r);
        ck_assert_uint_ge(device->gap_ends, was);
        ck_assert_uint_ge(device->gap_ends, from + 1000 * USEC_PER_MSEC);
        if (device->gap_ends != was)
            ck_assert_uint_le(device->gap_ends, from + 9000 * USEC_PER_MSEC);
    }
}
END_TEST

START_TEST(every_gate_has_its_name)
{
    for (int a = GATE_OPEN; a < GATE_COUNT; a++) {
        ck_assert_str_ne(gate_name((enum gate) a), "?");
        for (int b = GATE_OPEN; b < a; b++)
            ck_assert_str_ne(gate_name((enum gate) a), gate_name((enum gate) b));
    }
    ck_assert_str_eq(gate_name((enum gate) 77), "?");
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("pace");
    TCase *all = tcase_create("gates");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(all, setup, teardown);
    tcase_add_test(all, order);
    tcase_add_test(all, each_breaker_holds);
    tcase_add_test(all, gap_within_bounds);
    tcase_add_test(all, a_rest_never_shortens_a_gap);
    tcase_add_test(all, every_gate_has_its_name);
    tcase_add_test(all, a_paused_device_goes_on_by_itself);
    tcase_add_test(all, the_later_of_two_pauses_counts);
    tcase_add_test(all, quiet_hours_hold_until_they_end);
    tcase_add_test(all, caps_and_warm_up);
    tcase_add_test(all, explained_each_on_its_own);
    suite_add_tcase(suite, all);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
