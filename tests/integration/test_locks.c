/* Two sessions on one partition, in both orders: what the lock rule and the epoch keep apart. */
#include "node/store.h"
#include "tests/integration/partition_fixture.h"

static PGconn *driver, *other;
static int other_pid, driver_pid;

/* ---- statements of the store as a driver sends them: prepared, several before one Sync ---- */

static void
prepare(const char *name, const char *sql)
{
    PGresult *r = PQprepare(driver, name, sql, 0, NULL);

    ck_assert_msg(PQresultStatus(r) == PGRES_COMMAND_OK, "%s: %s", name, PQerrorMessage(driver));
    PQclear(r);
}

static void
open_sessions(void)
{
    fixture_open();
    driver = pgtemp_open(pg, PARTITION, "fleetcast_node");
    other = pgtemp_open(pg, PARTITION, NULL);
    driver_pid = PQbackendPID(driver);
    other_pid = PQbackendPID(other);
    for (unsigned i = 0; i < STORE_COUNT; i++)
        prepare(store_statements[i].name, store_statements[i].sql);
    fixture_devices(3, 3, 5000, 15000);
    fixture_campaign();
    pgtemp_do(db_admin, "UPDATE owner SET epoch = 7, driver = 'n1', clean = false;"
                        "INSERT INTO enrollment(device_id, source_id, lead_no, due_at)"
                        " SELECT device_id, 1, 1, now() FROM device;"
                        "UPDATE audience SET cursor = 1");
}

static void
close_sessions(void)
{
    PQfinish(driver);
    PQfinish(other);
    fixture_close();
}

struct step {
    const char *name;
    const char *const *values; /* NULL-terminated */
};

static void
send_step(const struct step *s)
{
    int n = 0;

    while (s->values && s->values[n])
        n++;
    ck_assert_int_eq(1, PQsendQueryPrepared(driver, s->name, n, s->values, NULL, NULL, 0));
}

static void
send_steps(const struct step *steps, unsigned count)
{
    ck_assert_int_eq(1, PQenterPipelineMode(driver));
    for (unsigned i = 0; i < count; i++)
        send_step(&steps[i]);
    ck_assert_int_eq(1, PQpipelineSync(driver));
    ck_assert_int_eq(0, PQflush(driver));
}

/* Rows of the last step; the transaction has committed. */
static PGresult *
take_last(unsigned count)
{
    PGresult *last = NULL, *r;

    for (unsigned i = 0; i < count; i++) {
        PQclear(last);
        last = PQgetResult(driver);
        ck_assert_msg(PQresultStatus(last) == PGRES_TUPLES_OK ||
                          PQresultStatus(last) == PGRES_COMMAND_OK,
                      "%s", PQerrorMessage(driver));
        ck_assert_ptr_null(PQgetResult(driver));
    }
    r = PQgetResult(driver);
    ck_assert_int_eq(PGRES_PIPELINE_SYNC, PQresultStatus(r));
    PQclear(r);
    ck_assert_int_eq(1, PQexitPipelineMode(driver));
    return last;
}

static int
rows_of(PGresult *r)
{
    int n = PQntuples(r);

    PQclear(r);
    return n;
}

static const char *const claim_7[] = {"7",   "{1}", "{1}", "{1}",
                                      "{1}", "{0}", "{0}", "{11111111-1111-7111-8111-111111111111}",
                                      NULL};
static const char *const claim_8[] = {"8",   "{1}", "{1}", "{1}",
                                      "{1}", "{0}", "{0}", "{22222222-2222-7222-8222-222222222222}",
                                      NULL};
/* n, device, source, lead, token, goal, to_step, to_attempt, to_revision, due, state, reason,
 * provider_id, at, claimed_at, step, attempt, text_hash, epoch, ends_as, next_source, next_step,
 * next_revision, next_due */
static const char *const fact_sent[] = {
    "{1}", "{1}", "{1}",     "{1}",   "{11111111-1111-7111-8111-111111111111}",
    "{3}", "{0}", "{0}",     "{1}",   "{now}",
    "{1}", "{0}", "{wamid}", "{now}", "{now}",
    "{0}", "{0}", "{5}",     "{1}",   "{0}",
    "{0}", "{0}", "{now}",   NULL};
static const struct step lock_and_claim[] = {{"lock_shared", NULL}, {"claim", claim_7}};
static const struct step lock_and_refuse[] = {{"lock_shared", NULL}, {"refuse", claim_7}};
static const struct step lock_and_finish[] = {{"lock_shared", NULL}, {"finish", fact_sent}};

static int
claim_now(void)
{
    send_steps(lock_and_claim, 2);
    return rows_of(take_last(2));
}

static int
verdict_now(void)
{
    send_steps(lock_and_refuse, 2);
    PGresult *r = take_last(2);
    ck_assert_int_eq(1, PQntuples(r));
    int verdict = atoi(PQgetvalue(r, 0, 1));
    PQclear(r);
    return verdict;
}

/* ---- events under the exclusive lock ---- */

struct event {
    const char *sql;
    int verdict; /* of the row afterwards */
    bool ends;   /* the row */
};
static const struct event events[] = {
    {"INSERT INTO optout(account, phone, number) SELECT 'main', phone, 1 FROM lead"
     " WHERE device_id = 1 AND lead_no = 1",
     11, true},
    {"UPDATE source SET state = 1", 22, false},
    {"UPDATE source SET state = 2", 12, true},
    {"UPDATE device SET residence = 1 WHERE device_id = 1", 21, false},
    {"UPDATE owner SET epoch = 8", 24, false},
    {"UPDATE source SET not_after = now()", 13, true},
};
#define EVENT_TAKE 4

static void
event_begins(const struct event *e)
{
    pgtemp_do(other, "BEGIN; SELECT pg_advisory_xact_lock(fleetcast_lock()); %s", e->sql);
}

