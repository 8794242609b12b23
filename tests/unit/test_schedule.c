/* The schedule: duplicates refused, order kept, devices found and removed at any time. */
#include "node/schedule.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>

#include "shared/rng.h"

#define DEVICES 1000

static struct schedule *schedule;
static struct device *devices[DEVICES];

static void
setup(void)
{
    schedule = schedule_new();
    ck_assert_ptr_nonnull(schedule);
    for (int i = 0; i < DEVICES; i++) {
        devices[i] = device_new(i + 1);
        ck_assert_ptr_nonnull(devices[i]);
    }
}

static void
teardown(void)
{
    schedule = schedule_free(schedule);
    ck_assert_ptr_null(schedule);
    for (int i = 0; i < DEVICES; i++)
        device_free(devices[i]);
}

static void
add_all(void)
{
    for (int i = 0; i < DEVICES; i++)
        ck_assert_int_eq(schedule_add(schedule, devices[i]), 0);
}

START_TEST(empty)
{
    ck_assert_ptr_null(schedule_find(schedule, 1));
    ck_assert_ptr_null(schedule_pop(schedule, USEC_INFINITY));
    ck_assert_uint_eq(schedule_next(schedule), USEC_INFINITY);
    ck_assert_uint_eq(schedule_count(schedule), 0);
    ck_assert_ptr_null(schedule_free(NULL));
}
END_TEST

START_TEST(a_device_twice)
{
    struct device *twin = device_new(1);

    ck_assert_int_eq(schedule_add(schedule, devices[0]), 0);
    ck_assert_int_eq(schedule_add(schedule, devices[0]), -EEXIST);
    ck_assert_int_eq(schedule_add(schedule, twin), -EEXIST);
    ck_assert_ptr_eq(schedule_find(schedule, 1), devices[0]);
    ck_assert_uint_eq(schedule_count(schedule), 1);
    device_free(twin);
}
END_TEST

START_TEST(added_is_not_yet_due)
{
    add_all();
    ck_assert_ptr_null(schedule_pop(schedule, USEC_INFINITY));
    schedule_put(schedule, devices[3], 10);
    ck_assert_ptr_null(schedule_pop(schedule, 9));
    ck_assert_uint_eq(schedule_next(schedule), 10);
    schedule_put(schedule, devices[3], USEC_INFINITY);
    ck_assert_ptr_null(schedule_pop(schedule, USEC_INFINITY));
    schedule_put(schedule, devices[3], USEC_INFINITY); /* out twice is no fault */
    schedule_put(schedule, devices[3], 10);
    schedule_put(schedule, devices[3], 5);
    ck_assert_ptr_eq(schedule_pop(schedule, 5), devices[3]);
    ck_assert_ptr_null(schedule_pop(schedule, USEC_INFINITY));
}
END_TEST

static void
visit(void *arg, struct device *d)
{
    (*(unsigned *) arg)++;
    if (d->device_id % 2)
        schedule_remove(schedule, d); /* also from within */
}

START_TEST(removed_in_a_walk)
{
    unsigned visited = 0;

    add_all();
    for (int i = 0; i < DEVICES; i++)
        schedule_put(schedule, devices[i], 7);
    schedule_each(schedule, visit, &visited);
    ck_assert_uint_eq(visited, DEVICES);
    ck_assert_uint_eq(schedule_count(schedule), DEVICES / 2);
    for (int i = 0; i < DEVICES; i++) {
        struct device *found = schedule_find(schedule, i + 1);

        ck_assert_ptr_eq(found, (i + 1) % 2 ? NULL : devices[i]);
        ck_assert_int_eq(devices[i]->turn.index == HEAP_ABSENT, (i + 1) % 2);
    }
}
END_TEST

START_TEST(order)
{
    struct rng rng;
    usec_t last = 0;

    rng_seed(&rng, 7);
    add_all();
    for (int i = 0; i < 5 * DEVICES; i++)
        schedule_put(schedule, devices[rng_between(&rng, 0, DEVICES - 1)],
                     rng_between(&rng, 1, 100000));
    for (int i = 0; i < DEVICES; i++)
        schedule_put(schedule, devices[i], rng_between(&rng, 1, 100000));
    for (int i = 0; i < DEVICES; i++) {
        usec_t next = schedule_next(schedule);
        struct device *d = schedule_pop(schedule, USEC_INFINITY - 1);

        ck_assert_ptr_nonnull(d);
        ck_assert_uint_eq(d->turn.key, next);
        ck_assert_uint_ge(next, last);
        last = next;
    }
    ck_assert_ptr_null(schedule_pop(schedule, USEC_INFINITY));
    ck_assert_uint_eq(schedule_count(schedule), DEVICES);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("schedule");
    TCase *all = tcase_create("heap and hash");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(all, setup, teardown);
    tcase_add_test(all, empty);
    tcase_add_test(all, a_device_twice);
    tcase_add_test(all, added_is_not_yet_due);
    tcase_add_test(all, removed_in_a_walk);
    tcase_add_test(all, order);
    suite_add_tcase(suite, all);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
