/* Sequences, direct messages and pauses in a driver on real PostgreSQL: order, delays, ends. */
#include "node/audience.h"
#include "tests/integration/partition_rig.h"

/* For loops that look at the log between turns of 20 ms or so. */
static bool
some_in_log(struct rig *r)
{
    static unsigned turns;

    return ++turns % 5 == 0;
}

static void
trigger_all(void)
{
    pgtemp_do(db_admin, "UPDATE lead SET trigger = 'GO'");
}

static bool
nothing_live(struct rig *r)
{
    return pgtemp_int(db_admin, "SELECT count(*) FROM enrollment WHERE state <> 2") == 0 &&
           pgtemp_int(db_admin, "SELECT count(*) FROM lead WHERE trigger <> ''") == 0 &&
           r->transport.in_flight == 0;
}

static int
by_phone_and_start(const void *a, const void *b)
{
    const struct sent *x = a, *y = b;

    if (x->phone != y->phone)
        return x->phone < y->phone ? -1 : 1;
    return x->started < y->started ? -1 : x->started > y->started;
}

static usec_t idle_until;
static bool
idled(struct rig *r)
{
    return clock_boot() >= idle_until;
}

/* Delays are kept in the database's time, which each driver measures for itself. */
#define CLOCKS_APART (5 * USEC_PER_MSEC)

/* Each person got the first of these texts, in this order and none twice; the next one not before
 * the delay after the end of the one before. Returns how many got all of them. */
static unsigned
check_order(const char *const *texts, const usec_t *delays, unsigned count)
{
    unsigned at = 0, whole = 0;

    qsort(wire_log, wire_count, sizeof(wire_log[0]), by_phone_and_start);
    for (unsigned i = 0; i < wire_count; i++) {
        const struct sent *r = &wire_log[i], *last = i > 0 ? r - 1 : NULL;

        if (!r->started)
            continue;
        while (last && !last->started && last > wire_log && last->phone == r->phone)
            last--;
        bool same = last && last->started && last->phone == r->phone;
        at = same ? at + 1 : 0;
        ck_assert_uint_lt(at, count);
        ck_assert_msg(strncmp(texts[at], r->text, strlen(texts[at])) == 0,
                      "%" PRIu64 ": %s, not %s", r->phone, r->text, texts[at]);
        if (same && last->ended)
            ck_assert_uint_ge(r->started + CLOCKS_APART, last->ended + delays[at]);
        whole += at + 1 == count;
    }
    return whole;
}
static const char *const all_texts[] = {"Cold 1", "Cold 2", "Cold 3", "Warm 1"};
static const usec_t all_delays[] = {0, USEC_PER_SEC, USEC_PER_SEC, USEC_PER_SEC};

static void
verify_all(void)
{
    for (enum store_statement v = STORE_VERIFY_EPOCHS; v <= STORE_VERIFY_CURSORS; v++) {
        PGresult *r = PQexec(db_admin, store_statements[v].sql);

        ck_assert_msg(PQresultStatus(r) == PGRES_TUPLES_OK, "%s", PQerrorMessage(db_admin));
        if (v != STORE_VERIFY_PACE) /* it allows 250 ms: these gaps are shorter */
            ck_assert_msg(*PQgetvalue(r, 0, 1) == 't', "%s: %s", PQgetvalue(r, 0, 0),
                          PQgetvalue(r, 0, 3));
        PQclear(r);
    }
    fixture_sums();
}

START_TEST(a_lead_goes_from_cold_to_warm_in_order)
{
    fixture_devices(20, 10, 5, 10);
    fixture_sequences();
    trigger_all();
    start_as("n1");
    run_until(nothing_live, 30000);
    ck_assert_uint_eq(200, check_order(all_texts, all_delays, 4));
    check_pace(5 * USEC_PER_MSEC);
    ck_assert_str_eq("200,200,200,600",
                     pgtemp_text(db_admin, "SELECT concat_ws(',', audience, enrolled, sent,"
                                           " messages) FROM progress WHERE source_id = 1"));
    ck_assert_str_eq("200,200,200,200",
                     pgtemp_text(db_admin, "SELECT concat_ws(',', audience, enrolled, sent,"
                                           " messages) FROM progress WHERE source_id = 2"));
    ck_assert_int_eq(400, pgtemp_int(db_admin, "SELECT count(*) FROM enrollment_end"
                                               " WHERE reason = 0"));
    ck_assert_int_eq(200, pgtemp_int(db_admin, "SELECT count(*) FROM trigger_use"));
    ck_assert_uint_eq(0, partition_meter(rig.p)->stale);
    struct partition_report report;
    partition_report(rig.p, clock_boot(), &report);
    ck_assert_uint_eq(0, report.live);
    verify_all();
}
END_TEST