/* The event holds the lock and has written; `steps` are sent, wait, and go on when it commits. */
static int
rows_after_event(const struct event *e, const struct step *steps, unsigned count, bool waits)
{
    event_begins(e);
    send_steps(steps, count);
    if (waits)
        pgtemp_wait_blocked(db_admin, driver_pid);
    else
        PQconsumeInput(driver);
    PGresult *r = NULL;
    if (!waits) /* a mutant does not wait: it ends while the event is still open */
        r = take_last(count);
    pgtemp_do(other, "COMMIT");
    return rows_of(waits ? take_last(count) : r);
}

START_TEST(a_claim_that_waited_for_an_event_obeys_it)
{
    const struct event *e = &events[_i];

    ck_assert_int_eq(0, rows_after_event(e, lock_and_claim, 2, true));
    ck_assert_int_eq(e->verdict, verdict_now());
    ck_assert_int_eq(e->ends ? 2 : 3, pgtemp_int(db_admin, "SELECT count(*) FROM enrollment"));
    ck_assert_int_eq(e->ends, pgtemp_int(db_admin, "SELECT count(*) FROM message WHERE reason = %d",
                                         e->verdict));
    fixture_sums();
}
END_TEST

START_TEST(an_event_waits_for_a_claim_and_sees_it)
{
    const struct event *e = &events[_i];
    char sql[500];

    pgtemp_do(driver, "BEGIN");
    PQclear(PQexecPrepared(driver, "lock_shared", 0, NULL, NULL, NULL, 0));
    ck_assert_int_eq(1, rows_of(PQexecPrepared(driver, "claim", 8, claim_7, NULL, NULL, 0)));
    snprintf(sql, sizeof(sql), "SELECT pg_advisory_lock(fleetcast_lock()); %s", e->sql);
    pgtemp_send(other, sql);
    pgtemp_wait_blocked(db_admin, other_pid);
    ck_assert_int_eq(0, pgtemp_int(db_admin, "SELECT count(*) FROM enrollment WHERE state = 1"));
    pgtemp_do(driver, "COMMIT");
    pgtemp_wait(other);
    ck_assert_int_eq(1, pgtemp_int(other, "SELECT count(*) FROM enrollment WHERE state = 1"));
    pgtemp_do(other, "SELECT pg_advisory_unlock(fleetcast_lock())");
    /* The late fact is accepted, once, whatever happened; the row is not claimed again. */
    send_steps(lock_and_finish, 2);
    ck_assert_int_eq(1, rows_of(take_last(2)));
    send_steps(lock_and_finish, 2);
    ck_assert_int_eq(0, rows_of(take_last(2)));
    ck_assert_int_eq(1, pgtemp_int(db_admin, "SELECT sent FROM progress"));
    ck_assert_int_eq(1, pgtemp_int(db_admin, "SELECT count(*) FROM message"));
    ck_assert_int_eq(0, claim_now());
    fixture_sums();
}
END_TEST

/* ---- mutants: each must do what the rule forbids, or the tests above prove nothing ---- */

static char *
without(const char *sql, const char *text, const char *instead)
{
    static char out[8192];
    size_t used = 0;
    const char *at;

    while ((at = strstr(sql, text)) != NULL) {
        used += (size_t) snprintf(out + used, sizeof(out) - used, "%.*s%s", (int) (at - sql), sql,
                                  instead);
        sql = at + strlen(text);
    }
    snprintf(out + used, sizeof(out) - used, "%s", sql);
    return out;
}

#define EPOCH_TEXT "(SELECT epoch FROM owner) = $1::bigint"

START_TEST(mutant_without_a_lock_claims_past_every_event)
{
    const struct step claim_only[] = {{"claim", claim_7}};

    ck_assert_int_eq(1, rows_after_event(&events[_i], claim_only, 1, false));
}
END_TEST

START_TEST(mutant_with_the_lock_inside_the_claim_keeps_the_old_snapshot)
{
    const struct step claim_inside[] = {{"claim_inside", claim_7}};

    prepare("claim_inside",
            without(store_statements[STORE_CLAIM].sql, "UPDATE enrollment e SET",
                    "WITH k AS MATERIALIZED (SELECT 1 AS held FROM (SELECT"
                    " pg_advisory_xact_lock_shared(fleetcast_lock())) x) UPDATE enrollment e"
                    " SET lead_no = e.lead_no + (SELECT held FROM k) - 1,"));
    ck_assert_int_eq(1, rows_after_event(&events[_i], claim_inside, 1, true));
}
END_TEST

START_TEST(mutant_without_the_epoch_claims_for_a_driver_that_was_replaced)
{
    const struct step steps[] = {{"lock_shared", NULL}, {"claim_mutant", claim_7}};

    prepare("claim_mutant",
            without(store_statements[STORE_CLAIM].sql, EPOCH_TEXT, "$1::bigint IS NOT NULL"));
    ck_assert_int_eq(1, rows_after_event(&events[EVENT_TAKE], steps, 2, true));
}
END_TEST

/* ---- the epoch in every write ---- */

