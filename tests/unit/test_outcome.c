/* Words of outcomes: unknown numbers have none, every number has its own. */
#include "node/outcome.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

START_TEST(numbers_without_a_word)
{
    const int strange[] = {-1, 7, 10, 19, 20, 30, 40, 49, 1000000, INT32_MAX, INT32_MIN};

    for (size_t i = 0; i < ARRAY_SIZE(strange); i++)
        ck_assert_str_eq(reason_name(strange[i]), "?");
    ck_assert_str_eq(message_state_name(0), "?");
    ck_assert_str_eq(message_state_name(7), "?");
    ck_assert_str_eq(message_state_name(-1), "?");
    ck_assert_str_eq(refusal_name((enum refusal) 99), "?");
}
END_TEST

START_TEST(words_differ)
{
    for (int a = 0; a < 60; a++)
        for (int b = 0; b < a; b++) {
            if (strcmp(reason_name(a), "?") != 0)
                ck_assert_str_ne(reason_name(a), reason_name(b));
            if (a <= MESSAGE_CANCELLED && b > 0)
                ck_assert_str_ne(message_state_name(a), message_state_name(b));
            if (a <= REFUSAL_PARAMETER)
                ck_assert_str_ne(refusal_name((enum refusal) a), refusal_name((enum refusal) b));
        }
}
END_TEST

/* They are stored: a changed number would change history. */
START_TEST(stored_numbers)
{
    ck_assert_str_eq(message_state_name(1), "sent");
    ck_assert_str_eq(message_state_name(3), "unknown");
    ck_assert_str_eq(message_state_name(6), "cancelled");
    ck_assert_str_eq(reason_name(0), "");
    ck_assert_str_eq(reason_name(11), "opted_out");
    ck_assert_str_eq(reason_name(24), "epoch");
    ck_assert_str_eq(reason_name(36), "unknown_code");
    ck_assert_str_eq(reason_name(41), "timeout");
    ck_assert_str_eq(reason_name(48), "reply_unreadable");
    ck_assert_str_eq(refusal_name(REFUSAL_THROTTLE_SCOPE), "throttle_scope");
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("outcome");
    TCase *all = tcase_create("words");
    SRunner *runner;
    int failed;

    tcase_add_test(all, numbers_without_a_word);
    tcase_add_test(all, words_differ);
    tcase_add_test(all, stored_numbers);
    suite_add_tcase(suite, all);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
