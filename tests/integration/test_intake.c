/* Devices and leads through the real intake into a real partition: verdicts, numbers, fences. */
#include "node/intake.h"

#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/secret.h"
#include "tests/support/driver.h"

#define TEXT(literal) ((struct slice){literal, sizeof(literal) - 1})

static struct pgtemp *pg;
static PGconn *db; /* beside the driver: what a person with psql would see */
static struct driver d;

static void
setup(void)
{
    db = pgtemp_anew(pg, "work", "clean");
    driver_start(&d, pg, "work");
}

static struct driver_answer *pending; /* of the test, never answered */

static void
teardown(void)
{
    driver_stop(&d);
    if (pending)
        driver_answer_done(pending);
    PQfinish(db);
}

/* ---- asking ---- */

static struct device_row
device(int32_t id)
{
    return (struct device_row){.device_id = id,
                               .name = TEXT("Shop"),
                               .transport = TEXT("cloudapi"),
                               .address = TEXT("1065550001"),
                               .token = TEXT("secret-token"),
                               .zone = TEXT("Asia/Kuala_Lumpur"),
                               .min_delay_ms = 100,
                               .max_delay_ms = 300};
}

static struct lead_row
lead(int32_t device_id, uint64_t phone)
{
    return (struct lead_row){.device_id = device_id,
                             .phone = phone,
                             .name = TEXT("Ann"),
                             .trigger = TEXT("start"),
                             .attributes = TEXT("{\"city\":\"KL\"}")};
}

static struct driver_answer
put_devices(struct device_row *rows, uint32_t count, bool update)
{
    struct driver_answer a;
    struct request q = {
        .kind = MESSAGE_DEVICES,
        .devices = {.partition = TEXT("p1"), .update = update, .row_count = count, .rows = rows}};
    driver_send(&d, &q, &a);
    driver_wait(&d, &a);
    return a;
}

static struct request
leads_request(struct lead_row *rows, uint32_t count)
{
    return (struct request){.kind = MESSAGE_LEADS,
                            .leads = {.partition = TEXT("p1"), .row_count = count, .rows = rows}};
}

static struct driver_answer
ask_leads(struct request q)
{
    struct driver_answer a;
    driver_send(&d, &q, &a);
    driver_wait(&d, &a);
    return a;
}

static struct driver_answer
put_leads(struct lead_row *rows, uint32_t count)
{
    return ask_leads(leads_request(rows, count));
}

/* One letter per verdict: a d u x r. */
static void
verdicts(struct driver_answer *a, const char *expected)
{
    static const char letters[] = "aduxr";
    char got[LEADS_PER_BATCH_MAX + 1] = "";
    ck_assert_msg(a->reply.status == STATUS_OK, "status %d: %.*s", a->reply.status,
                  (int) a->reply.reason.bytes, a->reply.reason.data);
    for (uint32_t n = 0; n < a->reply.rows.row_count; n++)
        got[n] = letters[a->reply.rows.verdicts[n]];
    ck_assert_str_eq(got, expected);
}

static void
done_verdicts(struct driver_answer a, const char *expected)
{
    verdicts(&a, expected);
    driver_answer_done(&a);
}

static void
reason_says(const struct driver_answer *a, unsigned index, const char *part)
{
    char reason[REASON_BYTES_MAX + 1];
    ck_assert_uint_lt(index, a->reply.rows.reason_count);
    struct slice r = a->reply.rows.reasons[index];
    snprintf(reason, sizeof(reason), "%.*s", (int) r.bytes, r.data);
    ck_assert_msg(strstr(reason, part), "\"%s\" lacks \"%s\"", reason, part);
}

static void
have_devices(int32_t first, int32_t last)
{
    struct device_row rows[64];
    uint32_t count = 0;
    for (int32_t id = first; id <= last; id++)
        rows[count++] = device(id);
    struct driver_answer a = put_devices(rows, count, false);
    ck_assert_int_eq(a.reply.status, STATUS_OK);
    for (uint32_t n = 0; n < count; n++)
        ck_assert_int_eq(a.reply.rows.verdicts[n], ROW_ACCEPTED);
    driver_answer_done(&a);
}