struct write {
    enum store_statement statement;
    const char *values[17]; /* the epoch is put first */
};
static const struct write writes[] = {
    {STORE_TAKE, {"n2", "11111111-1111-1111-1111-111111111111", "start", NULL}},
    {STORE_BEAT, {NULL}},
    {STORE_RELEASE, {NULL}},
    {STORE_CLAIM,
     {"{1}", "{1}", "{1}", "{1}", "{0}", "{0}", "{11111111-1111-7111-8111-111111111111}", NULL}},
    {STORE_REFUSE,
     {"{1}", "{2}", "{1}", "{1}", "{0}", "{0}", "{11111111-1111-7111-8111-111111111111}", NULL}},
    {STORE_ENROL, {"{1,2,3}", "1", "{1,2,3}", NULL}},
    {STORE_ENROL_TRIGGER, {"{1,2,3}", "1", "{1,5}", "{0,1}", "{1,1}", "{0,0}", NULL}},
    {STORE_TRIGGER_BACK, {"{1}", "{60000100001}", "{GO}", NULL}},
    {STORE_CLAIM_DIRECT,
     {"{1}", "{1}", "{0}", "{-1}", "{0}", "{0}", "{11111111-1111-7111-8111-111111111111}", NULL}},
    {STORE_RESTEP,
     {"5", "0", "10", "10", "{1}", "{2}", "{3}", "{0}", "0", "2", "0", "0", "0", NULL}},
    {STORE_SWEEP, {"2", "0", "10", "10", NULL}},
    {STORE_PUT_TEMPLATES, {"{x}", "{9}", "{y}", NULL}},
    {STORE_PUT_SOURCES,
     {"{9}", "{0}", "{0}", "{9}", "{now}", "{infinity}", "{nine}", "{\"{(,)}\"}", "{\"{}\"}", "{1}",
      "{1}", "{0}", "{infinity}", "{\"\"}", "{\"\"}", NULL}},
    {STORE_AUDIENCE, {"5", "0", "10", NULL}},
    {STORE_APPLIED, {"5", NULL}},
    {STORE_PAUSE_SOURCE, {"1", NULL}},
    {STORE_OPTOUT_ADD, {"{0}", "{main}", "{60000100001}", "{x}", "{ab}", NULL}},
    {STORE_OPTOUT_END, {"{main}", "{60000100001}", "11", "f", NULL}},
    {STORE_OPTOUT_REMOVE, {"{0}", "{main}", "{60000200001}", "{ab}", NULL}},
    {STORE_FORGET_BLOCK, {"{0}", "{\"\"}", "{60000100001}", NULL}},
    {STORE_FORGET_IDS, {"{now}", "{00000000-0000-7000-8000-000000000001}", NULL}},
    {STORE_FORGET_ERASE, {"{0}", "{main}", "{60000100001}", "{ab}", NULL}},
    {STORE_SEND,
     {"{0}", "{1}", "{60000100008}", "{k2}", "{x}", "{infinity}", "{ab}", "1000", NULL}},
    {STORE_LEAD_ENROL, {"{0}", "{2}", "{60000200002}", "{5}", "{1}", "{1}", "{0}", "{f}", NULL}},
    {STORE_LEAD_REMOVE, {"{0}", "{1}", "{60000100003}", "{5}", NULL}},
    {STORE_DEVICE_PAUSE, {"{0}", "{1}", "{infinity}", "{x}", NULL}},
    {STORE_OLD_RECEIPTS, {"1", "10", NULL}},
    {STORE_OLD_TRIGGERS, {"1", "10", NULL}},
    {STORE_OLD_DIRECT, {"1", "10", NULL}},
    {STORE_INTAKE_COLUMNS, {"{\"{\\\"a\\\":\\\"1\\\"}\"}", NULL}},
};

static void
digest(char ret[33])
{
    snprintf(
        ret, 33, "%s",
        pgtemp_text(db_admin,
                    "SELECT md5(string_agg(t, ',' ORDER BY t)) FROM (SELECT o::text t FROM owner o"
                    " UNION ALL SELECT e::text FROM enrollment e UNION ALL SELECT a::text FROM"
                    " audience a UNION ALL SELECT s::text FROM source s UNION ALL SELECT"
                    " p::text FROM progress p UNION ALL SELECT m::text FROM message m"
                    " UNION ALL SELECT d::text FROM device d UNION ALL SELECT l::text FROM lead l"
                    " UNION ALL SELECT u::text FROM trigger_use u UNION ALL SELECT t::text FROM"
                    " template t UNION ALL SELECT h::text FROM epoch_history h UNION ALL SELECT"
                    " o::text FROM optout o UNION ALL SELECT c::text FROM direct c UNION ALL SELECT"
                    " r::text FROM receipt r UNION ALL SELECT c::text FROM lead_column c"
                    " UNION ALL SELECT f::text FROM forgotten f) x"));
}

static bool
changes_something(const char *name, const struct write *w, const char *epoch)
{
    const char *values[18] = {epoch};
    char before[33], after[33];
    int n = 1;

    for (; w->values[n - 1]; n++)
        values[n] = w->values[n - 1];
    digest(before);
    PGresult *r = PQexecPrepared(driver, name, n, values, NULL, NULL, 0);
    ck_assert_msg(PQresultStatus(r) == PGRES_TUPLES_OK || PQresultStatus(r) == PGRES_COMMAND_OK,
                  "%s: %s", name, PQerrorMessage(driver));
    PQclear(r);
    digest(after);
    return strcmp(before, after) != 0;
}

