/* Opt-outs, erasure and sends against claim, enrolment, settling, take: two sessions, both orders.
 */
#include "node/store.h"
#include "tests/integration/partition_fixture.h"

/* `first` has its transaction open; `second` waits for its lock and goes on when it commits. */
static PGconn *first, *second;

#define PHONE "60000100001" /* of device 1, lead 1 */
#define TOKEN "11111111-1111-7111-8111-111111111111"
#define HASH  "'{\"\\\\xaa\"}'"

static PGconn *
open_driver(void)
{
    PGconn *c = pgtemp_open(pg, PARTITION, "fleetcast_node");

    for (unsigned i = 0; store_settings[i]; i += 2)
        pgtemp_do(c, "SET \"%s\" = '%s'", store_settings[i], store_settings[i + 1]);
    for (unsigned i = 0; i < STORE_COUNT; i++) {
        PGresult *r = PQprepare(c, store_statements[i].name, store_statements[i].sql, 0, NULL);

        ck_assert_msg(PQresultStatus(r) == PGRES_COMMAND_OK, "%s: %s", store_statements[i].name,
                      PQerrorMessage(c));
        PQclear(r);
    }
    return c;
}

/* Campaign 1, sequence 2 with two steps, sequence 3 that it goes on in; lead 1 of device 1 waits in
 * the campaign and in step 2 of the sequence. */
static void
open_sessions(void)
{
    fixture_open();
    first = open_driver();
    second = open_driver();
    fixture_devices(2, 3, 5000, 15000);
    fixture_campaign();
    pgtemp_do(db_admin,
              "UPDATE owner SET epoch = 7, driver = 'n1', clean = false, optout_number = 40;"
              "INSERT INTO source(source_id, kind, state, content_version, name, trigger, item)"
              " VALUES (2, 2, 0, 1, 'cold', 'COLD', '{}'), (3, 2, 0, 1, 'warm', '', '{}'),"
              " (0, 0, 0, 0, '(direct)', '', '{}');"
              "INSERT INTO progress(source_id) VALUES (2), (3), (0);"
              "INSERT INTO audience(device_id, source_id, cursor, upto) VALUES"
              " (1, 2, 0, 2147483647);"
              "INSERT INTO enrollment(device_id, source_id, lead_no, step, due_at) VALUES"
              " (1, 1, 1, 0, now()), (1, 2, 1, 2, now());"
              "UPDATE audience SET cursor = 1 WHERE device_id = 1;"
              "UPDATE progress SET enrolled = 1 WHERE source_id < 3;"
              "UPDATE progress SET audience = 1 WHERE source_id = 2;"
              "UPDATE progress SET enrolled = 0 WHERE source_id = 0");
}

static void
close_sessions(void)
{
    fixture_sums();
    PQfinish(first);
    PQfinish(second);
    fixture_close();
}

/* ---- transactions of the driver, as text ---- */

#define RUN(name, values) "EXECUTE \"" name "\"(" values ");"
#define EXCLUSIVE         "EXECUTE lock_exclusive;"
#define SHARED            "EXECUTE lock_shared;"
#define CLAIM(source, step)                                                                        \
    RUN("claim", "7, '{1}', '{1}', '{" source "}', '{1}', '{" step "}', '{0}', '{" TOKEN "}'")
#define REFUSE(source, step)                                                                       \
    RUN("refuse", "7, '{1}', '{1}', '{" source "}', '{1}', '{" step "}', '{0}', '{" TOKEN "}'")
#define OPT_OUT                                                                                    \
    EXCLUSIVE RUN("optout_add", "7, '{0}', '{main}', '{" PHONE "}', '{asked}', " HASH)             \
        RUN("optout_end", "7, '{main}', '{" PHONE "}', 11, false")
#define ENROL SHARED RUN("enrol", "7, '{1}', 64, '{1}'")
#define SEND                                                                                       \
    SHARED RUN("send",                                                                             \
               "7, '{0}', '{1}', '{" PHONE "}', '{k}', '{Hi}', '{infinity}', " HASH ", 1000")