/* Numbers of every device are 1..n without a hole, and n is what the device row says. */
static void
numbers_have_no_hole(void)
{
    ck_assert_int_eq(pgtemp_int(db, "SELECT count(*) FROM device d LEFT JOIN (SELECT device_id,"
                                    " count(*) AS n, max(lead_no) AS last FROM lead GROUP BY 1) l"
                                    " USING (device_id) WHERE d.next_lead_no <> coalesce(l.n, 0)"
                                    " OR d.next_lead_no <> coalesce(l.last, 0)"),
                     0);
}

/* ---- devices ---- */

START_TEST(device_rows_with_faults_are_refused_and_the_rest_is_kept)
{
    struct device_row rows[] = {device(1), device(2), device(3), device(4), device(5)};
    rows[1].zone = TEXT("Asia/Atlantis");
    rows[2].token = TEXT("");
    rows[3].min_delay_ms = 49;
    struct driver_answer a = put_devices(rows, 5, false);
    verdicts(&a, "axxxa");
    reason_says(&a, 0, "zone: no such time zone");
    reason_says(&a, 1, "token: missing");
    reason_says(&a, 2, "min_delay_ms: below");
    driver_answer_done(&a);
    ck_assert_int_eq(pgtemp_int(db, "SELECT count(*) FROM device"), 2);
    /* the zone that was good is remembered, the bad one is asked again and refused again */
    a = put_devices(rows, 2, false);
    verdicts(&a, "dx");
    driver_answer_done(&a);
}
END_TEST

START_TEST(devices_are_created_once)
{
    struct device_row rows[] = {device(9), device(3), device(9), device(4)};
    rows[2].min_delay_ms = 200;
    done_verdicts(put_devices(rows, 4, false), "aada");
    done_verdicts(put_devices(rows, 4, false), "dddd");
    ck_assert_int_eq(pgtemp_int(db, "SELECT count(*) FROM device"), 3);
    ck_assert_int_eq(pgtemp_int(db, "SELECT min_delay_ms FROM device WHERE device_id = 9"), 100);
    ck_assert_str_eq(pgtemp_text(db, "SELECT account FROM device WHERE device_id = 9"), "main");
}
END_TEST

START_TEST(an_update_overwrites_and_creates_what_is_new)
{
    have_devices(1, 2);
    struct device_row rows[] = {device(2), device(3), device(1)};
    rows[0].min_delay_ms = rows[0].max_delay_ms = 5000;
    rows[0].zone = TEXT("Europe/Berlin");
    rows[0].url = TEXT("https://graph.example");
    pgtemp_do(db, "UPDATE device SET residence = 1 WHERE device_id = 1");
    done_verdicts(put_devices(rows, 3, true), "uar");
    ck_assert_str_eq(pgtemp_text(db, "SELECT concat_ws(' ', min_delay_ms, zone, url) FROM device"
                                     " WHERE device_id = 2"),
                     "5000 Europe/Berlin https://graph.example");
    ck_assert_int_eq(pgtemp_int(db, "SELECT min_delay_ms FROM device WHERE device_id = 1"), 100);
}
END_TEST

static const char *
limits_of(int id)
{
    return pgtemp_text(db,
                       "SELECT concat_ws(' ', quiet, daily_cap, hourly_cap, CASE WHEN isfinite("
                       "warm_from) THEN ((now() AT TIME ZONE zone)::date - warm_from)::text"
                       " ELSE 'warm' END) FROM device WHERE device_id = %d",
                       id);
}

