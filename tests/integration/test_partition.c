/* A driver on real PostgreSQL, its wire a double that remembers every request. */
#include "tests/integration/partition_rig.h"

/* ---- tests ---- */

START_TEST(a_partition_of_somebody_else_stays_closed)
{
    pgtemp_do(db_admin, "UPDATE owner SET driver = 'n9', epoch = 4");
    start_as("n1");
    run_until(is_closed, 5000);
    ck_assert_str_eq("driven by n9 in epoch 4", partition_reason(rig.p));
    ck_assert_int_eq(4, pgtemp_int(db_admin, "SELECT epoch FROM owner"));
    /* It keeps looking, and takes what is let go. */
    pgtemp_do(db_admin, "UPDATE owner SET driver = ''");
    run_until(is_open, 5000);
    ck_assert_uint_eq(5, partition_epoch(rig.p));
}
END_TEST

START_TEST(a_campaign_is_sent_once_and_in_pace)
{
    fixture_devices(50, 20, 20, 40);
    fixture_campaign();
    start_as("n1");
    run_until(all_done, 20000);
    ck_assert_uint_eq(1000, check_once());
    check_pace(20 * USEC_PER_MSEC);
    ck_assert_int_eq(1000, pgtemp_int(db_admin, "SELECT sent FROM progress"));
    ck_assert_int_eq(1000, pgtemp_int(db_admin, "SELECT count(*) FROM message WHERE state = 1"
                                                " AND provider_id = 'wamid' AND epoch = 1"));
    ck_assert_int_eq(0, pgtemp_int(db_admin, "SELECT count(*) FROM enrollment"));
    ck_assert_uint_eq(0, partition_meter(rig.p)->stale);
    fixture_sums();
}
END_TEST

/* ---- doubts, refusals, endings ---- */

static bool
some_in_flight(struct rig *r)
{
    return wire_count >= 300 && r->transport.in_flight >= 5;
}

START_TEST(after_a_kill_nothing_is_sent_twice_and_nothing_is_lost)
{
    fixture_devices(50, 20, 20, 40);
    fixture_campaign();
    start_as("n1");
    run_until(some_in_flight, 20000);
    kill_driver();
    int64_t open = pgtemp_int(db_admin, "SELECT count(*) FROM enrollment WHERE state = 1");
    usec_t killed = clock_boot();

    ck_assert_int_gt(open, 0);
    start_as("n1");
    run_until(is_open, 10000);
    ck_assert_msg(clock_boot() - killed >= timing.quarantine, "no quarantine");
    ck_assert_uint_eq(2, partition_epoch(rig.p));
    run_until(all_done, 20000);
    ck_assert_int_eq(open, pgtemp_int(db_admin, "SELECT unknown FROM progress"));
    ck_assert_int_eq(open, pgtemp_int(db_admin, "SELECT count(*) FROM message WHERE state = 3 AND"
                                                " reason = 46 AND epoch = 1"));
    ck_assert_int_eq(1000, pgtemp_int(db_admin, "SELECT sent + unknown FROM progress"));
    unsigned left = check_once();
    ck_assert_uint_le(left, 1000);
    ck_assert_uint_ge(left, 1000 - open);
    check_pace(20 * USEC_PER_MSEC);
    fixture_sums();
}
END_TEST

static unsigned ends_wanted;
static bool
all_done_while_backends_end(struct rig *r)
{
    static unsigned ended_at;

    /* The backend of the tick lane, in the middle of the work, again and again. */
    if (ends_wanted > 0 && is_open(r) && wire_count >= ended_at + 150) {
        ended_at = wire_count;
        ends_wanted--;
        pgtemp_do(db_admin, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                            " WHERE application_name = 'fleetcast-node/n1/tick'");
    }
    return all_done(r);
}

START_TEST(a_tick_backend_that_ends_costs_no_doubt)
{
    fixture_devices(50, 20, 20, 40);
    fixture_campaign();
    start_as("n1");
    ends_wanted = 4;
    run_until(all_done_while_backends_end, 30000);
    ck_assert_uint_eq(0, ends_wanted);
    ck_assert_uint_ge(partition_epoch(rig.p), 5);
    /* This process knows of each claim whether it was sent. */
    ck_assert_int_eq(1000, pgtemp_int(db_admin, "SELECT sent FROM progress"));
    ck_assert_uint_eq(1000, check_once());
    check_pace(20 * USEC_PER_MSEC);
    ck_assert_int_eq(1000, pgtemp_int(db_admin, "SELECT count(DISTINCT token) FROM message"));
    fixture_sums();
}
END_TEST

static bool
all_done_while_postgres_crashes(struct rig *r)
{
    static bool crashed;

    if (!crashed && wire_count >= 300) {
        crashed = true;
        PQfinish(db_admin);
        pgtemp_crash(pg);
        pgtemp_run(pg);
        db_admin = pgtemp_open(pg, PARTITION, NULL);
    }
    return all_done(r);
}