/* Of the sequence's row: goal (0 waits again, 3 ends), its message, and where it goes on. */
#define FACT(goal, next)                                                                           \
    "'{1}', '{1}', '{2}', '{1}', '{" TOKEN "}', '{" goal                                           \
    "}', '{2}', '{0}', '{1}', '{now}', '{1}', '{0}', '{wamid}', '{now}', '{now}', '{2}', '{0}',"   \
    " '{5}'" next
#define FINISH SHARED RUN("finish", FACT("3", ", '{1}', '{3}', '{1}', '{1}', '{now}'"))

/* Runs `before` in an open transaction, sends `after`, sees it wait, commits. */
static void
one_then_the_other(const char *before, const char *after)
{
    char sql[4096];

    pgtemp_do(first, "BEGIN; %s", before);
    snprintf(sql, sizeof(sql), "BEGIN; %s COMMIT", after);
    pgtemp_send(second, sql);
    pgtemp_wait_blocked(db_admin, PQbackendPID(second));
    pgtemp_do(first, "COMMIT");
    pgtemp_wait(second);
}

static int
count(const char *what)
{
    return (int) pgtemp_int(db_admin, "SELECT count(*) FROM %s", what);
}

/* The row may not be sent, and ends visibly when the driver asks for it. */
static void
claim_ends_it(const char *claim, const char *refuse, int rows)
{
    int before = count("enrollment");

    pgtemp_do(first, "BEGIN; %s %s COMMIT", SHARED, claim);
    ck_assert_int_eq(count("enrollment WHERE state = 1"), 0);
    pgtemp_do(first, "BEGIN; %s %s COMMIT", SHARED, refuse);
    ck_assert_int_eq(count("enrollment"), before - rows);
    ck_assert_int_eq(count("message WHERE reason = 11"), rows + 0);
}

/* ---- against claim ---- */

START_TEST(a_claim_after_an_opt_out_finds_nothing)
{
    one_then_the_other(OPT_OUT, SHARED CLAIM("1", "0"));
    ck_assert_int_eq(count("enrollment"), 0);
    ck_assert_int_eq(count("message WHERE reason = 11 AND state = 5"), 2);
    ck_assert_int_eq(count("enrollment_end WHERE source_id = 2 AND step = 2 AND reason = 11"), 1);
    ck_assert_int_eq(pgtemp_int(db_admin, "SELECT number FROM optout"), 41);
}
END_TEST

START_TEST(an_opt_out_after_a_claim_leaves_it_to_its_fact)
{
    one_then_the_other(SHARED CLAIM("2", "2"), OPT_OUT);
    ck_assert_int_eq(count("enrollment WHERE state = 1 AND source_id = 2"), 1);
    ck_assert_int_eq(count("enrollment"), 1); /* the campaign's row waited, and ended */
    ck_assert_int_eq(count("optout"), 1);
    /* it was refused and waits again: the next claim ends it */
    pgtemp_do(first, "BEGIN; %s COMMIT", SHARED RUN("advance", FACT("0", "")));
    ck_assert_int_eq(count("enrollment WHERE state = 0"), 1);
    pgtemp_do(db_admin, "DELETE FROM message");
    claim_ends_it(CLAIM("2", "2"), REFUSE("2", "2"), 1);
}
END_TEST

/* A mutant: in one statement with its lock the opt-out would not see what the claim did. */
START_TEST(mutant_that_ends_claimed_rows_takes_one_that_is_on_the_wire)
{
    char sql[8192];
    const char *good = store_statements[STORE_OPTOUT_END].sql,
               *at = strstr(good, "(e.state = 0 OR");

    ck_assert_ptr_nonnull(at);
    snprintf(sql, sizeof(sql), "%.*s(e.state < 2 OR%s", (int) (at - good), good,
             at + strlen("(e.state = 0 OR"));
    PQclear(PQprepare(second, "mutant", sql, 0, NULL));
    one_then_the_other(SHARED CLAIM("2", "2"),
                       EXCLUSIVE RUN("mutant", "7, '{main}', '{" PHONE "}', 11, false"));
    ck_assert_int_eq(count("enrollment WHERE source_id = 2"), 0);
    pgtemp_do(db_admin, "UPDATE progress SET skipped = 1 WHERE source_id = 2");
}
END_TEST

/* ---- against enrolment ---- */