/* Rows for every write: an opted-out lead, a cancelled source with a row, a device that lags. */
static void
something_for_every_write(void)
{
    pgtemp_do(
        db_admin,
        "INSERT INTO optout(account, phone, number) SELECT 'main', phone, 1 FROM lead"
        " WHERE device_id = 2 AND lead_no = 1;"
        "INSERT INTO source(source_id, kind, state, content_version, started_version, name,"
        " item) VALUES (2, 1, 2, 2, 2, 'gone', '{}'), (3, 1, 0, 3, 3, 'new', '{}');"
        "INSERT INTO progress(source_id, audience) VALUES (2, 1), (3, 0);"
        "INSERT INTO enrollment(device_id, source_id, lead_no, due_at) VALUES"
        " (3, 2, 3, now());"
        "UPDATE device SET content_version = 5 WHERE device_id = 3;"
        "INSERT INTO source(source_id, kind, state, content_version, started_version, name,"
        " trigger, item) VALUES (5, 2, 0, 2, 2, 'cold', 'GO', '{}'), (0, 0, 0, 0, 0,"
        " '(direct)', '', '{}'); INSERT INTO progress(source_id) VALUES (5), (0);"
        "INSERT INTO audience(device_id, source_id, cursor, upto) VALUES (1, 5, 1,"
        " 2147483647); UPDATE lead SET trigger = 'GO' WHERE device_id = 1 AND lead_no < 3;"
        "INSERT INTO enrollment(device_id, source_id, lead_no, step, due_at) VALUES"
        " (1, 5, 3, 2, now()), (1, 0, -1, 0, now());"
        "INSERT INTO direct(device_id, lead_no, phone, accepted_at, key, text) VALUES"
        " (1, -1, 60000100009, now(), 'k', 'x'), (2, -1, 60000100009, now() - interval"
        " '9 days', 'k', 'x');"
        "UPDATE owner SET optout_number = 1; UPDATE device SET next_direct_no = 1;"
        "INSERT INTO receipt VALUES (now(), '00000000-0000-7000-8000-000000000001', 1, 0, 'id');"
        "INSERT INTO trigger_use VALUES (now() - interval '9 days', 1, 1, 5, 'GO')");
}

START_TEST(no_write_of_an_older_epoch_changes_anything)
{
    const struct write *w = &writes[_i];
    const char *name = store_statements[w->statement].name;

    something_for_every_write();
    if (w->statement == STORE_APPLIED)
        pgtemp_do(db_admin, "UPDATE device SET content_version = 5");
    ck_assert_msg(!changes_something(name, w, "6"), "%s wrote for an older epoch", name);
    ck_assert_msg(!changes_something(name, w, "8"), "%s wrote for a later epoch", name);
    ck_assert_msg(changes_something(name, w, "7"), "%s wrote nothing: this test proves nothing",
                  name);
}
END_TEST

START_TEST(mutant_without_the_epoch_writes_for_an_older_one)
{
    const struct write *w = &writes[_i];
    const char *sql = store_statements[w->statement].sql;

    ck_assert_ptr_nonnull(strstr(sql, EPOCH_TEXT));
    something_for_every_write();
    if (w->statement == STORE_APPLIED)
        pgtemp_do(db_admin, "UPDATE device SET content_version = 5");
    prepare("mutant", without(sql, EPOCH_TEXT, "$1::bigint IS NOT NULL"));
    ck_assert(changes_something("mutant", w, "6"));
}
END_TEST

/* ---- take, enrol, facts ---- */

START_TEST(an_enrol_that_waited_for_a_take_enrols_nothing)
{
    static const char *const values[] = {"7", "{1,2,3}", "64", "{1}", NULL};
    const struct step steps[] = {{"lock_shared", NULL}, {"enrol", values}};

    ck_assert_int_eq(0, rows_after_event(&events[EVENT_TAKE], steps, 2, true));
    ck_assert_int_eq(3, pgtemp_int(db_admin, "SELECT count(*) FROM audience WHERE cursor = 1"));
    fixture_sums();
}
END_TEST

START_TEST(a_take_waits_for_an_enrol_and_both_count)
{
    static const char *const values[] = {"7", "{1,2,3}", "64", "{1}", NULL};

    pgtemp_do(driver, "BEGIN");
    PQclear(PQexecPrepared(driver, "lock_shared", 0, NULL, NULL, NULL, 0));
    ck_assert_int_eq(6, rows_of(PQexecPrepared(driver, "enrol", 4, values, NULL, NULL, 0)));
    pgtemp_send(other, "BEGIN; SELECT pg_advisory_xact_lock(fleetcast_lock());"
                       " UPDATE owner SET epoch = 8; COMMIT");
    pgtemp_wait_blocked(db_admin, other_pid);
    pgtemp_do(driver, "COMMIT");
    pgtemp_wait(other);
    ck_assert_int_eq(9, pgtemp_int(db_admin, "SELECT count(*) FROM enrollment"));
    fixture_sums();
}
END_TEST

START_TEST(of_two_takes_one_wins)
{
    static const char *const values[] = {"7", "n1", "11111111-1111-1111-1111-111111111111", "start",
                                         NULL};
    const struct step steps[] = {{"lock_exclusive", NULL}, {"take", values}, {"epoch", NULL}};

    ck_assert_int_eq(1, rows_after_event(&events[EVENT_TAKE], steps, 3, true));
    ck_assert_int_eq(8, pgtemp_int(db_admin, "SELECT epoch FROM owner"));
    ck_assert_int_eq(0, pgtemp_int(db_admin, "SELECT count(*) FROM epoch_history"));
    send_steps(steps, 3);
    ck_assert_int_eq(1, rows_of(take_last(3)));
    ck_assert_int_eq(8, pgtemp_int(db_admin, "SELECT epoch FROM owner"));
}
END_TEST

START_TEST(a_second_claim_of_a_row_is_stale)
{
    ck_assert_int_eq(1, claim_now());
    ck_assert_int_eq(0, claim_now());
    ck_assert_int_eq(23, verdict_now());
    ck_assert_int_eq(3, pgtemp_int(db_admin, "SELECT count(*) FROM enrollment"));
}
END_TEST

START_TEST(a_fact_of_an_older_epoch_is_accepted_once)
{
    const struct step claim_of_8[] = {{"lock_shared", NULL}, {"claim", claim_8}};

    ck_assert_int_eq(1, claim_now());
    pgtemp_do(db_admin, "UPDATE owner SET epoch = 8");
    send_steps(lock_and_finish, 2);
    ck_assert_int_eq(1, rows_of(take_last(2)));
    send_steps(lock_and_finish, 2);
    ck_assert_int_eq(0, rows_of(take_last(2)));
    send_steps(claim_of_8, 2);
    ck_assert_int_eq(0, rows_of(take_last(2)));
    ck_assert_int_eq(1, pgtemp_int(db_admin, "SELECT sent FROM progress"));
    fixture_sums();
}
END_TEST