START_TEST(a_crash_of_postgres_costs_no_doubt)
{
    fixture_devices(50, 20, 20, 40);
    fixture_campaign();
    start_as("n1");
    run_until(all_done_while_postgres_crashes, 40000);
    ck_assert_int_eq(1000, pgtemp_int(db_admin, "SELECT sent FROM progress"));
    ck_assert_uint_eq(1000, check_once());
    check_pace(20 * USEC_PER_MSEC);
    fixture_sums();
}
END_TEST

static bool
is_fenced(struct rig *r)
{
    return partition_state_of(r->p) == PARTITION_FENCED;
}

static bool
is_fenced_and_quiet(struct rig *r)
{
    return is_fenced(r) && r->transport.in_flight == 0 &&
           pgtemp_int(db_admin, "SELECT count(*) FROM enrollment WHERE state = 1") == 0;
}

START_TEST(a_higher_epoch_fences_and_facts_are_still_recorded)
{
    fixture_devices(50, 20, 20, 40);
    fixture_campaign();
    rig.transport.latency_ms = 100;
    start_as("n1");
    run_until(some_in_flight, 20000);
    pgtemp_do(db_admin,
              "BEGIN; SELECT pg_advisory_xact_lock(fleetcast_lock()); UPDATE owner SET"
              " epoch = epoch + 1, driver = 'n2', incarnation = gen_random_uuid(); COMMIT");
    usec_t taken = clock_boot();
    run_until(is_fenced_and_quiet, 10000);
    ck_assert_int_eq(0, rig.exit_code);
    ck_assert_ptr_nonnull(strstr(partition_reason(rig.p), "driven by n2"));
    /* What was claimed before may start within its window, nothing later. */
    for (unsigned i = 0; i < wire_count; i++)
        ck_assert_uint_lt(wire_log[i].started, taken + timing.send_window);
    ck_assert_int_eq(check_once(), pgtemp_int(db_admin, "SELECT sent FROM progress"));
    ck_assert_int_eq(0, pgtemp_int(db_admin, "SELECT unknown FROM progress"));
    fixture_sums();
}
END_TEST

static bool
has_exit_code(struct rig *r)
{
    return r->exit_code != 0;
}

START_TEST(a_clone_ends_with_78)
{
    fixture_devices(5, 20, 20, 40);
    fixture_campaign();
    start_as("n1");
    run_until(is_open, 5000);
    pgtemp_do(db_admin, "UPDATE owner SET epoch = epoch + 1, incarnation = gen_random_uuid()");
    run_until(has_exit_code, 10000);
    ck_assert_int_eq(78, rig.exit_code);
}
END_TEST

static bool
is_stopped(struct rig *r)
{
    return partition_state_of(r->p) == PARTITION_STOPPED;
}

START_TEST(a_drain_leaves_nothing_open_and_the_next_start_does_not_wait)
{
    fixture_devices(50, 20, 20, 40);
    fixture_campaign();
    start_as("n1");
    run_until(some_in_flight, 20000);
    partition_drain(rig.p);
    run_until(is_stopped, 10000);
    ck_assert_int_eq(0, pgtemp_int(db_admin, "SELECT count(*) FROM enrollment WHERE state <> 0"));
    ck_assert_str_eq("t", pgtemp_text(db_admin, "SELECT clean FROM owner"));
    fixture_sums();
    kill_driver();
    start_as("n1");
    usec_t started = clock_boot();
    run_until(is_open, 5000);
    ck_assert_uint_lt(clock_boot() - started, timing.quarantine);
    ck_assert_str_eq("f", pgtemp_text(db_admin, "SELECT clean FROM owner"));
    run_until(all_done, 20000);
    ck_assert_uint_eq(1000, check_once());
    check_pace(20 * USEC_PER_MSEC);
    ck_assert_int_eq(1000, pgtemp_int(db_admin, "SELECT sent FROM progress"));
}
END_TEST

/* One lead each: 1 retry, 2 fails, 3 doubt, 4 throttled once, 5 pair, 6 retried for ever. */
static void
mixed(const struct sent *r, unsigned nth, struct outcome_report *ret)
{
    static unsigned seen[7];
    int32_t d = r->device_id;
    bool first = d < 7 && seen[d]++ == 0;

    if (d > 6)
        return;
    ret->provider_id = (struct slice){0};
    if ((d == 1 && first) || d == 6)
        *ret = (struct outcome_report){.outcome = OUTCOME_NOT_SENT,
                                       .refusal = REFUSAL_RETRY,
                                       .retry_after = 1000};
    else if (d == 2)
        *ret = (struct outcome_report){.outcome = OUTCOME_FAILED, .reason = REASON_RECIPIENT};
    else if (d == 3)
        *ret = (struct outcome_report){.outcome = OUTCOME_UNKNOWN, .reason = REASON_TIMEOUT};
    else if (d == 4 && first)
        *ret = (struct outcome_report){.outcome = OUTCOME_NOT_SENT,
                                       .refusal = REFUSAL_THROTTLE_SCOPE,
                                       .retry_after = 300 * USEC_PER_MSEC};
    else if (d == 5 && first)
        *ret = (struct outcome_report){.outcome = OUTCOME_NOT_SENT, .refusal = REFUSAL_PAIR};
}

