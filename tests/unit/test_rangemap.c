/* test_rangemap.c - overlaps and bad maps are refused, neighbours merge, a model agrees. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>

#include "proto/rangemap.h"
#include "shared/rng.h"

START_TEST(refuses_overlap_and_nonsense)
{
    struct rangemap m = {0};

    ck_assert_int_eq(rangemap_put(&m, (struct range){10, 20, 0}), 0);
    ck_assert_int_eq(rangemap_put(&m, (struct range){20, 25, 0}), -EEXIST);
    ck_assert_int_eq(rangemap_put(&m, (struct range){1, 10, 1}), -EEXIST);
    ck_assert_int_eq(rangemap_put(&m, (struct range){12, 13, 0}), -EEXIST);
    ck_assert_int_eq(rangemap_put(&m, (struct range){1, 100, 0}), -EEXIST);
    ck_assert_int_eq(rangemap_put(&m, (struct range){30, 29, 0}), -EINVAL);
    ck_assert_int_eq(rangemap_put(&m, (struct range){0, 5, 0}), -EINVAL);
    ck_assert_uint_eq(m.count, 1);
    rangemap_done(&m);
}
END_TEST

START_TEST(refuses_more_than_the_limit)
{
    struct rangemap m = {0};

    for (uint32_t i = 0; i < RANGES_MAX; i++) {
        int32_t at = (int32_t) (2 * i + 1);

        ck_assert_int_eq(rangemap_put(&m, (struct range){at, at, 0}), 0);
    }
    ck_assert_int_eq(rangemap_put(&m, (struct range){DEVICE_ID_MAX, DEVICE_ID_MAX, 0}), -E2BIG);
    /* what merges needs no room */
    ck_assert_int_eq(rangemap_put(&m, (struct range){2, 2, 0}), 0);
    ck_assert_uint_eq(m.count, RANGES_MAX - 1);
    rangemap_done(&m);
}
END_TEST

START_TEST(check_names_the_first_bad_range)
{
    struct range r[] = {{1, 5, 0}, {7, 9, 1}, {10, 10, 0}};
    struct rangemap m = {r, 3};
    uint32_t at = 99;

    ck_assert_int_eq(rangemap_check(&m, 2, &at), 0);
    ck_assert_uint_eq(at, 99);
    ck_assert_int_eq(rangemap_check(&m, 1, &at), -EINVAL);
    ck_assert_uint_eq(at, 1);
    r[2].first = 9;
    ck_assert_int_eq(rangemap_check(&m, 2, &at), -EINVAL);
    ck_assert_uint_eq(at, 2);
    r[2].first = 11;
    ck_assert_int_eq(rangemap_check(&m, 2, &at), -EINVAL);
    ck_assert_uint_eq(at, 2);
    r[0].first = 0;
    ck_assert_int_eq(rangemap_check(&m, 2, &at), -EINVAL);
    ck_assert_uint_eq(at, 0);
}
END_TEST

START_TEST(neighbours_merge_only_within_a_partition)
{
    struct rangemap m = {0};

    ck_assert_int_eq(rangemap_put(&m, (struct range){1, 3, 0}), 0);
    ck_assert_int_eq(rangemap_put(&m, (struct range){7, 9, 0}), 0);
    ck_assert_int_eq(rangemap_put(&m, (struct range){4, 6, 0}), 0);
    ck_assert_uint_eq(m.count, 1);
    ck_assert_int_eq(m.ranges[0].first, 1);
    ck_assert_int_eq(m.ranges[0].last, 9);
    ck_assert_int_eq(rangemap_put(&m, (struct range){10, 10, 1}), 0);
    ck_assert_int_eq(rangemap_put(&m, (struct range){DEVICE_ID_MAX, DEVICE_ID_MAX, 1}), 0);
    ck_assert_uint_eq(m.count, 3);
    ck_assert_uint_eq(rangemap_devices(&m, 0), 9);
    ck_assert_uint_eq(rangemap_devices(&m, 1), 2);
    ck_assert_uint_eq(rangemap_devices(&m, 2), 0);
    ck_assert_ptr_null(rangemap_find(&m, 11));
    ck_assert_uint_eq(rangemap_find(&m, DEVICE_ID_MAX)->partition, 1);
    rangemap_done(&m);
    ck_assert_ptr_null(rangemap_find(&m, 1));
}
END_TEST

START_TEST(a_copy_grows_on_its_own)
{
    struct rangemap m = {0}, copy;

    for (int32_t i = 0; i < 5; i++)
        ck_assert_int_eq(rangemap_put(&m, (struct range){10 * i + 1, 10 * i + 2, 0}), 0);
    ck_assert_int_eq(rangemap_copy(&copy, &m), 0);
    for (int32_t i = 5; i < 40; i++)
        ck_assert_int_eq(rangemap_put(&copy, (struct range){10 * i + 1, 10 * i + 2, 0}), 0);
    ck_assert_uint_eq(m.count, 5);
    ck_assert_uint_eq(copy.count, 40);
    rangemap_done(&m);
    rangemap_done(&copy);
    ck_assert_int_eq(rangemap_copy(&copy, &m), 0);
    ck_assert_uint_eq(copy.count, 0);
}
END_TEST

/* An array of every device is the model: put succeeds exactly when all IDs were free. */
START_TEST(agrees_with_a_plain_array)
{
    enum { IDS = 300 };
    int owner[IDS + 1];
    struct rangemap m = {0};
    struct rng rng;
    uint32_t at;

    rng_seed(&rng, (uint64_t) _i + 1);
    for (int i = 0; i <= IDS; i++)
        owner[i] = -1;
    for (int step = 0; step < 200; step++) {
        int32_t first = (int32_t) rng_between(&rng, 1, IDS);
        int32_t last = (int32_t) rng_between(&rng, (uint64_t) first, MIN_OF(first + 6, IDS));
        uint16_t partition = (uint16_t) rng_between(&rng, 0, 2);
        bool all_free = true;

        for (int32_t d = first; d <= last; d++)
            all_free = all_free && owner[d] < 0;
        ck_assert_int_eq(rangemap_put(&m, (struct range){first, last, partition}),
                         all_free ? 0 : -EEXIST);
        for (int32_t d = first; all_free && d <= last; d++)
            owner[d] = partition;
        ck_assert_int_eq(rangemap_check(&m, 3, &at), 0);
    }
    for (int32_t d = 1; d <= IDS; d++) {
        const struct range *r = rangemap_find(&m, d);

        ck_assert_int_eq(r ? r->partition : -1, owner[d]);
    }
    for (uint32_t i = 1; i < m.count; i++) /* nothing was left unmerged */
        ck_assert(m.ranges[i - 1].last + 1 < m.ranges[i].first ||
                  m.ranges[i - 1].partition != m.ranges[i].partition);
    rangemap_done(&m);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("rangemap");
    TCase *tc = tcase_create("rangemap");
    SRunner *runner;
    int failed;

    tcase_add_test(tc, refuses_overlap_and_nonsense);
    tcase_add_test(tc, refuses_more_than_the_limit);
    tcase_add_test(tc, check_names_the_first_bad_range);
    tcase_add_test(tc, neighbours_merge_only_within_a_partition);
    tcase_add_test(tc, a_copy_grows_on_its_own);
    tcase_add_loop_test(tc, agrees_with_a_plain_array, 0, 20);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