/* Nothing may be sent before the Sync: what answered "1 row" still rolls back. */
START_TEST(an_error_before_the_sync_undoes_a_claim_that_had_answered)
{
    const char *const bad[] = {"{1}", "{2}",   "{1}", "{1}", "{no uuid}", "{3}",   "{0}",   "{0}",
                               "{1}", "{now}", "{1}", "{0}", "{x}",       "{now}", "{now}", "{0}",
                               "{0}", "{5}",   "{1}", "{0}", "{0}",       "{0}",   "{now}", NULL};
    const struct step steps[] = {{"lock_shared", NULL}, {"claim", claim_7}, {"finish", bad}};
    PGresult *r;

    send_steps(steps, 3);
    for (int i = 0; i < 2; i++) {
        r = PQgetResult(driver);
        ck_assert_int_eq(PGRES_TUPLES_OK, PQresultStatus(r));
        ck_assert_int_eq(1, PQntuples(r));
        PQclear(r);
        ck_assert_ptr_null(PQgetResult(driver));
    }
    r = PQgetResult(driver);
    ck_assert_str_eq("22P02", PQresultErrorField(r, PG_DIAG_SQLSTATE));
    PQclear(r);
    ck_assert_ptr_null(PQgetResult(driver));
    r = PQgetResult(driver);
    ck_assert_int_eq(PGRES_PIPELINE_SYNC, PQresultStatus(r));
    PQclear(r);
    PQexitPipelineMode(driver);
    ck_assert_int_eq(0, pgtemp_int(db_admin, "SELECT count(*) FROM enrollment WHERE state <> 0"));
    ck_assert_int_eq(1, claim_now());
}
END_TEST

/* ---- sequences and direct messages ---- */

#define TOKEN_1 "{11111111-1111-7111-8111-111111111111}"

/* Lead 1 of device 1 is at the last step of cold, claimed; a direct message waits there too. */
static void
open_sequences(void)
{
    fixture_open();
    driver = pgtemp_open(pg, PARTITION, "fleetcast_node");
    other = pgtemp_open(pg, PARTITION, NULL);
    driver_pid = PQbackendPID(driver);
    other_pid = PQbackendPID(other);
    for (unsigned i = 0; i < STORE_COUNT; i++)
        prepare(store_statements[i].name, store_statements[i].sql);
    fixture_devices(1, 6, 5000, 15000);
    fixture_sequences();
    pgtemp_do(db_admin,
              "UPDATE owner SET epoch = 7, driver = 'n1', clean = false;"
              "INSERT INTO enrollment(device_id, source_id, lead_no, step, due_at, state, epoch,"
              " token) VALUES (1, 1, 1, 3, now(), 1, 7, '" TOKEN_1 "'), (1, 0, -1, 0, now(), 0, 0,"
              " '00000000-0000-0000-0000-000000000000'), (1, 1, 2, 1, now(), 0, 0,"
              " '00000000-0000-0000-0000-000000000000');"
              "INSERT INTO direct(device_id, lead_no, phone, accepted_at, key, text) VALUES"
              " (1, -1, 60111111111, now(), 'k', 'Hello');"
              "UPDATE progress SET audience = 2, enrolled = 2 WHERE source_id = 1;"
              "UPDATE progress SET audience = 1, enrolled = 1 WHERE source_id = 0");
}

static const char *const direct_7[] = {"7",   "{1}", "{1}",   "{0}", "{-1}",
                                       "{0}", "{0}", TOKEN_1, NULL};
static const struct step lock_and_direct[] = {{"lock_shared", NULL}, {"claim_direct", direct_7}};
static const struct step refuse_direct[] = {{"lock_shared", NULL}, {"refuse", direct_7}};
static const struct event direct_events[] = {
    {"INSERT INTO optout(account, phone, number) VALUES ('main', 60111111111, 1)", 11, true},
    {"UPDATE source SET state = 1 WHERE source_id = -1", 0, false},
    {"UPDATE device SET residence = 1 WHERE device_id = 1", 21, false},
    {"UPDATE owner SET epoch = 8", 24, false},
    {"UPDATE direct SET expires_at = now()", 13, true},
};

START_TEST(a_direct_claim_that_waited_for_an_event_obeys_it)
{
    const struct event *e = &direct_events[_i];

    ck_assert_int_eq(0, rows_after_event(e, lock_and_direct, 2, true));
    send_steps(refuse_direct, 2);
    PGresult *r = take_last(2);
    ck_assert_int_eq(e->verdict, atoi(PQgetvalue(r, 0, 1)));
    PQclear(r);
    ck_assert_int_eq(!e->ends, pgtemp_int(db_admin, "SELECT count(*) FROM enrollment"
                                                    " WHERE source_id = 0"));
    fixture_sums();
}
END_TEST

START_TEST(an_event_waits_for_a_direct_claim_and_sees_it)
{
    const struct event *e = &direct_events[_i];
    char sql[500];

    pgtemp_do(driver, "BEGIN");
    PQclear(PQexecPrepared(driver, "lock_shared", 0, NULL, NULL, NULL, 0));
    ck_assert_int_eq(1,
                     rows_of(PQexecPrepared(driver, "claim_direct", 8, direct_7, NULL, NULL, 0)));
    snprintf(sql, sizeof(sql), "SELECT pg_advisory_lock(fleetcast_lock()); %s", e->sql);
    pgtemp_send(other, sql);
    pgtemp_wait_blocked(db_admin, other_pid);
    pgtemp_do(driver, "COMMIT");
    pgtemp_wait(other);
    ck_assert_int_eq(1, pgtemp_int(other, "SELECT count(*) FROM enrollment WHERE state = 1"
                                          " AND source_id = 0"));
    pgtemp_do(other, "SELECT pg_advisory_unlock(fleetcast_lock())");
    fixture_sums();
}
END_TEST

