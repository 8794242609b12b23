/* What is old goes while sends go on: days, receipts, uses of triggers, direct messages. */
#include "node/retention.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/driver.h"

#define DEVICES 20
#define LEADS   100

static struct pgtemp *pg;
static PGconn *db;
static struct driver d;

/* Days that ended 1 to 6 days ago (3 are kept), a large one among them; and a running campaign. */
static void
fill_database(void)
{
    pgtemp_do(
        db,
        "DO $$ DECLARE day date; BEGIN FOR day IN SELECT (now() AT TIME ZONE 'UTC')::date - n"
        " FROM generate_series(2, 7) n LOOP EXECUTE format('CREATE TABLE %%I PARTITION OF message"
        " FOR VALUES FROM (%%L) TO (%%L)', 'message_' || to_char(day, 'YYYYMMDD'),"
        " day::text || ' 00:00:00+00', (day + 1)::text || ' 00:00:00+00');"
        " EXECUTE format('ALTER TABLE %%I OWNER TO fleetcast_owner',"
        " 'message_' || to_char(day, 'YYYYMMDD')); END LOOP; END $$");
    pgtemp_do(
        db,
        "INSERT INTO message SELECT at, at, 0, 0, uuid_v7(at), 1 + n %% %d, 1, -1000000 - n, 0, 0,"
        " 2, 32 FROM (SELECT n, date_trunc('day', now(), 'UTC') - interval '60 h' AS at FROM"
        " generate_series(1, 200000) n) x;"
        "INSERT INTO message SELECT at, at, 0, 0, uuid_v7(at), 1, 1, -n, 0, 0, 2, 32 FROM (SELECT "
        "n,"
        " date_trunc('day', now(), 'UTC') - n * interval '1 day' - interval '1 h' AS at FROM"
        " generate_series(0, 6) n) x;"
        "INSERT INTO receipt SELECT settled_at, token, 2, 32 FROM message WHERE device_id = 1 AND"
        " lead_no > -10;"
        "INSERT INTO receipt SELECT at, uuid_v7(at), 1, 0 FROM (SELECT now() - interval '9 days' AS"
        " at FROM generate_series(1, 2500)) x;"
        "INSERT INTO trigger_use SELECT now() - n * interval '1 day', 1, n, 1, 'X' FROM"
        " generate_series(0, 9) n;"
        "INSERT INTO trigger_use SELECT now() - interval '9 days', 2, n, 1, 'X' FROM"
        " generate_series(1, 2500) n",
        DEVICES);
    pgtemp_do(
        db,
        "INSERT INTO device(device_id, min_delay_ms, max_delay_ms, transport, address, scope,"
        " next_lead_no, next_direct_no, content_version) SELECT g, 50, 60, 'null', 'a' || g, 's',"
        " %d, 3, 1 FROM generate_series(1, %d) g;"
        "INSERT INTO lead(device_id, lead_no, phone, name) SELECT g, n, 60120000000 + g * 1000 + n,"
        " 'Ann' FROM generate_series(1, %d) g, generate_series(1, %d) n;"
        "INSERT INTO template VALUES ('hello', 1,"
        " '{\"kind\":\"template\",\"name\":\"hello\",\"text\":\"Hi {{name}}\"}');"
        "INSERT INTO source(source_id, kind, state, content_version, started_version, started_at,"
        " name, item) VALUES (1, 1, 0, 1, 1, now(), 'spring',"
        " '{\"kind\":\"campaign\",\"name\":\"spring\",\"template\":\"hello\"}');"
        "INSERT INTO audience(device_id, source_id, cursor, upto) SELECT g, 1, 0, %d FROM"
        " generate_series(1, %d) g;"
        "INSERT INTO progress(source_id, audience) VALUES (1, %d);"
        "UPDATE owner SET content_applied = 1;"
        /* 8 days old and over, 8 days old and in doubt, 6 days old */
        "INSERT INTO direct(device_id, lead_no, phone, accepted_at, key, text) VALUES"
        " (1, -1, 60120000001, now() - interval '8 days', 'a', 'x'),"
        " (1, -2, 60120000001, now() - interval '8 days', 'b', 'x'),"
        " (1, -3, 60120000001, now() - interval '6 days', 'c', 'x');"
        "INSERT INTO enrollment(device_id, source_id, lead_no, due_at, state) VALUES"
        " (1, 0, -2, now(), 2);"
        "UPDATE progress SET audience = 3, enrolled = 3, sent = 2, unknown = 1 WHERE source_id = 0",
        LEADS, DEVICES, DEVICES, LEADS, LEADS, DEVICES, DEVICES * LEADS);
}

static void
setup(void)
{
    db = pgtemp_anew(pg, "work", "clean");
    fill_database();
    driver_start(&d, pg, "work");
}

static void
teardown(void)
{
    driver_stop(&d);
    PQfinish(db);
}

