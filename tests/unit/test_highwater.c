/* The mark file: written whole, read strictly. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "node/highwater.h"

static char dir[32], path[64];

static void
open_dir(void)
{
    snprintf(dir, sizeof(dir), "/tmp/fc-mark-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/highwater-p1", dir);
}

static void
close_dir(void)
{
    unlink(path);
    rmdir(dir);
}

static void
put(const char *text)
{
    FILE *f = fopen(path, "w");

    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
}

START_TEST(no_file_is_no_mark)
{
    struct highwater m = {.epoch = 3};

    ck_assert_int_eq(-ENOENT, highwater_read(dir, "p1", &m));
    ck_assert_uint_eq(3, m.epoch);
    ck_assert_int_eq(-ENOENT, highwater_read("/no/such/dir", "p1", &m));
}
END_TEST

START_TEST(what_is_no_mark_is_refused)
{
    static const char *const bad[] = {"",
                                      "1",
                                      "1 2",
                                      "1 2 3",
                                      "1 2 3\nx",
                                      "a 2 3\n",
                                      "1 2 -3\n",
                                      "4294967296 2 3\n",
                                      " 1 2 3\n",
                                      "1  2 3\n",
                                      "1 18446744073709551616 3\n"};
    struct highwater m = {.epoch = 3};

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        put(bad[i]);
        ck_assert_msg(highwater_read(dir, "p1", &m) == -EBADMSG, "read: %s", bad[i]);
        ck_assert_uint_eq(3, m.epoch);
    }
}
END_TEST

START_TEST(a_directory_that_is_not_there_is_an_error)
{
    const struct highwater m = {.timeline = 1};

    ck_assert_int_eq(-ENOENT, highwater_write("/no/such/dir", "p1", &m));
}
END_TEST

START_TEST(what_was_written_is_read)
{
    const struct highwater m = {.timeline = UINT32_MAX, .lsn = UINT64_MAX, .epoch = INT64_MAX};
    struct highwater got;

    ck_assert_int_eq(0, highwater_write(dir, "p1", &(struct highwater){.epoch = 1}));
    ck_assert_int_eq(0, highwater_write(dir, "p1", &m));
    ck_assert_int_eq(0, highwater_read(dir, "p1", &got));
    ck_assert_uint_eq(m.timeline, got.timeline);
    ck_assert_uint_eq(m.lsn, got.lsn);
    ck_assert_uint_eq(m.epoch, got.epoch);
    ck_assert_int_eq(-ENOENT, highwater_read(dir, "p2", &got));
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("highwater");
    TCase *t = tcase_create("highwater");

    tcase_add_checked_fixture(t, open_dir, close_dir);
    tcase_add_test(t, no_file_is_no_mark);
    tcase_add_test(t, what_is_no_mark_is_refused);
    tcase_add_test(t, a_directory_that_is_not_there_is_an_error);
    tcase_add_test(t, what_was_written_is_read);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
