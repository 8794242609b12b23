/* Allowances: never above the limit, whatever a crash loses; new at each day; the warm-up's steps.
 */
#include "node/quota.h"

#include <check.h>
#include <stdlib.h>

#include "shared/rng.h"

static struct quota q;

static void
setup(void)
{
    q = (struct quota){.unit = QUOTA_UNIT_NONE};
}

START_TEST(blocks_of_a_twentieth)
{
    unsigned blocks = 0;

    for (unsigned n = 0; n < 100; n++) {
        ck_assert(quota_open(&q, 7, 100));
        blocks += quota_take(&q, 7, 100);
        ck_assert_uint_ge(q.reserved, q.used);
        ck_assert_uint_le(q.reserved, 100);
    }
    ck_assert_uint_eq(blocks, 20);
    ck_assert(!quota_open(&q, 7, 100));
    ck_assert(quota_open(&q, 7, 101));
}
END_TEST

START_TEST(a_small_limit_reserves_one_by_one)
{
    for (unsigned n = 0; n < 3; n++) {
        ck_assert(quota_open(&q, 7, 3));
        ck_assert(quota_take(&q, 7, 3));
        ck_assert_uint_eq(q.reserved, n + 1);
    }
    ck_assert(!quota_open(&q, 7, 3));
}
END_TEST

START_TEST(a_new_day_begins_anew_and_an_old_one_does_not)
{
    quota_load(&q, 7, 5);
    ck_assert(!quota_open(&q, 7, 5));
    ck_assert(!quota_open(&q, 6, 5)); /* the clock was set back: the same allowance */
    ck_assert(quota_open(&q, 8, 5));
    ck_assert_uint_eq(quota_used(&q, 8), 0);
    ck_assert(quota_take(&q, 8, 5));
    ck_assert_int_eq(q.unit, 8);
    ck_assert_uint_eq(q.used, 1);
    quota_give(&q, 7); /* of yesterday: today's does not grow */
    ck_assert_uint_eq(q.used, 1);
    quota_give(&q, 8);
    quota_give(&q, 8);
    ck_assert_uint_eq(q.used, 0);
    ck_assert_uint_eq(q.reserved, 1);
}
END_TEST

START_TEST(what_was_given_back_is_used_without_a_block)
{
    quota_load(&q, 7, 10);
    quota_give(&q, 7);
    ck_assert(quota_open(&q, 7, 10));
    ck_assert(!quota_take(&q, 7, 10));
    ck_assert(!quota_open(&q, 7, 10));
}
END_TEST

START_TEST(without_a_limit_nothing_is_counted)
{
    ck_assert(quota_open(&q, 7, QUOTA_NONE));
    ck_assert(!quota_take(&q, 7, QUOTA_NONE));
    ck_assert_uint_eq(q.used, 0);
}
END_TEST

/* Days, crashes (the row alone is left) and sends that never left, at random: what was sent in one
 * day never exceeds its limit, and the row always covers what was sent. */
START_TEST(never_above_the_limit)
{
    struct rng rng;

    rng_seed(&rng, (uint64_t) _i + 1);
    uint32_t limit = 1 + (uint32_t) rng_between(&rng, 0, 60), sent = 0, row = 0;
    int32_t day = 1, row_day = QUOTA_UNIT_NONE;
    for (unsigned n = 0; n < 5000; n++) {
        uint64_t dice = rng_between(&rng, 0, 99);

        if (dice == 0) {
            day++;
            sent = 0;
        } else if (dice == 1) {
            quota_load(&q, row_day, row_day == QUOTA_UNIT_NONE ? 0 : row);
        } else if (quota_open(&q, day, limit)) {
            if (quota_take(&q, day, limit)) {
                row = q.reserved;
                row_day = day;
            }
            if (dice < 20)
                quota_give(&q, day);
            else
                sent++;
        }
        ck_assert_uint_le(sent, limit);
        ck_assert(sent == 0 || (row_day == day && row >= sent));
    }
}
END_TEST

START_TEST(the_warm_up_by_age)
{
    static const struct {
        int32_t day;
        uint32_t limit;
    } cases[] = {{99, 20},   {100, 20},  {103, 20},  {104, 50},         {107, 50},
                 {108, 100}, {115, 200}, {130, 200}, {131, QUOTA_NONE}, {9999, QUOTA_NONE}};
    struct warmup w;
    const char *why = "";

    ck_assert_int_eq(warmup_parse(&w, "0:20,4:50,8:100,15:200,31:0", &why), 0);
    ck_assert_uint_eq(w.count, 5);
    for (size_t n = 0; n < ARRAY_SIZE(cases); n++)
        ck_assert_uint_eq(warmup_limit(&w, 100, cases[n].day), cases[n].limit);
    ck_assert_uint_eq(warmup_limit(&w, WARM_FROM_NEVER, 0), QUOTA_NONE);
}
END_TEST

START_TEST(a_warm_up_that_is_none)
{
    static const char many[] = "0:1,1:1,2:1,3:1,4:1,5:1,6:1,7:1,8:1,9:1,10:1,11:1,12:1,13:1,"
                               "14:1,15:1,16:1";
    static const char *const bad[] = {"",          "20",      "0:20,",     "1:20",
                                      "0:20,0:30", "0:20,4:", "0:20;4:50", "0:x",
                                      "0:20,3:-1", ",0:20",   many};
    struct warmup w = {.count = 99};

    for (size_t n = 0; n < ARRAY_SIZE(bad); n++) {
        const char *why = NULL;

        ck_assert_msg(warmup_parse(&w, bad[n], &why) < 0, "\"%s\" passed", bad[n]);
        ck_assert_ptr_nonnull(why);
    }
    ck_assert_uint_eq(w.count, 99);
}
END_TEST

START_TEST(hours_as_times)
{
    ck_assert_int_eq(quota_hour_unit(quota_hour_time(490000)), 490000);
    ck_assert_int_eq(quota_hour_unit(quota_hour_time(QUOTA_UNIT_NONE)), QUOTA_UNIT_NONE);
    ck_assert_int_eq(quota_hour_time(1), 3600000000);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("quota");
    TCase *all = tcase_create("quota");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(all, setup, NULL);
    tcase_add_test(all, blocks_of_a_twentieth);
    tcase_add_test(all, a_small_limit_reserves_one_by_one);
    tcase_add_test(all, a_new_day_begins_anew_and_an_old_one_does_not);
    tcase_add_test(all, what_was_given_back_is_used_without_a_block);
    tcase_add_test(all, without_a_limit_nothing_is_counted);
    tcase_add_loop_test(all, never_above_the_limit, 0, 40);
    tcase_add_test(all, the_warm_up_by_age);
    tcase_add_test(all, a_warm_up_that_is_none);
    tcase_add_test(all, hours_as_times);
    suite_add_tcase(suite, all);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