static bool
some_second_steps(struct rig *r)
{
    return wire_count >= 120 && r->transport.in_flight >= 1;
}

START_TEST(after_a_kill_the_steps_go_on_where_they_were)
{
    fixture_devices(20, 10, 5, 10);
    fixture_sequences();
    trigger_all();
    rig.transport.latency_ms = 20;
    start_as("n1");
    run_until(some_second_steps, 20000);
    kill_driver();
    int64_t open = pgtemp_int(db_admin, "SELECT count(*) FROM enrollment WHERE state = 1");
    start_as("n1");
    run_until(nothing_live, 40000);
    ck_assert_int_eq(open, pgtemp_int(db_admin, "SELECT count(*) FROM enrollment WHERE state = 2"));
    ck_assert_uint_ge(check_order(all_texts, all_delays, 4), 200 - open);
    ck_assert_int_eq(open, pgtemp_int(db_admin, "SELECT sum(unknown) FROM progress"));
    verify_all();
}
END_TEST

/* ---- what ends a step otherwise ---- */

static struct content_row
sequence_row(uint64_t version, int32_t id, enum source_state state, const char *json,
             uint32_t revision, uint32_t all)
{
    return (struct content_row){.version = version,
                                .kind = CONTENT_SEQUENCE,
                                .id = id,
                                .state = (uint8_t) state,
                                .started_at = state == SOURCE_DRAFT ? 0 : 1700000000000000,
                                .revision = revision,
                                .all_revision = all,
                                .json = {json, strlen(json)}};
}

/* Leads 1 and 2 have no city, 3 and 4 are long due, 5 is refused by the provider, 6 gets all. */
#define RULES_ITEM(name, skip, fail)                                                               \
    "{\"kind\":\"sequence\",\"name\":\"" name "\",\"trigger\":\"GO\",\"on_skip\":\"" skip          \
    "\",\"on_fail\":\"" fail "\",\"steps\":[{\"step\":1,\"delay\":\"0\",\"ttl\":\"1h\",\"text\":"  \
    "\"In {{city}}\"}," STEP(5, "1s", "Later") "]}"

static void
fifth_fails(const struct sent *r, unsigned nth, struct outcome_report *ret)
{
    if (r->phone % 10 == 5 && strcmp(r->text, "Later") != 0)
        *ret = (struct outcome_report){.outcome = OUTCOME_FAILED, .reason = REASON_RECIPIENT};
}

static const struct {
    const char *item, *counts, *ends;
    unsigned later; /* how many got step 5 */
} rules[] = {
    /* sent, failed, expired, skipped; messages */
    {RULES_ITEM("cold", "continue", "continue"), "6,0,0,0;7", "6 of 0", 6},
    {RULES_ITEM("cold", "stop", "stop"), "1,1,2,2;2", "1 of 0, 2 of 13, 2 of 14, 1 of 32", 1},
};

