/* Gates: each one holds, and of several the first in order names the verdict. */
#include "node/pace.h"

#include <check.h>
#include <stdlib.h>

#define NOW (100 * USEC_PER_SEC)
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
    tcase_add_test(all, every_gate_has_its_name);
    suite_add_tcase(suite, all);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
