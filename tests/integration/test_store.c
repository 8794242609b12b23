/* What each statement of the store answers and leaves, on one session; and the plans they run by.
 */
#include "node/store.h"
#include "tests/integration/partition_fixture.h"

static PGconn *driver;

static void
open_session(void)
{
    fixture_open();
    driver = pgtemp_open(pg, PARTITION, "fleetcast_node");
    for (unsigned i = 0; store_settings[i]; i += 2)
        pgtemp_do(driver, "SET \"%s\" = '%s'", store_settings[i], store_settings[i + 1]);
    for (unsigned i = 0; i < STORE_COUNT; i++) {
        PGresult *r = PQprepare(driver, store_statements[i].name, store_statements[i].sql, 0, NULL);

        ck_assert_msg(PQresultStatus(r) == PGRES_COMMAND_OK, "%s: %s", store_statements[i].name,
                      PQerrorMessage(driver));
        PQclear(r);
    }
    pgtemp_do(db_admin, "UPDATE owner SET epoch = 7, driver = 'n1'");
}

static void
close_session(void)
{
    PQfinish(driver);
    fixture_close();
}

/* Values are SQL literals: run(STORE_X, "7, '{1}'"). Returns all cells: "a,b;c,d". */
static const char *
run(enum store_statement statement, const char *values)
{
    static char out[4096];
    char sql[4096];
    size_t used = 0;

    snprintf(sql, sizeof(sql), "EXECUTE \"%s\"%s%s%s", store_statements[statement].name,
             *values ? "(" : "", values, *values ? ")" : "");
    PGresult *r = PQexec(driver, sql);
    ck_assert_msg(PQresultStatus(r) == PGRES_TUPLES_OK || PQresultStatus(r) == PGRES_COMMAND_OK,
                  "%s: %s", sql, PQerrorMessage(driver));
    out[0] = '\0';
    for (int row = 0; row < PQntuples(r); row++)
        for (int column = 0; column < PQnfields(r); column++)
            used += (size_t) snprintf(out + used, sizeof(out) - used, "%s%s",
                                      column ? ","
                                      : row  ? ";"
                                             : "",
                                      PQgetvalue(r, row, column));
    PQclear(r);
    return out;
}

#define ASKED(n)                                                                                   \
    "7, '{" n "}', '{1}', '{1}', '{1}', '{0}', '{0}', '{11111111-1111-7111-8111-111111111111}'"

/* The one row (1, 1, 1) with that token: its step, where it goes, how it counts when it ends, and
 * the sequence that it goes on in (first step 1, revision 1, due in 2031). */
static const char *
sequence_fact(const char *step, const char *goal, const char *to_step, const char *state,
              const char *reason, const char *id, const char *ends_as, const char *next)
{
    static char out[800];

    snprintf(out, sizeof(out),
             "'{5}', '{1}', '{1}', '{1}', '{11111111-1111-7111-8111-111111111111}', '{%s}', '{%s}',"
             " '{0}', '{1}', '{2030-01-01}', '{%s}', '{%s}', '{\"%s\"}', '{now}', '{now}', '{%s}',"
             " '{0}', '{99}', '{7}', '{%s}', '{%s}', '{1}', '{1}', '{2031-01-01}'",
             goal, to_step, state, reason, id, step, ends_as, next);
    return out;
}

/* The one row (1, 1, 1) with that token; goal, state, reason, provider id. */
static const char *
fact(const char *goal, const char *state, const char *reason, const char *id)
{
    return sequence_fact("0", goal, "0", state, reason, id, state, "0");
}

static void
one_enrolled(void)
{
    fixture_devices(1, 3, 5000, 15000);
    fixture_campaign();
    run(STORE_ENROL, "7, '{1}', 1, '{1,2,3}'");
}

static void
one_claimed(void)
{
    one_enrolled();
    ck_assert_ptr_nonnull(
        strstr(run(STORE_CLAIM, ASKED("9")), "9,60000100001,n1,{\"city\": \"c1\"},20"));
}