START_TEST(a_step_that_is_not_sent_follows_its_rules)
{
    struct content_row row = sequence_row(2, 1, SOURCE_ACTIVE, rules[_i].item, 2, 2);
    unsigned later = 0;

    fixture_devices(1, 6, 5, 10);
    fixture_sequences();
    pgtemp_do(db_admin,
              "UPDATE lead SET attributes = '{}' WHERE lead_no < 3;"
              "INSERT INTO enrollment(device_id, source_id, lead_no, step, revision, due_at) SELECT"
              " 1, 1, l, 1, 2, CASE WHEN l IN (3, 4) THEN now() - interval '2 h' ELSE now() END"
              " FROM generate_series(1, 6) l;"
              "UPDATE progress SET audience = 6, enrolled = 6 WHERE source_id = 1;"
              "UPDATE source SET state = 1 WHERE source_id = 1");
    rig.transport.script = fifth_fails;
    start_as("n1");
    run_until(is_open, 5000);
    apply_rows(&row, 1, 2);
    run_until(nothing_live, 20000);
    ck_assert_str_eq(rules[_i].counts,
                     pgtemp_text(db_admin,
                                 "SELECT concat_ws(',', sent, failed, expired, skipped) ||"
                                 " ';' || messages FROM progress WHERE source_id = 1"));
    ck_assert_str_eq(rules[_i].ends,
                     pgtemp_text(db_admin, "SELECT string_agg(format('%%s of %%s', n, reason), ', '"
                                           " ORDER BY reason) FROM (SELECT reason, count(*) n FROM"
                                           " enrollment_end GROUP BY 1) x"));
    for (unsigned i = 0; i < wire_count; i++)
        later += strcmp(wire_log[i].text, "Later") == 0;
    ck_assert_uint_eq(rules[_i].later, later);
    ck_assert_int_eq(2, pgtemp_int(db_admin, "SELECT count(*) FROM message WHERE state = 4 AND"
                                             " reason = 13"));
    ck_assert_int_eq(2, pgtemp_int(db_admin, "SELECT count(*) FROM message WHERE state = 5 AND"
                                             " reason = 14"));
    verify_all();
}
END_TEST

/* ---- revisions ---- */

/* Everybody waits an hour for step 2 of revision 1, but lead 5, who waits for step 3. */
static void
waiting_for_step_2(void)
{
    fixture_devices(5, 5, 5, 10);
    fixture_sequences();
    pgtemp_do(db_admin,
              "INSERT INTO enrollment(device_id, source_id, lead_no, step, due_at) SELECT d, 1, l,"
              " CASE l WHEN 5 THEN 3 ELSE 2 END, now() + interval '1 h' FROM"
              " generate_series(1, 5) d, generate_series(1, 5) l;"
              "UPDATE progress SET audience = 25, enrolled = 25 WHERE source_id = 1;"
              "UPDATE source SET item = '{\"kind\":\"sequence\",\"name\":\"cold\",\"steps\":[" STEP(
                  1, "0",
                  "Old 1") "," STEP(2, "1h",
                                    "Old 2") "," STEP(3, "1h",
                                                      "Old 3") "]}' WHERE source_id = 1;"
                                                               "UPDATE source_revision r SET item "
                                                               "= s.item FROM source s WHERE "
                                                               "s.source_id = r.source_id");
}
#define NEW_ITEM                                                                                   \
    "{\"kind\":\"sequence\",\"name\":\"cold\",\"trigger\":\"GO\",\"next_sequence\":\"warm\","      \
    "\"steps\":[" STEP(1, "0", "New 1") "," STEP(2, "0", "New 2") "]}"

static bool
all_through(struct rig *r)
{
    return pgtemp_int(db_admin, "SELECT count(*) FROM enrollment_end") == 50 &&
           r->transport.in_flight == 0;
}

START_TEST(a_revision_for_all_moves_who_waits)
{
    static const char *const texts[] = {"New 2", "Warm 1"};
    static const usec_t delays[] = {0, USEC_PER_SEC};
    struct content_row row = sequence_row(2, 1, SOURCE_ACTIVE, NEW_ITEM, 2, 2);

    waiting_for_step_2();
    start_as("n1");
    run_until(is_open, 5000);
    apply_rows(&row, 1, 2);
    run_until(all_through, 20000);
    /* Lead 5 of each device had nothing left: it is through, and went on in warm. */
    for (unsigned i = 0; i < wire_count; i++)
        if (wire_log[i].phone % 10 == 5)
            ck_assert_str_eq("Warm 1 n5", wire_log[i].text);
        else
            ck_assert(strcmp(wire_log[i].text, "New 2") == 0 ||
                      strncmp(wire_log[i].text, "Warm 1", 6) == 0);
    ck_assert_uint_eq(45, wire_count);
    unsigned kept = 0;
    for (unsigned i = 0; i < wire_count; i++)
        if (wire_log[i].phone % 10 != 5)
            wire_log[kept++] = wire_log[i];
    wire_count = kept;
    ck_assert_uint_eq(20, check_order(texts, delays, 2));
    ck_assert_uint_eq(0, partition_meter(rig.p)->stale);
    verify_all();
}
END_TEST

static bool
warm_is_sent(struct rig *r)
{
    return pgtemp_int(db_admin, "SELECT sent FROM progress WHERE source_id = 2") == 1;
}