/* What a row does not say stays; "none" lifts it. An age counts from the device's own today. */
START_TEST(limits_are_said_kept_and_lifted)
{
    struct device_row rows[] = {device(1), device(2), device(3)};
    rows[0].quiet = TEXT("21:00-08:00");
    rows[0].daily_cap = 1000;
    rows[0].hourly_cap = 90;
    rows[0].age = TEXT("3");
    rows[0].zone = TEXT("Pacific/Kiritimati");
    rows[1].age = TEXT("2026-02-28");
    done_verdicts(put_devices(rows, 3, false), "aaa");
    ck_assert_str_eq(limits_of(1), "21:00-08:00 1000 90 3");
    ck_assert_str_eq(pgtemp_text(db, "SELECT warm_from::text FROM device WHERE device_id = 2"),
                     "2026-02-28");
    ck_assert_str_eq(limits_of(3), " 0 0 warm");
    rows[0].quiet = TEXT("");
    rows[0].daily_cap = 0;
    rows[0].hourly_cap = 80;
    rows[0].age = TEXT("");
    done_verdicts(put_devices(rows, 1, true), "u");
    ck_assert_str_eq(limits_of(1), "21:00-08:00 1000 80 3");
    rows[0].quiet = rows[0].age = TEXT("none");
    rows[0].daily_cap = rows[0].hourly_cap = DEVICE_CAP_NONE;
    done_verdicts(put_devices(rows, 1, true), "u");
    ck_assert_str_eq(limits_of(1), " 0 0 warm");
    rows[1].quiet = TEXT("8-9");
    struct driver_answer a = put_devices(&rows[1], 1, true);
    verdicts(&a, "x");
    reason_says(&a, 0, "quiet: must be HH:MM-HH:MM");
    driver_answer_done(&a);
}
END_TEST

START_TEST(tokens_are_sealed_for_their_device)
{
    have_devices(7, 8);
    uint8_t sealed[256], plain[256];
    size_t sealed_bytes, plain_bytes;
    const char *hex =
        pgtemp_text(db, "SELECT encode(token, 'hex') FROM device WHERE device_id = 7");
    sealed_bytes = strlen(hex) / 2;
    ck_assert_int_eq(secret_unhex(sealed, sealed_bytes, hex, strlen(hex)), 0);
    struct slice value = {(const char *) sealed, sealed_bytes};
    ck_assert_int_eq(secret_open(d.token_key, TEXT("tok1|8|1"), value, plain, sizeof(plain),
                                 &plain_bytes),
                     -EBADMSG);
    ck_assert_int_eq(secret_open(d.token_key, TEXT("tok1|7|1"), value, plain, sizeof(plain),
                                 &plain_bytes),
                     0);
    ck_assert_uint_eq(plain_bytes, strlen("secret-token"));
    ck_assert_int_eq(memcmp(plain, "secret-token", plain_bytes), 0);
}
END_TEST

START_TEST(the_driver_hears_of_its_new_devices)
{
    have_devices(11, 13);
    for (unsigned turns = 0; turns < 1000 && schedule_count(partition_devices(d.partition)) < 3;
         turns++)
        uv_run(&d.loop, UV_RUN_ONCE);
    ck_assert_uint_eq(schedule_count(partition_devices(d.partition)), 3);
    ck_assert_ptr_nonnull(schedule_find(partition_devices(d.partition), 12));
}
END_TEST

/* The lane was lost after the commit, so nobody was told; the file is sent again. */
START_TEST(the_driver_hears_of_devices_whose_commit_was_not_answered)
{
    have_devices(1, 1);
    pgtemp_do(db, "INSERT INTO device(device_id, min_delay_ms, max_delay_ms, transport, address)"
                  " VALUES (2, 100, 300, 'cloudapi', '1065550001')");
    struct device_row rows[] = {device(1), device(2)};
    done_verdicts(put_devices(rows, 2, false), "dd");
    for (unsigned turns = 0; turns < 1000 && schedule_count(partition_devices(d.partition)) < 2;
         turns++)
        uv_run(&d.loop, UV_RUN_ONCE);
    ck_assert_ptr_nonnull(schedule_find(partition_devices(d.partition), 2));
}
END_TEST

/* ---- leads ---- */

START_TEST(leads_with_faults_are_refused_and_the_rest_is_kept)
{
    have_devices(1, 2);
    pgtemp_do(db, "UPDATE device SET residence = 1 WHERE device_id = 2");
    struct lead_row rows[] = {lead(1, 60120000001), lead(3, 60120000002), lead(2, 60120000003),
                              lead(1, 60120000004), lead(1, 123),         lead(1, 60120000005)};
    rows[3].attributes = TEXT("{\"age\":7}");
    struct driver_answer a = put_leads(rows, 6);
    verdicts(&a, "axrxxa");
    reason_says(&a, 0, "no such device: import it first, or correct the id");
    reason_says(&a, 1, "attributes: ");
    reason_says(&a, 2, "phone: ");
    driver_answer_done(&a);
    ck_assert_int_eq(pgtemp_int(db, "SELECT count(*) FROM lead"), 2);
    numbers_have_no_hole();
}
END_TEST

