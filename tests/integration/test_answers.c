/* The table of questions against a real partition: pages, cells, and a verify that can turn red. */
#include "node/answers.h"

#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/driver.h"

#define VERIFY_CHECKS 10u

static struct pgtemp *pg;
static PGconn *db;
static struct driver d;
static struct driver_answer page;

static void
setup(void)
{
    db = pgtemp_anew(pg, "work", "clean");
    pgtemp_do(db, "INSERT INTO device(device_id, min_delay_ms, max_delay_ms, transport, address,"
                  " name, token, next_lead_no) SELECT g, 1000, 2000, 'cloudapi', 'a' || g,"
                  " 'Shop ' || g, '\\x01', 3 FROM generate_series(1, 1203) g");
    pgtemp_do(db, "INSERT INTO lead(device_id, lead_no, phone, name) SELECT d, n,"
                  " 60120000000 + d * 10 + n, 'Ann' FROM generate_series(1, 1203) d,"
                  " generate_series(1, 3) n");
    pgtemp_do(db, "INSERT INTO source(source_id, kind, state, content_version, name, item)"
                  " VALUES (5, 1, 1, 0, 'spring',"
                  " '{\"kind\":\"campaign\",\"name\":\"spring\",\"template\":\"hello\"}')");
    pgtemp_do(db, "INSERT INTO progress(source_id) VALUES (5)");
    driver_start(&d, pg, "work");
    page = (struct driver_answer){0};
}

static void
teardown(void)
{
    driver_answer_done(&page);
    driver_stop(&d);
    PQfinish(db);
}

/* ---- asking ---- */

static struct slice
text(const char *t)
{
    return (struct slice){t, strlen(t)};
}

static void
ask(const char *question, const char *argument, const char *cursor)
{
    struct request q = {.kind = MESSAGE_ASK,
                        .ask = {.partition = text("p1"),
                                .question = text(question),
                                .cursor = text(cursor)}};
    if (argument)
        q.ask.arguments[q.ask.argument_count++] = text(argument);
    driver_answer_done(&page);
    driver_send(&d, &q, &page);
    driver_wait(&d, &page);
}

static void
ask_well(const char *question, const char *argument, const char *cursor)
{
    ask(question, argument, cursor);
    ck_assert_msg(page.reply.status == STATUS_OK, "%s: status %d: %.*s", question,
                  page.reply.status, (int) page.reply.reason.bytes, page.reply.reason.data);
}

static const struct cell *
cell(uint32_t row, const char *column)
{
    const struct answer *a = &page.reply.answer;
    ck_assert_uint_lt(row, a->row_count);
    for (uint32_t c = 0; c < a->column_count; c++)
        if (a->columns[c].bytes == strlen(column) &&
            memcmp(a->columns[c].data, column, a->columns[c].bytes) == 0)
            return &a->cells[row * a->column_count + c];
    ck_abort_msg("no column %s", column);
    return NULL;
}

static void
cell_is(uint32_t row, const char *column, const char *expected)
{
    const struct cell *c = cell(row, column);
    char got[256];
    if (c->kind == CELL_TEXT)
        snprintf(got, sizeof(got), "%.*s", (int) c->text.bytes, c->text.data);
    else
        snprintf(got, sizeof(got), c->kind == CELL_NULL ? "NULL" : "%" PRId64, c->number);
    ck_assert_msg(strcmp(got, expected) == 0, "%s of row %u: \"%s\", not \"%s\"", column, row, got,
                  expected);
}

static const char *
cursor(void)
{
    static char copy[LABEL_BYTES_MAX + 1];
    snprintf(copy, sizeof(copy), "%.*s", (int) page.reply.answer.cursor.bytes,
             page.reply.answer.cursor.data);
    return copy;
}

/* ---- questions ---- */

START_TEST(what_is_no_question_is_said_so)
{
    ask("weather", NULL, "");
    ck_assert_int_eq(page.reply.status, STATUS_BAD);
    static const struct {
        const char *question, *argument, *cursor;
    } cases[] = {
        {"devices", "7", ""},           {"device", NULL, ""},        {"device", "seven", ""},
        {"device", "-1", ""},           {"device", "7", "3"},        {"leads", NULL, ""},
        {"devices", NULL, "x"},         {"devices", NULL, "-1"},     {"messages", NULL, "17"},
        {"messages", "soon", ""},       {"messages", NULL, "17:zz"}, {"verify", NULL, "0"},
        {"verify", NULL, "10"},         {"verify", NULL, "x"},       {"locate", "4294967296", ""},
        {"messages", "2026-11-24", ""},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        ask(cases[i].question, cases[i].argument, cases[i].cursor);
        ck_assert_msg(page.reply.status == STATUS_BAD, "%s %s %s: status %d", cases[i].question,
                      cases[i].argument, cases[i].cursor, page.reply.status);
    }
}
END_TEST

