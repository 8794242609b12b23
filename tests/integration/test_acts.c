/* Acts of people through the real driver: verdicts, rows, counters, memory, and each asked twice.
 */
#include "node/acts.h"

#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/partition_inner.h"
#include "tests/support/driver.h"

#define LEADS 4

static struct pgtemp *pg;
static PGconn *db; /* beside the driver: what a person with psql would see */
static struct driver d;

/* Device 1 and 2 of account main, 3 of account other, with paused sources: nothing is sent unless a
 * test wants it. Lead n of device d has the phone 601200000dn. */
static void
fill_database(void)
{
    pgtemp_do(
        db, "INSERT INTO device(device_id, min_delay_ms, max_delay_ms, transport, address,"
            " scope, account, next_lead_no) SELECT g, 100, 200, 'null', 'a' || g, 's',"
            " CASE g WHEN 3 THEN 'other' ELSE 'main' END, 4 FROM generate_series(1, 3) g;"
            "INSERT INTO lead(device_id, lead_no, phone, name) SELECT g, n,"
            " 60120000000 + g * 10 + n, 'Ann' FROM generate_series(1, 3) g,"
            " generate_series(1, 4) n;"
            "INSERT INTO template VALUES ('hello', 1,"
            " '{\"kind\":\"template\",\"name\":\"hello\",\"text\":\"Hi {{name}}\"}');"
            "INSERT INTO source(source_id, kind, state, content_version, started_version,"
            " started_at, name, item) VALUES (1, 1, 1, 1, 1, now(), 'spring',"
            " '{\"kind\":\"campaign\",\"name\":\"spring\",\"template\":\"hello\"}'),"
            " (2, 2, 1, 1, 1, now(), 'cold', '{\"kind\":\"sequence\",\"name\":\"cold\","
            "\"trigger\":\"COLD\",\"steps\":[{\"step\":1,\"delay\":\"0\",\"template\":\"hello\"},"
            "{\"step\":2,\"delay\":\"1d\",\"text\":\"Still there?\"}]}');"
            "UPDATE source SET trigger = 'COLD' WHERE source_id = 2;"
            "INSERT INTO source_revision SELECT source_id, 1, item FROM source WHERE source_id > 0;"
            "INSERT INTO audience(device_id, source_id, cursor, upto) SELECT g, 1, 4, 4 FROM"
            " generate_series(1, 3) g;"
            "INSERT INTO audience(device_id, source_id, cursor, upto) SELECT g, 2, 0, 2147483647"
            " FROM generate_series(1, 3) g;"
            "INSERT INTO enrollment(device_id, source_id, lead_no, step, due_at) SELECT g, s, n,"
            " s - 1, now() FROM generate_series(1, 3) g, generate_series(1, 2) s,"
            " generate_series(1, 4) n;"
            "INSERT INTO progress(source_id, audience, enrolled) VALUES (1, 12, 12), (2, 12, 12);"
            "UPDATE device SET content_version = 1; UPDATE owner SET content_applied = 1");
}

static void
setup_with(const char *sql)
{
    db = pgtemp_anew(pg, "work", "clean");
    fill_database();
    if (sql)
        pgtemp_do(db, "%s", sql);
    driver_start(&d, pg, "work");
}

static void
setup(void)
{
    setup_with(NULL);
}

/* The sequence runs, and its cursors have passed every lead. */
static void
setup_running(void)
{
    setup_with("UPDATE source SET state = 0 WHERE source_id = 2;"
               "DELETE FROM enrollment WHERE source_id = 2;"
               "UPDATE progress SET audience = 0, enrolled = 0 WHERE source_id = 2;"
               "UPDATE audience SET cursor = 4 WHERE source_id = 2");
}

/* Every lead of an audience is counted once, whatever an act did. */
static void
sums_hold(void)
{
    ck_assert_int_eq(
        0, pgtemp_int(db, "SELECT count(*) FROM progress p WHERE audience - not_in_audience - sent"
                          " - failed - unknown - expired - skipped - cancelled <>"
                          " (SELECT count(*) FROM enrollment e WHERE e.source_id = p.source_id"
                          " AND e.state <> 2) + (SELECT coalesce(sum(upto - cursor), 0) FROM"
                          " audience a WHERE a.source_id = p.source_id AND upto < 2147483647)"));
}