/* ---- enrol ---- */

START_TEST(enrol_moves_rows_and_cursor_together)
{
    fixture_devices(2, 5, 5000, 15000);
    fixture_campaign();
    ck_assert_ptr_nonnull(strstr(run(STORE_ENROL, "7, '{1,2}', 2, '{1,2,3}'"), "1,1,1,"));
    ck_assert_int_eq(4, pgtemp_int(db_admin, "SELECT count(*) FROM enrollment"));
    ck_assert_int_eq(2, pgtemp_int(db_admin, "SELECT min(cursor) FROM audience"));
    ck_assert_str_eq("1,t,f;2,t,f;3,f,f", run(STORE_ENROL_OPEN, "'{1,2,3}', '{1,2,3}', '{}'"));
    run(STORE_ENROL, "7, '{1,2}', 64, '{1,2,3}'");
    ck_assert_int_eq(10, pgtemp_int(db_admin, "SELECT enrolled FROM progress"));
    ck_assert_str_eq("1,f,f;2,f,f", run(STORE_ENROL_OPEN, "'{1,2}', '{1,2,3}', '{}'"));
    ck_assert_str_eq("", run(STORE_ENROL, "7, '{1,2}', 64, '{1,2,3}'"));
    fixture_sums();
}
END_TEST

START_TEST(enrol_counts_who_does_not_fit_and_numbers_without_a_lead)
{
    fixture_devices(1, 10, 5000, 15000);
    fixture_campaign();
    pgtemp_do(db_admin, "UPDATE source SET filter = '{\"city\": \"c1\"}';"
                        "DELETE FROM lead WHERE lead_no IN (3, 10)");
    run(STORE_ENROL, "7, '{1}', 4, '{1,2,3}'"); /* 1 2 4 5: two fit, two do not, 3 is missing */
    ck_assert_int_eq(2, pgtemp_int(db_admin, "SELECT enrolled FROM progress"));
    ck_assert_int_eq(3, pgtemp_int(db_admin, "SELECT not_in_audience FROM progress"));
    fixture_sums();
    run(STORE_ENROL, "7, '{1}', 64, '{1,2,3}'");
    ck_assert_int_eq(4, pgtemp_int(db_admin, "SELECT enrolled FROM progress"));
    ck_assert_int_eq(6, pgtemp_int(db_admin, "SELECT not_in_audience FROM progress"));
    ck_assert_int_eq(10, pgtemp_int(db_admin, "SELECT cursor FROM audience"));
    fixture_sums();
}
END_TEST

START_TEST(enrol_expires_what_is_behind_the_cursor)
{
    one_enrolled();
    pgtemp_do(db_admin, "UPDATE source SET not_after = now() - interval '1 s'");
    ck_assert_str_eq("", run(STORE_ENROL, "7, '{1}', 1, '{1,2,3}'"));
    ck_assert_int_eq(2, pgtemp_int(db_admin, "SELECT expired FROM progress"));
    ck_assert_str_eq("1,f,f", run(STORE_ENROL_OPEN, "'{1}', '{1,2,3}', '{}'"));
    fixture_sums();
}
END_TEST

START_TEST(enrol_leaves_paused_sources_and_prefers_priority)
{
    fixture_devices(1, 3, 5000, 15000);
    fixture_campaign();
    pgtemp_do(db_admin,
              "INSERT INTO source(source_id, kind, state, content_version, started_version, name,"
              " item) SELECT n, 1, 0, 1, 1, 's' || n, item FROM source, generate_series(2, 3) n;"
              "INSERT INTO progress(source_id, audience) VALUES (2, 3), (3, 3);"
              "INSERT INTO audience(device_id, source_id, priority, upto) VALUES (1, 2, 5, 3),"
              " (1, 3, 0, 3); UPDATE source SET state = 1 WHERE source_id = 1");
    ck_assert_ptr_nonnull(strstr(run(STORE_ENROL, "7, '{1}', 3, '{1,2,3}'"), "1,2,3,"));
    ck_assert_ptr_nonnull(strstr(run(STORE_ENROL, "7, '{1}', 3, '{1,2,3}'"), "1,3,3,"));
    ck_assert_str_eq("", run(STORE_ENROL, "7, '{1}', 3, '{1,2,3}'"));
    pgtemp_do(db_admin, "UPDATE source SET state = 0");
    ck_assert_ptr_nonnull(strstr(run(STORE_ENROL, "7, '{1}', 3, '{1,2,3}'"), "1,1,3,"));
    fixture_sums();
}
END_TEST

