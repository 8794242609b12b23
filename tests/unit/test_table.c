/* test_table.c - the same cells for people, as JSON and as CSV. */
#include "coordinator/ctl/table.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/ctl/terminal.h"

static char *text;
static size_t bytes;
static FILE *out;

static void
setup(void)
{
    out = open_memstream(&text, &bytes);
}

static void
teardown(void)
{
    fclose(out);
    free(text);
}

static struct slice
s(const char *c)
{
    return (struct slice){c, strlen(c)};
}

static struct table *
two_rows(enum table_format format)
{
    struct table *t = table_new(out, format);
    table_column(t, "node", NULL, TABLE_WORDS);
    table_column(t, "oldest_due_seconds", "OLDEST DUE", TABLE_COUNT);
    table_column(t, "device_id", NULL, TABLE_NUMBER);
    table_column(t, "reason", NULL, TABLE_WORDS);
    table_text(t, s("n1"));
    table_shown(t, 0, "%d s", 0);
    table_int(t, 4001);
    table_text(t, s("a, \"b\"\nc"));
    table_text(t, s("n\xc3\xa4"
                    "2"));
    table_int(t, 1234567);
    table_int(t, 12);
    table_null(t);
    return t;
}

START_TEST(a_full_disk_is_an_error)
{
    FILE *full = fopen("/dev/full", "w");
    struct table *t = table_new(full, TABLE_CSV);
    table_column(t, "a", NULL, TABLE_WORDS);
    table_int(t, 1);
    ck_assert_int_eq(table_done(t), -EPIPE);
    fclose(full);
}
END_TEST

START_TEST(for_people)
{
    ck_assert_int_eq(table_done(two_rows(TABLE_TEXT)), 0);
    ck_assert_str_eq(text, "NODE  OLDEST DUE  DEVICE ID  REASON\n"
                           "n1           0 s       4001  a, \"b\" c\n"
                           "n\xc3\xa4"
                           "2    1,234,567         12  -\n");
}
END_TEST

START_TEST(a_list)
{
    ck_assert_int_eq(table_done(two_rows(TABLE_LIST)), 0);
    ck_assert_ptr_nonnull(strstr(text, "node                n1\n"
                                       "oldest_due_seconds  0 s\n"
                                       "device_id           4001\n"));
}
END_TEST

START_TEST(csv)
{
    ck_assert_int_eq(table_done(two_rows(TABLE_CSV)), 0);
    ck_assert_str_eq(text, "node,oldest_due_seconds,device_id,reason\n"
                           "n1,0,4001,\"a, \"\"b\"\"\nc\"\n"
                           "n\xc3\xa4"
                           "2,1234567,12,\n");
}
END_TEST

START_TEST(json)
{
    ck_assert_int_eq(table_done(two_rows(TABLE_JSON)), 0);
    ck_assert_str_eq(text, "[\n{\"node\":\"n1\",\"oldest_due_seconds\":0,\"device_id\":4001,"
                           "\"reason\":\"a, \\\"b\\\"\\nc\"},\n"
                           "{\"node\":\"n\xc3\xa4"
                           "2\",\"oldest_due_seconds\":1234567,"
                           "\"device_id\":12,\"reason\":null}\n]\n");
}
END_TEST

START_TEST(nothing_is_an_answer_too)
{
    static const char *const expected[] = {
        [TABLE_TEXT] = "A\n", [TABLE_JSON] = "[]\n", [TABLE_CSV] = "a\n"};
    for (int format = TABLE_TEXT; format <= TABLE_CSV; format++) {
        rewind(out);
        struct table *t = table_new(out, (enum table_format) format);
        table_column(t, "a", NULL, TABLE_WORDS);
        ck_assert_int_eq(table_done(t), 0);
        ck_assert_int_eq(strncmp(text, expected[format], strlen(expected[format])), 0);
    }
}
END_TEST