static void
teardown(void)
{
    sums_hold();
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
send_act(const char *action, unsigned columns, const char *const *cells, struct driver_answer *ret)
{
    static struct slice slices[ARGUMENTS_MAX * ACT_ROWS_MAX];
    unsigned count = 0;

    for (; cells[count]; count++)
        slices[count] = text(cells[count]);
    struct request q = {.kind = MESSAGE_ACT,
                        .act = {.partition = text("p1"),
                                .action = text(action),
                                .column_count = columns,
                                .cell_count = count,
                                .cells = slices}};
    driver_send(&d, &q, ret);
}

/* "verdict:detail verdict:detail ..." */
static const char *
words(const struct driver_answer *a)
{
    static char out[4096];
    size_t used = 0;

    ck_assert_msg(a->reply.status == STATUS_OK, "status %d: %.*s", a->reply.status,
                  (int) a->reply.reason.bytes, a->reply.reason.data);
    ck_assert_uint_eq(a->reply.answer.column_count, 2);
    out[0] = '\0';
    for (uint32_t n = 0; n < a->reply.answer.row_count; n++) {
        const struct cell *c = &a->reply.answer.cells[2 * n];
        used += (size_t) snprintf(out + used, sizeof(out) - used, "%s%.*s:%.*s", n ? " " : "",
                                  (int) c[0].text.bytes, c[0].text.data, (int) c[1].text.bytes,
                                  c[1].text.data);
    }
    return out;
}

static void
act(const char *action, unsigned columns, const char *const *cells, const char *expected)
{
    struct driver_answer a;

    send_act(action, columns, cells, &a);
    driver_wait(&d, &a);
    ck_assert_str_eq(words(&a), expected);
    driver_answer_done(&a);
}
#define ACT(action, columns, expected, ...)                                                        \
    act(action, columns, (const char *const[]){__VA_ARGS__, NULL}, expected)

/* A question's rows: "cell|cell cell|cell"; times as "t". */
static const char *
question(const char *name, const char *first, const char *second)
{
    static char out[4096];
    size_t used = 0;
    struct request q = {.kind = MESSAGE_ASK,
                        .ask = {.partition = text("p1"), .question = text(name)}};
    struct driver_answer a;

    if (first)
        q.ask.arguments[q.ask.argument_count++] = text(first);
    if (second)
        q.ask.arguments[q.ask.argument_count++] = text(second);
    driver_send(&d, &q, &a);
    driver_wait(&d, &a);
    ck_assert_int_eq(a.reply.status, STATUS_OK);
    const struct answer *page = &a.reply.answer;
    out[0] = '\0';
    for (uint32_t n = 0; n < page->row_count * page->column_count; n++) {
        const struct cell *c = &page->cells[n];
        const char *before = n == 0 ? "" : n % page->column_count ? "|" : " ";
        used += (size_t) snprintf(out + used, sizeof(out) - used, "%s", before);
        if (c->kind == CELL_TEXT)
            used += (size_t) snprintf(out + used, sizeof(out) - used, "%.*s", (int) c->text.bytes,
                                      c->text.data);
        else if (c->kind != CELL_NULL)
            used += (size_t) snprintf(out + used, sizeof(out) - used,
                                      c->kind == CELL_TIME ? "t" : "%" PRId64, c->number);
    }
    driver_answer_done(&a);
    return out;
}

/* ---- opt-outs ---- */

START_TEST(an_opt_out_ends_what_waits_and_is_known_before_the_answer)
{
    ACT("optout.add", 3,
        "done: done: refused:phone: must be an international number of 8 to 15 digits", "main",
        "60120000011", "asked", "", "60120000021", "stop", "main", "123", "");
    ck_assert(book_opted_out(d.partition->book,
                             book_breaker(d.partition->book, BREAKER_ACCOUNT, "main"),
                             60120000011));
    ck_assert_str_eq(pgtemp_text(db, "SELECT string_agg(concat_ws(' ', number, account, phone,"
                                     " reason), ', ' ORDER BY number) FROM optout"),
                     "1 main 60120000011 asked, 2 main 60120000021 stop");
    /* campaign and sequence, both devices; the others wait on */
    ck_assert_int_eq(pgtemp_int(db, "SELECT count(*) FROM enrollment"), 20);
    ck_assert_str_eq(pgtemp_text(db,
                                 "SELECT string_agg(concat_ws(' ', device_id, source_id, lead_no,"
                                 " step, reason), ', ' ORDER BY 1) FROM enrollment_end"),
                     "1 2 1 1 11, 2 2 1 1 11");
    ck_assert_int_eq(pgtemp_int(db, "SELECT count(*) FROM message WHERE state = 5 AND reason = 11"),
                     4);
    ck_assert_int_eq(pgtemp_int(db, "SELECT sum(skipped) FROM progress"), 4);
    sums_hold();
    ACT("optout.add", 3, "known: done:", "main", "60120000011", "again", "other", "60120000011",
        "");
    ck_assert_str_eq(pgtemp_text(db, "SELECT reason FROM optout WHERE number = 1"), "asked");
    /* taken back: numbers are never given again */
    ACT("optout.remove", 3, "done: not_found:", "other", "60120000011", "", "main", "60120000099",
        "");
    ACT("optout.add", 3, "done:", "other", "60120000034", "");
    ck_assert_int_eq(pgtemp_int(db, "SELECT number FROM optout WHERE phone = 60120000034"), 4);
    ck_assert(!book_opted_out(d.partition->book,
                              book_breaker(d.partition->book, BREAKER_ACCOUNT, "other"),
                              60120000011));
}
END_TEST

/* Others' leads of that phone stay: an opt-out is the account's. */
START_TEST(an_opt_out_of_one_account_leaves_the_others_alone)
{
    pgtemp_do(db, "UPDATE lead SET phone = 60120000011 WHERE device_id = 3 AND lead_no = 1");
    ACT("optout.add", 3, "done:", "main", "60120000011", "");
    ck_assert_int_eq(pgtemp_int(db, "SELECT count(*) FROM enrollment WHERE device_id = 3"), 8);
    ck_assert_int_eq(pgtemp_int(db, "SELECT count(*) FROM enrollment WHERE device_id = 1"), 6);
}
END_TEST

START_TEST(what_is_claimed_or_in_doubt_is_left_to_its_fact)
{
    pgtemp_do(db, "UPDATE enrollment SET state = source_id WHERE device_id = 1 AND lead_no = 1;"
                  "UPDATE progress SET unknown = 1 WHERE source_id = 2");
    ACT("optout.add", 3, "done:", "main", "60120000011", "");
    ck_assert_int_eq(pgtemp_int(db, "SELECT count(*) FROM enrollment WHERE device_id = 1"), 8);
    ck_assert_int_eq(pgtemp_int(db, "SELECT count(*) FROM message"), 0);
    pgtemp_do(
        db,
        "UPDATE enrollment SET state = 0 WHERE device_id = 1 AND lead_no = 1 AND source_id = 1");
}
END_TEST

START_TEST(many_opt_outs_at_once_are_one_order)
{
    static char phones[ACT_ROWS_MAX][16];
    static const char *cells[3 * ACT_ROWS_MAX + 1];
    struct driver_answer answers[4];

    for (unsigned k = 0; k < 4; k++) {
        for (unsigned n = 0; n < 400; n++) {
            snprintf(phones[n], sizeof(phones[n]), "%u", 70000000 + k * 300 + n);
            cells[3 * n] = "main";
            cells[3 * n + 1] = phones[n];
            cells[3 * n + 2] = "";
        }
        send_act("optout.add", 3, cells, &answers[k]);
    }
    for (unsigned k = 0; k < 4; k++) {
        driver_wait(&d, &answers[k]);
        ck_assert_uint_eq(answers[k].reply.answer.row_count, 400);
        driver_answer_done(&answers[k]);
    }
    ck_assert_int_eq(pgtemp_int(db, "SELECT count(*) FROM optout"), 1300);
    ck_assert_int_eq(pgtemp_int(db, "SELECT count(DISTINCT number) FROM optout"), 1300);
    ck_assert_int_eq(pgtemp_int(db, "SELECT max(number) FROM optout"), 1300);
    ck_assert_int_eq(pgtemp_int(db, "SELECT optout_number FROM owner"), 1300);
}
END_TEST

/* ---- direct messages ---- */

static bool
is_empty(const char *sql)
{
    return pgtemp_int(db, "SELECT count(*) FROM %s", sql) == 0;
}

START_TEST(a_direct_message_is_sent_once_per_key)
{
    ACT("send", 5,
        "done:-1 done:-2 refused:another message was sent with this key not_found:no such device "
        "here",
        "1", "60199999999", "k1", "Hello", "", "1", "60120000011", "k2", "Hi", "", "1",
        "60199999999", "k1", "Other", "", "9", "60199999999", "k1", "Hello", "");
    ACT("send", 5, "known:-2", "1", "60120000011", "k2", "Hi", "");
    for (unsigned turns = 0; turns < 2000 && !is_empty("enrollment WHERE source_id = 0"); turns++)
        uv_run(&d.loop, UV_RUN_ONCE);
    ck_assert_str_eq(pgtemp_text(db,
                                 "SELECT string_agg(concat_ws(' ', lead_no, step, state,"
                                 " provider_id <> ''), ', ' ORDER BY lead_no DESC) FROM message"),
                     "-1 0 1 t, -2 0 1 t");
    ck_assert_str_eq(pgtemp_text(db, "SELECT concat_ws(' ', audience, enrolled, sent) FROM progress"
                                     " WHERE source_id = 0"),
                     "2 2 2");
    ACT("send", 5, "known:-1", "1", "60199999999", "k1", "Hello", "");
    ACT("send", 5, "refused:another message was sent with this key", "1", "60120000011", "k1",
        "Hello", "");
}
END_TEST

START_TEST(direct_messages_are_bounded)
{
    char long_text[4200];

    memset(long_text, 'x', 4097);
    long_text[4097] = '\0';
    ACT("optout.add", 3, "done:", "main", "60120000077", "");
    ACT("send", 5,
        "refused:opted out refused:text: longer than 4096 characters refused:text: empty"
        " refused:key: missing (the same key is sent once) refused:its time is over",
        "1", "60120000077", "a", "Hi", "", "1", "60120000078", "b", long_text, "", "1",
        "60120000078", "c", "", "", "1", "60120000078", "", "Hi", "", "1", "60120000078", "e", "Hi",
        "1000000");
    long_text[4096] = '\0';
    ACT("send", 5, "done:-1", "2", "60120000078", "f", long_text, "");
    /* another account's device may write to it */
    ACT("send", 5, "done:-1", "3", "60120000077", "g", "Hi", "");
}
END_TEST

START_TEST(a_thousand_direct_messages_wait_and_the_next_one_comes_later)
{
    pgtemp_do(db,
              "INSERT INTO enrollment(device_id, source_id, lead_no, due_at) SELECT 1, 0, -n,"
              " 'infinity' FROM generate_series(1, 998) n;"
              "INSERT INTO direct(device_id, lead_no, phone, accepted_at, key, text) SELECT 1, -n,"
              " 60120000078, now(), 'k' || n, 'x' FROM generate_series(1, 998) n;"
              "UPDATE device SET next_direct_no = 998 WHERE device_id = 1;"
              "UPDATE progress SET audience = 998, enrolled = 998 WHERE source_id = 0;"
              "UPDATE source SET state = 1 WHERE source_id = 0");
    ACT("send", 5,
        "done:-999 done:-1000 retry:1000 direct messages wait on this device: try later done:-1",
        "1", "60120000078", "a", "Hi", "", "1", "60120000078", "b", "Hi", "", "1", "60120000078",
        "c", "Hi", "", "2", "60120000078", "c", "Hi", "");
    ck_assert_int_eq(pgtemp_int(db, "SELECT next_direct_no FROM device WHERE device_id = 1"), 1000);
}
END_TEST

/* ---- leads ---- */

START_TEST(a_lead_is_enrolled_by_hand_and_again)
{
    pgtemp_do(db, "DELETE FROM enrollment WHERE device_id = 1 AND source_id = 2;"
                  "UPDATE progress SET audience = 8, enrolled = 8 WHERE source_id = 2;"
                  "INSERT INTO enrollment_end VALUES (1, 2, 2, 2, 0, now())");
    ACT("optout.add", 3, "done:", "main", "60120000014", "");
    ACT("lead.enrol", 4,
        "done:1 known:1 refused:has been through it (--again enrols once more) refused:opted out"
        " not_found:no such lead on this device not_found:no sequence of that name is here (yet)"
        " not_found:no sequence of that name is here (yet) known:1",
        "1", "60120000011", "cold", "", "1", "60120000011", "cold", "", "1", "60120000012", "cold",
        "", "1", "60120000014", "cold", "", "1", "60120000021", "cold", "", "1", "60120000013",
        "warm", "", "1", "60120000013", "spring", "", "2", "60120000021", "cold", "");
    ACT("lead.enrol", 4, "done:2", "1", "60120000012", "cold", "1");
    ck_assert_str_eq(pgtemp_text(db,
                                 "SELECT string_agg(concat_ws(' ', lead_no, step, revision, state),"
                                 " ', ' ORDER BY lead_no) FROM enrollment WHERE device_id = 1 AND"
                                 " source_id = 2"),
                     "1 1 1 0, 2 1 1 0");
    ck_assert(is_empty("enrollment_end WHERE reason = 0"));
}
END_TEST

START_TEST(a_lead_is_taken_out_unless_it_is_on_the_wire)
{
    pgtemp_do(
        db, "UPDATE enrollment SET state = 1 WHERE device_id = 1 AND source_id = 2 AND lead_no = 2;"
            "UPDATE enrollment SET state = 2 WHERE device_id = 1 AND source_id = 2 AND lead_no = 3;"
            "UPDATE progress SET unknown = 1 WHERE source_id = 2");
    ACT("lead.remove", 3,
        "done:1 retry:a message to it is on the wire done:3 not_found:no such lead on this device",
        "1", "60120000011", "cold", "1", "60120000012", "cold", "1", "60120000013", "cold", "1",
        "60120000021", "cold");
    ACT("lead.remove", 3, "known:1", "1", "60120000011", "cold");
    ck_assert_str_eq(pgtemp_text(db,
                                 "SELECT string_agg(concat_ws(' ', lead_no, reason), ', ' ORDER BY"
                                 " lead_no) FROM enrollment_end"),
                     "1 16, 3 16");
    ck_assert_str_eq(pgtemp_text(db,
                                 "SELECT string_agg(concat_ws(' ', lead_no, state, reason), ', ')"
                                 " FROM message"),
                     "1 6 16");
    ck_assert_int_eq(pgtemp_int(db, "SELECT cancelled FROM progress WHERE source_id = 2"), 1);
    pgtemp_do(db,
              "DELETE FROM enrollment_end WHERE lead_no = 1; DELETE FROM enrollment WHERE device_id"
              " = 1 AND source_id = 2 AND state = 2");
    ACT("lead.remove", 3, "not_found:it is not in the sequence", "1", "60120000011", "cold");
    pgtemp_do(db, "UPDATE enrollment SET state = 0 WHERE state = 1");
}
END_TEST

/* ---- erasure ---- */

static bool
phone_is_anywhere(const char *phone)
{
    return pgtemp_int(db,
                      "SELECT (SELECT count(*) FROM lead x WHERE x::text LIKE '%%%s%%')"
                      " + (SELECT count(*) FROM direct x WHERE x::text LIKE '%%%s%%')"
                      " + (SELECT count(*) FROM optout x WHERE x::text LIKE '%%%s%%')"
                      " + (SELECT count(*) FROM message x WHERE x::text LIKE '%%%s%%')"
                      " + (SELECT count(*) FROM receipt x WHERE x::text LIKE '%%%s%%')"
                      " + (SELECT count(*) FROM forgotten x WHERE x::text LIKE '%%%s%%')",
                      phone, phone, phone, phone, phone, phone) > 0;
}

START_TEST(who_is_erased_is_nowhere_and_is_refused_later)
{
    pgtemp_do(db,
              "INSERT INTO message SELECT now(), now(), 1, 0, uuid_v7(now()), 1, 1, 1, 0, 0, 1, 0,"
              " 'wamid.60120000011.' || n FROM generate_series(1, 3) n;"
              "INSERT INTO message SELECT now(), now(), 1, 0, uuid_v7(now()), 2, 1, 1, 0, 0, 1, 0,"
              " 'wamid.other';"
              "INSERT INTO receipt SELECT now(), token, 1, 0, 'wamid.r60120000011' FROM message"
              " WHERE device_id = 1 LIMIT 1;"
              "INSERT INTO direct(device_id, lead_no, phone, accepted_at, key, text) VALUES"
              " (2, -1, 60120000011, now(), 'k', 'Hi');"
              "UPDATE device SET next_direct_no = 1 WHERE device_id = 2;"
              "INSERT INTO enrollment(device_id, source_id, lead_no, due_at, state) VALUES"
              " (2, 0, -1, now(), 2);"
              "UPDATE progress SET audience = 1, enrolled = 1, unknown = 1 WHERE source_id = 0;"
              "INSERT INTO trigger_use VALUES (now(), 1, 1, 2, 'COLD')");
    ck_assert(phone_is_anywhere("60120000011"));
    ACT("lead.forget", 2, "done:2 done:0", "", "60120000011", "main", "60120000999");
    ck_assert(!phone_is_anywhere("60120000011"));
    ck_assert(is_empty("trigger_use"));
    ck_assert_int_eq(pgtemp_int(db, "SELECT count(*) FROM enrollment"), 22);
    ck_assert_int_eq(pgtemp_int(db,
                                "SELECT count(*) FROM message WHERE provider_id = 'wamid.other'"),
                     1);
    ck_assert_int_eq(pgtemp_int(db, "SELECT count(*) FROM forgotten"), 2);
    ck_assert_str_eq(pgtemp_text(db, "SELECT concat_ws(' ', reason) FROM enrollment_end"), "18");
    ACT("lead.forget", 2, "known:0", "", "60120000011");
    ACT("send", 5, "refused:was erased on its own wish", "1", "60120000011", "new", "Hi", "");
    ACT("optout.add", 3, "known:", "other", "60120000011", "");
    ck_assert(!phone_is_anywhere("60120000011"));
    /* of one account only */
    ACT("send", 5, "refused:was erased on its own wish done:-1", "1", "60120000999", "n1", "Hi", "",
        "3", "60120000999", "n2", "Hi", "");
    /* asks to hear again */
    ACT("optout.remove", 3, "done:", "main", "60120000999", "");
    ACT("send", 5, "done:-1", "1", "60120000999", "n1", "Hi", "");
}
END_TEST

START_TEST(who_is_on_the_wire_is_opted_out_and_erased_afterwards)
{
    pgtemp_do(
        db,
        "UPDATE enrollment SET state = 1 WHERE device_id = 1 AND source_id = 1 AND lead_no = 1");
    ACT("lead.forget", 2, "retry:a message to it is on the wire, or its device is moving", "main",
        "60120000011");
    ck_assert_int_eq(
        pgtemp_int(db, "SELECT count(*) FROM enrollment WHERE device_id = 1 AND lead_no = 1"), 1);
    ck_assert_int_eq(pgtemp_int(db, "SELECT count(*) FROM optout WHERE phone = 60120000011"), 1);
    ck_assert(is_empty("forgotten"));
    pgtemp_do(
        db,
        "DELETE FROM enrollment WHERE state = 1; UPDATE progress SET sent = 1 WHERE source_id = 1");
    ACT("lead.forget", 2, "done:1", "main", "60120000011");
    ck_assert(!phone_is_anywhere("60120000011"));
}
END_TEST

/* ---- questions about leads and sequences ---- */

START_TEST(where_a_lead_stands_can_be_asked)
{
    pgtemp_do(
        db,
        "UPDATE lead SET phone = 60120000011, trigger = 'X' WHERE device_id = 3 AND lead_no = 1;"
        "INSERT INTO enrollment_end VALUES (1, 2, 1, 2, 32, now());"
        "DELETE FROM enrollment WHERE device_id = 1 AND source_id = 2 AND lead_no = 1;"
        "UPDATE progress SET failed = 1 WHERE source_id = 2;"
        "INSERT INTO trigger_use VALUES (now(), 1, 1, 2, 'COLD')");
    ACT("optout.add", 3, "done:", "other", "60120000011", "");
    ck_assert_str_eq(question("leads_by_phone", "60120000011", NULL),
                     "1|1|60120000011|Ann||{}|main|0 3|1|60120000011|Ann|X|{}|other|1");
    ck_assert_str_eq(question("lead_enrollments", "1", "1"),
                     "spring|campaign|waiting|1|0|0|t|| cold|sequence|ended||2|||recipient|t");
    ck_assert_str_eq(question("lead_triggers", "1", "1"), "t|COLD|cold");
    ck_assert_str_eq(question("lead_enrollments", "1", "77"), "");
    ck_assert_str_eq(question("optouts", NULL, NULL), "1|other|60120000011||t|0");
}
END_TEST

START_TEST(where_a_sequence_stands_can_be_asked)
{
    pgtemp_do(
        db, "UPDATE enrollment SET step = 2 WHERE source_id = 2 AND lead_no = 2;"
            "UPDATE enrollment SET state = 1 WHERE source_id = 2 AND lead_no = 3 AND device_id = 1;"
            "INSERT INTO source_revision VALUES (2, 2, '{}')");
    ck_assert_str_eq(question("sequence_positions", "cold", NULL),
                     "1|1|claimed|1 1|1|waiting|8 1|2|waiting|3");
    ck_assert_str_eq(question("sequence_positions", "nobody", NULL), "");
    const char *revisions = question("sequence_revisions", "cold", NULL);
    ck_assert_int_eq(strncmp(revisions, "1|{\"kind\":\"sequence\"", 20), 0);
    ck_assert_ptr_nonnull(strstr(revisions, " 2|{}"));
    pgtemp_do(db, "UPDATE enrollment SET state = 0");
    pgtemp_do(db, "INSERT INTO lead_column VALUES ('order'), ('city')");
    ck_assert_str_eq(question("lead_columns", NULL, NULL), "city order");
}
END_TEST

/* ---- leads that arrive ---- */

static struct driver_answer
put_lead(int32_t device_id, uint64_t phone, const char *trigger, const char *attributes)
{
    struct lead_row row = {.device_id = device_id,
                           .phone = phone,
                           .name = text("Bob"),
                           .trigger = text(trigger),
                           .attributes = text(attributes)};
    struct request q = {
        .kind = MESSAGE_LEADS,
        .leads = {.partition = text("p1"), .update = true, .row_count = 1, .rows = &row}};
    struct driver_answer a;

    driver_send(&d, &q, &a);
    driver_wait(&d, &a);
    ck_assert_int_eq(a.reply.status, STATUS_OK);
    return a;
}

START_TEST(a_person_who_was_erased_is_not_imported_again)
{
    struct driver_answer a;

    ACT("lead.forget", 2, "done:1", "main", "60120000011");
    a = put_lead(2, 60120000011, "", "");
    ck_assert_int_eq(a.reply.rows.verdicts[0], ROW_REFUSED);
    ck_assert_uint_eq(a.reply.rows.reasons[0].bytes,
                      strlen("phone: this person was erased (lead forget)"));
    driver_answer_done(&a);
    a = put_lead(3, 60120000011, "", ""); /* another account */
    ck_assert_int_eq(a.reply.rows.verdicts[0], ROW_ACCEPTED);
    driver_answer_done(&a);
    ck_assert(is_empty("lead WHERE phone = 60120000011 AND device_id < 3"));
}
END_TEST

START_TEST(a_trigger_behind_the_cursor_enrols_at_once)
{
    struct driver_answer a = put_lead(1, 60120000012, "COLD", "");

    ck_assert_int_eq(a.reply.rows.verdicts[0], ROW_UPDATED);
    driver_answer_done(&a);
    a = put_lead(2, 60120000999, "COLD", ""); /* and one in front of it */
    driver_answer_done(&a);
    for (unsigned turns = 0; turns < 2000 && pgtemp_int(db, "SELECT count(*) FROM message") < 2;
         turns++)
        uv_run(&d.loop, UV_RUN_ONCE);
    ck_assert_str_eq(
        pgtemp_text(db, "SELECT string_agg(concat_ws(' ', device_id, lead_no, step, state),"
                        " ', ' ORDER BY device_id) FROM message"),
        "1 2 1 1, 2 5 1 1");
    ck_assert_int_eq(pgtemp_int(db, "SELECT count(*) FROM trigger_use"), 2);
    ck_assert(is_empty("lead WHERE trigger <> ''"));
}
END_TEST

/* It is enrolled, and ends where everybody can see it. */
START_TEST(the_trigger_of_who_opted_out_ends_visibly)
{
    ACT("optout.add", 3, "done:", "main", "60120000012", "");
    struct driver_answer a = put_lead(1, 60120000012, "COLD", "");

    driver_answer_done(&a);
    for (unsigned turns = 0; turns < 2000 && is_empty("message WHERE source_id = 2"); turns++)
        uv_run(&d.loop, UV_RUN_ONCE);
    ck_assert_str_eq(
        pgtemp_text(
            db, "SELECT concat_ws(' ', lead_no, state, reason) FROM message WHERE source_id = 2"),
        "2 5 11");
    ck_assert_str_eq(
        pgtemp_text(db, "SELECT concat_ws(' ', lead_no, step, reason) FROM enrollment_end"),
        "2 1 11");
    ck_assert_int_eq(pgtemp_int(db, "SELECT skipped FROM progress WHERE source_id = 2"), 1);
}
END_TEST

START_TEST(columns_are_remembered_once)
{
    static const char *const attributes[] = {"{\"city\":\"KL\",\"order\":\"{\\\"x\\\":1}\"}",
                                             "{ \"order\" : \"2\" , \"gr\\u00f6\\u00dfe\":\"L\" }",
                                             "{}", "{\"city\":\"JB\"}"};
    for (unsigned n = 0; n < 4; n++) {
        struct driver_answer a = put_lead(1, 60120000500 + n, "", attributes[n]);
        ck_assert_int_eq(a.reply.rows.verdicts[0], ROW_ACCEPTED);
        driver_answer_done(&a);
    }
    ck_assert_str_eq(pgtemp_text(db, "SELECT string_agg(name, ',' ORDER BY name COLLATE \"C\") FROM"
                                     " lead_column"),
                     "city,größe,order");
    /* what this node has seen is not written again */
    pgtemp_do(db, "TRUNCATE lead_column");
    struct driver_answer a = put_lead(1, 60120000600, "", "{\"city\":\"KL\",\"new\":\"1\"}");
    driver_answer_done(&a);
    ck_assert_str_eq(pgtemp_text(db, "SELECT string_agg(name, ',' ORDER BY name) FROM lead_column"),
                     "city,new");
    a = put_lead(1, 60120000601, "", "{\"city\":\"KL\"}");
    driver_answer_done(&a);
    pgtemp_do(db, "TRUNCATE lead_column");
    a = put_lead(1, 60120000602, "", "{\"city\":\"KL\"}");
    driver_answer_done(&a);
    ck_assert(is_empty("lead_column"));
}
END_TEST

/* ---- devices, the node, and what is no act ---- */

START_TEST(a_device_is_paused_before_the_answer_and_goes_on)
{
    ACT("device.pause", 3, "done: not_found:no such device here", "1", "", "too many complaints",
        "9", "", "");
    ck_assert_int_eq(schedule_find(d.partition->devices, 1)->paused_until, INT64_MAX);
    ck_assert_str_eq(pgtemp_text(db,
                                 "SELECT concat_ws(' ', paused_until, paused_because) FROM device"
                                 " WHERE device_id = 1"),
                     "infinity too many complaints");
    ACT("send", 5, "done:-1 done:-1", "1", "60120000078", "a", "Hi", "", "2", "60120000078", "a",
        "Hi", "");
    for (unsigned turns = 0; turns < 2000 && is_empty("message"); turns++)
        uv_run(&d.loop, UV_RUN_ONCE);
    ck_assert_str_eq(pgtemp_text(db, "SELECT string_agg(device_id::text, ' ') FROM message"), "2");
    ACT("device.resume", 2, "done:", "1", "solved");
    ck_assert_int_eq(schedule_find(d.partition->devices, 1)->paused_until, INT64_MIN);
    for (unsigned turns = 0; turns < 2000 && !is_empty("enrollment WHERE source_id = 0"); turns++)
        uv_run(&d.loop, UV_RUN_ONCE);
    ck_assert_int_eq(pgtemp_int(db, "SELECT count(*) FROM message WHERE device_id = 1"), 1);
}
END_TEST

START_TEST(what_is_no_act_is_said_so)
{
    struct driver_answer a;

    send_act("dance", 1, (const char *const[]){"1", NULL}, &a);
    driver_wait(&d, &a);
    ck_assert_int_eq(a.reply.status, STATUS_BAD);
    driver_answer_done(&a);
    send_act("optout.add", 2, (const char *const[]){"1", "2", NULL}, &a);
    driver_wait(&d, &a);
    ck_assert_int_eq(a.reply.status, STATUS_BAD);
    driver_answer_done(&a);
    ACT("node.enrol_rate", 1, "done: refused:rate: must be 0 to 1000000 rows a second", "500", "x");
}
END_TEST

/* Another driver took the partition: nothing is done, nothing is acknowledged. */
START_TEST(an_act_of_an_older_epoch_does_nothing)
{
    struct driver_answer a;

    pgtemp_do(db, "UPDATE owner SET epoch = epoch + 1, driver = 'n2',"
                  " incarnation = '11111111-1111-1111-1111-111111111111'");
    send_act("optout.add", 3, (const char *const[]){"main", "60120000011", "", NULL}, &a);
    driver_wait(&d, &a);
    if (a.reply.status == STATUS_OK)
        ck_assert_str_eq(words(&a), "retry:this node no longer drives the partition");
    else
        ck_assert_int_eq(a.reply.status, STATUS_RETRY); /* the beat was quicker */
    driver_answer_done(&a);
    ck_assert(is_empty("optout"));
}
END_TEST

static Suite *
acts_suite(void)
{
    Suite *s = suite_create("acts");
    TCase *t = tcase_create("acts");

    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, an_opt_out_ends_what_waits_and_is_known_before_the_answer);
    tcase_add_test(t, an_opt_out_of_one_account_leaves_the_others_alone);
    tcase_add_test(t, what_is_claimed_or_in_doubt_is_left_to_its_fact);
    tcase_add_test(t, many_opt_outs_at_once_are_one_order);
    tcase_add_test(t, a_direct_message_is_sent_once_per_key);
    tcase_add_test(t, direct_messages_are_bounded);
    tcase_add_test(t, a_thousand_direct_messages_wait_and_the_next_one_comes_later);
    tcase_add_test(t, a_lead_is_enrolled_by_hand_and_again);
    tcase_add_test(t, a_lead_is_taken_out_unless_it_is_on_the_wire);
    tcase_add_test(t, who_is_erased_is_nowhere_and_is_refused_later);
    tcase_add_test(t, who_is_on_the_wire_is_opted_out_and_erased_afterwards);
    tcase_add_test(t, a_person_who_was_erased_is_not_imported_again);
    tcase_add_test(t, columns_are_remembered_once);
    tcase_add_test(t, where_a_lead_stands_can_be_asked);
    tcase_add_test(t, where_a_sequence_stands_can_be_asked);
    tcase_add_test(t, a_device_is_paused_before_the_answer_and_goes_on);
    tcase_add_test(t, what_is_no_act_is_said_so);
    tcase_add_test(t, an_act_of_an_older_epoch_does_nothing);
    suite_add_tcase(s, t);
    t = tcase_create("running");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup_running, teardown);
    tcase_add_test(t, a_trigger_behind_the_cursor_enrols_at_once);
    tcase_add_test(t, the_trigger_of_who_opted_out_ends_visibly);
    suite_add_tcase(s, t);
    return s;
}

int
main(void)
{
    static const char *const databases[] = {"clean", NULL};

    pg = pgtemp_start(databases);
    driver_schema(pg, "clean");
    SRunner *runner = srunner_create(acts_suite());
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    pgtemp_free(pg);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
