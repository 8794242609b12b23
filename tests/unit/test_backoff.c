/* backoff: never outside its bounds, grows, spreads, starts anew. */
#include "shared/backoff.h"

#include <check.h>

#define LOW  (100 * USEC_PER_MSEC)
#define HIGH (2 * USEC_PER_SEC)

START_TEST(stays_within_bounds)
{
    struct rng r;
    struct backoff b;
    rng_seed(&r, 1);
    backoff_init(&b, LOW, HIGH);
    for (unsigned i = 0; i < 10000; i++) {
        usec_t wait = backoff_next(&b, &r);
        ck_assert(wait >= LOW && wait <= HIGH);
    }
}
END_TEST

START_TEST(equal_bounds)
{
    struct rng r;
    struct backoff b;
    rng_seed(&r, 1);
    backoff_init(&b, LOW, LOW);
    for (unsigned i = 0; i < 10; i++)
        ck_assert_uint_eq(backoff_next(&b, &r), LOW);
}
END_TEST

START_TEST(first_wait_is_short_and_reset_makes_it_so_again)
{
    struct rng r;
    struct backoff b;
    rng_seed(&r, 2);
    backoff_init(&b, LOW, HIGH);
    for (unsigned i = 0; i < 1000; i++) {
        ck_assert_uint_le(backoff_next(&b, &r), 3 * LOW);
        for (unsigned k = 0; k < 5; k++)
            backoff_next(&b, &r);
        backoff_reset(&b);
    }
}
END_TEST

START_TEST(grows_and_spreads)
{
    struct rng r;
    usec_t first = 0, later = 0;
    unsigned distinct = 0;
    usec_t last = 0;
    rng_seed(&r, 3);
    for (unsigned i = 0; i < 1000; i++) {
        struct backoff b;
        backoff_init(&b, LOW, HIGH);
        first += backoff_next(&b, &r);
        for (unsigned k = 0; k < 8; k++)
            backoff_next(&b, &r);
        usec_t wait = backoff_next(&b, &r);
        later += wait;
        distinct += wait != last;
        last = wait;
    }
    ck_assert_uint_gt(later, 3 * first);
    ck_assert_uint_gt(distinct, 950); /* clients that fell together do not come back together */
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("backoff");
    TCase *t = tcase_create("backoff");
    tcase_add_test(t, stays_within_bounds);
    tcase_add_test(t, equal_bounds);
    tcase_add_test(t, first_wait_is_short_and_reset_makes_it_so_again);
    tcase_add_test(t, grows_and_spreads);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