/* The fact was made before the revision and recorded after the pass over its device. */
START_TEST(who_is_chained_by_an_old_fact_is_moved_too)
{
    struct content_row row =
        sequence_row(2, 2, SOURCE_ACTIVE,
                     "{\"kind\":\"sequence\",\"name\":\"warm\",\"steps\":[" STEP(1, "0",
                                                                                 "New") "]}",
                     2, 2);

    fixture_devices(3, 5, 5, 10);
    fixture_sequences();
    start_as("n1");
    run_until(is_open, 5000);
    apply_rows(&row, 1, 2);
    idle_until = clock_boot() + 500 * USEC_PER_MSEC;
    run_until(idled, 5000);
    pgtemp_do(db_admin, "INSERT INTO enrollment(device_id, source_id, lead_no, step, due_at) VALUES"
                        " (1, 2, 3, 1, now()); UPDATE progress SET audience = audience + 1,"
                        " enrolled = enrolled + 1 WHERE source_id = 2");
    audience_row_new(rig.p, 1, 2, 3, 1, 1, partition_db_now(rig.p, clock_boot()));
    run_until(warm_is_sent, 5000);
    ck_assert_str_eq("New", wire_log[0].text);
}
END_TEST

static bool
new_one_is_sent(struct rig *r)
{
    return pgtemp_int(db_admin, "SELECT count(*) FROM enrollment_end WHERE source_id = 1") == 1;
}

START_TEST(a_revision_for_new_ones_leaves_who_waits)
{
    struct content_row row = sequence_row(2, 1, SOURCE_ACTIVE, NEW_ITEM, 2, 0);

    waiting_for_step_2();
    start_as("n1");
    run_until(is_open, 5000);
    apply_rows(&row, 1, 2);
    pgtemp_do(db_admin, "INSERT INTO lead(device_id, lead_no, phone, name, trigger) VALUES (1, 6,"
                        " 60000100006, 'n6', 'GO'); UPDATE device SET next_lead_no = 6 WHERE"
                        " device_id = 1");
    ck_assert_int_eq(0, partition_device_changed(rig.p, 1));
    run_until(new_one_is_sent, 20000);
    for (unsigned i = 0; i < wire_count; i++)
        ck_assert_uint_eq(60000100006, wire_log[i].phone);
    ck_assert_int_eq(25, pgtemp_int(db_admin, "SELECT count(*) FROM enrollment WHERE source_id = 1"
                                              " AND revision = 1 AND due_at > now()"));
    /* After a start the older plan is there again: their step is that of revision 1. */
    kill_driver();
    pgtemp_do(db_admin, "UPDATE enrollment SET due_at = now() WHERE source_id = 1 AND lead_no = 1");
    wire_count = 0;
    start_as("n1");
    while (wire_count < 5)
        run_until(some_in_log, 20000);
    for (unsigned i = 0; i < wire_count; i++)
        ck_assert(strcmp(wire_log[i].text, "Old 2") == 0 ||
                  strncmp(wire_log[i].text, "Warm 1", 6) == 0);
    verify_all();
}
END_TEST

#define DRAFT_ITEM                                                                                 \
    "{\"kind\":\"sequence\",\"name\":\"warm\",\"steps\":[" STEP(4, "0",                            \
                                                                "Four") "," STEP(6, "1s",          \
                                                                                 "Six") "]}"

/* Leads were chained into a draft, at its step 1; before its start it is written anew. */
START_TEST(who_waits_in_a_draft_follows_it)
{
    static const char *const texts[] = {"Four", "Six"};
    static const usec_t delays[] = {0, USEC_PER_SEC};
    struct content_row row = sequence_row(2, 2, SOURCE_ACTIVE, DRAFT_ITEM, 1, 0);

    fixture_devices(5, 4, 5, 10);
    fixture_sequences();
    pgtemp_do(
        db_admin,
        "UPDATE source SET state = 3, started_version = 0 WHERE source_id = 2;"
        "INSERT INTO enrollment(device_id, source_id, lead_no, step, due_at) SELECT device_id,"
        " 2, lead_no, 1, now() FROM lead; UPDATE progress SET audience = 20, enrolled = 20"
        " WHERE source_id = 2");
    start_as("n1");
    run_until(is_open, 5000);
    idle_until = clock_boot() + 200 * USEC_PER_MSEC;
    run_until(idled, 5000);
    ck_assert_uint_eq(0, wire_count);
    apply_rows(&row, 1, 2);
    run_until(nothing_live, 10000);
    ck_assert_uint_eq(20, check_order(texts, delays, 2));
    ck_assert_uint_eq(0, partition_meter(rig.p)->stale);
    verify_all();
}
END_TEST

