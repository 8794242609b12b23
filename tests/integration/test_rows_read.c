/* How many rows a tick's statements read: exactly as many as they are asked for, whatever else the
 * partition holds. Counted by the server, for each statement in a transaction of its own. */
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

        ck_assert_msg(PQresultStatus(r) == PGRES_COMMAND_OK, "%s", PQerrorMessage(driver));
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

#define TOKENS "'{11111111-1111-7111-8111-111111111111,22222222-2222-7222-8222-222222222222}'"
/* Leads 1 and 2 of device 1 in sequence 1. */
#define ASKED "7, '{5,6}', '{1,1}', '{1,1}', '{1,2}', '{1,1}', '{0,0}', " TOKENS
#define FACT(goal, step)                                                                           \
    "'{5,6}', '{1,1}', '{1,1}', '{1,2}', " TOKENS ", '{" goal "," goal "}', '{" step "," step      \
    "}', '{0,0}', '{1,1}', '{now,now}', '{1,1}', '{0,0}', '{x,x}', '{now,now}', '{now,now}',"      \
    " '{1,1}', '{0,0}', '{1,1}'"

/*
 * What a statement may read, of every table, when it is asked for two rows of one device. A row by
 * its key is one; a row that it changes is found once.
 */
static const struct bound {
    enum store_statement statement;
    const char *before; /* so that the rows stand as the statement expects */
    const char *values;
    int rows; /* read at most, the driver's own row (owner) included */
} bounds[] = {
    /* owner; the source and the cluster's; two each of enrollment, device, lead */
    {STORE_CLAIM, NULL, ASKED, 1 + 2 + 2 * 3},
    {STORE_CLAIM_DIRECT, NULL, ASKED, 1 + 2 + 2 * 3},
    /* two enrollments and the counters of their source */
    {STORE_ADVANCE, "claimed", FACT("0", "2"), 2 + 1},
    {STORE_FINISH, "claimed", FACT("3", "1") ", '{1,1}', '{2,2}', '{1,1}', '{1,1}', '{now,now}'",
     /* and the next sequence's source, twice; its counters */
     2 + 2 + 2},
    {STORE_REFUSE, NULL, ASKED, 1 + 2 * 4 + 2},
    /* the device's rows of the sources that are asked for: five */
    {STORE_FILL, NULL, "'{1}', '{100}', '{1970-01-01}', '{0}', '{0}', '{1}'", 5},
    /* the device, its cursor, the source; five leads that wait for it, none of the others: each as
       it is found and as it is changed; its counters */
    {STORE_ENROL_TRIGGER, "triggered", "7, '{1}', 64, '{1}', '{1}', '{1}', '{0}'", 17},
    {STORE_ENROL_LOCK, "triggered", "'{1}', '{1}'", 1},
    {STORE_ENROL_OPEN, NULL, "'{1}', '{}', '{1}'", 2},
    {STORE_EPOCH, NULL, "", 1},
    /* acts on one person; who looks for what is live reads the counters of all 302 sources */
    {STORE_OPTOUT_ADD, NULL, "7, '{0}', '{main}', '{60000100001}', '{x}', '{ab}'", 3},
    {STORE_OPTOUT_END, NULL, "7, '{main}', '{60000100001}', 11, false", 630},
    {STORE_FORGET_FIND, NULL, "7, '{0}', '{main}', '{60000100001}'", 320},
    {STORE_FORGET_ERASE, NULL, "7, '{0}', '{main}', '{60000100001}', '{ab}'", 320},
    {STORE_SEND, NULL, "7, '{0}', '{1}', '{60000100001}', '{k}', '{x}', '{infinity}', '{ab}', 1000",
     8},
    {STORE_LEAD_ENROL, NULL,
     "7, '{0}', '{1}', '{60000100001}', '{100}', '{1}', '{1}', '{0}', '{f}'", 8},
    {STORE_LEAD_REMOVE, NULL, "7, '{0}', '{1}', '{60000100001}', '{1}'", 8},
    {STORE_INTAKE_LEAD_INSERT, NULL,
     "7, '{1}', '{1}', '{1}', '{0}', '{60000900001}', '{x}', '{\"\"}', '{\"{}\"}', '{ab}'", 6},
    {STORE_INTAKE_FORGOTTEN, NULL, "'{1}', '{ab}'", 3},
    {STORE_TRIGGER_BACK, "triggered", "7, '{1}', '{60000100001}', '{GO}'", 310},
    {STORE_LOCK_SHARED, NULL, "", 0},
    {STORE_LOCK_TIMED, NULL, "'-infinity', 'infinity'", 0},
    /* owner, and the two devices, once each */
    {STORE_RESERVE, NULL, "7, '{1,2}', '{20000,20000}', '{5,5}', '{now,now}', '{0,0}'", 1 + 2},
    {STORE_GIVE_BACK, NULL, "7, '{1,2}', '{20000,20000}', '{5,5}', '{now,now}', '{0,0}'", 1 + 2},
};