static bool
two_wait(struct rig *r)
{
    return pgtemp_int(db_admin, "SELECT count(*) FROM enrollment WHERE state = 0 AND attempt > 0"
                                " AND due_at > now()") >= 2 &&
           pgtemp_int(db_admin, "SELECT sent + failed + unknown FROM progress") >= 6;
}

START_TEST(every_outcome_finds_its_place)
{
    fixture_devices(8, 1, 20, 40);
    fixture_campaign();
    pgtemp_do(db_admin, "UPDATE device SET scope = 's' || device_id");
    rig.transport.script = mixed;
    start_as("n1");
    run_until(two_wait, 10000);
    /* 1 and 6 wait 5 s for their next attempt; 4 and 5 came through at the second try. */
    ck_assert_int_eq(4, pgtemp_int(db_admin, "SELECT sent FROM progress"));
    ck_assert_int_eq(1, pgtemp_int(db_admin, "SELECT failed FROM progress"));
    ck_assert_int_eq(1, pgtemp_int(db_admin, "SELECT unknown FROM progress"));
    ck_assert_int_eq(1, pgtemp_int(db_admin, "SELECT count(*) FROM message WHERE device_id = 3 AND"
                                             " state = 3 AND reason = 41"));
    ck_assert_int_eq(1, pgtemp_int(db_admin, "SELECT count(*) FROM enrollment WHERE device_id = 3"
                                             " AND state = 2"));
    ck_assert_str_eq("0,0", pgtemp_text(db_admin, "SELECT string_agg(attempt::text, ',') FROM"
                                                  " message WHERE device_id = 4"));
    ck_assert_str_eq("0,1", pgtemp_text(db_admin, "SELECT string_agg(attempt::text, ',' ORDER BY"
                                                  " claimed_at) FROM message WHERE device_id = 5"));
    fixture_sums();
}
END_TEST

static bool
two_ended(struct rig *r)
{
    return pgtemp_int(db_admin, "SELECT sent + failed FROM progress") == 2;
}

static void
always_retry(const struct sent *r, unsigned nth, struct outcome_report *ret)
{
    if (r->device_id == 1)
        *ret = (struct outcome_report){.outcome = OUTCOME_NOT_SENT, .refusal = REFUSAL_RETRY};
}

START_TEST(the_fifth_refusal_ends_the_row)
{
    fixture_devices(2, 1, 20, 40);
    fixture_campaign();
    pgtemp_do(db_admin, "UPDATE device SET scope = 's' || device_id;"
                        " INSERT INTO enrollment(device_id, source_id, lead_no, attempt, due_at)"
                        " VALUES (1, 1, 1, 4, now());"
                        " UPDATE audience SET cursor = 1 WHERE device_id = 1");
    rig.transport.script = always_retry;
    start_as("n1");
    run_until(two_ended, 10000);
    ck_assert_int_eq(31, pgtemp_int(db_admin, "SELECT reason FROM message WHERE device_id = 1"));
    ck_assert_int_eq(1, pgtemp_int(db_admin, "SELECT failed FROM progress"));
    fixture_sums();
}
END_TEST

static void
wrong_template(const struct sent *r, unsigned nth, struct outcome_report *ret)
{
    *ret = (struct outcome_report){.outcome = OUTCOME_NOT_SENT,
                                   .refusal = REFUSAL_TEMPLATE,
                                   .reason = REASON_TEMPLATE};
}

static bool
source_is_paused(struct rig *r)
{
    return pgtemp_int(db_admin, "SELECT state FROM source") == 1 && r->transport.in_flight == 0 &&
           pgtemp_int(db_admin, "SELECT count(*) FROM enrollment WHERE state = 1") == 0;
}

START_TEST(a_refused_template_pauses_its_source)
{
    fixture_devices(30, 10, 20, 40);
    fixture_campaign();
    rig.transport.script = wrong_template;
    start_as("n1");
    run_until(source_is_paused, 10000);
    ck_assert_uint_le(wire_count, 60);
    ck_assert_int_eq(0, pgtemp_int(db_admin, "SELECT sent + failed + unknown FROM progress"));
    fixture_sums();
}
END_TEST

static bool
pause_waits(struct rig *r)
{
    return pgtemp_int(db_admin,
                      "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'advisory'"
                      " AND application_name = 'fleetcast-node/n1/tick'") == 1;
}

START_TEST(a_drain_while_a_source_is_being_paused_ends)
{
    fixture_devices(30, 10, 20, 40);
    fixture_campaign();
    rig.transport.script = wrong_template;
    start_as("n1");
    run_until(is_open, 5000);
    pgtemp_do(db_admin, "SELECT pg_advisory_lock_shared(fleetcast_lock())");
    run_until(pause_waits, 5000); /* only the pause wants it exclusive */
    partition_drain(rig.p);
    pgtemp_do(db_admin, "SELECT pg_advisory_unlock_shared(fleetcast_lock())");
    run_until(is_stopped, 10000);
    ck_assert_int_eq(1, pgtemp_int(db_admin, "SELECT state FROM source"));
    fixture_sums();
}
END_TEST