/* ---- direct messages ---- */

static bool
three_direct(struct rig *r)
{
    return pgtemp_int(db_admin, "SELECT sent FROM progress WHERE source_id = 0") == 3;
}

static void
put_direct(int no, const char *text)
{
    pgtemp_do(db_admin,
              "INSERT INTO direct(device_id, lead_no, phone, accepted_at, key, text) VALUES"
              " (1, -%d, 60000100900 + %d, now(), 'k%d', '%s'); INSERT INTO enrollment(device_id,"
              " source_id, lead_no, due_at) VALUES (1, 0, -%d, now()); UPDATE progress SET"
              " audience = audience + 1, enrolled = enrolled + 1 WHERE source_id = 0",
              no, no, no, text, no);
}

START_TEST(direct_messages_overtake_a_sequence)
{
    fixture_devices(1, 200, 20, 30);
    fixture_sequences();
    trigger_all();
    put_direct(1, "Code {{1}}"); /* it is no template */
    start_as("n1");
    run_until(is_open, 5000);
    while (wire_count < 5)
        run_until(some_in_log, 5000);
    put_direct(2, "Code 2");
    put_direct(3, "Code 3");
    unsigned before = wire_count;
    audience_row_new(rig.p, 1, 0, -2, 1, 0, partition_db_now(rig.p, clock_boot()));
    audience_row_new(rig.p, 1, 0, -3, 1, 0, partition_db_now(rig.p, clock_boot()));
    run_until(three_direct, 5000);
    ck_assert_uint_le(wire_count, before + 6);
    ck_assert_int_eq(3, pgtemp_int(db_admin, "SELECT count(*) FROM message WHERE source_id = 0"
                                             " AND state = 1"));
    bool found = false;
    for (unsigned i = 0; i < wire_count; i++)
        found |= strcmp(wire_log[i].text, "Code {{1}}") == 0;
    ck_assert(found);
}
END_TEST

static bool
all_direct(struct rig *r)
{
    return pgtemp_int(db_admin, "SELECT sent FROM progress WHERE source_id = 0") == 250;
}

START_TEST(many_direct_messages_of_one_instant)
{
    fixture_devices(1, 1, 1, 2);
    fixture_sequences();
    for (int no = 1; no <= 250; no++)
        put_direct(no, "Code");
    pgtemp_do(db_admin, "UPDATE enrollment SET due_at = now()");
    start_as("n1");
    run_until(all_direct, 30000);
    ck_assert_uint_eq(250, check_once());
    ck_assert_uint_eq(0, partition_meter(rig.p)->stale); /* each was read once */
}
END_TEST

/* ---- pauses ---- */

static int64_t pause_ends;

START_TEST(a_pause_of_the_cluster_or_a_sequence_ends_by_itself)
{
    bool cluster = _i == 0;
    struct content_row row = sequence_row(2, 1, SOURCE_PAUSED, COLD_ITEM, 1, 0);

    fixture_devices(20, 50, 10, 20);
    fixture_sequences();
    trigger_all();
    start_as("n1");
    run_until(is_open, 5000);
    while (wire_count < 50)
        run_until(some_in_log, 5000);
    if (cluster)
        row = (struct content_row){.version = 2,
                                   .kind = CONTENT_CLUSTER,
                                   .id = CONTENT_CLUSTER_ID,
                                   .state = SOURCE_PAUSED,
                                   .revision = 1,
                                   .json = {"{}", 2}};
    pause_ends = partition_db_now(rig.p, clock_boot()) + (int64_t) (1500 * USEC_PER_MSEC);
    row.until = pause_ends;
    apply_rows(&row, 1, 2);
    usec_t paused = clock_boot();
    usec_t ends = paused + (usec_t) (pause_ends - partition_db_now(rig.p, paused));
    unsigned before = wire_count;
    while (wire_count < before + 50)
        run_until(some_in_log, 5000);
    for (unsigned i = 0; i < wire_count; i++) {
        usec_t at = wire_log[i].started;

        ck_assert_msg(at <= paused || at + 20 * USEC_PER_MSEC >= ends ||
                          (!cluster && strncmp(wire_log[i].text, "Warm", 4) == 0),
                      "started %" PRIu64 " us after the pause", at - paused);
    }
    ck_assert_int_eq(1, pgtemp_int(db_admin, "SELECT state FROM source WHERE source_id = %d",
                                   cluster ? -1 : 1)); /* the row says until when */
    fixture_sums();
}
END_TEST