START_TEST(devices_come_in_pages_without_gap_or_repeat)
{
    int32_t next = 1;
    unsigned pages = 0;
    const char *from = "";
    do {
        ask_well("devices", NULL, from);
        for (uint32_t r = 0; r < page.reply.answer.row_count; r++)
            ck_assert_int_eq(cell(r, "device_id")->number, next++);
        from = cursor();
        pages++;
    } while (*from);
    ck_assert_int_eq(next, 1204);
    ck_assert_uint_eq(pages, 3);
}
END_TEST

START_TEST(a_device_is_told_but_not_its_token)
{
    ask_well("device", "7", "");
    ck_assert_uint_eq(page.reply.answer.row_count, 1);
    cell_is(0, "name", "Shop 7");
    cell_is(0, "residence", "open");
    cell_is(0, "has_token", "1");
    cell_is(0, "leads", "3");
    ask_well("device", "2000", "");
    ck_assert_uint_eq(page.reply.answer.row_count, 0);
    pgtemp_do(db, "UPDATE device SET residence = 2, moved_to = 'p2' WHERE device_id = 7");
    ask_well("locate", "7", "");
    cell_is(0, "partition", "p1");
    cell_is(0, "residence", "gone");
    cell_is(0, "moved_to", "p2");
    cell_is(0, "driver", "n1");
}
END_TEST

START_TEST(a_page_never_outgrows_a_frame)
{
    pgtemp_do(db, "INSERT INTO lead(device_id, lead_no, phone, attributes) SELECT 1, 3 + n,"
                  " 60130000000 + n, jsonb_build_object('x', repeat('y', 6000))"
                  " FROM generate_series(1, 400) n");
    uint32_t rows = 0, next = 1;
    const char *from = "";
    do {
        ask_well("leads", "1", from);
        for (uint32_t r = 0; r < page.reply.answer.row_count; r++)
            ck_assert_int_eq(cell(r, "lead_no")->number, next++);
        rows += page.reply.answer.row_count;
        from = cursor();
    } while (*from);
    ck_assert_uint_eq(rows, 403);
}
END_TEST

/* Message rows of device 1 and 2, one a second, 600 of them, in today's partition. */
static void
have_messages(void)
{
    pgtemp_do(db, "SELECT message_days_make(1)");
    pgtemp_do(db,
              "INSERT INTO message(claimed_at, settled_at, epoch, text_hash, token, device_id,"
              " source_id, lead_no, step, attempt, state, reason, provider_id)"
              " SELECT t, t + interval '100 ms', (SELECT epoch FROM owner), 255,"
              " (lpad(to_hex((extract(epoch FROM t) * 1000)::bigint), 12, '0') || '70008000'"
              " || lpad(to_hex(g), 12, '0'))::uuid, 1 + g %% 2, 5, 1 + g / 2, 0, 0, 1, 0, 'wamid.'"
              " || g FROM generate_series(0, 599) g,"
              " LATERAL (SELECT date_trunc('day', now()) + g * interval '1 s' AS t) x");
}