START_TEST(rows_that_may_not_be_sent_end_with_their_reason)
{
    fixture_devices(4, 1, 20, 40);
    fixture_campaign();
    /* 1 has no city, 2 opted out, 3 is in an expired campaign of its own. */
    pgtemp_do(db_admin,
              "UPDATE lead SET attributes = '{}' WHERE device_id = 1;"
              "INSERT INTO optout(account, phone, number) SELECT 'main', phone, 1 FROM lead"
              " WHERE device_id = 2;"
              "INSERT INTO source(source_id, kind, state, content_version, started_version,"
              " not_after, name, item) SELECT 2, 1, 0, 1, 1, now() - interval '1 hour', 'late',"
              " item FROM source; INSERT INTO progress(source_id, audience) VALUES (2, 1);"
              "UPDATE progress SET audience = 3 WHERE source_id = 1;"
              "UPDATE audience SET source_id = 2 WHERE device_id = 3");
    start_as("n1");
    run_until(all_done, 10000);
    ck_assert_uint_eq(1, check_once());
    ck_assert_int_eq(2, pgtemp_int(db_admin, "SELECT skipped FROM progress WHERE source_id = 1"));
    ck_assert_int_eq(1, pgtemp_int(db_admin, "SELECT expired FROM progress WHERE source_id = 2"));
    ck_assert_int_eq(14, pgtemp_int(db_admin, "SELECT reason FROM message WHERE device_id = 1"));
    ck_assert_int_eq(11, pgtemp_int(db_admin, "SELECT reason FROM message WHERE device_id = 2"));
    fixture_sums();
}
END_TEST

/* ---- content ---- */

static struct content_row
template_row(uint64_t version)
{
    static const char json[] =
        "{\"kind\":\"template\",\"name\":\"hello\",\"text\":\"Hi {{name}} in {{city}}\"}";

    return (struct content_row){.version = version,
                                .kind = CONTENT_TEMPLATE,
                                .json = {json, sizeof(json) - 1}};
}

static struct content_row
campaign_row(uint64_t version, enum source_state state)
{
    static const char json[] =
        "{\"audience\":{\"devices\":[\"1-8\",\"10\"],\"where\":{\"city\":\"c1\"}},"
        "\"kind\":\"campaign\",\"name\":\"spring\",\"template\":\"hello\"}";

    return (struct content_row){.version = version,
                                .kind = CONTENT_CAMPAIGN,
                                .id = 7,
                                .state = (uint8_t) state,
                                .started_at = state == SOURCE_DRAFT ? 0 : 1700000000000000,
                                .json = {json, sizeof(json) - 1}};
}

START_TEST(a_started_campaign_freezes_its_audience)
{
    struct content_row rows[2] = {template_row(1), campaign_row(2, SOURCE_DRAFT)};

    fixture_devices(10, 20, 20, 40);
    start_as("n1");
    run_until(is_open, 5000);
    apply_rows(rows, 2, 2);
    ck_assert_int_eq(0, pgtemp_int(db_admin, "SELECT count(*) FROM audience"));
    rows[0] = campaign_row(3, SOURCE_ACTIVE);
    apply_rows(rows, 1, 3);
    /* Devices 1-8 and 10; a lead that comes now is not in it, nor is a device. */
    ck_assert_int_eq(180, pgtemp_int(db_admin, "SELECT audience FROM progress"));
    pgtemp_do(db_admin, "UPDATE device SET next_lead_no = 21 WHERE device_id = 1;"
                        "INSERT INTO lead(device_id, lead_no, phone, attributes) VALUES"
                        " (1, 21, 60009900021, '{\"city\": \"c1\"}')");
    run_until(all_done, 20000);
    ck_assert_uint_eq(90, check_once());
    check_pace(20 * USEC_PER_MSEC);
    ck_assert_int_eq(90, pgtemp_int(db_admin, "SELECT not_in_audience FROM progress"));
    ck_assert_str_eq("Hi n1 in c1", wire_log[0].text);
    fixture_sums();
}
END_TEST

static bool
sent_10(struct rig *r)
{
    return wire_count >= 10;
}

static bool
swept(struct rig *r)
{
    return r->transport.in_flight == 0 && all_done(r);
}