START_TEST(who_is_enrolled_after_an_opt_out_is_ended_by_the_claim)
{
    pgtemp_do(db_admin,
              "DELETE FROM enrollment WHERE source_id = 1; UPDATE audience SET cursor = 0"
              " WHERE source_id = 1; UPDATE progress SET enrolled = 0 WHERE source_id = 1");
    one_then_the_other(OPT_OUT, ENROL);
    ck_assert_int_eq(count("enrollment WHERE lead_no = 1"), 1);
    pgtemp_do(db_admin, "DELETE FROM message");
    claim_ends_it(CLAIM("1", "0"), REFUSE("1", "0"), 1);
}
END_TEST

START_TEST(an_opt_out_after_an_enrolment_ends_what_it_enrolled)
{
    pgtemp_do(db_admin,
              "DELETE FROM enrollment WHERE source_id = 1; UPDATE audience SET cursor = 0"
              " WHERE source_id = 1; UPDATE progress SET enrolled = 0 WHERE source_id = 1");
    one_then_the_other(ENROL, OPT_OUT);
    ck_assert_int_eq(count("enrollment WHERE lead_no = 1"), 0);
    ck_assert_int_eq(count("enrollment"), 2);
}
END_TEST

START_TEST(the_trigger_of_who_opted_out_is_used_and_ended)
{
    pgtemp_do(db_admin,
              "DELETE FROM enrollment WHERE source_id = 2; UPDATE progress SET audience = 0,"
              " enrolled = 0 WHERE source_id = 2;"
              "UPDATE lead SET trigger = 'COLD' WHERE device_id = 1 AND lead_no = 1;"
              "UPDATE audience SET cursor = 0 WHERE source_id = 2");
    one_then_the_other(OPT_OUT,
                       SHARED RUN("enrol_trigger", "7, '{1}', 64, '{2}', '{1}', '{1}', '{0}'"));
    ck_assert_int_eq(count("enrollment WHERE source_id = 2 AND step = 1"), 1);
    ck_assert_int_eq(count("trigger_use"), 1);
    pgtemp_do(db_admin, "DELETE FROM message");
    claim_ends_it(CLAIM("2", "1"), REFUSE("2", "1"), 1);
    ck_assert_int_eq(count("enrollment_end WHERE source_id = 2 AND reason = 11"), 1);
}
END_TEST

/* ---- against settling: the chain COLD -> WARM ---- */

START_TEST(who_is_chained_after_an_opt_out_is_ended_by_the_claim)
{
    pgtemp_do(first, "BEGIN; %s COMMIT", SHARED CLAIM("2", "2"));
    one_then_the_other(OPT_OUT, FINISH);
    ck_assert_int_eq(count("message WHERE state = 1 AND source_id = 2"), 1);
    ck_assert_int_eq(count("enrollment WHERE source_id = 3 AND step = 1 AND state = 0"), 1);
    pgtemp_do(db_admin, "DELETE FROM message WHERE reason = 11");
    claim_ends_it(CLAIM("3", "1"), REFUSE("3", "1"), 1);
}
END_TEST

START_TEST(an_opt_out_after_a_chain_ends_the_next_sequence)
{
    pgtemp_do(first, "BEGIN; %s COMMIT", SHARED CLAIM("2", "2"));
    one_then_the_other(FINISH, OPT_OUT);
    ck_assert_int_eq(count("enrollment"), 0);
    ck_assert_int_eq(count("enrollment_end WHERE source_id = 3 AND reason = 11"), 1);
    ck_assert_int_eq(count("enrollment_end WHERE source_id = 2 AND reason = 0"), 1);
}
END_TEST

/* ---- against take ---- */

START_TEST(an_opt_out_after_a_take_does_nothing)
{
    one_then_the_other(EXCLUSIVE RUN("take",
                                     "7, 'n2', '11111111-1111-1111-1111-111111111111', 'x'"),
                       OPT_OUT);
    ck_assert_int_eq(count("optout"), 0);
    ck_assert_int_eq(count("enrollment"), 2);
}
END_TEST

START_TEST(a_take_after_an_opt_out_loads_it)
{
    one_then_the_other(OPT_OUT,
                       EXCLUSIVE RUN("take", "7, 'n2', '11111111-1111-1111-1111-111111111111',"
                                             " 'x'"));
    ck_assert_str_eq(pgtemp_text(first, "EXECUTE load_optouts(0, 10)"), "main");
    ck_assert_int_eq(pgtemp_int(db_admin, "SELECT epoch FROM owner"), 8);
}
END_TEST

