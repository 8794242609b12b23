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
             " '{0}', '{99}', '{%s}', '{%s}', '{1}', '{1}', '{2031-01-01}'",
             goal, to_step, state, reason, id, step, ends_as, next);
    return out;
}

/* The one row (1, 1, 1) with that token; goal, state, reason, provider id. */
static const char *
fact(const char *goal, const char *state, const char *reason, const char *id)
{
    return sequence_fact("0", goal, "0", state, reason, id, state, "0");
}

/* A fact without what only the end of a row needs: the last five columns. */
static const char *
stays(const char *fact)
{
    static char out[800];
    char *end = out;

    snprintf(out, sizeof(out), "%s", fact);
    for (unsigned i = 0; i < 18; i++)
        end = strstr(end + 1, ", '");
    *end = '\0';
    return out;
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
    ck_assert_str_eq("", run(STORE_ADVANCE, stays(fact("0", "0", "0", ""))));
    ck_assert_int_eq(0, pgtemp_int(db_admin, "SELECT count(*) FROM message"));
}
END_TEST

START_TEST(what_never_left_waits_again_without_a_message)
{
    one_claimed();
    ck_assert_str_eq("5", run(STORE_ADVANCE, stays(fact("0", "0", "0", ""))));
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
    ck_assert_str_eq("5", run(STORE_ADVANCE, stays(fact("2", "3", "41", ""))));
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
    run(STORE_ADVANCE, stays(fact("2", "3", "41", "")));
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

/* ---- sequences ---- */

#define GO_SQL "UPDATE lead SET trigger = 'GO' WHERE lead_no IN "
#define TRIGGER_ENROL(devices, leads)                                                              \
    "7, '{" devices "}', " leads ", '{1,2}', '{1,1}', '{1,1}', '{0,3600000000}'"

static const char *
places(void)
{
    return pgtemp_text(
        db_admin, "SELECT coalesce((SELECT string_agg(format('%%s.%%s@%%s', source_id, lead_no,"
                  " step), ' ' ORDER BY source_id, lead_no) FROM enrollment), '') || '|' ||"
                  " coalesce((SELECT string_agg(format('%%s.%%s=%%s', source_id, lead_no, reason),"
                  " ' ' ORDER BY source_id, lead_no) FROM enrollment_end), '')");
}

/* audience, not in it, enrolled, sent, failed, unknown, expired, skipped, cancelled; messages */
static const char *
counts(int source)
{
    fixture_sums();
    return pgtemp_text(db_admin,
                       "SELECT concat_ws(',', audience, not_in_audience, enrolled, sent, failed,"
                       " unknown, expired, skipped, cancelled) || ';' || messages FROM progress"
                       " WHERE source_id = %d",
                       source);
}

/* Lead 1 of device 1 is in `source` at `step`, claimed with the token of the facts. */
static void
in_sequence(int source, int step)
{
    fixture_devices(1, 5, 5000, 15000);
    fixture_sequences();
    pgtemp_do(db_admin,
              "INSERT INTO enrollment(device_id, source_id, lead_no, step, due_at, state, epoch,"
              " token) VALUES (1, %d, 1, %d, now(), 1, 7, '11111111-1111-7111-8111-111111111111');"
              "UPDATE progress SET audience = 1, enrolled = 1 WHERE source_id = %d",
              source, step, source);
}

START_TEST(a_trigger_enrols_once_and_is_used_up)
{
    fixture_devices(2, 6, 5000, 15000);
    fixture_sequences();
    ck_assert_str_eq("1,f,f;2,f,f", run(STORE_ENROL_OPEN, "'{1,2}', '{}', '{1,2}'"));
    pgtemp_do(db_admin, GO_SQL "(2, 3, 5) AND device_id = 1;"
                               "UPDATE lead SET trigger = 'go' WHERE lead_no = 4");
    ck_assert_str_eq("1,f,t;2,f,f", run(STORE_ENROL_OPEN, "'{1,2}', '{}', '{1,2}'"));
    run(STORE_ENROL_LOCK, "'{1,2}', '{1}'");
    ck_assert_ptr_nonnull(strstr(run(STORE_ENROL_TRIGGER, TRIGGER_ENROL("1,2", "2")), "1,1,3,"));
    ck_assert_str_eq("1.2@1 1.3@1|", places());
    ck_assert_int_eq(3, pgtemp_int(db_admin, "SELECT cursor FROM audience WHERE device_id = 1"));
    ck_assert_str_eq("1,f,t;2,f,f", run(STORE_ENROL_OPEN, "'{1,2}', '{}', '{1,2}'"));
    run(STORE_ENROL_TRIGGER, TRIGGER_ENROL("1,2", "2"));
    ck_assert_str_eq("1.2@1 1.3@1 1.5@1|", places());
    ck_assert_str_eq("", run(STORE_ENROL_TRIGGER, TRIGGER_ENROL("1,2", "2")));
    ck_assert_str_eq("3,0,3,0,0,0,0,0,0;0", counts(1));
    ck_assert_int_eq(3, pgtemp_int(db_admin, "SELECT count(*) FROM trigger_use"
                                             " WHERE source_id = 1 AND trigger = 'GO'"));
    ck_assert_int_eq(0, pgtemp_int(db_admin, "SELECT count(*) FROM lead WHERE trigger = 'GO'"));
    ck_assert_int_eq(2, pgtemp_int(db_admin, "SELECT count(*) FROM lead WHERE trigger = 'go'"));
}
END_TEST

START_TEST(a_trigger_passes_who_does_not_fit_and_who_has_been_there)
{
    fixture_devices(1, 6, 5000, 15000);
    fixture_sequences();
    pgtemp_do(db_admin, GO_SQL "(1, 2, 3, 4); UPDATE source SET filter = '{\"city\": \"c1\"}';"
                               "INSERT INTO enrollment_end VALUES (1, 1, 3, 3, 0, now())");
    run(STORE_ENROL_TRIGGER, TRIGGER_ENROL("1", "64")); /* 2 and 4 live elsewhere */
    ck_assert_str_eq("1.1@1|1.3=0", places());
    ck_assert_str_eq("3,2,1,0,0,0,0,0,0;0", counts(1));
    ck_assert_int_eq(4, pgtemp_int(db_admin, "SELECT count(*) FROM trigger_use"));
}
END_TEST

START_TEST(a_trigger_waits_for_a_source_that_can_send)
{
    fixture_devices(1, 6, 5000, 15000);
    fixture_sequences();
    pgtemp_do(db_admin, GO_SQL "(1); UPDATE source SET state = 1");
    ck_assert_str_eq("", run(STORE_ENROL_TRIGGER, TRIGGER_ENROL("1", "64")));
    pgtemp_do(db_admin, "UPDATE source SET paused_until = now()");
    ck_assert_str_eq("", run(STORE_ENROL_TRIGGER,
                             "7, '{1}', 64, '{2}', '{1}', '{1}', '{0}'")); /* not in memory */
    ck_assert_str_ne("", run(STORE_ENROL_TRIGGER, TRIGGER_ENROL("1", "64")));
}
END_TEST

START_TEST(a_trigger_behind_the_cursor_sets_it_back)
{
    fixture_devices(2, 6, 5000, 15000);
    fixture_sequences();
    pgtemp_do(db_admin, GO_SQL "(5)");
    run(STORE_ENROL_TRIGGER, TRIGGER_ENROL("1,2", "64"));
    run(STORE_TRIGGER_BACK, "7, '{1,1,2}', '{60000100003,60000100002,60000200001}',"
                            " '{GO,GO,OTHER}'");
    ck_assert_str_eq("1,5", pgtemp_text(db_admin, "SELECT string_agg(cursor::text, ',' ORDER BY"
                                                  " device_id) FROM audience"));
    pgtemp_do(db_admin, GO_SQL "(2, 3) AND device_id = 1");
    run(STORE_ENROL_TRIGGER, TRIGGER_ENROL("1,2", "64"));
    ck_assert_int_eq(3, pgtemp_int(db_admin, "SELECT count(*) FROM enrollment"
                                             " WHERE device_id = 1"));
    ck_assert_str_eq("4,0,4,0,0,0,0,0,0;0", counts(1));
}
END_TEST

START_TEST(a_sent_step_moves_the_row_to_the_next_one)
{
    in_sequence(1, 1);
    ck_assert_str_eq("5", run(STORE_ADVANCE,
                              stays(sequence_fact("1", "0", "2", "1", "0", "w", "0", "0"))));
    ck_assert_str_eq("1.1@2|", places());
    ck_assert_str_eq("2030-01-01,0,0,1",
                     pgtemp_text(db_admin, "SELECT concat_ws(',', due_at::date,"
                                           " state, attempt, revision) FROM enrollment"));
    ck_assert_str_eq("1,0,1,0,0,0,0,0,0;1", counts(1));
    ck_assert_int_eq(1, pgtemp_int(db_admin, "SELECT step FROM message WHERE state = 1"));
    ck_assert_str_eq("", run(STORE_ADVANCE,
                             stays(sequence_fact("1", "0", "2", "1", "0", "w", "0", "0"))));
}
END_TEST

/* What becomes of WARM's row by what stands there: state of WARM, a row there, an end there. */
static const struct chain {
    int state;
    const char *before, *places, *warm;
} chains[] = {
    {0, "SELECT 1", "2.1@1|1.1=0", "1,0,1,0,0,0,0,0,0;0"},
    {1, "SELECT 1", "2.1@1|1.1=0", "1,0,1,0,0,0,0,0,0;0"},
    {3, "SELECT 1", "2.1@1|1.1=0", "1,0,1,0,0,0,0,0,0;0"},
    {2, "SELECT 1", "|1.1=0", "0,0,0,0,0,0,0,0,0;0"},
    {0, "INSERT INTO enrollment_end VALUES (1, 2, 1, 1, 0, now())", "|1.1=0 2.1=0",
     "0,0,0,0,0,0,0,0,0;0"},
    {0,
     "INSERT INTO enrollment(device_id, source_id, lead_no, step, due_at) VALUES (1, 2, 1, 9,"
     " now()); UPDATE progress SET audience = 1, enrolled = 1 WHERE source_id = 2",
     "2.1@9|1.1=0", "1,0,1,0,0,0,0,0,0;0"},
};

START_TEST(the_last_step_goes_on_in_the_next_sequence)
{
    const struct chain *c = &chains[_i];
    bool goes_on = _i < 3;

    in_sequence(1, 3);
    pgtemp_do(db_admin, "UPDATE source SET state = %d WHERE source_id = 2; %s", c->state,
              c->before);
    const char *answer = run(STORE_FINISH, sequence_fact("3", "3", "3", "1", "0", "w", "1", "2"));
    ck_assert_str_eq(goes_on ? "5,,,,,,;,1,2,1,1,1,2031-01-01 00:00:00+00" : "5,,,,,,", answer);
    ck_assert_str_eq(c->places, places());
    ck_assert_str_eq("1,0,1,1,0,0,0,0,0;1", counts(1));
    ck_assert_str_eq(c->warm, counts(2));
    ck_assert_str_eq("", run(STORE_FINISH, sequence_fact("3", "3", "3", "1", "0", "w", "1", "2")));
    ck_assert_str_eq(c->warm, counts(2));
}
END_TEST

/* One statement, two rows of progress that each end one and gain one; and a lead that ends both. */
START_TEST(ends_and_chains_of_one_tick_are_all_counted)
{
    in_sequence(1, 3);
    pgtemp_do(db_admin,
              "INSERT INTO enrollment(device_id, source_id, lead_no, step, due_at, state, token)"
              " VALUES (1, 2, 1, 1, now(), 1, '33333333-3333-7333-8333-333333333333');"
              "UPDATE progress SET audience = 1, enrolled = 1 WHERE source_id = 2");
    run(STORE_FINISH,
        "'{5,6}', '{1,1}', '{1,2}', '{1,1}',"
        " '{11111111-1111-7111-8111-111111111111,33333333-3333-7333-8333-333333333333}',"
        " '{3,3}', '{3,1}', '{0,0}', '{1,1}', '{now,now}', '{1,2}', '{0,32}', '{x,x}',"
        " '{now,now}', '{now,now}', '{3,1}', '{0,0}', '{1,1}', '{1,2}',"
        " '{2,0}', '{1,0}', '{1,0}', '{now,now}'");
    ck_assert_str_eq("|1.1=0 2.1=32", places());
    ck_assert_str_eq("1,0,1,1,0,0,0,0,0;1", counts(1));
    ck_assert_str_eq("1,0,1,0,1,0,0,0,0;0", counts(2)); /* it was in WARM: it does not come again */
}
END_TEST

START_TEST(a_skip_that_ends_the_last_step_is_through)
{
    in_sequence(1, 3);
    run(STORE_FINISH, sequence_fact("3", "3", "3", "5", "14", "", "1", "2"));
    ck_assert_str_eq("2.1@1|1.1=0", places());
    ck_assert_str_eq("1,0,1,1,0,0,0,0,0;0", counts(1)); /* through, and no message was accepted */
    ck_assert_int_eq(14, pgtemp_int(db_admin, "SELECT reason FROM message WHERE state = 5"));
}
END_TEST

START_TEST(evidence_moves_an_unknown_step_on)
{
    in_sequence(1, 1);
    run(STORE_ADVANCE, stays(sequence_fact("1", "2", "1", "3", "41", "", "0", "0")));
    ck_assert_str_eq("1,0,1,0,0,1,0,0,0;0", counts(1));
    ck_assert_str_eq("5,,,,,,",
                     run(STORE_EVIDENCE, sequence_fact("1", "0", "2", "1", "0", "w", "0", "0")));
    ck_assert_str_eq("1.1@2|", places());
    ck_assert_str_eq("1,0,1,0,0,0,0,0,0;1", counts(1));
    pgtemp_do(db_admin, "UPDATE enrollment SET step = 3, state = 2; UPDATE progress SET unknown = 1"
                        " WHERE source_id = 1");
    ck_assert_ptr_nonnull(
        strstr(run(STORE_EVIDENCE, sequence_fact("3", "3", "3", "1", "0", "w", "1", "2")),
               "1,2,1,1,1"));
    ck_assert_str_eq("2.1@1|1.1=0", places());
    ck_assert_str_eq("1,0,1,1,0,0,0,0,0;2", counts(1));
    ck_assert_str_eq("1,0,1,0,0,0,0,0,0;0", counts(2));
}
END_TEST

START_TEST(what_may_never_be_sent_ends_in_a_sequence_too)
{
    in_sequence(1, 2);
    pgtemp_do(db_admin, "UPDATE enrollment SET state = 0;"
                        "INSERT INTO optout(account, phone, number) SELECT 'main', phone, 1 FROM"
                        " lead WHERE lead_no = 1");
    ck_assert_str_eq("5,11", run(STORE_REFUSE, "7, '{5}', '{1}', '{1}', '{1}', '{2}', '{0}',"
                                               " '{22222222-1111-7111-8111-111111111111}'"));
    ck_assert_str_eq("|1.1=11", places());
    ck_assert_str_eq("1,0,1,0,0,0,0,1,0;0", counts(1));
}
END_TEST

/* cold: revision 1 has 1, 2, 3; revision 2 has 1 and 2 (2 s later than before), then warm. */
#define RESTEP(after, devices, rows)                                                               \
    "7, 1, " after ", " devices ", " rows ", '{1,1,1}', '{1,2,3}', '{1,2,0}', '{0,2000000,0}',"    \
    " 2, 2, 1, 1, 3600000000"

START_TEST(rows_of_older_revisions_are_moved_page_by_page)
{
    fixture_devices(2, 6, 5000, 15000);
    fixture_sequences();
    pgtemp_do(db_admin,
              "INSERT INTO enrollment(device_id, source_id, lead_no, step, attempt, due_at, state,"
              " revision) VALUES (1, 1, 1, 1, 1, '2030-01-01', 0, 1), (1, 1, 2, 2, 1, '2030-01-01',"
              " 0, 1), (1, 1, 3, 3, 1, '2030-01-01', 0, 1), (1, 1, 4, 2, 0, '2030-01-01', 1, 1),"
              " (1, 1, 5, 2, 0, '2030-01-01', 0, 2), (2, 1, 6, 3, 0, '2030-01-01', 0, 1);"
              "UPDATE progress SET audience = 6, enrolled = 6 WHERE source_id = 1");
    ck_assert_str_eq("1,2,0", run(STORE_RESTEP, RESTEP("0", "1", "2")));
    ck_assert_str_eq("1,1,0", run(STORE_RESTEP, RESTEP("0", "1", "2"))); /* ended, and chained */
    ck_assert_str_eq("1,0,0", run(STORE_RESTEP, RESTEP("0", "1", "2")));
    ck_assert_str_eq("2,1,0", run(STORE_RESTEP, RESTEP("1", "9", "9")));
    ck_assert_str_eq("", run(STORE_RESTEP, RESTEP("2", "9", "9")));
    ck_assert_str_eq("1.1@1 1.2@2 1.4@2 1.5@2 2.3@1 2.6@1|1.3=0 1.6=0", places());
    ck_assert_str_eq("1:2030-01-01 00:00:00+00:1 2:2030-01-01 00:00:02+00:1"
                     " 4:2030-01-01 00:00:00+00:0 5:2030-01-01 00:00:00+00:0",
                     pgtemp_text(driver, "SELECT string_agg(format('%%s:%%s:%%s', lead_no, due_at,"
                                         " attempt), ' ' ORDER BY lead_no) FROM enrollment"
                                         " WHERE source_id = 1"));
    ck_assert_str_eq("2,2,1,2", pgtemp_text(db_admin, "SELECT string_agg(revision::text, ',' ORDER"
                                                      " BY lead_no) FROM enrollment"
                                                      " WHERE source_id = 1"));
    ck_assert_str_eq("6,0,6,2,0,0,0,0,0;0", counts(1));
    ck_assert_str_eq("2,0,2,0,0,0,0,0,0;0", counts(2));
}
END_TEST

START_TEST(a_cancelled_sequence_is_swept_and_enrols_nobody)
{
    in_sequence(1, 2);
    pgtemp_do(db_admin, GO_SQL "(4); UPDATE enrollment SET state = 0;"
                               "UPDATE source SET state = 2 WHERE source_id = 1");
    ck_assert_str_eq("1,1", run(STORE_SWEEP, "7, 1, 0, 10, 10"));
    ck_assert_str_eq("|1.1=12", places());
    ck_assert_str_eq("1,0,1,0,0,0,0,0,1;0", counts(1));
    ck_assert_str_eq("", run(STORE_ENROL_TRIGGER, TRIGGER_ENROL("1", "64")));
    ck_assert_str_eq("1,f,f", run(STORE_ENROL_OPEN, "'{1}', '{}', '{1}'"));
}
END_TEST

START_TEST(a_sequence_has_an_audience_without_an_end)
{
    fixture_devices(2, 3, 5000, 15000);
    pgtemp_do(db_admin, "UPDATE device SET next_lead_no = 0 WHERE device_id = 2;"
                        "DELETE FROM lead WHERE device_id = 2");
    run(STORE_PUT_SOURCES,
        "7, '{4,5}', '{0,0}', '{0,0}', '{4,4}', '{now,now}', '{infinity,infinity}', '{cold,hot}',"
        " '{\"{(,)}\",\"{(,)}\"}', '{\"{}\",\"{}\"}', '{2,2}', '{1,1}', '{0,0}',"
        " '{infinity,infinity}', '{GO,\"\"}', '{\"\",\"\"}'");
    ck_assert_str_eq("1;2", run(STORE_AUDIENCE, "7, 4, 0, 10"));
    ck_assert_int_eq(2, pgtemp_int(db_admin, "SELECT count(*) FROM audience WHERE source_id = 4"
                                             " AND cursor = 0 AND upto = 2147483647"));
    ck_assert_int_eq(2, pgtemp_int(db_admin, "SELECT count(*) FROM audience"));
    ck_assert_str_eq("0,0,0,0,0,0,0,0,0;0", counts(4));
    ck_assert_str_eq("4", run(STORE_APPLIED, "7, 4"));
    /* A device that comes later is in it too: a sequence runs on. */
    run(STORE_INTAKE_DEVICE_INSERT, "7, '{9}', '{1}', '{1}', '{x}', '{\"\"}', '{UTC}', '{main}',"
                                    " '{s}', '{\"\"}', '{none}', '{0}', '{-1}', '{3}', '{fake}',"
                                    " '{a}'");
    ck_assert_int_eq(1, pgtemp_int(db_admin, "SELECT count(*) FROM audience WHERE device_id = 9"));
}
END_TEST

START_TEST(revisions_are_kept_and_a_drafts_changes)
{
    const char *row = "7, '{4}', '{3}', '{0}', '{%d}', '{infinity}', '{infinity}', '{cold}',"
                      " '{\"{(,)}\"}', '{\"{\\\"n\\\":%d}\"}', '{2}', '{%d}', '{%d}',"
                      " '{infinity}', '{GO}', '{because}'";
    char values[400];

    snprintf(values, sizeof(values), row, 4, 1, 1, 0);
    run(STORE_PUT_SOURCES, values);
    snprintf(values, sizeof(values), row, 5, 2, 1, 0);
    run(STORE_PUT_SOURCES, values);
    snprintf(values, sizeof(values), row, 6, 3, 2, 2);
    run(STORE_PUT_SOURCES, values);
    run(STORE_PUT_SOURCES, values);
    ck_assert_str_eq("1{\"n\":2},2{\"n\":3}",
                     pgtemp_text(db_admin, "SELECT string_agg(revision || item, ',' ORDER BY"
                                           " revision) FROM source_revision"));
    ck_assert_str_eq("2,2,GO,because",
                     pgtemp_text(db_admin, "SELECT concat_ws(',', revision, all_revision, trigger,"
                                           " because) FROM source WHERE source_id = 4"));
    ck_assert_str_eq("4,1,{\"n\":2}", run(STORE_LOAD_REVISIONS, "0, 0, 10"));
    ck_assert_str_eq("", run(STORE_LOAD_REVISIONS, "4, 1, 10"));
}
END_TEST

/* ---- direct messages, the cluster ---- */

#define ASKED_DIRECT(epoch)                                                                        \
    epoch ", '{9}', '{1}', '{0}', '{-1}', '{0}', '{0}', '{11111111-1111-7111-8111-111111111111}'"

static void
one_direct(void)
{
    fixture_devices(1, 1, 5000, 15000);
    fixture_sequences();
    pgtemp_do(db_admin,
              "INSERT INTO direct(device_id, lead_no, phone, accepted_at, key, text) VALUES"
              " (1, -1, 60111111111, now(), 'k', 'Your code is 5'), (1, -2, 60111111111, now(),"
              " 'l', 'Later'); INSERT INTO enrollment(device_id, source_id, lead_no, due_at)"
              " VALUES (1, 0, -1, '2030-01-01'), (1, 0, -2, '2030-01-01');"
              "UPDATE progress SET audience = 2, enrolled = 2 WHERE source_id = 0");
}

START_TEST(a_direct_message_is_claimed_with_its_text)
{
    one_direct();
    ck_assert_str_eq("", run(STORE_CLAIM, ASKED_DIRECT("7"))); /* it is no lead's */
    ck_assert_str_eq("", run(STORE_CLAIM_DIRECT, ASKED_DIRECT("8")));
    ck_assert_str_eq("9,60111111111,Your code is 5,2030-01-01 00:00:00+00",
                     run(STORE_CLAIM_DIRECT, ASKED_DIRECT("7")));
    ck_assert_str_eq("", run(STORE_CLAIM_DIRECT, ASKED_DIRECT("7")));
    ck_assert_str_eq("9,23", run(STORE_REFUSE, ASKED_DIRECT("7")));
    ck_assert_str_eq("2,0,2,0,0,0,0,0,0;0", counts(0));
    /* Numbers go down: they are read in the order in which they were accepted. */
    pgtemp_do(db_admin, "UPDATE enrollment SET state = 0");
    const char *rows = run(STORE_FILL, "'{1}', '{9}', '{1970-01-01}', '{0}', '{0}', '{0}'");
    ck_assert_ptr_nonnull(strstr(rows, "1,0,-1,"));
    ck_assert(strstr(rows, "1,0,-1,") < strstr(rows, "1,0,-2,"));
    ck_assert_str_eq("1,2", run(STORE_LIVE, "'{1}'"));
}
END_TEST

START_TEST(a_direct_message_ends_when_it_may_not_be_sent)
{
    one_direct();
    pgtemp_do(db_admin, "UPDATE direct SET expires_at = now()");
    ck_assert_str_eq("", run(STORE_CLAIM_DIRECT, ASKED_DIRECT("7")));
    ck_assert_str_eq("9,13", run(STORE_REFUSE, ASKED_DIRECT("7")));
    ck_assert_str_eq("2,0,2,0,0,0,1,0,0;0", counts(0));
    pgtemp_do(db_admin, "UPDATE enrollment SET lead_no = -1; UPDATE direct SET expires_at ="
                        " 'infinity'; INSERT INTO optout(account, phone, number) VALUES ('main',"
                        " 60111111111, 1)");
    ck_assert_str_eq("", run(STORE_CLAIM_DIRECT, ASKED_DIRECT("7")));
    ck_assert_str_eq("9,11", run(STORE_REFUSE, ASKED_DIRECT("7")));
    ck_assert_str_eq("2,0,2,0,0,0,1,1,0;0", counts(0));
    ck_assert_str_eq("|", places()); /* ends are a sequence's */
}
END_TEST

START_TEST(a_paused_cluster_claims_nothing_until_its_time)
{
    one_direct();
    pgtemp_do(db_admin, "INSERT INTO enrollment(device_id, source_id, lead_no, step, due_at)"
                        " VALUES (1, 1, 1, 0, now()); UPDATE source SET state = 1 WHERE"
                        " source_id = -1");
    ck_assert_str_eq("", run(STORE_CLAIM, ASKED("9")));
    ck_assert_str_eq("9,0", run(STORE_REFUSE, ASKED("9")));
    ck_assert_str_eq("", run(STORE_CLAIM_DIRECT, ASKED_DIRECT("7")));
    pgtemp_do(db_admin, "UPDATE source SET paused_until = now() WHERE source_id = -1");
    ck_assert_str_ne("", run(STORE_CLAIM, ASKED("9")));
    ck_assert_str_ne("", run(STORE_CLAIM_DIRECT, ASKED_DIRECT("7")));
}
END_TEST

START_TEST(a_pause_of_our_own_is_for_good)
{
    one_enrolled();
    pgtemp_do(db_admin, "UPDATE source SET state = 1, paused_until = now()"); /* it is over */
    run(STORE_PAUSE_SOURCE, "7, 1");
    ck_assert_str_eq("", run(STORE_CLAIM, ASKED("9")));
    ck_assert_str_eq("9,22", run(STORE_REFUSE, ASKED("9")));
    ck_assert_str_eq("infinity", pgtemp_text(db_admin, "SELECT paused_until FROM source"));
}
END_TEST

/* ---- verify ---- */

static void
check_verify(enum store_statement statement, bool holds)
{
    const char *answer = run(statement, "");

    ck_assert_msg((strstr(answer, ",t,0,") != NULL) == holds, "%s", answer);
}

START_TEST(verify_holds_for_sequences_and_finds_what_is_wrong)
{
    one_direct();
    pgtemp_do(db_admin, GO_SQL "(1)");
    run(STORE_ENROL_TRIGGER, TRIGGER_ENROL("1", "64"));
    for (enum store_statement v = STORE_VERIFY_COUNTS; v <= STORE_VERIFY_CURSORS; v++)
        check_verify(v, true);
    pgtemp_do(db_admin, "INSERT INTO enrollment_end VALUES (1, 1, 1, 1, 0, now())");
    check_verify(STORE_VERIFY_PLACES, false);
    pgtemp_do(db_admin, "DELETE FROM enrollment_end; INSERT INTO message(claimed_at, settled_at,"
                        " epoch, text_hash, token, device_id, source_id, lead_no, step, attempt,"
                        " state, reason) VALUES (now(), now(), 7, 0,"
                        " '11111111-1111-7111-8111-111111111111', 1, 1, 1, 2, 0, 1, 0),"
                        " (now(), now(), 7, 0, '22222222-1111-7111-8111-111111111111', 1, 1, 1, 1,"
                        " 0, 1, 0)");
    check_verify(STORE_VERIFY_PLACES, true);
    check_verify(STORE_VERIFY_STEPS, false);
    pgtemp_do(db_admin, "UPDATE trigger_use SET at = (SELECT max(claimed_at) FROM message)");
    check_verify(STORE_VERIFY_STEPS, true); /* begun anew between the two */
    pgtemp_do(db_admin,
              "UPDATE message SET step = 1, token = '00000000-1111-7111-8111-111111111111'"
              " WHERE step = 2");
    check_verify(STORE_VERIFY_SENT_ONCE, true);
    pgtemp_do(db_admin, "UPDATE trigger_use SET at = at - interval '1 h'");
    check_verify(STORE_VERIFY_SENT_ONCE, false);
    pgtemp_do(db_admin, "DELETE FROM enrollment WHERE source_id = 1");
    check_verify(STORE_VERIFY_PLACES, false);
    pgtemp_do(db_admin, "DELETE FROM direct");
    check_verify(STORE_VERIFY_ORPHANS, false);
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

#define WORDS_OF(x) #x
#define WORDS(x)    WORDS_OF(x)
#define SCHEMA      "," WORDS(STORE_SCHEMA_VERSION)

START_TEST(check_reads_what_the_take_depends_on)
{
    const char *row = run(STORE_CHECK, "'{}'");
    ck_assert_msg(strstr(row, SCHEMA ",t,t,t,t,") != NULL, "%s", row);
    pgtemp_do(driver, "SET synchronous_commit = 'local'");
    row = run(STORE_CHECK, "'{}'");
    ck_assert_msg(strstr(row, SCHEMA ",t,t,f,t,") != NULL, "%s", row);
    pgtemp_do(driver, "SET synchronous_commit = 'on'; SET idle_in_transaction_session_timeout = 0");
    row = run(STORE_CHECK, "'{}'");
    ck_assert_msg(strstr(row, SCHEMA ",t,t,t,f,") != NULL, "%s", row);
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
    {STORE_ENROL_OPEN, "'{1,2}', '{1,2,3}', '{1,2,3}'"},
    {STORE_ENROL_LOCK, "'{1,2}', '{1}'"},
    {STORE_ENROL_TRIGGER, TRIGGER_ENROL("1,2", "64")},
    {STORE_TRIGGER_BACK, "7, '{1}', '{60000100001}', '{GO}'"},
    {STORE_CLAIM_DIRECT, ASKED_DIRECT("7")},
    {STORE_RESTEP, RESTEP("0", "10", "500")},
    {STORE_SWEEP, "7, 1, 0, 10, 500"},
    {STORE_LIVE, "'{1,2}'"},
};

static const char *
plan_values(const struct plan *p)
{
    const char *any = fact("3", "1", "0", "x");

    return p->values ? p->values : p->statement == STORE_ADVANCE ? stays(any) : any;
}

/* An index is looked into by what it begins with: else all of it is read. */
static void
check_keys(PGresult *r, const char *name, const char *when)
{
    static const char *const indexes[][2] = {{"lead_trigger", "(device_id ="},
                                             {"lead_pkey", "(device_id ="},
                                             {"enrollment_pkey", "(device_id ="},
                                             {"audience_pkey", "(device_id ="},
                                             {"enrollment_end_pkey", "(device_id ="},
                                             {"direct_pkey", "(device_id ="},
                                             {"optout_pkey", "account ="},
                                             {"lead_phone", "(phone ="}};

    for (int row = 0; row + 1 < PQntuples(r); row++)
        for (unsigned i = 0; i < sizeof(indexes) / sizeof(indexes[0]); i++) {
            const char *next = PQgetvalue(r, row + 1, 0);
            char scan[60];

            snprintf(scan, sizeof(scan), "Scan using %s on", indexes[i][0]);
            if (strstr(PQgetvalue(r, row, 0), scan))
                ck_assert_msg(strstr(next, "Index Cond") && strstr(next, indexes[i][1]),
                              "%s reads all of %s (%s): %s", name, indexes[i][0], when, next);
        }
}

static void
check_plan(const struct plan *p, const char *when)
{
    static const char *const tables[] = {"enrollment", "enrollment_end", "lead",  "device",
                                         "audience",   "message",        "direct"};
    char sql[4096], line[100];

    snprintf(sql, sizeof(sql), "EXPLAIN EXECUTE \"%s\"(%s)", store_statements[p->statement].name,
             plan_values(p));
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
    check_keys(r, store_statements[p->statement].name, when);
    PQclear(r);
}

START_TEST(no_plan_reads_a_whole_table)
{
    const struct plan *p = &plans[_i];

    /* Prepared while the tables are empty, run when they are not, analysed or not yet. */
    run(p->statement, plan_values(p));
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
    tcase_add_test(t, a_trigger_enrols_once_and_is_used_up);
    tcase_add_test(t, a_trigger_passes_who_does_not_fit_and_who_has_been_there);
    tcase_add_test(t, a_trigger_waits_for_a_source_that_can_send);
    tcase_add_test(t, a_trigger_behind_the_cursor_sets_it_back);
    tcase_add_test(t, a_sent_step_moves_the_row_to_the_next_one);
    tcase_add_loop_test(t, the_last_step_goes_on_in_the_next_sequence, 0,
                        (int) (sizeof(chains) / sizeof(chains[0])));
    tcase_add_test(t, ends_and_chains_of_one_tick_are_all_counted);
    tcase_add_test(t, a_skip_that_ends_the_last_step_is_through);
    tcase_add_test(t, evidence_moves_an_unknown_step_on);
    tcase_add_test(t, what_may_never_be_sent_ends_in_a_sequence_too);
    tcase_add_test(t, rows_of_older_revisions_are_moved_page_by_page);
    tcase_add_test(t, a_cancelled_sequence_is_swept_and_enrols_nobody);
    tcase_add_test(t, a_sequence_has_an_audience_without_an_end);
    tcase_add_test(t, revisions_are_kept_and_a_drafts_changes);
    tcase_add_test(t, a_direct_message_is_claimed_with_its_text);
    tcase_add_test(t, a_direct_message_ends_when_it_may_not_be_sent);
    tcase_add_test(t, a_paused_cluster_claims_nothing_until_its_time);
    tcase_add_test(t, a_pause_of_our_own_is_for_good);
    tcase_add_test(t, verify_holds_for_sequences_and_finds_what_is_wrong);
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