START_TEST(after_a_pause_or_a_cancel_is_applied_no_send_starts)
{
    struct content_row rows[2] = {template_row(1), campaign_row(2, SOURCE_ACTIVE)};

    fixture_devices(10, 200, 20, 40);
    start_as("n1");
    run_until(is_open, 5000);
    apply_rows(rows, 2, 2);
    run_until(sent_10, 5000);
    rows[0] = campaign_row(3, SOURCE_PAUSED);
    apply_rows(rows, 1, 3);
    usec_t paused = clock_boot();
    rows[0] = campaign_row(4, SOURCE_ACTIVE);
    apply_rows(rows, 1, 4);
    usec_t resumed = clock_boot();
    unsigned before = wire_count + 10;
    while (wire_count < before)
        run_until(sent_10, 5000);
    rows[0] = campaign_row(5, SOURCE_CANCELLED);
    apply_rows(rows, 1, 5);
    usec_t cancelled = clock_boot();
    run_until(swept, 10000);
    for (unsigned i = 0; i < wire_count; i++) {
        usec_t at = wire_log[i].started;

        ck_assert(at <= cancelled && (at <= paused || at >= resumed - 50 * USEC_PER_MSEC));
    }
    check_once();
    ck_assert_int_gt(pgtemp_int(db_admin, "SELECT cancelled FROM progress"), 1000);
    ck_assert_int_eq(0, pgtemp_int(db_admin, "SELECT count(*) FROM enrollment WHERE state <> 2"));
    fixture_sums();
}
END_TEST

/* ---- rows that do not fit ---- */

static void
poison(const struct sent *r, unsigned nth, struct outcome_report *ret)
{
    if (r->device_id == 3)
        ret->provider_id = (struct slice){"bad\xff", 4};
}

START_TEST(a_poison_row_costs_only_its_optional_field)
{
    fixture_devices(20, 5, 20, 40);
    fixture_campaign();
    rig.transport.script = poison;
    start_as("n1");
    run_until(all_done, 20000);
    ck_assert_uint_eq(100, check_once());
    ck_assert_int_eq(100, pgtemp_int(db_admin, "SELECT sent FROM progress"));
    ck_assert_int_eq(5, pgtemp_int(db_admin, "SELECT count(*) FROM message WHERE provider_id = ''"
                                             " AND device_id = 3"));
    ck_assert_uint_eq(5, partition_meter(rig.p)->poison);
    fixture_sums();
}
END_TEST

/* ---- what keeps the gate closed ---- */

static void
closed_because(const char *words)
{
    start_as("n1");
    run_until(is_closed, 5000);
    ck_assert_msg(strstr(partition_reason(rig.p), words) != NULL, "%s", partition_reason(rig.p));
    ck_assert_int_eq(0, pgtemp_int(db_admin, "SELECT epoch FROM owner"));
}

START_TEST(another_schema_keeps_the_gate_closed)
{
    pgtemp_do(db_admin,
              "INSERT INTO schema_version SELECT (s.v).* FROM (SELECT jsonb_populate_record("
              "x, '{\"version\": 99}') AS v FROM schema_version x LIMIT 1) s");
    closed_because("schema version");
    pgtemp_do(db_admin, "DELETE FROM schema_version WHERE version = 99");
    run_until(is_open, 5000);
}
END_TEST

START_TEST(a_commit_that_is_not_durable_keeps_the_gate_closed)
{
    pgtemp_do(db_admin, "ALTER SYSTEM SET full_page_writes = off");
    pgtemp_do(db_admin, "SELECT pg_reload_conf()");
    closed_because("full_page_writes");
    pgtemp_do(db_admin, "ALTER SYSTEM RESET full_page_writes");
    pgtemp_do(db_admin, "SELECT pg_reload_conf()");
    run_until(is_open, 5000);
}
END_TEST

START_TEST(a_database_that_was_rolled_back_stays_closed)
{
    char path[64];
    FILE *f;

    snprintf(path, sizeof(path), "%s/highwater-" PARTITION, state_dir);
    f = fopen(path, "w");
    fputs("1 1 5\n", f);
    fclose(f);
    closed_because("rolled back");
}
END_TEST

/* Restored from a copy of the same epoch: only the position in the WAL tells. */
START_TEST(a_database_behind_its_wal_position_stays_closed)
{
    char path[64];
    FILE *f;

    snprintf(path, sizeof(path), "%s/highwater-" PARTITION, state_dir);
    f = fopen(path, "w");
    fputs("1 1000000000000000 0\n", f);
    fclose(f);
    closed_because("rolled back");
}
END_TEST

START_TEST(another_partitions_database_stays_closed)
{
    pgtemp_do(db_admin, "UPDATE owner SET partition = 'p2'");
    closed_because("another partition");
    pgtemp_do(db_admin, "UPDATE owner SET partition = 'p1'");
}
END_TEST

START_TEST(a_pool_above_what_is_left_is_refused)
{
    PGconn *sessions[96];
    unsigned n = 0;

    /* 100 - 3 reserved; leave three for a pool of four. */
    while (n < ARRAY_SIZE(sessions) &&
           pgtemp_int(db_admin, "SELECT 97 - count(*) FROM pg_stat_activity WHERE datid IS NOT NULL"
                                " AND usesysid IS NOT NULL") > 3)
        sessions[n++] = pgtemp_open(pg, PARTITION, NULL);
    closed_because("pool");
    while (n > 0)
        PQfinish(sessions[--n]);
    run_until(is_open, 5000);
}
END_TEST

