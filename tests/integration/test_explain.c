/* What holds what, asked of a real driver: gates, leads, messages, buckets, capacity. */
#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/answers.h"
#include "tests/support/driver.h"

static struct pgtemp *pg;
static PGconn *db;
static struct driver d;
static struct driver_answer page;

/* Device 1 without limits; 2 in quiet hours always but for one minute; 3 paused; 4 used up; 5 in a
 * zone that nobody knows. 10 leads each. "spring" is a draft, so nothing is sent meanwhile. */
static void
setup(void)
{
    db = pgtemp_anew(pg, "work", "clean");
    pgtemp_do(db, "INSERT INTO device(device_id, min_delay_ms, max_delay_ms, transport, address,"
                  " name, next_lead_no) SELECT g, 10000, 10000, 'null', 'a' || g, 'Shop ' || g, 10"
                  " FROM generate_series(1, 5) g;"
                  "UPDATE device SET zone = 'Asia/Kuala_Lumpur', quiet = to_char(now() AT TIME ZONE"
                  " 'Asia/Kuala_Lumpur' - interval '5 min', 'HH24:MI') || '-' || to_char(now()"
                  " AT TIME ZONE 'Asia/Kuala_Lumpur' - interval '6 min', 'HH24:MI')"
                  " WHERE device_id = 2;"
                  "UPDATE device SET paused_until = now() + interval '1 h',"
                  " paused_because = 'number is warm' WHERE device_id = 3;"
                  "UPDATE device SET daily_cap = 7, day = (now() AT TIME ZONE 'UTC')::date,"
                  " day_reserved = 7 WHERE device_id = 4;"
                  "UPDATE device SET zone = 'Moon/Base', hourly_cap = 5 WHERE device_id = 5;"
                  "INSERT INTO lead(device_id, lead_no, phone, name) SELECT d, n,"
                  " 60120000000 + d * 100 + n, 'Ann' FROM generate_series(1, 5) d,"
                  " generate_series(1, 10) n;"
                  "INSERT INTO template VALUES ('hello', 1,"
                  " '{\"kind\":\"template\",\"name\":\"hello\",\"text\":\"Hi\"}');"
                  "INSERT INTO source(source_id, kind, state, content_version, name, item)"
                  " VALUES (5, 1, 3, 1, 'spring',"
                  " '{\"kind\":\"campaign\",\"name\":\"spring\",\"template\":\"hello\"}');"
                  "INSERT INTO source_revision SELECT source_id, 1, item FROM source"
                  " WHERE source_id = 5;"
                  "INSERT INTO progress(source_id) VALUES (5)");
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

static struct slice
text(const char *t)
{
    return (struct slice){t, strlen(t)};
}

static void
ask(const char *question, const char *argument)
{
    struct request q = {.kind = MESSAGE_ASK,
                        .ask = {.partition = text("p1"),
                                .question = text(question),
                                .argument_count = 1,
                                .arguments = {text(argument)}}};

    driver_answer_done(&page);
    driver_send(&d, &q, &page);
    driver_wait(&d, &page);
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

static const char *
words(uint32_t row, const char *column)
{
    static char rooms[4][400];
    static unsigned next;
    const struct cell *c = cell(row, column);
    char *got = rooms[next++ % 4];

    if (c->kind == CELL_TEXT)
        snprintf(got, 400, "%.*s", (int) c->text.bytes, c->text.data);
    else
        snprintf(got, 400, c->kind == CELL_NULL ? "NULL" : "%" PRId64, c->number);
    return got;
}

/* The row whose `column` says so. */
static uint32_t
row_of(const char *column, const char *value)
{
    for (uint32_t row = 0; row < page.reply.answer.row_count; row++)
        if (strcmp(words(row, column), value) == 0)
            return row;
    ck_abort_msg("no row with %s %s", column, value);
    return 0;
}

static void
device_says(const char *id, const char *held_by, const char *gate, const char *detail)
{
    ask("explain_device", id);
    ck_assert_str_eq(words(1, "item"), "held_by");
    ck_assert_str_eq(words(1, "verdict"), held_by);
    uint32_t row = row_of("item", gate);
    ck_assert_str_eq(words(row, "verdict"), strcmp(gate, held_by) == 0 ? "holds" : "open");
    ck_assert_msg(strstr(words(row, "detail"), detail) != NULL, "%s", words(row, "detail"));
    if (strcmp(held_by, "open") != 0)
        ck_assert_str_eq(words(1, "opens"), words(row, "opens"));
}

/* Seconds from now on, by the database's clock. */
static int64_t
opens_in(uint32_t row)
{
    ck_assert_int_eq(cell(row, "opens")->kind, CELL_TIME);
    return (cell(row, "opens")->number -
            pgtemp_int(db, "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")) /
           1000000;
}

static void
let_zones_be_read(void)
{
    for (unsigned turns = 0; turns < 2000; turns++) {
        ask("explain_device", "2");
        if (strstr(words(row_of("item", "quiet_hours"), "detail"), "not read") == NULL)
            return;
    }
    ck_abort_msg("the zone was not read");
}

START_TEST(a_device_and_its_gates)
{
    static const char *const items[] = {
        "device",           "held_by",          "driver",      "health",
        "breaker",          "paused",           "quiet_hours", "daily_cap",
        "hourly_cap",       "warm_up",          "gap",         "waiting_direct",
        "waiting_campaign", "waiting_sequence", "in_flight",   "unknown"};

    let_zones_be_read();
    device_says("2", "quiet_hours", "quiet_hours", "Asia/Kuala_Lumpur");
    ck_assert_uint_eq(page.reply.answer.row_count, ARRAY_SIZE(items));
    for (uint32_t n = 0; n < ARRAY_SIZE(items); n++)
        ck_assert_str_eq(words(n, "item"), items[n]);
    /* it opens for one minute, 24 hours less 6 minutes from the begin of this minute */
    ck_assert_int_le(opens_in(1), 24 * 3600 - 6 * 60);
    ck_assert_int_gt(opens_in(1), 24 * 3600 - 8 * 60);
    device_says("3", "paused", "paused", "number is warm");
    ck_assert_int_gt(opens_in(1), 3500);
    device_says("4", "daily_cap", "daily_cap", "7 of 7 used");
    ck_assert_int_eq(cell(1, "opens")->number,
                     pgtemp_int(db, "SELECT (extract(epoch FROM date_trunc('day', now() AT TIME"
                                    " ZONE 'UTC') + interval '1 day') * 1000000)::bigint"));
    device_says("5", "hourly_cap", "hourly_cap", "zone data not read yet");
    ask("explain_device", "1");
    ck_assert_str_eq(words(row_of("item", "paused"), "verdict"), "open");
    ck_assert_str_eq(words(row_of("item", "daily_cap"), "detail"), "none");
    ask("explain_device", "99");
    ck_assert_uint_eq(page.reply.answer.row_count, 0);
}
END_TEST

/* A draft: 10 leads a device at 10 s. Device 2 has 6 a day, 3 begins in an hour, 4 tomorrow. */
START_TEST(the_capacity_of_a_draft)
{
    let_zones_be_read();
    pgtemp_do(db, "DELETE FROM device WHERE device_id = 5");
    ask("capacity", "spring");
    ck_assert_str_eq(words(0, "devices"), "4");
    ck_assert_str_eq(words(0, "leads"), "40");
    ck_assert_str_eq(words(0, "devices_never"), "0");
    int64_t days = (cell(0, "finish_at")->number -
                    pgtemp_int(db, "SELECT (extract(epoch FROM now()) * 1000000)::bigint")) /
                   1000000 / 3600;
    /* the slowest: 2's second minute, in almost two days */
    ck_assert_int_ge(days, 47);
    ck_assert_int_le(days, 48);
    ask("capacity", ""); /* nothing is active */
    ck_assert_str_eq(words(0, "leads"), "0");
    ck_assert_str_eq(words(0, "finish_at"), "NULL");
    pgtemp_do(db, "UPDATE device SET paused_until = 'infinity' WHERE device_id = 3");
    partition_device_changed(d.partition, 3);
    for (unsigned n = 0; n < 2000; n++) {
        ask("capacity", "spring");
        if (strcmp(words(0, "devices_never"), "1") == 0)
            break;
    }
    ck_assert_str_eq(words(0, "devices_never"), "1");
    ck_assert_str_eq(words(0, "finish_at"), "NULL");
    ck_assert_str_eq(words(0, "limit"), "no open hour");
}
END_TEST

/* Rows of every kind in the table; each is in one bucket. */
static void
rows_of_every_kind(void)
{
    pgtemp_do(db, "UPDATE source SET state = 1, started_version = 1, started_at = now()"
                  " WHERE source_id = 5;"
                  "INSERT INTO audience(device_id, source_id, cursor, upto)"
                  " SELECT g, 5, 8, 10 FROM generate_series(1, 4) g;"
                  "INSERT INTO enrollment(device_id, source_id, lead_no, due_at, state, epoch,"
                  " token) SELECT g, 5, 1, now() - interval '1 s', 0, 0, gen_random_uuid()"
                  " FROM generate_series(1, 4) g UNION ALL"
                  " SELECT 1, 5, 2, now() + interval '1 h', 0, 0, gen_random_uuid() UNION ALL"
                  " SELECT 1, 5, 3, now(), 1, 1, gen_random_uuid() UNION ALL"
                  " SELECT 1, 5, 4, now(), 2, 1, gen_random_uuid();"
                  "UPDATE progress SET audience = 40, not_in_audience = 3, sent = 10, failed = 4,"
                  " unknown = 1, expired = 2, skipped = 3, cancelled = 3, enrolled = 30"
                  " WHERE source_id = 5");
}

static int64_t
bucket(const char *name)
{
    return cell(row_of("bucket", name), "count")->number;
}

START_TEST(buckets_sum_to_the_audience)
{
    int64_t sum = 0;

    let_zones_be_read();
    rows_of_every_kind();
    ask("explain_source", "spring");
    for (uint32_t row = 0; row < page.reply.answer.row_count; row++)
        sum += cell(row, "count")->number;
    ck_assert_int_eq(sum, 40);
    ck_assert_int_eq(bucket("sent"), 10);
    ck_assert_int_eq(bucket("in_flight"), 1);
    ck_assert_int_eq(bucket("due_later"), 1);
    ck_assert_int_eq(bucket("source_not_started"), 4); /* as memory has it */
    ck_assert_int_eq(bucket("not_enrolled"), 40 - 26 - 1 - 1 - 4);
    ask("explain_source", "autumn");
    ck_assert_uint_eq(page.reply.answer.row_count, 0);
}
END_TEST

START_TEST(the_rows_of_a_lead)
{
    rows_of_every_kind();
    ask("explain_lead", "60120000101");
    ck_assert_uint_eq(page.reply.answer.row_count, 1);
    ck_assert_str_eq(words(0, "source"), "spring");
    ck_assert_str_eq(words(0, "state"), "waiting");
    ck_assert_str_eq(words(0, "held_by"), "source_not_started");
    ask("explain_lead", "60120000110");
    ck_assert_str_eq(words(0, "state"), "not_enrolled");
    ck_assert_str_eq(words(0, "due"), "NULL");
    ask("explain_lead", "60120000105"); /* the cursor passed it, nothing is left */
    ck_assert_str_eq(words(0, "state"), "ended");
    pgtemp_do(db, "INSERT INTO optout(phone, number, account) VALUES (60120000110, 1, 'main')");
    ask("explain_lead", "60120000110");
    ck_assert_str_eq(words(0, "held_by"), "opted_out");
    ask("explain_lead", "60120009999");
    ck_assert_uint_eq(page.reply.answer.row_count, 0);
}
END_TEST

START_TEST(the_life_of_a_message)
{
    const char *uuid = "0197a1b2-c3d4-7000-8000-000000000001";
    char token[128];

    pgtemp_do(db,
              "INSERT INTO message(claimed_at, settled_at, epoch, text_hash, token, device_id,"
              " source_id, lead_no, step, attempt, state, reason) VALUES (now() - interval '9 s',"
              " now() - interval '5 s', 1, 7, '%s', 1, 5, 4, 0, 0, 3, 41);"
              "INSERT INTO receipt(at, token, state, reason, provider_id) VALUES (now(), '%s', 1,"
              " 0, 'wamid.1')",
              uuid, uuid);
    snprintf(token, sizeof(token), "v1.p1.1.1.%s", uuid);
    ask("explain_message", token);
    ck_assert_uint_eq(page.reply.answer.row_count, 3);
    ck_assert_str_eq(words(0, "event"), "claimed");
    ck_assert_str_eq(words(0, "detail"), "step 0, attempt 0, epoch 1 by n1");
    ck_assert_str_eq(words(1, "event"), "settled");
    ck_assert_str_eq(words(1, "detail"), "unknown: timeout");
    ck_assert_str_eq(words(2, "event"), "receipt");
    ck_assert_str_eq(words(2, "detail"), "sent, provider id wamid.1");
}
END_TEST

int
main(void)
{
    static const char *const databases[] = {"clean", NULL};
    Suite *s = suite_create("explain");
    TCase *t = tcase_create("explain");

    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_device_and_its_gates);
    tcase_add_test(t, the_capacity_of_a_draft);
    tcase_add_test(t, buckets_sum_to_the_audience);
    tcase_add_test(t, the_rows_of_a_lead);
    tcase_add_test(t, the_life_of_a_message);
    suite_add_tcase(s, t);
    pg = pgtemp_start(databases);
    driver_schema(pg, "clean");
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failures = srunner_ntests_failed(sr);
    srunner_free(sr);
    pgtemp_free(pg);
    return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}