/* ---- against direct messages and imports ---- */

START_TEST(a_send_after_an_opt_out_is_refused)
{
    one_then_the_other(OPT_OUT, SEND);
    ck_assert_int_eq(count("direct"), 0);
    ck_assert_int_eq(count("enrollment"), 0);
}
END_TEST

START_TEST(an_opt_out_after_a_send_ends_it)
{
    one_then_the_other(SEND, OPT_OUT);
    ck_assert_int_eq(count("direct"), 1);
    ck_assert_int_eq(count("enrollment"), 0);
    ck_assert_int_eq(count("message WHERE source_id = 0 AND reason = 11 AND lead_no = -1"), 1);
    /* the key is known: asked again it answers the first result */
    pgtemp_do(first, "BEGIN; %s COMMIT", SEND);
    ck_assert_int_eq(count("direct"), 1);
}
END_TEST

#define ERASE                                                                                      \
    EXCLUSIVE RUN("optout_end", "7, '{main}', '{" PHONE "}', 18, true")                            \
        RUN("forget_erase", "7, '{0}', '{main}', '{" PHONE "}', " HASH)
#define IMPORT                                                                                     \
    SHARED RUN("intake_lead_insert", "7, '{2}', '{1}', '{1}', '{0}', '{" PHONE                     \
                                     "}', '{Ann}', '{\"\"}', '{\"{}\"}', " HASH)

START_TEST(an_import_after_an_erasure_numbers_nobody)
{
    one_then_the_other(ERASE, IMPORT);
    ck_assert_int_eq(count("lead WHERE phone = " PHONE), 0);
    ck_assert_int_eq(pgtemp_int(db_admin, "SELECT next_lead_no FROM device WHERE device_id = 2"),
                     3);
}
END_TEST

START_TEST(an_erasure_after_an_import_takes_the_new_lead_too)
{
    one_then_the_other(IMPORT, ERASE);
    ck_assert_int_eq(count("lead WHERE phone = " PHONE), 0);
    ck_assert_int_eq(pgtemp_int(db_admin, "SELECT next_lead_no FROM device WHERE device_id = 2"),
                     4);
}
END_TEST

START_TEST(who_is_claimed_is_not_erased)
{
    one_then_the_other(SHARED CLAIM("2", "2"), ERASE);
    ck_assert_int_eq(count("lead WHERE phone = " PHONE), 1);
    ck_assert_int_eq(count("forgotten"), 0);
    ck_assert_int_eq(count("enrollment WHERE state = 1"), 1);
}
END_TEST

/* ---- enrolment by hand, and out ---- */

#define REMOVE SHARED RUN("lead_remove", "7, '{0}', '{1}', '{" PHONE "}', '{2}'")

/* Both are on one lane of one driver; another session's claim waits for the row. */
START_TEST(a_claim_after_a_removal_finds_nothing)
{
    one_then_the_other(REMOVE, SHARED CLAIM("2", "2"));
    ck_assert_int_eq(count("enrollment WHERE source_id = 2"), 0);
    ck_assert_int_eq(count("enrollment_end WHERE reason = 16"), 1);
}
END_TEST

START_TEST(a_removal_after_a_claim_takes_nothing)
{
    one_then_the_other(SHARED CLAIM("2", "2"), REMOVE);
    ck_assert_int_eq(count("enrollment WHERE source_id = 2 AND state = 1"), 1);
    ck_assert_int_eq(count("enrollment_end"), 0);
}
END_TEST

/* ---- plans: by keys, however many leads there are ---- */

