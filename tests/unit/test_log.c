/* log: one event is one line, whatever the values hold, and a stuck reader stops nobody. */
#include "shared/log.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "shared/clock.h"

static int reader;
static int saved;
static char got[100000];

/* stderr goes into a pipe: Check's own words must not. */
static void
setup(void)
{
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    saved = dup(STDERR_FILENO);
    reader = ends[0];
    fcntl(reader, F_SETFL, O_NONBLOCK);
    dup2(ends[1], STDERR_FILENO);
    close(ends[1]);
    log_open("fleetcast-node", "n1", LOG_LEVEL_INFO);
}

static void
teardown(void)
{
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(reader);
}

static const char *
taken(void)
{
    size_t used = 0;
    ssize_t n;
    while ((n = read(reader, got + used, sizeof(got) - 1 - used)) > 0)
        used += (size_t) n;
    got[used] = '\0';
    return got;
}

static unsigned
lines(const char *text)
{
    unsigned count = 0;
    for (; *text; text++)
        count += *text == '\n';
    return count;
}

START_TEST(value_cannot_forge_a_line)
{
    char buf[100];
    const char *evil = "a\nlevel=error event=partition.taken\r\x1b[2J";
    log_event(LOG_LEVEL_INFO, "test.event", "name=%s", log_quote(buf, sizeof(buf), evil));
    ck_assert_uint_eq(lines(taken()), 1);
    ck_assert_ptr_nonnull(
        strstr(got, "name=\"a\\nlevel=error event=partition.taken\\r\\x1b[2J\"\n"));
    log_event(LOG_LEVEL_INFO, "test.event", "name=%s", evil); /* somebody forgot to quote */
    ck_assert_uint_eq(lines(taken()), 1);
    ck_assert_ptr_nonnull(strstr(got, "name=a?level=error event=partition.taken??[2J\n"));
}
END_TEST

START_TEST(levels)
{
    log_event(LOG_LEVEL_DEBUG, "test.event", "n=%d", 1);
    ck_assert_str_eq(taken(), "");
    log_open("fleetcast-node", "n1", LOG_LEVEL_ERROR);
    log_event(LOG_LEVEL_WARNING, "test.event", "n=%d", 1);
    ck_assert_str_eq(taken(), "");
    log_event(LOG_LEVEL_ERROR, "test.event", "n=%d", 1);
    ck_assert_uint_eq(lines(taken()), 1);
    ck_assert_ptr_nonnull(strstr(got, " level=error "));
}
END_TEST

START_TEST(shape_of_a_line)
{
    log_event(LOG_LEVEL_INFO, "partition.taken", "epoch=%llu took_us=%u", 12ull, 5u);
    unsigned year, month, day, hour, minute, second, ms;
    char rest[200];
    ck_assert_int_eq(sscanf(taken(), "time=%4u-%2u-%2uT%2u:%2u:%2u.%3uZ%199[^\n]", &year, &month,
                            &day, &hour, &minute, &second, &ms, rest),
                     8);
    ck_assert_str_eq(
        rest,
        " level=info program=fleetcast-node instance=n1 event=partition.taken epoch=12 took_us=5");
    log_event(LOG_LEVEL_INFO, "partition.taken", NULL);
    ck_assert_ptr_nonnull(strstr(taken(), " event=partition.taken\n"));
}
END_TEST

START_TEST(long_line_is_cut_and_ends)
{
    char text[10000];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    log_event(LOG_LEVEL_INFO, "test.event", "text=%s", text);
    ck_assert_uint_eq(lines(taken()), 1);
    ck_assert_uint_le(strlen(got), 2048);
    ck_assert_uint_ge(strlen(got), 2000);
    ck_assert_int_eq(got[strlen(got) - 1], '\n');
}
END_TEST