static const char *const fact_last[] = {"{1}",     "{1}",   "{1}",   "{1}",   TOKEN_1, "{3}",
                                        "{3}",     "{0}",   "{1}",   "{now}", "{1}",   "{0}",
                                        "{wamid}", "{now}", "{now}", "{3}",   "{0}",   "{5}",
                                        "{1}",     "{2}",   "{1}",   "{1}",   "{now}", NULL};
static const struct step lock_and_chain[] = {{"lock_shared", NULL}, {"finish", fact_last}};

static int
in_warm(void)
{
    return (int) pgtemp_int(db_admin, "SELECT count(*) FROM enrollment WHERE source_id = 2");
}

/* The event, rows that the chain leaves in warm. A fact of an older epoch is a fact all the same.
 */
static const struct {
    struct event event;
    int warm;
} chain_events[] = {
    {{"UPDATE source SET state = 2 WHERE source_id = 2", 0, false}, 0},
    {{"UPDATE source SET state = 1 WHERE source_id = 2", 0, false}, 1},
    {{"UPDATE owner SET epoch = 8", 0, false}, 1},
    {{"INSERT INTO optout(account, phone, number) SELECT 'main', phone, 1 FROM lead"
      " WHERE lead_no = 1",
      0, false},
     1},
};

START_TEST(a_chain_that_waited_for_an_event_goes_by_it)
{
    ck_assert_int_eq(1 + chain_events[_i].warm,
                     rows_after_event(&chain_events[_i].event, lock_and_chain, 2, true));
    ck_assert_int_eq(chain_events[_i].warm, in_warm());
    ck_assert_int_eq(1, pgtemp_int(db_admin, "SELECT count(*) FROM enrollment_end"));
    fixture_sums();
}
END_TEST

START_TEST(an_event_waits_for_a_chain_and_sees_it)
{
    char sql[500];

    pgtemp_do(driver, "BEGIN");
    PQclear(PQexecPrepared(driver, "lock_shared", 0, NULL, NULL, NULL, 0));
    ck_assert_int_eq(2, rows_of(PQexecPrepared(driver, "finish", 23, fact_last, NULL, NULL, 0)));
    snprintf(sql, sizeof(sql), "BEGIN; SELECT pg_advisory_xact_lock(fleetcast_lock()); %s; COMMIT",
             chain_events[_i].event.sql);
    pgtemp_send(other, sql);
    pgtemp_wait_blocked(db_admin, other_pid);
    ck_assert_int_eq(0, in_warm());
    pgtemp_do(driver, "COMMIT");
    pgtemp_wait(other);
    ck_assert_int_eq(1, in_warm()); /* a cancel's sweep ends it afterwards */
    if (_i == 0) {
        static const char *const values[] = {"7", "2", "0", "9", "9", NULL};
        ck_assert_int_eq(1, rows_of(PQexecPrepared(driver, "sweep", 5, values, NULL, NULL, 0)));
        ck_assert_int_eq(0, in_warm());
    }
    fixture_sums();
}
END_TEST

/* Two ways into warm at once: the lead is in it once, whoever commits first. */
START_TEST(a_chain_and_an_enrolment_by_hand_make_one_row)
{
    bool commits = _i == 0;

    pgtemp_do(other, "BEGIN; SELECT pg_advisory_xact_lock_shared(fleetcast_lock());"
                     "INSERT INTO enrollment(device_id, source_id, lead_no, step, due_at) VALUES"
                     " (1, 2, 1, 1, now())");
    send_steps(lock_and_chain, 2);
    pgtemp_wait_blocked(db_admin, driver_pid);
    pgtemp_do(other, commits ? "COMMIT" : "ROLLBACK");
    ck_assert_int_eq(commits ? 1 : 2, rows_of(take_last(2)));
    ck_assert_int_eq(1, in_warm());
    ck_assert_int_eq(!commits, pgtemp_int(db_admin, "SELECT enrolled FROM progress"
                                                    " WHERE source_id = 2"));
}
END_TEST

static const char *const devices_1[] = {"{1}", "{1}", NULL};
static const char *const triggers_7[] = {"7", "{1}", "64", "{1}", "{1}", "{1}", "{0}", NULL};
static const char *const back_3[] = {"7", "{1}", "{60000100003}", "{GO}", NULL};
static const struct step enrol_by_trigger[] = {{"lock_shared", NULL},
                                               {"enrol_lock", devices_1},
                                               {"enrol_trigger", triggers_7}};

static void
lead_6_is_triggered(void)
{
    pgtemp_do(db_admin, "UPDATE lead SET trigger = 'GO' WHERE lead_no = 6");
}

/* Sets lead 3's trigger as an import does, and stays open. */
static void
trigger_of_3(PGconn *session)
{
    pgtemp_do(session, "BEGIN; SELECT pg_advisory_xact_lock_shared(fleetcast_lock())");
    if (session == driver)
        PQclear(PQexecPrepared(driver, "trigger_back", 4, back_3, NULL, NULL, 0));
    else
        pgtemp_do(session, "UPDATE audience SET cursor = least(cursor, 2) WHERE source_id = 1");
    pgtemp_do(session, "UPDATE lead SET trigger = 'GO' WHERE lead_no = 3");
}

