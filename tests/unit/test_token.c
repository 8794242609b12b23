/* test_token.c - only what token_write makes is a token; every other text is refused. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/token.h"

#define GOOD "v1.p1.41.17.0190a3c4-5b6d-7123-8abc-0123456789ab"

static int
parse(const char *text)
{
    struct token t;

    return token_parse(&t, (struct slice){text, strlen(text)});
}

START_TEST(refuses_what_is_not_a_token)
{
    static const char *const bad[] = {
        "",
        "v1",
        "v1.",
        "....",
        "v2.p1.41.17.0190a3c4-5b6d-7123-8abc-0123456789ab",
        "V1.p1.41.17.0190a3c4-5b6d-7123-8abc-0123456789ab",
        "v1..41.17.0190a3c4-5b6d-7123-8abc-0123456789ab",
        "v1.P1.41.17.0190a3c4-5b6d-7123-8abc-0123456789ab",
        "v1.p_1.41.17.0190a3c4-5b6d-7123-8abc-0123456789ab",
        "v1.aaaaaaaaaaaaaaaaaaaaaaaaa.41.17.0190a3c4-5b6d-7123-8abc-0123456789ab", /* 25 */
        "v1.p1.041.17.0190a3c4-5b6d-7123-8abc-0123456789ab",
        "v1.p1.+41.17.0190a3c4-5b6d-7123-8abc-0123456789ab",
        "v1.p1. 41.17.0190a3c4-5b6d-7123-8abc-0123456789ab",
        "v1.p1.9223372036854775808.17.0190a3c4-5b6d-7123-8abc-0123456789ab",
        "v1.p1.41.0.0190a3c4-5b6d-7123-8abc-0123456789ab",
        "v1.p1.41.2147483648.0190a3c4-5b6d-7123-8abc-0123456789ab",
        "v1.p1.41.-1.0190a3c4-5b6d-7123-8abc-0123456789ab",
        "v1.p1.41.17.0190A3C4-5b6d-7123-8abc-0123456789ab",
        "v1.p1.41.17.0190a3c45b6d-7123-8abc-0123456789ab-",
        "v1.p1.41.17.0190a3c4-5b6d-7123-8abc-0123456789ag",
        "v1.p1.41.17.0190a3c4-5b6d-7123-8abc-0123456789ab ",
        "v1.p1.41.17.0190a3c4-5b6d-7123-8abc-0123456789ab.x",
    };

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        ck_assert_msg(parse(bad[i]) == -EINVAL, "%s was taken", bad[i]);
    ck_assert_int_eq(parse(GOOD), 0);
}
END_TEST

START_TEST(refuses_each_truncation_and_leaves_ret_alone)
{
    struct token t;
    struct token before;

    memset(&t, 0x5a, sizeof(t));
    before = t;
    for (size_t bytes = 0; bytes < strlen(GOOD); bytes++)
        ck_assert_int_eq(token_parse(&t, (struct slice){GOOD, bytes}), -EINVAL);
    ck_assert_mem_eq(&t, &before, sizeof(t));
    ck_assert_int_eq(token_parse(&t, (struct slice){0}), -EINVAL);
}
END_TEST

START_TEST(longest_token_fits_and_comes_back)
{
    struct token t = {.partition = "abcdefghijklmnopqrstuvw-",
                      .epoch = INT64_MAX,
                      .device_id = DEVICE_ID_MAX};
    struct token back;
    char text[TOKEN_BYTES_MAX + 1];
    size_t bytes;

    memset(t.id.bytes, 0xff, sizeof(t.id.bytes));
    bytes = token_write(text, &t);
    ck_assert_uint_le(bytes, TOKEN_BYTES_MAX);
    ck_assert_uint_eq(bytes, strlen(text));
    ck_assert_int_eq(token_parse(&back, (struct slice){text, bytes}), 0);
    ck_assert_str_eq(back.partition, t.partition);
    ck_assert_uint_eq(back.epoch, t.epoch);
    ck_assert_int_eq(back.device_id, t.device_id);
    ck_assert_mem_eq(&back.id, &t.id, sizeof(t.id));
}
END_TEST

START_TEST(text_is_byte_for_byte_the_same)
{
    struct token t;
    char text[TOKEN_BYTES_MAX + 1];

    ck_assert_int_eq(token_parse(&t, (struct slice){GOOD, strlen(GOOD)}), 0);
    token_write(text, &t);
    ck_assert_str_eq(text, GOOD);
}
END_TEST

START_TEST(uuid_carries_its_time_and_sorts_by_it)
{
    static const int64_t times[] = {0, 1000, 1700000000123456, 281474976710655000};
    uint8_t random[10];
    struct uuid before = {{0}};
    char text[37];

    memset(random, 0xff, sizeof(random));
    for (size_t i = 0; i < ARRAY_SIZE(times); i++) {
        struct uuid id = token_uuid(times[i], random), back;

        ck_assert_int_eq(token_uuid_time(&id), times[i] / 1000 * 1000);
        ck_assert_int_eq(id.bytes[6] >> 4, 7);
        ck_assert_int_eq(id.bytes[8] >> 6, 2);
        ck_assert_int_lt(memcmp(&before, &id, sizeof(id)), 0);
        before = id;
        token_uuid_write(text, &id);
        ck_assert_uint_eq(strlen(text), 36);
        ck_assert_int_eq(token_uuid_parse(&back, (struct slice){text, 36}), 0);
        ck_assert_mem_eq(&back, &id, sizeof(id));
    }
}
END_TEST

START_TEST(uuid_keeps_the_random_bits)
{
    uint8_t zeros[10] = {0}, random[10];

    for (unsigned bit = 0; bit < 80; bit++) {
        struct uuid a, b;
        bool overwritten = bit < 4 || (bit >= 16 && bit < 18); /* version and variant */

        memcpy(random, zeros, sizeof(random));
        random[bit / 8] = (uint8_t) (0x80 >> bit % 8);
        a = token_uuid(1000, zeros);
        b = token_uuid(1000, random);
        ck_assert_int_eq(memcmp(&a, &b, sizeof(a)) == 0, overwritten);
    }
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("token");
    TCase *tc = tcase_create("token");
    SRunner *runner;
    int failed;

    tcase_add_test(tc, refuses_what_is_not_a_token);
    tcase_add_test(tc, refuses_each_truncation_and_leaves_ret_alone);
    tcase_add_test(tc, longest_token_fits_and_comes_back);
    tcase_add_test(tc, text_is_byte_for_byte_the_same);
    tcase_add_test(tc, uuid_carries_its_time_and_sorts_by_it);
    tcase_add_test(tc, uuid_keeps_the_random_bits);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