static int
rows_read(const struct bound *b)
{
    const char *name = store_statements[b->statement].name;
    int rows;

    pgtemp_do(driver, "BEGIN");
    if (b->before && strcmp(b->before, "claimed") == 0)
        pgtemp_do(driver, "EXECUTE claim(" ASKED ")");
    int before = pgtemp_int(driver, "SELECT sum(seq_tup_read + idx_tup_fetch)"
                                    " FROM pg_stat_xact_user_tables");
    if (*b->values)
        pgtemp_do(driver, "EXECUTE \"%s\"(%s)", name, b->values);
    else
        pgtemp_do(driver, "EXECUTE \"%s\"", name);
    rows = pgtemp_int(driver, "SELECT sum(seq_tup_read + idx_tup_fetch)"
                              " FROM pg_stat_xact_user_tables") -
           before;
    pgtemp_do(driver, "ROLLBACK");
    return rows;
}

/* Everything that a tick must not pay for. */
static void
crowd(void)
{
    pgtemp_do(
        db_admin,
        /* other devices, with leads that wait for a trigger, or with one that nobody used yet */
        "INSERT INTO device(device_id, min_delay_ms, max_delay_ms, next_lead_no, transport,"
        " address) SELECT d, 1, 1, 20, 'null', 'b' || d FROM generate_series(1001, 2000) d;"
        "INSERT INTO lead(device_id, lead_no, phone, trigger) SELECT d, l, 70000000000 + d * 100 + "
        "l,"
        " CASE WHEN l > 10 THEN 'GO' ELSE '' END FROM generate_series(1001, 2000) d,"
        " generate_series(1, 20) l;"
        "INSERT INTO audience(device_id, source_id, upto) SELECT d, 1, 2147483647 FROM"
        " generate_series(1001, 2000) d;"
        /* leads of our device that wait behind the cursor */
        "INSERT INTO lead(device_id, lead_no, phone) SELECT 1, l, 80000000000 + l FROM"
        " generate_series(1001, 3000) l;"
        /* paused sources, with rows on our device that are due before its own */
        "INSERT INTO source(source_id, kind, state, content_version, name, item, trigger)"
        " SELECT s, 2, 1, 1, 'paused' || s, '{}', 'T' || s FROM generate_series(100, 399) s;"
        "INSERT INTO progress(source_id) SELECT generate_series(100, 399);"
        "INSERT INTO audience(device_id, source_id, upto) SELECT 1, s, 2147483647 FROM"
        " generate_series(100, 399) s;"
        "INSERT INTO enrollment(device_id, source_id, lead_no, step, due_at) SELECT 1, s, l, 1,"
        " now() - interval '1 day' FROM generate_series(100, 399) s, generate_series(1, 5) l;"
        /* history */
        "INSERT INTO message(claimed_at, settled_at, epoch, text_hash, token, device_id, source_id,"
        " lead_no, step, attempt, state, reason) SELECT now(), now(), 1, 1, gen_random_uuid(), 1,"
        " 1, n %% 5, 1, 0, 1, 0 FROM generate_series(1, 5000) n;"
        "INSERT INTO enrollment_end(device_id, source_id, lead_no, step, reason, ended_at)"
        " SELECT 1, 1, n, 3, 0, now() FROM generate_series(1001, 3000) n;"
        "INSERT INTO optout(account, phone, number) SELECT 'main', 90000000000 + n, n FROM"
        " generate_series(1, 5000) n;"
        "UPDATE owner SET optout_number = 5000;"
        "INSERT INTO forgotten(account, hash) SELECT 'main', sha256(n::text::bytea) FROM"
        " generate_series(1, 5000) n;"
        "INSERT INTO direct(device_id, lead_no, phone, accepted_at, key, text) SELECT 1001, -n,"
        " 90000000000 + n, now(), n::text, 'x' FROM generate_series(1, 5000) n");
}

static void
check_rows(const struct bound *b, const char *when)
{
    int rows = rows_read(b);

    ck_assert_msg(rows <= b->rows, "%s reads %d rows, %d at most (%s)",
                  store_statements[b->statement].name, rows, b->rows, when);
}

/* Plans were made when the tables were known to be small, and stay as they were until the next
 * ANALYZE: what has grown meanwhile must not be read either. */
START_TEST(a_tick_reads_what_it_is_asked_for_and_no_more)
{
    const struct bound *b = &bounds[_i];

    fixture_devices(300, 5, 5000, 15000);
    fixture_sequences();
    if (b->before && strcmp(b->before, "triggered") == 0)
        pgtemp_do(db_admin, "UPDATE lead SET trigger = 'GO' WHERE device_id = 1");
    else
        pgtemp_do(db_admin, "INSERT INTO enrollment(device_id, source_id, lead_no, step, due_at)"
                            " SELECT device_id, 1, lead_no, 1, now() FROM lead");
    pgtemp_do(db_admin, "VACUUM ANALYZE");
    check_rows(b, "alone");
    crowd();
    check_rows(b, "in a crowd, by the plans of before");
    pgtemp_do(db_admin, "ANALYZE");
    check_rows(b, "in a crowd");
}
END_TEST

static Suite *
rows_read_suite(void)
{
    Suite *s = suite_create("rows_read");
    TCase *t = tcase_create("rows_read");

    tcase_set_timeout(t, 60);
    tcase_add_unchecked_fixture(t, fixture_start, NULL);
    tcase_add_checked_fixture(t, open_session, close_session);
    tcase_add_loop_test(t, a_tick_reads_what_it_is_asked_for_and_no_more, 0,
                        sizeof(bounds) / sizeof(bounds[0]));
    suite_add_tcase(s, t);
    return s;
}

int
main(void)
{
    return fixture_run(rows_read_suite());
}
