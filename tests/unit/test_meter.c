/* The meter: rates over the last 10 s, whatever the gaps between calls. */
#include "node/meter.h"

#include <check.h>
#include <stdlib.h>

#define T0 (1000 * USEC_PER_SEC)

static struct meter meter;

START_TEST(nothing_sent)
{
    meter_init(&meter, T0);
    ck_assert_uint_eq(meter_rate_milli(&meter, T0), 0);
    ck_assert_uint_eq(meter_rate_milli(&meter, T0 - 5), 0); /* asked with an older now */
    ck_assert_uint_eq(meter_rate_milli(&meter, T0 + 1000000 * USEC_PER_SEC), 0);
}
END_TEST

START_TEST(old_sends_leave_the_window)
{
    meter_init(&meter, T0);
    for (int i = 0; i < 30; i++)
        meter_sent(&meter, T0 + 500000, 0);
    ck_assert_uint_eq(meter_rate_milli(&meter, T0 + 900000), 0); /* its second is not over */
    ck_assert_uint_eq(meter_rate_milli(&meter, T0 + 1 * USEC_PER_SEC), 3000);
    ck_assert_uint_eq(meter_rate_milli(&meter, T0 + 10 * USEC_PER_SEC), 3000);
    ck_assert_uint_eq(meter_rate_milli(&meter, T0 + 11 * USEC_PER_SEC), 0);
    ck_assert_uint_eq(meter.sent, 30);
}
END_TEST

START_TEST(a_long_pause_empties_the_window)
{
    meter_init(&meter, T0);
    for (int i = 0; i < 100; i++)
        meter_sent(&meter, T0 + (usec_t) i * USEC_PER_SEC / 10, 0);
    ck_assert_uint_eq(meter_rate_milli(&meter, T0 + 10 * USEC_PER_SEC), 10000);
    meter_sent(&meter, T0 + 500 * USEC_PER_SEC, 0);
    ck_assert_uint_eq(meter_rate_milli(&meter, T0 + 501 * USEC_PER_SEC), 100);
}
END_TEST

START_TEST(steady_rate_at_any_moment)
{
    meter_init(&meter, T0);
    for (usec_t i = 0; i < 60 * 300; i++) {
        usec_t now = T0 + i * USEC_PER_SEC / 300;

        meter_sent(&meter, now, i % 100);
        if (i >= 11 * 300)
            ck_assert_uint_eq(meter_rate_milli(&meter, now), 300000);
    }
    ck_assert_uint_eq(meter.sent, 60 * 300);
    ck_assert_uint_eq(meter.lateness.total, 60 * 300);
    ck_assert_uint_eq(meter.lateness.max, 99);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("meter");
    TCase *all = tcase_create("rate");
    SRunner *runner;
    int failed;

    tcase_add_test(all, nothing_sent);
    tcase_add_test(all, old_sends_leave_the_window);
    tcase_add_test(all, a_long_pause_empties_the_window);
    tcase_add_test(all, steady_rate_at_any_moment);
    suite_add_tcase(suite, all);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