/* ---- doubts of many kinds at once ---- */

static int frozen_pid;
static usec_t frozen_at;
static bool
all_done_while_a_backend_freezes(struct rig *r)
{
    static bool frozen;

    if (!frozen && wire_count >= 300) {
        frozen = true;
        frozen_at = clock_boot();
        frozen_pid = (int) pgtemp_int(db_admin, "SELECT pid FROM pg_stat_activity WHERE"
                                                " application_name = 'fleetcast-node/n1/tick'");
        kill(frozen_pid, SIGSTOP);
    }
    /* It comes back long after its claims were given up: what it commits then must not be sent. */
    if (frozen_pid && clock_boot() > frozen_at + 1500 * USEC_PER_MSEC) {
        kill(frozen_pid, SIGCONT);
        frozen_pid = 0;
    }
    return frozen && !frozen_pid && all_done(r);
}

START_TEST(a_backend_that_freezes_costs_no_doubt)
{
    fixture_devices(50, 20, 20, 40);
    fixture_campaign();
    start_as("n1");
    run_until(all_done_while_a_backend_freezes, 40000);
    ck_assert_uint_eq(1000, check_once());
    ck_assert_int_eq(1000, pgtemp_int(db_admin, "SELECT sent FROM progress"));
    check_pace(20 * USEC_PER_MSEC);
    /* What the first epoch had claimed starts within its window or never. */
    for (unsigned i = 0; i < wire_count; i++)
        if (strncmp(wire_log[i].token, "v1." PARTITION ".1.", 6 + sizeof(PARTITION) - 1) == 0)
            ck_assert_uint_lt(wire_log[i].started, frozen_at + timing.send_window);
    fixture_sums();
}
END_TEST

/* Ten rows of each of 50 devices, claimed in epoch 3 by a process of this name that is gone. */
static void
older_claims(void)
{
    pgtemp_do(db_admin,
              "INSERT INTO enrollment(device_id, source_id, lead_no, due_at, state, epoch,"
              " token) SELECT device_id, 1, lead_no, now(), 1, 3, gen_random_uuid() FROM lead"
              " WHERE lead_no <= 10; UPDATE audience SET cursor = 10;"
              "UPDATE enrollment SET token = (lpad(to_hex((extract(epoch FROM now()) *"
              " 1000)::bigint), 12, '0') || '7' || substr(md5(random()::text), 1, 3) || '8'"
              " || substr(md5(random()::text), 1, 15))::uuid;"
              "UPDATE owner SET epoch = 3, driver = 'n1', clean = false");
}

START_TEST(more_older_claims_than_slots_become_unknown_page_by_page)
{
    fixture_devices(50, 20, 20, 40);
    fixture_campaign();
    older_claims();
    rig.transport.slots = 16;
    usec_t begun = clock_boot();
    start_as("n1");
    run_until(is_open, 20000);
    ck_assert_int_eq(500, pgtemp_int(db_admin, "SELECT unknown FROM progress"));
    ck_assert_int_eq(500, pgtemp_int(db_admin, "SELECT count(*) FROM message WHERE state = 3 AND"
                                               " epoch = 3"));
    ck_assert_int_eq(0, pgtemp_int(db_admin, "SELECT count(*) FROM enrollment WHERE state = 1"));
    struct partition_report report;
    partition_report(rig.p, clock_boot(), &report);
    ck_assert_uint_eq(500, report.doubts_open);
    fixture_sums();
    /* These devices may have sent just before: they wait S + T_http and their gap. */
    ck_assert_uint_eq(0, wire_count);
    run_until(all_done, 20000);
    ck_assert_uint_eq(500, check_once());
    for (unsigned i = 0; i < wire_count; i++)
        ck_assert_uint_gt(wire_log[i].started, begun + timing.send_window + timing.http);
}
END_TEST

static void
outage(const struct sent *r, unsigned nth, struct outcome_report *ret)
{
    if (nth >= 100)
        *ret = (struct outcome_report){.outcome = OUTCOME_UNKNOWN, .reason = REASON_TIMEOUT};
}

static unsigned quiet_count;
static usec_t quiet_since;
static bool
is_quiet(struct rig *r)
{
    if (wire_count != quiet_count) {
        quiet_count = wire_count;
        quiet_since = clock_boot();
    }
    return wire_count > 100 && clock_boot() - quiet_since > 500 * USEC_PER_MSEC;
}

START_TEST(an_outage_costs_what_was_in_flight_and_probes)
{
    fixture_devices(50, 20, 20, 40);
    fixture_campaign();
    rig.transport.script = outage;
    rig.transport.slots = 20;
    rig.transport.latency_ms = 20;
    start_as("n1");
    run_until(is_quiet, 20000);
    ck_assert_uint_le(partition_meter(rig.p)->unknown, 20 + 5 + 2);
    ck_assert_uint_ge(partition_meter(rig.p)->unknown, 5);
    fixture_sums();
}
END_TEST

