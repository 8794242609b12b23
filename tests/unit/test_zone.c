/* Local time from pieces, by hand; against PostgreSQL's own word: tests/integration/test_gates. */
#include "node/zone.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define SECOND ((int64_t) 1000000)
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)
#define BASE   (20000 * DAY) /* a local midnight at offset 0 */

static struct zone
fixed(int offset)
{
    return (struct zone){.until = BASE + 15 * DAY,
                         .piece_count = 1,
                         .pieces = {{.from = BASE - 2 * DAY, .offset = offset}}};
}

/* From one offset to another at `at`. */
static struct zone
changing(int before, int64_t at, int after)
{
    struct zone z = fixed(before);

    z.pieces[z.piece_count++] = (struct zone_piece){.from = at, .offset = after};
    return z;
}

static struct content_window
window(int from, int to)
{
    return (struct content_window){.from = (int16_t) from, .to = (int16_t) to};
}

static void
opens(const struct zone *z, struct content_window w, int64_t at, int64_t expected)
{
    int64_t got = at;

    ck_assert_int_eq(zone_window_open(z, w, at, &got), expected == at);
    ck_assert_int_eq(got, expected);
}

START_TEST(a_window_opens_on_its_minute)
{
    struct zone z = fixed(0);

    opens(&z, window(540, 1080), BASE + 9 * HOUR - 1, BASE + 9 * HOUR);
    opens(&z, window(540, 1080), BASE + 9 * HOUR, BASE + 9 * HOUR);
    opens(&z, window(540, 1080), BASE + 18 * HOUR - 1, BASE + 18 * HOUR - 1);
    opens(&z, window(540, 1080), BASE + 18 * HOUR, BASE + 33 * HOUR);
    opens(&z, window(600, 600), BASE + 3 * HOUR, BASE + 3 * HOUR); /* none */
    opens(&z, window(0, 1440), BASE + 24 * HOUR - 1, BASE + 24 * HOUR - 1);
}
END_TEST

START_TEST(a_window_over_midnight)
{
    struct zone z = fixed(8 * 3600);
    int64_t midnight = BASE - 8 * HOUR;

    opens(&z, window(22 * 60, 2 * 60), midnight, midnight);
    opens(&z, window(22 * 60, 2 * 60), midnight + 2 * HOUR - 1, midnight + 2 * HOUR - 1);
    opens(&z, window(22 * 60, 2 * 60), midnight + 2 * HOUR, midnight + 22 * HOUR);
    opens(&z, window(22 * 60, 2 * 60), midnight + 23 * HOUR, midnight + 23 * HOUR);
}
END_TEST

START_TEST(quiet_hours_are_the_complement)
{
    struct zone z = fixed(0);
    int64_t ends = 0;

    ck_assert(zone_window_closed(&z, window(21 * 60, 8 * 60), BASE + 21 * HOUR, &ends));
    ck_assert_int_eq(ends, BASE + 32 * HOUR);
    ck_assert(!zone_window_closed(&z, window(21 * 60, 8 * 60), BASE + 8 * HOUR, &ends));
    ck_assert(!zone_window_closed(&z, window(0, 0), BASE, &ends));
    ck_assert(zone_window_closed(&z, window(20 * 60, 1440), BASE + 22 * HOUR, &ends));
    ck_assert_int_eq(ends, BASE + 24 * HOUR);
}
END_TEST

/* 02:00 becomes 03:00: what would open at 02:30 opens with the change. */
START_TEST(a_skipped_hour)
{
    int64_t change = BASE + 2 * HOUR;
    struct zone z = changing(0, change, 3600);

    opens(&z, window(150, 240), BASE, change);
    opens(&z, window(130, 170), BASE, BASE + DAY + 130 * MINUTE - HOUR); /* it lies inside */
    ck_assert_int_eq(zone_hour(&z, change - 1), 20000 * 24 + 1);
    ck_assert_int_eq(zone_hour(&z, change), 20000 * 24 + 3);
    ck_assert_int_eq(zone_hour_after(&z, change - 1, 20000 * 24 + 1), change);
    ck_assert_int_eq(zone_day_after(&z, BASE, 20000), BASE + 23 * HOUR);
}
END_TEST