START_TEST(a_row_that_the_database_refuses_costs_that_row_only)
{
    have_devices(1, 3);
    static struct lead_row rows[500];
    char expected[501] = "";
    for (uint32_t n = 0; n < 500; n++) {
        rows[n] = lead(1 + (int32_t) n % 3, 60120000000 + n);
        expected[n] = 'a';
    }
    /* half a surrogate pair: JSON by its grammar, but jsonb will not have it */
    rows[77].attributes = rows[401].attributes = TEXT("{\"x\":\"\\ud800\"}");
    expected[77] = expected[401] = 'x';
    struct driver_answer a = put_leads(rows, 500);
    verdicts(&a, expected);
    reason_says(&a, 0, "json");
    driver_answer_done(&a);
    ck_assert_int_eq(pgtemp_int(db, "SELECT count(*) FROM lead"), 498);
    ck_assert_uint_eq(partition_meter(d.partition)->poison, 2);
    numbers_have_no_hole();
}
END_TEST

START_TEST(the_same_batch_twice_adds_nothing)
{
    have_devices(1, 2);
    struct lead_row rows[] = {lead(2, 60120000001), lead(1, 60120000001), lead(1, 60120000002),
                              lead(1, 60120000002), lead(2, 60120000003)};
    rows[3].name = TEXT("Second");
    done_verdicts(put_leads(rows, 5), "aaada");
    done_verdicts(put_leads(rows, 5), "ddddd");
    ck_assert_int_eq(pgtemp_int(db, "SELECT count(*) FROM lead"), 4);
    ck_assert_str_eq(pgtemp_text(db, "SELECT name FROM lead WHERE phone = 60120000002"), "Ann");
    numbers_have_no_hole();
    /* more of the same devices: numbers go on, in the order of the file */
    struct lead_row more[] = {lead(1, 60120000009), lead(1, 60120000001), lead(1, 60120000005)};
    done_verdicts(put_leads(more, 3), "ada");
    ck_assert_str_eq(pgtemp_text(db, "SELECT string_agg(phone::text, ' ' ORDER BY lead_no) FROM"
                                     " lead WHERE device_id = 1"),
                     "60120000001 60120000002 60120000009 60120000005");
    numbers_have_no_hole();
}
END_TEST

START_TEST(an_update_overwrites_attributes_and_keeps_the_number)
{
    have_devices(1, 1);
    struct lead_row rows[] = {lead(1, 60120000001), lead(1, 60120000002)};
    done_verdicts(put_leads(rows, 1), "a");
    rows[0].attributes = TEXT("{\"city\":\"Ipoh\"}");
    rows[0].trigger = TEXT("again");
    struct request q = leads_request(rows, 2);
    q.leads.update = true;
    done_verdicts(ask_leads(q), "ua");
    ck_assert_str_eq(pgtemp_text(db, "SELECT concat_ws(' ', lead_no, trigger, attributes->>'city')"
                                     " FROM lead WHERE phone = 60120000001"),
                     "1 again Ipoh");
    pgtemp_do(db, "UPDATE device SET residence = 1");
    done_verdicts(ask_leads(q), "rr");
    numbers_have_no_hole();
}
END_TEST

START_TEST(shared_phones_are_counted_in_the_order_of_the_file)
{
    struct device_row devices[] = {device(1), device(2), device(3)};
    devices[2].account = TEXT("other");
    done_verdicts(put_devices(devices, 3, false), "aaa");
    struct lead_row rows[] = {lead(1, 60120000001), lead(2, 60120000001), lead(3, 60120000001),
                              lead(1, 60120000002), lead(1, 60120000001)};
    struct driver_answer a = put_leads(rows, 5);
    verdicts(&a, "aaaad");
    ck_assert_uint_eq(a.reply.rows.shared, 1); /* device 2's; 3 is of another account */
    driver_answer_done(&a);
    struct lead_row later[] = {lead(2, 60120000002), lead(3, 60120000002), lead(2, 60120000003)};
    a = put_leads(later, 3);
    verdicts(&a, "aaa");
    ck_assert_uint_eq(a.reply.rows.shared, 1);
    driver_answer_done(&a);
}
END_TEST