START_TEST(an_enrolment_that_waited_for_a_trigger_sees_it)
{
    lead_6_is_triggered();
    trigger_of_3(other);
    send_steps(enrol_by_trigger, 3);
    pgtemp_wait_blocked(db_admin, driver_pid);
    pgtemp_do(other, "COMMIT");
    ck_assert_int_eq(2, rows_of(take_last(3)));
    ck_assert_int_eq(0, pgtemp_int(db_admin, "SELECT count(*) FROM lead WHERE trigger <> ''"));
    fixture_sums();
}
END_TEST

START_TEST(mutant_without_the_cursors_lock_passes_a_trigger)
{
    const struct step steps[] = {{"lock_shared", NULL}, {"enrol_trigger", triggers_7}};

    lead_6_is_triggered();
    trigger_of_3(other);
    send_steps(steps, 2);
    pgtemp_wait_blocked(db_admin, driver_pid);
    pgtemp_do(other, "COMMIT");
    ck_assert_int_eq(1, rows_of(take_last(2)));
    ck_assert_int_eq(6, pgtemp_int(db_admin, "SELECT cursor FROM audience"));
    ck_assert_int_eq(1, pgtemp_int(db_admin, "SELECT count(*) FROM lead WHERE trigger <> ''"));
}
END_TEST

START_TEST(a_trigger_that_waited_for_an_enrolment_sets_the_cursor_back)
{
    lead_6_is_triggered();
    pgtemp_do(driver, "BEGIN");
    for (unsigned i = 0; i < 3; i++) {
        int n = i == 0 ? 0 : i == 1 ? 2 : 7;
        PQclear(PQexecPrepared(driver, enrol_by_trigger[i].name, n, enrol_by_trigger[i].values,
                               NULL, NULL, 0));
    }
    pgtemp_send(other, "BEGIN; SELECT pg_advisory_xact_lock_shared(fleetcast_lock());"
                       "UPDATE audience SET cursor = least(cursor, 2) WHERE source_id = 1;"
                       "UPDATE lead SET trigger = 'GO' WHERE lead_no = 3; COMMIT");
    pgtemp_wait_blocked(db_admin, other_pid);
    pgtemp_do(driver, "COMMIT");
    pgtemp_wait(other);
    send_steps(enrol_by_trigger, 3);
    ck_assert_int_eq(1, rows_of(take_last(3)));
    ck_assert_int_eq(0, pgtemp_int(db_admin, "SELECT count(*) FROM lead WHERE trigger <> ''"));
    fixture_sums();
}
END_TEST

/* The statement of an import itself, against an enrolment that holds the cursors. */
START_TEST(trigger_back_waits_for_the_cursors)
{
    pgtemp_do(db_admin, "UPDATE audience SET cursor = 6");
    pgtemp_do(other, "BEGIN; SELECT FROM audience WHERE upto = 2147483647 FOR UPDATE");
    const struct step steps[] = {{"lock_shared", NULL}, {"trigger_back", back_3}};
    send_steps(steps, 2);
    pgtemp_wait_blocked(db_admin, driver_pid);
    pgtemp_do(other, "COMMIT");
    PQclear(take_last(2));
    ck_assert_int_eq(2, pgtemp_int(db_admin, "SELECT cursor FROM audience"));
}
END_TEST

START_TEST(an_enrolment_by_trigger_that_waited_for_a_take_enrols_nothing)
{
    lead_6_is_triggered();
    ck_assert_int_eq(0, rows_after_event(&events[EVENT_TAKE], enrol_by_trigger, 3, true));
    ck_assert_int_eq(1, pgtemp_int(db_admin, "SELECT count(*) FROM lead WHERE trigger = 'GO'"));
    ck_assert_int_eq(0, pgtemp_int(db_admin, "SELECT count(*) FROM trigger_use"));
    fixture_sums();
}
END_TEST

/* Lead 2 waits for step 1 of revision 1; revision 2 has its step 1 an hour later, as step 2. */
static const char *const restep_7[] = {"7",   "1", "0", "9", "9", "{1}", "{1}", "{2}",
                                       "{5}", "0", "2", "0", "0", "0",   NULL};
static const char *const claim_of_2[] = {"7",   "{1}", "{1}",   "{1}", "{2}",
                                         "{1}", "{0}", TOKEN_1, NULL};

/* ---- allowances ---- */

static const char *const block_7[] = {"7", "{1}", "{20000}", "{5}", "{now}", "{6}", NULL};
static const struct step lock_and_reserve[] = {{"lock_shared", NULL}, {"reserve", block_7}};
static const struct step lock_and_give_back[] = {{"lock_shared", NULL}, {"give_back", block_7}};

static int
reserved(void)
{
    return (int) pgtemp_int(db_admin, "SELECT day_reserved FROM device WHERE device_id = 1");
}

/* A driver that was taken over, or whose device is leaving, writes nothing into its counters. */
START_TEST(a_block_that_waited_for_an_event_is_not_reserved)
{
    static const int which[] = {EVENT_TAKE, 3};
    const struct step *steps = _i < 2 ? lock_and_reserve : lock_and_give_back;

    pgtemp_do(db_admin,
              "UPDATE device SET day = date '1970-01-01' + 20000, day_reserved = %d,"
              " hour_reserved = 9",
              _i < 2 ? 0 : 9);
    rows_after_event(&events[which[_i % 2]], steps, 2, true);
    ck_assert_int_eq(_i < 2 ? 0 : 9, reserved());
}
END_TEST

START_TEST(a_take_that_waited_for_a_block_finds_it)
{
    pgtemp_do(driver, "BEGIN");
    PQclear(PQexecPrepared(driver, "lock_shared", 0, NULL, NULL, NULL, 0));
    PQclear(PQexecPrepared(driver, "reserve", 6, block_7, NULL, NULL, 0));
    pgtemp_send(other, "SELECT pg_advisory_lock(fleetcast_lock()); UPDATE owner SET epoch = 8");
    pgtemp_wait_blocked(db_admin, other_pid);
    pgtemp_do(driver, "COMMIT");
    pgtemp_wait(other);
    ck_assert_int_eq(5, reserved());
    PQclear(PQexecPrepared(driver, "reserve", 6,
                           (const char *const[]){"7", "{1}", "{20000}", "{8}", "{now}", "{6}"},
                           NULL, NULL, 0));
    ck_assert_int_eq(5, reserved());
}
END_TEST

