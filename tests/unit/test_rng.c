/* rng: the published sequence, the bounds, no favourite values. */
#include "shared/rng.h"

#include <check.h>

START_TEST(known_sequence)
{
    /* xoshiro256** from state 1, 2, 3, 4: the first outputs of the authors' code. */
    struct rng r = {.s = {1, 2, 3, 4}};
    static const uint64_t expect[] = {11520, 0, 1509978240, 1215971899390074240u};
    for (size_t i = 0; i < ARRAY_SIZE(expect); i++)
        ck_assert_uint_eq(rng_next(&r), expect[i]);
    /* splitmix64 from 0 */
    rng_seed(&r, 0);
    ck_assert_uint_eq(r.s[0], 0xe220a8397b1dcdafu);
    ck_assert_uint_eq(r.s[1], 0x6e789e6aa1b965f4u);
}
END_TEST

START_TEST(same_seed_same_sequence)
{
    struct rng a, b, c;
    rng_seed(&a, 4711);
    rng_seed(&b, 4711);
    rng_seed(&c, 4712);
    unsigned differ = 0;
    for (unsigned i = 0; i < 1000; i++) {
        uint64_t x = rng_next(&a);
        ck_assert_uint_eq(x, rng_next(&b));
        differ += x != rng_next(&c);
    }
    ck_assert_uint_eq(differ, 1000);
}
END_TEST

START_TEST(between_holds_its_bounds)
{
    struct rng r;
    rng_seed(&r, 1);
    ck_assert_uint_eq(rng_between(&r, 7, 7), 7);
    ck_assert_uint_eq(rng_between(&r, UINT64_MAX, UINT64_MAX), UINT64_MAX);
    bool high = false;
    for (unsigned i = 0; i < 100; i++)
        high |= rng_between(&r, 0, UINT64_MAX) > UINT64_MAX / 2;
    ck_assert(high);
    for (unsigned i = 0; i < 1000; i++) {
        uint64_t x = rng_between(&r, UINT64_MAX - 2, UINT64_MAX);
        ck_assert_uint_ge(x, UINT64_MAX - 2);
    }
}
END_TEST

START_TEST(between_is_even)
{
    unsigned counts[6] = {0};
    struct rng r;
    rng_seed(&r, 2);
    for (unsigned i = 0; i < 60000; i++) {
        uint64_t x = rng_between(&r, 5, 10);
        ck_assert(x >= 5 && x <= 10);
        counts[x - 5]++;
    }
    for (unsigned i = 0; i < 6; i++)
        ck_assert(counts[i] > 9500 && counts[i] < 10500); /* 5 sigma is 456 */
}
END_TEST

START_TEST(between_of_an_awkward_span)
{
    /* 2^63 + 1 values: without the second draw the lower half would come twice as often. */
    struct rng r;
    rng_seed(&r, 3);
    unsigned low = 0;
    for (unsigned i = 0; i < 10000; i++)
        low += rng_between(&r, 0, UINT64_C(1) << 63) < UINT64_C(1) << 62;
    ck_assert(low > 4700 && low < 5300);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("rng");
    TCase *t = tcase_create("rng");
    tcase_add_test(t, known_sequence);
    tcase_add_test(t, same_seed_same_sequence);
    tcase_add_test(t, between_holds_its_bounds);
    tcase_add_test(t, between_is_even);
    tcase_add_test(t, between_of_an_awkward_span);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