START_TEST(shared_phones_are_refused_on_demand)
{
    have_devices(1, 2);
    struct lead_row rows[] = {lead(1, 60120000001), lead(2, 60120000001), lead(2, 60120000002)};
    struct request q = leads_request(rows, 3);
    q.leads.refuse_shared = true;
    struct driver_answer a = ask_leads(q);
    verdicts(&a, "axa");
    reason_says(&a, 0, "phone: another device of the account has it");
    driver_answer_done(&a);
    struct lead_row later[] = {lead(1, 60120000002), lead(1, 60120000001)};
    q = leads_request(later, 2);
    q.leads.refuse_shared = true;
    done_verdicts(ask_leads(q), "xd");
}
END_TEST

START_TEST(batches_in_flight_together_may_overlap)
{
    static struct lead_row rows[4][300];
    struct driver_answer a[4];
    uint64_t accepted = 0, duplicate = 0;

    have_devices(1, 5);
    for (unsigned b = 0; b < 4; b++)
        for (uint32_t n = 0; n < 300; n++) /* each shares 200 rows with the one before */
            rows[b][n] = lead(1 + (int32_t) ((b * 100 + n) % 5), 60120000000 + b * 100 + n);
    for (unsigned b = 0; b < 4; b++) {
        struct request q = leads_request(rows[b], 300);
        driver_send(&d, &q, &a[b]);
    }
    for (unsigned b = 0; b < 4; b++) {
        driver_wait(&d, &a[b]);
        ck_assert_int_eq(a[b].reply.status, STATUS_OK);
        for (uint32_t n = 0; n < 300; n++) {
            accepted += a[b].reply.rows.verdicts[n] == ROW_ACCEPTED;
            duplicate += a[b].reply.rows.verdicts[n] == ROW_DUPLICATE;
        }
        driver_answer_done(&a[b]);
    }
    ck_assert_uint_eq(accepted, 600);
    ck_assert_uint_eq(duplicate, 600);
    ck_assert_int_eq(pgtemp_int(db, "SELECT count(*) FROM lead"), 600);
    numbers_have_no_hole();
}
END_TEST

START_TEST(a_full_batch_across_many_devices_is_stored)
{
    static struct lead_row rows[LEADS_PER_BATCH_MAX];
    have_devices(1, 50);
    for (uint32_t n = 0; n < LEADS_PER_BATCH_MAX; n++)
        rows[n] = lead(1 + (int32_t) n % 50, 60120000000 + n);
    struct driver_answer a = put_leads(rows, LEADS_PER_BATCH_MAX);
    ck_assert_int_eq(a.reply.status, STATUS_OK);
    driver_answer_done(&a);
    ck_assert_int_eq(pgtemp_int(db, "SELECT count(*) FROM lead"), LEADS_PER_BATCH_MAX);
    numbers_have_no_hole();
}
END_TEST

/* ---- fences ---- */

START_TEST(a_batch_of_an_older_epoch_writes_nothing)
{
    have_devices(1, 1);
    pgtemp_do(db, "UPDATE owner SET epoch = epoch + 1, driver = 'n2'");
    struct lead_row row = lead(1, 60120000001);
    struct driver_answer a = put_leads(&row, 1);
    ck_assert_int_eq(a.reply.status, STATUS_RETRY);
    driver_answer_done(&a);
    struct device_row new_device = device(2);
    a = put_devices(&new_device, 1, false);
    ck_assert_int_eq(a.reply.status, STATUS_RETRY);
    driver_answer_done(&a);
    ck_assert_int_eq(pgtemp_int(db, "SELECT count(*) FROM lead"), 0);
    ck_assert_int_eq(pgtemp_int(db, "SELECT count(*) FROM device"), 1);
    driver_until(&d, PARTITION_FENCED);
}
END_TEST