/* ---- what idles costs nothing ---- */

START_TEST(rows_of_tomorrow_and_paused_ones_cost_nothing)
{
    fixture_devices(50, 300, 5, 10);
    fixture_sequences();
    pgtemp_do(
        db_admin,
        "INSERT INTO enrollment(device_id, source_id, lead_no, step, due_at) SELECT device_id,"
        " CASE WHEN lead_no > 150 THEN 2 ELSE 1 END, lead_no, 1, CASE WHEN lead_no > 150 THEN"
        " now() ELSE now() + lead_no * interval '1 h' END FROM lead;"
        "UPDATE source SET state = 1 WHERE source_id = 2");
    start_as("n1");
    run_until(is_open, 5000);
    idle_until = clock_boot() + USEC_PER_SEC;
    run_until(idled, 5000);
    const struct meter *m = partition_meter(rig.p);
    uint64_t fills = m->fills, enrols = m->enrol_time.total, ticks = m->ticks;
    ck_assert_uint_le(fills, 10);
    idle_until = clock_boot() + 2 * USEC_PER_SEC;
    run_until(idled, 5000);
    ck_assert_uint_eq(fills, m->fills);
    ck_assert_uint_eq(enrols, m->enrol_time.total);
    ck_assert_uint_eq(ticks, m->ticks);
    ck_assert_uint_eq(0, wire_count);
    struct partition_report report;
    partition_report(rig.p, clock_boot(), &report);
    ck_assert_uint_eq(50 * 300, report.live); /* counted, not listed */
}
END_TEST

/* A campaign whose template nobody knows, enrolled already, beside one that can be sent. */
START_TEST(a_source_without_its_template_holds_up_nobody)
{
    fixture_devices(2, 600, 1, 2);
    fixture_campaign();
    pgtemp_do(
        db_admin,
        "INSERT INTO source(source_id, kind, state, content_version, started_version, name,"
        " item) VALUES (9, 1, 0, 1, 1, 'lost', '{\"kind\":\"campaign\",\"name\":\"lost\","
        "\"template\":\"nobody\"}'); INSERT INTO progress(source_id, audience, enrolled)"
        " VALUES (9, 1200, 1200); INSERT INTO enrollment(device_id, source_id, lead_no,"
        " due_at) SELECT device_id, 9, lead_no, now() - interval '1 day' FROM lead;"
        "UPDATE audience SET upto = 20; UPDATE progress SET audience = 40 WHERE source_id = 1");
    start_as("n1");
    while (pgtemp_int(db_admin, "SELECT sent FROM progress WHERE source_id = 1") < 40)
        run_until(some_in_log, 5000);
    ck_assert_int_eq(1200, pgtemp_int(db_admin, "SELECT count(*) FROM enrollment"));
    fixture_sums();
}
END_TEST

/* ---- enrolment ---- */

static bool
enrolled_all(struct rig *r)
{
    return pgtemp_int(db_admin, "SELECT enrolled FROM progress WHERE source_id = 1") == 3000;
}

/* A first step tomorrow: all that there is to do is to enrol. */
#define TOMORROW_ITEM                                                                              \
    "{\"kind\":\"sequence\",\"name\":\"cold\",\"trigger\":\"GO\",\"steps\":[" STEP(1, "1d",        \
                                                                                   "x") "]}"

