/* histogram: the promised error, at every power of two. */
#include "shared/histogram.h"

#include <check.h>

#include "shared/rng.h"

static struct histogram h;

START_TEST(empty)
{
    histogram_reset(&h);
    ck_assert_uint_eq(histogram_quantile(&h, 500), 0);
    ck_assert_uint_eq(h.max, 0);
}
END_TEST

START_TEST(one_value_is_exact)
{
    static const usec_t values[] = {0, 1, 15, 16, 17, 31, 32, 33, 1000, 123456789};
    for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
        histogram_reset(&h);
        histogram_add(&h, values[i]); /* the upper edge is never above max */
        ck_assert_uint_eq(histogram_quantile(&h, 0), values[i]);
        ck_assert_uint_eq(histogram_quantile(&h, 1000), values[i]);
    }
}
END_TEST

START_TEST(error_is_bounded_everywhere)
{
    for (usec_t power = 1; power < UINT64_C(1) << 35; power *= 2) {
        for (usec_t value = power; value < 2 * power; value += power / 32 + 1) {
            histogram_reset(&h);
            histogram_add(&h, value);
            histogram_add(&h, UINT64_C(1) << 40); /* so that max cuts nothing */
            usec_t told = histogram_quantile(&h, 500);
            ck_assert_uint_ge(told, value);
            ck_assert_uint_le(told - value, value / 16);
        }
    }
}
END_TEST

START_TEST(buckets_are_in_order)
{
    usec_t last = 0;
    for (usec_t value = 0; value < UINT64_C(1) << 36; value += value / 20 + 1) {
        histogram_reset(&h);
        histogram_add(&h, value);
        histogram_add(&h, UINT64_C(1) << 40);
        usec_t told = histogram_quantile(&h, 500);
        ck_assert_uint_ge(told, last);
        last = told;
    }
}
END_TEST

START_TEST(too_large_counts_in_the_last)
{
    histogram_reset(&h);
    histogram_add(&h, UINT64_C(1) << 36);
    histogram_add(&h, USEC_INFINITY);
    ck_assert_uint_eq(h.counts[HISTOGRAM_BUCKETS - 1], 2);
    ck_assert_uint_eq(histogram_quantile(&h, 500), USEC_INFINITY);
}
END_TEST

START_TEST(full_bucket_does_not_wrap)
{
    histogram_reset(&h);
    h.counts[5] = UINT32_MAX;
    h.total = UINT32_MAX;
    histogram_add(&h, 5);
    ck_assert_uint_eq(h.counts[5], UINT32_MAX);
    struct histogram other = h;
    histogram_merge(&h, &other);
    ck_assert_uint_eq(h.counts[5], UINT32_MAX);
    ck_assert_uint_eq(h.total, 2 * (UINT64_C(1) << 32));
    ck_assert_uint_eq(histogram_quantile(&h, 100), 5);
}
END_TEST

START_TEST(quantiles)
{
    histogram_reset(&h);
    for (usec_t i = 1; i <= 1000; i++)
        histogram_add(&h, i * 1000);
    static const uint32_t permille[] = {1, 10, 500, 900, 990, 999, 1000};
    for (size_t i = 0; i < ARRAY_SIZE(permille); i++) {
        usec_t expect = permille[i] * 1000;
        usec_t told = histogram_quantile(&h, permille[i]);
        ck_assert_uint_ge(told, expect);
        ck_assert_uint_le(told, expect + expect / 16);
    }
    ck_assert_uint_eq(histogram_quantile(&h, 1000), 1000000);
}
END_TEST

START_TEST(merge_equals_adding)
{
    struct histogram all, parts[3];
    struct rng r;
    rng_seed(&r, 1);
    histogram_reset(&all);
    for (unsigned i = 0; i < 3; i++)
        histogram_reset(&parts[i]);
    for (unsigned i = 0; i < 3000; i++) {
        usec_t value = rng_next(&r) >> rng_between(&r, 20, 63);
        histogram_add(&all, value);
        histogram_add(&parts[i % 3], value);
    }
    histogram_merge(&parts[0], &parts[1]);
    histogram_merge(&parts[0], &parts[2]);
    ck_assert_mem_eq(&parts[0], &all, sizeof(all));
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("histogram");
    TCase *t = tcase_create("histogram");
    tcase_add_test(t, empty);
    tcase_add_test(t, one_value_is_exact);
    tcase_add_test(t, error_is_bounded_everywhere);
    tcase_add_test(t, buckets_are_in_order);
    tcase_add_test(t, too_large_counts_in_the_last);
    tcase_add_test(t, full_bucket_does_not_wrap);
    tcase_add_test(t, quantiles);
    tcase_add_test(t, merge_equals_adding);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