START_TEST(few_slots_serve_all_devices_and_slow_answers_hold_nobody_else)
{
    fixture_devices(40, 5, 20, 40);
    fixture_campaign();
    rig.transport.slots = 3;
    start_as("n1");
    run_until(all_done, 30000);
    ck_assert_uint_eq(200, check_once());
    check_pace(20 * USEC_PER_MSEC);
    fixture_sums();
}
END_TEST

START_TEST(a_drain_without_a_database_ends_in_time)
{
    fixture_devices(50, 20, 20, 40);
    fixture_campaign();
    rig.transport.latency_ms = 200;
    start_as("n1");
    run_until(some_in_flight, 20000);
    PQfinish(db_admin);
    pgtemp_crash(pg);
    usec_t asked = clock_boot();
    partition_drain(rig.p);
    run_until(is_stopped, 10000);
    ck_assert_uint_le(clock_boot() - asked, timing.http + timing.commit + 500 * USEC_PER_MSEC);
    pgtemp_run(pg);
    db_admin = pgtemp_open(pg, PARTITION, NULL);
    ck_assert_str_eq("f", pgtemp_text(db_admin, "SELECT clean FROM owner"));
    kill_driver();
    start_as("n1");
    run_until(all_done, 30000);
    check_once();
    ck_assert_int_eq(1000, pgtemp_int(db_admin, "SELECT sent + unknown FROM progress"));
    fixture_sums();
}
END_TEST

/* A device that an import makes while the driver is open; and one that it changes. */
static bool
device_9_is_here(struct rig *r)
{
    return schedule_find(partition_devices(r->p), 9) != NULL;
}

static bool
device_9_is_slower(struct rig *r)
{
    return schedule_find(partition_devices(r->p), 9)->max_delay_ms == 999;
}

START_TEST(a_device_that_an_import_made_is_read_after_its_commit)
{
    fixture_devices(8, 2, 20, 40);
    fixture_campaign();
    start_as("n1");
    run_until(all_done, 10000);
    pgtemp_do(db_admin, "INSERT INTO device(device_id, min_delay_ms, max_delay_ms, next_lead_no,"
                        " transport, address) VALUES (9, 5, 6, 1, 'null', 'x');"
                        "INSERT INTO lead(device_id, lead_no, phone, name, attributes) VALUES"
                        " (9, 1, 60000900001, 'n', '{\"city\": \"x\"}');"
                        "INSERT INTO audience(device_id, source_id, upto) VALUES (9, 1, 1);"
                        "UPDATE progress SET audience = audience + 1");
    ck_assert_int_eq(0, partition_device_changed(rig.p, 9));
    run_until(device_9_is_here, 5000);
    run_until(all_done, 5000);
    ck_assert_uint_eq(17, check_once());
    pgtemp_do(db_admin, "UPDATE device SET max_delay_ms = 999 WHERE device_id = 9");
    ck_assert_int_eq(0, partition_device_changed(rig.p, 9));
    run_until(device_9_is_slower, 5000);
    fixture_sums();
}
END_TEST

static bool
is_taking(struct rig *r)
{
    return partition_state_of(r->p) == PARTITION_TAKING;
}

/* The answer to the first take is lost, though it committed: the rest that it owed is still owed.
 */
START_TEST(a_take_whose_answer_was_lost_still_waits_out_the_quarantine)
{
    fixture_devices(5, 2, 20, 40);
    fixture_campaign();
    pgtemp_do(db_admin, "UPDATE owner SET epoch = 3, driver = 'n1', clean = false;"
                        "SELECT pg_advisory_lock_shared(fleetcast_lock())");
    start_as("n1");
    usec_t started = clock_boot();
    run_until(is_taking, 5000);
    pgtemp_do(db_admin,
              "UPDATE owner SET epoch = 4, incarnation ="
              " (lpad(to_hex(%d), 2, '0') || repeat('0', 30))::uuid",
              incarnations);
    pgtemp_do(db_admin, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE"
                        " application_name = 'fleetcast-node/n1/tick'");
    pgtemp_do(db_admin, "SELECT pg_advisory_unlock_shared(fleetcast_lock())");
    run_until(is_open, 10000);
    ck_assert_uint_eq(5, partition_epoch(rig.p));
    ck_assert_uint_ge(clock_boot() - started, timing.quarantine);
}
END_TEST

/* The backend of the lane that loads freezes in the middle of the older claims' pages. */
static bool
a_load_freezes(struct rig *r)
{
    if (partition_state_of(r->p) != PARTITION_LOADING ||
        pgtemp_int(db_admin, "SELECT unknown FROM progress") < 100)
        return false;
    frozen_pid = (int) pgtemp_int(db_admin, "SELECT pid FROM pg_stat_activity WHERE"
                                            " application_name = 'fleetcast-node/n1/fill'");
    kill(frozen_pid, SIGSTOP);
    frozen_at = clock_boot();
    return true;
}