/* The probe was before the freeze, the write waits for its lock: it must see the freeze. */
START_TEST(a_freeze_between_probe_and_write_is_seen)
{
    struct driver_answer a;
    have_devices(1, 2);
    PGconn *mover = pgtemp_open(pg, "work", NULL);
    pgtemp_do(mover, "BEGIN");
    pgtemp_do(mover, "SELECT pg_advisory_xact_lock(fleetcast_lock())");
    struct lead_row rows[] = {lead(1, 60120000001), lead(2, 60120000002)};
    struct request q = leads_request(rows, 2);
    driver_send(&d, &q, &a);
    /* until the intake's own session waits for the lock */
    for (usec_t end = clock_boot() + 20 * USEC_PER_SEC; clock_boot() < end;) {
        uv_run(&d.loop, UV_RUN_NOWAIT);
        if (pgtemp_int(db, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'advisory'"
                           " AND application_name = 'fleetcast-node/n1/intake'") > 0)
            break;
    }
    pgtemp_do(mover, "UPDATE device SET residence = 1 WHERE device_id = 2");
    pgtemp_do(mover, "COMMIT");
    PQfinish(mover);
    driver_wait(&d, &a);
    verdicts(&a, "ar");
    driver_answer_done(&a);
    ck_assert_int_eq(pgtemp_int(db, "SELECT count(*) FROM lead"), 1);
    numbers_have_no_hole();
}
END_TEST

/* As the rpc client does after a second of silence: one batch at work, one answer, on the newest.
 */
START_TEST(a_request_that_is_asked_again_is_not_done_twice)
{
    static struct driver_answer first;
    struct driver_answer second;
    have_devices(1, 1);
    PGconn *holder = pgtemp_open(pg, "work", NULL);
    pgtemp_do(holder, "BEGIN");
    pgtemp_do(holder, "SELECT pg_advisory_xact_lock(fleetcast_lock())");
    struct lead_row row = lead(1, 60120000001);
    struct request q = leads_request(&row, 1);
    driver_send(&d, &q, &first);
    d.request_id--;
    driver_send(&d, &q, &second);
    while (intake_waiting(d.intake) == 0)
        uv_run(&d.loop, UV_RUN_ONCE);
    struct lead_row marker = lead(1, 123); /* refused at once: comes after both */
    done_verdicts(put_leads(&marker, 1), "x");
    ck_assert_uint_eq(intake_waiting(d.intake), 1);
    pgtemp_do(holder, "COMMIT");
    PQfinish(holder);
    driver_wait(&d, &second);
    verdicts(&second, "a");
    ck_assert(!first.done);
    driver_answer_done(&second);
    pending = &first; /* ends, cancelled, with the client */
}
END_TEST

START_TEST(a_lost_connection_asks_for_the_batch_again)
{
    struct driver_answer a;
    have_devices(1, 1);
    PGconn *holder = pgtemp_open(pg, "work", NULL);
    pgtemp_do(holder, "BEGIN");
    pgtemp_do(holder, "SELECT pg_advisory_xact_lock(fleetcast_lock())");
    struct lead_row row = lead(1, 60120000001);
    struct request q = leads_request(&row, 1);
    driver_send(&d, &q, &a);
    for (usec_t end = clock_boot() + 20 * USEC_PER_SEC; clock_boot() < end;) {
        uv_run(&d.loop, UV_RUN_NOWAIT);
        if (pgtemp_int(db, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE"
                           " wait_event = 'advisory'"
                           " AND application_name = 'fleetcast-node/n1/intake'") > 0)
            break;
    }
    pgtemp_do(holder, "COMMIT");
    PQfinish(holder);
    driver_wait(&d, &a);
    ck_assert_int_eq(a.reply.status, STATUS_RETRY);
    driver_answer_done(&a);
    ck_assert_uint_eq(intake_waiting(d.intake), 0);
    driver_until(&d, PARTITION_OPEN);
    /* The lane comes back by itself. */
    for (usec_t end = clock_boot() + 20 * USEC_PER_SEC; clock_boot() < end;) {
        a = put_leads(&row, 1);
        bool stored = a.reply.status == STATUS_OK;
        driver_answer_done(&a);
        if (stored)
            break;
    }
    ck_assert_int_eq(pgtemp_int(db, "SELECT count(*) FROM lead"), 1);
}
END_TEST