START_TEST(messages_are_exported_once_each_with_their_newest_state)
{
    have_messages();
    pgtemp_do(db, "UPDATE message SET state = 3, reason = 41, provider_id = '', text_hash = -2"
                  " WHERE device_id = 1 AND lead_no = 1");
    pgtemp_do(db, "INSERT INTO receipt(at, token, state, reason, provider_id) SELECT now() + n *"
                  " interval '1 s', token, CASE n WHEN 1 THEN 3 ELSE 1 END, 0, 'wamid.late'"
                  " FROM message, generate_series(1, 2) n WHERE device_id = 1 AND lead_no = 1");
    ask_well("messages", NULL, "");
    ck_assert_uint_eq(page.reply.answer.row_count, ROWS_PER_PAGE_MAX);
    cell_is(0, "device_id", "1");
    cell_is(0, "phone", "60120000011");
    cell_is(0, "source", "spring");
    cell_is(0, "state", "sent");
    cell_is(0, "reason", "");
    cell_is(0, "provider_id", "wamid.late");
    cell_is(0, "text_hash", "fffffffffffffffe");
    cell_is(1, "text_hash", "00000000000000ff");
    char expected[128];
    snprintf(expected, sizeof(expected), "v1.p1.%" PRIu64 ".1.%s", partition_epoch(d.partition),
             pgtemp_text(db, "SELECT token FROM message ORDER BY token LIMIT 1"));
    cell_is(0, "token", expected);
    ck_assert_int_eq(cell(0, "claimed_at")->kind, CELL_TIME);
    ck_assert_int_eq(cell(0, "settled_at")->number - cell(0, "claimed_at")->number, 100000);
    int64_t last = cell(499, "claimed_at")->number;
    ask_well("messages", NULL, cursor());
    ck_assert_uint_eq(page.reply.answer.row_count, 100);
    ck_assert_int_eq(cell(0, "claimed_at")->number - last, 1000000);
    ck_assert_str_eq(cursor(), "");
    char since[32];
    snprintf(since, sizeof(since), "%" PRId64, last);
    ask_well("messages", since, "");
    ck_assert_uint_eq(page.reply.answer.row_count, 101);
    ask_well("messages", "2999-01-01T00:00:00Z", "");
    ck_assert_uint_eq(page.reply.answer.row_count, 0);
}
END_TEST

START_TEST(what_is_small_comes_in_one_page)
{
    pgtemp_do(db, "UPDATE progress SET audience = 100, not_in_audience = 10, sent = 20, unknown ="
                  " 3, enrolled = 60");
    ask_well("progress", NULL, "");
    cell_is(0, "source", "spring");
    cell_is(0, "state", "paused");
    cell_is(0, "waiting", "67");
    ask_well("partition", NULL, "");
    cell_is(0, "partition", "p1");
    cell_is(0, "driver", "n1");
    cell_is(0, "devices", "1203");
    ask_well("epochs", NULL, "");
    ck_assert_uint_eq(page.reply.answer.row_count, 1);
    cell_is(0, "driver", "n1");
    pgtemp_do(db, "INSERT INTO optout(account, phone, number) VALUES ('main', 60120000011, 1)");
    ask_well("optouts", NULL, "");
    cell_is(0, "phone", "60120000011");
}
END_TEST

/* ---- verify ---- */

/* Asks all checks; the one that is not ok (NULL: none is), with its example. */
static const char *
broken(char example[static 256])
{
    static char name[128];
    unsigned checks = 0;
    const char *from = "";
    *name = '\0';
    do {
        ask_well("verify", NULL, from);
        ck_assert_uint_eq(page.reply.answer.row_count, 1);
        if (!cell(0, "ok")->number) {
            struct slice n = cell(0, "check")->text, e = cell(0, "example")->text;
            ck_assert_msg(!*name, "two are broken: %s and %.*s", name, (int) n.bytes, n.data);
            snprintf(name, sizeof(name), "%.*s", (int) n.bytes, n.data);
            snprintf(example, 256, "%.*s", (int) e.bytes, e.data);
            ck_assert_int_gt(cell(0, "offences")->number, 0);
        }
        checks++;
        from = cursor();
    } while (*from);
    ck_assert_uint_eq(checks, VERIFY_CHECKS);
    return *name ? name : NULL;
}

static void
breaks(const char *sql, const char *expected, const char *example_part)
{
    char example[256] = "";
    pgtemp_do(db, "%s", sql);
    const char *name = broken(example);
    ck_assert_msg(name, "%s: nothing is broken", sql);
    ck_assert_str_eq(name, expected);
    ck_assert_msg(strstr(example, example_part), "\"%s\" lacks \"%s\"", example, example_part);
}

START_TEST(verify_is_green_on_a_sound_partition)
{
    char example[256];
    have_messages();
    pgtemp_do(db, "INSERT INTO audience(device_id, source_id, cursor, upto) VALUES (1, 5, 1, 3)");
    pgtemp_do(db, "INSERT INTO enrollment(device_id, source_id, lead_no, due_at) VALUES"
                  " (1, 5, 1, now())");
    pgtemp_do(db, "UPDATE progress SET audience = 3, enrolled = 1 WHERE source_id = 5");
    const char *name = broken(example);
    ck_assert_msg(!name, "%s: %s", name, example);
}
END_TEST