/* 03:00 becomes 02:00: the hour comes twice and counts once. */
START_TEST(a_doubled_hour)
{
    int64_t change = BASE + 2 * HOUR;
    struct zone z = changing(3600, change, 0);

    ck_assert_int_eq(zone_hour(&z, change - 1), 20000 * 24 + 2);
    ck_assert_int_eq(zone_hour(&z, change), 20000 * 24 + 2);
    ck_assert_int_eq(zone_hour_after(&z, change - HOUR, 20000 * 24 + 2), change + HOUR);
    opens(&z, window(150, 160), change - HOUR, change - 30 * MINUTE);
    opens(&z, window(150, 160), change - 20 * MINUTE, change + 30 * MINUTE);
    ck_assert_int_eq(zone_day_after(&z, change, 20000), BASE + 24 * HOUR);
}
END_TEST

/* Clocks set back at one minute past midnight: the new day's number came first, and stays. */
START_TEST(back_over_midnight)
{
    int64_t change = BASE + MINUTE;
    struct zone z = changing(0, change, -3600);

    ck_assert_int_eq(zone_day(&z, change - 1), 20000);
    ck_assert_int_eq(zone_day(&z, change), 19999);
    ck_assert_int_eq(zone_day_after(&z, change, 20000), BASE + 25 * HOUR);
}
END_TEST

/* Across the date line a day is missing. */
START_TEST(a_day_that_never_was)
{
    int64_t change = BASE;
    struct zone z = changing(-10 * 3600, change, 14 * 3600);

    ck_assert_int_eq(zone_day(&z, change - 1), 19999);
    ck_assert_int_eq(zone_day(&z, change), 20000);
    ck_assert_int_eq(zone_day_after(&z, change - HOUR, 19999), change);
}
END_TEST

START_TEST(nothing_is_guessed)
{
    struct zone z = fixed(0), none = {0};
    int64_t got = 0;

    ck_assert(!zone_known(&none, BASE) && !zone_known(&z, z.until));
    ck_assert(!zone_known(&z, z.pieces[0].from - 1) && zone_known(&z, z.until - 1));
    ck_assert(!zone_window_open(&none, window(0, 720), BASE, &got));
    ck_assert_int_eq(got, ZONE_NEVER);
    ck_assert(zone_window_closed(&none, window(0, 720), BASE, &got));
    opens(&z, window(60, 61), z.until - HOUR, ZONE_NEVER);
    ck_assert_int_eq(zone_day_after(&none, BASE, 1), ZONE_NEVER);
    ck_assert_int_eq(zone_day_after(&z, z.until - HOUR, 20014), ZONE_NEVER);
}
END_TEST

START_TEST(zones_are_found_by_name)
{
    struct zones *z = zones_new();
    char name[32];

    struct zone *utc = zones_find(z, (struct slice){"UTCxx", 3});
    for (int n = 0; n < 700; n++) {
        int bytes = snprintf(name, sizeof(name), "Zone/%d", n);
        ck_assert_ptr_nonnull(zones_find(z, (struct slice){name, (size_t) bytes}));
    }
    ck_assert_uint_eq(zones_count(z), 701);
    ck_assert_ptr_eq(zones_find(z, (struct slice){"UTC", 3}), utc);
    ck_assert_str_eq(zones_at(z, 0)->name, "UTC");
    zones_free(z);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("zone");
    TCase *all = tcase_create("zone");
    SRunner *runner;
    int failed;

    tcase_add_test(all, a_window_opens_on_its_minute);
    tcase_add_test(all, a_window_over_midnight);
    tcase_add_test(all, quiet_hours_are_the_complement);
    tcase_add_test(all, a_skipped_hour);
    tcase_add_test(all, a_doubled_hour);
    tcase_add_test(all, back_over_midnight);
    tcase_add_test(all, a_day_that_never_was);
    tcase_add_test(all, nothing_is_guessed);
    tcase_add_test(all, zones_are_found_by_name);
    suite_add_tcase(suite, all);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