/* ---- settle ---- */

START_TEST(a_fact_finishes_its_row_once)
{
    one_claimed();
    ck_assert_str_eq("5,,,,,,", run(STORE_FINISH, fact("3", "1", "0", "wamid")));
    ck_assert_str_eq("", run(STORE_FINISH, fact("3", "1", "0", "wamid")));
    ck_assert_str_eq("", run(STORE_EVIDENCE, fact("3", "1", "0", "wamid")));
    ck_assert_str_eq("7,99,1,wamid",
                     pgtemp_text(db_admin, "SELECT concat_ws(',', epoch, text_hash, state,"
                                           " provider_id) FROM message"));
    ck_assert_int_eq(1, pgtemp_int(db_admin, "SELECT sent FROM progress"));
    ck_assert_int_eq(0, pgtemp_int(db_admin, "SELECT count(*) FROM enrollment"));
    fixture_sums();
}
END_TEST

START_TEST(each_state_is_counted_where_it_belongs)
{
    static const char *const columns[] = {"sent", "failed", "", "expired", "skipped", "cancelled"};
    char state[2] = {(char) ('1' + _i), '\0'};

    if (!*columns[_i])
        return; /* unknown keeps its row: advance */
    one_claimed();
    run(STORE_FINISH, fact("3", state, "31", ""));
    ck_assert_int_eq(1, pgtemp_int(db_admin, "SELECT %s FROM progress", columns[_i]));
    fixture_sums();
}
END_TEST

START_TEST(a_fact_with_another_token_changes_nothing)
{
    one_enrolled();
    ck_assert_str_eq("", run(STORE_FINISH, fact("3", "1", "0", "x")));
    ck_assert_str_eq("", run(STORE_ADVANCE, fact("0", "0", "0", "")));
    ck_assert_int_eq(0, pgtemp_int(db_admin, "SELECT count(*) FROM message"));
}
END_TEST

START_TEST(what_never_left_waits_again_without_a_message)
{
    one_claimed();
    ck_assert_str_eq("5", run(STORE_ADVANCE, fact("0", "0", "0", "")));
    ck_assert_str_eq("0,0,0", pgtemp_text(db_admin, "SELECT concat_ws(',', state, step, attempt)"
                                                    " FROM enrollment"));
    ck_assert_int_eq(0, pgtemp_int(db_admin, "SELECT count(*) FROM message"));
    fixture_sums();
    /* And may be claimed again, under another token. */
    ck_assert_str_ne("", run(STORE_CLAIM, ASKED("9")));
}
END_TEST

START_TEST(evidence_settles_an_unknown_once)
{
    one_claimed();
    ck_assert_str_eq("5", run(STORE_ADVANCE, fact("2", "3", "41", "")));
    ck_assert_int_eq(1, pgtemp_int(db_admin, "SELECT unknown FROM progress"));
    ck_assert_int_eq(2, pgtemp_int(db_admin, "SELECT state FROM enrollment"));
    fixture_sums();
    /* A late fact finds no claimed row; as evidence it counts, once. */
    ck_assert_str_eq("", run(STORE_FINISH, fact("3", "1", "0", "wamid")));
    ck_assert_str_eq("5,,,,,,", run(STORE_EVIDENCE, fact("3", "1", "0", "wamid")));
    ck_assert_str_eq("", run(STORE_EVIDENCE, fact("3", "1", "0", "wamid")));
    ck_assert_str_eq("0,1", pgtemp_text(db_admin, "SELECT concat_ws(',', unknown, sent)"
                                                  " FROM progress"));
    ck_assert_int_eq(1, pgtemp_int(db_admin, "SELECT count(*) FROM receipt"));
    ck_assert_str_eq("sent", pgtemp_text(db_admin, "SELECT status FROM broadcast_messages"
                                                   " WHERE lead_no = 1"));
    fixture_sums();
}
END_TEST