START_TEST(many_rows_stream_and_keep_their_columns)
{
    struct table *t = table_new(out, TABLE_TEXT);
    table_column(t, "n", NULL, TABLE_COUNT);
    table_column(t, "w", NULL, TABLE_WORDS);
    for (int i = 1; i <= 3000; i++) {
        table_int(t, i);
        table_words(t, "row %d", i);
        if (i == (int) TABLE_ROWS_KEPT) {
            fflush(out);
            ck_assert_uint_gt(bytes, 0); /* not kept for ever */
        }
    }
    ck_assert_int_eq(table_done(t), 0);
    ck_assert_ptr_nonnull(strstr(text, "\n  999  row 999\n1,000  row 1000\n1,001  row 1001\n"));
    ck_assert_str_eq(text + bytes - strlen("3,000  row 3000\n"), "3,000  row 3000\n");
}
END_TEST

START_TEST(figures)
{
    char buf[40];
    static const struct {
        int64_t value;
        const char *shown;
    } cases[] = {{0, "0"},
                 {999, "999"},
                 {1000, "1,000"},
                 {-1, "-1"},
                 {-1234, "-1,234"},
                 {-123, "-123"},
                 {1000000, "1,000,000"},
                 {INT64_MAX, "9,223,372,036,854,775,807"}};
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        ck_assert_str_eq(table_thousands(buf, cases[i].value), cases[i].shown);
    struct table *t = table_new(out, TABLE_TEXT);
    table_column(t, "a", NULL, TABLE_COUNT);
    table_column(t, "b", NULL, TABLE_COUNT);
    table_column(t, "c", NULL, TABLE_COUNT);
    table_milli(t, 98650, 1);
    table_milli(t, 1234567890, 0);
    table_milli(t, 5, 3);
    ck_assert_int_eq(table_done(t), 0);
    ck_assert_ptr_nonnull(strstr(text, "98.7  1,234,568  0.005\n"));
}
END_TEST

START_TEST(times)
{
    char buf[40];
    ck_assert_str_eq(table_time_text(buf, 1795528930123456, false), "2026-11-24T14:02:10.123456Z");
    ck_assert_str_eq(table_time_text(buf, 1795528930123456, true), "2026-11-24 14:02:10Z");
    ck_assert_str_eq(table_time_text(buf, -1, false), "1969-12-31T23:59:59.999999Z");
    ck_assert_str_eq(terminal_span(buf, 4240 * USEC_PER_MSEC), "4.2 s");
    ck_assert_str_eq(terminal_span(buf, 200 * USEC_PER_SEC), "3 min 20 s");
    ck_assert_str_eq(terminal_span(buf, 21480 * USEC_PER_SEC), "5 h 58 min");
}
END_TEST

START_TEST(what_would_break_a_screen_does_not)
{
    char buf[12];
    ck_assert_str_eq(table_printable(buf, sizeof(buf), s("a\x1b[31m\nb")), "a [31m b");
    ck_assert_str_eq(table_printable(buf, sizeof(buf), s("bad\xff")), "bad?");
    /* cut between characters, never inside one */
    ck_assert_str_eq(table_printable(buf, sizeof(buf), s("abcdef\xc3\xa4\xc3\xa4\xc3\xa4")),
                     "abcdef\xc3\xa4...");
    ck_assert_str_eq(table_printable(buf, sizeof(buf), s("abcdefg\xc3\xa4\xc3\xa4\xc3\xa4")),
                     "abcdefg...");
    ck_assert_str_eq(table_printable(buf, sizeof(buf), s("")), "");
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("table");
    TCase *t = tcase_create("table");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_full_disk_is_an_error);
    tcase_add_test(t, for_people);
    tcase_add_test(t, a_list);
    tcase_add_test(t, csv);
    tcase_add_test(t, json);
    tcase_add_test(t, nothing_is_an_answer_too);
    tcase_add_test(t, many_rows_stream_and_keep_their_columns);
    tcase_add_test(t, figures);
    tcase_add_test(t, times);
    tcase_add_test(t, what_would_break_a_screen_does_not);
    suite_add_tcase(suite, t);
    SRunner *sr = srunner_create(suite);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? 1 : 0;
}