static const struct {
    const char *sql, *check, *example;
} offences[] = {
    {"INSERT INTO epoch_history(epoch, driver, incarnation, how, taken_at) VALUES (900, 'n2',"
     " gen_random_uuid(), 'planted', now())",
     "epochs rise and one driver took each", "the history ends at 900"},
    {"UPDATE message SET epoch = 0 WHERE device_id = 2 AND lead_no = 300; INSERT INTO"
     " epoch_history(epoch, driver, incarnation, how, taken_at) VALUES (0, 'n1',"
     " gen_random_uuid(), 'planted', '2020-01-01')",
     "no device had two drivers", "device 2: epoch 0 after epoch"},
    {"UPDATE progress SET audience = 1 WHERE source_id = 5", "counts sum to the audience",
     "source spring: audience 1, accounted for 0"},
    {"UPDATE message SET lead_no = 1 WHERE device_id = 1 AND lead_no = 2", "nothing was sent twice",
     "device 1 source 5 lead 1 step 0: 2 times"},
    {"UPDATE message SET settled_at = claimed_at + interval '1260 ms' WHERE device_id = 1 AND"
     " lead_no = 7",
     "no gap is below its minimum", "device 1: token"},
    {"INSERT INTO enrollment(device_id, source_id, lead_no, due_at, state) VALUES (1, 5, 99,"
     " now(), 2)",
     "every enrollment has its lead, device and source", "device 1 source 5 lead 99"},
    {"INSERT INTO enrollment_end(device_id, source_id, lead_no, step, reason, ended_at) VALUES (1, "
     "5,"
     " 1, 1, 0, now()); INSERT INTO enrollment(device_id, source_id, lead_no, due_at, state) VALUES"
     " (1, 5, 1, now(), 2)",
     "every lead of a sequence stands in one place", "both in it and through it"},
    {"INSERT INTO enrollment_end(device_id, source_id, lead_no, step, reason, ended_at) VALUES (1, "
     "5,"
     " 2, 2, 0, now()); UPDATE message SET lead_no = 2, step = CASE lead_no WHEN 2 THEN 2 ELSE 1 "
     "END"
     " WHERE device_id = 1 AND lead_no IN (2, 4)",
     "steps of a sequence go up", "lead 2: step 1 after step 2"},
    {"INSERT INTO enrollment(device_id, source_id, lead_no, due_at, state, epoch) VALUES (1, 5, 1,"
     " now(), 1, 0); UPDATE progress SET audience = 1 WHERE source_id = 5",
     "no claim of an older epoch is open", "claimed in epoch 0"},
    {"INSERT INTO audience(device_id, source_id, cursor, upto) VALUES (1, 5, 4, 4);",
     "cursors lie within their audiences", "device 1 source 5: cursor 4, end 4, last lead 3"},
};

START_TEST(each_planted_offence_turns_its_own_check_red)
{
    have_messages();
    breaks(offences[_i].sql, offences[_i].check, offences[_i].example);
}
END_TEST

/* A gap that is as small as the recorded times allow is no offence: no false alarm. */
START_TEST(the_pace_check_proves_or_is_silent)
{
    char example[256];
    have_messages();
    pgtemp_do(db, "UPDATE message SET settled_at = claimed_at + interval '1249 ms' WHERE device_id"
                  " = 1 AND lead_no = 7");
    pgtemp_do(db, "UPDATE message SET state = 5, settled_at = claimed_at + interval '1900 ms'"
                  " WHERE device_id = 1 AND lead_no = 9");
    ck_assert_ptr_null(broken(example));
}
END_TEST

static Suite *
suite(void)
{
    Suite *s = suite_create("answers");
    TCase *t = tcase_create("answers");
    tcase_set_timeout(t, 30);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, what_is_no_question_is_said_so);
    tcase_add_test(t, devices_come_in_pages_without_gap_or_repeat);
    tcase_add_test(t, a_device_is_told_but_not_its_token);
    tcase_add_test(t, a_page_never_outgrows_a_frame);
    tcase_add_test(t, messages_are_exported_once_each_with_their_newest_state);
    tcase_add_test(t, what_is_small_comes_in_one_page);
    tcase_add_loop_test(t, each_planted_offence_turns_its_own_check_red, 0,
                        (int) ARRAY_SIZE(offences));
    tcase_add_test(t, the_pace_check_proves_or_is_silent);
    tcase_add_test(t, verify_is_green_on_a_sound_partition);
    suite_add_tcase(s, t);
    return s;
}

int
main(void)
{
    static const char *const databases[] = {"clean", NULL};
    pg = pgtemp_start(databases);
    driver_schema(pg, "clean");
    SRunner *sr = srunner_create(suite());
    srunner_run_all(sr, CK_NORMAL);
    int failures = srunner_ntests_failed(sr);
    srunner_free(sr);
    pgtemp_free(pg);
    return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}