START_TEST(evidence_that_goes_on_keeps_the_row)
{
    one_claimed();
    run(STORE_ADVANCE, fact("2", "3", "41", ""));
    ck_assert_str_eq("5,,,,,,", run(STORE_EVIDENCE, fact("0", "1", "0", "wamid")));
    ck_assert_int_eq(0, pgtemp_int(db_admin, "SELECT state FROM enrollment"));
    ck_assert_str_eq("0,0", pgtemp_text(db_admin, "SELECT concat_ws(',', unknown, sent)"
                                                  " FROM progress"));
    fixture_sums();
}
END_TEST

/* ---- take, fill, sweep, audience ---- */

START_TEST(left_over_leaves_out_what_this_process_knows)
{
    one_claimed();
    ck_assert_str_eq("", run(STORE_LEFT_OVER, "7, '{}', 10"));
    ck_assert_str_eq("1,1,1,0,0,11111111-1111-7111-8111-111111111111,7,1",
                     run(STORE_LEFT_OVER, "8, '{}', 10"));
    ck_assert_str_eq("", run(STORE_LEFT_OVER, "8, '{11111111-1111-7111-8111-111111111111}', 10"));
}
END_TEST

START_TEST(fill_gives_each_device_its_next_rows_in_due_order)
{
    fixture_devices(3, 5, 5000, 15000);
    fixture_campaign();
    run(STORE_ENROL, "7, '{1,2,3}', 64, '{1,2,3}'");
    pgtemp_do(db_admin, "UPDATE enrollment SET due_at = '2030-01-01'::timestamptz"
                        " - lead_no * interval '1 day'; UPDATE enrollment SET state = 1"
                        " WHERE device_id = 3 AND lead_no > 1");
    ck_assert_str_eq("2,1,5,0,0,2029-12-27 00:00:00+00,1;2,1,4,0,0,2029-12-28 00:00:00+00,1;"
                     "3,1,1,0,0,2029-12-31 00:00:00+00,1",
                     run(STORE_FILL, "'{2,3}', '{2,2}', '{1970-01-01,1970-01-01}', '{0,0}',"
                                     " '{0,0}', '{1}'"));
    ck_assert_str_eq("2,1,3,0,0,2029-12-29 00:00:00+00,1",
                     run(STORE_FILL, "'{2,3}', '{1,2}', '{2029-12-28,2029-12-31}', '{1,1}',"
                                     " '{4,1}', '{1}'"));
    ck_assert_str_eq("", run(STORE_FILL, "'{1,2}', '{9,9}', '{1970-01-01,1970-01-01}', '{0,0}',"
                                         " '{0,0}', '{}'"));
}
END_TEST

START_TEST(sweep_ends_a_cancelled_source_page_by_page)
{
    fixture_devices(3, 5, 5000, 15000);
    fixture_campaign();
    run(STORE_ENROL, "7, '{1,2,3}', 3, '{1,2,3}'");
    ck_assert_str_eq("", run(STORE_SWEEP, "7, 1, 0, 2, 4")); /* not cancelled */
    pgtemp_do(db_admin, "UPDATE source SET state = 2");
    ck_assert_str_eq("1,3;2,1", run(STORE_SWEEP, "7, 1, 0, 2, 4"));
    fixture_sums();
    ck_assert_str_eq("1,0;2,2", run(STORE_SWEEP, "7, 1, 0, 2, 4"));
    ck_assert_str_eq("3,3", run(STORE_SWEEP, "7, 1, 2, 2, 4"));
    ck_assert_str_eq("", run(STORE_SWEEP, "7, 1, 3, 2, 4"));
    ck_assert_int_eq(15, pgtemp_int(db_admin, "SELECT cancelled FROM progress"));
    fixture_sums();
}
END_TEST