START_TEST(a_claim_that_waited_for_a_move_is_stale)
{
    const struct step steps[] = {{"lock_shared", NULL}, {"claim", claim_of_2}};

    pgtemp_do(other, "BEGIN; SELECT pg_advisory_xact_lock_shared(fleetcast_lock());"
                     "UPDATE enrollment SET step = 2, revision = 2 WHERE lead_no = 2");
    send_steps(steps, 2);
    pgtemp_wait_blocked(db_admin, driver_pid);
    pgtemp_do(other, "COMMIT");
    ck_assert_int_eq(0, rows_of(take_last(2)));
}
END_TEST

START_TEST(a_move_that_waited_for_a_claim_leaves_the_row)
{
    const struct step steps[] = {{"lock_shared", NULL}, {"restep", restep_7}};

    pgtemp_do(other, "BEGIN; SELECT pg_advisory_xact_lock_shared(fleetcast_lock());"
                     "UPDATE enrollment SET state = 1 WHERE lead_no = 2");
    send_steps(steps, 2);
    pgtemp_wait_blocked(db_admin, driver_pid);
    pgtemp_do(other, "COMMIT");
    PQclear(take_last(2));
    ck_assert_int_eq(1, pgtemp_int(db_admin, "SELECT step FROM enrollment WHERE lead_no = 2"));
    pgtemp_do(db_admin, "UPDATE enrollment SET state = 0 WHERE lead_no = 2"); /* it came back */
    send_steps(steps, 2);
    PQclear(take_last(2));
    ck_assert_int_eq(2, pgtemp_int(db_admin, "SELECT step FROM enrollment WHERE lead_no = 2"));
    ck_assert_int_eq(0, rows_after_event(&events[EVENT_TAKE], steps, 2, true));
}
END_TEST

static Suite *
locks_suite(void)
{
    Suite *s = suite_create("locks");
    TCase *t = tcase_create("locks");
    int n = (int) (sizeof(events) / sizeof(events[0]));
    int w = (int) (sizeof(writes) / sizeof(writes[0]));

    tcase_set_timeout(t, 30);
    tcase_add_unchecked_fixture(t, fixture_start, NULL);
    tcase_add_checked_fixture(t, open_sessions, close_sessions);
    tcase_add_loop_test(t, no_write_of_an_older_epoch_changes_anything, 0, w);
    tcase_add_loop_test(t, mutant_without_the_epoch_writes_for_an_older_one, 0, w);
    tcase_add_loop_test(t, mutant_without_a_lock_claims_past_every_event, 0, n);
    tcase_add_loop_test(t, mutant_with_the_lock_inside_the_claim_keeps_the_old_snapshot, 0, n);
    tcase_add_test(t, mutant_without_the_epoch_claims_for_a_driver_that_was_replaced);
    tcase_add_loop_test(t, a_claim_that_waited_for_an_event_obeys_it, 0, n);
    tcase_add_loop_test(t, an_event_waits_for_a_claim_and_sees_it, 0, n);
    tcase_add_test(t, an_enrol_that_waited_for_a_take_enrols_nothing);
    tcase_add_test(t, a_take_waits_for_an_enrol_and_both_count);
    tcase_add_test(t, of_two_takes_one_wins);
    tcase_add_test(t, a_second_claim_of_a_row_is_stale);
    tcase_add_test(t, a_fact_of_an_older_epoch_is_accepted_once);
    tcase_add_test(t, an_error_before_the_sync_undoes_a_claim_that_had_answered);
    suite_add_tcase(s, t);
    return s;
}

static Suite *
sequences_suite(Suite *s)
{
    TCase *t = tcase_create("sequences");
    int d = (int) (sizeof(direct_events) / sizeof(direct_events[0]));
    int c = (int) (sizeof(chain_events) / sizeof(chain_events[0]));

    tcase_set_timeout(t, 30);
    tcase_add_checked_fixture(t, open_sequences, close_sessions);
    tcase_add_loop_test(t, a_direct_claim_that_waited_for_an_event_obeys_it, 0, d);
    tcase_add_loop_test(t, an_event_waits_for_a_direct_claim_and_sees_it, 0, d);
    tcase_add_loop_test(t, a_chain_that_waited_for_an_event_goes_by_it, 0, c);
    tcase_add_loop_test(t, an_event_waits_for_a_chain_and_sees_it, 0, c);
    tcase_add_loop_test(t, a_chain_and_an_enrolment_by_hand_make_one_row, 0, 2);
    tcase_add_test(t, an_enrolment_that_waited_for_a_trigger_sees_it);
    tcase_add_test(t, mutant_without_the_cursors_lock_passes_a_trigger);
    tcase_add_test(t, a_trigger_that_waited_for_an_enrolment_sets_the_cursor_back);
    tcase_add_test(t, trigger_back_waits_for_the_cursors);
    tcase_add_test(t, an_enrolment_by_trigger_that_waited_for_a_take_enrols_nothing);
    tcase_add_loop_test(t, a_block_that_waited_for_an_event_is_not_reserved, 0, 4);
    tcase_add_test(t, a_take_that_waited_for_a_block_finds_it);
    tcase_add_test(t, a_claim_that_waited_for_a_move_is_stale);
    tcase_add_test(t, a_move_that_waited_for_a_claim_leaves_the_row);
    suite_add_tcase(s, t);
    return s;
}

int
main(void)
{
    return fixture_run(sequences_suite(locks_suite()));
}