START_TEST(triggers_of_many_are_used_at_the_rate_that_is_set)
{
    struct content_row row = sequence_row(2, 1, SOURCE_ACTIVE, TOMORROW_ITEM, 2, 0);

    fixture_devices(30, 100, 5, 10);
    fixture_sequences();
    pgtemp_do(db_admin, "UPDATE source SET state = 1 WHERE source_id = 1");
    trigger_all();
    start_as("n1");
    run_until(is_open, 5000);
    audience_set_rate(rig.p, 1000);
    usec_t began = clock_boot();
    apply_rows(&row, 1, 2);
    run_until(enrolled_all, 20000);
    usec_t took = clock_boot() - began;
    /* 2,000 were in the bucket, and a thousand were put in; at the default it is a tenth of that.
     */
    ck_assert_msg(took >= 500 * USEC_PER_MSEC && took < 8 * USEC_PER_SEC, "%" PRIu64 " us", took);
    ck_assert_uint_eq(0, wire_count);
    ck_assert_int_eq(3000,
                     pgtemp_int(db_admin, "SELECT count(*) FROM enrollment WHERE step = 1 AND"
                                          " revision = 2 AND due_at > now() + interval '23 h'"));
    ck_assert_uint_eq(0, partition_meter(rig.p)->locks_long);
    verify_all();
}
END_TEST

static bool
lead_3_is_through(struct rig *r)
{
    return pgtemp_int(db_admin, "SELECT count(*) FROM message WHERE lead_no = 3 AND state = 1") ==
           1;
}

START_TEST(a_trigger_that_is_set_behind_the_cursor_enrols_at_once)
{
    fixture_devices(1, 10, 5, 10);
    fixture_sequences();
    pgtemp_do(db_admin, "UPDATE audience SET cursor = 9");
    start_as("n1");
    run_until(is_open, 5000);
    idle_until = clock_boot() + 300 * USEC_PER_MSEC;
    run_until(idled, 5000);
    pgtemp_do(db_admin, "UPDATE audience SET cursor = 2; UPDATE lead SET trigger = 'GO'"
                        " WHERE lead_no = 3");
    ck_assert_int_eq(0, partition_device_changed(rig.p, 1));
    run_until(lead_3_is_through, 3000);
}
END_TEST

START_TEST(a_cancelled_sequence_leaves_nothing_live)
{
    struct content_row row = sequence_row(2, 1, SOURCE_CANCELLED, COLD_ITEM, 1, 0);
    struct partition_report report;

    fixture_devices(20, 100, 10, 20);
    fixture_sequences();
    trigger_all();
    start_as("n1");
    while (wire_count < 100)
        run_until(some_in_log, 5000);
    apply_rows(&row, 1, 2);
    while (pgtemp_int(db_admin, "SELECT count(*) FROM enrollment WHERE source_id = 1") > 0)
        run_until(some_in_log, 5000);
    partition_report(rig.p, clock_boot(), &report);
    ck_assert_uint_eq(report.live, (uint64_t) pgtemp_int(db_admin, "SELECT count(*) FROM enrollment"
                                                                   " WHERE state <> 2"));
    verify_all();
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("sequences");
    TCase *t = tcase_create("sequences");

    tcase_set_timeout(t, 60);
    tcase_add_unchecked_fixture(t, fixture_start, NULL);
    tcase_add_checked_fixture(t, open_rig, close_rig);
    tcase_add_test(t, a_lead_goes_from_cold_to_warm_in_order);
    tcase_add_test(t, after_a_kill_the_steps_go_on_where_they_were);
    tcase_add_loop_test(t, a_step_that_is_not_sent_follows_its_rules, 0, 2);
    tcase_add_test(t, a_revision_for_all_moves_who_waits);
    tcase_add_test(t, a_revision_for_new_ones_leaves_who_waits);
    tcase_add_test(t, who_waits_in_a_draft_follows_it);
    tcase_add_test(t, direct_messages_overtake_a_sequence);
    tcase_add_test(t, many_direct_messages_of_one_instant);
    tcase_add_test(t, who_is_chained_by_an_old_fact_is_moved_too);
    tcase_add_loop_test(t, a_pause_of_the_cluster_or_a_sequence_ends_by_itself, 0, 2);
    tcase_add_test(t, rows_of_tomorrow_and_paused_ones_cost_nothing);
    tcase_add_test(t, a_source_without_its_template_holds_up_nobody);
    tcase_add_test(t, triggers_of_many_are_used_at_the_rate_that_is_set);
    tcase_add_test(t, a_trigger_that_is_set_behind_the_cursor_enrols_at_once);
    tcase_add_test(t, a_cancelled_sequence_leaves_nothing_live);
    suite_add_tcase(s, t);
    return fixture_run(s);
}