#define SOURCE(state, version, started)                                                            \
    "7, '{4}', '{" state "}', '{0}', '{" version "}', '{" started "}', '{infinity}', '{four}',"    \
    " '{\"{[1,2]}\"}', '{\"{\\\"audience\\\": {\\\"where\\\": {\\\"city\\\": \\\"c1\\\"}}}\"}',"   \
    " '{1}', '{1}', '{0}', '{infinity}', '{\"\"}', '{\"\"}'"

START_TEST(a_start_freezes_the_audience_once)
{
    fixture_devices(3, 5, 5000, 15000);
    run(STORE_PUT_SOURCES, SOURCE("3", "4", "infinity")); /* a draft */
    ck_assert_str_eq("", run(STORE_AUDIENCE, "7, 4, 0, 10"));
    ck_assert_str_eq("4", run(STORE_APPLIED, "7, 4"));
    run(STORE_PUT_SOURCES, SOURCE("0", "5", "now"));
    ck_assert_str_eq("", run(STORE_APPLIED, "7, 5")); /* devices lack rows */
    ck_assert_str_eq("1;2", run(STORE_AUDIENCE, "7, 5, 0, 2"));
    ck_assert_str_eq("3", run(STORE_AUDIENCE, "7, 5, 2, 2"));
    ck_assert_str_eq("5", run(STORE_APPLIED, "7, 5"));
    ck_assert_str_eq("10,2", pgtemp_text(db_admin, "SELECT concat_ws(',', audience, (SELECT"
                                                   " count(*) FROM audience)) FROM progress"));
    ck_assert_str_eq("{\"city\": \"c1\"}", pgtemp_text(db_admin, "SELECT filter FROM source"));
    /* Later leads, a pause, a resume and a device that came after it change nothing. */
    pgtemp_do(db_admin,
              "UPDATE device SET next_lead_no = 9 WHERE device_id = 1;"
              "INSERT INTO device(device_id, min_delay_ms, max_delay_ms, next_lead_no,"
              " content_version, transport, address) VALUES (9, 1, 1, 4, 5, 'null', 'a')");
    run(STORE_PUT_SOURCES, SOURCE("1", "6", "now"));
    run(STORE_PUT_SOURCES, SOURCE("0", "7", "now"));
    ck_assert_str_eq("", run(STORE_AUDIENCE, "7, 7, 0, 10"));
    ck_assert_str_eq("7", run(STORE_APPLIED, "7, 7"));
    ck_assert_int_eq(10, pgtemp_int(db_admin, "SELECT audience FROM progress"));
    /* An older page that comes again changes nothing. */
    run(STORE_PUT_SOURCES, SOURCE("2", "6", "now"));
    ck_assert_int_eq(0, pgtemp_int(db_admin, "SELECT state FROM source"));
    ck_assert_int_eq(5, pgtemp_int(db_admin, "SELECT started_version FROM source"));
}
END_TEST

START_TEST(check_reads_what_the_take_depends_on)
{
    const char *row = run(STORE_CHECK, "'{}'");
    ck_assert_msg(strstr(row, ",5,t,t,t,t,") != NULL, "%s", row);
    pgtemp_do(driver, "SET synchronous_commit = 'local'");
    row = run(STORE_CHECK, "'{}'");
    ck_assert_msg(strstr(row, ",5,t,t,f,t,") != NULL, "%s", row);
    pgtemp_do(driver, "SET synchronous_commit = 'on'; SET idle_in_transaction_session_timeout = 0");
    row = run(STORE_CHECK, "'{}'");
    ck_assert_msg(strstr(row, ",5,t,t,t,f,") != NULL, "%s", row);
}
END_TEST

/* ---- plans ---- */