/* ---- bounds ---- */

START_TEST(a_device_takes_so_many_leads_and_no_more)
{
    static struct lead_row rows[LEADS_PER_BATCH_MAX];
    struct driver_answer a;

    have_devices(1, 2);
    for (uint32_t n = 0; n < LEADS_PER_BATCH_MAX; n++)
        rows[n] = lead(1, 60120000000 + n);
    a = put_leads(rows, LEADS_PER_BATCH_MAX);
    driver_answer_done(&a);
    for (uint32_t n = 0; n < 503; n++)
        rows[n] = lead(n < 502 ? 1 : 2, 60130000000 + n);
    rows[501] = lead(1, 60120000000); /* known: it takes no room */
    a = put_leads(rows, 503);
    for (uint32_t n = 0; n < 503; n++)
        ck_assert_int_eq(a.reply.rows.verdicts[n], n == 500   ? ROW_REFUSED
                                                   : n == 501 ? ROW_DUPLICATE
                                                              : ROW_ACCEPTED);
    reason_says(&a, 0, "try later");
    driver_answer_done(&a);
    ck_assert_int_eq(pgtemp_int(db, "SELECT next_lead_no FROM device WHERE device_id = 1"),
                     DRIVER_LEADS_MAX);
}
END_TEST

/* More must be free than there is: the asker waits, and devices are taken all the same. */
START_TEST(a_disk_that_is_nearly_full_takes_no_leads)
{
    struct lead_row row = lead(1, 60120000001);

    driver_stop(&d);
    d.disk_free_min = 101;
    driver_start(&d, pg, "work");
    have_devices(1, 1);
    struct driver_answer a = put_leads(&row, 1);
    ck_assert_int_eq(a.reply.status, STATUS_RETRY);
    ck_assert_ptr_nonnull(strstr(a.reply.reason.data, "disk"));
    driver_answer_done(&a);
    d.disk_free_min = 0;
}
END_TEST

static Suite *
suite(void)
{
    Suite *s = suite_create("intake");
    TCase *t = tcase_create("intake");
    tcase_set_timeout(t, 30);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, device_rows_with_faults_are_refused_and_the_rest_is_kept);
    tcase_add_test(t, leads_with_faults_are_refused_and_the_rest_is_kept);
    tcase_add_test(t, a_row_that_the_database_refuses_costs_that_row_only);
    tcase_add_test(t, a_batch_of_an_older_epoch_writes_nothing);
    tcase_add_test(t, a_freeze_between_probe_and_write_is_seen);
    tcase_add_test(t, a_lost_connection_asks_for_the_batch_again);
    tcase_add_test(t, a_request_that_is_asked_again_is_not_done_twice);
    tcase_add_test(t, devices_are_created_once);
    tcase_add_test(t, an_update_overwrites_and_creates_what_is_new);
    tcase_add_test(t, limits_are_said_kept_and_lifted);
    tcase_add_test(t, tokens_are_sealed_for_their_device);
    tcase_add_test(t, the_driver_hears_of_its_new_devices);
    tcase_add_test(t, the_driver_hears_of_devices_whose_commit_was_not_answered);
    tcase_add_test(t, the_same_batch_twice_adds_nothing);
    tcase_add_test(t, an_update_overwrites_attributes_and_keeps_the_number);
    tcase_add_test(t, shared_phones_are_counted_in_the_order_of_the_file);
    tcase_add_test(t, shared_phones_are_refused_on_demand);
    tcase_add_test(t, batches_in_flight_together_may_overlap);
    tcase_add_test(t, a_full_batch_across_many_devices_is_stored);
    tcase_add_test(t, a_device_takes_so_many_leads_and_no_more);
    tcase_add_test(t, a_disk_that_is_nearly_full_takes_no_leads);
    suite_add_tcase(s, t);
    return s;
}

int
main(void)
{
    static const char *const databases[] = {"clean", NULL};
    pg = pgtemp_start(databases);
    driver_schema(pg, "clean");
    SRunner *sr = srunner_create(suite());
    srunner_run_all(sr, CK_NORMAL);
    int failures = srunner_ntests_failed(sr);
    srunner_free(sr);
    pgtemp_free(pg);
    return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}