START_TEST(stuck_reader_stops_nobody)
{
    usec_t began = clock_boot();
    for (unsigned i = 0; i < 3000; i++) /* a pipe holds 64 KiB */
        log_event(LOG_LEVEL_INFO, "test.event", "number=%u and some more words to fill it", i);
    ck_assert_uint_lt(clock_boot() - began, 2 * USEC_PER_SEC);
    unsigned whole = lines(taken());
    ck_assert_uint_gt(whole, 100);
    ck_assert_uint_lt(whole, 3000);
    ck_assert_int_eq(got[strlen(got) - 1], '\n'); /* no half line */
    log_event(LOG_LEVEL_INFO, "test.event", "number=%u", 3000);
    char expect[64];
    snprintf(expect, sizeof(expect), " log_dropped=%u number=3000\n", 3000 - whole);
    ck_assert_ptr_nonnull(strstr(taken(), expect));
    log_event(LOG_LEVEL_INFO, "test.event", "number=%u", 3001);
    ck_assert_ptr_null(strstr(taken(), "log_dropped"));
}
END_TEST

START_TEST(closed_stderr)
{
    close(STDERR_FILENO);
    log_event(LOG_LEVEL_ERROR, "test.event", "n=%d", 1);
    ck_assert_str_eq(taken(), "");
}
END_TEST

START_TEST(quoting)
{
    static const struct {
        const char *text, *quoted;
    } rows[] = {
        {"", "\"\""},
        {"plain-1.2:3/4", "plain-1.2:3/4"},
        {"two words", "\"two words\""},
        {"a=b", "\"a=b\""},
        {"say \"hi\"", "\"say \\\"hi\\\"\""},
        {"back\\slash", "\"back\\\\slash\""},
        {"tab\there", "\"tab\\there\""},
        {"\x01\x7f", "\"\\x01\\x7f\""},
        {"caf\xc3\xa9", "caf\xc3\xa9"},
        {"\xc2\x85"
         "next line of Unicode",
         "\"\\xc2\\x85next line of Unicode\""},
        {"cut\xc3", "\"cut\\xc3\""},
        {"\xff\xfe", "\"\\xff\\xfe\""},
        {"\xf0\x9f\x99\x82", "\xf0\x9f\x99\x82"},
    };
    char buf[100];
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        ck_assert_str_eq(log_quote(buf, sizeof(buf), rows[i].text), rows[i].quoted);
}
END_TEST

START_TEST(quoting_cuts_whole_characters)
{
    char buf[64];
    for (size_t size = 3; size < 40; size++) {
        memset(buf, 'Z', sizeof(buf));
        log_quote(buf, size, "a \n\xc3\xa9\"\xf0\x9f\x99\x82\x01 and so on for a while");
        size_t bytes = strlen(buf);
        ck_assert_uint_lt(bytes, size);
        ck_assert_int_eq(buf[0], '"');
        ck_assert_int_eq(buf[bytes - 1], '"');
        ck_assert_int_eq(buf[size], 'Z');
        ck_assert(bytes < 3 || buf[bytes - 2] != '\\');
    }
    ck_assert_str_eq(log_quote(buf, 6, "abcdefgh"), "abcde");
}
END_TEST

START_TEST(phones_are_redacted)
{
    static const struct {
        uint64_t phone;
        const char *shown;
    } rows[] = {
        {60123456789, "+6012*****89"},
        {123456789012345, "+1234*********45"},
        {6012345678, "+6012****78"},
        {12345678, "+12****78"},
        {123456, "+******"},
        {0, "+*"},
        {UINT64_MAX, "+1844**************15"},
    };
    char buf[24];
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        ck_assert_str_eq(log_phone(buf, rows[i].phone), rows[i].shown);
    log_event(LOG_LEVEL_INFO, "test.event", "phone=%s", log_phone(buf, 60123456789));
    ck_assert_ptr_nonnull(strstr(taken(), "phone=+6012*****89\n"));
    ck_assert_ptr_null(strstr(got, "345"));
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("log");
    TCase *t = tcase_create("log");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, value_cannot_forge_a_line);
    tcase_add_test(t, levels);
    tcase_add_test(t, shape_of_a_line);
    tcase_add_test(t, long_line_is_cut_and_ends);
    tcase_add_test(t, stuck_reader_stops_nobody);
    tcase_add_test(t, closed_stderr);
    tcase_add_test(t, quoting);
    tcase_add_test(t, quoting_cuts_whole_characters);
    tcase_add_test(t, phones_are_redacted);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