/* Turns the loop until the query says 0, at most so many turns of a busy loop. */
static void
until_none(const char *what)
{
    for (unsigned turns = 0; turns < 200000; turns++) {
        uv_run(&d.loop, UV_RUN_ONCE);
        if (turns % 50 == 0 && pgtemp_int(db, "SELECT count(*) FROM %s", what) == 0)
            return;
    }
    ck_abort_msg("still there: %s", what);
}

#define OLD_DAYS                                                                                   \
    "pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'message'::regclass"  \
    " AND c.relname < 'message_' || to_char((now() AT TIME ZONE 'UTC')::date - 3, 'YYYYMMDD')"
#define BARE_DAYS                                                                                  \
    "pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'message'::regclass"  \
    " AND c.relname < 'message_' || to_char((now() AT TIME ZONE 'UTC')::date - 1, 'YYYYMMDD')"     \
    " AND to_regclass(c.relname || '_lead') IS NULL"

START_TEST(what_is_old_goes_and_nothing_younger)
{
    until_none("direct WHERE key = 'a'"); /* the last step of the round */
    ck_assert_int_eq(pgtemp_int(db, "SELECT count(*) FROM " OLD_DAYS), 0);
    ck_assert_int_eq(pgtemp_int(db, "SELECT count(*) FROM " BARE_DAYS), 0);
    /* yesterday, and the two days that ended 1 and 2 days ago */
    ck_assert_int_eq(pgtemp_int(db, "SELECT count(*) FROM message WHERE lead_no BETWEEN -9 AND 0"),
                     3);
    ck_assert_int_eq(pgtemp_int(db, "SELECT count(*) FROM message WHERE lead_no < -999999"),
                     200000);
    ck_assert_int_eq(pgtemp_int(db, "SELECT count(*) FROM receipt"), 3);
    ck_assert_int_eq(pgtemp_int(db, "SELECT count(*) FROM receipt r JOIN message m USING (token)"),
                     3);
    ck_assert_int_eq(pgtemp_int(db, "SELECT count(*) FROM trigger_use"), 4);
    ck_assert_int_eq(pgtemp_int(db, "SELECT max(lead_no) FROM trigger_use"), 3);
    ck_assert_str_eq(pgtemp_text(db, "SELECT string_agg(key, ' ' ORDER BY key) FROM direct"),
                     "b c");
}
END_TEST

/* The tick has its own lane: it is not late while days are dropped and a large one is indexed. */
START_TEST(sends_go_on_meanwhile)
{
    struct meter *m = partition_meter(d.partition);

    until_none("direct WHERE key = 'a'");
    ck_assert_int_eq(pgtemp_int(db, "SELECT count(*) FROM " BARE_DAYS), 0);
    uint64_t sent = m->sent;
    ck_assert_uint_gt(sent, 50);
    ck_assert_uint_eq(m->tick_failed, 0);
    ck_assert_uint_eq(m->locks_long, 0);
    ck_assert_msg(histogram_quantile(&m->lateness, 990) < 100 * USEC_PER_MSEC, "p99 %llu us",
                  (unsigned long long) histogram_quantile(&m->lateness, 990));
    until_none("enrollment WHERE source_id = 1 AND state < 2");
    for (unsigned turns = 0; turns < 100000 && m->sent < DEVICES * LEADS; turns++)
        uv_run(&d.loop, UV_RUN_ONCE);
    ck_assert_uint_eq(m->sent, DEVICES * LEADS);
}
END_TEST

/* Somebody reads `message` for a long time: the drop gives up and comes again, sends go on. */
START_TEST(a_long_question_delays_the_drop_and_nothing_else)
{
    struct meter *m = partition_meter(d.partition);
    PGconn *reader = pgtemp_open(pg, "work", NULL);
    int days = pgtemp_int(db, "SELECT count(*) FROM " OLD_DAYS);

    pgtemp_do(reader, "BEGIN; SELECT count(*) FROM message WHERE lead_no = 5");
    uint64_t before = m->sent;
    for (unsigned turns = 0; turns < 100000 && m->sent < before + 300; turns++)
        uv_run(&d.loop, UV_RUN_ONCE);
    ck_assert_uint_ge(m->sent, before + 300);
    ck_assert_int_ge(pgtemp_int(db, "SELECT count(*) FROM " OLD_DAYS), days - 2);
    ck_assert_int_ge(pgtemp_int(db, "SELECT count(*) FROM " OLD_DAYS), 1);
    ck_assert_uint_eq(m->tick_failed, 0);
    pgtemp_do(reader, "COMMIT");
    until_none(OLD_DAYS);
    PQfinish(reader);
}
END_TEST

static Suite *
retention_suite(void)
{
    Suite *s = suite_create("retention");
    TCase *t = tcase_create("retention");

    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, what_is_old_goes_and_nothing_younger);
    tcase_add_test(t, sends_go_on_meanwhile);
    tcase_add_test(t, a_long_question_delays_the_drop_and_nothing_else);
    suite_add_tcase(s, t);
    return s;
}

int
main(void)
{
    static const char *const databases[] = {"clean", NULL};

    pg = pgtemp_start(databases);
    driver_schema(pg, "clean");
    SRunner *runner = srunner_create(retention_suite());
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    pgtemp_free(pg);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