START_TEST(acts_read_by_keys_only)
{
    static const struct {
        const char *name, *values;
    } plans[] = {
        {"optout_end", "7, '{main}', '{" PHONE "}', 11, false"},
        {"forget_find", "7, '{0}', '{main}', '{" PHONE "}'"},
        {"forget_erase", "7, '{0}', '{main}', '{" PHONE "}', " HASH},
        {"send", "7, '{0}', '{1}', '{" PHONE "}', '{k}', '{Hi}', '{infinity}', " HASH ", 1000"},
        {"lead_enrol", "7, '{0}', '{1}', '{" PHONE "}', '{3}', '{1}', '{1}', '{0}', '{f}'"},
        {"lead_remove", "7, '{0}', '{1}', '{" PHONE "}', '{2}'"},
    };
    pgtemp_do(db_admin,
              "INSERT INTO device(device_id, min_delay_ms, max_delay_ms, transport, address)"
              " SELECT g, 1, 1, 'null', 'x' FROM generate_series(3, 1000) g;"
              "INSERT INTO lead(device_id, lead_no, phone) SELECT g, n, 70000000000 + g * 100 +"
              " n FROM generate_series(3, 1000) g, generate_series(1, 20) n;"
              "INSERT INTO direct(device_id, lead_no, phone, accepted_at, key, text) SELECT g,"
              " -n, 70000000000 + g * 100 + n, now(), n::text, 'x' FROM generate_series(3,"
              " 1000) g, generate_series(1, 5) n;"
              "INSERT INTO enrollment(device_id, source_id, lead_no, due_at) SELECT g, 1, n,"
              " now() FROM generate_series(3, 1000) g, generate_series(1, 20) n;"
              "UPDATE progress SET audience = audience + 19960, enrolled = enrolled + 19960"
              " WHERE source_id = 1; ANALYZE");
    PGconn *c = open_driver();
    for (size_t i = 0; i < sizeof(plans) / sizeof(plans[0]); i++) {
        char sql[1024];

        snprintf(sql, sizeof(sql), "EXPLAIN EXECUTE \"%s\"(%s)", plans[i].name, plans[i].values);
        PGresult *r = PQexec(c, sql);
        ck_assert_msg(PQresultStatus(r) == PGRES_TUPLES_OK, "%s", PQerrorMessage(c));
        for (int row = 0; row < PQntuples(r); row++) {
            const char *line = PQgetvalue(r, row, 0), *scan = strstr(line, "Seq Scan on ");

            ck_assert_msg(!scan || strncmp(scan + 12, "owner", 5) == 0 ||
                              strncmp(scan + 12, "progress", 8) == 0 ||
                              strncmp(scan + 12, "source", 6) == 0,
                          "%s: %s", plans[i].name, line);
        }
        PQclear(r);
    }
    PQfinish(c);
}
END_TEST

static Suite *
act_locks_suite(void)
{
    Suite *s = suite_create("act_locks");
    TCase *t = tcase_create("act_locks");

    tcase_set_timeout(t, 30);
    tcase_add_unchecked_fixture(t, fixture_start, NULL);
    tcase_add_checked_fixture(t, open_sessions, close_sessions);
    tcase_add_test(t, a_claim_after_an_opt_out_finds_nothing);
    tcase_add_test(t, an_opt_out_after_a_claim_leaves_it_to_its_fact);
    tcase_add_test(t, mutant_that_ends_claimed_rows_takes_one_that_is_on_the_wire);
    tcase_add_test(t, who_is_enrolled_after_an_opt_out_is_ended_by_the_claim);
    tcase_add_test(t, an_opt_out_after_an_enrolment_ends_what_it_enrolled);
    tcase_add_test(t, the_trigger_of_who_opted_out_is_used_and_ended);
    tcase_add_test(t, who_is_chained_after_an_opt_out_is_ended_by_the_claim);
    tcase_add_test(t, an_opt_out_after_a_chain_ends_the_next_sequence);
    tcase_add_test(t, an_opt_out_after_a_take_does_nothing);
    tcase_add_test(t, a_take_after_an_opt_out_loads_it);
    tcase_add_test(t, a_send_after_an_opt_out_is_refused);
    tcase_add_test(t, an_opt_out_after_a_send_ends_it);
    tcase_add_test(t, an_import_after_an_erasure_numbers_nobody);
    tcase_add_test(t, an_erasure_after_an_import_takes_the_new_lead_too);
    tcase_add_test(t, who_is_claimed_is_not_erased);
    tcase_add_test(t, a_claim_after_a_removal_finds_nothing);
    tcase_add_test(t, a_removal_after_a_claim_takes_nothing);
    tcase_add_test(t, acts_read_by_keys_only);
    suite_add_tcase(s, t);
    return s;
}

int
main(void)
{
    return fixture_run(act_locks_suite());
}
