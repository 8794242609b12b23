/* Every inequality between time-outs, broken one at a time. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "node/partition.h"

#define MS USEC_PER_MSEC

static const struct timing usual = {.send_window = 4000 * MS,
                                    .commit = 1500 * MS,
                                    .connect = 2000 * MS,
                                    .quarantine = 5000 * MS,
                                    .dead = 3000 * MS,
                                    .watchdog = 5000 * MS,
                                    .http = 20000 * MS,
                                    .tick = 20 * MS,
                                    .gap_min = 0};
static const struct timing compressed = {.send_window = 500 * MS,
                                         .commit = 200 * MS,
                                         .connect = 200 * MS,
                                         .quarantine = 1100 * MS,
                                         .dead = 1000 * MS,
                                         .http = 2000 * MS,
                                         .tick = 20 * MS};
static char why[200];

static void
refused(struct timing t, const char *words)
{
    why[0] = '\0';
    ck_assert_int_eq(-EINVAL, timing_check(&t, why, sizeof(why)));
    ck_assert_msg(strstr(why, words) != NULL, "%s", why);
}

START_TEST(each_broken_inequality_is_named)
{
    struct timing t = usual;

    t.tick = 0;
    refused(t, "tick");
    t = usual;
    t.tick = 251 * MS;
    refused(t, "tick");
    t = usual;
    t.commit = 1981 * MS; /* 1981 + 2000 + 20 > 4000 */
    refused(t, "send_window");
    t = usual;
    t.quarantine = 4579 * MS; /* 1.02 x 4000 + 500 = 4580 */
    refused(t, "quarantine");
    t = usual;
    t.watchdog = 18001 * MS;
    refused(t, "watchdog");
    t = usual;
    t.dead = 1500 * MS;
    refused(t, "dead");
}
END_TEST

START_TEST(the_edges_hold)
{
    struct timing t = usual;

    t.commit = 1980 * MS;
    t.quarantine = 4580 * MS;
    t.watchdog = 18000 * MS;
    t.dead = 1981 * MS;
    ck_assert_int_eq(0, timing_check(&t, why, sizeof(why)));
}
END_TEST

START_TEST(the_usual_and_the_compressed_numbers_hold)
{
    ck_assert_int_eq(0, timing_check(&usual, why, sizeof(why)));
    ck_assert_int_eq(0, timing_check(&compressed, why, sizeof(why)));
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("timing");
    TCase *t = tcase_create("timing");

    tcase_add_test(t, each_broken_inequality_is_named);
    tcase_add_test(t, the_edges_hold);
    tcase_add_test(t, the_usual_and_the_compressed_numbers_hold);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