static bool
loads_again(struct rig *r)
{
    static bool ended;

    /* The page that is asked for meanwhile is the one that will be answered late. */
    if (!ended && clock_boot() > frozen_at + 100 * USEC_PER_MSEC) {
        ended = true;
        pgtemp_do(db_admin, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE"
                            " application_name = 'fleetcast-node/n1/tick'");
    }
    return partition_epoch(r->p) == 5 && partition_state_of(r->p) == PARTITION_LOADING;
}

START_TEST(an_answer_to_an_older_load_is_not_taken_for_this_one)
{
    fixture_devices(50, 20, 20, 40);
    fixture_campaign();
    older_claims();
    rig.transport.slots = 16;
    start_as("n1");
    run_until(a_load_freezes, 20000);
    run_until(loads_again, 5000);
    kill(frozen_pid, SIGCONT);
    frozen_pid = 0;
    run_until(all_done, 20000);
    ck_assert_uint_eq(500, check_once());
    ck_assert_int_eq(500, pgtemp_int(db_admin, "SELECT unknown FROM progress"));
    fixture_sums();
}
END_TEST

static bool
all_done_though_a_day_goes(struct rig *r)
{
    static bool gone;

    if (!gone && wire_count >= 100) {
        gone = true;
        pgtemp_do(db_admin, "DO $$ BEGIN EXECUTE format('DROP TABLE message_%%s',"
                            " to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')); END $$");
    }
    return gone && all_done(r);
}

START_TEST(a_day_that_is_missing_costs_no_fact)
{
    fixture_devices(20, 20, 20, 40);
    fixture_campaign();
    start_as("n1");
    run_until(all_done_though_a_day_goes, 30000);
    ck_assert_uint_eq(400, check_once());
    ck_assert_int_eq(400, pgtemp_int(db_admin, "SELECT sent FROM progress"));
    ck_assert_uint_eq(0, partition_meter(rig.p)->poison);
    ck_assert_int_gt(pgtemp_int(db_admin, "SELECT count(*) FROM message WHERE provider_id <> ''"),
                     250);
    fixture_sums();
}
END_TEST

static Suite *
partition_suite(void)
{
    Suite *s = suite_create("partition");
    TCase *t = tcase_create("partition");

    tcase_set_timeout(t, 60);
    tcase_add_unchecked_fixture(t, fixture_start, NULL);
    tcase_add_checked_fixture(t, open_rig, close_rig);
    tcase_add_test(t, a_partition_of_somebody_else_stays_closed);
    tcase_add_test(t, a_campaign_is_sent_once_and_in_pace);
    tcase_add_test(t, after_a_kill_nothing_is_sent_twice_and_nothing_is_lost);
    tcase_add_test(t, a_tick_backend_that_ends_costs_no_doubt);
    tcase_add_test(t, a_crash_of_postgres_costs_no_doubt);
    tcase_add_test(t, a_higher_epoch_fences_and_facts_are_still_recorded);
    tcase_add_test(t, a_clone_ends_with_78);
    tcase_add_test(t, a_drain_leaves_nothing_open_and_the_next_start_does_not_wait);
    tcase_add_test(t, every_outcome_finds_its_place);
    tcase_add_test(t, the_fifth_refusal_ends_the_row);
    tcase_add_test(t, a_refused_template_pauses_its_source);
    tcase_add_test(t, a_drain_while_a_source_is_being_paused_ends);
    tcase_add_test(t, rows_that_may_not_be_sent_end_with_their_reason);
    tcase_add_test(t, a_started_campaign_freezes_its_audience);
    tcase_add_test(t, after_a_pause_or_a_cancel_is_applied_no_send_starts);
    tcase_add_test(t, a_poison_row_costs_only_its_optional_field);
    tcase_add_test(t, another_schema_keeps_the_gate_closed);
    tcase_add_test(t, a_commit_that_is_not_durable_keeps_the_gate_closed);
    tcase_add_test(t, a_database_that_was_rolled_back_stays_closed);
    tcase_add_test(t, a_database_behind_its_wal_position_stays_closed);
    tcase_add_test(t, another_partitions_database_stays_closed);
    tcase_add_test(t, a_pool_above_what_is_left_is_refused);
    tcase_add_test(t, a_backend_that_freezes_costs_no_doubt);
    tcase_add_test(t, more_older_claims_than_slots_become_unknown_page_by_page);
    tcase_add_test(t, an_outage_costs_what_was_in_flight_and_probes);
    tcase_add_test(t, few_slots_serve_all_devices_and_slow_answers_hold_nobody_else);
    tcase_add_test(t, a_drain_without_a_database_ends_in_time);
    tcase_add_test(t, a_device_that_an_import_made_is_read_after_its_commit);
    tcase_add_test(t, a_take_whose_answer_was_lost_still_waits_out_the_quarantine);
    tcase_add_test(t, an_answer_to_an_older_load_is_not_taken_for_this_one);
    tcase_add_test(t, a_day_that_is_missing_costs_no_fact);
    suite_add_tcase(s, t);
    return s;
}

int
main(void)
{
    return fixture_run(partition_suite());
}