static const struct plan {
    enum store_statement statement;
    const char *values;
} plans[] = {
    {STORE_CLAIM, ASKED("9")},
    {STORE_REFUSE, ASKED("9")},
    {STORE_FINISH, NULL},
    {STORE_ADVANCE, NULL},
    {STORE_EVIDENCE, NULL},
    {STORE_FILL, "'{1,2}', '{100,100}', '{1970-01-01,1970-01-01}', '{0,0}', '{0,0}', '{1}'"},
    {STORE_ENROL, "7, '{1,2}', 64, '{1,2,3}'"},
    {STORE_ENROL_OPEN, "'{1,2}', '{1,2,3}', '{}'"},
};

static void
check_plan(const struct plan *p, const char *when)
{
    static const char *const tables[] = {"enrollment", "lead", "device", "audience", "message"};
    char sql[4096], line[100];

    snprintf(sql, sizeof(sql), "EXPLAIN EXECUTE \"%s\"(%s)", store_statements[p->statement].name,
             p->values ? p->values : fact("3", "1", "0", "x"));
    PGresult *r = PQexec(driver, sql);
    ck_assert_msg(PQresultStatus(r) == PGRES_TUPLES_OK, "%s", PQerrorMessage(driver));
    for (int row = 0; row < PQntuples(r); row++)
        for (unsigned i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
            snprintf(line, sizeof(line), "Seq Scan on %s ", tables[i]);
            ck_assert_msg(!strstr(PQgetvalue(r, row, 0), line), "%s reads all of %s (%s)",
                          store_statements[p->statement].name, tables[i], when);
            ck_assert_msg(!strstr(PQgetvalue(r, row, 0), "Hash Join"), "%s hashes (%s)",
                          store_statements[p->statement].name, when);
        }
    PQclear(r);
}

START_TEST(no_plan_reads_a_whole_table)
{
    const struct plan *p = &plans[_i];

    /* Prepared while the tables are empty, run when they are not, analysed or not yet. */
    run(p->statement, p->values ? p->values : fact("3", "1", "0", "x"));
    fixture_devices(3000, 20, 5000, 15000);
    fixture_campaign();
    pgtemp_do(db_admin, "INSERT INTO enrollment(device_id, source_id, lead_no, due_at)"
                        " SELECT device_id, 1, lead_no, now() FROM lead");
    check_plan(p, "not analysed");
    pgtemp_do(db_admin, "ANALYZE");
    check_plan(p, "analysed");
}
END_TEST

static Suite *
store_suite(void)
{
    Suite *s = suite_create("store");
    TCase *t = tcase_create("store");

    tcase_set_timeout(t, 60);
    tcase_add_unchecked_fixture(t, fixture_start, NULL);
    tcase_add_checked_fixture(t, open_session, close_session);
    tcase_add_test(t, a_fact_with_another_token_changes_nothing);
    tcase_add_test(t, a_fact_finishes_its_row_once);
    tcase_add_loop_test(t, each_state_is_counted_where_it_belongs, 0, 6);
    tcase_add_test(t, what_never_left_waits_again_without_a_message);
    tcase_add_test(t, evidence_settles_an_unknown_once);
    tcase_add_test(t, evidence_that_goes_on_keeps_the_row);
    tcase_add_test(t, enrol_moves_rows_and_cursor_together);
    tcase_add_test(t, enrol_counts_who_does_not_fit_and_numbers_without_a_lead);
    tcase_add_test(t, enrol_expires_what_is_behind_the_cursor);
    tcase_add_test(t, enrol_leaves_paused_sources_and_prefers_priority);
    tcase_add_test(t, left_over_leaves_out_what_this_process_knows);
    tcase_add_test(t, fill_gives_each_device_its_next_rows_in_due_order);
    tcase_add_test(t, sweep_ends_a_cancelled_source_page_by_page);
    tcase_add_test(t, a_start_freezes_the_audience_once);
    tcase_add_test(t, check_reads_what_the_take_depends_on);
    tcase_add_loop_test(t, no_plan_reads_a_whole_table, 0,
                        (int) (sizeof(plans) / sizeof(plans[0])));
    suite_add_tcase(s, t);
    return s;
}

int
main(void)
{
    return fixture_run(store_suite());
}
